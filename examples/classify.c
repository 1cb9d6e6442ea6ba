/* ammpl-classify: says what is on pictures, with a trained prompt or with class names alone, and how often that is right
 * on a labelled folder. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/app.h"
#include "common/data.h"
#include "common/json.h"
#include "common/progress.h"

static struct {
    const char *prompt, *classes, *classes_file, *part;
    struct data_flags data;
    int top, json;
} opt = {.part = "test", .top = 3};

static const struct flag flags[] = {
    {"prompt", FLAG_TEXT, &opt.prompt, "FILE",
     "a trained prompt; without one zero-shot, with --template around each name"},
    {"classes", FLAG_TEXT, &opt.classes, "\"a,b,c\"", "class names; with --prompt they replace the prompt's"},
    {"classes-file", FLAG_TEXT, &opt.classes_file, "FILE", "the same, one name a line"},
    {"top", FLAG_COUNT, &opt.top, "N", "how many classes to show for a picture (3)"},
    {"json", FLAG_SWITCH, &opt.json, NULL, "one JSON object per picture and line, with all classes"},
    DATA_FLAGS(opt.data),
    {"part", FLAG_TEXT, &opt.part, "NAME", "which part of --data or --split: train, val or test (test)"},
};

static const ammpl_option options[] = {AMMPL_OPT_SEED, AMMPL_OPT_BATCH, AMMPL_OPT_SKIP_BAD, 0};

static const struct program program = {
    .name = "ammpl-classify",
    .about = "says what is on pictures, or how often that is right on a labelled folder",
    .usage = "--model M (--prompt P | --classes \"a,b,c\" | --classes-file F) [--top N] [--json] IMAGE...\n"
             "--model M [--prompt P] (--data DIR | --root DIR --split FILE.json) [--part test] [--json]",
    .flags = flags,
    .flag_count = sizeof flags / sizeof flags[0],
    .option_flags = AMMPL_OPTION_LOAD | AMMPL_OPTION_SESSION | AMMPL_OPTION_SAVED,
    .options = options,
};

/* ---- pictures ---- */

struct scores {
    size_t classes;
    float *logits;
    double *probs;
    size_t *rank; /* classes, the likeliest first; equal ones in class order */
};

static struct scores scores_create(size_t classes)
{
    return (struct scores){classes, allocate(classes * sizeof(float)), allocate(classes * sizeof(double)),
                           allocate(classes * sizeof(size_t))};
}

static void scores_free(struct scores *s)
{
    free(s->logits);
    free(s->probs);
    free(s->rank);
}

/* Softmax of the logits, and their order. */
static void scores_settle(struct scores *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->classes; i++) {
        size_t at = i;
        for (; at > 0 && s->logits[s->rank[at - 1]] < s->logits[i]; at--)
            s->rank[at] = s->rank[at - 1];
        s->rank[at] = i;
    }
    for (size_t i = 0; i < s->classes; i++)
        sum += s->probs[i] = exp((double)s->logits[i] - (double)s->logits[s->rank[0]]);
    for (size_t i = 0; i < s->classes; i++)
        s->probs[i] /= sum;
}

static void print_json(const char *path, const ammpl_prompt *prompt, const struct scores *s)
{
    printf("{\"image\": ");
    put_json_string(stdout, path);
    printf(", \"label\": ");
    put_json_string(stdout, ammpl_prompt_class_name(prompt, s->rank[0]));
    printf(", \"classes\": [");
    for (size_t i = 0; i < s->classes; i++) {
        printf(i == 0 ? "" : ", ");
        put_json_string(stdout, ammpl_prompt_class_name(prompt, i));
    }
    printf("], \"logits\": ");
    put_json_numbers(stdout, s->logits, s->classes);
    printf(", \"probs\": [");
    for (size_t i = 0; i < s->classes; i++) {
        printf(i == 0 ? "" : ", ");
        put_json_number(stdout, s->probs[i]);
    }
    printf("]}\n");
}

static void print_line(const char *path, const ammpl_prompt *prompt, const struct scores *s)
{
    printf("%s:", path);
    for (size_t i = 0; i < s->classes && i < (size_t)opt.top; i++)
        printf("%s %s %.1f %%", i == 0 ? "" : ",", ammpl_prompt_class_name(prompt, s->rank[i]),
               100 * s->probs[s->rank[i]]);
    printf("\n");
}

static bool classify_image(struct app *app, const ammpl_prompt *prompt, const char *path, const ammpl_image *image,
                           float *pixels, size_t count, struct scores *s)
{
    if (!app_check(app, ammpl_model_preprocess(app->model, image, pixels, count)) ||
        !app_check(app, ammpl_session_predict(app->session, prompt, pixels, 1, s->logits, s->classes)))
        return false;
    scores_settle(s);
    app_ready(app);
    if (opt.json)
        print_json(path, prompt, s);
    else
        print_line(path, prompt, s);
    fflush(stdout);
    return true;
}

static bool classify_files(struct app *app, const ammpl_prompt *prompt, const struct list *files)
{
    size_t side = (size_t)app_model_int(app, AMMPL_QUERY_IMAGE_SIZE), count = 3 * side * side;
    float *pixels = allocate(count * sizeof *pixels);
    struct scores scores = scores_create(ammpl_prompt_class_count(prompt));
    size_t skipped = 0;
    int64_t skip_bad = 0;
    bool ok = app_check(app, ammpl_config_get_int(app->config, AMMPL_OPT_SKIP_BAD, &skip_bad));
    for (size_t i = 0; ok && i < files->count; i++) {
        ammpl_image *image = NULL;
        ammpl_status status = ammpl_image_load_file(app->context, files->item[i], &image);
        if (status >= 0) {
            ok = classify_image(app, prompt, files->item[i], image, pixels, count, &scores);
        } else if (skip_bad && ++skipped < files->count) {
            fprintf(stderr, "%s: skipped: %s\n", app->program->name, ammpl_last_error());
        } else {
            ok = app_check(app, status);
        }
        ammpl_image_destroy(image);
    }
    scores_free(&scores);
    free(pixels);
    return ok;
}

/* ---- labelled folders ---- */

static bool evaluate(struct app *app, const ammpl_prompt *prompt, const ammpl_dataset *data)
{
    ammpl_metrics m = {.struct_size = sizeof m};
    if (app->quiet)
        progress_silence();
    app_ready(app);
    interrupt_watch(app->session);
    ammpl_status status =
        ammpl_session_evaluate(app->session, prompt, data, app->config, progress_evaluation, "classifying", NULL, &m);
    progress_clear();
    if (!app_check(app, status))
        return false;
    if (status == AMMPL_CANCELLED)
        return app_fail(app, "interrupted after %llu of %zu pictures", (unsigned long long)m.samples,
                        ammpl_dataset_count(data));
    unsigned long long correct = m.correct, count = m.samples, skipped = m.skipped;
    if (opt.json) {
        printf("{\"data\": ");
        put_json_string(stdout, opt.data.dir != NULL ? opt.data.dir : opt.data.split);
        printf(", \"part\": ");
        put_json_string(stdout, opt.part);
        printf(", \"correct\": %llu, \"count\": %llu, \"skipped\": %llu, \"accuracy\": ", correct, count, skipped);
        put_json_number(stdout, m.accuracy);
        printf(", \"macro_f1\": ");
        put_json_number(stdout, m.macro_f1);
        printf("}\n");
    } else {
        printf("accuracy %.2f %% (%llu of %llu), macro-F1 %.2f %%", 100 * m.accuracy, correct, count, 100 * m.macro_f1);
        if (skipped != 0)
            printf(", %llu skipped", skipped);
        printf("\n");
    }
    return true;
}

/* ---- what to classify with ---- */

static bool read_names(struct app *app, struct list *names)
{
    if (opt.classes != NULL)
        list_split(names, opt.classes);
    if (opt.classes_file == NULL)
        return true;
    int failed = list_read(names, opt.classes_file);
    return failed == 0 || app_fail(app, "--classes-file %s: %s", opt.classes_file, strerror(failed));
}

/* The prompt file, bound to the names given if any, or a zero-shot prompt of these names or of the data's classes. */
static bool make_prompt(struct app *app, const struct list *given, const ammpl_dataset *data, ammpl_prompt **out)
{
    const char **own = data != NULL && given->count == 0 ? data_class_names(data) : NULL;
    const char *const *names = own != NULL ? own : (const char *const *)given->item;
    size_t n = own != NULL ? ammpl_dataset_class_count(data) : given->count;
    bool ok;
    if (opt.prompt == NULL)
        ok = app_check(app, ammpl_prompt_create(app->model, AMMPL_METHOD_ZEROSHOT, names, n, app->config, out));
    else
        ok = app_check(app, ammpl_prompt_load_file(app->model, opt.prompt, app->config, out)) &&
             (given->count == 0 || app_check(app, ammpl_prompt_rebind_classes(*out, names, n)));
    free(own);
    return ok;
}

static bool check_usage(struct app *app, const struct list *files)
{
    bool data = data_given(&opt.data);
    if (data && files->count != 0)
        return app_usage(app, "pictures (%s) and --data exclude each other", files->item[0]);
    if (data && (opt.classes != NULL || opt.classes_file != NULL))
        return app_usage(app, "--data brings its own class names; --classes and --classes-file do not go with it");
    if (data)
        return data_check(app, &opt.data);
    if (files->count == 0)
        return app_usage(app, "no pictures given");
    if (opt.classes != NULL && opt.classes_file != NULL)
        return app_usage(app, "--classes and --classes-file exclude each other");
    if (opt.prompt == NULL && opt.classes == NULL && opt.classes_file == NULL)
        return app_usage(app, "one of --prompt, --classes and --classes-file is needed");
    if (opt.top == 0)
        return app_usage(app, "--top wants 1 or more");
    return true;
}

static void run(struct app *app, const struct list *files)
{
    struct list names = {NULL, 0, 0};
    ammpl_dataset *data = NULL;
    ammpl_prompt *prompt = NULL;
    bool labelled = data_given(&opt.data);
    bool ok = check_usage(app, files) && read_names(app, &names) &&
              (!labelled || data_open(app, &opt.data, opt.part, &data)) && app_load_model(app) &&
              make_prompt(app, &names, data, &prompt) && (!labelled || data_match(app, prompt, &data));
    if (ok && labelled)
        evaluate(app, prompt, data);
    else if (ok)
        classify_files(app, prompt, files);
    ammpl_prompt_destroy(prompt);
    ammpl_dataset_destroy(data);
    list_free(&names);
}

int main(int argc, char **argv)
{
    struct app app;
    struct list files = {NULL, 0, 0};
    if (app_open(&app, &program, argc, argv, &files))
        run(&app, &files);
    list_free(&files);
    return app_close(&app);
}
