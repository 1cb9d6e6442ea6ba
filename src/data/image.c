/* image.c - the life of a picture in memory. */
#include "data/image.h"

static bool within_bounds(int32_t width, int32_t height)
{
    return width >= 1 && height >= 1 && width <= AMMPLI_IMAGE_MAX_SIDE && height <= AMMPLI_IMAGE_MAX_SIDE &&
           (int64_t)width * height <= AMMPLI_IMAGE_MAX_PIXELS;
}

ammpl_status ammpli_image_create(ammpl_context *ctx, int32_t width, int32_t height, ammpl_image **out)
{
    *out = NULL;
    if (!within_bounds(width, height))
        return ammpli_fail(AMMPL_E_RANGE,
                           "a picture of %d x %d pixels: sides go from 1 to %d, all pixels together to %d", (int)width,
                           (int)height, AMMPLI_IMAGE_MAX_SIDE, AMMPLI_IMAGE_MAX_PIXELS);
    ammpl_image *img = ammpli_alloc(ctx, 1, sizeof *img);
    if (!img)
        return AMMPL_E_MEMORY;
    img->pixels = ammpli_alloc(ctx, (size_t)width * (size_t)height, 3);
    if (!img->pixels) {
        ammpli_free(ctx, img);
        return AMMPL_E_MEMORY;
    }
    img->ref.count = 1;
    img->ctx = ammpli_context_hold(ctx);
    img->width = width;
    img->height = height;
    *out = img;
    return AMMPL_OK;
}

ammpl_image *ammpli_image_hold(const ammpl_image *img)
{
    ammpl_image *held = (ammpl_image *)img;
    atomic_fetch_add(&held->ref.count, 1);
    return held;
}

void ammpli_image_destroy(ammpl_image *img)
{
    if (!img || atomic_fetch_sub(&img->ref.count, 1) > 1)
        return;
    ammpl_context *ctx = img->ctx;
    ammpli_free(ctx, img->pixels);
    ammpli_free(ctx, img);
    ammpli_context_release(ctx);
}
