/* data.c - labelled pictures. */
#include "data.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool data_given(const struct data_flags *flags)
{
    return flags->dir != NULL || flags->split != NULL || flags->root != NULL;
}

bool data_check(struct app *app, const struct data_flags *flags)
{
    if (!data_given(flags))
        return app_usage(app, "--data is missing (or --root and --split)");
    if (flags->dir != NULL && (flags->split != NULL || flags->root != NULL))
        return app_usage(app, "--data and --split exclude each other");
    if (flags->dir == NULL && (flags->split == NULL || flags->root == NULL))
        return app_usage(app, "--root and --split belong together; %s is missing",
                         flags->split == NULL ? "--split" : "--root");
    return true;
}

bool data_has_part(const struct data_flags *flags, const char *part)
{
    struct stat info;
    char path[4096];
    if (flags->split != NULL)
        return true; /* opening it will tell */
    int n = snprintf(path, sizeof path, "%s/%s", flags->dir, part);
    return n > 0 && (size_t)n < sizeof path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The name that the lines "FOLDER NAME" give to a folder, or NULL. */
static const char *name_of(const struct list *lines, const char *folder)
{
    size_t n = strlen(folder);
    for (size_t i = 0; i < lines->count; i++) {
        const char *line = lines->item[i];
        if (strncmp(line, folder, n) == 0 && (line[n] == ' ' || line[n] == '\t'))
            return line + n + strspn(line + n, " \t");
    }
    return NULL;
}

/* The same pictures under other class names. */
static bool rename_classes(struct app *app, const char *path, ammpl_dataset **data)
{
    struct list lines = {NULL, 0, 0};
    ammpl_dataset *renamed = NULL;
    size_t classes = ammpl_dataset_class_count(*data);
    const char **names = data_class_names(*data);
    int failed = list_read(&lines, path);
    bool ok = failed == 0 || app_fail(app, "--class-names %s: %s", path, strerror(failed));
    for (size_t i = 0; ok && i < classes; i++) {
        const char *name = name_of(&lines, names[i]);
        ok = name != NULL || app_fail(app, "--class-names %s: no line \"%s NAME\"", path, names[i]);
        names[i] = name;
    }
    ok = ok && app_check(app, ammpl_dataset_create(app->context, names, classes, &renamed));
    for (size_t i = 0; ok && i < ammpl_dataset_count(*data); i++)
        ok = app_check(app,
                       ammpl_dataset_add_file(renamed, ammpl_dataset_path(*data, i), ammpl_dataset_label(*data, i)));
    ammpl_dataset_destroy(ok ? *data : renamed);
    *data = ok ? renamed : *data;
    free(names);
    list_free(&lines);
    return ok;
}

bool data_open(struct app *app, const struct data_flags *flags, const char *part, ammpl_dataset **out)
{
    ammpl_status status = flags->split != NULL
                              ? ammpl_dataset_open_split(app->context, flags->root, flags->split, part, out)
                              : ammpl_dataset_open_folder(app->context, flags->dir, part, out);
    return app_check(app, status) && (flags->class_names == NULL || rename_classes(app, flags->class_names, out));
}

const char **data_class_names(const ammpl_dataset *data)
{
    size_t n = ammpl_dataset_class_count(data);
    const char **names = allocate(n * sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i] = ammpl_dataset_class_name(data, i);
    return names;
}

/* Which class of the data has this name; -1 for none. */
static int32_t class_index(const ammpl_dataset *data, const char *name)
{
    for (size_t i = 0; i < ammpl_dataset_class_count(data); i++)
        if (strcmp(ammpl_dataset_class_name(data, i), name) == 0)
            return (int32_t)i;
    return -1;
}

bool data_match(struct app *app, ammpl_prompt *prompt, ammpl_dataset **data)
{
    size_t n = ammpl_prompt_class_count(prompt), classes = ammpl_dataset_class_count(*data);
    int32_t *order = allocate(n * sizeof *order);
    bool same_set = n == classes, same_order = same_set, ok = true;
    for (size_t i = 0; same_set && i < n; i++) {
        order[i] = class_index(*data, ammpl_prompt_class_name(prompt, i));
        same_set = order[i] >= 0;
        same_order = same_order && order[i] == (int32_t)i;
    }
    if (same_set && !same_order) {
        ammpl_dataset *sorted = NULL;
        ok = app_check(app, ammpl_dataset_select_classes(*data, order, n, &sorted));
        if (ok) {
            ammpl_dataset_destroy(*data);
            *data = sorted;
        }
    } else if (!same_set) {
        const char **names = data_class_names(*data);
        ok = app_check(app, ammpl_prompt_rebind_classes(prompt, names, classes));
        free(names);
        if (ok)
            app_say(app, "the prompt's %zu classes are replaced by the data's %zu\n", n, classes);
    }
    free(order);
    return ok;
}
