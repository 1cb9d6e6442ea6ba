/* case_features.c - normalised features, dot products, cross entropy. */
#include "ops.h"

static const int64_t feature_shapes[][2] = {{1, 1}, {3, 5}, {5, 3}, {31, 33}, {33, 31}, {197, 5}, {5, 197}, {100, 512}};
enum { FEATURE_SHAPES = sizeof feature_shapes / sizeof *feature_shapes };

typedef struct row_function {
    const float *dy;
    int64_t D;
} row_function;

/* sum of dy x / |x|, one row. */
static double value_norm(void *ctx, const double *x)
{
    const row_function *c = ctx;
    double square = 0, sum = 0;
    for (int64_t i = 0; i < c->D; i++) {
        square += x[i] * x[i];
        sum += (double)c->dy[i] * x[i];
    }
    return sum / sqrt(square);
}

void case_l2norm_forward(run *r)
{
    for (int i = 0; i < FEATURE_SHAPES; i++) {
        int64_t n = feature_shapes[i][0], D = feature_shapes[i][1], t = n / 2;
        float *x = draw_scaled(r, n * D, 3, 0.5f), *y = make(r, n * D), *norm = make(r, n), *one = make(r, D), *its = make(r, 1);
        double *want = keep(r, (size_t)(n * D) * 8), *length = keep(r, (size_t)n * 8);
        for (int64_t k = 0; k < n; k++) {
            for (int64_t c = 0; c < D; c++)
                length[k] += (double)x[k * D + c] * (double)x[k * D + c];
            length[k] = sqrt(length[k]);
            for (int64_t c = 0; c < D; c++)
                want[k * D + c] = (double)x[k * D + c] / length[k];
        }
        float *device = PUT(r, x, n * D);
        ck_ok(r->ops->l2norm_forward(r->s, y, norm, device, n, D));
        float *got = get(r, y, n * D);
        close_to(r, "y", got, want, n * D, 1e-6);
        close_to(r, "norm", get(r, norm, n), length, n, 1e-6);
        ck_ok(r->ops->l2norm_forward(r->s, one, its, device + t * D, 1, D));
        same_bits(r, "row alone", get(r, one, D), got + t * D, D);
        x[t * D] = NAN;
        ck_ok(r->ops->l2norm_forward(r->s, y, norm, PUT(r, x, n * D), n, D));
        float *after = get(r, y, n * D);
        all_nan(r, "y of NaN", after + t * D, D);
        all_nan(r, "norm of NaN", get(r, norm + t, 1), 1);
        same_bits(r, "before NaN", after, got, t * D);
        same_bits(r, "after NaN", after + (t + 1) * D, got + (t + 1) * D, (n - t - 1) * D);
    }
    float x = 1;
    refuses(r, r->ops->l2norm_forward(r->s, &x, &x, &x, -1, 1), "negative");
    refuses(r, r->ops->l2norm_forward(r->s, &x, NULL, &x, 1, 1), "NULL");
}

void case_l2norm_backward(run *r)
{
    for (int i = 1; i < FEATURE_SHAPES; i++) {
        int64_t n = feature_shapes[i][0], D = feature_shapes[i][1], t = n / 2;
        float *x = draw_scaled(r, n * D, 3, 0.5f), *dy = draw(r, n * D), *y = make(r, n * D), *norm = make(r, n), *dx = make(r, n * D);
        float *dyd = PUT(r, dy, n * D), *one = make(r, D);
        ck_ok(r->ops->l2norm_forward(r->s, y, norm, PUT(r, x, n * D), n, D));
        ck_ok(r->ops->l2norm_backward(r->s, dx, dyd, y, norm, n, D));
        float *got = get(r, dx, n * D);
        double *exact = to_double(r, x, n * D);
        for (int64_t k = 0; k < n; k += 7)
            slopes(r, "dx", got + k * D, value_norm, &(row_function){dy + k * D, D}, exact + k * D, D, 9, 2e-6);
        ck_ok(r->ops->l2norm_backward(r->s, one, dyd + t * D, y + t * D, norm + t, 1, D));
        same_bits(r, "row alone", get(r, one, D), got + t * D, D);
        dy[t * D] = NAN;
        ck_ok(r->ops->l2norm_backward(r->s, dx, PUT(r, dy, n * D), y, norm, n, D));
        float *after = get(r, dx, n * D);
        all_nan(r, "dx of NaN", after + t * D, D);
        same_bits(r, "before NaN", after, got, t * D);
        same_bits(r, "after NaN", after + (t + 1) * D, got + (t + 1) * D, (n - t - 1) * D);
    }
    float x = 1;
    refuses(r, r->ops->l2norm_backward(r->s, &x, &x, &x, &x, -1, 1), "negative");
    refuses(r, r->ops->l2norm_backward(r->s, &x, &x, NULL, &x, 1, 1), "NULL");
}

void case_dot_forward(run *r)
{
    for (int i = 0; i < 4 * FEATURE_SHAPES; i++) {
        int64_t n = feature_shapes[i / 4][0], D = feature_shapes[i / 4][1];
        int32_t *xi = i & 1 ? draw_index(r, n, (int32_t)n) : NULL, *yi = i & 2 ? draw_index(r, n, (int32_t)n) : NULL;
        float *x = draw(r, n * D), *y = draw(r, n * D), *out = make(r, n), *one = make(r, 1);
        double *want = keep(r, (size_t)n * 8);
        for (int64_t k = 0; k < n; k++)
            for (int64_t c = 0; c < D; c++)
                want[k] += 2.5 * (double)x[(xi ? xi[k] : k) * D + c] * (double)y[(yi ? yi[k] : k) * D + c];
        float *xd = PUT(r, x, n * D), *yd = PUT(r, y, n * D);
        int32_t *xid = xi ? PUT(r, xi, n) : NULL, *yid = yi ? PUT(r, yi, n) : NULL;
        ck_ok(r->ops->dot_forward(r->s, out, xd, xid, yd, yid, 2.5f, n, D));
        float *got = get(r, out, n);
        close_to(r, "out", got, want, n, 1e-6);
        int64_t t = n / 2, tx = xi ? xi[t] : t, ty = yi ? yi[t] : t;
        ck_ok(r->ops->dot_forward(r->s, one, xd + tx * D, NULL, yd + ty * D, NULL, 2.5f, 1, D));
        same_bits(r, "pair alone", get(r, one, 1), got + t, 1);
        x[tx * D + D / 2] = NAN;
        ck_ok(r->ops->dot_forward(r->s, out, PUT(r, x, n * D), xid, yd, yid, 2.5f, n, D));
        float *after = get(r, out, n);
        for (int64_t k = 0; k < n; k++)
            if ((xi ? xi[k] : k) == tx)
                all_nan(r, "out of NaN", after + k, 1);
            else
                same_bits(r, "beside NaN", after + k, got + k, 1);
    }
    float x = 1;
    refuses(r, r->ops->dot_forward(r->s, &x, &x, NULL, &x, NULL, 1, 1, -1), "negative");
    refuses(r, r->ops->dot_forward(r->s, &x, &x, NULL, NULL, NULL, 1, 1, 1), "NULL");
}

typedef struct dots {
    const float *dout, *other;
    const int32_t *xi, *yi;
    int64_t n, D;
} dots;

static double value_dot(void *ctx, const double *x)
{
    const dots *c = ctx;
    double sum = 0;
    for (int64_t k = 0; k < c->n; k++)
        for (int64_t d = 0; d < c->D; d++)
            sum += 2.5 * (double)c->dout[k] * x[(c->xi ? c->xi[k] : k) * c->D + d] *
                   (double)c->other[(c->yi ? c->yi[k] : k) * c->D + d];
    return sum;
}

void case_dot_backward(run *r)
{
    for (int i = 0; i < 4 * FEATURE_SHAPES; i++) {
        int64_t n = feature_shapes[i / 4][0], D = feature_shapes[i / 4][1];
        int32_t *xi = i & 1 ? draw_index(r, n, (int32_t)(n / 2 + 1)) : NULL, *yi = i & 2 ? draw_index(r, n, (int32_t)(n / 3 + 1)) : NULL;
        float *x = draw(r, n * D), *y = draw(r, n * D), *dout = draw(r, n), *zero = keep(r, (size_t)(n * D) * 4);
        float *xd = PUT(r, x, n * D), *yd = PUT(r, y, n * D), *doutd = PUT(r, dout, n), *dx = PUT_CHANGE(r, zero, n * D);
        float *dy = PUT_CHANGE(r, zero, n * D), *alone = PUT_CHANGE(r, zero, n * D);
        int32_t *xid = xi ? PUT(r, xi, n) : NULL, *yid = yi ? PUT(r, yi, n) : NULL;
        ck_ok(r->ops->dot_backward(r->s, dx, dy, doutd, xd, xid, yd, yid, 2.5f, n, D));
        float *got_x = get(r, dx, n * D), *got_y = get(r, dy, n * D);
        slopes(r, "dx", got_x, value_dot, &(dots){dout, y, xi, yi, n, D}, to_double(r, x, n * D), n * D, 17, 1e-6);
        slopes(r, "dy", got_y, value_dot, &(dots){dout, x, yi, xi, n, D}, to_double(r, y, n * D), n * D, 17, 1e-6);
        ck_ok(r->ops->dot_backward(r->s, NULL, alone, doutd, xd, xid, yd, yid, 2.5f, n, D));
        same_bits(r, "dy alone", get(r, alone, n * D), got_y, n * D);
        /* adds: the second call doubles, up to the rounding of other partial sums */
        ck_ok(r->ops->dot_backward(r->s, dx, NULL, doutd, xd, xid, yd, yid, 2.5f, n, D));
        double *twice = to_double(r, got_x, n * D);
        for (int64_t k = 0; k < n * D; k++)
            twice[k] *= 2;
        close_to(r, "dx twice", get(r, dx, n * D), twice, n * D, 1e-6);
        dout[0] = NAN;
        float *spoilt = PUT_CHANGE(r, zero, n * D);
        ck_ok(r->ops->dot_backward(r->s, spoilt, NULL, PUT(r, dout, n), xd, xid, yd, yid, 2.5f, n, D));
        float *after = get(r, spoilt, n * D);
        for (int64_t k = 0; k < n; k++)
            if (k == (xi ? xi[0] : 0))
                all_nan(r, "dx of NaN", after + k * D, D);
            else
                same_bits(r, "beside NaN", after + k * D, got_x + k * D, D);
    }
    float x = 1;
    ck_ok(r->ops->dot_backward(r->s, NULL, NULL, &x, &x, NULL, &x, NULL, 1, 1, 1));
    refuses(r, r->ops->dot_backward(r->s, &x, &x, &x, &x, NULL, &x, NULL, 1, -1, 1), "negative");
    refuses(r, r->ops->dot_backward(r->s, &x, &x, NULL, &x, NULL, &x, NULL, 1, 1, 1), "NULL");
}

typedef struct entropy {
    int32_t label;
    int64_t C;
} entropy;

static double value_entropy(void *ctx, const double *z)
{
    const entropy *c = ctx;
    double max = z[0], sum = 0;
    for (int64_t k = 1; k < c->C; k++)
        max = z[k] > max ? z[k] : max;
    for (int64_t k = 0; k < c->C; k++)
        sum += exp(z[k] - max);
    return log(sum) + max - z[c->label];
}

void case_cross_entropy_forward(run *r)
{
    for (int i = 0; i < FEATURE_SHAPES; i++) {
        int64_t B = feature_shapes[i][0], C = feature_shapes[i][1], t = B / 2;
        float *z = draw_scaled(r, B * C, i % 2 ? 4 : 60, 0), *loss = make(r, B), *one = make(r, 1); /* 100 x cosine is large */
        int32_t *label = draw_index(r, B, (int32_t)C);
        double *want = keep(r, (size_t)B * 8), *exact = to_double(r, z, B * C);
        for (int64_t b = 0; b < B; b++)
            want[b] = value_entropy(&(entropy){label[b], C}, exact + b * C);
        float *zd = PUT(r, z, B * C);
        int32_t *ld = PUT(r, label, B);
        ck_ok(r->ops->cross_entropy_forward(r->s, loss, zd, ld, B, C));
        float *got = get(r, loss, B);
        close_to(r, "loss", got, want, B, 1e-6);
        ck_ok(r->ops->cross_entropy_forward(r->s, one, zd + t * C, ld + t, 1, C));
        same_bits(r, "row alone", get(r, one, 1), got + t, 1);
        z[t * C + C / 2] = NAN;
        ck_ok(r->ops->cross_entropy_forward(r->s, loss, PUT(r, z, B * C), ld, B, C));
        float *after = get(r, loss, B);
        all_nan(r, "loss of NaN", after + t, 1);
        same_bits(r, "before NaN", after, got, t);
        same_bits(r, "after NaN", after + t + 1, got + t + 1, B - t - 1);
    }
    float z[2] = {0, 0};
    int32_t wrong = 2;
    refuses_late(r, r->ops->cross_entropy_forward(r->s, make(r, 1), PUT(r, z, 2), PUT(r, &wrong, 1), 1, 2), "label");
    refuses(r, r->ops->cross_entropy_forward(r->s, z, z, &wrong, -1, 2), "negative");
    refuses(r, r->ops->cross_entropy_forward(r->s, z, NULL, &wrong, 1, 2), "NULL");
}

void case_cross_entropy_backward(run *r)
{
    for (int i = 0; i < FEATURE_SHAPES; i++) {
        int64_t B = feature_shapes[i][0], C = feature_shapes[i][1], t = B / 2;
        float *z = draw_scaled(r, B * C, i % 2 ? 4 : 30, 0), *d = make(r, B * C), *one = make(r, C), weight = 0.37f;
        int32_t *label = draw_index(r, B, (int32_t)C);
        double *exact = to_double(r, z, B * C);
        float *zd = PUT(r, z, B * C);
        int32_t *ld = PUT(r, label, B);
        ck_ok(r->ops->cross_entropy_backward(r->s, d, zd, ld, weight, B, C));
        float *got = get(r, d, B * C), *unit = keep(r, (size_t)(B * C) * 4);
        for (int64_t k = 0; k < B * C; k++)
            unit[k] = got[k] / weight;
        for (int64_t b = 0; b < B; b++)
            slopes(r, "dlogits", unit + b * C, value_entropy, &(entropy){label[b], C}, exact + b * C, C, 9, 3e-6);
        ck_ok(r->ops->cross_entropy_backward(r->s, one, zd + t * C, ld + t, weight, 1, C));
        same_bits(r, "row alone", get(r, one, C), got + t * C, C);
        z[t * C] = NAN;
        ck_ok(r->ops->cross_entropy_backward(r->s, d, PUT(r, z, B * C), ld, weight, B, C));
        float *after = get(r, d, B * C);
        if (C > 1)
            all_nan(r, "dlogits of NaN", after + t * C, C);
        same_bits(r, "before NaN", after, got, t * C);
        same_bits(r, "after NaN", after + (t + 1) * C, got + (t + 1) * C, (B - t - 1) * C);
    }
    float z[2] = {0, 0};
    int32_t wrong = -1;
    refuses_late(r, r->ops->cross_entropy_backward(r->s, make(r, 2), PUT(r, z, 2), PUT(r, &wrong, 1), 1, 1, 2), "label");
    refuses(r, r->ops->cross_entropy_backward(r->s, z, z, &wrong, 1, -1, 2), "negative");
    refuses(r, r->ops->cross_entropy_backward(r->s, NULL, z, &wrong, 1, 1, 2), "NULL");
}
