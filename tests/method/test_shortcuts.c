/* test_shortcuts.c - exact shortcuts turned off: the same results up to rounding, for more work.
 *
 * Work is counted, not measured: multiply-adds of the linear layers that a step asks the backend for.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "clip/tower.h"
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

static void free_outcome(const fixture *f, outcome *out)
{
    for (size_t i = 0; i < f->prompt->tensors; i++)
        free(out->gradient[i]);
}

/* A step with a shortcut and without it: logits and loss keep their bits, gradients differ by `bound` at most (the whole gradient's norm
 * taken as the measure: parts that vanish are rounding), and closes the fixture.  Returns the share of multiply-adds that is left. */
static double with_and_without(fixture *f, uint32_t shortcut, double bound)
{
    outcome with, without;
    double largest = 0;
    run_batch(f, 0, 0, NULL); /* what is encoded once and then remembered */
    step(f, 0, &with);
    step(f, shortcut, &without);
    for (size_t i = 0; i < f->C; i++)
        ck_assert(with.logits[i] == without.logits[i]);
    ck_assert_msg(with.loss == without.loss, "%s: loss %.9g with the shortcut, %.9g without", f->variant, with.loss, without.loss);
    for (size_t i = 0; i < f->prompt->tensors; i++)
        largest = fmax(largest, norm_of(without.gradient[i], f->prompt->tensor[i].count));
    for (size_t i = 0; i < f->prompt->tensors; i++) {
        double d = test_difference(with.gradient[i], without.gradient[i], f->prompt->tensor[i].count, 1e-3 * largest);
        seen(f, f->prompt->tensor[i].name, d);
        ck_assert_msg(d <= bound, "%s: gradient of %s differs by %.3g", f->variant, f->prompt->tensor[i].name, d);
    }
    free_outcome(f, &with);
    free_outcome(f, &without);
    close_fixture(f);
    return with.work / without.work;
}

/* Shortcut 2.  Forward keeps its bits; backward adds up in another order (seen: 2e-6 and less). */
START_TEST(prefix)
{
    fixture f;
    open_fixture(&f, runs[_i].prefix, runs[_i].variant, 0);
    ck_assert_double_lt(with_and_without(&f, AMMPLI_WITHOUT_PREFIX, 2e-5), 1);
}
END_TEST

/* Shortcut 4: in the first block, rows that lead to no parameter.  Rows do not know of each other: all bits stay. */
static const char *const some_wanted[] = {"coop_end", "cocoop_wide",  "dlp_full", "ivlp_deep", "maple_full",
                                          "vpt_deep", "vpt_dpt_deep", "dpt_one",  "dpt_all"};
enum { WANTED = sizeof some_wanted / sizeof some_wanted[0] };

START_TEST(wanted)
{
    fixture f;
    open_fixture(&f, _i < WANTED ? "method" : "ammpl", _i < WANTED ? some_wanted[_i] : "shared_default", 0);
    ck_assert_double_lt(with_and_without(&f, AMMPLI_WITHOUT_WANTED, 0), 1);
}
END_TEST

/* Shortcut 3: rows that nobody reads.  Rows do not know of each other; backward adds zeros to sums over queries, in the order in
 * which the others stand there (seen: no difference). */
static const char *const some_unread[] = {"coop_end",   "cocoop_wide", "dlp_full",     "ivlp_full", "maple_deep",
                                          "vp_padding", "vpt_full",    "vpt_dpt_deep", "dpt_two",   "dpt_all"};
enum { UNREAD = sizeof some_unread / sizeof some_unread[0] };

START_TEST(rows)
{
    fixture f;
    open_fixture(&f, _i < UNREAD ? "method" : "ammpl", _i < UNREAD ? some_unread[_i] : "shared_default", 0);
    ck_assert_double_lt(with_and_without(&f, AMMPLI_WITHOUT_ROWS, 1e-6), 1);
}
END_TEST

/* Shortcut 6.  Features of equal pictures are equal; backward adds the classes' gradients before the tower instead of behind it
 * (seen: 6e-7 and less).  The first variant pads with each class's pixels: no two of its pictures need be equal. */
START_TEST(equal_pictures)
{
    static const char *const variants[] = {"shared_draws_image", "shared_mask_padding", "shared_mask"};
    fixture f;
    open_fixture(&f, "ammpl", variants[_i], 0);
    if (_i > 0) /* one draw for all classes */
        ck_ok(ammpli_config_set_text(f.prompt->config, "draws", "image"));
    double left = with_and_without(&f, AMMPLI_WITHOUT_EQUAL, 2e-5);
    ck_assert_double_le(left, 1);
    ck_assert(_i == 0 || left < 0.6);
}
END_TEST

/* Shortcut 5 at inference: what depends on the prompt alone is computed once, and forgotten when something changes. */
START_TEST(remembered)
{
    static const char *const variants[] = {"coop_end", "dlp_full", "ivlp_full", "maple_deep", "vpt_deep", "vp_padding", "dpt_two"};
    fixture f;
    bool own = _i == sizeof variants / sizeof variants[0];
    open_fixture(&f, own ? "ammpl" : "method", own ? "shared_default" : variants[_i], 0);
    float logits[3][MOST_CLASSES];
    double count[3];
    for (int k = 0; k < 3; k++) {
        ammpl_ops counting = ammpli_cpu_ops;
        counting.linear_forward = counting_forward;
        f.session->engine.ops = &counting;
        if (k == 2) { /* as when tensors and classes change */
            f.prompt->revision++;
            f.prompt->binding++;
        }
        work = 0;
        ck_ok(ammpli_session_predict(f.session, f.prompt, f.images, 1, logits[k]));
        count[k] = work;
        f.session->engine.ops = &ammpli_cpu_ops;
    }
    ck_assert(memcmp(logits[0], logits[1], f.C * sizeof logits[0][0]) == 0);
    ck_assert(memcmp(logits[0], logits[2], f.C * sizeof logits[0][0]) == 0);
    ck_assert_msg(count[1] < count[0], "%s: %g multiply-adds again, %g at first", f.variant, count[1], count[0]);
    ck_assert(count[2] > count[1]);
    close_fixture(&f);
}
END_TEST

/* Shortcut 1: texts at full length, whatever stands behind the row that is read.  It is causal: all bits stay. */
START_TEST(cut)
{
    fixture f;
    open_fixture(&f, "method", "coop_end", 0);
    ammpli_engine *e = &f.session->engine;
    const ammpl_model *m = f.model;
    int64_t full = m->context, l = m->text.width, E = m->embed, B = 3, ends[3] = {full / 3, full, full / 2};
    float *input = malloc((size_t)(B * full * l) * sizeof *input), *dfeature = malloc((size_t)(B * E) * sizeof *dfeature);
    for (int64_t i = 0; i < B * full * l; i++)
        input[i] = (float)((i * 7919 + 13) % 1009) / 1009 - 0.5f;
    for (int64_t i = 0; i < B * E; i++)
        dfeature[i] = (float)((i * 613 + 7) % 331) / 331 - 0.5f;
    float *feature[2], *dx[2];
    double count[2];
    for (int k = 0; k < 2; k++) {
        int32_t start[4] = {0}, read[3], *index;
        int64_t T = 0;
        ammpl_ops counting = ammpli_cpu_ops;
        counting.linear_forward = counting_forward;
        counting.linear_backward = counting_backward;
        for (int64_t b = 0; b < B; b++) {
            read[b] = (int32_t)(T + ends[b] - 1);
            T += k ? full : ends[b];
            start[b + 1] = (int32_t)T;
        }
        float *x, *z, *dz;
        ammpli_arena_reset(e);
        ck_ok(ammpli_take_ints(e, start, 4, &index));
        ammpli_pass pass = {.B = B, .T = T, .max_len = full, .start = index, .keep = true};
        ck_ok(ammpli_take_ints(e, read, 3, &index));
        pass.read = index;
        ck_ok(ammpli_take_floats(e, T * l, &x));
        for (int64_t b = 0; b < B; b++) /* backend memory is host memory on the CPU */
            memcpy(x + start[b] * l, input + b * full * l, (size_t)((start[b + 1] - start[b]) * l) * sizeof *x);
        ck_ok(ammpli_take_floats(e, B * E, &z));
        ck_ok(ammpli_take_copy(e, dfeature, B * E, &dz));
        e->ops = &counting;
        work = 0;
        ck_ok(ammpli_text_forward(e, &pass, x, z));
        ck_ok(ammpli_text_backward(e, &pass, dz, x, NULL));
        count[k] = work;
        e->ops = &ammpli_cpu_ops;
        feature[k] = malloc((size_t)(B * E) * sizeof *feature[k]);
        memcpy(feature[k], z, (size_t)(B * E) * sizeof *z);
        dx[k] = calloc((size_t)(B * full * l), sizeof *dx[k]);
        for (int64_t b = 0; b < B; b++) /* behind the row that is read: 0 */
            memcpy(dx[k] + b * full * l, x + start[b] * l, (size_t)((start[b + 1] - start[b]) * l) * sizeof *x);
    }
    ck_assert(count[0] < count[1]);
    ck_assert(memcmp(feature[0], feature[1], (size_t)(B * E) * sizeof *feature[0]) == 0);
    ck_assert_double_le(test_difference(dx[0], dx[1], B * full * l, 0), 1e-6);
    for (int k = 0; k < 2; k++)
        free(feature[k]), free(dx[k]);
    free(input);
    free(dfeature);
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
    tcase_add_test(c, cut);
    tcase_add_loop_test(c, rows, 0, UNREAD + 1);
    tcase_add_loop_test(c, wanted, 0, WANTED + 1);
    tcase_add_loop_test(c, remembered, 0, 8);
    tcase_add_loop_test(c, equal_pictures, 0, 3);
    suite_add_tcase(s, c);
    return test_main(s);
}
