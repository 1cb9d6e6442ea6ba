/* model.c - life of a frozen CLIP, and text as its token ids. */
#include "clip/clip.h"

#include <string.h>

ammpl_model *ammpli_model_hold(const ammpl_model *m)
{
    ammpl_model *held = (ammpl_model *)m; /* immutable but for its count */
    atomic_fetch_add(&held->ref.count, 1);
    return held;
}

static void release_block(ammpl_model *m, ammpli_block *b)
{
    float *const vectors[] = {b->ln1_gamma, b->ln1_beta, b->ln2_gamma, b->ln2_beta, b->qkv_bias, b->out_bias, b->fc_bias, b->proj_bias};
    ammpl_weight *const weights[] = {b->qkv, b->out, b->fc, b->proj};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        if (vectors[i])
            m->ops->release(m->stream, vectors[i]);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (weights[i])
            m->ops->weight_destroy(m->stream, weights[i]);
}

static void release_tower(ammpl_model *m, ammpli_tower *t)
{
    for (int64_t i = 0; t->block && i < t->layers; i++)
        release_block(m, &t->block[i]);
    ammpli_free(m->ctx, t->block);
    if (t->ln_post_gamma)
        m->ops->release(m->stream, t->ln_post_gamma);
    if (t->ln_post_beta)
        m->ops->release(m->stream, t->ln_post_beta);
    if (t->projection)
        m->ops->weight_destroy(m->stream, t->projection);
}

/* A model whose load failed half way comes here, too: everything may be NULL. */
void ammpli_model_release(ammpl_model *m)
{
    if (!m || atomic_fetch_sub(&m->ref.count, 1) > 1)
        return;
    void *const vectors[] = {m->token_table, m->text_position, m->class_embedding, m->class_row,
                             m->patch_position, m->ln_pre_gamma, m->ln_pre_beta};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        if (vectors[i])
            m->ops->release(m->stream, vectors[i]);
    if (m->patch_weight)
        m->ops->weight_destroy(m->stream, m->patch_weight);
    release_tower(m, &m->text);
    release_tower(m, &m->image);
    if (m->stream)
        m->device->backend->stream_destroy(m->stream);
    ammpl_context *ctx = m->ctx;
    ammpli_tokenizer_destroy(m->tokenizer);
    ammpli_free(ctx, m->source);
    ammpli_free(ctx, m);
    ammpli_context_release(ctx);
}

ammpl_status ammpli_model_check_image(const ammpl_model *m)
{
    if (!m->has_image)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded with towers = text; images need the image tower");
    return AMMPL_OK;
}

ammpl_status ammpli_model_tokens(const ammpl_model *m, const char *text, int32_t **ids, size_t *n)
{
    int32_t *inner;
    size_t count;
    *ids = NULL;
    *n = 0;
    if (!m->tokenizer)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded without its text tower (option towers)");
    TRY(ammpli_tokenize(m->tokenizer, text, &inner, &count));
    ammpl_status status = AMMPL_OK;
    int32_t *all = NULL;
    if (count + 2 > (size_t)m->context)
        status = ammpli_fail(AMMPL_E_RANGE, "\"%.200s\" has %zu tokens with start and end, more than the model's context of %lld", text,
                             count + 2, (long long)m->context);
    else if (!(all = ammpli_alloc(m->ctx, count + 2, sizeof *all)))
        status = AMMPL_E_MEMORY;
    if (status == AMMPL_OK) {
        all[0] = ammpli_tokenizer_sot(m->tokenizer);
        memcpy(all + 1, inner, count * sizeof *all);
        all[count + 1] = ammpli_tokenizer_eot(m->tokenizer);
        *ids = all;
        *n = count + 2;
    }
    ammpli_free(m->ctx, inner);
    return status;
}
