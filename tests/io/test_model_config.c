/* test_model_config.c - what config.json, open_clip_config.json and preprocessor_config.json may say, and what is refused. */
#include "support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clip/clip.h"
#include "core/config.h"

static ammpl_context *ctx;
static ammpl_config *cfg;
static unsigned long long empty;
static void *weights[2], *merges; /* nano, nano-hf */
static size_t size[2], merges_size;
static char *vocab;
static const char *const folder[2] = {"nano", "nano-hf"}, *const file[2] = {"open_clip_config.json", "config.json"};

static void *golden(int which, const char *name, size_t *bytes)
{
    char path[600];
    void *data;
    snprintf(path, sizeof path, "%s/%s", test_golden(folder[which]), name);
    ck_ok(ammpli_file_read(ctx, path, 1 << 24, &data, bytes));
    return data;
}

static void setup(void)
{
    size_t n;
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    empty = ctx->memory_now;
    ck_ok(ammpli_config_create(ctx, &cfg));
    for (int i = 0; i < 2; i++)
        weights[i] = golden(i, "model.safetensors", &size[i]);
    merges = golden(0, "merges.txt", &merges_size);
    vocab = golden(0, "vocab.json", &n);
}

static void teardown(void)
{
    ammpli_free(ctx, weights[0]);
    ammpli_free(ctx, weights[1]);
    ammpli_free(ctx, merges);
    ammpli_free(ctx, vocab);
    ammpli_config_destroy(cfg);
    ck_assert_uint_eq(ctx->memory_now, empty);
    ammpli_context_release(ctx);
}

static ammpl_status load(int which, const char *config, ammpl_model **m)
{
    ammpli_clear_error();
    return ammpli_model_load_memory(ctx, NULL, weights[which], size[which], merges, merges_size, vocab, config, cfg, m);
}

static ammpl_model *load_good(int which, const char *config)
{
    ammpl_model *m;
    ammpl_status status = load(which, config, &m);
    ck_assert_msg(status == AMMPL_OK, "%s: %d, %s", config, (int)status, ammpli_error_text());
    return m;
}

/* The golden config with one value (JSON; NULL: none) at a path like "model_cfg.text_cfg.heads". */
static char *patched(int which, const char *path, const char *value)
{
    size_t n;
    char *text = golden(which, file[which], &n), part[64];
    json_t *root = json_loads(text, 0, NULL), *at = root;
    ammpli_free(ctx, text);
    ck_assert_ptr_nonnull(root);
    const char *dot;
    while ((dot = strchr(path, '.'))) {
        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        if (!json_object_get(at, part))
            json_object_set_new(at, part, json_object());
        at = json_object_get(at, part);
        path = dot + 1;
    }
    if (value)
        json_object_set_new(at, path, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(at, path);
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

typedef struct change {
    const char *path, *value;
    ammpl_status status;
    const char *word; /* of the sentence */
} change;

static void try_changes(int which, const change *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *config = patched(which, c[i].path, c[i].value);
        ammpl_model *m;
        ammpl_status status = load(which, config, &m);
        ck_assert_msg(status == c[i].status && (status == AMMPL_OK || strstr(ammpli_error_text(), c[i].word)),
                      "%s = %s: status %d, \"%s\"", c[i].path, c[i].value ? c[i].value : "nothing", (int)status, ammpli_error_text());
        ck_assert((status == AMMPL_OK) == (m != NULL));
        ammpli_model_release(m);
        free(config);
    }
}
#define TRY_CHANGES(which, list) try_changes(which, list, sizeof(list) / sizeof *(list))

enum { OTHER = AMMPL_E_UNSUPPORTED, BAD = AMMPL_E_FORMAT, CLASH = AMMPL_E_SHAPE };

START_TEST(open_clip_keys)
{
    static const change list[] = {
        {"model_cfg.text_cfg.no_causal_mask", "true", OTHER, "model_cfg.text_cfg.no_causal_mask"},
        {"model_cfg.text_cfg.no_causal_mask", "false", AMMPL_OK, ""},
        {"model_cfg.text_cfg.pool_type", "\"last\"", OTHER, "pool_type"},
        {"model_cfg.text_cfg.pool_type", "\"argmax\"", AMMPL_OK, ""},
        {"model_cfg.text_cfg.embed_cls", "true", OTHER, "embed_cls"},
        {"model_cfg.text_cfg.proj_type", "\"mlp\"", OTHER, "proj_type"},
        {"model_cfg.text_cfg.proj_bias", "true", OTHER, "proj_bias"},
        {"model_cfg.text_cfg.ls_init_value", "1e-5", OTHER, "ls_init_value"},
        {"model_cfg.text_cfg.hf_model_name", "\"roberta-base\"", OTHER, "hf_model_name"},
        {"model_cfg.text_cfg.hf_tokenizer_name", "\"t5\"", OTHER, "hf_tokenizer_name"},
        {"model_cfg.text_cfg.tokenizer_kwargs", "{\"clean\": \"canonicalize\"}", OTHER, "tokenizer_kwargs"},
        {"model_cfg.text_cfg.pad_id", "1", AMMPL_OK, ""},
        {"model_cfg.vision_cfg.pool_type", "\"avg\"", OTHER, "vision_cfg.pool_type"},
        {"model_cfg.vision_cfg.pool_type", "\"tok\"", AMMPL_OK, ""},
        {"model_cfg.vision_cfg.no_ln_pre", "true", OTHER, "no_ln_pre"},
        {"model_cfg.vision_cfg.ls_init_value", "0.1", OTHER, "ls_init_value"},
        {"model_cfg.vision_cfg.ls_init_value", "null", AMMPL_OK, ""},
        {"model_cfg.vision_cfg.attentional_pool", "true", OTHER, "attentional_pool"},
        {"model_cfg.vision_cfg.global_average_pool", "true", OTHER, "global_average_pool"},
        {"model_cfg.vision_cfg.timm_model_name", "\"vit_base\"", OTHER, "timm_model_name"},
        {"model_cfg.vision_cfg.timm_model_name", "\"\"", AMMPL_OK, ""},
        {"model_cfg.vision_cfg.pos_embed_type", "\"sin_cos_2d\"", OTHER, "pos_embed_type"},
        {"model_cfg.vision_cfg.layers", "[3,4,6,3]", OTHER, "ResNet"},
        {"model_cfg.vision_cfg.norm_kwargs", "{\"bias\": true}", OTHER, "norm_kwargs.bias"},
        {"model_cfg.vision_cfg.act_kwargs", "{\"approximate\": \"tanh\"}", OTHER, "act_kwargs"},
        {"model_cfg.vision_cfg.patch_dropout", "0.5", AMMPL_OK, ""},
        {"model_cfg.vision_cfg.something_new", "1", OTHER, "something_new"},
        {"model_cfg.init_logit_bias", "-10", OTHER, "init_logit_bias"},
        {"model_cfg.multimodal_cfg", "{\"width\": 1}", OTHER, "multimodal_cfg"},
        {"model_cfg.custom_text", "true", AMMPL_OK, ""},
        {"model_cfg.quick_gelu", "1", BAD, "quick_gelu"},
        {"model_cfg.vision_cfg.norm_kwargs.eps", "0", BAD, "eps"},
        {"model_cfg.vision_cfg.norm_kwargs.eps", "\"x\"", BAD, "eps"},
        {"model_cfg.text_cfg.heads", "-3", BAD, "heads"},
        {"model_cfg.text_cfg.heads", "3.0", BAD, "heads"},
        {"model_cfg.text_cfg.heads", "4", CLASH, "heads"},
        {"model_cfg.vision_cfg.head_width", "5", CLASH, "heads"},
        {"model_cfg.vision_cfg.width", "29", CLASH, "image width 29"},
        {"model_cfg.vision_cfg.layers", "12", CLASH, "image layers 12"},
        {"model_cfg.vision_cfg.patch_size", "16", CLASH, "patch size 16"},
        {"model_cfg.vision_cfg.patch_size", "[5,5]", AMMPL_OK, ""},
        {"model_cfg.vision_cfg.patch_size", "[5,4]", OTHER, "patch_size"},
        {"model_cfg.vision_cfg.image_size", "224", CLASH, "image size 224"},
        {"model_cfg.text_cfg.width", "17", CLASH, "text width 17"},
        {"model_cfg.text_cfg.layers", "2", CLASH, "text layers 2"},
        {"model_cfg.text_cfg.vocab_size", "49408", CLASH, "vocabulary 49408"},
        {"model_cfg.text_cfg.context_length", "77", CLASH, "context length 77"},
        {"model_cfg.embed_dim", "512", CLASH, "joint width 512"},
        {"preprocess_cfg.interpolation", "\"bilinear\"", OTHER, "interpolation"},
        {"preprocess_cfg.resize_mode", "\"squash\"", OTHER, "resize_mode"},
        {"preprocess_cfg.mode", "\"L\"", OTHER, "mode"},
        {"preprocess_cfg.size", "15", AMMPL_OK, ""},
        {"preprocess_cfg.size", "[15,16]", OTHER, "size"},
        {"preprocess_cfg.size", "\"15\"", BAD, "size"},
        {"preprocess_cfg.size", "224", CLASH, "224"},
        {"preprocess_cfg.mean", "[0.5,0.5]", BAD, "mean"},
        {"preprocess_cfg.std", "[0.5,0.5,0]", BAD, "std"},
        {"preprocess_cfg", "null", AMMPL_OK, ""},
        {"preprocess_cfg", "[]", BAD, "preprocess_cfg"},
        {"model_cfg", "7", OTHER, "describes no CLIP"},
    };
    TRY_CHANGES(0, list);
}
END_TEST

START_TEST(hugging_face_keys)
{
    static const change list[] = {
        {"model_type", "\"siglip\"", OTHER, "model_type"},
        {"model_type", "null", AMMPL_OK, ""},
        {"text_config.model_type", "\"bert\"", OTHER, "text_config.model_type"},
        {"text_config.hidden_act", "\"gelu_new\"", OTHER, "text_config.hidden_act"},
        {"vision_config.hidden_act", "\"gelu\"", OTHER, "different activations"},
        {"vision_config.hidden_act", NULL, AMMPL_OK, ""},
        {"text_config.layer_norm_eps", "-1", BAD, "layer_norm_eps"},
        {"text_config.eos_token_id", "2", AMMPL_OK, ""},
        {"text_config.eos_token_id", "49407", OTHER, "eos_token_id is 49407"},
        {"text_config.eos_token_id", NULL, AMMPL_OK, ""},
        {"text_config.num_attention_heads", "5", CLASH, "heads"},
        {"text_config.num_attention_heads", "1", AMMPL_OK, ""},
        {"vision_config.num_attention_heads", NULL, CLASH, "heads"}, /* the class's default of 12 */
        {"vision_config.hidden_size", "768", CLASH, "image width 768"},
        {"text_config.num_hidden_layers", "12", CLASH, "text layers 12"},
        {"text_config.max_position_embeddings", "77", CLASH, "context length 77"},
        {"vision_config.image_size", "224", CLASH, "image size 224"},
        {"vision_config.projection_dim", "512", AMMPL_OK, ""}, /* stale in released files; the top one counts */
        {"projection_dim", "512", CLASH, "joint width 512"},
        {"text_config.no_causal_mask", "true", OTHER, "text_config.no_causal_mask"},
        {"vision_config.no_ln_pre", "true", OTHER, "no_ln_pre"},
        {"logit_bias", "1", OTHER, "logit_bias"},
        {"text_config_dict", "null", AMMPL_OK, ""},
        {"text_config_dict", "{\"hidden_size\": 18, \"num_attention_heads\": 2}", AMMPL_OK, ""},
        {"text_config_dict", "{\"hidden_size\": 512}", CLASH, "text width 512"}, /* it replaces text_config */
        {"torch_dtype", "\"float32\"", AMMPL_OK, ""},
        {"text_config.num_beams", "1", AMMPL_OK, ""},
    };
    TRY_CHANGES(1, list);
    static const char *const broken[] = {"", "{", "[]", "{\"a\":1}", "{\"model_type\":1}", "nonsense", "{\"text_config\":{},\"text_config\":{}}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        ammpl_model *m;
        ammpl_status status = load(1, broken[i], &m);
        ck_assert_msg(status == BAD || status == OTHER, "%s: %d", broken[i], (int)status);
        ck_assert_ptr_nonnull(strstr(ammpli_error_text(), "config"));
    }
}
END_TEST

START_TEST(values_take_effect)
{
    char *config = patched(0, "model_cfg.quick_gelu", NULL);
    ammpl_model *m = load_good(0, config);
    ck_assert_str_eq(m->activation, "gelu"); /* open_clip's default */
    ck_assert_int_eq(m->text.act, AMMPL_ACT_GELU);
    ck_assert_int_eq(m->image.act, AMMPL_ACT_GELU);
    ammpli_model_release(m);
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_ACTIVATION, "quick_gelu"));
    m = load_good(0, config);
    ck_assert_str_eq(m->activation, "quick_gelu");
    ammpli_model_release(m);
    ammpli_config_unset(cfg, AMMPL_OPT_ACTIVATION);
    free(config);

    config = patched(0, "model_cfg.vision_cfg.norm_kwargs.eps", "0.001");
    m = load_good(0, config);
    ck_assert_float_eq(m->image.eps, 0.001f);
    ck_assert_float_eq(m->text.eps, 1e-5f);
    ammpli_model_release(m);
    free(config);

    config = patched(1, "text_config.layer_norm_eps", "1e-6");
    m = load_good(1, config);
    ck_assert_float_eq(m->text.eps, 1e-6f);
    ammpli_model_release(m);
    free(config);

    config = patched(0, "preprocess_cfg.mean", "[0.5, 0.25, 0.75]");
    m = load_good(0, config);
    ck_assert_float_eq(m->preprocess.mean[1], 0.25f);
    ck_assert_float_eq(m->preprocess.std[2], 0.27577711f);
    ammpli_model_release(m);
    free(config);

    m = load_good(0, NULL); /* nothing said: heads of 64, at least one; CLIP's own values */
    ck_assert_int_eq(m->text.heads, 1);
    ck_assert_int_eq(m->image.heads, 1);
    ck_assert_str_eq(m->activation, "quick_gelu");
    ck_assert_float_eq(m->image.eps, 1e-5f);
    ck_assert_float_eq(m->preprocess.mean[0], 0.48145466f);
    ammpli_model_release(m);
}
END_TEST

START_TEST(unwanted_towers_are_not_judged)
{
    char *config = patched(0, "model_cfg.vision_cfg.timm_model_name", "\"vit\"");
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TOWERS, "text"));
    ammpli_model_release(load_good(0, config));
    free(config);
    config = patched(0, "model_cfg.text_cfg.no_causal_mask", "true");
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TOWERS, "image"));
    ammpli_model_release(load_good(0, config));
    free(config);
    /* A config of one tower has its keys at the top. */
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TOWERS, "text"));
    ammpl_model *m = load_good(1, "{\"model_type\":\"clip_text_model\",\"hidden_size\":18,\"num_attention_heads\":6,\"hidden_act\":\"gelu\"}");
    ck_assert_int_eq(m->text.heads, 6);
    ck_assert_str_eq(m->activation, "gelu");
    ammpli_model_release(m);
    /* The other tower's config says nothing about this one. */
    m = load_good(1, "{\"model_type\":\"clip_vision_model\",\"hidden_act\":\"gelu\"}");
    ck_assert_int_eq(m->text.act, AMMPL_ACT_QUICK_GELU);
    ammpli_model_release(m);
}
END_TEST

/* ---- preprocessor_config.json, which only a folder has ---- */

static void copy(const char *to, const char *name)
{
    char path[600];
    size_t n;
    void *data = golden(1, name, &n);
    snprintf(path, sizeof path, "%s/%s", to, name);
    ck_ok(ammpli_file_write(ctx, path, data, n, true));
    ammpli_free(ctx, data);
}

START_TEST(preprocessor_keys)
{
    static const change list[] = {
        {"do_resize", "false", OTHER, "do_resize"},
        {"do_center_crop", "false", OTHER, "do_center_crop"},
        {"do_normalize", "false", OTHER, "do_normalize"},
        {"do_rescale", "false", OTHER, "do_rescale"},
        {"resample", "2", OTHER, "resample"},
        {"resample", NULL, AMMPL_OK, ""},
        {"rescale_factor", "1", OTHER, "rescale_factor"},
        {"size", "15", AMMPL_OK, ""},
        {"size", "{\"height\": 15, \"width\": 15}", OTHER, "size"},
        {"size", "{\"shortest_edge\": 16}", OTHER, "crop_size"},
        {"size", "{\"shortest_edge\": -1}", BAD, "size"},
        {"size", NULL, AMMPL_OK, ""},
        {"crop_size", "15", AMMPL_OK, ""},
        {"crop_size", "{\"height\": 15, \"width\": 14}", OTHER, "crop_size"},
        {"crop_size", "224", OTHER, "crop_size"},
        {"image_mean", "[1,2,3,4]", BAD, "image_mean"},
        {"image_std", "[1,1,-1]", BAD, "image_std"},
        {"image_std", "[1,1,1]", AMMPL_OK, ""},
    };
    char where[300], path[600];
    snprintf(where, sizeof where, "%s", test_temp("preprocessor"));
    snprintf(path, sizeof path, "mkdir '%s'", where);
    ck_assert_int_eq(system(path), 0);
    copy(where, "model.safetensors");
    copy(where, "config.json");
    copy(where, "merges.txt");
    copy(where, "vocab.json");
    snprintf(path, sizeof path, "%s/preprocessor_config.json", where);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        size_t n;
        char *text = golden(1, "preprocessor_config.json", &n);
        json_t *root = json_loads(text, 0, NULL);
        ammpli_free(ctx, text);
        if (list[i].value)
            json_object_set_new(root, list[i].path, json_loads(list[i].value, JSON_DECODE_ANY, NULL));
        else
            json_object_del(root, list[i].path);
        text = json_dumps(root, 0);
        json_decref(root);
        ck_ok(ammpli_file_write(ctx, path, text, strlen(text), true));
        free(text);
        ammpl_model *m;
        ammpli_clear_error();
        ammpl_status status = ammpli_model_load_file(ctx, NULL, where, cfg, &m);
        ck_assert_msg(status == list[i].status && (status == AMMPL_OK || strstr(ammpli_error_text(), list[i].word)),
                      "%s = %s: status %d, \"%s\"", list[i].path, list[i].value ? list[i].value : "nothing", (int)status,
                      ammpli_error_text());
        ammpli_model_release(m);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_config");
    TCase *tc = tcase_create("model_config");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, open_clip_keys);
    tcase_add_test(tc, hugging_face_keys);
    tcase_add_test(tc, values_take_effect);
    tcase_add_test(tc, unwanted_towers_are_not_judged);
    tcase_add_test(tc, preprocessor_keys);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
