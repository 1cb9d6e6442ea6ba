/* coop.c - CoOp: learned context in the place of "a photo of a" (Zhou et al., IJCV 2022; methods.md 5.2). */
#include "method/context.h"
#include "method/dual.h"
#include "method/methods.h"

#include <string.h>

static bool class_specific(const ammpl_prompt *p)
{
    return ammpli_config_int(p->config, AMMPL_OPT_CLASS_SPECIFIC) != 0;
}

static ammpl_status define(ammpl_prompt *p)
{
    int64_t M, l = p->model->text.width;
    bool words = ammpli_config_string(p->config, AMMPL_OPT_CTX_INIT)[0] != '\0';
    TRY(ammpli_context_count(p, words ? 0 : 16, &M));
    const int64_t shape[] = {(int64_t)p->classes, M, l};
    return class_specific(p) ? ammpli_prompt_add(p, "ctx", 3, shape, true, 0) : ammpli_prompt_add(p, "ctx", 2, shape + 1, true, 0);
}

static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    return ammpli_context_initialise(p, t, false, seed, value);
}

static ammpl_status bind(ammpl_prompt *p)
{
    const char *position = ammpli_config_string(p->config, AMMPL_OPT_POSITION);
    int32_t place = strcmp(position, "middle") == 0  ? AMMPLI_POSITION_MIDDLE
                    : strcmp(position, "front") == 0 ? AMMPLI_POSITION_FRONT
                                                     : AMMPLI_POSITION_END;
    return ammpli_context_bind(p, ammpli_config_int(p->config, AMMPL_OPT_N_CTX), place, false);
}

/* M and whether classes have their own stand in the tensor's shape. */
static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    const ammpli_st_tensor *ctx = ammpli_st_find(st, "ctx");
    if (!ctx || ctx->rank < 2 || ctx->rank > 3)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: a coop prompt needs a tensor ctx of 2 axes, or 3 (one per class)", ammpli_st_name(st));
    if (ctx->rank == 3 && ctx->shape[0] != (int64_t)p->classes)
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor ctx is of %lld classes, its metadata name %zu", ammpli_st_name(st),
                           (long long)ctx->shape[0], p->classes);
    TRY(ammpli_infer_text(p, st, AMMPL_OPT_CLASS_SPECIFIC, ctx->rank == 3 ? "true" : "false"));
    return ammpli_infer_int(p, st, AMMPL_OPT_N_CTX, 1, ctx->shape[ctx->rank - 2]);
}

static bool can_rebind(const ammpl_prompt *p)
{
    return !class_specific(p);
}

static ammpl_status assemble(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, ammpli_sides *d)
{
    (void)s;
    (void)batch;
    d->ctx = ammpli_value(p, "ctx");
    d->per_class = class_specific(p);
    d->dctx = grad ? ammpli_grad_of(p, grad, "ctx") : NULL;
    return AMMPL_OK;
}

const ammpli_method ammpli_method_coop = {
    .id = AMMPL_METHOD_COOP,
    .name = "coop",
    .doc = "text context: vectors in the place of \"a photo of a\", shared by all classes or one set each",
    .options = (const char *const[]){"n_ctx", "ctx_init", "position", "class_specific", NULL},
    .defaults =
        (const ammpli_default[]){{AMMPLI_ANY_PROTOCOL, 0, "ctx_init", ""},
                                 {AMMPLI_ANY_PROTOCOL, 0, "batch", "32"},
                                 {AMMPLI_PUBLISHED, 0, "drop_last", "true"}, /* Dassl's loader, methods.md 6.4 */
                                 {AMMPLI_ANY_PROTOCOL, 0, "epochs", "50"},
                                 {AMMPLI_FEW_SHOT, 2, "epochs", "100"},
                                 {AMMPLI_FEW_SHOT, 8, "epochs", "200"},
                                 {AMMPLI_BASE_TO_NOVEL | AMMPLI_CROSS_DATASET, 0, "ctx_init", "a photo of a"},
                                 {AMMPLI_BASE_TO_NOVEL, 0, "epochs", "200"},
                                 {0}},
    .define = define,
    .initialise = initialise,
    .bind = bind,
    .infer = infer,
    .conditioning = ammpli_unconditioned,
    .can_rebind = can_rebind,
    .cost = ammpli_dual_cost,
    .plain_images = ammpli_yes,
    .assemble = assemble,
    .predict = ammpli_dual_predict,
    .accumulate = ammpli_dual_accumulate,
    .encode_classes = ammpli_dual_encode_classes,
};
