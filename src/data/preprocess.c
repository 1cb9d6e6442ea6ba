/* preprocess.c - from a picture to a model's input, as torchvision does it, and back.
 *
 * Test: shorter side to R, the longer to int(R * long / short), then the centre.  The crop never reaches beyond the
 * resized picture (its shorter side is R), so only the pixels inside the crop are computed.
 * Training: torchvision's RandomResizedCrop (scale 0.08 to 1, ratio 3/4 to 4/3) and a horizontal flip, with counter-based
 * draws.  With u = ammpli_uniform of draw {purpose, position, 0, image id, step}, in double:
 *   CROP 2t    area  = W * H * (0.08 + 0.92 u)        of try t = 0..9
 *   CROP 2t+1  ratio = exp((2u - 1) * ln(4/3))
 *   CROP 100   top   = min(n, floor(u * (n + 1))), n = H - h;   CROP 101: left likewise
 *   FLIP 0     flipped when u < 0.5
 * Values: (v / 255 - mean) / std in float, one rounding per operation: the bits of torch's float32 result.
 */
#include "data/image.h"

#include <math.h>
#include <string.h>

typedef struct box {
    int32_t left, top, width, height;
} box;

/* ---- values ---- */

/* img is R x R. */
static void normalise(const ammpli_preprocess *pre, const ammpl_image *img, bool flip, float *chw)
{
    float value[256];
    size_t side = (size_t)pre->size;
    for (int c = 0; c < 3; c++) {
        for (int v = 0; v < 256; v++)
            value[v] = ((float)v / 255.0f - pre->mean[c]) / pre->std[c];
        for (size_t y = 0; y < side; y++) {
            const uint8_t *row = img->pixels + y * side * 3 + c;
            for (size_t x = 0; x < side; x++)
                *chw++ = value[row[(flip ? side - 1 - x : x) * 3]];
        }
    }
}

ammpl_status ammpli_unprocess(ammpl_context *ctx, const ammpli_preprocess *pre, const float *chw, ammpl_image **out)
{
    TRY(ammpli_image_create(ctx, pre->size, pre->size, out));
    size_t area = (size_t)pre->size * (size_t)pre->size;
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < area; i++) {
            float v = (chw[c * area + i] * pre->std[c] + pre->mean[c]) * 255.0f;
            /* The comparisons are false for NaN, which becomes black. */
            (*out)->pixels[i * 3 + c] = v >= 255.0f ? 255 : v > 0.0f ? (uint8_t)(v + 0.5f) : 0;
        }
    }
    return AMMPL_OK;
}

/* ---- test ---- */

/* round(excess / 2) with Python's halves to even. */
static int32_t crop_offset(int32_t excess)
{
    int32_t half = excess / 2;
    return excess % 2 ? half + half % 2 : half;
}

ammpl_status ammpli_preprocess_test(const ammpli_preprocess *pre, const ammpl_image *img, float *chw)
{
    int32_t size = pre->size, w = img->width, h = img->height;
    int64_t longer = (int64_t)size * (w > h ? w : h) / (w < h ? w : h);
    if (longer > INT32_MAX)
        return ammpli_fail(AMMPL_E_IMAGE, "a picture of %d x %d pixels is too narrow to be resized", (int)w, (int)h);
    int32_t new_w = w <= h ? size : (int32_t)longer, new_h = w <= h ? (int32_t)longer : size;
    ammpl_image *crop;
    TRY(ammpli_image_resize_part(img, 0, 0, w, h, new_w, new_h, crop_offset(new_w - size), crop_offset(new_h - size),
                                 size, size, &crop));
    normalise(pre, crop, false, chw);
    ammpli_image_destroy(crop);
    return AMMPL_OK;
}

/* ---- training ---- */

static const double MIN_AREA = 0.08, MIN_RATIO = 3.0 / 4.0, MAX_RATIO = 4.0 / 3.0;
static const double LOG_MAX_RATIO = 0.28768207245178085; /* a literal: not every libm rounds log alike */
enum { TRIES = 10, TOP = 100, LEFT = 101 };

typedef struct keys {
    uint64_t seed;
    uint32_t image_id, step;
} keys;

static double draw(const keys *k, uint32_t purpose, uint32_t position)
{
    uint32_t x[4];
    ammpli_philox(k->seed, purpose, position, 0, k->image_id, k->step, x);
    return ammpli_uniform(x);
}

/* An integer of 0..n. */
static int32_t draw_offset(const keys *k, uint32_t position, int32_t n)
{
    int32_t i = (int32_t)(draw(k, AMMPLI_DRAW_CROP, position) * ((double)n + 1.0));
    return i < n ? i : n;
}

/* Where no try fits: the whole picture, or its centre cut to the nearest allowed ratio. */
static box central_box(int32_t w, int32_t h)
{
    double ratio = (double)w / h;
    box b = {.width = w, .height = h};
    if (ratio < MIN_RATIO)
        b.height = (int32_t)rint(w / MIN_RATIO);
    else if (ratio > MAX_RATIO)
        b.width = (int32_t)rint(h * MAX_RATIO);
    b.left = (w - b.width) / 2;
    b.top = (h - b.height) / 2;
    return b;
}

static box random_box(int32_t w, int32_t h, const keys *k)
{
    for (uint32_t t = 0; t < TRIES; t++) {
        double area = (double)w * h * (MIN_AREA + (1.0 - MIN_AREA) * draw(k, AMMPLI_DRAW_CROP, 2 * t));
        double ratio = exp((2.0 * draw(k, AMMPLI_DRAW_CROP, 2 * t + 1) - 1.0) * LOG_MAX_RATIO);
        double bw = rint(sqrt(area * ratio)), bh = rint(sqrt(area / ratio));
        if (bw < 1.0 || bw > w || bh < 1.0 || bh > h)
            continue;
        box b = {.width = (int32_t)bw, .height = (int32_t)bh};
        b.top = draw_offset(k, TOP, h - b.height);
        b.left = draw_offset(k, LEFT, w - b.width);
        return b;
    }
    return central_box(w, h);
}

ammpl_status ammpli_preprocess_train(const ammpli_preprocess *pre, const ammpl_image *img, uint64_t seed,
                                     uint32_t image_id, uint32_t step, float *chw)
{
    keys k = {seed, image_id, step};
    box b = random_box(img->width, img->height, &k);
    ammpl_image *crop;
    TRY(ammpli_image_resize(img, b.left, b.top, b.width, b.height, pre->size, pre->size, &crop));
    normalise(pre, crop, draw(&k, AMMPLI_DRAW_FLIP, 0) < 0.5, chw);
    ammpli_image_destroy(crop);
    return AMMPL_OK;
}
