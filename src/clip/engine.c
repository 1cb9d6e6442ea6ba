/* engine.c - a stream of work and the memory of one step. */
#include "clip/engine.h"

#include <string.h>

enum { ARENA_ALIGN = 64, ARENA_FIRST = 1 << 20, HOST_FIRST = 1 << 12 };

ammpl_status ammpli_engine_open(ammpli_engine *e, const ammpl_model *m)
{
    memset(e, 0, sizeof *e);
    e->ctx = m->ctx;
    e->model = m;
    e->ops = m->ops;
    return m->device->backend->stream_create(&m->ctx->host, m->device->index, m->precision, &e->stream);
}

ammpl_status ammpli_settle(const ammpl_ops *ops, ammpl_stream *s, ammpl_status status)
{
    if (status < 0)
        (void)ops->sync(s); /* the first sentence stays */
    return status;
}

static void free_block(ammpli_engine *e, const ammpli_arena *a, void *base)
{
    if (a == &e->host)
        ammpli_free(e->ctx, base);
    else
        e->ops->release(e->stream, base);
}

static void free_blocks(ammpli_engine *e, ammpli_arena *a)
{
    for (size_t i = 0; i < a->count; i++)
        free_block(e, a, a->block[i].base);
    a->count = a->used = 0;
}

static void close_arena(ammpli_engine *e, ammpli_arena *a)
{
    free_blocks(e, a);
    ammpli_free(e->ctx, a->block);
}

void ammpli_engine_close_arenas(ammpli_engine *e)
{
    close_arena(e, &e->arena);
    close_arena(e, &e->host);
}

void ammpli_engine_close(ammpli_engine *e)
{
    if (!e->stream)
        return;
    ammpli_engine_close_arenas(e);
    e->model->device->backend->stream_destroy(e->stream);
    memset(e, 0, sizeof *e);
}

size_t ammpli_stream_bytes(const ammpli_engine *e, bool rehearse)
{
    const ammpl_backend *b = e->model->device->backend;
    return b->stream_bytes ? (size_t)b->stream_bytes(e->stream, rehearse) : 0;
}

ammpl_status ammpli_stream_trim(ammpli_engine *e, size_t spare)
{
    const ammpl_backend *b = e->model->device->backend;
    return b->stream_trim ? b->stream_trim(e->stream, spare) : AMMPL_OK;
}

size_t ammpli_arena_bytes(const ammpli_arena *a)
{
    size_t bytes = 0;
    for (size_t i = 0; i < a->count; i++)
        bytes += ammpli_block_bytes(a->block[i].size);
    return bytes;
}

static bool over_limit(const ammpli_engine *e, size_t more)
{
    return e->limit > 0 &&
           e->beside + ammpli_arena_bytes(&e->arena) + ammpli_arena_bytes(&e->host) + ammpli_block_bytes(more) > e->limit;
}

static ammpl_status add_block(ammpli_engine *e, ammpli_arena *a, size_t size)
{
    if (!ammpli_grow(e->ctx, (void **)&a->block, &a->cap, a->count + 1, sizeof *a->block))
        return AMMPL_E_MEMORY;
    void *base;
    if (a == &e->host) {
        base = ammpli_alloc(e->ctx, size, 1);
        if (!base)
            return AMMPL_E_MEMORY;
    } else {
        TRY(e->ops->alloc(e->stream, size, &base));
    }
    a->block[a->count++] = (ammpli_arena_block){base, size};
    a->used = 0;
    return AMMPL_OK;
}

static ammpl_status take(ammpli_engine *e, ammpli_arena *a, size_t bytes, size_t first, void **out)
{
    *out = NULL;
    if (bytes > SIZE_MAX / 2)
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory: a step would need more bytes than can be addressed");
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (a->count == 0 || a->block[a->count - 1].size - a->used < bytes) {
        /* Doubling, so that the last block soon holds a whole chunk: a release across blocks gives back the last one only. */
        size_t size = a->count ? 2 * a->block[a->count - 1].size : first;
        size = bytes > size || over_limit(e, size) ? bytes : size;
        if (over_limit(e, size))
            return ammpli_fail(AMMPL_E_MEMORY, "memory_limit = %zu: this call needs more; give it fewer rows at once, or raise the limit",
                               e->limit);
        TRY(add_block(e, a, size));
    }
    *out = a->block[a->count - 1].base + a->used;
    a->used += bytes;
    a->most = a->used > a->most ? a->used : a->most;
    return AMMPL_OK;
}

ammpl_status ammpli_take(ammpli_engine *e, size_t bytes, void **out)
{
    return take(e, &e->arena, bytes, ARENA_FIRST, out);
}

ammpl_status ammpli_take_host(ammpli_engine *e, size_t bytes, void **out)
{
    return take(e, &e->host, bytes, HOST_FIRST, out);
}

ammpl_status ammpli_take_host_zeros(ammpli_engine *e, int64_t count, size_t size, void **out)
{
    TRY(ammpli_take_host(e, (size_t)count * size, out));
    memset(*out, 0, (size_t)count * size);
    return AMMPL_OK;
}

ammpl_status ammpli_take_floats(ammpli_engine *e, int64_t n, float **out)
{
    return ammpli_take(e, (size_t)n * sizeof(float), (void **)out);
}

ammpl_status ammpli_take_zeros(ammpli_engine *e, int64_t n, float **out)
{
    TRY(ammpli_take_floats(e, n, out));
    return e->ops->zero(e->stream, *out, (size_t)n * sizeof(float));
}

ammpl_status ammpli_take_ints(ammpli_engine *e, const int32_t *host, int64_t n, int32_t **out)
{
    TRY(ammpli_take(e, (size_t)n * sizeof(int32_t), (void **)out));
    return e->ops->upload(e->stream, *out, host, (size_t)n * sizeof(int32_t));
}

ammpl_status ammpli_take_copy(ammpli_engine *e, const float *host, int64_t n, float **out)
{
    TRY(ammpli_take_floats(e, n, out));
    return e->ops->upload(e->stream, *out, host, (size_t)n * sizeof(float));
}

ammpli_mark ammpli_arena_mark(const ammpli_engine *e)
{
    return (ammpli_mark){e->arena.count, e->arena.used, e->host.count, e->host.used};
}

/* Where blocks were added since, they serve whatever comes next, from the start of the last (largest) one. */
static void release(ammpli_arena *a, size_t block, size_t used)
{
    a->used = block == a->count ? used : 0;
}

void ammpli_arena_release(ammpli_engine *e, ammpli_mark mark)
{
    release(&e->arena, mark.block, mark.used);
    release(&e->host, mark.host_block, mark.host_used);
}

static void reset(ammpli_engine *e, ammpli_arena *a)
{
    a->used = 0;
    if (a->count <= 1)
        return;
    size_t total = 0;
    for (size_t i = 0; i < a->count; i++)
        total += a->block[i].size;
    free_blocks(e, a);
    if (add_block(e, a, total) < 0)
        ammpli_clear_error(); /* the next step asks again, and reports it if it must */
}

void ammpli_arena_reset(ammpli_engine *e)
{
    reset(e, &e->arena);
    reset(e, &e->host);
}

static ammpl_status reserve(ammpli_engine *e, ammpli_arena *a, size_t bytes)
{
    if (a->count == 1 && a->block[0].size >= bytes) {
        a->used = 0;
        return AMMPL_OK;
    }
    free_blocks(e, a);
    return add_block(e, a, bytes);
}

ammpl_status ammpli_arena_reserve(ammpli_engine *e, size_t bytes, size_t host_bytes)
{
    TRY(reserve(e, &e->arena, bytes));
    return reserve(e, &e->host, host_bytes);
}

void ammpli_arena_give_back(ammpli_engine *e, size_t most, size_t host_most)
{
    if (ammpli_arena_bytes(&e->arena) > most)
        free_blocks(e, &e->arena);
    if (ammpli_arena_bytes(&e->host) > host_most)
        free_blocks(e, &e->host);
}
