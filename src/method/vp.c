/* vp.c - pixels that are added to every preprocessed image: a frame, or a patch (Bahng et al., 2022; methods.md 5.4).
 *
 * The patch embedding is linear (shortcut 7): the prompt is embedded once and added to every image's embedding, and its gradient
 * is one product with the sum of the images'.
 */
#include "method/context.h"
#include "method/dual.h"
#include "method/methods.h"
#include "method/template.h"

#include <math.h>
#include <string.h>

static const char *const sides[] = {"pad_up", "pad_down", "pad_left", "pad_right"};

static bool kind_is(const ammpl_prompt *p, const char *kind)
{
    return strcmp(ammpli_config_string(p->config, AMMPL_OPT_KIND), kind) == 0;
}

static int64_t image_size(const ammpl_prompt *p)
{
    return p->model->grid * p->model->patch;
}

static ammpl_status define(ammpl_prompt *p)
{
    int64_t R = image_size(p), n = (30 * R + 112) / 224;
    bool frame = kind_is(p, "padding");
    n = n > 1 ? n : 1;
    if (ammpli_config_int(p->config, AMMPL_OPT_PROMPT_SIZE) > 0)
        n = ammpli_config_int(p->config, AMMPL_OPT_PROMPT_SIZE);
    if (n < 1 || (frame ? 2 * n >= R : n > R))
        return ammpli_fail(AMMPL_E_RANGE, "prompt_size = %lld: a %s of an image of %lld pixels takes 1 to %lld", (long long)n,
                           frame ? "frame" : "patch", (long long)R, (long long)(frame ? (R - 1) / 2 : R));
    TRY(ammpli_config_set_int(p->config, AMMPL_OPT_PROMPT_SIZE, n));
    TRY(ammpli_templates_resolve(p));
    if (!frame)
        return ammpli_prompt_add(p, "patch", 4, (int64_t[]){1, 3, n, n}, true, 0);
    for (int i = 0; i < 4; i++)
        TRY(ammpli_prompt_add(p, sides[i], 4, i < 2 ? (int64_t[]){1, 3, n, R} : (int64_t[]){1, 3, R - 2 * n, n}, true, 0));
    return AMMPL_OK;
}

static ammpl_status initialise(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value)
{
    (void)p;
    ammpli_initial_normal(t->name, 0, seed, 0, 1, value, t->count);
    return AMMPL_OK;
}

static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    const ammpli_st_tensor *patch = ammpli_st_find(st, "patch"), *up = ammpli_st_find(st, "pad_up"), *t = patch ? patch : up;
    if (!t || t->rank != 4)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: a vp prompt needs a tensor patch, or pad_up, pad_down, pad_left and pad_right, of 4 axes",
                           ammpli_st_name(st));
    if (!patch || kind_is(p, "padding")) /* a patch may be of either kind */
        TRY(ammpli_infer_text(p, st, AMMPL_OPT_KIND, patch ? "fixed_patch" : "padding"));
    return ammpli_infer_int(p, st, AMMPL_OPT_PROMPT_SIZE, 1, t->shape[2]);
}

/* Where a random patch lies: one place for all images of a step, and one for all of evaluation. */
static int64_t draw_place(const ammpl_prompt *p, const ammpl_batch *batch, uint32_t axis)
{
    uint32_t x[4];
    int64_t places = image_size(p) - ammpli_config_int(p->config, AMMPL_OPT_PROMPT_SIZE); /* as the original: never the last one */
    if (batch)
        ammpli_philox(batch->seed, AMMPLI_DRAW_PLACE, axis, 0, 0, batch->step, x);
    else
        ammpli_philox((uint64_t)ammpli_config_int(p->config, AMMPL_OPT_EVAL_SEED), AMMPLI_DRAW_PLACE_EVAL, axis, 0, 0, 0, x);
    return (int64_t)(((uint64_t)x[0] * (uint64_t)places) >> 32);
}

/* Row and column of the tensor's first pixel in the image. */
static void place_of(const ammpl_prompt *p, const ammpli_tensor *t, const ammpl_batch *batch, int64_t *row, int64_t *column)
{
    int64_t R = image_size(p), n = ammpli_config_int(p->config, AMMPL_OPT_PROMPT_SIZE);
    bool random = kind_is(p, "random_patch");
    *row = strcmp(t->name, "pad_down") == 0 ? R - n : strcmp(t->name, "pad_left") == 0 || strcmp(t->name, "pad_right") == 0 ? n : 0;
    *column = strcmp(t->name, "pad_right") == 0 ? R - n : 0;
    if (random) {
        *row = draw_place(p, batch, 0);
        *column = draw_place(p, batch, 1);
    }
}

/* For each number of a tensor [1,3,h,w] its pixel in [3,R,R]. */
static ammpl_status pixel_index(ammpli_engine *e, const ammpl_prompt *p, const ammpli_tensor *t, const ammpl_batch *batch, int32_t **out)
{
    int64_t R = image_size(p), h = t->shape[2], w = t->shape[3], row, column;
    int32_t *host, *at;
    TRY(ammpli_take_host(e, (size_t)t->count * sizeof *host, (void **)&host));
    at = host;
    place_of(p, t, batch, &row, &column);
    for (int64_t c = 0; c < 3; c++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++)
                *at++ = (int32_t)((c * R + row + y) * R + column + x);
    return ammpli_take_ints(e, host, t->count, out);
}

static ammpl_status assemble(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, ammpli_sides *d)
{
    ammpli_engine *e = &s->engine;
    int64_t R = image_size(p), tokens = p->model->grid * p->model->grid * p->model->image.width;
    float *added;
    TRY(ammpli_take_floats(e, tokens, &added));
    if (grad)
        TRY(ammpli_take_zeros(e, tokens, &d->dadded));
    ammpli_mark mark = ammpli_arena_mark(e);
    float *picture;
    TRY(ammpli_take_zeros(e, 3 * R * R, &picture));
    for (size_t i = 0; i < p->tensors; i++) {
        int32_t *index;
        if (!p->tensor[i].trainable)
            continue;
        TRY(pixel_index(e, p, &p->tensor[i], batch, &index));
        RUN(rows_copy, picture, index, p->tensor[i].value, NULL, p->tensor[i].count, 1);
    }
    TRY(ammpli_patch_embed(e, picture, 1, added));
    ammpli_arena_release(e, mark);
    d->added = added;
    return AMMPL_OK;
}

/* d(picture) = the patch embedding's transpose of the summed d(token), read where the tensors lie. */
static ammpl_status scatter(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, const ammpli_sides *d, float *const *grad)
{
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = p->model;
    int64_t R = image_size(p), P = m->grid * m->grid;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *patches, *picture;
    TRY(ammpli_take_floats(e, P * 3 * m->patch * m->patch, &patches));
    TRY(ammpli_take_floats(e, 3 * R * R, &picture));
    RUN(linear_backward, patches, d->dadded, m->patch_weight, NULL, AMMPL_ACT_NONE, P);
    RUN(patches_backward, picture, patches, 1, m->grid, m->patch);
    for (size_t i = 0; i < p->tensors; i++) {
        int32_t *index;
        if (!grad[i])
            continue;
        TRY(pixel_index(e, p, &p->tensor[i], batch, &index));
        RUN(rows_add, grad[i], NULL, picture, index, p->tensor[i].count, 1);
    }
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

const ammpli_method ammpli_method_vp = {
    .id = AMMPL_METHOD_VP,
    .name = "vp",
    .doc = "pixels that are added to every image: a frame, or a patch",
    .options = (const char *const[]){"kind", "prompt_size", "template", "eval_seed", NULL},
    .defaults = /* the original trains on all of CIFAR-100; few images want shorter runs of smaller batches: our choice */
        (const ammpli_default[]){{AMMPLI_ANY_PROTOCOL, 0, "template", "This is a photo of a {}"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "lr", "40"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "weight_decay", "0"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "schedule", "cosine_steps"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "warmup_steps", "1000"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "batch", "256"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "epochs", "1000"},
                                 {AMMPLI_ANY_PROTOCOL, 0, "augment", "none"},
                                 {AMMPLI_FEW_SHOT | AMMPLI_BASE_TO_NOVEL | AMMPLI_CROSS_DATASET, 0, "warmup_steps", "50"},
                                 {AMMPLI_FEW_SHOT | AMMPLI_BASE_TO_NOVEL | AMMPLI_CROSS_DATASET, 0, "batch", "32"},
                                 {AMMPLI_FEW_SHOT | AMMPLI_BASE_TO_NOVEL | AMMPLI_CROSS_DATASET, 0, "epochs", "100"},
                                 {0}},
    .define = define,
    .initialise = initialise,
    .bind = ammpli_templates_check,
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
