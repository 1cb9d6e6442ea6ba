/* test_relations.c - what must be equal between methods, or between ways of computing one, by their own arithmetic: one method as a
 * special case of another, batches in parts, other classes.  (AMMPL alone: train/test_exact.c.)
 */
#include "kinds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t label[NANO_IMAGES] = {0, 1, 2, 0, 1, 2, 1};
static const uint32_t ids[NANO_IMAGES] = {40, 3, 70000, 5, 8, 1, 2};

static size_t index_of(const ammpl_prompt *p, const char *name)
{
    const ammpli_tensor *t = ammpli_prompt_find(p, name);
    ck_assert_msg(t != NULL, "%s has no tensor %s", p->method->name, name);
    return (size_t)(t - p->tensor);
}

static float *value_of(const ammpl_prompt *p, const char *name) /* backend memory is host memory on the CPU */
{
    return p->tensor[index_of(p, name)].value;
}

static float *gradient_of(const ammpl_prompt *p, const char *name)
{
    return p->tensor[index_of(p, name)].grad;
}

static double norm_of(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * (double)x[i];
    return sqrt(s);
}

/* n pictures from the `from`-th on; adds gradients.  weight and aux_weight as in ammpl_batch. */
static double accumulate_some(nano *n, const float *pixels, size_t from, size_t count, double weight, double aux_weight, float *logits)
{
    size_t chw = (size_t)3 * (size_t)n->model->preprocess.size * (size_t)n->model->preprocess.size;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = count, .pixels = pixels + from * chw, .label = label + from,
                         .image_id = ids + from, .seed = 5, .step = 9, .weight = weight, .aux_weight = aux_weight};
    double loss;
    ck_ok(ammpli_session_accumulate(n->session, n->prompt, &batch, &loss, logits));
    return loss;
}

/* ---- one method as a special case of another ---- */

typedef struct pair {
    nano a, b;
    float *pixels;
} pair;

static void pair_open(pair *p, const char *model, ammpl_method a, const char *const *options_a, ammpl_method b, const char *const *options_b)
{
    nano_open_method(&p->a, model, a, options_a);
    nano_open_method(&p->b, model, b, options_b);
    p->pixels = nano_pixels(&p->a);
}

static void pair_close(pair *p)
{
    free(p->pixels);
    nano_close(&p->a);
    nano_close(&p->b);
}

/* Logits of all pictures in evaluation, loss and logits of a batch; gradients are those of the batch afterwards. */
static void pair_check(pair *p, double tolerance)
{
    float *x = nano_logits(&p->a, p->a.prompt), *y = nano_logits(&p->b, p->b.prompt), seen[2][NANO_IMAGES * NANO_CLASSES];
    double d = test_difference(x, y, NANO_IMAGES * NANO_CLASSES, 1e-30), loss[2];
    ck_assert_msg(d <= tolerance, "logits differ by %.3g", d);
    ck_ok(ammpli_prompt_zero_gradients(p->a.prompt));
    ck_ok(ammpli_prompt_zero_gradients(p->b.prompt));
    loss[0] = accumulate_some(&p->a, p->pixels, 0, NANO_IMAGES, 0, 0, seen[0]);
    loss[1] = accumulate_some(&p->b, p->pixels, 0, NANO_IMAGES, 0, 0, seen[1]);
    d = test_difference(seen[0], seen[1], NANO_IMAGES * NANO_CLASSES, 1e-30);
    ck_assert_msg(d <= tolerance, "logits of a batch differ by %.3g", d);
    ck_assert_msg(fabs(loss[0] - loss[1]) <= tolerance * loss[1], "loss %.9g, %.9g", loss[0], loss[1]);
    free(x);
    free(y);
}

static void check_numbers(const char *what, const float *got, const float *want, int64_t n, double tolerance)
{
    double d = test_difference(got, want, n, 1e-30);
    ck_assert_msg(norm_of(want, n) > 1e-6, "%s: nothing to compare", what);
    ck_assert_msg(d <= tolerance, "%s differs by %.3g", what, d);
}

/* AMMPL without masks in shared scope is CoCoOp, and without interaction CoOp: now, and after each of five steps. */
START_TEST(ammpl_without_masks)
{
    static const char *const names[][2] = {{"ctx", "ctx"},
                                           {"image_to_text.linear1.weight", "meta_net.linear1.weight"},
                                           {"image_to_text.linear1.bias", "meta_net.linear1.bias"},
                                           {"image_to_text.linear2.weight", "meta_net.linear2.weight"},
                                           {"image_to_text.linear2.bias", "meta_net.linear2.bias"}};
    const char *ammpl[] = {"mask", "off", "interaction", _i ? "off" : "on", NULL};
    static const char *const words[] = {"ctx_init", "a photo of a", NULL};
    size_t tensors = _i ? 1 : 5;
    pair p;
    pair_open(&p, "nano-wide", AMMPL_METHOD_AMMPL, ammpl, _i ? AMMPL_METHOD_COOP : AMMPL_METHOD_COCOOP, words);
    ck_assert_uint_eq(p.a.prompt->tensors, tensors);
    ck_assert_uint_eq(p.b.prompt->tensors, tensors);
    kind_fill(p.b.prompt);
    for (size_t t = 0; t < tensors; t++)
        ck_ok(ammpli_prompt_write(p.a.prompt, index_of(p.a.prompt, names[t][0]), value_of(p.b.prompt, names[t][1])));
    nano_trainer(&p.a);
    nano_trainer(&p.b);
    for (int step = 0; step <= 5; step++) {
        pair_check(&p, 1e-6);
        for (size_t t = 0; t < tensors; t++) {
            const ammpli_tensor *want = &p.b.prompt->tensor[index_of(p.b.prompt, names[t][1])];
            check_numbers(want->name, gradient_of(p.a.prompt, names[t][0]), want->grad, want->count, 1e-5);
            check_numbers(want->name, value_of(p.a.prompt, names[t][0]), want->value, want->count, 1e-6);
        }
        nano_steps(&p.a, 1);
        nano_steps(&p.b, 1);
    }
    pair_close(&p);
}
END_TEST

/* IVLP without anything visual and deep is CoOp; words of ctx_init that it does not learn are CoOp's tokens at their start. */
START_TEST(ivlp_is_coop)
{
    const char *ivlp[] = {"depth_text", "1", "depth_vision", "0", "n_ctx", _i ? "2" : "4", NULL};
    static const char *const words[] = {"ctx_init", "a photo of a", NULL};
    pair p;
    pair_open(&p, "nano-odd", AMMPL_METHOD_IVLP, ivlp, AMMPL_METHOD_COOP, words);
    const ammpli_tensor *ctx = ammpli_prompt_find(p.a.prompt, "ctx");
    ck_assert_uint_eq(p.a.prompt->tensors, 1);
    ck_assert_int_eq(ctx->shape[0], _i ? 2 : 4);
    for (int step = 0; step < (_i ? 1 : 4); step++) {
        pair_check(&p, 1e-6);
        check_numbers("ctx's gradient", ctx->grad, gradient_of(p.b.prompt, "ctx"), ctx->count, 1e-6);
        check_numbers("ctx", ctx->value, value_of(p.b.prompt, "ctx"), ctx->count, 1e-6);
        if (!_i) {
            if (step == 0) {
                nano_trainer(&p.a);
                nano_trainer(&p.b);
            }
            nano_steps(&p.a, 1);
            nano_steps(&p.b, 1);
        }
    }
    pair_close(&p);
}
END_TEST

/* What has learned nothing yet and starts from "a photo of a" is zero-shot CLIP. */
START_TEST(untrained_is_zero_shot)
{
    static const struct {
        ammpl_method method;
        const char *options[7];
    } cases[] = {{AMMPL_METHOD_COOP, {"ctx_init", "a photo of a", NULL}},
                 {AMMPL_METHOD_COOP, {"protocol", "base-to-novel", NULL}},
                 {AMMPL_METHOD_COOP, {"ctx_init", "a_photo_of_a", NULL}}, /* as the originals write it */
                 {AMMPL_METHOD_IVLP, {"depth_text", "1", "depth_vision", "0", "ctx_init", "a_photo_of_a", NULL}},
                 {AMMPL_METHOD_COCOOP, {NULL}},
                 {AMMPL_METHOD_DLP, {"depth_text", "1", NULL}},
                 {AMMPL_METHOD_IVLP, {"depth_text", "1", "depth_vision", "0", NULL}},
                 {AMMPL_METHOD_IVLP, {"depth_text", "1", "depth_vision", "0", "n_ctx", "1", NULL}},
                 {AMMPL_METHOD_VP, {"template", "a photo of a {}.", NULL}}};
    nano zero;
    nano_open_method(&zero, "nano-odd", AMMPL_METHOD_ZEROSHOT, NULL);
    float *want = nano_logits(&zero, zero.prompt);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        nano n;
        nano_open_method(&n, "nano-odd", cases[k].method, cases[k].options);
        for (size_t t = 0; t < n.prompt->tensors; t++) { /* CoCoOp's network says 0, VP's pixels are 0 */
            const ammpli_tensor *tensor = &n.prompt->tensor[t];
            float *nothing = calloc((size_t)tensor->count, sizeof *nothing);
            if (strncmp(tensor->name, "meta_net.linear2", 16) == 0 || strncmp(tensor->name, "pad_", 4) == 0)
                ck_ok(ammpli_prompt_write(n.prompt, t, nothing));
            free(nothing);
        }
        float *got = nano_logits(&n, n.prompt);
        double d = test_difference(got, want, NANO_IMAGES * NANO_CLASSES, 1e-30);
        ck_assert_msg(d <= 1e-6, "%s, case %zu: logits differ by %.3g", n.prompt->method->name, k, d);
        free(got);
        nano_close(&n);
    }
    free(want);
    nano_close(&zero);
}
END_TEST

/* VPT is IVLP with the text of "a photo of a {}." left as it is. */
START_TEST(vpt_is_half_of_ivlp)
{
    static const char *const depths[] = {"1", "3", "5"};
    const char *vpt[] = {"n_ctx_vision", "3", "depth_vision", depths[_i], NULL};
    const char *ivlp[] = {"n_ctx_vision", "3", "depth_vision", depths[_i], "depth_text", "1", "n_ctx", "4", NULL};
    pair p;
    pair_open(&p, "nano-odd", AMMPL_METHOD_VPT, vpt, AMMPL_METHOD_IVLP, ivlp);
    kind_fill(p.a.prompt);
    for (size_t t = 0; t < p.a.prompt->tensors; t++)
        ck_ok(ammpli_prompt_write(p.b.prompt, index_of(p.b.prompt, p.a.prompt->tensor[t].name), p.a.prompt->tensor[t].value));
    pair_check(&p, 1e-6);
    for (size_t t = 0; t < p.a.prompt->tensors; t++) {
        const ammpli_tensor *tensor = &p.a.prompt->tensor[t];
        check_numbers(tensor->name, tensor->grad, gradient_of(p.b.prompt, tensor->name), tensor->count, 1e-6);
    }
    pair_close(&p);
}
END_TEST

/* With prompts before every block nothing carries on or is dropped: the repositories' kinds of VPT differ in ln_pre on the first. */
START_TEST(vpt_variants)
{
    static const char *const maple[] = {"n_ctx_vision", "3", NULL}, *const dpt[] = {"n_ctx_vision", "3", "variant", "dpt", NULL};
    pair p;
    pair_open(&p, "nano-odd", AMMPL_METHOD_VPT, maple, AMMPL_METHOD_VPT, dpt);
    const ammpl_model *m = p.a.model;
    int64_t W = m->image.width;
    kind_fill(p.a.prompt);
    for (size_t t = 0; t < p.a.prompt->tensors; t++)
        ck_ok(ammpli_prompt_write(p.b.prompt, t, p.a.prompt->tensor[t].value));
    float *first = value_of(p.b.prompt, "visual_ctx.0");
    for (int64_t v = 0; v < 3; v++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < W; i++)
            mean += (double)first[v * W + i] / (double)W;
        for (int64_t i = 0; i < W; i++)
            square += ((double)first[v * W + i] - mean) * ((double)first[v * W + i] - mean) / (double)W;
        for (int64_t i = 0; i < W; i++)
            first[v * W + i] = (float)(((double)first[v * W + i] - mean) / sqrt(square + (double)m->image.eps) * (double)m->ln_pre_gamma[i] +
                                       (double)m->ln_pre_beta[i]);
    }
    p.b.prompt->revision++;
    pair_check(&p, 1e-6);
    for (size_t t = 1; t < p.a.prompt->tensors; t++)
        check_numbers(p.a.prompt->tensor[t].name, p.a.prompt->tensor[t].grad, p.b.prompt->tensor[t].grad, p.a.prompt->tensor[t].count, 1e-5);
    pair_close(&p);
}
END_TEST

/* MaPLe is IVLP with P_j = T_j proj_j^T + bias_j for its visual prompts; the chain rule does the rest. */
START_TEST(maple_is_tied_ivlp)
{
    static const char *const depths[] = {"1", "2", "3"};
    const char *maple[] = {"n_ctx", "2", "depth", depths[_i], NULL};
    const char *ivlp[] = {"n_ctx", "2", "n_ctx_vision", "2", "depth_text", depths[_i], "depth_vision", depths[_i], NULL};
    enum { M = 2 };
    pair p;
    pair_open(&p, "nano-odd", AMMPL_METHOD_MAPLE, maple, AMMPL_METHOD_IVLP, ivlp);
    int64_t l = p.a.model->text.width, W = p.a.model->image.width;
    kind_fill(p.a.prompt);
    for (int j = 0; j <= _i; j++) {
        char text[32] = "ctx", visual[32], weight[32], bias[32];
        snprintf(visual, sizeof visual, "visual_ctx.%d", j);
        snprintf(weight, sizeof weight, "proj.%d.weight", j);
        snprintf(bias, sizeof bias, "proj.%d.bias", j);
        if (j > 0)
            snprintf(text, sizeof text, "text_ctx.%d", j);
        const float *T = value_of(p.a.prompt, text), *w = value_of(p.a.prompt, weight), *b = value_of(p.a.prompt, bias);
        float P[M * 64];
        ck_assert_int_le(W, 64);
        for (int64_t i = 0; i < M; i++)
            for (int64_t c = 0; c < W; c++) {
                double sum = (double)b[c];
                for (int64_t k = 0; k < l; k++)
                    sum += (double)T[i * l + k] * (double)w[c * l + k];
                P[i * W + c] = (float)sum;
            }
        ck_ok(ammpli_prompt_write(p.b.prompt, index_of(p.b.prompt, text), T));
        ck_ok(ammpli_prompt_write(p.b.prompt, index_of(p.b.prompt, visual), P));
    }
    pair_check(&p, 2e-6);
    for (int j = 0; j <= _i; j++) {
        char text[32] = "ctx", visual[32], weight[32], bias[32];
        snprintf(visual, sizeof visual, "visual_ctx.%d", j);
        snprintf(weight, sizeof weight, "proj.%d.weight", j);
        snprintf(bias, sizeof bias, "proj.%d.bias", j);
        if (j > 0)
            snprintf(text, sizeof text, "text_ctx.%d", j);
        const float *T = value_of(p.a.prompt, text), *w = value_of(p.a.prompt, weight), *dP = gradient_of(p.b.prompt, visual);
        const float *alone = gradient_of(p.b.prompt, text);
        float dT[M * 64], dw[64 * 64] = {0}, db[64] = {0};
        for (int64_t i = 0; i < M; i++)
            for (int64_t k = 0; k < l; k++) {
                double sum = (double)alone[i * l + k];
                for (int64_t c = 0; c < W; c++) {
                    sum += (double)dP[i * W + c] * (double)w[c * l + k];
                    dw[c * l + k] += dP[i * W + c] * T[i * l + k];
                }
                dT[i * l + k] = (float)sum;
            }
        for (int64_t i = 0; i < M * W; i++)
            db[i % W] += dP[i];
        check_numbers(text, gradient_of(p.a.prompt, text), dT, M * l, 1e-5);
        check_numbers(weight, gradient_of(p.a.prompt, weight), dw, W * l, 1e-5);
        check_numbers(bias, gradient_of(p.a.prompt, bias), db, W, 1e-5);
    }
    pair_close(&p);
}
END_TEST

/* One template is itself, also twice; several are another thing. */
START_TEST(ensembles)
{
    static const char *const one[] = {"template", "a photo of a {}.", NULL};
    static const char *const more[][3] = {{"template", "a photo of a {}.\na photo of a {}.", NULL},
                                          {"template", "a photo of a {}.\nthe {} in the photo", NULL}};
    static const ammpl_method methods[] = {AMMPL_METHOD_ZEROSHOT, AMMPL_METHOD_VPT, AMMPL_METHOD_VP, AMMPL_METHOD_DPT};
    for (size_t k = 0; k < 4; k++)
        for (int several = 0; several < 2; several++) {
            nano a, b;
            nano_open_method(&a, "nano-odd", methods[k], one);
            nano_open_method(&b, "nano-odd", methods[k], more[several]);
            nano_copy_values(b.prompt, a.prompt);
            if (methods[k] == AMMPL_METHOD_DPT) { /* selects by them, and with K = C selects all: seen in training */
                float *pixels = nano_pixels(&a);
                double x = accumulate_some(&a, pixels, 0, NANO_IMAGES, 0, 0, NULL), y = accumulate_some(&b, pixels, 0, NANO_IMAGES, 0, 0, NULL);
                ck_assert_msg(several ? fabs(x - y) > 1e-4 * y : fabs(x - y) <= 1e-6 * y, "loss %.9g, %.9g", x, y);
                free(pixels);
            } else {
                float *x = nano_logits(&a, a.prompt), *y = nano_logits(&b, b.prompt);
                double d = test_difference(x, y, NANO_IMAGES * NANO_CLASSES, 1e-30);
                ck_assert_msg(several ? d > 1e-3 : d <= 1e-6, "%s: %.3g", a.prompt->method->name, d);
                free(x);
                free(y);
            }
            nano_close(&a);
            nano_close(&b);
        }
}
END_TEST

/* ---- parts of a batch ---- */

static double accumulate_parts(nano *n, const float *pixels, size_t part)
{
    size_t chw = (size_t)3 * (size_t)n->model->preprocess.size * (size_t)n->model->preprocess.size;
    double sum = 0, aux_weight = 0;
    int64_t rows = 0;
    for (size_t from = 0; from < NANO_IMAGES; from += part) {
        int64_t some;
        size_t count = NANO_IMAGES - from < part ? NANO_IMAGES - from : part;
        ck_ok(ammpli_session_aux_rows(n->session, n->prompt, pixels + from * chw, label + from, count, &some));
        rows += some;
    }
    ck_assert_int_eq(rows > 0, n->method == AMMPL_METHOD_DPT);
    if (part < NANO_IMAGES)
        aux_weight = rows > 0 ? 1.0 / (double)rows : 0;
    ck_ok(ammpli_prompt_zero_gradients(n->prompt));
    for (size_t from = 0; from < NANO_IMAGES; from += part)
        sum += accumulate_some(n, pixels, from, NANO_IMAGES - from < part ? NANO_IMAGES - from : part,
                               part < NANO_IMAGES ? 1.0 / NANO_IMAGES : 0, aux_weight, NULL);
    return sum;
}

START_TEST(parts_of_a_batch)
{
    nano n;
    kind_open(&n, &kinds[_i], NULL);
    kind_fill(n.prompt);
    float *pixels = nano_pixels(&n), *kept[64];
    double whole = accumulate_parts(&n, pixels, NANO_IMAGES), largest = 0;
    for (size_t i = 0; i < n.prompt->tensors; i++) {
        const ammpli_tensor *t = &n.prompt->tensor[i];
        kept[i] = malloc((size_t)t->count * sizeof *kept[i]);
        memcpy(kept[i], t->grad, (size_t)t->count * sizeof *kept[i]);
        largest = fmax(largest, norm_of(t->grad, t->count));
    }
    for (size_t part = 1; part <= 4; part++) {
        double sum = accumulate_parts(&n, pixels, part);
        ck_assert_msg(fabs(sum - whole) <= 1e-6 * fabs(whole), "%s: loss of parts of %zu: %.9g, of the whole %.9g", kinds[_i].name, part, sum,
                      whole);
        for (size_t i = 0; i < n.prompt->tensors; i++) {
            const ammpli_tensor *t = &n.prompt->tensor[i];
            double d = test_difference(t->grad, kept[i], t->count, 1e-3 * largest);
            ck_assert_msg(d <= 2e-5, "%s: parts of %zu: gradient of %s differs by %.3g", kinds[_i].name, part, t->name, d);
        }
    }
    for (size_t i = 0; i < n.prompt->tensors; i++)
        free(kept[i]);
    free(pixels);
    nano_close(&n);
}
END_TEST

/* An image's logits have the same bits alone and among others, in evaluation and in training. */
START_TEST(batch_composition)
{
    nano n;
    kind_open(&n, &kinds[_i], NULL);
    kind_fill(n.prompt);
    float *pixels = nano_pixels(&n), *all = nano_logits(&n, n.prompt), trained[NANO_IMAGES * NANO_CLASSES];
    size_t chw = (size_t)3 * (size_t)n.model->preprocess.size * (size_t)n.model->preprocess.size, C = NANO_CLASSES;
    accumulate_some(&n, pixels, 0, NANO_IMAGES, 0, 0, trained);
    for (size_t count = 1; count < NANO_IMAGES; count += 2)
        for (size_t from = 0; from + count <= NANO_IMAGES; from += count) {
            float some[NANO_IMAGES * NANO_CLASSES];
            ck_ok(ammpli_session_predict(n.session, n.prompt, pixels + from * chw, count, some));
            ck_assert_msg(memcmp(some, all + from * C, count * C * sizeof *some) == 0, "%s: %zu from %zu, evaluation", kinds[_i].name, count, from);
            accumulate_some(&n, pixels, from, count, 0, 0, some);
            ck_assert_msg(memcmp(some, trained + from * C, count * C * sizeof *some) == 0, "%s: %zu from %zu, training", kinds[_i].name, count, from);
        }
    free(pixels);
    free(all);
    nano_close(&n);
}
END_TEST

/* ---- other classes ---- */

static const char *const wider[] = {"bird", "fox", "cat", "the_red_ox", "red_dog"}, *const reordered[] = {"bird", "cat", "red_dog"};
static const char *const fewer[] = {"red_dog", "fox"};
static const char *const too_long[] = {"cat", "the quick brown fox jumps over the lazy dog and the ox"};

/* Classes that both have keep the bits of their logits. */
static void check_classes(const char *what, const float *x, const float *y, const char *const *names, size_t classes)
{
    size_t seen = 0;
    for (size_t i = 0; i < NANO_CLASSES; i++)
        for (size_t j = 0; j < classes; j++)
            for (size_t b = 0; strcmp(nano_names[i], names[j]) == 0 && b < NANO_IMAGES; b++, seen++)
                ck_assert_msg(x[b * NANO_CLASSES + i] == y[b * classes + j], "%s: image %zu, class %s: %.9g before, %.9g after", what, b,
                              names[j], (double)x[b * NANO_CLASSES + i], (double)y[b * classes + j]);
    ck_assert_uint_gt(seen, 0);
}

START_TEST(rebound)
{
    const kind *k = &kinds[_i];
    bool dpt = k->method == AMMPL_METHOD_DPT;
    nano n;
    kind_open(&n, k, NULL);
    kind_fill(n.prompt);
    if (strncmp(k->name, "coop_class", 10) == 0) {
        size_t size;
        char *before = nano_bytes(n.prompt, &size), *after;
        ck_status(ammpli_prompt_rebind(n.prompt, wider, 5), AMMPL_E_STATE, "class_specific");
        after = nano_bytes(n.prompt, &size);
        ck_assert(memcmp(before, after, size) == 0);
        free(before);
        free(after);
        nano_close(&n);
        return;
    }
    float *before = nano_logits(&n, n.prompt);
    const struct {
        const char *const *names;
        size_t n;
    } to[] = {{reordered, 3}, {wider, 5}, {fewer, 2}};
    for (size_t t = 0; t < 3; t++) {
        ck_ok(ammpli_prompt_rebind(n.prompt, to[t].names, to[t].n));
        float *after = nano_logits(&n, n.prompt);
        if (!dpt || t == 0) /* DPT's images look at their likeliest classes: with others they are others */
            check_classes(k->name, before, after, to[t].names, to[t].n);
        free(after);
        ck_ok(ammpli_prompt_rebind(n.prompt, nano_names, NANO_CLASSES));
        float *back = nano_logits(&n, n.prompt);
        ck_assert_msg(memcmp(before, back, NANO_IMAGES * NANO_CLASSES * sizeof *back) == 0, "%s: to %zu classes and back", k->name, to[t].n);
        free(back);
    }
    size_t size; /* names that do not fit change nothing, DPT's classifiers included */
    char *bytes = nano_bytes(n.prompt, &size), *later;
    ck_status(ammpli_prompt_rebind(n.prompt, too_long, 2), AMMPL_E_RANGE, "the quick brown fox");
    later = nano_bytes(n.prompt, &size);
    ck_assert(memcmp(bytes, later, size) == 0);
    float *same = nano_logits(&n, n.prompt);
    ck_assert(memcmp(before, same, NANO_IMAGES * NANO_CLASSES * sizeof *same) == 0);
    free(same);
    free(bytes);
    free(later);
    free(before);
    nano_close(&n);
}
END_TEST

/* A prompt of the same classes in another order: per-class tensors take their slices along. */
START_TEST(class_specific_order)
{
    const kind *k = kind_of(_i == 0 ? "coop_class_end" : _i == 1 ? "coop_class_middle" : "coop_class_front");
    nano n;
    kind_open(&n, k, NULL);
    kind_fill(n.prompt);
    ammpl_prompt *p;
    ck_ok(ammpli_prompt_create(n.model, AMMPL_METHOD_COOP, reordered, 3, n.cfg, &p));
    int64_t slice = p->tensor[0].count / 3;
    float *value = malloc((size_t)(3 * slice) * sizeof *value);
    for (int64_t i = 0; i < 3; i++)
        for (int64_t j = 0; j < 3; j++)
            if (strcmp(reordered[i], nano_names[j]) == 0)
                memcpy(value + i * slice, n.prompt->tensor[0].value + j * slice, (size_t)slice * sizeof *value);
    ck_ok(ammpli_prompt_write(p, 0, value));
    float *x = nano_logits(&n, n.prompt), *y = nano_logits(&n, p);
    check_classes(k->name, x, y, reordered, 3);
    free(x);
    free(y);
    free(value);
    ammpli_prompt_release(p);
    nano_close(&n);
}
END_TEST

/* DPT's classifiers start anew for another number of classes; the rest stays, and who trains must start anew, too. */
START_TEST(dpt_classifiers)
{
    static const char *const first_seed[] = {"seed", "1", NULL};
    nano n, other;
    ammpl_prompt *fresh;
    ammpl_optimizer *o;
    kind_open(&n, kind_of("dpt_two"), NULL);
    kind_open(&other, kind_of("dpt_two"), first_seed);
    ck_ok(ammpli_prompt_create(other.model, AMMPL_METHOD_DPT, wider, 5, other.cfg, &fresh));
    nano_trainer(&n);
    nano_steps(&n, 4);
    ck_ok(ammpli_optimizer_create(n.prompt, n.trainer->config, &o));
    size_t size, tensors = n.prompt->tensors;
    char *bytes = nano_bytes(n.prompt, &size), *later;
    ck_ok(ammpli_prompt_rebind(n.prompt, wider, 5));
    for (int j = 0; j < 2; j++) {
        char name[48];
        snprintf(name, sizeof name, "cavpt.classifiers.%d.weight", j);
        const ammpli_tensor *t = ammpli_prompt_find(n.prompt, name);
        ck_assert_int_eq(t->shape[0], 5);
        ck_assert_int_eq(t->count, 5 * n.model->image.width);
        ck_assert_msg(memcmp(t->value, value_of(fresh, name), (size_t)t->count * sizeof *t->value) == 0, "%s: not as seed 1 draws it", name);
        ck_assert(norm_of(t->grad, t->count) == 0);
    }
    ck_assert_uint_eq(n.prompt->tensors, tensors);
    /* five classes can be trained on */
    float *pixels = nano_pixels(&n), *x = nano_logits(&n, n.prompt);
    accumulate_some(&n, pixels, 0, NANO_IMAGES, 0, 0, NULL);
    ck_assert(norm_of(gradient_of(n.prompt, "cavpt.classifiers.1.weight"), 5 * n.model->image.width) > 0);
    ck_status(ammpli_optimizer_step(o), AMMPL_E_STATE, "make a new optimizer");
    ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_STATE, "classes");
    /* back again: the same predictions, classifiers of their first values */
    ck_ok(ammpli_prompt_rebind(n.prompt, nano_names, NANO_CLASSES));
    ck_status(ammpli_optimizer_step(o), AMMPL_E_STATE, "make a new optimizer");
    ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_STATE, "make a new");
    later = nano_bytes(n.prompt, &size);
    ck_assert(memcmp(bytes, later, size) != 0);
    free(later);
    free(bytes);
    free(x);
    free(pixels);
    ammpli_optimizer_release(o);
    ammpli_prompt_release(fresh);
    nano_close(&other);
    nano_close(&n);
}
END_TEST

/* Re-bound in the middle of training: a trainer goes on once the prompt has its data's classes again, not before. */
START_TEST(rebound_under_a_trainer)
{
    static const char *const names[] = {"coop_end", "cocoop_words", "vp_padding", "vpt_deep", "maple_deep"};
    nano n, m;
    kind_open(&n, kind_of(names[_i]), NULL);
    kind_open(&m, kind_of(names[_i]), NULL);
    nano_trainer(&n);
    nano_trainer(&m);
    nano_steps(&n, 3);
    nano_steps(&m, 5);
    ck_ok(ammpli_prompt_rebind(n.prompt, wider, 5));
    ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_STATE, "classes");
    ck_ok(ammpli_prompt_rebind(n.prompt, nano_names, NANO_CLASSES));
    nano_steps(&n, 2);
    ck_assert(nano_same(n.prompt, m.prompt));
    nano_close(&n);
    nano_close(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("relations");
    TCase *c = tcase_create("methods");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, ammpl_without_masks, 0, 2);
    tcase_add_loop_test(c, ivlp_is_coop, 0, 2);
    tcase_add_test(c, untrained_is_zero_shot);
    tcase_add_loop_test(c, vpt_is_half_of_ivlp, 0, 3);
    tcase_add_test(c, vpt_variants);
    tcase_add_loop_test(c, maple_is_tied_ivlp, 0, 3);
    tcase_add_test(c, ensembles);
    suite_add_tcase(s, c);
    c = tcase_create("batches");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, parts_of_a_batch, 0, KINDS);
    tcase_add_loop_test(c, batch_composition, 0, KINDS);
    suite_add_tcase(s, c);
    c = tcase_create("classes");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, rebound, 0, KINDS);
    tcase_add_loop_test(c, class_specific_order, 0, 3);
    tcase_add_test(c, dpt_classifiers);
    tcase_add_loop_test(c, rebound_under_a_trainer, 0, 5);
    suite_add_tcase(s, c);
    return test_main(s);
}
