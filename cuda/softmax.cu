/* softmax.cu - softmax of rows, and the gradients of a LayerNorm's own parameters. */
#include "common.cuh"

/* A warp per row; y may be x.  NaN comes back in the sum. */
static __global__ void softmax_forward_kernel(float *y, const float *x, float scale, int64_t n, int64_t D)
{
    for (int64_t i = first_row(); i < n; i += row_step()) {
        const float *from = x + i * D;
        float *to = y + i * D, max = -INFINITY, sum = 0;
        for (int64_t c = lane_index(); c < D; c += WARP)
            max = fmaxf(max, from[c]);
        max = warp_max(max);
        for (int64_t c = lane_index(); c < D; c += WARP) {
            float e = expf(scale * (from[c] - max));
            to[c] = e;
            sum += e;
        }
        sum = warp_sum(sum);
        for (int64_t c = lane_index(); c < D; c += WARP)
            to[c] /= sum;
    }
}

static __global__ void softmax_backward_kernel(float *dx, const float *dy, const float *y, float scale, int64_t n, int64_t D)
{
    for (int64_t i = first_row(); i < n; i += row_step()) {
        float dot = warp_dot(y + i * D, dy + i * D, D);
        for (int64_t c = lane_index(); c < D; c += WARP)
            dx[i * D + c] = scale * y[i * D + c] * (dy[i * D + c] - dot);
    }
}

int32_t ammpl_cuda_softmax_forward(ammpl_stream *s, float *y, const float *x, float scale, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 1 && scale >= 0 && (n == 0 || (y && x)),
            "softmax_forward: n or scale is negative, D is below 1, or y or x is NULL");
    if (n)
        LAUNCH(s, softmax_forward_kernel, row_blocks(n), THREADS, y, x, scale, n, D);
    return AMMPL_OK;
}

int32_t ammpl_cuda_softmax_backward(ammpl_stream *s, float *dx, const float *dy, const float *y, float scale, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 1 && scale >= 0 && (n == 0 || (dx && dy && y)),
            "softmax_backward: n or scale is negative, D is below 1, or dx, dy or y is NULL");
    if (n)
        LAUNCH(s, softmax_backward_kernel, row_blocks(n), THREADS, dx, dy, y, scale, n, D);
    return AMMPL_OK;
}

/* ---- a LayerNorm that is learned: the rows' moments first, then a thread per column goes down the rows ---- */

static __global__ void moments_kernel(float *moment, const float *x, int64_t T, int64_t D, float eps)
{
    for (int64_t t = first_row(); t < T; t += row_step()) {
        float mean, rstd;
        moments(x + t * D, D, eps, &mean, &rstd);
        if (lane_index() == 0) {
            moment[2 * t] = mean;
            moment[2 * t + 1] = rstd;
        }
    }
}

static __global__ void layernorm_weight_kernel(float *dgamma, float *dbeta, const float *dy, const float *x, const float *moment,
                                               int64_t T, int64_t D)
{
    for (int64_t c = first_index(); c < D; c += index_step()) {
        float gamma = dgamma[c], beta = dbeta[c];
        for (int64_t t = 0; t < T; t++) {
            float g = dy[t * D + c];
            gamma += g * (x[t * D + c] - moment[2 * t]) * moment[2 * t + 1];
            beta += g;
        }
        dgamma[c] = gamma;
        dbeta[c] = beta;
    }
}

int32_t ammpl_cuda_layernorm_weight_backward(ammpl_stream *s, float *dgamma, float *dbeta, const float *dy, const float *x, int64_t T,
                                             int64_t D, float eps)
{
    REQUIRE(s, T >= 0 && D >= 1 && (T == 0 || (dgamma && dbeta && dy && x)),
            "layernorm_weight_backward: T is negative, D is below 1, or an array is NULL");
    if (T == 0)
        return AMMPL_OK;
    float *moment;
    TRY(take_scratch(s, (size_t)(2 * T) * sizeof(float), &moment));
    LAUNCH(s, moments_kernel, row_blocks(T), THREADS, moment, x, T, D, eps);
    LAUNCH(s, layernorm_weight_kernel, blocks_for(D), THREADS, dgamma, dbeta, dy, x, (const float *)moment, T, D);
    return AMMPL_OK;
}
