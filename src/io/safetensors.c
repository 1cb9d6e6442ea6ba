/* safetensors.c - reading: the header is checked whole before any tensor is believed.
 *
 * The rules are those of the format's reference reader: header below 100 MB, offsets that cover the data exactly, in
 * any order of names, without overlap or gap.
 */
#include "io/safetensors.h"

#include "io/file.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are read in the file's order of bytes");

enum { HEADER_LIMIT = 100000000, HEADER_DEPTH = 3, NAME_LIMIT = 512, MAX_RANK = 8 };

typedef struct st_meta {
    char *key, *value;
} st_meta;

struct ammpli_st {
    ammpl_context *ctx; /* held */
    char *name;
    int fd;              /* -1: bytes in memory */
    const uint8_t *data; /* those bytes */
    uint64_t size;       /* of the whole file */
    uint64_t base;       /* where tensors start in it */
    size_t n, n_meta;
    ammpli_st_tensor *tensor; /* in name order */
    st_meta *meta;
    char *text; /* what names, keys and values point into */
};

static const struct {
    char name[8];
    int32_t dtype;
    uint32_t size;
} dtypes[] = {
    {"F32", AMMPL_DTYPE_F32, 4},   {"F16", AMMPL_DTYPE_F16, 2},   {"BF16", AMMPL_DTYPE_BF16, 2},
    {"F64", AMMPLI_ST_F64, 8},     {"I64", AMMPLI_ST_I64, 8},     {"I32", AMMPLI_ST_I32, 4},
    {"U8", AMMPLI_ST_U8, 1},       {"BOOL", AMMPLI_ST_OTHER, 1},  {"I8", AMMPLI_ST_OTHER, 1},
    {"I16", AMMPLI_ST_OTHER, 2},   {"U16", AMMPLI_ST_OTHER, 2},   {"U32", AMMPLI_ST_OTHER, 4},
    {"U64", AMMPLI_ST_OTHER, 8},   {"F8_E5M2", AMMPLI_ST_OTHER, 1}, {"F8_E4M3", AMMPLI_ST_OTHER, 1},
};

/* ---- bytes ---- */

static ammpl_status read_bytes(const ammpli_st *st, void *dst, size_t n, uint64_t offset)
{
    if (st->fd >= 0)
        return ammpli_file_pread(st->fd, st->name, dst, n, offset);
    if (n)
        memcpy(dst, st->data + offset, n);
    return AMMPL_OK;
}

/* ---- one tensor's entry ---- */

static bool sane_name(const char *name)
{
    if (strlen(name) > NAME_LIMIT)
        return false;
    for (; *name; name++)
        if ((unsigned char)*name < ' ' || *name == 0x7f)
            return false;
    return true;
}

static ammpl_status read_shape(const ammpli_st *st, ammpli_st_tensor *t, const json_t *shape)
{
    if (!json_is_array(shape))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: has no shape", st->name, t->name);
    if (json_array_size(shape) > MAX_RANK)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its shape has %zu dimensions, more than %d", st->name, t->name,
                           json_array_size(shape), MAX_RANK);
    t->rank = (int32_t)json_array_size(shape);
    t->count = 1;
    bool overflow = false;
    for (int32_t i = 0; i < t->rank; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: dimension %d of its shape is not a count", st->name, t->name, i);
        t->shape[i] = json_integer_value(d);
        overflow |= __builtin_mul_overflow(t->count, t->shape[i], &t->count);
    }
    if (overflow)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its shape has more elements than can be counted", st->name, t->name);
    return AMMPL_OK;
}

static ammpl_status read_entry(const ammpli_st *st, ammpli_st_tensor *t, const json_t *entry)
{
    if (!json_is_object(entry))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its entry is not an object", st->name, t->name);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: has no dtype", st->name, t->name);
    uint32_t size = 0;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtype, dtypes[i].name) == 0) {
            t->dtype = dtypes[i].dtype;
            size = dtypes[i].size;
        }
    if (size == 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its dtype %.16s is not one of safetensors'", st->name, t->name,
                           sane_name(dtype) ? dtype : "?");
    TRY(read_shape(st, t, json_object_get(entry, "shape")));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its data_offsets are not two numbers", st->name, t->name);
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    uint64_t bytes, room = st->size - st->base;
    if (begin < 0 || end < begin || (uint64_t)end > room)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its offsets %lld..%lld are not within the file's 0..%llu", st->name,
                           t->name, (long long)begin, (long long)end, (unsigned long long)room);
    if (__builtin_mul_overflow((uint64_t)t->count, size, &bytes) || bytes != (uint64_t)(end - begin))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its offsets %lld..%lld hold %lld bytes, its shape and dtype %s ask "
                           "for %lld x %u", st->name, t->name, (long long)begin, (long long)end, (long long)(end - begin),
                           dtype, (long long)t->count, size);
    t->offset = st->base + (uint64_t)begin;
    t->bytes = bytes;
    return AMMPL_OK;
}

/* ---- the whole header ---- */

static int by_offset(const void *a, const void *b)
{
    const ammpli_st_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const ammpli_st_tensor *)a)->name, ((const ammpli_st_tensor *)b)->name);
}

static ammpl_status check_layout(const ammpli_st *st)
{
    uint64_t end = st->base;
    for (size_t i = 0; i < st->n; i++) {
        const ammpli_st_tensor *t = &st->tensor[i];
        unsigned long long from = t->offset - st->base, to = from + t->bytes;
        if (t->offset < end)
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its offsets %llu..%llu overlap those of %s", st->name, t->name,
                               from, to, st->tensor[i - 1].name);
        if (t->offset > end)
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s: its offsets %llu..%llu leave a gap of %llu bytes before them",
                               st->name, t->name, from, to, (unsigned long long)(t->offset - end));
        end = t->offset + t->bytes;
    }
    if (end != st->size)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %llu bytes follow the last tensor", st->name,
                           (unsigned long long)(st->size - end));
    return AMMPL_OK;
}

/* Copies a string into st->text, which has room for all. */
static char *keep(char **at, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = memcpy(*at, s, n);
    *at += n;
    return copy;
}

static ammpl_status read_meta(ammpli_st *st, const json_t *meta, char **at)
{
    const char *key;
    json_t *value;
    if (!json_is_object(meta))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: its __metadata__ is not an object", st->name);
    st->meta = ammpli_alloc(st->ctx, json_object_size(meta), sizeof *st->meta);
    if (!st->meta)
        return AMMPL_E_MEMORY;
    json_object_foreach((json_t *)meta, key, value)
    {
        if (!json_is_string(value))
            return ammpli_fail(AMMPL_E_FORMAT, "%s: metadata %.64s is not a string", st->name, sane_name(key) ? key : "?");
        st->meta[st->n_meta++] = (st_meta){keep(at, key), keep(at, json_string_value(value))};
    }
    return AMMPL_OK;
}

static ammpl_status read_header(ammpli_st *st, json_t *header, size_t length)
{
    const char *name;
    json_t *entry;
    json_t *meta = json_object_get(header, "__metadata__");
    st->tensor = ammpli_alloc(st->ctx, json_object_size(header), sizeof *st->tensor);
    /* A decoded string and its NUL take no more room than it and its quotes took in the header. */
    st->text = ammpli_alloc(st->ctx, length, 1);
    if (!st->tensor || !st->text)
        return AMMPL_E_MEMORY;
    char *at = st->text;
    if (meta)
        TRY(read_meta(st, meta, &at));
    json_object_foreach(header, name, entry)
    {
        if (entry == meta)
            continue;
        if (!sane_name(name))
            return ammpli_fail(AMMPL_E_FORMAT, "%s: a tensor's name has control characters or more than %d bytes", st->name,
                               NAME_LIMIT);
        ammpli_st_tensor *t = &st->tensor[st->n++];
        t->name = keep(&at, name);
        TRY(read_entry(st, t, entry));
    }
    qsort(st->tensor, st->n, sizeof *st->tensor, by_offset);
    TRY(check_layout(st));
    qsort(st->tensor, st->n, sizeof *st->tensor, by_name);
    return AMMPL_OK;
}

static ammpl_status load(ammpli_st *st)
{
    uint64_t length;
    if (st->size < sizeof length)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: has %llu bytes, too few for a safetensors file", st->name,
                           (unsigned long long)st->size);
    TRY(read_bytes(st, &length, sizeof length, 0));
    if (length > st->size - sizeof length)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: not a safetensors file, or truncated: its header's %llu bytes go beyond the end",
                           st->name, (unsigned long long)length);
    if (length > HEADER_LIMIT)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: its header has %llu bytes, more than the format's 100 MB", st->name,
                           (unsigned long long)length);
    st->base = sizeof length + length;
    char *text = ammpli_alloc(st->ctx, (size_t)length + 1, 1);
    if (!text)
        return AMMPL_E_MEMORY;
    json_t *header = NULL;
    ammpl_status status = read_bytes(st, text, (size_t)length, sizeof length);
    if (status == AMMPL_OK)
        status = text[0] == '{' ? ammpli_json_parse(text, (size_t)length, HEADER_DEPTH, st->name, "its header", &header)
                                : ammpli_fail(AMMPL_E_FORMAT, "%s: not a safetensors file: its header does not start with {",
                                              st->name);
    ammpli_free(st->ctx, text);
    if (status == AMMPL_OK)
        status = read_header(st, header, (size_t)length);
    json_decref(header);
    return status;
}

static ammpli_st *new_reader(ammpl_context *ctx, const char *name)
{
    ammpli_st *st = ammpli_alloc(ctx, 1, sizeof *st);
    if (!st)
        return NULL;
    st->ctx = ammpli_context_hold(ctx);
    st->fd = -1;
    st->name = ammpli_strdup(ctx, name);
    if (st->name)
        return st;
    ammpli_st_close(st);
    return NULL;
}

static ammpl_status finish(ammpli_st *st, ammpl_status status, ammpli_st **out)
{
    if (status == AMMPL_OK)
        status = load(st);
    if (status == AMMPL_OK)
        *out = st;
    else
        ammpli_st_close(st);
    return status;
}

ammpl_status ammpli_st_open(ammpl_context *ctx, const char *path, ammpli_st **out)
{
    *out = NULL;
    ammpli_st *st = new_reader(ctx, path);
    if (!st)
        return AMMPL_E_MEMORY;
    return finish(st, ammpli_file_open(path, &st->fd, &st->size), out);
}

ammpl_status ammpli_st_open_memory(ammpl_context *ctx, const void *data, size_t size, const char *name, ammpli_st **out)
{
    *out = NULL;
    ammpli_st *st = new_reader(ctx, name);
    if (!st)
        return AMMPL_E_MEMORY;
    st->data = data;
    st->size = size;
    return finish(st, AMMPL_OK, out);
}

void ammpli_st_close(ammpli_st *st)
{
    if (!st)
        return;
    ammpl_context *ctx = st->ctx;
    if (st->fd >= 0)
        close(st->fd);
    ammpli_free(ctx, st->tensor);
    ammpli_free(ctx, st->meta);
    ammpli_free(ctx, st->text);
    ammpli_free(ctx, st->name);
    ammpli_free(ctx, st);
    ammpli_context_release(ctx);
}

/* ---- looking ---- */

const char *ammpli_st_name(const ammpli_st *st)
{
    return st->name;
}

size_t ammpli_st_count(const ammpli_st *st)
{
    return st->n;
}

const ammpli_st_tensor *ammpli_st_at(const ammpli_st *st, size_t i)
{
    return &st->tensor[i];
}

const ammpli_st_tensor *ammpli_st_find(const ammpli_st *st, const char *name)
{
    ammpli_st_tensor key = {.name = (char *)name};
    return bsearch(&key, st->tensor, st->n, sizeof key, by_name);
}

const char *ammpli_st_meta(const ammpli_st *st, const char *key)
{
    for (size_t i = 0; i < st->n_meta; i++)
        if (strcmp(st->meta[i].key, key) == 0)
            return st->meta[i].value;
    return NULL;
}

/* ---- values ---- */

ammpl_status ammpli_st_read(const ammpli_st *st, const ammpli_st_tensor *t, void *dst)
{
    return read_bytes(st, dst, (size_t)t->bytes, t->offset);
}

ammpl_status ammpli_st_read_part(const ammpli_st *st, const ammpli_st_tensor *t, uint64_t first, size_t n, void *dst)
{
    return read_bytes(st, dst, n, t->offset + first);
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float float_of_half(uint16_t h)
{
    uint32_t exponent = h >> 10 & 31, fraction = h & 0x3ff;
    float f = exponent == 0    ? (float)fraction * 0x1p-24f /* zero and subnormal */
              : exponent == 31 ? float_of_bits(0x7f800000u | fraction << 13)
                               : float_of_bits((exponent + 112) << 23 | fraction << 13);
    return h & 0x8000 ? -f : f;
}

/* n elements; src may not overlap dst. */
static void convert(float *dst, const void *src, int32_t dtype, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch (dtype) {
        case AMMPL_DTYPE_F16: dst[i] = float_of_half(((const uint16_t *)src)[i]); break;
        case AMMPL_DTYPE_BF16: dst[i] = float_of_bits((uint32_t)((const uint16_t *)src)[i] << 16); break;
        case AMMPLI_ST_F64: dst[i] = (float)((const double *)src)[i]; break;
        case AMMPLI_ST_I64: dst[i] = (float)((const int64_t *)src)[i]; break;
        default: dst[i] = (float)((const int32_t *)src)[i]; break;
        }
    }
}

ammpl_status ammpli_st_read_f32(const ammpli_st *st, const ammpli_st_tensor *t, float *dst)
{
    uint64_t piece[2048]; /* 16 KiB: small beside any thread's stack, large beside a system call */
    size_t count = (size_t)t->count;
    if (t->dtype == AMMPL_DTYPE_F32) {
        TRY(ammpli_st_read(st, t, dst));
    } else if (t->dtype == AMMPLI_ST_U8 || t->dtype == AMMPLI_ST_OTHER) {
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %s: its dtype cannot be read as numbers", st->name, t->name);
    } else if (count > 0) {
        size_t size = (size_t)t->bytes / count, step = sizeof piece / size;
        for (size_t i = 0; i < count; i += step) {
            size_t n = count - i < step ? count - i : step;
            TRY(read_bytes(st, piece, n * size, t->offset + i * size));
            convert(dst + i, piece, t->dtype, n);
        }
    }
    for (size_t i = 0; i < count; i++)
        if (!isfinite(dst[i]))
            return ammpli_fail(AMMPL_E_NUMERIC, "%s: tensor %s: its element %zu is NaN or infinite", st->name, t->name, i);
    return AMMPL_OK;
}
