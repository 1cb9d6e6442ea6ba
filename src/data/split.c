/* split.c - CoOp's split JSON: {"train": [[path, label, class name], ...], "val": [...], "test": [...]}.
 *
 * Class names come from all parts, so that the parts of one file agree on the classes; items from the part asked for.  Files that
 * split_writer.c made of picks have, beside the parts, {"ids": {"train": [...], ...}}: the pictures' ids in the set that they were
 * picked from, which key their random draws.
 */
#include "data/dataset.h"
#include "io/json.h"
#include "io/safetensors.h"

#include <stdio.h>
#include <string.h>

/* Room for some hundred thousand images; the largest published split file is below 2 MiB. */
static const size_t FILE_LIMIT = (size_t)64 << 20;
static const char *const PART[] = {"train", "val", "test"};
enum { PARTS = 3, DEPTH_LIMIT = 16 }; /* 3 levels are used; others may have put their own beside the parts */

typedef struct split {
    ammpl_context *ctx;
    const char *file, *root; /* the JSON, for sentences; the folder of the pictures */
    json_t *json;
    const char **name; /* [names]: by label, NULL where no entry has it; borrowed from json */
    size_t names, classes;
} split;

typedef struct entry {
    const char *path, *name;
    int32_t label;
} entry;

/* ---- one entry ---- */

/* Entry i of a part, checked. */
static ammpl_status read_entry(const split *s, const char *part, const json_t *list, size_t i, entry *e)
{
    const json_t *triple = json_array_get(list, i);
    const json_t *path = json_array_get(triple, 0), *label = json_array_get(triple, 1),
                 *name = json_array_get(triple, 2);
    if (json_array_size(triple) != 3 || !json_is_string(path) || !json_is_integer(label) || !json_is_string(name))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %s[%zu] is not [\"path\", label, \"class name\"]", s->file, part, i);
    e->path = json_string_value(path);
    e->name = json_string_value(name);
    json_int_t value = json_integer_value(label);
    if (!*e->path || !*e->name)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %s[%zu] has an empty %s", s->file, part, i,
                           *e->path ? "class name" : "path");
    /* Every class needs an entry that names it, so that there are never more classes than entries. */
    if (value < 0 || (uint64_t)value >= s->names)
        return ammpli_fail(AMMPL_E_LABEL,
                           "%s: %s[%zu] (%s) has label %lld: labels go from 0 without gaps, %zu entries in all",
                           s->file, part, i, e->path, (long long)value, s->names);
    e->label = (int32_t)value;
    return AMMPL_OK;
}

/* ---- the whole file ---- */

static ammpl_status parse(split *s)
{
    void *text;
    size_t size;
    TRY(ammpli_file_read(s->ctx, s->file, FILE_LIMIT, &text, &size));
    ammpl_status status = ammpli_json_parse(text, size, DEPTH_LIMIT, s->file, "this split file", &s->json);
    ammpli_free(s->ctx, text);
    TRY(status);
    if (!json_is_object(s->json))
        return ammpli_fail(AMMPL_E_FORMAT,
                           "%s: not a split file: expected {\"train\": [...], \"val\": [...], \"test\": [...]}",
                           s->file);
    for (size_t p = 0; p < PARTS; p++) {
        const json_t *list = json_object_get(s->json, PART[p]);
        if (list && !json_is_array(list))
            return ammpli_fail(AMMPL_E_FORMAT, "%s: \"%s\" is not a list", s->file, PART[p]);
        s->names += json_array_size(list);
    }
    return s->names <= INT32_MAX ? AMMPL_OK : ammpli_fail(AMMPL_E_FORMAT, "%s: too many entries", s->file);
}

/* One name per label, known for all labels up to the largest. */
static ammpl_status collect_names(split *s)
{
    if (!(s->name = ammpli_alloc(s->ctx, s->names, sizeof *s->name)))
        return AMMPL_E_MEMORY;
    for (size_t p = 0; p < PARTS; p++) {
        const json_t *list = json_object_get(s->json, PART[p]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            entry e;
            TRY(read_entry(s, PART[p], list, i, &e));
            const char **known = &s->name[e.label];
            if (*known && strcmp(*known, e.name) != 0)
                return ammpli_fail(AMMPL_E_LABEL, "%s: %s[%zu] calls label %d \"%s\", before it was \"%s\"", s->file,
                                   PART[p], i, (int)e.label, e.name, *known);
            *known = e.name;
            if ((size_t)e.label >= s->classes)
                s->classes = (size_t)e.label + 1;
        }
    }
    for (size_t c = 0; c < s->classes; c++)
        if (!s->name[c])
            return ammpli_fail(AMMPL_E_LABEL, "%s: no entry has label %zu, but there is label %zu", s->file, c,
                               s->classes - 1);
    ammpl_status status = ammpli_check_class_names(s->ctx, s->file, s->name, s->classes);
    return status == AMMPL_E_ARGUMENT ? AMMPL_E_LABEL : status; /* the file's fault, not the caller's */
}

/* ---- the part asked for ---- */

static ammpl_status add_entry(const split *s, const entry *e, uint32_t id, ammpl_dataset *ds)
{
    if (e->path[0] == '/')
        return ammpli_dataset_add(ds, NULL, e->path, e->label, id);
    size_t n = strlen(s->root), room = n + strlen(e->path) + 2;
    char *path = ammpli_alloc(s->ctx, room, 1);
    if (!path)
        return AMMPL_E_MEMORY;
    snprintf(path, room, "%s%s%s", s->root, n > 0 && s->root[n - 1] != '/' ? "/" : "", e->path);
    ammpl_status status = ammpli_dataset_add(ds, NULL, path, e->label, id);
    ammpli_free(s->ctx, path);
    return status;
}

/* The id that the file gives to entry i, else its place. */
static ammpl_status read_id(const split *s, const char *part, const json_t *ids, size_t i, uint32_t *id)
{
    const json_t *value = json_array_get(ids, i);
    *id = (uint32_t)i;
    if (!ids)
        return AMMPL_OK;
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 0 || number > INT32_MAX)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: the ids of \"%s\" have no number for its image %zu", s->file, part, i);
    *id = (uint32_t)number;
    return AMMPL_OK;
}

static ammpl_status add_part(const split *s, const char *part, const json_t *list, ammpl_dataset *ds)
{
    const json_t *ids = json_object_get(json_object_get(s->json, "ids"), part);
    for (size_t i = 0; i < json_array_size(list); i++) {
        entry e;
        uint32_t id;
        TRY(read_entry(s, part, list, i, &e));
        TRY(read_id(s, part, ids, i, &id));
        TRY(add_entry(s, &e, id, ds));
    }
    return AMMPL_OK;
}

static ammpl_status open_part(split *s, const char *part, ammpl_dataset **out)
{
    bool known = false;
    for (size_t p = 0; p < PARTS; p++)
        known |= part && strcmp(part, PART[p]) == 0;
    if (!known)
        return ammpli_fail(AMMPL_E_ARGUMENT, "part \"%s\": the parts of a split file are train, val and test",
                           part ? part : "");
    TRY(parse(s));
    const json_t *list = json_object_get(s->json, part);
    if (json_array_size(list) == 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: no images in its part \"%s\"", s->file, part);
    TRY(collect_names(s));
    TRY(ammpli_dataset_create(s->ctx, s->name, s->classes, out));
    return add_part(s, part, list, *out);
}

ammpl_status ammpli_dataset_open_split(ammpl_context *ctx, const char *root, const char *json, const char *part,
                                       ammpl_dataset **out)
{
    *out = NULL;
    split s = {.ctx = ctx, .file = json, .root = root};
    ammpl_status status = open_part(&s, part, out);
    json_decref(s.json);
    ammpli_free(ctx, s.name);
    if (status < 0) {
        ammpli_dataset_release(*out);
        *out = NULL;
    }
    return status;
}
