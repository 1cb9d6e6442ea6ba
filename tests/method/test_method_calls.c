/* test_method_calls.c - the calls of the interface under every method but AMMPL: features beside logits, kept features in training,
 * several prompts in one session, costs; and that a failing call leaves things as they were.
 */
#include "kinds.h"

#include <ammpl/ammpl.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t label[NANO_IMAGES] = {0, 1, 2, 0, 1, 2, 1};

static bool leaves_images(const kind *k)
{
    return k->method == AMMPL_METHOD_COOP || k->method == AMMPL_METHOD_COCOOP || k->method == AMMPL_METHOD_DLP || strcmp(k->name, "ivlp_text") == 0;
}

static ammpl_batch batch_of(const float *pixels)
{
    return (ammpl_batch){.struct_size = sizeof(ammpl_batch), .n = NANO_IMAGES, .pixels = pixels, .label = label, .seed = 3, .step = 4};
}

/* All gradients one after another (malloc). */
static float *gradients(const ammpl_prompt *p, size_t *count)
{
    *count = 0;
    for (size_t t = 0; t < p->tensors; t++)
        *count += (size_t)p->tensor[t].count;
    float *all = malloc(*count * sizeof *all), *at = all;
    for (size_t t = 0; t < p->tensors; at += p->tensor[t++].count)
        ck_ok(ammpli_prompt_gradient_read(p, t, at));
    return all;
}

/* Logits are s <image feature, class feature>, but where the class features wait for the image. */
START_TEST(features_and_logits)
{
    const kind *k = &kinds[_i];
    nano n;
    kind_open(&n, k, NULL);
    kind_fill(n.prompt);
    size_t E = (size_t)n.model->embed;
    float *pixels = nano_pixels(&n), *logits = nano_logits(&n, n.prompt), *x = malloc(NANO_IMAGES * E * sizeof *x), *z = malloc(NANO_CLASSES * E * sizeof *z);
    float *plain = malloc(NANO_IMAGES * E * sizeof *plain), product[NANO_IMAGES * NANO_CLASSES];
    ck_assert_int_eq(ammpl_prompt_conditioning(n.prompt), k->method == AMMPL_METHOD_COCOOP);
    ck_ok(ammpli_session_encode_images(n.session, n.prompt, pixels, NANO_IMAGES, x));
    ck_ok(ammpli_session_encode_images(n.session, NULL, pixels, NANO_IMAGES, plain));
    ck_ok(ammpli_session_encode_classes(n.session, n.prompt, z));
    ck_assert_msg((memcmp(x, plain, NANO_IMAGES * E * sizeof *x) == 0) == leaves_images(k), "%s: features of images", k->name);
    for (size_t b = 0; b < NANO_IMAGES; b++)
        for (size_t i = 0; i < NANO_CLASSES; i++) {
            double sum = 0;
            for (size_t e = 0; e < E; e++)
                sum += (double)x[b * E + e] * (double)z[i * E + e];
            product[b * NANO_CLASSES + i] = (float)(exp((double)n.model->logit_scale) * sum);
        }
    double d = test_difference(product, logits, NANO_IMAGES * NANO_CLASSES, 1e-30);
    ck_assert_msg(k->method == AMMPL_METHOD_COCOOP ? d > 1e-3 : d <= 1e-6, "%s: products and logits differ by %.3g", k->name, d);
    free(pixels);
    free(logits);
    free(x);
    free(z);
    free(plain);
    nano_close(&n);
}
END_TEST

/* Training on features instead of pixels: the same bits, or refused with a reason. */
START_TEST(given_features)
{
    const kind *k = &kinds[_i];
    nano n;
    kind_open(&n, k, NULL);
    kind_fill(n.prompt);
    float *pixels = nano_pixels(&n), *features = malloc(NANO_IMAGES * (size_t)n.model->embed * sizeof *features), logits[2][NANO_IMAGES * NANO_CLASSES];
    ck_ok(ammpli_session_encode_images(n.session, NULL, pixels, NANO_IMAGES, features));
    ammpl_batch with_pixels = batch_of(pixels), with_features = batch_of(NULL);
    with_features.features = features;
    double loss[2];
    size_t count;
    ck_ok(ammpli_session_accumulate(n.session, n.prompt, &with_pixels, &loss[0], logits[0]));
    float *first = gradients(n.prompt, &count), *second;
    if (leaves_images(k)) {
        ck_ok(ammpli_prompt_zero_gradients(n.prompt));
        ck_ok(ammpli_session_accumulate(n.session, n.prompt, &with_features, &loss[1], logits[1]));
        ck_assert(loss[0] == loss[1] && memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
    } else {
        ck_status(ammpli_session_accumulate(n.session, n.prompt, &with_features, &loss[1], NULL), AMMPL_E_STATE, "give pixels");
    }
    second = gradients(n.prompt, &count);
    ck_assert_msg(memcmp(first, second, count * sizeof *first) == 0, "%s: other gradients", k->name);
    free(first);
    free(second);
    free(features);
    free(pixels);
    nano_close(&n);
}
END_TEST

/* NaN in pixels and labels that no class has are errors; gradients, and what comes after, are as without them. */
START_TEST(bad_batches)
{
    static const int32_t wrong[][NANO_IMAGES] = {{0, 1, 3, 0, 1, 2, 1}, {0, 1, 2, 0, 1, 2, -1}};
    const kind *k = &kinds[_i];
    nano n;
    kind_open(&n, k, NULL);
    kind_fill(n.prompt);
    size_t chw = (size_t)3 * (size_t)n.model->preprocess.size * (size_t)n.model->preprocess.size, count;
    float *pixels = nano_pixels(&n), *before = nano_logits(&n, n.prompt), logits[NANO_IMAGES * NANO_CLASSES];
    ammpl_batch batch = batch_of(pixels);
    double loss, again;
    int64_t rows;
    ck_ok(ammpli_session_accumulate(n.session, n.prompt, &batch, &loss, NULL));
    float *first = gradients(n.prompt, &count), *second, kept = pixels[2 * chw + 5];
    pixels[2 * chw + 5] = NAN;
    ck_status(ammpli_session_predict(n.session, n.prompt, pixels, NANO_IMAGES, logits), AMMPL_E_NUMERIC, "NaN");
    ck_status(ammpli_session_accumulate(n.session, n.prompt, &batch, &again, NULL), AMMPL_E_NUMERIC, "NaN");
    pixels[2 * chw + 5] = kept;
    for (int w = 0; w < 2; w++) {
        batch.label = wrong[w];
        ck_status(ammpli_session_accumulate(n.session, n.prompt, &batch, &again, NULL), AMMPL_E_LABEL, w ? "label -1" : "label 3");
        ck_status(ammpli_session_aux_rows(n.session, n.prompt, pixels, wrong[w], NANO_IMAGES, &rows), AMMPL_E_LABEL, w ? "label -1" : "label 3");
    }
    batch.label = label;
    second = gradients(n.prompt, &count);
    ck_assert_msg(memcmp(first, second, count * sizeof *first) == 0, "%s: gradients after a failure", k->name);
    free(second);
    ck_ok(ammpli_session_predict(n.session, n.prompt, pixels, NANO_IMAGES, logits));
    ck_assert_msg(memcmp(logits, before, sizeof logits) == 0, "%s: logits after a failure", k->name);
    ck_ok(ammpli_session_accumulate(n.session, n.prompt, &batch, &again, NULL)); /* adds the same once more */
    second = gradients(n.prompt, &count);
    ck_assert(again == loss);
    for (size_t i = 0; i < count; i++)
        ck_assert(second[i] == 2 * first[i]);
    free(first);
    free(second);
    free(before);
    free(pixels);
    nano_close(&n);
}
END_TEST

/* A session that goes from prompt to prompt gives what a fresh one gives, and sees values change. */
START_TEST(one_session)
{
    nano n[KINDS], first;
    float *alone[KINDS];
    kind_open(&first, &kinds[0], NULL);
    for (int i = 0; i < KINDS; i++) {
        n[i].prompt = NULL;
        if (strcmp(kinds[i].model, kinds[0].model) != 0)
            continue;
        n[i] = first;
        n[i].method = kinds[i].method;
        ck_ok(ammpli_config_create(first.ctx, &n[i].cfg));
        for (const char *const *o = kinds[i].options; *o; o += 2)
            ck_ok(ammpli_config_set_text(n[i].cfg, o[0], o[1]));
        ck_ok(ammpli_prompt_create(first.model, kinds[i].method, nano_names, NANO_CLASSES, n[i].cfg, &n[i].prompt));
        kind_fill(n[i].prompt);
        ck_ok(ammpli_session_create(first.model, NULL, &n[i].session));
        alone[i] = nano_logits(&n[i], n[i].prompt);
        ammpli_session_release(n[i].session);
    }
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < KINDS; i++) {
            if (!n[i].prompt)
                continue;
            float *logits = nano_logits(&first, n[i].prompt), half;
            ck_assert_msg(memcmp(logits, alone[i], NANO_IMAGES * NANO_CLASSES * sizeof *logits) == 0, "%s, round %d", kinds[i].name, round);
            free(logits);
            size_t last = n[i].prompt->tensors - 1; /* a changed number is seen, and gone when it is put back */
            last -= kinds[i].method == AMMPL_METHOD_DPT ? 1 : 0; /* behind lns2 comes a classifier, which inference does not read */
            float *value = malloc((size_t)n[i].prompt->tensor[last].count * sizeof *value);
            ck_ok(ammpli_prompt_read(n[i].prompt, last, value));
            half = value[0];
            value[0] += 1;
            ck_ok(ammpli_prompt_write(n[i].prompt, last, value));
            logits = nano_logits(&first, n[i].prompt);
            ck_assert_msg(memcmp(logits, alone[i], NANO_IMAGES * NANO_CLASSES * sizeof *logits) != 0, "%s: %s changes nothing", kinds[i].name,
                          n[i].prompt->tensor[last].name);
            value[0] = half;
            ck_ok(ammpli_prompt_write(n[i].prompt, last, value));
            free(logits);
            free(value);
        }
    for (int i = 0; i < KINDS; i++)
        if (n[i].prompt) {
            free(alone[i]);
            ammpli_prompt_release(n[i].prompt);
            ammpli_config_destroy(n[i].cfg);
        }
    nano_close(&first);
}
END_TEST

typedef struct lossy {
    const ammpl_ops *ops;
    size_t features, logits; /* bytes */
} lossy;
static lossy real;

static int32_t lose_copy(ammpl_stream *s, void *dst, const void *src, size_t bytes)
{
    (void)s;
    (void)dst;
    (void)src;
    (void)bytes;
    return AMMPL_OK;
}

static int32_t lose_upload(ammpl_stream *s, void *dst, const void *src, size_t bytes)
{
    return bytes == real.features ? AMMPL_OK : real.ops->upload(s, dst, src, bytes);
}

static int32_t fail_download(ammpl_stream *s, void *dst, const void *src, size_t bytes)
{
    return bytes == real.logits ? ammpli_fail(AMMPL_E_BACKEND, "what was queued is lost") : real.ops->download(s, dst, src, bytes);
}

/* What a failing call queued for a cache may be lost with it: the next one does not read it. */
START_TEST(caches_after_a_failure)
{
    const kind *k = &kinds[_i];
    nano n;
    ammpl_session *s;
    float logits[NANO_IMAGES * NANO_CLASSES];
    kind_open(&n, k, NULL);
    kind_fill(n.prompt);
    float *pixels = nano_pixels(&n), *want = nano_logits(&n, n.prompt);
    ck_ok(ammpli_session_create(n.model, n.cfg, &s));
    real = (lossy){s->engine.ops, NANO_CLASSES * (size_t)n.model->embed * sizeof(float), sizeof logits};
    ammpl_ops ops = *real.ops;
    ops.copy = lose_copy;
    ops.upload = lose_upload;
    ops.download = fail_download;
    s->engine.ops = &ops;
    ck_status(ammpli_session_predict(s, n.prompt, pixels, NANO_IMAGES, logits), AMMPL_E_BACKEND, "lost");
    s->engine.ops = real.ops;
    ck_ok(ammpli_session_predict(s, n.prompt, pixels, NANO_IMAGES, logits));
    ck_assert_msg(memcmp(logits, want, sizeof logits) == 0, "%s: another prediction", k->name);
    ammpli_session_release(s);
    free(pixels);
    free(want);
    nano_close(&n);
}
END_TEST

START_TEST(costs)
{
    const kind *k = &kinds[_i];
    nano n;
    kind_open(&n, k, NULL);
    ammpl_cost cost = {.struct_size = sizeof cost};
    ck_ok(ammpl_prompt_cost(n.prompt, &cost));
    uint64_t numbers = 0, fixed_text = k->method == AMMPL_METHOD_VP || k->method == AMMPL_METHOD_VPT;
    for (size_t t = 0; t < n.prompt->tensors; t++)
        numbers += (uint64_t)n.prompt->tensor[t].count;
    ck_assert_uint_eq(cost.parameters, numbers);
    ck_assert_uint_eq(cost.image_encodes, k->method == AMMPL_METHOD_DPT ? 2 : 1);
    ck_assert_uint_eq(cost.text_encodes, k->method == AMMPL_METHOD_COCOOP ? NANO_CLASSES : 0);
    ck_assert_uint_eq(cost.step_texts, fixed_text || k->method == AMMPL_METHOD_COCOOP ? 0 : NANO_CLASSES);
    nano_close(&n);
}
END_TEST

START_TEST(zero_shot_learns_nothing)
{
    nano n;
    nano_open_method(&n, "nano-odd", AMMPL_METHOD_ZEROSHOT, NULL);
    float *pixels = nano_pixels(&n);
    ammpl_batch batch = batch_of(pixels);
    double loss;
    ammpl_optimizer *o;
    ck_assert_uint_eq(ammpl_prompt_tensor_count(n.prompt), 0);
    ck_status(ammpl_session_accumulate(n.session, n.prompt, &batch, &loss, NULL), AMMPL_E_STATE, "nothing to learn");
    ck_status(ammpl_trainer_create(n.session, n.prompt, n.data, n.cfg, &n.trainer), AMMPL_E_STATE, "nothing to learn");
    ck_assert_ptr_null(n.trainer);
    ck_status(ammpl_train(n.session, n.prompt, n.data, n.cfg, NULL, NULL), AMMPL_E_STATE, "nothing to learn");
    ck_ok(ammpl_optimizer_create(n.prompt, NULL, &o)); /* over no tensors: a loop over methods need not ask */
    ck_ok(ammpl_optimizer_step(o));
    ammpl_optimizer_destroy(o);
    ammpl_cost cost = {.struct_size = sizeof cost};
    ck_ok(ammpl_prompt_cost(n.prompt, &cost));
    ck_assert(cost.parameters == 0 && cost.image_encodes == 1 && cost.text_encodes == 0 && cost.step_texts == 0);
    free(pixels);
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("method_calls");
    TCase *c = tcase_create("calls");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, features_and_logits, 0, KINDS);
    tcase_add_loop_test(c, given_features, 0, KINDS);
    tcase_add_loop_test(c, bad_batches, 0, KINDS);
    tcase_add_test(c, one_session);
    tcase_add_loop_test(c, caches_after_a_failure, 0, KINDS);
    tcase_add_loop_test(c, costs, 0, KINDS);
    tcase_add_test(c, zero_shot_learns_nothing);
    suite_add_tcase(s, c);
    return test_main(s);
}
