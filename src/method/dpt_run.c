/* dpt_run.c - DPT for a batch: text first, then the images in parts that fit in memory (methods.md 5.10). */
#include "method/dpt.h"
#include "method/template.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    ammpl_session *s;
    const ammpl_prompt *p;
    dpt_sizes z;
    const ammpl_batch *batch; /* NULL at inference */
    float *const *grad;
    int64_t B;
    const float *template; /* [C,E] Z, the templates' features */
    float *plain;          /* [B,E] v0, normalised */
    int32_t *top;          /* [B*K] host: I, the likeliest classes by s <v0, Z>, best first */
    ammpli_text_stage text;
    const float *w, *unit; /* [C,E] W as it is, and normalised */
    float *norm;           /* [C] |W| */
    float *v, *logits;     /* [B,E], [B,C] */
    float *dlogits, *dw;   /* [B,C] of `logits`; [T,C,E] gathered from CAVPT, each layer's for itself: an order of sums that does
                            * not depend on the parts */
    float *dimage;         /* [B,C] of s <v, Z> in the guidance phase; else NULL */
    double aux_weight;
    /* Each term of the loss for itself, CAVPT's per layer [T]: as with dw, sums in an order that does not depend on the parts. */
    double joint, text_only, image_only, *aux;
} run;

dpt_sizes ammpli_dpt_sizes_of(const ammpl_prompt *p)
{
    const ammpl_model *m = p->model;
    int64_t first = ammpli_config_int(p->config, AMMPL_OPT_BOTTOM_LIMIT), K = ammpli_config_int(p->config, AMMPL_OPT_TOP_K);
    int64_t C = (int64_t)p->classes;
    return (dpt_sizes){.C = C,
                       .E = m->embed,
                       .W = m->image.width,
                       .N = m->grid * m->grid + 1,
                       .n = ammpli_config_int(p->config, AMMPL_OPT_N_CTX_VISION),
                       .K = K < C ? K : C, /* re-bound to fewer classes than it was made for */
                       .b = first - 1,
                       .T = m->image.layers - first + 1};
}

static float logit_factor(const run *r)
{
    return (float)exp(r->p->model->logit_scale);
}

/* ---- step 1: the likeliest classes of every image ---- */

typedef struct ranked {
    float similarity;
    int32_t i;
} ranked;

static int by_similarity(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->similarity != y->similarity)
        return x->similarity > y->similarity ? -1 : 1;
    return x->i - y->i;
}

static ammpl_status rank(run *r, const float *similarity)
{
    ranked *order;
    TRY(ammpli_take_host(&r->s->engine, (size_t)r->z.C * sizeof *order, (void **)&order));
    for (int64_t b = 0; b < r->B; b++) {
        for (int32_t i = 0; i < r->z.C; i++) {
            order[i] = (ranked){similarity[b * r->z.C + i], i};
            if (!isfinite(order[i].similarity))
                return ammpli_fail(AMMPL_E_NUMERIC, "an image's features are not finite; the pixels hold NaN or infinity");
        }
        qsort(order, (size_t)r->z.C, sizeof *order, by_similarity);
        for (int64_t k = 0; k < r->z.K; k++)
            r->top[b * r->z.K + k] = order[k].i;
    }
    return AMMPL_OK;
}

static ammpl_status choose(run *r, const float *pixels)
{
    ammpli_engine *e = &r->s->engine;
    int64_t B = r->B, C = r->z.C;
    TRY(ammpli_template_features(r->s, r->p, &r->template));
    TRY(ammpli_plain_features(r->s, pixels, B, &r->plain));
    TRY(ammpli_take_host(e, (size_t)(B * r->z.K) * sizeof *r->top, (void **)&r->top));
    ammpli_mark mark = ammpli_arena_mark(e);
    float *host, *similarity;
    TRY(ammpli_take_host(e, (size_t)(B * C) * sizeof *host, (void **)&host));
    TRY(ammpli_take_floats(e, B * C, &similarity));
    RUN(gemm, 1, B, C, r->z.E, logit_factor(r), r->plain, 0, 0, r->template, 1, 0, 0, similarity, 0);
    RUN(download, host, similarity, (size_t)(B * C) * sizeof *host);
    TRY(rank(r, host));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* The slot of image b's true class among its K, or -1. */
static int64_t hit_slot(const run *r, const int32_t *label, int64_t b)
{
    for (int64_t k = 0; k < r->z.K; k++)
        if (r->top[b * r->z.K + k] == label[b])
            return k;
    return -1;
}

static int64_t count_rows(const run *r, const int32_t *label)
{
    int64_t n = 0;
    for (int64_t b = 0; b < r->B; b++)
        n += hit_slot(r, label, b) >= 0 ? r->z.T : 0;
    return n;
}

/* ---- step 2: text ---- */

static ammpl_status text_forward(run *r, bool backward, float **unit)
{
    ammpli_engine *e = &r->s->engine;
    r->text = (ammpli_text_stage){.prompt = r->p, .n = r->z.C, .ctx = ammpli_value(r->p, "ctx"), .raw = true, .backward = backward};
    TRY(ammpli_text_stage_forward(r->s, &r->text));
    TRY(ammpli_take_floats(e, r->z.C * r->z.E, unit));
    TRY(ammpli_take_floats(e, r->z.C, &r->norm));
    r->w = r->text.z;
    r->unit = *unit;
    return e->ops->l2norm_forward(e->stream, *unit, r->norm, r->w, r->z.C, r->z.E);
}

/* The same for inference, once per state of the prompt. */
static ammpl_status cached_text(run *r)
{
    ammpli_class_cache *cache = &r->s->cache;
    ammpli_engine *e = &r->s->engine;
    if (cache->prompt_id != r->p->id || cache->revision != r->p->revision) {
        size_t bytes = (size_t)(r->z.C * r->z.E) * sizeof(float);
        float *unit;
        ammpli_session_clear_cache(r->s);
        ammpli_mark mark = ammpli_arena_mark(e);
        TRY(text_forward(r, false, &unit));
        TRY(ammpli_session_keep(r->s, &cache->bytes, bytes, &cache->z0));
        TRY(ammpli_session_keep(r->s, &cache->bytes, bytes, &cache->raw));
        RUN(copy, cache->z0, unit, bytes);
        RUN(copy, cache->raw, r->w, bytes);
        ammpli_arena_release(e, mark);
        cache->prompt_id = r->p->id;
        cache->revision = r->p->revision;
    }
    r->w = cache->raw;
    r->unit = cache->z0;
    return AMMPL_OK;
}

/* ---- steps 3 to 6: B images from `first` on ---- */

typedef struct part {
    int64_t first, B;
    int32_t *selected;      /* [B*K] backend */
    float *x;               /* [B*N,W] tokens between blocks */
    ammpli_pass lower;      /* blocks 0..b-1 */
    ammpli_pass *upper;     /* [T] one block each */
    const float **prompt;   /* [layers] host: the visual prompts, then this part's class-aware ones */
    dpt_cavpt *cavpt;       /* [T] */
    float *feature, *norm;  /* [B,E], [B] */
} part;

/* x through the blocks of a pass whose slots are dropped behind it (or that ends in features). */
static ammpl_status blocks(run *r, part *t, ammpli_pass *pass)
{
    ammpli_engine *e = &r->s->engine;
    int64_t rows = t->B * r->z.N, W = r->z.W;
    pass->keep = r->batch != NULL;
    pass->slots.prompt = t->prompt;
    pass->slots.drop = true;
    if (pass->from == 0) { /* no gradient is wanted of what comes before */
        pass->wanted = pass->slots.n;
        pass->wanted_row = pass->slots.row;
    }
    TRY(ammpli_pass_take(e, pass));
    ammpli_mark mark = ammpli_arena_mark(e);
    float *x;
    TRY(ammpli_take_floats(e, pass->T * W, &x));
    RUN(rows_copy, x, pass->slots.other, t->x, NULL, rows, W);
    TRY(ammpli_blocks_forward(e, pass, x));
    if (pass->to < pass->tower->layers)
        RUN(rows_copy, t->x, NULL, x, pass->slots.other, rows, W);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* Patches, positions, ln_pre: the tokens before block 0. */
static ammpl_status embed(run *r, part *t, const float *pixels)
{
    ammpli_engine *e = &r->s->engine;
    const ammpl_model *m = e->model;
    int64_t R = m->grid * m->patch, P = m->grid * m->grid, W = r->z.W;
    ammpli_pass plain;
    float *device, *token;
    TRY(ammpli_take_floats(e, t->B * r->z.N * W, &t->x));
    ammpli_mark mark = ammpli_arena_mark(e);
    TRY(ammpli_take_copy(e, pixels + t->first * 3 * R * R, t->B * 3 * R * R, &device));
    TRY(ammpli_take_floats(e, t->B * P * W, &token));
    TRY(ammpli_patch_embed(e, device, t->B, token));
    TRY(ammpli_image_layout(e, &plain, t->B, 0, false, false));
    TRY(ammpli_take_floats(e, plain.T * W, &plain.embedded));
    TRY(ammpli_image_embed(e, &plain, token, NULL, t->x));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

static ammpl_status forward(run *r, part *t, const float *pixels)
{
    ammpli_engine *e = &r->s->engine;
    dpt_sizes z = r->z;
    TRY(ammpli_take_host_zeros(e, z.T, sizeof *t->upper, (void **)&t->upper));
    TRY(ammpli_take_host_zeros(e, z.b + z.T, sizeof *t->prompt, (void **)&t->prompt));
    TRY(ammpli_take_host_zeros(e, z.T, sizeof *t->cavpt, (void **)&t->cavpt));
    TRY(ammpli_take_ints(e, r->top + t->first * z.K, t->B * z.K, &t->selected));
    TRY(ammpli_take_floats(e, t->B * z.E, &t->feature));
    TRY(ammpli_take_floats(e, t->B, &t->norm));
    TRY(embed(r, t, pixels));
    if (z.b > 0) { /* step 4 */
        for (int64_t i = 0; i < z.b; i++)
            t->prompt[i] = ammpli_value(r->p, "visual_ctx") + i * z.n * z.W;
        TRY(ammpli_image_layout(e, &t->lower, t->B, z.n, false, true));
        t->lower.to = z.b;
        TRY(blocks(r, t, &t->lower));
    }
    for (int64_t j = 0; j < z.T; j++) { /* step 5; as published the last block alone, which takes no slots in front */
        t->cavpt[j] = ammpli_dpt_cavpt_of(r->p, r->grad, j, t->B);
        TRY(ammpli_dpt_cavpt_forward(e, &z, &t->cavpt[j], t->x, r->w, t->selected));
        t->prompt[z.b + j] = t->cavpt[j].prompt;
        TRY(ammpli_image_layout(e, &t->upper[j], t->B, z.K, true, false));
        t->upper[j].from = z.b + j;
        t->upper[j].to = z.b + j + 1;
        TRY(blocks(r, t, &t->upper[j]));
    }
    TRY(ammpli_feature_forward(e, &t->upper[z.T - 1], t->feature)); /* step 6 */
    return e->ops->l2norm_forward(e->stream, r->v + t->first * z.E, t->norm, t->feature, t->B, z.E);
}

/* Gradient of the tokens behind a pass, in t->x, to the tokens before it; dprompt [.,W] is added to. */
static ammpl_status blocks_back(run *r, part *t, const ammpli_pass *pass, float *dlast, float *const *dprompt)
{
    ammpli_engine *e = &r->s->engine;
    int64_t rows = t->B * r->z.N, W = r->z.W;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dx;
    TRY(ammpli_take_zeros(e, pass->T * W, &dx));
    RUN(rows_copy, dx, pass->slots.other, t->x, NULL, rows, W);
    TRY(ammpli_blocks_backward(e, pass, dlast, dx, dprompt));
    RUN(rows_copy, t->x, NULL, dx, pass->slots.other, rows, W);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* The auxiliary loss of layer j: of images whose true class is among the K, that class's slot. */
static ammpl_status auxiliary(run *r, const part *t, int64_t j, float *dout)
{
    double alpha = ammpli_config_float(r->p->config, AMMPL_OPT_AUX_WEIGHT);
    int32_t *row, *label;
    TRY(ammpli_take_host(&r->s->engine, (size_t)(2 * t->B) * sizeof *row, (void **)&row));
    label = row + t->B;
    int64_t h = 0;
    for (int64_t b = 0; b < t->B; b++) {
        int64_t k = hit_slot(r, r->batch->label, t->first + b);
        if (k < 0)
            continue;
        row[h] = (int32_t)(b * r->z.K + k);
        label[h++] = r->batch->label[t->first + b];
    }
    if (h == 0 || alpha == 0)
        return AMMPL_OK;
    return ammpli_dpt_cavpt_aux(&r->s->engine, &r->z, &t->cavpt[j], row, label, h, alpha * r->aux_weight, &r->aux[j], dout);
}

static ammpl_status backward(run *r, part *t, float *const *dvisual)
{
    ammpli_engine *e = &r->s->engine;
    dpt_sizes z = r->z;
    float *dv, *dlast, **dprompt;
    TRY(ammpli_take_host_zeros(e, z.b + z.T, sizeof *dprompt, (void **)&dprompt));
    TRY(ammpli_take_floats(e, t->B * z.E, &dv));
    TRY(ammpli_take_floats(e, t->B * z.W, &dlast));
    RUN(gemm, 1, t->B, z.E, z.C, logit_factor(r), r->dlogits + t->first * z.C, 0, 0, r->unit, 0, 0, 0, dv, 0);
    if (r->dimage)
        RUN(gemm, 1, t->B, z.E, z.C, logit_factor(r), r->dimage + t->first * z.C, 0, 0, r->template, 0, 0, 1, dv, 0);
    RUN(l2norm_backward, dv, dv, r->v + t->first * z.E, t->norm, t->B, z.E);
    TRY(ammpli_feature_backward(e, &t->upper[z.T - 1], dv, dlast));
    for (int64_t j = z.T - 1; j >= 0; j--) {
        float *dout;
        TRY(ammpli_take_zeros(e, t->B * z.K * z.W, &dprompt[z.b + j]));
        TRY(ammpli_take_zeros(e, t->B * z.K * z.W, &dout));
        TRY(blocks_back(r, t, &t->upper[j], dlast, dprompt));
        TRY(auxiliary(r, t, j, dout));
        TRY(ammpli_dpt_cavpt_backward(e, &z, &t->cavpt[j], dprompt[z.b + j], dout, t->selected,
                                           r->dw + j * z.C * z.E));
    }
    if (z.b > 0)
        TRY(blocks_back(r, t, &t->lower, NULL, dvisual));
    return AMMPL_OK;
}

/* ---- loss ---- */

/* logits of rows first..first+B-1, and the gradients of everything that is a loss of them. */
static ammpl_status losses(run *r, const part *t)
{
    ammpli_engine *e = &r->s->engine;
    dpt_sizes z = r->z;
    const int32_t *label = r->batch->label + t->first;
    double weight = ammpli_batch_weight(r->batch);
    bool guided = r->dimage != NULL;
    float *logits = r->logits + t->first * z.C, *v = r->v + t->first * z.E, *other;
    RUN(gemm, 1, t->B, z.C, z.E, logit_factor(r), v, 0, 0, r->unit, 1, 0, 0, logits, 0);
    TRY(ammpli_cross_entropy(e, logits, label, t->B, z.C, guided ? 0.1 * weight : weight, &r->joint, r->dlogits + t->first * z.C));
    if (!guided)
        return AMMPL_OK;
    ammpli_mark mark = ammpli_arena_mark(e);
    TRY(ammpli_take_floats(e, t->B * z.C, &other));
    RUN(gemm, 1, t->B, z.C, z.E, logit_factor(r), v, 0, 0, r->template, 1, 0, 0, other, 0);
    TRY(ammpli_cross_entropy(e, other, label, t->B, z.C, weight, &r->image_only, r->dimage + t->first * z.C));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* d(unit) = s dlogits^T v (and s dtext^T v0 while guided); through the norm, and what CAVPT gathered, to ctx. */
static ammpl_status text_backward(run *r)
{
    ammpli_engine *e = &r->s->engine;
    dpt_sizes z = r->z;
    float *dunit, *text, *dtext;
    TRY(ammpli_take_floats(e, z.C * z.E, &dunit));
    RUN(gemm, 1, z.C, z.E, r->B, logit_factor(r), r->dlogits, 1, 0, r->v, 0, 0, 0, dunit, 0);
    if (r->dimage) {
        TRY(ammpli_take_floats(e, r->B * z.C, &text));
        TRY(ammpli_take_floats(e, r->B * z.C, &dtext));
        RUN(gemm, 1, r->B, z.C, z.E, logit_factor(r), r->plain, 0, 0, r->unit, 1, 0, 0, text, 0);
        TRY(ammpli_cross_entropy(e, text, r->batch->label, r->B, z.C, ammpli_batch_weight(r->batch), &r->text_only, dtext));
        RUN(gemm, 1, z.C, z.E, r->B, logit_factor(r), dtext, 1, 0, r->plain, 0, 0, 1, dunit, 0);
    }
    RUN(l2norm_backward, dunit, dunit, r->unit, r->norm, z.C, z.E);
    for (int64_t j = 0; j < z.T; j++)
        RUN(add, dunit, r->dw + j * z.C * z.E, 1, z.C * z.E);
    return ammpli_text_stage_backward(r->s, &r->text, dunit, ammpli_grad_of(r->p, r->grad, "ctx"), NULL, NULL);
}

static ammpl_status train_parts(run *r, float *const *dvisual)
{
    ammpli_engine *e = &r->s->engine;
    int64_t slots = r->z.n > r->z.K ? r->z.n : r->z.K;
    int64_t most = ammpli_encodes_that_fit(r->s, &r->p->model->image, r->B, r->z.N + slots);
    for (int64_t first = 0; first < r->B; first += most) {
        part t = {.first = first, .B = r->B - first < most ? r->B - first : most};
        ammpli_mark mark = ammpli_arena_mark(e);
        TRY(forward(r, &t, r->batch->pixels));
        TRY(losses(r, &t));
        TRY(backward(r, &t, dvisual));
        ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}

static double sum_of_terms(const run *r)
{
    double loss = r->joint + r->text_only + r->image_only;
    for (int64_t j = 0; j < r->z.T; j++)
        loss += r->aux[j];
    return loss;
}

static ammpl_status run_step(run *r, ammpl_prompt *p, double *loss, float *logits)
{
    ammpli_engine *e = &r->s->engine;
    dpt_sizes z = r->z;
    float *unit, **dvisual;
    TRY(choose(r, r->batch->pixels));
    int64_t rows = count_rows(r, r->batch->label);
    r->aux_weight = r->batch->aux_weight > 0 ? r->batch->aux_weight : rows > 0 ? 1.0 / (double)rows : 0;
    TRY(text_forward(r, true, &unit));
    TRY(ammpli_take_floats(e, r->B * z.E, &r->v));
    TRY(ammpli_take_floats(e, r->B * z.C, &r->logits));
    TRY(ammpli_take_floats(e, r->B * z.C, &r->dlogits));
    TRY(ammpli_take_zeros(e, z.T * z.C * z.E, &r->dw));
    if (r->batch->epoch < ammpli_config_int(p->config, AMMPL_OPT_GUIDANCE_EPOCHS))
        TRY(ammpli_take_floats(e, r->B * z.C, &r->dimage));
    TRY(ammpli_take_host_zeros(e, z.b + z.T, sizeof *dvisual, (void **)&dvisual));
    for (int64_t i = 0; i < z.b; i++)
        dvisual[i] = ammpli_grad_of(p, r->grad, "visual_ctx") + i * z.n * z.W;
    TRY(train_parts(r, dvisual));
    TRY(text_backward(r));
    double sum = sum_of_terms(r);
    TRY(ammpli_check_loss(sum));
    if (logits)
        RUN(download, logits, r->logits, (size_t)(r->B * z.C) * sizeof *logits);
    TRY(ammpli_gradients_add(e, p, r->grad));
    *loss = sum;
    return AMMPL_OK;
}

ammpl_status ammpli_dpt_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    float **grad;
    ammpli_arena_reset(&s->engine);
    TRY(ammpli_gradients_take(&s->engine, p, &grad));
    run r = {.s = s, .p = p, .z = ammpli_dpt_sizes_of(p), .batch = batch, .grad = grad, .B = (int64_t)batch->n};
    TRY(ammpli_take_host_zeros(&s->engine, r.z.T, sizeof *r.aux, (void **)&r.aux));
    return run_step(&r, p, loss, logits);
}

ammpl_status ammpli_dpt_aux_rows(ammpl_session *s, const ammpl_prompt *p, const float *pixels, const int32_t *label, int64_t n, int64_t *rows)
{
    run r = {.s = s, .p = p, .z = ammpli_dpt_sizes_of(p), .B = n};
    ammpli_arena_reset(&s->engine);
    TRY(choose(&r, pixels));
    *rows = count_rows(&r, label);
    return AMMPL_OK;
}

/* ---- inference ---- */

/* v [B,E], and logits unless out is NULL. */
static ammpl_status infer_some(run *r, const float *pixels, float *out)
{
    ammpli_engine *e = &r->s->engine;
    TRY(cached_text(r));
    TRY(choose(r, pixels));
    TRY(ammpli_take_floats(e, r->B * r->z.E, &r->v));
    part t = {.B = r->B};
    TRY(forward(r, &t, pixels));
    if (!out)
        return AMMPL_OK;
    TRY(ammpli_take_floats(e, r->B * r->z.C, &r->logits));
    RUN(gemm, 1, r->B, r->z.C, r->z.E, logit_factor(r), r->v, 0, 0, r->unit, 1, 0, 0, r->logits, 0);
    return e->ops->download(e->stream, out, r->logits, (size_t)(r->B * r->z.C) * sizeof *out);
}

static ammpl_status infer(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits, float *features)
{
    int64_t R = p->model->grid * p->model->patch;
    int64_t most = ammpli_images_at_once(s, AMMPLI_PAIRS_AT_ONCE);
    for (int64_t from = 0; from < n; from += most) {
        run r = {.s = s, .p = p, .z = ammpli_dpt_sizes_of(p), .B = n - from < most ? n - from : most};
        ammpli_engine *e = &s->engine;
        ammpli_arena_reset(e);
        TRY(infer_some(&r, pixels + from * 3 * R * R, logits ? logits + from * r.z.C : NULL));
        if (features)
            RUN(download, features + from * r.z.E, r.v, (size_t)(r.B * r.z.E) * sizeof *features);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_dpt_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits)
{
    return infer(s, p, pixels, n, logits, NULL);
}

ammpl_status ammpli_dpt_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out)
{
    return infer(s, p, pixels, n, NULL, out);
}

ammpl_status ammpli_dpt_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out)
{
    run r = {.s = s, .p = p, .z = ammpli_dpt_sizes_of(p)};
    ammpli_arena_reset(&s->engine);
    TRY(cached_text(&r));
    return s->engine.ops->download(s->engine.stream, out, r.unit, (size_t)(r.z.C * r.z.E) * sizeof *out);
}
