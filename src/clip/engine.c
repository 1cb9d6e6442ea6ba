/* engine.c - a stream of work and the memory of one step. */
#include "clip/engine.h"

#include <string.h>

enum { ARENA_ALIGN = 64, ARENA_FIRST = 1 << 20 };

ammpl_status ammpli_engine_open(ammpli_engine *e, const ammpl_model *m)
{
    memset(e, 0, sizeof *e);
    e->ctx = m->ctx;
    e->model = m;
    e->ops = m->ops;
    return m->device->backend->stream_create(&m->ctx->host, m->device->index, &e->stream);
}

void ammpli_engine_close(ammpli_engine *e)
{
    if (!e->stream)
        return;
    for (size_t i = 0; i < e->arena.count; i++)
        e->ops->release(e->stream, e->arena.block[i].base);
    ammpli_free(e->ctx, e->arena.block);
    e->model->device->backend->stream_destroy(e->stream);
    memset(e, 0, sizeof *e);
}

static ammpl_status add_block(ammpli_engine *e, size_t size)
{
    ammpli_arena *a = &e->arena;
    if (!ammpli_grow(e->ctx, (void **)&a->block, &a->cap, a->count + 1, sizeof *a->block))
        return AMMPL_E_MEMORY;
    void *base;
    TRY(e->ops->alloc(e->stream, size, &base));
    a->block[a->count++] = (ammpli_arena_block){base, size};
    a->used = 0;
    return AMMPL_OK;
}

ammpl_status ammpli_take(ammpli_engine *e, size_t bytes, void **out)
{
    ammpli_arena *a = &e->arena;
    *out = NULL;
    if (bytes > SIZE_MAX / 2)
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory: a step would need more bytes than can be addressed");
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (a->count == 0 || a->block[a->count - 1].size - a->used < bytes) {
        /* Doubling, so that the last block soon holds a whole chunk: a release across blocks gives back the last one only. */
        size_t size = a->count ? 2 * a->block[a->count - 1].size : ARENA_FIRST;
        TRY(add_block(e, bytes > size ? bytes : size));
    }
    *out = a->block[a->count - 1].base + a->used;
    a->used += bytes;
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
    return (ammpli_mark){e->arena.count, e->arena.used};
}

void ammpli_arena_release(ammpli_engine *e, ammpli_mark mark)
{
    ammpli_arena *a = &e->arena;
    if (mark.block == a->count) {
        a->used = mark.used;
        return;
    }
    /* Blocks were added since: they serve whatever comes next, from the start of the last (largest) one. */
    a->used = 0;
}

void ammpli_arena_reset(ammpli_engine *e)
{
    ammpli_arena *a = &e->arena;
    a->used = 0;
    if (a->count <= 1)
        return;
    size_t total = 0;
    for (size_t i = 0; i < a->count; i++) {
        total += a->block[i].size;
        e->ops->release(e->stream, a->block[i].base);
    }
    a->count = 0;
    if (add_block(e, total) < 0)
        ammpli_clear_error(); /* the next step asks again, and reports it if it must */
}
