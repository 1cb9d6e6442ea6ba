/* ammpl-evaluate: the experiments of the prompt-learning papers: few-shot, base-to-novel, cross-dataset, ablation; tables with the
 * paper's numbers beside ours, figures, a page. */
#include <stdlib.h>
#include <string.h>

#include "common/app.h"
#include "common/progress.h"
#include "evaluate_classes.h"
#include "evaluate_jobs.h"
#include "evaluate_masks.h"
#include "evaluate_print.h"
#include "evaluate_report.h"

static struct {
    struct plan_choice plan;
    struct data_choice data;
    struct jobs_choice jobs;
    struct list methods;
    const char *out, *report, *metric, *reference;
    int json, per_class, dry_run;
} opt = {.plan = {.seeds = "1,2,3"}, .jobs = {.jobs = 1}, .out = "results.jsonl", .metric = "accuracy", .reference = "ammpl"};

static const struct flag flags[] = {
    {"protocol", FLAG_TEXT, &opt.plan.protocol, "NAME", "few-shot, base-to-novel, cross-dataset or ablation"},
    {"data", FLAG_LIST, &opt.data.folders, "DIR", "pictures in DIR/train and DIR/test, a folder per class; may be repeated"},
    {"dataset", FLAG_LIST, &opt.data.names, "NAMES", "published data sets below --root (Caltech101,DTD,...), or all nine: all"},
    {"split", FLAG_LIST, &opt.data.splits, "FILE.json", "a data set as CoOp's split file, its paths below --root"},
    {"root", FLAG_TEXT, &opt.data.root, "DIR", "where the folders of --dataset, or the paths of --split, start"},
    {"class-names", FLAG_TEXT, &opt.data.class_names, "FILE", "lines of \"FOLDER NAME\": what the classes are called"},
    {"method", FLAG_LIST, &opt.methods, "NAMES", "methods, a,b,c or all; NAME+OPTION=VALUE is a variant with a row of its own"},
    {"shots", FLAG_TEXT, &opt.plan.shots, "K,...", "training pictures per class (the paper's: 1,2,4,8,16; 16; 1,8,16; 1)"},
    {"seeds", FLAG_TEXT, &opt.plan.seeds, "S,...", "one run for each (1,2,3)"},
    {"source", FLAG_TEXT, &opt.plan.source, "NAME", "cross-dataset: what is trained on (Food101, else the first data set)"},
    {"settings", FLAG_TEXT, &opt.plan.settings_file, "FILE", "lines of \"METHOD: OPTION=VALUE; ...\" or \"METHOD@DATASET: ...\", * = all"},
    {"out", FLAG_TEXT, &opt.out, "RESULTS.jsonl", "every finished run is added here at once, and not repeated (results.jsonl)"},
    {"jobs", FLAG_COUNT, &opt.jobs.jobs, "N", "runs at once, while memory lasts; 0 = one per processor (1)"},
    {"keep", FLAG_TEXT, &opt.jobs.extras.keep, "DIR", "keep the trained prompts there"},
    {"snapshots", FLAG_COUNT, &opt.jobs.extras.snapshots, "N", "with --keep: also the prompt at the start and N times on the way"},
    {"report", FLAG_TEXT, &opt.report, "DIR", "write a page with tables and figures: DIR/index.html"},
    {"metric", FLAG_TEXT, &opt.metric, "NAME", "what tables show: accuracy or macro-f1 (accuracy)"},
    {"reference", FLAG_TEXT, &opt.reference, "ROW", "also print by how much this row is better than the others; none = do not (ammpl)"},
    {"per-class", FLAG_SWITCH, &opt.per_class, NULL, "also print the accuracy of every class and the patches it masks"},
    {"json", FLAG_SWITCH, &opt.json, NULL, "print tables as JSON, an object for each cell"},
    {"dry-run", FLAG_SWITCH, &opt.dry_run, NULL, "print the runs and their options, and do nothing"},
};

static const struct program program = {
    .name = "ammpl-evaluate",
    .about = "measures prompt-learning methods as the papers do",
    .usage = "--protocol P --model M (--data DIR | --root DIR (--dataset NAME | --split FILE.json))... --method A,B,... [flags]\n"
             "[--report DIR] RESULTS.jsonl...        (tables and page of what is there)",
    .flags = flags,
    .flag_count = sizeof flags / sizeof flags[0],
    .option_flags = AMMPL_OPTION_LOAD | AMMPL_OPTION_SESSION | AMMPL_OPTION_SAVED | AMMPL_OPTION_TRAIN,
};

/* ---- what comes out ---- */

static void print_tables(const struct tables *tables)
{
    for (size_t i = 0; i < tables->count; i++)
        if (opt.json)
            table_print_json(&tables->item[i], tables->seeds, stdout);
        else
            table_print(&tables->item[i], stdout);
}

static const char *reference(void)
{
    return strcmp(opt.reference, "none") == 0 ? NULL : opt.reference;
}

/* The tables of every protocol that the records have. */
static void print_records(const struct record *record, size_t count)
{
    struct list protocols = {NULL, 0, 0};
    for (size_t i = 0; i < count; i++)
        list_find_or_add(&protocols, record[i].protocol);
    for (size_t i = 0; i < protocols.count; i++) {
        struct tables tables;
        enum table_metric metric = opt.metric[0] == 'a' ? METRIC_ACCURACY : METRIC_MACRO_F1;
        tables_make(record, count, protocols.item[i], metric, reference(), &tables);
        if (opt.per_class)
            tables_make_classes(record, count, protocols.item[i], &tables);
        print_tables(&tables);
        tables_free(&tables);
    }
    list_free(&protocols);
}

static bool finish(struct app *app, const struct record *record, size_t count)
{
    if (count == 0)
        return app_say(app, "there are no results yet\n"), true;
    print_records(record, count);
    return opt.report == NULL || report_write(app, opt.report, record, count, reference());
}

/* ---- what is to be done ---- */

static bool check_usage(struct app *app, const struct list *operands)
{
    if (strcmp(opt.metric, "accuracy") != 0 && strcmp(opt.metric, "macro-f1") != 0 && strcmp(opt.metric, "macro_f1") != 0)
        return app_usage(app, "--metric is accuracy or macro-f1, not '%s'", opt.metric);
    if (opt.plan.protocol == NULL && operands->count == 0)
        return app_usage(app, "--protocol is missing (or the results file to show)");
    if (opt.plan.protocol != NULL && operands->count != 0)
        return app_usage(app, "'%s' is not a flag", operands->item[0]);
    if (opt.jobs.extras.snapshots != 0 && opt.jobs.extras.keep == NULL)
        return app_usage(app, "--snapshots needs --keep");
    return true;
}

/* What --out keeps apart does not meet in a table either. */
static bool comparable(struct app *app, const struct records *records)
{
    char name[256];
    for (size_t i = 0; i < records->count; i++) {
        const struct record *one = &records->item[i];
        record_row_name(one, name, sizeof name);
        if (!record_same_model(&records->item[0], one))
            return app_fail(app, "%s on %s is of another CLIP (%s) than %s on %s (%s): show them one by one", name, one->dataset,
                            record_text(one, "model"), records->item[0].method, records->item[0].dataset, record_text(&records->item[0], "model"));
        for (size_t k = 0; k < i; k++) {
            const struct record *other = &records->item[k];
            if (!record_same_place(one, other))
                continue;
            const char *key = strcmp(record_text(one, "settings"), record_text(other, "settings")) != 0 ? "settings"
                              : strcmp(record_text(one, "data"), record_text(other, "data")) != 0       ? "data"
                                                                                                        : NULL;
            if (key != NULL)
                return app_fail(app, "%s on %s is there twice, with other %s (%s and %s): show them one by one", name, one->dataset, key,
                                record_text(other, key), record_text(one, key));
        }
    }
    return true;
}

static bool show(struct app *app, const struct list *files)
{
    struct records records = {NULL, 0, 0};
    bool ok = true;
    for (size_t i = 0; ok && i < files->count; i++)
        ok = journal_read(app, files->item[i], &records);
    app_ready(app);
    ok = ok && comparable(app, &records);
    records_sort(&records);
    ok = ok && (opt.report == NULL || app_make_folder(app, "report", opt.report)) && finish(app, records.item, records.count);
    records_free(&records);
    return ok;
}

static void print_plan(const struct plan *plan)
{
    char name[256];
    for (size_t i = 0; i < plan->count; i++) {
        run_name(&plan->run[i], name, sizeof name);
        printf("%s: %s\n", name, plan->run[i].settings);
    }
    printf("%zu runs\n", plan->count);
}

/* A GPU cannot be shared with child processes: each loads the model for itself. */
static bool load_model(struct app *app)
{
    if (app->model_path == NULL)
        return app_usage(app, "--model is missing");
    return strcmp(app->backend, "cpu") != 0 || app_load_model(app);
}

/* What is written to folders finds them there; what cannot be made is known before the first run. */
static bool make_folders(struct app *app, struct plan *plan)
{
    struct run_extras *extras = &opt.jobs.extras;
    extras->report = opt.report;
    return (extras->keep == NULL || app_make_folder(app, "keep", extras->keep)) &&
           (opt.report == NULL || (app_make_folder(app, "report", opt.report) && masks_choose(app, plan, opt.report)));
}

static bool perform(struct app *app, struct plan *plan)
{
    struct journal journal = {.file = -1};
    size_t count = 0, done = 0;
    bool ok = load_model(app) && journal_open(app, &journal, opt.out) && plan_mark_done(app, plan, &journal);
    for (size_t i = 0; ok && i < plan->count; i++)
        done += plan->run[i].done;
    if (ok) {
        app_ready(app);
        if (done != 0)
            app_say(app, "%zu of %zu runs are in %s already\n", done, plan->count, opt.out);
        ok = make_folders(app, plan) && jobs_perform(app, plan, &journal, &opt.jobs) &&
             (opt.report == NULL || masks_draw(app, plan, opt.report));
        struct record *record = plan_records(plan, &journal, &count);
        if (ok || (!interrupt_seen() && count > 0))
            ok = finish(app, record, count) && ok;
        free(record);
    }
    journal_close(&journal);
    return ok;
}

static bool run(struct app *app)
{
    struct data_sets sets = {NULL, 0};
    struct plan plan = {.protocol = NULL};
    const char *text_template = NULL;
    bool ok = app_check(app, ammpl_config_get_string(app->config, AMMPL_OPT_TEMPLATE, &text_template));
    opt.data.text_template = text_template;
    opt.plan.methods = &opt.methods;
    ok = ok && protocol_find(app, opt.plan.protocol) != NULL && data_sets_open(app, &opt.data, &sets) &&
         plan_make(app, &opt.plan, &sets, &plan);
    if (ok && opt.dry_run)
        print_plan(&plan);
    else if (ok)
        ok = perform(app, &plan);
    plan_free(&plan);
    data_sets_close(&sets);
    return ok;
}

int main(int argc, char **argv)
{
    struct app app;
    struct list operands = {NULL, 0, 0};
    if (app_open(&app, &program, argc, argv, &operands)) {
        if (app.quiet)
            progress_silence();
        if (check_usage(&app, &operands)) {
            if (opt.plan.protocol == NULL)
                show(&app, &operands);
            else
                run(&app);
        }
    }
    list_free(&operands);
    list_free(&opt.methods);
    list_free(&opt.data.folders);
    list_free(&opt.data.names);
    list_free(&opt.data.splits);
    return app_close(&app);
}
