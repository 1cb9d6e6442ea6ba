/* mat5.c - see mat5.h.
 *
 * A file is 128 bytes of header, then elements: a tag (type and length, 8 bytes; or both in 4, with up to 4 bytes of data behind
 * them), data, padding to a multiple of 8.  A matrix element holds elements itself: flags, dimensions, name, numbers.  Since
 * version 7 each matrix is packed with zlib.  ("MAT-File Format", The MathWorks.)
 */
#include "data/mat5.h"

#include "data/bpe.h"
#include "io/safetensors.h"

#include <math.h>
#include <string.h>

enum { HEADER = 128, TYPE_MATRIX = 14, TYPE_COMPRESSED = 15, TYPE_DOUBLE = 9 };
static const size_t FILE_LIMIT = (size_t)16 << 20;

/* Bytes that are still to be read. */
typedef struct bytes {
    const uint8_t *at;
    size_t left;
} bytes;

typedef struct element {
    uint32_t type;
    bytes data;
} element;

static uint64_t number(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

/* Takes the next element off the front; false when it does not fit. */
static bool next_element(bytes *b, element *e)
{
    if (b->left < 8)
        return false;
    uint32_t type = (uint32_t)number(b->at, 4), size = (uint32_t)number(b->at + 4, 4);
    size_t head = 8;
    if (type >> 16) { /* the short form */
        size = type >> 16;
        type &= 0xffff;
        head = 4;
        if (size > 4)
            return false;
    }
    if (size > b->left - head)
        return false;
    *e = (element){type, {b->at + head, size}};
    size_t whole = head == 4 ? 8 : type == TYPE_COMPRESSED ? head + size : head + (size + (size_t)7) / 8 * 8;
    whole = whole < b->left ? whole : b->left;
    b->at += whole;
    b->left -= whole;
    return true;
}

/* Bytes of one number by type (miINT8 ... miUINT64), 0 for what is no number. */
static size_t width_of(uint32_t type)
{
    static const uint8_t width[14] = {0, 1, 1, 2, 2, 4, 4, 4, 0, 8, 0, 0, 8, 8};
    return type < sizeof width ? width[type] : 0;
}

static double value_at(uint32_t type, const uint8_t *p)
{
    size_t width = width_of(type);
    uint64_t raw = number(p, width);
    if (type == TYPE_DOUBLE) {
        double d;
        memcpy(&d, &raw, sizeof d);
        return d;
    }
    if (type == 7) {
        float f;
        memcpy(&f, &(uint32_t){(uint32_t)raw}, sizeof f);
        return (double)f;
    }
    bool is_signed = type == 1 || type == 3 || type == 5 || type == 12;
    if (!is_signed)
        return (double)raw;
    int shift = (int)(64 - 8 * width);
    return (double)((int64_t)(raw << shift) >> shift);
}

static ammpl_status read_numbers(ammpl_context *ctx, const char *path, const char *name, const element *e, int32_t **value,
                                 size_t *count)
{
    size_t width = width_of(e->type);
    if (width == 0 || e->data.left % width)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: \"%s\" is not an array of numbers", path, name);
    size_t n = e->data.left / width;
    int32_t *out = ammpli_alloc(ctx, n, sizeof *out);
    if (!out)
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        double v = value_at(e->type, e->data.at + i * width);
        if (!(fabs(v) < INT32_MAX) || v != floor(v)) {
            ammpli_free(ctx, out);
            return ammpli_fail(AMMPL_E_FORMAT, "%s: \"%s\" holds %g, which is no whole number", path, name, v);
        }
        out[i] = (int32_t)v;
    }
    *value = out;
    *count = n;
    return AMMPL_OK;
}

/* AMMPL_END: this matrix has another name. */
static ammpl_status read_matrix(ammpl_context *ctx, const char *path, const char *name, bytes b, int32_t **value, size_t *count)
{
    element flags, dimensions, label, numbers;
    if (!next_element(&b, &flags) || !next_element(&b, &dimensions) || !next_element(&b, &label))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: damaged: an array ends early", path);
    if (label.data.left != strlen(name) || memcmp(label.data.at, name, label.data.left) != 0)
        return AMMPL_END;
    if (!next_element(&b, &numbers))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: damaged: \"%s\" ends early", path, name);
    return read_numbers(ctx, path, name, &numbers, value, count);
}

static ammpl_status read_packed(ammpl_context *ctx, const char *path, const char *name, bytes packed, int32_t **value,
                                size_t *count)
{
    char *plain;
    size_t size;
    element e;
    TRY(ammpli_gunzip(ctx, packed.at, packed.left, FILE_LIMIT, path, &plain, &size));
    bytes inner = {(const uint8_t *)plain, size};
    ammpl_status status = AMMPL_END;
    if (next_element(&inner, &e) && e.type == TYPE_MATRIX)
        status = read_matrix(ctx, path, name, e.data, value, count);
    ammpli_free(ctx, plain);
    return status;
}

static ammpl_status search(ammpl_context *ctx, const char *path, const char *name, bytes b, int32_t **value, size_t *count)
{
    static const char hdf5[] = "MATLAB 7.3";
    if (b.left >= sizeof hdf5 - 1 && memcmp(b.at, hdf5, sizeof hdf5 - 1) == 0)
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s is a version 7.3 file; save it with MATLAB's -v7, or provide the split JSON",
                           path);
    if (b.left < HEADER || memcmp(b.at + 126, "IM", 2) != 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s is not a MATLAB file of level 5 in little-endian order", path);
    b.at += HEADER;
    b.left -= HEADER;
    element e;
    while (b.left > 0) {
        if (!next_element(&b, &e))
            return ammpli_fail(AMMPL_E_FORMAT, "%s: damaged: it ends early", path);
        ammpl_status status = e.type == TYPE_COMPRESSED ? read_packed(ctx, path, name, e.data, value, count)
                              : e.type == TYPE_MATRIX   ? read_matrix(ctx, path, name, e.data, value, count)
                                                        : AMMPL_END;
        if (status != AMMPL_END)
            return status;
    }
    return ammpli_fail(AMMPL_E_FORMAT, "%s holds no array \"%s\"", path, name);
}

ammpl_status ammpli_mat5_read(ammpl_context *ctx, const char *path, const char *name, int32_t **value, size_t *count)
{
    void *data;
    size_t size;
    *value = NULL;
    *count = 0;
    TRY(ammpli_file_read(ctx, path, FILE_LIMIT, &data, &size));
    ammpl_status status = search(ctx, path, name, (bytes){data, size}, value, count);
    ammpli_free(ctx, data);
    return status;
}
