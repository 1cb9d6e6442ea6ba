/* zeroshot.c - CLIP as it is: a hand-written template, nothing learned (methods.md 5.1). */
#include "method/methods.h"
#include "method/session.h"

#include <math.h>
#include <string.h>

static ammpl_status define(ammpl_prompt *p)
{
    const char *template = ammpli_config_string(p->config, AMMPL_OPT_TEMPLATE);
    if (!strstr(template, "{}"))
        return ammpli_fail(AMMPL_E_OPTION, "template \"%.100s\" has no {} where the class name goes", template);
    return AMMPL_OK;
}

/* The template with its first {} replaced by the class's name. New string. */
static char *fill_template(ammpl_context *ctx, const char *template, const char *class_name)
{
    const char *gap = strstr(template, "{}");
    char *name = ammpli_spoken_name(ctx, class_name);
    char *text = name ? ammpli_alloc(ctx, strlen(template) + strlen(name) + 1, 1) : NULL;
    if (text) {
        memcpy(text, template, (size_t)(gap - template));
        strcat(strcat(text, name), gap + 2);
    }
    ammpli_free(ctx, name);
    return text;
}

/* Says early, and by name, which prompt text is too long. */
static ammpl_status bind(ammpl_prompt *p)
{
    const char *template = ammpli_config_string(p->config, AMMPL_OPT_TEMPLATE);
    for (size_t i = 0; i < p->classes; i++) {
        int32_t *ids = NULL;
        size_t n;
        char *text = fill_template(p->ctx, template, p->class_name[i]);
        ammpl_status status = text ? ammpli_model_tokens(p->model, text, &ids, &n) : AMMPL_E_MEMORY;
        ammpli_free(p->ctx, ids);
        ammpli_free(p->ctx, text);
        TRY(status);
    }
    return AMMPL_OK;
}

static ammpl_status infer(ammpl_prompt *p, const ammpli_st *st)
{
    (void)p;
    (void)st;
    return AMMPL_OK;
}

static int32_t conditioning(const ammpl_prompt *p)
{
    (void)p;
    return 0;
}

static bool can_rebind(const ammpl_prompt *p)
{
    (void)p;
    return true;
}

static ammpl_status encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out)
{
    const char *template = ammpli_config_string(p->config, AMMPL_OPT_TEMPLATE);
    ammpl_status status = AMMPL_E_MEMORY;
    char **text = ammpli_alloc(p->ctx, p->classes, sizeof *text);
    if (!text)
        return status;
    for (size_t i = 0; i < p->classes; i++)
        if (!(text[i] = fill_template(p->ctx, template, p->class_name[i])))
            goto done;
    status = ammpli_session_encode_texts(s, (const char *const *)text, p->classes, out);
done:
    for (size_t i = 0; i < p->classes; i++)
        ammpli_free(p->ctx, text[i]);
    ammpli_free(p->ctx, text);
    return status;
}

/* The class features, encoded once per prompt state. */
static ammpl_status cached_classes(ammpl_session *s, const ammpl_prompt *p)
{
    ammpli_class_cache *cache = &s->cache;
    if (cache->prompt_id == p->id && cache->revision == p->revision)
        return AMMPL_OK;
    ammpli_session_clear_cache(s);
    size_t bytes = p->classes * (size_t)p->model->embed * sizeof(float);
    float *host = ammpli_alloc(p->ctx, bytes, 1);
    if (!host)
        return AMMPL_E_MEMORY;
    ammpl_status status = encode_classes(s, p, host);
    if (status >= 0)
        status = s->engine.ops->alloc(s->engine.stream, bytes, (void **)&cache->z0);
    if (status >= 0)
        status = s->engine.ops->upload(s->engine.stream, cache->z0, host, bytes);
    ammpli_free(p->ctx, host);
    TRY(status);
    cache->prompt_id = p->id;
    cache->revision = p->revision;
    return AMMPL_OK;
}

enum { IMAGES_AT_ONCE = 32 };

/* logits = s <image feature, class feature> */
static ammpl_status predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits)
{
    TRY(cached_classes(s, p));
    ammpli_engine *e = &s->engine;
    const ammpl_model *m = p->model;
    int64_t C = (int64_t)p->classes, E = m->embed, R = m->grid * m->patch;
    float *host = ammpli_alloc(p->ctx, (size_t)(IMAGES_AT_ONCE * E), sizeof *host);
    if (!host)
        return AMMPL_E_MEMORY;
    ammpl_status status = AMMPL_OK;
    for (int64_t from = 0; from < n; from += IMAGES_AT_ONCE) {
        int64_t B = n - from < IMAGES_AT_ONCE ? n - from : IMAGES_AT_ONCE;
        float *x, *out;
        TRY_GOTO(done, ammpli_session_encode_images(s, NULL, pixels + from * 3 * R * R, (size_t)B, host));
        ammpli_arena_reset(e);
        TRY_GOTO(done, ammpli_take_copy(e, host, B * E, &x));
        TRY_GOTO(done, ammpli_take_floats(e, B * C, &out));
        TRY_GOTO(done, e->ops->gemm(e->stream, 1, B, C, E, (float)exp(m->logit_scale), x, 0, 0, s->cache.z0, 1, 0, 0, out, 0));
        TRY_GOTO(done, e->ops->download(e->stream, logits + from * C, out, (size_t)(B * C) * sizeof *out));
    }
done:
    ammpli_free(p->ctx, host);
    return status;
}

const ammpli_method ammpli_method_zeroshot = {
    .id = AMMPL_METHOD_ZEROSHOT,
    .name = "zeroshot",
    .doc = "nothing: CLIP's own features and a hand-written template",
    .options = (const char *const[]){"template", NULL},
    .defaults = (const char *const[]){NULL},
    .define = define,
    .bind = bind,
    .infer = infer,
    .conditioning = conditioning,
    .can_rebind = can_rebind,
    .predict = predict,
    .encode_classes = encode_classes,
};
