/* features.c - normalised features and pairwise dot products. */
#include "cpu/kernels.h"

typedef struct norm_job {
    float *y, *norm;          /* forward: both written; backward: y holds dx */
    const float *x, *dy, *in_y, *in_norm;
    int64_t n, D, grain;
} norm_job;

static void l2norm_forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const norm_job *j = arg;
    for (int64_t i = task * j->grain; i < min64((task + 1) * j->grain, j->n); i++) {
        const float *x = j->x + i * j->D;
        float *y = j->y + i * j->D;
        float norm = sqrtf(ammpli_cpu_dot(x, x, j->D)), inverse = 1.0f / norm;
        j->norm[i] = norm;
        for (int64_t c = 0; c < j->D; c++)
            y[c] = x[c] * inverse;
    }
}

static void l2norm_backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const norm_job *j = arg;
    for (int64_t i = task * j->grain; i < min64((task + 1) * j->grain, j->n); i++) {
        const float *dy = j->dy + i * j->D, *y = j->in_y + i * j->D;
        float *dx = j->y + i * j->D;
        float dot = ammpli_cpu_dot(y, dy, j->D), inverse = 1.0f / j->in_norm[i];
        for (int64_t c = 0; c < j->D; c++)
            dx[c] = (dy[c] - y[c] * dot) * inverse;
    }
}

int32_t ammpli_cpu_l2norm_forward(ammpl_stream *s, float *y, float *norm, const float *x, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (y && norm && x)), "l2norm_forward: a negative size, or y, norm or x is NULL");
    norm_job j = {.y = y, .norm = norm, .x = x, .n = n, .D = D, .grain = ammpli_cpu_grain(s, n, D, 1)};
    ammpli_cpu_for(s, ceil_div(n, j.grain), n * D, l2norm_forward_task, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_l2norm_backward(ammpl_stream *s, float *dx, const float *dy, const float *y, const float *norm, int64_t n,
                                   int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (dx && dy && y && norm)),
            "l2norm_backward: a negative size, or dx, dy, y or norm is NULL");
    norm_job j = {.y = dx, .dy = dy, .in_y = y, .in_norm = norm, .n = n, .D = D, .grain = ammpli_cpu_grain(s, n, D, 1)};
    ammpli_cpu_for(s, ceil_div(n, j.grain), n * D, l2norm_backward_task, &j);
    return AMMPL_OK;
}

typedef struct dot_job {
    float *out, *dx, *dy;
    const float *dout, *x, *y;
    const int32_t *xi, *yi;
    float a;
    int64_t n, D, grain;
} dot_job;

static void dot_forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const dot_job *j = arg;
    for (int64_t i = task * j->grain; i < min64((task + 1) * j->grain, j->n); i++)
        j->out[i] = j->a * ammpli_cpu_dot(j->x + (j->xi ? j->xi[i] : i) * j->D, j->y + (j->yi ? j->yi[i] : i) * j->D, j->D);
}

/* Rows repeat: a task owns columns and adds i = 0, 1, ... in this order. */
static void dot_backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const dot_job *j = arg;
    int64_t c0 = task * j->grain, c1 = min64(c0 + j->grain, j->D);
    for (int64_t i = 0; i < j->n; i++) {
        int64_t xo = (j->xi ? j->xi[i] : i) * j->D, yo = (j->yi ? j->yi[i] : i) * j->D;
        float d = j->a * j->dout[i];
        if (j->dx)
            for (int64_t c = c0; c < c1; c++)
                j->dx[xo + c] += d * j->y[yo + c];
        if (j->dy)
            for (int64_t c = c0; c < c1; c++)
                j->dy[yo + c] += d * j->x[xo + c];
    }
}

int32_t ammpli_cpu_dot_forward(ammpl_stream *s, float *out, const float *x, const int32_t *xi, const float *y,
                               const int32_t *yi, float a, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (out && x && y)), "dot_forward: a negative size, or out, x or y is NULL");
    dot_job j = {.out = out, .x = x, .xi = xi, .y = y, .yi = yi, .a = a, .n = n, .D = D,
                 .grain = ammpli_cpu_grain(s, n, D, 1)};
    ammpli_cpu_for(s, ceil_div(n, j.grain), n * D, dot_forward_task, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_dot_backward(ammpl_stream *s, float *dx, float *dy, const float *dout, const float *x, const int32_t *xi,
                                const float *y, const int32_t *yi, float a, int64_t n, int64_t D)
{
    REQUIRE(s, n >= 0 && D >= 0 && (n == 0 || (dout && x && y)), "dot_backward: a negative size, or dout, x or y is NULL");
    if (!dx && !dy)
        return AMMPL_OK;
    dot_job j = {.dx = dx, .dy = dy, .dout = dout, .x = x, .xi = xi, .y = y, .yi = yi, .a = a, .n = n, .D = D,
                 .grain = ammpli_cpu_grain(s, D, n, 16)};
    ammpli_cpu_for(s, ceil_div(D, j.grain), n * D, dot_backward_task, &j);
    return AMMPL_OK;
}
