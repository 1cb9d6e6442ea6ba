/* attention_equal.cu - attention over sequences of one length, none causal or behind a prefix (all pictures are such): products
 * over every head of many sequences at once by cuBLAS, and the softmax between them.  With P the probabilities,
 *
 *   S = scale q k^T,  P = softmax(S),  out = P v,
 *   dP = dout v^T,  dS = scale P (dP - sum_j P dP),  dq = dS k,  dk = dS^T q,  dv = P^T dout.
 *
 * The kernels of attention.cu keep S on the chip and are bound by what shared memory delivers.  Here S goes through the L2, in
 * parts of as many sequences as fit; P overwrites S, and dS overwrites dP.
 */
#include "common.cuh"

enum { SHORTEST = 32, LANE_SCORES = 20, LONGEST = LANE_SCORES * WARP }; /* a warp's lanes hold a row of scores */

/* Matrices of every head: rows of q, k, v and their gradients are 3D apart, of out or dout D, of S and dS Ls. */
enum matrix { Q, K, V, O, S, DS, DQ, DK, DV, MATRICES };

struct equal_attention {
    const float *qkv, *o;  /* [T,3D], [T,D]: out, which is written, or dout */
    float *dqkv;           /* [T,3D]; NULL: forward */
    float *scores, *grads; /* [each,H,L,Ls]: S then P; dP then dS */
    float **at;            /* [MATRICES,B,H]: where each begins */
    const int32_t *start;
    int64_t B, L, Ls, D, H, dh, each; /* each: sequences of a part */
    volatile int32_t *fault;
};

/* ---- kernels ---- */

static __global__ void attention_pointers_kernel(equal_attention a)
{
    int64_t n = a.B * a.H;
    for (int64_t i = first_index(); i < n; i += index_step()) {
        int64_t b = i / a.H, column = i % a.H * a.dh, row = b * a.L, matrix = i % (a.each * a.H) * a.L * a.Ls;
        float *q = const_cast<float *>(a.qkv) + row * 3 * a.D + column; /* only read */
        a.at[Q * n + i] = q;
        a.at[K * n + i] = q + a.D;
        a.at[V * n + i] = q + 2 * a.D;
        a.at[O * n + i] = const_cast<float *>(a.o) + row * a.D + column;
        a.at[S * n + i] = a.scores + matrix;
        if (a.dqkv) {
            float *dq = a.dqkv + row * 3 * a.D + column;
            a.at[DS * n + i] = a.grads + matrix;
            a.at[DQ * n + i] = dq;
            a.at[DK * n + i] = dq + a.D;
            a.at[DV * n + i] = dq + 2 * a.D;
        }
        if (column == 0 && (a.start[b] != row || a.start[b + 1] != row + a.L))
            *a.fault = FAULT_START;
    }
}

#define EACH_LANE_SCORE(i, L) UNROLL for (int i = 0; i < LANE_SCORES; i++) if (WARP * i < (L))

/* p = softmax of a row of L scores: element i is column lane + WARP i, 0 behind L.  NaN comes back in the sum. */
__device__ __forceinline__ void row_softmax(float (&p)[LANE_SCORES], const float *scores, int L)
{
    float max = -INFINITY, sum = 0;
    EACH_LANE_SCORE(i, L)
    {
        int c = lane_index() + WARP * i;
        p[i] = c < L ? scores[c] : -INFINITY;
        max = fmaxf(max, p[i]);
    }
    max = warp_max(max);
    EACH_LANE_SCORE(i, L)
    {
        p[i] = expf(p[i] - max);
        sum += p[i];
    }
    float inverse = 1.0f / warp_sum(sum);
    EACH_LANE_SCORE(i, L)
        p[i] *= inverse;
}

__device__ __forceinline__ void put_row(float *to, const float (&x)[LANE_SCORES], int L)
{
    EACH_LANE_SCORE(i, L)
        if (lane_index() + WARP * i < L)
            to[lane_index() + WARP * i] = x[i];
}

/* P over S, n rows of L in rows of Ls; a warp per row. */
static __global__ void attention_softmax_kernel(float *scores, int64_t n, int L, int Ls)
{
    for (int64_t row = first_row(); row < n; row += row_step()) {
        float p[LANE_SCORES];
        row_softmax(p, scores + row * Ls, L);
        put_row(scores + row * Ls, p, L);
    }
}

/* P over S, dS over dP. */
static __global__ void attention_softmax_backward_kernel(float *scores, float *grads, float scale, int64_t n, int L, int Ls)
{
    for (int64_t row = first_row(); row < n; row += row_step()) {
        float p[LANE_SCORES], g[LANE_SCORES], dot = 0;
        row_softmax(p, scores + row * Ls, L);
        EACH_LANE_SCORE(i, L)
        {
            int c = lane_index() + WARP * i;
            g[i] = c < L ? grads[row * Ls + c] : 0;
            dot = fmaf(p[i], g[i], dot);
        }
        dot = warp_sum(dot);
        EACH_LANE_SCORE(i, L)
            g[i] = p[i] * (g[i] - dot) * scale;
        put_row(scores + row * Ls, p, L);
        put_row(grads + row * Ls, g, L);
    }
}

/* ---- the ops ---- */

static bool aligned(const float *x)
{
    return (uintptr_t)x % 16 == 0;
}

bool attention_is_equal(const float *qkv, const float *o, const float *dqkv, int64_t B, int64_t max_len, int64_t T, int64_t dh,
                        int32_t causal, int64_t P)
{
    return !causal && P == 0 && max_len >= SHORTEST && max_len <= LONGEST && B * max_len == T && dh % 4 == 0 && aligned(qkv) &&
           aligned(o) && aligned(dqkv);
}

static int32_t prepare(ammpl_stream *s, equal_attention *a, const float *o, float *dqkv, const float *qkv, const int32_t *start, int64_t B,
                       int64_t L, int64_t D, int64_t H)
{
    int64_t Ls = ceil_div(L, 4) * 4, sequence = H * L * Ls, fit = SCORE_BYTES / (sequence * (int64_t)sizeof(float));
    int64_t each = fit < 1 ? 1 : fit < B ? fit : B, pointers = ceil_div(MATRICES * B * H * (int64_t)sizeof(float *), 16) * 4;
    float *scratch;
    TRY(take_scratch(s, (size_t)(pointers + (dqkv ? 2 : 1) * each * sequence) * sizeof(float), &scratch));
    float *scores = scratch + pointers;
    *a = equal_attention{qkv, o, dqkv, scores, scores + each * sequence, (float **)(void *)scratch, start, B, L, Ls, D, H, D / H, each,
                         s->fault};
    LAUNCH(s, attention_pointers_kernel, blocks_for(B * H), THREADS, *a);
    return AMMPL_OK;
}

/* One matrix for each head of the part that begins with sequence b. */
static matrices heads(const equal_attention &a, int64_t b, matrix m)
{
    return matrices{a.at + (m * a.B + b) * a.H, m == O ? a.D : m == S || m == DS ? a.Ls : 3 * a.D};
}

/* x = alpha y z, for n sequences from b on. */
static int32_t product(ammpl_stream *s, const equal_attention &a, int64_t b, int64_t n, int64_t rows, int64_t columns, int64_t terms,
                       float alpha, matrix x, matrix y, bool trans_y, matrix z, bool trans_z)
{
    int32_t precision = s->precision == AMMPL_PRECISION_F32 ? AMMPL_PRECISION_F32 : AMMPL_PRECISION_TF32;
    return multiply_each(s, precision, n * a.H, rows, columns, terms, alpha, heads(a, b, y), trans_y, heads(a, b, z), trans_z,
                         heads(a, b, x));
}

int32_t equal_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t L, int64_t D,
                                int64_t H, float scale)
{
    equal_attention a;
    TRY(prepare(s, &a, out, NULL, qkv, start, B, L, D, H));
    for (int64_t b = 0, n; b < B; b += n) {
        n = B - b < a.each ? B - b : a.each;
        TRY(product(s, a, b, n, L, L, a.dh, scale, S, Q, false, K, true));
        LAUNCH(s, attention_softmax_kernel, row_blocks(n * H * L), THREADS, a.scores, n * H * L, (int)L, (int)a.Ls);
        TRY(product(s, a, b, n, L, a.dh, L, 1, O, S, false, V, false));
    }
    return AMMPL_OK;
}

int32_t equal_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *qkv, const int32_t *start, int64_t B,
                                 int64_t L, int64_t D, int64_t H, float scale)
{
    equal_attention a;
    TRY(prepare(s, &a, dout, dqkv, qkv, start, B, L, D, H));
    for (int64_t b = 0, n; b < B; b += n) {
        n = B - b < a.each ? B - b : a.each;
        TRY(product(s, a, b, n, L, L, a.dh, scale, S, Q, false, K, true));
        TRY(product(s, a, b, n, L, L, a.dh, 1, DS, O, false, V, true));
        LAUNCH(s, attention_softmax_backward_kernel, row_blocks(n * H * L), THREADS, a.scores, a.grads, scale, n * H * L, (int)L, (int)a.Ls);
        TRY(product(s, a, b, n, L, a.dh, L, 1, DV, S, true, O, false));
        TRY(product(s, a, b, n, L, a.dh, L, 1, DQ, DS, false, K, false));
        TRY(product(s, a, b, n, L, a.dh, L, 1, DK, DS, true, Q, false));
    }
    return AMMPL_OK;
}
