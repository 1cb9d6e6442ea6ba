/* rows.cu - moving and adding rows, embedding tables, scaled sums.
 *
 * Without an index for the destination every element is on its own.  With one, rows may repeat, and then the order of i counts:
 * for_equal (common.cuh).
 */
#include "common.cuh"

/* A block's threads take the columns; blockIdx.y parts wide rows, so that a few of them keep the device busy. */
static dim3 row_grid(int64_t n, int64_t D)
{
    int64_t parts = ceil_div(D, 4 * THREADS);
    return dim3((unsigned)n, (unsigned)(parts < 65535 ? parts : 65535));
}

__device__ __forceinline__ int64_t first_column(void)
{
    return (int64_t)blockIdx.y * THREADS + threadIdx.x;
}

__device__ __forceinline__ int64_t column_step(void)
{
    return (int64_t)gridDim.y * THREADS;
}

/* dst[i] = or += src[si[i]]: a warp per row.  A lane reads four numbers before it writes one, so that enough is on the way. */
static __global__ void rows_kernel(float *dst, const float *src, const int32_t *si, int64_t n, int64_t D, int32_t add)
{
    for (int64_t i = first_row(); i < n; i += row_step()) {
        const float *from = src + (si ? si[i] : i) * D;
        float *to = dst + i * D;
        for (int64_t c = lane_index(); c < D; c += 4 * WARP) {
            float x[4];
            UNROLL for (int k = 0; k < 4; k++)
                x[k] = c + k * WARP < D ? from[c + k * WARP] : 0;
            UNROLL for (int k = 0; k < 4; k++)
                if (c + k * WARP < D)
                    to[c + k * WARP] = add ? to[c + k * WARP] + x[k] : x[k];
        }
    }
}

/* dst[di[i]] = src[si[i]]: the last of equal di stays. */
static __global__ void rows_copy_kernel(float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n, int64_t D)
{
    int64_t i = blockIdx.x;
    for (int64_t from = i + 1; from < n; from += THREADS) {
        int64_t j = from + threadIdx.x;
        if (__syncthreads_or(j < n && di[j] == di[i]))
            return;
    }
    const float *row = src + (si ? si[i] : i) * D;
    for (int64_t c = first_column(); c < D; c += column_step())
        dst[di[i] * D + c] = row[c];
}

/* dst[di[i]] += src[si[i]] */
static __global__ void rows_add_kernel(float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n, int64_t D)
{
    float *row = dst + di[blockIdx.x] * D;
    for_equal(di, blockIdx.x, n, [=](int64_t j) {
        const float *from = src + (si ? si[j] : j) * D;
        for (int64_t c = first_column(); c < D; c += column_step())
            row[c] += from[c];
    });
}

int32_t ammpl_cuda_rows_copy(ammpl_stream *s, float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n * D == 0 || (dst && src)), "rows_copy: a negative size, or dst or src is NULL");
    if (n * D == 0)
        return AMMPL_OK;
    if (di)
        LAUNCH(s, rows_copy_kernel, row_grid(n, D), THREADS, dst, di, src, si, n, D);
    else
        LAUNCH(s, rows_kernel, row_blocks(n), THREADS, dst, src, si, n, D, 0);
    return AMMPL_OK;
}

int32_t ammpl_cuda_rows_add(ammpl_stream *s, float *dst, const int32_t *di, const float *src, const int32_t *si, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n * D == 0 || (dst && src)), "rows_add: a negative size, or dst or src is NULL");
    if (n * D == 0)
        return AMMPL_OK;
    if (di)
        LAUNCH(s, rows_add_kernel, row_grid(n, D), THREADS, dst, di, src, si, n, D);
    else
        LAUNCH(s, rows_kernel, row_blocks(n), THREADS, dst, src, si, n, D, 1);
    return AMMPL_OK;
}

/* ---- embedding tables ---- */

static __global__ void embed_kernel(float *y, const void *table, int32_t dtype, const int32_t *id, int64_t n, int64_t D)
{
    for (int64_t row = first_row(); row < n; row += row_step())
        for (int64_t c = lane_index(); c < D; c += WARP)
            y[row * D + c] = read_value(table, dtype, id[row] * D + c);
}

int32_t ammpl_cuda_embed(ammpl_stream *s, float *y, const void *table, int32_t dtype, const int32_t *id, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n * D == 0 || (y && table && id)), "embed: a negative size, or y, table or id is NULL");
    REQUIRE(s, dtype >= AMMPL_DTYPE_F32 && dtype <= AMMPL_DTYPE_BF16, "embed: dtype is none of AMMPL_DTYPE_*");
    if (n * D > 0)
        LAUNCH(s, embed_kernel, row_blocks(n), THREADS, y, table, dtype, id, n, D);
    return AMMPL_OK;
}

/* ---- scaled sums ---- */

static __global__ void scale_kernel(float *x, float a, int64_t n)
{
    for (int64_t i = first_index(); i < n; i += index_step())
        x[i] *= a;
}

static __global__ void add_scaled_kernel(float *y, const float *x, float a, int64_t n)
{
    for (int64_t i = first_index(); i < n; i += index_step())
        y[i] += a * x[i];
}

int32_t ammpl_cuda_scale(ammpl_stream *s, float *x, float a, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || x), "scale: n is negative or x is NULL");
    if (n)
        LAUNCH(s, scale_kernel, blocks_for(n), THREADS, x, a, n);
    return AMMPL_OK;
}

int32_t ammpl_cuda_add(ammpl_stream *s, float *y, const float *x, float a, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || (y && x)), "add: n is negative, or y or x is NULL");
    if (n)
        LAUNCH(s, add_scaled_kernel, blocks_for(n), THREADS, y, x, a, n);
    return AMMPL_OK;
}
