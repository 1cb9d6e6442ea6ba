/* test_methods.c - every method but AMMPL, in all its kinds, against plain PyTorch in float64: step-0 logits and gradients, 12
 * losses, the final tensors, and logits of all images afterwards.  The goldens encode 77 tokens and add prompts to pixels.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const variants[] = {
    "coop_end",     "coop_middle",      "coop_front",      "coop_words", "coop_class_end", "coop_class_middle", "coop_class_front",
    "cocoop_words", "cocoop_wide",      "vp_padding",      "vp_fixed_patch", "vp_random_patch", "vpt_shallow",  "vpt_deep",
    "vpt_full",     "vpt_dpt",          "vpt_dpt_deep",    "dlp_deep",   "dlp_full",       "ivlp_deep",         "ivlp_full",
    "maple_shallow", "maple_deep",      "maple_full",      "dpt_one",    "dpt_two",        "dpt_all"};
static const char *const fixed[] = {"zeroshot_single", "zeroshot_ensemble"};
enum { VARIANTS = sizeof variants / sizeof variants[0], FIXED = sizeof fixed / sizeof fixed[0] };

static void check_logits(const fixture *f, const float *got, const char *name, int64_t n, double tolerance)
{
    float *want = test_tensor(f->st, name, NULL);
    double d = test_difference(got, want, n, 1e-30);
    seen(f, "logits", d);
    ck_assert_msg(d <= tolerance, "%s: %s differs by %.3g", f->variant, name, d);
    free(want);
}

START_TEST(golden_step)
{
    fixture f;
    float logits[BATCH * MOST_CLASSES];
    open_fixture(&f, "method", variants[_i], 0);
    json_t *part = json_loads(ammpli_st_meta(f.st, "participating"), 0, NULL);
    ck_assert_uint_eq(f.prompt->tensors, json_array_size(part));
    json_decref(part);
    double loss = run_batch(&f, 0, 0, logits);
    check_logits(&f, logits, "logits0", (int64_t)(BATCH * f.C), LOGITS);
    float *losses = test_tensor(f.st, "losses", NULL);
    ck_assert_msg(fabs(loss - (double)losses[0]) <= LOSSES * fabs(loss), "%s: loss %.8g, reference %.8g", f.variant, loss, (double)losses[0]);
    free(losses);
    check_gradients(&f, "grad0");
    close_fixture(&f);
}
END_TEST

START_TEST(golden_training)
{
    fixture f;
    float logits[IMAGES * MOST_CLASSES];
    open_fixture(&f, "method", variants[_i], 0);
    check_training(&f);
    ck_ok(ammpli_session_predict(f.session, f.prompt, f.images, IMAGES, logits));
    check_logits(&f, logits, "eval.logits", (int64_t)(IMAGES * f.C), 10 * LOGITS);
    close_fixture(&f);
}
END_TEST

START_TEST(golden_fixed)
{
    fixture f;
    float logits[IMAGES * MOST_CLASSES];
    open_fixture(&f, "method", fixed[_i], 0);
    ck_ok(ammpli_session_predict(f.session, f.prompt, f.images, IMAGES, logits));
    check_logits(&f, logits, "eval.logits", (int64_t)(IMAGES * f.C), LOGITS);
    close_fixture(&f);
}
END_TEST

/* DPT behind its guidance phase, on the initial values. */
START_TEST(golden_second_phase)
{
    static const char *const dpt[] = {"dpt_one", "dpt_two", "dpt_all"};
    fixture f;
    open_fixture(&f, "method", dpt[_i], 0);
    double loss = run_batch(&f, 0, atoi(ammpli_st_meta(f.st, "guidance_epochs")), NULL);
    float *want = test_tensor(f.st, "phase2_loss0", NULL);
    ck_assert_msg(fabs(loss - (double)want[0]) <= LOSSES * fabs(loss), "%s: loss %.8g, reference %.8g", f.variant, loss, (double)want[0]);
    free(want);
    check_gradients(&f, "phase2_grad0");
    close_fixture(&f);
}
END_TEST

/* A memory limit that forces one sequence at a time changes no bit. */
START_TEST(chunks)
{
    fixture all, few;
    open_fixture(&all, "method", variants[_i], 0);
    open_fixture(&few, "method", variants[_i], 1);
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

int main(void)
{
    Suite *s = suite_create("methods");
    TCase *steps = tcase_create("steps"), *c = tcase_create("runs"); /* device.sh has the accesses of the first judged */
    tcase_set_timeout(steps, 120);
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(steps, golden_fixed, 0, FIXED);
    tcase_add_loop_test(steps, golden_step, 0, VARIANTS);
    tcase_add_loop_test(steps, golden_second_phase, 0, 3);
    tcase_add_loop_test(c, golden_training, 0, VARIANTS);
    tcase_add_loop_test(c, chunks, 0, VARIANTS);
    suite_add_tcase(s, steps);
    suite_add_tcase(s, c);
    return test_main(s);
}
