/* safetensors_writer.c - collects tensors and metadata and writes them in one fixed order: the same content always gives
 * the same bytes.  Header entries are sorted by name; data lie widest type first, then by name, so that every tensor is
 * aligned to its elements when the file is mapped. */
#include "io/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct out_tensor {
    char *name;
    int32_t dtype, rank;
    int64_t shape[8];
    uint64_t bytes, begin;
    const void *data; /* borrowed */
} out_tensor;

struct ammpli_st_writer {
    ammpl_context *ctx; /* held */
    json_t *meta;
    json_t *names; /* the set of them */
    size_t n, cap;
    out_tensor *tensor;
};

ammpl_status ammpli_st_writer_create(ammpl_context *ctx, ammpli_st_writer **out)
{
    *out = NULL;
    ammpli_st_writer *w = ammpli_alloc(ctx, 1, sizeof *w);
    if (!w)
        return AMMPL_E_MEMORY;
    w->ctx = ammpli_context_hold(ctx);
    w->meta = json_object();
    w->names = json_object();
    if (!w->meta || !w->names) {
        ammpli_st_writer_destroy(w);
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory: no room for metadata");
    }
    *out = w;
    return AMMPL_OK;
}

void ammpli_st_writer_destroy(ammpli_st_writer *w)
{
    if (!w)
        return;
    ammpl_context *ctx = w->ctx;
    json_decref(w->meta);
    json_decref(w->names);
    for (size_t i = 0; i < w->n; i++)
        ammpli_free(ctx, w->tensor[i].name);
    ammpli_free(ctx, w->tensor);
    ammpli_free(ctx, w);
    ammpli_context_release(ctx);
}

ammpl_status ammpli_st_writer_meta(ammpli_st_writer *w, const char *key, const char *value)
{
    json_t *text = json_string(value);
    if (!text)
        return ammpli_fail(AMMPL_E_ARGUMENT, "metadata %s cannot be written: its value is not UTF-8", key);
    if (json_object_set_new(w->meta, key, text) != 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "metadata %s cannot be written: its name is not UTF-8", key);
    return AMMPL_OK;
}

ammpl_status ammpli_st_writer_add(ammpli_st_writer *w, const char *name, int32_t dtype, int32_t rank, const int64_t *shape,
                                  const void *data)
{
    uint64_t bytes = dtype == AMMPL_DTYPE_F32 ? sizeof(float) : dtype == AMMPLI_ST_I64 ? sizeof(int64_t) : 0;
    if (bytes == 0 || rank < 0 || rank > 8)
        return ammpli_fail(AMMPL_E_ARGUMENT, "tensor %s: only F32 and I64 of at most 8 dimensions are written", name);
    if (json_object_get(w->names, name))
        return ammpli_fail(AMMPL_E_ARGUMENT, "tensor %s: added twice", name);
    for (int32_t i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, (uint64_t)shape[i], &bytes))
            return ammpli_fail(AMMPL_E_ARGUMENT, "tensor %s: its shape cannot be written", name);
    if (!ammpli_grow(w->ctx, (void **)&w->tensor, &w->cap, w->n + 1, sizeof *w->tensor))
        return AMMPL_E_MEMORY;
    out_tensor *t = &w->tensor[w->n];
    *t = (out_tensor){.dtype = dtype, .rank = rank, .bytes = bytes, .data = data};
    if (rank > 0)
        memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
    if (!(t->name = ammpli_strdup(w->ctx, name)))
        return AMMPL_E_MEMORY;
    if (json_object_set_new_nocheck(w->names, name, json_null()) != 0) { /* no UTF-8 is reported when all is written */
        ammpli_free(w->ctx, t->name);
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory: no room for a tensor's name");
    }
    w->n++;
    return AMMPL_OK;
}

static int by_width_then_name(const void *a, const void *b)
{
    const out_tensor *x = a, *y = b;
    if (x->dtype != y->dtype)
        return x->dtype == AMMPLI_ST_I64 ? -1 : 1;
    return strcmp(x->name, y->name);
}

static json_t *header_entry(const out_tensor *t)
{
    json_t *shape = json_array();
    for (int32_t i = 0; i < t->rank; i++)
        if (json_array_append_new(shape, json_integer(t->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype == AMMPLI_ST_I64 ? "I64" : "F32", "shape", shape,
                     "data_offsets", (json_int_t)t->begin, (json_int_t)(t->begin + t->bytes));
}

/* The header's text (free), or NULL when out of memory or a name is not UTF-8. */
static char *header_text(ammpli_st_writer *w)
{
    json_t *header = json_object();
    bool ok = header != NULL;
    if (ok && json_object_size(w->meta) > 0)
        ok = json_object_set(header, "__metadata__", w->meta) == 0;
    for (size_t i = 0; i < w->n && ok; i++)
        ok = json_object_set_new(header, w->tensor[i].name, header_entry(&w->tensor[i])) == 0;
    char *text = ok ? json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(header);
    return text;
}

ammpl_status ammpli_st_writer_bytes(ammpli_st_writer *w, void **data, size_t *size)
{
    *data = NULL;
    *size = 0;
    if (w->n > 0)
        qsort(w->tensor, w->n, sizeof *w->tensor, by_width_then_name);
    uint64_t total = 0;
    for (size_t i = 0; i < w->n; i++) {
        w->tensor[i].begin = total;
        if (__builtin_add_overflow(total, w->tensor[i].bytes, &total) || total > SIZE_MAX / 2)
            return ammpli_fail(AMMPL_E_MEMORY, "out of memory: the tensors have more bytes than can be addressed");
    }
    char *text = header_text(w);
    if (!text)
        return ammpli_fail(AMMPL_E_ARGUMENT, "the header cannot be written: a name is not UTF-8, or memory is out");
    uint64_t length = strlen(text), padded = (length + 7) / 8 * 8; /* data start 8-byte aligned */
    char *block = ammpli_alloc(w->ctx, 1, sizeof padded + (size_t)(padded + total));
    if (block) {
        char *at = block;
        memcpy(at, &padded, sizeof padded);
        at += sizeof padded;
        memcpy(at, text, (size_t)length);
        memset(at + length, ' ', (size_t)(padded - length));
        at += padded;
        for (size_t i = 0; i < w->n; i++)
            if (w->tensor[i].bytes > 0)
                memcpy(at + w->tensor[i].begin, w->tensor[i].data, (size_t)w->tensor[i].bytes);
        *data = block;
        *size = sizeof padded + (size_t)(padded + total);
    }
    free(text);
    return block ? AMMPL_OK : AMMPL_E_MEMORY;
}

ammpl_status ammpli_st_writer_save(ammpli_st_writer *w, const char *path, bool overwrite)
{
    void *data;
    size_t size;
    TRY(ammpli_st_writer_bytes(w, &data, &size));
    ammpl_status status = ammpli_file_write(w->ctx, path, data, size, overwrite);
    ammpli_free(w->ctx, data);
    return status;
}
