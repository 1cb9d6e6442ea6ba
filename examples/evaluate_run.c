/* evaluate_run.c - see evaluate_run.h. */
#include "evaluate_run.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/data.h"
#include "common/json.h"
#include "common/masks.h"

/* One epoch of training as its last step tells it. */
struct epoch {
    double loss, accuracy;
};

/* What a run has in its hands. */
struct work {
    struct app *app;
    const struct plan *plan;
    const struct run *run;
    const struct run_extras *extras;
    run_share_fn fn;
    void *user;
    double share_from, share_to; /* of the run, by what is done now */
    FILE *out;
    ammpl_dataset *train;
    ammpl_prompt *prompt;
    struct keep start;
    struct epoch *epoch;
    size_t epochs, steps;
    char **trained_under; /* [ammpl_option_count()] the options of training in force; NULL before */
    double train_seconds;
};

/* One test's outcome. */
struct outcome {
    const ammpl_dataset *data;
    struct test test;
    ammpl_metrics metrics;
    int32_t *predicted; /* [count] */
    double seconds;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* An ammpl_progress_fn. */
static int32_t tell(void *user, const ammpl_progress *p)
{
    struct work *w = user;
    double part = p->steps == 0 ? 1 : (double)(p->step + 1) / (double)p->steps;
    w->fn(w->user, w->share_from + (w->share_to - w->share_from) * part);
    return 0;
}

char *run_prompt_path(const struct run *run, const char *protocol, const char *folder, long long step)
{
    const struct entry *e = run->entry;
    size_t room = strlen(folder) + strlen(protocol) + strlen(e->method) + strlen(e->variant) + strlen(run->source->name) + 96;
    char *path = allocate(room), at[40] = "";
    if (step >= 0)
        snprintf(at, sizeof at, "-step%lld", step);
    size_t n = strlen(folder) + 1;
    snprintf(path, room, "%s/%s-%s%s%s-%s-%d-%lld%s.safetensors", folder, protocol, e->method, e->variant[0] == '\0' ? "" : "-", e->variant,
             run->source->name, run->shots, run->seed, at);
    for (char *c = path + n; *c != '\0'; c++)
        *c = *c == '/' || *c == ' ' ? '_' : *c;
    return path;
}

char *run_figure_path(const struct run *run, const char *protocol, const char *report, long long step)
{
    size_t n = strlen(report) + 8, room = n + strlen(protocol) + strlen(run->source->name) + 64;
    char *path = allocate(room), at[48] = "";
    if (step >= 0)
        snprintf(at, sizeof at, "/step-%lld.safetensors", step);
    snprintf(path, room, "%s/masks/%s-%s", report, protocol, run->source->name);
    for (char *c = path + n; *c != '\0'; c++)
        *c = *c == '/' || *c == ' ' ? '_' : *c;
    strcat(path, at);
    return path;
}

/* ---- training ---- */

static bool make_prompt(struct work *w, const ammpl_dataset *data)
{
    const char **names = data_class_names(data);
    ammpl_prompt_destroy(w->prompt);
    w->prompt = NULL;
    bool ok = app_check(w->app, ammpl_prompt_create(w->app->model, w->run->entry->id, names, ammpl_dataset_class_count(data), w->run->config,
                                                    &w->prompt));
    free(names);
    return ok;
}

/* The training pictures: picked from all classes, then the half that is trained on. */
static bool pick(struct work *w)
{
    ammpl_dataset *few = NULL;
    bool ok = app_check(w->app, ammpl_dataset_select_few(w->run->source->train, NULL, w->run->shots, w->run->config, &few, NULL)) &&
              data_part_of(w->app, few, w->plan->protocol->halves ? "base" : "all", &w->train);
    ammpl_dataset_destroy(few);
    return ok;
}

/* One of n moments between the first and the last step. */
static bool is_moment(uint64_t done, uint64_t all, int n)
{
    uint64_t parts = (uint64_t)n + 1;
    return n > 0 && (done == 0 || (done < all && done * parts / all != (done - 1) * parts / all));
}

static bool save(struct work *w, char *path)
{
    bool ok = app_check(w->app, ammpl_prompt_save_file(w->prompt, path, 1));
    free(path);
    return ok;
}

/* Keeps the prompt after so many of all steps where somebody wants it. */
static bool keep_moment(struct work *w, uint64_t done, uint64_t all)
{
    const struct run_extras *e = w->extras;
    const char *protocol = w->plan->protocol->name;
    bool kept = e->keep != NULL && (done == all || is_moment(done, all, e->snapshots));
    bool pictured = w->run->pictured && (done == all || is_moment(done, all, FIGURE_SNAPSHOTS));
    return (!kept || save(w, run_prompt_path(w->run, protocol, e->keep, done == all ? -1 : (long long)done))) &&
           (!pictured || save(w, run_figure_path(w->run, protocol, e->report, (long long)done)));
}

static bool after_step(struct work *w, const ammpl_progress *p)
{
    w->steps++;
    if (p->epoch_end && p->epoch < w->epochs)
        w->epoch[p->epoch] = (struct epoch){p->epoch_loss, p->epoch_accuracy};
    tell(w, p);
    return keep_moment(w, p->step + 1, p->steps);
}

/* The trainer knows what it runs under: what was given, else what was published for the protocol. */
static void note_options(struct work *w, const ammpl_trainer *trainer)
{
    w->trained_under = allocate(ammpl_option_count() * sizeof *w->trained_under);
    for (size_t i = 0; i < ammpl_option_count(); i++) {
        ammpl_option_info info = {.struct_size = sizeof info};
        const char *value = NULL;
        if (ammpl_option_describe(i, &info) >= 0 && (info.flags & AMMPL_OPTION_TRAIN) != 0 && info.id != AMMPL_OPT_CACHE)
            value = ammpl_trainer_option(trainer, info.name);
        if (value != NULL) {
            w->trained_under[i] = allocate(strlen(value) + 1);
            strcpy(w->trained_under[i], value);
        }
    }
}

static bool begin(struct work *w, ammpl_trainer **trainer)
{
    if (!pick(w) || !make_prompt(w, w->train) || !keep_read(w->app, w->prompt, &w->start) ||
        !app_check(w->app, ammpl_trainer_create(w->app->session, w->prompt, w->train, w->run->config, trainer)))
        return false;
    note_options(w, *trainer);
    const char *epochs = ammpl_trainer_option(*trainer, "epochs");
    w->epochs = epochs == NULL ? 0 : strtoull(epochs, NULL, 10);
    w->epoch = allocate(w->epochs * sizeof *w->epoch);
    return keep_moment(w, 0, 1);
}

static bool train(struct work *w)
{
    ammpl_trainer *trainer = NULL;
    ammpl_progress p = {.struct_size = sizeof p};
    double started = now();
    bool ok = begin(w, &trainer);
    ammpl_status status = AMMPL_OK;
    while (ok && (status = ammpl_trainer_step(trainer, &p)) == AMMPL_OK)
        ok = after_step(w, &p);
    ok = ok && app_check(w->app, status);
    ammpl_trainer_destroy(trainer);
    w->train_seconds = now() - started;
    return ok;
}

/* ---- the line ---- */

/* The options that the prompt's file would carry: exactly those of its method. */
static json_t *prompt_metadata(struct app *app, const ammpl_prompt *prompt)
{
    size_t need = 0;
    json_error_t error;
    ammpl_prompt_save_memory(prompt, NULL, 0, &need);
    char *bytes = allocate(need);
    json_t *header = NULL, *metadata = NULL;
    if (app_check(app, ammpl_prompt_save_memory(prompt, bytes, need, &need)) && need > 8) {
        size_t n = 0;
        for (int i = 7; i >= 0; i--)
            n = n << 8 | (unsigned char)bytes[i];
        header = json_loadb(bytes + 8, n < need - 8 ? n : need - 8, 0, &error);
        metadata = json_incref(json_object_get(header, "__metadata__"));
    }
    json_decref(header);
    free(bytes);
    return metadata;
}

/* Numbers and booleans as JSON has them, everything else as a string. */
static void put_option(FILE *out, const ammpl_option_info *info, const char *value)
{
    bool plain = info->type == AMMPL_TYPE_INT || info->type == AMMPL_TYPE_FLOAT || info->type == AMMPL_TYPE_BOOL;
    fprintf(out, "\"%s\": ", info->name);
    if (plain)
        fputs(value, out);
    else
        put_json_string(out, value);
}

static void put_options(struct work *w, FILE *out)
{
    json_t *metadata = prompt_metadata(w->app, w->prompt);
    const char *between = "";
    for (size_t i = 0; i < ammpl_option_count(); i++) {
        ammpl_option_info info = {.struct_size = sizeof info};
        if (ammpl_option_describe(i, &info) < 0)
            continue;
        const char *value = json_string_value(json_object_get(metadata, info.name));
        if (value == NULL && w->trained_under != NULL)
            value = w->trained_under[i];
        if (value == NULL)
            continue;
        fputs(between, out);
        put_option(out, &info, value);
        between = ", ";
    }
    json_decref(metadata);
}

static void put_counts(FILE *out, const char *key, const long long *value, size_t n)
{
    fprintf(out, ", \"%s\": [", key);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%lld", i == 0 ? "" : ", ", value[i]);
    fputs("]", out);
}

/* For every class how many there are and how many were right; and [true, predicted, how many] where that was wrong. */
static void put_classes(FILE *out, const struct outcome *o)
{
    size_t classes = ammpl_dataset_class_count(o->data), count = ammpl_dataset_count(o->data);
    long long *table = allocate(classes * classes * sizeof *table), *of = allocate(classes * sizeof *of),
              *right = allocate(classes * sizeof *right);
    for (size_t i = 0; i < count; i++)
        if (o->predicted[i] >= 0)
            table[(size_t)ammpl_dataset_label(o->data, i) * classes + (size_t)o->predicted[i]]++;
    for (size_t c = 0; c < classes; c++) {
        right[c] = table[c * classes + c];
        for (size_t k = 0; k < classes; k++)
            of[c] += table[c * classes + k];
    }
    fputs(", \"classes\": [", out);
    for (size_t c = 0; c < classes; c++) {
        fputs(c == 0 ? "" : ", ", out);
        put_json_string(out, ammpl_dataset_class_name(o->data, c));
    }
    fputs("]", out);
    put_counts(out, "class_count", of, classes);
    put_counts(out, "class_correct", right, classes);
    fputs(", \"confused\": [", out);
    const char *between = "";
    for (size_t c = 0; c < classes; c++)
        for (size_t k = 0; k < classes; k++)
            if (c != k && table[c * classes + k] != 0) {
                fprintf(out, "%s[%zu, %zu, %lld]", between, c, k, table[c * classes + k]);
                between = ", ";
            }
    fputs("]", out);
    free(table);
    free(of);
    free(right);
}

static void put_doubles(FILE *out, const char *key, const double *value, size_t n, size_t stride)
{
    fprintf(out, ", \"%s\": [", key);
    for (size_t i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.6g", value[i * stride]);
        fprintf(out, "%s%s", i == 0 ? "" : ", ", isfinite(value[i * stride]) ? text : "null");
    }
    fputs("]", out);
}

/* How many patches each class masks, and how far the keep probabilities moved. */
static bool put_masks(struct work *w, FILE *out)
{
    struct keep keep;
    if (!keep_read(w->app, w->prompt, &keep))
        return false;
    size_t classes = ammpl_prompt_class_count(w->prompt);
    double *masked = allocate(classes * sizeof *masked), mean, most;
    bool ok = true;
    if (keep.value != NULL) {
        for (size_t c = 0; c < classes; c++)
            masked[c] = keep_expected_masked(keep_map(&keep, c), keep.patches);
        fprintf(out, ", \"patches\": %zu", keep.patches);
        put_doubles(out, "masked", masked, classes, 1);
        ok = keep_masked_in_evaluation(w->app, w->prompt, &keep, masked);
        put_doubles(out, "masked_in_evaluation", masked, classes, 1);
        if (ok && keep_movement(&w->start, &keep, &mean, &most))
            fprintf(out, ", \"p_moved\": %.6g, \"p_moved_most\": %.6g", mean, most);
    }
    free(masked);
    free(keep.value);
    return ok;
}

static bool put_line(struct work *w, const struct outcome *o)
{
    FILE *out = w->out;
    const struct run *run = w->run;
    const ammpl_metrics *m = &o->metrics;
    uint64_t peak = 0;
    float probe[16];
    char data[20];
    if (!app_check(w->app, ammpl_context_memory(w->app->context, NULL, &peak)) ||
        !app_check(w->app, ammpl_model_probe(w->app->model, probe)))
        return false;
    fprintf(out, "{\"method\": \"%s\", \"variant\": ", run->entry->method);
    put_json_string(out, run->entry->variant);
    fputs(", \"dataset\": ", out);
    put_json_string(out, o->test.set->name);
    fputs(", \"source\": ", out);
    put_json_string(out, run->source->name);
    fprintf(out, ", \"protocol\": \"%s\", \"shots\": %d, \"seed\": %lld, \"split\": \"%s\"", w->plan->protocol->name, run->shots, run->seed,
            o->test.split);
    fprintf(out, ", \"correct\": %llu, \"count\": %llu, \"skipped\": %llu, \"accuracy\": ", (unsigned long long)m->correct,
            (unsigned long long)m->samples, (unsigned long long)m->skipped);
    put_json_number(out, m->accuracy);
    fputs(", \"macro_f1\": ", out);
    put_json_number(out, m->macro_f1);
    fputs(", \"loss\": ", out);
    put_json_number(out, m->loss);
    fprintf(out, ", \"seconds\": %.3f, \"train_seconds\": %.3f, \"test_seconds\": %.3f, \"peak_bytes\": %llu, \"steps\": %zu",
            w->train_seconds + o->seconds, w->train_seconds, o->seconds, (unsigned long long)peak, w->steps);
    fputs(", \"settings\": ", out);
    put_json_string(out, run->settings);
    fputs(", \"options\": {", out);
    put_options(w, out);
    fputs("}, \"model\": ", out);
    put_json_string(out, base_name(w->app->model_path));
    fputs(", \"probe\": ", out);
    put_json_numbers(out, probe, 16);
    fingerprint_text(o->test.set->fingerprint, data);
    fprintf(out, ", \"data\": \"%s\", \"library\": \"%s\"", data, ammpl_version_string());
    put_classes(out, o);
    if (w->epochs > 0) {
        put_doubles(out, "epoch_loss", &w->epoch[0].loss, w->epochs, 2);
        put_doubles(out, "epoch_accuracy", &w->epoch[0].accuracy, w->epochs, 2);
    }
    bool ok = put_masks(w, out);
    fputs("}\n", out);
    return ok;
}

/* ---- tests ---- */

/* The prompt with these classes: as trained, re-bound, or of a method that learns nothing made for them. */
static bool bind(struct work *w, const ammpl_dataset *data)
{
    size_t n = ammpl_dataset_class_count(data);
    if (w->run->shots == 0)
        return make_prompt(w, data);
    bool same = n == ammpl_prompt_class_count(w->prompt);
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(ammpl_prompt_class_name(w->prompt, i), ammpl_dataset_class_name(data, i)) == 0;
    if (same)
        return true;
    const char **names = data_class_names(data);
    bool ok = app_check(w->app, ammpl_prompt_rebind_classes(w->prompt, names, n));
    free(names);
    return ok;
}

/* The options of a test: inference has batches of its own. */
static bool test_config(struct work *w, ammpl_config **out)
{
    int64_t skip_bad = 0;
    return app_check(w->app, ammpl_config_create(w->app->context, out)) &&
           app_check(w->app, ammpl_config_get_int(w->run->config, AMMPL_OPT_SKIP_BAD, &skip_bad)) &&
           app_check(w->app, ammpl_config_set_int(*out, AMMPL_OPT_SKIP_BAD, skip_bad));
}

static bool test(struct work *w, size_t i)
{
    struct outcome o = {.test = plan_test(w->plan, w->run, i), .metrics = {.struct_size = sizeof o.metrics}};
    ammpl_dataset *data = NULL;
    ammpl_config *config = NULL;
    double begin = now();
    ammpl_status status = AMMPL_OK;
    bool ok = data_part_of(w->app, o.test.set->test, o.test.split, &data) && bind(w, data) && test_config(w, &config);
    if (ok) {
        o.data = data;
        o.predicted = allocate(ammpl_dataset_count(data) * sizeof *o.predicted);
        status = ammpl_session_evaluate(w->app->session, w->prompt, data, config, tell, w, o.predicted, &o.metrics);
        o.seconds = now() - begin;
        ok = app_check(w->app, status) && put_line(w, &o);
    }
    free(o.predicted);
    ammpl_config_destroy(config);
    ammpl_dataset_destroy(data);
    return ok;
}

bool run_perform(struct app *app, const struct plan *plan, const struct run *run, const struct run_extras *extras, FILE *out,
                 run_share_fn fn, void *user)
{
    static const double training = 0.6; /* a guess at its part of the time */
    struct work w = {.app = app, .plan = plan, .run = run, .extras = extras, .fn = fn, .user = user, .out = out, .share_to = training};
    bool ok = run->shots == 0 || train(&w);
    size_t tests = plan_test_count(plan, run);
    double first = run->shots == 0 ? 0 : training;
    for (size_t i = 0; ok && i < tests; i++) {
        w.share_from = first + (1 - first) * (double)i / (double)tests;
        w.share_to = first + (1 - first) * (double)(i + 1) / (double)tests;
        ok = test(&w, i);
    }
    for (size_t i = 0; w.trained_under != NULL && i < ammpl_option_count(); i++)
        free(w.trained_under[i]);
    free(w.trained_under);
    free(w.epoch);
    free(w.start.value);
    ammpl_prompt_destroy(w.prompt);
    ammpl_dataset_destroy(w.train);
    return ok;
}
