/* test_ammpl.c - every option of AMMPL against plain PyTorch in float64: step-0 logits and gradients, 12 losses, the final
 * tensors, and logits in the four evaluation modes.  The goldens' images are masked pixel by pixel and their texts are 77-style
 * and uncut there, so the shortcuts here are tested too.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const variants[] = {
    "shared_default", "shared_draws_image", "shared_simultaneous", "shared_scalar", "shared_blend", "shared_none",
    "shared_interaction", "shared_mask", "shared_mask_padding", "shared_mask_interaction", "shared_candidates", "shared_wide",
    "class_default", "class_simultaneous", "class_scalar", "class_blend", "class_none", "class_interaction", "class_mask",
    "class_mask_padding", "class_mask_interaction", "class_candidates", "class_wide"};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

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
    open_fixture(&f, "ammpl", variants[_i], 0);
    /* The tensors that take part are those of the golden, no more and no fewer. */
    json_t *part = json_loads(ammpli_st_meta(f.st, "participating"), 0, NULL);
    ck_assert_uint_eq(f.prompt->tensors, json_array_size(part));
    json_decref(part);

    float logits[BATCH * 8];
    run_batch(&f, 0, 0, logits);
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
    open_fixture(&f, "ammpl", variants[_i], 0);
    check_training(&f);
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
    close_fixture(&f);
}
END_TEST

/* A memory limit that forces one sequence at a time and recomputation changes no bit. */
START_TEST(chunks)
{
    fixture all, few;
    open_fixture(&all, "ammpl", variants[_i], 0);
    open_fixture(&few, "ammpl", variants[_i], 1);
    double a = run_batch(&all, 0, 0, NULL), b = run_batch(&few, 0, 0, NULL);
    ck_assert_msg(fabs(a - b) <= test_rounding() * fabs(a), "%s: loss %.17g, with the limit %.17g", variants[_i], a, b);
    for (size_t i = 0; i < all.prompt->tensors; i++) {
        float *x = read_gradient(&all, i), *y = read_gradient(&few, i);
        test_same(all.prompt->tensor[i].name, x, y, all.prompt->tensor[i].count, 1e-2);
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
    ammpli_session_plan least = {0};
    for (int k = 0; k < 2; k++) {
        fixture f;
        open_fixture(&f, "ammpl", "class_wide", k ? least.total : 0);
        if (k == 0) /* a device takes more for itself */
            ck_ok(ammpli_session_footprint(f.session, f.prompt, AMMPL_PLAN_ACCUMULATE, BATCH, 1, &least));
        unsigned long long before = atomic_load(&f.ctx->memory_now);
        atomic_store(&f.ctx->memory_peak, before);
        run_batch(&f, 0, 0, NULL);
        taken[k] = atomic_load(&f.ctx->memory_peak) - before;
        close_fixture(&f);
    }
    ck_assert_msg(taken[1] < taken[0], "without a limit %llu bytes, with one %llu", (unsigned long long)taken[0],
                  (unsigned long long)taken[1]);
}
END_TEST

/* NaN pixels are an error in every evaluation mode, the averaging one included, and with candidates to be ranked. */
START_TEST(nan_pixels)
{
    static const char *const modes[] = {"expected", "threshold", "sample", "mean:3"};
    fixture f;
    float logits[IMAGES * 8];
    open_fixture(&f, "ammpl", _i ? "shared_candidates" : "shared_default", 0);
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
    open_fixture(&f, "ammpl", "shared_mask_padding", 0);
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
    TCase *steps = tcase_create("steps"), *c = tcase_create("runs"); /* device.sh has the accesses of the first judged */
    tcase_set_timeout(steps, 120);
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(steps, golden_step, 0, VARIANTS);
    tcase_add_loop_test(c, golden_training, 0, VARIANTS);
    tcase_add_loop_test(c, chunks, 0, VARIANTS);
    tcase_add_test(c, limit_bounds_memory);
    tcase_add_loop_test(c, nan_pixels, 0, 2);
    tcase_add_test(c, candidates_condition_images);
    suite_add_tcase(s, steps);
    suite_add_tcase(s, c);
    return test_main(s);
}
