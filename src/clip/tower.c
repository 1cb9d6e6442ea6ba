/* tower.c - transformer blocks forward and backward (methods.md 1.2), and both towers around them (1.3, 1.5). */
#include "clip/tower.h"

size_t ammpli_pass_bytes(const ammpli_tower *t, int64_t len, bool keep)
{
    /* Kept: x, qkv, attn, pre per block.  Always: two block inputs, LN output, x_mid, qkv, MLP hidden and their gradients. */
    int64_t D = t->width, F = t->hidden;
    int64_t kept = keep ? t->layers * (5 * D + F) : 0;
    return (size_t)(len * (kept + 12 * D + 2 * F)) * sizeof(float);
}

/* Where block i's saved rows stand; of the last block's MLP only the read rows exist. */
typedef struct saved_block {
    float *x, *qkv, *attn, *pre; /* [T,D], [T,3D], [T,D], [T,F] or [B,F] */
} saved_block;

static saved_block saved_at(const ammpli_pass *pass, int64_t i)
{
    int64_t TD = pass->T * pass->tower->width, TF = pass->T * pass->tower->hidden;
    float *base = pass->saved + i * (5 * TD + TF);
    return (saved_block){base, base + TD, base + 4 * TD, base + 5 * TD};
}

/* Takes what outlives the forward pass. */
static ammpl_status take_kept(ammpli_engine *e, ammpli_pass *pass)
{
    const ammpli_tower *t = pass->tower;
    int64_t TD = pass->T * t->width, F = t->hidden;
    TRY(ammpli_take_floats(e, pass->B * t->width, &pass->last));
    if (pass->keep)
        TRY(ammpli_take_floats(e, t->layers * 5 * TD + ((t->layers - 1) * pass->T + pass->B) * F, &pass->saved));
    return AMMPL_OK;
}

/* attn [T,D] = attention of LN1(x); h [T,D] is scratch. */
static ammpl_status attention_forward(ammpli_engine *e, const ammpli_pass *pass, const ammpli_block *b, const float *x, float *h,
                                      float *qkv, float *attn)
{
    const ammpli_tower *t = pass->tower;
    RUN(layernorm_forward, h, x, b->ln1_gamma, b->ln1_beta, pass->T, t->width, t->eps);
    RUN(linear_forward, qkv, NULL, h, b->qkv, b->qkv_bias, NULL, AMMPL_ACT_NONE, pass->T);
    return e->ops->attention_forward(e->stream, attn, qkv, pass->start, pass->B, pass->max_len, pass->T, t->width, t->heads,
                                     t->causal);
}

/* x [n,D] += out(attn); x += MLP(LN2(x)).  h [n,D] and f [n,F] are scratch, pre [n,F] may be NULL. */
static ammpl_status mlp_forward(ammpli_engine *e, const ammpli_tower *t, const ammpli_block *b, float *x, const float *attn,
                                float *pre, float *h, float *f, int64_t n)
{
    RUN(linear_forward, x, NULL, attn, b->out, b->out_bias, x, AMMPL_ACT_NONE, n);
    RUN(layernorm_forward, h, x, b->ln2_gamma, b->ln2_beta, n, t->width, t->eps);
    RUN(linear_forward, f, pre, h, b->fc, b->fc_bias, NULL, t->act, n);
    return e->ops->linear_forward(e->stream, x, NULL, f, b->proj, b->proj_bias, x, AMMPL_ACT_NONE, n);
}

/* x [T,D] through all blocks (overwritten) to pass->last [B,D]: after the last attention only the rows that are read go on
 * (shortcut 3). */
static ammpl_status blocks_forward(ammpli_engine *e, const ammpli_pass *pass, float *x)
{
    const ammpli_tower *t = pass->tower;
    int64_t T = pass->T, B = pass->B, D = t->width, F = t->hidden;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *h, *f, *read;
    saved_block s = {0};
    TRY(ammpli_take_floats(e, T * D, &h));
    TRY(ammpli_take_floats(e, T * F, &f));
    TRY(ammpli_take_floats(e, B * D, &read));
    if (!pass->keep) {
        TRY(ammpli_take_floats(e, T * 3 * D, &s.qkv));
        TRY(ammpli_take_floats(e, T * D, &s.attn));
    }
    for (int64_t i = 0; i < t->layers; i++) {
        const ammpli_block *b = &t->block[i];
        if (pass->keep) {
            s = saved_at(pass, i);
            RUN(copy, s.x, x, (size_t)(T * D) * sizeof(float));
        }
        TRY(attention_forward(e, pass, b, x, h, s.qkv, s.attn));
        if (i + 1 < t->layers)
            TRY(mlp_forward(e, t, b, x, s.attn, s.pre, h, f, T));
    }
    RUN(rows_copy, pass->last, NULL, x, pass->read, B, D);
    RUN(rows_copy, read, NULL, s.attn, pass->read, B, D);
    TRY(mlp_forward(e, t, &t->block[t->layers - 1], pass->last, read, s.pre, h, f, B));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* Gradient dx [n,D] after an MLP half becomes the one before it (the residual stream), dattn [n,D] that of the attention's
 * output.  x [n,D] is the block's input; x_mid [n,D] and dpre [n,F] are scratch; dattn may not be dx. */
static ammpl_status mlp_backward(ammpli_engine *e, const ammpli_tower *t, const ammpli_block *b, float *dx, float *dattn,
                                 const float *x, const float *attn, const float *pre, float *x_mid, float *dpre, int64_t n)
{
    RUN(linear_forward, x_mid, NULL, attn, b->out, b->out_bias, x, AMMPL_ACT_NONE, n); /* recomputed */
    RUN(linear_backward, dpre, dx, b->proj, pre, t->act, n);
    RUN(linear_backward, dattn, dpre, b->fc, NULL, AMMPL_ACT_NONE, n);
    RUN(layernorm_backward, dx, dattn, x_mid, b->ln2_gamma, dx, n, t->width, t->eps);
    return e->ops->linear_backward(e->stream, dattn, dx, b->out, NULL, AMMPL_ACT_NONE, n);
}

/* dlast [B,D] (overwritten) to dx [T,D], the gradient of the first block's input. */
static ammpl_status blocks_backward(ammpli_engine *e, const ammpli_pass *pass, float *dlast, float *dx)
{
    const ammpli_tower *t = pass->tower;
    int64_t T = pass->T, B = pass->B, D = t->width, F = t->hidden;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *x_mid, *dh, *dpre, *dqkv;
    TRY(ammpli_take_floats(e, T * D, &x_mid));
    TRY(ammpli_take_floats(e, T * D, &dh));
    TRY(ammpli_take_floats(e, T * F, &dpre));
    TRY(ammpli_take_floats(e, T * 3 * D, &dqkv));
    for (int64_t i = t->layers - 1; i >= 0; i--) {
        const ammpli_block *b = &t->block[i];
        saved_block s = saved_at(pass, i);
        if (i + 1 < t->layers) {
            TRY(mlp_backward(e, t, b, dx, dh, s.x, s.attn, s.pre, x_mid, dpre, T));
        } else { /* the read rows alone, then spread among zeros */
            ammpli_mark last = ammpli_arena_mark(e);
            float *x, *attn, *dattn;
            TRY(ammpli_take_floats(e, B * D, &x));
            TRY(ammpli_take_floats(e, B * D, &attn));
            TRY(ammpli_take_floats(e, B * D, &dattn));
            RUN(rows_copy, x, NULL, s.x, pass->read, B, D);
            RUN(rows_copy, attn, NULL, s.attn, pass->read, B, D);
            TRY(mlp_backward(e, t, b, dlast, dattn, x, attn, s.pre, x_mid, dpre, B));
            RUN(zero, dx, (size_t)(T * D) * sizeof(float));
            RUN(rows_copy, dx, pass->read, dlast, NULL, B, D);
            RUN(zero, dh, (size_t)(T * D) * sizeof(float));
            RUN(rows_copy, dh, pass->read, dattn, NULL, B, D);
            ammpli_arena_release(e, last);
        }
        RUN(attention_backward, dqkv, dh, s.attn, s.qkv, pass->start, B, pass->max_len, T, D, t->heads, t->causal);
        RUN(linear_backward, dh, dqkv, b->qkv, NULL, AMMPL_ACT_NONE, T);
        RUN(layernorm_backward, dx, dh, s.x, b->ln1_gamma, dx, T, D, t->eps);
    }
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* feature [B,E] = ln_post(last) projection^T */
static ammpl_status finish_forward(ammpli_engine *e, const ammpli_pass *pass, float *feature)
{
    const ammpli_tower *t = pass->tower;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *h;
    TRY(ammpli_take_floats(e, pass->B * t->width, &h));
    RUN(layernorm_forward, h, pass->last, t->ln_post_gamma, t->ln_post_beta, pass->B, t->width, t->eps);
    RUN(linear_forward, feature, NULL, h, t->projection, NULL, NULL, AMMPL_ACT_NONE, pass->B);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* dfeature [B,E] through the projection, ln_post and all blocks to dx [T,D]. */
static ammpl_status tower_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dx)
{
    const ammpli_tower *t = pass->tower;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dlast;
    TRY(ammpli_take_floats(e, pass->B * t->width, &dlast));
    RUN(linear_backward, dlast, dfeature, t->projection, NULL, AMMPL_ACT_NONE, pass->B);
    RUN(layernorm_backward, dlast, dlast, pass->last, t->ln_post_gamma, NULL, pass->B, t->width, t->eps);
    TRY(blocks_backward(e, pass, dlast, dx));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_text_forward(ammpli_engine *e, ammpli_pass *pass, float *x, float *feature)
{
    pass->tower = &e->model->text;
    TRY(take_kept(e, pass));
    TRY(blocks_forward(e, pass, x));
    return finish_forward(e, pass, feature);
}

ammpl_status ammpli_text_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dx)
{
    return tower_backward(e, pass, dfeature, dx);
}

/* Where rows of [n,P] patches stand among the rows of [n,1+P] tokens, CLS first; and the sequences' bounds. */
static ammpl_status image_layout(ammpli_engine *e, ammpli_pass *pass, int64_t n, int32_t **patch_row, int32_t **position)
{
    int64_t P = e->model->grid * e->model->grid, L = P + 1;
    if (n * L > INT32_MAX)
        return ammpli_fail(AMMPL_E_MEMORY, "%lld images in one pass are more tokens than can be counted; use a smaller batch",
                           (long long)n);
    int32_t *host = ammpli_alloc(e->ctx, (size_t)(2 * n * P + 2 * n + 1), sizeof *host);
    if (!host)
        return AMMPL_E_MEMORY;
    int32_t *row = host, *pos = row + n * P, *start = pos + n * P, *read = start + n + 1;
    for (int64_t i = 0; i < n; i++) {
        start[i] = read[i] = (int32_t)(i * L);
        for (int64_t p = 0; p < P; p++) {
            row[i * P + p] = (int32_t)(i * L + 1 + p);
            pos[i * P + p] = (int32_t)p;
        }
    }
    start[n] = (int32_t)(n * L);
    int32_t *device = NULL;
    ammpl_status status = ammpli_take_ints(e, host, 2 * n * P + 2 * n + 1, &device);
    ammpli_free(e->ctx, host);
    TRY(status);
    *patch_row = device;
    *position = device + n * P;
    pass->start = device + 2 * n * P;
    pass->read = pass->start + n + 1;
    pass->B = n;
    pass->T = n * L;
    pass->max_len = L;
    return AMMPL_OK;
}

ammpl_status ammpli_image_forward(ammpli_engine *e, ammpli_pass *pass, const float *token, int64_t n, bool keep, float *feature)
{
    const ammpl_model *m = e->model;
    const ammpli_tower *t = &m->image;
    int64_t P = m->grid * m->grid, W = t->width;
    int32_t *patch_row, *position;
    *pass = (ammpli_pass){.tower = t, .keep = keep};
    TRY(image_layout(e, pass, n, &patch_row, &position));
    TRY(ammpli_take_floats(e, pass->T * W, &pass->embedded));
    TRY(take_kept(e, pass));
    ammpli_mark mark = ammpli_arena_mark(e);
    float *x;
    int32_t *zeros;
    TRY(ammpli_take_floats(e, pass->T * W, &x));
    TRY(ammpli_take(e, (size_t)n * sizeof *zeros, (void **)&zeros));
    /* [CLS | patches] + positions; CLS and its position are one constant row. */
    RUN(zero, zeros, (size_t)n * sizeof *zeros);
    RUN(rows_copy, pass->embedded, pass->read, m->class_row, zeros, n, W);
    RUN(rows_copy, pass->embedded, patch_row, token, NULL, n * P, W);
    RUN(rows_add, pass->embedded, patch_row, m->patch_position, position, n * P, W);
    RUN(layernorm_forward, x, pass->embedded, m->ln_pre_gamma, m->ln_pre_beta, pass->T, W, t->eps);
    TRY(blocks_forward(e, pass, x));
    TRY(finish_forward(e, pass, feature));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_image_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dtoken)
{
    const ammpl_model *m = e->model;
    int64_t P = m->grid * m->grid, W = m->image.width, n = pass->B;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dx;
    int32_t *patch_row, *position;
    ammpli_pass layout;
    TRY(image_layout(e, &layout, n, &patch_row, &position));
    TRY(ammpli_take_floats(e, pass->T * W, &dx));
    TRY(tower_backward(e, pass, dfeature, dx));
    RUN(layernorm_backward, dx, dx, pass->embedded, m->ln_pre_gamma, NULL, pass->T, W, pass->tower->eps);
    RUN(rows_copy, dtoken, NULL, dx, patch_row, n * P, W);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_patch_embed(ammpli_engine *e, const float *pixels, int64_t n, float *token)
{
    const ammpl_model *m = e->model;
    int64_t P = m->grid * m->grid;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *patches;
    TRY(ammpli_take_floats(e, n * P * 3 * m->patch * m->patch, &patches));
    RUN(patches_forward, patches, pixels, n, m->grid, m->patch);
    RUN(linear_forward, token, NULL, patches, m->patch_weight, NULL, NULL, AMMPL_ACT_NONE, n * P);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* CLIP reads the first EOT; one written in the text itself ends it. */
static int64_t read_length(const int32_t *ids, size_t len, int32_t eot)
{
    int64_t n = 0;
    while (n + 1 < (int64_t)len && ids[n] != eot)
        n++;
    return n + 1;
}

ammpl_status ammpli_text_features(ammpli_engine *e, int32_t *const *ids, const size_t *len, int64_t n, float *feature)
{
    const ammpl_model *m = e->model;
    int64_t T = 0, max_len = 0, l = m->text.width;
    int32_t eot = ammpli_tokenizer_eot(m->tokenizer);
    for (int64_t i = 0; i < n; i++) {
        int64_t rows = read_length(ids[i], len[i], eot);
        T += rows;
        max_len = rows > max_len ? rows : max_len;
    }
    int32_t *host = ammpli_alloc(e->ctx, (size_t)(2 * T + 2 * n + 1), sizeof *host);
    if (!host)
        return AMMPL_E_MEMORY;
    int32_t *id = host, *position = id + T, *start = position + T, *read = start + n + 1, row = 0;
    for (int64_t i = 0; i < n; i++) {
        start[i] = row;
        for (int64_t j = 0, rows = read_length(ids[i], len[i], eot); j < rows; j++, row++) {
            id[row] = ids[i][j];
            position[row] = (int32_t)j;
        }
        read[i] = row - 1;
    }
    start[n] = row;
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *device = NULL;
    ammpl_status status = ammpli_take_ints(e, host, 2 * T + 2 * n + 1, &device);
    ammpli_free(e->ctx, host);
    TRY(status);
    float *x;
    TRY(ammpli_take_floats(e, T * l, &x));
    RUN(embed, x, m->token_table, m->token_dtype, device, T, l);
    RUN(rows_add, x, NULL, m->text_position, device + T, T, l);
    ammpli_pass pass = {.B = n, .T = T, .max_len = max_len, .start = device + 2 * T, .read = device + 2 * T + n + 1};
    TRY(ammpli_text_forward(e, &pass, x, feature));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}
