/* case_rows.c - moving and adding rows, embeddings, scaled sums. */
#include "ops.h"

static const int64_t row_shapes[][2] = {{1, 1}, {3, 5}, {5, 3}, {31, 33}, {33, 31}, {197, 5}, {5, 197}, {700, 128}, {64, 769}};
enum { ROW_SHAPES = sizeof row_shapes / sizeof *row_shapes };

/* Where rows go. */
enum places { AS_THEY_COME, DRAWN, EVERY_OTHER, IN_PAIRS, TO_ONE, PLACES }; /* then: upwards, upwards but for equal ones, all equal */

static int32_t *places_of(run *r, enum places kind, int64_t n)
{
    if (kind == AS_THEY_COME)
        return NULL;
    int32_t *di = draw_index(r, n, (int32_t)(n / 2 + 1));
    for (int64_t i = 0; i < n && kind != DRAWN; i++)
        di[i] = (int32_t)(kind == EVERY_OTHER ? 2 * i : kind == IN_PAIRS ? i / 2 : 0);
    return di;
}

static void rows(run *r, bool add)
{
    for (int i = 0; i < 2 * PLACES * ROW_SHAPES; i++) {
        enum places kind = (enum places)(i / 2 % PLACES);
        int64_t n = row_shapes[i / (2 * PLACES)][0], D = row_shapes[i / (2 * PLACES)][1];
        int64_t places = kind == EVERY_OTHER ? 2 * n : n, sources = i & 1 ? n / 3 + 1 : n;
        int32_t *di = places_of(r, kind, n), *si = i & 1 ? draw_index(r, n, (int32_t)sources) : NULL;
        float *src = draw(r, sources * D), *before = draw(r, places * D), *want = keep(r, (size_t)(places * D) * 4);
        src[sources / 2 * D] = i % 8 < 4 ? NAN : -INFINITY;
        memcpy(want, before, (size_t)(places * D) * 4);
        for (int64_t k = 0; k < n; k++)
            for (int64_t c = 0; c < D; c++) {
                float *d = want + (di ? di[k] : k) * D + c, x = src[(si ? si[k] : k) * D + c];
                *d = add ? *d + x : x;
            }
        float *dst = PUT_CHANGE(r, before, places * D), *s = PUT(r, src, sources * D);
        int32_t *dd = di ? PUT(r, di, n) : NULL, *ss = si ? PUT(r, si, n) : NULL;
        ck_ok(add ? r->ops->rows_add(r->s, dst, dd, s, ss, n, D) : r->ops->rows_copy(r->s, dst, dd, s, ss, n, D));
        float *got = get(r, dst, places * D);
        for (int64_t k = 0; k < places * D; k++)
            if (isnan(want[k])) /* the sum of two NaN may be either */
                got[k] = want[k] = NAN;
        same_bits(r, "dst", got, want, places * D);
        ck_ok(add ? r->ops->rows_add(r->s, dst, dd, s, ss, 0, D) : r->ops->rows_copy(r->s, dst, dd, s, ss, 0, D));
    }
    float x[4] = {0};
    refuses(r, add ? r->ops->rows_add(r->s, x, NULL, x, NULL, -1, 1) : r->ops->rows_copy(r->s, x, NULL, x, NULL, -1, 1), "negative");
    refuses(r, add ? r->ops->rows_add(r->s, NULL, NULL, x, NULL, 1, 1) : r->ops->rows_copy(r->s, x, NULL, NULL, NULL, 1, 1), "NULL");
}

void case_rows_copy(run *r)
{
    rows(r, false);
}

void case_rows_add(run *r)
{
    rows(r, true);
}

/* Every half and every bfloat16 there is, against their definitions. */
double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double m = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
               : exponent == 0 ? ldexp(fraction, -24)
                               : ldexp(1024 + fraction, exponent - 25);
    return h & 0x8000 ? -m : m;
}

void case_embed(run *r)
{
    const int64_t D = 32, n = 2048;
    uint16_t *all = keep(r, 65536 * 2);
    int32_t *id = keep(r, (size_t)n * 4);
    for (int i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (int64_t i = 0; i < n; i++)
        id[i] = (int32_t)(n - 1 - i);
    uint16_t *table = PUT(r, all, 65536);
    int32_t *ids = PUT(r, id, n);
    for (int32_t dtype = AMMPL_DTYPE_F16; dtype <= AMMPL_DTYPE_BF16; dtype++) {
        float *y = make(r, n * D), *got, *want = keep(r, (size_t)(n * D) * 4);
        ck_ok(r->ops->embed(r->s, y, table, dtype, ids, n, D));
        got = get(r, y, n * D);
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < D; c++) {
                uint16_t h = all[id[i] * D + c];
                uint32_t bits = (uint32_t)h << 16;
                memcpy(want + i * D + c, &bits, 4);
                if (dtype == AMMPL_DTYPE_F16)
                    want[i * D + c] = (float)half_value(h);
                if (isnan(want[i * D + c])) {
                    ck_assert(isnan(got[i * D + c]));
                    got[i * D + c] = want[i * D + c];
                }
            }
        same_bits(r, "y", got, want, n * D);
    }
    for (int i = 0; i < ROW_SHAPES; i++) {
        int64_t count = row_shapes[i][0], width = row_shapes[i][1];
        float *x = draw(r, 7 * width), *y = make(r, count * width), *want = keep(r, (size_t)(count * width) * 4);
        int32_t *index = draw_index(r, count, 7);
        for (int64_t k = 0; k < count * width; k++)
            want[k] = x[index[k / width] * width + k % width];
        ck_ok(r->ops->embed(r->s, y, PUT(r, x, 7 * width), AMMPL_DTYPE_F32, PUT(r, index, count), count, width));
        same_bits(r, "y", get(r, y, count * width), want, count * width);
    }
    float x = 0;
    refuses(r, r->ops->embed(r->s, &x, &x, 0, id, 1, 1), "dtype");
    refuses(r, r->ops->embed(r->s, &x, &x, AMMPL_DTYPE_F32, NULL, 1, 1), "NULL");
    refuses(r, r->ops->embed(r->s, &x, &x, AMMPL_DTYPE_F32, id, -1, 1), "negative");
}

static const int64_t sum_sizes[] = {1, 3, 5, 31, 33, 197, 70001};

void case_scale(run *r)
{
    for (size_t i = 0; i < sizeof sum_sizes / sizeof *sum_sizes; i++) {
        int64_t n = sum_sizes[i];
        float *x = draw(r, n), *want = keep(r, (size_t)n * 4), *device;
        x[n / 2] = i % 2 ? NAN : INFINITY;
        for (int64_t k = 0; k < n; k++)
            want[k] = x[k] * -0.7f;
        device = PUT_CHANGE(r, x, n);
        ck_ok(r->ops->scale(r->s, device, -0.7f, n));
        same_bits(r, "x", get(r, device, n), want, n);
        ck_ok(r->ops->scale(r->s, device, 3, 0));
    }
    refuses(r, r->ops->scale(r->s, NULL, 1, 1), "NULL");
    refuses(r, r->ops->scale(r->s, NULL, 1, -1), "negative");
}

void case_add(run *r)
{
    for (size_t i = 0; i < sizeof sum_sizes / sizeof *sum_sizes; i++) {
        int64_t n = sum_sizes[i];
        float *x = draw(r, n), *y = draw(r, n), *device;
        double *want = keep(r, (size_t)n * 8);
        x[n / 2] = i % 2 ? NAN : INFINITY;
        for (int64_t k = 0; k < n; k++)
            want[k] = (double)y[k] + (double)0.3f * (double)x[k];
        device = PUT_CHANGE(r, y, n);
        ck_ok(r->ops->add(r->s, device, PUT(r, x, n), 0.3f, n));
        close_to(r, "y", get(r, device, n), want, n, 4e-7);
    }
    float x = 0;
    refuses(r, r->ops->add(r->s, &x, NULL, 1, 1), "NULL");
    refuses(r, r->ops->add(r->s, &x, &x, 1, -1), "negative");
}
