/* blocks.c - transformer blocks forward and backward (methods.md 1.2), with prompt tokens between them. */
#include "clip/one_query.h"

size_t ammpli_pass_bytes(const ammpli_tower *t, int64_t len, bool keep)
{
    /* Kept: x, qkv, attn, mid, pre per block.  Always: a block's input, LN output, qkv, attn, MLP hidden and their gradients. */
    int64_t D = t->width, F = t->hidden;
    int64_t kept = keep ? t->layers * (6 * D + F) : 0;
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
    const int32_t *row; /* NULL: all from `first` on */
    int64_t first;
} rows_on;

static rows_on rows_behind(const ammpli_pass *pass, int64_t i)
{
    const ammpli_slots *slots = &pass->slots;
    if (pass->every_row)
        return (rows_on){pass->T, NULL, 0};
    if (slots->front)
        return (rows_on){pass->T - slots->n, NULL, slots->n};
    if (i + 1 == pass->tower->layers)
        return (rows_on){ammpli_pass_reads(pass), pass->read, 0};
    bool gone = i + 1 == pass->to ? slots->n > 0 && slots->drop : prompt_at(pass, i + 1) != NULL;
    return gone ? (rows_on){pass->T - slots->n, slots->other, 0} : (rows_on){pass->T, NULL, 0};
}

/* What block i keeps for backward. */
typedef struct saved_block {
    float *x;                 /* [T,D] its input */
    float *qkv, *attn;        /* [T,3D], [T,D] */
    float *h, *query, *share; /* in their place where one query a sequence asks: [T,D], [B*H,D], [B*H,L] */
    float *mid, *pre;         /* [rows_on.n,D] what the MLP's half adds to, [rows_on.n,F] before its activation */
} saved_block;

static int64_t attention_floats(const ammpli_pass *pass, int64_t i)
{
    int64_t D = pass->tower->width, queries = pass->B * pass->tower->heads;
    return ammpli_one_query(pass, i) ? pass->T * D + queries * (D + pass->max_len) : pass->T * 4 * D;
}

static int64_t saved_before(const ammpli_pass *pass, int64_t i)
{
    int64_t n = 0, D = pass->tower->width;
    for (int64_t k = pass->from; k < i; k++)
        n += pass->T * D + attention_floats(pass, k) + rows_behind(pass, k).n * (D + pass->tower->hidden);
    return n;
}

static saved_block saved_at(const ammpli_pass *pass, int64_t i)
{
    int64_t D = pass->tower->width, TD = pass->T * D;
    float *x = pass->saved + saved_before(pass, i), *attention = x + TD, *mid = attention + attention_floats(pass, i);
    saved_block s = {.x = x, .mid = mid, .pre = mid + rows_behind(pass, i).n * D};
    if (ammpli_one_query(pass, i)) {
        s.h = attention;
        s.query = s.h + TD;
        s.share = s.query + pass->B * pass->tower->heads * D;
    } else {
        s.qkv = attention;
        s.attn = s.qkv + 3 * TD;
    }
    return s;
}

ammpl_status ammpli_pass_take(ammpli_engine *e, ammpli_pass *pass)
{
    pass->every_row = e->without & AMMPLI_WITHOUT_ROWS;
    TRY(ammpli_one_query_take(e, pass));
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

/* s->attn [T,D] of s->qkv, in the rows of the sequences: slots that stand before them all are what they begin with. */
static ammpl_status attend(ammpli_engine *e, const ammpli_pass *pass, int64_t i, const saved_block *s)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_slots *slots = &pass->slots;
    int64_t D = t->width, n = slots->n;
    if (slots->front)
        return e->ops->attention_forward(e->stream, s->attn + n * D, s->qkv + n * 3 * D, pass->start, pass->B, pass->max_len, pass->T - n, D,
                                         t->heads, t->causal, s->qkv, slots->front, n / pass->B);
    return e->ops->attention_forward(e->stream, s->attn, s->qkv, pass->start, pass->B, pass->max_len, pass->T, D, t->heads, t->causal,
                                     prefix_at(pass, i, s->qkv), pass->prefix.group, pass->prefix.rows);
}

/* *attn [rows_on.n,D] = attention of LN1(x) in block i, of the rows that go on; h [T,D] is scratch, what is not in s is taken. */
static ammpl_status attention_forward(ammpli_engine *e, const ammpli_pass *pass, int64_t i, const float *x, const saved_block *s, float *h,
                                      float **attn)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_block *b = &t->block[i];
    int64_t D = t->width, queries = pass->B * t->heads;
    rows_on on = rows_behind(pass, i);
    float *behind = s->h ? s->h : h, *query = s->query, *share = s->share;
    RUN(layernorm_forward, behind, x, b->ln1_gamma, b->ln1_beta, pass->T, D, t->eps);
    if (on.row)
        TRY(ammpli_take_floats(e, on.n * D, attn));
    if (ammpli_one_query(pass, i)) {
        if (!query)
            TRY(ammpli_take_floats(e, queries * D, &query));
        if (!share)
            TRY(ammpli_take_floats(e, queries * pass->max_len, &share));
        return ammpli_one_query_forward(e, pass, behind, query, share, *attn);
    }
    RUN(linear_forward, s->qkv, NULL, h, b->qkv, b->qkv_bias, NULL, AMMPL_ACT_NONE, pass->T);
    TRY(attend(e, pass, i, s));
    if (on.row)
        RUN(rows_copy, *attn, NULL, s->attn, on.row, on.n, D);
    else
        *attn = s->attn + on.first * D;
    return AMMPL_OK;
}

/* mid [n,D] = x + out(attn), y [n,D] = mid + MLP(LN2(mid)); x, mid and y may be one.  h [n,D] and f [n,F] are scratch, pre [n,F] may
 * be NULL. */
static ammpl_status mlp_forward(ammpli_engine *e, const ammpli_tower *t, const ammpli_block *b, float *y, float *mid, const float *x,
                                const float *attn, float *pre, float *h, float *f, int64_t n)
{
    RUN(linear_forward, mid, NULL, attn, b->out, b->out_bias, x, AMMPL_ACT_NONE, n);
    RUN(layernorm_forward, h, mid, b->ln2_gamma, b->ln2_beta, n, t->width, t->eps);
    RUN(linear_forward, f, pre, h, b->fc, b->fc_bias, NULL, t->act, n);
    return e->ops->linear_forward(e->stream, y, NULL, f, b->proj, b->proj_bias, mid, AMMPL_ACT_NONE, n);
}

/* y [T,D] = block i of x [T,D], which may be one, in the rows that go on; pass->last of the tower's last block. */
static ammpl_status block_forward(ammpli_engine *e, const ammpli_pass *pass, int64_t i, float *y, const float *x, const saved_block *s,
                                  float *h, float *f)
{
    const ammpli_tower *t = pass->tower;
    int64_t D = t->width;
    rows_on on = rows_behind(pass, i);
    ammpli_mark mark = ammpli_arena_mark(e);
    float *attn, *part = pass->last;
    TRY(attention_forward(e, pass, i, x, s, h, &attn));
    if (!on.row) {
        float *to = y + on.first * D;
        TRY(mlp_forward(e, t, &t->block[i], to, s->mid ? s->mid : to, x + on.first * D, attn, s->pre, h, f, on.n));
    } else {
        bool end = i + 1 == t->layers;
        if (!end)
            TRY(ammpli_take_floats(e, on.n * D, &part));
        RUN(rows_copy, part, NULL, x, on.row, on.n, D);
        TRY(mlp_forward(e, t, &t->block[i], part, s->mid ? s->mid : part, part, attn, s->pre, h, f, on.n));
        if (!end)
            RUN(rows_copy, y, on.row, part, NULL, on.n, D);
    }
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_blocks_forward(ammpli_engine *e, const ammpli_pass *pass, float *x)
{
    const ammpli_tower *t = pass->tower;
    const ammpli_slots *slots = &pass->slots;
    int64_t T = pass->T, D = t->width;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *h, *f, *in = x;
    saved_block s = {0};
    TRY(ammpli_take_floats(e, T * D, &h));
    TRY(ammpli_take_floats(e, T * t->hidden, &f));
    if (!pass->keep) {
        TRY(ammpli_take_floats(e, T * 3 * D, &s.qkv));
        TRY(ammpli_take_floats(e, T * D, &s.attn));
    } else if (pass->from < pass->to) {
        in = saved_at(pass, pass->from).x;
        RUN(copy, in, x, (size_t)(T * D) * sizeof(float));
    }
    for (int64_t i = pass->from; i < pass->to; i++) {
        float *out = pass->keep && i + 1 < pass->to ? saved_at(pass, i + 1).x : x;
        if (pass->keep)
            s = saved_at(pass, i);
        if (prompt_at(pass, i))
            RUN(rows_copy, in, slots->row, prompt_at(pass, i), slots->token, slots->n, D);
        TRY(block_forward(e, pass, i, out, in, &s, h, f));
        in = out;
    }
    if (pass->every_row && pass->to == t->layers)
        RUN(rows_copy, pass->last, NULL, x, pass->read, ammpli_pass_reads(pass), D);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* dst [T,D] = part [on.n,D] in the rows that go on, zeros in the others: `zeros` in those of slots; NULL: those are not all the others. */
static ammpl_status spread_rows(ammpli_engine *e, const ammpli_pass *pass, rows_on on, float *dst, const float *part, const float *zeros)
{
    const ammpli_slots *slots = &pass->slots;
    int64_t D = pass->tower->width;
    if (zeros)
        RUN(rows_copy, dst, slots->row, zeros, NULL, slots->n, D);
    else
        RUN(zero, dst, (size_t)(pass->T * D) * sizeof(float));
    return e->ops->rows_copy(e->stream, dst, on.row, part, NULL, on.n, D);
}

/* Gradient dx [n,D] after an MLP half becomes the one before it (the residual stream), dattn [n,D] that of the attention's
 * output.  mid [n,D] and pre [n,F] are what the block kept; dpre [n,F] is scratch; dattn may not be dx. */
static ammpl_status mlp_backward(ammpli_engine *e, const ammpli_tower *t, const ammpli_block *b, float *dx, float *dattn,
                                 const float *mid, const float *pre, float *dpre, int64_t n)
{
    RUN(linear_backward, dpre, dx, b->proj, pre, t->act, n);
    RUN(linear_backward, dattn, dpre, b->fc, NULL, AMMPL_ACT_NONE, n);
    RUN(layernorm_backward, dx, dattn, mid, b->ln2_gamma, dx, n, t->width, t->eps);
    return e->ops->linear_backward(e->stream, dattn, dx, b->out, NULL, AMMPL_ACT_NONE, n);
}

/* The same for the rows that go on, dx spread among zeros, and dattn, too, where all rows of block i ask; dlast [B,D] where it is the
 * tower's last. */
static ammpl_status mlp_backward_on(ammpli_engine *e, const ammpli_pass *pass, int64_t i, float *dlast, float *dx, float *dattn,
                                    const saved_block *s, float *dpre)
{
    const ammpli_tower *t = pass->tower;
    int64_t D = t->width;
    rows_on on = rows_behind(pass, i);
    if (!on.row) {
        if (on.first > 0)
            RUN(zero, dx, (size_t)(on.first * D) * sizeof(float));
        return mlp_backward(e, t, &t->block[i], dx + on.first * D, dattn + on.first * D, s->mid, s->pre, dpre, on.n);
    }
    bool spread = !ammpli_one_query(pass, i);
    ammpli_mark mark = ammpli_arena_mark(e);
    float *part_attn = dattn, *part = dlast, *zeros = NULL;
    if (spread)
        TRY(ammpli_take_floats(e, on.n * D, &part_attn));
    if (i + 1 < t->layers) {
        TRY(ammpli_take_floats(e, on.n * D, &part));
        TRY(ammpli_take_zeros(e, pass->slots.n * D, &zeros));
        RUN(rows_copy, part, NULL, dx, on.row, on.n, D);
    }
    TRY(mlp_backward(e, t, &t->block[i], part, part_attn, s->mid, s->pre, dpre, on.n));
    TRY(spread_rows(e, pass, on, dx, part, zeros));
    if (spread)
        TRY(spread_rows(e, pass, on, dattn, part_attn, zeros));
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
    if (pass->slots.front) { /* no other pass reads them: gathered where they stand */
        int64_t n = pass->slots.n;
        RUN(zero, dqkv, (size_t)(n * 3 * D) * sizeof(float));
        return e->ops->attention_backward(e->stream, dqkv + n * 3 * D, dattn + n * D, s->attn + n * D, s->qkv + n * 3 * D, pass->start, pass->B,
                                          pass->max_len, pass->T - n, D, t->heads, t->causal, dqkv, s->qkv, pass->slots.front, n / pass->B);
    }
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
    float *dh, *dpre, *dqkv;
    TRY(ammpli_take_floats(e, T * D, &dh));
    TRY(ammpli_take_floats(e, T * F, &dpre));
    TRY(ammpli_take_floats(e, T * 3 * D, &dqkv));
    for (int64_t i = pass->to - 1; i >= pass->from; i--) {
        saved_block s = saved_at(pass, i);
        if (pass->every_row)
            TRY(clear_unread(e, pass, i + 1, dlast, dx));
        TRY(mlp_backward_on(e, pass, i, dlast, dx, dh, &s, dpre));
        if (ammpli_one_query(pass, i)) {
            float *behind = dqkv; /* [T,D], of the rows behind LN1 */
            TRY(ammpli_one_query_backward(e, pass, behind, dh, s.h, s.query, s.share));
            RUN(layernorm_backward, dx, behind, s.x, t->block[i].ln1_gamma, dx, T, D, t->eps);
        } else {
            TRY(attention_backward(e, pass, i, dqkv, dh, &s));
            TRY(input_backward(e, pass, i, dx, dqkv, s.x, dh));
        }
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
