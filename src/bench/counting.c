/* counting.c - see counting.h.  One wrapper per op that computes; what they move is written as floats, each array once. */
#include "bench/counting.h"

#include "cpu/cpu.h"
#include "cpu/kernels.h"

ammpli_counts ammpli_counted;
static const ammpl_ops *base;

static void count(double flop, double floats)
{
    ammpli_counted.flop += flop;
    ammpli_counted.bytes += 4 * floats;
}

static double N_of(const ammpl_weight *w)
{
    return (double)((const int64_t *)(const void *)w)[0];
}

static double K_of(const ammpl_weight *w)
{
    return (double)((const int64_t *)(const void *)w)[1];
}

double ammpli_attention_flop(const int32_t *start, int64_t B, int64_t T, int64_t D, const int32_t *group, int64_t P, double products)
{
    double pairs = 0;
    if (!start)
        pairs = B > 0 ? (double)T * ((double)T / (double)B + (double)P) : 0;
    for (int64_t b = 0; start && b < B; b++) {
        double L = start[b + 1] - start[b];
        pairs += L * (L + (P > 0 && group[b] >= 0 ? (double)P : 0));
    }
    return products * 2.0 * pairs * (double)D;
}

/* The host can read the starts of sequences only where backend memory is its own. */
static double attention_flop(const int32_t *start, int64_t B, int64_t T, int64_t D, const int32_t *group, int64_t P, double products)
{
    return ammpli_attention_flop(base == &ammpli_cpu_ops ? start : NULL, B, T, D, group, P, products);
}

#define COUNTED(op, parameters, arguments, flop, floats)  \
    static int32_t count_##op parameters                  \
    {                                                     \
        count(flop, floats);                              \
        return base->op arguments;                        \
    }
#define F(x) ((double)(x))
#define TD (F(T) * F(D))
#define ND (F(n) * F(D))

COUNTED(copy, (ammpl_stream *s, void *dst, const void *src, size_t bytes), (s, dst, src, bytes), 0, F(bytes) / 2)
COUNTED(zero, (ammpl_stream *s, void *dst, size_t bytes), (s, dst, bytes), 0, F(bytes) / 4)
COUNTED(linear_forward,
        (ammpl_stream *s, float *y, float *pre, const float *x, const ammpl_weight *w, const float *bias, const float *residual,
         int32_t act, int64_t T),
        (s, y, pre, x, w, bias, residual, act, T), 2 * F(T) * N_of(w) * K_of(w),
        F(T) * (K_of(w) + N_of(w) * (1 + (pre != NULL) + (residual != NULL))) + N_of(w) * K_of(w))
COUNTED(linear_backward,
        (ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w, const float *pre, int32_t act, int64_t T),
        (s, dx, dy, w, pre, act, T), 2 * F(T) * N_of(w) * K_of(w),
        F(T) * (N_of(w) + K_of(w) * (1 + (pre != NULL))) + N_of(w) * K_of(w))
COUNTED(gemm,
        (ammpl_stream *s, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int32_t trans_a, int64_t stride_a,
         const float *B, int32_t trans_b, int64_t stride_b, float beta, float *C, int64_t stride_c),
        (s, batch, M, N, K, alpha, A, trans_a, stride_a, B, trans_b, stride_b, beta, C, stride_c), 2 * F(batch) * F(M) * F(N) * F(K),
        (stride_a ? F(batch) : 1) * F(M) * F(K) + (stride_b ? F(batch) : 1) * F(K) * F(N) + F(batch) * F(M) * F(N) * (beta != 0 ? 2 : 1))
COUNTED(layernorm_forward,
        (ammpl_stream *s, float *y, const float *x, const float *gamma, const float *beta, int64_t T, int64_t D, float eps),
        (s, y, x, gamma, beta, T, D, eps), 0, 2 * TD)
COUNTED(layernorm_backward,
        (ammpl_stream *s, float *dx, const float *dy, const float *x, const float *gamma, const float *residual, int64_t T, int64_t D,
         float eps),
        (s, dx, dy, x, gamma, residual, T, D, eps), 0, (residual ? 4 : 3) * TD)
COUNTED(softmax_forward, (ammpl_stream *s, float *y, const float *x, float scale, int64_t n, int64_t D), (s, y, x, scale, n, D), 0, 2 * ND)
COUNTED(softmax_backward, (ammpl_stream *s, float *dx, const float *dy, const float *y, float scale, int64_t n, int64_t D),
        (s, dx, dy, y, scale, n, D), 0, 3 * ND)
COUNTED(attention_forward,
        (ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H,
         int32_t causal, const float *prefix, const int32_t *group, int64_t P),
        (s, out, qkv, start, B, max_len, T, D, H, causal, prefix, group, P), attention_flop(start, B, T, D, group, P, 2), 4 * TD)
COUNTED(attention_backward,
        (ammpl_stream *s, float *dqkv, const float *dout, const float *out, const float *qkv, const int32_t *start, int64_t B,
         int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal, float *dprefix, const float *prefix, const int32_t *group,
         int64_t P),
        (s, dqkv, dout, out, qkv, start, B, max_len, T, D, H, causal, dprefix, prefix, group, P),
        attention_flop(start, B, T, D, group, P, 5), 8 * TD)
COUNTED(act_forward, (ammpl_stream *s, float *y, const float *x, int64_t n, int32_t act), (s, y, x, n, act), 0, 2 * F(n))
COUNTED(act_backward, (ammpl_stream *s, float *dx, const float *dy, const float *x, int64_t n, int32_t act), (s, dx, dy, x, n, act), 0,
        3 * F(n))
COUNTED(rows_copy, (ammpl_stream *s, float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n, int64_t D),
        (s, dst, di, src, si, n, D), 0, 2 * ND)
COUNTED(rows_add, (ammpl_stream *s, float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n, int64_t D),
        (s, dst, di, src, si, n, D), 0, 3 * ND)
COUNTED(embed, (ammpl_stream *s, float *y, const void *rows, int32_t dtype, const int32_t *id, int64_t n, int64_t D),
        (s, y, rows, dtype, id, n, D), 0, 2 * ND)
COUNTED(scale, (ammpl_stream *s, float *x, float a, int64_t n), (s, x, a, n), 0, 2 * F(n))
COUNTED(add, (ammpl_stream *s, float *y, const float *x, float a, int64_t n), (s, y, x, a, n), 0, 3 * F(n))
COUNTED(patches_forward, (ammpl_stream *s, float *patches, const float *pixels, int64_t B, int64_t g, int64_t q),
        (s, patches, pixels, B, g, q), 0, 6 * F(B) * F(g) * F(g) * F(q) * F(q))
COUNTED(patches_backward, (ammpl_stream *s, float *dpixels, const float *dpatches, int64_t B, int64_t g, int64_t q),
        (s, dpixels, dpatches, B, g, q), 0, 6 * F(B) * F(g) * F(g) * F(q) * F(q))
COUNTED(mask_mix_forward,
        (ammpl_stream *s, float *token, const float *m, const int32_t *mi, const float *image, const int32_t *ii, const float *pad,
         const int32_t *ki, int64_t n, int64_t P, int64_t D),
        (s, token, m, mi, image, ii, pad, ki, n, P, D), 0, 2 * ND * F(P))
COUNTED(mask_mix_backward,
        (ammpl_stream *s, float *dm, float *dpad, const float *dtoken, const float *m, const int32_t *mi, const float *image,
         const int32_t *ii, const float *pad, const int32_t *ki, float blend, int64_t n, int64_t P, int64_t D),
        (s, dm, dpad, dtoken, m, mi, image, ii, pad, ki, blend, n, P, D), 0, ((dm ? 2 : 0) + (dpad ? 1 : 0)) * ND * F(P))

const ammpl_ops *ammpli_counting(const ammpl_ops *ops)
{
    static ammpl_ops table;
    base = ops;
    table = *ops;
#define SLOT(op) table.op = count_##op;
    SLOT(copy)
    SLOT(zero)
    SLOT(linear_forward)
    SLOT(linear_backward)
    SLOT(gemm)
    SLOT(layernorm_forward)
    SLOT(layernorm_backward)
    SLOT(softmax_forward)
    SLOT(softmax_backward)
    SLOT(attention_forward)
    SLOT(attention_backward)
    SLOT(act_forward)
    SLOT(act_backward)
    SLOT(rows_copy)
    SLOT(rows_add)
    SLOT(embed)
    SLOT(scale)
    SLOT(add)
    SLOT(patches_forward)
    SLOT(patches_backward)
    SLOT(mask_mix_forward)
    SLOT(mask_mix_backward)
#undef SLOT
    return &table;
}
