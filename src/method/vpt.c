/* vpt.c - visual prompt tuning of CLIP's image tower, texts from a template (Jia et al., ECCV 2022; as in MaPLe's repository,
 * methods.md 5.5, or DPT's, 5.6). */
#include "method/context.h"
#include "method/dual.h"
#include "method/methods.h"
#include "method/template.h"

#include <string.h>

static bool of_dpt(const ammpl_prompt *p)
{
    return strcmp(ammpli_config_string(p->config, AMMPL_OPT_VARIANT), "dpt") == 0;
}

static ammpl_status define(ammpl_prompt *p)
{
    int64_t V, D, layers = p->model->image.layers;
    TRY(ammpli_templates_resolve(p));
    TRY(ammpli_visual_count(p, of_dpt(p) ? 10 : 8, &V));
    TRY(ammpli_depth(p, AMMPL_OPT_DEPTH_VISION, of_dpt(p) ? layers : 12, 1, layers, &D));
    return ammpli_layers_add(p, "visual_ctx", 0, D, V, p->model->image.width);
}

static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    (void)p;
    ammpli_initial_normal(t->name, 0, seed, 0, 0.02, value, t->count);
    return AMMPL_OK;
}

static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    int64_t V, D = ammpli_layers_in_file(st, "visual_ctx", 0, &V);
    if (D == 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: a vpt prompt needs a tensor visual_ctx.0", ammpli_st_name(st));
    TRY(ammpli_infer_int(p, st, AMMPL_OPT_DEPTH_VISION, 1, D));
    return V > 0 ? ammpli_infer_int(p, st, AMMPL_OPT_N_CTX_VISION, 1, V) : AMMPL_OK;
}

static ammpl_status assemble(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, ammpli_sides *d)
{
    (void)s;
    (void)batch;
    d->has_visual = true;
    d->visual.V = ammpli_config_int(p->config, AMMPL_OPT_N_CTX_VISION);
    d->visual.raw = of_dpt(p);
    ammpli_layers_assemble(p, "visual_ctx", 0, ammpli_config_int(p->config, AMMPL_OPT_DEPTH_VISION), grad, d->visual_prompt, d->dvisual);
    return AMMPL_OK;
}

const ammpli_method ammpli_method_vpt = {
    .id = AMMPL_METHOD_VPT,
    .name = "vpt",
    .doc = "tokens beside the image's patches, in the first or in several layers",
    .options = (const char *const[]){"n_ctx_vision", "depth_vision", "variant", "template", NULL},
    .defaults = /* MaPLe's repository; few-shot is DPT's, which has its own kind */
        (const ammpli_default[]){{AMMPLI_ANY_PROTOCOL, 0, "lr", "0.0025"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "epochs", "5"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "batch", "4"},
                                 {AMMPLI_PUBLISHED, 0, "drop_last", "true"},
                                 {AMMPLI_FEW_SHOT, 0, "variant", "dpt"},
                                 {AMMPLI_FEW_SHOT, 0, "lr", "0.01"},
                                 {AMMPLI_FEW_SHOT, 0, "epochs", "100"},
                                 {AMMPLI_FEW_SHOT, 0, "warmup_epochs", "10"},
                                 {AMMPLI_FEW_SHOT, 0, "batch", "32"},
                                 {0}},
    .define = define,
    .initialise = initialise,
    .bind = ammpli_templates_check,
    .infer = infer,
    .conditioning = ammpli_unconditioned,
    .can_rebind = ammpli_yes,
    .cost = ammpli_dual_cost,
    .assemble = assemble,
    .predict = ammpli_dual_predict,
    .accumulate = ammpli_dual_accumulate,
    .encode_images = ammpli_dual_encode_images,
    .encode_classes = ammpli_dual_encode_classes,
};
