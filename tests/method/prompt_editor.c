/* prompt_editor.c - see prompt_editor.h. */
#include "prompt_editor.h"

#include <stdlib.h>
#include <string.h>

uint64_t file_header_length(const char *bytes)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | (unsigned char)bytes[i];
    return n;
}

json_t *file_header(const file *f)
{
    json_t *header = json_loadb(f->bytes + 8, file_header_length(f->bytes), 0, NULL);
    ck_assert(json_is_object(header));
    return header;
}

/* The same tensors' bytes under another header (taken over). */
static file file_with_header(const file *f, json_t *header)
{
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    size_t n = strlen(text), data = f->size - 8 - file_header_length(f->bytes);
    file out = {malloc(8 + n + data), 8 + n + data};
    for (int i = 0; i < 8; i++)
        out.bytes[i] = (char)(n >> (8 * i) & 255);
    memcpy(out.bytes + 8, text, n);
    memcpy(out.bytes + 8 + n, f->bytes + f->size - data, data);
    free(text);
    return out;
}

file file_with_meta(const file *f, const char *key, const char *value)
{
    json_t *header = file_header(f), *meta = json_object_get(header, "__metadata__");
    if (value)
        json_object_set_new(meta, key, json_string(value));
    else
        ck_assert_msg(json_object_del(meta, key) == 0, "there is no metadata %s to remove", key);
    return file_with_header(f, header);
}

file file_with_shape(const file *f, const char *tensor, const char *shape)
{
    json_t *header = file_header(f), *t = json_object_get(header, tensor);
    ck_assert_msg(t != NULL, "%s", tensor);
    json_object_set_new(t, "shape", json_loads(shape, 0, NULL));
    return file_with_header(f, header);
}

file file_renamed(const file *f, const char *tensor, const char *name)
{
    json_t *header = file_header(f), *t = json_object_get(header, tensor);
    ck_assert_msg(t != NULL, "%s", tensor);
    json_object_set(header, name, t);
    json_object_del(header, tensor);
    return file_with_header(f, header);
}

file file_of(const ammpl_prompt *p)
{
    file f;
    f.bytes = nano_bytes(p, &f.size);
    return f;
}

void file_refused(const nano *n, file f, ammpl_status status, const char *word)
{
    ammpl_prompt *p = n->prompt;
    ck_status(ammpli_prompt_load_memory(n->model, f.bytes, f.size, NULL, &p), status, word);
    ck_assert_ptr_null(p);
    ammpl_config *nothing_set; /* as programs pass it: no reason to accept more */
    ck_ok(ammpli_config_create(n->ctx, &nothing_set));
    ck_status(ammpli_prompt_load_memory(n->model, f.bytes, f.size, nothing_set, &p), status, word);
    ck_assert_ptr_null(p);
    ammpli_config_destroy(nothing_set);
    free(f.bytes);
}

ammpl_prompt *file_accepted(const nano *n, file f)
{
    ammpl_prompt *p;
    ck_ok(ammpli_prompt_load_memory(n->model, f.bytes, f.size, NULL, &p));
    free(f.bytes);
    return p;
}

bool file_survives(const nano *n, const char *bytes, size_t size)
{
    char *exact = malloc(size ? size : 1); /* so that a read past the end is seen */
    memcpy(exact, bytes, size);
    ammpl_prompt *p = NULL;
    ammpli_clear_error();
    ammpl_status status = ammpli_prompt_load_memory(n->model, exact, size, NULL, &p);
    ck_assert((status == AMMPL_OK) == (p != NULL));
    ck_assert(status == AMMPL_OK || strlen(ammpli_error_text()) > 10);
    ck_assert_msg(status != AMMPL_E_INTERNAL && status != AMMPL_E_MEMORY, "%d: %s", (int)status, ammpli_error_text());
    ammpli_prompt_release(p);
    free(exact);
    return status == AMMPL_OK;
}
