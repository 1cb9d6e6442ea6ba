/* case_transformer.c - layer norm and activations. */
#include "ops.h"

typedef struct norm {
    const float *gamma, *beta, *dy;
    int64_t T, D;
    double eps;
} norm;

static void norm_double(const norm *c, const double *x, double *y)
{
    for (int64_t t = 0; t < c->T; t++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < c->D; i++)
            mean += x[t * c->D + i] / (double)c->D;
        for (int64_t i = 0; i < c->D; i++)
            square += (x[t * c->D + i] - mean) * (x[t * c->D + i] - mean) / (double)c->D;
        for (int64_t i = 0; i < c->D; i++)
            y[t * c->D + i] =
                (x[t * c->D + i] - mean) / sqrt(square + c->eps) * (double)c->gamma[i] + (c->beta ? (double)c->beta[i] : 0);
    }
}

/* One row's sum of dy LN(x). */
static double value_norm(void *ctx, const double *x)
{
    const norm *c = ctx;
    double y[512], sum = 0;
    norm_double(c, x, y);
    for (int64_t i = 0; i < c->D; i++)
        sum += y[i] * (double)c->dy[i];
    return sum;
}

static const int64_t norm_shapes[][2] = {{1, 1}, {3, 1}, {1, 3}, {5, 5}, {3, 31}, {31, 33}, {33, 197}, {197, 96}, {100, 128}, {40, 511}};
enum { NORM_SHAPES = sizeof norm_shapes / sizeof *norm_shapes };

void case_layernorm_forward(run *r)
{
    for (int i = 0; i < NORM_SHAPES; i++) {
        int64_t T = norm_shapes[i][0], D = norm_shapes[i][1];
        float *x = draw_scaled(r, T * D, 2, i % 2 ? 10 : 0), *gamma = draw(r, D), *beta = draw(r, D), *y = make(r, T * D);
        norm c = {gamma, beta, NULL, T, D, 1e-5f};
        double *want = keep(r, (size_t)(T * D) * 8);
        norm_double(&c, to_double(r, x, T * D), want);
        float *device = PUT(r, x, T * D), *g = PUT(r, gamma, D), *b = PUT(r, beta, D);
        ck_ok(r->ops->layernorm_forward(r->s, y, device, g, b, T, D, 1e-5f));
        float *got = get(r, y, T * D);
        close_to(r, "y", got, want, T * D, i % 2 ? 1e-5 : 2e-6); /* a mean of 10 deviations: ulps of x count 10-fold */
        int64_t t = T / 2;
        float *row = make(r, D);
        ck_ok(r->ops->layernorm_forward(r->s, row, device + t * D, g, b, 1, D, 1e-5f));
        same_bits(r, "row alone", get(r, row, D), got + t * D, D);
        x[t * D + D / 2] = i % 4 < 2 ? NAN : INFINITY;
        ck_ok(r->ops->layernorm_forward(r->s, y, PUT(r, x, T * D), g, b, T, D, 1e-5f));
        float *after = get(r, y, T * D);
        all_nan(r, "y of NaN", after + t * D, D);
        same_bits(r, "before NaN", after, got, t * D);
        same_bits(r, "after NaN", after + (t + 1) * D, got + (t + 1) * D, (T - t - 1) * D);
    }
    float x[4] = {0};
    refuses(r, r->ops->layernorm_forward(r->s, x, x, x, x, -1, 4, 1e-5f), "negative");
    refuses(r, r->ops->layernorm_forward(r->s, x, x, x, x, 1, 0, 1e-5f), "below 1");
    refuses(r, r->ops->layernorm_forward(r->s, x, NULL, x, x, 1, 4, 1e-5f), "NULL");
}

void case_layernorm_backward(run *r)
{
    for (int i = 0; i < NORM_SHAPES; i++) {
        int64_t T = norm_shapes[i][0], D = norm_shapes[i][1];
        float *x = draw_scaled(r, T * D, 2, i % 2 ? 3 : 0), *gamma = draw(r, D), *dy = draw(r, T * D), *residual = draw(r, T * D);
        float *xd = PUT(r, x, T * D), *g = PUT(r, gamma, D), *dyd = PUT(r, dy, T * D), *dx = make(r, T * D);
        ck_ok(r->ops->layernorm_backward(r->s, dx, dyd, xd, g, NULL, T, D, 1e-5f));
        float *got = get(r, dx, T * D);
        double *exact = to_double(r, x, T * D), *want = keep(r, (size_t)(T * D) * 8);
        for (int64_t t = 0; t < T; t++) {
            norm c = {gamma, NULL, dy + t * D, 1, D, 1e-5f};
            if (t % 16 == 0 && D > 1)
                slopes(r, "dx", got + t * D, value_norm, &c, exact + t * D, D, 9, 2e-6);
            double mean = 0, square = 0, sum_g = 0, sum_gn = 0;
            const double *xt = exact + t * D;
            for (int64_t k = 0; k < D; k++)
                mean += xt[k] / (double)D;
            for (int64_t k = 0; k < D; k++)
                square += (xt[k] - mean) * (xt[k] - mean) / (double)D;
            double rstd = 1 / sqrt(square + (double)1e-5f);
            for (int64_t k = 0; k < D; k++) {
                sum_g += (double)(gamma[k]) * (double)c.dy[k] / (double)D;
                sum_gn += (double)(gamma[k]) * (double)c.dy[k] * (xt[k] - mean) * rstd / (double)D;
            }
            for (int64_t k = 0; k < D; k++)
                want[t * D + k] = rstd * ((double)gamma[k] * (double)c.dy[k] - sum_g - (xt[k] - mean) * rstd * sum_gn);
        }
        if (D > 1)
            close_to(r, "dx", got, want, T * D, 5e-6);
        /* residual in the place of dx */
        float *sum = PUT_CHANGE(r, residual, T * D);
        ck_ok(r->ops->layernorm_backward(r->s, sum, dyd, xd, g, sum, T, D, 1e-5f));
        float *added = get(r, sum, T * D), *expected = keep(r, (size_t)(T * D) * 4);
        for (int64_t k = 0; k < T * D; k++)
            expected[k] = got[k] + residual[k];
        same_bits(r, "dx + residual", added, expected, T * D);
        int64_t t = T / 2;
        float *row = make(r, D);
        ck_ok(r->ops->layernorm_backward(r->s, row, dyd + t * D, xd + t * D, g, NULL, 1, D, 1e-5f));
        same_bits(r, "row alone", get(r, row, D), got + t * D, D);
        dy[t * D] = NAN;
        ck_ok(r->ops->layernorm_backward(r->s, dx, PUT(r, dy, T * D), xd, g, NULL, T, D, 1e-5f));
        float *after = get(r, dx, T * D);
        all_nan(r, "dx of NaN", after + t * D, D);
        same_bits(r, "before NaN", after, got, t * D);
        same_bits(r, "after NaN", after + (t + 1) * D, got + (t + 1) * D, (T - t - 1) * D);
    }
    float x[4] = {0};
    refuses(r, r->ops->layernorm_backward(r->s, x, x, x, x, NULL, -1, 4, 1e-5f), "negative");
    refuses(r, r->ops->layernorm_backward(r->s, x, x, NULL, x, NULL, 1, 4, 1e-5f), "NULL");
}

static const int64_t act_sizes[] = {1, 3, 5, 31, 33, 197, 20001};

void case_act_forward(run *r)
{
    for (int32_t act = AMMPL_ACT_NONE; act <= AMMPL_ACT_RELU; act++)
        for (size_t i = 0; i < sizeof act_sizes / sizeof *act_sizes; i++) {
            int64_t n = act_sizes[i];
            float *x = draw_scaled(r, n, 6, 0), *y = make(r, n);
            double *want = keep(r, (size_t)n * 8);
            for (int64_t k = 0; k < n; k++)
                want[k] = act_double((double)x[k], act);
            float *device = PUT(r, x, n);
            ck_ok(r->ops->act_forward(r->s, y, device, n, act));
            float *got = get(r, y, n);
            close_to(r, "y", got, want, n, 1e-6);
            float *one = make(r, 1);
            ck_ok(r->ops->act_forward(r->s, one, device + n / 2, 1, act));
            same_bits(r, "one alone", get(r, one, 1), got + n / 2, 1);
            float *place = PUT_CHANGE(r, x, n);
            ck_ok(r->ops->act_forward(r->s, place, place, n, act));
            same_bits(r, "in place", get(r, place, n), got, n);
            x[n / 2] = NAN;
            ck_ok(r->ops->act_forward(r->s, y, PUT(r, x, n), n, act));
            float *after = get(r, y, n);
            all_nan(r, "y of NaN", after + n / 2, 1);
            same_bits(r, "before NaN", after, got, n / 2);
            same_bits(r, "after NaN", after + n / 2 + 1, got + n / 2 + 1, n - n / 2 - 1);
        }
    const float ends[] = {INFINITY, 1e30f, 100, -100, -1e30f, 0};
    for (int32_t act = AMMPL_ACT_NONE; act <= AMMPL_ACT_RELU; act++) {
        float *y = make(r, 6), *got;
        ck_ok(r->ops->act_forward(r->s, y, PUT(r, ends, 6), 6, act));
        got = get(r, y, 6);
        same_bits(r, "large values pass", got, ends, 3);
        if (act != AMMPL_ACT_NONE)
            for (int k = 3; k < 6; k++)
                ck_assert_msg(fabsf(got[k]) <= 1e-30f, "%s: act %d of %g is %g", r->name, (int)act, (double)ends[k], (double)got[k]);
    }
    float x = 0;
    refuses(r, r->ops->act_forward(r->s, &x, &x, -1, 0), "negative");
    refuses(r, r->ops->act_forward(r->s, &x, NULL, 1, 0), "NULL");
    refuses(r, r->ops->act_forward(r->s, &x, &x, 1, 9), "act");
}

typedef struct weighted {
    const float *dy;
    int64_t n;
    int32_t act;
} weighted;

static double value_act(void *ctx, const double *x)
{
    const weighted *c = ctx;
    double sum = 0;
    for (int64_t i = 0; i < c->n; i++)
        sum += (double)c->dy[i] * act_double(x[i], c->act);
    return sum;
}

void case_act_backward(run *r)
{
    for (int32_t act = AMMPL_ACT_NONE; act <= AMMPL_ACT_RELU; act++)
        for (size_t i = 0; i < sizeof act_sizes / sizeof *act_sizes; i++) {
            int64_t n = act_sizes[i];
            float *x = draw_scaled(r, n, 6, 0), *dy = draw(r, n), *dx = make(r, n);
            double *want = keep(r, (size_t)n * 8);
            for (int64_t k = 0; k < n; k++)
                want[k] = (double)dy[k] * slope_double((double)x[k], act);
            float *xd = PUT(r, x, n), *dyd = PUT(r, dy, n);
            ck_ok(r->ops->act_backward(r->s, dx, dyd, xd, n, act));
            float *got = get(r, dx, n);
            close_to(r, "dx", got, want, n, 1e-6);
            if (n < 1000)
                slopes(r, "dx", got, value_act, &(weighted){dy, n, act}, to_double(r, x, n), n, 11, 2e-6);
            float *one = make(r, 1);
            ck_ok(r->ops->act_backward(r->s, one, dyd + n / 2, xd + n / 2, 1, act));
            same_bits(r, "one alone", get(r, one, 1), got + n / 2, 1);
            x[n / 2] = NAN;
            ck_ok(r->ops->act_backward(r->s, dx, dyd, PUT(r, x, n), n, act));
            float *after = get(r, dx, n);
            if (act != AMMPL_ACT_NONE)
                all_nan(r, "dx of NaN", after + n / 2, 1);
            same_bits(r, "before NaN", after, got, n / 2);
            dy[n / 2] = NAN;
            ck_ok(r->ops->act_backward(r->s, dx, PUT(r, dy, n), xd, n, act));
            after = get(r, dx, n);
            all_nan(r, "dx of NaN dy", after + n / 2, 1);
            same_bits(r, "after NaN", after + n / 2 + 1, got + n / 2 + 1, n - n / 2 - 1);
        }
    float x = 0;
    refuses(r, r->ops->act_backward(r->s, &x, &x, &x, -1, 0), "negative");
    refuses(r, r->ops->act_backward(r->s, &x, NULL, &x, 1, 0), "NULL");
    refuses(r, r->ops->act_backward(r->s, &x, &x, &x, 1, -1), "act");
}
