/* weights = f16: the very results of a file that holds the rounded numbers, in half the memory; what is refused, and how far the
 * rounding goes.
 */
#include "io/model_editor.h"
#include "kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The nearest multiple of F16's last place: 11 significant bits, 2^-24 at least; ties to even. */
static float rounded(float x)
{
    int exponent;
    frexp((double)x, &exponent);
    int last = exponent - 11 > -24 ? exponent - 11 : -24;
    return (float)ldexp(nearbyint(ldexp((double)x, -last)), last);
}

static bool is_matrix(const edit_tensor *t)
{
    return t->rank >= 2 && !strstr(t->name, "positional_embedding");
}

/* A model of golden/nano-odd whose matrices were changed by `change`, under cfg. */
static ammpl_model *edited(ammpl_context *ctx, float (*change)(float), const ammpl_config *cfg, size_t *numbers)
{
    edit_model *e = malloc(sizeof *e);
    size_t size, merges_size, vocab_size, config_size;
    ammpl_model *m;
    edit_open(e, test_golden("nano-odd/model.safetensors"));
    *numbers = 0;
    for (size_t i = 0; i < e->n; i++) {
        float *x = (float *)(void *)e->tensor[i].data;
        ck_assert_str_eq(e->tensor[i].dtype, "F32");
        for (size_t k = 0; is_matrix(&e->tensor[i]) && k < e->tensor[i].bytes / sizeof *x; k++, ++*numbers)
            x[k] = change ? change(x[k]) : x[k];
    }
    unsigned char *bytes = edit_bytes(e, &size), *merges = edit_read(test_golden("nano-odd/merges.txt"), &merges_size);
    unsigned char *vocab = edit_read(test_golden("nano-odd/vocab.json"), &vocab_size);
    unsigned char *config = edit_read(test_golden("nano-odd/open_clip_config.json"), &config_size);
    ck_ok(ammpli_model_load_memory(ctx, test_device(ctx), bytes, size, merges, merges_size, (char *)vocab, (char *)config, cfg, &m));
    edit_free(e);
    free(e);
    free(bytes);
    free(merges);
    free(vocab);
    free(config);
    return m;
}

/* A run on another model; the rest of n stays. */
static void exchange_model(nano *n, ammpl_model *m)
{
    ammpli_session_release(n->session);
    ammpli_prompt_release(n->prompt);
    ammpli_model_release(n->model);
    n->model = m;
    ck_ok(ammpli_prompt_create(m, n->method, nano_names, NANO_CLASSES, n->cfg, &n->prompt));
    ck_ok(ammpli_session_create(m, n->cfg, &n->session));
}

/* Logits, gradients and loss of all pictures. */
static void run_once(nano *n, float *logits, float **gradients, double *loss)
{
    static const int32_t label[NANO_IMAGES] = {0, 1, 2, 0, 1, 2, 1};
    float *pixels = nano_pixels(n);
    ammpl_batch batch = {.struct_size = sizeof batch, .n = NANO_IMAGES, .pixels = pixels, .label = label, .seed = 3};
    ck_ok(ammpli_session_predict(n->session, n->prompt, pixels, NANO_IMAGES, logits));
    ck_ok(ammpli_prompt_zero_gradients(n->prompt));
    ck_ok(ammpli_session_accumulate(n->session, n->prompt, &batch, loss, NULL));
    for (size_t i = 0; i < n->prompt->tensors; i++) {
        gradients[i] = malloc((size_t)n->prompt->tensor[i].count * sizeof **gradients);
        ck_ok(ammpli_prompt_gradient_read(n->prompt, i, gradients[i]));
    }
    free(pixels);
}

/* Every method but the one on nano-wide, and AMMPL. */
START_TEST(rounded_weights)
{
    nano n;
    size_t numbers;
    double loss[2];
    float logits[2][NANO_IMAGES * NANO_CLASSES], *gradient[2][96];
    if (_i < KINDS)
        kind_open(&n, &kinds[_i], NULL);
    else
        nano_open_method(&n, "nano-odd", AMMPL_METHOD_AMMPL, (const char *const[]){"scope", _i == KINDS ? "shared" : "class", NULL});
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(n.ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "weights", "f16"));
    for (int k = 0; k < 2; k++) {
        exchange_model(&n, k ? edited(n.ctx, rounded, NULL, &numbers) : edited(n.ctx, NULL, cfg, &numbers));
        if (_i < KINDS)
            kind_fill(n.prompt);
        ck_assert_uint_le(n.prompt->tensors, 96);
        run_once(&n, logits[k], gradient[k], &loss[k]);
    }
    const char *name = _i < KINDS ? kinds[_i].name : "ammpl";
    ck_assert_msg(memcmp(logits[0], logits[1], sizeof logits[0]) == 0, "%s: other logits than of rounded weights", name);
    ck_assert_msg(loss[0] == loss[1], "%s: loss %.17g, of rounded weights %.17g", name, loss[0], loss[1]);
    for (size_t i = 0; i < n.prompt->tensors; i++) {
        ck_assert_msg(memcmp(gradient[0][i], gradient[1][i], (size_t)n.prompt->tensor[i].count * sizeof(float)) == 0,
                      "%s: another gradient of %s than with rounded weights", name, n.prompt->tensor[i].name);
        free(gradient[0][i]);
        free(gradient[1][i]);
    }
    ammpli_config_destroy(cfg);
    nano_close(&n);
}
END_TEST

enum { PICTURES = 5 };

/* Normalised features [PICTURES or NANO_CLASSES,E] of pictures or names (malloc). */
static float *features_of(const ammpl_model *m, bool texts)
{
    int64_t R = m->preprocess.size, pixels = PICTURES * 3 * R * R;
    float *out = malloc((size_t)((texts ? NANO_CLASSES : PICTURES) * m->embed) * sizeof *out), *x = malloc((size_t)pixels * sizeof *x);
    ammpl_session *s;
    for (int64_t i = 0; i < pixels; i++)
        x[i] = (float)(i * 7919 % 255) / 64 - 2;
    ck_ok(ammpli_session_create(m, NULL, &s));
    if (texts)
        ck_ok(ammpli_session_encode_texts(s, nano_names, NANO_CLASSES, out));
    else
        ck_ok(ammpli_session_encode_images(s, NULL, x, PICTURES, out));
    ammpli_session_release(s);
    free(x);
    return out;
}

static void check_moved(const float *a, const float *b, int64_t n, const char *what)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    ck_assert_msg(largest > 0 && largest < 12.0 / 2048, "%s moved by %g", what, largest);
}

/* Half the bytes of every matrix, and features that are near those of the weights as they are: 2^-11 for each of a dozen products (ammpl.h). */
START_TEST(memory_and_bounds)
{
    ammpl_context *ctx = test_context();
    ammpl_config *cfg;
    size_t numbers;
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "weights", "f16"));
    unsigned long long start = atomic_load(&ctx->memory_now);
    ammpl_model *half = edited(ctx, NULL, cfg, &numbers);
    unsigned long long middle = atomic_load(&ctx->memory_now);
    ammpl_model *full = edited(ctx, NULL, NULL, &numbers);
    double of_half = (double)(middle - start), of_full = (double)(atomic_load(&ctx->memory_now) - middle);
    ck_assert_msg(of_full - of_half >= 0.95 * 2 * (double)numbers, "%.0f bytes as F32, %.0f as F16, %zu numbers", of_full, of_half, numbers);
    check_moved(half->probe, full->probe, 16, "the probe");
    for (int texts = 0; texts < 2; texts++) {
        float *a = features_of(half, texts), *b = features_of(full, texts);
        check_moved(a, b, (texts ? NANO_CLASSES : PICTURES) * full->embed, texts ? "texts" : "pictures");
        free(a);
        free(b);
    }
    ammpli_model_release(half);
    ammpli_model_release(full);
    ammpli_config_destroy(cfg);
    ammpli_context_release(ctx);
}
END_TEST

/* An F16 file is kept as it is: the same model as with weights = f32, to the bit. */
START_TEST(half_file)
{
    ammpl_context *ctx = test_context();
    ammpl_config *cfg;
    ammpl_model *half, *full;
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "vocab", test_golden("nano")));
    ck_ok(ammpli_model_load_file(ctx, test_device(ctx), test_golden("nano-f16"), cfg, &full));
    ck_ok(ammpli_config_set_text(cfg, "weights", "f16"));
    ck_ok(ammpli_model_load_file(ctx, test_device(ctx), test_golden("nano-f16"), cfg, &half));
    ck_assert_int_eq(half->token_dtype, AMMPL_DTYPE_F16);
    ck_assert(memcmp(half->probe, full->probe, sizeof half->probe) == 0);
    ammpli_model_release(half);
    ammpli_model_release(full);
    ck_ok(ammpli_model_load_file(ctx, test_device(ctx), test_golden("nano-bf16"), cfg, &half));
    ck_assert_int_eq(half->token_dtype, AMMPL_DTYPE_F16);
    ammpli_model_release(half);
    ammpli_config_destroy(cfg);
    ammpli_context_release(ctx);
}
END_TEST

static float too_large(float x)
{
    return x > 0.01f ? 65520.0f : x;
}

static float just_fits(float x)
{
    return x > 0.05f && x < 0.0501f ? 65519.0f : x;
}

START_TEST(beyond_f16)
{
    ammpl_context *ctx = test_context();
    ammpl_config *cfg;
    size_t numbers;
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "weights", "f16"));
    edit_model *e = malloc(sizeof *e);
    edit_open(e, test_golden("nano/model.safetensors"));
    edit_tensor *t = edit_find(e, "transformer.resblocks.0.mlp.c_fc.weight");
    ((float *)(void *)t->data)[5] = too_large(1);
    size_t size, merges_size;
    unsigned char *bytes = edit_bytes(e, &size), *merges = edit_read(test_golden("nano/merges.txt"), &merges_size);
    ammpl_model *m;
    ck_status(ammpli_model_load_memory(ctx, test_device(ctx), bytes, size, merges, merges_size, NULL, NULL, cfg, &m), AMMPL_E_NUMERIC,
              "transformer.resblocks.0.mlp.c_fc.weight: its element 5 is 65520, more than F16 can hold");
    ck_assert_ptr_null(m);
    free(bytes);
    free(merges);
    edit_free(e);
    free(e);
    m = edited(ctx, just_fits, cfg, &numbers);
    ammpli_model_release(m);
    ammpli_config_destroy(cfg);
    ammpli_context_release(ctx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("half");
    TCase *c = tcase_create("f16");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, rounded_weights, 0, KINDS + 2);
    tcase_add_test(c, memory_and_bounds);
    tcase_add_test(c, half_file);
    tcase_add_test(c, beyond_f16);
    suite_add_tcase(s, c);
    return test_main(s);
}
