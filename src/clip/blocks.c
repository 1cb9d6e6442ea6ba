/* blocks.c - transformer blocks forward and backward (methods.md 1.2), with prompt tokens between them. */
#include "clip/tower.h"

size_t ammpli_pass_bytes(const ammpli_tower *t, int64_t len, bool keep)
{
    /* Kept: x, qkv, attn, pre per block.  Always: two block inputs, LN output, x_mid, qkv, MLP hidden and their gradients. */
    int64_t D = t->width, F = t->hidden;
    int64_t kept = keep ? t->layers * (5 * D + F) : 0;
    return (size_t)(len * (kept + 12 * D + 2 * F)) * sizeof(float);
}

/* The prompt that overwrites the slots before block i, or NULL. */
static const float *prompt_at(const ammpli_pass *pass, int64_t i)
{
    const ammpli_slots *slots = &pass->slots;
    return slots->n > 0 && slots->prompt && i >= slots->first ? slots->prompt[i] : NULL;
}

/* Rows that somebody reads behind block i (shortcut 3): of the tower's last block those that become features, elsewhere not
 * the slots that the next block overwrites or that end there. */
typedef struct rows_on {
    int64_t n;
    const int32_t *row; /* NULL: all */
} rows_on;

static rows_on rows_behind(const ammpli_pass *pass, int64_t i)
{
    const ammpli_slots *slots = &pass->slots;
    if (pass->every_row)
        return (rows_on){pass->T, NULL};
    if (i + 1 == pass->tower->layers)
        return (rows_on){ammpli_pass_reads(pass), pass->read};
    bool gone = i + 1 == pass->to ? slots->n > 0 && slots->drop : prompt_at(pass, i + 1) != NULL;
    return gone ? (rows_on){pass->T - slots->n, slots->other} : (rows_on){pass->T, NULL};
}

/* Where block i's saved rows stand. */
typedef struct saved_block {
    float *x, *qkv, *attn, *pre; /* [T,D], [T,3D], [T,D], [rows_on.n, F] */
} saved_block;

static int64_t saved_before(const ammpli_pass *pass, int64_t i)
{
    int64_t n = 0;
    for (int64_t k = pass->from; k < i; k++)
        n += 5 * pass->T * pass->tower->width + rows_behind(pass, k).n * pass->tower->hidden;
    return n;
}

static saved_block saved_at(const ammpli_pass *pass, int64_t i)
{
    int64_t TD = pass->T * pass->tower->width;
    float *base = pass->saved + saved_before(pass, i);
    return (saved_block){base, base + TD, base + 4 * TD, base + 5 * TD};
}

ammpl_status ammpli_pass_take(ammpli_engine *e, ammpli_pass *pass)
{
    pass->every_row = e->without & AMMPLI_WITHOUT_ROWS;
    if (pass->to == pass->tower->layers)
        TRY(ammpli_take_floats(e, ammpli_pass_reads(pass) * pass->tower->width, &pass->last));
    if (pass->keep)
        TRY(ammpli_take_floats(e, saved_before(pass, pass->to), &pass->saved));
    return AMMPL_OK;
}

/* The rows of block i whose keys and values stand before those of the sequences: of the pass that encodes them, or its own. */
static const float *prefix_at(const ammpli_pass *pass, int64_t i, const float *qkv)
{
    return pass->prefix.of ? saved_at(pass->prefix.of, i).qkv : qkv;
}

/* attn [T,D] = attention of LN1(x) in block i; h [T,D] is scratch. */
static ammpl_status attention_forward(ammpli_engine *e, const ammpli_pass *pass, int64_t i, const float *x, float *h, float *qkv,
                                      float *attn)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_block *b = &t->block[i];
    RUN(layernorm_forward, h, x, b->ln1_gamma, b->ln1_beta, pass->T, t->width, t->eps);
    RUN(linear_forward, qkv, NULL, h, b->qkv, b->qkv_bias, NULL, AMMPL_ACT_NONE, pass->T);
    return e->ops->attention_forward(e->stream, attn, qkv, pass->start, pass->B, pass->max_len, pass->T, t->width, t->heads,
                                     t->causal, prefix_at(pass, i, qkv), pass->prefix.group, pass->prefix.rows);
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

/* The MLP half of block i for the rows that go on. */
static ammpl_status mlp_forward_on(ammpli_engine *e, const ammpli_pass *pass, int64_t i, float *x, const saved_block *s, float *h,
                                   float *f)
{
    const ammpli_tower *t = pass->tower;
    int64_t D = t->width;
    rows_on on = rows_behind(pass, i);
    if (!on.row)
        return mlp_forward(e, t, &t->block[i], x, s->attn, s->pre, h, f, pass->T);
    bool end = i + 1 == t->layers;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *part = pass->last, *attn;
    if (!end)
        TRY(ammpli_take_floats(e, on.n * D, &part));
    TRY(ammpli_take_floats(e, on.n * D, &attn));
    RUN(rows_copy, part, NULL, x, on.row, on.n, D);
    RUN(rows_copy, attn, NULL, s->attn, on.row, on.n, D);
    TRY(mlp_forward(e, t, &t->block[i], part, attn, s->pre, h, f, on.n));
    if (!end)
        RUN(rows_copy, x, on.row, part, NULL, on.n, D);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_blocks_forward(ammpli_engine *e, const ammpli_pass *pass, float *x)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_slots *slots = &pass->slots;
    int64_t T = pass->T, D = t->width, F = t->hidden;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *h, *f;
    saved_block s = {0};
    TRY(ammpli_take_floats(e, T * D, &h));
    TRY(ammpli_take_floats(e, T * F, &f));
    if (!pass->keep) {
        TRY(ammpli_take_floats(e, T * 3 * D, &s.qkv));
        TRY(ammpli_take_floats(e, T * D, &s.attn));
    }
    for (int64_t i = pass->from; i < pass->to; i++) {
        if (prompt_at(pass, i))
            RUN(rows_copy, x, slots->row, prompt_at(pass, i), slots->token, slots->n, D);
        if (pass->keep) {
            s = saved_at(pass, i);
            RUN(copy, s.x, x, (size_t)(T * D) * sizeof(float));
        }
        TRY(attention_forward(e, pass, i, x, h, s.qkv, s.attn));
        TRY(mlp_forward_on(e, pass, i, x, &s, h, f));
    }
    if (pass->every_row && pass->to == t->layers)
        RUN(rows_copy, pass->last, NULL, x, pass->read, ammpli_pass_reads(pass), D);
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

/* The same for the rows that go on, spread among zeros; dlast [B,D] where block i is the tower's last. */
static ammpl_status mlp_backward_on(ammpli_engine *e, const ammpli_pass *pass, int64_t i, float *dlast, float *dx, float *dattn,
                                    const saved_block *s, float *x_mid, float *dpre)
{
    const ammpli_tower *t = pass->tower;
    int64_t T = pass->T, D = t->width;
    rows_on on = rows_behind(pass, i);
    if (!on.row)
        return mlp_backward(e, t, &t->block[i], dx, dattn, s->x, s->attn, s->pre, x_mid, dpre, T);
    ammpli_mark mark = ammpli_arena_mark(e);
    float *x, *attn, *part_attn, *part = dlast;
    TRY(ammpli_take_floats(e, on.n * D, &x));
    TRY(ammpli_take_floats(e, on.n * D, &attn));
    TRY(ammpli_take_floats(e, on.n * D, &part_attn));
    if (i + 1 < t->layers) {
        TRY(ammpli_take_floats(e, on.n * D, &part));
        RUN(rows_copy, part, NULL, dx, on.row, on.n, D);
    }
    RUN(rows_copy, x, NULL, s->x, on.row, on.n, D);
    RUN(rows_copy, attn, NULL, s->attn, on.row, on.n, D);
    TRY(mlp_backward(e, t, &t->block[i], part, part_attn, x, attn, s->pre, x_mid, dpre, on.n));
    RUN(zero, dx, (size_t)(T * D) * sizeof(float));
    RUN(rows_copy, dx, on.row, part, NULL, on.n, D);
    RUN(zero, dattn, (size_t)(T * D) * sizeof(float));
    RUN(rows_copy, dattn, on.row, part_attn, NULL, on.n, D);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* dqkv [T,3D] from dattn [T,D].  What reaches prefixes is gathered first, then added to their rows, which stand in front:
 * in this order whether one pass or several read them. */
static ammpl_status attention_backward(ammpli_engine *e, const ammpli_pass *pass, int64_t i, float *dqkv, const float *dattn,
                                       const saved_block *s)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_prefix *prefix = &pass->prefix;
    int64_t D = t->width, gathered = prefix->count * prefix->rows * 3 * D;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dprefix = NULL;
    if (prefix->gradient)
        dprefix = prefix->gradient + (i - pass->from) * gathered;
    else if (prefix->rows > 0)
        TRY(ammpli_take_zeros(e, gathered, &dprefix));
    RUN(attention_backward, dqkv, dattn, s->attn, s->qkv, pass->start, pass->B, pass->max_len, pass->T, D, t->heads, t->causal, dprefix,
        prefix_at(pass, i, s->qkv), prefix->group, prefix->rows);
    if (prefix->rows > 0 && !prefix->of)
        RUN(add, dqkv, dprefix, 1, gathered);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* dx [T,D], the gradient behind the attention's half of block i, becomes the one before it, by dqkv [T,3D]; dh [T,D] is
 * scratch. */
static ammpl_status input_backward(ammpli_engine *e, const ammpli_pass *pass, int64_t i, float *dx, const float *dqkv, const float *x,
                                   float *dh)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_block *b = &t->block[i];
    int64_t D = t->width, n = pass->wanted;
    if (i > pass->from || !pass->wanted_row || e->without & AMMPLI_WITHOUT_WANTED) {
        RUN(linear_backward, dh, dqkv, b->qkv, NULL, AMMPL_ACT_NONE, pass->T);
        return e->ops->layernorm_backward(e->stream, dx, dh, x, b->ln1_gamma, dx, pass->T, D, t->eps);
    }
    ammpli_mark mark = ammpli_arena_mark(e);
    float *part, *part_x, *part_qkv;
    TRY(ammpli_take_floats(e, n * D, &part));
    TRY(ammpli_take_floats(e, n * D, &part_x));
    TRY(ammpli_take_floats(e, n * 3 * D, &part_qkv));
    RUN(rows_copy, part, NULL, dx, pass->wanted_row, n, D);
    RUN(rows_copy, part_x, NULL, x, pass->wanted_row, n, D);
    RUN(rows_copy, part_qkv, NULL, dqkv, pass->wanted_row, n, 3 * D);
    RUN(linear_backward, dh, part_qkv, b->qkv, NULL, AMMPL_ACT_NONE, n);
    RUN(layernorm_backward, part, dh, part_x, b->ln1_gamma, part, n, D, t->eps);
    RUN(rows_copy, dx, pass->wanted_row, part, NULL, n, D);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* Without shortcut 3 zeros stand for the gradients of rows that nobody reads: behind the pass, or behind what a prompt overwrote
 * before block i. */
static ammpl_status clear_unread(ammpli_engine *e, const ammpli_pass *pass, int64_t i, const float *dlast, float *dx)
{
    const ammpli_slots *slots = &pass->slots;
    int64_t D = pass->tower->width;
    if (i == pass->tower->layers) {
        RUN(zero, dx, (size_t)(pass->T * D) * sizeof(float));
        return e->ops->rows_copy(e->stream, dx, pass->read, dlast, NULL, ammpli_pass_reads(pass), D);
    }
    if (i == pass->to ? slots->n == 0 || !slots->drop : !prompt_at(pass, i))
        return AMMPL_OK;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *zeros;
    TRY(ammpli_take_zeros(e, slots->n * D, &zeros));
    RUN(rows_copy, dx, slots->row, zeros, NULL, slots->n, D);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_blocks_backward(ammpli_engine *e, const ammpli_pass *pass, float *dlast, float *dx, float *const *dprompt)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_slots *slots = &pass->slots;
    int64_t T = pass->T, D = t->width, F = t->hidden;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *x_mid, *dh, *dpre, *dqkv;
    TRY(ammpli_take_floats(e, T * D, &x_mid));
    TRY(ammpli_take_floats(e, T * D, &dh));
    TRY(ammpli_take_floats(e, T * F, &dpre));
    TRY(ammpli_take_floats(e, T * 3 * D, &dqkv));
    for (int64_t i = pass->to - 1; i >= pass->from; i--) {
        saved_block s = saved_at(pass, i);
        if (pass->every_row)
            TRY(clear_unread(e, pass, i + 1, dlast, dx));
        TRY(mlp_backward_on(e, pass, i, dlast, dx, dh, &s, x_mid, dpre));
        TRY(attention_backward(e, pass, i, dqkv, dh, &s));
        TRY(input_backward(e, pass, i, dx, dqkv, s.x, dh));
        /* What a prompt overwrote has no gradient: rows_behind(i - 1) leaves these rows out. */
        if (prompt_at(pass, i) && dprompt && dprompt[i])
            RUN(rows_add, dprompt[i], slots->token, dx, slots->row, slots->n, D);
    }
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_feature_forward(ammpli_engine *e, const ammpli_pass *pass, float *feature)
{
    const ammpli_tower *t = pass->tower;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *h;
    int64_t n = ammpli_pass_reads(pass);
    TRY(ammpli_take_floats(e, n * t->width, &h));
    RUN(layernorm_forward, h, pass->last, t->ln_post_gamma, t->ln_post_beta, n, t->width, t->eps);
    RUN(linear_forward, feature, NULL, h, t->projection, NULL, NULL, AMMPL_ACT_NONE, n);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_feature_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dlast)
{
    const ammpli_tower *t = pass->tower;
    int64_t n = ammpli_pass_reads(pass);
    RUN(linear_backward, dlast, dfeature, t->projection, NULL, AMMPL_ACT_NONE, n);
    return e->ops->layernorm_backward(e->stream, dlast, dlast, pass->last, t->ln_post_gamma, NULL, n, t->width, t->eps);
}
