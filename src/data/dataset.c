/* dataset.c - the life of a data set: class names, labelled items, shared by reference count. */
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

ammpl_status ammpli_check_class_names(ammpl_context *ctx, const char *what, const char *const *names, size_t n)
{
    if (n < 1 || n > INT32_MAX)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: %zu class names: at least one is needed", what, n);
    const char **sorted = ammpli_alloc(ctx, n, sizeof *sorted);
    if (!sorted)
        return AMMPL_E_MEMORY;
    ammpl_status status = AMMPL_OK;
    for (size_t i = 0; i < n && status == AMMPL_OK; i++) {
        sorted[i] = names[i];
        if (!names[i] || !names[i][strspn(names[i], " \t\r\n_")]) /* `_` reads as a space */
            status = ammpli_fail(AMMPL_E_ARGUMENT, "%s: class %zu has an empty name", what, i);
    }
    if (status == AMMPL_OK)
        qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 1; i < n && status == AMMPL_OK; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status = ammpli_fail(AMMPL_E_ARGUMENT, "%s: the class name \"%s\" is there twice", what, sorted[i]);
    ammpli_free(ctx, sorted);
    return status;
}

ammpl_status ammpli_dataset_create(ammpl_context *ctx, const char *const *names, size_t n, ammpl_dataset **out)
{
    *out = NULL;
    TRY(ammpli_check_class_names(ctx, "data set", names, n));
    ammpl_dataset *ds = ammpli_alloc(ctx, 1, sizeof *ds);
    if (!ds)
        return AMMPL_E_MEMORY;
    ds->ref.count = 1;
    ds->ctx = ammpli_context_hold(ctx);
    ds->class_name = ammpli_alloc(ctx, n, sizeof *ds->class_name);
    bool complete = ds->class_name != NULL;
    for (size_t i = 0; i < n && complete; i++) {
        ds->class_name[i] = ammpli_strdup(ctx, names[i]);
        complete = ds->class_name[i] != NULL;
        ds->classes = i + 1;
    }
    if (!complete) {
        ammpli_dataset_release(ds);
        return AMMPL_E_MEMORY;
    }
    *out = ds;
    return AMMPL_OK;
}

ammpl_dataset *ammpli_dataset_hold(ammpl_dataset *ds)
{
    atomic_fetch_add(&ds->ref.count, 1);
    return ds;
}

void ammpli_dataset_release(ammpl_dataset *ds)
{
    if (!ds || atomic_fetch_sub(&ds->ref.count, 1) > 1)
        return;
    ammpl_context *ctx = ds->ctx;
    for (size_t i = 0; i < ds->classes; i++)
        ammpli_free(ctx, ds->class_name[i]);
    for (size_t i = 0; i < ds->count; i++) {
        ammpli_free(ctx, ds->item[i].path);
        ammpli_image_destroy(ds->item[i].image);
    }
    ammpli_free(ctx, ds->class_name);
    ammpli_free(ctx, ds->item);
    ammpli_free(ctx, ds);
    ammpli_context_release(ctx);
}

ammpl_status ammpli_dataset_add(ammpl_dataset *ds, const ammpl_image *img, const char *path, int32_t label, uint32_t id)
{
    if (label < 0 || (size_t)label >= ds->classes)
        return ammpli_fail(AMMPL_E_LABEL, "image %u%s%s: label %d, but the classes are 0 to %zu", (unsigned)id,
                           path ? ", " : "", path ? path : "", (int)label, ds->classes - 1);
    void *items = ds->item;
    if (!ammpli_grow(ds->ctx, &items, &ds->cap, ds->count + 1, sizeof *ds->item))
        return AMMPL_E_MEMORY;
    ds->item = items;
    ammpli_item item = {.label = label, .id = id};
    if (path && !(item.path = ammpli_strdup(ds->ctx, path)))
        return AMMPL_E_MEMORY;
    if (img)
        item.image = ammpli_image_hold(img);
    ds->item[ds->count++] = item;
    return AMMPL_OK;
}

ammpl_status ammpli_item_load(ammpl_context *ctx, const ammpli_item *item, int32_t least, ammpl_image **out)
{
    if (!item->image)
        return ammpli_image_load_at_least(ctx, item->path, least, out);
    *out = ammpli_image_hold(item->image);
    return AMMPL_OK;
}

ammpl_status ammpli_dataset_load_image(const ammpl_dataset *ds, size_t i, ammpl_image **out)
{
    *out = NULL;
    if (i >= ds->count)
        return ammpli_fail(AMMPL_E_RANGE, "image %zu of a data set of %zu", i, ds->count);
    return ammpli_item_load(ds->ctx, &ds->item[i], 0, out);
}

static ammpli_digest digest_of_pixels(const ammpl_image *img)
{
    ammpli_digesting d;
    const int32_t size[2] = {img->width, img->height};
    ammpli_digest_begin(&d);
    ammpli_digest_add(&d, "pixels", 6); /* as no picture file begins */
    ammpli_digest_add(&d, size, sizeof size);
    ammpli_digest_add(&d, img->pixels, (size_t)img->width * (size_t)img->height * 3);
    return ammpli_digest_end(&d);
}

ammpl_status ammpli_dataset_load_digest(const ammpl_dataset *ds, size_t i, int32_t least, ammpli_digest *digest, ammpl_image **out)
{
    const ammpli_item *item = &ds->item[i];
    if (out)
        *out = NULL;
    if (item->image) {
        *digest = digest_of_pixels(item->image);
        if (out)
            *out = ammpli_image_hold(item->image);
        return AMMPL_OK;
    }
    void *data;
    size_t size;
    ammpli_digesting d;
    TRY(ammpli_image_read(ds->ctx, item->path, &data, &size));
    ammpli_digest_begin(&d);
    ammpli_digest_add(&d, data, size);
    *digest = ammpli_digest_end(&d);
    ammpl_status status = out ? ammpli_image_decode_at_least(ds->ctx, data, size, item->path, least, out) : AMMPL_OK;
    ammpli_free(ds->ctx, data);
    return status;
}

ammpl_status ammpli_dataset_check_filled(const ammpl_dataset *ds, const char *what)
{
    bool *filled = ammpli_alloc(ds->ctx, ds->classes, sizeof *filled);
    if (!filled)
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < ds->count; i++)
        filled[ds->item[i].label] = true;
    size_t c = 0;
    while (c < ds->classes && filled[c])
        c++;
    ammpli_free(ds->ctx, filled);
    if (c < ds->classes)
        return ammpli_fail(AMMPL_E_LABEL, "%s: class \"%s\" has no images", what, ds->class_name[c]);
    return AMMPL_OK;
}
