/* dpt_cavpt.c - class-aware visual prompts of one block, forward and backward (methods.md 5.10, step 5).
 *
 * Gradients of weights are summed image by image, so that they do not depend on how many images go at once.
 */
#include "method/dpt.h"

#include <math.h>
#include <stdio.h>

static const float EPS = 1e-5f; /* of the learned LayerNorms */

static const float *value(const ammpl_prompt *p, float *const *grad, const char *stem, int64_t layer, const char *part, float **d)
{
    char name[48];
    snprintf(name, sizeof name, "cavpt.%s.%lld%s", stem, (long long)layer, part);
    *d = grad ? ammpli_grad_of(p, grad, name) : NULL;
    return ammpli_value(p, name);
}

dpt_cavpt ammpli_dpt_cavpt_of(const ammpl_prompt *p, float *const *grad, int64_t j, int64_t B)
{
    dpt_cavpt c = {.layer = j, .B = B};
    int64_t each = DPT_EXTRA * p->model->image.width;
    c.ctx = ammpli_value(p, "cavpt.ctx") + j * each;
    c.dctx = grad ? ammpli_grad_of(p, grad, "cavpt.ctx") + j * each : NULL;
    c.meta = value(p, grad, "meta_nets", j, ".weight", &c.dmeta);
    c.meta_bias = value(p, grad, "meta_nets", j, ".bias", &c.dmeta_bias);
    c.q = value(p, grad, "attns", j, ".qmlp.weight", &c.dq);
    c.k = value(p, grad, "attns", j, ".kmlp.weight", &c.dk);
    c.v = value(p, grad, "attns", j, ".vmlp.weight", &c.dv);
    c.ln = value(p, grad, "lns", j, ".weight", &c.dln);
    c.ln_bias = value(p, grad, "lns", j, ".bias", &c.dln_bias);
    c.ln2 = value(p, grad, "lns2", j, ".weight", &c.dln2);
    c.ln2_bias = value(p, grad, "lns2", j, ".bias", &c.dln2_bias);
    c.classifier = value(p, grad, "classifiers", j, ".weight", &c.dclassifier);
    return c;
}

static ammpl_status take_zero_index(ammpli_engine *e, int64_t n, int32_t **out)
{
    TRY(ammpli_take(e, (size_t)n * sizeof **out, (void **)out));
    return e->ops->zero(e->stream, *out, (size_t)n * sizeof **out);
}

/* y [T,N] = x [T,K] w [N,K]^T */
static ammpl_status apply(ammpli_engine *e, float *y, const float *x, const float *w, int64_t T, int64_t N, int64_t K)
{
    return e->ops->gemm(e->stream, 1, T, N, K, 1, x, 0, 0, w, 1, 0, 0, y, 0);
}

/* dx [T,K] (+)= dy [T,N] w [N,K] */
static ammpl_status apply_back(ammpli_engine *e, float *dx, const float *dy, const float *w, int64_t T, int64_t N, int64_t K, float beta)
{
    return e->ops->gemm(e->stream, 1, T, K, N, 1, dy, 0, 0, w, 0, 0, beta, dx, 0);
}

/* dw [N,K] += dy^T x, image after image: rows of each are `rows`, stride_* floats apart. */
static ammpl_status weight_back(ammpli_engine *e, float *dw, const float *dy, int64_t stride_y, const float *x, int64_t stride_x,
                                int64_t B, int64_t rows, int64_t N, int64_t K)
{
    for (int64_t b = 0; b < B; b++)
        RUN(gemm, 1, N, K, rows, 1, dy + b * stride_y, 1, 0, x + b * stride_x, 0, 0, 1, dw, 0);
    return AMMPL_OK;
}

/* [X | ctx] for every image, and for backward the rows where ctx stands. */
static ammpl_status gather_tokens(ammpli_engine *e, const dpt_sizes *z, dpt_cavpt *c, const float *x)
{
    int64_t L = z->N + DPT_EXTRA, B = c->B;
    int32_t *host, *device;
    TRY(ammpli_take_host(e, (size_t)(B * (z->N + 2 * DPT_EXTRA)) * sizeof *host, (void **)&host));
    int32_t *own = host, *extra = own + B * z->N, *token = extra + B * DPT_EXTRA;
    for (int64_t b = 0; b < B; b++) {
        for (int64_t i = 0; i < z->N; i++)
            own[b * z->N + i] = (int32_t)(b * L + i);
        for (int64_t i = 0; i < DPT_EXTRA; i++) {
            extra[b * DPT_EXTRA + i] = (int32_t)(b * L + z->N + i);
            token[b * DPT_EXTRA + i] = (int32_t)i;
        }
    }
    TRY(ammpli_take_ints(e, host, B * (z->N + 2 * DPT_EXTRA), &device));
    RUN(rows_copy, c->tokens, device, x, NULL, B * z->N, z->W);
    return e->ops->rows_copy(e->stream, c->tokens, device + B * z->N, c->ctx, device + B * (z->N + DPT_EXTRA), B * DPT_EXTRA, z->W);
}

ammpl_status ammpli_dpt_cavpt_forward(ammpli_engine *e, const dpt_sizes *z, dpt_cavpt *c, const float *x, const float *w,
                               const int32_t *selected)
{
    int64_t rows = c->B * z->K, L = z->N + DPT_EXTRA, W = z->W, K = z->K, B = c->B;
    TRY(ammpli_take_floats(e, rows * z->E, &c->text));
    TRY(ammpli_take_floats(e, rows * W, &c->query));
    TRY(ammpli_take_floats(e, B * L * W, &c->tokens));
    TRY(ammpli_take_floats(e, rows * DPT_KEY, &c->queries));
    TRY(ammpli_take_floats(e, B * L * DPT_KEY, &c->keys));
    TRY(ammpli_take_floats(e, rows * L, &c->attention));
    TRY(ammpli_take_floats(e, rows * W, &c->mixed));
    TRY(ammpli_take_floats(e, rows * W, &c->out));
    TRY(ammpli_take_floats(e, rows * W, &c->sum));
    TRY(ammpli_take_floats(e, rows * W, &c->prompt));
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *zeros;
    TRY(take_zero_index(e, rows, &zeros));
    RUN(rows_copy, c->text, NULL, w, selected, rows, z->E);
    RUN(rows_copy, c->query, NULL, c->meta_bias, zeros, rows, W);
    RUN(gemm, 1, rows, W, z->E, 1, c->text, 0, 0, c->meta, 1, 0, 1, c->query, 0);
    TRY(gather_tokens(e, z, c, x));
    TRY(apply(e, c->queries, c->query, c->q, rows, DPT_KEY, W));
    TRY(apply(e, c->keys, c->tokens, c->k, B * L, DPT_KEY, W));
    RUN(gemm, B, K, L, DPT_KEY, 1, c->queries, 0, K * DPT_KEY, c->keys, 1, L * DPT_KEY, 0, c->attention, K * L);
    RUN(softmax_forward, c->attention, c->attention, 1.0f / sqrtf(DPT_KEY), rows, L);
    RUN(gemm, B, K, W, L, 1, c->attention, 0, K * L, c->tokens, 0, L * W, 0, c->mixed, K * W);
    TRY(apply(e, c->out, c->mixed, c->v, rows, W, W)); /* the value map after the weighted sum */
    RUN(copy, c->sum, c->out, (size_t)(rows * W) * sizeof(float));
    RUN(add, c->sum, c->query, 1, rows * W);
    RUN(layernorm_forward, c->prompt, c->sum, c->ln2, c->ln2_bias, rows, W, EPS);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_dpt_cavpt_aux(ammpli_engine *e, const dpt_sizes *z, const dpt_cavpt *c, const int32_t *hit, const int32_t *label,
                           int64_t h, double weight, double *loss, float *dout)
{
    int64_t W = z->W, C = z->C;
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *row;
    float *o, *u, *logits, *d, *du;
    TRY(ammpli_take_ints(e, hit, h, &row));
    TRY(ammpli_take_floats(e, h * W, &o));
    TRY(ammpli_take_floats(e, h * W, &u));
    TRY(ammpli_take_floats(e, h * C, &logits));
    TRY(ammpli_take_floats(e, h * C, &d));
    TRY(ammpli_take_floats(e, h * W, &du));
    RUN(rows_copy, o, NULL, c->out, row, h, W);
    RUN(layernorm_forward, u, o, c->ln, c->ln_bias, h, W, EPS);
    TRY(apply(e, logits, u, c->classifier, h, C, W));
    TRY(ammpli_cross_entropy(e, logits, label, h, C, weight, loss, d));
    TRY(apply_back(e, du, d, c->classifier, h, C, W, 0));
    TRY(weight_back(e, c->dclassifier, d, C, u, W, h, 1, C, W));
    RUN(layernorm_weight_backward, c->dln, c->dln_bias, du, o, h, W, EPS);
    RUN(layernorm_backward, du, du, o, c->ln, NULL, h, W, EPS);
    RUN(rows_add, dout, row, du, NULL, h, W);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* Through the attention: dmixed [B*K,W] to q, k and ctx, and added to dquery [B*K,W].  The image's own tokens are left alone. */
static ammpl_status attention_backward(ammpli_engine *e, const dpt_sizes *z, const dpt_cavpt *c, const float *dmixed, float *dquery)
{
    int64_t B = c->B, K = z->K, L = z->N + DPT_EXTRA, W = z->W, rows = B * K;
    float *dscore, *dqueries, *dkeys, *dtokens;
    TRY(ammpli_take_floats(e, rows * L, &dscore));
    TRY(ammpli_take_floats(e, rows * DPT_KEY, &dqueries));
    TRY(ammpli_take_floats(e, B * L * DPT_KEY, &dkeys));
    TRY(ammpli_take_floats(e, L * W, &dtokens));
    RUN(gemm, B, K, L, W, 1, dmixed, 0, K * W, c->tokens, 1, L * W, 0, dscore, K * L);
    RUN(softmax_backward, dscore, dscore, c->attention, 1.0f / sqrtf(DPT_KEY), rows, L);
    RUN(gemm, B, K, DPT_KEY, L, 1, dscore, 0, K * L, c->keys, 0, L * DPT_KEY, 0, dqueries, K * DPT_KEY);
    RUN(gemm, B, L, DPT_KEY, K, 1, dscore, 1, K * L, c->queries, 0, K * DPT_KEY, 0, dkeys, L * DPT_KEY);
    TRY(weight_back(e, c->dq, dqueries, K * DPT_KEY, c->query, K * W, B, K, DPT_KEY, W));
    TRY(weight_back(e, c->dk, dkeys, L * DPT_KEY, c->tokens, L * W, B, L, DPT_KEY, W));
    for (int64_t b = 0; b < B; b++) { /* of d(tokens) = A^T dmixed + dkeys k only the learned rows */
        RUN(gemm, 1, L, W, K, 1, c->attention + b * K * L, 1, 0, dmixed + b * K * W, 0, 0, 0, dtokens, 0);
        RUN(add, c->dctx, dtokens + z->N * W, 1, DPT_EXTRA * W);
        TRY(apply_back(e, c->dctx, dkeys + (b * L + z->N) * DPT_KEY, c->k, DPT_EXTRA, DPT_KEY, W, 1));
    }
    return apply_back(e, dquery, dqueries, c->q, rows, DPT_KEY, W, 1);
}

ammpl_status ammpli_dpt_cavpt_backward(ammpli_engine *e, const dpt_sizes *z, const dpt_cavpt *c, const float *dprompt, float *dout,
                                const int32_t *selected, float *dw)
{
    int64_t B = c->B, K = z->K, W = z->W, E = z->E, rows = B * K;
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *zeros;
    float *dquery, *dmixed, *dtext;
    TRY(take_zero_index(e, rows, &zeros));
    TRY(ammpli_take_floats(e, rows * W, &dquery));
    TRY(ammpli_take_floats(e, rows * W, &dmixed));
    TRY(ammpli_take_floats(e, rows * E, &dtext));
    /* P = ln2(O + Q0): its gradient goes to both. */
    RUN(layernorm_weight_backward, c->dln2, c->dln2_bias, dprompt, c->sum, rows, W, EPS);
    RUN(layernorm_backward, dquery, dprompt, c->sum, c->ln2, NULL, rows, W, EPS);
    RUN(add, dout, dquery, 1, rows * W);
    /* O = v(A KV) */
    TRY(weight_back(e, c->dv, dout, K * W, c->mixed, K * W, B, K, W, W));
    TRY(apply_back(e, dmixed, dout, c->v, rows, W, W, 0));
    TRY(attention_backward(e, z, c, dmixed, dquery));
    /* Q0 = meta(W[I]) */
    TRY(weight_back(e, c->dmeta, dquery, K * W, c->text, K * E, B, K, W, E));
    RUN(rows_add, c->dmeta_bias, zeros, dquery, NULL, rows, W);
    TRY(apply_back(e, dtext, dquery, c->meta, rows, W, E, 0));
    RUN(rows_add, dw, selected, dtext, NULL, rows, E);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}
