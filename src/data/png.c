/* png.c - PNG in and out, through libpng.
 *
 * Every colour type becomes 8-bit RGB: grey is repeated, palettes are looked up, alpha is dropped without blending, 16-bit
 * samples keep their high byte, gamma and colour profiles are ignored: what Pillow's convert("RGB") gives.  Two
 * differences: Pillow turns 16-bit grey into a white surface by clipping, and pixels beyond the end of a palette, which no
 * valid file has, into greys (here black).
 */
#include "data/codec.h"
#include "io/safetensors.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

/* What libpng's callbacks need, for reading or for writing. */
typedef struct stream {
    ammpl_context *ctx;
    const char *name; /* the picture, for sentences */
    ammpl_status status;
    const uint8_t *data; /* reading: the file, how long it is */
    size_t size;
    size_t at; /* bytes read or written so far */
    uint8_t *written;
    size_t written_cap;
} stream;

/* ---- callbacks ---- */

static void on_error(png_structp png, png_const_charp message)
{
    stream *s = png_get_error_ptr(png);
    if (s->status == AMMPL_OK) /* else libpng only tells that its memory request failed */
        s->status = ammpli_fail(AMMPL_E_IMAGE, "%s: damaged PNG: %s", s->name, message);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static png_voidp take_memory(png_structp png, png_alloc_size_t size)
{
    stream *s = png_get_mem_ptr(png);
    void *p = ammpli_alloc(s->ctx, size, 1);
    if (!p)
        s->status = AMMPL_E_MEMORY;
    return p;
}

static void give_memory(png_structp png, png_voidp p)
{
    stream *s = png_get_mem_ptr(png);
    ammpli_free(s->ctx, p);
}

static void read_bytes(png_structp png, png_bytep to, size_t n)
{
    stream *s = png_get_io_ptr(png);
    if (n > s->size - s->at)
        png_error(png, "the file ends too early");
    memcpy(to, s->data + s->at, n);
    s->at += n;
}

static void write_bytes(png_structp png, png_bytep from, size_t n)
{
    stream *s = png_get_io_ptr(png);
    void *block = s->written;
    if (!ammpli_grow(s->ctx, &block, &s->written_cap, s->at + n, 1)) {
        s->status = AMMPL_E_MEMORY;
        png_error(png, "out of memory");
    }
    s->written = block;
    memcpy(s->written + s->at, from, n);
    s->at += n;
}

static void flush_bytes(png_structp png)
{
    (void)png;
}

/* ---- reading ---- */

static void ask_for_rgb(png_structp png, png_infop info)
{
    int depth = png_get_bit_depth(png, info), color = png_get_color_type(png, info);
    if (color == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    if (color == PNG_COLOR_TYPE_GRAY && depth < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    if (depth == 16)
        png_set_strip_16(png);
    if (!(color & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(png);
    png_set_strip_alpha(png); /* a palette's tRNS has become alpha, too */
}

/* Everything between setjmp and the last libpng call; *out is the caller's, so it survives a longjmp. */
static ammpl_status read_picture(stream *s, png_structp png, png_infop info, ammpl_image **out)
{
    if (setjmp(png_jmpbuf(png)))
        return s->status;
    /* Ancillary chunks cannot change what is wanted here: not parsing them is faster and safer. */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_user_limits(png, AMMPLI_IMAGE_MAX_SIDE, AMMPLI_IMAGE_MAX_SIDE);
    png_set_read_fn(png, s, read_bytes);
    png_read_info(png, info);
    uint32_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    uint64_t raw = (uint64_t)png_get_rowbytes(png, info) * height;
    TRY(ammpli_decoded_create(s->ctx, s->name, width, height, raw / 1032, s->size, out)); /* deflate's best is 1032:1 */
    ask_for_rgb(png, info);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    size_t row_bytes = (size_t)width * 3;
    if (png_get_rowbytes(png, info) != row_bytes)
        png_error(png, "its colour type cannot be read as RGB");
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < height; y++)
            png_read_row(png, (*out)->pixels + y * row_bytes, NULL);
    /* What follows the pixels does not matter (nor does Pillow look): no png_read_end. */
    return s->status; /* an allocation that libpng could do without still counts */
}

ammpl_status ammpli_png_decode(ammpl_context *ctx, const uint8_t *data, size_t size, const char *name,
                               ammpl_image **out)
{
    *out = NULL;
    stream s = {.ctx = ctx, .name = name, .data = data, .size = size};
    png_structp png =
        png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning, &s, take_memory, give_memory);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    ammpl_status status =
        info ? read_picture(&s, png, info, out) : ammpli_fail(AMMPL_E_MEMORY, "%s: libpng: no memory", name);
    png_destroy_read_struct(&png, &info, NULL);
    if (status < 0) {
        ammpli_image_destroy(*out);
        *out = NULL;
    }
    return status;
}

/* ---- writing ---- */

static ammpl_status write_picture(stream *s, png_structp png, png_infop info, const ammpl_image *img)
{
    if (setjmp(png_jmpbuf(png)))
        return s->status;
    png_set_write_fn(png, s, write_bytes, flush_bytes);
    png_set_IHDR(png, info, (uint32_t)img->width, (uint32_t)img->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (size_t y = 0; y < (size_t)img->height; y++)
        png_write_row(png, img->pixels + y * (size_t)img->width * 3);
    png_write_end(png, info);
    return AMMPL_OK;
}

ammpl_status ammpli_image_save_png(const ammpl_image *img, const char *path)
{
    stream s = {.ctx = img->ctx, .name = path};
    png_structp png =
        png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning, &s, take_memory, give_memory);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    ammpl_status status =
        info ? write_picture(&s, png, info, img) : ammpli_fail(AMMPL_E_MEMORY, "%s: libpng: no memory", path);
    png_destroy_write_struct(&png, &info);
    if (status == AMMPL_OK)
        status = ammpli_file_write(s.ctx, path, s.written, s.at, true);
    ammpli_free(s.ctx, s.written);
    return status;
}
