/* attention_equal.cu - attention over sequences of one length, none causal (all pictures are such): products over every head of
 * many sequences at once by cuBLAS, and the softmax between them.  With P the probabilities,
 *
 *   S = scale q k^T,  P = softmax(S),  out = P v,
 *   dP = dout v^T,  dS = scale P (dP - sum_j P dP),  dq = dS k,  dk = dS^T q,  dv = P^T dout.
 *
 * The kernels of attention.cu keep S on the chip and are bound by what shared memory delivers.  Here S goes through the L2, in
 * parts of as many sequences as fit; P overwrites S, and dS overwrites dP.
 *
 * Where sequences stand behind prefixes, a product wants a sequence's keys in rows of one distance: each part's keys and values
 * are gathered, own rows first and the prefix's behind them, and what comes out as their gradients is taken apart again.  A
 * sequence without prefix among them has rows of zeros there, which its softmax leaves out.
 */
#include "common.cuh"

enum { SHORTEST = 32, LANE_SCORES = 20, LONGEST = LANE_SCORES * WARP }; /* a warp's lanes hold a row of scores */

/* Matrices of every head: rows of q, k, v and their gradients are 3D apart (2D where keys and values are gathered), of out or dout
 * D, of S and dS Ls. */
enum matrix { Q, K, V, O, S, DS, DQ, DK, DV, MATRICES };

struct equal_attention {
    const float *qkv, *o;  /* [T,3D], [T,D]: out, which is written, or dout */
    float *dqkv;           /* [T,3D]; NULL: forward */
    float *scores, *grads; /* [each,H,L,Ls]: S then P; dP then dS */
    float *kv, *dkv;       /* [each,keys,2D]: keys and values of a part, gathered, and their gradients; NULL without prefixes */
    float **at;            /* [MATRICES,B,H]: where each begins */
    const float *prefix;   /* [.,3D] */
    const int32_t *start, *group; /* group [B]: NULL without prefixes */
    int64_t B, L, P, keys, Ls, D, H, dh, each; /* P: rows of a prefix; keys: L + P; each: sequences of a part */
    volatile int32_t *fault;
};

/* ---- kernels ---- */

static __global__ void attention_pointers_kernel(equal_attention a)
{
    int64_t n = a.B * a.H;
    for (int64_t i = first_index(); i < n; i += index_step()) {
        int64_t b = i / a.H, column = i % a.H * a.dh, row = b * a.L, matrix = i % (a.each * a.H) * a.L * a.Ls;
        int64_t gathered = b % a.each * a.keys * 2 * a.D + column;
        float *q = const_cast<float *>(a.qkv) + row * 3 * a.D + column, *k = a.kv ? a.kv + gathered : q + a.D; /* only read */
        a.at[Q * n + i] = q;
        a.at[K * n + i] = k;
        a.at[V * n + i] = k + a.D;
        a.at[O * n + i] = const_cast<float *>(a.o) + row * a.D + column;
        a.at[S * n + i] = a.scores + matrix;
        if (a.dqkv) {
            float *dq = a.dqkv + row * 3 * a.D + column, *dk = a.dkv ? a.dkv + gathered : dq + a.D;
            a.at[DS * n + i] = a.grads + matrix;
            a.at[DQ * n + i] = dq;
            a.at[DK * n + i] = dk;
            a.at[DV * n + i] = dk + a.D;
        }
        if (column == 0 && (a.start[b] != row || a.start[b + 1] != row + a.L))
            *a.fault = FAULT_START;
    }
}

/* A row by a warp, from NULL: zeros.  A lane reads four numbers before it writes one, so that enough is on the way. */
__device__ __forceinline__ void copy_row(float *to, const float *from, int64_t n)
{
    for (int64_t c = lane_index(); c < n; c += 4 * WARP) {
        float x[4];
        UNROLL for (int k = 0; k < 4; k++)
            x[k] = from && c + k * WARP < n ? from[c + k * WARP] : 0;
        UNROLL for (int k = 0; k < 4; k++)
            if (c + k * WARP < n)
                to[c + k * WARP] = x[k];
    }
}

/* kv of n sequences from `first` on; a warp takes a row's keys or its values. */
static __global__ void attention_gather_kernel(equal_attention a, int64_t first, int64_t n)
{
    for (int64_t half = first_row(); half < 2 * n * a.keys; half += row_step()) {
        int64_t row = half / 2, b = first + row / a.keys, key = row % a.keys;
        const float *from = key < a.L          ? a.qkv + (b * a.L + key) * 3 * a.D
                            : a.group[b] >= 0 ? a.prefix + (a.group[b] * a.P + key - a.L) * 3 * a.D
                                              : NULL;
        copy_row(a.kv + half * a.D, from ? from + (1 + half % 2) * a.D : NULL, a.D);
    }
}

/* dqkv's keys and values, out of dkv. */
static __global__ void attention_scatter_kernel(equal_attention a, int64_t first, int64_t n)
{
    for (int64_t half = first_row(); half < 2 * n * a.L; half += row_step()) {
        int64_t row = half / 2, key = row / a.L * a.keys + row % a.L, values = half % 2;
        copy_row(a.dqkv + ((first * a.L + row) * 3 + 1 + values) * a.D, a.dkv + (key * 2 + values) * a.D, a.D);
    }
}

/* n rows of scores, Ls apart, one for each key; each: rows of a sequence.  Without a prefix only a sequence's L own keys count. */
struct score_rows {
    int64_t n;
    int each, L, keys, Ls;
    const int32_t *group; /* NULL: all keys of all sequences */
};

__device__ __forceinline__ int seen_keys(const score_rows &r, int64_t row)
{
    return r.group && r.group[(unsigned)row / (unsigned)r.each] < 0 ? r.L : r.keys;
}

#define EACH_LANE_SCORE(i, n) UNROLL for (int i = 0; i < LANE_SCORES; i++) if (WARP * i < (n))

/* p = softmax of a row's first `seen` of n scores: element i is column lane + WARP i, 0 behind them.  NaN comes back in the sum. */
__device__ __forceinline__ void row_softmax(float (&p)[LANE_SCORES], const float *scores, int seen, int n)
{
    float max = -INFINITY, sum = 0;
    EACH_LANE_SCORE(i, n)
    {
        int c = lane_index() + WARP * i;
        p[i] = c < seen ? scores[c] : -INFINITY;
        max = fmaxf(max, p[i]);
    }
    max = warp_max(max);
    EACH_LANE_SCORE(i, n)
    {
        p[i] = expf(p[i] - max);
        sum += p[i];
    }
    float inverse = 1.0f / warp_sum(sum);
    EACH_LANE_SCORE(i, n)
        p[i] *= inverse;
}

__device__ __forceinline__ void put_row(float *to, const float (&x)[LANE_SCORES], int n)
{
    EACH_LANE_SCORE(i, n)
        if (lane_index() + WARP * i < n)
            to[lane_index() + WARP * i] = x[i];
}

/* P over S; a warp per row.  The products read every key: those that do not count are written as 0. */
static __global__ void __launch_bounds__(THREADS, 4) attention_softmax_kernel(float *scores, score_rows r)
{
    for (int64_t row = first_row(); row < r.n; row += row_step()) {
        float p[LANE_SCORES];
        row_softmax(p, scores + row * r.Ls, seen_keys(r, row), r.keys);
        put_row(scores + row * r.Ls, p, r.keys);
    }
}

/* P over S, dS over dP. */
static __global__ void attention_softmax_backward_kernel(float *scores, float *grads, float scale, score_rows r)
{
    for (int64_t row = first_row(); row < r.n; row += row_step()) {
        float p[LANE_SCORES], g[LANE_SCORES], dot = 0;
        int seen = seen_keys(r, row);
        row_softmax(p, scores + row * r.Ls, seen, r.keys);
        EACH_LANE_SCORE(i, r.keys)
        {
            int c = lane_index() + WARP * i;
            g[i] = c < seen ? grads[row * r.Ls + c] : 0;
            dot = fmaf(p[i], g[i], dot);
        }
        dot = warp_sum(dot);
        EACH_LANE_SCORE(i, r.keys)
            g[i] = p[i] * (g[i] - dot) * scale;
        put_row(scores + row * r.Ls, p, r.keys);
        put_row(grads + row * r.Ls, g, r.keys);
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
    return !causal && max_len >= SHORTEST && max_len + P <= LONGEST && B * max_len == T && dh % 4 == 0 && aligned(qkv) && aligned(o) &&
           aligned(dqkv);
}

/* Of a part neither the scores nor what is gathered take more than SCORE_BYTES, but one sequence has what it needs. */
static int32_t prepare(ammpl_stream *s, equal_attention *a, const float *o, float *dqkv, const float *qkv, const int32_t *start, int64_t B,
                       int64_t L, int64_t D, int64_t H, const float *prefix, const int32_t *group, int64_t P)
{
    int64_t keys = L + P, Ls = ceil_div(keys, 4) * 4, sequence = H * L * Ls, gathered = P > 0 ? keys * 2 * D : 0;
    int64_t fit = SCORE_BYTES / ((sequence > gathered ? sequence : gathered) * (int64_t)sizeof(float));
    int64_t each = fit < 1 ? 1 : fit < B ? fit : B, pointers = ceil_div(MATRICES * B * H * (int64_t)sizeof(float *), 16) * 4;
    int64_t times = dqkv ? 2 : 1; /* with gradients of both */
    float *scratch;
    TRY(take_scratch(s, (size_t)(pointers + times * each * (sequence + gathered)) * sizeof(float), &scratch));
    float *scores = scratch + pointers, *kv = scores + times * each * sequence;
    *a = equal_attention();
    a->qkv = qkv;
    a->o = o;
    a->dqkv = dqkv;
    a->scores = scores;
    a->grads = scores + each * sequence;
    a->at = (float **)(void *)scratch;
    a->start = start;
    a->B = B;
    a->L = L;
    a->P = P;
    a->keys = keys;
    a->Ls = Ls;
    a->D = D;
    a->H = H;
    a->dh = D / H;
    a->each = each;
    a->fault = s->fault;
    if (P > 0) {
        a->prefix = prefix;
        a->group = group;
        a->kv = kv;
        a->dkv = kv + each * gathered;
    }
    LAUNCH(s, attention_pointers_kernel, blocks_for(B * H), THREADS, *a);
    return AMMPL_OK;
}

/* One matrix for each head of the part that begins with sequence b. */
static matrices heads(const equal_attention &a, int64_t b, matrix m)
{
    bool gathered = a.kv && (m == K || m == V || m == DK || m == DV);
    return matrices{a.at + (m * a.B + b) * a.H, m == O ? a.D : m == S || m == DS ? a.Ls : gathered ? 2 * a.D : 3 * a.D};
}

/* x = alpha y z, for n sequences from b on. */
static int32_t product(ammpl_stream *s, const equal_attention &a, int64_t b, int64_t n, int64_t rows, int64_t columns, int64_t terms,
                       float alpha, matrix x, matrix y, bool trans_y, matrix z, bool trans_z)
{
    int32_t precision = s->precision == AMMPL_PRECISION_F32 ? AMMPL_PRECISION_F32 : AMMPL_PRECISION_TF32;
    return multiply_each(s, precision, n * a.H, rows, columns, terms, alpha, heads(a, b, y), trans_y, heads(a, b, z), trans_z,
                         heads(a, b, x));
}

static score_rows rows_of(const equal_attention &a, int64_t b, int64_t n)
{
    return score_rows{n * a.H * a.L, (int)(a.H * a.L), (int)a.L, (int)a.keys, (int)a.Ls, a.group ? a.group + b : NULL};
}

/* Keys and values of n sequences from b on where the products find them, and their S. */
static int32_t scores_of(ammpl_stream *s, const equal_attention &a, int64_t b, int64_t n, float scale)
{
    if (a.kv)
        LAUNCH(s, attention_gather_kernel, row_blocks(2 * n * a.keys), THREADS, a, b, n);
    return product(s, a, b, n, a.L, a.keys, a.dh, scale, S, Q, false, K, true);
}

int32_t equal_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t L, int64_t D,
                                int64_t H, float scale, const float *prefix, const int32_t *group, int64_t P)
{
    equal_attention a;
    TRY(prepare(s, &a, out, NULL, qkv, start, B, L, D, H, prefix, group, P));
    for (int64_t b = 0, n; b < B; b += n) {
        n = B - b < a.each ? B - b : a.each;
        TRY(scores_of(s, a, b, n, scale));
        LAUNCH(s, attention_softmax_kernel, row_blocks(n * H * L), THREADS, a.scores, rows_of(a, b, n));
        TRY(product(s, a, b, n, L, a.dh, a.keys, 1, O, S, false, V, false));
    }
    return AMMPL_OK;
}

int32_t equal_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *qkv, const int32_t *start, int64_t B,
                                 int64_t L, int64_t D, int64_t H, float scale, float *dprefix, const float *prefix, const int32_t *group,
                                 int64_t P)
{
    equal_attention a;
    TRY(prepare(s, &a, dout, dqkv, qkv, start, B, L, D, H, prefix, group, P));
    for (int64_t b = 0, n; b < B; b += n) {
        n = B - b < a.each ? B - b : a.each;
        TRY(scores_of(s, a, b, n, scale));
        TRY(product(s, a, b, n, L, a.keys, a.dh, 1, DS, O, false, V, true));
        LAUNCH(s, attention_softmax_backward_kernel, row_blocks(n * H * L), THREADS, a.scores, a.grads, scale, rows_of(a, b, n));
        TRY(product(s, a, b, n, a.keys, a.dh, L, 1, DV, S, true, O, false));
        TRY(product(s, a, b, n, L, a.dh, a.keys, 1, DQ, DS, false, K, false));
        TRY(product(s, a, b, n, a.keys, a.dh, L, 1, DK, DS, true, Q, false));
        if (!a.kv)
            continue;
        LAUNCH(s, attention_scatter_kernel, row_blocks(2 * n * L), THREADS, a, b, n);
        TRY(add_prefixes(s, dprefix, a.dkv + L * 2 * D, a.keys * 2 * D, group + b, n, P, D));
    }
    return AMMPL_OK;
}
