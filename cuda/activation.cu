/* activation.cu - QuickGELU x s(1.702 x), GELU x Phi(x) (exact, by erfc), ReLU; and their slopes (common.cuh). */
#include "common.cuh"

static __global__ void act_forward_kernel(float *y, const float *x, int64_t n, int32_t act)
{
    for (int64_t i = first_index(); i < n; i += index_step())
        y[i] = act_value(x[i], act);
}

static __global__ void act_backward_kernel(float *dx, const float *dy, const float *x, int64_t n, int32_t act)
{
    for (int64_t i = first_index(); i < n; i += index_step())
        dx[i] = dy[i] * act_slope(x[i], act);
}

static int32_t check(ammpl_stream *s, const float *out, const float *in, const float *x, int64_t n, int32_t act)
{
    REQUIRE(s, n >= 0 && (n == 0 || (out && in && x)), "activation: n is negative or an array is NULL");
    REQUIRE(s, act >= AMMPL_ACT_NONE && act <= AMMPL_ACT_RELU, "activation: act is none of AMMPL_ACT_*");
    return AMMPL_OK;
}

int32_t ammpl_cuda_act_forward(ammpl_stream *s, float *y, const float *x, int64_t n, int32_t act)
{
    TRY(check(s, y, x, x, n, act));
    if (n)
        LAUNCH(s, act_forward_kernel, blocks_for(n), THREADS, y, x, n, act);
    return AMMPL_OK;
}

int32_t ammpl_cuda_act_backward(ammpl_stream *s, float *dx, const float *dy, const float *x, int64_t n, int32_t act)
{
    TRY(check(s, dx, dy, x, n, act));
    if (n)
        LAUNCH(s, act_backward_kernel, blocks_for(n), THREADS, dx, dy, x, n, act);
    return AMMPL_OK;
}
