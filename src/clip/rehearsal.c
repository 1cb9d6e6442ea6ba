/* rehearsal.c - an engine that computes nothing and counts what a step asks of its memory.
 *
 * So a plan is what the method's own code takes, not a formula that stands beside it and grows wrong.
 */
#include "clip/engine.h"

#include <string.h>

/* Where backend memory would be: pointers are moved and compared, never followed. */
#define NOWHERE ((char *)(uintptr_t)(1 << 12))

/* What ops get for a stream. */
static ammpli_rehearsal *rehearsal_of(ammpl_stream *s)
{
    return (ammpli_rehearsal *)(void *)s;
}

static bool asks(const ammpli_engine *on)
{
    return on->model->device->backend->stream_bytes != NULL;
}

static int32_t rehearse_alloc(ammpl_stream *s, size_t bytes, void **out)
{
    (void)s;
    (void)bytes; /* caches count their own */
    *out = NOWHERE;
    return AMMPL_OK;
}

static int32_t rehearse_download(ammpl_stream *s, void *dst_host, const void *src, size_t bytes)
{
    (void)s;
    (void)src;
    memset(dst_host, 0, bytes);
    return AMMPL_OK;
}

/* All other ops: their parameters, and nothing. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
typedef float *out;
typedef const float *in;
typedef const int32_t *ints;
typedef int64_t num;
#define NOTHING(op, ...)                                         \
    static int32_t rehearse_##op(ammpl_stream *s, __VA_ARGS__) \
    {                                                            \
        return AMMPL_OK;                                         \
    }
/* Where the stream takes memory for such an op, it finds out how much. */
#define UNPACK(...) __VA_ARGS__
#define NOTHING_BUT_SCRATCH(op, names, ...)                                                        \
    static int32_t rehearse_##op(ammpl_stream *s, __VA_ARGS__)                                  \
    {                                                                                              \
        const ammpli_engine *on = rehearsal_of(s)->on;                                             \
        return asks(on) ? on->ops->op(on->stream, UNPACK names) : AMMPL_OK;                        \
    }
NOTHING(upload, void *dst, const void *src, size_t bytes)
NOTHING(copy, void *dst, const void *src, size_t bytes)
NOTHING(zero, void *dst, size_t bytes)
NOTHING(weight_create, const void *src, int32_t dtype, int32_t flags, num N, num K, ammpl_weight **w)
NOTHING_BUT_SCRATCH(linear_forward, (y, pre, x, w, bias, residual, act, T), out y, out pre, in x, const ammpl_weight *w, in
                    bias, in residual, int32_t act, num T)
NOTHING_BUT_SCRATCH(linear_backward, (dx, dy, w, pre, act, T), out dx, in dy, const ammpl_weight *w, in pre, int32_t act, num T)
NOTHING(gemm, num batch, num M, num N, num K, float alpha, in A, int32_t trans_a, num stride_a, in B, int32_t trans_b, num stride_b,
        float beta, out C, num stride_c)
NOTHING(layernorm_forward, out y, in x, in gamma, in beta, num T, num D, float eps)
NOTHING(layernorm_backward, out dx, in dy, in x, in gamma, in residual, num T, num D, float eps)
NOTHING_BUT_SCRATCH(layernorm_weight_backward, (dgamma, dbeta, dy, x, T, D, eps), out dgamma, out dbeta, in dy, in x, num T, num
                    D, float eps)
NOTHING(softmax_forward, out y, in x, float scale, num n, num D)
NOTHING(softmax_backward, out dx, in dy, in y, float scale, num n, num D)
NOTHING_BUT_SCRATCH(attention_forward, (y, qkv, start, B, max_len, T, D, H, causal, prefix, group, P), out y, in qkv, ints
                    start, num B, num max_len, num T, num D, num H, int32_t causal, in prefix, ints group, num P)
NOTHING_BUT_SCRATCH(attention_backward, (dqkv, dout, y, qkv, start, B, max_len, T, D, H, causal, dprefix, prefix, group, P), out
                    dqkv, in dout, in y, in qkv, ints start, num B, num max_len, num T, num D, num H, int32_t causal, out
                    dprefix, in prefix, ints group, num P)
NOTHING(act_forward, out y, in x, num n, int32_t act)
NOTHING(act_backward, out dx, in dy, in x, num n, int32_t act)
NOTHING(rows_copy, out dst, ints di, in src, ints si, num n, num D)
NOTHING(rows_add, out dst, ints di, in src, ints si, num n, num D)
NOTHING(embed, out y, const void *table, int32_t dtype, ints id, num n, num D)
NOTHING(scale, out x, float a, num n)
NOTHING(add, out y, in x, float a, num n)
NOTHING(l2norm_forward, out y, out norm, in x, num n, num D)
NOTHING(l2norm_backward, out dx, in dy, in y, in norm, num n, num D)
NOTHING(dot_forward, out y, in a, ints ai, in b, ints bi, float factor, num n, num D)
NOTHING(dot_backward, out da, out db, in dy, in a, ints ai, in b, ints bi, float factor, num n, num D)
NOTHING(cross_entropy_forward, out loss, in logits, ints label, num B, num C)
NOTHING(cross_entropy_backward, out dlogits, in logits, ints label, float weight, num B, num C)
NOTHING(patches_forward, out patches, in pixels, num B, num g, num q)
NOTHING(patches_backward, out dpixels, in dpatches, num B, num g, num q)
NOTHING(mask_draw, out m, in prob, ints pi, const uint32_t *hash, const uint32_t *id, uint64_t seed, uint32_t purpose, uint32_t step,
        int32_t mode, num n, num P)
NOTHING(mask_mix_forward, out token, in m, ints mi, in image, ints ii, in pad, ints ki, num n, num P, num D)
NOTHING_BUT_SCRATCH(mask_mix_backward, (dm, dpad, dtoken, m, mi, image, ii, pad, ki, blend, n, P, D), out dm, out dpad, in
                    dtoken, in m, ints mi, in image, ints ii, in pad, ints ki, float blend, num n, num P, num D)
NOTHING(sgd, out p, out momentum, in g, float lr, float mu, float decay, num n)
NOTHING(adamw, out p, out m, out v, in g, float lr, float beta1, float beta2, float eps, float decay, num step, num n)
NOTHING(finite_check, int32_t *flag, in x, num n)

static void rehearse_release(ammpl_stream *s, void *ptr)
{
}

static int32_t rehearse_sync(ammpl_stream *s)
{
    return AMMPL_OK;
}

static int32_t rehearse_elapsed(ammpl_stream *s, double *seconds)
{
    *seconds = 0;
    return AMMPL_OK;
}

static void rehearse_weight_destroy(ammpl_stream *s, ammpl_weight *w)
{
}

#define OPS(X)                                                                                                          \
    X(alloc) X(release) X(upload) X(download) X(copy) X(zero) X(sync) X(elapsed) X(weight_create) X(weight_destroy)               \
    X(linear_forward) X(linear_backward) X(gemm) X(layernorm_forward) X(layernorm_backward) X(layernorm_weight_backward) \
    X(softmax_forward) X(softmax_backward) X(attention_forward) X(attention_backward) X(act_forward) X(act_backward)    \
    X(rows_copy) X(rows_add) X(embed) X(scale) X(add) X(l2norm_forward) X(l2norm_backward) X(dot_forward)              \
    X(dot_backward) X(cross_entropy_forward) X(cross_entropy_backward) X(patches_forward) X(patches_backward)          \
    X(mask_draw) X(mask_mix_forward) X(mask_mix_backward) X(sgd) X(adamw) X(finite_check)
#define SLOT(op) .op = rehearse_##op,
#define ONE(op) +1
_Static_assert(OPS(ONE) == AMMPL_OPS_COUNT, "an op is missing from the rehearsal");
static const ammpl_ops rehearsal_ops = {.struct_size = sizeof(ammpl_ops), OPS(SLOT)};

ammpl_status ammpli_rehearsal_open(ammpli_rehearsal *r, const ammpli_engine *on)
{
    *r = (ammpli_rehearsal){.engine = {.ctx = on->ctx, .model = on->model, .ops = &rehearsal_ops, .rehearsing = true}, .on = on};
    ammpli_engine *e = &r->engine;
    e->stream = (ammpl_stream *)(void *)r;
    if (!ammpli_grow(e->ctx, (void **)&e->arena.block, &e->arena.cap, 1, sizeof *e->arena.block))
        return AMMPL_E_MEMORY;
    e->arena.block[e->arena.count++] = (ammpli_arena_block){NOWHERE, SIZE_MAX / 4};
    return AMMPL_OK;
}

void ammpli_rehearsal_close(ammpli_rehearsal *r)
{
    ammpli_engine_close_arenas(&r->engine);
}
