/* api_dataset.c - labelled pictures. */
#include "data/dataset.h"
#include "data/named.h"
#include "shell.h"

ammpl_status ammpl_dataset_create(ammpl_context *ctx, const char *const *class_names, size_t n, ammpl_dataset **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, out);
    PASS(ctx, ammpli_check_strings(__func__, "class names", class_names, n));
    return ammpli_leave(ctx, ammpli_dataset_create(ctx, class_names, n, out));
}

ammpl_status ammpl_dataset_open_folder(ammpl_context *ctx, const char *dir, const char *part, ammpl_dataset **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, dir);
    NEED(ctx, out);
    return ammpli_leave(ctx, ammpli_dataset_open_folder(ctx, dir, part, out));
}

ammpl_status ammpl_dataset_open_split(ammpl_context *ctx, const char *root, const char *json, const char *part,
                                      ammpl_dataset **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, root);
    NEED(ctx, json);
    NEED(ctx, part);
    NEED(ctx, out);
    return ammpli_leave(ctx, ammpli_dataset_open_split(ctx, root, json, part, out));
}

ammpl_status ammpl_dataset_open_named(ammpl_context *ctx, const char *name, const char *root, const char *part,
                                      ammpl_dataset **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, name);
    NEED(ctx, root);
    NEED(ctx, part);
    NEED(ctx, out);
    return ammpli_leave(ctx, ammpli_dataset_open_named(ctx, name, root, part, out));
}

size_t ammpl_dataset_named_count(void)
{
    return ammpli_named_count();
}

ammpl_status ammpl_dataset_named_describe(size_t i, const char **name, const char **folder, const char **text_template)
{
    ENTER();
    CLEAR(name);
    CLEAR(folder);
    CLEAR(text_template);
    CHECK(NULL, ammpli_named_at(i, name, folder, text_template), AMMPL_E_RANGE, "data set %zu: there are %zu", i,
          ammpli_named_count());
    return ammpli_leave(NULL, AMMPL_OK);
}

ammpl_status ammpl_dataset_named_find(const char *name, size_t *i)
{
    ENTER();
    CLEAR(i);
    NEED(NULL, name);
    NEED(NULL, i);
    return ammpli_leave(NULL, ammpli_named_find(name, i));
}

ammpl_status ammpl_dataset_save_split(const ammpl_dataset *train, const ammpl_dataset *val, const ammpl_dataset *test,
                                      const char *root, const char *path, int32_t overwrite)
{
    ENTER();
    const ammpl_dataset *any = train ? train : val ? val : test;
    CHECK(NULL, any, AMMPL_E_ARGUMENT, "%s: train, val and test are all NULL", __func__);
    NEED(any->ctx, root);
    NEED(any->ctx, path);
    return ammpli_leave(any->ctx, ammpli_dataset_save_split(train, val, test, root, path, overwrite != 0));
}

void ammpl_dataset_destroy(ammpl_dataset *ds)
{
    if (ds)
        ammpli_dataset_release(ds);
}

static ammpl_status add(ammpl_dataset *ds, ammpl_image *img, const char *path, int32_t label)
{
    CHECK(ds->ctx, ds->count < INT32_MAX, AMMPL_E_RANGE, "the data set is full: it holds %zu pictures", ds->count);
    return ammpli_leave(ds->ctx, ammpli_dataset_add(ds, img, path, label, (uint32_t)ds->count));
}

ammpl_status ammpl_dataset_add_image(ammpl_dataset *ds, const ammpl_image *img, int32_t label)
{
    ENTER();
    NEED(NULL, ds);
    NEED(ds->ctx, img);
    return add(ds, (ammpl_image *)img, NULL, label); /* held, not changed: pixels are immutable */
}

ammpl_status ammpl_dataset_add_file(ammpl_dataset *ds, const char *path, int32_t label)
{
    ENTER();
    NEED(NULL, ds);
    NEED(ds->ctx, path);
    return add(ds, NULL, path, label);
}

size_t ammpl_dataset_count(const ammpl_dataset *ds)
{
    return ds ? ds->count : 0;
}

size_t ammpl_dataset_class_count(const ammpl_dataset *ds)
{
    return ds ? ds->classes : 0;
}

const char *ammpl_dataset_class_name(const ammpl_dataset *ds, size_t i)
{
    return ds && i < ds->classes ? ds->class_name[i] : NULL;
}

int32_t ammpl_dataset_label(const ammpl_dataset *ds, size_t i)
{
    return ds && i < ds->count ? ds->item[i].label : -1;
}

int64_t ammpl_dataset_image_id(const ammpl_dataset *ds, size_t i)
{
    return ds && i < ds->count ? (int64_t)ds->item[i].id : -1;
}

const char *ammpl_dataset_path(const ammpl_dataset *ds, size_t i)
{
    if (!ds || i >= ds->count)
        return NULL;
    return ds->item[i].path ? ds->item[i].path : "";
}

ammpl_status ammpl_dataset_load_image(const ammpl_dataset *ds, size_t i, ammpl_image **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ds);
    NEED(ds->ctx, out);
    return ammpli_leave(ds->ctx, ammpli_dataset_load_image(ds, i, out));
}

ammpl_status ammpl_dataset_select_shots(const ammpl_dataset *ds, int32_t shots, uint64_t seed, ammpl_dataset **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ds);
    NEED(ds->ctx, out);
    return ammpli_leave(ds->ctx, ammpli_dataset_select_shots(ds, shots, seed, out));
}

ammpl_status ammpl_dataset_select_classes(const ammpl_dataset *ds, const int32_t *classes, size_t n, ammpl_dataset **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ds);
    NEED(ds->ctx, classes);
    NEED(ds->ctx, out);
    CHECK(ds->ctx, n > 0, AMMPL_E_ARGUMENT, "%s: the list of classes is empty", __func__);
    return ammpli_leave(ds->ctx, ammpli_dataset_select_classes(ds, classes, n, out));
}

ammpl_status ammpl_dataset_select_few(const ammpl_dataset *train, const ammpl_dataset *val, int32_t shots,
                                      const ammpl_config *cfg, ammpl_dataset **few_train, ammpl_dataset **few_val)
{
    ENTER();
    CLEAR(few_train);
    CLEAR(few_val);
    NEED(NULL, train);
    NEED(train->ctx, few_train);
    CHECK(train->ctx, !val == !few_val, AMMPL_E_ARGUMENT, "%s: %s is NULL and the other is not", __func__, val ? "few_val" : "val");
    return ammpli_leave(train->ctx, ammpli_dataset_select_few(train, val, shots, cfg, few_train, few_val));
}

ammpl_status ammpl_dataset_select_half(const ammpl_dataset *ds, int32_t second, ammpl_dataset **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ds);
    NEED(ds->ctx, out);
    return ammpli_leave(ds->ctx, ammpli_dataset_select_half(ds, second != 0, out));
}

ammpl_status ammpl_dataset_shuffle(const ammpl_dataset *ds, uint64_t seed, uint32_t epoch, int32_t *order, size_t cap)
{
    ENTER();
    NEED(NULL, ds);
    NEED(ds->ctx, order);
    PASS(ds->ctx, ammpli_check_cap(__func__, cap, ds->count, 1));
    ammpli_shuffle(seed, epoch, order, (int64_t)ds->count);
    return AMMPL_OK;
}
