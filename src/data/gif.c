/* gif.c - the first picture of a GIF, through giflib: some data sets have GIFs under other names (OxfordPets).
 *
 * As Pillow's convert("RGB"): the screen, or more where the picture goes beyond it; what it does not cover has the transparent
 * colour, else colour 0, of the picture's own palette; transparency itself is ignored.  giflib has its memory from the C library.
 */
#include "data/codec.h"

#include <gif_lib.h>
#include <string.h>

typedef struct source {
    const uint8_t *data;
    size_t left;
} source;

static int read_bytes(GifFileType *gif, GifByteType *to, int n)
{
    source *s = gif->UserData;
    size_t take = (size_t)n < s->left ? (size_t)n : s->left;
    memcpy(to, s->data, take);
    s->data += take;
    s->left -= take;
    return (int)take;
}

/* Goes to the first picture's description; *transparent becomes the index of the transparent colour, or stays. */
static bool find_picture(GifFileType *gif, int *transparent)
{
    GifRecordType type;
    while (DGifGetRecordType(gif, &type) == GIF_OK && type != TERMINATE_RECORD_TYPE) {
        int code;
        GifByteType *block;
        if (type == IMAGE_DESC_RECORD_TYPE)
            return DGifGetImageDesc(gif) == GIF_OK;
        if (type != EXTENSION_RECORD_TYPE || DGifGetExtension(gif, &code, &block) != GIF_OK)
            return false;
        while (block) {
            GraphicsControlBlock control;
            if (code == GRAPHICS_EXT_FUNC_CODE && DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
                *transparent = control.TransparentColor == NO_TRANSPARENT_COLOR ? *transparent : control.TransparentColor;
            if (DGifGetExtensionNext(gif, &block) != GIF_OK)
                return false;
        }
    }
    return false;
}

static void put(uint8_t *to, const ColorMapObject *map, int index)
{
    if (index >= map->ColorCount) { /* Pillow fills palettes up with black */
        memset(to, 0, 3);
        return;
    }
    to[0] = map->Colors[index].Red;
    to[1] = map->Colors[index].Green;
    to[2] = map->Colors[index].Blue;
}

/* Rows come in this order where the picture is interlaced. */
static int next_row(int row, int height, int *pass)
{
    static const int first[] = {0, 4, 2, 1}, step[] = {8, 8, 4, 2};
    row += step[*pass];
    while (row >= height && *pass < 3)
        row = first[++*pass];
    return row;
}

static bool read_rows(GifFileType *gif, const ColorMapObject *map, ammpl_image *img, GifPixelType *line)
{
    const GifImageDesc *d = &gif->Image;
    for (int i = 0, row = 0, pass = 0; i < d->Height; i++) {
        if (DGifGetLine(gif, line, d->Width) != GIF_OK)
            return false;
        uint8_t *to = img->pixels + 3 * ((size_t)(d->Top + row) * (size_t)img->width + (size_t)d->Left);
        for (int x = 0; x < d->Width; x++)
            put(to + 3 * x, map, line[x]);
        row = d->Interlace ? next_row(row, d->Height, &pass) : row + 1;
    }
    return true;
}

static ammpl_status decode(ammpl_context *ctx, GifFileType *gif, const char *name, size_t size, ammpl_image **out)
{
    int transparent = 0;
    if (!find_picture(gif, &transparent))
        return ammpli_fail(AMMPL_E_IMAGE, "%s: damaged GIF: there is no picture in it", name);
    const GifImageDesc *d = &gif->Image;
    const ColorMapObject *map = d->ColorMap ? d->ColorMap : gif->SColorMap;
    if (!map || d->Width < 1 || d->Height < 1 || d->Left < 0 || d->Top < 0)
        return ammpli_fail(AMMPL_E_IMAGE, "%s: damaged GIF: %s", name, map ? "its picture has no pixels" : "it has no palette");
    uint32_t right = (uint32_t)(d->Left + d->Width), bottom = (uint32_t)(d->Top + d->Height);
    uint32_t width = gif->SWidth > 0 && (uint32_t)gif->SWidth > right ? (uint32_t)gif->SWidth : right;
    uint32_t height = gif->SHeight > 0 && (uint32_t)gif->SHeight > bottom ? (uint32_t)gif->SHeight : bottom;
    /* Codes have 12 bits at most and stand for fewer than 4096 pixels each. */
    uint64_t least = (uint64_t)d->Width * (uint64_t)d->Height / 4096;
    TRY(ammpli_decoded_create(ctx, name, width, height, least, size, out));
    GifPixelType *line = ammpli_alloc(ctx, (size_t)d->Width, sizeof *line);
    ammpl_status status = line ? AMMPL_OK : AMMPL_E_MEMORY;
    for (size_t i = 0; status == AMMPL_OK && i < (size_t)width * height; i++)
        put((*out)->pixels + 3 * i, map, transparent);
    if (status == AMMPL_OK && !read_rows(gif, map, *out, line))
        status = ammpli_fail(AMMPL_E_IMAGE, "%s: damaged GIF: %s", name, GifErrorString(gif->Error));
    ammpli_free(ctx, line);
    if (status < 0) {
        ammpli_image_destroy(*out);
        *out = NULL;
    }
    return status;
}

ammpl_status ammpli_gif_decode(ammpl_context *ctx, const uint8_t *data, size_t size, const char *name, ammpl_image **out)
{
    source s = {data, size};
    int reason = 0;
    *out = NULL;
    GifFileType *gif = DGifOpen(&s, read_bytes, &reason);
    if (!gif)
        return reason == D_GIF_ERR_NOT_ENOUGH_MEM ? ammpli_fail(AMMPL_E_MEMORY, "%s: out of memory", name)
                                                  : ammpli_fail(AMMPL_E_IMAGE, "%s: damaged GIF: %s", name, GifErrorString(reason));
    ammpl_status status = decode(ctx, gif, name, size, out);
    DGifCloseFile(gif, &reason);
    return status;
}
