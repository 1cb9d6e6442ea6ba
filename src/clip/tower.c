/* tower.c - both towers around their blocks: text (methods.md 1.5), images with visual prompts (1.3, 5.5). */
#include "clip/tower.h"

/* dfeature [reads,E] through the projection, ln_post and all blocks to dx [T,D]. */
static ammpl_status tower_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dx,
                                   float *const *dprompt)
{
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dlast;
    TRY(ammpli_take_floats(e, ammpli_pass_reads(pass) * pass->tower->width, &dlast));
    TRY(ammpli_feature_backward(e, pass, dfeature, dlast));
    TRY(ammpli_blocks_backward(e, pass, dlast, dx, dprompt));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_text_forward(ammpli_engine *e, ammpli_pass *pass, float *x, float *feature)
{
    pass->tower = &e->model->text;
    pass->from = 0;
    pass->to = pass->tower->layers;
    TRY(ammpli_pass_take(e, pass));
    TRY(ammpli_blocks_forward(e, pass, x));
    return ammpli_feature_forward(e, pass, feature);
}

ammpl_status ammpli_text_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dx,
                                  float *const *dprompt)
{
    return tower_backward(e, pass, dfeature, dx, dprompt);
}

ammpl_status ammpli_image_layout(ammpli_engine *e, ammpli_pass *pass, int64_t n, int64_t V, bool own, bool front)
{
    const ammpli_tower *t = &e->model->image;
    front = front && V > 0 && !(e->without & (AMMPLI_WITHOUT_FRONT | AMMPLI_WITHOUT_ROWS));
    int64_t P = e->model->grid * e->model->grid, N = P + 1, L = N + V, total = n * (2 * P + 3 + N + 2 * V) + 1;
    int64_t ahead = front ? n * V : 0, step = front ? N : L; /* rows before all images; from one to the next */
    if (n * L > INT32_MAX || total > INT32_MAX)
        return ammpli_fail(AMMPL_E_MEMORY, "%lld images in one pass are more tokens than can be counted; use a smaller batch",
                           (long long)n);
    int32_t *host, *device;
    TRY(ammpli_take_host(e, (size_t)total * sizeof *host, (void **)&host));
    int32_t *patch = host, *position = patch + n * P, *start = position + n * P, *read = start + n + 1, *other = read + n;
    int32_t *slot = other + n * N, *token = slot + n * V, *sees = token + n * V;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = ahead + i * step;
        start[i] = (int32_t)(i * step);
        read[i] = (int32_t)row;
        sees[i] = (int32_t)i;
        for (int64_t p = 0; p < P; p++) {
            patch[i * P + p] = (int32_t)(row + 1 + p);
            position[i * P + p] = (int32_t)p;
        }
        for (int64_t j = 0; j < N; j++)
            other[i * N + j] = (int32_t)(row + j);
        for (int64_t v = 0; v < V; v++) {
            slot[i * V + v] = (int32_t)(front ? i * V + v : row + N + v);
            token[i * V + v] = (int32_t)(own ? i * V + v : v);
        }
    }
    start[n] = (int32_t)(n * step);
    TRY(ammpli_take_ints(e, host, total, &device));
    *pass = (ammpli_pass){.tower = t,
                          .to = t->layers,
                          .B = n,
                          .T = ahead + n * step,
                          .max_len = step,
                          .start = device + (start - host),
                          .read = device + (read - host),
                          .slots = {.n = n * V,
                                    .row = device + (slot - host),
                                    .token = device + (token - host),
                                    .other = device + (other - host),
                                    .front = front ? device + (sees - host) : NULL},
                          .patch_row = device,
                          .position = device + (position - host)};
    return AMMPL_OK;
}

ammpl_status ammpli_image_embed(ammpli_engine *e, ammpli_pass *pass, const float *token, const float *first_prompt, float *x)
{
    const ammpl_model *m = e->model;
    int64_t n = pass->B, patches = n * m->grid * m->grid, W = m->image.width;
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *zeros;
    TRY(ammpli_take(e, (size_t)n * sizeof *zeros, (void **)&zeros));
    RUN(zero, zeros, (size_t)n * sizeof *zeros);
    if (pass->slots.n > 0 && !first_prompt) /* overwritten before they are read, but ln_pre sees them */
        RUN(zero, pass->embedded, (size_t)(pass->T * W) * sizeof(float));
    /* CLS and its position are one constant row. */
    RUN(rows_copy, pass->embedded, pass->read, m->class_row, zeros, n, W);
    RUN(rows_copy, pass->embedded, pass->patch_row, token, NULL, patches, W);
    RUN(rows_add, pass->embedded, pass->patch_row, m->patch_position, pass->position, patches, W);
    if (first_prompt)
        RUN(rows_copy, pass->embedded, pass->slots.row, first_prompt, pass->slots.token, pass->slots.n, W);
    RUN(layernorm_forward, x, pass->embedded, m->ln_pre_gamma, m->ln_pre_beta, pass->T, W, pass->tower->eps);
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

/* The input layer's prompt where ln_pre acts on it, else NULL. */
static const float *prompt_before_ln(const ammpli_visual *visual)
{
    return visual && !visual->raw ? visual->prompt[0] : NULL;
}

/* The number of blocks before tokens are dropped; all, where they are not. */
static int64_t blocks_with_slots(const ammpli_tower *t, const ammpli_visual *visual)
{
    int64_t n = t->layers;
    while (visual && visual->raw && n > 0 && !visual->prompt[n - 1])
        n--;
    return n;
}

/* The number of blocks before each of which prompts enter whose outputs are overwritten, or dropped (by block `dropped`), right behind it. */
static int64_t blocks_with_new_slots(const ammpli_tower *t, const ammpli_visual *visual, int64_t dropped)
{
    int64_t n = 0;
    while (visual && n + 1 < t->layers && visual->prompt[n] && (n + 1 == dropped || visual->prompt[n + 1]))
        n++;
    return n;
}

/* Adds blocks from..to-1 to a run, where there are any, with V slots an image, `front` or at its end. */
static ammpl_status add_pass(ammpli_engine *e, ammpli_image_run *run, int64_t from, int64_t to, int64_t n, int64_t V, bool front,
                             const ammpli_visual *visual, bool keep)
{
    if (from == to)
        return AMMPL_OK;
    ammpli_pass *pass = &run->pass[run->count++];
    TRY(ammpli_image_layout(e, pass, n, V, false, front));
    pass->from = from;
    pass->to = to;
    pass->keep = keep;
    if (visual) {
        pass->slots.prompt = visual->prompt;
        pass->slots.first = prompt_before_ln(visual) ? 1 : 0;
        pass->slots.drop = to < pass->tower->layers;
    }
    return ammpli_pass_take(e, pass);
}

ammpl_status ammpli_image_forward(ammpli_engine *e, ammpli_image_run *run, const float *token, int64_t n, const ammpli_visual *visual,
                                  bool keep, float *feature)
{
    const ammpli_tower *t = &e->model->image;
    int64_t W = t->width, V = visual ? visual->V : 0, dropped = blocks_with_slots(t, visual);
    int64_t fresh = blocks_with_new_slots(t, visual, dropped);
    *run = (ammpli_image_run){0};
    TRY(add_pass(e, run, 0, fresh, n, V, true, visual, keep));
    TRY(add_pass(e, run, fresh, dropped, n, V, false, visual, keep));
    TRY(add_pass(e, run, dropped, t->layers, n, 0, false, NULL, keep));
    TRY(ammpli_take_floats(e, run->pass[0].T * W, &run->pass[0].embedded));
    ammpli_mark mark = ammpli_arena_mark(e);
    float *x, *next;
    TRY(ammpli_take_floats(e, run->pass[0].T * W, &x));
    TRY(ammpli_image_embed(e, &run->pass[0], token, prompt_before_ln(visual), x));
    TRY(ammpli_blocks_forward(e, &run->pass[0], x));
    for (int k = 1; k < run->count; k++, x = next) {
        const ammpli_slots *from = &run->pass[k - 1].slots, *to = &run->pass[k].slots;
        TRY(ammpli_take_floats(e, run->pass[k].T * W, &next));
        RUN(rows_copy, next, to->other, x, from->other, run->pass[k].T - to->n, W);
        TRY(ammpli_blocks_forward(e, &run->pass[k], next));
    }
    TRY(ammpli_feature_forward(e, &run->pass[run->count - 1], feature));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_image_backward(ammpli_engine *e, const ammpli_image_run *run, const float *dfeature, float *dtoken,
                                   const ammpli_visual *visual, float *const *dprompt)
{
    const ammpl_model *m = e->model;
    ammpli_image_run back = *run;
    ammpli_pass *pass = &back.pass[0];
    int last = back.count - 1;
    int64_t W = m->image.width;
    bool first = prompt_before_ln(visual) && dprompt && dprompt[0];
    if (!dtoken) { /* patches are what they are: only prompts learn */
        pass->wanted = pass->slots.n;
        pass->wanted_row = pass->slots.row;
    }
    ammpli_mark mark = ammpli_arena_mark(e);
    float *dx, *before;
    TRY(ammpli_take_floats(e, back.pass[last].T * W, &dx));
    TRY(tower_backward(e, &back.pass[last], dfeature, dx, dprompt));
    for (int k = last - 1; k >= 0; k--, dx = before) {
        const ammpli_slots *from = &back.pass[k + 1].slots, *to = &back.pass[k].slots;
        TRY(ammpli_take_floats(e, back.pass[k].T * W, &before));
        RUN(rows_copy, before, to->other, dx, from->other, back.pass[k].T - to->n, W);
        TRY(ammpli_blocks_backward(e, &back.pass[k], NULL, before, dprompt));
    }
    if (dtoken || first)
        RUN(layernorm_backward, dx, dx, pass->embedded, m->ln_pre_gamma, NULL, pass->T, W, pass->tower->eps);
    if (first)
        RUN(rows_add, dprompt[0], pass->slots.token, dx, pass->slots.row, pass->slots.n, W);
    if (dtoken)
        RUN(rows_copy, dtoken, NULL, dx, pass->patch_row, pass->B * m->grid * m->grid, W);
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

/* Leading tokens that all texts have in common (shortcut 2), never the one that is read; 0 for a single text. */
static int64_t common_tokens(int32_t *const *ids, const int64_t *rows, int64_t n)
{
    int64_t common = n > 1 ? rows[0] - 1 : 0;
    for (int64_t i = 1; i < n; i++) {
        int64_t j = 0;
        while (j < common && j < rows[i] - 1 && ids[i][j] == ids[0][j])
            j++;
        common = j;
    }
    return common;
}

/* Rows of a pass of texts as they are written. */
typedef struct text_rows {
    int32_t *id, *position, *start, *group, row;
} text_rows;

static void write_text(text_rows *w, const int32_t *ids, int64_t from, int64_t to, int32_t group)
{
    *w->start++ = w->row;
    *w->group++ = group;
    for (int64_t j = from; j < to; j++, w->row++) {
        *w->id++ = ids[j];
        *w->position++ = (int32_t)j;
    }
}

ammpl_status ammpli_text_features(ammpli_engine *e, int32_t *const *ids, const size_t *len, int64_t n, float *feature)
{
    const ammpl_model *m = e->model;
    int64_t l = m->text.width, max_len = 0, T = 0, *rows;
    ammpli_mark mark = ammpli_arena_mark(e);
    TRY(ammpli_take_host(e, (size_t)n * sizeof *rows, (void **)&rows));
    for (int64_t i = 0; i < n; i++)
        rows[i] = read_length(ids[i], len[i], ammpli_tokenizer_eot(m->tokenizer));
    int64_t P = e->without & AMMPLI_WITHOUT_PREFIX ? 0 : common_tokens(ids, rows, n), ahead = P > 0, B = ahead + n;
    max_len = T = P;
    for (int64_t i = 0; i < n; i++) {
        T += rows[i] - P;
        max_len = rows[i] - P > max_len ? rows[i] - P : max_len;
    }
    int64_t total = 2 * T + (B + 1) + B + n;
    int32_t *host, *device, *x_start, *x_group, *x_read;
    TRY(ammpli_take_host(e, (size_t)total * sizeof *host, (void **)&host));
    x_start = host + 2 * T;
    x_group = x_start + B + 1;
    x_read = x_group + B;
    text_rows w = {.id = host, .position = host + T, .start = x_start, .group = x_group};
    if (ahead)
        write_text(&w, ids[0], 0, P, -1);
    for (int64_t i = 0; i < n; i++) {
        write_text(&w, ids[i], P, rows[i], 0);
        x_read[i] = w.row - 1;
    }
    *w.start = w.row;
    TRY(ammpli_take_ints(e, host, total, &device));
    float *x;
    TRY(ammpli_take_floats(e, T * l, &x));
    RUN(embed, x, m->token_table, m->token_dtype, device, T, l);
    RUN(rows_add, x, NULL, m->text_position, device + T, T, l);
    ammpli_pass pass = {.B = B,
                        .T = T,
                        .max_len = max_len,
                        .start = device + (x_start - host),
                        .read = device + (x_read - host),
                        .prefix = {.rows = P, .count = ahead, .group = device + (x_group - host)}};
    TRY(ammpli_text_forward(e, &pass, x, feature));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}
