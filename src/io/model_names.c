/* model_names.c - OpenAI's (and open_clip's) and Hugging Face's names of CLIP's tensors, as parts. */
#include "io/model_parts.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LAYERS = 1000, TOWER_PART = -1 };

static const char *const block_prefix[AMMPLI_TOWERS][2] = {
    {"transformer.resblocks.", "text_model.encoder.layers."},
    {"visual.transformer.resblocks.", "vision_model.encoder.layers."},
};

static const char *const block_name[AMMPLI_BLOCK_PARTS][2] = {
    [AMMPLI_LN1_W] = {"ln_1.weight", "layer_norm1.weight"},
    [AMMPLI_LN1_B] = {"ln_1.bias", "layer_norm1.bias"},
    [AMMPLI_QKV_W] = {"attn.in_proj_weight", NULL},
    [AMMPLI_QKV_B] = {"attn.in_proj_bias", NULL},
    [AMMPLI_Q_W] = {NULL, "self_attn.q_proj.weight"},
    [AMMPLI_Q_B] = {NULL, "self_attn.q_proj.bias"},
    [AMMPLI_K_W] = {NULL, "self_attn.k_proj.weight"},
    [AMMPLI_K_B] = {NULL, "self_attn.k_proj.bias"},
    [AMMPLI_V_W] = {NULL, "self_attn.v_proj.weight"},
    [AMMPLI_V_B] = {NULL, "self_attn.v_proj.bias"},
    [AMMPLI_OUT_W] = {"attn.out_proj.weight", "self_attn.out_proj.weight"},
    [AMMPLI_OUT_B] = {"attn.out_proj.bias", "self_attn.out_proj.bias"},
    [AMMPLI_LN2_W] = {"ln_2.weight", "layer_norm2.weight"},
    [AMMPLI_LN2_B] = {"ln_2.bias", "layer_norm2.bias"},
    [AMMPLI_FC_W] = {"mlp.c_fc.weight", "mlp.fc1.weight"},
    [AMMPLI_FC_B] = {"mlp.c_fc.bias", "mlp.fc1.bias"},
    [AMMPLI_PROJ_W] = {"mlp.c_proj.weight", "mlp.fc2.weight"},
    [AMMPLI_PROJ_B] = {"mlp.c_proj.bias", "mlp.fc2.bias"},
};

static const char *const tower_name[AMMPLI_TOWERS][AMMPLI_TOWER_PARTS][2] = {
    {
        [AMMPLI_TOKENS] = {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
        [AMMPLI_POSITION] = {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
        [AMMPLI_POST_W] = {"ln_final.weight", "text_model.final_layer_norm.weight"},
        [AMMPLI_POST_B] = {"ln_final.bias", "text_model.final_layer_norm.bias"},
        [AMMPLI_PROJECTION] = {"text_projection", NULL},
        [AMMPLI_PROJECTION_LINEAR] = {NULL, "text_projection.weight"},
    },
    {
        [AMMPLI_CLASS] = {"visual.class_embedding", "vision_model.embeddings.class_embedding"},
        [AMMPLI_POSITION] = {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"},
        [AMMPLI_PATCH] = {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
        [AMMPLI_PRE_W] = {"visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"}, /* spelt so */
        [AMMPLI_PRE_B] = {"visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"},
        [AMMPLI_POST_W] = {"visual.ln_post.weight", "vision_model.post_layernorm.weight"},
        [AMMPLI_POST_B] = {"visual.ln_post.bias", "vision_model.post_layernorm.bias"},
        [AMMPLI_PROJECTION] = {"visual.proj", NULL},
        [AMMPLI_PROJECTION_LINEAR] = {NULL, "visual_projection.weight"},
    },
};

static bool starts_with(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* ---- one name ---- */

typedef struct place {
    int names, tower, part;
    int64_t layer;
} place;

static bool is_block_part(const char *name, int tower, int names, place *p)
{
    const char *prefix = block_prefix[tower][names];
    if (!starts_with(name, prefix))
        return false;
    const char *number = name + strlen(prefix), *s = number;
    int64_t layer = 0;
    while (*s >= '0' && *s <= '9' && s - number < 4)
        layer = layer * 10 + (*s++ - '0');
    if (s == number || *s != '.' || (*number == '0' && s - number > 1) || layer >= MAX_LAYERS)
        return false;
    for (int part = 0; part < AMMPLI_BLOCK_PARTS; part++)
        if (block_name[part][names] && strcmp(s + 1, block_name[part][names]) == 0) {
            *p = (place){names, tower, part, layer};
            return true;
        }
    return false;
}

static bool find_place(const char *name, place *p)
{
    for (int tower = 0; tower < AMMPLI_TOWERS; tower++)
        for (int names = 0; names < 2; names++) {
            if (is_block_part(name, tower, names, p))
                return true;
            for (int part = 0; part < AMMPLI_TOWER_PARTS; part++)
                if (tower_name[tower][part][names] && strcmp(name, tower_name[tower][part][names]) == 0) {
                    *p = (place){names, tower, part, TOWER_PART};
                    return true;
                }
        }
    return false;
}

/* Constants that some exporters store beside the weights; CLIP computes them itself. */
static bool changes_nothing(const char *name)
{
    static const char *const whole[] = {"position_ids", "attn_mask", "input_resolution", "context_length", "vocab_size"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcmp(name, whole[i]) == 0)
            return true;
    return ends_with(name, ".position_ids") || ends_with(name, ".attn_mask");
}

/* The tower that a tensor which is no part of CLIP stands below, or -1. */
static int tower_below(const char *name)
{
    static const struct {
        const char *prefix;
        int tower;
    } below[] = {{"visual.", AMMPLI_IMAGE},        {"vision_model.", AMMPLI_IMAGE},  {"visual_projection.", AMMPLI_IMAGE},
                 {"transformer.", AMMPLI_TEXT},    {"text_model.", AMMPLI_TEXT},     {"text_projection.", AMMPLI_TEXT},
                 {"token_embedding.", AMMPLI_TEXT}, {"ln_final.", AMMPLI_TEXT}};
    for (size_t i = 0; i < sizeof below / sizeof *below; i++)
        if (starts_with(name, below[i].prefix))
            return below[i].tower;
    return -1;
}

static ammpl_status unknown(const char *file, const char *name)
{
    static const struct {
        const char *mark, *what;
    } marks[] = {
        {"visual.layer", "a ResNet image tower"}, {"visual.attnpool.", "a ResNet image tower"},
        {"visual.bn", "a ResNet image tower"},    {"visual.conv2", "a ResNet image tower"},
        {"visual.conv3", "a ResNet image tower"}, {"visual.trunk.", "a timm image tower"},
        {"visual.attn_pool.", "attention pooling"}, {"logit_bias", "a logit bias"},
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (starts_with(name, marks[i].mark))
            return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %s belongs to %s, which is not supported; a CLIP with a ViT image "
                               "tower is needed", file, name, marks[i].what);
    if (strstr(name, ".ls_1.") || strstr(name, ".ls_2."))
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %s belongs to LayerScale, which is not supported", file, name);
    return ammpli_fail(AMMPL_E_UNSUPPORTED, "%s: tensor %s is no part of a CLIP with a ViT image tower, and is not ignored because "
                       "it may change what the model computes", file, name);
}

/* ---- all of them ---- */

static ammpl_status add(ammpli_parts *parts, ammpl_context *ctx, const place *p, ammpli_part here)
{
    ammpli_tower_parts *tower = &parts->tower[p->tower];
    if (p->layer >= 0 && !ammpli_grow(ctx, (void **)&tower->block, &tower->cap, (size_t)p->layer + 1, sizeof *tower->block))
        return AMMPL_E_MEMORY;
    if (p->layer >= (int64_t)tower->layers)
        tower->layers = (size_t)p->layer + 1;
    ammpli_part *slot = p->layer >= 0 ? &tower->block[p->layer][p->part] : &tower->part[p->part];
    if (slot->t)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensors %s and %s are the same part of the model", ammpli_st_name(here.st),
                           slot->t->name, here.t->name);
    *slot = here;
    /* open_clip, too, calls a linear text projection text_projection.weight. */
    if (p->names == AMMPLI_NAMES_HF && (p->layer >= 0 || p->part != AMMPLI_PROJECTION_LINEAR))
        parts->names = AMMPLI_NAMES_HF;
    return AMMPL_OK;
}

ammpl_status ammpli_parts_find(const ammpli_model_source *src, const bool wanted[AMMPLI_TOWERS], ammpli_parts *parts)
{
    *parts = (ammpli_parts){0};
    ammpl_status status = AMMPL_OK;
    for (size_t i = 0; i < src->n && status == AMMPL_OK; i++)
        for (size_t k = 0; k < ammpli_st_count(src->st[i]) && status == AMMPL_OK; k++) {
            ammpli_part here = {src->st[i], ammpli_st_at(src->st[i], k)};
            const char *name = here.t->name;
            place p;
            if (find_place(name, &p))
                status = add(parts, src->ctx, &p, here);
            else if (strcmp(name, "logit_scale") == 0 && !parts->logit_scale.t)
                parts->logit_scale = here;
            else if (!changes_nothing(name) && (tower_below(name) < 0 || wanted[tower_below(name)]))
                status = unknown(ammpli_st_name(here.st), name);
        }
    if (status < 0)
        ammpli_parts_free(src->ctx, parts);
    return status;
}

void ammpli_parts_free(ammpl_context *ctx, ammpli_parts *parts)
{
    for (int tower = 0; tower < AMMPLI_TOWERS; tower++)
        ammpli_free(ctx, parts->tower[tower].block);
    *parts = (ammpli_parts){0};
}

void ammpli_part_name(const ammpli_parts *parts, int tower, int64_t layer, int part, char *name, size_t cap)
{
    const char *const *names = layer >= 0 ? block_name[part] : tower_name[tower][part];
    int which = names[parts->names] ? parts->names : !parts->names; /* a part that only the other naming has */
    if (layer >= 0)
        snprintf(name, cap, "%s%d.%s", block_prefix[tower][which], (int)layer, names[which]);
    else
        snprintf(name, cap, "%s", names[which]);
}
