/* device_memory.c - a device that is full, and memory_limit on a device. */
#include "learner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a device that is full ---- */

/* A batch that does not fit fails with a status that says so; a smaller one on the same session gives what it gave before. */
START_TEST(memory_runs_out)
{
    enum { MANY = 600 };
    learner l;
    configure(1, (size_t)24 << 20, 1);
    open_learner(&l, true, "f32", "vpt");
    float *many = malloc(MANY * l.chw * sizeof *many), *logits = malloc(MANY * NANO_CLASSES * sizeof *logits);
    float before[BATCH * NANO_CLASSES], after[BATCH * NANO_CLASSES];
    int32_t label[MANY];
    const ammpli_engine *e = &l.session->engine; /* other programs leave less than the quarter of the device that a step may keep */
    uint64_t left, all;
    void *others;
    for (size_t i = 0; i < MANY; i++) {
        memcpy(many + i * l.chw, l.pixels, l.chw * sizeof *many);
        label[i] = (int32_t)(i % NANO_CLASSES);
    }
    ammpl_batch batch = {.struct_size = sizeof batch, .n = MANY, .pixels = many, .label = label, .seed = 3};
    double loss;
    ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, BATCH, before, BATCH * NANO_CLASSES));
    ck_ok(e->model->device->backend->memory(&e->ctx->host, e->model->device->index, &left, &all));
    ck_ok(e->ops->alloc(e->stream, (size_t)left - (3 << 20), &others));
    for (int again = 0; again < 2; again++) {
        ck_status(ammpl_session_accumulate(l.session, l.prompt, &batch, &loss, NULL), AMMPL_E_DEVICE_MEMORY, "smaller batch");
        ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, BATCH, after, BATCH * NANO_CLASSES));
        ck_assert_int_eq(memcmp(before, after, sizeof before), 0);
    }
    step(&l, 0);
    e->ops->release(e->stream, others);
    free(many);
    free(logits);
    close_learner(&l);
}
END_TEST

/* ---- memory_limit ---- */

/* Pictures of a batch that a limit makes go in parts; what a stream may take for graphs on the emulated device, and lists. */
enum { IMAGES = 7, TIMES = 3, RESERVED = (1 << 20) + (16 << 10) };
static const char *const limited[] = {"coop", "maple", "ammpl", "vpt"};
enum { LIMITED = sizeof limited / sizeof *limited };

static void set_limit(learner *l, int64_t limit)
{
    ck_ok(ammpli_config_set_int(l->cfg, AMMPL_OPT_MEMORY_LIMIT, limit));
    ammpl_session_destroy(l->session);
    ck_ok(ammpl_session_create(l->model, l->cfg, &l->session));
}

/* The least that a call can do with. */
static int64_t least(const learner *l, int32_t call, int64_t n)
{
    ammpli_session_plan plan;
    ck_ok(ammpli_session_footprint(l->session, l->prompt, call, n, 1, &plan));
    return plan.total;
}

/* The least of a session that has a limit: without room for graphs. */
static int64_t least_of_all(const learner *l, int32_t call, int64_t n)
{
    ammpli_session_plan plan;
    ck_ok(ammpli_session_footprint(l->session, l->prompt, call, n, 1, &plan));
    ck_assert_uint_gt(plan.spare, 0);
    return plan.total - (int64_t)plan.spare;
}

/* Bytes since `before`: as the library counts, of the host too, and what the device and pinned memory really held. */
typedef struct mark {
    uint64_t all, device;
} mark;

static mark bytes_now(const learner *l)
{
    configure(0, (size_t)1 << 30, 1); /* what was given back is free */
    return (mark){atomic_load(&l->ctx->memory_now), counted()->device + counted()->pinned};
}

static void begin_peak(const learner *l)
{
    atomic_store(&l->ctx->memory_peak, atomic_load(&l->ctx->memory_now));
    configure(0, (size_t)1 << 30, 1);
}

static mark peak_since(const learner *l, mark before)
{
    return (mark){atomic_load(&l->ctx->memory_peak) - before.all, counted()->most - before.device};
}

/* Steps and a prediction at the least, and just below what they would take: never more, graphs and pinned memory included, and
 * the results of a session without a limit. */
START_TEST(limit_respected)
{
    const char *method = limited[_i], *precision = _i % 2 ? "bf16" : "f32";
    learner l;
    double want[TIMES];
    float before[IMAGES * NANO_CLASSES], after[IMAGES * NANO_CLASSES];
    configure(0, (size_t)1 << 30, 1);
    open_larger(&l, true, precision, method, "sgd", IMAGES);
    ck_ok(ammpl_config_set_text(l.cfg, "momentum", "0"));
    restart_learner(&l);
    float *start = values_of(&l);
    for (uint32_t i = 0; i < TIMES; i++) /* the prompt's stream has then what it wants */
        want[i] = step(&l, i);
    ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, IMAGES, before, IMAGES * NANO_CLASSES));
    int64_t small = least(&l, AMMPL_PLAN_ACCUMULATE, IMAGES), predict = least(&l, AMMPL_PLAN_PREDICT, IMAGES);
    ammpli_session_plan free_plan;
    ck_ok(ammpli_session_plan_of(l.session, l.prompt, AMMPL_PLAN_ACCUMULATE, IMAGES, &free_plan));
    small = small < predict ? predict : small;
    ck_assert_msg(small < free_plan.total, "%s: nothing can be saved", method);
    const int64_t limits[] = {small, free_plan.total - 1};
    for (int k = 0; k < 2; k++) {
        ammpl_session_destroy(l.session);
        l.session = NULL;
        put_values(&l, start);
        mark empty = bytes_now(&l);
        set_limit(&l, limits[k]);
        ck_ok(ammpli_session_prepare(l.session, l.prompt, AMMPL_PLAN_ACCUMULATE, IMAGES)); /* the search is no part of the call */
        begin_peak(&l);
        uint64_t graphs = 0;
        for (uint32_t i = 0; i < TIMES; i++) {
            graphs = counted()->graphs;
            double got = step(&l, i);
            ck_assert_msg(fabs(got - want[i]) <= 1e-4 * fabs(want[i]), "%s, limit %d: loss %d is %.9g, not %.9g", method, k, (int)i, got, want[i]);
        }
        ck_assert_msg(counted()->graphs > graphs, "%s, limit %d: no graph in the last step", method, k);
        mark taken = peak_since(&l, empty);
        ck_ok(ammpli_session_prepare(l.session, l.prompt, AMMPL_PLAN_PREDICT, IMAGES));
        begin_peak(&l);
        ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, IMAGES, after, IMAGES * NANO_CLASSES));
        ck_assert(test_difference(after, before, IMAGES * NANO_CLASSES, 0) <= 1e-4);
        mark of_predict = peak_since(&l, empty);
        printf("# %s, %s: limit %lld, taken %lld and %lld, of the device and pinned %lld and %lld\n", method, precision, (long long)limits[k],
               (long long)taken.all, (long long)of_predict.all, (long long)taken.device, (long long)of_predict.device);
        ck_assert_msg((int64_t)taken.all <= limits[k] && (int64_t)of_predict.all <= limits[k], "%s: a limit of %lld bytes, %lld and %lld taken", method,
                      (long long)limits[k], (long long)taken.all, (long long)of_predict.all);
        ck_assert_msg((int64_t)taken.device <= limits[k] && (int64_t)of_predict.device <= limits[k],
                      "%s: a limit of %lld bytes, %lld and %lld of the device and pinned", method, (long long)limits[k], (long long)taken.device,
                      (long long)of_predict.device);
        ck_assert_uint_le(taken.device, taken.all);
    }
    free(start);
    close_learner(&l);
}
END_TEST

/* At the least that a step and a prediction can do with there are no graphs, and no more is reserved than what is taken: an op's scratch, too,
 * has its place in the plan. */
START_TEST(limit_without_graphs)
{
    enum { LEAST_UNUSED = 14 << 10, MOST_UNUSED = 18 << 10 }; /* 16 KiB are reserved for lists, which are short here, and 1 for a text */
    const char *method = limited[_i], *precision = _i % 2 ? "bf16" : "f32";
    learner l;
    float before[IMAGES * NANO_CLASSES], after[IMAGES * NANO_CLASSES];
    double want, got;
    configure(0, (size_t)1 << 30, 1);
    open_larger(&l, true, precision, method, "sgd", IMAGES);
    ammpl_batch batch = {.struct_size = sizeof batch, .n = IMAGES, .pixels = l.pixels, .label = l.label, .seed = 3};
    for (int again = 0; again < TIMES; again++) /* the prompt's stream has then what it wants */
        ck_ok(gradients(&l, 0, &want));
    ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, IMAGES, before, IMAGES * NANO_CLASSES));
    set_limit(&l, 1);
    const int32_t calls[] = {AMMPL_PLAN_ACCUMULATE, AMMPL_PLAN_PREDICT};
    for (int k = 0; k < 2; k++) {
        int64_t limit = least_of_all(&l, calls[k], IMAGES);
        ammpl_session_destroy(l.session);
        l.session = NULL;
        mark empty = bytes_now(&l);
        set_limit(&l, limit);
        int64_t fresh = (int64_t)ammpli_stream_bytes(&l.session->engine, false);
        ck_ok(ammpli_session_prepare(l.session, l.prompt, calls[k], IMAGES));
        begin_peak(&l);
        for (int again = 0; again < 3; again++) {
            ck_ok(ammpl_prompt_zero_gradients(l.prompt)); /* the prompt's own stream may have graphs */
            uint64_t graphs = counted()->graphs;
            if (k) {
                ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, IMAGES, after, IMAGES * NANO_CLASSES));
                ck_assert(test_difference(after, before, IMAGES * NANO_CLASSES, 0) <= 1e-4);
            } else {
                ck_ok(ammpl_session_accumulate(l.session, l.prompt, &batch, &got, NULL));
                ck_assert_msg(fabs(got - want) <= 1e-4 * fabs(want), "%s: loss %.9g, not %.9g", method, got, want);
            }
            ck_assert_uint_eq(counted()->graphs, graphs);
        }
        mark taken = peak_since(&l, empty);
        int64_t scratch = (int64_t)ammpli_stream_bytes(&l.session->engine, false) - fresh;
        printf("# %s, %s, call %d: limit %lld, taken %lld, of the device and pinned %lld; scratch %lld\n", method, precision, (int)calls[k], (long long)limit,
               (long long)taken.all, (long long)taken.device, (long long)scratch);
        ck_assert_msg((int64_t)taken.all <= limit && (int64_t)taken.device <= limit, "%s: a limit of %lld bytes, %lld taken", method, (long long)limit,
                      (long long)taken.all);
        ck_assert_msg(limit - (int64_t)taken.all >= LEAST_UNUSED && limit - (int64_t)taken.all <= MOST_UNUSED, "%s: of a limit of %lld bytes %lld are taken",
                      method, (long long)limit, (long long)taken.all);
        ck_assert_int_gt(scratch, limit - (int64_t)taken.all - LEAST_UNUSED); /* were it left out, that would be seen */
    }
    close_learner(&l);
}
END_TEST

/* ---- calls of several kinds, and of two prompts, under one limit ---- */

enum { STEP, PREDICTION_OF_OTHER, PICTURES, WORDS, COSINES, CALLS /* a prime */ };
static const int32_t plan_of_call[CALLS] = {AMMPL_PLAN_ACCUMULATE, AMMPL_PLAN_PREDICT, AMMPLI_PLAN_IMAGES, AMMPLI_PLAN_TEXTS, -1};
enum { NUMBERS = 1024 };

static const ammpl_prompt *prompt_of(const learner *l, const ammpl_prompt *other, int which)
{
    return which == STEP ? l->prompt : which == PREDICTION_OF_OTHER ? other : NULL;
}

static int64_t images_of(int which)
{
    return which == STEP ? 1 : which == WORDS ? NANO_CLASSES : IMAGES;
}

static ammpl_status mixed_call(learner *l, const ammpl_prompt *other, int which, float *out)
{
    double loss = 0;
    ammpl_status status;
    memset(out, 0, NUMBERS * sizeof *out);
    switch (which) {
    case STEP:
        l->n = 1;
        status = gradients(l, 0, &loss);
        l->n = IMAGES;
        out[0] = (float)loss;
        return status;
    case PREDICTION_OF_OTHER: return ammpl_session_predict(l->session, other, l->pixels, IMAGES, out, IMAGES * NANO_CLASSES);
    case PICTURES: return ammpl_session_encode_images(l->session, NULL, l->pixels, IMAGES, out, NUMBERS);
    case WORDS: return ammpl_session_encode_texts(l->session, nano_names, NANO_CLASSES, out, NUMBERS);
    default: return ammpli_session_similarity(l->session, l->pixels, IMAGES, l->pixels, NANO_CLASSES, out);
    }
}

/* What the session holds by its own account, and its stream may come to hold: `plan` says what every session has. */
static int64_t held(const learner *l, const ammpli_session_plan *plan)
{
    const ammpl_session *s = l->session;
    const ammpli_holding *h = &plan->needs;
    int64_t fixed = plan->total - (int64_t)(h->arena + h->host + h->cache + h->texts + h->own);
    return fixed + (int64_t)(ammpli_arena_bytes(&s->engine.arena) + ammpli_arena_bytes(&s->engine.host) + s->cache.bytes + s->texts.bytes +
                             ammpli_stream_bytes(&s->engine, false));
}

/* Scratch that a call left is given back where it would not fit beside the next one, whose plan was made before. */
START_TEST(scratch_is_given_back)
{
    enum { TEXTS = 40 };
    learner l;
    double loss;
    const char *text[TEXTS];
    configure(0, (size_t)1 << 30, 1);
    open_larger(&l, true, "bf16", "vpt", "sgd", IMAGES);
    size_t n = TEXTS * (size_t)l.model->embed;
    float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
    for (int i = 0; i < TEXTS; i++)
        text[i] = nano_names[i % NANO_CLASSES];
    ck_ok(ammpl_session_encode_texts(l.session, text, TEXTS, want, n));
    ammpli_session_plan step, texts;
    set_limit(&l, 1);
    ck_ok(ammpli_session_footprint(l.session, l.prompt, AMMPL_PLAN_ACCUMULATE, IMAGES, 1, &step));
    set_limit(&l, step.total);
    ck_ok(ammpli_session_plan_of(l.session, l.prompt, AMMPL_PLAN_ACCUMULATE, IMAGES, &step));
    ck_ok(ammpli_session_plan_of(l.session, NULL, AMMPLI_PLAN_TEXTS, TEXTS, &texts));
    ck_assert_uint_gt(texts.needs.own, step.needs.own);
    for (int again = 0; again < 3; again++) {
        ck_ok(gradients(&l, 0, &loss));
        ck_assert_int_le(held(&l, &step), l.session->memory_limit);
        ck_ok(ammpl_session_encode_texts(l.session, text, TEXTS, got, n));
        ck_assert_int_le(held(&l, &step), l.session->memory_limit);
        ck_assert(test_difference(got, want, (int64_t)n, 0) <= 1e-4);
    }
    free(want);
    free(got);
    close_learner(&l);
}
END_TEST

/* What each call needs alone is enough for all, in any order; a small step before and after others that want more scratch, or no graphs. */
START_TEST(limit_of_mixed_calls)
{
    const char *method = limited[_i], *precision = _i % 2 ? "bf16" : "f32";
    static const char *const of_other[LIMITED] = {"dpt", "zeroshot", "coop", "maple"};
    learner l;
    ammpl_prompt *other;
    ammpl_method id;
    float want[CALLS][NUMBERS], got[NUMBERS];
    int64_t least_limit = 0, most_limit = 0;
    configure(0, (size_t)1 << 30, 1);
    open_larger(&l, true, precision, method, "sgd", IMAGES);
    ck_assert_int_le(IMAGES * l.model->embed, NUMBERS);
    ck_ok(ammpl_method_find(of_other[_i], &id));
    ck_ok(ammpl_prompt_create(l.model, id, nano_names, NANO_CLASSES, l.cfg, &other));
    for (int which = 0; which < CALLS; which++)
        for (int again = 0; again < TIMES; again++) /* the prompt's stream has then what it wants */
            ck_ok(mixed_call(&l, other, which, want[which]));
    set_limit(&l, 1);
    for (int which = 0; which < COSINES; which++) {
        ammpli_session_plan small, large;
        ck_ok(ammpli_session_footprint(l.session, prompt_of(&l, other, which), plan_of_call[which], images_of(which), 1, &small));
        ck_ok(ammpli_session_footprint(l.session, prompt_of(&l, other, which), plan_of_call[which], images_of(which), INT64_MAX, &large));
        least_limit = small.total - (int64_t)small.spare > least_limit ? small.total - (int64_t)small.spare : least_limit;
        most_limit = large.total > most_limit ? large.total : most_limit;
    }
    const int64_t limits[] = {least_limit, most_limit};
    for (int k = 0; k < 2; k++) {
        ammpl_session_destroy(l.session);
        l.session = NULL;
        mark empty = bytes_now(&l);
        set_limit(&l, limits[k]);
        ammpli_session_plan plan;
        for (int which = 0; which < COSINES; which++) {
            ck_ok(ammpli_session_plan_of(l.session, prompt_of(&l, other, which), plan_of_call[which], images_of(which), &plan));
        }
        for (int apart = 1; apart < CALLS; apart++) /* each after each other */
            for (int i = 0; i <= CALLS; i++) {
                int which = i * apart % CALLS;
                begin_peak(&l);
                ck_ok(mixed_call(&l, other, which, got));
                mark taken = peak_since(&l, empty);
                ck_assert_int_le(held(&l, &plan), limits[k]);
                ck_assert_msg((int64_t)taken.all <= limits[k] && (int64_t)taken.device <= limits[k],
                              "%s, call %d, apart %d: a limit of %lld bytes, %lld and %lld taken", method, which, apart, (long long)limits[k],
                              (long long)taken.all, (long long)taken.device);
                ck_assert_msg(test_difference(got, want[which], NUMBERS, 0) <= 1e-4, "%s, call %d, apart %d: another result", method, which, apart);
            }
    }
    ammpl_prompt_destroy(other);
    close_learner(&l);
}
END_TEST

/* What does not fit is refused with what it needs, and a smaller batch on the same session gives what it gives without a limit. */
START_TEST(limit_too_small)
{
    const char *method = limited[_i];
    learner l;
    char needs[64];
    double want, loss;
    float logits[IMAGES * NANO_CLASSES];
    size_t E;
    configure(0, (size_t)1 << 30, 1);
    open_larger(&l, true, "f32", method, "sgd", IMAGES);
    l.n = 1;
    ck_ok(gradients(&l, 0, &want));
    set_limit(&l, 1);
    int64_t one = least_of_all(&l, AMMPL_PLAN_ACCUMULATE, 1), all = least_of_all(&l, AMMPL_PLAN_ACCUMULATE, IMAGES);
    ck_assert_msg(one < all, "%s: more pictures take no more", method);
    set_limit(&l, all - 1);
    snprintf(needs, sizeof needs, "at least %lld bytes", (long long)all);
    for (int again = 0; again < 2; again++) {
        l.n = IMAGES;
        ck_status(gradients(&l, 0, &loss), AMMPL_E_MEMORY, needs);
        l.n = 1;
        ck_ok(gradients(&l, 0, &loss));
        ck_assert_msg(fabs(loss - want) <= 1e-4 * fabs(want), "loss %.9g, not %.9g", loss, want);
    }
    set_limit(&l, 1000);
    E = (size_t)l.model->embed;
    float *x = malloc(IMAGES * E * sizeof *x);
    ck_status(gradients(&l, 0, &loss), AMMPL_E_MEMORY, "memory_limit = 1000");
    ck_status(ammpl_session_predict(l.session, l.prompt, l.pixels, IMAGES, logits, IMAGES * NANO_CLASSES), AMMPL_E_MEMORY, "memory_limit = 1000");
    ck_status(ammpl_session_encode_images(l.session, NULL, l.pixels, IMAGES, x, IMAGES * E), AMMPL_E_MEMORY, "memory_limit = 1000");
    free(x);
    close_learner(&l);
}
END_TEST

/* Features are encoded within the limit, too, in more parts; it is too small where one picture does not fit. */
START_TEST(limit_of_features)
{
    learner l;
    configure(0, (size_t)1 << 30, 1);
    open_larger(&l, true, _i ? "bf16" : "f32", "coop", "sgd", IMAGES);
    size_t E = (size_t)l.model->embed, n = IMAGES * E;
    float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
    ck_ok(ammpl_session_encode_images(l.session, NULL, l.pixels, IMAGES, want, n));
    set_limit(&l, 1);
    int64_t own = (int64_t)ammpli_stream_bytes(&l.session->engine, false);
    ammpli_session_plan plan;
    ck_ok(ammpli_session_footprint(l.session, NULL, AMMPLI_PLAN_IMAGES, IMAGES, 1, &plan)); /* one picture at a time */
    int64_t one = plan.total - (int64_t)plan.spare;
    int fit = 0;
    for (int64_t more = 1 << 15; more <= 1 << 22; more *= 2) {
        ammpl_session_destroy(l.session);
        l.session = NULL;
        mark empty = bytes_now(&l);
        begin_peak(&l);
        set_limit(&l, own + more);
        ammpl_status status = ammpl_session_encode_images(l.session, NULL, l.pixels, IMAGES, got, n);
        mark taken = peak_since(&l, empty);
        ck_assert_msg((int64_t)taken.device <= own + more, "a limit of %lld bytes, %lld taken", (long long)(own + more), (long long)taken.device);
        ck_assert_int_eq(status, own + more < one ? AMMPL_E_MEMORY : AMMPL_OK);
        ck_assert(status < 0 || test_difference(got, want, (int64_t)n, 0) <= 1e-4);
        fit += status >= 0;
    }
    ck_assert_msg(fit > 1 && fit < 8, "%d of 8 limits suffice", fit);
    free(want);
    free(got);
    close_learner(&l);
}
END_TEST

/* ammpl_session_plan of a new session on a device: no less than the call takes, when it is repeated too, and to 5 % no more but for what
 * is reserved for graphs. */
START_TEST(planned)
{
    const char *method = limited[_i];
    learner l;
    double loss;
    configure(0, (size_t)1 << 30, 1);
    open_larger(&l, true, "f32", method, "sgd", IMAGES);
    ck_ok(gradients(&l, 0, &loss)); /* the prompt's stream has then what it wants */
    ck_ok(gradients(&l, 0, &loss));
    for (int k = 0; k < 2; k++) {
        uint64_t bytes;
        l.n = k ? IMAGES : BATCH;
        ammpl_session_destroy(l.session);
        l.session = NULL;
        mark empty = bytes_now(&l);
        set_limit(&l, 0);
        ck_ok(ammpl_session_plan(l.session, l.prompt, l.n, AMMPL_PLAN_ACCUMULATE, &bytes));
        begin_peak(&l);
        for (int i = 0; i < 2; i++)
            ck_ok(gradients(&l, 0, &loss));
        mark taken = peak_since(&l, empty);
        printf("# %s, %d pictures: %lld bytes planned, %lld taken\n", method, (int)l.n, (long long)bytes, (long long)taken.all);
        ck_assert_msg(taken.all <= bytes && taken.device <= bytes, "%s: %lld bytes planned, %lld taken", method, (long long)bytes, (long long)taken.all);
        ck_assert_msg((double)taken.all + RESERVED >= 0.95 * (double)bytes, "%s: %lld bytes planned, %lld taken", method, (long long)bytes,
                      (long long)taken.all);
    }
    close_learner(&l);
}
END_TEST

void add_memory(Suite *to)
{
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, memory_runs_out);
    tcase_add_loop_test(c, limit_respected, 0, LIMITED);
    tcase_add_loop_test(c, limit_too_small, 0, LIMITED);
    tcase_add_loop_test(c, limit_of_features, 0, 2);
    tcase_add_loop_test(c, planned, 0, LIMITED);
    suite_add_tcase(to, c);
    c = tcase_create("limits");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, limit_without_graphs, 0, LIMITED);
    tcase_add_loop_test(c, limit_of_mixed_calls, 0, LIMITED);
    tcase_add_test(c, scratch_is_given_back);
    suite_add_tcase(to, c);
}
