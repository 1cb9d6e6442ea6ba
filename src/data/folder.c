/* folder.c - a data set from folders: one per class, the pictures inside. */
#include "data/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

/* ---- paths ---- */

/* "dir/name" (ammpli_free), or NULL. */
static char *join(ammpl_context *ctx, const char *dir, const char *name)
{
    size_t n = strlen(dir), room = n + strlen(name) + 2;
    char *path = ammpli_alloc(ctx, room, 1);
    if (path)
        snprintf(path, room, "%s%s%s", dir, n > 0 && dir[n - 1] == '/' ? "" : "/", name);
    return path;
}

static bool is_picture_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") || !strcasecmp(dot, ".png"));
}

/* ---- sorted listings ---- */

typedef struct listing {
    ammpl_context *ctx;
    char **name;
    size_t count, cap;
} listing;

static void free_listing(listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        ammpli_free(l->ctx, l->name[i]);
    ammpli_free(l->ctx, l->name);
}

static int bytewise(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ammpl_status append(listing *l, const char *name)
{
    void *names = l->name;
    if (!ammpli_grow(l->ctx, &names, &l->cap, l->count + 1, sizeof *l->name))
        return AMMPL_E_MEMORY;
    l->name = names;
    if (!(l->name[l->count] = ammpli_strdup(l->ctx, name)))
        return AMMPL_E_MEMORY;
    l->count++;
    return AMMPL_OK;
}

/* Adds the entry when it is a folder (folders) or a regular file named like a picture (else).  Links are followed. */
static ammpl_status consider(listing *l, const char *dir, const char *name, bool folders)
{
    if (name[0] == '.' || (!folders && !is_picture_name(name)))
        return AMMPL_OK;
    char *path = join(l->ctx, dir, name);
    if (!path)
        return AMMPL_E_MEMORY;
    struct stat st;
    ammpl_status status = AMMPL_OK;
    if (stat(path, &st) == 0) {
        if (folders ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode))
            status = append(l, name);
    } else if (!folders) { /* leaving a picture out in silence would renumber all that follow */
        status = ammpli_fail(AMMPL_E_IO, "%s: %s", path, strerror(errno));
    }
    ammpli_free(l->ctx, path);
    return status;
}

static ammpl_status list(listing *l, const char *dir, bool folders)
{
    DIR *d = opendir(dir);
    if (!d)
        return ammpli_fail(AMMPL_E_IO, "%s: %s; expected a folder with %s", dir, strerror(errno),
                           folders ? "one folder per class" : "pictures");
    ammpl_status status = AMMPL_OK;
    const struct dirent *entry;
    errno = 0;
    while (status == AMMPL_OK && (entry = readdir(d))) {
        status = consider(l, dir, entry->d_name, folders);
        errno = 0;
    }
    if (status == AMMPL_OK && errno)
        status = ammpli_fail(AMMPL_E_IO, "%s: %s", dir, strerror(errno));
    closedir(d);
    if (l->count)
        qsort(l->name, l->count, sizeof *l->name, bytewise);
    return status;
}

/* ---- parts ---- */

static bool is_folder(ammpl_context *ctx, const char *dir, const char *name, ammpl_status *status)
{
    char *path = join(ctx, dir, name);
    struct stat st;
    bool yes = path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (!path)
        *status = AMMPL_E_MEMORY;
    ammpli_free(ctx, path);
    return yes;
}

/* The folder that holds the part (ammpli_free): a sub-folder of its name, else dir itself. */
static ammpl_status find_part(ammpl_context *ctx, const char *dir, const char *part, char **out)
{
    ammpl_status status = AMMPL_OK;
    if (part && strcmp(part, "train") && strcmp(part, "val") && strcmp(part, "test"))
        return ammpli_fail(AMMPL_E_ARGUMENT, "part \"%s\": the parts are train, val and test", part);
    const char *sub = part && is_folder(ctx, dir, part, &status) ? part : NULL;
    if (part && !sub && !strcmp(part, "val") && is_folder(ctx, dir, "validation", &status))
        sub = "validation";
    TRY(status);
    *out = sub ? join(ctx, dir, sub) : ammpli_strdup(ctx, dir);
    return *out ? AMMPL_OK : AMMPL_E_MEMORY;
}

/* ---- the data set ---- */

static ammpl_status add_class(ammpl_dataset *ds, const char *dir, int32_t label)
{
    char *folder = join(ds->ctx, dir, ds->class_name[label]);
    if (!folder)
        return AMMPL_E_MEMORY;
    listing pictures = {.ctx = ds->ctx};
    ammpl_status status = list(&pictures, folder, false);
    for (size_t i = 0; i < pictures.count && status == AMMPL_OK; i++) {
        char *path = join(ds->ctx, folder, pictures.name[i]);
        status = path ? ammpli_dataset_add(ds, NULL, path, label, (uint32_t)ds->count) : AMMPL_E_MEMORY;
        ammpli_free(ds->ctx, path);
    }
    free_listing(&pictures);
    ammpli_free(ds->ctx, folder);
    return status;
}

static bool is_part_name(const char *name)
{
    return !strcmp(name, "train") || !strcmp(name, "val") || !strcmp(name, "validation") || !strcmp(name, "test");
}

/* dir/train/... opened without naming a part, or for a part that is not there, looks like classes called "train". */
static const char *hint(const listing *classes)
{
    for (size_t i = 0; i < classes->count; i++)
        if (is_part_name(classes->name[i]))
            return " (it is divided into train, val or test: name a part that it has)";
    return "";
}

static ammpl_status fill(ammpl_dataset *ds, const char *dir, const listing *classes)
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
    listing classes = {.ctx = ctx};
    ammpl_status status;
    TRY_GOTO(done, list(&classes, root, true));
    if (classes.count == 0) {
        status = ammpli_fail(AMMPL_E_FORMAT,
                             "%s: no classes: expected one folder per class with .jpg, .jpeg or .png files", root);
        goto done;
    }
    TRY_GOTO(done, ammpli_dataset_create(ctx, (const char *const *)classes.name, classes.count, out));
    TRY_GOTO(done, fill(*out, root, &classes));
done:
    free_listing(&classes);
    ammpli_free(ctx, root);
    if (status < 0) {
        ammpli_dataset_release(*out);
        *out = NULL;
    }
    return status;
}
