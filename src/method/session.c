/* session.c - scratch memory and caches of one thread, plain CLIP features, and the way to the methods. */
#include "method/session.h"

#include <string.h>

ammpl_session *ammpli_session_hold(ammpl_session *s)
{
    atomic_fetch_add(&s->ref.count, 1);
    return s;
}

void ammpli_session_clear_cache(ammpl_session *s)
{
    ammpli_engine *e = &s->engine;
    e->ops->release(e->stream, s->cache.z0);
    e->ops->release(e->stream, s->cache.raw);
    e->ops->release(e->stream, s->cache.pad);
    e->ops->release(e->stream, s->cache.pad_row);
    s->cache = (ammpli_class_cache){0};
}

void ammpli_session_clear_texts(ammpl_session *s)
{
    s->engine.ops->release(s->engine.stream, s->texts.z);
    s->texts = (ammpli_text_cache){0};
}

ammpl_status ammpli_session_keep(ammpl_session *s, size_t *held, size_t bytes, float **out)
{
    TRY(s->engine.ops->alloc(s->engine.stream, bytes, (void **)out));
    *held += ammpli_block_bytes(bytes);
    return AMMPL_OK;
}

void ammpli_session_release(ammpl_session *s)
{
    if (!s || atomic_fetch_sub(&s->ref.count, 1) > 1)
        return;
    ammpl_context *ctx = s->engine.ctx;
    ammpl_model *m = s->model;
    ammpli_session_clear_cache(s);
    ammpli_session_clear_texts(s);
    ammpli_engine_close(&s->engine);
    ammpli_free(ctx, s);
    ammpli_model_release(m);
}

ammpl_status ammpli_session_create(const ammpl_model *m, const ammpl_config *cfg, ammpl_session **out)
{
    *out = NULL;
    ammpl_session *s = ammpli_alloc(m->ctx, 1, sizeof *s);
    if (!s)
        return AMMPL_E_MEMORY;
    ammpl_status status = ammpli_engine_open(&s->engine, m);
    if (status < 0) {
        ammpli_free(m->ctx, s);
        return status;
    }
    s->ref.count = 1;
    s->least_rows = AMMPLI_LEAST_ROWS;
    s->model = ammpli_model_hold(m);
    s->memory_limit = ammpli_config_int(cfg, AMMPL_OPT_MEMORY_LIMIT);
    s->engine.limit = (size_t)s->memory_limit;
    if ((status = ammpli_session_budget(s)) < 0) {
        ammpli_session_release(s);
        return status;
    }
    *out = s;
    return AMMPL_OK;
}

/* Plain text features of token sequences, normalised, to host memory. */
static ammpl_status encode_tokens(ammpli_engine *e, int32_t *const *ids, const size_t *len, int64_t n, float *out)
{
    int64_t E = e->model->embed;
    float *feature, *unit, *norm;
    TRY(ammpli_take_floats(e, n * E, &feature));
    TRY(ammpli_take_floats(e, n * E, &unit));
    TRY(ammpli_take_floats(e, n, &norm));
    TRY(ammpli_text_features(e, ids, len, n, feature));
    RUN(l2norm_forward, unit, norm, feature, n, E);
    return e->ops->download(e->stream, out, unit, (size_t)(n * E) * sizeof *out);
}

/* What a plan encodes for text i: as many ids as there can be, of which no two texts have more than the first in common. */
static ammpl_status take_longest(ammpli_engine *e, size_t i, int32_t **ids, size_t *n)
{
    *n = (size_t)e->model->context;
    TRY(ammpli_take_host_zeros(e, e->model->context, sizeof **ids, (void **)ids));
    for (size_t j = 1; j < *n; j++)
        (*ids)[j] = -1 - (int32_t)i;
    return AMMPL_OK;
}

/* Ids of a text in the step's memory. */
static ammpl_status take_tokens(ammpli_engine *e, const char *text, int32_t **ids, size_t *n)
{
    int32_t *made;
    TRY(ammpli_model_tokens(e->model, text, &made, n));
    ammpl_status status = ammpli_take_host(e, *n * sizeof *made, (void **)ids);
    if (status >= 0)
        memcpy(*ids, made, *n * sizeof *made);
    ammpli_free(e->ctx, made);
    return status;
}

ammpl_status ammpli_encode_texts(ammpl_session *s, const char *const *texts, size_t n, float *out)
{
    ammpli_engine *e = &s->engine;
    if (!s->model->has_text)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded with towers = image; texts need the text tower");
    size_t most = (size_t)ammpli_texts_at_once(s, AMMPLI_TEXTS_AT_ONCE);
    for (size_t from = 0; from < n; from += most) {
        size_t count = n - from < most ? n - from : most, len[AMMPLI_TEXTS_AT_ONCE];
        int32_t *ids[AMMPLI_TEXTS_AT_ONCE];
        ammpli_mark mark = ammpli_arena_mark(e);
        for (size_t i = 0; i < count; i++)
            TRY(texts ? take_tokens(e, texts[from + i], &ids[i], &len[i]) : take_longest(e, i, &ids[i], &len[i]));
        TRY(encode_tokens(e, ids, len, (int64_t)count, out + (int64_t)from * s->model->embed));
        ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_session_settle(ammpl_session *s, ammpl_status status)
{
    status = ammpli_settle(s->engine.ops, s->engine.stream, status);
    if (status < 0) {
        ammpli_session_clear_cache(s);
        ammpli_session_clear_texts(s);
    }
    return status;
}

ammpl_status ammpli_session_encode_texts(ammpl_session *s, const char *const *texts, size_t n, float *out)
{
    TRY(ammpli_session_prepare(s, NULL, AMMPLI_PLAN_TEXTS, (int64_t)n));
    ammpli_arena_reset(&s->engine);
    return ammpli_session_settle(s, ammpli_encode_texts(s, texts, n, out));
}

/* One part of them, B images. */
static ammpl_status plain_part(ammpl_session *s, const float *pixels, int64_t B, float *x)
{
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = s->model;
    int64_t R = m->grid * m->patch, P = m->grid * m->grid, E = m->embed;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *device, *token, *feature, *norm;
    ammpli_image_run run;
    TRY(ammpli_take_copy(e, pixels, B * 3 * R * R, &device));
    TRY(ammpli_take_floats(e, B * P * m->image.width, &token));
    TRY(ammpli_take_floats(e, B * E, &feature));
    TRY(ammpli_take_floats(e, B, &norm));
    TRY(ammpli_patch_embed(e, device, B, token));
    TRY(ammpli_image_forward(e, &run, token, B, NULL, false, feature));
    RUN(l2norm_forward, x, norm, feature, B, E);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_plain_features(ammpl_session *s, const float *pixels, int64_t n, float **x)
{
    int64_t R = s->model->grid * s->model->patch, E = s->model->embed;
    int64_t most = ammpli_images_at_once(s, AMMPLI_IMAGES_AT_ONCE);
    TRY(ammpli_take_floats(&s->engine, n * E, x));
    for (int64_t from = 0; from < n; from += most) {
        int64_t B = n - from < most ? n - from : most;
        TRY(plain_part(s, pixels + from * 3 * R * R, B, *x + from * E));
    }
    return AMMPL_OK;
}

static ammpl_status encode_plain(ammpl_session *s, const float *pixels, int64_t n, float *out)
{
    ammpli_engine *e = &s->engine;
    int64_t R = s->model->grid * s->model->patch, E = s->model->embed, most = ammpli_images_at_once(s, AMMPLI_IMAGES_AT_ONCE);
    for (int64_t from = 0; from < n; from += most) {
        int64_t B = n - from < most ? n - from : most;
        float *x;
        ammpli_arena_reset(e);
        TRY(ammpli_take_floats(e, B * E, &x));
        TRY(plain_part(s, pixels + from * 3 * R * R, B, x));
        RUN(download, out + from * E, x, (size_t)(B * E) * sizeof *out);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out)
{
    return p && p->method->encode_images ? p->method->encode_images(s, p, pixels, n, out) : encode_plain(s, pixels, n, out);
}

ammpl_status ammpli_session_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n, float *out)
{
    TRY(ammpli_model_check_image(s->model));
    if (p && p->method->encode_images && p->method->conditioning(p) & 2)
        return ammpli_fail(AMMPL_E_STATE, "under this %s prompt an image looks different to every class; use ammpl_session_predict",
                           p->method->name);
    TRY(ammpli_session_prepare(s, p, AMMPLI_PLAN_IMAGES, (int64_t)n));
    return ammpli_session_settle(s, ammpli_encode_images(s, p, pixels, (int64_t)n, out));
}

ammpl_status ammpli_session_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out)
{
    TRY(ammpli_session_prepare(s, p, AMMPLI_PLAN_CLASSES, 1));
    return ammpli_session_settle(s, p->method->encode_classes(s, p, out));
}

/* AMMPL_E_NUMERIC unless all n are finite. */
static ammpl_status check_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] - x[i] == 0))
            return ammpli_fail(AMMPL_E_NUMERIC, "a logit is not a finite number; the pixels hold NaN or infinity");
    return AMMPL_OK;
}

ammpl_status ammpli_session_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n, float *logits)
{
    TRY(ammpli_session_prepare(s, p, AMMPL_PLAN_PREDICT, (int64_t)n));
    TRY(ammpli_session_settle(s, p->method->predict(s, p, pixels, (int64_t)n, logits)));
    return check_finite(logits, n * p->classes);
}

static ammpl_status check_labels(const ammpl_prompt *p, const int32_t *label, size_t n)
{
    for (size_t b = 0; b < n; b++)
        if (label[b] < 0 || (size_t)label[b] >= p->classes)
            return ammpli_fail(AMMPL_E_LABEL, "image %zu of the batch has label %d; the prompt has classes 0 to %zu", b, (int)label[b],
                               p->classes - 1);
    return AMMPL_OK;
}

ammpl_status ammpli_session_aux_rows(ammpl_session *s, const ammpl_prompt *p, const float *pixels, const int32_t *label, size_t n,
                                     int64_t *rows)
{
    *rows = 0;
    TRY(check_labels(p, label, n));
    if (!p->method->aux_rows)
        return AMMPL_OK;
    TRY(ammpli_session_prepare(s, p, AMMPLI_PLAN_AUX_ROWS, (int64_t)n));
    return ammpli_session_settle(s, p->method->aux_rows(s, p, pixels, label, (int64_t)n, rows));
}

ammpl_status ammpli_session_check_step(const ammpl_prompt *p, bool features)
{
    if (!p->method->accumulate)
        return ammpli_fail(AMMPL_E_STATE, "method %s has nothing to learn", p->method->name);
    if (features && !(p->method->plain_images && p->method->plain_images(p)))
        return ammpli_fail(AMMPL_E_STATE, "this %s prompt changes what the image tower reads: give pixels, not features",
                           p->method->name);
    return AMMPL_OK;
}

ammpl_status ammpli_session_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    TRY(ammpli_session_check_step(p, batch->features != NULL));
    TRY(check_labels(p, batch->label, batch->n));
    TRY(ammpli_session_prepare(s, p, batch->features ? AMMPL_PLAN_ACCUMULATE_FEATURES : AMMPL_PLAN_ACCUMULATE, (int64_t)batch->n));
    return ammpli_session_settle(s, p->method->accumulate(s, p, batch, loss, logits));
}
