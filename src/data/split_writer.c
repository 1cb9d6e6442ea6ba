/* split_writer.c - data sets as CoOp's split JSON, written as Python's json.dump(indent=4) writes it, so that diff compares files. */
#include "data/dataset.h"
#include "io/json.h"
#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 3 };
static const char *const PART[PARTS] = {"train", "val", "test"};

typedef struct writing {
    ammpl_context *ctx;
    const char *file, *root;
    const ammpl_dataset *data[PARTS];
} writing;

/* ---- what cannot be written ---- */

static ammpl_status check_classes(const ammpl_dataset *a, const ammpl_dataset *b)
{
    size_t same = 0;
    while (same < a->classes && same < b->classes && strcmp(a->class_name[same], b->class_name[same]) == 0)
        same++;
    return same == a->classes && same == b->classes
               ? AMMPL_OK
               : ammpli_fail(AMMPL_E_ARGUMENT, "the parts of a split have the same classes in the same order; these differ from class %zu on",
                             same);
}

/* The path below root, or as it is where it is absolute; NULL: neither. */
static const char *path_below(const char *root, const char *path)
{
    size_t n = strlen(root);
    while (n > 0 && root[n - 1] == '/')
        n--;
    if (root[0] == '\0')
        return path;
    if (strncmp(path, root, n) == 0 && path[n] == '/')
        return path + n + strspn(path + n, "/");
    return path[0] == '/' ? path : NULL;
}

/* ---- the JSON ---- */

static ammpl_status add_entry(const writing *w, const ammpl_dataset *ds, size_t i, json_t *list)
{
    const ammpli_item *item = &ds->item[i];
    const char *path = item->path ? path_below(w->root, item->path) : NULL;
    if (!path)
        return ammpli_fail(AMMPL_E_ARGUMENT, "image %zu%s%s: %s", i, item->path ? ", " : "", item->path ? item->path : "",
                           item->path ? "is not below the root of the split" : "has no file: a split lists files");
    json_t *triple = json_pack("[s, i, s]", path, (int)item->label, ds->class_name[item->label]);
    if (!triple)
        return ammpli_fail(AMMPL_E_ARGUMENT, "image %zu, %s: its path or class name is not UTF-8, or memory ran out", i, item->path);
    return json_array_append_new(list, triple) == 0 ? AMMPL_OK : ammpli_fail(AMMPL_E_MEMORY, "out of memory for %s", w->file);
}

static ammpl_status add_part(const writing *w, int part, json_t *split)
{
    const ammpl_dataset *ds = w->data[part];
    json_t *list = json_array();
    if (json_object_set_new(split, PART[part], list) != 0)
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory for %s", w->file);
    for (size_t i = 0; ds && i < ds->count; i++)
        TRY(add_entry(w, ds, i, list));
    return AMMPL_OK;
}

/* Picks of a larger set keep the ids that they have there. */
static ammpl_status add_ids(const writing *w, int part, json_t *split)
{
    const ammpl_dataset *ds = w->data[part];
    size_t i = 0;
    while (ds && i < ds->count && ds->item[i].id == i)
        i++;
    if (!ds || i == ds->count)
        return AMMPL_OK;
    json_t *ids = json_object_get(split, "ids"), *list = json_array();
    bool ok = ids || json_object_set_new(split, "ids", ids = json_object()) == 0;
    ok = json_object_set_new(ids, PART[part], list) == 0 && ok;
    for (i = 0; ok && i < ds->count; i++)
        ok = json_array_append_new(list, json_integer((json_int_t)ds->item[i].id)) == 0;
    return ok ? AMMPL_OK : ammpli_fail(AMMPL_E_MEMORY, "out of memory for %s", w->file);
}

static ammpl_status write(const writing *w, json_t *split, bool overwrite)
{
    for (int part = 0; part < PARTS; part++)
        TRY(add_part(w, part, split));
    for (int part = 0; part < PARTS; part++)
        TRY(add_ids(w, part, split));
    char *text = json_dumps(split, JSON_INDENT(4));
    if (!text)
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory for %s", w->file);
    ammpl_status status = ammpli_file_write(w->ctx, w->file, text, strlen(text), overwrite);
    free(text); /* jansson's */
    return status;
}

ammpl_status ammpli_dataset_save_split(const ammpl_dataset *train, const ammpl_dataset *val, const ammpl_dataset *test,
                                       const char *root, const char *path, bool overwrite)
{
    writing w = {.file = path, .root = root, .data = {train, val, test}};
    const ammpl_dataset *first = train ? train : val ? val : test;
    for (int part = 0; part < PARTS; part++)
        if (w.data[part])
            TRY(check_classes(first, w.data[part]));
    w.ctx = first->ctx;
    json_t *split = json_object();
    ammpl_status status = write(&w, split, overwrite);
    json_decref(split);
    return status;
}
