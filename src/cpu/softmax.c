/* softmax.c - softmax of rows, and the gradients of LayerNorm's own parameters: what DPT's class-aware prompts add to the towers.
 * Few numbers: plain loops, rows in parallel, sums over rows in their order. */
#include "cpu/kernels.h"

typedef struct rows_job {
    float *out;
    const float *x, *dy, *y;
    int64_t n, D, grain;
    float scale;
} rows_job;

static void softmax_forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const rows_job *j = arg;
    for (int64_t i = task * j->grain; i < min64((task + 1) * j->grain, j->n); i++) {
        const float *x = j->x + i * j->D;
        float *y = j->out + i * j->D, max = x[0], sum = 0;
        for (int64_t c = 1; c < j->D; c++)
            max = x[c] > max ? x[c] : max;
        for (int64_t c = 0; c < j->D; c++) {
            y[c] = expf(j->scale * (x[c] - max));
            sum += y[c];
        }
        for (int64_t c = 0; c < j->D; c++)
            y[c] /= sum;
    }
}

int32_t ammpli_cpu_softmax_forward(ammpl_stream *s, float *y, const float *x, float scale, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 1 && scale >= 0 && (n == 0 || (y && x)),
            "softmax_forward: n or scale is negative, D is below 1, or y or x is NULL");
    rows_job j = {.out = y, .x = x, .scale = scale, .n = n, .D = D, .grain = ammpli_cpu_grain(s, n, 8 * D, 1)};
    ammpli_cpu_for(s, ceil_div(n, j.grain), 8 * n * D, softmax_forward_task, &j);
    return AMMPL_OK;
}

static void softmax_backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const rows_job *j = arg;
    for (int64_t i = task * j->grain; i < min64((task + 1) * j->grain, j->n); i++) {
        const float *y = j->y + i * j->D, *dy = j->dy + i * j->D;
        float *dx = j->out + i * j->D, dot = ammpli_cpu_dot(y, dy, j->D);
        for (int64_t c = 0; c < j->D; c++)
            dx[c] = j->scale * y[c] * (dy[c] - dot);
    }
}

int32_t ammpli_cpu_softmax_backward(ammpl_stream *s, float *dx, const float *dy, const float *y, float scale, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 1 && scale >= 0 && (n == 0 || (dx && dy && y)),
            "softmax_backward: n or scale is negative, D is below 1, or dx, dy or y is NULL");
    rows_job j = {.out = dx, .dy = dy, .y = y, .scale = scale, .n = n, .D = D, .grain = ammpli_cpu_grain(s, n, D, 1)};
    ammpli_cpu_for(s, ceil_div(n, j.grain), n * D, softmax_backward_task, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_layernorm_weight_backward(ammpl_stream *s, float *dgamma, float *dbeta, const float *dy, const float *x, int64_t T,
                                             int64_t D, float eps)
{
    REQUIRE(s, T >= 0 && D >= 1 && (T == 0 || (dgamma && dbeta && dy && x)),
            "layernorm_weight_backward: T is negative, D is below 1, or an array is NULL");
    for (int64_t t = 0; t < T; t++, x += D, dy += D) {
        float sum = 0, square = 0;
        for (int64_t c = 0; c < D; c++)
            sum += x[c];
        float mean = sum / (float)D;
        for (int64_t c = 0; c < D; c++)
            square += (x[c] - mean) * (x[c] - mean);
        float rstd = 1.0f / sqrtf(square / (float)D + eps);
        for (int64_t c = 0; c < D; c++) {
            dgamma[c] += dy[c] * (x[c] - mean) * rstd;
            dbeta[c] += dy[c];
        }
    }
    return AMMPL_OK;
}
