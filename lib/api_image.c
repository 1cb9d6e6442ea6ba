/* api_image.c - pictures. */
#include "data/image.h"
#include "shell.h"

#include <string.h>

ammpl_status ammpl_image_load_file(ammpl_context *ctx, const char *path, ammpl_image **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, path);
    NEED(ctx, out);
    return ammpli_leave(ctx, ammpli_image_load(ctx, path, out));
}

ammpl_status ammpl_image_load_memory(ammpl_context *ctx, const void *data, size_t size, ammpl_image **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, data);
    NEED(ctx, out);
    return ammpli_leave(ctx, ammpli_image_decode(ctx, data, size, "picture in memory", out));
}

ammpl_status ammpl_image_from_pixels(ammpl_context *ctx, const uint8_t *rgb, int32_t width, int32_t height,
                                     int64_t row_stride, ammpl_image **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, rgb);
    NEED(ctx, out);
    CHECK(ctx, width > 0 && height > 0, AMMPL_E_RANGE, "a picture of %d x %d pixels: both sides must be at least 1", width,
          height);
    size_t row = (size_t)width * 3;
    CHECK(ctx, row_stride == 0 || row_stride >= (int64_t)row, AMMPL_E_RANGE,
          "row_stride is %lld: 0 or at least width * 3 = %zu bytes", (long long)row_stride, row);
    PASS(ctx, ammpli_image_create(ctx, width, height, out));
    size_t stride = row_stride ? (size_t)row_stride : row;
    for (size_t y = 0; y < (size_t)height; y++)
        memcpy((*out)->pixels + y * row, rgb + y * stride, row);
    return AMMPL_OK;
}

void ammpl_image_destroy(ammpl_image *img)
{
    if (img)
        ammpli_image_destroy(img);
}

int32_t ammpl_image_width(const ammpl_image *img)
{
    return img ? img->width : 0;
}

int32_t ammpl_image_height(const ammpl_image *img)
{
    return img ? img->height : 0;
}

const uint8_t *ammpl_image_pixels(const ammpl_image *img)
{
    return img ? img->pixels : NULL;
}

ammpl_status ammpl_image_save_png(const ammpl_image *img, const char *path)
{
    ENTER();
    NEED(NULL, img);
    NEED(img->ctx, path);
    return ammpli_leave(img->ctx, ammpli_image_save_png(img, path));
}
