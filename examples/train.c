/* ammpl-train: learns a prompt from a few pictures per class. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/app.h"
#include "common/data.h"
#include "common/masks.h"
#include "common/methods.h"
#include "common/progress.h"
#include "common/steplog.h"

static struct {
    const char *method, *out, *init, *import, *checkpoint, *resume, *log;
    struct data_flags data;
    int shots, checkpoint_every, snapshot_every, force, test, list_methods;
} opt;

static const struct flag flags[] = {
    DATA_FLAGS(opt.data),
    {"method", FLAG_TEXT, &opt.method, "NAME", "what to learn (see --list-methods)"},
    {"out", FLAG_TEXT, &opt.out, "FILE", "the prompt file to write"},
    {"shots", FLAG_COUNT, &opt.shots, "K", "pictures per class, picked by --seed and --sampler; 0 = all (0)"},
    {"init", FLAG_TEXT, &opt.init, "FILE", "start from this prompt: its tensors, its options, then the command line"},
    {"import", FLAG_TEXT, &opt.import, "FILE",
     "no training: write to --out what an original repository's checkpoint (as safetensors) holds for the data's classes"},
    {"checkpoint", FLAG_TEXT, &opt.checkpoint, "STATE",
     "keep what --resume needs here: after each epoch and on Ctrl-C"},
    {"checkpoint-every", FLAG_COUNT, &opt.checkpoint_every, "STEPS", "after so many steps instead"},
    {"resume", FLAG_TEXT, &opt.resume, "STATE", "go on from there, with the same flags as at first"},
    {"snapshot-every", FLAG_COUNT, &opt.snapshot_every, "STEPS",
     "also write the prompt so far as OUT.stepN.safetensors"},
    {"log", FLAG_TEXT, &opt.log, "FILE.jsonl", "one JSON object per step and per epoch"},
    {"test", FLAG_SWITCH, &opt.test, NULL, "then print the accuracy on the data's test part"},
    {"force", FLAG_SWITCH, &opt.force, NULL, "overwrite files that exist"},
    {"list-methods", FLAG_SWITCH, &opt.list_methods, NULL, "what there is to learn, and with --model what it costs"},
};

static const struct program program = {
    .name = "ammpl-train",
    .about = "learns a prompt for a frozen CLIP from a few pictures per class",
    .usage = "--model M (--data DIR | --root DIR --split FILE.json) --method NAME --out PROMPT [flags]\n"
             "--import CHECKPOINT --model M --data DIR --method NAME --out PROMPT [flags]\n"
             "--list-methods [--model M]",
    .flags = flags,
    .flag_count = sizeof flags / sizeof flags[0],
    .option_flags = AMMPL_OPTION_LOAD | AMMPL_OPTION_SESSION | AMMPL_OPTION_SAVED | AMMPL_OPTION_TRAIN,
};

/* ---- before: nothing that exists is lost, nothing is found out only after an hour ---- */

/* The files that a run writes and reads are different ones; only --checkpoint may be the state that --resume reads. */
static bool distinct(struct app *app)
{
    const struct {
        const char *flag, *path;
    } file[] = {{"out", opt.out},       {"log", opt.log},   {"checkpoint", opt.checkpoint},
                {"resume", opt.resume}, {"init", opt.init}, {"import", opt.import}};
    for (int i = 0; i < 3; i++)
        for (int k = i + 1; k < 6; k++)
            if (same_file(file[i].path, file[k].path) && !(i == 2 && k == 3) && !(i == 0 && k == 4))
                return app_usage(app, "--%s and --%s are the same file", file[i].flag, file[k].flag);
    return true;
}

static bool check_usage(struct app *app, const struct list *operands, ammpl_method *method)
{
    if (operands->count != 0)
        return app_usage(app, "'%s' is not a flag", operands->item[0]);
    if (!data_check(app, &opt.data))
        return false;
    if (opt.out == NULL)
        return app_usage(app, "--out is missing");
    if (opt.method == NULL && opt.init == NULL)
        return app_usage(app, "--method is missing (or --init, whose method it then is)");
    if (opt.method != NULL && ammpl_method_find(opt.method, method) < 0)
        return app_usage(app, "--method: %s", ammpl_last_error());
    if (opt.import != NULL && (opt.init != NULL || opt.resume != NULL || opt.method == NULL))
        return app_usage(app, "--import goes with --method, and neither with --init nor with --resume");
    if (opt.checkpoint_every != 0 && opt.checkpoint == NULL)
        return app_usage(app, "--checkpoint-every needs --checkpoint");
    if (opt.test && !data_has_part(&opt.data, "test"))
        return app_fail(app, "--test: %s has no test part", opt.data.dir != NULL ? opt.data.dir : opt.data.split);
    /* A resumed run goes on with its own log and state; its prompt was not there before, unless it was interrupted. */
    bool go_on = opt.force || opt.resume != NULL;
    return distinct(app) && app_may_write(app, "out", opt.out, go_on) &&
           app_may_write(app, "checkpoint", opt.checkpoint, opt.force || same_file(opt.checkpoint, opt.resume)) &&
           app_may_write(app, "log", opt.log, go_on);
}

/* ---- the prompt to start from ---- */

static bool make_prompt(struct app *app, ammpl_method method, ammpl_dataset **data, ammpl_prompt **out)
{
    if (opt.init != NULL) {
        if (!app_check(app, ammpl_prompt_load_file(app->model, opt.init, app->config, out)))
            return false;
        if (opt.method != NULL && ammpl_prompt_method(*out) != method)
            return app_fail(app, "--init %s holds a prompt of another method than --method %s", opt.init, opt.method);
        return data_match(app, *out, data);
    }
    const char **names = data_class_names(*data);
    size_t classes = ammpl_dataset_class_count(*data);
    ammpl_status status =
        opt.import != NULL
            ? ammpl_prompt_import_file(app->model, method, names, classes, opt.import, app->config, out)
            : ammpl_prompt_create(app->model, method, names, classes, app->config, out);
    free(names);
    return app_check(app, status);
}

static bool open_data(struct app *app, ammpl_dataset **out)
{
    ammpl_dataset *all = NULL;
    bool ok = data_open(app, &opt.data, "train", &all) &&
              app_check(app, ammpl_dataset_select_few(all, NULL, opt.shots, app->config, out, NULL));
    ammpl_dataset_destroy(all);
    return ok;
}

static void describe(struct app *app, const ammpl_prompt *prompt, const ammpl_dataset *data,
                     const ammpl_trainer *trainer)
{
    ammpl_cost cost = {.struct_size = sizeof cost};
    if (ammpl_prompt_cost(prompt, &cost) < 0)
        return;
    app_say(app, "%s: %zu pictures of %zu classes, %llu numbers to learn on %s\n",
            method_name(ammpl_prompt_method(prompt)), ammpl_dataset_count(data), ammpl_dataset_class_count(data),
            (unsigned long long)cost.parameters, app->model_path);
    app_say(app, "%s epochs, batch %s, lr %s (%s), %s\n", ammpl_trainer_option(trainer, "epochs"),
            ammpl_trainer_option(trainer, "batch"), ammpl_trainer_option(trainer, "lr"),
            ammpl_trainer_option(trainer, "schedule"), ammpl_trainer_option(trainer, "optimizer"));
}

/* ---- training ---- */

/* OUT without its .safetensors, with the number of the step. */
static bool save_snapshot(struct app *app, const ammpl_prompt *prompt, uint64_t steps_done)
{
    static const char suffix[] = ".safetensors";
    size_t n = strlen(opt.out), tail = sizeof suffix - 1;
    char *path = allocate(n + 64);
    if (n > tail && strcmp(opt.out + n - tail, suffix) == 0)
        n -= tail;
    snprintf(path, n + 64, "%.*s.step%llu%s", (int)n, opt.out, (unsigned long long)steps_done, suffix);
    bool ok = app_check(app, ammpl_prompt_save_file(prompt, path, opt.force || opt.resume != NULL));
    free(path);
    return ok;
}

/* Everything that is due after a step. */
static bool after_step(struct app *app, const ammpl_trainer *trainer, const ammpl_prompt *prompt, struct step_log *log,
                       const ammpl_progress *p)
{
    uint64_t done = p->step + 1;
    bool checkpoint_due = opt.checkpoint_every != 0 ? done % (uint64_t)opt.checkpoint_every == 0 : p->epoch_end != 0;
    progress_training(p);
    if (!step_log_write(log, p))
        return app_fail(app, "--log %s: %s", opt.log, step_log_error(log));
    if (opt.checkpoint != NULL && checkpoint_due && !app_check(app, ammpl_trainer_save(trainer, opt.checkpoint)))
        return false;
    return opt.snapshot_every == 0 || done % (uint64_t)opt.snapshot_every != 0 || save_snapshot(app, prompt, done);
}

/* Steps until the end, Ctrl-C or a failure; *finished says which of the first two, *steps how many were done here. */
static bool train(struct app *app, ammpl_trainer *trainer, const ammpl_prompt *prompt, bool *finished, uint64_t *steps)
{
    struct step_log log;
    ammpl_progress p = {.struct_size = sizeof p};
    ammpl_status status = AMMPL_OK;
    *finished = false;
    if (!step_log_open(&log, opt.log, opt.resume != NULL))
        return app_fail(app, "--log %s: %s", opt.log, step_log_error(&log));
    interrupt_watch(app->session);
    bool ok = true;
    while (ok && !interrupt_seen()) {
        status = ammpl_trainer_step(trainer, &p);
        if (status != AMMPL_OK)
            break;
        ++*steps;
        ok = after_step(app, trainer, prompt, &log, &p);
    }
    progress_clear();
    *finished = status == AMMPL_END;
    if (!step_log_close(&log) && ok && status >= 0)
        ok = app_fail(app, "--log %s: %s", opt.log, step_log_error(&log));
    return ok && app_check(app, status);
}

static bool save(struct app *app, const ammpl_trainer *trainer, const ammpl_prompt *prompt, bool finished)
{
    if (!finished && opt.checkpoint != NULL && !app_check(app, ammpl_trainer_save(trainer, opt.checkpoint)))
        return false;
    if (!app_check(app, ammpl_prompt_save_file(prompt, opt.out, opt.force || opt.resume != NULL)))
        return false;
    if (!finished)
        return app_fail(app, "interrupted; the prompt so far is in %s%s%s", opt.out,
                        opt.checkpoint != NULL ? ", go on with --resume " : "",
                        opt.checkpoint != NULL ? opt.checkpoint : "");
    app_say(app, "saved %s\n", opt.out);
    return true;
}

/* What was learned before a failure is not lost with it. */
static void rescue(struct app *app, const ammpl_prompt *prompt)
{
    if (ammpl_prompt_save_file(prompt, opt.out, opt.force || opt.resume != NULL) == AMMPL_OK)
        app_say(app, "the prompt as it was before that is in %s\n", opt.out);
}

static bool test(struct app *app, ammpl_prompt *prompt)
{
    ammpl_dataset *data = NULL;
    ammpl_metrics m = {.struct_size = sizeof m};
    ammpl_status status = AMMPL_OK;
    bool ok = data_open(app, &opt.data, "test", &data) && data_match(app, prompt, &data);
    if (ok) {
        status =
            ammpl_session_evaluate(app->session, prompt, data, app->config, progress_evaluation, "testing", NULL, &m);
        progress_clear();
        ok = app_check(app, status) && (status != AMMPL_CANCELLED || app_fail(app, "interrupted while testing"));
    }
    if (ok)
        printf("test accuracy %.2f %% (%llu of %llu), macro-F1 %.2f %%\n", 100 * m.accuracy,
               (unsigned long long)m.correct, (unsigned long long)m.samples, 100 * m.macro_f1);
    ammpl_dataset_destroy(data);
    return ok;
}

static bool run(struct app *app, ammpl_method method)
{
    ammpl_dataset *data = NULL;
    ammpl_prompt *prompt = NULL;
    ammpl_trainer *trainer = NULL;
    struct keep start = {NULL, 0, 0};
    bool finished;
    bool ok = open_data(app, &data) && app_load_model(app) && make_prompt(app, method, &data, &prompt) &&
              keep_read(app, prompt, &start) &&
              app_check(app, ammpl_trainer_create(app->session, prompt, data, app->config, &trainer)) &&
              (opt.resume == NULL || app_check(app, ammpl_trainer_load(trainer, opt.resume)));
    if (ok) {
        app_ready(app);
        describe(app, prompt, data, trainer);
        uint64_t steps = 0;
        ok = train(app, trainer, prompt, &finished, &steps);
        if (!ok && steps > 0)
            rescue(app, prompt);
        ok = ok && save(app, trainer, prompt, finished) && keep_report(app, prompt, &start) &&
             (!opt.test || test(app, prompt));
    }
    free(start.value);
    ammpl_trainer_destroy(trainer);
    ammpl_prompt_destroy(prompt);
    ammpl_dataset_destroy(data);
    return ok;
}

/* What another program learned, as a prompt file. */
static bool import(struct app *app, ammpl_method method)
{
    ammpl_dataset *data = NULL;
    ammpl_prompt *prompt = NULL;
    bool ok = open_data(app, &data) && app_load_model(app) && make_prompt(app, method, &data, &prompt) &&
              app_check(app, ammpl_prompt_save_file(prompt, opt.out, opt.force));
    if (ok)
        app_say(app, "saved %s\n", opt.out);
    ok = ok && (!opt.test || test(app, prompt));
    ammpl_prompt_destroy(prompt);
    ammpl_dataset_destroy(data);
    return ok;
}

static bool list_methods(struct app *app)
{
    if (app->model_path != NULL && !app_load_model(app))
        return false;
    app_ready(app);
    return methods_print(app);
}

int main(int argc, char **argv)
{
    struct app app;
    struct list operands = {NULL, 0, 0};
    ammpl_method method = 0;
    if (app_open(&app, &program, argc, argv, &operands)) {
        app.report = stdout;
        if (app.quiet)
            progress_silence();
        if (opt.list_methods)
            list_methods(&app);
        else if (check_usage(&app, &operands, &method))
            (opt.import != NULL ? import : run)(&app, method);
    }
    list_free(&operands);
    return app_close(&app);
}
