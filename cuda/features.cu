/* features.cu - normalised features and pairwise dot products: a warp per row or pair. */
#include "common.cuh"

static __global__ void l2norm_forward_kernel(float *y, float *norm, const float *x, int64_t n, int64_t D)
{
    for (int64_t i = first_row(); i < n; i += row_step()) {
        float length = sqrtf(warp_dot(x + i * D, x + i * D, D)), inverse = 1.0f / length;
        if (lane_index() == 0)
            norm[i] = length;
        for (int64_t c = lane_index(); c < D; c += WARP)
            y[i * D + c] = x[i * D + c] * inverse;
    }
}

static __global__ void l2norm_backward_kernel(float *dx, const float *dy, const float *y, const float *norm, int64_t n, int64_t D)
{
    for (int64_t i = first_row(); i < n; i += row_step()) {
        float dot = warp_dot(y + i * D, dy + i * D, D), inverse = 1.0f / norm[i];
        for (int64_t c = lane_index(); c < D; c += WARP)
            dx[i * D + c] = (dy[i * D + c] - y[i * D + c] * dot) * inverse;
    }
}

int32_t ammpl_cuda_l2norm_forward(ammpl_stream *s, float *y, float *norm, const float *x, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (y && norm && x)), "l2norm_forward: a negative size, or y, norm or x is NULL");
    if (n)
        LAUNCH(s, l2norm_forward_kernel, row_blocks(n), THREADS, y, norm, x, n, D);
    return AMMPL_OK;
}

int32_t ammpl_cuda_l2norm_backward(ammpl_stream *s, float *dx, const float *dy, const float *y, const float *norm, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (dx && dy && y && norm)),
            "l2norm_backward: a negative size, or dx, dy, y or norm is NULL");
    if (n)
        LAUNCH(s, l2norm_backward_kernel, row_blocks(n), THREADS, dx, dy, y, norm, n, D);
    return AMMPL_OK;
}

/* ---- pairs ---- */

static __global__ void dot_forward_kernel(float *out, const float *x, const int32_t *xi, const float *y, const int32_t *yi, float a,
                                          int64_t n, int64_t D)
{
    for (int64_t i = first_row(); i < n; i += row_step()) {
        float dot = warp_dot(x + (xi ? xi[i] : i) * D, y + (yi ? yi[i] : i) * D, D);
        if (lane_index() == 0)
            out[i] = a * dot;
    }
}

/* dx[xi[i]] += a dout[i] y[yi[i]]; with xi NULL every row is on its own.  dy is the same with x and y in each other's place. */
static __global__ void dot_backward_kernel(float *dx, const float *dout, const int32_t *xi, const float *y, const int32_t *yi,
                                           float a, int64_t n, int64_t D)
{
    int64_t i = blockIdx.x;
    float *row = dx + (xi ? xi[i] : i) * D;
    auto add = [=](int64_t j) {
        float d = a * dout[j];
        const float *other = y + (yi ? yi[j] : j) * D;
        for (int64_t c = threadIdx.x; c < D; c += THREADS)
            row[c] += d * other[c];
    };
    if (xi)
        for_equal(xi, i, n, add);
    else
        add(i);
}

int32_t ammpl_cuda_dot_forward(ammpl_stream *s, float *out, const float *x, const int32_t *xi, const float *y, const int32_t *yi,
                               float a, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (out && x && y)), "dot_forward: a negative size, or out, x or y is NULL");
    if (n)
        LAUNCH(s, dot_forward_kernel, row_blocks(n), THREADS, out, x, xi, y, yi, a, n, D);
    return AMMPL_OK;
}

int32_t ammpl_cuda_dot_backward(ammpl_stream *s, float *dx, float *dy, const float *dout, const float *x, const int32_t *xi,
                                const float *y, const int32_t *yi, float a, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (dout && x && y)), "dot_backward: a negative size, or dout, x or y is NULL");
    if (n * D == 0)
        return AMMPL_OK;
    if (dx)
        LAUNCH(s, dot_backward_kernel, (unsigned)n, THREADS, dx, dout, xi, y, yi, a, n, D);
    if (dy)
        LAUNCH(s, dot_backward_kernel, (unsigned)n, THREADS, dy, dout, yi, x, xi, a, n, D);
    return AMMPL_OK;
}
