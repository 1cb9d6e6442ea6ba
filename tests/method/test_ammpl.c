/* test_ammpl.c - every option of AMMPL against plain PyTorch in float64: step-0 logits and gradients, 12 losses, the final
 * tensors, and logits in the four evaluation modes.  The goldens' images are masked pixel by pixel and their texts are 77-style
 * and uncut there, so the shortcuts here are tested too.
 */
#include "support.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"

enum { STEPS = 12, BATCH = 3, IMAGES = 7 };
static const double LOSSES = 1e-5, GRADIENTS = 1e-4, FINALS = 1e-4, LOGITS = 1e-5;

static const char *const variants[] = {
    "shared_default", "shared_draws_image", "shared_simultaneous", "shared_scalar", "shared_blend", "shared_none",
    "shared_interaction", "shared_mask", "shared_mask_padding", "shared_mask_interaction", "shared_candidates", "shared_wide",
    "class_default", "class_simultaneous", "class_scalar", "class_blend", "class_none", "class_interaction", "class_mask",
    "class_mask_padding", "class_mask_interaction", "class_candidates", "class_wide"};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* A golden file, the model and prompt it speaks of, with the initial tensors in place. */
typedef struct fixture {
    ammpl_context *ctx;
    ammpli_st *st;
    ammpl_config *cfg;
    ammpl_model *model;
    ammpl_prompt *prompt;
    ammpl_session *session;
    const char *names[8];
    json_t *classes;
    size_t C;
    float *images, *labels, *ids, *batches;
    int64_t chw;
    uint64_t seed;
} fixture;

static void open_fixture(fixture *f, const char *variant, int64_t memory_limit)
{
    static const char *const options[] = {"scope", "order", "shift", "mask_gradient", "mask", "padding", "interaction", "draws",
                                          "mask_mean", "lr_mask", "lr_padding", "candidates", "eval_seed", "n_ctx", "lr",
                                          "momentum", "weight_decay", "schedule", "warmup_epochs", "warmup_lr", "epochs", "batch",
                                          "seed"};
    char path[128];
    snprintf(path, sizeof path, "ammpl_%s.safetensors", variant);
    memset(f, 0, sizeof *f);
    f->ctx = test_context();
    ck_ok(ammpli_st_open(f->ctx, test_golden(path), &f->st));
    ck_ok(ammpli_config_create(f->ctx, &f->cfg));
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        ck_assert_msg(ammpli_st_meta(f->st, options[i]) != NULL, "%s has no %s", path, options[i]);
        ck_ok(ammpli_config_set_text(f->cfg, options[i], ammpli_st_meta(f->st, options[i])));
    }
    if (ammpli_st_meta(f->st, "ctx_init")[0])
        ck_ok(ammpli_config_set_text(f->cfg, "ctx_init", ammpli_st_meta(f->st, "ctx_init")));
    ck_ok(ammpli_config_set_int(f->cfg, AMMPL_OPT_MEMORY_LIMIT, memory_limit));
    f->seed = (uint64_t)ammpli_config_int(f->cfg, AMMPL_OPT_SEED);
    ck_ok(ammpli_model_load_file(f->ctx, NULL, test_golden(ammpli_st_meta(f->st, "model")), NULL, &f->model));
    f->classes = json_loads(ammpli_st_meta(f->st, "classes"), 0, NULL);
    f->C = json_array_size(f->classes);
    for (size_t i = 0; i < f->C; i++)
        f->names[i] = json_string_value(json_array_get(f->classes, i));
    ck_ok(ammpli_prompt_create(f->model, AMMPL_METHOD_AMMPL, f->names, f->C, f->cfg, &f->prompt));
    for (size_t i = 0; i < f->prompt->tensors; i++) {
        char name[96];
        int64_t count;
        snprintf(name, sizeof name, "init.%s", f->prompt->tensor[i].name);
        float *init = test_tensor(f->st, name, &count);
        ck_assert_int_eq(count, f->prompt->tensor[i].count);
        ck_ok(ammpli_prompt_write(f->prompt, i, init));
        free(init);
    }
    ck_ok(ammpli_session_create(f->model, f->cfg, &f->session));
    int64_t total;
    f->images = test_tensor(f->st, "images", &total);
    f->chw = total / IMAGES;
    f->labels = test_tensor(f->st, "labels", NULL);
    f->ids = test_tensor(f->st, "image_ids", NULL);
    f->batches = test_tensor(f->st, "batches", NULL);
}

static void close_fixture(fixture *f)
{
    free(f->images);
    free(f->labels);
    free(f->ids);
    free(f->batches);
    json_decref(f->classes);
    ammpli_session_release(f->session);
    ammpli_prompt_release(f->prompt);
    ammpli_model_release(f->model);
    ammpli_config_destroy(f->cfg);
    ammpli_st_close(f->st);
    ammpli_context_release(f->ctx);
}

/* Forward and backward of the golden's batch at `step`; logits [BATCH,C] may be NULL. */
static double run_batch(fixture *f, int step, float *logits)
{
    float *pixels = malloc((size_t)(BATCH * f->chw) * sizeof *pixels);
    int32_t label[BATCH];
    uint32_t id[BATCH];
    size_t n = 0;
    for (int k = 0; k < BATCH; k++) {
        int i = (int)f->batches[step * BATCH + k];
        if (i < 0)
            continue;
        memcpy(pixels + (int64_t)n * f->chw, f->images + i * f->chw, (size_t)f->chw * sizeof *pixels);
        label[n] = (int32_t)f->labels[i];
        id[n++] = (uint32_t)f->ids[i];
    }
    ammpl_batch batch = {.struct_size = sizeof batch, .n = n, .pixels = pixels, .label = label, .image_id = id, .seed = f->seed, .step = (uint32_t)step};
    double loss = NAN;
    ck_ok(ammpli_prompt_zero_gradients(f->prompt));
    ck_ok(ammpli_session_accumulate(f->session, f->prompt, &batch, &loss, logits));
    free(pixels);
    return loss;
}

static float *read_gradient(const fixture *f, size_t i)
{
    float *g = malloc((size_t)f->prompt->tensor[i].count * sizeof *g);
    ck_assert_ptr_nonnull(g);
    ck_ok(ammpli_prompt_gradient_read(f->prompt, i, g));
    return g;
}

static double norm_of(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * x[i];
    return sqrt(s);
}

/* A scalar added to a whole token does nothing (ammpl.md, step 6): f_I's gradient is rounding, and compared with ctx's. */
static bool is_without_effect(const fixture *f, const char *tensor)
{
    return strcmp(ammpli_st_meta(f->st, "shift"), "scalar") == 0 && strncmp(tensor, "image_to_text", 13) == 0;
}

static double norm_of_ctx(const fixture *f)
{
    int64_t n;
    float *g = test_tensor(f->st, "grad0.ctx", &n);
    double norm = norm_of(g, n);
    free(g);
    return norm;
}

START_TEST(golden_step)
{
    fixture f;
    open_fixture(&f, variants[_i], 0);
    /* The tensors that take part are those of the golden, no more and no fewer. */
    json_t *part = json_loads(ammpli_st_meta(f.st, "participating"), 0, NULL);
    ck_assert_uint_eq(f.prompt->tensors, json_array_size(part));
    json_decref(part);

    float logits[BATCH * 8];
    run_batch(&f, 0, logits);
    float *want = test_tensor(f.st, "logits0", NULL);
    double d = test_difference(logits, want, (int64_t)(BATCH * f.C), 1e-30);
    ck_assert_msg(d <= LOGITS, "%s: logits differ by %.3g", variants[_i], d);
    free(want);

    double largest = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < f.prompt->tensors; i++) {
            char name[96];
            const ammpli_tensor *t = &f.prompt->tensor[i];
            snprintf(name, sizeof name, "grad0.%s", t->name);
            float *reference = test_tensor(f.st, name, NULL), *got = read_gradient(&f, i);
            double size = norm_of(reference, t->count);
            largest = size > largest ? size : largest;
            if (pass && is_without_effect(&f, t->name)) {
                ck_assert_msg(norm_of(got, t->count) <= 1e-6 * norm_of_ctx(&f), "%s: gradient of %s should vanish", variants[_i], t->name);
            } else if (pass) {
                d = test_difference(got, reference, t->count, 1e-4 * largest);
                ck_assert_msg(d <= GRADIENTS, "%s: gradient of %s differs by %.3g (norm %.3g)", variants[_i], t->name, d, size);
            }
            free(reference);
            free(got);
        }
    close_fixture(&f);
}
END_TEST

/* 12 updates: every loss, every rate, the final tensors; then the four evaluation modes on them. */
START_TEST(golden_training)
{
    fixture f;
    open_fixture(&f, variants[_i], 0);
    ammpl_optimizer *o;
    ck_ok(ammpli_optimizer_create(f.prompt, f.cfg, &o));
    float *losses = test_tensor(f.st, "losses", NULL), *rates = test_tensor(f.st, "lr", NULL);
    for (int step = 0; step < STEPS; step++) {
        ammpli_optimizer_set_epoch(o, step / 3);
        ck_assert_msg(fabs(o->rate[0] - (double)rates[step]) <= 1e-6 * (double)rates[step], "step %d: rate %g", step, o->rate[0]);
        double loss = run_batch(&f, step, NULL), d = fabs(loss - (double)losses[step]) / fabs((double)losses[step]);
        ck_assert_msg(d <= LOSSES, "%s: loss of step %d is %.8g, reference %.8g (%.3g)", variants[_i], step, loss, (double)losses[step], d);
        ck_ok(ammpli_optimizer_step(o));
    }
    for (size_t i = 0; i < f.prompt->tensors; i++) {
        char name[96];
        const ammpli_tensor *t = &f.prompt->tensor[i];
        snprintf(name, sizeof name, "final.%s", t->name);
        float *want = test_tensor(f.st, name, NULL), *got = malloc((size_t)t->count * sizeof *got);
        ck_ok(ammpli_prompt_read(f.prompt, i, got));
        double d = test_difference(got, want, t->count, 1e-30);
        ck_assert_msg(d <= FINALS, "%s: final %s differs by %.3g", variants[_i], t->name, d);
        free(want);
        free(got);
    }
    static const char *const modes[] = {"expected", "threshold", "sample", "mean:3"};
    for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++) {
        char name[64];
        float got[IMAGES * 8];
        snprintf(name, sizeof name, "eval.%s.logits", modes[k]);
        float *want = test_tensor(f.st, name, NULL);
        ck_ok(ammpli_config_set_text(f.prompt->config, "evaluation", modes[k]));
        f.prompt->revision++;
        ck_ok(ammpli_session_predict(f.session, f.prompt, f.images, IMAGES, got));
        double d = test_difference(got, want, (int64_t)(IMAGES * f.C), 1e-30);
        ck_assert_msg(d <= 10 * LOGITS, "%s: %s differs by %.3g", variants[_i], name, d);
        free(want);
    }
    free(losses);
    free(rates);
    ammpli_optimizer_release(o);
    close_fixture(&f);
}
END_TEST

/* A memory limit that forces one sequence at a time and recomputation changes no bit. */
START_TEST(chunks)
{
    fixture all, few;
    open_fixture(&all, variants[_i], 0);
    open_fixture(&few, variants[_i], 1);
    double a = run_batch(&all, 0, NULL), b = run_batch(&few, 0, NULL);
    ck_assert_double_eq(a, b);
    for (size_t i = 0; i < all.prompt->tensors; i++) {
        float *x = read_gradient(&all, i), *y = read_gradient(&few, i);
        ck_assert_msg(memcmp(x, y, (size_t)all.prompt->tensor[i].count * sizeof *x) == 0, "%s: gradient of %s", variants[_i], all.prompt->tensor[i].name);
        free(x);
        free(y);
    }
    close_fixture(&few);
    close_fixture(&all);
}
END_TEST

/* A limit bounds what a step takes; before blocks doubled, every chunk added one and the peak rose instead. */
START_TEST(limit_bounds_memory)
{
    uint64_t taken[2];
    for (int k = 0; k < 2; k++) {
        fixture f;
        open_fixture(&f, "class_wide", k ? 300000 : 0);
        unsigned long long before = atomic_load(&f.ctx->memory_now);
        atomic_store(&f.ctx->memory_peak, before);
        run_batch(&f, 0, NULL);
        taken[k] = atomic_load(&f.ctx->memory_peak) - before;
        close_fixture(&f);
    }
    ck_assert_msg(taken[1] <= taken[0], "without a limit %llu bytes, with one %llu", (unsigned long long)taken[0],
                  (unsigned long long)taken[1]);
}
END_TEST

/* NaN pixels are an error in every evaluation mode, the averaging one included, and with candidates to be ranked. */
START_TEST(nan_pixels)
{
    static const char *const modes[] = {"expected", "threshold", "sample", "mean:3"};
    fixture f;
    float logits[IMAGES * 8];
    open_fixture(&f, _i ? "shared_candidates" : "shared_default", 0);
    f.images[17] = NAN;
    for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++) {
        ck_ok(ammpli_config_set_text(f.prompt->config, "evaluation", modes[k]));
        f.prompt->revision++;
        ck_status(ammpli_session_predict(f.session, f.prompt, f.images, IMAGES, logits), AMMPL_E_NUMERIC, "finite");
    }
    close_fixture(&f);
}
END_TEST

/* With candidates some classes see the masked picture and some the plain one: there is no one feature per image. */
START_TEST(candidates_condition_images)
{
    fixture f;
    float out[IMAGES * 64];
    open_fixture(&f, "shared_mask_padding", 0);
    ck_ok(ammpli_session_encode_images(f.session, f.prompt, f.images, IMAGES, out));
    ck_ok(ammpli_config_set_text(f.prompt->config, "candidates", "2"));
    ck_assert_int_eq(f.prompt->method->conditioning(f.prompt) & 2, 2);
    ck_status(ammpli_session_encode_images(f.session, f.prompt, f.images, IMAGES, out), AMMPL_E_STATE, "predict");
    close_fixture(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ammpl");
    TCase *c = tcase_create("golden");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, golden_step, 0, VARIANTS);
    tcase_add_loop_test(c, golden_training, 0, VARIANTS);
    tcase_add_loop_test(c, chunks, 0, VARIANTS);
    tcase_add_test(c, limit_bounds_memory);
    tcase_add_loop_test(c, nan_pixels, 0, 2);
    tcase_add_test(c, candidates_condition_images);
    suite_add_tcase(s, c);
    return test_main(s);
}
