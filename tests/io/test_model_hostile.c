/* test_model_hostile.c - models that are damaged, contradict themselves, or are no CLIP: each is refused in words that help. */
#include "io/model_editor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clip/clip.h"
#include "core/config.h"

/* One of the golden models taken apart. */
typedef struct sample {
    edit_model e;
    unsigned char *merges;
    char *vocab, *config;
    size_t merges_size;
} sample;

static ammpl_context *ctx;
static ammpl_config *cfg;
static unsigned long long empty;
static sample openai, hf;
static float probe[16]; /* of both */

static char *golden_text(const char *folder, const char *file, size_t *size)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", test_golden(folder), file);
    return (char *)edit_read(path, size);
}

static void open_sample(sample *s, const char *folder, const char *config)
{
    char path[600];
    size_t size;
    snprintf(path, sizeof path, "%s/model.safetensors", test_golden(folder));
    edit_open(&s->e, path);
    s->merges = (unsigned char *)golden_text(folder, "merges.txt", &s->merges_size);
    s->vocab = golden_text(folder, "vocab.json", &size);
    s->config = golden_text(folder, config, &size);
}

static void close_sample(sample *s)
{
    edit_free(&s->e);
    free(s->merges);
    free(s->vocab);
    free(s->config);
}

static ammpl_status load_bytes(const sample *s, const void *data, size_t size, const char *config, ammpl_model **m)
{
    ammpli_clear_error();
    return ammpli_model_load_memory(ctx, NULL, data, size, s->merges, s->merges_size, s->vocab, config, cfg, m);
}

static ammpl_status load_edited(const sample *s, const char *config, ammpl_model **m)
{
    size_t size;
    unsigned char *data = edit_bytes(&s->e, &size);
    ammpl_status status = load_bytes(s, data, size, config, m);
    free(data); /* nothing is kept of it */
    return status;
}

static void refuse(const sample *s, const char *config, ammpl_status expected, const char *word)
{
    ammpl_model *m = (void *)1;
    ammpl_status status = load_edited(s, config, &m);
    ck_assert_msg(status == expected && strstr(ammpli_error_text(), word), "status %d, \"%s\": expected %d and \"%s\"", (int)status,
                  ammpli_error_text(), (int)expected, word);
    ck_assert_ptr_null(m);
}

static ammpl_model *accept(const sample *s, const char *config)
{
    ammpl_model *m;
    ammpl_status status = load_edited(s, config, &m);
    ck_assert_msg(status == AMMPL_OK, "status %d, %s", (int)status, ammpli_error_text());
    return m;
}

static void accept_same(const sample *s, const char *config, double tolerance)
{
    ammpl_model *m = accept(s, config);
    for (int i = 0; i < 16; i++)
        ck_assert_double_eq_tol((double)m->probe[i], (double)probe[i], tolerance);
    ammpli_model_release(m);
}

static void setup(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    empty = ctx->memory_now;
    ck_ok(ammpli_config_create(ctx, &cfg));
    open_sample(&openai, "nano", "open_clip_config.json");
    open_sample(&hf, "nano-hf", "config.json");
    ammpl_model *m = accept(&openai, openai.config);
    memcpy(probe, m->probe, sizeof probe);
    ammpli_model_release(m);
}

static void teardown(void)
{
    close_sample(&openai);
    close_sample(&hf);
    ammpli_config_destroy(cfg);
    ck_assert_uint_eq(ctx->memory_now, empty);
    ammpli_context_release(ctx);
}

/* ---- bytes ---- */

START_TEST(every_truncation_is_refused)
{
    size_t size;
    unsigned char *data = edit_bytes(&openai.e, &size);
    for (size_t n = 0; n < size; n += n < 100 ? 1 : 997) {
        unsigned char *part = malloc(n + 1); /* so that a read past the end is seen */
        memcpy(part, data, n);
        ammpl_model *m;
        ammpl_status status = load_bytes(&openai, part, n, openai.config, &m);
        ck_assert_msg(status == AMMPL_E_FORMAT, "%zu bytes: %d, %s", n, (int)status, ammpli_error_text());
        free(part);
    }
    free(data);
}
END_TEST

START_TEST(every_flipped_header_byte_is_survived)
{
    size_t size;
    uint64_t length;
    unsigned char *data = edit_bytes(&hf.e, &size);
    memcpy(&length, data, 8);
    for (size_t i = 0; i < 8 + length; i++) {
        ammpl_model *m;
        unsigned char flip = (unsigned char)(1 << i % 8);
        data[i] ^= flip;
        ammpl_status status = load_bytes(&hf, data, size, hf.config, &m);
        ck_assert((status == AMMPL_OK) == (m != NULL));
        ck_assert((status == AMMPL_OK) == (ammpli_error_text()[0] == '\0'));
        ammpli_model_release(m);
        data[i] ^= flip;
    }
    free(data);
}
END_TEST

/* ---- tensors ---- */

START_TEST(every_tensor_is_needed)
{
    for (int k = 0; k < 2; k++) {
        sample *s = k ? &hf : &openai;
        for (size_t i = 0; i < s->e.n; i++) {
            edit_tensor *t = &s->e.tensor[i], last = s->e.tensor[s->e.n - 1], kept = *t;
            *t = last;
            s->e.n--;
            if (strstr(kept.name, "position_ids"))
                accept_same(s, s->config, 1e-6);
            else
                refuse(s, s->config, AMMPL_E_FORMAT, kept.name);
            s->e.n++;
            s->e.tensor[s->e.n - 1] = last;
            *t = kept;
        }
    }
}
END_TEST

START_TEST(every_shape_is_checked)
{
    for (int k = 0; k < 2; k++) {
        sample *s = k ? &hf : &openai;
        for (size_t i = 0; i < s->e.n; i++)
            for (int d = 0; d < s->e.tensor[i].rank; d++) {
                edit_tensor *t = &s->e.tensor[i], kept = *t;
                if (strstr(kept.name, "position_ids"))
                    continue;
                t->data = malloc(kept.bytes);
                edit_widen(t, d);
                ammpl_model *m;
                ammpl_status status = load_edited(s, s->config, &m);
                ck_assert_msg(status == AMMPL_E_SHAPE || status == AMMPL_E_UNSUPPORTED, "%s: %d, %s", t->name, (int)status,
                              ammpli_error_text());
                /* Sentences name what contradicts: this tensor, or the first that follows from it. */
                ck_assert_ptr_nonnull(strstr(ammpli_error_text(), "tensor"));
                free(t->data);
                *t = kept;
            }
    }
    /* Two tensors are named. */
    edit_widen(edit_find(&openai.e, "transformer.resblocks.1.ln_2.bias"), 0);
    refuse(&openai, openai.config, AMMPL_E_SHAPE,
           "transformer.resblocks.1.ln_2.bias has the shape [19], but token_embedding.weight needs it to be [18]");
}
END_TEST

START_TEST(every_nan_is_named)
{
    static const struct {
        const char *folder;
        unsigned char infinity[4];
        size_t size;
    } kinds[] = {{"nano", {0, 0, 0x80, 0xff}, 4}, {"nano-hf", {0, 0, 0xc0, 0x7f}, 4}, {"nano-f16", {0, 0x7c}, 2},
                 {"nano-bf16", {0x80, 0x7f}, 2}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        sample s = openai;
        char path[600];
        snprintf(path, sizeof path, "%s/model.safetensors", test_golden(kinds[k].folder));
        edit_open(&s.e, path);
        for (size_t i = 0; i < s.e.n; i++) {
            edit_tensor *t = &s.e.tensor[i];
            unsigned char kept[4], *last = t->data + t->bytes - kinds[k].size;
            if (strcmp(t->dtype, "I64") == 0)
                continue;
            memcpy(kept, last, kinds[k].size);
            memcpy(last, kinds[k].infinity, kinds[k].size);
            refuse(&s, k == 1 ? hf.config : openai.config, AMMPL_E_NUMERIC, t->name);
            memcpy(last, kept, kinds[k].size);
        }
        edit_free(&s.e);
    }
}
END_TEST

START_TEST(unknown_tensors_are_refused_by_name)
{
    static const struct {
        const char *name, *word;
    } cases[] = {
        {"visual.layer1.0.conv1.weight", "a ResNet image tower"}, {"visual.attnpool.c_proj.bias", "a ResNet image tower"},
        {"visual.bn1.weight", "a ResNet image tower"}, {"visual.trunk.norm.weight", "a timm image tower"},
        {"visual.attn_pool.query", "attention pooling"}, {"logit_bias", "a logit bias"},
        {"transformer.resblocks.0.ls_1.gamma", "LayerScale"}, {"transformer.resblocks.0.attn.in_proj_weight2", "no part of a CLIP"},
        {"transformer.resblocks.00.ln_1.weight", "resblocks.00."}, {"transformer.resblocks.9999.ln_1.weight", "resblocks.9999."},
        {"transformer.resblocks.x.ln_1.weight", "resblocks.x."}, {"transformer.resblocks..ln_1.weight", "resblocks.."},
        {"visual.conv1.bias", "visual.conv1.bias"}, {"text_projection.bias", "text_projection.bias"},
        {"text.transformer.resblocks.0.ln_1.weight", "text.transformer"}, {"classifier.weight", "classifier.weight"},
        {"position_ids.x", "position_ids.x"},
    };
    const int64_t one = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit_add(&openai.e, cases[i].name, "F32", 1, &one, 4);
        refuse(&openai, openai.config, AMMPL_E_UNSUPPORTED, cases[i].name);
        ck_assert_ptr_nonnull(strstr(ammpli_error_text(), cases[i].word));
        edit_remove(&openai.e, cases[i].name);
    }
    /* A tower that is not wanted may be of any kind. */
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TOWERS, "text"));
    edit_add(&openai.e, "visual.layer1.0.conv1.weight", "F32", 1, &one, 4);
    ammpli_model_release(accept(&openai, openai.config));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TOWERS, "image"));
    refuse(&openai, openai.config, AMMPL_E_UNSUPPORTED, "ResNet");
}
END_TEST

START_TEST(constants_are_ignored_whatever_their_type)
{
    static const char *const names[] = {"input_resolution", "context_length", "vocab_size", "attn_mask", "transformer.attn_mask",
                                        "text_model.embeddings.position_ids"};
    static const char *const dtypes[] = {"I64", "F32", "BOOL", "U8", "F16", "I16"};
    static const size_t size[] = {8, 4, 1, 1, 2, 2};
    const int64_t one = 1;
    for (int i = 0; i < 6; i++)
        edit_add(&openai.e, names[i], dtypes[i], 1, &one, size[i]);
    accept_same(&openai, openai.config, 1e-12);
}
END_TEST

START_TEST(dtypes_and_ranks_are_checked)
{
    edit_tensor *t = edit_find(&openai.e, "ln_final.weight"), kept = *t;
    strcpy(t->dtype, "I32");
    refuse(&openai, openai.config, AMMPL_E_UNSUPPORTED, "tensor ln_final.weight has another dtype");
    *t = kept;
    t->rank = 2;
    t->shape[1] = 1;
    refuse(&openai, openai.config, AMMPL_E_SHAPE, "ln_final.weight has the shape [18,1]");
    *t = kept;
    t = edit_find(&openai.e, "logit_scale");
    t->rank = 1;
    t->shape[0] = 1;
    accept_same(&openai, openai.config, 1e-12); /* [1] is as good as [] */
    t->shape[0] = 0;
    t->bytes = 0;
    refuse(&openai, openai.config, AMMPL_E_SHAPE, "logit_scale has the shape [0]");
    t->rank = 0;
    t->bytes = 4;
    const float big = 100;
    memcpy(t->data, &big, 4);
    refuse(&openai, openai.config, AMMPL_E_NUMERIC, "exp(100)");
}
END_TEST

static void to_half(edit_tensor *t)
{
    for (size_t i = 0; i < t->bytes / 4; i++) { /* cut: exact enough for a model that is the same to 1e-2 */
        uint32_t bits;
        memcpy(&bits, t->data + 4 * i, 4);
        int exponent = (int)(bits >> 23 & 255) - 112;
        uint16_t h = (uint16_t)((bits >> 16 & 0x8000) | (exponent > 0 ? (unsigned)exponent << 10 | (bits >> 13 & 0x3ff) : 0));
        memcpy(t->data + 2 * i, &h, 2);
    }
    t->bytes /= 2;
    strcpy(t->dtype, "F16");
}

START_TEST(mixed_dtypes_and_layouts_load)
{
    to_half(edit_find(&hf.e, "text_model.encoder.layers.0.self_attn.q_proj.weight")); /* joined with two of F32 */
    to_half(edit_find(&hf.e, "vision_model.encoder.layers.1.self_attn.v_proj.weight"));
    to_half(edit_find(&hf.e, "text_model.encoder.layers.1.self_attn.k_proj.bias"));
    to_half(edit_find(&hf.e, "text_projection.weight"));
    accept_same(&hf, hf.config, 5e-3);
    /* open_clip's linear text projection, [E, D], in a file of OpenAI's names. */
    edit_tensor *t = edit_find(&openai.e, "text_projection");
    float old[18 * 22], new[18 * 22];
    memcpy(old, t->data, sizeof old);
    for (int i = 0; i < 18; i++)
        for (int j = 0; j < 22; j++)
            new[j * 18 + i] = old[i * 22 + j];
    memcpy(t->data, new, sizeof new);
    strcpy(t->name, "text_projection.weight");
    t->shape[0] = 22;
    t->shape[1] = 18;
    accept_same(&openai, openai.config, 1e-6);
    t = edit_add(&openai.e, "text_projection", "F32", 2, (int64_t[]){18, 22}, sizeof old);
    memcpy(t->data, old, sizeof old);
    refuse(&openai, openai.config, AMMPL_E_FORMAT, "same part");
    edit_remove(&openai.e, "text_projection");
    edit_add(&openai.e, "text_model.final_layer_norm.bias", "F32", 1, (int64_t[]){18}, 72);
    refuse(&openai, openai.config, AMMPL_E_FORMAT, "same part");
}
END_TEST

START_TEST(grids_and_patches_are_square)
{
    edit_tensor *t = edit_find(&openai.e, "visual.positional_embedding"), kept = *t;
    t->shape[0] = 9; /* a class row and 8 patches */
    t->bytes = 9 * 28 * 4;
    refuse(&openai, NULL, AMMPL_E_UNSUPPORTED, "square grid");
    *t = kept;
    t = edit_find(&openai.e, "visual.conv1.weight");
    kept = *t;
    t->shape[3] = 4;
    t->bytes = 28 * 3 * 5 * 4 * 4;
    refuse(&openai, NULL, AMMPL_E_UNSUPPORTED, "square patches");
    *t = kept;
    t->shape[1] = 1;
    t->bytes /= 3;
    refuse(&openai, NULL, AMMPL_E_UNSUPPORTED, "3 channels");
}
END_TEST

START_TEST(memory_wants_a_vocabulary)
{
    ammpl_model *m;
    size_t size;
    unsigned char *data = edit_bytes(&openai.e, &size);
    ck_status(ammpli_model_load_memory(ctx, NULL, data, size, NULL, 0, NULL, openai.config, cfg, &m), AMMPL_E_IO, "vocabulary");
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, test_golden("nano")));
    ck_ok(ammpli_model_load_memory(ctx, NULL, data, size, NULL, 0, NULL, openai.config, cfg, &m));
    ammpli_model_release(m);
    ck_status(ammpli_model_load_memory(ctx, NULL, data, size, "a\0b", 3, NULL, openai.config, cfg, &m), AMMPL_E_SHAPE, "memory");
    free(data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_hostile");
    TCase *tc = tcase_create("model_hostile");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, every_truncation_is_refused);
    tcase_add_test(tc, every_flipped_header_byte_is_survived);
    tcase_add_test(tc, every_tensor_is_needed);
    tcase_add_test(tc, every_shape_is_checked);
    tcase_add_test(tc, every_nan_is_named);
    tcase_add_test(tc, unknown_tensors_are_refused_by_name);
    tcase_add_test(tc, constants_are_ignored_whatever_their_type);
    tcase_add_test(tc, dtypes_and_ranks_are_checked);
    tcase_add_test(tc, mixed_dtypes_and_layouts_load);
    tcase_add_test(tc, grids_and_patches_are_square);
    tcase_add_test(tc, memory_wants_a_vocabulary);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
