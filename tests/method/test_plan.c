/* test_plan.c - memory: what ammpl_session_plan says against what an allocator counts, memory_limit, and steps that allocate nothing. */
#include "io/derived_model.h"
#include "planned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- planned and taken ---- */

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

/* At the least, halfway, and just below what it would take: never more; one byte less than the least is refused by name. */
START_TEST(limit_respected)
{
    enum { IMAGES = 9 };
    static float results[RESULTS];
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
            check_limited(&n, name_of(_i), what, IMAGES, limits[k], &c, results);
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
    tcase_add_test(c, share_of_the_machine);
    tcase_add_loop_test(c, steps_allocate_nothing, 0, ALL);
    tcase_add_loop_test(c, trainer_allocates_nothing, 0, 4);
    tcase_add_test(c, trainer_counts_rows_within_the_limit);
    suite_add_tcase(s, c);
    return test_main(s);
}
