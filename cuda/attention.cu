/* attention.cu - out = softmax(q k^T / sqrt(dh)) v per head, over ragged sequences, and its transpose.
 *
 * Forward: a block takes ROWS queries of one head of one sequence and goes over the keys in tiles; the running maximum and sum of
 * each query are corrected from tile to tile (Milakov & Gimelshein 2018; Dao et al. 2022).  Backward computes probabilities
 * again from each query's maximum and sum, in two kernels: one goes over keys and owns dq, one goes over queries and owns dk
 * and dv, so that nobody adds to what another block adds to.  Tiles start at the sequence's own first row: its numbers do not
 * depend on its neighbours, nor, when causal, on where it is cut.  A masked key counts with probability 0.
 *
 * Tiles lie in shared memory turned, [d][row] in rows of one more than their width, so that threads read neighbouring words
 * whichever way they go.  A thread owns R x C elements of a product: rows ty + TY i, columns tx + TX j.
 * Heads wider than 128 go query by query (below).
 */
#include "common.cuh"

enum { TILE_THREADS = 128 };

/* The arrays of one op; B sequences of up to max_len rows. */
struct attention {
    const float *qkv, *dout, *fout; /* [T,3D], [T,D], [T,D] */
    float *out;                     /* forward: [T,D]; backward: dqkv [T,3D] */
    float *stats;                   /* [H,T,3] of each query: maximum, 1 / sum, <dout, out> */
    const int32_t *start;
    int64_t B, T, D, H, dh, max_len;
    float scale;
    int32_t causal;
    volatile int32_t *fault;
};

/* One head of one sequence: its first row and length; the block's rows begin at `first`. */
struct span {
    int64_t from, length, head, first;
};

/* What block number blockIdx.x has to do: (sequence, head, tile of `rows` rows).  False for all its threads alike: nothing, or
 * start is not what it should be. */
__device__ __forceinline__ bool find_span(const attention &a, int rows, span *s)
{
    int64_t tiles = (a.max_len + rows - 1) / rows, b = blockIdx.x / tiles / a.H, from = a.start[b], to = a.start[b + 1];
    s->head = blockIdx.x / tiles % a.H;
    s->first = blockIdx.x % tiles * rows;
    s->from = from;
    s->length = to - from;
    bool wrong = from < 0 || to > a.T || s->length < 0 || s->length > a.max_len || (b == 0 && from != 0) || (b == a.B - 1 && to != a.T);
    if (wrong && threadIdx.x == 0)
        *a.fault = FAULT_START;
    return !wrong && s->first < s->length;
}

__device__ __forceinline__ const float *query(const attention &a, const span &s)
{
    return a.qkv + s.from * 3 * a.D + s.head * a.dh;
}

__device__ __forceinline__ float *statistics(const attention &a, const span &s)
{
    return a.stats + (s.head * a.T + s.from) * 3;
}

/* ---- tiles of W rows, of which `rows` are the sequence's: what is behind them is left out in whole groups of threads.  FULL
 *      promises that nothing is behind, and that a head fills DH: then every loop has a fixed length. ---- */

#define EACH_ROW(i, limit) UNROLL for (int i = 0; i < R; i++) if (TY * i < (limit))
#define EACH_COLUMN(j, n, limit) UNROLL for (int j = 0; j < (n); j++) if (TX * j < (limit))

/* tile[d][r] = src[r][d]; up to the next multiple of 16 in both directions what is behind `rows` and dh is 0. */
template <int W> __device__ __forceinline__ void load_turned(float *tile, const float *src, int64_t ld, int rows, int dh)
{
    int warp = threadIdx.x / WARP, rows_up = rows < W ? (rows + 15) / 16 * 16 : W;
    for (int r = warp; r < rows_up; r += TILE_THREADS / WARP)
        for (int d = lane_index(); d < (dh + 15) / 16 * 16; d += WARP)
            tile[d * (W + 1) + r] = r < rows && d < dh ? src[r * ld + d] : 0;
}

template <bool FULL, int DH, int R, int C, int TY, int TX, int WA, int WB>
__device__ __forceinline__ void row_product_loop(float (&sum)[R][C], const float *a, const float *b, int rows, int columns, int dh,
                                                 int ty, int tx)
{
    rows = FULL ? WA : rows;
    columns = FULL ? WB : columns;
    dh = FULL ? DH : dh;
    EACH_ROW(i, rows)
        EACH_COLUMN(j, C, columns)
            sum[i][j] = 0;
    for (int d = 0; d < dh; d++)
        EACH_ROW(i, rows)
        {
            float x = a[d * (WA + 1) + ty + TY * i];
            EACH_COLUMN(j, C, columns)
                sum[i][j] = fmaf(x, b[d * (WB + 1) + tx + TX * j], sum[i][j]);
        }
}

/* sum[i][j] = <a row ty + TY i, b row tx + TX j> over dh, both turned, in tiles WA and WB wide. */
template <int DH, int R, int C, int TY, int TX, int WA, int WB>
__device__ __forceinline__ void row_products(float (&sum)[R][C], const float *a, const float *b, int rows, int columns, int dh, int ty,
                                             int tx)
{
    if (rows == WA && columns == WB && dh == DH)
        row_product_loop<true, DH, R, C, TY, TX, WA, WB>(sum, a, b, rows, columns, dh, ty, tx);
    else
        row_product_loop<false, DH, R, C, TY, TX, WA, WB>(sum, a, b, rows, columns, dh, ty, tx);
}

template <bool FULL, int DH, int R, int C, int TY, int TX, int W>
__device__ __forceinline__ void add_weighted_loop(float (&sum)[R][C], const float *weight, const float *b, int rows, int n, int dh,
                                                  int ty, int tx)
{
    rows = FULL ? R * TY : rows;
    n = FULL ? W : n;
    dh = FULL ? DH : dh;
    for (int r = 0; r < n; r++)
        EACH_ROW(i, rows)
        {
            float x = weight[(ty + TY * i) * (W + 1) + r];
            EACH_COLUMN(j, C, dh)
                sum[i][j] = fmaf(x, b[(tx + TX * j) * (W + 1) + r], sum[i][j]);
        }
}

/* sum[i][j] += sum over n rows r of weight[ty + TY i][r] b[tx + TX j][r]: weight in rows of W + 1, b turned. */
template <int DH, int R, int C, int TY, int TX, int W>
__device__ __forceinline__ void add_weighted(float (&sum)[R][C], const float *weight, const float *b, int rows, int n, int dh, int ty,
                                             int tx)
{
    if (rows == R * TY && n == W && dh == DH)
        add_weighted_loop<true, DH, R, C, TY, TX, W>(sum, weight, b, rows, n, dh, ty, tx);
    else
        add_weighted_loop<false, DH, R, C, TY, TX, W>(sum, weight, b, rows, n, dh, ty, tx);
}

/* Scaled scores of a tile of keys from `k0` on; what a query does not see is -infinity. */
template <int R, int C, int TY, int TX>
__device__ __forceinline__ void mask_scores(float (&s)[R][C], const attention &a, const span &h, int64_t q0, int64_t k0, int ty, int tx)
{
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int j = 0; j < C; j++) {
            int64_t q = q0 + ty + TY * i, k = k0 + tx + TX * j;
            s[i][j] = k < h.length && (!a.causal || k <= q) ? s[i][j] * a.scale : -INFINITY;
        }
}

/* How many of the rows from `first` on a tile of w takes. */
__device__ __forceinline__ int rows_left(const span &h, int64_t first, int w)
{
    return h.length - first < w ? (int)(h.length - first) : w;
}

/* Over the TX threads that share a row: neighbours in a warp. */
template <int TX> __device__ __forceinline__ float row_sum(float x)
{
    for (int half = TX / 2; half; half /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, half);
    return x;
}

template <int TX> __device__ __forceinline__ float row_max(float x)
{
    for (int half = TX / 2; half; half /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, half));
    return x;
}

/* Takes a tile of scores into the running maximum and sum of each row: the scores become e^(score - maximum), factor[i] is what
 * earlier sums and outputs must be multiplied with. */
template <int R, int C, int TY, int TX>
__device__ __forceinline__ void take_scores(float (&s)[R][C], float (&max)[R], float (&sum)[R], float (&factor)[R], int rows)
{
    EACH_ROW(i, rows)
    {
        float top = max[i], total = 0;
        UNROLL for (int j = 0; j < C; j++)
            top = fmaxf(top, s[i][j]);
        top = row_max<TX>(top);
        UNROLL for (int j = 0; j < C; j++) {
            s[i][j] = expf(s[i][j] - top);
            total += s[i][j];
        }
        factor[i] = expf(max[i] - top);
        sum[i] = sum[i] * factor[i] + row_sum<TX>(total);
        max[i] = top;
    }
}

/* A tile in rows of W + 1. */
template <int R, int C, int TY, int TX, int W>
__device__ __forceinline__ void put_weights(float *weights, const float (&s)[R][C], int rows, int ty, int tx)
{
    EACH_ROW(i, rows)
        UNROLL for (int j = 0; j < C; j++)
            weights[(ty + TY * i) * (W + 1) + tx + TX * j] = s[i][j];
}

/* ---- forward ---- */

/* DH: room for a head; Q queries of a block, K keys of a tile. */
template <int DH, int Q, int K> static __global__ void __launch_bounds__(TILE_THREADS) attention_forward_kernel(attention a)
{
    constexpr int TY = Q / 4, TX = TILE_THREADS / TY, R = 4, C = K / TX, OC = DH / TX;
    SHARED(float, queries, DH * (Q + 1));
    SHARED(float, keys, DH * (K + 1)); /* and then the values */
    SHARED(float, weights, Q * (K + 1));
    span h;
    if (!find_span(a, Q, &h))
        return;
    int ty = threadIdx.x / TX, tx = threadIdx.x % TX, dh = (int)a.dh, rows = rows_left(h, h.first, Q);
    const float *q = query(a, h) + h.first * 3 * a.D, *k = query(a, h) + a.D, *v = k + a.D;
    float o[R][OC] = {}, max[R], sum[R] = {}, factor[R] = {}, s[R][C] = {};
    UNROLL for (int i = 0; i < R; i++)
        max[i] = -INFINITY;
    load_turned<Q>(queries, q, 3 * a.D, rows, dh);
    int64_t end = a.causal && h.first + Q < h.length ? h.first + Q : h.length;
    for (int64_t k0 = 0; k0 < end; k0 += K) {
        int n = rows_left(h, k0, K);
        load_turned<K>(keys, k + k0 * 3 * a.D, 3 * a.D, n, dh);
        __syncthreads();
        row_products<DH, R, C, TY, TX, Q, K>(s, queries, keys, rows, n, dh, ty, tx);
        mask_scores<R, C, TY, TX>(s, a, h, h.first, k0, ty, tx);
        take_scores<R, C, TY, TX>(s, max, sum, factor, rows);
        EACH_ROW(i, rows)
            EACH_COLUMN(j, OC, dh)
                o[i][j] *= factor[i];
        put_weights<R, C, TY, TX, K>(weights, s, rows, ty, tx);
        __syncthreads(); /* the keys are read, the weights there */
        load_turned<K>(keys, v + k0 * 3 * a.D, 3 * a.D, n, dh);
        __syncthreads();
        add_weighted<DH, R, OC, TY, TX, K>(o, weights, keys, rows, n, dh, ty, tx);
        __syncthreads(); /* the values are read */
    }
    EACH_ROW(i, rows)
    {
        int64_t row = h.first + ty + TY * i;
        EACH_COLUMN(j, OC, dh)
            if (row < h.length && tx + TX * j < dh)
                a.out[(h.from + row) * a.D + h.head * a.dh + tx + TX * j] = o[i][j] / sum[i];
    }
}

/* ---- backward: with P the probabilities and dS = P (dout v^T - <dout, out>) scale,
 *      dq = dS k,  dk = dS^T q,  dv = P^T dout ---- */

/* dq of W queries, and their statistics.  R rows a thread. */
template <int DH, int W, int R> static __global__ void __launch_bounds__(TILE_THREADS) attention_backward_queries_kernel(attention a)
{
    constexpr int TY = W / R, TX = TILE_THREADS / TY, C = W / TX, OC = DH / TX;
    SHARED(float, queries, DH * (W + 1));
    SHARED(float, douts, DH * (W + 1));
    SHARED(float, keys, DH * (W + 1));
    SHARED(float, values, DH * (W + 1));
    SHARED(float, weights, W * (W + 1));
    span h;
    if (!find_span(a, W, &h))
        return;
    int ty = threadIdx.x / TX, tx = threadIdx.x % TX, dh = (int)a.dh, rows = rows_left(h, h.first, W);
    const float *q = query(a, h) + h.first * 3 * a.D, *k = query(a, h) + a.D, *v = k + a.D;
    const float *dout = a.dout + (h.from + h.first) * a.D + h.head * a.dh, *fout = a.fout + (h.from + h.first) * a.D + h.head * a.dh;
    float dq[R][OC] = {}, max[R], sum[R] = {}, dot[R] = {}, factor[R] = {}, s[R][C] = {}, ds[R][C] = {};
    load_turned<W>(queries, q, 3 * a.D, rows, dh);
    load_turned<W>(douts, dout, a.D, rows, dh);
    int64_t end = a.causal && h.first + W < h.length ? h.first + W : h.length;
    UNROLL for (int i = 0; i < R; i++)
        max[i] = -INFINITY;
    EACH_ROW(i, rows)
    {
        int row = ty + TY * i;
        for (int d = tx; d < dh; d += TX)
            if (row < rows)
                dot[i] = fmaf(dout[row * a.D + d], fout[row * a.D + d], dot[i]);
        dot[i] = row_sum<TX>(dot[i]);
    }
    for (int64_t k0 = 0; k0 < end; k0 += W) {
        int n = rows_left(h, k0, W);
        __syncthreads(); /* the tile before is read */
        load_turned<W>(keys, k + k0 * 3 * a.D, 3 * a.D, n, dh);
        __syncthreads();
        row_products<DH, R, C, TY, TX, W, W>(s, queries, keys, rows, n, dh, ty, tx);
        mask_scores<R, C, TY, TX>(s, a, h, h.first, k0, ty, tx);
        take_scores<R, C, TY, TX>(s, max, sum, factor, rows);
    }
    for (int64_t k0 = 0; k0 < end; k0 += W) {
        int n = rows_left(h, k0, W);
        __syncthreads();
        load_turned<W>(keys, k + k0 * 3 * a.D, 3 * a.D, n, dh);
        load_turned<W>(values, v + k0 * 3 * a.D, 3 * a.D, n, dh);
        __syncthreads();
        row_products<DH, R, C, TY, TX, W, W>(s, queries, keys, rows, n, dh, ty, tx);
        mask_scores<R, C, TY, TX>(s, a, h, h.first, k0, ty, tx);
        row_products<DH, R, C, TY, TX, W, W>(ds, douts, values, rows, n, dh, ty, tx);
        EACH_ROW(i, rows)
            EACH_COLUMN(j, C, n)
                ds[i][j] = expf(s[i][j] - max[i]) * (1.0f / sum[i]) * (ds[i][j] - dot[i]) * a.scale;
        put_weights<R, C, TY, TX, W>(weights, ds, rows, ty, tx);
        __syncthreads();
        add_weighted<DH, R, OC, TY, TX, W>(dq, weights, keys, rows, n, dh, ty, tx);
    }
    EACH_ROW(i, rows)
    {
        int row = ty + TY * i;
        if (row >= rows)
            continue;
        EACH_COLUMN(j, OC, dh)
            if (tx + TX * j < dh)
                a.out[(h.from + h.first + row) * 3 * a.D + h.head * a.dh + tx + TX * j] = dq[i][j];
        if (tx == 0) {
            float *stats = statistics(a, h) + (h.first + row) * 3;
            stats[0] = max[i];
            stats[1] = 1.0f / sum[i];
            stats[2] = dot[i];
        }
    }
}

/* dk and dv of W keys: rows are keys, columns queries. */
template <int DH, int W, int R> static __global__ void __launch_bounds__(TILE_THREADS) attention_backward_keys_kernel(attention a)
{
    constexpr int TY = W / R, TX = TILE_THREADS / TY, C = W / TX, OC = DH / TX;
    SHARED(float, queries, DH * (W + 1));
    SHARED(float, douts, DH * (W + 1));
    SHARED(float, keys, DH * (W + 1));
    SHARED(float, values, DH * (W + 1));
    SHARED(float, weights, W * (W + 1));
    span h;
    if (!find_span(a, W, &h))
        return;
    int ty = threadIdx.x / TX, tx = threadIdx.x % TX, dh = (int)a.dh, rows = rows_left(h, h.first, W);
    const float *q = query(a, h), *k = q + a.D + h.first * 3 * a.D, *v = k + a.D, *stats = statistics(a, h);
    const float *dout = a.dout + h.from * a.D + h.head * a.dh;
    float dk[R][OC] = {}, dv[R][OC] = {}, s[R][C] = {}, dp[R][C] = {};
    load_turned<W>(keys, k, 3 * a.D, rows, dh);
    load_turned<W>(values, v, 3 * a.D, rows, dh);
    for (int64_t q0 = a.causal ? h.first : 0; q0 < h.length; q0 += W) { /* h.first is a multiple of W */
        int n = rows_left(h, q0, W);
        __syncthreads();
        load_turned<W>(queries, q + q0 * 3 * a.D, 3 * a.D, n, dh);
        load_turned<W>(douts, dout + q0 * a.D, a.D, n, dh);
        __syncthreads();
        row_products<DH, R, C, TY, TX, W, W>(s, keys, queries, rows, n, dh, ty, tx);
        row_products<DH, R, C, TY, TX, W, W>(dp, values, douts, rows, n, dh, ty, tx);
        EACH_ROW(i, rows)
            EACH_COLUMN(j, C, n)
            {
                int64_t key = h.first + ty + TY * i, row = q0 + tx + TX * j;
                bool seen = row < h.length && (!a.causal || key <= row);
                const float *of = stats + (seen ? row : 0) * 3;
                s[i][j] = seen ? expf(s[i][j] * a.scale - of[0]) * of[1] : 0;
                dp[i][j] = seen ? s[i][j] * (dp[i][j] - of[2]) * a.scale : 0;
            }
        put_weights<R, C, TY, TX, W>(weights, s, rows, ty, tx);
        __syncthreads();
        add_weighted<DH, R, OC, TY, TX, W>(dv, weights, douts, rows, n, dh, ty, tx);
        __syncthreads();
        put_weights<R, C, TY, TX, W>(weights, dp, rows, ty, tx);
        __syncthreads();
        add_weighted<DH, R, OC, TY, TX, W>(dk, weights, queries, rows, n, dh, ty, tx);
    }
    EACH_ROW(i, rows)
    {
        int64_t row = h.first + ty + TY * i;
        EACH_COLUMN(j, OC, dh)
            if (row < h.length && tx + TX * j < dh) {
                float *to = a.out + (h.from + row) * 3 * a.D + a.D + h.head * a.dh + tx + TX * j;
                to[0] = dk[i][j];
                to[a.D] = dv[i][j];
            }
    }
}

/* ---- heads of any width: a warp per query, then per key, as the definition says ---- */

enum { WIDE_ROWS = ROWS_PER_BLOCK };

/* Maximum and 1 / sum of a query's scores. */
__device__ __forceinline__ void wide_normaliser(const attention &a, const float *q, const float *k, int64_t n, float *max, float *inverse)
{
    float top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        float s = warp_dot(q, k + j * 3 * a.D, a.dh) * a.scale, higher = fmaxf(top, s);
        sum = sum * expf(top - higher) + expf(s - higher);
        top = higher;
    }
    *max = top;
    *inverse = 1.0f / sum;
}

static __global__ void wide_attention_forward_kernel(attention a)
{
    span h;
    if (!find_span(a, WIDE_ROWS, &h))
        return;
    int64_t row = h.first + threadIdx.x / WARP, n = a.causal ? row + 1 : h.length;
    if (row >= h.length)
        return;
    const float *q = query(a, h) + row * 3 * a.D, *k = query(a, h) + a.D, *v = k + a.D;
    float *out = a.out + (h.from + row) * a.D + h.head * a.dh, max, inverse;
    wide_normaliser(a, q, k, n, &max, &inverse);
    for (int64_t j = 0; j < n; j++) {
        float p = expf(warp_dot(q, k + j * 3 * a.D, a.dh) * a.scale - max) * inverse;
        for (int64_t d = lane_index(); d < a.dh; d += WARP)
            out[d] = j ? fmaf(p, v[j * 3 * a.D + d], out[d]) : p * v[d];
    }
}

static __global__ void wide_attention_backward_queries_kernel(attention a)
{
    span h;
    if (!find_span(a, WIDE_ROWS, &h))
        return;
    int64_t row = h.first + threadIdx.x / WARP, n = a.causal ? row + 1 : h.length, o = (h.from + row) * a.D + h.head * a.dh;
    if (row >= h.length)
        return;
    const float *q = query(a, h) + row * 3 * a.D, *k = query(a, h) + a.D, *v = k + a.D;
    float *dq = a.out + (h.from + row) * 3 * a.D + h.head * a.dh, *stats = statistics(a, h) + row * 3, max, inverse;
    float dot = warp_dot(a.dout + o, a.fout + o, a.dh);
    wide_normaliser(a, q, k, n, &max, &inverse);
    for (int64_t j = 0; j < n; j++) {
        float p = expf(warp_dot(q, k + j * 3 * a.D, a.dh) * a.scale - max) * inverse;
        float ds = p * (warp_dot(a.dout + o, v + j * 3 * a.D, a.dh) - dot) * a.scale;
        for (int64_t d = lane_index(); d < a.dh; d += WARP)
            dq[d] = j ? fmaf(ds, k[j * 3 * a.D + d], dq[d]) : ds * k[d];
    }
    if (lane_index() == 0) {
        stats[0] = max;
        stats[1] = inverse;
        stats[2] = dot;
    }
}

static __global__ void wide_attention_backward_keys_kernel(attention a)
{
    span h;
    if (!find_span(a, WIDE_ROWS, &h))
        return;
    int64_t row = h.first + threadIdx.x / WARP, first = a.causal ? row : 0;
    if (row >= h.length)
        return;
    const float *q = query(a, h), *k = q + a.D + row * 3 * a.D, *v = k + a.D, *stats = statistics(a, h);
    const float *dout = a.dout + h.from * a.D + h.head * a.dh;
    float *dk = a.out + (h.from + row) * 3 * a.D + a.D + h.head * a.dh, *dv = dk + a.D;
    for (int64_t i = first; i < h.length; i++) {
        const float *of = stats + i * 3, *qi = q + i * 3 * a.D, *g = dout + i * a.D;
        float p = expf(warp_dot(qi, k, a.dh) * a.scale - of[0]) * of[1];
        float ds = p * (warp_dot(g, v, a.dh) - of[2]) * a.scale;
        for (int64_t d = lane_index(); d < a.dh; d += WARP) {
            dk[d] = i > first ? fmaf(ds, qi[d], dk[d]) : ds * qi[d];
            dv[d] = i > first ? fmaf(p, g[d], dv[d]) : p * g[d];
        }
    }
}

/* ---- the ops ---- */

static int32_t check(ammpl_stream *s, const float *a, const float *b, const int32_t *start, int64_t B, int64_t max_len, int64_t T,
                     int64_t D, int64_t H)
{
    REQUIRE(s, B >= 0 && max_len >= 0 && T >= 0 && D >= 1 && H >= 1 && D % H == 0,
            "attention: a negative size, or D is no multiple of H");
    REQUIRE(s, T == 0 || B == 0 || (a && b && start), "attention: an array is NULL");
    REQUIRE(s, T == 0 || (B > 0 && max_len > 0), "attention: start does not go from 0 to T in steps of 0 to max_len");
    return AMMPL_OK;
}

/* Blocks of `rows` rows. */
static unsigned blocks_of(const attention &a, int64_t rows)
{
    return (unsigned)(a.B * a.H * ceil_div(a.max_len, rows));
}

static attention arrays(ammpl_stream *s, const float *qkv, const int32_t *start, int64_t B, int64_t max_len, int64_t T, int64_t D,
                        int64_t H, int32_t causal)
{
    attention a = {};
    a.qkv = qkv;
    a.start = start;
    a.B = B;
    a.T = T;
    a.D = D;
    a.H = H;
    a.dh = D / H;
    a.max_len = max_len;
    a.scale = 1.0f / sqrtf((float)a.dh);
    a.causal = causal;
    a.fault = s->fault;
    return a;
}

int32_t ammpl_cuda_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t max_len,
                                     int64_t T, int64_t D, int64_t H, int32_t causal)
{
    TRY(check(s, out, qkv, start, B, max_len, T, D, H));
    if (T == 0)
        return AMMPL_OK;
    attention a = arrays(s, qkv, start, B, max_len, T, D, H, causal);
    a.out = out;
    if (a.dh <= 64)
        LAUNCH(s, (attention_forward_kernel<64, 64, 32>), blocks_of(a, 64), TILE_THREADS, a);
    else if (a.dh <= 128)
        LAUNCH(s, (attention_forward_kernel<128, 32, 32>), blocks_of(a, 32), TILE_THREADS, a);
    else
        LAUNCH(s, wide_attention_forward_kernel, blocks_of(a, WIDE_ROWS), THREADS, a);
    return AMMPL_OK;
}

int32_t ammpl_cuda_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *out, const float *qkv,
                                      const int32_t *start, int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal)
{
    TRY(check(s, dqkv, qkv, start, B, max_len, T, D, H));
    REQUIRE(s, T == 0 || (dout && out), "attention_backward: dout or out is NULL");
    if (T == 0)
        return AMMPL_OK;
    attention a = arrays(s, qkv, start, B, max_len, T, D, H, causal);
    a.out = dqkv;
    a.dout = dout;
    a.fout = out;
    TRY(take_scratch(s, (size_t)(3 * T * H) * sizeof(float), &a.stats));
    if (a.dh <= 64) {
        LAUNCH(s, (attention_backward_queries_kernel<64, 32, 4>), blocks_of(a, 32), TILE_THREADS, a);
        LAUNCH(s, (attention_backward_keys_kernel<64, 32, 4>), blocks_of(a, 32), TILE_THREADS, a);
    } else if (a.dh <= 128) {
        LAUNCH(s, (attention_backward_queries_kernel<128, 16, 2>), blocks_of(a, 16), TILE_THREADS, a);
        LAUNCH(s, (attention_backward_keys_kernel<128, 16, 2>), blocks_of(a, 16), TILE_THREADS, a);
    } else {
        LAUNCH(s, wide_attention_backward_queries_kernel, blocks_of(a, WIDE_ROWS), THREADS, a);
        LAUNCH(s, wide_attention_backward_keys_kernel, blocks_of(a, WIDE_ROWS), THREADS, a);
    }
    return AMMPL_OK;
}
