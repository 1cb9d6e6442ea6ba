/* api_model.c - loading a CLIP, its sizes and facts, its tokenizer and its preprocessing. */
#include "clip/clip.h"
#include "shell.h"

#include <math.h>
#include <string.h>

/* ---- loading ---- */

static ammpl_status check_device(const ammpl_context *ctx, const ammpl_device *dev)
{
    if (!dev)
        return AMMPL_OK;
    for (size_t i = 0; i < ammpl_device_count(ctx); i++)
        if (ammpl_device_at(ctx, i) == dev)
            return AMMPL_OK;
    return ammpli_fail(AMMPL_E_ARGUMENT, "the device belongs to another context");
}

ammpl_status ammpl_model_load_file(ammpl_context *ctx, const ammpl_device *dev, const char *path, const ammpl_config *cfg,
                                   ammpl_model **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, path);
    NEED(ctx, out);
    PASS(ctx, check_device(ctx, dev));
    return ammpli_leave(ctx, ammpli_model_load_file(ctx, dev ? dev : ammpl_device_at(ctx, 0), path, cfg, out));
}

ammpl_status ammpl_model_load_memory(ammpl_context *ctx, const ammpl_device *dev, const void *weights, size_t weights_size,
                                     const void *merges, size_t merges_size, const char *vocab_json,
                                     const char *config_json, const ammpl_config *cfg, ammpl_model **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, ctx);
    NEED(ctx, weights);
    NEED(ctx, merges);
    NEED(ctx, out);
    PASS(ctx, check_device(ctx, dev));
    return ammpli_leave(ctx, ammpli_model_load_memory(ctx, dev ? dev : ammpl_device_at(ctx, 0), weights, weights_size, merges,
                                                      merges_size, vocab_json, config_json, cfg, out));
}

void ammpl_model_destroy(ammpl_model *m)
{
    if (m)
        ammpli_model_release(m);
}

/* ---- facts ---- */

ammpl_status ammpl_model_get_int(const ammpl_model *m, ammpl_query q, int64_t *value)
{
    ENTER();
    CLEAR(value);
    NEED(NULL, m);
    NEED(m->ctx, value);
    switch (q) {
    case AMMPL_QUERY_EMBED_WIDTH:
        *value = m->embed;
        break;
    case AMMPL_QUERY_IMAGE_SIZE:
        *value = m->preprocess.size;
        break;
    case AMMPL_QUERY_PATCH_SIZE:
        *value = m->patch;
        break;
    case AMMPL_QUERY_GRID:
        *value = m->grid;
        break;
    case AMMPL_QUERY_CONTEXT_LENGTH:
        *value = m->context;
        break;
    case AMMPL_QUERY_VOCAB_SIZE:
        *value = m->vocab;
        break;
    case AMMPL_QUERY_TEXT_WIDTH:
        *value = m->text.width;
        break;
    case AMMPL_QUERY_TEXT_LAYERS:
        *value = m->text.layers;
        break;
    case AMMPL_QUERY_TEXT_HEADS:
        *value = m->text.heads;
        break;
    case AMMPL_QUERY_IMAGE_WIDTH:
        *value = m->image.width;
        break;
    case AMMPL_QUERY_IMAGE_LAYERS:
        *value = m->image.layers;
        break;
    case AMMPL_QUERY_IMAGE_HEADS:
        *value = m->image.heads;
        break;
    default:
        return ammpli_leave(m->ctx, ammpli_fail(AMMPL_E_OPTION, "query %d is not one for an integer", q));
    }
    return AMMPL_OK;
}

ammpl_status ammpl_model_get_float(const ammpl_model *m, ammpl_query q, double *value)
{
    ENTER();
    CLEAR(value);
    NEED(NULL, m);
    NEED(m->ctx, value);
    CHECK(m->ctx, q == AMMPL_QUERY_LOGIT_SCALE, AMMPL_E_OPTION, "query %d is not one for a number", q);
    *value = exp(m->logit_scale);
    return AMMPL_OK;
}

ammpl_status ammpl_model_get_string(const ammpl_model *m, ammpl_query q, const char **value)
{
    ENTER();
    CLEAR(value);
    NEED(NULL, m);
    NEED(m->ctx, value);
    CHECK(m->ctx, q == AMMPL_QUERY_ACTIVATION || q == AMMPL_QUERY_SOURCE, AMMPL_E_OPTION, "query %d is not one for a string",
          q);
    *value = q == AMMPL_QUERY_ACTIVATION ? m->activation : m->source;
    return AMMPL_OK;
}

ammpl_status ammpl_model_probe(const ammpl_model *m, float out[16])
{
    ENTER();
    if (out)
        memset(out, 0, sizeof m->probe);
    NEED(NULL, m);
    NEED(m->ctx, out);
    CHECK(m->ctx, m->has_text && m->has_image, AMMPL_E_STATE, "the probe needs both towers; the model was loaded with towers = %s",
          m->has_text ? "text" : "image");
    memcpy(out, m->probe, sizeof m->probe);
    return AMMPL_OK;
}

/* ---- from and to what people see ---- */

ammpl_status ammpl_model_tokenize(const ammpl_model *m, const char *text, int32_t *ids, size_t cap, size_t *need)
{
    ENTER();
    CLEAR(need);
    NEED(NULL, m);
    NEED(m->ctx, text);
    CHECK(m->ctx, ids || cap == 0, AMMPL_E_ARGUMENT, "%s: ids is NULL", __func__);
    CHECK(m->ctx, m->tokenizer, AMMPL_E_STATE, "the model was loaded without its text tower: it has no tokenizer");
    int32_t *all;
    size_t n;
    PASS(m->ctx, ammpli_model_tokens(m, text, &all, &n));
    if (need)
        *need = n;
    ammpl_status status = ammpli_check_cap(__func__, cap, n, 1);
    if (status == AMMPL_OK)
        memcpy(ids, all, n * sizeof *ids);
    ammpli_free(m->ctx, all);
    return ammpli_leave(m->ctx, status);
}

static size_t pixel_count(const ammpl_model *m)
{
    return 3 * (size_t)m->preprocess.size * (size_t)m->preprocess.size;
}

ammpl_status ammpl_model_nearest_tokens(const ammpl_model *m, const float *vector, size_t width, size_t k, int32_t *ids,
                                        float *distances)
{
    ENTER();
    NEED(NULL, m);
    NEED(m->ctx, vector);
    NEED(m->ctx, ids);
    NEED(m->ctx, distances);
    CHECK(m->ctx, m->has_text, AMMPL_E_STATE, "the model was loaded without its text tower (option towers)");
    CHECK(m->ctx, width == (size_t)m->text.width, AMMPL_E_SHAPE, "%s: a vector of %zu numbers, token embeddings have %lld", __func__,
          width, (long long)m->text.width);
    CHECK(m->ctx, k >= 1 && k <= (size_t)m->vocab, AMMPL_E_RANGE, "%s: %zu tokens of %lld", __func__, k, (long long)m->vocab);
    return ammpli_leave(m->ctx, ammpli_model_nearest_tokens(m, vector, k, ids, distances));
}

ammpl_status ammpl_model_token_text(const ammpl_model *m, int32_t id, char *text, size_t cap, size_t *need)
{
    ENTER();
    CLEAR(need);
    NEED(NULL, m);
    CHECK(m->ctx, text || cap == 0, AMMPL_E_ARGUMENT, "%s: text is NULL", __func__);
    CHECK(m->ctx, m->has_text, AMMPL_E_STATE, "the model was loaded without its text tower (option towers)");
    char *own;
    size_t n;
    PASS(m->ctx, ammpli_token_text(m->tokenizer, id, &own, &n));
    if (need)
        *need = n + 1;
    ammpl_status status = ammpli_check_cap(__func__, cap, n + 1, 1);
    if (status == AMMPL_OK)
        memcpy(text, own, n + 1);
    ammpli_free(m->ctx, own);
    return ammpli_leave(m->ctx, status);
}

ammpl_status ammpl_model_preprocess(const ammpl_model *m, const ammpl_image *img, float *chw, size_t cap)
{
    ENTER();
    NEED(NULL, m);
    NEED(m->ctx, img);
    NEED(m->ctx, chw);
    PASS(m->ctx, ammpli_model_check_image(m));
    PASS(m->ctx, ammpli_check_cap(__func__, cap, pixel_count(m), 1));
    return ammpli_leave(m->ctx, ammpli_preprocess_test(&m->preprocess, img, chw));
}

ammpl_status ammpl_model_augment(const ammpl_model *m, const ammpl_image *img, uint64_t seed, uint32_t image_id, uint32_t step,
                                 float *chw, size_t cap)
{
    ENTER();
    NEED(NULL, m);
    NEED(m->ctx, img);
    NEED(m->ctx, chw);
    PASS(m->ctx, ammpli_model_check_image(m));
    PASS(m->ctx, ammpli_check_cap(__func__, cap, pixel_count(m), 1));
    return ammpli_leave(m->ctx, ammpli_preprocess_train(&m->preprocess, img, seed, image_id, step, chw));
}

ammpl_status ammpl_model_unprocess(const ammpl_model *m, const float *chw, size_t count, ammpl_image **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, m);
    NEED(m->ctx, chw);
    NEED(m->ctx, out);
    PASS(m->ctx, ammpli_model_check_image(m));
    CHECK(m->ctx, count == pixel_count(m), AMMPL_E_SHAPE, "%zu numbers are no picture of [3, %d, %d]: that has %zu", count,
          m->preprocess.size, m->preprocess.size, pixel_count(m));
    return ammpli_leave(m->ctx, ammpli_unprocess(m->ctx, &m->preprocess, chw, out));
}
