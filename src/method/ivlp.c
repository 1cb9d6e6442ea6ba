/* ivlp.c - independent vision-language prompting: deep prompts in both towers that do not know of each other; DLP is its text
 * half (baselines of Khattak et al., CVPR 2023; methods.md 5.7, 5.8). */
#include "method/context.h"
#include "method/dual.h"
#include "method/methods.h"

#include <string.h>

static bool text_only(const ammpl_prompt *p)
{
    return p->method->id == AMMPL_METHOD_DLP;
}

static ammpl_status define(ammpl_prompt *p)
{
    const ammpl_model *m = p->model;
    int64_t M, V, depth, visual = 0;
    TRY(ammpli_context_count(p, text_only(p) ? 4 : 2, &M));
    TRY(ammpli_depth(p, AMMPL_OPT_DEPTH_TEXT, 12, 1, m->text.layers, &depth));
    TRY(ammpli_prompt_add(p, "ctx", 2, (int64_t[]){M, m->text.width}, true, 0));
    TRY(ammpli_layers_add(p, "text_ctx", 1, depth, M, m->text.width));
    if (text_only(p))
        return AMMPL_OK;
    TRY(ammpli_visual_count(p, 2, &V));
    TRY(ammpli_depth(p, AMMPL_OPT_DEPTH_VISION, 12, 0, m->image.layers, &visual));
    return ammpli_layers_add(p, "visual_ctx", 0, visual, V, m->image.width);
}

static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    if (strcmp(t->name, "ctx") == 0)
        return ammpli_context_initialise(p, t, true, seed, value);
    ammpli_initial_normal(t->name, 0, seed, 0, 0.02, value, t->count);
    return AMMPL_OK;
}

static ammpl_status bind(ammpl_prompt *p)
{
    return ammpli_context_bind(p, ammpli_config_int(p->config, AMMPL_OPT_N_CTX), AMMPLI_POSITION_END, true);
}

static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    int64_t V, rows, depth = ammpli_layers_in_file(st, "visual_ctx", 0, &V);
    const ammpli_st_tensor *ctx = ammpli_st_find(st, "ctx");
    if (ctx && ctx->rank == 2)
        TRY(ammpli_infer_int(p, st, AMMPL_OPT_N_CTX, 1, ctx->shape[0]));
    TRY(ammpli_infer_int(p, st, AMMPL_OPT_DEPTH_TEXT, 1, 1 + ammpli_layers_in_file(st, "text_ctx", 1, &rows)));
    if (text_only(p))
        return AMMPL_OK;
    TRY(ammpli_infer_int(p, st, AMMPL_OPT_DEPTH_VISION, 0, depth));
    return V > 0 ? ammpli_infer_int(p, st, AMMPL_OPT_N_CTX_VISION, 1, V) : AMMPL_OK;
}

static bool plain_images(const ammpl_prompt *p)
{
    return text_only(p) || ammpli_config_int(p->config, AMMPL_OPT_DEPTH_VISION) == 0;
}

static ammpl_status assemble(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, ammpli_sides *d)
{
    (void)s;
    (void)batch;
    d->ctx = ammpli_value(p, "ctx");
    d->dctx = grad ? ammpli_grad_of(p, grad, "ctx") : NULL;
    d->has_deep = true;
    ammpli_layers_assemble(p, "text_ctx", 1, ammpli_config_int(p->config, AMMPL_OPT_DEPTH_TEXT), grad, d->deep, d->ddeep);
    if (plain_images(p))
        return AMMPL_OK;
    d->has_visual = true;
    d->visual.V = ammpli_config_int(p->config, AMMPL_OPT_N_CTX_VISION);
    ammpli_layers_assemble(p, "visual_ctx", 0, ammpli_config_int(p->config, AMMPL_OPT_DEPTH_VISION), grad, d->visual_prompt, d->dvisual);
    return AMMPL_OK;
}

const ammpli_method ammpli_method_dlp = {
    .id = AMMPL_METHOD_DLP,
    .name = "dlp",
    .doc = "text context in the input and in deeper layers of the text tower",
    .options = (const char *const[]){"n_ctx", "ctx_init", "depth_text", NULL},
    .defaults = (const ammpli_default[]){{AMMPLI_ANY_PROTOCOL, 0, "lr", "0.0025"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "epochs", "5"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "batch", "4"},
                                         {AMMPLI_PUBLISHED, 0, "drop_last", "true"},
                                         {AMMPLI_FEW_SHOT, 0, "epochs", "50"}, /* no original has this protocol: our choice */
                                         {0}},
    .define = define,
    .initialise = initialise,
    .bind = bind,
    .infer = infer,
    .conditioning = ammpli_unconditioned,
    .can_rebind = ammpli_yes,
    .cost = ammpli_dual_cost,
    .plain_images = plain_images,
    .assemble = assemble,
    .predict = ammpli_dual_predict,
    .accumulate = ammpli_dual_accumulate,
    .encode_classes = ammpli_dual_encode_classes,
};

const ammpli_method ammpli_method_ivlp = {
    .id = AMMPL_METHOD_IVLP,
    .name = "ivlp",
    .doc = "context in the layers of the text tower and tokens in those of the image tower, independent of each other",
    .options = (const char *const[]){"n_ctx", "ctx_init", "depth_text", "n_ctx_vision", "depth_vision", NULL},
    .defaults = (const ammpli_default[]){{AMMPLI_ANY_PROTOCOL, 0, "lr", "0.0035"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "epochs", "5"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "batch", "4"},
                                         {AMMPLI_PUBLISHED, 0, "drop_last", "true"},
                                         {AMMPLI_FEW_SHOT, 0, "epochs", "50"}, /* our choice */
                                         {0}},
    .define = define,
    .initialise = initialise,
    .bind = bind,
    .infer = infer,
    .conditioning = ammpli_unconditioned,
    .can_rebind = ammpli_yes,
    .cost = ammpli_dual_cost,
    .plain_images = plain_images,
    .assemble = assemble,
    .predict = ammpli_dual_predict,
    .accumulate = ammpli_dual_accumulate,
    .encode_images = ammpli_dual_encode_images,
    .encode_classes = ammpli_dual_encode_classes,
};
