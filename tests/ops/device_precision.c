/* device_precision.c - streams that round the factors of their products: how, how far off that is, and what is never rounded. */
#include <assert.h>
#include <stdio.h>

#include "device.h"

/* x rounded to `bits` of fraction, to nearest, ties to even. */
static double rounded(double x, int bits)
{
    int exponent;
    double m = frexp(x, &exponent);
    return ldexp(nearbyint(ldexp(m, bits + 1)), exponent - bits - 1);
}

/* Linear layers of a stream that rounds its factors, forward (with what stands behind the product) and backward.  BF16 and F16 factors
 * are rounded by our own kernels: what comes out is their product, but for the order of a float32 sum.  TF32's are the library's to round,
 * up or down: 2^-10 each at most; the emulated one rounds to nearest, and it must be seen that it did. */
static const struct {
    int32_t precision;
    int bits;
    double bound; /* of |got - want| / sum |x| |w|, want being the product of rounded factors (TF32: of those as they are) */
} precisions[] = {{AMMPL_PRECISION_F32, 30, 1e-6}, {AMMPL_PRECISION_TF32, 30, 2.1 / 1024}, {AMMPL_PRECISION_BF16, 7, 1e-6},
                  {AMMPL_PRECISION_F16, 10, 1e-6}};

static void check_rounded(int kind, const char *what, const float *got, const float *x, const float *w, int64_t T, int64_t N, int64_t K, bool transposed,
                          double *worst, double *moved)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double want = 0, exact = 0, size = 0;
            for (int64_t k = 0; k < K; k++) {
                double a = (double)x[t * K + k], b = (double)w[transposed ? k * N + n : n * K + k];
                want += rounded(a, precisions[kind].bits) * rounded(b, precisions[kind].bits);
                exact += a * b;
                size += fabs(a * b);
            }
            double off = fabs((double)got[t * N + n] - want) / size;
            ck_assert_msg(off <= precisions[kind].bound, "%s [%d,%d,%d]: off by %.3g of the sum of sizes", what, (int)T, (int)N, (int)K, off);
            *worst = fmax(*worst, off);
            *moved = fmax(*moved, fabs((double)got[t * N + n] - exact) / size);
        }
}

START_TEST(precision)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {33, 31, 65}, {17, 129, 64}};
    if (configure)
        configure(2, GIB, 1);
    device d = open_device();
    ammpl_stream *s;
    double worst = 0, moved = 0;
    ck_ok(d.backend->stream_create(&d.ctx->host, 0, precisions[_i].precision, &s));
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        int64_t T = shapes[i / 2][0], N = shapes[i / 2][1], K = shapes[i / 2][2];
        int32_t transposed = i % 2 != 0;
        run r;
        run_begin(&r, "precision", d.backend->ops, s);
        r.random += i;
        float *x = draw(&r, T * K), *w = draw(&r, N * K), *dy = draw(&r, T * N), *zero = keep(&r, (size_t)(T * N) * sizeof *zero);
        ammpl_weight *weight;
        ck_ok(r.ops->weight_create(s, w, AMMPL_DTYPE_F32, transposed ? AMMPL_WEIGHT_TRANSPOSED : 0, N, K, &weight));
        float *y = put_change(&r, zero, (size_t)(T * N) * sizeof *zero), *dx = make(&r, T * K);
        ck_ok(r.ops->linear_forward(s, y, NULL, PUT(&r, x, T * K), weight, NULL, y, AMMPL_ACT_NONE, T)); /* y += x W^T */
        check_rounded(_i, "y", get(&r, y, T * N), x, w, T, N, K, transposed, &worst, &moved);
        ck_ok(r.ops->linear_backward(s, dx, PUT(&r, dy, T * N), weight, NULL, AMMPL_ACT_NONE, T));
        check_rounded(_i, "dx", get(&r, dx, T * K), dy, w, T, K, N, !transposed, &worst, &moved);
        r.ops->weight_destroy(s, weight);
        run_end(&r);
        run_free(&r);
    }
    printf("# precision %d: off by %.2g at most, %.2g from exact factors\n", (int)precisions[_i].precision, worst, moved);
    ck_assert_msg(!configure || _i == 0 || moved > 1e-4, "nothing was rounded");
    d.backend->stream_destroy(s);
    close_device(&d);
}
END_TEST

/* Attention over pictures on such a stream: a rounding away from one of AMMPL_PRECISION_F32, and seen to be.  Heads of 6 do not
 * begin where products in TF32 could read them: those are not rounded. */
START_TEST(attention_precision)
{
    enum { B = 3, L = 37, H = 2, T = B * L, MOST = 5 };
    if (configure)
        configure(2, GIB, 1);
    device d = open_device();
    for (int shape = 0; shape < 4; shape++) {
        int64_t D = shape % 2 ? H * 20 : H * 6, P = shape / 2 * MOST;
        float *result[2][2];
        run r[2];
        for (int k = 0; k < 2; k++) {
            ammpl_stream *s;
            ck_ok(d.backend->stream_create(&d.ctx->host, 0, k ? precisions[_i].precision : AMMPL_PRECISION_F32, &s));
            run_begin(&r[k], "attention_precision", d.backend->ops, s);
            int32_t start[B + 1] = {0, L, 2 * L, T}, *bounds = PUT(&r[k], start, B + 1);
            float *qkv = PUT(&r[k], draw_scaled(&r[k], T * 3 * D, 2, 0), T * 3 * D), *dout = PUT(&r[k], draw(&r[k], T * D), T * D);
            int32_t group[B] = {0, -1, 0}, *groups = PUT(&r[k], group, B);
            float *prefix = PUT(&r[k], draw_scaled(&r[k], MOST * 3 * D, 2, 0), MOST * 3 * D), *out = make(&r[k], T * D);
            float *dqkv = PUT_CHANGE(&r[k], (float *)keep(&r[k], (size_t)((T + MOST) * 3 * D) * sizeof *dqkv), (T + MOST) * 3 * D);
            ck_ok(r[k].ops->attention_forward(s, out, qkv, bounds, B, L, T, D, H, 0, prefix, groups, P));
            ck_ok(r[k].ops->attention_backward(s, dqkv, dout, out, qkv, bounds, B, L, T, D, H, 0, dqkv + T * 3 * D, prefix, groups, P));
            result[k][0] = get(&r[k], out, T * D);
            result[k][1] = get(&r[k], dqkv, (T + MOST) * 3 * D);
        }
        double forward = test_difference(result[1][0], result[0][0], T * D, 0);
        double backward = test_difference(result[1][1], result[0][1], (T + MOST) * 3 * D, 0);
        bool exact = D == H * 6 || precisions[_i].precision == AMMPL_PRECISION_F32;
        printf("# precision %d, heads of %d, %d rows before: out differs by %.2g, gradients by %.2g\n", (int)precisions[_i].precision,
               (int)(D / H), (int)P, forward, backward);
        ck_assert(forward <= (exact ? 0 : 2e-3) && backward <= (exact ? 0 : 4e-3));
        ck_assert_msg(exact || !configure || (forward > 1e-5 && backward > 1e-5), "nothing was rounded");
        for (int k = 0; k < 2; k++) {
            run_end(&r[k]);
            run_free(&r[k]);
            d.backend->stream_destroy(r[k].s);
        }
    }
    close_device(&d);
}
END_TEST

/* ---- F16: rows of any size, weights of any size ---- */

static ammpl_stream *open_f16(device *d, run *r, const char *name)
{
    ammpl_stream *s;
    if (configure)
        configure(2, GIB, 1);
    *d = open_device();
    ck_ok(d->backend->stream_create(&d->ctx->host, 0, AMMPL_PRECISION_F16, &s));
    run_begin(r, name, d->backend->ops, s);
    return s;
}

static void close_f16(device *d, run *r)
{
    run_end(r);
    run_free(r);
    d->backend->stream_destroy(r->s);
    close_device(d);
}

/* x [T,K] as numbers of F16 stand for it, each row times the power of two that brings its largest magnitude to [2^14, 2^15), or as far as
 * 2^126 does.  A weight is one row. */
static double *round_rows(run *r, const float *x, int64_t T, int64_t K)
{
    double *y = keep(r, (size_t)(T * K) * sizeof *y);
    for (int64_t t = 0; t < T; t++) {
        double largest = 0;
        int power = -126, exponent;
        for (int64_t k = 0; k < K; k++)
            largest = fmax(largest, fabs((double)x[t * K + k]));
        if (largest > 0) {
            frexp(largest, &exponent);
            power = exponent - 15 > -126 ? exponent - 15 : -126;
        }
        for (int64_t k = 0; k < K; k++) {
            double scaled = ldexp((double)x[t * K + k], -power);
            frexp(scaled, &exponent);
            exponent = exponent - 11 > -24 ? exponent - 11 : -24; /* of the last bit */
            y[t * K + k] = ldexp(nearbyint(ldexp(scaled, -exponent)), exponent + power);
        }
    }
    return y;
}

/* got [T,N] is the product of a [T,K] with b [K,N] (transposed: [N,K]), but for the order of float32 sums. */
static void check_product(const char *what, const float *got, const double *a, const double *b, bool transposed, int64_t T, int64_t N, int64_t K)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double want = 0, size = 0;
            for (int64_t k = 0; k < K; k++) {
                double term = a[t * K + k] * b[transposed ? n * K + k : k * N + n];
                want += term;
                size += fabs(term);
            }
            double off = fabs((double)got[t * N + n] - want);
            ck_assert_msg(off <= 1e-6 * size + 0x1p-149, "%s, row %d: %.9g instead of %.9g", what, (int)t, (double)got[t * N + n], want);
        }
}

/* Rows whose sizes go through all of float's, and weights far below and beyond F16. */
START_TEST(f16_sizes)
{
    enum { ROWS = 57, N = 31, K = 65 };
    static const int weights[] = {0, -40, 24};
    device d;
    run r;
    ammpl_stream *s = open_f16(&d, &r, "f16_sizes");
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        float *x = draw(&r, ROWS * K), *dy = draw(&r, ROWS * N), *w = draw(&r, N * K);
        for (int64_t k = 0; k < N * K; k++)
            w[k] = ldexpf(w[k], weights[i]);
        for (int t = 0; t < ROWS; t++) { /* 2^-149 to 2^90; a row of zeros */
            for (int k = 0; k < K; k++)
                x[t * K + k] = t == 5 ? 0 : ldexpf(x[t * K + k], -149 + t * 239 / (ROWS - 1));
            for (int n = 0; n < N; n++)
                dy[t * N + n] = t == 5 ? 0 : ldexpf(dy[t * N + n], 90 - t * 239 / (ROWS - 1));
        }
        ammpl_weight *weight;
        float *y = make(&r, ROWS * N), *dx = make(&r, ROWS * K);
        double *rounded_w = round_rows(&r, w, 1, N * K);
        ck_ok(r.ops->weight_create(s, w, AMMPL_DTYPE_F32, 0, N, K, &weight));
        ck_ok(r.ops->linear_forward(s, y, NULL, PUT(&r, x, ROWS * K), weight, NULL, NULL, AMMPL_ACT_NONE, ROWS));
        check_product("y", get(&r, y, ROWS * N), round_rows(&r, x, ROWS, K), rounded_w, true, ROWS, N, K);
        ck_ok(r.ops->linear_backward(s, dx, PUT(&r, dy, ROWS * N), weight, NULL, AMMPL_ACT_NONE, ROWS));
        check_product("dx", get(&r, dx, ROWS * K), round_rows(&r, dy, ROWS, N), rounded_w, false, ROWS, K, N);
        r.ops->weight_destroy(s, weight);
    }
    close_f16(&d, &r);
}
END_TEST

/* What stands behind a product, where its rows were scaled: bias, activation and residual, and the slope at pre. */
START_TEST(f16_layer)
{
    enum { ROWS = 9, N = 33, K = 31 };
    device d;
    run r;
    ammpl_stream *s = open_f16(&d, &r, "f16_layer");
    for (int32_t act = AMMPL_ACT_NONE; act <= AMMPL_ACT_RELU; act++) {
        float *x = draw(&r, ROWS * K), *dy = draw_scaled(&r, ROWS * N, 1e-9f, 0), *w = draw(&r, N * K), *bias = draw(&r, N), *residual = draw(&r, ROWS * N);
        float *before = draw_scaled(&r, ROWS * K, 2, 0);
        for (int t = 0; t < ROWS; t++)
            for (int k = 0; k < K; k++)
                x[t * K + k] = ldexpf(x[t * K + k], t % 3 - 1);
        const double *a = round_rows(&r, x, ROWS, K), *g = round_rows(&r, dy, ROWS, N), *b = round_rows(&r, w, 1, N * K);
        double *want_pre = keep(&r, ROWS * N * 8), *want = keep(&r, ROWS * N * 8), *slope = keep(&r, ROWS * K * 8);
        for (int t = 0; t < ROWS; t++) {
            for (int n = 0; n < N; n++) {
                double sum = (double)bias[n];
                for (int k = 0; k < K; k++)
                    sum += a[t * K + k] * b[n * K + k];
                want_pre[t * N + n] = sum;
                want[t * N + n] = act_double(sum, act) + (double)residual[t * N + n];
            }
            for (int k = 0; k < K; k++) {
                double sum = 0;
                for (int n = 0; n < N; n++)
                    sum += g[t * N + n] * b[n * K + k];
                slope[t * K + k] = sum * slope_double((double)before[t * K + k], act);
            }
        }
        ammpl_weight *weight;
        float *y = put_change(&r, residual, ROWS * N * sizeof *residual), *pre = make(&r, ROWS * N), *dx = make(&r, ROWS * K);
        ck_ok(r.ops->weight_create(s, w, AMMPL_DTYPE_F32, 0, N, K, &weight));
        ck_ok(r.ops->linear_forward(s, y, act % 2 ? pre : NULL, PUT(&r, x, ROWS * K), weight, PUT(&r, bias, N), y, act, ROWS));
        close_to(&r, "y", get(&r, y, ROWS * N), want, ROWS * N, 3e-6);
        if (act % 2)
            close_to(&r, "pre", get(&r, pre, ROWS * N), want_pre, ROWS * N, 3e-6);
        ck_ok(r.ops->linear_backward(s, dx, PUT(&r, dy, ROWS * N), weight, PUT(&r, before, ROWS * K), act, ROWS));
        close_to(&r, "dx", get(&r, dx, ROWS * K), slope, ROWS * K, 3e-6);
        r.ops->weight_destroy(s, weight);
    }
    close_f16(&d, &r);
}
END_TEST

static ammpl_weight *identity(run *r, int64_t K)
{
    ammpl_weight *weight;
    float *one = keep(r, (size_t)(K * K) * sizeof *one);
    for (int64_t k = 0; k < K; k++)
        one[k * K + k] = 1;
    ck_ok(r->ops->weight_create(r->s, one, AMMPL_DTYPE_F32, 0, K, K, &weight));
    return weight;
}

/* Every half, the middle of each two, and the floats on either side of that: what comes out is the nearest one, of two the even. */
START_TEST(f16_rounding)
{
    enum { HALVES = 0x7c00, EACH = 4, K = 197, ROWS = (2 * HALVES * EACH + K - 2) / (K - 1) };
    device d;
    run r;
    ammpl_stream *s = open_f16(&d, &r, "f16_rounding");
    ammpl_weight *weight = identity(&r, K);
    float *x = keep(&r, (size_t)(ROWS * K) * sizeof *x), *y = make(&r, ROWS * K);
    for (int64_t i = 0; i < ROWS * (K - 1); i++) { /* beside 2^14, so that rows up to 2^15 are rounded as they are */
        int64_t half = i / (2 * EACH) < HALVES ? i / (2 * EACH) : 0;
        float low = (float)half_value((uint16_t)half), middle = half + 1 < HALVES ? (low + (float)half_value((uint16_t)(half + 1))) / 2 : low;
        float value[EACH] = {low, middle, nextafterf(middle, 0), nextafterf(middle, INFINITY)};
        float *row = x + i / (K - 1) * K;
        row[0] = 0x1p14f;
        row[1 + i % (K - 1)] = i % 2 ? -value[i / 2 % EACH] : value[i / 2 % EACH];
    }
    const double *want = round_rows(&r, x, ROWS, K);
    ck_ok(r.ops->linear_forward(s, y, NULL, PUT(&r, x, ROWS * K), weight, NULL, NULL, AMMPL_ACT_NONE, ROWS));
    const float *got = get(&r, y, ROWS * K);
    int64_t moved = 0;
    for (int64_t i = 0; i < ROWS * K; i++) {
        ck_assert_msg((double)got[i] == want[i], "%.9g became %.9g instead of %.9g", (double)x[i], (double)got[i], want[i]);
        moved += got[i] != x[i];
    }
    printf("# %d numbers, %d of them rounded\n", ROWS * K, (int)moved);
    ck_assert(moved > HALVES);
    r.ops->weight_destroy(s, weight);
    close_f16(&d, &r);
}
END_TEST

/* Rows that hold infinity or NaN, or float's least numbers; the others have the bits that they have beside ordinary rows. */
START_TEST(f16_rows)
{
    enum { ROWS = 7, N = 5, K = 33 };
    device d;
    run r;
    ammpl_stream *s = open_f16(&d, &r, "f16_rows");
    float *x = draw(&r, ROWS * K), *w = draw(&r, N * K), *y = make(&r, ROWS * N), *z = make(&r, ROWS * K);
    ammpl_weight *weight, *one = identity(&r, K);
    ck_ok(r.ops->weight_create(s, w, AMMPL_DTYPE_F32, 0, N, K, &weight));
    ck_ok(r.ops->linear_forward(s, y, NULL, PUT(&r, x, ROWS * K), weight, NULL, NULL, AMMPL_ACT_NONE, ROWS));
    const float *before = get(&r, y, ROWS * N);
    x[1 * K + 4] = INFINITY;
    x[3 * K + 32] = NAN;
    for (int k = 0; k < K; k++)
        x[5 * K + k] = (float)(k - 16) * 0x1p-149f;
    ck_ok(r.ops->linear_forward(s, y, NULL, PUT(&r, x, ROWS * K), weight, NULL, NULL, AMMPL_ACT_NONE, ROWS));
    ck_ok(r.ops->linear_forward(s, z, NULL, PUT(&r, x, ROWS * K), one, NULL, NULL, AMMPL_ACT_NONE, ROWS));
    const float *after = get(&r, y, ROWS * N), *copied = get(&r, z, ROWS * K);
    for (int n = 0; n < N; n++)
        ck_assert(isinf(after[1 * N + n]) && isnan(after[3 * N + n]));
    for (int64_t t = 0; t < ROWS; t += 2)
        same_bits(&r, "another row", after + t * N, before + t * N, N);
    same_bits(&r, "the least numbers", copied + 5 * K, x + 5 * K, K);
    r.ops->weight_destroy(s, weight);
    r.ops->weight_destroy(s, one);
    close_f16(&d, &r);
}
END_TEST

/* A file's own F16 are multiplied as they are, the least ones too, whatever the largest; its BF16 as what they are nearest to. */
START_TEST(f16_weights)
{
    enum { HALVES = 2 * 0x7c00, K = 31, N = HALVES / K };
    static_assert(N * K == HALVES, "all halves that are numbers");
    device d;
    run r;
    ammpl_stream *s = open_f16(&d, &r, "f16_weights");
    uint16_t *file = keep(&r, HALVES * sizeof *file);
    float *x = keep(&r, K * K * sizeof *x), *value = keep(&r, HALVES * sizeof *value), *y = make(&r, K * N);
    for (int k = 0; k < K; k++)
        x[k * K + k] = 1;
    const float *rows = PUT(&r, x, K * K);
    for (int32_t dtype = AMMPL_DTYPE_F16; dtype <= AMMPL_DTYPE_BF16; dtype++) {
        for (int i = 0; i < HALVES; i++) {
            bool halves = dtype == AMMPL_DTYPE_F16;
            uint32_t bits = (uint32_t)(file[i] = (uint16_t)(halves ? i / 2 | i % 2 << 15 : 0x3000 + i / 16)) << 16; /* BF16: up to 2^25 */
            memcpy(&value[i], &bits, 4);
            value[i] = halves ? (float)half_value(file[i]) : value[i];
        }
        const double *near = round_rows(&r, value, 1, HALVES);
        ammpl_weight *weight;
        ck_ok(r.ops->weight_create(s, file, dtype, 0, N, K, &weight));
        ck_ok(r.ops->linear_forward(s, y, NULL, rows, weight, NULL, NULL, AMMPL_ACT_NONE, K));
        const float *got = get(&r, y, K * N);
        for (int64_t i = 0; i < HALVES; i++) {
            double want = dtype == AMMPL_DTYPE_F16 ? (double)value[i] : near[i];
            ck_assert_msg((double)got[i % K * N + i / K] == want, "weight %.9g became %.9g", want, (double)got[i % K * N + i / K]);
        }
        r.ops->weight_destroy(s, weight);
    }
    close_f16(&d, &r);
}
END_TEST

START_TEST(unknown_precision)
{
    device d = open_device();
    ammpl_stream *s;
    ck_status(d.backend->stream_create(&d.ctx->host, 0, AMMPL_PRECISION_F16 + 1, &s), AMMPL_E_UNSUPPORTED, "precision");
    ck_assert_ptr_null(s);
    close_device(&d);
}
END_TEST

void add_precisions(TCase *to)
{
    tcase_add_loop_test(to, precision, 0, sizeof precisions / sizeof *precisions);
    tcase_add_loop_test(to, attention_precision, 0, sizeof precisions / sizeof *precisions);
    tcase_add_test(to, f16_sizes);
    tcase_add_test(to, f16_layer);
    tcase_add_test(to, f16_rounding);
    tcase_add_test(to, f16_rows);
    tcase_add_test(to, f16_weights);
    tcase_add_test(to, unknown_precision);
}
