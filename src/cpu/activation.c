/* activation.c - QuickGELU x s(1.702 x), GELU x Phi(x) (exact, by erf), ReLU; and their slopes.
 *
 * Accuracy of the fast path against the exact function: see tests/ops/case_functions.c, which measures it on a grid.
 */
#include "cpu/kernels.h"

float ammpli_cpu_act(float x, int32_t act)
{
    switch (act) {
    case AMMPL_ACT_QUICK_GELU: return x * (1.0f / (1.0f + expf(-1.702f * x)));
    case AMMPL_ACT_GELU: return x * (0.5f * erfcf(x * -0.707106781f));
    case AMMPL_ACT_RELU: return x < 0 ? 0 : x;
    default: return x;
    }
}

float ammpli_cpu_act_slope(float x, int32_t act)
{
    switch (act) {
    case AMMPL_ACT_QUICK_GELU: {
        float g = 1.0f / (1.0f + expf(-1.702f * x));
        return g + 1.702f * x * g * (1.0f - g);
    }
    case AMMPL_ACT_GELU: return 0.5f * erfcf(x * -0.707106781f) + x * (expf(-0.5f * x * x) * 0.398942280f);
    case AMMPL_ACT_RELU: return x > 0 ? 1 : x * 0;
    default: return 1;
    }
}

static int32_t check(ammpl_stream *s, const float *out, const float *in, const float *x, int64_t n, int32_t act)
{
    REQUIRE(s, n >= 0 && (n == 0 || (out && in && x)), "activation: n is negative or an array is NULL");
    REQUIRE(s, act >= AMMPL_ACT_NONE && act <= AMMPL_ACT_RELU, "activation: act is none of AMMPL_ACT_*");
    return AMMPL_OK;
}

int32_t ammpli_cpu_act_forward_reference(ammpl_stream *s, float *y, const float *x, int64_t n, int32_t act)
{
    TRY(check(s, y, x, x, n, act));
    for (int64_t i = 0; i < n; i++)
        y[i] = ammpli_cpu_act(x[i], act);
    return AMMPL_OK;
}

int32_t ammpli_cpu_act_backward_reference(ammpl_stream *s, float *dx, const float *dy, const float *x, int64_t n, int32_t act)
{
    TRY(check(s, dx, dy, x, n, act));
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * ammpli_cpu_act_slope(x[i], act);
    return AMMPL_OK;
}

/* ---- fast path ---- */

typedef struct act_job {
    const ammpli_cpu_kernels *kernels;
    float *out;
    const float *dy, *x;
    int64_t n, grain;
    int32_t act;
} act_job;

static void act_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const act_job *j = arg;
    int64_t i = task * j->grain, n = min64(j->grain, j->n - i);
    if (j->dy)
        j->kernels->act_backward(j->out + i, j->dy + i, j->x + i, n, j->act);
    else
        j->kernels->act_forward(j->out + i, j->x + i, n, j->act);
}

static int32_t act_run(ammpl_stream *s, act_job *j)
{
    j->kernels = s->kernels;
    j->grain = ammpli_cpu_grain(s, j->n, 4, 16);
    ammpli_cpu_for(s, ceil_div(j->n, j->grain), 4 * j->n, act_task, j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_act_forward(ammpl_stream *s, float *y, const float *x, int64_t n, int32_t act)
{
    TRY(check(s, y, x, x, n, act));
    return act_run(s, &(act_job){.out = y, .x = x, .n = n, .act = act});
}

int32_t ammpli_cpu_act_backward(ammpl_stream *s, float *dx, const float *dy, const float *x, int64_t n, int32_t act)
{
    TRY(check(s, dx, dy, x, n, act));
    return act_run(s, &(act_job){.out = dx, .dy = dy, .x = x, .n = n, .act = act});
}
