/* model_editor.c - see model_editor.h. */
#include "io/model_editor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned char *edit_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    ck_assert_uint_eq(fread(data, 1, *size, f), *size);
    data[*size] = 0;
    fclose(f);
    return data;
}

void edit_write(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "%s cannot be written", path);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    fclose(f);
}

void edit_open(edit_model *e, const char *path)
{
    size_t size;
    unsigned char *file = edit_read(path, &size);
    uint64_t length;
    memcpy(&length, file, 8);
    json_t *header = json_loadb((char *)file + 8, length, 0, NULL), *entry;
    const char *name;
    ck_assert_ptr_nonnull(header);
    *e = (edit_model){0};
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
        int64_t dims[8];
        for (size_t i = 0; i < json_array_size(shape); i++)
            dims[i] = json_integer_value(json_array_get(shape, i));
        size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
        size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
        edit_tensor *t = edit_add(e, name, json_string_value(json_object_get(entry, "dtype")), (int)json_array_size(shape), dims,
                                  end - begin);
        memcpy(t->data, file + 8 + length + begin, end - begin);
    }
    json_decref(header);
    free(file);
}

void edit_free(edit_model *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->tensor[i].data);
    e->n = 0;
}

edit_tensor *edit_find(edit_model *e, const char *name)
{
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->tensor[i].name, name) == 0)
            return &e->tensor[i];
    ck_abort_msg("there is no tensor %s", name);
    return NULL;
}

edit_tensor *edit_add(edit_model *e, const char *name, const char *dtype, int rank, const int64_t *shape, size_t bytes)
{
    ck_assert_uint_lt(e->n, sizeof e->tensor / sizeof *e->tensor);
    edit_tensor *t = &e->tensor[e->n++];
    *t = (edit_tensor){.rank = rank, .bytes = bytes, .data = calloc(1, bytes + 1)};
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    for (int i = 0; i < rank; i++)
        t->shape[i] = shape[i];
    return t;
}

void edit_remove(edit_model *e, const char *name)
{
    edit_tensor *t = edit_find(e, name);
    free(t->data);
    *t = e->tensor[--e->n];
}

void edit_widen(edit_tensor *t, int dimension)
{
    t->bytes = t->bytes / (size_t)t->shape[dimension] * (size_t)(t->shape[dimension] + 1);
    t->shape[dimension]++;
    free(t->data);
    t->data = calloc(1, t->bytes);
}

unsigned char *edit_bytes_of(const edit_model *e, size_t first, size_t last, size_t *size)
{
    json_t *header = json_object();
    size_t at = 0;
    for (size_t i = first; i < last; i++) {
        const edit_tensor *t = &e->tensor[i];
        json_t *shape = json_array();
        for (int d = 0; d < t->rank; d++)
            json_array_append_new(shape, json_integer(t->shape[d]));
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + t->bytes)));
        at += t->bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    uint64_t length = strlen(text);
    unsigned char *file = malloc(8 + length + at);
    memcpy(file, &length, 8);
    memcpy(file + 8, text, length);
    *size = 8 + length;
    for (size_t i = first; i < last; i++) {
        memcpy(file + *size, e->tensor[i].data, e->tensor[i].bytes);
        *size += e->tensor[i].bytes;
    }
    free(text);
    return file;
}

unsigned char *edit_bytes(const edit_model *e, size_t *size)
{
    return edit_bytes_of(e, 0, e->n, size);
}
