/* kinds.c - see kinds.h. */
#include "kinds.h"

#include <stdlib.h>
#include <string.h>

#define ODD "nano-odd"
#define CTX3 "n_ctx", "3", "ctx_init", ""
#define VP(kind) "kind", kind, "lr", "5", "schedule", "cosine_steps", "warmup_steps", "3", "weight_decay", "0"
#define DPT(bottom, k) \
    CTX3, "n_ctx_vision", "2", "bottom_limit", bottom, "top_k", k, "guidance_epochs", "2", "warmup_epochs", "2", "lr_text", "0.03", \
        "warmup_epochs_text", "1"
const kind kinds[] = {
    {"coop_end", AMMPL_METHOD_COOP, ODD, {CTX3, NULL}},
    {"coop_middle", AMMPL_METHOD_COOP, ODD, {CTX3, "position", "middle", NULL}},
    {"coop_front", AMMPL_METHOD_COOP, ODD, {CTX3, "position", "front", NULL}},
    {"coop_words", AMMPL_METHOD_COOP, ODD, {"ctx_init", "a photo of a", NULL}},
    {"coop_class_end", AMMPL_METHOD_COOP, ODD, {CTX3, "class_specific", "true", NULL}},
    {"coop_class_middle", AMMPL_METHOD_COOP, ODD, {CTX3, "class_specific", "true", "position", "middle", NULL}},
    {"coop_class_front", AMMPL_METHOD_COOP, ODD, {CTX3, "class_specific", "true", "position", "front", NULL}},
    {"cocoop_words", AMMPL_METHOD_COCOOP, ODD, {NULL}},
    {"cocoop_wide", AMMPL_METHOD_COCOOP, "nano-wide", {CTX3, NULL}},
    {"vp_padding", AMMPL_METHOD_VP, ODD, {VP("padding"), "prompt_size", "2", NULL}},
    {"vp_fixed_patch", AMMPL_METHOD_VP, ODD, {VP("fixed_patch"), "prompt_size", "5", NULL}},
    {"vp_random_patch", AMMPL_METHOD_VP, ODD, {VP("random_patch"), "prompt_size", "5", NULL}},
    {"vpt_shallow", AMMPL_METHOD_VPT, ODD, {"n_ctx_vision", "3", "depth_vision", "1", NULL}},
    {"vpt_deep", AMMPL_METHOD_VPT, ODD, {"n_ctx_vision", "3", "depth_vision", "3", NULL}},
    {"vpt_full", AMMPL_METHOD_VPT, ODD, {"n_ctx_vision", "3", NULL}},
    {"vpt_dpt", AMMPL_METHOD_VPT, ODD, {"variant", "dpt", "n_ctx_vision", "3", NULL}},
    {"vpt_dpt_deep", AMMPL_METHOD_VPT, ODD, {"variant", "dpt", "n_ctx_vision", "3", "depth_vision", "3", NULL}},
    {"dlp_deep", AMMPL_METHOD_DLP, ODD, {"depth_text", "2", NULL}},
    {"dlp_full", AMMPL_METHOD_DLP, ODD, {"n_ctx", "2", NULL}},
    {"ivlp_deep", AMMPL_METHOD_IVLP, ODD, {"depth_text", "2", "depth_vision", "3", "n_ctx_vision", "3", NULL}},
    {"ivlp_full", AMMPL_METHOD_IVLP, ODD, {CTX3, NULL}},
    {"ivlp_text", AMMPL_METHOD_IVLP, ODD, {"depth_vision", "0", NULL}},
    {"maple_shallow", AMMPL_METHOD_MAPLE, ODD, {"depth", "1", NULL}},
    {"maple_deep", AMMPL_METHOD_MAPLE, ODD, {"depth", "2", NULL}},
    {"maple_full", AMMPL_METHOD_MAPLE, ODD, {CTX3, NULL}},
    {"dpt_one", AMMPL_METHOD_DPT, ODD, {DPT("5", "2"), NULL}},
    {"dpt_two", AMMPL_METHOD_DPT, ODD, {DPT("4", "2"), NULL}},
    {"dpt_all", AMMPL_METHOD_DPT, ODD, {DPT("1", "3"), NULL}},
};
_Static_assert(sizeof kinds / sizeof kinds[0] == KINDS, "kinds.h says how many");

const kind *kind_of(const char *name)
{
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    ck_abort_msg("no kind %s", name);
}

void kind_open(nano *n, const kind *k, const char *const *more)
{
    const char *options[32] = {0};
    size_t used = 0;
    for (const char *const *o = k->options; *o; o++)
        options[used++] = *o;
    for (const char *const *o = more; o && *o; o++)
        options[used++] = *o;
    ck_assert_uint_lt(used, sizeof options / sizeof options[0]);
    nano_open_method(n, k->model, k->method, options);
}

void kind_fill(ammpl_prompt *p)
{
    for (size_t t = 0; t < p->tensors; t++) {
        const ammpli_tensor *tensor = &p->tensor[t];
        bool one = strncmp(tensor->name, "cavpt.lns", 9) == 0 && strstr(tensor->name, ".weight");
        bool sharp = strstr(tensor->name, ".qmlp.") || strstr(tensor->name, ".kmlp."); /* far from a saturated softmax */
        bool hidden = strcmp(tensor->name, "meta_net.linear1.bias") == 0;
        float *value = malloc((size_t)tensor->count * sizeof *value);
        for (int64_t i = 0; i < tensor->count; i++)
            value[i] = (float)(hidden ? (i % 2 ? -2 : 2) : one + (sharp ? 0.15 : 0.3) * nano_normal((uint32_t)t + 50, (uint32_t)i));
        ck_ok(ammpli_prompt_write(p, t, value));
        free(value);
    }
}
