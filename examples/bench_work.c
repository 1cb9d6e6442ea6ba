/* bench_work.c - what ammpl-bench measures but steps: products, towers, loading, pictures. */
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
        if (!bench_check(b, inside_kernel_name(i), inside_kernel(b->app->context, i, 32 * (grid * grid + 1), W, &w)) ||
            !bench_measure_inside(b, &w, &f))
            return false;
        bench_show(b, "kernel", inside_kernel_name(i), &f, 0, NULL);
    }
    return true;
}

/* ---- products at the towers' shapes ---- */

static const char *const product_name[] = {"x W^T", "dy W"};

static bool gemm(struct bench *b, const int64_t shape[3], int backward, bool openblas, struct figure *f)
{
    struct inside_work w;
    char name[96];
    snprintf(name, sizeof name, "%s %lld x %lld x %lld", product_name[backward], (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    ammpl_status status = (openblas ? inside_openblas : inside_linear)(b->app->context, shape[0], shape[1], shape[2], backward, &w);
    if (!bench_check(b, name, status) || !bench_measure_inside(b, &w, f))
        return false;
    bench_show(b, openblas ? "openblas" : "gemm", name, f, 0, NULL);
    return true;
}

/* Rows for src/SPEED.md. */
static void show_comparison(const struct bench *b, const int64_t (*shape)[3], const struct figure (*figure)[2][2], size_t count)
{
    printf("\n%s, %d thread%s\n\n| op | shape | of peak | of the micro-kernel | OpenBLAS of peak | of the micro-kernel | times |\n|---|---|---|---|---|---|---|\n",
           inside_openblas_name(), b->threads, b->threads == 1 ? "" : "s");
    for (size_t i = 0; i < count; i++)
        for (int back = 0; back < 2; back++) {
            const struct figure *own = &figure[i][back][0], *other = &figure[i][back][1];
            printf("| %s | %lld x %lld x %lld | %.2f | %.2f | %.2f | %.2f | %.2f |\n", product_name[back], (long long)shape[i][0], (long long)shape[i][1],
                   (long long)shape[i][2], own->of_peak, own->of_kernel, other->of_peak, other->of_kernel, other->seconds / own->seconds);
        }
    putchar('\n');
}

bool bench_gemm(struct bench *b, bool openblas)
{
    int64_t W = app_model_int(b->app, AMMPL_QUERY_IMAGE_WIDTH), l = app_model_int(b->app, AMMPL_QUERY_TEXT_WIDTH);
    int64_t grid = app_model_int(b->app, AMMPL_QUERY_GRID), L = grid * grid + 1;
    const int64_t shape[][3] = {{8 * L, 3 * W, W}, {8 * L, W, W},     {8 * L, 4 * W, W}, {8 * L, W, 4 * W}, {L, 4 * W, W},
                                {370, 3 * l, l},   {370, 4 * l, l},   {370, l, 4 * l},   {40, 4 * l, l},    {40, l, 4 * l}};
    enum { SHAPES = sizeof shape / sizeof shape[0] };
    struct figure figure[SHAPES][2][2]; /* forward and backward; ours and OpenBLAS' */
    for (size_t i = 0; i < SHAPES; i++)
        for (int back = 0; back < 2; back++)
            if (!gemm(b, shape[i], back, false, &figure[i][back][0]) || (openblas && !gemm(b, shape[i], back, true, &figure[i][back][1])))
                return false;
    if (openblas && !b->json)
        show_comparison(b, shape, figure, SHAPES);
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
        snprintf(name, sizeof name, "%s, %d %s", back ? "forward + backward" : "forward", n, k < 2 ? "images" : "texts of 10 tokens");
        if (!bench_has_room(b, name, inside_tower_bytes(b->app->model, n, k < 2 ? 0 : 10, back)))
            return false;
        ammpl_status status = k < 2 ? inside_image_tower(b->app->model, n, back, &w) : inside_text_tower(b->app->model, n, 10, back, &w);
        if (!bench_check(b, name, status) || !bench_measure_inside(b, &w, &f))
            return false;
        bench_show(b, "tower", name, &f, n, k < 2 ? "images/s" : "classes/s");
    }
    return true;
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
    if (access(l.path, R_OK) != 0) { /* another name, or in parts */
        app_say(b->app, "ammpl-bench: loading is not measured: there is no %s\n", l.path);
        return true;
    }
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
