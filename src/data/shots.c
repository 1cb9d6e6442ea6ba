/* shots.c - new data sets from parts of one: few-shot picks, chosen classes. */
#include "data/dataset.h"

#include <stdlib.h>

typedef struct candidate {
    size_t index; /* in the data set */
    int32_t label;
    uint32_t key, id;
} candidate;

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Class by class, the picks first: smallest key, ties by id (ids repeat only where the caller made them). */
static int by_key(const void *pa, const void *pb)
{
    const candidate *a = pa, *b = pb;
    int order = compare((uint64_t)a->label, (uint64_t)b->label); /* labels are not negative */
    if (!order)
        order = compare(a->key, b->key);
    if (!order)
        order = compare(a->id, b->id);
    return order ? order : compare(a->index, b->index);
}

/* keep[i]: item i is among the `shots` picks of its class. */
static ammpl_status pick(const ammpl_dataset *ds, int32_t shots, uint64_t seed, bool *keep)
{
    candidate *all = ammpli_alloc(ds->ctx, ds->count, sizeof *all);
    if (!all)
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < ds->count; i++) {
        uint32_t x[4], id = ds->item[i].id;
        ammpli_philox(seed, AMMPLI_DRAW_SHOTS, 0, 0, id, 0, x);
        all[i] = (candidate){.index = i, .label = ds->item[i].label, .key = x[0], .id = id};
    }
    qsort(all, ds->count, sizeof *all, by_key);
    for (size_t i = 0, taken = 0; i < ds->count; i++) {
        taken = i > 0 && all[i].label == all[i - 1].label ? taken + 1 : 0;
        keep[all[i].index] = shots == 0 || taken < (size_t)shots;
    }
    ammpli_free(ds->ctx, all);
    return AMMPL_OK;
}

/* Adds the items to keep (NULL: all) under the labels they get (-1: left out), in listed order. */
static ammpl_status add_kept(ammpl_dataset *to, const ammpl_dataset *from, const bool *keep, const int32_t *new_label)
{
    for (size_t i = 0; i < from->count; i++) {
        const ammpli_item *item = &from->item[i];
        int32_t label = new_label ? new_label[item->label] : item->label;
        if ((!keep || keep[i]) && label >= 0)
            TRY(ammpli_dataset_add(to, item->image, item->path, label, item->id));
    }
    return AMMPL_OK;
}

ammpl_status ammpli_dataset_select_shots(const ammpl_dataset *ds, int32_t shots, uint64_t seed, ammpl_dataset **out)
{
    *out = NULL;
    if (shots < 0)
        return ammpli_fail(AMMPL_E_RANGE, "%d shots: give the number of images per class, 0 for all", (int)shots);
    bool *keep = ammpli_alloc(ds->ctx, ds->count, sizeof *keep);
    if (!keep)
        return AMMPL_E_MEMORY;
    ammpl_status status;
    TRY_GOTO(done, pick(ds, shots, seed, keep));
    TRY_GOTO(done, ammpli_dataset_create(ds->ctx, (const char *const *)ds->class_name, ds->classes, out));
    TRY_GOTO(done, add_kept(*out, ds, keep, NULL));
done:
    ammpli_free(ds->ctx, keep);
    if (status < 0) {
        ammpli_dataset_release(*out);
        *out = NULL;
    }
    return status;
}

/* new_label[old] for every class, -1 for those left out, and the names in their new order. */
static ammpl_status relabel(const ammpl_dataset *ds, const int32_t *classes, size_t n, int32_t *new_label,
                            const char **name)
{
    for (size_t c = 0; c < ds->classes; c++)
        new_label[c] = -1;
    for (size_t i = 0; i < n; i++) {
        int32_t c = classes[i];
        if (c < 0 || (size_t)c >= ds->classes)
            return ammpli_fail(AMMPL_E_LABEL, "class %d was chosen, but the classes are 0 to %zu", (int)c,
                               ds->classes - 1);
        if (new_label[c] >= 0)
            return ammpli_fail(AMMPL_E_ARGUMENT, "class %d (\"%s\") was chosen twice", (int)c, ds->class_name[c]);
        new_label[c] = (int32_t)i;
        name[i] = ds->class_name[c];
    }
    return AMMPL_OK;
}

ammpl_status ammpli_dataset_select_classes(const ammpl_dataset *ds, const int32_t *classes, size_t n,
                                           ammpl_dataset **out)
{
    *out = NULL;
    int32_t *new_label = ammpli_alloc(ds->ctx, ds->classes, sizeof *new_label);
    const char **name = ammpli_alloc(ds->ctx, n, sizeof *name);
    ammpl_status status = AMMPL_E_MEMORY;
    if (!new_label || !name)
        goto done;
    TRY_GOTO(done, relabel(ds, classes, n, new_label, name));
    TRY_GOTO(done, ammpli_dataset_create(ds->ctx, name, n, out));
    TRY_GOTO(done, add_kept(*out, ds, NULL, new_label));
done:
    ammpli_free(ds->ctx, new_label);
    ammpli_free(ds->ctx, name);
    if (status < 0) {
        ammpli_dataset_release(*out);
        *out = NULL;
    }
    return status;
}
