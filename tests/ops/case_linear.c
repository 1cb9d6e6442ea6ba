/* case_linear.c - frozen linear layers and products of learned things. */
#include "ops.h"

typedef struct linear {
    int64_t T, N, K;
    float *x, *w, *bias, *residual, *dy, *pre;
    ammpl_weight *weight;
} linear;

static linear draw_linear(run *r, int64_t T, int64_t N, int64_t K)
{
    linear l = {T, N, K, draw(r, T * K), draw(r, N * K), draw(r, N), draw(r, T * N), draw(r, T * N), NULL, NULL};
    l.pre = draw_scaled(r, T * K, 3, 0);
    ck_ok(r->ops->weight_create(r->s, l.w, AMMPL_DTYPE_F32, 0, N, K, &l.weight));
    return l;
}

/* Shapes: odd ones, then those that cross every block of linear.c and of products: rows 48 and 576, depth 192, 20 panels of 16 (backward: 4),
 * rows that lie 4 KiB apart, and blocks of 11 panels whose parts have 4 (two threads). */
static const int64_t shapes[][3] = {
    {1, 1, 1},    {1, 3, 5},    {3, 5, 1},    {5, 1, 3},     {5, 31, 33},  {31, 33, 5},   {33, 5, 31},   {3, 33, 197},
    {33, 197, 3}, {197, 3, 33}, {31, 197, 1}, {197, 31, 31}, {1, 197, 33}, {197, 33, 197}, {7, 16, 256},  {8, 48, 257},
    {2, 300, 64}, {97, 17, 70}, {193, 16, 16}, {12, 513, 20}, {13, 20, 600}, {25, 272, 515}, {200, 130, 90}, {6, 32, 1024},
    {49, 20, 1024}, {49, 1024, 20}, {577, 17, 20}, {50, 330, 200}, {387, 351, 9}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Weights that are kept as F16 give the products of the same weights widened, bit for bit. */
static void kept_as_f16(run *r, bool backward)
{
    static const int64_t some[][3] = {{1, 3, 5}, {33, 197, 3}, {7, 16, 256}, {13, 20, 600}, {25, 272, 515}, {97, 49, 70}, {193, 17, 70}, {577, 17, 20}};
    for (int i = 0; i < 2 * (int)(sizeof some / sizeof *some); i++) {
        int64_t T = some[i / 2][0], N = some[i / 2][1], K = some[i / 2][2];
        int32_t flags = i % 2 ? AMMPL_WEIGHT_TRANSPOSED : 0;
        int32_t *drawn = draw_index(r, N * K, 1 << 16);
        uint16_t *file = keep(r, (size_t)(N * K) * sizeof *file);
        for (int64_t e = 0; e < N * K; e++) /* any finite number, denormals too, below 8 */
            file[e] = (uint16_t)(drawn[e] & 0xc7ff);
        ammpl_weight *wide, *kept;
        ck_ok(r->ops->weight_create(r->s, file, AMMPL_DTYPE_F16, flags, N, K, &wide));
        ck_ok(r->ops->weight_create(r->s, file, AMMPL_DTYPE_F16, flags | AMMPL_WEIGHT_KEEP_F16, N, K, &kept));
        int64_t in = backward ? N : K, out = backward ? K : N;
        float *x = PUT(r, draw(r, T * in), T * in), *y[2];
        for (int k = 0; k < 2; k++) {
            y[k] = make(r, T * out);
            if (backward)
                ck_ok(r->ops->linear_backward(r->s, y[k], x, k ? kept : wide, NULL, AMMPL_ACT_NONE, T));
            else
                ck_ok(r->ops->linear_forward(r->s, y[k], NULL, x, k ? kept : wide, NULL, NULL, AMMPL_ACT_QUICK_GELU, T));
        }
        same_bits(r, "kept as F16", get(r, y[1], T * out), get(r, y[0], T * out), T * out);
        r->ops->weight_destroy(r->s, wide);
        r->ops->weight_destroy(r->s, kept);
    }
}

void case_linear_forward(run *r)
{
    for (int i = 0; i < SHAPES; i++) {
        linear l = draw_linear(r, shapes[i][0], shapes[i][1], shapes[i][2]);
        int64_t T = l.T, N = l.N, K = l.K;
        int32_t act = i % 4;
        const float *bias = i % 3 ? l.bias : NULL, *residual = i % 5 ? l.residual : NULL;
        bool in_place = i % 5 > 2, with_pre = i % 2;
        double *want = keep(r, (size_t)(T * N) * 8), *want_pre = keep(r, (size_t)(T * N) * 8);
        for (int64_t t = 0; t < T; t++)
            for (int64_t n = 0; n < N; n++) {
                double sum = bias ? (double)bias[n] : 0;
                for (int64_t k = 0; k < K; k++)
                    sum += (double)l.x[t * K + k] * (double)l.w[n * K + k];
                want_pre[t * N + n] = sum;
                want[t * N + n] = act_double(sum, act) + (residual ? (double)residual[t * N + n] : 0);
            }
        float *x = PUT(r, l.x, T * K), *b = bias ? PUT(r, bias, N) : NULL, *pre = with_pre ? make(r, T * N) : NULL;
        float *y = in_place ? PUT_CHANGE(r, residual, T * N) : make(r, T * N);
        float *res = in_place ? y : residual ? PUT(r, residual, T * N) : NULL;
        ck_ok(r->ops->linear_forward(r->s, y, pre, x, l.weight, b, res, act, T));
        float *got = get(r, y, T * N);
        close_to(r, "y", got, want, T * N, 3e-6);
        if (pre)
            close_to(r, "pre", get(r, pre, T * N), want_pre, T * N, 3e-6);
        /* Rows of their own, wherever they stand in the batch. */
        for (int64_t t = 0; t < T; t += T / 3 + 1) {
            int64_t few = t + 7 <= T && t % 2 ? 7 : 1;
            float *some = make(r, few * N), *part = residual ? PUT(r, residual + t * N, few * N) : NULL;
            ck_ok(r->ops->linear_forward(r->s, some, NULL, x + t * K, l.weight, b, part, act, few));
            same_rows(r, "rows alone", get(r, some, few * N), got + t * N, few * N);
        }
        /* NaN spoils its row and no other. */
        int64_t bad = T / 2;
        l.x[bad * K + K / 2] = NAN;
        float *spoilt = make(r, T * N);
        ck_ok(r->ops->linear_forward(r->s, spoilt, NULL, PUT(r, l.x, T * K), l.weight, b,
                                     residual ? PUT(r, residual, T * N) : NULL, act, T));
        float *after = get(r, spoilt, T * N);
        all_nan(r, "y of NaN", after + bad * N, N);
        same_bits(r, "rows before NaN", after, got, bad * N);
        same_bits(r, "rows after NaN", after + (bad + 1) * N, got + (bad + 1) * N, (T - bad - 1) * N);
        r->ops->weight_destroy(r->s, l.weight);
    }
    linear l = draw_linear(r, 3, 5, 31);
    l.x[40] = INFINITY;
    float *y = make(r, 15);
    ck_ok(r->ops->linear_forward(r->s, y, NULL, PUT(r, l.x, 93), l.weight, NULL, NULL, AMMPL_ACT_NONE, 3));
    float *got = get(r, y, 15);
    for (int n = 0; n < 5; n++)
        ck_assert(isinf(got[5 + n]) && (got[5 + n] > 0) == (l.w[n * 31 + 9] > 0));
    ck_ok(r->ops->linear_forward(r->s, NULL, NULL, NULL, l.weight, NULL, NULL, 0, 0));
    refuses(r, r->ops->linear_forward(r->s, y, NULL, y, l.weight, NULL, NULL, 0, -1), "negative");
    refuses(r, r->ops->linear_forward(r->s, y, NULL, NULL, l.weight, NULL, NULL, 0, 1), "NULL");
    refuses(r, r->ops->linear_forward(r->s, y, NULL, y, NULL, NULL, NULL, 0, 1), "NULL");
    refuses(r, r->ops->linear_forward(r->s, y, NULL, y, l.weight, NULL, NULL, 4, 1), "act");
    r->ops->weight_destroy(r->s, l.weight);
    kept_as_f16(r, false);
}

typedef struct through_act {
    const double *g;
    int64_t n;
    int32_t act;
} through_act;

/* sum of g act(pre): its slope by pre is g act'(pre). */
static double value_act(void *ctx, const double *pre)
{
    const through_act *c = ctx;
    double sum = 0;
    for (int64_t i = 0; i < c->n; i++)
        sum += c->g[i] * act_double(pre[i], c->act);
    return sum;
}

void case_linear_backward(run *r)
{
    for (int i = 0; i < SHAPES; i++) {
        linear l = draw_linear(r, shapes[i][0], shapes[i][1], shapes[i][2]);
        int64_t T = l.T, N = l.N, K = l.K;
        int32_t act = i % 4;
        bool with_pre = i % 3 != 0;
        double *g = keep(r, (size_t)(T * K) * 8), *want = keep(r, (size_t)(T * K) * 8);
        for (int64_t t = 0; t < T; t++)
            for (int64_t k = 0; k < K; k++) {
                double sum = 0;
                for (int64_t n = 0; n < N; n++)
                    sum += (double)l.dy[t * N + n] * (double)l.w[n * K + k];
                g[t * K + k] = sum;
                want[t * K + k] = with_pre ? sum * slope_double((double)l.pre[t * K + k], act) : sum;
            }
        float *dy = PUT(r, l.dy, T * N), *pre = with_pre ? PUT(r, l.pre, T * K) : NULL, *dx = make(r, T * K);
        ck_ok(r->ops->linear_backward(r->s, dx, dy, l.weight, pre, act, T));
        float *got = get(r, dx, T * K);
        close_to(r, "dx", got, want, T * K, 3e-6);
        if (with_pre && act != AMMPL_ACT_RELU)
            slopes(r, "dx", got, value_act, &(through_act){g, T * K, act}, to_double(r, l.pre, T * K), T * K, 7, 1e-6);
        for (int64_t t = 0; t < T; t += T / 3 + 1) {
            int64_t few = t + 7 <= T && t % 2 ? 7 : 1;
            float *some = make(r, few * K);
            ck_ok(r->ops->linear_backward(r->s, some, dy + t * N, l.weight, pre ? pre + t * K : NULL, act, few));
            same_rows(r, "rows alone", get(r, some, few * K), got + t * K, few * K);
        }
        int64_t bad = T / 2;
        l.dy[bad * N + N / 2] = NAN;
        ck_ok(r->ops->linear_backward(r->s, dx, PUT(r, l.dy, T * N), l.weight, pre, act, T)); /* overwrites */
        float *after = get(r, dx, T * K);
        all_nan(r, "dx of NaN", after + bad * K, K);
        same_bits(r, "rows before NaN", after, got, bad * K);
        same_bits(r, "rows after NaN", after + (bad + 1) * K, got + (bad + 1) * K, (T - bad - 1) * K);
        r->ops->weight_destroy(r->s, l.weight);
    }
    linear l = draw_linear(r, 3, 5, 31);
    ck_ok(r->ops->linear_backward(r->s, NULL, NULL, l.weight, NULL, 0, 0));
    refuses(r, r->ops->linear_backward(r->s, l.x, l.dy, l.weight, NULL, 0, -1), "negative");
    refuses(r, r->ops->linear_backward(r->s, NULL, l.dy, l.weight, NULL, 0, 3), "NULL");
    refuses(r, r->ops->linear_backward(r->s, l.x, l.dy, l.weight, NULL, -1, 3), "act");
    r->ops->weight_destroy(r->s, l.weight);
    kept_as_f16(r, true);
}

void case_gemm(run *r)
{
    static const int64_t sizes[][4] = {{1, 1, 1, 1},   {3, 3, 5, 31},  {2, 31, 33, 5},   {1, 33, 1, 197}, {2, 5, 197, 3},
                                       {1, 49, 31, 3}, {3, 1, 49, 33}, {1, 97, 33, 300}, {2, 50, 65, 257}, {2, 5, 3, 0},
                                       {1, 64, 96, 64}, {0, 3, 3, 3}};
    for (int i = 0; i < 4 * (int)(sizeof sizes / sizeof *sizes); i++) {
        int64_t batch = sizes[i / 4][0], M = sizes[i / 4][1], N = sizes[i / 4][2], K = sizes[i / 4][3];
        int32_t ta = i & 1, tb = i >> 1 & 1;
        int64_t stride_a = i % 3 == 1 ? 0 : M * K, stride_b = i % 3 == 2 ? 0 : K * N, stride_c = M * N + (batch > 1 ? 3 : 0);
        float alpha = i % 5 ? 0.75f : 1, beta = (float)(i % 3) * 0.5f;
        int64_t size_c = batch ? (batch - 1) * stride_c + M * N : 0, full = batch ? batch : 1;
        float *A = draw(r, full * M * K), *B = draw(r, full * K * N), *C = draw(r, size_c);
        if (beta == 0) /* overwritten whatever it held */
            for (int64_t e = 0; e < size_c; e++)
                C[e] = NAN;
        double *want = keep(r, (size_t)(batch * M * N) * 8);
        for (int64_t b = 0; b < batch; b++)
            for (int64_t m = 0; m < M; m++)
                for (int64_t n = 0; n < N; n++) {
                    double sum = 0;
                    for (int64_t k = 0; k < K; k++)
                        sum += (double)A[b * stride_a + (ta ? k * M + m : m * K + k)] *
                               (double)B[b * stride_b + (tb ? n * K + k : k * N + n)];
                    want[(b * M + m) * N + n] =
                        (double)alpha * sum + (beta != 0 ? (double)beta * (double)C[b * stride_c + m * N + n] : 0);
                }
        float *a = PUT(r, A, full * M * K), *bb = PUT(r, B, full * K * N), *c = PUT_CHANGE(r, C, size_c);
        ck_ok(r->ops->gemm(r->s, batch, M, N, K, alpha, a, ta, stride_a, bb, tb, stride_b, beta, c, stride_c));
        float *got = get(r, c, size_c);
        for (int64_t b = 0; b < batch; b++) {
            close_to(r, "C", got + b * stride_c, want + b * M * N, M * N, 3e-6);
            if (b + 1 < batch)
                same_bits(r, "between", got + b * stride_c + M * N, C + b * stride_c + M * N, stride_c - M * N);
        }
        if (!ta && beta == 0 && batch) { /* one row of the last batch alone */
            float *row = make(r, N);
            int64_t m = M / 2, b = batch - 1;
            ck_ok(r->ops->gemm(r->s, 1, 1, N, K, alpha, a + b * stride_a + m * K, 0, 0, bb + b * stride_b, tb, 0, 0, row, 0));
            same_rows(r, "row alone", get(r, row, N), got + b * stride_c + m * N, N);
        }
        if (K && batch) {
            A[ta ? K / 2 * M : K / 2] = NAN; /* row 0 of the first batch */
            float *spoilt = make(r, size_c);
            ck_ok(r->ops->gemm(r->s, 1, M, N, K, alpha, PUT(r, A, full * M * K), ta, 0, bb, tb, 0, 0, spoilt, 0));
            float *after = get(r, spoilt, M * N);
            all_nan(r, "C of NaN", after, N);
            all_finite(r, "C beside NaN", after + N, (M - 1) * N);
        }
    }
    float x[4] = {0};
    refuses(r, r->ops->gemm(r->s, 1, -1, 1, 1, 1, x, 0, 0, x, 0, 0, 0, x, 0), "negative");
    refuses(r, r->ops->gemm(r->s, 2, 1, 1, 1, 1, x, 0, 0, x, 0, 0, 0, x, 0), "stride");
    refuses(r, r->ops->gemm(r->s, 1, 1, 1, 1, 1, x, 0, 0, NULL, 0, 0, 0, x, 0), "NULL");
}
