/* test_towers.c - features, logits, probe and data gradients of the nano models against plain PyTorch in float64. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clip/tower.h"
#include "core/config.h"

enum { B = 5, TEXTS = 6, E = 22, CONTEXT = 19, R = 15, WIDTH = 18 };
static const double FEATURES = 1e-5, GRADIENTS = 1e-4;

static const struct {
    const char *suffix, *folder, *activation;
} models[] = {{"", "nano", "auto"}, {"", "nano-hf", "auto"}, {".f16", "nano-f16", "auto"}, {".bf16", "nano-bf16", "auto"}, {".gelu", "nano", "gelu"}};
enum { MODELS = sizeof models / sizeof models[0] };

static ammpl_model *load_folder(ammpl_context *ctx, const char *folder, const char *activation)
{
    ammpl_config *cfg;
    ammpl_model *m;
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, test_golden("nano")));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_ACTIVATION, activation));
    ck_ok(ammpli_model_load_file(ctx, test_device(ctx), test_golden(folder), cfg, &m));
    ammpli_config_destroy(cfg);
    return m;
}

static ammpl_model *load_model(ammpl_context *ctx, int i)
{
    return load_folder(ctx, models[i].folder, models[i].activation);
}

/* The golden tensor NAME + suffix of model i. */
static float *golden(const ammpli_st *st, int i, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, models[i].suffix);
    return test_tensor(st, full, NULL);
}

static void check(const char *what, int i, const float *got, const float *want, int64_t n, double bound)
{
    double d = test_difference(got, want, n, 1e-30);
    ck_assert_msg(d <= bound, "%s%s of %s: relative difference %.3g, at most %.1g", what, models[i].suffix, models[i].folder, d, bound);
}

/* Device memory of `n` floats, downloaded. */
static float *fetch(ammpli_engine *e, const float *device, int64_t n)
{
    float *host = malloc((size_t)n * sizeof *host);
    ck_assert_ptr_nonnull(host);
    ck_ok(e->ops->download(e->stream, host, device, (size_t)n * sizeof *host));
    return host;
}

START_TEST(image_tower)
{
    ammpl_context *ctx = test_context();
    ammpl_model *m = load_model(ctx, _i);
    ammpli_st *st;
    ck_ok(ammpli_st_open(ctx, test_golden("features.safetensors"), &st));
    ammpli_engine e;
    ck_ok(ammpli_engine_open(&e, m));
    int64_t P = m->grid * m->grid, W = m->image.width, Q = 3 * m->patch * m->patch, pixels = B * 3 * R * R;
    float *images = test_tensor(st, "images", NULL), *cotangent = test_tensor(st, "image_cotangent", NULL);
    float *want = golden(st, _i, "image_features"), *want_grad = golden(st, _i, "image_grad");
    float *x, *token, *feature, *dtoken, *dfeature, *dpatches, *dx;
    ammpli_image_run run;
    ck_ok(ammpli_take_copy(&e, images, pixels, &x));
    ck_ok(ammpli_take_floats(&e, B * P * W, &token));
    ck_ok(ammpli_take_floats(&e, B * E, &feature));
    ck_ok(ammpli_patch_embed(&e, x, B, token));
    ck_ok(ammpli_image_forward(&e, &run, token, B, NULL, true, feature));
    float *got = fetch(&e, feature, B * E);
    check("image_features", _i, got, want, B * E, FEATURES);

    ck_ok(ammpli_take_copy(&e, cotangent, B * E, &dfeature));
    ck_ok(ammpli_take_floats(&e, B * P * W, &dtoken));
    ck_ok(ammpli_take_floats(&e, B * P * Q, &dpatches));
    ck_ok(ammpli_take_floats(&e, pixels, &dx));
    ck_ok(ammpli_image_backward(&e, &run, dfeature, dtoken, NULL, NULL));
    ck_ok(e.ops->linear_backward(e.stream, dpatches, dtoken, m->patch_weight, NULL, AMMPL_ACT_NONE, B * P));
    ck_ok(e.ops->patches_backward(e.stream, dx, dpatches, B, m->grid, m->patch));
    float *grad = fetch(&e, dx, pixels);
    check("image_grad", _i, grad, want_grad, pixels, GRADIENTS);

    /* The features do not depend on what else is in the batch, on the CPU bit for bit. */
    ck_ok(ammpli_image_forward(&e, &run, token + 3 * P * W, 1, NULL, false, feature));
    float *alone = fetch(&e, feature, E);
    test_same("the fourth picture alone", alone, got + 3 * E, E, 1e-30);
    free(alone);
    free(grad);
    free(got);
    free(want);
    free(want_grad);
    free(images);
    free(cotangent);
    ammpli_engine_close(&e);
    ammpli_st_close(st);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

/* Prompts before blocks 0, 1 and 3 of five, dropped behind the last of them: a pass with prompts in front, one that carries them on over a
 * gap, one without.  Beside one pass in which every row goes on, and where no prompt stands in front. */
enum { PROMPTS = 3, GAP_LAYERS = 5 };

typedef struct gap_outcome {
    float *feature, *dtoken, *dprompt[GAP_LAYERS];
} gap_outcome;

static gap_outcome with_gaps(const ammpl_model *m, uint32_t without)
{
    static const bool prompted[GAP_LAYERS] = {true, true, false, true, false};
    int64_t n = 3, P = m->grid * m->grid, W = m->image.width, tokens = n * P * W, each = PROMPTS * W;
    float *host = malloc((size_t)tokens * sizeof *host), *token, *feature, *dtoken, *prompt[GAP_LAYERS] = {0}, *dprompt[GAP_LAYERS] = {0};
    ck_assert_ptr_nonnull(host);
    for (int64_t i = 0; i < tokens; i++)
        host[i] = (float)(i * 7919 % 1009) / 1009 - 0.5f;
    ammpli_engine e;
    ck_ok(ammpli_engine_open(&e, m));
    e.without = without;
    ck_ok(ammpli_take_copy(&e, host, tokens, &token));
    for (int k = 0; k < GAP_LAYERS; k++)
        if (prompted[k]) {
            ck_ok(ammpli_take_copy(&e, host + k * each, each, &prompt[k]));
            ck_ok(ammpli_take_zeros(&e, each, &dprompt[k]));
        }
    ck_ok(ammpli_take_floats(&e, n * m->embed, &feature));
    ck_ok(ammpli_take_floats(&e, tokens, &dtoken));
    ammpli_visual visual = {PROMPTS, (const float *const *)prompt, true};
    ammpli_image_run run;
    ck_ok(ammpli_image_forward(&e, &run, token, n, &visual, true, feature));
    ck_assert_int_eq(run.count, 3);
    gap_outcome out = {.feature = fetch(&e, feature, n * m->embed)};
    ck_ok(ammpli_image_backward(&e, &run, feature, dtoken, &visual, dprompt));
    out.dtoken = fetch(&e, dtoken, tokens);
    for (int k = 0; k < GAP_LAYERS; k++)
        if (prompted[k])
            out.dprompt[k] = fetch(&e, dprompt[k], each);
    ammpli_engine_close(&e);
    free(host);
    return out;
}

START_TEST(prompts_with_gaps)
{
    ammpl_context *ctx = test_context();
    ammpl_model *m = load_folder(ctx, "nano-odd", "auto");
    ck_assert_int_eq(m->image.layers, GAP_LAYERS);
    gap_outcome got = with_gaps(m, 0), want = with_gaps(m, AMMPLI_WITHOUT_ROWS);
    int64_t patches = m->grid * m->grid * m->image.width;
    double off[2] = {test_difference(got.feature, want.feature, 3 * m->embed, 1e-30), test_difference(got.dtoken, want.dtoken, 3 * patches, 1e-30)};
    ck_assert_msg(off[0] <= FEATURES && off[1] <= GRADIENTS, "features off by %.3g, gradients of patches by %.3g", off[0], off[1]);
    for (int k = 0; k < GAP_LAYERS; k++) {
        double d = got.dprompt[k] ? test_difference(got.dprompt[k], want.dprompt[k], PROMPTS * m->image.width, 1e-30) : 0;
        ck_assert_msg(d <= GRADIENTS, "the gradient of prompts before block %d is off by %.3g", k, d);
        free(got.dprompt[k]);
        free(want.dprompt[k]);
    }
    free(got.feature);
    free(want.feature);
    free(got.dtoken);
    free(want.dtoken);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

/* Token ids of text i, up to its EOT. */
static size_t ids_of(const float *tokens, int i, int32_t ids[CONTEXT])
{
    size_t n = 0, end = 0;
    for (; n < CONTEXT; n++) {
        ids[n] = (int32_t)tokens[i * CONTEXT + n];
        if (ids[n] > ids[end])
            end = n;
    }
    return end + 1;
}

START_TEST(text_tower)
{
    ammpl_context *ctx = test_context();
    ammpl_model *m = load_model(ctx, _i);
    ammpli_st *st;
    ck_ok(ammpli_st_open(ctx, test_golden("features.safetensors"), &st));
    ammpli_engine e;
    ck_ok(ammpli_engine_open(&e, m));
    float *tokens = test_tensor(st, "tokens", NULL), *cotangent = test_tensor(st, "text_cotangent", NULL);
    float *want = golden(st, _i, "text_features"), *want_grad = golden(st, _i, "text_grad");
    int32_t id[TEXTS][CONTEXT], *ids[TEXTS];
    size_t len[TEXTS];
    for (int i = 0; i < TEXTS; i++) {
        len[i] = ids_of(tokens, i, id[i]);
        ids[i] = id[i];
    }
    float *feature, *dfeature;
    ck_ok(ammpli_take_floats(&e, TEXTS * E, &feature));
    ck_ok(ammpli_text_features(&e, ids, len, TEXTS, feature));
    float *got = fetch(&e, feature, TEXTS * E);
    check("text_features", _i, got, want, TEXTS * E, FEATURES);

    /* Gradients of the input rows: one text at a time, embedded by hand. */
    for (int i = 0; i < TEXTS; i++) {
        int64_t T = (int64_t)len[i];
        int32_t *dev, start_host[3] = {0, (int32_t)T, (int32_t)T - 1}, *start;
        float *x, *dx;
        ck_ok(ammpli_take_ints(&e, id[i], T, &dev));
        ck_ok(ammpli_take_ints(&e, start_host, 3, &start));
        ck_ok(ammpli_take_floats(&e, T * WIDTH, &x));
        ck_ok(ammpli_take_floats(&e, T * WIDTH, &dx));
        ck_ok(e.ops->embed(e.stream, x, m->token_table, m->token_dtype, dev, T, WIDTH));
        ck_ok(e.ops->rows_add(e.stream, x, NULL, m->text_position, NULL, T, WIDTH));
        ammpli_pass pass = {.B = 1, .T = T, .max_len = T, .start = start, .read = start + 2, .keep = true};
        ck_ok(ammpli_text_forward(&e, &pass, x, feature));
        ck_ok(ammpli_take_copy(&e, cotangent + i * E, E, &dfeature));
        ck_ok(ammpli_text_backward(&e, &pass, dfeature, dx, NULL));
        float *grad = fetch(&e, dx, T * WIDTH);
        check("text_grad", _i, grad, want_grad + i * CONTEXT * WIDTH, T * WIDTH, GRADIENTS);
        free(grad);
    }
    free(got);
    free(want);
    free(want_grad);
    free(tokens);
    free(cotangent);
    ammpli_engine_close(&e);
    ammpli_st_close(st);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

START_TEST(probe)
{
    ammpl_context *ctx = test_context();
    ammpl_model *m = load_model(ctx, _i);
    ammpli_st *st;
    ck_ok(ammpli_st_open(ctx, test_golden("features.safetensors"), &st));
    float *want = golden(st, _i, "probe");
    check("probe", _i, m->probe, want, 16, FEATURES);
    free(want);
    ammpli_st_close(st);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

START_TEST(tokens)
{
    static const char *const texts[] = {"a photo of a cat.", "a photo of a red dog.", "a photo of a zebra.", "a photo of a Sting Ray.", "707 jet's", ""};
    ammpl_context *ctx = test_context();
    ammpl_model *m = load_model(ctx, 0);
    ammpli_st *st;
    ck_ok(ammpli_st_open(ctx, test_golden("features.safetensors"), &st));
    float *want = test_tensor(st, "tokens", NULL);
    for (int i = 0; i < TEXTS; i++) {
        int32_t expected[CONTEXT], *got;
        size_t n, len = ids_of(want, i, expected);
        ck_ok(ammpli_model_tokens(m, texts[i], &got, &n));
        ck_assert_uint_eq(n, len);
        ck_assert_int_eq(memcmp(got, expected, n * sizeof *got), 0);
        ammpli_free(ctx, got);
    }
    int32_t *ids;
    size_t n;
    ck_status(ammpli_model_tokens(m, "a photo of a cat and a photo of a dog and a photo of a zebra", &ids, &n), AMMPL_E_RANGE, "19");
    free(want);
    ammpli_st_close(st);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("towers");
    TCase *c = tcase_create("golden");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, image_tower, 0, MODELS);
    tcase_add_loop_test(c, text_tower, 0, MODELS);
    tcase_add_loop_test(c, probe, 0, MODELS);
    tcase_add_test(c, tokens);
    tcase_add_test(c, prompts_with_gaps);
    suite_add_tcase(s, c);
    return test_main(s);
}
