/* test_any_pictures.c - memory as planned whatever pictures show: which classes are the nearest, which masks are equal, how many are left. */
#include "io/derived_model.h"
#include "planned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of classes begin alike or not. */
static const struct {
    const char *name;
    float kept; /* probability: near 1 masks of many classes are equal, and keep everything */
    int classes;
    const char *options[10];
} many[] = {
    {"candidates", 0.5f, 40, {"candidates", "2", NULL}},
    {"candidates of a class scope", 0.5f, 40, {"candidates", "3", "scope", "class", NULL}},
    {"candidates of one draw", 0.5f, 40, {"candidates", "2", "draws", "image", NULL}},
    {"candidates, simultaneous", 0.5f, 40, {"candidates", "2", "order", "simultaneous", NULL}},
    {"candidates but one", 0.5f, 3, {"candidates", "2", NULL}}, /* of labels some are among them and some not */
    {"candidates but one of many", 0.97f, 16, {"candidates", "15", NULL}},
    {"whole", 1, 16, {"scope", "shared", NULL}},
    {"whole, of a class scope", 1, 10, {"scope", "class", "evaluation", "threshold", NULL}},
    {"one draw, text first", 0.5f, 7, {"draws", "image", "n_ctx", "1", NULL}},
    {"nearly whole", 0.97f, 16, {"scope", "shared", NULL}},
    {"nearly whole, of a class scope", 0.97f, 16, {"scope", "class", NULL}},
    {"nearly whole, sampled", 0.97f, 16, {"scope", "class", "evaluation", "sample", NULL}},
    {"nearly whole, no interaction", 0.97f, 16, {"interaction", "false", NULL}},
};
enum { MANY = sizeof many / sizeof many[0], MANY_CLASSES = 40 };

static void open_many(nano *n, int i)
{
    char text[MANY_CLASSES][24];
    const char *names[MANY_CLASSES];
    int classes = many[i].classes;
    ck_assert_int_le(classes, MANY_CLASSES);
    for (int c = 0; c < classes; c++) {
        snprintf(text[c], sizeof text[c], "%s %d", c % 3 ? "ox" : "a big ox", c);
        names[c] = text[c];
    }
    nano_open_method(n, "nano-odd", AMMPL_METHOD_AMMPL, many[i].options);
    ammpli_session_release(n->session);
    ammpli_prompt_release(n->prompt);
    ck_ok(ammpli_prompt_create(n->model, n->method, names, (size_t)classes, n->cfg, &n->prompt));
    ck_ok(ammpli_session_create(n->model, n->cfg, &n->session));
    keep_patches(n->prompt, many[i].kept);
}

/* As planned, with everything kept, nothing kept and between them, and with the same bits. */
START_TEST(whatever_pictures_show)
{
    static const size_t counts[] = {1, 4};
    static float want[RESULTS], got[RESULTS];
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
            int64_t numbers = results_of(&n, n.session, what, images, pixels, want);
            ck_ok(ammpli_session_footprint(n.session, n.prompt, what, (int64_t)images, INT64_MAX, &all));
            ck_ok(ammpli_session_footprint(n.session, n.prompt, what, (int64_t)images, 1, &small));
            for (int part = 0; part < 8; part++) {
                int64_t limit = small.total + (all.total - small.total) * part / 8;
                check_limited(&n, many[_i].name, what, images, limit, &c, got);
                ck_assert_msg(memcmp(got, want, (size_t)numbers * sizeof *got) == 0, "%s, call %d of %zu images: other results under a limit of %lld",
                              many[_i].name, (int)what, images, (long long)limit);
            }
            free(pixels);
        }
    nano_close(&n);
}
END_TEST

/* Prediction of more pictures than go at once: the last part, a smaller one, goes through in one chunk and can take more than the others. */
START_TEST(last_part_planned)
{
    enum { IMAGES = 39, LIMITS = 40 };
    static const char *const names[] = {"ox 0", "ox 1"};
    nano n = {.ctx = test_context()};
    float logits[IMAGES * 2];
    ammpli_session_plan all, small;
    n.model = sized_model(n.ctx, &(model_sizes){.text_width = 64, .text_layers = 1, .length = 77, .image_width = 16, .image_layers = 1, .patch = 8,
                                                .grid = 2, .joint = 32});
    ck_ok(ammpli_config_create(n.ctx, &n.cfg));
    ck_ok(ammpli_dataset_create(n.ctx, nano_names, NANO_CLASSES, &n.data));
    nano_add_pictures(n.data, NANO_IMAGES);
    ck_ok(ammpli_prompt_create(n.model, AMMPL_METHOD_COCOOP, names, 2, n.cfg, &n.prompt));
    ck_ok(ammpli_session_create(n.model, n.cfg, &n.session));
    float *pixels = pictures(&n, IMAGES);
    ck_ok(ammpli_session_footprint(n.session, n.prompt, AMMPL_PLAN_PREDICT, IMAGES, INT64_MAX, &all));
    ck_ok(ammpli_session_footprint(n.session, n.prompt, AMMPL_PLAN_PREDICT, IMAGES, 1, &small));
    ck_assert_int_lt(small.total, all.total);
    for (int k = 0; k <= LIMITS; k++) {
        ammpl_session *s;
        ck_ok(ammpli_config_set_int(n.cfg, AMMPL_OPT_MEMORY_LIMIT, small.total + (all.total - small.total) * k / LIMITS));
        ck_ok(ammpli_session_create(n.model, n.cfg, &s));
        ck_ok(ammpli_session_predict(s, n.prompt, pixels, IMAGES, logits));
        ammpli_session_release(s);
    }
    free(pixels);
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("any_pictures");
    TCase *c = tcase_create("plans");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, whatever_pictures_show, 0, MANY);
    tcase_add_test(c, last_part_planned);
    suite_add_tcase(s, c);
    return test_main(s);
}
