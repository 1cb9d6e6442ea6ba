/* bench_work.c - what ammpl-bench measures: products, towers, training steps, loading, pictures. */
#include "bench.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/list.h"

/* ---- kernels that a device's memory binds ---- */

bool bench_kernels(struct bench *b)
{
    int64_t grid = app_model_int(b->app, AMMPL_QUERY_GRID), W = app_model_int(b->app, AMMPL_QUERY_IMAGE_WIDTH);
    for (size_t i = 0; inside_kernel_name(i) != NULL; i++) {
        struct inside_work w;
        struct figure f;
        if (!app_check(b->app, inside_kernel(b->app->context, i, 32 * (grid * grid + 1), W, &w)) || !bench_measure_inside(b, &w, &f))
            return false;
        bench_show(b, "kernel", inside_kernel_name(i), &f, 0, NULL);
    }
    return true;
}

/* ---- products at the towers' shapes ---- */

static bool gemm(struct bench *b, int64_t T, int64_t N, int64_t K, int backward, bool openblas)
{
    struct inside_work w;
    struct figure f;
    char name[96];
    ammpl_status status = openblas ? inside_openblas(b->app->context, T, N, K, backward, &w) : inside_linear(b->app->context, T, N, K, backward, &w);
    if (status == AMMPL_E_UNSUPPORTED)
        return app_fail(b->app, "--compare-openblas: this ammpl-bench was built without; meson configure -Dopenblas=enabled");
    if (!app_check(b->app, status) || !bench_measure_inside(b, &w, &f))
        return false;
    snprintf(name, sizeof name, "%s %lld x %lld x %lld", backward ? "dy W" : "x W^T", (long long)T, (long long)N, (long long)K);
    bench_show(b, openblas ? "openblas" : "gemm", name, &f, 0, NULL);
    return true;
}

bool bench_gemm(struct bench *b, bool openblas)
{
    int64_t W = app_model_int(b->app, AMMPL_QUERY_IMAGE_WIDTH), l = app_model_int(b->app, AMMPL_QUERY_TEXT_WIDTH);
    int64_t grid = app_model_int(b->app, AMMPL_QUERY_GRID), L = grid * grid + 1;
    const int64_t shape[][3] = {{8 * L, 3 * W, W}, {8 * L, W, W},     {8 * L, 4 * W, W}, {8 * L, W, 4 * W}, {L, 4 * W, W},
                                {370, 3 * l, l},   {370, 4 * l, l},   {370, l, 4 * l},   {40, 4 * l, l},    {40, l, 4 * l}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
        for (int k = 0; k < 4; k++)
            if ((k < 2 || openblas) && !gemm(b, shape[i][0], shape[i][1], shape[i][2], k % 2, k >= 2))
                return false;
    struct inside_work w;
    struct figure f;
    for (int k = 0; k < 4; k++) {
        ammpl_status status = k < 2 ? inside_attention(b->app->context, 8, L, W, W / 64, 0, k % 2, &w)
                                    : inside_attention(b->app->context, 100, 10, l, l / 64, 1, k % 2, &w);
        if (!app_check(b->app, status) || !bench_measure_inside(b, &w, &f))
            return false;
        static const char *const names[] = {"forward, 8 images", "backward, 8 images", "forward, 100 texts of 10", "backward, 100 texts of 10"};
        bench_show(b, "attention", names[k], &f, 0, NULL);
    }
    return true;
}

/* ---- towers ---- */

bool bench_towers(struct bench *b, int batch, int classes)
{
    for (int k = 0; k < 4; k++) {
        struct inside_work w;
        struct figure f;
        char name[96];
        int back = k % 2, n = k < 2 ? batch : classes;
        ammpl_status status = k < 2 ? inside_image_tower(b->app->model, n, back, &w) : inside_text_tower(b->app->model, n, 10, back, &w);
        if (!app_check(b->app, status) || !bench_measure_inside(b, &w, &f))
            return false;
        snprintf(name, sizeof name, "%s, %d %s", back ? "forward + backward" : "forward", n, k < 2 ? "images" : "texts of 10 tokens");
        bench_show(b, "tower", name, &f, n, k < 2 ? "images/s" : "classes/s");
    }
    return true;
}

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
    ammpl_optimizer *optimizer;
    ammpl_batch batch;
    double loss, first_loss;
    int count;
};

static ammpl_status run_step(void *arg, struct inside_cost *cost)
{
    struct running_step *r = arg;
    inside_counted();
    ammpl_status status = ammpl_prompt_zero_gradients(r->prompt);
    if (status >= 0)
        status = ammpl_session_accumulate(r->session, r->prompt, &r->batch, &r->loss, NULL);
    if (status >= 0)
        status = ammpl_optimizer_step(r->optimizer);
    if (r->count++ == 0)
        r->first_loss = r->loss;
    *cost = inside_counted();
    r->batch.step++;
    return status;
}

static bool open_step(struct running_step *r, const struct step *s, int classes, int batch, ammpl_config *cfg)
{
    struct app *app = r->b->app;
    ammpl_method method;
    char (*name)[8] = allocate((size_t)classes * sizeof *name);
    const char **names = allocate((size_t)classes * sizeof *names);
    for (int i = 0; i < classes; i++) {
        class_name(i, name[i]);
        names[i] = name[i];
    }
    bool ok = true;
    for (size_t i = 0; ok && s->options[i] != NULL; i += 2)
        ok = app_check(app, ammpl_config_set_text(cfg, s->options[i], s->options[i + 1]));
    int64_t limit = 0;
    if (ok && ammpl_config_get_int(app->config, AMMPL_OPT_MEMORY_LIMIT, &limit) >= 0 && limit > 0)
        ok = app_check(app, ammpl_config_set_int(cfg, AMMPL_OPT_MEMORY_LIMIT, limit));
    ok = ok && app_check(app, ammpl_config_set_float(cfg, AMMPL_OPT_LR, 1e-4)) && app_check(app, ammpl_method_find(s->method, &method)) &&
         app_check(app, ammpl_prompt_create(app->model, method, names, (size_t)classes, cfg, &r->prompt)) &&
         app_check(app, ammpl_optimizer_create(r->prompt, cfg, &r->optimizer)) &&
         app_check(app, ammpl_session_create(app->model, cfg, &r->session));
    free(name);
    free(names);
    if (!ok)
        return false;
    inside_count(r->session);
    size_t n = (size_t)batch, E = (size_t)app_model_int(app, AMMPL_QUERY_EMBED_WIDTH), R = (size_t)app_model_int(app, AMMPL_QUERY_IMAGE_SIZE);
    int32_t *label = allocate(n * sizeof *label);
    for (int i = 0; i < batch; i++)
        label[i] = i % classes;
    float *x = numbers(s->cached ? n * E : n * 3 * R * R, 1);
    for (size_t i = 0; s->cached && i < n * E; i++)
        x[i] /= (float)E / 24; /* about of length 1 */
    r->batch = (ammpl_batch){.struct_size = sizeof r->batch, .n = n, .label = label, .seed = 1};
    *(s->cached ? &r->batch.features : &r->batch.pixels) = x;
    return true;
}

static bool export(struct bench *b, const struct step *s, const ammpl_prompt *prompt, const char *folder)
{
    char path[4096];
    if (folder == NULL)
        return true;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, s->name);
    return app_check(b->app, ammpl_prompt_save_file(prompt, path, 1));
}

static bool measure_step(struct bench *b, const struct step *s, int classes, int batch, const char *folder)
{
    struct running_step r = {.b = b};
    ammpl_config *cfg = NULL;
    struct figure f;
    char name[96];
    classes = classes > 0 ? classes : s->classes;
    batch = batch > 0 ? batch : s->batch;
    bool ok = app_check(b->app, ammpl_config_create(b->app->context, &cfg)) && open_step(&r, s, classes, batch, cfg) &&
              export(b, s, r.prompt, folder) && bench_measure(b, run_step, &r, inside_stream(r.session), &f);
    if (ok) {
        snprintf(name, sizeof name, "%s, %d classes, batch %d", s->name, classes, batch);
        bench_show(b, "step", name, &f, batch, "images/s");
        snprintf(name, sizeof name, "%s, first loss", s->name);
        bench_show_number(b, "step", name, r.first_loss, "nats");
    }
    free((void *)(uintptr_t)r.batch.label);
    free((void *)(uintptr_t)r.batch.pixels);
    free((void *)(uintptr_t)r.batch.features);
    ammpl_optimizer_destroy(r.optimizer);
    ammpl_session_destroy(r.session);
    ammpl_prompt_destroy(r.prompt);
    ammpl_config_destroy(cfg);
    return ok;
}

static bool is_asked(const char *name, const struct list *only)
{
    for (size_t i = 0; i < only->count; i++) {
        size_t n = strlen(only->item[i]);
        bool exact = false;
        for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++)
            exact = exact || strcmp(steps[k].name, only->item[i]) == 0;
        if (strncmp(name, only->item[i], n) == 0 && name[n] == (exact ? '\0' : '-'))
            return true;
    }
    return only->count == 0;
}

bool bench_steps(struct bench *b, const char *only, int classes, int batch, const char *folder)
{
    size_t found = 0;
    struct list names = {NULL, 0, 0};
    bool ok = true;
    if (only != NULL)
        list_split(&names, only);
    for (size_t i = 0; ok && i < sizeof steps / sizeof steps[0]; i++)
        if (is_asked(steps[i].name, &names)) {
            found++;
            ok = measure_step(b, &steps[i], classes, batch, folder);
        }
    list_free(&names);
    return ok && (found > 0 || app_usage(b->app, "--steps %s: no step has such a name", only));
}

/* ---- loading ---- */

struct loading {
    struct bench *b;
    char path[4096];
};

/* What any program must do at least: read the file into memory of its own. */
static ammpl_status run_read(void *arg, struct inside_cost *cost)
{
    struct loading *l = arg;
    (void)cost;
    int file = open(l->path, O_RDONLY);
    off_t size = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    char *data = size > 0 ? malloc((size_t)size) : NULL;
    off_t at = 0;
    while (data != NULL && at < size) {
        ssize_t n = pread(file, data + at, (size_t)(size - at), at);
        if (n <= 0)
            break;
        at += n;
    }
    free(data);
    if (file >= 0)
        close(file);
    return size > 0 && at == size ? AMMPL_OK : AMMPL_E_IO;
}

static ammpl_status run_load(void *arg, struct inside_cost *cost)
{
    struct loading *l = arg;
    ammpl_model *m = NULL;
    (void)cost;
    ammpl_status status = ammpl_model_load_file(l->b->app->context, NULL, l->path, l->b->app->config, &m);
    ammpl_model_destroy(m);
    return status;
}

bool bench_loading(struct bench *b, const char *path)
{
    struct loading l = {.b = b};
    struct figure read, load;
    const char *ending = strrchr(path, '.');
    bool file = ending != NULL && strcmp(ending, ".safetensors") == 0;
    snprintf(l.path, sizeof l.path, file ? "%s" : "%s/model.safetensors", path);
    if (access(l.path, R_OK) != 0)
        return true; /* another name, or in parts */
    if (!bench_measure(b, run_read, &l, NULL, &read) || !bench_measure(b, run_load, &l, NULL, &load))
        return false;
    bench_show(b, "loading", "read() of the file alone", &read, 0, NULL);
    bench_show(b, "loading", "model", &load, 0, NULL);
    bench_show_number(b, "loading", "model / read()", load.seconds / read.seconds, "times");
    return true;
}

/* ---- pictures ---- */

struct pictures {
    struct bench *b;
    ammpl_image *image;
    float *pixels;
    size_t cap;
    uint32_t step;
};

static ammpl_status run_preprocess(void *arg, struct inside_cost *cost)
{
    struct pictures *p = arg;
    (void)cost;
    return ammpl_model_preprocess(p->b->app->model, p->image, p->pixels, p->cap);
}

static ammpl_status run_augment(void *arg, struct inside_cost *cost)
{
    struct pictures *p = arg;
    (void)cost;
    return ammpl_model_augment(p->b->app->model, p->image, 1, 1, p->step++, p->pixels, p->cap);
}

bool bench_pictures(struct bench *b)
{
    enum { WIDTH = 500, HEIGHT = 375 };
    size_t R = (size_t)app_model_int(b->app, AMMPL_QUERY_IMAGE_SIZE);
    struct pictures p = {.b = b, .pixels = allocate(3 * R * R * sizeof(float)), .cap = 3 * R * R};
    uint8_t *rgb = allocate(3 * WIDTH * HEIGHT);
    for (int i = 0; i < 3 * WIDTH * HEIGHT; i++)
        rgb[i] = (uint8_t)(i * 7 + i / 1500 * 13);
    struct figure f;
    bool ok = app_check(b->app, ammpl_image_from_pixels(b->app->context, rgb, WIDTH, HEIGHT, 0, &p.image));
    if (ok && (ok = bench_measure(b, run_preprocess, &p, NULL, &f)))
        bench_show(b, "pictures", "preprocess 500 x 375", &f, 1, "images/s");
    if (ok && (ok = bench_measure(b, run_augment, &p, NULL, &f)))
        bench_show(b, "pictures", "random crop and flip of 500 x 375", &f, 1, "images/s");
    ammpl_image_destroy(p.image);
    free(rgb);
    free(p.pixels);
    return ok;
}
