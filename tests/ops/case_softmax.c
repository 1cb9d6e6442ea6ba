/* case_softmax.c - softmax of rows, and the gradients of a LayerNorm's own parameters. */
#include "ops.h"

static const int64_t shapes[][2] = {{1, 1}, {3, 1}, {1, 3}, {5, 5}, {3, 31}, {31, 33}, {7, 207}, {197, 96}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct soft {
    const float *dy;
    int64_t D;
    double scale;
} soft;

static void softmax_double(const soft *c, const double *x, double *y)
{
    double max = x[0], sum = 0;
    for (int64_t i = 0; i < c->D; i++)
        max = fmax(max, x[i]);
    for (int64_t i = 0; i < c->D; i++)
        sum += y[i] = exp(c->scale * (x[i] - max));
    for (int64_t i = 0; i < c->D; i++)
        y[i] /= sum;
}

static double value_softmax(void *ctx, const double *x)
{
    const soft *c = ctx;
    double y[512], sum = 0;
    softmax_double(c, x, y);
    for (int64_t i = 0; i < c->D; i++)
        sum += y[i] * (double)c->dy[i];
    return sum;
}

void case_softmax_forward(run *r)
{
    for (int i = 0; i < SHAPES; i++) {
        int64_t n = shapes[i][0], D = shapes[i][1];
        float scale = i % 2 ? 0.18f : 3, *x = draw_scaled(r, n * D, 4, i % 3 ? 50 : 0), *y = make(r, n * D);
        double *exact = to_double(r, x, n * D), *want = keep(r, (size_t)(n * D) * 8);
        for (int64_t k = 0; k < n; k++)
            softmax_double(&(soft){NULL, D, (double)scale}, exact + k * D, want + k * D);
        float *device = PUT(r, x, n * D);
        ck_ok(r->ops->softmax_forward(r->s, y, device, scale, n, D));
        float *got = get(r, y, n * D), *row = make(r, D);
        close_to(r, "y", got, want, n * D, 4e-6);
        ck_ok(r->ops->softmax_forward(r->s, row, device + n / 2 * D, scale, 1, D));
        same_bits(r, "row alone", get(r, row, D), got + n / 2 * D, D);
        float *place = PUT_CHANGE(r, x, n * D); /* in place */
        ck_ok(r->ops->softmax_forward(r->s, place, place, scale, n, D));
        same_bits(r, "in place", get(r, place, n * D), got, n * D);
        x[n / 2 * D + D / 2] = NAN;
        ck_ok(r->ops->softmax_forward(r->s, y, PUT(r, x, n * D), scale, n, D));
        float *after = get(r, y, n * D);
        all_nan(r, "y of NaN", after + n / 2 * D, D);
        same_bits(r, "before NaN", after, got, n / 2 * D);
        same_bits(r, "after NaN", after + (n / 2 + 1) * D, got + (n / 2 + 1) * D, (n - n / 2 - 1) * D);
    }
    float x[4] = {0};
    refuses(r, r->ops->softmax_forward(r->s, x, x, 1, -1, 4), "negative");
    refuses(r, r->ops->softmax_forward(r->s, x, x, 1, 1, 0), "below 1");
    refuses(r, r->ops->softmax_forward(r->s, x, NULL, 1, 1, 4), "NULL");
}

void case_softmax_backward(run *r)
{
    for (int i = 0; i < SHAPES; i++) {
        int64_t n = shapes[i][0], D = shapes[i][1];
        float scale = i % 2 ? 0.18f : 1.5f, *x = draw_scaled(r, n * D, 2, 0), *dy = draw(r, n * D), *y = make(r, n * D);
        float *dx = make(r, n * D);
        ck_ok(r->ops->softmax_forward(r->s, y, PUT(r, x, n * D), scale, n, D));
        float *probability = PUT(r, get(r, y, n * D), n * D);
        ck_ok(r->ops->softmax_backward(r->s, dx, PUT(r, dy, n * D), probability, scale, n, D));
        float *got = get(r, dx, n * D);
        double *exact = to_double(r, x, n * D), *want = keep(r, (size_t)(n * D) * 8), *p = keep(r, (size_t)D * 8);
        for (int64_t k = 0; k < n; k++) {
            soft c = {dy + k * D, D, (double)scale};
            if (D > 1 && k % 16 == 0)
                slopes(r, "dx", got + k * D, value_softmax, &c, exact + k * D, D, 9, 4e-6);
            double dot = 0;
            softmax_double(&c, exact + k * D, p);
            for (int64_t j = 0; j < D; j++)
                dot += p[j] * (double)c.dy[j];
            for (int64_t j = 0; j < D; j++)
                want[k * D + j] = c.scale * p[j] * ((double)c.dy[j] - dot);
        }
        if (D > 1)
            close_to(r, "dx", got, want, n * D, 1e-5);
        float *place = PUT_CHANGE(r, dy, n * D);
        ck_ok(r->ops->softmax_backward(r->s, place, place, probability, scale, n, D));
        same_bits(r, "in place", get(r, place, n * D), got, n * D);
        dy[n / 2 * D] = NAN;
        ck_ok(r->ops->softmax_backward(r->s, dx, PUT(r, dy, n * D), probability, scale, n, D));
        float *after = get(r, dx, n * D);
        all_nan(r, "dx of NaN", after + n / 2 * D, D);
        same_bits(r, "before NaN", after, got, n / 2 * D);
    }
    float x[4] = {0};
    refuses(r, r->ops->softmax_backward(r->s, x, x, x, 1, -1, 4), "negative");
    refuses(r, r->ops->softmax_backward(r->s, x, NULL, x, 1, 1, 4), "NULL");
}

void case_layernorm_weight_backward(run *r)
{
    for (int i = 0; i < SHAPES; i++) {
        int64_t T = shapes[i][0], D = shapes[i][1];
        float *x = draw_scaled(r, T * D, 2, i % 2 ? 3 : 0), *dy = draw(r, T * D), *before = draw(r, D), *before_beta = draw(r, D);
        double *gamma = keep(r, (size_t)D * 8), *beta = keep(r, (size_t)D * 8);
        for (int64_t k = 0; k < D; k++) {
            gamma[k] = (double)before[k];
            beta[k] = (double)before_beta[k];
        }
        for (int64_t t = 0; t < T; t++) {
            double mean = 0, square = 0;
            for (int64_t k = 0; k < D; k++)
                mean += (double)x[t * D + k] / (double)D;
            for (int64_t k = 0; k < D; k++)
                square += ((double)x[t * D + k] - mean) * ((double)x[t * D + k] - mean) / (double)D;
            for (int64_t k = 0; k < D; k++) {
                gamma[k] += (double)dy[t * D + k] * ((double)x[t * D + k] - mean) / sqrt(square + (double)1e-5f);
                beta[k] += (double)dy[t * D + k];
            }
        }
        float *dgamma = PUT_CHANGE(r, before, D), *dbeta = PUT_CHANGE(r, before_beta, D);
        ck_ok(r->ops->layernorm_weight_backward(r->s, dgamma, dbeta, PUT(r, dy, T * D), PUT(r, x, T * D), T, D, 1e-5f));
        close_to(r, "dgamma", get(r, dgamma, D), gamma, D, 1e-5);
        close_to(r, "dbeta", get(r, dbeta, D), beta, D, 4e-6);
    }
    float x[4] = {0};
    refuses(r, r->ops->layernorm_weight_backward(r->s, x, x, x, x, -1, 4, 1e-5f), "negative");
    refuses(r, r->ops->layernorm_weight_backward(r->s, x, x, x, x, 1, 0, 1e-5f), "below 1");
    refuses(r, r->ops->layernorm_weight_backward(r->s, x, NULL, x, x, 1, 4, 1e-5f), "NULL");
}
