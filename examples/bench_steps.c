/* bench_steps.c - a step of every method, as ammpl-bench measures it and tests/reference/bench_torch.py repeats it in PyTorch. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "common/list.h"

/* ---- one training step of a method ---- */

struct step {
    const char *name, *method;
    int batch, classes;
    bool cached; /* image features are given */
    const char *options[8];
};
static const struct step steps[] = {
    {"coop-cached", "coop", 32, 100, true, {"n_ctx", "16", NULL}},
    {"coop", "coop", 32, 100, false, {"n_ctx", "16", NULL}},
    {"cocoop-100", "cocoop", 1, 100, false, {NULL}},
    {"cocoop-10", "cocoop", 1, 10, false, {NULL}},
    {"dlp-100", "dlp", 4, 100, false, {NULL}},
    {"dlp-10", "dlp", 4, 10, false, {NULL}},
    {"maple-10", "maple", 4, 10, false, {NULL}},
    {"maple-100", "maple", 4, 100, false, {NULL}},
    {"ivlp-10", "ivlp", 4, 10, false, {NULL}},
    {"ivlp-100", "ivlp", 4, 100, false, {NULL}},
    {"dpt", "dpt", 4, 10, false, {NULL}},
    {"vp", "vp", 4, 10, false, {NULL}},
    {"vpt", "vpt", 4, 10, false, {NULL}},
    {"ammpl-shared", "ammpl", 1, 10, false, {"scope", "shared", NULL}},
    {"ammpl-class", "ammpl", 1, 10, false, {"scope", "class", NULL}},
    {"ammpl-c1c2", "ammpl", 1, 10, false, {"scope", "shared", "interaction", "off", "draws", "image", NULL}},
    {"zeroshot", "zeroshot", 8, 100, false, {NULL}}, /* nothing to learn: predictions */
};

/* Names of two letters, two tokens each; from 676 on of four. */
static void class_name(int i, char name[8])
{
    int n = 0;
    for (int rest = i / 676; n < 4 && (n < 2 || rest > 0); n++)
        name[n] = (char)('a' + (n == 0 ? i % 26 : n == 1 ? i / 26 % 26 : n == 2 ? rest % 26 : rest / 26));
    name[n] = '\0';
}

/* The same numbers on every machine, and in tests/reference/bench_torch.py: uniform in [-1, 1). */
static float *numbers(size_t n, uint32_t seed)
{
    float *x = allocate(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        uint32_t h = ((uint32_t)i + seed) * 2654435761u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        x[i] = (float)(h >> 8) * 0x1p-23f - 1.0f;
    }
    return x;
}

struct running_step {
    struct bench *b;
    ammpl_session *session;
    ammpl_prompt *prompt;
    ammpl_optimizer *optimizer; /* NULL: nothing is learned */
    ammpl_batch batch;
    float *logits;
    size_t pixels, classes;
    char name[128]; /* with its sizes */
    double loss, first_loss;
    struct inside_cost first_cost; /* class features that are kept afterwards included */
    int count;
};

static ammpl_status train(struct running_step *r)
{
    ammpl_status status = ammpl_prompt_zero_gradients(r->prompt);
    if (status >= 0)
        status = ammpl_session_accumulate(r->session, r->prompt, &r->batch, &r->loss, NULL);
    return status >= 0 ? ammpl_optimizer_step(r->optimizer) : status;
}

static ammpl_status run_step(void *arg, struct inside_cost *cost)
{
    struct running_step *r = arg;
    inside_counted();
    ammpl_status status = r->optimizer != NULL ? train(r)
                                               : ammpl_session_predict(r->session, r->prompt, r->batch.pixels, r->batch.n, r->logits,
                                                                       r->batch.n * r->classes);
    *cost = inside_counted();
    if (r->count++ == 0) {
        r->first_loss = r->loss;
        r->first_cost = *cost;
    }
    r->batch.step++;
    return status;
}

/* Tokens that the context has room for beside the longest name, its full stop, and a token at each end. */
static int64_t room_for_context(struct app *app, const char *const *names, size_t classes)
{
    size_t longest = 0;
    for (size_t i = 0; i < classes; i++) {
        char text[16];
        size_t n = 0;
        snprintf(text, sizeof text, "%s.", names[i]);
        ammpl_model_tokenize(app->model, text, NULL, 0, &n);
        longest = n > longest ? n : longest;
    }
    return app_model_int(app, AMMPL_QUERY_CONTEXT_LENGTH) - (int64_t)longest;
}

/* The step's options, with as many context tokens as there is room for. */
static bool set_options(struct running_step *r, const struct step *s, const char *const *names, ammpl_config *cfg)
{
    struct app *app = r->b->app;
    int64_t limit = 0, room = room_for_context(app, names, r->classes);
    for (size_t i = 0; s->options[i] != NULL; i += 2) {
        bool shorter = strcmp(s->options[i], "n_ctx") == 0 && room > 0 && room < atoi(s->options[i + 1]);
        if (shorter) {
            size_t n = strlen(r->name);
            snprintf(r->name + n, sizeof r->name - n, ", %lld instead of %s context tokens", (long long)room, s->options[i + 1]);
        }
        if (!app_check(app, shorter ? ammpl_config_set_int(cfg, AMMPL_OPT_N_CTX, room) : ammpl_config_set_text(cfg, s->options[i], s->options[i + 1])))
            return false;
    }
    if (ammpl_config_get_int(app->config, AMMPL_OPT_MEMORY_LIMIT, &limit) >= 0 && limit > 0 &&
        !app_check(app, ammpl_config_set_int(cfg, AMMPL_OPT_MEMORY_LIMIT, limit)))
        return false;
    return app_check(app, ammpl_config_set_float(cfg, AMMPL_OPT_LR, 1e-4));
}

/* Parameters of a prompt of the first n classes; 0 where there can be none. */
static double parameters(struct app *app, ammpl_method method, const char *const *names, size_t n, ammpl_config *cfg)
{
    ammpl_prompt *p = NULL;
    ammpl_cost cost = {.struct_size = sizeof cost};
    if (ammpl_prompt_create(app->model, method, names, n, cfg, &p) < 0 || ammpl_prompt_cost(p, &cost) < 0)
        cost.parameters = 0;
    ammpl_prompt_destroy(p);
    return (double)cost.parameters;
}

/* Whether there is room for a prompt that may grow with its classes: values, gradients and momentum. */
static bool has_room_for_prompt(struct running_step *r, ammpl_method method, const char *const *names, ammpl_config *cfg)
{
    enum { FEW = 16 };
    if (r->classes <= 2 * FEW)
        return true;
    double few = parameters(r->b->app, method, names, FEW, cfg), more = parameters(r->b->app, method, names, 2 * FEW, cfg);
    return bench_has_room(r->b, r->name, 3 * sizeof(float) * (few + (more - few) / FEW * (double)(r->classes - FEW)));
}

/* Whether there is room for what a step takes by its plan; on a device the library asks it. */
static bool has_room(struct running_step *r, const struct step *s, size_t numbers)
{
    uint64_t planned;
    int32_t call = r->optimizer == NULL ? AMMPL_PLAN_PREDICT : s->cached ? AMMPL_PLAN_ACCUMULATE_FEATURES : AMMPL_PLAN_ACCUMULATE;
    return r->b->device || (app_check(r->b->app, ammpl_session_plan(r->session, r->prompt, r->batch.n, call, &planned)) &&
                            bench_has_room(r->b, r->name, (double)planned + sizeof(float) * (double)numbers));
}

static bool open_step(struct running_step *r, const struct step *s, ammpl_config *cfg)
{
    struct app *app = r->b->app;
    ammpl_method method;
    char (*name)[8] = allocate(r->classes * sizeof *name);
    const char **names = allocate(r->classes * sizeof *names);
    for (size_t i = 0; i < r->classes; i++) {
        class_name((int)i, name[i]);
        names[i] = name[i];
    }
    bool learns = strcmp(s->method, "zeroshot") != 0;
    bool ok = set_options(r, s, names, cfg) && app_check(app, ammpl_method_find(s->method, &method)) &&
              has_room_for_prompt(r, method, names, cfg) &&
              app_check(app, ammpl_prompt_create(app->model, method, names, r->classes, cfg, &r->prompt)) &&
              (!learns || app_check(app, ammpl_optimizer_create(r->prompt, cfg, &r->optimizer))) &&
              app_check(app, ammpl_session_create(app->model, cfg, &r->session));
    free(name);
    free(names);
    size_t n = r->batch.n, E = (size_t)app_model_int(app, AMMPL_QUERY_EMBED_WIDTH), R = (size_t)app_model_int(app, AMMPL_QUERY_IMAGE_SIZE);
    size_t count = s->cached ? n * E : n * 3 * R * R;
    if (!ok || !has_room(r, s, count))
        return false;
    inside_count(r->session);
    int32_t *label = allocate(n * sizeof *label);
    for (size_t i = 0; i < n; i++)
        label[i] = (int32_t)(i % r->classes);
    float *x = numbers(count, 1);
    for (size_t i = 0; s->cached && i < count; i++)
        x[i] /= (float)E / 24; /* about of length 1 */
    r->batch.label = label;
    *(s->cached ? &r->batch.features : &r->batch.pixels) = x;
    r->logits = learns ? NULL : allocate(n * r->classes * sizeof *r->logits);
    return true;
}

static bool export(struct bench *b, const struct step *s, const ammpl_prompt *prompt, const char *folder)
{
    char path[4096];
    if (folder == NULL || strcmp(s->method, "zeroshot") == 0)
        return true;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, s->name);
    return app_check(b->app, ammpl_prompt_save_file(prompt, path, 1));
}

static bool measure_step(struct bench *b, const struct step *s, int classes, int batch, const char *folder)
{
    struct running_step r = {.b = b, .classes = (size_t)(classes > 0 ? classes : s->classes)};
    r.batch = (ammpl_batch){.struct_size = sizeof r.batch, .n = (size_t)(batch > 0 ? batch : s->batch), .seed = 1};
    snprintf(r.name, sizeof r.name, "%s, %zu classes, batch %zu", s->name, r.classes, r.batch.n);
    ammpl_config *cfg = NULL;
    struct figure f;
    char name[96];
    bool ok = app_check(b->app, ammpl_config_create(b->app->context, &cfg)) && open_step(&r, s, cfg) && export(b, s, r.prompt, folder) &&
              bench_measure(b, run_step, &r, inside_stream(r.session), &f);
    if (ok) {
        bench_show(b, "step", r.name, &f, (double)r.batch.n, "images/s");
        snprintf(name, sizeof name, "%s, %s", s->name, r.optimizer != NULL ? "first loss" : "with the texts");
        bench_show_number(b, "step", name, r.optimizer != NULL ? r.first_loss : r.first_cost.flop * 1e-9, r.optimizer != NULL ? "nats" : "GFLOP");
    }
    free((void *)(uintptr_t)r.batch.label);
    free((void *)(uintptr_t)r.batch.pixels);
    free((void *)(uintptr_t)r.batch.features);
    free(r.logits);
    ammpl_optimizer_destroy(r.optimizer);
    ammpl_session_destroy(r.session);
    ammpl_prompt_destroy(r.prompt);
    ammpl_config_destroy(cfg);
    return ok;
}

/* Whether `asked` is this step's name, or that of all steps whose names begin so. */
static bool is_meant(const char *name, const char *asked)
{
    size_t n = strlen(asked);
    bool exact = false;
    for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++)
        exact = exact || strcmp(steps[k].name, asked) == 0;
    return strncmp(name, asked, n) == 0 && name[n] == (exact ? '\0' : '-');
}

bool bench_knows_steps(struct app *app, const char *only)
{
    struct list names = {NULL, 0, 0};
    const char *unknown = NULL;
    list_split(&names, only);
    for (size_t i = 0; unknown == NULL && i < names.count; i++) {
        size_t k = 0;
        while (k < sizeof steps / sizeof steps[0] && !is_meant(steps[k].name, names.item[i]))
            k++;
        if (k == sizeof steps / sizeof steps[0])
            unknown = names.item[i];
    }
    bool ok = (unknown == NULL && names.count > 0) || app_usage(app, "--steps '%s': no step has such a name", unknown ? unknown : only);
    list_free(&names);
    return ok;
}

static bool is_asked(const char *name, const struct list *only)
{
    for (size_t i = 0; i < only->count; i++)
        if (is_meant(name, only->item[i]))
            return true;
    return only->count == 0;
}

bool bench_steps(struct bench *b, const char *only, int classes, int batch, const char *folder)
{
    struct list names = {NULL, 0, 0};
    bool ok = true;
    if (only != NULL)
        list_split(&names, only);
    for (size_t i = 0; ok && i < sizeof steps / sizeof steps[0]; i++)
        if (is_asked(steps[i].name, &names))
            ok = measure_step(b, &steps[i], classes, batch, folder);
    list_free(&names);
    return ok;
}
