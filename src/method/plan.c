/* plan.c - what memory a session's calls take: found by going through the method's own code without computing (clip/rehearsal.c),
 * before the first such call. */
#include "method/session.h"

#include <string.h>

/* Kept activations of one stage, and of the images that inference takes at once, where no memory_limit is set: this part of the memory
 * that the machine can give when the session is created, or of all that a device has. */
enum { SHARE = 4 };

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

static ammpl_status rehearse_call(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int32_t label)
{
    int32_t *labels;
    float *logits;
    double loss;
    if (call == AMMPL_PLAN_PREDICT) {
        logits = ammpli_alloc(p->ctx, (size_t)n * p->classes, sizeof *logits);
        ammpl_status status = logits ? p->method->predict(s, p, nothing, n, logits) : AMMPL_E_MEMORY;
        ammpli_free(p->ctx, logits);
        return status;
    }
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
    ammpl_status status = p->method->accumulate(s, (ammpl_prompt *)p, &batch, &loss, NULL);
    ammpli_free(p->ctx, labels);
    return status;
}

/* A session like s goes through the call until its indices fit one block, so that what is used of that is what is needed. */
static ammpl_status rehearse(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int32_t label, int64_t budget,
                             ammpli_session_plan *plan)
{
    ammpli_rehearsal r;
    TRY(ammpli_rehearsal_open(&r, &s->engine));
    (void)ammpli_stream_bytes(&s->engine, true);
    ammpl_session as = {.model = s->model, .budget = budget, .engine = r.engine};
    as.engine.without = s->engine.without;
    as.engine.stream = (ammpl_stream *)(void *)&r;
    ammpl_status status;
    const char *base;
    do {
        ammpli_arena_reset(&as.engine);
        base = as.engine.host.count ? as.engine.host.block[0].base : NULL;
        as.engine.arena.most = as.engine.host.most = r.kept = 0;
        as.cache = (ammpli_class_cache){0};
        as.texts = (ammpli_text_cache){0};
        status = rehearse_call(&as, p, call, n, label);
    } while (status >= 0 && as.engine.host.count > 0 && (as.engine.host.count > 1 || as.engine.host.block[0].base != base));
    plan->arena = as.engine.arena.most > plan->arena ? as.engine.arena.most : plan->arena;
    plan->host = as.engine.host.most > plan->host ? as.engine.host.most : plan->host;
    plan->kept = r.kept > plan->kept ? r.kept : plan->kept;
    size_t own = ammpli_stream_bytes(&s->engine, false);
    plan->own = own > plan->own ? own : plan->own;
    r.engine = as.engine;
    ammpli_rehearsal_close(&r);
    return status;
}

ammpl_status ammpli_session_footprint(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int64_t budget,
                                      ammpli_session_plan *plan)
{
    *plan = (ammpli_session_plan){.prompt_id = p->id, .binding = p->binding, .call = call, .n = n, .budget = budget};
    if (call == AMMPL_PLAN_PREDICT && n > AMMPLI_IMAGES_AT_ONCE) /* more go in parts */
        n = AMMPLI_IMAGES_AT_ONCE;
    /* Both ends: the rehearsal ranks classes in their order, so one of them is among a picture's likeliest, one is not. */
    TRY(rehearse(s, p, call, n, 0, budget, plan));
    if (call != AMMPL_PLAN_PREDICT)
        TRY(rehearse(s, p, call, n, (int32_t)p->classes - 1, budget, plan));
    plan->total = (int64_t)(fixed_bytes(s->model) + ammpli_block_bytes(plan->arena) + ammpli_block_bytes(plan->host) + plan->kept + plan->own);
    return AMMPL_OK;
}

/* The largest budget with which the call keeps within the limit: each halving of an interval is a rehearsal.  Stages compare budgets
 * with estimates from above, so the largest may be more than the limit. */
static ammpl_status fit(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, ammpli_session_plan *plan)
{
    enum { HALVINGS = 16 };
    int64_t limit = s->memory_limit, low = 1, high = limit < INT64_MAX / 2 ? 2 * limit : INT64_MAX;
    ammpli_session_plan other;
    TRY(ammpli_session_footprint(s, p, call, n, INT64_MAX, plan)); /* everything is kept */
    if (plan->total <= limit)
        return AMMPL_OK;
    TRY(ammpli_session_footprint(s, p, call, n, low, plan));
    if (plan->total > limit)
        return ammpli_fail(AMMPL_E_MEMORY,
                           "memory_limit = %lld: %s of %lld image%s and %zu class%s needs at least %lld bytes with method %s; raise the "
                           "limit, or give fewer images at once",
                           (long long)limit, call == AMMPL_PLAN_PREDICT ? "prediction" : "a training step", (long long)n, n > 1 ? "s" : "",
                           p->classes, p->classes > 1 ? "es" : "", (long long)plan->total, p->method->name);
    for (int i = 0; i < HALVINGS && high - low > 1; i++) {
        int64_t middle = low + (high - low) / 2;
        TRY(ammpli_session_footprint(s, p, call, n, middle, &other));
        if (other.total <= limit) {
            *plan = other;
            low = middle;
        } else {
            high = middle;
        }
    }
    return AMMPL_OK;
}

ammpl_status ammpli_session_plan_of(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, ammpli_session_plan *out)
{
    if (call != AMMPL_PLAN_PREDICT)
        TRY(ammpli_session_check_step(p, call == AMMPL_PLAN_ACCUMULATE_FEATURES));
    for (int i = 0; i < AMMPLI_PLANS; i++) {
        const ammpli_session_plan *known = &s->plan[i];
        if (known->prompt_id == p->id && known->binding == p->binding && known->call == call && known->n == n) {
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

ammpl_status ammpli_session_prepare(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n)
{
    ammpli_session_plan plan;
    TRY(ammpli_session_plan_of(s, p, call, n, &plan));
    s->budget = plan.budget;
    return ammpli_arena_reserve(&s->engine, plan.arena, plan.host);
}

void ammpli_session_unplanned(ammpl_session *s)
{
    s->budget = s->most;
    if (s->memory_limit > 0) { /* blocks that double are three times what is needed, and a device's ops may take as much again */
        int64_t own = (int64_t)ammpli_stream_bytes(&s->engine, false), left = s->memory_limit - own;
        s->budget = left <= 0 ? 1 : left / (own > 0 ? 6 : 3);
    }
}

ammpl_status ammpli_session_budget(ammpl_session *s)
{
    const ammpl_model *m = s->model;
    uint64_t now, all;
    TRY(m->device->backend->memory(&m->ctx->host, m->device->index, &now, &all));
    s->most = (int64_t)((on_cpu(m) ? now : all) / SHARE);
    ammpli_session_unplanned(s);
    return AMMPL_OK;
}

int64_t ammpli_images_at_once(const ammpl_session *s, int64_t most)
{
    const ammpl_model *m = s->model;
    int64_t fit = s->budget / (int64_t)ammpli_pass_bytes(&m->image, m->grid * m->grid + 1, false);
    return fit < 1 ? 1 : fit < most ? fit : most;
}
