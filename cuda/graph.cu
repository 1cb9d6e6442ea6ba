/* graph.cu - what a stream is asked for again and again becomes one CUDA graph.
 *
 * Between two places where the host waits (or where memory comes and goes), the calls of ops are a segment.  The first time they are
 * done as they come, and written down.  When calls come that are those of a known segment, argument by argument, they are only
 * compared; at the segment's end all of them start together, as a graph that was captured the first time this happened.  Where calls
 * begin to differ, those that were held back are done as written down, and the rest as it comes: a graph is never a guess.
 *
 * What changes from step to step without changing the calls are the bytes of uploads: they go through pinned memory of the segment,
 * from which the graph copies.  Pixels and labels are such, and so are arguments that change (graph_numbers): steps that are counted,
 * learning rates.  Calls as they are written down and pinned memory are the stream's graph_bytes at most, which may be 0: an upload that
 * finds no room is done at once and ends the segment, and a segment whose calls find none is not kept.
 */
#include "common.cuh"

#include <string.h>

enum { SEGMENTS_KEPT = 8, CALLS_LEAST = 8, LOG_FIRST = 1 << 14 };

/* A call as it is written down; its arguments follow, one after the other. */
struct call_head {
    queued_run run; /* NULL: an upload of `data` bytes, whose argument is dst */
    uint32_t bytes; /* of arguments, rounded up to 8 */
    uint32_t place; /* of an upload's bytes in the pinned memory: behind those of all before */
    size_t data;
};

struct call_log {
    char *at;
    size_t used, room, data; /* bytes; data: of all uploads */
    int calls;
};

struct segment {
    call_log log;
    char *pinned; /* [log.data] */
    cudaGraphExec_t exec; /* NULL: not captured */
    cudaEvent_t done;     /* of its last launch: then the pinned memory may be written again */
    bool writable;        /* the host knows that it is */
    uint64_t age;
};

struct graphs {
    segment *kept[SEGMENTS_KEPT];
    segment *matching, *capturing;
    size_t position, data; /* in matching's log; bytes in its pinned memory so far */
    call_log log;    /* of what is done as it comes */
    bool broken;     /* that is no segment */
    bool off;        /* pinned memory, a capture, a launch or its event was refused: never again */
    uint64_t clock;
    int32_t failed; /* a status that could not be returned, and its sentence: the next call does */
    char failure[FAILURE_TEXT];
};

/* ---- memory of the host: the stream's graph_bytes at most ---- */

static void drop_graph(segment *g)
{
    if (g->done)
        (void)cudaEventSynchronize(g->done);
    if (g->exec)
        (void)cudaGraphExecDestroy(g->exec);
    g->exec = NULL;
    (void)cudaGetLastError(); /* or the next launch takes it for its own */
}

static void forget_segment(ammpl_stream *s, segment **at)
{
    segment *g = *at;
    if (!g)
        return;
    drop_graph(g);
    if (g->done)
        (void)cudaEventDestroy(g->done);
    free_pinned(s, g->pinned, g->log.data);
    s->host->release(s->host->user, g->log.at);
    s->host->release(s->host->user, g);
    *at = NULL;
}

/* Bytes of the host: the calls, and the pinned memory, though it may not be there yet. */
static size_t bytes_of(const segment *k)
{
    return k->log.room + k->log.data;
}

/* Not asked for lately: it gives way where memory is short. */
static bool is_stale(const graphs *g, const segment *k)
{
    return k != g->matching && g->clock - k->age > SEGMENTS_KEPT;
}

/* May what is no segment yet take so many bytes, beside those that are asked for? */
static bool has_room(const ammpl_stream *s, size_t bytes)
{
    const graphs *g = s->graphs;
    size_t taken = 0;
    for (int i = 0; i < SEGMENTS_KEPT; i++)
        taken += g->kept[i] && !is_stale(g, g->kept[i]) ? bytes_of(g->kept[i]) : 0;
    return bytes <= s->graph_bytes && taken <= s->graph_bytes - bytes;
}

static void make_room(ammpl_stream *s, size_t bytes)
{
    graphs *g = s->graphs;
    for (int i = 0; i < SEGMENTS_KEPT; i++)
        bytes += g->kept[i] ? bytes_of(g->kept[i]) : 0;
    for (int i = 0; i < SEGMENTS_KEPT && bytes > s->graph_bytes; i++)
        if (g->kept[i] && is_stale(g, g->kept[i])) {
            bytes -= bytes_of(g->kept[i]);
            forget_segment(s, &g->kept[i]);
        }
}

/* ---- logs ---- */

static bool log_grow(ammpl_stream *s, call_log *log, size_t need)
{
    size_t room = need > 2 * log->room ? need + LOG_FIRST : 2 * log->room, both = log->room + room + log->data;
    if (!has_room(s, both))
        return false;
    make_room(s, both);
    char *bigger = (char *)s->host->alloc(s->host->user, room);
    if (!bigger)
        return false;
    if (log->used)
        memcpy(bigger, log->at, log->used);
    s->host->release(s->host->user, log->at);
    log->at = bigger;
    log->room = room;
    return true;
}

static bool log_add(ammpl_stream *s, call_log *log, const call_head *head, const char *args)
{
    size_t need = log->used + sizeof *head + head->bytes;
    if (need > log->room && !log_grow(s, log, need))
        return false;
    memcpy(log->at + log->used, head, sizeof *head);
    memcpy(log->at + log->used + sizeof *head, args, head->bytes);
    log->used = need;
    log->data += head->data;
    log->calls++;
    return true;
}

static void log_clear(call_log *log)
{
    log->used = log->data = 0;
    log->calls = 0;
}

static bool same_call(const call_log *log, size_t at, const call_head *head, const char *args)
{
    if (at >= log->used)
        return false;
    const call_head *h = (const call_head *)(log->at + at);
    return h->run == head->run && h->bytes == head->bytes && h->data == head->data && memcmp(h + 1, args, head->bytes) == 0;
}

/* ---- segments ---- */

/* What was done as it came is a segment from now on; the one that was not asked for longest gives way. */
static void keep_log(ammpl_stream *s)
{
    graphs *g = s->graphs;
    if (g->broken || g->log.calls < CALLS_LEAST || !has_room(s, g->log.room + g->log.data)) {
        log_clear(&g->log);
        g->broken = false;
        return;
    }
    make_room(s, g->log.room + g->log.data);
    int oldest = 0;
    for (int i = 0; i < SEGMENTS_KEPT && g->kept[oldest]; i++)
        if (!g->kept[i] || g->kept[i]->age < g->kept[oldest]->age)
            oldest = i;
    segment *made = (segment *)s->host->alloc(s->host->user, sizeof *made);
    if (made) {
        forget_segment(s, &g->kept[oldest]);
        made->log = g->log;
        made->age = ++g->clock;
        g->kept[oldest] = made;
        g->log = call_log();
    }
    log_clear(&g->log);
}

/* Pinned memory and its event, when a segment comes for the second time. */
static int32_t open_segment(ammpl_stream *s, segment *m)
{
    if (m->done)
        return AMMPL_OK;
    device_guard guard(s->device);
    if (m->log.data && !m->pinned) {
        void *memory;
        TRY(alloc_pinned(s, m->log.data, &memory));
        m->pinned = (char *)memory;
    }
    CUDA(s->host, cudaEventCreateWithFlags(&m->done, cudaEventDisableTiming));
    return AMMPL_OK;
}

/* Does a log's call: an upload from the pinned memory, as part of the graph or through the ring. */
static int32_t do_call(ammpl_stream *s, const segment *m, size_t at)
{
    const call_head *h = (const call_head *)(m->log.at + at);
    const char *args = m->log.at + at + sizeof *h;
    if (h->run)
        return h->run(s, args);
    void *dst;
    memcpy(&dst, args, sizeof dst);
    if (s->graphs->capturing != m)
        return ammpl_cuda_upload(s, dst, m->pinned + h->place, h->data);
    CUDA(s->host, cudaMemcpyAsync(dst, m->pinned + h->place, h->data, cudaMemcpyHostToDevice, s->queue));
    return AMMPL_OK;
}

static int32_t do_calls(ammpl_stream *s, const segment *m, size_t end)
{
    for (size_t at = 0; at < end; at += sizeof(call_head) + ((const call_head *)(m->log.at + at))->bytes)
        TRY(do_call(s, m, at));
    return AMMPL_OK;
}

static segment *stop_matching(graphs *g)
{
    segment *m = g->matching;
    g->matching = NULL;
    g->position = g->data = 0;
    return m;
}

/* Calls differ from now on: what was held back is done, and begins the log of what comes. */
static int32_t give_up_matching(ammpl_stream *s)
{
    graphs *g = s->graphs;
    size_t end = g->position;
    const segment *m = g->matching; /* until its calls are written down: it may not give way to them */
    log_clear(&g->log);
    for (size_t at = 0; at < end && !g->broken; at += sizeof(call_head) + ((const call_head *)(m->log.at + at))->bytes)
        g->broken = !log_add(s, &g->log, (const call_head *)(m->log.at + at), m->log.at + at + sizeof(call_head));
    (void)stop_matching(g);
    int32_t status = do_calls(s, m, end);
    g->broken = g->broken || status < 0;
    return status;
}

static cudaError_t capture(ammpl_stream *s, segment *m)
{
    graphs *g = s->graphs;
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamBeginCapture(s->queue, cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess)
        return error;
    g->capturing = m;
    int32_t status = do_calls(s, m, m->log.used);
    g->capturing = NULL;
    error = cudaStreamEndCapture(s->queue, &graph);
    if (error == cudaSuccess && status < 0)
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(&m->exec, graph, 0);
    if (graph)
        (void)cudaGraphDestroy(graph);
    return error;
}

static int32_t start_segment(ammpl_stream *s, segment *m)
{
    graphs *g = s->graphs;
    device_guard guard(s->device);
    m->age = ++g->clock;
    if (!m->exec && !g->off && capture(s, m) != cudaSuccess) { /* as it can be done without, this is no failure */
        (void)cudaGetLastError();
        m->exec = NULL;
        g->off = true;
    }
    if (m->exec && cudaGraphLaunch(m->exec, s->queue) != cudaSuccess) { /* nor this: its first launch takes memory of the device */
        (void)cudaGetLastError();
        drop_graph(m);
        g->off = true;
    }
    if (!m->exec)
        return do_calls(s, m, m->log.used);
    m->writable = false;
    if (cudaEventRecord(m->done, s->queue) != cudaSuccess) { /* nothing will tell when the pinned memory has been read */
        (void)cudaGetLastError();
        g->off = true; /* so it is never written again */
    }
    return AMMPL_OK;
}

/* ---- what the table's wrappers call (backend.cu) ---- */

static graphs *open_graphs(ammpl_stream *s)
{
    if (!s->graphs)
        s->graphs = (graphs *)s->host->alloc(s->host->user, sizeof *s->graphs);
    return s->graphs;
}

/* The segment that goes on with this call: the one before where it does, else another that was like it so far; NULL: none. */
static segment *find_next(const graphs *g, const call_head *head, const char *args)
{
    if (!g->matching && (g->log.used > 0 || g->broken || g->off))
        return NULL;
    if (g->matching && same_call(&g->matching->log, g->position, head, args))
        return g->matching;
    for (int i = 0; i < SEGMENTS_KEPT; i++) {
        segment *k = g->kept[i];
        if (k && k != g->matching && same_call(&k->log, g->position, head, args) &&
            (g->position == 0 || memcmp(k->log.at, g->matching->log.at, g->position) == 0))
            return k;
    }
    return NULL;
}

/* Bytes of an upload into the pinned memory, as soon as the segment's last launch has read what stood there: the only thing in a
 * graph that the host waits for. */
static int32_t put_pinned(ammpl_stream *s, segment *k, size_t at, const void *data, size_t bytes)
{
    if (!k->writable) {
        device_guard guard(s->device);
        CUDA(s->host, cudaEventSynchronize(k->done));
    }
    k->writable = true;
    memcpy(k->pinned + at, data, bytes);
    return AMMPL_OK;
}

/* What was held back is of segment k from now on, with an upload's data as what follows.  As it can be done without, it is no failure if
 * that cannot be. */
static bool change_to(ammpl_stream *s, segment *k, const void *data, size_t bytes)
{
    graphs *g = s->graphs;
    bool other = k != g->matching;
    if ((other && open_segment(s, k) < 0) || (other && g->data && put_pinned(s, k, 0, g->matching->pinned, g->data) < 0) ||
        (data && put_pinned(s, k, g->data, data, bytes) < 0)) {
        g->off = true;
        return false;
    }
    g->matching = k;
    g->data += bytes;
    return true;
}

/* The segment that is what was held back, from beginning to end; NULL: none. */
static segment *find_whole(const graphs *g)
{
    if (g->position == g->matching->log.used)
        return g->matching;
    for (int i = 0; i < SEGMENTS_KEPT; i++) {
        segment *k = g->kept[i];
        if (k && k->log.used == g->position && memcmp(k->log.at, g->matching->log.at, g->position) == 0)
            return k;
    }
    return NULL;
}

/* held: the call is known, and kept back.  data: of an upload. */
static int32_t match(ammpl_stream *s, const call_head *head, const char *args, const void *data, bool *held)
{
    graphs *g = s->graphs;
    segment *next = find_next(g, head, args);
    *held = false;
    if (!next || !change_to(s, next, data, head->data))
        return g->matching ? give_up_matching(s) : AMMPL_OK;
    g->position += sizeof *head + head->bytes;
    *held = true;
    return AMMPL_OK;
}

static void write_down(ammpl_stream *s, call_head *head, const char *args, int32_t status)
{
    graphs *g = s->graphs;
    head->place = (uint32_t)g->log.data;
    if (status < 0 || g->off || (!g->broken && !log_add(s, &g->log, head, args)))
        g->broken = true;
}

static int32_t take_failure(ammpl_stream *s)
{
    graphs *g = s->graphs;
    int32_t status = g ? g->failed : AMMPL_OK;
    if (status >= 0)
        return AMMPL_OK;
    g->failed = AMMPL_OK;
    return s->host->fail(status, g->failure);
}

int32_t graph_call(ammpl_stream *s, queued_run run, const char *args, size_t bytes)
{
    call_head head = {run, (uint32_t)bytes, 0, 0};
    bool held;
    if (!open_graphs(s))
        return run(s, args);
    TRY(take_failure(s));
    TRY(match(s, &head, args, NULL, &held));
    if (held)
        return AMMPL_OK;
    int32_t status = run(s, args);
    write_down(s, &head, args, status);
    return status;
}

/* May what was written down or held back go on with an upload of so many bytes?  At its end it is asked again (keep_log): an
 * upload that was held back belonged to a segment that had its room. */
static bool may_hold(const ammpl_stream *s, size_t bytes)
{
    const graphs *g = s->graphs;
    return bytes <= s->graph_bytes && has_room(s, g->log.room + (g->matching ? g->data : g->log.data) + bytes);
}

int32_t graph_upload(ammpl_stream *s, void *dst, const void *src_host, size_t bytes)
{
    call_head head = {NULL, sizeof dst, 0, bytes};
    bool held;
    bool possible = bytes > 0 && dst && src_host && open_graphs(s);
    if (!possible || (!find_next(s->graphs, &head, (const char *)&dst) && !may_hold(s, bytes))) {
        TRY(graph_boundary(s));
        return ammpl_cuda_upload(s, dst, src_host, bytes);
    }
    TRY(take_failure(s));
    TRY(match(s, &head, (const char *)&dst, src_host, &held));
    if (held)
        return AMMPL_OK;
    int32_t status = ammpl_cuda_upload(s, dst, src_host, bytes);
    write_down(s, &head, (const char *)&dst, status);
    return status;
}

int32_t graph_numbers(ammpl_stream *s, const void *numbers, size_t bytes)
{
    if (!s->numbers)
        TRY(ammpl_cuda_alloc(s, NUMBERS_BYTES, &s->numbers));
    return graph_upload(s, s->numbers, numbers, bytes);
}

int32_t graph_boundary(ammpl_stream *s)
{
    graphs *g = s->graphs;
    if (!g)
        return AMMPL_OK;
    TRY(take_failure(s));
    segment *whole = g->matching ? find_whole(g) : NULL;
    if (whole && change_to(s, whole, NULL, 0))
        return start_segment(s, stop_matching(g));
    int32_t status = g->matching ? give_up_matching(s) : AMMPL_OK;
    keep_log(s);
    return status;
}

void graph_boundary_quietly(ammpl_stream *s)
{
    int32_t status = graph_boundary(s);
    if (status >= 0)
        return;
    s->graphs->failed = status;
    memcpy(s->graphs->failure, last_failure(), FAILURE_TEXT);
}

void graph_forget(ammpl_stream *s)
{
    for (int i = 0; s->graphs && i < SEGMENTS_KEPT; i++)
        if (s->graphs->kept[i])
            drop_graph(s->graphs->kept[i]);
}

bool graph_is_captured(const ammpl_stream *s)
{
    return s->graphs && s->graphs->capturing;
}

void graph_close(ammpl_stream *s)
{
    if (!s->graphs)
        return;
    (void)graph_boundary(s);
    for (int i = 0; i < SEGMENTS_KEPT; i++)
        forget_segment(s, &s->graphs->kept[i]);
    s->host->release(s->host->user, s->graphs->log.at);
    s->host->release(s->host->user, s->graphs);
    s->graphs = NULL;
}
