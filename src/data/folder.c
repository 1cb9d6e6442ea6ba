/* folder.c - a data set from folders: one per class, the pictures inside. */
#include "data/dataset.h"
#include "data/listing.h"

#include <string.h>

/* ---- parts ---- */

/* The folder that holds the part (ammpli_free): a sub-folder of its name, else dir itself. */
static ammpl_status find_part(ammpl_context *ctx, const char *dir, const char *part, char **out)
{
    ammpl_status status = AMMPL_OK;
    if (part && strcmp(part, "train") && strcmp(part, "val") && strcmp(part, "test"))
        return ammpli_fail(AMMPL_E_ARGUMENT, "part \"%s\": the parts are train, val and test", part);
    const char *sub = part && ammpli_has_folder(ctx, dir, part, &status) ? part : NULL;
    if (part && !sub && !strcmp(part, "val") && ammpli_has_folder(ctx, dir, "validation", &status))
        sub = "validation";
    TRY(status);
    *out = sub ? ammpli_path_join(ctx, dir, sub) : ammpli_strdup(ctx, dir);
    return *out ? AMMPL_OK : AMMPL_E_MEMORY;
}

/* ---- the data set ---- */

static ammpl_status add_class(ammpl_dataset *ds, const char *dir, int32_t label)
{
    char *folder = ammpli_path_join(ds->ctx, dir, ds->class_name[label]);
    if (!folder)
        return AMMPL_E_MEMORY;
    ammpli_strings pictures = {.ctx = ds->ctx};
    ammpl_status status = ammpli_list_pictures(&pictures, folder);
    for (size_t i = 0; i < pictures.count && status == AMMPL_OK; i++) {
        char *path = ammpli_path_join(ds->ctx, folder, pictures.item[i]);
        status = path ? ammpli_dataset_add(ds, NULL, path, label, (uint32_t)ds->count) : AMMPL_E_MEMORY;
        ammpli_free(ds->ctx, path);
    }
    ammpli_strings_free(&pictures);
    ammpli_free(ds->ctx, folder);
    return status;
}

static bool is_part_name(const char *name)
{
    return !strcmp(name, "train") || !strcmp(name, "val") || !strcmp(name, "validation") || !strcmp(name, "test");
}

/* dir/train/... opened without naming a part, or for a part that is not there, looks like classes called "train". */
static const char *hint(const ammpli_strings *classes)
{
    for (size_t i = 0; i < classes->count; i++)
        if (is_part_name(classes->item[i]))
            return " (it is divided into train, val or test: name a part that it has)";
    return "";
}

static ammpl_status fill(ammpl_dataset *ds, const char *dir, const ammpli_strings *classes)
{
    for (size_t c = 0; c < ds->classes; c++)
        TRY(add_class(ds, dir, (int32_t)c));
    if (ds->count == 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: no .jpg, .jpeg or .png file in any of its %zu folders%s", dir,
                           ds->classes, hint(classes));
    return ammpli_dataset_check_filled(ds, dir);
}

ammpl_status ammpli_dataset_open_folder(ammpl_context *ctx, const char *dir, const char *part, ammpl_dataset **out)
{
    *out = NULL;
    char *root = NULL;
    TRY(find_part(ctx, dir, part, &root));
    ammpli_strings classes = {.ctx = ctx};
    ammpl_status status;
    TRY_GOTO(done, ammpli_list_folders(&classes, root));
    if (classes.count == 0) {
        status = ammpli_fail(AMMPL_E_FORMAT,
                             "%s: no classes: expected one folder per class with .jpg, .jpeg or .png files", root);
        goto done;
    }
    TRY_GOTO(done, ammpli_dataset_create(ctx, (const char *const *)classes.item, classes.count, out));
    TRY_GOTO(done, fill(*out, root, &classes));
done:
    ammpli_strings_free(&classes);
    ammpli_free(ctx, root);
    if (status < 0) {
        ammpli_dataset_release(*out);
        *out = NULL;
    }
    return status;
}
