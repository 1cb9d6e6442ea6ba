/* plan.c - what memory a session's calls take: found by going through the method's own code without computing (clip/rehearsal.c),
 * before the first such call. */
#include "method/session.h"

#include <string.h>

/* Kept activations of one stage, and of the images that inference takes at once, where no memory_limit is set: this part of the memory
 * that the machine can give when the session is created, or of all that a device has. */
enum { SHARE = 4 };

/* More than a new session's first blocks, where nobody knows what will be asked for. */
enum { A_BLOCK = 2 << 20 };

/* While a hand-written text is made and taken apart into tokens, one at a time. */
enum { A_TEXT = 1024 };
/* SCRATCH of cpu/kernels.h, in bytes: test_plan notices when it is another. */
enum { CPU_SCRATCH = 192 * 1024 };

static bool on_cpu(const ammpl_model *m)
{
    return m->device == &m->ctx->device[0];
}

/* Blocks that every session has: itself, its stream (the CPU's with a thread's scratch), the lists of its arenas' blocks. */
static size_t fixed_bytes(const ammpl_model *m)
{
    size_t stream = ammpli_block_bytes(64) + (on_cpu(m) ? ammpli_block_bytes(CPU_SCRATCH) : 0);
    return A_TEXT + ammpli_block_bytes(sizeof(ammpl_session)) + 2 * ammpli_block_bytes(16 * sizeof(ammpli_arena_block)) + stream;
}

/* Pixels and features of a rehearsal: nobody looks at them. */
static const float nothing[1];

static bool has_labels(int32_t call)
{
    return call == AMMPL_PLAN_ACCUMULATE || call == AMMPL_PLAN_ACCUMULATE_FEATURES || call == AMMPLI_PLAN_AUX_ROWS;
}

static ammpl_status rehearse_inference(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n)
{
    size_t rows = call == AMMPLI_PLAN_CLASSES ? p->classes : (size_t)n, each = call == AMMPL_PLAN_PREDICT ? p->classes : (size_t)s->model->embed;
    float *out = ammpli_alloc(s->model->ctx, rows * each, sizeof *out);
    ammpl_status status = AMMPL_E_MEMORY;
    if (out)
        status = call == AMMPL_PLAN_PREDICT    ? p->method->predict(s, p, nothing, n, out)
                 : call == AMMPLI_PLAN_CLASSES ? p->method->encode_classes(s, p, out)
                 : call == AMMPLI_PLAN_IMAGES  ? ammpli_encode_images(s, p, nothing, n, out)
                                               : ammpli_encode_texts(s, NULL, (size_t)n, out);
    ammpli_free(s->model->ctx, out);
    return status;
}

static ammpl_status rehearse_call(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int32_t label)
{
    int32_t *labels;
    int64_t count;
    double loss;
    if (!has_labels(call))
        return rehearse_inference(s, p, call, n);
    if (!(labels = ammpli_alloc(p->ctx, (size_t)n, sizeof *labels)))
        return AMMPL_E_MEMORY;
    for (int64_t i = 0; i < n; i++)
        labels[i] = label;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = (size_t)n, .label = labels};
    if (call == AMMPL_PLAN_ACCUMULATE_FEATURES)
        batch.features = nothing;
    else
        batch.pixels = nothing;
    /* It adds nothing to p's gradients: no op does anything. */
    ammpl_status status = call == AMMPLI_PLAN_AUX_ROWS ? p->method->aux_rows(s, p, nothing, labels, n, &count)
                                                       : p->method->accumulate(s, (ammpl_prompt *)p, &batch, &loss, NULL);
    ammpli_free(p->ctx, labels);
    return status;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static ammpli_holding largest(const ammpli_holding *a, const ammpli_holding *b)
{
    return (ammpli_holding){larger(a->arena, b->arena), larger(a->host, b->host), larger(a->cache, b->cache), larger(a->texts, b->texts),
                            larger(a->own, b->own)};
}

static size_t beside_arenas(const ammpl_model *m, const ammpli_holding *h)
{
    return fixed_bytes(m) + h->cache + h->texts + h->own;
}

static int64_t total(const ammpl_model *m, const ammpli_holding *h)
{
    return (int64_t)(beside_arenas(m, h) + h->arena + h->host);
}

/* A session like s goes through the call until its indices fit one block, so that what is used of that is what is needed. */
static ammpl_status rehearse(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int32_t label, int64_t budget,
                             ammpli_session_plan *plan)
{
    ammpli_rehearsal r;
    TRY(ammpli_rehearsal_open(&r, &s->engine));
    (void)ammpli_stream_bytes(&s->engine, true);
    ammpl_session as = {.model = s->model, .budget = budget, .least_rows = s->least_rows, .engine = r.engine};
    as.engine.without = s->engine.without;
    as.engine.stream = (ammpl_stream *)(void *)&r;
    ammpl_status status;
    const char *base;
    do {
        ammpli_arena_reset(&as.engine);
        base = as.engine.host.count ? as.engine.host.block[0].base : NULL;
        as.engine.arena.most = as.engine.host.most = 0;
        as.cache = (ammpli_class_cache){0};
        as.texts = (ammpli_text_cache){0};
        status = rehearse_call(&as, p, call, n, label);
    } while (status >= 0 && as.engine.host.count > 0 && (as.engine.host.count > 1 || as.engine.host.block[0].base != base));
    plan->arena = larger(as.engine.arena.most, plan->arena);
    plan->host = larger(as.engine.host.most, plan->host);
    ammpli_holding needs = {.arena = ammpli_block_bytes(plan->arena),
                            .host = ammpli_block_bytes(plan->host),
                            .cache = as.cache.bytes,
                            .texts = as.texts.bytes,
                            .own = ammpli_stream_bytes(&s->engine, false) + s->most_spare - s->spare};
    plan->needs = largest(&needs, &plan->needs);
    r.engine = as.engine;
    ammpli_rehearsal_close(&r);
    return status;
}

/* Where no label is, more than some go in parts.  A last part can take more than a whole one: what it has goes through at once. */
static ammpl_status rehearse_parts(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int64_t budget, ammpli_session_plan *plan)
{
    bool texts = call == AMMPLI_PLAN_TEXTS;
    ammpl_session at = {.model = s->model, .budget = budget};
    int64_t most = texts ? AMMPLI_TEXTS_AT_ONCE : AMMPLI_IMAGES_AT_ONCE;
    const int64_t part[] = {texts ? ammpli_texts_at_once(&at, most) : ammpli_images_at_once(&at, most),
                            texts ? 1 : ammpli_images_at_once(&at, AMMPLI_PAIRS_AT_ONCE)};
    TRY(rehearse(s, p, call, n < most ? n : most, 0, budget, plan));
    for (int k = 0; n > most && k < 2; k++)
        if (n % part[k] > 0)
            TRY(rehearse(s, p, call, n % part[k], 0, budget, plan));
    return AMMPL_OK;
}

ammpl_status ammpli_session_footprint(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int64_t budget,
                                      ammpli_session_plan *plan)
{
    *plan = (ammpli_session_plan){.call = call, .n = n, .budget = budget, .spare = s->most_spare};
    if (p) {
        plan->prompt_id = p->id;
        plan->binding = p->binding;
    }
    if (has_labels(call)) { /* both ends: a rehearsal ranks classes in their order, so one of them is among a picture's likeliest, one is not */
        TRY(rehearse(s, p, call, n, 0, budget, plan));
        TRY(rehearse(s, p, call, n, (int32_t)p->classes - 1, budget, plan));
    } else {
        TRY(rehearse_parts(s, p, call, n, budget, plan));
    }
    plan->total = total(s->model, &plan->needs);
    return AMMPL_OK;
}

static ammpl_status does_not_fit(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int64_t least)
{
    long long limit = s->memory_limit, images = n;
    if (call == AMMPLI_PLAN_IMAGES || call == AMMPLI_PLAN_TEXTS)
        return ammpli_fail(AMMPL_E_MEMORY, "memory_limit = %lld: encoding %s, one at a time, needs at least %lld bytes; raise the limit", limit,
                           call == AMMPLI_PLAN_IMAGES ? "images" : "texts", (long long)least);
    if (call == AMMPLI_PLAN_CLASSES)
        return ammpli_fail(AMMPL_E_MEMORY, "memory_limit = %lld: encoding %zu class%s needs at least %lld bytes with method %s; raise the limit",
                           limit, p->classes, p->classes > 1 ? "es" : "", (long long)least, p->method->name);
    return ammpli_fail(AMMPL_E_MEMORY,
                       "memory_limit = %lld: %s of %lld image%s and %zu class%s needs at least %lld bytes with method %s; raise the "
                       "limit, or give fewer images at once",
                       limit, call == AMMPL_PLAN_PREDICT ? "prediction" : call == AMMPLI_PLAN_AUX_ROWS ? "counting auxiliary rows" : "a training step", images,
                       n > 1 ? "s" : "", p->classes, p->classes > 1 ? "es" : "", (long long)least, p->method->name);
}

/* The largest budget with which the call keeps within the limit: each halving of an interval is a rehearsal.  Stages compare budgets
 * with estimates from above, so the largest may be more than the limit.  What would not fit at all goes without what the stream takes
 * only to save time. */
static ammpl_status fit(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, ammpli_session_plan *plan)
{
    enum { HALVINGS = 16 };
    int64_t limit = s->memory_limit, low = 1, high = limit < INT64_MAX / 2 ? 2 * limit : INT64_MAX;
    ammpli_session_plan other;
    TRY(ammpli_session_footprint(s, p, call, n, INT64_MAX, plan)); /* everything is kept */
    if (plan->total <= limit)
        return AMMPL_OK;
    TRY(ammpli_session_footprint(s, p, call, n, low, &other));
    if (other.total < plan->total) /* parts of next to nothing can take more than all of it */
        *plan = other;
    size_t without = plan->total > limit ? s->most_spare : 0;
    if (plan->total - (int64_t)without > limit)
        return does_not_fit(s, p, call, n, plan->total - (int64_t)without);
    for (int i = 0; i < HALVINGS && high - low > 1; i++) {
        int64_t middle = low + (high - low) / 2;
        TRY(ammpli_session_footprint(s, p, call, n, middle, &other));
        if (other.total - (int64_t)without <= limit) {
            *plan = other;
            low = middle;
        } else {
            high = middle;
        }
    }
    plan->spare -= without;
    plan->needs.own -= without;
    plan->total -= (int64_t)without;
    return AMMPL_OK;
}

ammpl_status ammpli_session_plan_of(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, ammpli_session_plan *out)
{
    if (call == AMMPL_PLAN_ACCUMULATE || call == AMMPL_PLAN_ACCUMULATE_FEATURES)
        TRY(ammpli_session_check_step(p, call == AMMPL_PLAN_ACCUMULATE_FEATURES));
    for (int i = 0; i < AMMPLI_PLANS; i++) {
        const ammpli_session_plan *known = &s->plan[i];
        if (known->prompt_id == (p ? p->id : 0) && known->binding == (p ? p->binding : 0) && known->call == call && known->n == n) {
            *out = *known;
            return AMMPL_OK;
        }
    }
    if (s->memory_limit > 0)
        TRY(fit(s, p, call, n, out));
    else
        TRY(ammpli_session_footprint(s, p, call, n, s->most, out));
    s->plan[s->next_plan] = *out;
    s->next_plan = (s->next_plan + 1) % AMMPLI_PLANS;
    return AMMPL_OK;
}

static ammpl_status trim(ammpl_session *s, size_t spare)
{
    TRY(ammpli_stream_trim(&s->engine, spare));
    s->spare = spare;
    return AMMPL_OK;
}

static ammpli_holding holding(const ammpl_session *s)
{
    const ammpli_engine *e = &s->engine;
    return (ammpli_holding){ammpli_arena_bytes(&e->arena), ammpli_arena_bytes(&e->host), s->cache.bytes, s->texts.bytes, ammpli_stream_bytes(e, false)};
}

/* What the session holds beside what the call needs is given back where both would pass the limit: each kind of memory comes to the larger
 * of what there is of it and what is needed. */
static ammpl_status make_room(ammpl_session *s, const ammpli_session_plan *plan)
{
    ammpli_engine *e = &s->engine;
    const ammpli_holding *needs = &plan->needs;
    if (s->spare != plan->spare)
        TRY(trim(s, plan->spare));
    ammpli_holding held = holding(s), both = largest(&held, needs);
    if (total(s->model, &both) > s->memory_limit) {
        ammpli_arena_give_back(e, needs->arena, needs->host);
        if (held.cache > needs->cache)
            ammpli_session_clear_cache(s);
        if (held.texts > needs->texts)
            ammpli_session_clear_texts(s);
        if (held.own > needs->own)
            TRY(trim(s, plan->spare));
        both = *needs;
    }
    e->beside = beside_arenas(s->model, &both);
    s->after_plan = true;
    return AMMPL_OK;
}

ammpl_status ammpli_session_prepare(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n)
{
    ammpli_session_plan plan;
    if (s->memory_limit == 0 && call > AMMPL_PLAN_ACCUMULATE_FEATURES) { /* it finds its memory as it comes */
        s->budget = s->most;
        return AMMPL_OK;
    }
    TRY(ammpli_session_plan_of(s, p, call, n, &plan));
    s->budget = plan.budget;
    if (s->memory_limit > 0)
        TRY(make_room(s, &plan));
    return ammpli_arena_reserve(&s->engine, plan.arena, plan.host);
}

ammpl_status ammpli_session_unplanned(ammpl_session *s, double floats)
{
    ammpli_engine *e = &s->engine;
    if (s->memory_limit > 0) {
        ammpli_holding held = holding(s);
        /* Blocks double, and the first is A_BLOCK at least: nothing is given back where there is room even so. */
        if (s->after_plan && (double)total(s->model, &held) + A_BLOCK + 4 * sizeof(float) * floats > (double)s->memory_limit) {
            ammpli_arena_give_back(e, 0, 0);
            ammpli_session_clear_cache(s);
            ammpli_session_clear_texts(s);
            TRY(trim(s, 0));
            s->after_plan = false;
            held = holding(s);
        }
        e->beside = beside_arenas(s->model, &held);
    }
    ammpli_arena_reset(e);
    return AMMPL_OK;
}

ammpl_status ammpli_session_budget(ammpl_session *s)
{
    const ammpl_model *m = s->model;
    uint64_t now, all;
    TRY(m->device->backend->memory(&m->ctx->host, m->device->index, &now, &all));
    s->budget = s->most = (int64_t)((on_cpu(m) ? now : all) / SHARE);
    if (s->memory_limit > 0) {
        size_t with = ammpli_stream_bytes(&s->engine, false);
        TRY(trim(s, 0));
        s->most_spare = with - ammpli_stream_bytes(&s->engine, false);
    }
    return AMMPL_OK;
}

static int64_t at_once(const ammpl_session *s, const ammpli_tower *tower, int64_t len, int64_t most)
{
    int64_t fit = s->budget / (int64_t)ammpli_pass_bytes(tower, len, false);
    return fit < 1 ? 1 : fit < most ? fit : most;
}

int64_t ammpli_images_at_once(const ammpl_session *s, int64_t most)
{
    return at_once(s, &s->model->image, s->model->grid * s->model->grid + 1, most);
}

int64_t ammpli_texts_at_once(const ammpl_session *s, int64_t most)
{
    return at_once(s, &s->model->text, s->model->context, most);
}
