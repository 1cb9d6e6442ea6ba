/* attention.cu - out = softmax(q k^T / sqrt(dh)) v per head, over ragged sequences, and its transpose.
 *
 * A sequence's keys are numbered from 0: first those of its prefix, where it has one, then its own; its queries are its own
 * only.
 *
 * Forward: a block takes ROWS queries of one head of one sequence and goes over the keys in tiles; the running maximum and sum of
 * each query are corrected from tile to tile (Milakov & Gimelshein 2018; Dao et al. 2022).  Backward computes probabilities
 * again from each query's maximum and sum, in two kernels: one goes over keys and owns dq, one goes over queries and owns dk
 * and dv, so that nobody adds to what another block adds to; what belongs to a prefix is put aside per sequence and added up in
 * their order.  Tiles of keys start at key 0: a sequence's numbers do not depend on its neighbours, nor, when causal, on where it
 * is cut, nor on whether it begins with a prefix or with the same rows of its own.  A masked key counts with probability 0.
 *
 * Tiles lie in shared memory turned, [d][row] in rows of one more than their width, so that threads read neighbouring words
 * whichever way they go.  A thread owns R x C elements of a product: rows ty + TY i, columns tx + TX j.
 * Heads wider than 128 go query by query (below).  Sequences of one length that are not causal go through attention_equal.cu.
 */
#include "common.cuh"

enum { TILE_THREADS = 128 };

/* The arrays of one op; B sequences of up to max_len rows. */
struct attention {
    const float *qkv, *dout, *fout; /* [T,3D], [T,D], [T,D] */
    float *out;                     /* forward: [T,D]; backward: dqkv [T,3D] */
    float *stats;                   /* [H,T,3] of each query: maximum, 1 / sum, <dout, out> */
    const float *prefix;            /* [.,3D]: the P rows that the sequences of a group begin with */
    const int32_t *group;           /* [B] */
    float *aside;                   /* [sequences of this launch, P, 2D]: dk and dv of prefixes */
    const int32_t *start;
    int64_t B, T, D, H, dh, max_len, P;
    int64_t first; /* sequence of this launch */
    float scale;
    int32_t causal;
    volatile int32_t *fault;
};

/* One head of one sequence: its number, its first own row, how many it has, how many keys stand before them, and where the
 * block's rows begin. */
struct span {
    int64_t b, from, length, before, head, first;
};

/* What block number blockIdx.x has to do: (sequence, head, tile of `rows` queries or keys).  False for all its threads alike:
 * nothing, or start is not what it should be. */
__device__ __forceinline__ bool find_span(const attention &a, int rows, bool of_keys, span *s)
{
    int64_t most = of_keys ? a.max_len + a.P : a.max_len, tiles = (most + rows - 1) / rows, b = a.first + blockIdx.x / tiles / a.H;
    int64_t from = a.start[b], to = a.start[b + 1];
    s->b = b;
    s->head = blockIdx.x / tiles % a.H;
    s->first = blockIdx.x % tiles * rows;
    s->from = from;
    s->length = to - from;
    s->before = a.P > 0 && a.group[b] >= 0 ? a.P : 0;
    bool wrong = from < 0 || to > a.T || s->length < 0 || s->length > a.max_len || (b == 0 && from != 0) || (b == a.B - 1 && to != a.T);
    if (wrong && threadIdx.x == 0)
        *a.fault = FAULT_START;
    return !wrong && s->first < (of_keys ? s->before + s->length : s->length);
}

/* A sequence's queries (part 0), keys (1) or values (2) of one head, 3D apart: numbered as keys are. */
struct row_source {
    const float *before, *own;
    int64_t P, ld;
};

__device__ __forceinline__ row_source rows_of(const attention &a, const span &s, int part)
{
    int64_t column = part * a.D + s.head * a.dh;
    const float *before = s.before ? a.prefix + a.group[s.b] * a.P * 3 * a.D + column : NULL;
    return row_source{before, a.qkv + s.from * 3 * a.D + column, part ? s.before : 0, 3 * a.D};
}

__device__ __forceinline__ const float *row_at(const row_source &r, int64_t i)
{
    return i < r.P ? r.before + i * r.ld : r.own + (i - r.P) * r.ld;
}

/* Of dout or out, which only own rows have. */
__device__ __forceinline__ row_source output_rows(const attention &a, const span &s, const float *x)
{
    return row_source{NULL, x + s.from * a.D + s.head * a.dh, 0, a.D};
}

__device__ __forceinline__ float *statistics(const attention &a, const span &s)
{
    return a.stats + (s.head * a.T + s.from) * 3;
}

/* Where dk of key i goes, dv being `step` behind it: the sequence's own row, or aside. */
__device__ __forceinline__ float *key_gradient(const attention &a, const span &s, int64_t i, int64_t *step)
{
    *step = a.D;
    if (i >= s.before)
        return a.out + (s.from + i - s.before) * 3 * a.D + a.D + s.head * a.dh;
    return a.aside + ((s.b - a.first) * a.P + i) * 2 * a.D + s.head * a.dh;
}

/* ---- tiles of W rows, of which `rows` are the sequence's: what is behind them is left out in whole groups of threads.  FULL
 *      promises that nothing is behind, and that a head fills DH: then every loop has a fixed length. ---- */

#define EACH_ROW(i, limit) UNROLL for (int i = 0; i < R; i++) if (TY * i < (limit))
#define EACH_COLUMN(j, n, limit) UNROLL for (int j = 0; j < (n); j++) if (TX * j < (limit))

/* tile[d][r] = row first + r of src; up to the next multiple of 16 in both directions what is behind n and dh is 0. */
template <int W> __device__ __forceinline__ void load_turned(float *tile, const row_source &src, int64_t first, int n, int dh)
{
    int warp = threadIdx.x / WARP, n_up = n < W ? (n + 15) / 16 * 16 : W;
    for (int r = warp; r < n_up; r += TILE_THREADS / WARP) {
        const float *row = row_at(src, first + (r < n ? r : 0));
        for (int d = lane_index(); d < (dh + 15) / 16 * 16; d += WARP)
            tile[d * (W + 1) + r] = r < n && d < dh ? row[d] : 0;
    }
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
            s[i][j] = k < h.before + h.length && (!a.causal || k <= h.before + q) ? s[i][j] * a.scale : -INFINITY;
        }
}

/* How many of n rows, from `first` on, a tile of w takes. */
__device__ __forceinline__ int rows_left(int64_t n, int64_t first, int w)
{
    return n - first < w ? (int)(n - first) : w;
}

/* Behind the last key that the w queries from h.first on see. */
__device__ __forceinline__ int64_t last_key(const attention &a, const span &h, int w)
{
    return h.before + (a.causal && h.first + w < h.length ? h.first + w : h.length);
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
template <int DH, int Q, int K> static __global__ void __launch_bounds__(TILE_THREADS, 4) attention_forward_kernel(attention a)
{
    constexpr int TY = Q / 4, TX = TILE_THREADS / TY, R = 4, C = K / TX, OC = DH / TX;
    SHARED(float, queries, DH * (Q + 1));
    SHARED(float, keys, DH * (K + 1)); /* and then the values */
    SHARED(float, weights, Q * (K + 1));
    span h;
    if (!find_span(a, Q, false, &h))
        return;
    int ty = threadIdx.x / TX, tx = threadIdx.x % TX, dh = (int)a.dh, rows = rows_left(h.length, h.first, Q);
    float o[R][OC] = {}, max[R], sum[R] = {}, factor[R] = {}, s[R][C] = {};
    UNROLL for (int i = 0; i < R; i++)
        max[i] = -INFINITY;
    load_turned<Q>(queries, rows_of(a, h, 0), h.first, rows, dh);
    int64_t end = last_key(a, h, Q);
    for (int64_t k0 = 0; k0 < end; k0 += K) {
        int n = rows_left(h.before + h.length, k0, K);
        load_turned<K>(keys, rows_of(a, h, 1), k0, n, dh);
        __syncthreads();
        row_products<DH, R, C, TY, TX, Q, K>(s, queries, keys, rows, n, dh, ty, tx);
        mask_scores<R, C, TY, TX>(s, a, h, h.first, k0, ty, tx);
        take_scores<R, C, TY, TX>(s, max, sum, factor, rows);
        EACH_ROW(i, rows)
            EACH_COLUMN(j, OC, dh)
                o[i][j] *= factor[i];
        put_weights<R, C, TY, TX, K>(weights, s, rows, ty, tx);
        __syncthreads(); /* the keys are read, the weights there */
        load_turned<K>(keys, rows_of(a, h, 2), k0, n, dh);
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
template <int DH, int W, int R> static __global__ void __launch_bounds__(TILE_THREADS, 4) attention_backward_queries_kernel(attention a)
{
    constexpr int TY = W / R, TX = TILE_THREADS / TY, C = W / TX, OC = DH / TX;
    SHARED(float, queries, DH * (W + 1));
    SHARED(float, douts, DH * (W + 1));
    SHARED(float, keys, DH * (W + 1));
    SHARED(float, values, DH * (W + 1));
    SHARED(float, weights, W * (W + 1));
    span h;
    if (!find_span(a, W, false, &h))
        return;
    int ty = threadIdx.x / TX, tx = threadIdx.x % TX, dh = (int)a.dh, rows = rows_left(h.length, h.first, W);
    const float *dout = row_at(output_rows(a, h, a.dout), h.first), *fout = row_at(output_rows(a, h, a.fout), h.first);
    float dq[R][OC] = {}, max[R], sum[R] = {}, dot[R] = {}, factor[R] = {}, s[R][C] = {}, ds[R][C] = {};
    load_turned<W>(queries, rows_of(a, h, 0), h.first, rows, dh);
    load_turned<W>(douts, output_rows(a, h, a.dout), h.first, rows, dh);
    int64_t end = last_key(a, h, W);
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
        int n = rows_left(h.before + h.length, k0, W);
        __syncthreads(); /* the tile before is read */
        load_turned<W>(keys, rows_of(a, h, 1), k0, n, dh);
        __syncthreads();
        row_products<DH, R, C, TY, TX, W, W>(s, queries, keys, rows, n, dh, ty, tx);
        mask_scores<R, C, TY, TX>(s, a, h, h.first, k0, ty, tx);
        take_scores<R, C, TY, TX>(s, max, sum, factor, rows);
    }
    for (int64_t k0 = 0; k0 < end; k0 += W) {
        int n = rows_left(h.before + h.length, k0, W);
        __syncthreads();
        load_turned<W>(keys, rows_of(a, h, 1), k0, n, dh);
        load_turned<W>(values, rows_of(a, h, 2), k0, n, dh);
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
template <int DH, int W, int R> static __global__ void __launch_bounds__(TILE_THREADS, 4) attention_backward_keys_kernel(attention a)
{
    constexpr int TY = W / R, TX = TILE_THREADS / TY, C = W / TX, OC = DH / TX;
    SHARED(float, queries, DH * (W + 1));
    SHARED(float, douts, DH * (W + 1));
    SHARED(float, keys, DH * (W + 1));
    SHARED(float, values, DH * (W + 1));
    SHARED(float, weights, W * (W + 1));
    span h;
    if (!find_span(a, W, true, &h))
        return;
    int ty = threadIdx.x / TX, tx = threadIdx.x % TX, dh = (int)a.dh, rows = rows_left(h.before + h.length, h.first, W);
    const float *stats = statistics(a, h);
    int64_t first_query = a.causal && h.first > h.before ? h.first - h.before : 0;
    float dk[R][OC] = {}, dv[R][OC] = {}, s[R][C] = {}, dp[R][C] = {};
    load_turned<W>(keys, rows_of(a, h, 1), h.first, rows, dh);
    load_turned<W>(values, rows_of(a, h, 2), h.first, rows, dh);
    for (int64_t q0 = first_query; q0 < h.length; q0 += W) {
        int n = rows_left(h.length, q0, W);
        __syncthreads();
        load_turned<W>(queries, rows_of(a, h, 0), q0, n, dh);
        load_turned<W>(douts, output_rows(a, h, a.dout), q0, n, dh);
        __syncthreads();
        row_products<DH, R, C, TY, TX, W, W>(s, keys, queries, rows, n, dh, ty, tx);
        row_products<DH, R, C, TY, TX, W, W>(dp, values, douts, rows, n, dh, ty, tx);
        EACH_ROW(i, rows)
            EACH_COLUMN(j, C, n)
            {
                int64_t key = h.first + ty + TY * i, row = q0 + tx + TX * j;
                bool seen = row < h.length && (!a.causal || key <= h.before + row);
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
        int64_t step;
        if (ty + TY * i >= rows)
            continue;
        float *to = key_gradient(a, h, h.first + ty + TY * i, &step);
        EACH_COLUMN(j, OC, dh)
            if (tx + TX * j < dh) {
                to[tx + TX * j] = dk[i][j];
                to[tx + TX * j + step] = dv[i][j];
            }
    }
}

/* ---- heads of any width: a warp per query, then per key, as the definition says ---- */

enum { WIDE_ROWS = ROWS_PER_BLOCK };

/* Maximum and 1 / sum of a query's scores. */
__device__ __forceinline__ void wide_normaliser(const attention &a, const float *q, const row_source &k, int64_t n, float *max, float *inverse)
{
    float top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        float s = warp_dot(q, row_at(k, j), a.dh) * a.scale, higher = fmaxf(top, s);
        sum = sum * expf(top - higher) + expf(s - higher);
        top = higher;
    }
    *max = top;
    *inverse = 1.0f / sum;
}

static __global__ void wide_attention_forward_kernel(attention a)
{
    span h;
    if (!find_span(a, WIDE_ROWS, false, &h))
        return;
    int64_t row = h.first + threadIdx.x / WARP, n = h.before + (a.causal ? row + 1 : h.length);
    if (row >= h.length)
        return;
    row_source k = rows_of(a, h, 1), v = rows_of(a, h, 2);
    const float *q = row_at(rows_of(a, h, 0), row);
    float *out = a.out + (h.from + row) * a.D + h.head * a.dh, max, inverse;
    wide_normaliser(a, q, k, n, &max, &inverse);
    for (int64_t j = 0; j < n; j++) {
        float p = expf(warp_dot(q, row_at(k, j), a.dh) * a.scale - max) * inverse;
        const float *value = row_at(v, j);
        for (int64_t d = lane_index(); d < a.dh; d += WARP)
            out[d] = j ? fmaf(p, value[d], out[d]) : p * value[d];
    }
}

static __global__ void wide_attention_backward_queries_kernel(attention a)
{
    span h;
    if (!find_span(a, WIDE_ROWS, false, &h))
        return;
    int64_t row = h.first + threadIdx.x / WARP, n = h.before + (a.causal ? row + 1 : h.length);
    if (row >= h.length)
        return;
    row_source k = rows_of(a, h, 1), v = rows_of(a, h, 2);
    const float *q = row_at(rows_of(a, h, 0), row), *g = row_at(output_rows(a, h, a.dout), row);
    float *dq = a.out + (h.from + row) * 3 * a.D + h.head * a.dh, *stats = statistics(a, h) + row * 3, max, inverse;
    float dot = warp_dot(g, row_at(output_rows(a, h, a.fout), row), a.dh);
    wide_normaliser(a, q, k, n, &max, &inverse);
    for (int64_t j = 0; j < n; j++) {
        const float *key = row_at(k, j);
        float p = expf(warp_dot(q, key, a.dh) * a.scale - max) * inverse;
        float ds = p * (warp_dot(g, row_at(v, j), a.dh) - dot) * a.scale;
        for (int64_t d = lane_index(); d < a.dh; d += WARP)
            dq[d] = j ? fmaf(ds, key[d], dq[d]) : ds * key[d];
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
    if (!find_span(a, WIDE_ROWS, true, &h))
        return;
    int64_t key = h.first + threadIdx.x / WARP, first = a.causal && key > h.before ? key - h.before : 0, step;
    if (key >= h.before + h.length)
        return;
    row_source q = rows_of(a, h, 0), dout = output_rows(a, h, a.dout);
    const float *k = row_at(rows_of(a, h, 1), key), *v = row_at(rows_of(a, h, 2), key), *stats = statistics(a, h);
    float *dk = key_gradient(a, h, key, &step), *dv = dk + step;
    for (int64_t d = lane_index(); d < a.dh; d += WARP)
        dk[d] = dv[d] = 0;
    for (int64_t i = first; i < h.length; i++) {
        const float *of = stats + i * 3, *query = row_at(q, i), *g = row_at(dout, i);
        float p = expf(warp_dot(query, k, a.dh) * a.scale - of[0]) * of[1];
        float ds = p * (warp_dot(g, v, a.dh) - of[2]) * a.scale;
        for (int64_t d = lane_index(); d < a.dh; d += WARP) {
            dk[d] = fmaf(ds, query[d], dk[d]);
            dv[d] = fmaf(p, g[d], dv[d]);
        }
    }
}

/* ---- what was put aside ---- */

static __global__ void attention_prefix_kernel(float *dprefix, const float *aside, int64_t stride, const int32_t *group, int64_t n,
                                               int64_t P, int64_t D)
{
    if (group[blockIdx.x] < 0)
        return;
    float *to = dprefix + group[blockIdx.x] * P * 3 * D;
    for_equal(group, blockIdx.x, n, [=](int64_t b) {
        for (int64_t i = (int64_t)blockIdx.y * THREADS + threadIdx.x; i < P * 2 * D; i += (int64_t)gridDim.y * THREADS)
            to[i / (2 * D) * 3 * D + D + i % (2 * D)] += aside[b * stride + i];
    });
}

int32_t add_prefixes(ammpl_stream *s, float *dprefix, const float *aside, int64_t stride, const int32_t *group, int64_t n, int64_t P,
                     int64_t D)
{
    LAUNCH(s, attention_prefix_kernel, dim3((unsigned)n, (unsigned)ceil_div(P * 2 * D, 4 * THREADS)), THREADS, dprefix, aside, stride, group,
           n, P, D);
    return AMMPL_OK;
}

/* ---- the ops ---- */

/* Checks what both ops are given and fills the job with it. */
static int32_t prepare(ammpl_stream *s, attention *a, const float *written, const float *qkv, const int32_t *start, int64_t B,
                       int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal, const float *prefix, const int32_t *group,
                       int64_t P)
{
    REQUIRE(s, B >= 0 && max_len >= 0 && T >= 0 && D >= 1 && H >= 1 && D % H == 0 && P >= 0,
            "attention: a negative size, or D is no multiple of H");
    REQUIRE(s, T == 0 || B == 0 || (written && qkv && start && (P == 0 || (prefix && group))), "attention: an array is NULL");
    REQUIRE(s, T == 0 || (B > 0 && max_len > 0), "attention: start does not go from 0 to T in steps of 0 to max_len");
    *a = attention();
    a->qkv = qkv;
    a->start = start;
    a->prefix = prefix;
    a->group = group;
    a->B = B;
    a->T = T;
    a->D = D;
    a->H = H;
    a->dh = D / H;
    a->max_len = max_len;
    a->P = P;
    a->scale = 1.0f / sqrtf((float)a->dh);
    a->causal = causal;
    a->fault = s->fault;
    return AMMPL_OK;
}

/* Blocks for n sequences in tiles of `tile` out of `most` rows. */
static unsigned blocks_of(const attention &a, int64_t n, int64_t most, int64_t tile)
{
    return (unsigned)(n * a.H * ceil_div(most, tile));
}

int32_t ammpl_cuda_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t max_len,
                                     int64_t T, int64_t D, int64_t H, int32_t causal, const float *prefix, const int32_t *group, int64_t P)
{
    attention a;
    TRY(prepare(s, &a, out, qkv, start, B, max_len, T, D, H, causal, prefix, group, P));
    if (T == 0)
        return AMMPL_OK;
    if (attention_is_equal(qkv, out, NULL, B, max_len, T, a.dh, causal, P))
        return equal_attention_forward(s, out, qkv, start, B, max_len, D, H, a.scale, prefix, group, P);
    a.out = out;
    if (a.dh <= 64)
        LAUNCH(s, (attention_forward_kernel<64, 64, 32>), blocks_of(a, B, max_len, 64), TILE_THREADS, a);
    else if (a.dh <= 128)
        LAUNCH(s, (attention_forward_kernel<128, 32, 32>), blocks_of(a, B, max_len, 32), TILE_THREADS, a);
    else
        LAUNCH(s, wide_attention_forward_kernel, blocks_of(a, B, max_len, WIDE_ROWS), THREADS, a);
    return AMMPL_OK;
}

static int32_t backward_queries(ammpl_stream *s, const attention &a)
{
    if (a.dh <= 64)
        LAUNCH(s, (attention_backward_queries_kernel<64, 32, 4>), blocks_of(a, a.B, a.max_len, 32), TILE_THREADS, a);
    else if (a.dh <= 128)
        LAUNCH(s, (attention_backward_queries_kernel<128, 16, 2>), blocks_of(a, a.B, a.max_len, 16), TILE_THREADS, a);
    else
        LAUNCH(s, wide_attention_backward_queries_kernel, blocks_of(a, a.B, a.max_len, WIDE_ROWS), THREADS, a);
    return AMMPL_OK;
}

/* Of n sequences from a.first on. */
static int32_t backward_keys(ammpl_stream *s, const attention &a, int64_t n)
{
    int64_t most = a.max_len + a.P;
    if (a.dh <= 64)
        LAUNCH(s, (attention_backward_keys_kernel<64, 32, 4>), blocks_of(a, n, most, 32), TILE_THREADS, a);
    else if (a.dh <= 128)
        LAUNCH(s, (attention_backward_keys_kernel<128, 16, 2>), blocks_of(a, n, most, 16), TILE_THREADS, a);
    else
        LAUNCH(s, wide_attention_backward_keys_kernel, blocks_of(a, n, most, WIDE_ROWS), THREADS, a);
    return AMMPL_OK;
}

enum { ASIDE_FLOATS = 8 << 20 }; /* that prefixes may have put aside: sequences go in parts, the sums stay in their order */

int32_t ammpl_cuda_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *out, const float *qkv,
                                      const int32_t *start, int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal,
                                      float *dprefix, const float *prefix, const int32_t *group, int64_t P)
{
    attention a;
    TRY(prepare(s, &a, dqkv, qkv, start, B, max_len, T, D, H, causal, prefix, group, P));
    REQUIRE(s, T == 0 || (dout && out && (P == 0 || dprefix)), "attention_backward: dout, out or dprefix is NULL");
    if (T == 0)
        return AMMPL_OK;
    if (attention_is_equal(qkv, dout, dqkv, B, max_len, T, a.dh, causal, P))
        return equal_attention_backward(s, dqkv, dout, qkv, start, B, max_len, D, H, a.scale, dprefix, prefix, group, P);
    int64_t each = P > 0 ? ASIDE_FLOATS / (P * 2 * D) : B, part = each < 1 ? 1 : each < B ? each : B;
    a.out = dqkv;
    a.dout = dout;
    a.fout = out;
    TRY(take_scratch(s, (size_t)(3 * T * H + part * P * 2 * D) * sizeof(float), &a.stats));
    a.aside = a.stats + 3 * T * H;
    TRY(backward_queries(s, a));
    for (; a.first < B; a.first += part) {
        int64_t n = B - a.first < part ? B - a.first : part;
        TRY(backward_keys(s, a, n));
        if (P > 0)
            TRY(add_prefixes(s, dprefix, a.aside, P * 2 * D, group + a.first, n, P, D));
    }
    return AMMPL_OK;
}
