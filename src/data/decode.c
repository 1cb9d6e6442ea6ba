/* decode.c - from a file's bytes to pixels; the format is told by content, never by name. */
#include "data/codec.h"
#include "io/safetensors.h"

#include <string.h>

/* The largest file that is read into memory; the largest picture as an uncompressed 8-bit RGB PNG is below it. */
static const size_t FILE_LIMIT = (size_t)1 << 30;

static const uint8_t PNG_START[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static const uint8_t JPEG_START[3] = {0xff, 0xd8, 0xff};
static const uint8_t GIF_START[4] = {'G', 'I', 'F', '8'};

static bool starts_with(const void *data, size_t size, const uint8_t *start, size_t n)
{
    return size >= n && memcmp(data, start, n) == 0;
}

ammpl_status ammpli_image_decode(ammpl_context *ctx, const void *data, size_t size, const char *name, ammpl_image **out)
{
    return ammpli_image_decode_at_least(ctx, data, size, name, 0, out);
}

ammpl_status ammpli_image_decode_at_least(ammpl_context *ctx, const void *data, size_t size, const char *name, int32_t least,
                                          ammpl_image **out)
{
    *out = NULL;
    if (starts_with(data, size, PNG_START, sizeof PNG_START))
        return ammpli_png_decode(ctx, data, size, name, out);
    if (starts_with(data, size, JPEG_START, sizeof JPEG_START))
        return ammpli_jpeg_decode(ctx, data, size, name, least, out);
    if (starts_with(data, size, GIF_START, sizeof GIF_START))
        return ammpli_gif_decode(ctx, data, size, name, out);
    return ammpli_fail(AMMPL_E_IMAGE,
                       "%s: not a picture this library reads: its %zu bytes start neither as PNG nor as JPEG or GIF", name,
                       size);
}

ammpl_status ammpli_image_read(ammpl_context *ctx, const char *path, void **data, size_t *size)
{
    ammpl_status status = ammpli_file_read(ctx, path, FILE_LIMIT, data, size);
    return status == AMMPL_E_FORMAT ? AMMPL_E_IMAGE : status; /* too large: this picture's fault */
}

ammpl_status ammpli_image_load(ammpl_context *ctx, const char *path, ammpl_image **out)
{
    return ammpli_image_load_at_least(ctx, path, 0, out);
}

ammpl_status ammpli_image_load_at_least(ammpl_context *ctx, const char *path, int32_t least, ammpl_image **out)
{
    *out = NULL;
    void *data;
    size_t size;
    TRY(ammpli_image_read(ctx, path, &data, &size));
    ammpl_status status = ammpli_image_decode_at_least(ctx, data, size, path, least, out);
    ammpli_free(ctx, data);
    return status;
}

ammpl_status ammpli_decoded_create(ammpl_context *ctx, const char *name, uint32_t width, uint32_t height,
                                   uint64_t least_bytes, size_t size, ammpl_image **out)
{
    if (width > AMMPLI_IMAGE_MAX_SIDE || height > AMMPLI_IMAGE_MAX_SIDE ||
        (uint64_t)width * height > AMMPLI_IMAGE_MAX_PIXELS)
        return ammpli_fail(AMMPL_E_IMAGE, "%s: too large: %u x %u pixels, at most %d in all are decoded", name,
                           (unsigned)width, (unsigned)height, AMMPLI_IMAGE_MAX_PIXELS);
    /* Checked before the pixels are allocated: a file of a hundred bytes cannot claim a gigabyte of memory. */
    if (size < least_bytes)
        return ammpli_fail(AMMPL_E_IMAGE, "%s: damaged: %zu bytes are too few for %u x %u pixels", name, size,
                           (unsigned)width, (unsigned)height);
    return ammpli_image_create(ctx, (int32_t)width, (int32_t)height, out);
}
