/* ammpl-split: writes which pictures are for training and for testing, or which few of them a run picks, as a split file; says in what
 * two split files differ. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/app.h"
#include "common/data.h"

static struct {
    struct data_flags data;
    struct list diff;
    const char *dataset, *out, *half;
    int shots, force;
} opt = {.half = "all"};

static const struct flag flags[] = {
    DATA_FLAGS(opt.data),
    {"dataset", FLAG_TEXT, &opt.dataset, "NAME", "a published data set below --root (Caltech101, DTD, ...)"},
    {"shots", FLAG_COUNT, &opt.shots, "K", "keep so many training pictures of each class; 0 = all (0)"},
    {"half", FLAG_TEXT, &opt.half, "base|novel", "of the classes: the first half, or the rest"},
    {"out", FLAG_TEXT, &opt.out, "FILE.json", "the split file to write; paths start at --data or --root"},
    {"force", FLAG_SWITCH, &opt.force, NULL, "overwrite it if it exists"},
    {"diff", FLAG_LIST, &opt.diff, "A.json", "instead: say in what this file differs from the one that follows"},
};

static const ammpl_option options[] = {AMMPL_OPT_SEED, AMMPL_OPT_SAMPLER, 0};

static const struct program program = {
    .name = "ammpl-split",
    .about = "writes and compares split files: CoOp's {\"train\": [[path, label, name], ...], \"val\": ..., \"test\": ...}",
    .usage = "(--data DIR | --root DIR (--dataset NAME | --split FILE.json)) [--shots K] [--seed S] [--sampler dassl] --out FILE.json\n"
             "--diff A.json B.json",
    .flags = flags,
    .flag_count = sizeof flags / sizeof flags[0],
    .options = options,
};

/* ---- writing ---- */

static ammpl_status try_part(struct app *app, const char *part, ammpl_dataset **out)
{
    if (opt.dataset != NULL)
        return ammpl_dataset_open_named(app->context, opt.dataset, opt.data.root, part, out);
    if (opt.data.split != NULL)
        return ammpl_dataset_open_split(app->context, opt.data.root, opt.data.split, part, out);
    return data_has_part(&opt.data, part) || (strcmp(part, "val") == 0 && data_has_part(&opt.data, "validation"))
               ? ammpl_dataset_open_folder(app->context, opt.data.dir, part, out)
               : AMMPL_E_FORMAT;
}

/* The part; of validation NULL where the data have none, which is AMMPL_E_FORMAT. */
static bool open_part(struct app *app, const char *part, ammpl_dataset **out)
{
    if (strcmp(part, "val") == 0 || opt.dataset != NULL) {
        ammpl_status status = try_part(app, part, out);
        if (strcmp(part, "val") == 0 && status == AMMPL_E_FORMAT)
            return true;
        if (opt.dataset != NULL || status < 0)
            return app_check(app, status);
        ammpl_dataset_destroy(*out); /* there is one: now under --class-names */
    }
    return data_open(app, &opt.data, part, out);
}

/* The few-shot picks and the half of the classes that are asked for. */
static bool choose(struct app *app, ammpl_dataset *part[3])
{
    ammpl_dataset *few = NULL, *few_val = NULL;
    if (opt.shots > 0) {
        if (!app_check(app, ammpl_dataset_select_few(part[0], part[1], opt.shots, app->config, &few, part[1] == NULL ? NULL : &few_val)))
            return false;
        ammpl_dataset_destroy(part[0]);
        ammpl_dataset_destroy(part[1]);
        part[0] = few;
        part[1] = few_val;
    }
    for (int i = 0; i < 3 && strcmp(opt.half, "all") != 0; i++) {
        ammpl_dataset *half = NULL;
        if (part[i] == NULL)
            continue;
        if (!app_check(app, ammpl_dataset_select_half(part[i], strcmp(opt.half, "novel") == 0, &half)))
            return false;
        ammpl_dataset_destroy(part[i]);
        part[i] = half;
    }
    return true;
}

static void write_split(struct app *app)
{
    static const char *const names[] = {"train", "val", "test"};
    ammpl_dataset *part[3] = {NULL, NULL, NULL};
    bool ok = app_may_write(app, "out", opt.out, opt.force);
    for (int i = 0; ok && i < 3; i++)
        ok = open_part(app, names[i], &part[i]);
    ok = ok && choose(app, part) &&
         app_check(app, ammpl_dataset_save_split(part[0], part[1], part[2], opt.data.dir != NULL ? opt.data.dir : opt.data.root, opt.out,
                                                 opt.force));
    if (ok) {
        app_ready(app);
        app_say(app, "%s: %zu classes, %zu pictures for training, %zu for validation, %zu for testing\n", opt.out,
                ammpl_dataset_class_count(part[0]), ammpl_dataset_count(part[0]), ammpl_dataset_count(part[1]),
                ammpl_dataset_count(part[2]));
    }
    for (int i = 0; i < 3; i++)
        ammpl_dataset_destroy(part[i]);
}

/* ---- comparing ---- */

struct line {
    const char *path, *part, *name;
    long long label;
    size_t place;
};

struct lines {
    json_t *json;
    struct line *item;
    size_t count;
};

static int by_path(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = strcmp(x->path, y->path);
    return order != 0 ? order : strcmp(x->part, y->part);
}

static bool read_lines(struct app *app, const char *file, struct lines *out)
{
    static const char *const parts[] = {"train", "val", "test"};
    json_error_t error;
    out->json = json_load_file(file, 0, &error);
    if (out->json == NULL)
        return app_fail(app, "%s: %s", file, error.text);
    size_t all = 0, i;
    for (int p = 0; p < 3; p++)
        all += json_array_size(json_object_get(out->json, parts[p]));
    out->item = allocate(all * sizeof *out->item);
    for (int p = 0; p < 3; p++) {
        json_t *list = json_object_get(out->json, parts[p]), *triple;
        json_array_foreach(list, i, triple)
        {
            struct line *l = &out->item[out->count++];
            *l = (struct line){json_string_value(json_array_get(triple, 0)), parts[p], json_string_value(json_array_get(triple, 2)),
                               json_integer_value(json_array_get(triple, 1)), i};
            if (l->path == NULL || l->name == NULL)
                return app_fail(app, "%s: %s[%zu] is not [\"path\", label, \"class name\"]", file, parts[p], i);
        }
    }
    qsort(out->item, out->count, sizeof *out->item, by_path);
    return true;
}

/* Prints what is different about a picture that both files have; returns whether something was. */
static int compare(const struct line *a, const struct line *b)
{
    bool moved = strcmp(a->part, b->part) != 0, renamed = a->label != b->label || strcmp(a->name, b->name) != 0;
    if (moved)
        printf("%s: %s, then %s\n", a->path, a->part, b->part);
    if (renamed)
        printf("%s: class %lld \"%s\", then %lld \"%s\"\n", a->path, a->label, a->name, b->label, b->name);
    return moved || renamed;
}

static void print_differences(struct app *app, const struct lines *a, const struct lines *b)
{
    size_t i = 0, k = 0, different = 0, elsewhere = 0;
    while (i < a->count || k < b->count) {
        int order = i == a->count ? 1 : k == b->count ? -1 : strcmp(a->item[i].path, b->item[k].path);
        if (order == 0) {
            different += (size_t)compare(&a->item[i], &b->item[k]);
            elsewhere += a->item[i].place != b->item[k].place;
            i++, k++;
        } else {
            const struct line *l = order < 0 ? &a->item[i++] : &b->item[k++];
            printf("%s: only in the %s file (%s, class %lld \"%s\")\n", l->path, order < 0 ? "first" : "second", l->part, l->label, l->name);
            different++;
        }
    }
    if (different != 0)
        printf("%zu pictures differ\n", different);
    else if (elsewhere != 0)
        printf("the same pictures, %zu of them in another place\n", elsewhere);
    else
        printf("the same %zu pictures in the same order\n", a->count);
    app->status = different + elsewhere != 0; /* as diff(1) */
}

static void compare_files(struct app *app, const char *first, const char *second)
{
    struct lines a = {NULL, NULL, 0}, b = {NULL, NULL, 0};
    if (read_lines(app, first, &a) && read_lines(app, second, &b))
        print_differences(app, &a, &b);
    free(a.item);
    free(b.item);
    json_decref(a.json);
    json_decref(b.json);
}

static bool check_usage(struct app *app, const struct list *operands)
{
    if (operands->count != 0)
        return app_usage(app, "'%s' is not a flag", operands->item[0]);
    if (strcmp(opt.half, "all") != 0 && strcmp(opt.half, "base") != 0 && strcmp(opt.half, "novel") != 0)
        return app_usage(app, "--half is base or novel, not '%s'", opt.half);
    if (opt.out == NULL)
        return app_usage(app, "--out is missing (or --diff)");
    if (opt.dataset == NULL)
        return data_check(app, &opt.data);
    if (opt.data.dir != NULL || opt.data.split != NULL || opt.data.root == NULL)
        return app_usage(app, "--dataset goes with --root, and with neither --data nor --split");
    return true;
}

int main(int argc, char **argv)
{
    struct app app;
    struct list operands = {NULL, 0, 0};
    if (app_open(&app, &program, argc, argv, &operands)) {
        app.report = stdout;
        if (opt.diff.count == 1 && operands.count == 1)
            compare_files(&app, opt.diff.item[0], operands.item[0]);
        else if (opt.diff.count != 0)
            app_usage(&app, "--diff wants two split files");
        else if (check_usage(&app, &operands))
            write_split(&app);
    }
    list_free(&operands);
    list_free(&opt.diff);
    return app_close(&app);
}
