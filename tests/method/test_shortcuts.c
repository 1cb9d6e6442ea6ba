/* test_shortcuts.c - exact shortcuts turned off: the same results up to rounding, for more work.
 *
 * Work is counted, not measured: multiply-adds of the linear layers that a step asks the backend for.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "clip/engine.h"
#include "cpu/kernels.h"
#include "method/session.h"

static const struct {
    const char *prefix, *variant;
} runs[] = {{"method", "coop_end"},          {"method", "coop_middle"},      {"method", "coop_front"},   {"method", "coop_class_end"},
            {"method", "cocoop_wide"},       {"method", "cocoop_words"},     {"method", "dlp_deep"},     {"method", "ivlp_full"},
            {"method", "maple_deep"},        {"method", "dpt_two"},          {"ammpl", "shared_default"}, {"ammpl", "shared_draws_image"},
            {"ammpl", "class_default"},      {"ammpl", "shared_none"},       {"ammpl", "shared_simultaneous"},
            {"ammpl", "shared_candidates"}};
enum { RUNS = sizeof runs / sizeof runs[0] };

/* ---- a table that counts ---- */

static double work;

static int32_t counting_forward(ammpl_stream *s, float *y, float *pre, const float *x, const ammpl_weight *w, const float *bias,
                                const float *residual, int32_t act, int64_t T)
{
    work += (double)T * (double)w->N * (double)w->K;
    return ammpli_cpu_ops.linear_forward(s, y, pre, x, w, bias, residual, act, T);
}

static int32_t counting_backward(ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w, const float *pre, int32_t act,
                                 int64_t T)
{
    work += (double)T * (double)w->N * (double)w->K;
    return ammpli_cpu_ops.linear_backward(s, dx, dy, w, pre, act, T);
}

typedef struct outcome {
    double loss, work;
    float logits[BATCH * MOST_CLASSES];
    float *gradient[64];
} outcome;

static void step(fixture *f, uint32_t without, outcome *out)
{
    ammpl_ops counting = ammpli_cpu_ops;
    counting.linear_forward = counting_forward;
    counting.linear_backward = counting_backward;
    f->session->engine.ops = &counting;
    f->session->engine.without = without;
    work = 0;
    out->loss = run_batch(f, 0, 0, out->logits);
    out->work = work;
    f->session->engine.ops = &ammpli_cpu_ops;
    ck_assert_uint_le(f->prompt->tensors, 64);
    for (size_t i = 0; i < f->prompt->tensors; i++)
        out->gradient[i] = read_gradient(f, i);
}

/* Both outcomes, the whole gradient's norm taken as the measure: parts that vanish are rounding. */
static void compare(const fixture *f, const outcome *a, const outcome *b, double bound)
{
    double largest = 0;
    ck_assert_msg(fabs(a->loss - b->loss) <= 1e-6 * fabs(b->loss), "%s: loss %.9g with the shortcut, %.9g without", f->variant, a->loss,
                  b->loss);
    for (size_t i = 0; i < f->prompt->tensors; i++)
        largest = fmax(largest, norm_of(b->gradient[i], f->prompt->tensor[i].count));
    for (size_t i = 0; i < f->prompt->tensors; i++) {
        double d = test_difference(a->gradient[i], b->gradient[i], f->prompt->tensor[i].count, 1e-3 * largest);
        seen(f, f->prompt->tensor[i].name, d);
        ck_assert_msg(d <= bound, "%s: gradient of %s differs by %.3g", f->variant, f->prompt->tensor[i].name, d);
    }
}

static void free_outcome(const fixture *f, outcome *out)
{
    for (size_t i = 0; i < f->prompt->tensors; i++)
        free(out->gradient[i]);
}

/* Shortcut 2.  Forward keeps its bits; backward adds up in another order (seen: 2e-6 and less). */
START_TEST(prefix)
{
    fixture f;
    outcome with, without;
    open_fixture(&f, runs[_i].prefix, runs[_i].variant, 0);
    run_batch(&f, 0, 0, NULL); /* what is encoded once and then remembered */
    step(&f, 0, &with);
    step(&f, AMMPLI_WITHOUT_PREFIX, &without);
    ck_assert_msg(with.work < without.work, "%s: %g multiply-adds with the shortcut, %g without", f.variant, with.work, without.work);
    for (size_t i = 0; i < f.C; i++)
        ck_assert(with.logits[i] == without.logits[i]);
    ck_assert(with.loss == without.loss);
    compare(&f, &with, &without, 2e-5);
    free_outcome(&f, &with);
    free_outcome(&f, &without);
    close_fixture(&f);
}
END_TEST

/* Shortcut 4: in the first block, rows that lead to no parameter.  Rows do not know of each other: all bits stay. */
START_TEST(wanted)
{
    static const char *const variants[] = {"coop_end", "cocoop_wide", "dlp_full", "ivlp_deep", "maple_full", "vpt_deep", "vpt_dpt_deep",
                                           "dpt_one", "dpt_all"};
    fixture f;
    outcome with, without;
    if (_i == sizeof variants / sizeof variants[0])
        open_fixture(&f, "ammpl", "shared_default", 0);
    else
        open_fixture(&f, "method", variants[_i], 0);
    run_batch(&f, 0, 0, NULL);
    step(&f, 0, &with);
    step(&f, AMMPLI_WITHOUT_WANTED, &without);
    ck_assert_msg(with.work < without.work, "%s: %g multiply-adds with the shortcut, %g without", f.variant, with.work, without.work);
    ck_assert(with.loss == without.loss);
    compare(&f, &with, &without, 0);
    free_outcome(&f, &with);
    free_outcome(&f, &without);
    close_fixture(&f);
}
END_TEST

/* Shortcut 2 for hand-written texts. */
START_TEST(prefix_of_texts)
{
    static const char *const texts[] = {"a photo of a cat.", "a photo of a red dog.", "a photo of a red dog.", "a photo", "a photo of"};
    fixture f;
    open_fixture(&f, "method", "coop_end", 0);
    size_t E = (size_t)f.model->embed;
    float *x[2];
    double count[2];
    for (int k = 0; k < 2; k++) {
        ammpl_ops counting = ammpli_cpu_ops;
        counting.linear_forward = counting_forward;
        f.session->engine.ops = &counting;
        f.session->engine.without = k ? AMMPLI_WITHOUT_PREFIX : 0;
        work = 0;
        x[k] = malloc(5 * E * sizeof *x[k]);
        ck_ok(ammpli_session_encode_texts(f.session, texts, 5, x[k]));
        count[k] = work;
        f.session->engine.ops = &ammpli_cpu_ops;
    }
    ck_assert(count[0] < count[1]);
    ck_assert(memcmp(x[0], x[1], 5 * E * sizeof *x[0]) == 0);
    free(x[0]);
    free(x[1]);
    close_fixture(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shortcuts");
    TCase *c = tcase_create("shortcuts");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, prefix, 0, RUNS);
    tcase_add_test(c, prefix_of_texts);
    tcase_add_loop_test(c, wanted, 0, 10);
    suite_add_tcase(s, c);
    return test_main(s);
}
