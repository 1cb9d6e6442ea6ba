/* dual.c - see dual.h. */
#include "method/dual.h"
#include "method/template.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sides ---- */

static ammpl_status open_sides(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad,
                               ammpli_sides *d)
{
    ammpli_engine *e = &s->engine;
    int64_t text = p->model->text.layers, image = p->model->image.layers;
    *d = (ammpli_sides){0};
    TRY(ammpli_take_host_zeros(e, text, sizeof *d->deep, (void **)&d->deep));
    TRY(ammpli_take_host_zeros(e, text, sizeof *d->ddeep, (void **)&d->ddeep));
    TRY(ammpli_take_host_zeros(e, image, sizeof *d->visual_prompt, (void **)&d->visual_prompt));
    TRY(ammpli_take_host_zeros(e, image, sizeof *d->dvisual, (void **)&d->dvisual));
    d->visual.prompt = d->visual_prompt;
    return p->method->assemble(s, p, batch, grad, d);
}

static bool image_side_learns(const ammpli_sides *d)
{
    return d->has_visual || d->added;
}

/* ---- text ---- */

static ammpl_status text_forward(ammpl_session *s, const ammpl_prompt *p, const ammpli_sides *d, bool backward, ammpli_text_stage *t)
{
    *t = (ammpli_text_stage){.prompt = p,
                             .n = (int64_t)p->classes,
                             .ctx = d->ctx,
                             .per_class = d->per_class,
                             .deep = d->has_deep ? d->deep : NULL,
                             .backward = backward};
    return ammpli_text_stage_forward(s, t);
}

/* Class features for inference: computed once per state of the prompt. */
static ammpl_status class_features(ammpl_session *s, const ammpl_prompt *p, const ammpli_sides *d, const float **z)
{
    ammpli_class_cache *cache = &s->cache;
    ammpli_engine *e = &s->engine;
    if (!d->ctx)
        return ammpli_template_features(s, p, z);
    if (cache->prompt_id != p->id || cache->revision != p->revision) {
        size_t bytes = p->classes * (size_t)p->model->embed * sizeof(float);
        ammpli_text_stage text;
        ammpli_session_clear_cache(s);
        ammpli_mark mark = ammpli_arena_mark(e);
        TRY(text_forward(s, p, d, false, &text));
        TRY(ammpli_session_keep(s, &cache->bytes, bytes, &cache->z0));
        RUN(copy, cache->z0, text.z, bytes);
        ammpli_arena_release(e, mark);
        cache->prompt_id = p->id;
        cache->revision = p->revision;
    }
    *z = cache->z0;
    return AMMPL_OK;
}

/* ---- images ---- */

/* Pixels (host) through the image side; the stage's x are the features. */
static ammpl_status image_forward(ammpl_session *s, const ammpli_sides *d, const float *pixels, int64_t B, bool backward,
                                  int32_t *index /*[B] host*/, ammpli_image_stage *t)
{
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = e->model;
    int64_t R = m->grid * m->patch, P = m->grid * m->grid;
    float *token, *device;
    for (int64_t b = 0; b < B; b++)
        index[b] = (int32_t)b;
    TRY(ammpli_take_floats(e, B * P * m->image.width, &token));
    ammpli_mark mark = ammpli_arena_mark(e);
    TRY(ammpli_take_copy(e, pixels, B * 3 * R * R, &device));
    TRY(ammpli_patch_embed(e, device, B, token));
    ammpli_arena_release(e, mark);
    *t = (ammpli_image_stage){.n = B,
                              .most = B,
                              .image = token,
                              .ii = index,
                              .added = d->added,
                              .visual = d->has_visual ? &d->visual : NULL,
                              .backward = backward};
    return ammpli_image_stage_forward(s, t);
}

/* ---- inference ---- */

/* Features x [B,E] of at most AMMPLI_IMAGES_AT_ONCE pictures in backend memory. */
static ammpl_status features(ammpl_session *s, const ammpli_sides *d, const float *pixels, int64_t B, const float **x)
{
    int32_t index[AMMPLI_IMAGES_AT_ONCE];
    ammpli_image_stage stage;
    TRY(image_forward(s, d, pixels, B, false, index, &stage));
    *x = stage.x;
    return AMMPL_OK;
}

static ammpl_status predict_some(ammpl_session *s, const ammpl_prompt *p, const ammpli_sides *d, const float *z, const float *pixels,
                                 int64_t B, float *logits)
{
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = p->model;
    int64_t C = (int64_t)p->classes, E = m->embed;
    const float *x;
    float *out;
    TRY(features(s, d, pixels, B, &x));
    TRY(ammpli_take_floats(e, B * C, &out));
    RUN(gemm, 1, B, C, E, (float)exp(m->logit_scale), x, 0, 0, z, 1, 0, 0, out, 0);
    return e->ops->download(e->stream, logits, out, (size_t)(B * C) * sizeof *out);
}

ammpl_status ammpli_dual_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits)
{
    ammpli_engine *e = &s->engine;
    int64_t R = p->model->grid * p->model->patch;
    ammpli_sides d;
    const float *z;
    ammpli_arena_reset(e);
    TRY(open_sides(s, p, NULL, NULL, &d));
    TRY(class_features(s, p, &d, &z));
    ammpli_mark mark = ammpli_arena_mark(e);
    int64_t most = ammpli_images_at_once(s, AMMPLI_IMAGES_AT_ONCE);
    for (int64_t from = 0; from < n; from += most) {
        int64_t B = n - from < most ? n - from : most;
        TRY(predict_some(s, p, &d, z, pixels + from * 3 * R * R, B, logits + from * (int64_t)p->classes));
        ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_dual_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out)
{
    ammpli_engine *e = &s->engine;
    int64_t R = p->model->grid * p->model->patch, E = p->model->embed;
    ammpli_sides d;
    ammpli_arena_reset(e);
    TRY(open_sides(s, p, NULL, NULL, &d));
    ammpli_mark mark = ammpli_arena_mark(e);
    int64_t most = ammpli_images_at_once(s, AMMPLI_IMAGES_AT_ONCE);
    for (int64_t from = 0; from < n; from += most) {
        int64_t B = n - from < most ? n - from : most;
        const float *x;
        TRY(features(s, &d, pixels + from * 3 * R * R, B, &x));
        RUN(download, out + from * E, x, (size_t)(B * E) * sizeof *out);
        ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_dual_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out)
{
    ammpli_engine *e = &s->engine;
    ammpli_sides d;
    const float *z;
    ammpli_arena_reset(e);
    TRY(open_sides(s, p, NULL, NULL, &d));
    TRY(class_features(s, p, &d, &z));
    return e->ops->download(e->stream, out, z, p->classes * (size_t)p->model->embed * sizeof *out);
}

/* ---- training ---- */

typedef struct step {
    ammpl_session *s;
    const ammpl_prompt *p;
    const ammpl_batch *batch;
    int64_t B, C;
    ammpli_sides sides;
    ammpli_text_stage text;
    ammpli_image_stage image;
    int32_t *index;
    const float *z, *x; /* [C,E], [B,E] */
    float *logits;
} step;

static ammpl_status forward(step *t)
{
    ammpli_engine *e = &t->s->engine;
    const ammpl_model *m = e->model;
    int64_t E = m->embed;
    if (t->sides.ctx) {
        TRY(text_forward(t->s, t->p, &t->sides, true, &t->text));
        t->z = t->text.z;
    } else {
        TRY(ammpli_template_features(t->s, t->p, &t->z));
    }
    if (t->batch->features) {
        float *x;
        TRY(ammpli_take_copy(e, t->batch->features, t->B * E, &x));
        t->x = x;
    } else {
        TRY(image_forward(t->s, &t->sides, t->batch->pixels, t->B, image_side_learns(&t->sides), t->index, &t->image));
        t->x = t->image.x;
    }
    TRY(ammpli_take_floats(e, t->B * t->C, &t->logits));
    return e->ops->gemm(e->stream, 1, t->B, t->C, E, (float)exp(m->logit_scale), t->x, 0, 0, t->z, 1, 0, 0, t->logits, 0);
}

static ammpl_status backward(step *t, const float *dlogits, float *const *grad)
{
    ammpli_engine *e = &t->s->engine;
    int64_t B = t->B, C = t->C, E = e->model->embed;
    float s = (float)exp(e->model->logit_scale), *d;
    if (t->sides.ctx) {
        TRY(ammpli_take_floats(e, C * E, &d));
        RUN(gemm, 1, C, E, B, s, dlogits, 1, 0, t->x, 0, 0, 0, d, 0);
        TRY(ammpli_text_stage_backward(t->s, &t->text, d, t->sides.dctx, NULL, t->sides.ddeep));
    }
    if (image_side_learns(&t->sides)) {
        ammpli_image_gradient to = {.added = t->sides.dadded, .visual = t->sides.dvisual};
        TRY(ammpli_take_floats(e, B * E, &d));
        RUN(gemm, 1, B, E, C, s, dlogits, 0, 0, t->z, 0, 0, 0, d, 0);
        TRY(ammpli_image_stage_backward(t->s, &t->image, d, &to));
    }
    return t->p->method->scatter ? t->p->method->scatter(t->s, t->p, t->batch, &t->sides, grad) : AMMPL_OK;
}

static ammpl_status run_step(step *t, ammpl_prompt *p, float *const *grad, double *loss, float *logits)
{
    ammpli_engine *e = &t->s->engine;
    int64_t B = t->B, C = t->C;
    double sum = 0;
    float *dlogits;
    TRY(forward(t));
    TRY(ammpli_take_floats(e, B * C, &dlogits));
    TRY(ammpli_cross_entropy(e, t->logits, t->batch->label, B, C, ammpli_batch_weight(t->batch), &sum, dlogits));
    TRY(ammpli_check_loss(sum));
    TRY(backward(t, dlogits, grad));
    if (logits)
        RUN(download, logits, t->logits, (size_t)(B * C) * sizeof *logits);
    TRY(ammpli_gradients_add(e, p, grad));
    *loss = sum;
    return AMMPL_OK;
}

ammpl_status ammpli_dual_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    step t = {.s = s, .p = p, .batch = batch, .B = (int64_t)batch->n, .C = (int64_t)p->classes};
    float **grad;
    ammpli_arena_reset(&s->engine);
    TRY(ammpli_take_host(&s->engine, batch->n * sizeof *t.index, (void **)&t.index));
    TRY(ammpli_gradients_take(&s->engine, p, &grad));
    TRY(open_sides(s, p, batch, grad, &t.sides));
    return run_step(&t, p, grad, loss, logits);
}

/* ---- prompts of layers ---- */

static void layer_name(char name[48], const char *stem, int64_t layer)
{
    snprintf(name, 48, "%s.%lld", stem, (long long)layer);
}

ammpl_status ammpli_layers_add(ammpl_prompt *p, const char *stem, int64_t from, int64_t to, int64_t rows, int64_t width)
{
    char name[48];
    for (int64_t i = from; i < to; i++) {
        layer_name(name, stem, i);
        TRY(ammpli_prompt_add(p, name, 2, (int64_t[]){rows, width}, true, 0));
    }
    return AMMPL_OK;
}

const float *ammpli_layer_value(const ammpl_prompt *p, const char *stem, int64_t layer)
{
    char name[48];
    layer_name(name, stem, layer);
    return ammpli_value(p, name);
}

float *ammpli_layer_grad(const ammpl_prompt *p, float *const *grad, const char *stem, int64_t layer)
{
    char name[48];
    layer_name(name, stem, layer);
    return ammpli_grad_of(p, grad, name);
}

void ammpli_layers_assemble(const ammpl_prompt *p, const char *stem, int64_t from, int64_t to, float *const *grad,
                            const float **value, float **gradient)
{
    for (int64_t i = from; i < to; i++) {
        value[i] = ammpli_layer_value(p, stem, i);
        gradient[i] = grad ? ammpli_layer_grad(p, grad, stem, i) : NULL;
    }
}

/* 0 stands for the method's own value where it can not be one itself. */
static bool is_given(const ammpl_prompt *p, ammpl_option option, int64_t least)
{
    return ammpli_config_is_set(p->config, option) && (least == 0 || ammpli_config_int(p->config, option) > 0);
}

ammpl_status ammpli_depth(ammpl_prompt *p, ammpl_option option, int64_t own, int64_t least, int64_t layers, int64_t *depth)
{
    *depth = own < layers ? own : layers;
    if (is_given(p, option, least))
        *depth = ammpli_config_int(p->config, option);
    if (*depth < least || *depth > layers)
        return ammpli_fail(AMMPL_E_RANGE, "%s = %lld: this model takes %lld to %lld (the input layer counts as 1)",
                           ammpli_option_by_id(option)->name, (long long)*depth, (long long)least, (long long)layers);
    return ammpli_config_set_int(p->config, option, *depth);
}

int64_t ammpli_layers_in_file(const ammpli_st *st, const char *stem, int64_t from, int64_t *rows)
{
    size_t length = strlen(stem);
    int64_t layers = 0;
    *rows = 0;
    for (size_t i = 0; i < ammpli_st_count(st); i++) {
        const ammpli_st_tensor *t = ammpli_st_at(st, i);
        const char *digits = t->name + length + 1;
        if (strncmp(t->name, stem, length) != 0 || t->name[length] != '.' || *digits < '0' || *digits > '9')
            continue;
        char *end;
        int64_t layer = strtoll(digits, &end, 10);
        if ((*end && *end != '.') || layer < from || layer > 1000000)
            continue;
        layers = layer - from >= layers ? layer - from + 1 : layers;
        if (layer == from && t->rank == 2)
            *rows = t->shape[0];
    }
    return layers;
}

ammpl_status ammpli_visual_count(ammpl_prompt *p, int64_t own, int64_t *V)
{
    int64_t given = ammpli_config_int(p->config, AMMPL_OPT_N_CTX_VISION);
    *V = given > 0 ? given : own;
    return ammpli_config_set_int(p->config, AMMPL_OPT_N_CTX_VISION, *V);
}

static ammpl_status contradiction(const ammpl_prompt *p, const ammpli_st *st, ammpl_option option, const char *told)
{
    const char *name = ammpli_option_by_id(option)->name;
    return ammpli_fail(AMMPL_E_SHAPE, "%s: option %s = %s, but its tensors are those of %s = %s", ammpli_st_name(st), name,
                       ammpli_config_text(p->config, name), name, told);
}

ammpl_status ammpli_infer_int(ammpl_prompt *p, const ammpli_st *st, ammpl_option option, int64_t least, int64_t value)
{
    char told[24];
    if (!is_given(p, option, least))
        return ammpli_config_set_int(p->config, option, value);
    snprintf(told, sizeof told, "%lld", (long long)value);
    return ammpli_config_int(p->config, option) == value ? AMMPL_OK : contradiction(p, st, option, told);
}

ammpl_status ammpli_infer_text(ammpl_prompt *p, const ammpli_st *st, ammpl_option option, const char *value)
{
    const char *name = ammpli_option_by_id(option)->name;
    if (!ammpli_config_is_set(p->config, option))
        return ammpli_config_set_text(p->config, name, value);
    return strcmp(ammpli_config_text(p->config, name), value) == 0 ? AMMPL_OK : contradiction(p, st, option, value);
}

ammpl_status ammpli_infer_nothing(ammpl_prompt *p, const ammpli_st *st)
{
    (void)p;
    (void)st;
    return AMMPL_OK;
}

int32_t ammpli_unconditioned(const ammpl_prompt *p)
{
    (void)p;
    return 0;
}

void ammpli_dual_cost(const ammpl_prompt *p, ammpl_cost *out)
{
    out->image_encodes = 1;
    out->step_texts = ammpli_value(p, "ctx") ? p->classes : 0;
}

bool ammpli_yes(const ammpl_prompt *p)
{
    (void)p;
    return true;
}
