/* resize.c - Pillow's bicubic resampling of 8-bit RGB, to the bit.
 *
 * a = -0.5, widened by the scale when shrinking (anti-aliased).  Weights are computed in double, normalised, and rounded to
 * fixed point with 22 fractional bits; a horizontal pass to 8 bits, then a vertical pass to 8 bits.  Pillow skips a pass
 * that does not change the size; here its weights are exactly 1 and it changes nothing.
 */
#include "data/image.h"

#include <math.h>
#include <string.h>

enum { FRACTION_BITS = 32 - 8 - 2, HALF = 1 << (FRACTION_BITS - 1) };

/* What each output position reads along one axis. */
typedef struct taps {
    int32_t n, stride;
    int32_t *first, *count; /* [n] inputs first .. first+count-1 */
    int32_t *weight;        /* [n, stride], fixed point */
} taps;

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0)
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static void free_taps(ammpl_context *ctx, taps *t)
{
    ammpli_free(ctx, t->first);
    ammpli_free(ctx, t->count);
    ammpli_free(ctx, t->weight);
}

/* Positions from .. from+n-1 of an axis that goes from `in` to `out` pixels.  The order of operations is Pillow's. */
static ammpl_status make_taps(ammpl_context *ctx, int32_t in, int32_t out, int32_t from, int32_t n, taps *t)
{
    double scale = (double)in / out, widening = scale < 1.0 ? 1.0 : scale, support = 2.0 * widening;
    t->n = n;
    t->stride = (int32_t)ceil(support) * 2 + 1;
    t->first = ammpli_alloc(ctx, (size_t)n, sizeof *t->first);
    t->count = ammpli_alloc(ctx, (size_t)n, sizeof *t->count);
    t->weight = ammpli_alloc(ctx, (size_t)n * (size_t)t->stride, sizeof *t->weight);
    double *exact = ammpli_alloc(ctx, (size_t)t->stride, sizeof *exact);
    if (!t->first || !t->count || !t->weight || !exact) {
        ammpli_free(ctx, exact);
        return AMMPL_E_MEMORY; /* the caller frees the rest */
    }
    for (int32_t i = 0; i < n; i++) {
        double center = (from + i + 0.5) * scale, inverse = 1.0 / widening, sum = 0.0;
        int32_t first = (int32_t)(center - support + 0.5), end = (int32_t)(center + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > in ? in : end;
        int32_t *weight = t->weight + (size_t)i * (size_t)t->stride;
        for (int32_t j = 0; j < end - first; j++) {
            exact[j] = bicubic((j + first - center + 0.5) * inverse);
            sum += exact[j];
        }
        for (int32_t j = 0; j < end - first; j++) {
            double w = (sum != 0.0 ? exact[j] / sum : exact[j]) * (1 << FRACTION_BITS);
            weight[j] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
        }
        t->first[i] = first;
        t->count[i] = end - first;
    }
    ammpli_free(ctx, exact);
    return AMMPL_OK;
}

static uint8_t to_pixel(int32_t sum)
{
    int32_t v = sum >> FRACTION_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One row of the horizontal pass. */
static void shrink_row(const taps *t, const uint8_t *from, uint8_t *to)
{
    for (int32_t i = 0; i < t->n; i++, to += 3) {
        const uint8_t *p = from + (size_t)t->first[i] * 3;
        const int32_t *weight = t->weight + (size_t)i * (size_t)t->stride;
        int32_t r = HALF, g = HALF, b = HALF;
        for (int32_t j = 0; j < t->count[i]; j++, p += 3) {
            r += p[0] * weight[j];
            g += p[1] * weight[j];
            b += p[2] * weight[j];
        }
        to[0] = to_pixel(r);
        to[1] = to_pixel(g);
        to[2] = to_pixel(b);
    }
}

/* One row of the vertical pass: row i of the output from rows of `samples` bytes, the first being input row `top`. */
static void blend_rows(const taps *t, int32_t i, int32_t top, const uint8_t *rows, size_t samples, int32_t *sum,
                       uint8_t *to)
{
    for (size_t x = 0; x < samples; x++)
        sum[x] = HALF;
    for (int32_t j = 0; j < t->count[i]; j++) {
        const uint8_t *row = rows + (size_t)(t->first[i] - top + j) * samples;
        int32_t weight = t->weight[(size_t)i * (size_t)t->stride + (size_t)j];
        for (size_t x = 0; x < samples; x++)
            sum[x] += row[x] * weight;
    }
    for (size_t x = 0; x < samples; x++)
        to[x] = to_pixel(sum[x]);
}

static ammpl_status resample(const ammpl_image *src, int32_t left, int32_t top, const taps *across, const taps *down,
                             ammpl_image *out)
{
    ammpl_context *ctx = src->ctx;
    /* Only the rows that the vertical pass reads; first and first+count never decrease. */
    int32_t row = down->first[0], end = down->first[down->n - 1] + down->count[down->n - 1];
    size_t samples = (size_t)out->width * 3;
    uint8_t *rows = ammpli_alloc(ctx, (size_t)(end - row), samples);
    int32_t *sum = ammpli_alloc(ctx, samples, sizeof *sum);
    if (rows && sum) {
        for (int32_t y = row; y < end; y++)
            shrink_row(across, src->pixels + ((size_t)(top + y) * (size_t)src->width + (size_t)left) * 3,
                       rows + (size_t)(y - row) * samples);
        for (int32_t y = 0; y < out->height; y++)
            blend_rows(down, y, row, rows, samples, sum, out->pixels + (size_t)y * samples);
    }
    ammpl_status status = rows && sum ? AMMPL_OK : AMMPL_E_MEMORY;
    ammpli_free(ctx, rows);
    ammpli_free(ctx, sum);
    return status;
}

ammpl_status ammpli_image_resize_part(const ammpl_image *src, int32_t left, int32_t top, int32_t w, int32_t h,
                                      int32_t out_w, int32_t out_h, int32_t part_left, int32_t part_top, int32_t part_w,
                                      int32_t part_h, ammpl_image **out)
{
    *out = NULL;
    if (left < 0 || top < 0 || w < 1 || h < 1 || w > src->width - left || h > src->height - top || part_left < 0 ||
        part_top < 0 || part_w < 1 || part_h < 1 || part_w > out_w - part_left || part_h > out_h - part_top)
        return ammpli_fail(AMMPL_E_RANGE, "resize: a box of %d x %d at (%d, %d) in a picture of %d x %d", (int)w,
                           (int)h, (int)left, (int)top, (int)src->width, (int)src->height);
    ammpl_context *ctx = src->ctx;
    taps across = {0}, down = {0};
    ammpl_status status;
    TRY_GOTO(done, ammpli_image_create(ctx, part_w, part_h, out));
    TRY_GOTO(done, make_taps(ctx, w, out_w, part_left, part_w, &across));
    TRY_GOTO(done, make_taps(ctx, h, out_h, part_top, part_h, &down));
    TRY_GOTO(done, resample(src, left, top, &across, &down, *out));
done:
    free_taps(ctx, &across);
    free_taps(ctx, &down);
    if (status < 0) {
        ammpli_image_destroy(*out);
        *out = NULL;
    }
    return status;
}

ammpl_status ammpli_image_resize(const ammpl_image *src, int32_t left, int32_t top, int32_t w, int32_t h, int32_t out_w,
                                 int32_t out_h, ammpl_image **out)
{
    return ammpli_image_resize_part(src, left, top, w, h, out_w, out_h, 0, 0, out_w, out_h, out);
}
