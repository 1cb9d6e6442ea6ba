/* ammpl.c - AMMPL, "Adaptive Multi-Modality Prompt Learning" (MM '24): tensors, initial values, and its row in the table. */
#include "method/ammpl_run.h"
#include "method/context.h"
#include "method/methods.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is(const ammpl_prompt *p, ammpl_option id, const char *value)
{
    return strcmp(ammpli_config_string(p->config, id), value) == 0;
}

ammpl_status ammpli_ammpl_options_of(const ammpl_prompt *p, ammpli_ammpl_options *o)
{
    const ammpl_config *c = p->config;
    *o = (ammpli_ammpl_options){.per_class = is(p, AMMPL_OPT_SCOPE, "class"),
                                .simultaneous = is(p, AMMPL_OPT_ORDER, "simultaneous"),
                                .scalar = is(p, AMMPL_OPT_SHIFT, "scalar"),
                                .blend = is(p, AMMPL_OPT_MASK_GRADIENT, "blend"),
                                .mask = ammpli_config_int(c, AMMPL_OPT_MASK) != 0,
                                .padding = ammpli_config_int(c, AMMPL_OPT_PADDING) != 0,
                                .interaction = ammpli_config_int(c, AMMPL_OPT_INTERACTION) != 0,
                                .draws_image = is(p, AMMPL_OPT_DRAWS, "image"),
                                .candidates = ammpli_config_int(c, AMMPL_OPT_CANDIDATES),
                                .eval_seed = (uint64_t)ammpli_config_int(c, AMMPL_OPT_EVAL_SEED)};
    if (o->per_class) /* one draw per image and class: ammpl.md, step 3 */
        o->draws_image = false;
    const char *mode = ammpli_config_string(c, AMMPL_OPT_EVALUATION);
    if (strcmp(mode, "expected") == 0)
        o->mode = AMMPL_MASK_EXPECTED;
    else if (strcmp(mode, "threshold") == 0)
        o->mode = AMMPL_MASK_THRESHOLD;
    else
        o->mode = AMMPL_MASK_SAMPLE;
    if (strncmp(mode, "mean:", 5) == 0)
        o->samples = strtoll(mode + 5, NULL, 10);
    return AMMPL_OK;
}

/* Adds a tensor, with a leading class axis in class scope. */
static ammpl_status add(ammpl_prompt *p, const ammpli_ammpl_options *o, const char *name, int32_t rank, const int64_t *shape,
                        int32_t group)
{
    int64_t full[4] = {(int64_t)p->classes};
    memcpy(full + (o->per_class ? 1 : 0), shape, (size_t)rank * sizeof *shape);
    return ammpli_prompt_add(p, name, rank + (o->per_class ? 1 : 0), full, true, group);
}

static ammpl_status add_mlp(ammpl_prompt *p, const ammpli_ammpl_options *o, const char *prefix, int64_t in, int64_t hidden,
                            int64_t out)
{
    struct {
        const char *part;
        int32_t rank;
        int64_t shape[2];
    } t[] = {{"linear1.weight", 2, {hidden, in}}, {"linear1.bias", 1, {hidden}}, {"linear2.weight", 2, {out, hidden}}, {"linear2.bias", 1, {out}}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char name[48];
        snprintf(name, sizeof name, "%s.%s", prefix, t[i].part);
        TRY(add(p, o, name, t[i].rank, t[i].shape, 0));
    }
    return AMMPL_OK;
}

enum { GROUP_MAIN, GROUP_MASK, GROUP_PADDING, GROUPS };

/* The tensors that take part (ammpl.md, "Ablations"). */
static ammpl_status define(ammpl_prompt *p)
{
    const ammpl_model *m = p->model;
    ammpli_ammpl_options o;
    TRY(ammpli_ammpl_options_of(p, &o));
    int64_t M, l = m->text.width, E = m->embed, g = m->grid, q = m->patch;
    int64_t r = E / 16 > 1 ? E / 16 : 1; /* CoCoOp's bottleneck */
    TRY(ammpli_context_count(p, 0, &M));
    p->groups = GROUPS;
    p->group[GROUP_MASK].factor = ammpli_config_float(p->config, AMMPL_OPT_LR_MASK);
    p->group[GROUP_PADDING].factor = ammpli_config_float(p->config, AMMPL_OPT_LR_PADDING);
    TRY(add(p, &o, "ctx", 2, (int64_t[]){M, l}, GROUP_MAIN));
    if (o.mask)
        TRY(add(p, &o, "mask_prob", 2, (int64_t[]){g, g}, GROUP_MASK));
    if (o.mask && o.padding)
        TRY(add(p, &o, "padding", 3, (int64_t[]){3, q, q}, GROUP_PADDING));
    if (ammpli_text_informs_image(&o))
        TRY(add_mlp(p, &o, "text_to_image", E, r, 3 * q * q));
    if (o.interaction)
        TRY(add_mlp(p, &o, "image_to_text", E, r, o.scalar ? 1 : l));
    return AMMPL_OK;
}

/* Draws are keyed by names, so that a class's initial values do not depend on the other classes. */
static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    ammpli_ammpl_options o;
    TRY(ammpli_ammpl_options_of(p, &o));
    if (strcmp(t->name, "ctx") == 0)
        return ammpli_context_initialise(p, t, false, seed, value);
    int64_t slices = o.per_class ? (int64_t)p->classes : 1, n = t->count / slices, E = p->model->embed;
    bool linear = strstr(t->name, "linear") != NULL, mask = strcmp(t->name, "mask_prob") == 0;
    int64_t fan_in = strstr(t->name, "linear1") ? E : E / 16 > 1 ? E / 16 : 1;
    for (int64_t i = 0; i < slices; i++) {
        uint32_t class_hash = o.per_class ? p->class_hash[i] : 0;
        if (linear)
            ammpli_initial_uniform(t->name, class_hash, seed, fan_in, value + i * n, n);
        else
            ammpli_initial_normal(t->name, class_hash, seed, mask ? ammpli_config_float(p->config, AMMPL_OPT_MASK_MEAN) : 0,
                                  mask ? 0.05 : 0.02, value + i * n, n);
    }
    return AMMPL_OK;
}

static ammpl_status bind(ammpl_prompt *p)
{
    return ammpli_context_bind(p, ammpli_config_int(p->config, AMMPL_OPT_N_CTX), AMMPLI_POSITION_END, false);
}

/* M, scope and shift stand in the tensors' shapes. */
static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    const ammpli_st_tensor *ctx = ammpli_st_find(st, "ctx");
    if (!ctx || ctx->rank < 2 || ctx->rank > 3)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: an ammpl prompt needs a tensor ctx of 2 axes (shared) or 3 (one per class)",
                           ammpli_st_name(st));
    if (ctx->rank == 3 && ctx->shape[0] != (int64_t)p->classes) /* before memory is taken for all the others */
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor ctx is of %lld classes, its metadata name %zu", ammpli_st_name(st),
                           (long long)ctx->shape[0], p->classes);
    if (!ammpli_config_is_set(p->config, AMMPL_OPT_SCOPE))
        TRY(ammpli_config_set_string(p->config, AMMPL_OPT_SCOPE, ctx->rank == 3 ? "class" : "shared"));
    if (!ammpli_config_is_set(p->config, AMMPL_OPT_N_CTX))
        TRY(ammpli_config_set_int(p->config, AMMPL_OPT_N_CTX, ctx->shape[ctx->rank - 2]));
    const ammpli_st_tensor *bias = ammpli_st_find(st, "image_to_text.linear2.bias");
    if (bias && bias->rank > 0 && !ammpli_config_is_set(p->config, AMMPL_OPT_SHIFT) && bias->shape[bias->rank - 1] == 1)
        TRY(ammpli_config_set_string(p->config, AMMPL_OPT_SHIFT, "scalar"));
    const struct {
        ammpl_option id;
        const char *tensor;
    } part[] = {{AMMPL_OPT_MASK, "mask_prob"}, {AMMPL_OPT_PADDING, "padding"}, {AMMPL_OPT_INTERACTION, "image_to_text.linear1.weight"}};
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
        if (!ammpli_config_is_set(p->config, part[i].id))
            TRY(ammpli_config_set_int(p->config, part[i].id, ammpli_st_find(st, part[i].tensor) != NULL));
    return AMMPL_OK;
}

static int32_t conditioning(const ammpl_prompt *p)
{
    ammpli_ammpl_options o;
    if (ammpli_ammpl_options_of(p, &o) < 0)
        return 0;
    bool some_masked = o.candidates > 0 && o.candidates < (int64_t)p->classes;
    bool own_picture = o.mask && (o.per_class || ammpli_text_informs_image(&o) || some_masked);
    return (o.interaction ? 1 : 0) | (own_picture ? 2 : 0);
}

/* Without masks one picture serves all classes; with them each class has its own, or K do and the others share the plain one. */
static void cost(const ammpl_prompt *p, ammpl_cost *out)
{
    ammpli_ammpl_options o;
    if (ammpli_ammpl_options_of(p, &o) < 0)
        return;
    bool some = o.candidates > 0 && (uint64_t)o.candidates < p->classes;
    uint64_t C = p->classes, masked = some ? (uint64_t)o.candidates + 1 : C;
    uint64_t draws = o.mask && o.samples > 0 ? (uint64_t)o.samples : 1;
    bool own_picture = o.mask && (o.per_class || ammpli_text_informs_image(&o) || some);
    out->image_encodes = own_picture ? masked * draws : draws;
    out->text_encodes = o.interaction ? C * draws : 0;
    out->step_texts = !o.interaction || ammpli_text_informs_image(&o) || some ? C : 0;
}

static bool can_rebind(const ammpl_prompt *p)
{
    return !is(p, AMMPL_OPT_SCOPE, "class");
}

static bool plain_images(const ammpl_prompt *p)
{
    return ammpli_config_int(p->config, AMMPL_OPT_MASK) == 0;
}

static ammpl_status predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits)
{
    ammpli_ammpl_options o;
    TRY(ammpli_ammpl_options_of(p, &o));
    int64_t C = (int64_t)p->classes, R = p->model->grid * p->model->patch;
    int64_t draws = o.mask && o.samples > 0 ? o.samples : 1; /* without masks all draws are the same */
    int64_t most = ammpli_images_at_once(s, AMMPLI_PAIRS_AT_ONCE);
    double *sum = NULL;
    ammpli_arena_reset(&s->engine);
    if (o.samples > 0)
        TRY(ammpli_take_host(&s->engine, (size_t)(most * C) * sizeof *sum, (void **)&sum));
    ammpli_mark mark = ammpli_arena_mark(&s->engine);
    for (int64_t from = 0; from < n; from += most) {
        int64_t B = n - from < most ? n - from : most;
        float *out = logits + from * C;
        for (int64_t d = 0; d < draws; d++) {
            ammpli_arena_release(&s->engine, mark);
            TRY(ammpli_ammpl_infer(s, p, &o, pixels + from * 3 * R * R, B, (uint32_t)d, out));
            /* mean:S averages probabilities; its logits are the logarithm of that mean. */
            for (int64_t b = 0; b < B && sum; b++) {
                double top = out[b * C], z = 0;
                for (int64_t i = 1; i < C; i++)
                    top = out[b * C + i] > top ? out[b * C + i] : top;
                for (int64_t i = 0; i < C; i++)
                    z += exp(out[b * C + i] - top);
                for (int64_t i = 0; i < C; i++)
                    sum[b * C + i] = (d ? sum[b * C + i] : 0) + exp(out[b * C + i] - top) / z;
            }
        }
        for (int64_t i = 0; i < B * C && sum; i++)
            out[i] = (float)log(sum[i] / (double)draws < 1e-300 ? 1e-300 : sum[i] / (double)draws); /* NaN stays NaN */
    }
    return AMMPL_OK;
}

static ammpl_status accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    ammpli_arena_reset(&s->engine);
    return ammpli_ammpl_accumulate(s, p, batch, loss, logits);
}

static ammpl_status encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out)
{
    ammpli_ammpl_options o;
    TRY(ammpli_ammpl_options_of(p, &o));
    ammpli_arena_reset(&s->engine);
    TRY(ammpli_class_cache_fill(s, p, &o));
    return s->engine.ops->download(s->engine.stream, out, s->cache.z0,
                                   p->classes * (size_t)p->model->embed * sizeof *out);
}

static ammpl_status encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out)
{
    ammpli_ammpl_options o;
    TRY(ammpli_ammpl_options_of(p, &o));
    int64_t R = p->model->grid * p->model->patch;
    int64_t most = ammpli_images_at_once(s, AMMPLI_PAIRS_AT_ONCE);
    for (int64_t from = 0; from < n; from += most) {
        int64_t B = n - from < most ? n - from : most;
        ammpli_arena_reset(&s->engine);
        TRY(ammpli_ammpl_features(s, p, &o, pixels + from * 3 * R * R, B, out + from * p->model->embed));
    }
    return AMMPL_OK;
}

const ammpli_method ammpli_method_ammpl = {
    .id = AMMPL_METHOD_AMMPL,
    .name = "ammpl",
    .doc = "text context, a keep-probability per patch and the pixels that pad masked patches, each modality informing the other",
    .options = (const char *const[]){"n_ctx", "ctx_init", "scope", "order", "shift", "mask_gradient", "mask", "padding",
                                     "interaction", "draws", "evaluation", "eval_seed", "mask_mean", "lr_mask", "lr_padding",
                                     "candidates", NULL},
    .defaults = /* the table's are AMMPL's, "as CoCoOp" */
        (const ammpli_default[]){{AMMPLI_FEW_SHOT, 0, "scope", "class"},
                                 {AMMPLI_FEW_SHOT, 0, "epochs", "50"},
                                 {AMMPLI_FEW_SHOT, 0, "batch", "4"},
                                 {0}},
    .define = define,
    .initialise = initialise,
    .bind = bind,
    .infer = infer,
    .conditioning = conditioning,
    .can_rebind = can_rebind,
    .cost = cost,
    .plain_images = plain_images,
    .predict = predict,
    .accumulate = accumulate,
    .encode_images = encode_images,
    .encode_classes = encode_classes,
};
