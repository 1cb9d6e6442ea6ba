/* text_stage.c - text sequences with learned context, forward and backward in bounded memory. */
#include "method/stage.h"

/* Kept activations of one stage, where no memory_limit is set. */
#define DEFAULT_BUDGET ((int64_t)1 << 30)

int64_t ammpli_stage_chunk(const ammpl_session *s, const ammpli_tower *tower, int64_t n, int64_t len, bool backward, bool *kept)
{
    /* Text and image stage can both be kept at once, and one of them works: a third of the limit each. */
    int64_t budget = s->memory_limit > 0 ? s->memory_limit / 3 : DEFAULT_BUDGET;
    int64_t keep = (int64_t)ammpli_pass_bytes(tower, len, true), pass = (int64_t)ammpli_pass_bytes(tower, len, false);
    *kept = backward && n <= budget / keep;
    if (*kept)
        return n;
    int64_t chunk = budget / (backward ? keep : pass);
    return chunk < 1 ? 1 : chunk < n ? chunk : n;
}

static int32_t class_of(const ammpli_text_stage *t, int64_t i)
{
    return t->cls ? t->cls[i] : (int32_t)i;
}

/* Rows, indices and pass of sequences from..to-1. */
static ammpl_status layout(ammpli_engine *e, const ammpli_text_stage *t, int64_t from, int64_t to, ammpli_pass *pass,
                           ammpli_text_rows *rows)
{
    const ammpli_text_plan *plan = &t->prompt->text;
    int64_t n = to - from, M = plan->M, T = 0;
    for (int64_t i = from; i < to; i++)
        T += plan->start[class_of(t, i) + 1] - plan->start[class_of(t, i)];
    int64_t others = t->deep ? T - n * M : 0, total = T + 3 * n * M + 2 * n + 1 + others;
    if (total > INT32_MAX)
        return ammpli_fail(AMMPL_E_MEMORY, "%lld text sequences in one pass are too many; use a smaller batch", (long long)n);
    int32_t *host = ammpli_alloc(e->ctx, (size_t)total, sizeof *host);
    if (!host)
        return AMMPL_E_MEMORY;
    int32_t *base = host, *gap = base + T, *ctx = gap + n * M, *shift = ctx + n * M, *start = shift + n * M, *read = start + n + 1;
    int32_t *other = read + n, row = 0;
    int64_t max_len = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t c = class_of(t, from + i), first = plan->start[c], len = plan->start[c + 1] - first;
        start[i] = row;
        read[i] = row + plan->read[c] - first;
        for (int32_t m = 0; m < M; m++) {
            gap[i * M + m] = row + plan->gap[c * M + m] - first;
            ctx[i * M + m] = (int32_t)(t->per_class ? c * M + m : m);
            shift[i * M + m] = t->shift ? t->shift_of[from + i] : 0;
        }
        for (int32_t j = 0; j < len; j++)
            base[row + j] = first + j;
        for (int32_t j = 0, m = 0; t->deep && j < len; j++) {
            if (m < M && plan->gap[c * M + m] == first + j)
                m++;
            else
                *other++ = row + j;
        }
        row += len;
        max_len = len > max_len ? len : max_len;
    }
    start[n] = row;
    int32_t *device = NULL;
    ammpl_status status = ammpli_take_ints(e, host, total, &device);
    ammpli_free(e->ctx, host);
    TRY(status);
    *rows = (ammpli_text_rows){.n = n, .base = device, .gap = device + T, .ctx = device + T + n * M, .shift = device + T + 2 * n * M};
    *pass = (ammpli_pass){.B = n, .T = T, .max_len = max_len, .start = device + T + 3 * n * M};
    pass->read = pass->start + n + 1;
    if (t->deep)
        pass->slots = (ammpli_slots){.n = n * M, .row = rows->gap, .token = rows->ctx, .other = pass->read + n, .prompt = t->deep, .first = 1};
    return AMMPL_OK;
}

/* The input rows x [T,l], through the tower to feature [n,E]. */
static ammpl_status encode(ammpli_engine *e, const ammpli_text_stage *t, ammpli_pass *pass, const ammpli_text_rows *rows, float *x,
                           float *feature)
{
    const ammpli_text_plan *plan = &t->prompt->text;
    int64_t l = e->model->text.width, gaps = rows->n * plan->M;
    RUN(rows_copy, x, NULL, plan->base, rows->base, pass->T, l);
    RUN(rows_add, x, rows->gap, t->ctx, rows->ctx, gaps, l);
    if (t->shift)
        RUN(rows_add, x, rows->gap, t->shift, rows->shift, gaps, l);
    return ammpli_text_forward(e, pass, x, feature);
}

ammpl_status ammpli_text_stage_forward(ammpl_session *s, ammpli_text_stage *t)
{
    ammpli_engine *e = &s->engine;
    int64_t E = e->model->embed, l = e->model->text.width;
    t->chunk = ammpli_stage_chunk(s, &e->model->text, t->n, t->prompt->text.max_len, t->backward, &t->kept);
    TRY(ammpli_take_floats(e, t->n * E, &t->z));
    TRY(ammpli_take_floats(e, t->n, &t->norm));
    for (int64_t from = 0; from < t->n; from += t->chunk) {
        int64_t to = from + t->chunk < t->n ? from + t->chunk : t->n;
        ammpli_mark mark = ammpli_arena_mark(e);
        float *x, *feature;
        TRY(layout(e, t, from, to, &t->pass, &t->rows));
        t->pass.keep = t->kept;
        TRY(ammpli_take_floats(e, (to - from) * E, &feature));
        TRY(ammpli_take_floats(e, t->pass.T * l, &x));
        TRY(encode(e, t, &t->pass, &t->rows, x, feature));
        if (t->raw)
            RUN(copy, t->z + from * E, feature, (size_t)((to - from) * E) * sizeof(float));
        else
            RUN(l2norm_forward, t->z + from * E, t->norm + from, feature, to - from, E);
        if (!t->kept)
            ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_text_stage_backward(ammpl_session *s, ammpli_text_stage *t, const float *dz, float *dctx, float *dshift,
                                        float *const *ddeep)
{
    ammpli_engine *e = &s->engine;
    int64_t E = e->model->embed, l = e->model->text.width, M = t->prompt->text.M;
    for (int64_t from = 0; from < t->n; from += t->chunk) {
        int64_t to = from + t->chunk < t->n ? from + t->chunk : t->n, n = to - from;
        ammpli_mark mark = ammpli_arena_mark(e);
        float *feature, *dx;
        TRY(ammpli_take_floats(e, n * E, &feature));
        if (!t->kept) {
            float *x;
            TRY(layout(e, t, from, to, &t->pass, &t->rows));
            t->pass.keep = true;
            TRY(ammpli_take_floats(e, t->pass.T * l, &x));
            TRY(encode(e, t, &t->pass, &t->rows, x, feature));
        }
        TRY(ammpli_take_floats(e, t->pass.T * l, &dx));
        const float *dfeature = dz + from * E;
        if (!t->raw) {
            RUN(l2norm_backward, feature, dfeature, t->z + from * E, t->norm + from, n, E);
            dfeature = feature;
        }
        TRY(ammpli_text_backward(e, &t->pass, dfeature, dx, ddeep));
        RUN(rows_add, dctx, t->rows.ctx, dx, t->rows.gap, n * M, l);
        if (dshift)
            RUN(rows_add, dshift, t->rows.shift, dx, t->rows.gap, n * M, l);
        ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}
