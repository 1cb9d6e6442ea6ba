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
    e->ops->release(e->stream, s->cache.pad);
    e->ops->release(e->stream, s->cache.pad_row);
    s->cache = (ammpli_class_cache){0};
}

void ammpli_session_release(ammpl_session *s)
{
    if (!s || atomic_fetch_sub(&s->ref.count, 1) > 1)
        return;
    ammpl_context *ctx = s->engine.ctx;
    ammpl_model *m = s->model;
    ammpli_session_clear_cache(s);
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
    s->model = ammpli_model_hold(m);
    s->memory_limit = ammpli_config_int(cfg, AMMPL_OPT_MEMORY_LIMIT);
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

enum { TEXTS_AT_ONCE = 64 };

ammpl_status ammpli_session_encode_texts(ammpl_session *s, const char *const *texts, size_t n, float *out)
{
    ammpli_engine *e = &s->engine;
    if (!s->model->has_text)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded with towers = image; texts need the text tower");
    ammpl_status status = AMMPL_OK;
    for (size_t from = 0; from < n && status >= 0; from += TEXTS_AT_ONCE) {
        size_t count = n - from < TEXTS_AT_ONCE ? n - from : TEXTS_AT_ONCE, len[TEXTS_AT_ONCE];
        int32_t *ids[TEXTS_AT_ONCE] = {0};
        for (size_t i = 0; i < count && status >= 0; i++)
            status = ammpli_model_tokens(s->model, texts[from + i], &ids[i], &len[i]);
        ammpli_arena_reset(e);
        if (status >= 0)
            status = encode_tokens(e, ids, len, (int64_t)count, out + (int64_t)from * s->model->embed);
        for (size_t i = 0; i < count; i++)
            ammpli_free(e->ctx, ids[i]);
    }
    return status;
}

enum { IMAGES_AT_ONCE = 32 };

/* Plain image features, normalised. */
static ammpl_status encode_plain(ammpl_session *s, const float *pixels, int64_t n, float *out)
{
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = s->model;
    int64_t R = m->grid * m->patch, P = m->grid * m->grid, E = m->embed;
    for (int64_t from = 0; from < n; from += IMAGES_AT_ONCE) {
        int64_t B = n - from < IMAGES_AT_ONCE ? n - from : IMAGES_AT_ONCE;
        float *device, *token, *feature, *unit, *norm;
        ammpli_pass pass;
        ammpli_arena_reset(e);
        TRY(ammpli_take_copy(e, pixels + from * 3 * R * R, B * 3 * R * R, &device));
        TRY(ammpli_take_floats(e, B * P * m->image.width, &token));
        TRY(ammpli_take_floats(e, B * E, &feature));
        TRY(ammpli_take_floats(e, B * E, &unit));
        TRY(ammpli_take_floats(e, B, &norm));
        TRY(ammpli_patch_embed(e, device, B, token));
        TRY(ammpli_image_forward(e, &pass, token, B, NULL, false, feature));
        RUN(l2norm_forward, unit, norm, feature, B, E);
        RUN(download, out + from * E, unit, (size_t)(B * E) * sizeof *out);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_session_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n, float *out)
{
    if (!s->model->has_image)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded with towers = text; images need the image tower");
    if (!p || !p->method->encode_images)
        return encode_plain(s, pixels, (int64_t)n, out);
    if (p->method->conditioning(p) & 2)
        return ammpli_fail(AMMPL_E_STATE, "under this %s prompt an image looks different to every class; use ammpl_session_predict",
                           p->method->name);
    return p->method->encode_images(s, p, pixels, (int64_t)n, out);
}

ammpl_status ammpli_session_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out)
{
    return p->method->encode_classes(s, p, out);
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
    TRY(p->method->predict(s, p, pixels, (int64_t)n, logits));
    return check_finite(logits, n * p->classes);
}

ammpl_status ammpli_session_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    if (!p->method->accumulate)
        return ammpli_fail(AMMPL_E_STATE, "method %s has nothing to learn", p->method->name);
    if (batch->features && !(p->method->plain_images && p->method->plain_images(p)))
        return ammpli_fail(AMMPL_E_STATE, "this %s prompt changes what the image tower reads: give pixels, not features",
                           p->method->name);
    for (size_t b = 0; b < batch->n; b++)
        if (batch->label[b] < 0 || (size_t)batch->label[b] >= p->classes)
            return ammpli_fail(AMMPL_E_LABEL, "image %zu of the batch has label %d; the prompt has classes 0 to %zu", b,
                               (int)batch->label[b], p->classes - 1);
    return p->method->accumulate(s, p, batch, loss, logits);
}
