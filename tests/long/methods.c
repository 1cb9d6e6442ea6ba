/* methods.c - every method trains two steps on a CLIP of real size; seconds, memory, what each learns.
 *
 *   methods MODEL VOCABULARY
 *
 * The model is one that tests/reference/make_vitb16.py wrote (ViT-B/16 or ViT-L/14): random, with trained sizes.  Prints TAP; lines that
 * start with "# " are measurements.
 */
#include "long.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

static const char *const names[] = {"dog", "apple_pie", "banded", "707 jet"};
enum { CLASSES = 4, PICTURES = 4, STEPS = 2 };

static int64_t size_of(const ammpl_model *m, ammpl_query query)
{
    int64_t v = 0;
    must(ammpl_model_get_int(m, query, &v), "ammpl_model_get_int");
    return v;
}

static double mib_now(const ammpl_context *ctx, bool peak)
{
    uint64_t held = 0, most = 0;
    must(ammpl_context_memory(ctx, &held, &most), "ammpl_context_memory");
    return (double)(peak ? most : held) / 1048576;
}

/* What methods.md counts for ViT-B, in the widths of the model at hand: l, W, E, and as many blocks as each default goes. */
static uint64_t expected(const ammpl_model *m, ammpl_method method)
{
    uint64_t l = (uint64_t)size_of(m, AMMPL_QUERY_TEXT_WIDTH), W = (uint64_t)size_of(m, AMMPL_QUERY_IMAGE_WIDTH);
    uint64_t E = (uint64_t)size_of(m, AMMPL_QUERY_EMBED_WIDTH), R = (uint64_t)size_of(m, AMMPL_QUERY_IMAGE_SIZE);
    uint64_t blocks = (uint64_t)size_of(m, AMMPL_QUERY_IMAGE_LAYERS), p = (30 * R + 112) / 224;
    switch (method) {
    case AMMPL_METHOD_COOP:
        return 16 * l;
    case AMMPL_METHOD_COCOOP:
        return 4 * l + E / 16 * E + E / 16 + l * (E / 16) + l;
    case AMMPL_METHOD_VP:
        return 2 * 3 * p * R + 2 * 3 * (R - 2 * p) * p;
    case AMMPL_METHOD_VPT:
        return 12 * 8 * W;
    case AMMPL_METHOD_DLP:
        return 12 * 4 * l;
    case AMMPL_METHOD_IVLP:
        return 12 * 2 * l + 12 * 2 * W;
    case AMMPL_METHOD_MAPLE:
        return 9 * (2 * l + W * l + W);
    case AMMPL_METHOD_DPT:
        return 16 * l + (blocks - 1) * 10 * W + 10 * W + E * W + W + 2 * 32 * W + W * W + 4 * W + CLASSES * W;
    default: /* AMMPL, shared: ctx, P, N, f_T, f_I */
        return 4 * l + (uint64_t)(size_of(m, AMMPL_QUERY_GRID) * size_of(m, AMMPL_QUERY_GRID)) +
               3 * (uint64_t)(size_of(m, AMMPL_QUERY_PATCH_SIZE) * size_of(m, AMMPL_QUERY_PATCH_SIZE)) * (1 + E / 16 + 1) +
               2 * (E / 16 * E + E / 16) + l * (E / 16) + l;
    }
}

static ammpl_dataset *pictures(ammpl_context *ctx)
{
    ammpl_dataset *ds;
    enum { SIDE = 240 };
    unsigned char *pixels = malloc(SIDE * SIDE * 3);
    must(ammpl_dataset_create(ctx, names, CLASSES, &ds), "ammpl_dataset_create");
    for (uint32_t k = 0; pixels && k < PICTURES; k++) {
        ammpl_image *img;
        for (uint32_t i = 0; i < SIDE * SIDE * 3; i++) /* blocks of colour, others in every picture */
            pixels[i] = (unsigned char)((i / 3 / 20 % 12 * 37 + i / (SIDE * 60) * 91 + i % 3 * 53 + k * 29) * (k + 3));
        must(ammpl_image_from_pixels(ctx, pixels, SIDE, SIDE, SIDE * 3, &img), "ammpl_image_from_pixels");
        must(ammpl_dataset_add_image(ds, img, (int32_t)k), "ammpl_dataset_add_image");
        ammpl_image_destroy(img);
    }
    free(pixels);
    return ds;
}

/* All values one after another. */
static float *values(const ammpl_prompt *p, size_t *count)
{
    float *all = NULL;
    *count = 0;
    for (size_t i = 0; i < ammpl_prompt_tensor_count(p); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        must(ammpl_prompt_tensor_describe(p, i, &info), "ammpl_prompt_tensor_describe");
        all = realloc(all, (*count + info.count) * sizeof *all);
        must(ammpl_prompt_tensor_read(p, i, all + *count, info.count), "ammpl_prompt_tensor_read");
        *count += info.count;
    }
    return all;
}

/* Some number of every tensor has changed, and all are numbers. */
static bool all_moved(const ammpl_prompt *p, const float *before, const float *after)
{
    bool ok = true;
    size_t at = 0;
    for (size_t i = 0; i < ammpl_prompt_tensor_count(p); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        must(ammpl_prompt_tensor_describe(p, i, &info), "ammpl_prompt_tensor_describe");
        bool moved = false;
        for (size_t k = 0; k < info.count; k++, at++) {
            moved = moved || before[at] != after[at];
            ok = ok && isfinite(after[at]);
        }
        if (!moved)
            printf("# %s stays as it was\n", info.name);
        ok = ok && moved;
    }
    return ok;
}

static void train(ammpl_context *ctx, const ammpl_model *m, const ammpl_dataset *ds, ammpl_method method, const char *name)
{
    ammpl_config *cfg;
    ammpl_prompt *p;
    ammpl_session *s;
    ammpl_trainer *t;
    ammpl_cost cost = {.struct_size = sizeof cost};
    char line[160];
    must(ammpl_config_create(ctx, &cfg), "ammpl_config_create");
    /* Two pictures a step, no warm-up: its rate is too small for floats to move. */
    static const char *const options[][2] = {{"batch", "2"}, {"epochs", "1"}, {"warmup_epochs", "0"}, {"warmup_steps", "0"}, {"lr", "0.01"}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        must(ammpl_config_set_text(cfg, options[i][0], options[i][1]), options[i][0]);
    must(ammpl_prompt_create(m, method, names, CLASSES, cfg, &p), name);
    must(ammpl_prompt_cost(p, &cost), "ammpl_prompt_cost");
    snprintf(line, sizeof line, "%s learns %llu numbers", name, (unsigned long long)cost.parameters);
    report(cost.parameters == expected(m, method), line);
    double before_mib = mib_now(ctx, false);
    must(ammpl_session_create(m, cfg, &s), "ammpl_session_create");
    must(ammpl_trainer_create(s, p, ds, cfg, &t), name);
    size_t count;
    float *before = values(p, &count), *after;
    ammpl_progress progress = {.struct_size = sizeof progress};
    double seconds[STEPS] = {0}, loss[STEPS] = {0};
    bool ok = true;
    for (int i = 0; ok && i < STEPS; i++) {
        double begin = now();
        ok = ammpl_trainer_step(t, &progress) == AMMPL_OK;
        seconds[i] = now() - begin;
        loss[i] = progress.loss;
    }
    double held = mib_now(ctx, false);
    after = values(p, &count);
    snprintf(line, sizeof line, "%s trains two steps (loss %.4f, %.4f)", name, loss[0], loss[1]);
    report(ok && isfinite(loss[0]) && isfinite(loss[1]) && loss[0] > 0 && all_moved(p, before, after), line);
    printf("# %s: %.1f s, %.1f s for steps of 2 pictures and %d classes; %.0f MiB held by prompt, session and trainer, at most %.0f MiB so far\n",
           name, seconds[0], seconds[1], CLASSES, held - before_mib, mib_now(ctx, true));
    free(before);
    free(after);
    ammpl_trainer_destroy(t);
    ammpl_session_destroy(s);
    ammpl_prompt_destroy(p);
    ammpl_config_destroy(cfg);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: methods MODEL VOCABULARY\n");
        return 2;
    }
    ammpl_context *ctx;
    ammpl_config *cfg;
    ammpl_model *m;
    must(ammpl_context_create(NULL, &ctx), "ammpl_context_create");
    must(ammpl_config_create(ctx, &cfg), "ammpl_config_create");
    must(ammpl_config_set_string(cfg, AMMPL_OPT_VOCAB, argv[2]), "the option vocab");
    must(ammpl_model_load_file(ctx, NULL, argv[1], cfg, &m), "ammpl_model_load_file");
    printf("# text %lld x %lld, image %lld x %lld, joint %lld, %lld x %lld patches; %.0f MiB\n", (long long)size_of(m, AMMPL_QUERY_TEXT_LAYERS),
           (long long)size_of(m, AMMPL_QUERY_TEXT_WIDTH), (long long)size_of(m, AMMPL_QUERY_IMAGE_LAYERS),
           (long long)size_of(m, AMMPL_QUERY_IMAGE_WIDTH), (long long)size_of(m, AMMPL_QUERY_EMBED_WIDTH), (long long)size_of(m, AMMPL_QUERY_GRID),
           (long long)size_of(m, AMMPL_QUERY_GRID), mib_now(ctx, false));
    ammpl_dataset *ds = pictures(ctx);
    static const char *const methods[] = {"coop", "cocoop", "vp", "vpt", "dlp", "ivlp", "maple", "dpt", "ammpl"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        ammpl_method method;
        must(ammpl_method_find(methods[i], &method), methods[i]);
        train(ctx, m, ds, method, methods[i]);
    }
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("# peak of the process %.0f MiB\n1..%d\n", (double)u.ru_maxrss / 1024, cases);
    ammpl_dataset_destroy(ds);
    ammpl_model_destroy(m);
    ammpl_config_destroy(cfg);
    ammpl_context_destroy(ctx);
    return failures ? 1 : 0;
}
