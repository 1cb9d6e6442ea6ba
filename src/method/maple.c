/* maple.c - MaPLe: deep text prompts, and visual prompts that are linear maps of them (Khattak et al., CVPR 2023;
 * methods.md 5.9): P_j = T_j proj_j^T + bias_j, T_0 = ctx. */
#include "method/context.h"
#include "method/dual.h"
#include "method/methods.h"

#include <stdio.h>
#include <string.h>

static ammpl_status define(ammpl_prompt *p)
{
    const ammpl_model *m = p->model;
    int64_t M, D, l = m->text.width, W = m->image.width, layers = m->text.layers < m->image.layers ? m->text.layers : m->image.layers;
    TRY(ammpli_context_count(p, 2, &M));
    TRY(ammpli_depth(p, AMMPL_OPT_DEPTH, 9, 1, layers, &D));
    TRY(ammpli_prompt_add(p, "ctx", 2, (int64_t[]){M, l}, true, 0));
    TRY(ammpli_layers_add(p, "text_ctx", 1, D, M, l));
    for (int64_t j = 0; j < D; j++) {
        char name[48];
        snprintf(name, sizeof name, "proj.%lld.weight", (long long)j);
        TRY(ammpli_prompt_add(p, name, 2, (int64_t[]){W, l}, true, 0));
        snprintf(name, sizeof name, "proj.%lld.bias", (long long)j);
        TRY(ammpli_prompt_add(p, name, 1, (int64_t[]){W}, true, 0));
    }
    return AMMPL_OK;
}

static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    if (strcmp(t->name, "ctx") == 0)
        return ammpli_context_initialise(p, t, true, seed, value);
    if (strncmp(t->name, "proj.", 5) != 0) {
        ammpli_initial_normal(t->name, 0, seed, 0, 0.02, value, t->count);
        return AMMPL_OK;
    }
    /* All deep projections start as copies of one layer. */
    const char *part = strrchr(t->name, '.'), *first = strncmp(t->name, "proj.0.", 7) == 0 ? "proj.0" : "proj.1";
    char name[48];
    snprintf(name, sizeof name, "%s%s", first, part);
    ammpli_initial_uniform(name, 0, seed, p->model->text.width, value, t->count);
    return AMMPL_OK;
}

static ammpl_status bind(ammpl_prompt *p)
{
    return ammpli_context_bind(p, ammpli_config_int(p->config, AMMPL_OPT_N_CTX), AMMPLI_POSITION_END, true);
}

static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    int64_t rows, texts = 1 + ammpli_layers_in_file(st, "text_ctx", 1, &rows), maps = ammpli_layers_in_file(st, "proj", 0, &rows);
    const ammpli_st_tensor *ctx = ammpli_st_find(st, "ctx");
    if (ctx && ctx->rank == 2)
        TRY(ammpli_infer_int(p, st, AMMPL_OPT_N_CTX, 1, ctx->shape[0]));
    return ammpli_infer_int(p, st, AMMPL_OPT_DEPTH, 1, texts > maps ? texts : maps);
}

/* Layer j's text prompt T_j and its projection, values and gradients. */
typedef struct coupling {
    const float *text, *weight, *bias; /* [M,l], [W,l], [W] */
    float *dtext, *dweight, *dbias;
} coupling;

static coupling coupling_of(const ammpl_prompt *p, float *const *grad, int64_t j)
{
    char weight[48], bias[48], text[48] = "ctx";
    snprintf(weight, sizeof weight, "proj.%lld.weight", (long long)j);
    snprintf(bias, sizeof bias, "proj.%lld.bias", (long long)j);
    if (j > 0)
        snprintf(text, sizeof text, "text_ctx.%lld", (long long)j);
    coupling c = {.text = ammpli_value(p, text), .weight = ammpli_value(p, weight), .bias = ammpli_value(p, bias)};
    if (grad) {
        c.dtext = ammpli_grad_of(p, grad, text);
        c.dweight = ammpli_grad_of(p, grad, weight);
        c.dbias = ammpli_grad_of(p, grad, bias);
    }
    return c;
}

static ammpl_status assemble(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, ammpli_sides *d)
{
    (void)batch;
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = p->model;
    int64_t M = ammpli_config_int(p->config, AMMPL_OPT_N_CTX), D = ammpli_config_int(p->config, AMMPL_OPT_DEPTH);
    int64_t l = m->text.width, W = m->image.width;
    d->ctx = ammpli_value(p, "ctx");
    d->dctx = grad ? ammpli_grad_of(p, grad, "ctx") : NULL;
    d->has_deep = d->has_visual = true;
    d->visual.V = M;
    ammpli_layers_assemble(p, "text_ctx", 1, D, grad, d->deep, d->ddeep);
    int32_t *zeros;
    TRY(ammpli_take(e, (size_t)M * sizeof *zeros, (void **)&zeros));
    RUN(zero, zeros, (size_t)M * sizeof *zeros);
    for (int64_t j = 0; j < D; j++) {
        coupling c = coupling_of(p, grad, j);
        float *prompt;
        TRY(ammpli_take_floats(e, M * W, &prompt));
        RUN(rows_copy, prompt, NULL, c.bias, zeros, M, W);
        RUN(gemm, 1, M, W, l, 1, c.text, 0, 0, c.weight, 1, 0, 1, prompt, 0);
        d->visual_prompt[j] = prompt;
        if (grad)
            TRY(ammpli_take_zeros(e, M * W, &d->dvisual[j]));
    }
    return AMMPL_OK;
}

/* dT_j += dP_j proj_j, dproj_j += dP_j^T T_j, dbias_j += the sum of dP_j's rows. */
static ammpl_status scatter(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, const ammpli_sides *d, float *const *grad)
{
    (void)batch;
    ammpli_engine *e = &s->engine;
    int64_t M = d->visual.V, D = ammpli_config_int(p->config, AMMPL_OPT_DEPTH), l = p->model->text.width, W = p->model->image.width;
    int32_t *zeros;
    TRY(ammpli_take(e, (size_t)M * sizeof *zeros, (void **)&zeros));
    RUN(zero, zeros, (size_t)M * sizeof *zeros);
    for (int64_t j = 0; j < D; j++) {
        coupling c = coupling_of(p, grad, j);
        RUN(gemm, 1, M, l, W, 1, d->dvisual[j], 0, 0, c.weight, 0, 0, 1, c.dtext, 0);
        RUN(gemm, 1, W, l, M, 1, d->dvisual[j], 1, 0, c.text, 0, 0, 1, c.dweight, 0);
        RUN(rows_add, c.dbias, zeros, d->dvisual[j], NULL, M, W);
    }
    return AMMPL_OK;
}

const ammpli_method ammpli_method_maple = {
    .id = AMMPL_METHOD_MAPLE,
    .name = "maple",
    .doc = "context in the layers of the text tower, and maps that make tokens for the image tower of it",
    .options = (const char *const[]){"n_ctx", "ctx_init", "depth", NULL},
    .defaults = (const ammpli_default[]){{AMMPLI_ANY_PROTOCOL, 0, "lr", "0.0035"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "epochs", "5"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "batch", "4"},
                                         {AMMPLI_PUBLISHED, 0, "drop_last", "true"},
                                         {AMMPLI_FEW_SHOT, 0, "epochs", "50"}, /* our choice */
                                         {AMMPLI_CROSS_DATASET, 0, "depth", "3"},
                                         {AMMPLI_CROSS_DATASET, 0, "lr", "0.0026"},
                                         {AMMPLI_CROSS_DATASET, 0, "epochs", "2"},
                                         {0}},
    .define = define,
    .initialise = initialise,
    .bind = bind,
    .infer = infer,
    .conditioning = ammpli_unconditioned,
    .can_rebind = ammpli_yes,
    .cost = ammpli_dual_cost,
    .assemble = assemble,
    .scatter = scatter,
    .predict = ammpli_dual_predict,
    .accumulate = ammpli_dual_accumulate,
    .encode_images = ammpli_dual_encode_images,
    .encode_classes = ammpli_dual_encode_classes,
};
