/* linear.cu - y = act(x W^T + bias) + residual and dx = (dy W) act'(pre) for frozen W: a product, then one pass over it.
 *
 * W lies in device memory as the file stores it, as float: the product is told whether that is [N,K] or [K,N].  A stream of
 * AMMPL_PRECISION_BF16 keeps it rounded to BF16, and rounds x or dy to BF16 before the product; what comes out is float.
 */
#include "common.cuh"

/* ---- the weight ---- */

static __global__ void widen_kernel(float *dst, const void *src, int32_t dtype, int64_t n)
{
    for (int64_t i = first_index(); i < n; i += index_step())
        dst[i] = read_value(src, dtype, i);
}

/* dst = src rounded to BF16, n of them: two to a word, which one thread writes; behind an odd n stands a zero. */
static __global__ void narrow_kernel(uint32_t *dst, const float *src, int64_t n)
{
    for (int64_t i = first_index(); 2 * i < n; i += index_step())
        dst[i] = to_bf16(src[2 * i]) | (2 * i + 1 < n ? to_bf16(src[2 * i + 1]) << 16 : 0);
}

static size_t bf16_bytes(int64_t n)
{
    return (size_t)ceil_div(n, 2) * sizeof(uint32_t);
}

static int32_t narrow(ammpl_stream *s, void *dst, const float *src, int64_t n)
{
    LAUNCH(s, narrow_kernel, blocks_for(ceil_div(n, 2)), THREADS, (uint32_t *)dst, src, n);
    return AMMPL_OK;
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
    bool narrowed = s->precision == AMMPL_PRECISION_BF16;
    w->dtype = narrowed ? AMMPL_DTYPE_BF16 : AMMPL_DTYPE_F32;
    TRY(ammpl_cuda_alloc(s, narrowed ? bf16_bytes(n) : (size_t)n * sizeof(float), &w->value));
    if (narrowed && dtype == AMMPL_DTYPE_BF16)
        return ammpl_cuda_upload(s, w->value, src_host, (size_t)n * sizeof(uint16_t));
    float *scratch; /* the floats on their way to BF16, and the file's halves */
    int64_t floats = narrowed ? n : 0;
    TRY(take_scratch(s, (size_t)floats * sizeof(float) + (dtype == AMMPL_DTYPE_F32 ? 0 : bf16_bytes(n)), &scratch));
    TRY(upload_floats(s, narrowed ? scratch : (float *)w->value, src_host, dtype, n, scratch + floats));
    return narrowed ? narrow(s, w->value, scratch, n) : AMMPL_OK;
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

/* ---- the layer ---- */

enum { ROWS_EACH = 4 }; /* that a thread finishes in its column */

/* pre = sum + bias, y = act(pre) + residual; pre or y may be sum, residual may be y.  [T,N] */
static __global__ void finish_kernel(float *y, float *pre, const float *sum, const float *bias, const float *residual, int32_t act,
                                     int64_t T, int64_t N)
{
    int64_t n = first_index();
    if (n >= N)
        return;
    float add = bias ? bias[n] : 0;
    for (int64_t t0 = (int64_t)blockIdx.y * ROWS_EACH; t0 < T; t0 += (int64_t)gridDim.y * ROWS_EACH)
        for (int64_t t = t0; t < T && t < t0 + ROWS_EACH; t++) {
            float v = bias ? sum[t * N + n] + add : sum[t * N + n];
            if (pre)
                pre[t * N + n] = v;
            v = act_value(v, act);
            y[t * N + n] = residual ? v + residual[t * N + n] : v;
        }
}

static dim3 finish_grid(int64_t T, int64_t N)
{
    int64_t rows = ceil_div(T, ROWS_EACH);
    return dim3((unsigned)ceil_div(N, THREADS), (unsigned)(rows < 65535 ? rows : 65535));
}

/* The left factor [T,K] of a product with w, as it wants it: x itself, or rounded in `room`. */
static int32_t left_factor(ammpl_stream *s, const ammpl_weight *w, const float *x, int64_t n, void *room, const void **out)
{
    *out = x;
    if (w->dtype == AMMPL_DTYPE_F32)
        return AMMPL_OK;
    *out = room;
    return narrow(s, room, x, n);
}

static int32_t precision_of(const ammpl_stream *s, const ammpl_weight *w)
{
    return w->dtype == AMMPL_DTYPE_BF16 ? AMMPL_PRECISION_BF16 : s->precision == AMMPL_PRECISION_TF32 ? s->precision : AMMPL_PRECISION_F32;
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
    size_t sums = !pre && residual == y ? (size_t)ceil_div(T * w->N, 64) * 64 * sizeof(float) : 0;
    size_t factors = w->dtype == AMMPL_DTYPE_F32 ? 0 : bf16_bytes(T * w->K);
    const void *left;
    TRY(take_scratch(s, sums + factors, &scratch));
    if (sums)
        sum = scratch;
    TRY(left_factor(s, w, x, T * w->K, (char *)scratch + sums, &left));
    TRY(multiply(s, precision_of(s, w), 1, T, w->N, w->K, 1, left, false, 0, w->value, !w->transposed, 0, 0, sum, 0));
    if (sum == y && !bias && !residual && act == AMMPL_ACT_NONE)
        return AMMPL_OK;
    LAUNCH(s, finish_kernel, finish_grid(T, w->N), THREADS, y, pre, (const float *)sum, bias, residual, act, T, w->N);
    return AMMPL_OK;
}

int32_t ammpl_cuda_linear_backward(ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w, const float *pre, int32_t act,
                                   int64_t T)
{
    TRY(check(s, dx, dy, w, act, T));
    if (T == 0)
        return AMMPL_OK;
    float *scratch;
    const void *left;
    TRY(take_scratch(s, w->dtype == AMMPL_DTYPE_F32 ? 0 : bf16_bytes(T * w->N), &scratch));
    TRY(left_factor(s, w, dy, T * w->N, scratch, &left));
    TRY(multiply(s, precision_of(s, w), 1, T, w->K, w->N, 1, left, false, 0, w->value, w->transposed != 0, 0, 0, dx, 0));
    return pre && act != AMMPL_ACT_NONE ? ammpl_cuda_act_backward(s, dx, dx, pre, T * w->K, act) : AMMPL_OK;
}
