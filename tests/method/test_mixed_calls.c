/* test_mixed_calls.c - memory_limit over calls of several kinds, under two prompts, in any order. */
#include "planned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a limit over calls of several kinds, under two prompts ---- */

enum { STEP, PREDICTION, PREDICTION_OF_OTHER, PICTURES, PICTURES_OF_PROMPT, WORDS, CLASSES, COSINES, CALLS };
enum { MIXED_IMAGES = 5, MIXED_CLASSES = 40, NUMBERS = 4096 };
static const int32_t plan_of_call[CALLS] = {AMMPL_PLAN_ACCUMULATE, AMMPL_PLAN_PREDICT, AMMPL_PLAN_PREDICT, AMMPLI_PLAN_IMAGES, AMMPLI_PLAN_IMAGES,
                                            AMMPLI_PLAN_TEXTS, AMMPLI_PLAN_CLASSES, -1 /* none */};

typedef struct mixed {
    nano n;
    ammpl_prompt *other; /* zero-shot, with more classes */
    float *pixels, features[NUMBERS];
    bool possible[CALLS];
    float want[CALLS][NUMBERS];
} mixed;

static const ammpl_prompt *prompt_of(const mixed *m, int which)
{
    return which == PREDICTION_OF_OTHER ? m->other : which == PICTURES || which == WORDS || which == COSINES ? NULL : m->n.prompt;
}

static int64_t images_of(int which)
{
    return which == WORDS ? MIXED_CLASSES : which == CLASSES ? 1 : MIXED_IMAGES;
}

static ammpl_status mixed_call(const mixed *m, ammpl_session *s, int which, float *out)
{
    static const int32_t label[MIXED_IMAGES] = {0, 2, 1, 1, 0};
    ammpl_batch batch = {.struct_size = sizeof batch, .n = MIXED_IMAGES, .pixels = m->pixels, .label = label, .seed = 5};
    double loss = 0;
    memset(out, 0, NUMBERS * sizeof *out);
    switch (which) {
    case STEP: return ammpli_session_accumulate(s, m->n.prompt, &batch, &loss, out);
    case PREDICTION: return ammpli_session_predict(s, m->n.prompt, m->pixels, MIXED_IMAGES, out);
    case PREDICTION_OF_OTHER: return ammpli_session_predict(s, m->other, m->pixels, MIXED_IMAGES, out);
    case PICTURES: return ammpli_session_encode_images(s, NULL, m->pixels, MIXED_IMAGES, out);
    case PICTURES_OF_PROMPT: return ammpli_session_encode_images(s, m->n.prompt, m->pixels, MIXED_IMAGES, out);
    case WORDS: return ammpli_session_encode_texts(s, (const char *const *)m->other->class_name, MIXED_CLASSES, out);
    case CLASSES: return ammpli_session_encode_classes(s, m->n.prompt, out);
    default: return ammpli_session_similarity(s, m->features, MIXED_IMAGES, m->features, MIXED_CLASSES, out);
    }
}

static void open_mixed(mixed *m, int i)
{
    char text[MIXED_CLASSES][16];
    const char *names[MIXED_CLASSES];
    memset(m, 0, sizeof *m);
    open_any(&m->n, i, NULL);
    ck_assert_int_le(MIXED_CLASSES * m->n.model->embed, NUMBERS);
    for (int c = 0; c < MIXED_CLASSES; c++) {
        snprintf(text[c], sizeof text[c], "ox %d", c);
        names[c] = text[c];
    }
    ck_ok(ammpli_prompt_create(m->n.model, AMMPL_METHOD_ZEROSHOT, names, MIXED_CLASSES, m->n.cfg, &m->other));
    m->pixels = pictures(&m->n, MIXED_IMAGES);
    for (int k = 0; k < NUMBERS; k++)
        m->features[k] = (float)(k % 7) - 2.5f;
    for (int which = 0; which < CALLS; which++) {
        if (which == STEP && !m->n.prompt->method->accumulate)
            continue;
        ammpl_status status = mixed_call(m, m->n.session, which, m->want[which]);
        m->possible[which] = status == AMMPL_OK;
        ck_assert(status == AMMPL_OK || (status == AMMPL_E_STATE && (which == PICTURES_OF_PROMPT || which == CLASSES)));
    }
    ammpli_clear_error();
}

static void close_mixed(mixed *m)
{
    free(m->pixels);
    ammpli_prompt_release(m->other);
    nano_close(&m->n);
}

/* The bytes that the largest of the calls takes with this budget; of all together, too. */
static int64_t largest_call(const mixed *m, int64_t budget, int64_t *sum)
{
    int64_t most = 0;
    for (int which = 0; which < COSINES; which++) {
        ammpli_session_plan plan = {0};
        if (m->possible[which])
            ck_ok(ammpli_session_footprint(m->n.session, prompt_of(m, which), plan_of_call[which], images_of(which), budget, &plan));
        most = plan.total > most ? plan.total : most;
        *sum += plan.total;
    }
    return most;
}

/* A session whose plans are made: the search for them is no part of a call. */
static ammpl_session *planned_session(const mixed *m, int64_t limit)
{
    ammpl_session *s;
    ammpli_session_plan plan;
    ck_ok(ammpli_config_set_int(m->n.cfg, AMMPL_OPT_MEMORY_LIMIT, limit));
    ck_ok(ammpli_session_create(m->n.model, m->n.cfg, &s));
    for (int which = 0; which < COSINES; which++)
        if (m->possible[which])
            ck_ok(ammpli_session_plan_of(s, prompt_of(m, which), plan_of_call[which], images_of(which), &plan));
    return s;
}

/* What each call needs alone is enough for all of them, in any order, whatever the one before left; and its results are the same bits. */
START_TEST(limit_of_mixed_calls)
{
    mixed m;
    counter c;
    float got[NUMBERS];
    int64_t sum = 0;
    open_mixed(&m, _i);
    count(m.n.ctx, &c);
    const int64_t least_of_all = largest_call(&m, 1, &sum), most_of_all = largest_call(&m, INT64_MAX, &sum);
    const int64_t limits[] = {least_of_all, (least_of_all + most_of_all) / 2, most_of_all};
    for (int k = 0; k < 3; k++) {
        long long before = atomic_load(&c.now);
        ammpl_session *s = planned_session(&m, limits[k]);
        for (int a = 0; a < CALLS; a++)
            for (int b = 0; b < 2 * CALLS; b++) {
                int which = b % 2 ? b / 2 : a;
                if (!m.possible[a] || !m.possible[which])
                    continue;
                atomic_store(&c.peak, atomic_load(&c.now));
                ck_ok(mixed_call(&m, s, which, got));
                ck_assert_msg(atomic_load(&c.peak) - before <= limits[k], "%s, call %d between calls %d: a limit of %lld bytes, %lld taken", name_of(_i), which,
                              a, (long long)limits[k], atomic_load(&c.peak) - before);
                ck_assert_msg(memcmp(got, m.want[which], sizeof got) == 0, "%s, call %d between calls %d: another result", name_of(_i), which, a);
            }
        ammpli_session_release(s);
    }
    close_mixed(&m);
}
END_TEST

/* Where all of them fit together, nothing is given back, so that nothing is asked for again. */
START_TEST(mixed_calls_allocate_nothing)
{
    mixed m;
    counter c;
    float got[NUMBERS];
    int64_t sum = 0;
    long long requests = 0;
    open_mixed(&m, _i);
    m.possible[WORDS] = m.possible[PREDICTION_OF_OTHER] = false; /* tokens come from the allocator; a session remembers one prompt's texts */
    count(m.n.ctx, &c);
    (void)largest_call(&m, INT64_MAX, &sum);
    ammpl_session *s = planned_session(&m, sum + (8 << 20)); /* cosines have no plan: with room for their first blocks, however large */
    for (int round = 0; round < 4; round++) {
        if (round == 2)
            requests = atomic_load(&c.requests);
        for (int which = 0; which < CALLS; which++)
            if (m.possible[which])
                ck_ok(mixed_call(&m, s, which, got));
    }
    ck_assert_msg(atomic_load(&c.requests) == requests, "%s: %lld requests in 2 rounds", name_of(_i), atomic_load(&c.requests) - requests);
    ammpli_session_release(s);
    close_mixed(&m);
}
END_TEST

/* Pictures and texts at the least, just above it and with room: never more than the limit; one byte less is refused with what is needed. */
START_TEST(limit_of_features)
{
    static const int calls[] = {PICTURES, WORDS};
    mixed m;
    counter c;
    float got[NUMBERS];
    open_mixed(&m, 0);
    count(m.n.ctx, &c);
    for (int k = 0; k < 2; k++) {
        int which = calls[k];
        ammpli_session_plan plan, all;
        char needs[64];
        ck_ok(ammpli_session_footprint(m.n.session, NULL, plan_of_call[which], images_of(which), 1, &plan));
        ck_ok(ammpli_session_footprint(m.n.session, NULL, plan_of_call[which], images_of(which), INT64_MAX, &all));
        ck_assert_int_lt(plan.total, all.total); /* more of them at once */
        snprintf(needs, sizeof needs, "encoding %s, one at a time, needs at least %lld bytes", which == WORDS ? "texts" : "images", (long long)plan.total);
        const int64_t limits[] = {plan.total - 1, plan.total, plan.total + 1000, (plan.total + all.total) / 2, all.total};
        for (int l = 0; l < 5; l++) {
            ammpl_session *s;
            long long before = atomic_load(&c.now);
            ck_ok(ammpli_config_set_int(m.n.cfg, AMMPL_OPT_MEMORY_LIMIT, limits[l]));
            ck_ok(ammpli_session_create(m.n.model, m.n.cfg, &s));
            if (l == 0) {
                ck_status(mixed_call(&m, s, which, got), AMMPL_E_MEMORY, needs);
            } else {
                ck_ok(ammpli_session_prepare(s, NULL, plan_of_call[which], images_of(which)));
                atomic_store(&c.peak, atomic_load(&c.now));
                ck_ok(mixed_call(&m, s, which, got));
                long long taken = atomic_load(&c.peak) - before;
                ck_assert_msg(taken <= limits[l], "call %d: a limit of %lld bytes, %lld taken", which, (long long)limits[l], taken);
                ck_assert(memcmp(got, m.want[which], sizeof got) == 0);
            }
            ammpli_session_release(s);
        }
    }
    close_mixed(&m);
}
END_TEST

/* What a call with a plan left gives way to one without: it fits in a used session where it fits in a new one. */
START_TEST(unplanned_after_planned)
{
    mixed m;
    float got[NUMBERS];
    ammpli_session_plan plan;
    open_mixed(&m, 0);
    ck_ok(ammpli_session_footprint(m.n.session, m.other, AMMPL_PLAN_PREDICT, MIXED_IMAGES, INT64_MAX, &plan));
    int64_t room = (int64_t)(plan.needs.arena + plan.needs.host), l = m.n.model->text.width, count = room * 8 / 5 / (4 * (l + 1));
    int32_t *id = calloc((size_t)count, sizeof *id);
    float *rows = malloc((size_t)(count * l) * sizeof *rows);
    ck_ok(ammpli_config_set_int(m.n.cfg, AMMPL_OPT_MEMORY_LIMIT, plan.total + room)); /* twice the prediction's memory, not it and the rows */
    for (int used = 0; used < 2; used++) {
        ammpl_session *s;
        ck_ok(ammpli_session_create(m.n.model, m.n.cfg, &s));
        if (used)
            ck_ok(mixed_call(&m, s, PREDICTION_OF_OTHER, got));
        ck_ok(ammpli_session_embed_tokens(s, id, count, rows));
        ammpli_session_release(s);
    }
    free(rows);
    free(id);
    close_mixed(&m);
}
END_TEST

/* Calls without a plan: within the limit or refused, host memory included; and a refused one leaves room for a smaller one. */
START_TEST(limit_of_cosines)
{
    enum { MANY = 500 };
    mixed m;
    counter c;
    float got[NUMBERS];
    int fit = 0, refused = 0;
    open_mixed(&m, 0);
    size_t E = (size_t)m.n.model->embed;
    float *many = malloc(MANY * E * sizeof *many), *logits = malloc(MANY * MANY * sizeof *logits), *want = malloc(MANY * MANY * sizeof *want);
    for (size_t i = 0; i < MANY * E; i++)
        many[i] = (float)(i % 5) - 1.5f;
    ck_ok(ammpli_session_similarity(m.n.session, many, MANY, many, MANY, want));
    count(m.n.ctx, &c);
    int64_t low = 230000, high = 4000000;
    while (high - low > 1) { /* to the least that suffices, where host memory makes a difference */
        ammpl_session *s;
        int64_t limit = low + (high - low) / 2;
        long long before = atomic_load(&c.now);
        ck_ok(ammpli_config_set_int(m.n.cfg, AMMPL_OPT_MEMORY_LIMIT, limit));
        ck_ok(ammpli_session_create(m.n.model, m.n.cfg, &s));
        atomic_store(&c.peak, atomic_load(&c.now));
        ammpl_status status = ammpli_session_similarity(s, many, MANY, many, MANY, logits);
        ck_assert(status == AMMPL_OK || (status == AMMPL_E_MEMORY && strstr(ammpli_error_text(), "raise the limit")));
        ck_assert(status < 0 || memcmp(logits, want, MANY * MANY * sizeof *logits) == 0);
        *(status < 0 ? &low : &high) = limit;
        *(status < 0 ? &refused : &fit) += 1;
        ammpli_clear_error();
        ck_ok(mixed_call(&m, s, COSINES, got));
        ck_assert(memcmp(got, m.want[COSINES], sizeof got) == 0);
        ck_assert_msg(atomic_load(&c.peak) - before <= limit, "a limit of %lld bytes, %lld taken", (long long)limit, atomic_load(&c.peak) - before);
        ammpli_session_release(s);
    }
    ammpl_session *used; /* the least suffices after a call with a plan, too */
    long long before = atomic_load(&c.now);
    ck_ok(ammpli_config_set_int(m.n.cfg, AMMPL_OPT_MEMORY_LIMIT, high));
    ck_ok(ammpli_session_create(m.n.model, m.n.cfg, &used));
    ck_ok(mixed_call(&m, used, PREDICTION_OF_OTHER, got));
    atomic_store(&c.peak, atomic_load(&c.now));
    ck_ok(ammpli_session_similarity(used, many, MANY, many, MANY, logits));
    ck_assert_int_le(atomic_load(&c.peak) - before, high);
    ammpli_session_release(used);
    ck_assert_msg(fit > 1 && refused > 1, "%d limits suffice, %d do not", fit, refused);
    free(want);
    free(logits);
    free(many);
    close_mixed(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mixed_calls");
    TCase *c = tcase_create("limits");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, limit_of_mixed_calls, 0, ALL);
    tcase_add_loop_test(c, mixed_calls_allocate_nothing, 0, ALL);
    tcase_add_test(c, limit_of_features);
    tcase_add_test(c, limit_of_cosines);
    tcase_add_test(c, unplanned_after_planned);
    suite_add_tcase(s, c);
    return test_main(s);
}
