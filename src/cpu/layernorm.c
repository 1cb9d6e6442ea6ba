/* layernorm.c - y = (x - mean) / sqrt(variance + eps) gamma + beta per row (biased variance), and its transpose.
 *
 * Mean first, then the mean square of the rest, both in float: no cancellation between squares.  Errors against double are
 * below 2e-6 of the row's size, 1e-5 when the mean is ten standard deviations away (tests/ops).  Backward computes the
 * moments again: reading a row that is in cache twice costs less than storing two numbers per row of every block.
 */
#include "cpu/kernels.h"

static int32_t check(ammpl_stream *s, const float *out, const float *a, const float *b, const float *c, int64_t T, int64_t D)
{
    REQUIRE(s, T >= 0 && D >= 1 && (T == 0 || (out && a && b && c)),
            "layernorm: T is negative, D is below 1, or an array is NULL");
    return AMMPL_OK;
}

static void moments(const float *x, int64_t D, float eps, float *mean, float *rstd)
{
    float sum = 0, square = 0;
    for (int64_t i = 0; i < D; i++)
        sum += x[i];
    *mean = sum / (float)D;
    for (int64_t i = 0; i < D; i++)
        square += (x[i] - *mean) * (x[i] - *mean);
    *rstd = 1.0f / sqrtf(square / (float)D + eps);
}

int32_t ammpli_cpu_layernorm_forward_reference(ammpl_stream *s, float *y, const float *x, const float *gamma,
                                               const float *beta, int64_t T, int64_t D, float eps)
{
    TRY(check(s, y, x, gamma, beta, T, D));
    for (int64_t t = 0; t < T; t++, x += D, y += D) {
        float mean, rstd;
        moments(x, D, eps, &mean, &rstd);
        for (int64_t i = 0; i < D; i++)
            y[i] = (x[i] - mean) * rstd * gamma[i] + beta[i];
    }
    return AMMPL_OK;
}

int32_t ammpli_cpu_layernorm_backward_reference(ammpl_stream *s, float *dx, const float *dy, const float *x,
                                                const float *gamma, const float *residual, int64_t T, int64_t D, float eps)
{
    TRY(check(s, dx, dy, x, gamma, T, D));
    for (int64_t t = 0; t < T; t++) {
        const float *xt = x + t * D, *dyt = dy + t * D;
        float mean, rstd, g = 0, gn = 0;
        moments(xt, D, eps, &mean, &rstd);
        for (int64_t i = 0; i < D; i++) {
            g += dyt[i] * gamma[i];
            gn += dyt[i] * gamma[i] * (xt[i] - mean) * rstd;
        }
        g /= (float)D;
        gn /= (float)D;
        for (int64_t i = 0; i < D; i++)
            dx[t * D + i] = rstd * (dyt[i] * gamma[i] - g - (xt[i] - mean) * rstd * gn) + (residual ? residual[t * D + i] : 0);
    }
    return AMMPL_OK;
}

/* ---- fast path ---- */

typedef struct norm_job {
    const ammpli_cpu_kernels *kernels;
    float *out;
    const float *dy, *x, *gamma, *beta, *residual;
    int64_t T, D, grain;
    float eps;
} norm_job;

static void norm_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const norm_job *j = arg;
    for (int64_t t = task * j->grain; t < min64((task + 1) * j->grain, j->T); t++) {
        int64_t o = t * j->D;
        if (j->dy)
            j->kernels->layernorm_backward(j->out + o, j->dy + o, j->x + o, j->gamma, j->residual ? j->residual + o : NULL,
                                           j->D, j->eps);
        else
            j->kernels->layernorm_forward(j->out + o, j->x + o, j->gamma, j->beta, j->D, j->eps);
    }
}

static int32_t norm_run(ammpl_stream *s, norm_job *j)
{
    j->kernels = s->kernels;
    j->grain = ammpli_cpu_grain(s, j->T, j->D, 1);
    ammpli_cpu_for(s, ceil_div(j->T, j->grain), j->T * j->D, norm_task, j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_layernorm_forward(ammpl_stream *s, float *y, const float *x, const float *gamma, const float *beta,
                                     int64_t T, int64_t D, float eps)
{
    TRY(check(s, y, x, gamma, beta, T, D));
    return norm_run(s, &(norm_job){.out = y, .x = x, .gamma = gamma, .beta = beta, .T = T, .D = D, .eps = eps});
}

int32_t ammpli_cpu_layernorm_backward(ammpl_stream *s, float *dx, const float *dy, const float *x, const float *gamma,
                                      const float *residual, int64_t T, int64_t D, float eps)
{
    TRY(check(s, dx, dy, x, gamma, T, D));
    return norm_run(s, &(norm_job){.out = dx, .dy = dy, .x = x, .gamma = gamma, .residual = residual, .T = T, .D = D,
                                   .eps = eps});
}
