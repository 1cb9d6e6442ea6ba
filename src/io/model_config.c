/* model_config.c - open_clip_config.json and Hugging Face's config.json: what tensors' shapes cannot tell.
 *
 * A key that asks for another function than CLIP's is refused by name.  open_clip builds its models from its keys, so there
 * every key must be known here or say "off"; Hugging Face's CLIP reads a fixed list, and the rest of its file is bookkeeping.
 */
#include "io/json.h"
#include "io/model_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

void ammpli_model_config_default(ammpli_model_config *c)
{
    *c = (ammpli_model_config){.eot = -1,
                               .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                               .std = {0.26862954f, 0.26130258f, 0.27577711f}};
    c->tower[AMMPLI_TEXT].eps = c->tower[AMMPLI_IMAGE].eps = 1e-5;
}

/* ---- values ---- */

/* null, false, 0, "", [] and {} all mean off. */
static bool is_off(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0) || (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static ammpl_status other(const char *name, const char *path, const char *key)
{
    return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: %s%.64s asks for another function than CLIP's, which is not supported", name, path,
                       key);
}

/* A key's number into *v, which stays when the key is absent or null.  `path` is the section with its dot. */
static ammpl_status read_count(const json_t *section, const char *path, const char *key, const char *name, int64_t *v)
{
    const json_t *value = json_object_get(section, key);
    if (!value || json_is_null(value))
        return AMMPL_OK;
    if (!json_is_integer(value) || json_integer_value(value) <= 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %s%s is not a number above 0", name, path, key);
    *v = json_integer_value(value);
    return AMMPL_OK;
}

/* 224, or [224, 224] */
static ammpl_status square(const json_t *section, const char *path, const char *key, const char *name, int64_t *v)
{
    const json_t *value = json_object_get(section, key);
    if (!json_is_array(value))
        return read_count(section, path, key, name, v);
    const json_t *a = json_array_get(value, 0), *b = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(a) || !json_equal(a, b))
        return other(name, path, key);
    *v = json_integer_value(a);
    return AMMPL_OK;
}

static ammpl_status read_eps(const json_t *section, const char *path, const char *key, const char *name, double *eps)
{
    const json_t *value = json_object_get(section, key);
    if (!value || json_is_null(value))
        return AMMPL_OK;
    double v = json_number_value(value);
    if (!(v > 0 && v < 1)) /* also where it is no number */
        return ammpli_fail(AMMPL_E_FORMAT, "%s: %s%s is not a number between 0 and 1", name, path, key);
    *eps = v;
    return AMMPL_OK;
}

/* ---- open_clip ---- */

enum { READ, FREE }; /* read below / leaves the function as it is: training, bookkeeping, or told by the shapes */

typedef struct known_key {
    const char *key;
    int rule;
    const char *value; /* not NULL: the only text it may have */
} known_key;

static const known_key model_keys[] = {{"embed_dim", READ, NULL},       {"quick_gelu", READ, NULL}, {"vision_cfg", READ, NULL},
                                       {"text_cfg", READ, NULL},        {"custom_text", FREE, NULL},
                                       {"init_logit_scale", FREE, NULL}, {"nonscalar_logit_scale", FREE, NULL}, {NULL, 0, NULL}};

static const known_key vision_keys[] = {{"image_size", READ, NULL},  {"layers", READ, NULL},      {"width", READ, NULL},
                                        {"patch_size", READ, NULL},  {"head_width", READ, NULL},  {"norm_kwargs", READ, NULL},
                                        {"mlp_ratio", FREE, NULL},   {"patch_dropout", FREE, NULL}, {"output_tokens", FREE, NULL},
                                        {"final_ln_after_pool", FREE, NULL}, {"attn_pooler_queries", FREE, NULL},
                                        {"attn_pooler_heads", FREE, NULL}, {"pool_type", FREE, "tok"},
                                        {"pos_embed_type", FREE, "learnable"}, {NULL, 0, NULL}};

static const known_key text_keys[] = {{"context_length", READ, NULL}, {"vocab_size", READ, NULL}, {"width", READ, NULL},
                                      {"heads", READ, NULL},          {"layers", READ, NULL},     {"norm_kwargs", READ, NULL},
                                      {"mlp_ratio", FREE, NULL},      {"pad_id", FREE, NULL},     {"eos_id", FREE, NULL},
                                      {"bos_id", FREE, NULL},         {"output_tokens", FREE, NULL},
                                      {"final_ln_after_pool", FREE, NULL}, {"pool_type", FREE, "argmax"},
                                      {"proj_type", FREE, "linear"},  {NULL, 0, NULL}};

static ammpl_status check_keys(const json_t *section, const char *path, const known_key *known, const char *name)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)section, key, value)
    {
        const known_key *k = known;
        while (k->key && strcmp(k->key, key) != 0)
            k++;
        bool good = k->key && !k->value;
        if (!good)
            good = is_off(value) || (k->value && json_is_string(value) && strcmp(json_string_value(value), k->value) == 0);
        if (!good)
            return other(name, path, key);
    }
    return AMMPL_OK;
}

static ammpl_status open_clip_norm(const json_t *section, const char *path, const char *name, double *eps)
{
    const known_key keys[] = {{"eps", READ, NULL}, {NULL, 0, NULL}};
    const json_t *norm = json_object_get(section, "norm_kwargs");
    if (!norm || json_is_null(norm))
        return AMMPL_OK;
    TRY(check_keys(norm, path, keys, name));
    return read_eps(norm, path, "eps", name, eps);
}

static ammpl_status open_clip_vision(const json_t *section, const char *name, ammpli_model_config *c)
{
    static const char path[] = "model_cfg.vision_cfg.";
    ammpli_tower_config *t = &c->tower[AMMPLI_IMAGE];
    if (json_is_array(json_object_get(section, "layers")))
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: %slayers describes a ResNet image tower, which is not supported", name, path);
    TRY(check_keys(section, path, vision_keys, name));
    TRY(square(section, path, "image_size", name, &c->image_size));
    TRY(square(section, path, "patch_size", name, &c->patch));
    TRY(read_count(section, path, "layers", name, &t->layers));
    TRY(read_count(section, path, "width", name, &t->width));
    TRY(read_count(section, path, "head_width", name, &t->head_width));
    return open_clip_norm(section, "model_cfg.vision_cfg.norm_kwargs.", name, &t->eps);
}

static ammpl_status open_clip_text(const json_t *section, const char *name, ammpli_model_config *c)
{
    static const char path[] = "model_cfg.text_cfg.";
    ammpli_tower_config *t = &c->tower[AMMPLI_TEXT];
    TRY(check_keys(section, path, text_keys, name));
    TRY(read_count(section, path, "context_length", name, &c->context));
    TRY(read_count(section, path, "vocab_size", name, &c->vocab));
    TRY(read_count(section, path, "layers", name, &t->layers));
    TRY(read_count(section, path, "width", name, &t->width));
    TRY(read_count(section, path, "heads", name, &t->heads));
    if (t->width && !t->heads) /* a file that describes the tower without it means open_clip's default */
        t->heads = 8;
    return open_clip_norm(section, "model_cfg.text_cfg.norm_kwargs.", name, &t->eps);
}

static ammpl_status parse_open_clip(const json_t *root, const char *name, const bool wanted[AMMPLI_TOWERS], ammpli_model_config *c)
{
    const json_t *model = json_object_get(root, "model_cfg"), *pre = json_object_get(root, "preprocess_cfg");
    const json_t *quick = json_object_get(model, "quick_gelu");
    int32_t act = json_is_true(quick) ? AMMPL_ACT_QUICK_GELU : AMMPL_ACT_GELU;
    if (quick && !json_is_null(quick) && !json_is_boolean(quick))
        return ammpli_fail(AMMPL_E_FORMAT, "%s: model_cfg.quick_gelu is neither true nor false", name);
    TRY(check_keys(model, "model_cfg.", model_keys, name));
    TRY(read_count(model, "model_cfg.", "embed_dim", name, &c->embed));
    c->tower[AMMPLI_TEXT].act = c->tower[AMMPLI_IMAGE].act = act;
    if (wanted[AMMPLI_IMAGE]) {
        TRY(open_clip_vision(json_object_get(model, "vision_cfg"), name, c));
        if (pre && !json_is_null(pre))
            TRY(ammpli_preprocess_open_clip(pre, name, c));
    }
    return wanted[AMMPLI_TEXT] ? open_clip_text(json_object_get(model, "text_cfg"), name, c) : AMMPL_OK;
}

/* ---- Hugging Face ---- */

/* Keys by which other libraries' CLIPs differ; harmless in a true CLIP's file, where they are off or absent. */
static ammpl_status check_hf_section(const json_t *section, const char *path, const char *name)
{
    static const char *const foreign[] = {
        "no_causal_mask",  "no_ln_pre",      "ls_init_value", "layer_scale_init_value", "attentional_pool", "global_average_pool",
        "input_patchnorm", "embed_cls",      "pool_type",     "timm_model_name",        "hf_model_name",    "init_logit_bias",
        "logit_bias",      "logit_bias_init_value",
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (!is_off(json_object_get(section, foreign[i])))
            return other(name, path, foreign[i]);
    return AMMPL_OK;
}

static ammpl_status hf_activation(const json_t *section, const char *path, const char *name, int32_t *act)
{
    const json_t *value = json_object_get(section, "hidden_act");
    const char *word = json_string_value(value);
    if (!value || json_is_null(value))
        *act = AMMPL_ACT_QUICK_GELU; /* the default of CLIPTextConfig and CLIPVisionConfig */
    else if (word && strcmp(word, "quick_gelu") == 0)
        *act = AMMPL_ACT_QUICK_GELU;
    else if (word && strcmp(word, "gelu") == 0)
        *act = AMMPL_ACT_GELU;
    else
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: %shidden_act is neither quick_gelu nor gelu", name, path);
    return AMMPL_OK;
}

static ammpl_status hf_model_type(const json_t *section, const char *path, const char *name, const char *wanted)
{
    const json_t *type = json_object_get(section, "model_type");
    if (!type || json_is_null(type) || (json_is_string(type) && strcmp(json_string_value(type), wanted) == 0))
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: %smodel_type is not %s; other models than CLIP are not supported", name, path, wanted);
}

static ammpl_status hf_tower(const json_t *section, int tower, const char *name, ammpli_model_config *c)
{
    const char *path = tower == AMMPLI_TEXT ? "text_config." : "vision_config.";
    ammpli_tower_config *t = &c->tower[tower];
    TRY(hf_model_type(section, path, name, tower == AMMPLI_TEXT ? "clip_text_model" : "clip_vision_model"));
    TRY(check_hf_section(section, path, name));
    TRY(hf_activation(section, path, name, &t->act));
    TRY(read_eps(section, path, "layer_norm_eps", name, &t->eps));
    TRY(read_count(section, path, "hidden_size", name, &t->width));
    TRY(read_count(section, path, "num_hidden_layers", name, &t->layers));
    TRY(read_count(section, path, "num_attention_heads", name, &t->heads));
    if (t->width && !t->heads) /* files leave out what equals the class's default */
        t->heads = tower == AMMPLI_TEXT ? 8 : 12;
    if (tower == AMMPLI_IMAGE) {
        TRY(square(section, path, "image_size", name, &c->image_size));
        return square(section, path, "patch_size", name, &c->patch);
    }
    TRY(read_count(section, path, "max_position_embeddings", name, &c->context));
    TRY(read_count(section, path, "vocab_size", name, &c->vocab));
    TRY(read_count(section, path, "eos_token_id", name, &c->eot));
    if (c->eot == 2) /* OpenAI's own files say 2 by mistake, and Hugging Face takes the greatest id then */
        c->eot = -1;
    return AMMPL_OK;
}

/* The legacy text_config_dict replaces text_config where it is there, as in Hugging Face's code. */
static const json_t *hf_section(const json_t *root, const char *key, const char *legacy)
{
    const json_t *old = json_object_get(root, legacy);
    return json_is_object(old) ? old : json_object_get(root, key);
}

static ammpl_status parse_hf(const json_t *root, const char *name, const bool wanted[AMMPLI_TOWERS], ammpli_model_config *c)
{
    static const char *const alone[AMMPLI_TOWERS] = {"clip_text_model", "clip_vision_model"};
    const json_t *section[AMMPLI_TOWERS] = {hf_section(root, "text_config", "text_config_dict"),
                                            hf_section(root, "vision_config", "vision_config_dict")};
    const char *type = json_string_value(json_object_get(root, "model_type"));
    TRY(check_hf_section(root, "", name));
    for (int tower = 0; tower < AMMPLI_TOWERS; tower++)
        if (type && strcmp(type, alone[tower]) == 0) /* one tower's file has no section of its own */
            return wanted[tower] ? hf_tower(root, tower, name, c) : AMMPL_OK;
    TRY(hf_model_type(root, "", name, "clip"));
    TRY(read_count(root, "", "projection_dim", name, &c->embed));
    for (int tower = 0; tower < AMMPLI_TOWERS; tower++)
        if (wanted[tower])
            TRY(hf_tower(section[tower], tower, name, c));
    return AMMPL_OK;
}

ammpl_status ammpli_model_config_parse(const char *text, size_t n, const char *name, const bool wanted[AMMPLI_TOWERS],
                                       ammpli_model_config *c)
{
    json_t *root;
    TRY(ammpli_json_parse(text, n, MAX_DEPTH, name, "its text", &root));
    ammpl_status status;
    snprintf(c->name, sizeof c->name, "%s", name);
    if (json_is_object(json_object_get(root, "model_cfg")))
        status = parse_open_clip(root, name, wanted, c);
    else if (json_is_object(json_object_get(root, "text_config")) || json_is_object(json_object_get(root, "vision_config")) ||
             json_object_get(root, "model_type"))
        status = parse_hf(root, name, wanted, c);
    else
        status = ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: describes no CLIP: it has neither model_cfg nor text_config and vision_config",
                             name);
    json_decref(root);
    return status;
}
