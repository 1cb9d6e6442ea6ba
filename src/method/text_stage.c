/* text_stage.c - text sequences with learned context, forward and backward in bounded memory. */
#include "method/stage.h"

static int32_t class_of(const ammpli_text_stage *t, int64_t i)
{
    return t->cls ? t->cls[i] : (int32_t)i;
}

/* Rows that a class's text has, up to the one that is read (shortcut 1). */
static int64_t length_of(const ammpli_text_plan *plan, int32_t c)
{
    return plan->start[c + 1] - plan->start[c];
}

/* Rows of sequence i in a pass: without shortcut 1 as many as the model reads. */
static int64_t length(const ammpli_engine *e, const ammpli_text_stage *t, int64_t i)
{
    return e->without & AMMPLI_WITHOUT_CUT ? e->model->context : length_of(&t->prompt->text, class_of(t, i));
}

/* ---- shortcut 2: what sequences begin with alike ---- */

/* Leading rows that sequences a and b have in common, whatever their shifts with by_shift: at most `most`, and never the row that is
 * read.  Deep prompts are the same for all sequences.  Without by_shift equal shifts count only where all must be equal: what a call takes,
 * and in which order gradients are added up, is not left to the pictures. */
static int64_t common_rows(const ammpli_text_stage *t, int64_t a, int64_t b, bool by_shift, int64_t most)
{
    const ammpli_text_plan *plan = &t->prompt->text;
    int32_t class_a = class_of(t, a), class_b = class_of(t, b);
    const int32_t *x = plan->id + plan->start[class_a], *y = plan->id + plan->start[class_b];
    bool same_context = (!t->per_class || class_a == class_b) && (by_shift || !t->shift || t->shifts == 1);
    int64_t n = 0;
    most = most < plan->read[class_a] - plan->start[class_a] ? most : plan->read[class_a] - plan->start[class_a];
    most = most < plan->read[class_b] - plan->start[class_b] ? most : plan->read[class_b] - plan->start[class_b];
    while (n < most && x[n] == y[n] && (x[n] >= 0 || same_context))
        n++;
    return n;
}

/* Sequences of the same shift become a group, numbered as they come. */
static ammpl_status group_by_shift(ammpli_engine *e, const ammpli_text_stage *t, ammpli_text_sharing *out)
{
    int32_t *group_of;
    TRY(ammpli_take_host_zeros(e, t->shift_rows, sizeof *group_of, (void **)&group_of)); /* numbered from 1; 0: none yet */
    for (int64_t i = 0; i < t->n; i++) {
        int32_t *group = &group_of[t->shift_of[i]];
        if (*group == 0) {
            out->first[out->count++] = (int32_t)i;
            *group = (int32_t)out->count;
        }
        out->group[i] = *group - 1;
    }
    return AMMPL_OK;
}

/* One group of all, or one of each shift, with as many rows as all sequences have in common. */
static ammpl_status try_sharing(ammpli_engine *e, const ammpli_text_stage *t, bool by_shift, ammpli_text_sharing *out)
{
    *out = (ammpli_text_sharing){.rows = t->prompt->text.max_len};
    TRY(ammpli_take_host_zeros(e, t->n, sizeof(int32_t), (void **)&out->group));
    TRY(ammpli_take_host_zeros(e, t->n, sizeof(int32_t), (void **)&out->first));
    if (by_shift)
        TRY(group_by_shift(e, t, out));
    else
        out->count = 1;
    for (int64_t i = 0; i < t->n; i++)
        out->rows = common_rows(t, 0, i, by_shift, out->rows);
    return AMMPL_OK;
}

static int64_t saved_rows(const ammpli_text_stage *t, const ammpli_text_sharing *sharing, int64_t groups)
{
    return (t->n - groups) * sharing->rows;
}

static bool in_one_chunk(const ammpli_text_stage *t)
{
    return ammpli_chunk_end(&t->chunks, 0) == t->n;
}

/* The grouping that saves most rows: with the most groups that there can be, so that what was planned suffices, and gradients keep their
 * bits however many chunks there are.  Forward keeps them in any grouping, and in one chunk fewer groups take less memory: there those decide
 * that there are. */
static ammpl_status find_sharing(ammpl_session *s, ammpli_text_stage *t)
{
    ammpli_engine *e = &s->engine;
    int64_t longest = e->without & AMMPLI_WITHOUT_CUT ? e->model->context : t->prompt->text.max_len;
    t->sharing = (ammpli_text_sharing){0};
    t->chunks = ammpli_chunks_of(s, &e->model->text, t->n, t->n, longest, t->backward);
    if (e->without & AMMPLI_WITHOUT_PREFIX)
        return AMMPL_OK;
    for (int by_shift = 0; by_shift <= (t->shift != NULL); by_shift++) {
        ammpli_text_sharing found;
        TRY(try_sharing(e, t, by_shift, &found));
        int64_t groups = by_shift && (t->backward || !in_one_chunk(t)) ? t->shifts : found.count;
        if (saved_rows(t, &found, groups) > saved_rows(t, &t->sharing, t->sharing.count)) {
            t->sharing = found;
            t->chunks = ammpli_chunks_of(s, &e->model->text, t->n, t->n, longest - found.rows, t->backward);
        }
    }
    return AMMPL_OK;
}

/* ---- rows of a pass ---- */

typedef struct row_writer {
    const ammpli_text_stage *t;
    int32_t *base, *gap, *ctx, *shift;
    int64_t gaps;
} row_writer;

/* Rows from..to-1 of sequence i, as rows at.. of the pass.  Behind the one that is read it goes on and on. */
static void write_rows(row_writer *w, int64_t i, int64_t from, int64_t to, int64_t at)
{
    const ammpli_text_plan *plan = &w->t->prompt->text;
    int32_t c = class_of(w->t, i), start = plan->start[c];
    int64_t last = length_of(plan, c) - 1;
    for (int64_t j = 0, m = 0; j < to; j++) {
        int64_t row = start + (j < last ? j : last);
        bool gap = plan->id[row] < 0;
        if (j >= from) {
            w->base[at + j - from] = (int32_t)row;
            if (gap) {
                w->gap[w->gaps] = (int32_t)(at + j - from);
                w->ctx[w->gaps] = (int32_t)(w->t->per_class ? c * plan->M + m : m);
                w->shift[w->gaps++] = w->t->shift ? w->t->shift_of[i] : 0;
            }
        }
        m += gap;
    }
}

/* The pass of sequences from..to-1, and of the shared rows where `shared`: as sequences in front of them.  Gaps of shared rows
 * come last, so that their gradients are added last, as when they are a pass of their own. */
static ammpl_status layout(ammpli_engine *e, const ammpli_text_stage *t, int64_t from, int64_t to, bool shared, ammpli_pass *pass,
                           ammpli_text_rows *rows)
{
    const ammpli_text_plan *plan = &t->prompt->text;
    const ammpli_text_sharing *sharing = &t->sharing;
    int64_t n = to - from, P = sharing->rows, ahead = shared ? sharing->count : 0, B = ahead + n, T = ahead * P;
    int64_t room = n + (!shared ? 0 : t->shift ? t->shifts : 1), most = room * plan->M; /* for as many groups as there can be */
    int64_t max_len = shared ? P : 0, others = 0;
    for (int64_t i = from; i < to; i++) {
        T += length(e, t, i) - P;
        max_len = length(e, t, i) - P > max_len ? length(e, t, i) - P : max_len;
    }
    if (T + most > INT32_MAX)
        return ammpli_fail(AMMPL_E_MEMORY, "%lld text sequences in one pass are too many; use a smaller batch", (long long)n);
    row_writer w = {.t = t};
    int32_t *start, *read, *group, *other, *device;
    TRY(ammpli_take_host(e, (size_t)(2 * T + 3 * most + 2 * room + n + 1) * sizeof(int32_t), (void **)&w.base));
    w.gap = w.base + T;
    w.ctx = w.gap + most;
    w.shift = w.ctx + most;
    start = w.shift + most;
    read = start + room + 1;
    group = read + n;
    other = group + room;
    int64_t row = ahead * P;
    for (int64_t i = 0; i < n; row += length(e, t, from + i) - P, i++) {
        int32_t c = class_of(t, from + i);
        start[ahead + i] = (int32_t)row;
        read[i] = (int32_t)(row + plan->read[c] - plan->start[c] - P);
        group[ahead + i] = P > 0 ? sharing->group[from + i] : -1;
        write_rows(&w, from + i, P, length(e, t, from + i), row);
    }
    start[B] = (int32_t)row;
    for (int64_t g = 0; g < ahead; g++) {
        start[g] = (int32_t)(g * P);
        group[g] = -1;
        write_rows(&w, sharing->first[g], 0, P, g * P);
    }
    for (int64_t r = 0; t->deep && r < T; r++)
        if (plan->id[w.base[r]] >= 0)
            other[others++] = (int32_t)r;
    int64_t total = other + others - w.base;
    TRY(ammpli_take_ints(e, w.base, total, &device));
    *rows = (ammpli_text_rows){.base = device,
                               .gaps = w.gaps,
                               .gap = device + (w.gap - w.base),
                               .ctx = device + (w.ctx - w.base),
                               .shift = device + (w.shift - w.base)};
    *pass = (ammpli_pass){.B = B,
                          .T = T,
                          .max_len = max_len,
                          .start = device + (start - w.base),
                          .read = device + (read - w.base),
                          .wanted = w.gaps,
                          .wanted_row = rows->gap,
                          .prefix = {.rows = P,
                                     .count = P > 0 ? sharing->count : 0,
                                     .group = device + (group - w.base),
                                     .of = P > 0 && !shared ? &t->first : NULL}};
    if (t->deep)
        pass->slots = (ammpli_slots){.n = w.gaps,
                                     .row = rows->gap,
                                     .token = rows->ctx,
                                     .other = device + (other - w.base),
                                     .prompt = t->deep,
                                     .first = 1};
    return AMMPL_OK;
}

/* The input rows x [T,l]. */
static ammpl_status assemble(ammpli_engine *e, const ammpli_text_stage *t, const ammpli_pass *pass, const ammpli_text_rows *rows, float *x)
{
    int64_t l = e->model->text.width;
    RUN(rows_copy, x, NULL, t->prompt->text.base, rows->base, pass->T, l);
    RUN(rows_add, x, rows->gap, t->ctx, rows->ctx, rows->gaps, l);
    return t->shift ? e->ops->rows_add(e->stream, x, rows->gap, t->shift, rows->shift, rows->gaps, l) : AMMPL_OK;
}

/* Sequences from..to-1 through the tower to feature [to-from,E]; what stays of it is in the pass. */
static ammpl_status encode(ammpli_engine *e, const ammpli_text_stage *t, int64_t from, int64_t to, bool keep, ammpli_pass *pass,
                           ammpli_text_rows *rows, float *feature)
{
    float *x;
    TRY(layout(e, t, from, to, in_one_chunk(t), pass, rows));
    pass->keep = keep;
    TRY(ammpli_take_floats(e, pass->T * e->model->text.width, &x));
    TRY(assemble(e, t, pass, rows, x));
    return ammpli_text_forward(e, pass, x, feature);
}

/* The shared rows as a pass of their own, t->first, whose keys and values every chunk reads. */
static ammpl_status encode_shared(ammpli_engine *e, ammpli_text_stage *t)
{
    float *x;
    TRY(layout(e, t, 0, 0, true, &t->first, &t->first_rows));
    t->first.tower = &e->model->text;
    t->first.to = t->first.tower->layers;
    t->first.keep = true;
    TRY(ammpli_pass_take(e, &t->first));
    ammpli_mark mark = ammpli_arena_mark(e);
    TRY(ammpli_take_floats(e, t->first.T * e->model->text.width, &x));
    TRY(assemble(e, t, &t->first, &t->first_rows, x));
    TRY(ammpli_blocks_forward(e, &t->first, x));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_text_stage_forward(ammpl_session *s, ammpli_text_stage *t)
{
    ammpli_engine *e = &s->engine;
    int64_t E = e->model->embed;
    TRY(find_sharing(s, t));
    TRY(ammpli_take_floats(e, t->n * E, &t->z));
    TRY(ammpli_take_floats(e, t->n, &t->norm));
    if (!in_one_chunk(t) && t->sharing.rows > 0)
        TRY(encode_shared(e, t));
    for (int64_t from = 0, to; from < t->n; from = to) {
        to = ammpli_chunk_end(&t->chunks, from);
        bool keep = from < t->chunks.kept;
        ammpli_mark mark = ammpli_arena_mark(e);
        ammpli_pass pass;
        ammpli_text_rows rows;
        float *feature;
        TRY(ammpli_take_floats(e, (to - from) * E, &feature));
        TRY(encode(e, t, from, to, keep, keep ? &t->kept : &pass, keep ? &t->kept_rows : &rows, feature));
        if (t->raw)
            RUN(copy, t->z + from * E, feature, (size_t)((to - from) * E) * sizeof(float));
        else
            RUN(l2norm_forward, t->z + from * E, t->norm + from, feature, to - from, E);
        if (!keep)
            ammpli_arena_release(e, mark);
    }
    return AMMPL_OK;
}

/* dx [T,l] of a pass's input rows to the context and the shift. */
static ammpl_status scatter(ammpli_engine *e, const ammpli_text_rows *rows, const float *dx, float *dctx, float *dshift)
{
    int64_t l = e->model->text.width;
    RUN(rows_add, dctx, rows->ctx, dx, rows->gap, rows->gaps, l);
    return dshift ? e->ops->rows_add(e->stream, dshift, rows->shift, dx, rows->gap, rows->gaps, l) : AMMPL_OK;
}

static ammpl_status backward_chunk(ammpl_session *s, const ammpli_text_stage *t, int64_t from, int64_t to, const float *dz,
                                   float *shared, float *dctx, float *dshift, float *const *ddeep)
{
    ammpli_engine *e = &s->engine;
    int64_t E = e->model->embed, n = to - from;
    const float *dfeature = dz + from * E;
    ammpli_pass pass = t->kept;
    ammpli_text_rows rows = t->kept_rows;
    float *feature, *dx;
    TRY(ammpli_take_floats(e, n * E, &feature));
    if (from >= t->chunks.kept)
        TRY(encode(e, t, from, to, true, &pass, &rows, feature));
    pass.prefix.gradient = shared;
    TRY(ammpli_take_floats(e, pass.T * e->model->text.width, &dx));
    if (!t->raw) {
        RUN(l2norm_backward, feature, dfeature, t->z + from * E, t->norm + from, n, E);
        dfeature = feature;
    }
    TRY(ammpli_text_backward(e, &pass, dfeature, dx, ddeep));
    return scatter(e, &rows, dx, dctx, dshift);
}

ammpl_status ammpli_text_stage_backward(ammpl_session *s, const ammpli_text_stage *t, const float *dz, float *dctx, float *dshift,
                                        float *const *ddeep)
{
    ammpli_engine *e = &s->engine;
    const ammpli_tower *tower = &e->model->text;
    bool apart = !in_one_chunk(t) && t->sharing.rows > 0;
    ammpli_mark mark = ammpli_arena_mark(e);
    float *shared = NULL, *dx;
    if (apart)
        TRY(ammpli_take_zeros(e, tower->layers * t->first.T * 3 * tower->width, &shared));
    for (int64_t from = 0, to; from < t->n; from = to) {
        to = ammpli_chunk_end(&t->chunks, from);
        ammpli_mark chunk = ammpli_arena_mark(e);
        TRY(backward_chunk(s, t, from, to, dz, shared, dctx, dshift, ddeep));
        ammpli_arena_release(e, chunk);
    }
    if (apart) {
        ammpli_pass first = t->first;
        first.prefix.gradient = shared;
        TRY(ammpli_take_floats(e, first.T * tower->width, &dx));
        TRY(ammpli_blocks_backward(e, &first, NULL, dx, ddeep));
        TRY(scatter(e, &t->first_rows, dx, dctx, dshift));
    }
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}
