/* tape_back.c - a tape's way back (tape.h): from the features, and from tokens that were read, to what was given. */
#include "clip/tape.h"

#include <math.h>
#include <string.h>

/* ---- gradients of tokens that were read ---- */

size_t ammpli_tape_seed_count(const ammpl_tape *t, size_t read)
{
    return read < t->reads ? (size_t)(t->n * ammpli_tape_width(t, &t->read[read].layout) * t->tower->width) : 0;
}

ammpl_status ammpli_tape_seed(ammpl_tape *t, size_t read, const float *dtokens)
{
    ammpli_engine *e = &t->engine;
    ammpli_seed *seed = &t->read[read];
    float *d;
    TRY(ammpli_tape_upload(t, &seed->layout, dtokens, &d));
    if (seed->d)
        RUN(add, d, seed->d, 1, seed->layout.T * t->tower->width);
    seed->d = d;
    return AMMPL_OK;
}

static ammpl_status add_seeds(ammpl_tape *t, size_t boundary, float *dx)
{
    ammpli_engine *e = &t->engine;
    for (size_t i = 0; i < t->reads; i++)
        if (t->read[i].boundary == boundary && t->read[i].d)
            RUN(add, dx, t->read[i].d, 1, t->read[i].layout.T * t->tower->width);
    return AMMPL_OK;
}

/* ---- backward ---- */

/* Zeros where the gradients of prompts are gathered, and the segments' tables of them. */
static ammpl_status take_prompt_gradients(ammpl_tape *t)
{
    for (size_t i = 0; i < t->inserts; i++) {
        ammpli_insert *in = &t->insert[i];
        TRY(ammpli_take_zeros(&t->engine, (in->own ? t->n : 1) * in->count * t->tower->width, &in->grad));
        for (size_t k = 0; k < t->segments; k++)
            if (in->block >= t->segment[k].pass.from && in->block < t->segment[k].pass.to && in->count > 0)
                t->segment[k].grad[in->block] = in->grad;
    }
    return AMMPL_OK;
}

/* The gradient of segment k's input rows, in the layout of boundary k: what an insert overwrote has none. */
static ammpl_status to_boundary(ammpl_tape *t, size_t k, float **dx)
{
    ammpli_engine *e = &t->engine;
    const ammpli_pass *here = &t->segment[k].pass, *below = k > 0 ? &t->segment[k - 1].pass : &t->begun;
    int64_t D = t->tower->width;
    bool overwritten = false;
    for (size_t i = 0; i < t->inserts; i++)
        overwritten = overwritten || t->insert[i].block == here->from;
    if (!overwritten)
        return AMMPL_OK;
    float *next;
    TRY(ammpli_take_zeros(e, below->T * D, &next));
    RUN(rows_add, next, t->segment[k].came, *dx, here->slots.other, here->T - here->slots.n, D);
    *dx = next;
    return AMMPL_OK;
}

static ammpl_status backward(ammpl_tape *t, const float *dfeatures)
{
    ammpli_engine *e = &t->engine;
    int64_t D = t->tower->width;
    float *dx, *given, *dlast = NULL;
    TRY(take_prompt_gradients(t));
    TRY(ammpli_take_zeros(e, t->layout.T * D, &dx));
    if (t->phase == AMMPLI_TAPE_FINISHED) {
        TRY(ammpli_take_floats(e, t->n * D, &dlast));
        if (dfeatures) {
            TRY(ammpli_take_copy(e, dfeatures, t->n * t->model->embed, &given));
            TRY(ammpli_feature_backward(e, &t->segment[t->segments - 1].pass, given, dlast));
        } else
            RUN(zero, dlast, (size_t)(t->n * D) * sizeof(float));
    }
    size_t k = t->segments;
    TRY(add_seeds(t, k, dx));
    for (; k > 0 && t->segment[k - 1].pass.keep; k--) {
        ammpli_segment *s = &t->segment[k - 1];
        TRY(ammpli_blocks_backward(e, &s->pass, dlast, dx, s->grad));
        TRY(to_boundary(t, k - 1, &dx));
        TRY(add_seeds(t, k - 1, dx));
    }
    for (size_t i = 0; i < t->inserts; i++) {
        const ammpli_insert *in = &t->insert[i];
        if (in->before)
            RUN(layernorm_backward, in->grad, in->grad, in->before, t->model->ln_pre_gamma, NULL, (in->own ? t->n : 1) * in->count, D,
                t->tower->eps);
    }
    t->dx = k == 0 ? dx : NULL;
    t->phase = AMMPLI_TAPE_BACK;
    return AMMPL_OK;
}

ammpl_status ammpli_tape_backward(ammpl_tape *t, const float *dfeatures)
{
    ammpl_status status = backward(t, dfeatures);
    if (status < 0)
        t->phase = AMMPLI_TAPE_EMPTY; /* begin clears it */
    return status;
}

/* ---- what comes out ---- */

/* The begin was recorded, and of the kind that has this gradient. */
static ammpl_status check_begin(const ammpl_tape *t, bool right_kind)
{
    if (!right_kind)
        return ammpli_fail(AMMPL_E_STATE, "the pass was begun without that: its gradient is not there");
    if (!t->dx)
        return ammpli_fail(AMMPL_E_STATE, "the pass was begun with record = AMMPL_RECORD_PROMPTS: only prompts have gradients");
    return AMMPL_OK;
}

ammpl_status ammpli_tape_gradient_count(const ammpl_tape *t, int32_t what, size_t index, size_t *count)
{
    const ammpl_model *m = t->model;
    bool text = t->tower == &m->text;
    int64_t D = t->tower->width;
    if (what != AMMPL_GRADIENT_PROMPT && index != 0)
        return ammpli_fail(AMMPL_E_RANGE, "gradient %zu: there is one of that kind", index);
    switch (what) {
    case AMMPL_GRADIENT_ROWS:
        *count = (size_t)(t->n * (text ? t->L : t->begun.T / t->n) * D);
        return check_begin(t, text || !t->pixels);
    case AMMPL_GRADIENT_PREFIX:
        *count = (size_t)(t->S * D);
        return check_begin(t, t->S > 0);
    case AMMPL_GRADIENT_PIXELS:
        *count = (size_t)(t->n * 3 * m->grid * m->patch * m->grid * m->patch);
        return check_begin(t, t->pixels);
    case AMMPL_GRADIENT_PROMPT:
        if (index >= t->inserts)
            return ammpli_fail(AMMPL_E_RANGE, "gradient of insert %zu: there were %zu", index, t->inserts);
        *count = (size_t)((t->insert[index].own ? t->n : 1) * t->insert[index].count * D);
        return AMMPL_OK;
    default:
        return ammpli_fail(AMMPL_E_OPTION, "there is no gradient number %d: see AMMPL_GRADIENT_*", what);
    }
}

/* Text rows without the prefix: [n,L,l]. */
static ammpl_status text_rows(ammpl_tape *t, float *out)
{
    size_t l = (size_t)t->tower->width, each = (size_t)t->L * l, all = (size_t)(t->S + t->L) * l;
    float *host = ammpli_alloc(t->model->ctx, (size_t)t->n * all, sizeof *host);
    ammpl_status status = host ? ammpli_tape_download(t, &t->begun, t->dx, host) : AMMPL_E_MEMORY;
    for (size_t i = 0; i < (size_t)t->n && status >= 0; i++)
        memcpy(out + i * each, host + i * all + all - each, each * sizeof *out);
    ammpli_free(t->model->ctx, host);
    return status;
}

/* Through ln_pre and the patch embedding: [n,3,R,R]. */
static ammpl_status pixels(ammpl_tape *t, float *out)
{
    ammpli_engine *e = &t->engine;
    const ammpl_model *m = t->model;
    int64_t W = t->tower->width, P = m->grid * m->grid, pixel = 3 * m->patch * m->patch;
    float *dembedded, *dtoken, *dpatch, *d;
    TRY(ammpli_take_floats(e, t->begun.T * W, &dembedded));
    TRY(ammpli_take_floats(e, t->n * P * W, &dtoken));
    TRY(ammpli_take_floats(e, t->n * P * pixel, &dpatch));
    TRY(ammpli_take_floats(e, t->n * P * pixel, &d));
    RUN(layernorm_backward, dembedded, t->dx, t->embedded, m->ln_pre_gamma, NULL, t->begun.T, W, t->tower->eps);
    RUN(rows_copy, dtoken, NULL, dembedded, t->begun.patch_row, t->n * P, W);
    RUN(linear_backward, dpatch, dtoken, m->patch_weight, NULL, AMMPL_ACT_NONE, t->n * P);
    RUN(patches_backward, d, dpatch, t->n, m->grid, m->patch);
    return e->ops->download(e->stream, out, d, (size_t)(t->n * P * pixel) * sizeof *out);
}

ammpl_status ammpli_tape_gradient(ammpl_tape *t, int32_t what, size_t index, float *out)
{
    ammpli_engine *e = &t->engine;
    size_t count;
    TRY(ammpli_tape_gradient_count(t, what, index, &count));
    ammpli_mark mark = ammpli_arena_mark(e);
    ammpl_status status;
    if (what == AMMPL_GRADIENT_PROMPT)
        status = e->ops->download(e->stream, out, t->insert[index].grad, count * sizeof *out);
    else if (what == AMMPL_GRADIENT_PREFIX)
        status = e->ops->download(e->stream, out, t->dx, count * sizeof *out); /* the begin's first rows */
    else if (what == AMMPL_GRADIENT_PIXELS)
        status = pixels(t, out);
    else
        status = t->tower == &t->model->text ? text_rows(t, out) : ammpli_tape_download(t, &t->begun, t->dx, out);
    ammpli_arena_release(e, mark);
    for (size_t i = 0; i < count && status >= 0; i++)
        if (!isfinite(out[i]))
            status = ammpli_fail(AMMPL_E_NUMERIC, "the gradient is not finite (number %zu of %zu)", i, count);
    return status;
}
