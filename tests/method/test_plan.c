/* Memory: what ammpl_session_plan says against what an allocator counts, memory_limit, and steps that allocate nothing. */
#include "io/derived_model.h"
#include "kinds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- an allocator that counts, on top of the context's own ---- */

typedef struct counter {
    atomic_llong now, peak, requests;
    ammpl_allocator below;
} counter;

static void *count_alloc(void *user, size_t size, size_t align)
{
    counter *c = user;
    long long now = atomic_fetch_add(&c->now, (long long)size) + (long long)size, peak = atomic_load(&c->peak);
    while (now > peak && !atomic_compare_exchange_weak(&c->peak, &peak, now)) {
    }
    atomic_fetch_add(&c->requests, 1);
    return c->below.alloc(c->below.user, size, align);
}

static void count_release(void *user, void *ptr, size_t size)
{
    counter *c = user;
    atomic_fetch_sub(&c->now, (long long)size);
    c->below.release(c->below.user, ptr, size);
}

static void count(ammpl_context *ctx, counter *c)
{
    memset(c, 0, sizeof *c);
    c->below = ctx->allocator;
    ctx->allocator.user = c;
    ctx->allocator.alloc = count_alloc;
    ctx->allocator.release = count_release;
}

/* ---- what is planned: every method in all its kinds, AMMPL in its own ---- */

typedef struct variant {
    const char *name, *options[12];
} variant;
static const variant ammpl_variants[] = {
    {"ammpl_shared", {"scope", "shared", NULL}},
    {"ammpl_class", {"scope", "class", NULL}},
    {"ammpl_class_blend", {"scope", "class", "mask_gradient", "blend", NULL}},
    {"ammpl_simultaneous", {"order", "simultaneous", NULL}},
    {"ammpl_draws_image", {"draws", "image", "interaction", "false", NULL}},
    {"ammpl_no_mask", {"mask", "false", NULL}},
    {"ammpl_mask_alone", {"padding", "false", "interaction", "false", NULL}},
    {"ammpl_candidates", {"candidates", "1", NULL}},
    {"ammpl_scalar", {"shift", "scalar", "scope", "class", NULL}},
    {"ammpl_mean", {"evaluation", "mean:2", NULL}},
};
enum { AMMPL_VARIANTS = sizeof ammpl_variants / sizeof ammpl_variants[0], ALL = KINDS + AMMPL_VARIANTS };

static const char *name_of(int i)
{
    return i < KINDS ? kinds[i].name : ammpl_variants[i - KINDS].name;
}

/* Patches are kept with this probability. */
static void keep_patches(ammpl_prompt *p, float probability)
{
    ammpli_tensor *t = ammpli_prompt_find(p, "mask_prob");
    if (!t)
        return;
    float *prob = malloc((size_t)t->count * sizeof *prob);
    for (int64_t i = 0; i < t->count; i++)
        prob[i] = probability;
    ck_ok(ammpli_prompt_write(p, (size_t)(t - p->tensor), prob));
    free(prob);
}

/* So that no two masks are equal by chance. */
static void even_odds(ammpl_prompt *p)
{
    keep_patches(p, 0.5f);
}

static void open_any(nano *n, int i, const char *const *more)
{
    if (i < KINDS) {
        kind_open(n, &kinds[i], more);
        return;
    }
    const char *options[24] = {0};
    size_t used = 0;
    for (const char *const *o = ammpl_variants[i - KINDS].options; *o; o++)
        options[used++] = *o;
    for (const char *const *o = more; o && *o; o++)
        options[used++] = *o;
    nano_open_method(n, "nano-odd", AMMPL_METHOD_AMMPL, options);
    even_odds(n->prompt);
}

/* n pictures: the seven of nano again and again. */
static float *pictures(const nano *n, size_t count)
{
    size_t R = (size_t)n->model->preprocess.size, each = 3 * R * R;
    float *seven = nano_pixels(n), *all = malloc(count * each * sizeof *all);
    for (size_t i = 0; i < count; i++)
        memcpy(all + i * each, seven + i % NANO_IMAGES * each, each * sizeof *all);
    free(seven);
    return all;
}

static void call(const nano *n, ammpl_session *s, int32_t what, size_t count, const float *pixels)
{
    float *logits = malloc(count * n->prompt->classes * sizeof *logits), *features = malloc(count * (size_t)n->model->embed * sizeof *features);
    int32_t *label = malloc(count * sizeof *label);
    double loss;
    for (size_t i = 0; i < count; i++)
        label[i] = (int32_t)(i % n->prompt->classes);
    for (size_t i = 0; i < count * (size_t)n->model->embed; i++)
        features[i] = (float)(i % 7) - 3;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = count, .label = label, .seed = 5};
    if (what == AMMPL_PLAN_ACCUMULATE_FEATURES)
        batch.features = features;
    else
        batch.pixels = pixels;
    if (what == AMMPL_PLAN_PREDICT)
        ck_ok(ammpli_session_predict(s, n->prompt, pixels, count, logits));
    else
        ck_ok(ammpli_session_accumulate(s, n->prompt, &batch, &loss, NULL));
    free(label);
    free(features);
    free(logits);
}

static bool learns_from(const nano *n, int32_t what)
{
    const ammpli_method *m = n->prompt->method;
    if (what == AMMPL_PLAN_ACCUMULATE)
        return m->accumulate != NULL;
    return what == AMMPL_PLAN_PREDICT || (m->plain_images && m->plain_images(n->prompt));
}

/* A new session's call: planned and counted bytes; with a repetition, which asks for nothing. */
static void compare(const nano *n, const char *name, int32_t what, size_t count_of_images, counter *c)
{
    ammpl_session *planner, *s;
    uint64_t planned;
    float *pixels = pictures(n, count_of_images);
    ck_ok(ammpli_session_create(n->model, n->cfg, &planner));
    ck_ok(ammpl_session_plan(planner, n->prompt, count_of_images, what, &planned));
    ammpli_session_release(planner);
    long long before = atomic_load(&c->now);
    atomic_store(&c->peak, before);
    ck_ok(ammpli_session_create(n->model, n->cfg, &s));
    call(n, s, what, count_of_images, pixels);
    double taken = (double)(atomic_load(&c->peak) - before);
    ck_assert_msg(taken <= 1.05 * (double)planned && taken >= 0.95 * (double)planned, "%s, call %d of %zu images: %.0f bytes planned, %.0f taken",
                  name, (int)what, count_of_images, (double)planned, taken);
    long long requests = atomic_load(&c->requests);
    call(n, s, what, count_of_images, pixels);
    ck_assert_msg(atomic_load(&c->requests) == requests, "%s, call %d: repeated, it allocates", name, (int)what);
    ammpli_session_release(s);
    free(pixels);
}

START_TEST(planned_and_counted)
{
    static const size_t counts[] = {1, 3, 11, 37};
    nano n;
    counter c;
    open_any(&n, _i, NULL);
    count(n.ctx, &c);
    for (int32_t what = AMMPL_PLAN_PREDICT; what <= AMMPL_PLAN_ACCUMULATE_FEATURES; what++)
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++)
            if (learns_from(&n, what))
                compare(&n, name_of(_i), what, counts[k], &c);
    nano_close(&n);
}
END_TEST

/* TinyCLIP's width and picture size, all methods as published. */
START_TEST(larger_model)
{
    static const ammpl_method methods[] = {AMMPL_METHOD_ZEROSHOT, AMMPL_METHOD_COOP, AMMPL_METHOD_COCOOP, AMMPL_METHOD_VP, AMMPL_METHOD_VPT,
                                           AMMPL_METHOD_DLP, AMMPL_METHOD_IVLP, AMMPL_METHOD_MAPLE, AMMPL_METHOD_DPT, AMMPL_METHOD_AMMPL};
    nano n = {.ctx = test_context()};
    counter c;
    n.model = sized_model(n.ctx, &(model_sizes){.text_width = 96, .text_layers = 3, .length = 77, .image_width = 128, .image_layers = 4,
                                                .patch = 8, .grid = 8, .joint = 128});
    ck_ok(ammpli_config_create(n.ctx, &n.cfg));
    ck_ok(ammpli_dataset_create(n.ctx, nano_names, NANO_CLASSES, &n.data));
    nano_add_pictures(n.data, NANO_IMAGES);
    ck_ok(ammpli_prompt_create(n.model, methods[_i], nano_names, NANO_CLASSES, n.cfg, &n.prompt));
    even_odds(n.prompt);
    count(n.ctx, &c);
    for (int32_t what = AMMPL_PLAN_PREDICT; what <= AMMPL_PLAN_ACCUMULATE_FEATURES; what++)
        if (learns_from(&n, what))
            compare(&n, n.prompt->method->name, what, 5, &c);
    nano_close(&n);
}
END_TEST

/* ---- memory_limit ---- */

/* The least that a call can do with. */
static int64_t least(const nano *n, int32_t what, int64_t count_of_images)
{
    ammpli_session_plan plan;
    ck_ok(ammpli_session_footprint(n->session, n->prompt, what, count_of_images, 1, &plan));
    return plan.total;
}

static void check_limited(const nano *n, const char *name, int32_t what, size_t images, int64_t limit, counter *c)
{
    ammpl_session *s;
    float *pixels = pictures(n, images);
    ck_ok(ammpli_config_set_int(n->cfg, AMMPL_OPT_MEMORY_LIMIT, limit));
    long long before = atomic_load(&c->now);
    ck_ok(ammpli_session_create(n->model, n->cfg, &s));
    ck_ok(ammpli_session_prepare(s, n->prompt, what, (int64_t)images)); /* the plan's own search is no part of the call */
    atomic_store(&c->peak, atomic_load(&c->now));
    call(n, s, what, images, pixels);
    ck_assert_msg(atomic_load(&c->peak) - before <= limit, "%s, call %d: a limit of %lld bytes, %lld taken", name, (int)what,
                  (long long)limit, atomic_load(&c->peak) - before);
    ammpli_session_release(s);
    free(pixels);
}

/* At the least, halfway, and just below what it would take: never more; one byte less than the least is refused by name. */
START_TEST(limit_respected)
{
    enum { IMAGES = 9 };
    nano n;
    counter c;
    open_any(&n, _i, NULL);
    count(n.ctx, &c);
    for (int32_t what = AMMPL_PLAN_PREDICT; what <= AMMPL_PLAN_ACCUMULATE; what++) {
        ammpli_session_plan free_plan;
        if (!learns_from(&n, what))
            continue;
        ck_ok(ammpli_session_plan_of(n.session, n.prompt, what, IMAGES, &free_plan));
        int64_t small = least(&n, what, IMAGES);
        ck_assert_msg(small < free_plan.total, "%s: nothing can be saved", name_of(_i));
        const int64_t limits[] = {small, (small + free_plan.total) / 2, free_plan.total - 1};
        for (int k = 0; k < 3; k++)
            check_limited(&n, name_of(_i), what, IMAGES, limits[k], &c);
        ammpl_session *s;
        uint64_t bytes = 1;
        char number[64];
        ck_ok(ammpli_config_set_int(n.cfg, AMMPL_OPT_MEMORY_LIMIT, small - 1));
        ck_ok(ammpli_session_create(n.model, n.cfg, &s));
        snprintf(number, sizeof number, "at least %lld bytes", (long long)small);
        ck_status(ammpl_session_plan(s, n.prompt, IMAGES, what, &bytes), AMMPL_E_MEMORY, number);
        ck_assert_uint_eq(bytes, 0);
        ammpli_session_release(s);
    }
    nano_close(&n);
}
END_TEST

/* A limit is what a call may take, also where more would be kept than without one. */
START_TEST(limit_lifts)
{
    enum { IMAGES = 9 };
    nano n;
    open_any(&n, _i, NULL);
    for (int32_t what = AMMPL_PLAN_PREDICT; what <= AMMPL_PLAN_ACCUMULATE; what++) {
        ammpl_session *s;
        ammpli_session_plan all, without, with;
        if (!learns_from(&n, what))
            continue;
        ck_ok(ammpli_session_footprint(n.session, n.prompt, what, IMAGES, (int64_t)1 << 40, &all));
        ck_ok(ammpli_config_set_int(n.cfg, AMMPL_OPT_MEMORY_LIMIT, 0));
        ck_ok(ammpli_session_create(n.model, n.cfg, &s));
        s->most = 1; /* as on a machine that has nothing to give */
        ck_ok(ammpli_session_plan_of(s, n.prompt, what, IMAGES, &without));
        ammpli_session_release(s);
        ck_ok(ammpli_config_set_int(n.cfg, AMMPL_OPT_MEMORY_LIMIT, all.total));
        ck_ok(ammpli_session_create(n.model, n.cfg, &s));
        s->most = 1;
        ck_ok(ammpli_session_plan_of(s, n.prompt, what, IMAGES, &with));
        ammpli_session_release(s);
        ck_assert_msg(without.total < all.total, "%s, call %d: nothing is saved", name_of(_i), (int)what);
        ck_assert_msg(with.total == all.total, "%s, call %d: %lld bytes of a limit of %lld", name_of(_i), (int)what, (long long)with.total,
                      (long long)all.total);
    }
    nano_close(&n);
}
END_TEST

/* Features have no plan: under a limit a session that has gone through a planned call encodes what a new one does. */
START_TEST(features_after_a_step)
{
    enum { IMAGES = 40, LIMITS = 9 };
    nano n;
    float features[IMAGES * 64];
    int encoded = 0;
    open_any(&n, _i, NULL);
    ck_assert_int_le(n.model->embed, 64);
    ammpli_session_plan plan;
    ck_ok(ammpli_session_plan_of(n.session, n.prompt, AMMPL_PLAN_PREDICT, 1, &plan));
    float *pixels = pictures(&n, IMAGES);
    for (int k = 0; k < LIMITS; k++) {
        ammpl_session *s;
        ck_ok(ammpli_config_set_int(n.cfg, AMMPL_OPT_MEMORY_LIMIT, plan.total + k * plan.total / 3));
        ck_ok(ammpli_session_create(n.model, n.cfg, &s));
        ammpl_status fresh = ammpli_session_encode_images(s, NULL, pixels, IMAGES, features);
        ammpli_session_release(s);
        ammpli_clear_error();
        ck_ok(ammpli_session_create(n.model, n.cfg, &s));
        call(&n, s, AMMPL_PLAN_PREDICT, 1, pixels);
        ammpl_status later = ammpli_session_encode_images(s, NULL, pixels, IMAGES, features);
        ammpli_session_release(s);
        ck_assert_msg(fresh < 0 || later == AMMPL_OK, "%s: a new session encodes, one that has predicted does not: %s", name_of(_i),
                      ammpl_last_error());
        ammpli_clear_error();
        encoded += fresh == AMMPL_OK;
    }
    ck_assert_int_gt(encoded, 0);
    free(pixels);
    nano_close(&n);
}
END_TEST

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

/* Without a limit: a quarter of what the machine can give at that moment, which may change between two looks. */
START_TEST(share_of_the_machine)
{
    nano n;
    ammpl_session *s;
    uint64_t now, all;
    open_any(&n, 0, NULL);
    ck_ok(n.model->device->backend->memory(&n.ctx->host, 0, &now, &all));
    ck_ok(ammpli_session_create(n.model, n.cfg, &s));
    ck_assert_msg((double)s->most > 0.15 * (double)now && (double)s->most < 0.35 * (double)now, "%lld bytes of %llu", (long long)s->most,
                  (unsigned long long)now);
    ck_assert_int_eq(s->budget, s->most);
    ammpli_session_release(s);
    nano_close(&n);
}
END_TEST

/* ---- what depends on the pictures: which classes are the nearest, which masks are equal ---- */

/* Of 40 classes, whose names begin alike or not. */
static const struct {
    const char *name;
    float kept; /* probability: near 1 masks of many classes are equal, and keep everything */
    const char *options[10];
} many[] = {
    {"candidates", 0.5f, {"candidates", "2", NULL}},
    {"candidates of a class scope", 0.5f, {"candidates", "3", "scope", "class", NULL}},
    {"candidates of one draw", 0.5f, {"candidates", "2", "draws", "image", NULL}},
    {"candidates, simultaneous", 0.5f, {"candidates", "2", "order", "simultaneous", NULL}},
    {"candidates but one", 0.97f, {"candidates", "39", NULL}},
    {"nearly whole", 0.97f, {"scope", "shared", NULL}},
    {"nearly whole, of a class scope", 0.97f, {"scope", "class", NULL}},
    {"nearly whole, sampled", 0.97f, {"scope", "class", "evaluation", "sample", NULL}},
    {"nearly whole, no interaction", 0.97f, {"interaction", "false", NULL}},
};
enum { MANY = sizeof many / sizeof many[0], MANY_CLASSES = 40 };

static void open_many(nano *n, int i)
{
    char text[MANY_CLASSES][24];
    const char *names[MANY_CLASSES];
    for (int c = 0; c < MANY_CLASSES; c++) {
        snprintf(text[c], sizeof text[c], "%s %d", c % 3 ? "ox" : "a big ox", c);
        names[c] = text[c];
    }
    nano_open_method(n, "nano-odd", AMMPL_METHOD_AMMPL, many[i].options);
    ammpli_session_release(n->session);
    ammpli_prompt_release(n->prompt);
    ck_ok(ammpli_prompt_create(n->model, n->method, names, MANY_CLASSES, n->cfg, &n->prompt));
    ck_ok(ammpli_session_create(n->model, n->cfg, &n->session));
    keep_patches(n->prompt, many[i].kept);
}

/* As planned, with everything kept, nothing kept and between them; and repeated it asks for nothing. */
START_TEST(whatever_pictures_show)
{
    static const size_t counts[] = {1, 4};
    nano n;
    counter c;
    open_many(&n, _i);
    count(n.ctx, &c);
    for (int32_t what = AMMPL_PLAN_PREDICT; what <= AMMPL_PLAN_ACCUMULATE; what++)
        for (int k = 0; k < 2; k++) {
            size_t images = counts[k];
            float *pixels = pictures(&n, images);
            ammpli_session_plan all, small;
            ck_ok(ammpli_config_set_int(n.cfg, AMMPL_OPT_MEMORY_LIMIT, 0));
            compare(&n, many[_i].name, what, images, &c);
            ck_ok(ammpli_session_footprint(n.session, n.prompt, what, (int64_t)images, INT64_MAX, &all));
            ck_ok(ammpli_session_footprint(n.session, n.prompt, what, (int64_t)images, 1, &small));
            for (int part = 0; part < 8; part++) {
                int64_t limit = small.total + (all.total - small.total) * part / 8;
                ammpl_session *s;
                ck_ok(ammpli_config_set_int(n.cfg, AMMPL_OPT_MEMORY_LIMIT, limit));
                long long before = atomic_load(&c.now);
                ck_ok(ammpli_session_create(n.model, n.cfg, &s));
                ck_ok(ammpli_session_prepare(s, n.prompt, what, (int64_t)images));
                atomic_store(&c.peak, atomic_load(&c.now));
                long long requests = 0;
                for (int again = 0; again < 3; again++) {
                    requests = atomic_load(&c.requests);
                    call(&n, s, what, images, pixels);
                }
                long long taken = atomic_load(&c.peak) - before;
                ck_assert_msg(taken <= limit, "%s, call %d of %zu images: a limit of %lld bytes, %lld taken", many[_i].name, (int)what, images,
                              (long long)limit, taken);
                ck_assert_msg(atomic_load(&c.requests) == requests, "%s, call %d of %zu images, a limit of %lld bytes: repeated it asks for memory",
                              many[_i].name, (int)what, images, (long long)limit);
                ammpli_session_release(s);
            }
            free(pixels);
        }
    nano_close(&n);
}
END_TEST

/* ---- whole training steps ---- */

/* Gradients and update, from the second time on: the first finds its memory, and a short last batch its plan. */
START_TEST(steps_allocate_nothing)
{
    static const size_t batches[] = {3, 1};
    nano n;
    counter c;
    long long requests = 0;
    open_any(&n, _i, NULL);
    nano_trainer(&n);
    count(n.ctx, &c);
    float *pixels = pictures(&n, 3);
    for (int step = 0; step < 8; step++) {
        if (step == 2)
            requests = atomic_load(&c.requests);
        ck_ok(ammpli_prompt_zero_gradients(n.prompt));
        call(&n, n.session, AMMPL_PLAN_ACCUMULATE, batches[step % 2], pixels);
        ck_ok(ammpli_optimizer_step(n.trainer->optimizer));
    }
    ck_assert_msg(requests > 0, "%s: the first steps ask for memory", name_of(_i));
    ck_assert_msg(atomic_load(&c.requests) == requests, "%s: %lld requests in 6 steps", name_of(_i), atomic_load(&c.requests) - requests);
    free(pixels);
    nano_close(&n);
}
END_TEST

/* A whole trainer whose images are features already. */
START_TEST(trainer_allocates_nothing)
{
    static const char *const names[] = {"coop_end", "cocoop_words", "dlp_full", "ivlp_text"}, *const options[] = {"augment", "none", NULL};
    nano n;
    counter c;
    kind_open(&n, kind_of(names[_i]), options);
    count(n.ctx, &c);
    nano_trainer(&n);
    nano_steps(&n, 3); /* an epoch */
    long long requests = atomic_load(&c.requests);
    nano_steps(&n, 9);
    ck_assert_msg(requests > 0 && atomic_load(&c.requests) == requests, "%s: %lld requests in 9 steps", names[_i],
                  atomic_load(&c.requests) - requests);
    nano_close(&n);
}
END_TEST

/* A step in parts counts DPT's auxiliary rows first: that, too, is a call that the limit is asked for. */
START_TEST(trainer_counts_rows_within_the_limit)
{
    static const char *const options[] = {"batch", "1", "accumulate", "2", "memory_limit", "1000", NULL};
    nano n;
    kind_open(&n, kind_of("dpt_two"), options);
    nano_trainer(&n);
    ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_MEMORY, "memory_limit = 1000: counting auxiliary rows of 1 image");
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plan");
    TCase *c = tcase_create("plans");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, planned_and_counted, 0, ALL);
    tcase_add_loop_test(c, larger_model, 0, 10);
    tcase_add_loop_test(c, limit_respected, 0, ALL);
    tcase_add_loop_test(c, limit_lifts, 0, ALL);
    tcase_add_loop_test(c, features_after_a_step, 0, ALL);
    tcase_add_loop_test(c, whatever_pictures_show, 0, MANY);
    tcase_add_test(c, share_of_the_machine);
    tcase_add_loop_test(c, steps_allocate_nothing, 0, ALL);
    tcase_add_loop_test(c, trainer_allocates_nothing, 0, 4);
    suite_add_tcase(s, c);
    c = tcase_create("limits");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, limit_of_mixed_calls, 0, ALL);
    tcase_add_loop_test(c, mixed_calls_allocate_nothing, 0, ALL);
    tcase_add_test(c, limit_of_features);
    tcase_add_test(c, limit_of_cosines);
    tcase_add_test(c, unplanned_after_planned);
    tcase_add_test(c, trainer_counts_rows_within_the_limit);
    suite_add_tcase(s, c);
    return test_main(s);
}
