/* jpeg.c - JPEG in, through libjpeg-turbo, with the decoder settings of Pillow: accurate integer IDCT, smooth
 * up-sampling of chroma, EXIF orientation ignored, the same pictures refused as truncated.
 *
 * Four components are taken as Adobe's inverted CMYK whether or not the file says so (Pillow does) and become RGB by
 * Pillow's formula.  Damage that the format recovers from (a wrong byte inside a scan) gives a picture, as with Pillow.
 */
#include "data/codec.h"

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it */
#include <jpeglib.h>
#include <jerror.h>

/* More scans than any encoder writes: a small file of thousands of empty ones would keep the decoder busy for hours. */
enum { MAX_SCANS = 100 };

typedef struct reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    ammpl_context *ctx;
    const char *name; /* the picture, for sentences */
    size_t size;
    int32_t least; /* pixels of the shorter side that a reduced picture must have; 0: no reduction */
    uint8_t *cmyk; /* one row, when there are four components */
    ammpl_status status;
} reader;

/* ---- callbacks ---- */

static void on_error(j_common_ptr jpeg)
{
    reader *r = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    r->errors.format_message(jpeg, message);
    r->status = r->errors.msg_code == JERR_OUT_OF_MEMORY
                    ? ammpli_fail(AMMPL_E_MEMORY, "%s: out of memory while decoding a JPEG", r->name)
                    : ammpli_fail(AMMPL_E_IMAGE, "%s: damaged JPEG: %s", r->name, message);
    longjmp(r->jump, 1);
}

static void on_message(j_common_ptr jpeg, int level)
{
    (void)jpeg;
    (void)level;
}

static void print_nothing(j_common_ptr jpeg)
{
    (void)jpeg;
}

static void start_source(j_decompress_ptr jpeg)
{
    (void)jpeg;
}

/* All the bytes are there from the beginning: the decoder asks for more only where the file is cut short.  FALSE makes
 * it give up there ("suspend") instead of inventing an end. */
static boolean no_more_bytes(j_decompress_ptr jpeg)
{
    (void)jpeg;
    return FALSE;
}

static void skip_bytes(j_decompress_ptr jpeg, long n)
{
    struct jpeg_source_mgr *src = jpeg->src;
    size_t skip = n < 0 ? 0 : (size_t)n < src->bytes_in_buffer ? (size_t)n : src->bytes_in_buffer;
    src->next_input_byte += skip;
    src->bytes_in_buffer -= skip;
}

static void stop_endless_scans(j_common_ptr jpeg)
{
    reader *r = jpeg->client_data;
    if (r->jpeg.input_scan_number > MAX_SCANS) {
        r->status = ammpli_fail(AMMPL_E_IMAGE, "%s: damaged JPEG: more than %d scans", r->name, MAX_SCANS);
        longjmp(r->jump, 1);
    }
}

/* ---- reading ---- */

static ammpl_status cut_short(const reader *r)
{
    return ammpli_fail(AMMPL_E_IMAGE, "%s: damaged JPEG: the file ends too early", r->name);
}

/* The fewest bytes a picture of this size can have: each 8x8 block of the first component spends one bit or more in its
 * first scan.  (Arithmetic coding can go below any such bound.) */
static uint64_t least_bytes(const struct jpeg_decompress_struct *jpeg)
{
    const jpeg_component_info *c = jpeg->comp_info;
    uint64_t blocks_wide = (uint64_t)jpeg->image_width * c->h_samp_factor / ((uint64_t)jpeg->max_h_samp_factor * 8);
    uint64_t blocks_high = (uint64_t)jpeg->image_height * c->v_samp_factor / ((uint64_t)jpeg->max_v_samp_factor * 8);
    return jpeg->arith_code ? 0 : blocks_wide * blocks_high / 8;
}

/* Pillow's a * b / 255, rounded, and its conversion. */
static uint8_t scale(int a, int b)
{
    int t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

static void cmyk_to_rgb(const uint8_t *from, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++, from += 4, to += 3) {
        /* Stored inverted: from[3] = 255 - black, 255 - from[c] = ink. */
        int light = from[3];
        for (int c = 0; c < 3; c++)
            to[c] = (uint8_t)(light - scale(255 - from[c], light));
    }
}

/* 8, 4 or 2 where the shorter side, divided by it, is long enough; else 1. */
static unsigned reduction(const struct jpeg_decompress_struct *jpeg, int32_t least)
{
    unsigned shorter = jpeg->image_width < jpeg->image_height ? jpeg->image_width : jpeg->image_height, by = 8;
    while (by > 1 && (least <= 0 || shorter / by < (unsigned)least))
        by /= 2;
    return by;
}

/* Everything between setjmp and the last libjpeg call; what it makes hangs on *r and *out, which survive a longjmp. */
static ammpl_status read_picture(reader *r, const uint8_t *data, ammpl_image **out)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    if (setjmp(r->jump))
        return r->status;
    jpeg_create_decompress(jpeg);
    jpeg->mem->max_memory_to_use = 0; /* whatever JPEGMEM in the environment says */
    r->source = (struct jpeg_source_mgr){.next_input_byte = data,
                                         .bytes_in_buffer = r->size,
                                         .init_source = start_source,
                                         .fill_input_buffer = no_more_bytes,
                                         .skip_input_data = skip_bytes,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = start_source};
    jpeg->src = &r->source;
    r->progress.progress_monitor = stop_endless_scans;
    jpeg->progress = &r->progress;

    if (jpeg_read_header(jpeg, TRUE) != JPEG_HEADER_OK)
        return cut_short(r);
    int components = jpeg->num_components;
    if (jpeg->data_precision != 8 || (components != 1 && components != 3 && components != 4))
        return ammpli_fail(AMMPL_E_IMAGE, "%s: a JPEG of %d components of %d bits: 1, 3 or 4 of 8 bits are read",
                           r->name, components, jpeg->data_precision);
    jpeg->scale_denom = reduction(jpeg, r->least); /* of scale_num = 1 */
    jpeg_calc_output_dimensions(jpeg);
    TRY(ammpli_decoded_create(r->ctx, r->name, jpeg->output_width, jpeg->output_height, least_bytes(jpeg), r->size, out));
    size_t width = jpeg->output_width;
    jpeg->out_color_space = components == 4 ? JCS_CMYK : JCS_RGB;
    if (components == 4 && !(r->cmyk = ammpli_alloc(r->ctx, width, 4)))
        return AMMPL_E_MEMORY;
    if (!jpeg_start_decompress(jpeg))
        return cut_short(r);
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *to = (*out)->pixels + jpeg->output_scanline * width * 3;
        JSAMPROW row = r->cmyk ? r->cmyk : to;
        if (jpeg_read_scanlines(jpeg, &row, 1) != 1)
            return cut_short(r);
        if (r->cmyk)
            cmyk_to_rgb(r->cmyk, to, width);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_jpeg_decode(ammpl_context *ctx, const uint8_t *data, size_t size, const char *name, int32_t least,
                                ammpl_image **out)
{
    *out = NULL;
    reader r = {.ctx = ctx, .name = name, .size = size, .least = least};
    r.jpeg.err = jpeg_std_error(&r.errors);
    r.jpeg.client_data = &r;
    r.errors.error_exit = on_error;
    r.errors.emit_message = on_message;
    r.errors.output_message = print_nothing;
    ammpl_status status = read_picture(&r, data, out);
    jpeg_destroy_decompress(&r.jpeg);
    ammpli_free(ctx, r.cmyk);
    if (status < 0) {
        ammpli_image_destroy(*out);
        *out = NULL;
    }
    return status;
}
