/* growth.c - how a training step's time and memory grow, at ViT-B/16's size with random weights.
 *
 *   growth FOLDER           writes a model there (0.6 GB), then another, and prints one line per measurement, for growth.sh:
 *                           SERIES X SECONDS PLANNED TAKEN    seconds of processor time of a step, of all threads: the median of three
 *                                                             behind the first (the first, where it takes more than LONG); MiB
 *   growth FOLDER quick     the same of two small sizes each, with ViT-B/32, to see that it works
 *   growth FOLDER methods   a step of 2 images and 5 classes of every method, instead
 *
 * PLANNED is what ammpl_session_plan says, TAKEN what an allocator counts from before the session was made.
 */
#include <ammpl/ammpl.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../../examples/bench.h"

enum { MOST_CLASSES = 1000, MOST_IMAGES = 32, SIZES = 5, STEPS = 4, LONG = 100 };

static void must(ammpl_status status)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s\n", ammpl_last_error());
    exit(1);
}

static struct {
    pthread_mutex_t lock;
    uint64_t now, peak;
} bytes = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *count_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    pthread_mutex_lock(&bytes.lock);
    bytes.now += size;
    bytes.peak = bytes.now > bytes.peak ? bytes.now : bytes.peak;
    pthread_mutex_unlock(&bytes.lock);
    return posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void count_release(void *user, void *ptr, size_t size)
{
    (void)user;
    pthread_mutex_lock(&bytes.lock);
    bytes.now -= size;
    pthread_mutex_unlock(&bytes.lock);
    free(ptr);
}

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Class names of `words` words of two letters. */
static void make_names(int words, char name[MOST_CLASSES][64], const char *list[MOST_CLASSES])
{
    for (int i = 0; i < MOST_CLASSES; i++) {
        list[i] = name[i];
        for (int w = 0; w < words; w++) {
            int number = i + 17 * w;
            snprintf(name[i] + 3 * w, 64 - 3 * (size_t)w, "%c%c ", 'a' + number % 26, 'a' + number / 26 % 26);
        }
        snprintf(name[i] + 3 * words - 1, 8, "%c%c", 'a' + i / 676 % 26, 'a' + i / 17 % 26); /* no two alike */
    }
}

typedef struct series {
    const char *name, *method;
    bool features;
    int classes, words, images;
    bool least; /* under the smallest memory_limit: nearly all is computed again for backward */
} series;

static void limit_to_least(ammpl_model *m, ammpl_config *cfg, const ammpl_prompt *p, size_t images, int32_t call)
{
    ammpl_session *planner;
    uint64_t planned;
    char least[32];
    must(ammpl_config_set_text(cfg, "memory_limit", "1"));
    must(ammpl_session_create(m, cfg, &planner));
    const char *asked = ammpl_session_plan(planner, p, images, call, &planned) < 0 ? strstr(ammpl_last_error(), "at least ") : NULL;
    if (asked == NULL || sscanf(asked, "at least %31[0-9]", least) != 1) {
        fprintf(stderr, "memory_limit = 1 was to be refused with the least that is needed: %s\n", ammpl_last_error());
        exit(1);
    }
    ammpl_session_destroy(planner);
    must(ammpl_config_set_text(cfg, "memory_limit", least));
}

static void measure(ammpl_context *ctx, ammpl_model *m, const series *s, int x)
{
    static char name[MOST_CLASSES][64];
    const char *list[MOST_CLASSES];
    static int32_t label[MOST_IMAGES];
    ammpl_method method;
    ammpl_config *cfg;
    ammpl_prompt *p;
    ammpl_session *planner, *session;
    int64_t R, E;
    uint64_t planned;
    double loss, begin, seconds[STEPS];
    must(ammpl_model_get_int(m, AMMPL_QUERY_IMAGE_SIZE, &R));
    must(ammpl_model_get_int(m, AMMPL_QUERY_EMBED_WIDTH, &E));
    make_names(s->words, name, list);
    must(ammpl_method_find(s->method, &method));
    must(ammpl_config_create(ctx, &cfg));
    if (strcmp(s->method, "coop") == 0)
        must(ammpl_config_set_text(cfg, "ctx_init", "")); /* 16 tokens that are no words */
    if (strcmp(s->method, "ammpl") == 0)
        must(ammpl_config_set_text(cfg, "scope", "class")); /* each class has its own masks, and so its own picture */
    must(ammpl_prompt_create(m, method, list, (size_t)s->classes, cfg, &p));
    size_t each = (size_t)(s->features ? E : 3 * R * R), count = each * (size_t)s->images;
    float *input = malloc(count * sizeof *input);
    for (size_t i = 0; i < count; i++)
        input[i] = (float)((uint32_t)i * 2654435761u >> 24) / 64.0f - 2.0f;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = (size_t)s->images, .label = label};
    if (s->features)
        batch.features = input;
    else
        batch.pixels = input;
    int32_t call = s->features ? AMMPL_PLAN_ACCUMULATE_FEATURES : AMMPL_PLAN_ACCUMULATE;
    if (s->least)
        limit_to_least(m, cfg, p, batch.n, call);
    must(ammpl_session_create(m, cfg, &planner));
    must(ammpl_session_plan(planner, p, batch.n, call, &planned));
    ammpl_session_destroy(planner);
    uint64_t before = bytes.peak = bytes.now;
    must(ammpl_session_create(m, cfg, &session));
    int steps = 0;
    do {
        begin = processor_seconds();
        must(ammpl_session_accumulate(session, p, &batch, &loss, NULL));
        seconds[steps++] = processor_seconds() - begin;
    } while (steps < STEPS && seconds[0] < LONG);
    printf("%s %d %.3f %.1f %.1f\n", s->name, x, steps == 1 ? seconds[0] : bench_median(seconds + 1, steps - 1),
           (double)planned / 1048576, (double)(bytes.peak - before) / 1048576);
    fflush(stdout);
    ammpl_session_destroy(session);
    ammpl_prompt_destroy(p);
    ammpl_config_destroy(cfg);
    free(input);
}

static ammpl_model *make_model(ammpl_context *ctx, const char *folder, const char *architecture)
{
    ammpl_model *m;
    int failed = bench_write_model(architecture, folder, false);
    if (failed) {
        fprintf(stderr, "%s: %s\n", folder, strerror(failed));
        exit(1);
    }
    must(ammpl_model_load_file(ctx, NULL, folder, NULL, &m));
    return m;
}

/* Every method that learns, as published. */
static void measure_methods(ammpl_context *ctx, ammpl_model *m)
{
    for (size_t i = 0; i < ammpl_method_count(); i++) {
        ammpl_method id;
        series s = {.classes = 5, .words = 1, .images = 2};
        must(ammpl_method_describe(i, &id, &s.name, NULL));
        s.method = s.name;
        if (id != AMMPL_METHOD_ZEROSHOT)
            measure(ctx, m, &s, 5);
    }
}

/* Sizes by what grows; 0 behind the last. */
struct sizes {
    const char *model, *larger; /* architectures: for most, and for pictures of more pixels */
    int named; /* classes whose names grow */
    int classes[SIZES + 1], words[SIZES + 1], images[SIZES + 1];
};

static void measure_growth(ammpl_context *ctx, const char *folder, const struct sizes *z)
{
    ammpl_model *m = make_model(ctx, folder, z->model);
    for (const int *n = z->classes; *n > 0; n++)
        measure(ctx, m, &(series){"coop-classes", "coop", true, *n, 1, 32, false}, *n);
    for (const int *n = z->classes; *n > 0; n++)
        measure(ctx, m, &(series){"cocoop-classes", "cocoop", true, *n, 1, 1, false}, *n);
    for (const int *n = z->words; *n > 0; n++)
        measure(ctx, m, &(series){"coop-words", "coop", true, z->named, *n, 32, false}, *n);
    for (const int *n = z->images; *n > 0; n++)
        measure(ctx, m, &(series){"vpt-224-images", "vpt", false, 10, 1, *n, false}, *n);
    ammpl_model_destroy(m);
    m = make_model(ctx, folder, z->larger);
    for (const int *n = z->images; *n > 0; n++)
        measure(ctx, m, &(series){"vpt-336-images", "vpt", false, 10, 1, *n, false}, *n);
    ammpl_model_destroy(m);
    m = make_model(ctx, folder, z->model);
    for (const int *n = z->classes; *n > 0; n++) /* the longest last */
        measure(ctx, m, &(series){"ammpl-classes", "ammpl", false, *n, 1, 1, false}, *n);
    for (const int *n = z->classes; *n > 0; n++)
        measure(ctx, m, &(series){"ammpl-least-classes", "ammpl", false, *n, 1, 1, true}, *n);
    ammpl_model_destroy(m);
}

int main(int argc, char **argv)
{
    static const struct sizes all = {"ViT-B/16", "ViT-B/16-336", 100, {10, 30, 100, 300, 1000}, {1, 2, 4, 8, 16}, {1, 2, 4, 8}};
    static const struct sizes quick = {"ViT-B/32", "ViT-B/32", 3, {2, 3}, {1, 2}, {1, 2}};
    ammpl_allocator counting = {.struct_size = sizeof counting, .alloc = count_alloc, .release = count_release};
    ammpl_context *ctx;
    const char *what = argc == 3 ? argv[2] : "all";
    bool methods = strcmp(what, "methods") == 0;
    if (argc < 2 || argc > 3 || (argc == 3 && !methods && strcmp(what, "quick") != 0))
        return fprintf(stderr, "usage: growth FOLDER [quick|methods]\n"), 2;
    must(ammpl_context_create(&counting, &ctx));
    if (methods) {
        ammpl_model *m = make_model(ctx, argv[1], "ViT-B/16");
        measure_methods(ctx, m);
        ammpl_model_destroy(m);
    } else {
        measure_growth(ctx, argv[1], strcmp(what, "quick") == 0 ? &quick : &all);
    }
    ammpl_context_destroy(ctx);
    return 0;
}
