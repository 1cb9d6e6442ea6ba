/* evaluate_data.c - see evaluate_data.h. */
#include "evaluate_data.h"

#include <stdlib.h>
#include <string.h>

#include "common/data.h"

static struct data_set *add_set(struct data_sets *sets, const char *name, size_t n)
{
    struct data_set *item = allocate((sets->count + 1) * sizeof *item);
    if (sets->count != 0)
        memcpy(item, sets->item, sets->count * sizeof *item);
    free(sets->item);
    sets->item = item;
    struct data_set *set = &item[sets->count++];
    set->name = allocate(n + 1);
    memcpy(set->name, name, n);
    return set;
}

/* ---- what makes two data sets the same ---- */

static void mix(uint64_t *h, const char *text) /* FNV-1a, with the ending NUL */
{
    for (;; text++) {
        *h = (*h ^ (unsigned char)*text) * 1099511628211u;
        if (*text == '\0')
            return;
    }
}

static uint64_t fingerprint_of(const struct data_set *set)
{
    uint64_t h = 14695981039346656037u;
    const ammpl_dataset *parts[] = {set->train, set->test};
    for (size_t c = 0; c < ammpl_dataset_class_count(set->train); c++)
        mix(&h, ammpl_dataset_class_name(set->train, c));
    for (int p = 0; p < 2; p++)
        for (size_t i = 0; i < ammpl_dataset_count(parts[p]); i++) {
            h = (h ^ (uint64_t)ammpl_dataset_label(parts[p], i)) * 1099511628211u;
            mix(&h, base_name(ammpl_dataset_path(parts[p], i)));
        }
    return h;
}

/* The test part with the training part's classes in its order. */
static bool align(struct app *app, struct data_set *set)
{
    size_t n = ammpl_dataset_class_count(set->train), m = ammpl_dataset_class_count(set->test);
    int32_t *order = allocate(n * sizeof *order);
    bool ok = n == m || app_fail(app, "%s: %zu classes in its training part and %zu in its test part", set->name, n, m);
    bool same = true;
    for (size_t i = 0; ok && i < n; i++) {
        const char *name = ammpl_dataset_class_name(set->train, i);
        size_t k = 0;
        while (k < m && strcmp(ammpl_dataset_class_name(set->test, k), name) != 0)
            k++;
        ok = k < m || app_fail(app, "%s: its test part has no class \"%s\"", set->name, name);
        order[i] = (int32_t)k;
        same = same && k == i;
    }
    ammpl_dataset *sorted = NULL;
    if (ok && !same) {
        ok = app_check(app, ammpl_dataset_select_classes(set->test, order, n, &sorted));
        ammpl_dataset_destroy(set->test);
        set->test = sorted;
    }
    free(order);
    return ok;
}

static bool finish(struct app *app, struct data_set *set, const struct data_choice *choice)
{
    if (set->text_template == NULL)
        set->text_template = choice->text_template;
    if (!align(app, set))
        return false;
    set->fingerprint = fingerprint_of(set);
    return true;
}

/* ---- opening ---- */

/* "photos" of "/data/photos/". */
static const char *last_name(const char *path, size_t *n)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    *n = end - start;
    return path + start;
}

static bool open_folder(struct app *app, const char *dir, const struct data_choice *choice, struct data_sets *out)
{
    size_t n;
    const char *name = last_name(dir, &n);
    struct data_set *set = add_set(out, name, n);
    const struct data_flags flags = {.dir = dir, .class_names = choice->class_names};
    if (!data_has_part(&flags, "test"))
        return app_fail(app, "--data %s: expected the folders train and test, each with a folder per class; there is no test", dir);
    return data_open(app, &flags, "train", &set->train) && data_open(app, &flags, "test", &set->test) &&
           finish(app, set, choice);
}

/* "OxfordPets" of "splits/split_zhou_OxfordPets.json", "mine" of "mine.json". */
static bool open_split(struct app *app, const char *file, const struct data_choice *choice, struct data_sets *out)
{
    const char *name = base_name(file);
    name += strncmp(name, "split_zhou_", 11) == 0 ? 11 : 0;
    struct data_set *set = add_set(out, name, strcspn(name, "."));
    const struct data_flags flags = {.root = choice->root, .split = file, .class_names = choice->class_names};
    return data_open(app, &flags, "train", &set->train) && data_open(app, &flags, "test", &set->test) &&
           finish(app, set, choice);
}

static bool open_named(struct app *app, size_t i, const struct data_choice *choice, struct data_sets *out)
{
    const char *name, *text_template;
    if (!app_check(app, ammpl_dataset_named_describe(i, &name, NULL, &text_template)))
        return false;
    struct data_set *set = add_set(out, name, strlen(name));
    set->published = true;
    set->text_template = text_template;
    return app_check(app, ammpl_dataset_open_named(app->context, name, choice->root, "train", &set->train)) &&
           app_check(app, ammpl_dataset_open_named(app->context, name, choice->root, "test", &set->test)) &&
           finish(app, set, choice);
}

/* One name of --dataset, or all of them. */
static bool open_name(struct app *app, const char *name, const struct data_choice *choice, struct data_sets *out)
{
    size_t place;
    bool ok = true;
    if (strcmp(name, "all") != 0)
        return ammpl_dataset_named_find(name, &place) < 0 ? app_usage(app, "--dataset: %s", ammpl_last_error())
                                                          : open_named(app, place, choice, out);
    for (place = 0; ok && place < ammpl_dataset_named_count(); place++)
        ok = open_named(app, place, choice, out);
    return ok;
}

static bool open_all(struct app *app, const struct data_choice *choice, struct data_sets *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < choice->folders.count; i++)
        ok = open_folder(app, choice->folders.item[i], choice, out);
    for (size_t i = 0; ok && i < choice->splits.count; i++)
        ok = open_split(app, choice->splits.item[i], choice, out);
    for (size_t i = 0; ok && i < choice->names.count; i++) {
        struct list name = {NULL, 0, 0};
        list_split(&name, choice->names.item[i]);
        for (size_t k = 0; ok && k < name.count; k++)
            ok = open_name(app, name.item[k], choice, out);
        list_free(&name);
    }
    return ok;
}

bool data_sets_open(struct app *app, const struct data_choice *choice, struct data_sets *out)
{
    if (choice->folders.count + choice->names.count + choice->splits.count == 0)
        return app_usage(app, "--data is missing (or --root with --dataset or --split)");
    if ((choice->names.count != 0 || choice->splits.count != 0) && choice->root == NULL)
        return app_usage(app, "--root is missing: where the data sets' folders, or the paths of --split, start");
    if (!open_all(app, choice, out))
        return false;
    for (size_t i = 0; i < out->count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(out->item[i].name, out->item[k].name) == 0)
                return app_usage(app, "two data sets are called %s", out->item[i].name);
    return true;
}

void data_sets_close(struct data_sets *sets)
{
    for (size_t i = 0; i < sets->count; i++) {
        ammpl_dataset_destroy(sets->item[i].train);
        ammpl_dataset_destroy(sets->item[i].test);
        free(sets->item[i].name);
    }
    free(sets->item);
    *sets = (struct data_sets){NULL, 0};
}

const struct data_set *data_sets_find(struct app *app, const struct data_sets *sets, const char *name)
{
    char all[512] = "";
    for (size_t i = 0; i < sets->count; i++) {
        if (strcmp(sets->item[i].name, name) == 0)
            return &sets->item[i];
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, "%s%s", i == 0 ? "" : ", ", sets->item[i].name);
    }
    app_usage(app, "--source %s is none of the data sets: %s", name, all);
    return NULL;
}

bool data_part_of(struct app *app, const ammpl_dataset *data, const char *split, ammpl_dataset **out)
{
    if (strcmp(split, "all") == 0)
        return app_check(app, ammpl_dataset_select_shots(data, 0, 0, out));
    return app_check(app, ammpl_dataset_select_half(data, strcmp(split, "novel") == 0, out));
}

