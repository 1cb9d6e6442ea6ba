/* memory.cu - device memory from the pool, uploads through pinned memory, and waiting. */
#include "common.cuh"

#include <string.h>

/* ---- blocks ---- */

int32_t ammpl_cuda_alloc(ammpl_stream *s, size_t bytes, void **out)
{
    REQUIRE(s, out, "alloc: out is NULL");
    *out = NULL;
    device_guard guard(s->device);
    device_block *b = (device_block *)s->host->alloc(s->host->user, sizeof *b);
    if (!b)
        return s->host->fail(AMMPL_E_MEMORY, "out of memory");
    b->bytes = bytes ? bytes : 1; /* nothing is a place, too */
    cudaError_t error = cudaMallocFromPoolAsync(&b->ptr, b->bytes, s->pool, s->queue);
    if (error == cudaErrorMemoryAllocation) { /* the pool may hold pieces that only fit together once they are given back */
        (void)cudaGetLastError();
        if (cudaStreamSynchronize(s->queue) == cudaSuccess && cudaMemPoolTrimTo(s->pool, 0) == cudaSuccess)
            error = cudaMallocFromPoolAsync(&b->ptr, b->bytes, s->pool, s->queue);
    }
    if (error != cudaSuccess) {
        s->host->release(s->host->user, b);
        return cuda_failed(s->host, error, "cudaMallocFromPoolAsync");
    }
    b->next = s->blocks;
    s->blocks = b;
    s->host->count(s->host->user, (int64_t)b->bytes);
    *out = b->ptr;
    return AMMPL_OK;
}

void ammpl_cuda_release(ammpl_stream *s, void *ptr)
{
    device_block **at = &s->blocks;
    while (*at && (*at)->ptr != ptr)
        at = &(*at)->next;
    device_block *b = *at;
    if (!ptr || !b)
        return;
    device_guard guard(s->device);
    if (cudaFreeAsync(ptr, s->queue) != cudaSuccess)
        (void)cudaGetLastError(); /* or the next launch takes it for its own */
    *at = b->next;
    s->host->count(s->host->user, -(int64_t)b->bytes);
    s->host->release(s->host->user, b);
}

int32_t take_scratch(ammpl_stream *s, size_t bytes, float **out)
{
    *out = NULL;
    if (s->rehearsing) {
        s->scratch_wanted = bytes > s->scratch_wanted ? bytes : s->scratch_wanted;
        return REHEARSED;
    }
    if (bytes > s->scratch_bytes) {
        if (graph_is_captured(s)) /* it was there when these calls were done one by one, and could not be had since */
            return s->host->fail(AMMPL_E_DEVICE_MEMORY, "an op's scratch is not there while a graph is captured");
        graph_forget(s);
        ammpl_cuda_release(s, s->scratch); /* first, so that there are never two */
        s->scratch = NULL;
        s->scratch_bytes = 0;
        void *bigger;
        TRY(ammpl_cuda_alloc(s, bytes, &bigger));
        s->scratch = (float *)bigger;
        s->scratch_bytes = bytes;
    }
    *out = s->scratch;
    return AMMPL_OK;
}

int32_t alloc_pinned(ammpl_stream *s, size_t bytes, void **out)
{
    *out = NULL;
    CUDA(s->host, cudaHostAlloc(out, bytes, cudaHostAllocMapped));
    s->host->count(s->host->user, (int64_t)bytes);
    return AMMPL_OK;
}

void free_pinned(ammpl_stream *s, void *memory, size_t bytes)
{
    if (!memory)
        return;
    if (cudaFreeHost(memory) != cudaSuccess)
        (void)cudaGetLastError();
    s->host->count(s->host->user, -(int64_t)bytes);
}

/* ---- from and to the host ---- */

static int32_t open_staging(ammpl_stream *s)
{
    struct staging *t = &s->staging;
    for (int i = 0; i < SEGMENTS; i++)
        if (!t->done[i])
            CUDA(s->host, cudaEventCreateWithFlags(&t->done[i], cudaEventDisableTiming));
    if (!t->memory) {
        void *memory;
        TRY(alloc_pinned(s, SEGMENTS * SEGMENT_BYTES, &memory));
        t->memory = (char *)memory;
    }
    return AMMPL_OK;
}

/* The next segment, once the device has read what was written into it a round ago. */
static int32_t next_segment(ammpl_stream *s)
{
    struct staging *t = &s->staging;
    CUDA(s->host, cudaEventRecord(t->done[t->segment], s->queue));
    t->segment = (t->segment + 1) % SEGMENTS;
    t->used = 0;
    CUDA(s->host, cudaEventSynchronize(t->done[t->segment]));
    return AMMPL_OK;
}

int32_t ammpl_cuda_upload(ammpl_stream *s, void *dst, const void *src_host, size_t bytes)
{
    REQUIRE(s, !bytes || (dst && src_host), "upload: dst or src_host is NULL");
    device_guard guard(s->device);
    struct staging *t = &s->staging;
    TRY(open_staging(s));
    for (size_t at = 0, n; at < bytes; at += n) {
        if (t->used == SEGMENT_BYTES)
            TRY(next_segment(s));
        char *piece = t->memory + (size_t)t->segment * SEGMENT_BYTES + t->used;
        n = SEGMENT_BYTES - t->used < bytes - at ? SEGMENT_BYTES - t->used : bytes - at;
        memcpy(piece, (const char *)src_host + at, n);
        CUDA(s->host, cudaMemcpyAsync((char *)dst + at, piece, n, cudaMemcpyHostToDevice, s->queue));
        t->used += (n + 63) / 64 * 64; /* a segment is a multiple of 64 */
    }
    return AMMPL_OK;
}

/* Waits for the stream, then says what kernels found wrong. */
static int32_t wait(ammpl_stream *s)
{
    cudaError_t error = cudaStreamSynchronize(s->queue);
    if (error != cudaSuccess) {
        (void)cudaStreamSynchronize(s->queue); /* a copy that is still queued would write where the caller may have something else by then */
        return cuda_failed(s->host, error, "cudaStreamSynchronize");
    }
    int32_t fault = *s->fault;
    *s->fault = FAULT_NONE;
    switch (fault) {
    case FAULT_START:
        return s->host->fail(AMMPL_E_ARGUMENT, "attention: start does not go from 0 to T in steps of 0 to max_len");
    case FAULT_LABEL: return s->host->fail(AMMPL_E_ARGUMENT, "cross_entropy: a label is outside 0..C-1");
    default: return AMMPL_OK;
    }
}

int32_t ammpl_cuda_download(ammpl_stream *s, void *dst_host, const void *src, size_t bytes)
{
    REQUIRE(s, !bytes || (dst_host && src), "download: dst_host or src is NULL");
    device_guard guard(s->device);
    if (bytes)
        CUDA(s->host, cudaMemcpyAsync(dst_host, src, bytes, cudaMemcpyDeviceToHost, s->queue));
    return wait(s);
}

int32_t ammpl_cuda_sync(ammpl_stream *s)
{
    device_guard guard(s->device);
    return wait(s);
}

int32_t ammpl_cuda_elapsed(ammpl_stream *s, double *seconds)
{
    REQUIRE(s, seconds, "elapsed: seconds is NULL");
    *seconds = 0;
    device_guard guard(s->device);
    int now = s->next_asked;
    bool first = !s->asked[1 - now];
    if (!s->asked[now])
        CUDA(s->host, cudaEventCreateWithFlags(&s->asked[now], cudaEventDefault));
    CUDA(s->host, cudaEventRecord(s->asked[now], s->queue));
    TRY(wait(s));
    float milliseconds = 0;
    if (!first)
        CUDA(s->host, cudaEventElapsedTime(&milliseconds, s->asked[1 - now], s->asked[now]));
    *seconds = 1e-3 * (double)milliseconds;
    s->next_asked = 1 - now;
    return AMMPL_OK;
}

int32_t ammpl_cuda_copy(ammpl_stream *s, void *dst, const void *src, size_t bytes)
{
    REQUIRE(s, !bytes || (dst && src), "copy: dst or src is NULL");
    device_guard guard(s->device);
    if (bytes && dst != src)
        CUDA(s->host, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, s->queue));
    return AMMPL_OK;
}

int32_t ammpl_cuda_zero(ammpl_stream *s, void *dst, size_t bytes)
{
    REQUIRE(s, !bytes || dst, "zero: dst is NULL");
    device_guard guard(s->device);
    if (bytes)
        CUDA(s->host, cudaMemsetAsync(dst, 0, bytes, s->queue));
    return AMMPL_OK;
}
