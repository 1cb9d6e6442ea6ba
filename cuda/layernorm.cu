/* layernorm.cu - y = (x - mean) / sqrt(variance + eps) gamma + beta per row (biased variance), and its transpose.
 *
 * A warp per row.  Mean first, then the mean square of the rest: no cancellation between squares.  The row is read two or three
 * times; all but the first come from cache.  Backward computes the moments again: cheaper than storing and reading them.
 */
#include "common.cuh"

static __global__ void layernorm_forward_kernel(float *y, const float *x, const float *gamma, const float *beta, int64_t T, int64_t D,
                                      float eps)
{
    for (int64_t t = first_row(); t < T; t += row_step()) {
        float mean, rstd;
        moments(x + t * D, D, eps, &mean, &rstd);
        for (int64_t i = lane_index(); i < D; i += WARP)
            y[t * D + i] = fmaf((x[t * D + i] - mean) * rstd, gamma[i], beta[i]);
    }
}

/* With n = (x - mean) rstd and g = gamma dy: dx = rstd (g - mean(g) - n mean(g n)) + residual. */
static __global__ void layernorm_backward_kernel(float *dx, const float *dy, const float *x, const float *gamma, const float *residual,
                                       int64_t T, int64_t D, float eps)
{
    for (int64_t t = first_row(); t < T; t += row_step()) {
        const float *xt = x + t * D, *dyt = dy + t * D;
        float mean, rstd, sum_g = 0, sum_gn = 0;
        moments(xt, D, eps, &mean, &rstd);
        for (int64_t i = lane_index(); i < D; i += WARP) {
            float g = dyt[i] * gamma[i];
            sum_g += g;
            sum_gn = fmaf(g, (xt[i] - mean) * rstd, sum_gn);
        }
        float mean_g = warp_sum(sum_g) / (float)D, mean_gn = warp_sum(sum_gn) / (float)D;
        for (int64_t i = lane_index(); i < D; i += WARP) {
            float d = rstd * (dyt[i] * gamma[i] - mean_g - (xt[i] - mean) * rstd * mean_gn);
            dx[t * D + i] = residual ? d + residual[t * D + i] : d;
        }
    }
}

static int32_t check(ammpl_stream *s, const float *out, const float *a, const float *b, const float *c, int64_t T, int64_t D)
{
    REQUIRE(s, T >= 0 && D >= 1 && (T == 0 || (out && a && b && c)),
            "layernorm: T is negative, D is below 1, or an array is NULL");
    return AMMPL_OK;
}

int32_t ammpl_cuda_layernorm_forward(ammpl_stream *s, float *y, const float *x, const float *gamma, const float *beta, int64_t T,
                                     int64_t D, float eps)
{
    TRY(check(s, y, x, gamma, beta, T, D));
    if (T)
        LAUNCH(s, layernorm_forward_kernel, row_blocks(T), THREADS, y, x, gamma, beta, T, D, eps);
    return AMMPL_OK;
}

int32_t ammpl_cuda_layernorm_backward(ammpl_stream *s, float *dx, const float *dy, const float *x, const float *gamma,
                                      const float *residual, int64_t T, int64_t D, float eps)
{
    TRY(check(s, dx, dy, x, gamma, T, D));
    if (T)
        LAUNCH(s, layernorm_backward_kernel, row_blocks(T), THREADS, dx, dy, x, gamma, residual, T, D, eps);
    return AMMPL_OK;
}
