/* evaluate_masks.c - see evaluate_masks.h. */
#include "evaluate_masks.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "evaluate_html.h"
#include "evaluate_run.h"

/* ---- choosing ---- */

static bool masks_patches(const struct run *run)
{
    int64_t mask = 0;
    return run->shots != 0 && run->entry->id == AMMPL_METHOD_AMMPL && ammpl_config_get_int(run->config, AMMPL_OPT_MASK, &mask) >= 0 && mask != 0;
}

/* The prompts of earlier steps that are there, in the order of their steps; globfree() them. */
static void find_steps(const char *folder, glob_t *found)
{
    char *pattern = allocate(2 * strlen(folder) + 32), *to = pattern;
    *found = (glob_t){.gl_pathc = 0};
    for (const char *c = folder; *c != '\0'; c++) { /* a data set or a report may be called "a[1]" */
        if (strchr("*?[\\", *c) != NULL)
            *to++ = '\\';
        *to++ = *c;
    }
    strcpy(to, "/step-*.safetensors");
    if (glob(pattern, 0, NULL, found) != 0)
        found->gl_pathc = 0;
    free(pattern);
}

static long long step_of(const char *path)
{
    return strtoll(base_name(path) + strlen("step-"), NULL, 10);
}

static int by_step(const void *a, const void *b)
{
    long long x = step_of(*(char *const *)a), y = step_of(*(char *const *)b);
    return (x > y) - (x < y);
}

static bool prepare(struct app *app, const struct plan *plan, const struct run *run, const char *report)
{
    char *all = allocate(strlen(report) + 8), *folder = run_figure_path(run, plan->protocol->name, report, -1);
    glob_t old;
    sprintf(all, "%s/masks", report);
    bool ok = app_make_folder(app, "report", all) && app_make_folder(app, "report", folder);
    find_steps(folder, &old);
    for (size_t i = 0; ok && !run->done && i < old.gl_pathc; i++)
        ok = unlink(old.gl_pathv[i]) == 0 || app_fail(app, "--report: %s: %s", old.gl_pathv[i], strerror(errno));
    globfree(&old);
    free(all);
    free(folder);
    return ok;
}

bool masks_choose(struct app *app, struct plan *plan, const char *report)
{
    bool ok = true;
    for (size_t s = 0; ok && s < plan->sets->count; s++) {
        struct run *chosen = NULL;
        for (size_t i = 0; i < plan->count; i++) {
            struct run *run = &plan->run[i];
            if (run->source == &plan->sets->item[s] && masks_patches(run) &&
                (chosen == NULL || (run->entry == chosen->entry && run->shots > chosen->shots)))
                chosen = run;
        }
        if (chosen == NULL)
            continue;
        chosen->pictured = true;
        ok = prepare(app, plan, chosen, report);
    }
    return ok;
}

/* ---- drawing ---- */

/* The first training picture of each of the first classes. */
enum { PICTURES = 3 };

static size_t choose_pictures(struct app *app, const struct run *run, ammpl_dataset **few, const char *path[PICTURES])
{
    size_t n = 0;
    if (!app_check(app, ammpl_dataset_select_few(run->source->train, NULL, run->shots, run->config, few, NULL)))
        return 0;
    for (int32_t label = 0; n < PICTURES && (size_t)label < ammpl_dataset_class_count(*few); label++)
        for (size_t i = 0; i < ammpl_dataset_count(*few); i++)
            if (ammpl_dataset_label(*few, i) == label) {
                path[n++] = ammpl_dataset_path(*few, i);
                break;
            }
    return n;
}

/* ammpl-mask as it stands beside this program, else on the PATH. */
static void run_mask(struct list *arguments)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = n > 0 ? (self[n] = '\0', strrchr(self, '/')) : NULL;
    int nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, STDOUT_FILENO);
    if (slash != NULL && (size_t)(slash - self) + 16 < sizeof self) {
        strcpy(slash, "/ammpl-mask");
        execv(self, arguments->item);
    }
    execvp("ammpl-mask", arguments->item);
    _exit(127);
}

static void add(struct list *list, const char *text)
{
    list_add(list, text, strlen(text));
}

static bool call_mask(const struct app *app, const glob_t *steps, const char *out, const char *const *picture, size_t pictures)
{
    struct list arguments = {NULL, 0, 0};
    const char *vocab = "";
    int state = 0;
    add(&arguments, "ammpl-mask");
    add(&arguments, "--quiet");
    add(&arguments, "--force");
    add(&arguments, "--model");
    add(&arguments, app->model_path);
    add(&arguments, "--backend");
    add(&arguments, app->backend);
    if (app->backend_dir != NULL) {
        add(&arguments, "--backend-dir");
        add(&arguments, app->backend_dir);
    }
    if (ammpl_config_get_string(app->config, AMMPL_OPT_VOCAB, &vocab) >= 0 && vocab[0] != '\0') {
        add(&arguments, "--vocab");
        add(&arguments, vocab);
    }
    for (size_t i = 0; i < steps->gl_pathc; i++) {
        add(&arguments, "--prompt");
        add(&arguments, steps->gl_pathv[i]);
    }
    add(&arguments, "--out");
    add(&arguments, out);
    add(&arguments, "--");
    for (size_t i = 0; i < pictures; i++)
        add(&arguments, picture[i]);
    add(&arguments, "");
    free(arguments.item[--arguments.count]);
    arguments.item[arguments.count] = NULL; /* as execv wants it */
    fflush(NULL);
    pid_t process = fork();
    if (process == 0)
        run_mask(&arguments);
    while (process > 0 && waitpid(process, &state, 0) < 0 && errno == EINTR) {
    }
    list_free(&arguments);
    return process > 0 && WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

static bool draw_one(struct app *app, const struct plan *plan, const struct run *run, const char *report)
{
    const char *picture[PICTURES];
    ammpl_dataset *few = NULL;
    char *folder = run_figure_path(run, plan->protocol->name, report, -1), *out = allocate(strlen(folder) + 16);
    glob_t steps;
    sprintf(out, "%s/masks-%s.png", report, base_name(folder));
    find_steps(folder, &steps);
    if (steps.gl_pathc != 0)
        qsort(steps.gl_pathv, steps.gl_pathc, sizeof *steps.gl_pathv, by_step);
    size_t pictures = steps.gl_pathc == 0 ? 0 : choose_pictures(app, run, &few, picture);
    bool ok = app->status == 0 || steps.gl_pathc == 0;
    if (pictures != 0 && call_mask(app, &steps, out, picture, pictures))
        ok = html_svg_of_png(out) || app_fail(app, "--report: %s cannot be turned into SVG", out);
    else if (ok)
        app_say(app, "%s is not drawn: %s\n", out,
                steps.gl_pathc == 0 ? "the run was done before there was a --report" : "ammpl-mask cannot be run or failed");
    ammpl_dataset_destroy(few);
    globfree(&steps);
    free(folder);
    free(out);
    return ok;
}

bool masks_draw(struct app *app, const struct plan *plan, const char *report)
{
    bool ok = true;
    for (size_t i = 0; ok && i < plan->count; i++)
        if (plan->run[i].pictured)
            ok = draw_one(app, plan, &plan->run[i], report);
    return ok;
}
