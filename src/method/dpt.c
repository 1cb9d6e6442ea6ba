/* dpt.c - DPT: text context, visual prompts, and prompts made for an image and its likeliest classes: tensors, and its row in the
 * table (Xing et al., IEEE TMM 2023; methods.md 5.10). */
#include "method/context.h"
#include "method/dpt.h"
#include "method/dual.h"
#include "method/methods.h"
#include "method/template.h"

#include <stdio.h>
#include <string.h>

enum { GROUP_VISUAL, GROUP_TEXT, GROUPS };

/* One CAVPT layer's tensor "cavpt.STEM.jPART", of 1 or 2 axes. */
static ammpl_status add(ammpl_prompt *p, const char *stem, int64_t j, const char *part, int64_t rows, int64_t columns)
{
    char name[48];
    snprintf(name, sizeof name, "cavpt.%s.%lld%s", stem, (long long)j, part);
    return ammpli_prompt_add(p, name, columns > 0 ? 2 : 1, (int64_t[]){rows, columns}, true, GROUP_VISUAL);
}

static ammpl_status top_k_range(const ammpl_prompt *p, int64_t K)
{
    return ammpli_fail(AMMPL_E_RANGE, "top_k = %lld: with %zu classes it takes 1 to %zu", (long long)K, p->classes, p->classes);
}

static ammpl_status top_k(ammpl_prompt *p)
{
    int64_t C = (int64_t)p->classes, K = C < 10 ? C : 10;
    if (ammpli_config_int(p->config, AMMPL_OPT_TOP_K) > 0)
        K = ammpli_config_int(p->config, AMMPL_OPT_TOP_K);
    if (K > C && !p->from_file)
        return top_k_range(p, K);
    return ammpli_config_set_int(p->config, AMMPL_OPT_TOP_K, K);
}

static ammpl_status define(ammpl_prompt *p)
{
    const ammpl_model *m = p->model;
    int64_t M, n, first, layers = m->image.layers, W = m->image.width;
    TRY(ammpli_templates_resolve(p));
    TRY(ammpli_context_count(p, ammpli_config_string(p->config, AMMPL_OPT_CTX_INIT)[0] ? 0 : 16, &M));
    TRY(ammpli_visual_count(p, 10, &n));
    TRY(ammpli_depth(p, AMMPL_OPT_BOTTOM_LIMIT, layers, 1, layers, &first));
    TRY(top_k(p));
    p->groups = GROUPS;
    p->group[GROUP_TEXT] = (ammpli_group){.factor = 1, .lr = AMMPL_OPT_LR_TEXT, .warmup_epochs = AMMPL_OPT_WARMUP_EPOCHS_TEXT};
    TRY(ammpli_prompt_add(p, "ctx", 2, (int64_t[]){M, m->text.width}, true, GROUP_TEXT));
    if (first > 1)
        TRY(ammpli_prompt_add(p, "visual_ctx", 3, (int64_t[]){first - 1, n, W}, true, GROUP_VISUAL));
    TRY(ammpli_prompt_add(p, "cavpt.ctx", 3, (int64_t[]){layers - first + 1, DPT_EXTRA, W}, true, GROUP_VISUAL));
    for (int64_t j = 0; j <= layers - first; j++) {
        TRY(add(p, "meta_nets", j, ".weight", W, m->embed));
        TRY(add(p, "meta_nets", j, ".bias", W, 0));
        TRY(add(p, "attns", j, ".qmlp.weight", DPT_KEY, W));
        TRY(add(p, "attns", j, ".kmlp.weight", DPT_KEY, W));
        TRY(add(p, "attns", j, ".vmlp.weight", W, W));
        TRY(add(p, "lns", j, ".weight", W, 0));
        TRY(add(p, "lns", j, ".bias", W, 0));
        TRY(add(p, "lns2", j, ".weight", W, 0));
        TRY(add(p, "lns2", j, ".bias", W, 0));
        TRY(add(p, "classifiers", j, ".weight", (int64_t)p->classes, W));
    }
    return AMMPL_OK;
}

static bool is_classifier(const ammpli_tensor *t)
{
    return strncmp(t->name, "cavpt.classifiers.", 18) == 0;
}

static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    int64_t W = p->model->image.width;
    if (strcmp(t->name, "ctx") == 0)
        return ammpli_context_initialise(p, t, false, seed, value);
    if (strncmp(t->name, "cavpt.lns", 9) == 0) {
        for (int64_t i = 0; i < t->count; i++)
            value[i] = strstr(t->name, ".weight") ? 1 : 0;
    } else if (is_classifier(t)) {
        for (size_t i = 0; i < p->classes; i++) /* keyed by the class's name: its place in the list does not matter */
            ammpli_initial_uniform(t->name, p->class_hash[i], seed, W, value + (int64_t)i * W, W);
    } else if (strstr(t->name, ".weight") || strstr(t->name, ".bias")) {
        ammpli_initial_uniform(t->name, 0, seed, strstr(t->name, "meta_nets") ? p->model->embed : W, value, t->count);
    } else {
        ammpli_initial_normal(t->name, 0, seed, 0, 0.02, value, t->count);
    }
    return AMMPL_OK;
}

/* Classifiers for other classes than the prompt had, in place of p->tensor[i] (empty elsewhere). */
static ammpl_status make_classifiers(const ammpl_prompt *p, ammpli_tensor *fresh)
{
    for (size_t i = 0; i < p->tensors; i++)
        if (is_classifier(&p->tensor[i]) && p->tensor[i].shape[0] != (int64_t)p->classes)
            TRY(ammpli_prompt_make_like(p, i, (int64_t)p->classes, &fresh[i]));
    return AMMPL_OK;
}

/* Of other classes the classifiers, which only training reads, start anew.  All or nothing: what can fail comes first. */
static ammpl_status bind(ammpl_prompt *p)
{
    TRY(ammpli_templates_check(p));
    ammpli_tensor *fresh = ammpli_alloc(p->ctx, p->tensors, sizeof *fresh);
    if (!fresh)
        return AMMPL_E_MEMORY;
    ammpl_status status = make_classifiers(p, fresh);
    if (status >= 0)
        status = ammpli_context_bind(p, ammpli_config_int(p->config, AMMPL_OPT_N_CTX), AMMPLI_POSITION_END, false);
    for (size_t i = 0; i < p->tensors; i++)
        if (fresh[i].value && status >= 0)
            ammpli_prompt_exchange(p, i, &fresh[i]);
        else
            ammpli_tensor_free(p, &fresh[i]);
    ammpli_free(p->ctx, fresh);
    return status;
}

static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    const ammpli_st_tensor *ctx = ammpli_st_find(st, "ctx"), *visual = ammpli_st_find(st, "visual_ctx");
    const ammpli_st_tensor *cavpt = ammpli_st_find(st, "cavpt.ctx");
    /* A prompt that was re-bound to fewer classes keeps its top_k, and so does its file; who gives one himself means it. */
    const char *top = ammpli_st_meta(st, "top_k");
    if (ammpli_config_int(p->config, AMMPL_OPT_TOP_K) > (int64_t)p->classes && !(top && strcmp(top, ammpli_config_text(p->config, "top_k")) == 0))
        return top_k_range(p, ammpli_config_int(p->config, AMMPL_OPT_TOP_K));
    if (ctx && ctx->rank == 2)
        TRY(ammpli_infer_int(p, st, AMMPL_OPT_N_CTX, 1, ctx->shape[0]));
    if (visual && visual->rank == 3)
        TRY(ammpli_infer_int(p, st, AMMPL_OPT_N_CTX_VISION, 1, visual->shape[1]));
    if (cavpt && cavpt->rank == 3)
        TRY(ammpli_infer_int(p, st, AMMPL_OPT_BOTTOM_LIMIT, 1, p->model->image.layers - cavpt->shape[0] + 1));
    return AMMPL_OK;
}

/* The plain image, to find its likeliest classes, and the prompted one. */
static void cost(const ammpl_prompt *p, ammpl_cost *out)
{
    out->image_encodes = 2;
    out->step_texts = p->classes;
}

const ammpli_method ammpli_method_dpt = {
    .id = AMMPL_METHOD_DPT,
    .name = "dpt",
    .doc = "text context, tokens in the image tower, and tokens that are made for an image and its likeliest classes",
    .options = (const char *const[]){"n_ctx", "ctx_init", "n_ctx_vision", "bottom_limit", "top_k", "guidance_epochs", "aux_weight",
                                     "lr_text", "warmup_epochs_text", "template", NULL},
    .defaults = (const ammpli_default[]){{AMMPLI_ANY_PROTOCOL, 0, "ctx_init", ""},
                                         {AMMPLI_ANY_PROTOCOL, 0, "lr", "0.01"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "warmup_epochs", "10"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "batch", "32"},
                                         {AMMPLI_PUBLISHED, 0, "drop_last", "true"},
                                         {AMMPLI_ANY_PROTOCOL, 0, "epochs", "60"}, /* as published for one shot */
                                         {AMMPLI_ANY_PROTOCOL, 2, "epochs", "100"},
                                         {0}},
    .define = define,
    .initialise = initialise,
    .bind = bind,
    .infer = infer,
    .conditioning = ammpli_unconditioned,
    .can_rebind = ammpli_yes,
    .cost = cost,
    .predict = ammpli_dpt_predict,
    .accumulate = ammpli_dpt_accumulate,
    .aux_rows = ammpli_dpt_aux_rows,
    .encode_images = ammpli_dpt_encode_images,
    .encode_classes = ammpli_dpt_encode_classes,
};
