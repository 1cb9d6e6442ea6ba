/* linear.cu - y = act(x W^T + bias) + residual and dx = (dy W) act'(pre) for frozen W: a product, then one pass over it.
 *
 * W lies in device memory as the file stores it, as float: the product is told whether that is [N,K] or [K,N].  A stream of
 * AMMPL_PRECISION_BF16 or F16 keeps it rounded to such, and rounds x or dy before the product; what comes out is float.
 *
 * F16 has 10 bits of fraction between 2^-14 and 2^16 only.  So what is rounded to it is multiplied with a power of two first, which
 * brings its largest magnitude to [2^14, 2^15): a weight as a whole (a file's own F16 stay as they are), x and dy row by row.
 * Then nothing overflows, and only what is 2^28 times smaller than the largest loses bits: as little as it adds to a sum.  The
 * product's alpha takes back the weight's power, the pass over its result those of the rows.
 */
#include "common.cuh"

#include <math.h>

/* ---- the weight ---- */

static __global__ void widen_kernel(float *dst, const void *src, int32_t dtype, int64_t n)
{
    for (int64_t i = first_index(); i < n; i += index_step())
        dst[i] = read_value(src, dtype, i);
}

static __device__ __forceinline__ uint32_t to_half(float x, int32_t dtype)
{
    return dtype == AMMPL_DTYPE_F16 ? to_f16(x) : to_bf16(x);
}

/* dst = scale src rounded to BF16 or F16, n of them: two to a word, which one thread writes; behind an odd n stands a zero. */
static __global__ void narrow_kernel(uint32_t *dst, int32_t dtype, const float *src, float scale, int64_t n)
{
    for (int64_t i = first_index(); 2 * i < n; i += index_step())
        dst[i] = to_half(scale * src[2 * i], dtype) | (2 * i + 1 < n ? to_half(scale * src[2 * i + 1], dtype) << 16 : 0);
}

static size_t half_bytes(int64_t n)
{
    return (size_t)ceil_div(n, 2) * sizeof(uint32_t);
}

static int32_t narrow(ammpl_stream *s, void *dst, int32_t dtype, const float *src, float scale, int64_t n)
{
    LAUNCH(s, narrow_kernel, blocks_for(ceil_div(n, 2)), THREADS, (uint32_t *)dst, dtype, src, scale, n);
    return AMMPL_OK;
}

/* The float 2^e that brings a magnitude to [2^14, 2^15), as its exponent's eight bits (254 less them are 2^-e); what is below 2^-112
 * is brought as far as 2^126 does: F16 holds float's least number still.  largest: the magnitude's bits; NaN and infinity give a
 * power, too, and stay what they are. */
static __host__ __device__ __forceinline__ uint32_t exponent_for(uint32_t largest)
{
    uint32_t exponent = 268 - (largest >> 23);
    return exponent < 253 ? exponent : 253;
}

/* The bits of the largest magnitude among a file's F32 or BF16, wherever they begin. */
static uint32_t largest_of(const void *src_host, int32_t dtype, int64_t n)
{
    const char *src = (const char *)src_host;
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        uint16_t half;
        if (dtype == AMMPL_DTYPE_F32) {
            memcpy(&bits, src + i * 4, 4);
        } else {
            memcpy(&half, src + i * 2, 2);
            bits = (uint32_t)half << 16;
        }
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* The file's numbers as float in dst. */
static int32_t upload_floats(ammpl_stream *s, float *dst, const void *src_host, int32_t dtype, int64_t n, void *raw)
{
    if (dtype == AMMPL_DTYPE_F32)
        return ammpl_cuda_upload(s, dst, src_host, (size_t)n * sizeof(float));
    TRY(ammpl_cuda_upload(s, raw, src_host, (size_t)n * sizeof(uint16_t)));
    LAUNCH(s, widen_kernel, blocks_for(n), THREADS, dst, (const void *)raw, dtype, n);
    return AMMPL_OK;
}

static int32_t fill_weight(ammpl_stream *s, ammpl_weight *w, const void *src_host, int32_t dtype)
{
    int64_t n = w->N * w->K;
    w->dtype = s->precision == AMMPL_PRECISION_BF16  ? AMMPL_DTYPE_BF16
               : s->precision == AMMPL_PRECISION_F16 ? AMMPL_DTYPE_F16
                                                     : AMMPL_DTYPE_F32;
    w->unit = 1;
    bool narrowed = w->dtype != AMMPL_DTYPE_F32;
    TRY(ammpl_cuda_alloc(s, narrowed ? half_bytes(n) : (size_t)n * sizeof(float), &w->value));
    if (narrowed && dtype == w->dtype)
        return ammpl_cuda_upload(s, w->value, src_host, (size_t)n * sizeof(uint16_t));
    if (w->dtype == AMMPL_DTYPE_F16)
        w->unit = ldexpf(1, 127 - (int)exponent_for(largest_of(src_host, dtype, n)));
    float *scratch; /* the floats on their way to halves, and the file's halves */
    int64_t floats = narrowed ? n : 0;
    TRY(take_scratch(s, (size_t)floats * sizeof(float) + (dtype == AMMPL_DTYPE_F32 ? 0 : half_bytes(n)), &scratch));
    TRY(upload_floats(s, narrowed ? scratch : (float *)w->value, src_host, dtype, n, scratch + floats));
    return narrowed ? narrow(s, w->value, w->dtype, scratch, 1 / w->unit, n) : AMMPL_OK;
}

int32_t ammpl_cuda_weight_create(ammpl_stream *s, const void *src_host, int32_t dtype, int32_t flags, int64_t N, int64_t K,
                                 ammpl_weight **out)
{
    REQUIRE(s, out, "weight_create: out is NULL");
    *out = NULL;
    REQUIRE(s, src_host && N >= 1 && K >= 1, "weight_create: src_host is NULL, or N or K is below 1");
    REQUIRE(s, dtype >= AMMPL_DTYPE_F32 && dtype <= AMMPL_DTYPE_BF16, "weight_create: dtype is none of AMMPL_DTYPE_*");
    if (N > INT64_MAX / 8 / K)
        return s->host->fail(AMMPL_E_MEMORY, "weight_create: more bytes than can be addressed");
    ammpl_weight *w = (ammpl_weight *)s->host->alloc(s->host->user, sizeof *w);
    if (!w)
        return s->host->fail(AMMPL_E_MEMORY, "out of memory: no room for a weight");
    w->N = N;
    w->K = K;
    w->transposed = flags & AMMPL_WEIGHT_TRANSPOSED;
    int32_t status = fill_weight(s, w, src_host, dtype);
    if (status < 0) {
        ammpl_cuda_weight_destroy(s, w);
        return status;
    }
    *out = w;
    return AMMPL_OK;
}

void ammpl_cuda_weight_destroy(ammpl_stream *s, ammpl_weight *w)
{
    if (!w)
        return;
    ammpl_cuda_release(s, w->value);
    s->host->release(s->host->user, w);
}

/* ---- the left factor ---- */

/* The rows of x [T,K] as F16, each times a power of two; inverse [T] receives what takes that back.  A warp reads its row for the
 * largest magnitude, and again, from cache, for the words that begin in it: with an odd K the last one may end in the next row.  A
 * block's first row begins with a word. */
static __global__ void narrow_rows_kernel(uint32_t *dst, float *inverse, const float *x, int64_t T, int64_t K)
{
    SHARED(float, scale, ROWS_PER_BLOCK);
    int warp = (int)threadIdx.x / WARP;
    for (int64_t row = first_row(); row - warp < T; row += row_step()) {
        int64_t from = row * K, to = row < T ? from + K : from;
        uint32_t largest = 0;
        for (int64_t i = from + lane_index(); i < to; i += WARP) {
            uint32_t size = __float_as_uint(x[i]) & 0x7fffffffu;
            largest = size > largest ? size : largest;
        }
        for (int half = WARP / 2; half; half /= 2) {
            uint32_t other = __shfl_xor_sync(ALL_LANES, largest, half);
            largest = other > largest ? other : largest;
        }
        uint32_t exponent = exponent_for(largest);
        if (lane_index() == 0) {
            scale[warp] = __uint_as_float(exponent << 23);
            if (row < T)
                inverse[row] = __uint_as_float((254 - exponent) << 23);
        }
        __syncthreads();
        for (int64_t i = (from + 1) / 2 * 2 + 2 * lane_index(); i < to; i += 2 * WARP) {
            uint32_t low = to_f16(scale[warp] * x[i]);
            uint32_t high = i + 1 < T * K ? to_f16(scale[i + 1 < to ? warp : warp + 1] * x[i + 1]) : 0;
            dst[i / 2] = low | high << 16;
        }
        __syncthreads(); /* scale is written again */
    }
}

/* A left factor [T,K] as a product with w wants it, and, of F16, what the result's rows are to be multiplied with: [T], else NULL. */
struct left_factor {
    const void *value;
    const float *inverse;
};

static size_t float_bytes(int64_t n) /* what lies behind begins where tensor cores like it */
{
    return (size_t)ceil_div(n, 64) * 64 * sizeof(float);
}

static size_t left_bytes(const ammpl_weight *w, int64_t T, int64_t K)
{
    return w->dtype == AMMPL_DTYPE_F32 ? 0 : half_bytes(T * K) + (w->dtype == AMMPL_DTYPE_F16 ? float_bytes(T) : 0);
}

/* x itself, or rounded in `room`, of left_bytes. */
static int32_t make_left(ammpl_stream *s, const ammpl_weight *w, const float *x, int64_t T, int64_t K, char *room, left_factor *out)
{
    *out = {x, NULL};
    if (w->dtype == AMMPL_DTYPE_F32)
        return AMMPL_OK;
    out->value = room;
    if (w->dtype == AMMPL_DTYPE_BF16)
        return narrow(s, room, AMMPL_DTYPE_BF16, x, 1, T * K);
    float *inverse = (float *)room;
    *out = {room + float_bytes(T), inverse};
    LAUNCH(s, narrow_rows_kernel, row_blocks(T), THREADS, (uint32_t *)(room + float_bytes(T)), inverse, x, T, K);
    return AMMPL_OK;
}

static int32_t precision_of(const ammpl_stream *s, const ammpl_weight *w)
{
    switch (w->dtype) {
    case AMMPL_DTYPE_BF16: return AMMPL_PRECISION_BF16;
    case AMMPL_DTYPE_F16: return AMMPL_PRECISION_F16;
    default: return s->precision == AMMPL_PRECISION_TF32 ? AMMPL_PRECISION_TF32 : AMMPL_PRECISION_F32;
    }
}

/* ---- the layer ---- */

enum { ROWS_EACH = 4 }; /* that a thread finishes in its column */

/* pre = sum inverse + bias, y = act(pre) + residual; pre or y may be sum, residual may be y.  [T,N], inverse [T] */
static __global__ void finish_kernel(float *y, float *pre, const float *sum, const float *inverse, const float *bias,
                                     const float *residual, int32_t act, int64_t T, int64_t N)
{
    int64_t n = first_index();
    if (n >= N)
        return;
    float add = bias ? bias[n] : 0;
    for (int64_t t0 = (int64_t)blockIdx.y * ROWS_EACH; t0 < T; t0 += (int64_t)gridDim.y * ROWS_EACH)
        for (int64_t t = t0; t < T && t < t0 + ROWS_EACH; t++) {
            float v = inverse ? sum[t * N + n] * inverse[t] : sum[t * N + n];
            v = bias ? v + add : v;
            if (pre)
                pre[t * N + n] = v;
            v = act_value(v, act);
            y[t * N + n] = residual ? v + residual[t * N + n] : v;
        }
}

/* dx = dx inverse act'(pre); pre may be NULL.  [T,K], inverse [T] */
static __global__ void finish_backward_kernel(float *dx, const float *inverse, const float *pre, int32_t act, int64_t T, int64_t K)
{
    int64_t k = first_index();
    if (k >= K)
        return;
    for (int64_t t0 = (int64_t)blockIdx.y * ROWS_EACH; t0 < T; t0 += (int64_t)gridDim.y * ROWS_EACH)
        for (int64_t t = t0; t < T && t < t0 + ROWS_EACH; t++) {
            float v = dx[t * K + k] * inverse[t];
            dx[t * K + k] = pre ? v * act_slope(pre[t * K + k], act) : v;
        }
}

static dim3 finish_grid(int64_t T, int64_t N)
{
    int64_t rows = ceil_div(T, ROWS_EACH);
    return dim3((unsigned)ceil_div(N, THREADS), (unsigned)(rows < 65535 ? rows : 65535));
}

static int32_t check(ammpl_stream *s, const float *out, const float *in, const ammpl_weight *w, int32_t act, int64_t T)
{
    REQUIRE(s, T >= 0 && w && (T == 0 || (out && in)), "linear: T is negative or an array is NULL");
    REQUIRE(s, act >= AMMPL_ACT_NONE && act <= AMMPL_ACT_RELU, "linear: act is none of AMMPL_ACT_*");
    return AMMPL_OK;
}

int32_t ammpl_cuda_linear_forward(ammpl_stream *s, float *y, float *pre, const float *x, const ammpl_weight *w, const float *bias,
                                  const float *residual, int32_t act, int64_t T)
{
    TRY(check(s, y, x, w, act, T));
    if (T == 0)
        return AMMPL_OK;
    float *sum = pre ? pre : y, *scratch;
    size_t sums = !pre && residual == y ? float_bytes(T * w->N) : 0;
    left_factor left;
    TRY(take_scratch(s, sums + left_bytes(w, T, w->K), &scratch));
    if (sums)
        sum = scratch;
    TRY(make_left(s, w, x, T, w->K, (char *)scratch + sums, &left));
    TRY(multiply(s, precision_of(s, w), 1, T, w->N, w->K, w->unit, left.value, false, 0, w->value, !w->transposed, 0, 0, sum, 0));
    if (sum == y && !left.inverse && !bias && !residual && act == AMMPL_ACT_NONE)
        return AMMPL_OK;
    LAUNCH(s, finish_kernel, finish_grid(T, w->N), THREADS, y, pre, (const float *)sum, left.inverse, bias, residual, act, T, w->N);
    return AMMPL_OK;
}

int32_t ammpl_cuda_linear_backward(ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w, const float *pre, int32_t act,
                                   int64_t T)
{
    TRY(check(s, dx, dy, w, act, T));
    if (T == 0)
        return AMMPL_OK;
    float *scratch;
    left_factor left;
    TRY(take_scratch(s, left_bytes(w, T, w->N), &scratch));
    TRY(make_left(s, w, dy, T, w->N, (char *)scratch, &left));
    TRY(multiply(s, precision_of(s, w), 1, T, w->K, w->N, w->unit, left.value, false, 0, w->value, w->transposed != 0, 0, 0, dx, 0));
    if (!left.inverse)
        return pre && act != AMMPL_ACT_NONE ? ammpl_cuda_act_backward(s, dx, dx, pre, T * w->K, act) : AMMPL_OK;
    LAUNCH(s, finish_backward_kernel, finish_grid(T, w->K), THREADS, dx, left.inverse, pre, act, T, w->K);
    return AMMPL_OK;
}
