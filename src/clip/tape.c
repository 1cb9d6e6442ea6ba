/* tape.c - a tape's way forward (tape.h): layouts of rows, inserts, runs of blocks, features. */
#include "clip/tape.h"

#include "core/config.h"

#include <math.h>
#include <string.h>

/* ---- life ---- */

ammpl_status ammpli_tape_create(const ammpl_model *m, const ammpl_config *cfg, ammpl_tape **out)
{
    *out = NULL;
    ammpl_tape *t = ammpli_alloc(m->ctx, 1, sizeof *t);
    if (!t)
        return AMMPL_E_MEMORY;
    ammpl_status status = ammpli_engine_open(&t->engine, m);
    if (status < 0) {
        ammpli_free(m->ctx, t);
        return status;
    }
    t->model = ammpli_model_hold(m);
    t->limit = ammpli_config_int(cfg, AMMPL_OPT_MEMORY_LIMIT);
    *out = t;
    return AMMPL_OK;
}

/* Forgets the pass; the arena's memory stays for the next one. */
static void clear(ammpl_tape *t)
{
    ammpl_context *ctx = t->model->ctx;
    for (size_t i = 0; i < t->segments; i++) {
        ammpli_free(ctx, t->segment[i].prompt);
        ammpli_free(ctx, t->segment[i].grad);
    }
    ammpli_free(ctx, t->length);
    ammpl_tape kept = *t;
    *t = (ammpl_tape){.model = kept.model, .engine = kept.engine, .limit = kept.limit, .insert = kept.insert,
                      .insert_cap = kept.insert_cap, .segment = kept.segment, .segment_cap = kept.segment_cap,
                      .read = kept.read, .read_cap = kept.read_cap};
    ammpli_arena_reset(&t->engine);
}

void ammpli_tape_destroy(ammpl_tape *t)
{
    clear(t);
    ammpl_model *m = t->model;
    ammpli_free(m->ctx, t->insert);
    ammpli_free(m->ctx, t->segment);
    ammpli_free(m->ctx, t->read);
    ammpli_engine_close(&t->engine);
    ammpli_free(m->ctx, t);
    ammpli_model_release(m);
}

/* ---- memory ---- */

static ammpl_status tower_of(const ammpl_model *m, int32_t which, const ammpli_tower **out)
{
    bool text = which == AMMPL_TOWER_TEXT;
    if (!text && which != AMMPL_TOWER_IMAGE)
        return ammpli_fail(AMMPL_E_OPTION, "there is no tower number %d: AMMPL_TOWER_TEXT or AMMPL_TOWER_IMAGE", which);
    if (text ? !m->has_text : !m->has_image)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded without its %s tower (option towers)", text ? "text" : "image");
    *out = text ? &m->text : &m->image;
    return AMMPL_OK;
}

ammpl_status ammpli_tape_plan(const ammpl_model *m, int32_t which, int64_t n, int64_t rows, int32_t record, uint64_t *bytes)
{
    const ammpli_tower *tower = NULL;
    TRY(tower_of(m, which, &tower));
    uint64_t each = ammpli_pass_bytes(tower, rows, record != AMMPL_RECORD_NONE);
    if (rows > INT32_MAX / n || __builtin_mul_overflow(each, (uint64_t)n, bytes))
        return ammpli_fail(AMMPL_E_MEMORY, "%lld sequences of %lld rows are more than can be counted; take fewer at once", (long long)n,
                           (long long)rows);
    return AMMPL_OK;
}

/* So many rows in all fit the limit. */
static ammpl_status check_memory(const ammpl_tape *t, int64_t rows)
{
    uint64_t need = ammpli_pass_bytes(t->tower, rows, t->record != AMMPL_RECORD_NONE), each = need / (uint64_t)t->n;
    if (rows > INT32_MAX)
        return ammpli_fail(AMMPL_E_MEMORY, "%lld rows in one pass are more than can be counted; begin with fewer sequences", (long long)rows);
    if (t->limit > 0 && each > (uint64_t)t->limit)
        return ammpli_fail(AMMPL_E_MEMORY, "one sequence takes %llu bytes, memory_limit is %lld: give it more, or shorter sequences",
                           (unsigned long long)each, (long long)t->limit);
    if (t->limit > 0 && need > (uint64_t)t->limit)
        return ammpli_fail(AMMPL_E_MEMORY, "%lld sequences of %lld rows in all take %llu bytes, memory_limit is %lld: begin with at most %lld at once",
                           (long long)t->n, (long long)rows, (unsigned long long)need, (long long)t->limit,
                           (long long)((uint64_t)t->limit / each));
    return AMMPL_OK;
}

/* ---- layouts ---- */

/* Rows of a text pass whose prefix is a sequence of its own, or stands before every sequence. */
static int64_t text_rows_of(const ammpl_tape *t, bool shared)
{
    int64_t rows = shared ? t->S : t->n * t->S;
    for (int64_t i = 0; i < t->n; i++)
        rows += t->length[i];
    return rows;
}

/* Index arrays of a text layout, in host memory, while they are written. */
typedef struct text_writer {
    int32_t *slot, *token, *other, *came;
    int64_t slots, others, row;
} text_writer;

/* Places from..to-1 of a sequence: `before` is the row that place `from` had in the layout before, `tokens` the first of its
 * prompt tokens. */
static void write_places(const ammpl_tape *t, text_writer *w, int64_t from, int64_t to, int64_t before, int64_t tokens)
{
    for (int64_t j = from; j < to; j++, w->row++) {
        if (j >= t->slot_first && j < t->slot_first + t->V) {
            w->slot[w->slots] = (int32_t)w->row;
            w->token[w->slots++] = (int32_t)(tokens + j - t->slot_first);
        } else {
            w->other[w->others] = (int32_t)w->row;
            w->came[w->others++] = (int32_t)(before + j - from);
        }
    }
}

/* Sequences without gaps between them; `shared`: the prefix first, as a sequence of its own.  t->came is set, too. */
static ammpl_status text_layout(ammpl_tape *t, bool own, bool shared, ammpli_pass *out)
{
    int64_t n = t->n, ahead = shared ? 1 : 0, B = ahead + n, T = text_rows_of(t, shared), longest = shared ? t->S : 0;
    bool was_shared = t->phase == AMMPLI_TAPE_OPEN ? t->layout.prefix.rows > 0 : shared;
    int32_t *host = ammpli_alloc(t->model->ctx, (size_t)(2 * B + 1 + n + 4 * T), sizeof *host), *device = NULL;
    if (!host)
        return AMMPL_E_MEMORY;
    int32_t *start = host, *group = start + B + 1, *read = group + B;
    text_writer w = {.slot = read + n, .token = read + n + T, .other = read + n + 2 * T, .came = read + n + 3 * T};
    int64_t before = was_shared ? t->S : 0;
    if (shared) {
        start[0] = 0;
        group[0] = -1;
        write_places(t, &w, 0, t->S, 0, 0);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t S = t->S, len = t->length[i], tokens = own ? i * t->V : 0;
        start[ahead + i] = (int32_t)w.row;
        group[ahead + i] = shared ? 0 : -1;
        if (!shared)
            write_places(t, &w, 0, S, was_shared ? 0 : before, tokens);
        before += was_shared ? 0 : S;
        write_places(t, &w, S, S + len, before, tokens);
        before += len;
        read[i] = (int32_t)w.row - 1;
        longest = (shared ? 0 : S) + len > longest ? (shared ? 0 : S) + len : longest;
    }
    start[B] = (int32_t)w.row;
    ammpl_status status = ammpli_take_ints(&t->engine, host, 2 * B + 1 + n + 4 * T, &device);
    *out = (ammpli_pass){.tower = t->tower,
                         .B = B,
                         .T = T,
                         .max_len = longest,
                         .start = device,
                         .read = device + (read - host),
                         .slots = {.n = w.slots,
                                   .row = device + (w.slot - host),
                                   .token = device + (w.token - host),
                                   .other = device + (w.other - host)},
                         .prefix = {.rows = shared ? t->S : 0, .count = ahead, .group = device + (group - host)}};
    t->came = device + (w.came - host);
    ammpli_free(t->model->ctx, host);
    return status;
}

/* The rows of now under another number of slots or other owners of them; the slots' rows are to be overwritten. */
static ammpl_status relayout(ammpl_tape *t, int64_t V, bool own)
{
    ammpli_engine *e = &t->engine;
    ammpli_pass layout;
    if (t->tower == &t->model->text) {
        bool shared = t->layout.prefix.rows > 0 && !(own && t->slot_first < t->S);
        TRY(text_layout(t, own, shared, &layout));
    } else {
        t->came = t->layout.slots.other;
        TRY(ammpli_image_layout(e, &layout, t->n, V, own, false));
    }
    if (layout.T != t->layout.T) {
        float *x;
        int64_t D = t->tower->width;
        TRY(ammpli_take_zeros(e, layout.T * D, &x));
        RUN(rows_copy, x, layout.slots.other, t->x, t->came, layout.T - layout.slots.n, D);
        t->x = x;
    }
    t->layout = layout;
    t->V = V;
    t->own = own;
    return AMMPL_OK;
}

int64_t ammpli_tape_width(const ammpl_tape *t, const ammpli_pass *layout)
{
    return t->tower == &t->model->text ? t->S + t->L : layout->T / layout->B;
}

ammpl_status ammpli_tape_download(ammpl_tape *t, const ammpli_pass *layout, const float *rows, float *out)
{
    ammpli_engine *e = &t->engine;
    size_t D = (size_t)t->tower->width, bytes = (size_t)layout->T * D * sizeof(float), S = (size_t)t->S * D;
    if (t->tower != &t->model->text)
        return e->ops->download(e->stream, out, rows, bytes);
    float *host = ammpli_alloc(e->ctx, (size_t)layout->T * D, sizeof *host);
    ammpl_status status = host ? e->ops->download(e->stream, host, rows, bytes) : AMMPL_E_MEMORY;
    const float *from = host;
    bool shared = layout->prefix.rows > 0;
    from += shared && status >= 0 ? S : 0;
    for (int64_t i = 0; i < t->n && status >= 0; i++) {
        size_t count = (size_t)t->length[i] * D, all = S + (size_t)t->L * D;
        memcpy(out, shared ? host : from, S * sizeof *out);
        from += shared ? 0 : S;
        memcpy(out + S, from, count * sizeof *out);
        memset(out + S + count, 0, (all - S - count) * sizeof *out);
        from += count;
        out += all;
    }
    ammpli_free(e->ctx, host);
    return status;
}

ammpl_status ammpli_tape_upload(ammpl_tape *t, const ammpli_pass *layout, const float *in, float **rows)
{
    ammpli_engine *e = &t->engine;
    int64_t D = t->tower->width, S = t->S * D;
    if (t->tower != &t->model->text)
        return ammpli_take_copy(e, in, layout->T * D, rows);
    float *host = ammpli_alloc(e->ctx, (size_t)(layout->T * D), sizeof *host), *to = host;
    bool shared = layout->prefix.rows > 0;
    if (!host)
        return AMMPL_E_MEMORY;
    to += shared ? S : 0;
    for (int64_t i = 0; i < t->n; i++) {
        int64_t count = t->length[i] * D;
        for (int64_t j = 0; j < S; j++) /* zero at first; shared rows gather all sequences' */
            (shared ? host : to)[j] += in[j];
        to += shared ? 0 : S;
        memcpy(to, in + S, (size_t)count * sizeof *to);
        to += count;
        in += S + t->L * D;
    }
    ammpl_status status = ammpli_take_copy(e, host, layout->T * D, rows);
    ammpli_free(e->ctx, host);
    return status;
}

/* ---- begin ---- */

static ammpl_status check_text(const ammpl_tape *t, const ammpl_text_input *in)
{
    const ammpl_model *m = t->model;
    if (in->L > (size_t)m->context || in->prefix_rows > (size_t)m->context || in->n > INT32_MAX)
        return ammpli_fail(AMMPL_E_RANGE, "%zu prefix rows and %zu rows: the model reads %lld", in->prefix_rows, in->L,
                           (long long)m->context);
    for (size_t i = 0; i < in->n; i++) {
        int64_t length = in->length ? in->length[i] : (int64_t)in->L, all = length + (int64_t)in->prefix_rows;
        if (length < 1 || length > (int64_t)in->L)
            return ammpli_fail(AMMPL_E_RANGE, "sequence %zu: a length of %lld, there are 1 to %zu rows", i, (long long)length, in->L);
        if (all > m->context)
            return ammpli_fail(AMMPL_E_RANGE, "sequence %zu has %lld rows, the model reads %lld", i, (long long)all, (long long)m->context);
        if (in->slots > 0 && (in->slot_first >= (size_t)all || in->slots >= (size_t)all - in->slot_first))
            return ammpli_fail(AMMPL_E_RANGE, "sequence %zu: slots %zu to %zu do not lie before its last row, %lld", i, in->slot_first,
                               in->slot_first + in->slots - 1, (long long)all - 1);
    }
    return AMMPL_OK;
}

/* x [T,l] = prefix and rows as the layout has them, plus positions. */
static ammpl_status text_rows(ammpl_tape *t, const ammpl_text_input *in)
{
    ammpli_engine *e = &t->engine;
    int64_t l = t->tower->width, T = t->layout.T, S = t->S;
    float *host = ammpli_alloc(e->ctx, (size_t)(T * l), sizeof *host), *to = host;
    int32_t *place = ammpli_alloc(e->ctx, (size_t)T, sizeof *place), *position, row = 0;
    ammpl_status status = host && place ? AMMPL_OK : AMMPL_E_MEMORY;
    if (status >= 0 && S > 0)
        memcpy(to, in->prefix, (size_t)(S * l) * sizeof *to);
    to += status >= 0 ? S * l : 0;
    for (int32_t j = 0; j < S && status >= 0; j++)
        place[row++] = j;
    for (int64_t i = 0; i < t->n && status >= 0; i++) {
        memcpy(to, in->rows + i * t->L * l, (size_t)(t->length[i] * l) * sizeof *to);
        to += t->length[i] * l;
        for (int32_t j = 0; j < t->length[i]; j++)
            place[row++] = (int32_t)S + j;
    }
    if (status >= 0)
        status = ammpli_take_copy(e, host, T * l, &t->x);
    if (status >= 0)
        status = ammpli_take_ints(e, place, T, &position);
    if (status >= 0)
        status = e->ops->rows_add(e->stream, t->x, NULL, t->model->text_position, position, T, l);
    ammpli_free(e->ctx, host);
    ammpli_free(e->ctx, place);
    return status;
}

static ammpl_status begin_text(ammpl_tape *t, const ammpl_text_input *in)
{
    TRY(tower_of(t->model, AMMPL_TOWER_TEXT, &t->tower));
    TRY(check_text(t, in));
    t->record = in->record;
    t->n = (int64_t)in->n;
    t->L = (int64_t)in->L;
    t->S = (int64_t)in->prefix_rows;
    t->slot_first = (int64_t)in->slot_first;
    t->V = (int64_t)in->slots;
    t->length = ammpli_alloc(t->model->ctx, in->n, sizeof *t->length);
    if (!t->length)
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < in->n; i++)
        t->length[i] = in->length ? in->length[i] : (int32_t)in->L;
    TRY(check_memory(t, text_rows_of(t, t->S > 0)));
    TRY(text_layout(t, false, t->S > 0, &t->layout));
    return text_rows(t, in);
}

/* x [n*N,W] = ln_pre([CLS | patches] + positions). */
static ammpl_status embed_pixels(ammpl_tape *t, const float *pixels)
{
    ammpli_engine *e = &t->engine;
    const ammpl_model *m = t->model;
    int64_t P = m->grid * m->grid, R = m->grid * m->patch, rows = t->layout.T * t->tower->width;
    float *host_pixels, *token;
    TRY(ammpli_take_floats(e, rows, &t->embedded));
    TRY(ammpli_take_floats(e, rows, &t->x));
    ammpli_mark mark = ammpli_arena_mark(e);
    TRY(ammpli_take_copy(e, pixels, t->n * 3 * R * R, &host_pixels));
    TRY(ammpli_take_floats(e, t->n * P * t->tower->width, &token));
    TRY(ammpli_patch_embed(e, host_pixels, t->n, token));
    t->layout.embedded = t->embedded;
    TRY(ammpli_image_embed(e, &t->layout, token, NULL, t->x));
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

static ammpl_status begin_image(ammpl_tape *t, const ammpl_image_input *in)
{
    TRY(tower_of(t->model, AMMPL_TOWER_IMAGE, &t->tower));
    if (in->n > INT32_MAX)
        return ammpli_fail(AMMPL_E_RANGE, "%zu images at once, more than %d", in->n, INT32_MAX);
    if (in->block < 0 || in->block >= t->tower->layers || (in->pixels && in->block != 0))
        return ammpli_fail(AMMPL_E_RANGE, "block %d: %s", in->block,
                           in->pixels ? "pixels begin before block 0" : "there is no such block in the image tower");
    t->record = in->record;
    t->n = (int64_t)in->n;
    t->at = in->block;
    TRY(check_memory(t, t->n * (t->model->grid * t->model->grid + 1)));
    TRY(ammpli_image_layout(&t->engine, &t->layout, t->n, 0, false, false));
    t->pixels = in->pixels != NULL;
    return t->pixels ? embed_pixels(t, in->pixels) : ammpli_take_copy(&t->engine, in->tokens, t->layout.T * t->tower->width, &t->x);
}

static ammpl_status begun(ammpl_tape *t, ammpl_status status)
{
    if (status < 0)
        clear(t);
    else {
        t->begun = t->layout;
        t->phase = AMMPLI_TAPE_OPEN;
    }
    return status;
}

ammpl_status ammpli_tape_begin_text(ammpl_tape *t, const ammpl_text_input *in)
{
    clear(t);
    return begun(t, begin_text(t, in));
}

ammpl_status ammpli_tape_begin_image(ammpl_tape *t, const ammpl_image_input *in)
{
    clear(t);
    return begun(t, begin_image(t, in));
}

/* ---- inserts ---- */

/* The insert before that block, or NULL. */
static const ammpli_insert *insert_at(const ammpl_tape *t, int64_t block)
{
    for (size_t i = 0; i < t->inserts; i++)
        if (t->insert[i].block == block)
            return &t->insert[i];
    return NULL;
}

static ammpl_status insert(ammpl_tape *t, int64_t block, const float *prompt, int64_t count, bool own, bool before_ln)
{
    ammpli_engine *e = &t->engine;
    const ammpl_model *m = t->model;
    int64_t D = t->tower->width, rows = own ? t->n * count : count;
    float *given = NULL, *raw;
    if (!ammpli_grow(m->ctx, (void **)&t->insert, &t->insert_cap, t->inserts + 1, sizeof *t->insert))
        return AMMPL_E_MEMORY;
    if (count > 0)
        TRY(ammpli_take_copy(e, prompt, rows * D, &given));
    raw = given;
    if (before_ln && count > 0) {
        TRY(ammpli_take_floats(e, rows * D, &raw));
        RUN(layernorm_forward, raw, given, m->ln_pre_gamma, m->ln_pre_beta, rows, D, t->tower->eps);
    }
    t->insert[t->inserts++] = (ammpli_insert){.block = block, .count = count, .own = own, .prompt = raw, .before = before_ln ? given : NULL};
    return AMMPL_OK;
}

ammpl_status ammpli_tape_insert(ammpl_tape *t, int64_t block, const float *prompt, int64_t count, bool own, bool before_ln)
{
    bool text = t->tower == &t->model->text;
    if (block < 0 || block >= t->tower->layers)
        return ammpli_fail(AMMPL_E_RANGE, "block %lld: the tower has %lld", (long long)block, (long long)t->tower->layers);
    if (block < t->at)
        return ammpli_fail(AMMPL_E_STATE, "block %lld has been run; prompts go into block %lld or later", (long long)block,
                           (long long)t->at);
    if (insert_at(t, block))
        return ammpli_fail(AMMPL_E_STATE, "block %lld has its prompts already", (long long)block);
    if (text && count != t->V)
        return ammpli_fail(AMMPL_E_SHAPE, "%lld tokens for the %lld slots that the text was begun with", (long long)count,
                           (long long)t->V);
    if (before_ln && (text || block != 0 || !t->pixels))
        return ammpli_fail(AMMPL_E_RANGE, "before_ln is for block 0 of images that were begun from pixels");
    if (count > INT32_MAX)
        return ammpli_fail(AMMPL_E_RANGE, "%lld tokens at once, more than %d", (long long)count, INT32_MAX);
    ammpl_status status = text ? check_memory(t, text_rows_of(t, t->S > 0 && !(own && t->slot_first < t->S)))
                               : check_memory(t, t->n * (t->model->grid * t->model->grid + 1 + count));
    if (status >= 0)
        status = insert(t, block, prompt, count, own, before_ln);
    if (status < 0)
        clear(t);
    return status;
}

/* ---- blocks ---- */

/* One segment: blocks from..to-1 on the rows as they are laid out. */
static ammpl_status run_segment(ammpl_tape *t, int64_t to, bool drop)
{
    ammpl_context *ctx = t->model->ctx;
    size_t layers = (size_t)t->tower->layers;
    if (!ammpli_grow(ctx, (void **)&t->segment, &t->segment_cap, t->segments + 1, sizeof *t->segment))
        return AMMPL_E_MEMORY;
    ammpli_segment *s = &t->segment[t->segments++];
    *s = (ammpli_segment){.pass = t->layout, .came = t->came, .prompt = ammpli_alloc(ctx, layers, sizeof *s->prompt),
                          .grad = ammpli_alloc(ctx, layers, sizeof *s->grad)};
    if (!s->prompt || !s->grad)
        return AMMPL_E_MEMORY;
    s->pass.from = t->at;
    s->pass.to = to;
    s->pass.slots.prompt = s->prompt;
    s->pass.slots.drop = drop;
    s->pass.keep = t->record == AMMPL_RECORD_ALL;
    for (size_t i = 0; i < t->inserts; i++) {
        if (t->insert[i].block >= t->at && t->insert[i].block < to)
            s->prompt[t->insert[i].block] = t->insert[i].prompt;
        s->pass.keep = s->pass.keep || (t->record == AMMPL_RECORD_PROMPTS && t->insert[i].block <= t->at);
    }
    TRY(ammpli_pass_take(&t->engine, &s->pass));
    TRY(ammpli_blocks_forward(&t->engine, &s->pass, t->x));
    t->at = to;
    return AMMPL_OK;
}

/* A segment goes on until here: to, or an insert that changes the slots, or the first one where only prompts are recorded. */
static int64_t segment_end(const ammpl_tape *t, int64_t to)
{
    int64_t end = to;
    bool before_all = true;
    for (size_t i = 0; i < t->inserts; i++)
        before_all = before_all && t->insert[i].block > t->at;
    for (size_t i = 0; i < t->inserts; i++) {
        const ammpli_insert *in = &t->insert[i];
        bool changes = in->count != t->V || in->own != t->own || (before_all && t->record == AMMPL_RECORD_PROMPTS);
        if (in->block > t->at && in->block < end && changes)
            end = in->block;
    }
    return end;
}

static ammpl_status run_blocks(ammpl_tape *t, int64_t to)
{
    while (t->at < to) {
        const ammpli_insert *in = insert_at(t, t->at);
        t->came = t->layout.slots.other; /* where the layout stays as it is */
        if (in && (in->count != t->V || in->own != t->own))
            TRY(relayout(t, in->count, in->own));
        int64_t end = segment_end(t, to);
        TRY(run_segment(t, end, end < to)); /* behind it, an insert takes all slots */
    }
    return AMMPL_OK;
}

ammpl_status ammpli_tape_run(ammpl_tape *t, int64_t to)
{
    if (to < t->at || to >= t->tower->layers)
        return ammpli_fail(AMMPL_E_RANGE, "run to block %lld: block %lld is next, and block %lld, the last, is ammpl_tape_finish's",
                           (long long)to, (long long)t->at, (long long)t->tower->layers - 1);
    ammpl_status status = run_blocks(t, to);
    if (status < 0)
        clear(t);
    return status;
}

static ammpl_status finish(ammpl_tape *t, float *out)
{
    ammpli_engine *e = &t->engine;
    int64_t count = t->n * t->model->embed;
    float *feature;
    TRY(run_blocks(t, t->tower->layers));
    TRY(ammpli_take_floats(e, count, &feature));
    TRY(ammpli_feature_forward(e, &t->segment[t->segments - 1].pass, feature));
    TRY(e->ops->download(e->stream, out, feature, (size_t)count * sizeof *out));
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(out[i]))
            return ammpli_fail(AMMPL_E_NUMERIC, "the features of sequence %lld are not finite; NaN or too large numbers were given",
                               (long long)(i / t->model->embed));
    t->phase = AMMPLI_TAPE_FINISHED;
    return AMMPL_OK;
}

ammpl_status ammpli_tape_finish(ammpl_tape *t, float *out)
{
    ammpl_status status = finish(t, out);
    if (status < 0)
        clear(t);
    return status;
}

size_t ammpli_tape_token_count(const ammpl_tape *t)
{
    return (size_t)(t->n * ammpli_tape_width(t, &t->layout) * t->tower->width);
}

ammpl_status ammpli_tape_tokens(ammpl_tape *t, float *out)
{
    if (!ammpli_grow(t->model->ctx, (void **)&t->read, &t->read_cap, t->reads + 1, sizeof *t->read))
        return AMMPL_E_MEMORY;
    TRY(ammpli_tape_download(t, &t->layout, t->x, out));
    t->read[t->reads++] = (ammpli_seed){.boundary = t->segments, .layout = t->layout};
    return AMMPL_OK;
}
