/* test_exact.c - what must be equal by the method's own arithmetic: parts of a batch, re-bound classes, subsets of a
 * class-specific prompt, a scalar shift that does nothing, CoOp untrained as zero-shot CLIP.
 */
#include "nano.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t label[NANO_IMAGES] = {0, 1, 2, 0, 1, 2, 1};

static double norm_of(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * (double)x[i];
    return sqrt(s);
}

/* The gradient of tensor i, the caller's to free. */
static float *gradient(const ammpl_prompt *p, size_t i)
{
    float *g = malloc((size_t)p->tensor[i].count * sizeof *g);
    ck_assert_ptr_nonnull(g);
    ck_ok(ammpli_prompt_gradient_read(p, i, g));
    return g;
}

static double gradient_norm(const ammpl_prompt *p, const char *name)
{
    const ammpli_tensor *t = ammpli_prompt_find(p, name);
    ck_assert_msg(t != NULL, "%s", name);
    float *g = gradient(p, (size_t)(t - p->tensor));
    double norm = norm_of(g, t->count);
    free(g);
    return norm;
}

/* ---- parts of a batch ---- */

/* n images at once, or in parts of `part` with weight 1/n each. */
static double accumulate(nano *n, const float *pixels, size_t part)
{
    size_t chw = (size_t)3 * (size_t)n->model->preprocess.size * (size_t)n->model->preprocess.size;
    double sum = 0, loss;
    static const uint32_t ids[NANO_IMAGES] = {40, 3, 70000, 5, 8, 1, 2};
    ck_ok(ammpli_prompt_zero_gradients(n->prompt));
    for (size_t from = 0; from < NANO_IMAGES; from += part) {
        size_t count = NANO_IMAGES - from < part ? NANO_IMAGES - from : part;
        ammpl_batch batch = {.struct_size = sizeof batch, .n = count, .pixels = pixels + from * chw, .label = label + from,
                             .image_id = ids + from, .seed = 5, .step = 9, .weight = part < NANO_IMAGES ? 1.0 / NANO_IMAGES : 0};
        ck_ok(ammpli_session_accumulate(n->session, n->prompt, &batch, &loss, NULL));
        sum += loss;
    }
    return sum;
}

START_TEST(parts_of_a_batch)
{
    static const char *const more[][3] = {{"order", "text_first", NULL}, {"order", "simultaneous", NULL}, {"mask", "off", NULL},
                                          {"interaction", "off", NULL}, {"mask_gradient", "blend", NULL}, {"candidates", "2", NULL},
                                          {"draws", "image", NULL}};
    enum { MORE = sizeof more / sizeof more[0] };
    const char *options[] = {"scope", _i % 2 ? "class" : "shared", more[_i / 2 % MORE][0], more[_i / 2 % MORE][1], "mask_mean", "0.6", NULL};
    nano n;
    nano_open(&n, options);
    float *pixels = nano_pixels(&n);
    double whole = accumulate(&n, pixels, NANO_IMAGES);
    float *kept[16];
    double largest = 0;
    ck_assert_uint_le(n.prompt->tensors, 16);
    for (size_t i = 0; i < n.prompt->tensors; i++) {
        const ammpli_tensor *t = &n.prompt->tensor[i];
        kept[i] = gradient(n.prompt, i);
        largest = fmax(largest, norm_of(kept[i], t->count));
    }
    for (size_t part = 1; part <= 4; part++) {
        double sum = accumulate(&n, pixels, part);
        ck_assert_msg(fabs(sum - whole) <= 1e-6 * fabs(whole), "loss of parts of %zu: %.9g, of the whole %.9g", part, sum, whole);
        for (size_t i = 0; i < n.prompt->tensors; i++) {
            const ammpli_tensor *t = &n.prompt->tensor[i];
            float *g = gradient(n.prompt, i);
            double d = test_difference(g, kept[i], t->count, 1e-3 * largest);
            free(g);
            ck_assert_msg(d <= 2e-5 + 2 * test_rounding(), "%s, %s: parts of %zu: gradient of %s differs by %.3g", options[1], options[3], part, t->name, d);
        }
    }
    for (size_t i = 0; i < n.prompt->tensors; i++)
        free(kept[i]);
    free(pixels);
    nano_close(&n);
}
END_TEST

/* ---- other classes ---- */

static const char *const wider[] = {"bird", "fox", "cat", "the_red_ox", "red_dog"};
enum { WIDER = sizeof wider / sizeof wider[0] };

static size_t index_of(const ammpl_prompt *p, const char *name)
{
    for (size_t i = 0; i < p->classes; i++)
        if (strcmp(p->class_name[i], name) == 0)
            return i;
    ck_abort_msg("no class %s", name);
}

/* Every class that both prompts have gets the same logits, on the CPU bit for bit. */
static void check_shared_classes(const ammpl_prompt *a, const float *x, size_t classes_of_x, char *const *names_of_x, const float *y,
                                 const char *what)
{
    for (size_t i = 0; i < classes_of_x; i++) {
        size_t j = 0;
        while (j < a->classes && strcmp(a->class_name[j], names_of_x[i]) != 0)
            j++;
        for (size_t b = 0; j < a->classes && b < NANO_IMAGES; b++) {
            float before = x[b * classes_of_x + i], after = y[b * a->classes + j];
            ck_assert_msg(fabsf(before - after) <= test_rounding() * fmax(1, fabsf(before)), "%s: image %zu, class %s: %.9g before, %.9g after", what, b, names_of_x[i], (double)before,
                          (double)after);
        }
    }
}

static const char *const modes[] = {"expected", "threshold", "sample"};
enum { MODES = sizeof modes / sizeof modes[0] };

START_TEST(rebound)
{
    const char *options[] = {"evaluation", modes[_i % MODES], "interaction", _i / MODES % 2 ? "off" : "on", "mask_mean", "0.6",
                             "eval_seed", "4", NULL};
    nano n;
    nano_open(&n, options);
    nano_trainer(&n);
    nano_steps(&n, 6);
    float *before = nano_logits(&n, n.prompt);
    ck_ok(ammpli_prompt_rebind(n.prompt, wider, WIDER));
    ck_assert_uint_eq(n.prompt->classes, WIDER);
    float *after = nano_logits(&n, n.prompt);
    check_shared_classes(n.prompt, before, NANO_CLASSES, (char *const *)nano_names, after, modes[_i % MODES]);
    ck_ok(ammpli_prompt_rebind(n.prompt, nano_names, NANO_CLASSES)); /* and back */
    float *back = nano_logits(&n, n.prompt);
    ck_assert(memcmp(before, back, NANO_IMAGES * NANO_CLASSES * sizeof *back) == 0);
    free(before);
    free(after);
    free(back);
    nano_close(&n);
}
END_TEST

/* Names that cannot be are refused, and the prompt stays bound as it was. */
START_TEST(rebound_badly)
{
    static const char *const twice[] = {"cat", "fox", "cat"}, *const empty[] = {"cat", ""}, *const spaces[] = {"cat", "_ _"};
    static const char *const long_name[] = {"cat", "the quick brown fox jumps over the lazy dog and the ox"};
    nano n;
    nano_open(&n, NULL);
    nano_trainer(&n);
    nano_steps(&n, 3);
    float *before = nano_logits(&n, n.prompt);
    size_t size;
    char *bytes = nano_bytes(n.prompt, &size), *later;
    ck_status(ammpli_prompt_rebind(n.prompt, twice, 3), AMMPL_E_ARGUMENT, "cat");
    ck_status(ammpli_prompt_rebind(n.prompt, empty, 2), AMMPL_E_ARGUMENT, "class 1");
    ck_status(ammpli_prompt_rebind(n.prompt, spaces, 2), AMMPL_E_ARGUMENT, "class 1");
    ck_status(ammpli_prompt_rebind(n.prompt, nano_names, 0), AMMPL_E_ARGUMENT, "at least one");
    ck_status(ammpli_prompt_rebind(n.prompt, long_name, 2), AMMPL_E_RANGE, "quick brown");
    later = nano_bytes(n.prompt, &size);
    ck_assert(memcmp(bytes, later, size) == 0);
    float *after = nano_logits(&n, n.prompt);
    ck_assert(memcmp(before, after, NANO_IMAGES * NANO_CLASSES * sizeof *after) == 0);
    free(bytes);
    free(later);
    free(before);
    free(after);
    nano_close(&n);
}
END_TEST

START_TEST(class_scope_is_not_rebound)
{
    static const char *const options[] = {"scope", "class", NULL};
    nano n;
    nano_open(&n, options);
    nano_trainer(&n);
    nano_steps(&n, 3);
    size_t size;
    char *before = nano_bytes(n.prompt, &size), *after;
    uint64_t revision = n.prompt->revision;
    ck_status(ammpli_prompt_rebind(n.prompt, wider, WIDER), AMMPL_E_STATE, "scope");
    ck_status(ammpli_prompt_rebind(n.prompt, nano_names, NANO_CLASSES), AMMPL_E_STATE, "scope");
    after = nano_bytes(n.prompt, &size);
    ck_assert(memcmp(before, after, size) == 0);
    ck_assert_uint_eq(n.prompt->revision, revision);
    nano_steps(&n, 1);
    free(before);
    free(after);
    nano_close(&n);
}
END_TEST

/* Class scope: a prompt of some of the classes in another order, made by copying their slices, draws the same masks and
 * gives them the same logits: draws are keyed by names.
 */
START_TEST(subset_of_class_scope)
{
    static const char *const some[] = {"bird", "cat"};
    const char *options[] = {"scope", "class", "evaluation", modes[_i], "mask_mean", "0.6", "eval_seed", "4", NULL};
    enum { PATCHES = 9 };
    nano n;
    nano_open(&n, options);
    nano_trainer(&n);
    nano_steps(&n, 6);
    ammpl_prompt *p;
    ck_ok(ammpli_prompt_create(n.model, AMMPL_METHOD_AMMPL, some, 2, n.cfg, &p));
    for (size_t t = 0; t < p->tensors; t++) {
        const ammpli_tensor *to = &p->tensor[t], *from = ammpli_prompt_find(n.prompt, to->name);
        int64_t slice = to->count / 2;
        float *value = malloc((size_t)to->count * sizeof *value), *all = malloc((size_t)from->count * sizeof *all);
        ck_ok(ammpli_prompt_read(n.prompt, (size_t)(from - n.prompt->tensor), all));
        for (size_t i = 0; i < 2; i++)
            memcpy(value + (int64_t)i * slice, all + (int64_t)index_of(n.prompt, some[i]) * slice, (size_t)slice * sizeof *value);
        ck_ok(ammpli_prompt_write(p, t, value));
        free(value);
        free(all);
    }
    float *x = nano_logits(&n, n.prompt), *y = nano_logits(&n, p);
    check_shared_classes(p, x, NANO_CLASSES, (char *const *)nano_names, y, modes[_i]);
    int hidden = 0;
    for (uint32_t draw = 0; draw < 3; draw++) {
        float all[NANO_CLASSES * PATCHES], few[2 * PATCHES];
        ck_ok(ammpli_session_masks(n.session, n.prompt, draw, all));
        ck_ok(ammpli_session_masks(n.session, p, draw, few));
        for (size_t i = 0; i < 2; i++)
            for (size_t j = 0; j < PATCHES; j++) {
                ck_assert(few[i * PATCHES + j] == all[index_of(n.prompt, some[i]) * PATCHES + j]);
                hidden += few[i * PATCHES + j] == 0;
            }
    }
    ck_assert_int_gt(hidden, 5);
    free(x);
    free(y);
    ammpli_prompt_release(p);
    nano_close(&n);
}
END_TEST

/* ---- equalities of the method ---- */

/* shift = scalar adds one number to whole context tokens: LayerNorm takes it away again. */
START_TEST(scalar_shift)
{
    static const char *const scalar[] = {"shift", "scalar", "mask", "off", NULL}, *const none[] = {"interaction", "off", "mask", "off", NULL};
    static const char *const full[] = {"shift", "scalar", "scope", "class", "mask_mean", "0.6", NULL};
    nano with, without;
    nano_open(&with, scalar);
    nano_open(&without, none);
    nano_copy_values(without.prompt, with.prompt);
    /* |h| up to 1, far above its initial size. */
    const ammpli_tensor *bias = ammpli_prompt_find(with.prompt, "image_to_text.linear2.bias");
    ck_assert_int_eq(bias->count, 1);
    for (float h = -1; h <= 1; h += 0.5f) {
        ck_ok(ammpli_prompt_write(with.prompt, (size_t)(bias - with.prompt->tensor), &h));
        float *x = nano_logits(&with, with.prompt), *y = nano_logits(&without, without.prompt);
        double d = test_difference(x, y, NANO_IMAGES * NANO_CLASSES, 1e-30);
        ck_assert_msg(d <= 1e-5, "h = %g: logits differ by %.3g", (double)h, d);
        free(x);
        free(y);
    }
    nano_close(&with);
    nano_close(&without);
    for (int k = 0; k < 2; k++) {
        nano_open(&with, k ? full : scalar);
        float *pixels = nano_pixels(&with);
        accumulate(&with, pixels, NANO_IMAGES);
        static const char *const parts[] = {"image_to_text.linear1.weight", "image_to_text.linear1.bias", "image_to_text.linear2.weight",
                                            "image_to_text.linear2.bias"};
        double ctx = gradient_norm(with.prompt, "ctx");
        ck_assert(ctx > 1e-3);
        for (size_t i = 0; i < 4; i++)
            ck_assert_msg(gradient_norm(with.prompt, parts[i]) < 1e-6 * ctx, "%s: %.3g, ctx: %.3g", parts[i],
                          gradient_norm(with.prompt, parts[i]), ctx);
        free(pixels);
        nano_close(&with);
    }
}
END_TEST

/* Context "a photo of a", not trained, nothing else learned: zero-shot CLIP with "a photo of a {}.". */
START_TEST(coop_untrained_is_zero_shot)
{
    const char *options[] = {"mask", "off", "interaction", "off", "scope", _i ? "class" : "shared", NULL};
    nano n;
    nano_open(&n, options);
    ck_assert_uint_eq(n.prompt->tensors, 1);
    ammpl_prompt *zero;
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(n.ctx, &cfg));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TEMPLATE, "a photo of a {}."));
    ck_ok(ammpli_prompt_create(n.model, AMMPL_METHOD_ZEROSHOT, nano_names, NANO_CLASSES, cfg, &zero));
    float *x = nano_logits(&n, n.prompt), *y = nano_logits(&n, zero);
    double d = test_difference(x, y, NANO_IMAGES * NANO_CLASSES, 1e-30);
    ck_assert_msg(d <= 1e-5, "logits differ by %.3g", d);
    nano_trainer(&n);
    nano_steps(&n, 6);
    free(x);
    x = nano_logits(&n, n.prompt);
    ck_assert(test_difference(x, y, NANO_IMAGES * NANO_CLASSES, 1e-30) > 1e-3); /* and training changes it */
    free(x);
    free(y);
    ammpli_prompt_release(zero);
    ammpli_config_destroy(cfg);
    nano_close(&n);
}
END_TEST

/* Masks that keep everything: the prompt pads nothing, and every picture is the plain one. */
START_TEST(kept_masks_are_plain_pictures)
{
    static const char *const masked[] = {"interaction", "off", NULL}, *const plain[] = {"interaction", "off", "mask", "off", NULL};
    nano with, without;
    nano_open(&with, masked);
    nano_open(&without, plain);
    nano_copy_values(without.prompt, with.prompt);
    float ones[9] = {1, 2, 1, 1, 1, 1, 5, 1, 1};
    ck_ok(ammpli_prompt_write(with.prompt, (size_t)(ammpli_prompt_find(with.prompt, "mask_prob") - with.prompt->tensor), ones));
    for (int k = 0; k < 4; k++) {
        ck_ok(ammpli_config_set_text(with.prompt->config, "evaluation", k < 3 ? modes[k] : "mean:2"));
        with.prompt->revision++;
        float *x = nano_logits(&with, with.prompt), *y = nano_logits(&without, without.prompt);
        double d = test_difference(x, y, NANO_IMAGES * NANO_CLASSES, 1e-30);
        ck_assert_msg(k == 3 || d <= 1e-6, "%s: logits differ by %.3g", modes[k % 3], d);
        for (size_t b = 0; k == 3 && b < NANO_IMAGES; b++) /* log of a probability: equal up to a number per image */
            for (size_t i = 1; i < NANO_CLASSES; i++)
                ck_assert_double_eq_tol((double)(x[b * NANO_CLASSES + i] - x[b * NANO_CLASSES]),
                                        (double)(y[b * NANO_CLASSES + i] - y[b * NANO_CLASSES]), 1e-5);
        free(x);
        free(y);
    }
    nano_close(&with);
    nano_close(&without);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exact");
    TCase *c = tcase_create("exact");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, parts_of_a_batch, 0, 14);
    tcase_add_loop_test(c, rebound, 0, 2 * MODES);
    tcase_add_test(c, rebound_badly);
    tcase_add_test(c, class_scope_is_not_rebound);
    tcase_add_loop_test(c, subset_of_class_scope, 0, MODES);
    tcase_add_test(c, scalar_shift);
    tcase_add_loop_test(c, coop_untrained_is_zero_shot, 0, 2);
    tcase_add_test(c, kept_masks_are_plain_pictures);
    suite_add_tcase(s, c);
    return test_main(s);
}
