/* model_load.c - tensors, one by one, into the device's form: at no time is more than one of them resident as read. */
#include "io/model_parts.h"

#include <string.h>

/* ---- reading ---- */

static size_t dtype_size(int32_t dtype)
{
    return dtype == AMMPL_DTYPE_F32 ? 4 : 2;
}

/* Raw weights must be finite, too: all exponent bits set is NaN or infinity in each of the formats. */
static ammpl_status check_finite(const ammpli_part *p, const void *data)
{
    bool narrow = p->t->dtype != AMMPL_DTYPE_F32;
    uint32_t mask = p->t->dtype == AMMPL_DTYPE_F32 ? 0x7f800000u : p->t->dtype == AMMPL_DTYPE_F16 ? 0x7c00u : 0x7f80u;
    for (int64_t i = 0; i < p->t->count; i++) {
        uint32_t bits = narrow ? ((const uint16_t *)data)[i] : ((const uint32_t *)data)[i];
        if ((bits & mask) == mask)
            return ammpli_fail(AMMPL_E_NUMERIC, "%s: tensor %s: its element %lld is NaN or infinite", ammpli_st_name(p->st),
                               p->t->name, (long long)i);
    }
    return AMMPL_OK;
}

static ammpl_status read_raw(const ammpli_part *p, void *dst)
{
    TRY(ammpli_st_read(p->st, p->t, dst));
    return check_finite(p, dst);
}

/* n parts of equal shape, one after the other: q, k, v become the rows that OpenAI stores as one. */
static ammpl_status read_f32(const ammpli_part *p, int n, float *dst)
{
    for (int i = 0; i < n; i++)
        TRY(ammpli_st_read_f32(p[i].st, p[i].t, dst + i * p->t->count));
    return AMMPL_OK;
}

/* ---- to the device ---- */

static ammpl_status upload(ammpl_model *m, const void *host, size_t bytes, void **out)
{
    TRY(m->ops->alloc(m->stream, bytes, out));
    TRY(m->ops->upload(m->stream, *out, host, bytes));
    return m->ops->sync(m->stream); /* the host's copy goes away */
}

static ammpl_status load_vectors(ammpl_model *m, const ammpli_part *p, int n, float **out)
{
    size_t count = (size_t)p->t->count * (size_t)n;
    float *host = ammpli_alloc(m->ctx, count, sizeof *host);
    if (!host)
        return AMMPL_E_MEMORY;
    ammpl_status status = read_f32(p, n, host);
    if (status == AMMPL_OK)
        status = upload(m, host, count * sizeof *host, (void **)out);
    ammpli_free(m->ctx, host);
    return status;
}

static ammpl_status load_vector(ammpl_model *m, const ammpli_part *p, float **out)
{
    return load_vectors(m, p, 1, out);
}

/* n parts of [N/n, K] each (or one of [K, N] when transposed) as one packed [N, K]. */
static ammpl_status load_weight(ammpl_model *m, const ammpli_part *p, int n, bool transposed, int64_t N, int64_t K,
                                ammpl_weight **out)
{
    int32_t dtype = p->t->dtype;
    for (int i = 1; i < n; i++)
        if (p[i].t->dtype != dtype)
            dtype = AMMPL_DTYPE_F32; /* of mixed types: the one that holds all */
    char *host = ammpli_alloc(m->ctx, (size_t)(N * K), dtype_size(dtype));
    if (!host)
        return AMMPL_E_MEMORY;
    ammpl_status status = AMMPL_OK;
    if (p->t->dtype == dtype)
        for (int i = 0; i < n && status == AMMPL_OK; i++)
            status = read_raw(&p[i], host + (size_t)i * p->t->bytes);
    else
        status = read_f32(p, n, (float *)(void *)host);
    if (status == AMMPL_OK)
        status = m->ops->weight_create(m->stream, host, dtype, transposed, N, K, out);
    if (status == AMMPL_OK)
        status = m->ops->sync(m->stream);
    ammpli_free(m->ctx, host);
    return status;
}

/* ---- towers ---- */

static ammpl_status load_block(ammpl_model *m, const ammpli_tower *t, const ammpli_part *p, ammpli_block *b)
{
    int64_t D = t->width, F = t->hidden;
    TRY(load_vector(m, &p[AMMPLI_LN1_W], &b->ln1_gamma));
    TRY(load_vector(m, &p[AMMPLI_LN1_B], &b->ln1_beta));
    if (p[AMMPLI_QKV_W].t) {
        TRY(load_weight(m, &p[AMMPLI_QKV_W], 1, false, 3 * D, D, &b->qkv));
        TRY(load_vector(m, &p[AMMPLI_QKV_B], &b->qkv_bias));
    } else {
        const ammpli_part weight[3] = {p[AMMPLI_Q_W], p[AMMPLI_K_W], p[AMMPLI_V_W]};
        const ammpli_part bias[3] = {p[AMMPLI_Q_B], p[AMMPLI_K_B], p[AMMPLI_V_B]};
        TRY(load_weight(m, weight, 3, false, 3 * D, D, &b->qkv));
        TRY(load_vectors(m, bias, 3, &b->qkv_bias));
    }
    TRY(load_weight(m, &p[AMMPLI_OUT_W], 1, false, D, D, &b->out));
    TRY(load_vector(m, &p[AMMPLI_OUT_B], &b->out_bias));
    TRY(load_vector(m, &p[AMMPLI_LN2_W], &b->ln2_gamma));
    TRY(load_vector(m, &p[AMMPLI_LN2_B], &b->ln2_beta));
    TRY(load_weight(m, &p[AMMPLI_FC_W], 1, false, F, D, &b->fc));
    TRY(load_vector(m, &p[AMMPLI_FC_B], &b->fc_bias));
    TRY(load_weight(m, &p[AMMPLI_PROJ_W], 1, false, D, F, &b->proj));
    return load_vector(m, &p[AMMPLI_PROJ_B], &b->proj_bias);
}

static ammpl_status load_tower(ammpl_model *m, const ammpli_tower_parts *p, ammpli_tower *t)
{
    if (!(t->block = ammpli_alloc(m->ctx, (size_t)t->layers, sizeof *t->block)))
        return AMMPL_E_MEMORY;
    for (int64_t i = 0; i < t->layers; i++)
        TRY(load_block(m, t, p->block[i], &t->block[i]));
    TRY(load_vector(m, &p->part[AMMPLI_POST_W], &t->ln_post_gamma));
    TRY(load_vector(m, &p->part[AMMPLI_POST_B], &t->ln_post_beta));
    if (p->part[AMMPLI_PROJECTION].t)
        return load_weight(m, &p->part[AMMPLI_PROJECTION], 1, true, m->embed, t->width, &t->projection);
    return load_weight(m, &p->part[AMMPLI_PROJECTION_LINEAR], 1, false, m->embed, t->width, &t->projection);
}

static ammpl_status load_text(ammpl_model *m, const ammpli_tower_parts *p)
{
    const ammpli_part *tokens = &p->part[AMMPLI_TOKENS];
    void *host = ammpli_alloc(m->ctx, 1, (size_t)tokens->t->bytes);
    if (!host)
        return AMMPL_E_MEMORY;
    ammpl_status status = read_raw(tokens, host);
    if (status == AMMPL_OK)
        status = upload(m, host, (size_t)tokens->t->bytes, &m->token_table);
    ammpli_free(m->ctx, host);
    TRY(status);
    TRY(load_vector(m, &p->part[AMMPLI_POSITION], &m->text_position));
    return load_tower(m, p, &m->text);
}

/* What the class row starts from and what is added to patches: positions 0 and 1..P. */
static ammpl_status load_positions(ammpl_model *m, const ammpli_tower_parts *p)
{
    size_t D = (size_t)m->image.width, P = (size_t)(m->grid * m->grid);
    float *position = ammpli_alloc(m->ctx, (P + 2) * D, sizeof *position);
    if (!position)
        return AMMPL_E_MEMORY;
    float *row = position + (P + 1) * D;
    ammpl_status status = read_f32(&p->part[AMMPLI_POSITION], 1, position);
    if (status == AMMPL_OK)
        status = read_f32(&p->part[AMMPLI_CLASS], 1, row);
    if (status == AMMPL_OK)
        status = upload(m, row, D * sizeof *row, (void **)&m->class_embedding);
    for (size_t i = 0; i < D; i++)
        row[i] += position[i];
    if (status == AMMPL_OK)
        status = upload(m, row, D * sizeof *row, (void **)&m->class_row);
    if (status == AMMPL_OK)
        status = upload(m, position + D, P * D * sizeof *position, (void **)&m->patch_position);
    ammpli_free(m->ctx, position);
    return status;
}

static ammpl_status load_image(ammpl_model *m, const ammpli_tower_parts *p)
{
    TRY(load_weight(m, &p->part[AMMPLI_PATCH], 1, false, m->image.width, 3 * m->patch * m->patch, &m->patch_weight));
    TRY(load_positions(m, p));
    TRY(load_vector(m, &p->part[AMMPLI_PRE_W], &m->ln_pre_gamma));
    TRY(load_vector(m, &p->part[AMMPLI_PRE_B], &m->ln_pre_beta));
    return load_tower(m, p, &m->image);
}

ammpl_status ammpli_model_pack(const ammpli_parts *parts, ammpl_model *m)
{
    if (m->has_text)
        TRY(load_text(m, &parts->tower[AMMPLI_TEXT]));
    return m->has_image ? load_image(m, &parts->tower[AMMPLI_IMAGE]) : AMMPL_OK;
}
