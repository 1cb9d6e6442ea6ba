/* test_published.c - which settings hold where nothing is given: the originals' for each protocol (methods.md, sections 5 and A.4),
 * clipped to the model at hand; rates of parameter groups; and settings that cannot be.
 */
#include "io/derived_model.h"
#include "train/nano.h"

#include <ammpl/ammpl.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings in force ---- */

static const struct {
    ammpl_method method;
    const char *protocol; /* several, with spaces between */
    int from, to;         /* shots */
    const char *options;
} published[] = {
    /* 5.2 */
    {AMMPL_METHOD_COOP, "default few-shot", 1, 16, "n_ctx=16; ctx_init=; position=end; class_specific=false"},
    {AMMPL_METHOD_COOP, "default few-shot base-to-novel cross-dataset", 1, 16, "lr=0.002; batch=32; warmup_epochs=1"},
    {AMMPL_METHOD_COOP, "few-shot", 1, 1, "epochs=50"},
    {AMMPL_METHOD_COOP, "few-shot", 2, 7, "epochs=100"},
    {AMMPL_METHOD_COOP, "few-shot", 8, 16, "epochs=200"},
    {AMMPL_METHOD_COOP, "base-to-novel cross-dataset", 1, 16, "n_ctx=4; ctx_init=a photo of a"},
    {AMMPL_METHOD_COOP, "base-to-novel", 1, 16, "epochs=200"},
    {AMMPL_METHOD_COOP, "default cross-dataset", 1, 16, "epochs=50"},
    /* 5.3 */
    {AMMPL_METHOD_COCOOP, "default few-shot base-to-novel cross-dataset", 1, 16,
     "n_ctx=4; ctx_init=a photo of a; lr=0.002; batch=1; epochs=10; warmup_epochs=1"},
    /* 5.4; shorter where pictures are few: our choice */
    {AMMPL_METHOD_VP, "default few-shot base-to-novel cross-dataset", 1, 16,
     "kind=padding; template=This is a photo of a {}; lr=40; weight_decay=0; schedule=cosine_steps; augment=none; drop_last=false"},
    {AMMPL_METHOD_VP, "default", 1, 16, "batch=256; epochs=1000; warmup_steps=1000"},
    {AMMPL_METHOD_VP, "few-shot base-to-novel cross-dataset", 1, 16, "batch=32; epochs=100; warmup_steps=50"},
    /* 5.5; few-shot 5.6 */
    {AMMPL_METHOD_VPT, "default base-to-novel cross-dataset", 1, 16,
     "variant=maple; n_ctx_vision=8; depth_vision=12; template=a photo of a {}.; lr=0.0025; batch=4; epochs=5; warmup_epochs=1"},
    {AMMPL_METHOD_VPT, "few-shot", 1, 16, "variant=dpt; n_ctx_vision=10; depth_vision=13; lr=0.01; batch=32; epochs=100; warmup_epochs=10"},
    /* 5.8, 5.7, 5.9; few-shot: our choice */
    {AMMPL_METHOD_DLP, "default few-shot base-to-novel cross-dataset", 1, 16,
     "n_ctx=4; ctx_init=a photo of a; depth_text=12; lr=0.0025; batch=4; warmup_epochs=1"},
    {AMMPL_METHOD_IVLP, "default few-shot base-to-novel cross-dataset", 1, 16,
     "n_ctx=2; n_ctx_vision=2; ctx_init=a photo of a; depth_text=12; depth_vision=12; lr=0.0035; batch=4; warmup_epochs=1"},
    {AMMPL_METHOD_MAPLE, "default few-shot base-to-novel cross-dataset", 1, 16, "n_ctx=2; ctx_init=a photo of a; batch=4; warmup_epochs=1"},
    {AMMPL_METHOD_MAPLE, "default few-shot base-to-novel", 1, 16, "depth=9; lr=0.0035"},
    {AMMPL_METHOD_MAPLE, "cross-dataset", 1, 16, "depth=3; lr=0.0026; epochs=2"},
    {AMMPL_METHOD_DLP, "default base-to-novel cross-dataset", 1, 16, "epochs=5"},
    {AMMPL_METHOD_IVLP, "default base-to-novel cross-dataset", 1, 16, "epochs=5"},
    {AMMPL_METHOD_MAPLE, "default base-to-novel", 1, 16, "epochs=5"},
    {AMMPL_METHOD_DLP, "few-shot", 1, 16, "epochs=50"},
    {AMMPL_METHOD_IVLP, "few-shot", 1, 16, "epochs=50"},
    {AMMPL_METHOD_MAPLE, "few-shot", 1, 16, "epochs=50"},
    /* 5.10 */
    {AMMPL_METHOD_DPT, "default few-shot base-to-novel cross-dataset", 1, 16,
     "n_ctx=16; ctx_init=; n_ctx_vision=10; bottom_limit=13; top_k=3; guidance_epochs=30; aux_weight=0.3; lr=0.01; lr_text=0.002; "
     "warmup_epochs=10; warmup_epochs_text=1; batch=32; template=a photo of a {}."},
    {AMMPL_METHOD_DPT, "default few-shot", 1, 1, "epochs=60"},
    {AMMPL_METHOD_DPT, "default few-shot", 2, 16, "epochs=100"},
    /* ammpl.md */
    {AMMPL_METHOD_AMMPL, "few-shot", 1, 16, "scope=class; epochs=50; batch=4"},
    {AMMPL_METHOD_AMMPL, "default base-to-novel cross-dataset", 1, 16, "scope=shared; epochs=10; batch=1"},
    {AMMPL_METHOD_AMMPL, "default few-shot base-to-novel cross-dataset", 1, 16,
     "n_ctx=4; ctx_init=a photo of a; mask_mean=0.95; order=text_first; lr=0.002; warmup_epochs=1; lr_mask=1; lr_padding=1; drop_last=false"},
};
enum { PUBLISHED = sizeof published / sizeof published[0] };

static void check_options(const ammpl_prompt *p, const ammpl_trainer *t, const char *options, const char *what)
{
    char copy[512], *rest = copy, *one;
    snprintf(copy, sizeof copy, "%s", options);
    while ((one = strsep(&rest, ";"))) {
        char *name = one + strspn(one, " "), *value = strchr(name, '=');
        *value++ = '\0';
        int32_t flags = ammpli_option_by_name(name)->flags;
        const char *of_prompt = ammpl_prompt_option(p, name), *of_run = ammpl_trainer_option(t, name);
        if (flags & AMMPL_OPTION_SAVED)
            ck_assert_msg(strcmp(of_prompt, value) == 0, "%s: %s = %s in the prompt, published %s", what, name, of_prompt, value);
        if (flags & AMMPL_OPTION_TRAIN)
            ck_assert_msg(strcmp(of_run, value) == 0, "%s: %s = %s in the run, published %s", what, name, of_run, value);
    }
}

/* Every row of the table, with 1, 2, 4, 8 and 16 pictures of a class; the whole of Dassl's engine for all but VP and AMMPL. */
START_TEST(settings)
{
    static const char *const protocols[] = {"default", "few-shot", "base-to-novel", "cross-dataset"};
    static const int shots[] = {1, 2, 4, 8, 16};
    ammpl_context *ctx = test_context();
    ammpl_model *m = derived_model(ctx, 14, 13, 0, 0);
    ammpl_session *s;
    ck_ok(ammpli_session_create(m, NULL, &s));
    size_t checked[PUBLISHED] = {0};
    for (size_t k = 0; k < 5; k++) {
        ammpl_dataset *data;
        ck_ok(ammpli_dataset_create(ctx, nano_names, NANO_CLASSES, &data));
        for (int i = 0; i < shots[k] + 2; i++) { /* of the first class most, one of the others */
            ammpl_image *img = nano_picture(ctx, (uint32_t)i);
            ck_ok(ammpli_dataset_add(data, img, NULL, i < shots[k] ? 0 : i - shots[k] + 1, (uint32_t)i));
            ammpli_image_destroy(img);
        }
        for (ammpl_method method = AMMPL_METHOD_COOP; method <= AMMPL_METHOD_AMMPL; method++)
            for (size_t q = 0; q < 4; q++) {
                ammpl_config *cfg;
                ammpl_prompt *p;
                ammpl_trainer *t;
                char what[96];
                ck_ok(ammpli_config_create(ctx, &cfg));
                ck_ok(ammpli_config_set_text(cfg, "protocol", protocols[q]));
                ck_ok(ammpli_prompt_create(m, method, nano_names, NANO_CLASSES, cfg, &p));
                ck_ok(ammpli_trainer_create(s, p, data, cfg, &t));
                snprintf(what, sizeof what, "%s, %s, %d shots", p->method->name, protocols[q], shots[k]);
                for (size_t i = 0; i < PUBLISHED; i++)
                    if (published[i].method == method && strstr(published[i].protocol, protocols[q]) && shots[k] >= published[i].from &&
                        shots[k] <= published[i].to) {
                        check_options(p, t, published[i].options, what);
                        checked[i]++;
                    }
                if (method != AMMPL_METHOD_VP && method != AMMPL_METHOD_AMMPL) {
                    check_options(p, t, "optimizer=sgd; momentum=0.9; weight_decay=0.0005; schedule=cosine; warmup_lr=1e-05; augment=crop_flip", what);
                    check_options(p, t, q > 0 ? "drop_last=true" : "drop_last=false", what);
                }
                ammpli_trainer_release(t);
                ammpli_prompt_release(p);
                ammpli_config_destroy(cfg);
            }
        ammpli_dataset_release(data);
    }
    for (size_t i = 0; i < PUBLISHED; i++)
        ck_assert_msg(checked[i] > 0, "row %zu was never looked at", i);
    ammpli_session_release(s);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

/* ---- clipped to the model ---- */

static ammpl_prompt *make(const ammpl_model *m, ammpl_method method, const char *const *names, size_t n, const char *const *options)
{
    ammpl_config *cfg;
    ammpl_prompt *p;
    ck_ok(ammpli_config_create(m->ctx, &cfg));
    for (const char *const *o = options; o && *o; o += 2)
        ck_ok(ammpli_config_set_text(cfg, o[0], o[1]));
    ck_ok(ammpli_prompt_create(m, method, names, n, cfg, &p));
    ammpli_config_destroy(cfg);
    return p;
}

static const char *const twelve[] = {"ant", "bat", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "koi", "lynx"};
static const char *const zero_depths[] = {"depth", "0", "depth_text", "0", "bottom_limit", "0", "top_k", "0", "prompt_size", "0",
                                          "n_ctx", "0", "n_ctx_vision", "0", NULL};

/* Nano has 3 text and 2 image layers of 19 positions and 15 pixels, nano-odd 3 and 5, 23 and 12, nano-wide 1 and 1, 16 and 16. */
START_TEST(clipped)
{
    static const struct {
        const char *model;
        ammpl_method method;
        size_t classes;
        const char *name, *value;
    } cases[] = {{"nano", AMMPL_METHOD_MAPLE, 3, "depth", "2"}, {"nano-odd", AMMPL_METHOD_MAPLE, 3, "depth", "3"}, {"nano-wide", AMMPL_METHOD_MAPLE, 3, "depth", "1"},
                 {"nano", AMMPL_METHOD_VPT, 3, "depth_vision", "2"}, {"nano-odd", AMMPL_METHOD_VPT, 3, "depth_vision", "5"},
                 {"nano", AMMPL_METHOD_DLP, 3, "depth_text", "3"}, {"nano-wide", AMMPL_METHOD_DLP, 3, "depth_text", "1"},
                 {"nano-odd", AMMPL_METHOD_IVLP, 3, "depth_vision", "5"}, {"nano-odd", AMMPL_METHOD_IVLP, 3, "depth_text", "3"},
                 {"nano", AMMPL_METHOD_DPT, 3, "bottom_limit", "2"}, {"nano-odd", AMMPL_METHOD_DPT, 3, "bottom_limit", "5"},
                 {"nano", AMMPL_METHOD_DPT, 2, "top_k", "2"}, {"nano", AMMPL_METHOD_DPT, 5, "top_k", "5"}, {"nano", AMMPL_METHOD_DPT, 12, "top_k", "10"},
                 {"nano", AMMPL_METHOD_VP, 3, "prompt_size", "2"}, {"nano-odd", AMMPL_METHOD_VP, 3, "prompt_size", "2"},
                 {"nano", AMMPL_METHOD_COCOOP, 3, "n_ctx", "4"}, {"nano-odd", AMMPL_METHOD_IVLP, 3, "n_ctx", "2"}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        for (int zeros = 0; zeros < 2; zeros++) { /* 0 is the same as nothing */
            ammpl_context *ctx = test_context();
            ammpl_model *m;
            ck_ok(ammpli_model_load_file(ctx, NULL, test_golden(cases[k].model), NULL, &m));
            ammpl_prompt *p = make(m, cases[k].method, twelve, cases[k].classes, zeros ? zero_depths : NULL);
            ck_assert_msg(strcmp(ammpl_prompt_option(p, cases[k].name), cases[k].value) == 0, "%s on %s: %s = %s, expected %s", p->method->name,
                          cases[k].model, cases[k].name, ammpl_prompt_option(p, cases[k].name), cases[k].value);
            ammpli_prompt_release(p);
            ammpli_model_release(m);
            ammpli_context_release(ctx);
        }
}
END_TEST

/* 30 of 224 pixels, in proportion: what is published for 224, and more for larger pictures. */
START_TEST(prompt_size)
{
    static const struct {
        int64_t patch, grid;
        const char *size;
        uint64_t parameters; /* of the frame */
    } cases[] = {{56, 4, "30", 69840}, {32, 7, "30", 69840}, {48, 7, "45", 157140}, {16, 7, "15", 17460}, {4, 4, "2", 336}};
    ammpl_context *ctx = test_context();
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        ammpl_model *m = derived_model(ctx, 3, 2, cases[k].patch, cases[k].grid);
        ammpl_prompt *p = make(m, AMMPL_METHOD_VP, twelve, 12, NULL);
        ammpl_cost cost = {.struct_size = sizeof cost};
        ck_assert_str_eq(ammpl_prompt_option(p, "prompt_size"), cases[k].size);
        ck_ok(ammpl_prompt_cost(p, &cost));
        ck_assert_uint_eq(cost.parameters, cases[k].parameters);
        ammpli_prompt_release(p);
        ammpli_model_release(m);
    }
    ammpli_context_release(ctx);
}
END_TEST

/* ---- rates of groups ---- */

/* What schedules of whole epochs say (methods.md 6.5). */
static double scheduled(double lr, int warmup, int epochs, int epoch)
{
    return epoch < warmup ? 1e-5 : lr * 0.5 * (1 + cos(3.14159265358979323846 * (epoch - warmup) / epochs));
}

/* Both of DPT's groups, in some epochs. */
static void check_rates(ammpl_prompt *p, const char *const *options, const double lr[2], const int warmup[2])
{
    ammpl_config *cfg;
    ammpl_optimizer *o;
    char what[128] = "nothing given";
    ck_ok(ammpli_config_create(p->ctx, &cfg));
    for (const char *const *option = options; option && *option; option += 2) {
        ck_ok(ammpli_config_set_text(cfg, option[0], option[1]));
        snprintf(what, sizeof what, "%s = %s", option[0], option[1]);
    }
    ck_ok(ammpl_optimizer_create(p, cfg, &o));
    ck_assert_uint_eq(ammpl_optimizer_group_count(o), 2);
    static const int epochs[] = {0, 1, 2, 3, 9, 10, 11, 59};
    for (size_t e = 0; e < sizeof epochs / sizeof epochs[0]; e++) {
        ck_ok(ammpl_optimizer_set_epoch(o, epochs[e]));
        for (size_t g = 0; g < 2; g++) {
            double got = ammpl_optimizer_learning_rate(o, g), want = scheduled(lr[g], warmup[g], 60, epochs[e]);
            ck_assert_msg(fabs(got - want) <= 1e-12 * want, "%s: group %zu has rate %.9g in epoch %d, expected %.9g", what, g, got, epochs[e],
                          want);
        }
    }
    ammpl_optimizer_destroy(o);
    ammpli_config_destroy(cfg);
}

typedef struct rates {
    const char *options[5];
    double lr[2]; /* visual, text */
    int warmup[2];
} rates;

START_TEST(groups)
{
    static const rates cases[] = {{{NULL}, {0.01, 0.002}, {10, 1}},
                                  {{"lr", "0.05", NULL}, {0.05, 0.05}, {10, 1}},
                                  {{"lr_text", "0.001", NULL}, {0.01, 0.001}, {10, 1}},
                                  {{"lr_text", "0.001", "lr", "0.05", NULL}, {0.05, 0.001}, {10, 1}},
                                  {{"warmup_epochs", "3", NULL}, {0.01, 0.002}, {3, 3}},
                                  {{"warmup_epochs_text", "2", NULL}, {0.01, 0.002}, {10, 2}},
                                  {{"warmup_epochs", "3", "warmup_epochs_text", "0", NULL}, {0.01, 0.002}, {3, 0}}};
    ammpl_context *ctx = test_context();
    ammpl_model *m;
    ck_ok(ammpli_model_load_file(ctx, NULL, test_golden("nano-odd"), NULL, &m));
    ammpl_prompt *p = make(m, AMMPL_METHOD_DPT, nano_names, NANO_CLASSES, NULL);
    for (size_t t = 0; t < p->tensors; t++) /* the context alone is text */
        ck_assert_int_eq(p->tensor[t].group, strcmp(p->tensor[t].name, "ctx") == 0);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        check_rates(p, cases[k].options, cases[k].lr, cases[k].warmup);
    ammpli_prompt_release(p);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

/* A prompt's own rate of its text goes with its file; who gives one beside it wins, and a rate for all groups, too. */
START_TEST(groups_from_a_file)
{
    static const char *const own[] = {"lr_text", "0.007", "warmup_epochs_text", "4", NULL};
    static const rates cases[] = {{{NULL}, {0.01, 0.007}, {10, 4}},
                                  {{"lr", "0.05", NULL}, {0.05, 0.05}, {10, 4}},
                                  {{"warmup_epochs", "3", NULL}, {0.01, 0.007}, {3, 3}},
                                  {{"lr", "0.05", "lr_text", "0.001", NULL}, {0.05, 0.001}, {10, 4}}};
    ammpl_context *ctx = test_context();
    ammpl_model *m;
    ammpl_config *cfg;
    ammpl_prompt *loaded;
    char path[256];
    snprintf(path, sizeof path, "%s", test_temp("dpt"));
    ck_ok(ammpli_model_load_file(ctx, NULL, test_golden("nano-odd"), NULL, &m));
    ammpl_prompt *p = make(m, AMMPL_METHOD_DPT, nano_names, NANO_CLASSES, own);
    ck_ok(ammpli_prompt_save_file(p, path, false));
    ck_ok(ammpli_prompt_load_file(m, path, NULL, &loaded));
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        check_rates(loaded, cases[k].options, cases[k].lr, cases[k].warmup);
    ammpli_prompt_release(loaded);
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "lr_text", "0.009"));
    ck_ok(ammpli_prompt_load_file(m, path, cfg, &loaded)); /* as --init FILE --set lr_text=0.009 */
    check_rates(loaded, NULL, (double[]){0.01, 0.009}, (int[]){10, 4});
    ck_assert_str_eq(ammpl_prompt_option(loaded, "lr_text"), "0.009");
    ammpli_prompt_release(loaded);
    ammpli_prompt_release(p);
    ammpli_config_destroy(cfg);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

/* VP's rate goes by steps: up over the warm-up, then half a cosine down to the last (methods.md 5.4). */
START_TEST(rates_of_steps)
{
    enum { STEPS = 4000, WARMUP = 1000 };
    ammpl_context *ctx = test_context();
    ammpl_model *m;
    ammpl_optimizer *o;
    ck_ok(ammpli_model_load_file(ctx, NULL, test_golden("nano-odd"), NULL, &m));
    ammpl_prompt *p = make(m, AMMPL_METHOD_VP, nano_names, NANO_CLASSES, NULL);
    ck_ok(ammpl_optimizer_create(p, NULL, &o));
    ck_status(ammpl_optimizer_set_epoch(o, 0), AMMPL_E_STATE, "set_step");
    for (int step = 0; step < STEPS; step += 333) {
        ck_ok(ammpl_optimizer_set_step(o, step / 100, step, STEPS));
        double want = step < WARMUP ? 40.0 * (step + 1) / WARMUP : 20 * (1 + cos(3.14159265358979323846 * (step - WARMUP) / (STEPS - WARMUP)));
        ck_assert_double_eq_tol(ammpl_optimizer_learning_rate(o, 0), want, 1e-12 * want);
    }
    ck_ok(ammpl_optimizer_set_step(o, 0, 499, 500)); /* a run that is shorter than its warm-up */
    ck_assert_double_eq_tol(ammpl_optimizer_learning_rate(o, 0), 20, 1e-12);
    ammpl_optimizer_destroy(o);
    ammpli_prompt_release(p);
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

/* ---- what cannot be ---- */

static const char *const long_name[] = {"cat", "the quick brown fox jumps over the lazy dog and the ox"};

/* Each is refused with a sentence that names the bounds. */
START_TEST(refused)
{
    static const struct {
        ammpl_method method;
        const char *name, *value;
        ammpl_status status;
        const char *word, *bounds;
    } cases[] = {{AMMPL_METHOD_VPT, "depth_vision", "6", AMMPL_E_RANGE, "depth_vision = 6", "1 to 5"},
                 {AMMPL_METHOD_IVLP, "depth_vision", "6", AMMPL_E_RANGE, "depth_vision = 6", "0 to 5"},
                 {AMMPL_METHOD_IVLP, "depth_text", "4", AMMPL_E_RANGE, "depth_text = 4", "1 to 3"},
                 {AMMPL_METHOD_DLP, "depth_text", "4", AMMPL_E_RANGE, "depth_text = 4", "1 to 3"},
                 {AMMPL_METHOD_MAPLE, "depth", "4", AMMPL_E_RANGE, "depth = 4", "1 to 3"},
                 {AMMPL_METHOD_DPT, "bottom_limit", "6", AMMPL_E_RANGE, "bottom_limit = 6", "1 to 5"},
                 {AMMPL_METHOD_DPT, "top_k", "4", AMMPL_E_RANGE, "top_k = 4", "1 to 3"},
                 {AMMPL_METHOD_VP, "prompt_size", "6", AMMPL_E_RANGE, "prompt_size = 6", "1 to 5"},
                 {AMMPL_METHOD_VP, "prompt_size", "13", AMMPL_E_RANGE, "prompt_size = 13", "1 to 5"},
                 {AMMPL_METHOD_COOP, "n_ctx", "24", AMMPL_E_RANGE, "n_ctx = 24", "23"},
                 {AMMPL_METHOD_COOP, "n_ctx", "19", AMMPL_E_RANGE, "red_dog", "23"},
                 {AMMPL_METHOD_COCOOP, "n_ctx", "19", AMMPL_E_RANGE, "red_dog", "23"},
                 {AMMPL_METHOD_DLP, "n_ctx", "19", AMMPL_E_RANGE, "red_dog", "23"},
                 {AMMPL_METHOD_IVLP, "n_ctx", "19", AMMPL_E_RANGE, "red_dog", "23"},
                 {AMMPL_METHOD_MAPLE, "n_ctx", "19", AMMPL_E_RANGE, "red_dog", "23"},
                 {AMMPL_METHOD_DPT, "n_ctx", "19", AMMPL_E_RANGE, "red_dog", "23"}};
    ammpl_context *ctx = test_context();
    ammpl_model *m;
    ammpl_config *cfg;
    ammpl_prompt *p;
    ck_ok(ammpli_model_load_file(ctx, NULL, test_golden("nano-odd"), NULL, &m));
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        ck_ok(ammpli_config_create(ctx, &cfg));
        ck_ok(ammpli_config_set_text(cfg, cases[k].name, cases[k].value));
        p = (ammpl_prompt *)&m;
        ck_status(ammpli_prompt_create(m, cases[k].method, nano_names, NANO_CLASSES, cfg, &p), cases[k].status, cases[k].word);
        ck_assert_msg(strstr(ammpli_error_text(), cases[k].bounds) != NULL, "\"%s\" does not say %s", ammpli_error_text(), cases[k].bounds);
        ck_assert_ptr_null(p);
        ammpli_config_destroy(cfg);
    }
    /* A patch may be as large as the picture, a frame leaves something inside. */
    static const char *const largest[][5] = {{"kind", "fixed_patch", "prompt_size", "12", NULL}, {"kind", "random_patch", "prompt_size", "12", NULL},
                                             {"kind", "padding", "prompt_size", "5", NULL}};
    for (size_t k = 0; k < 3; k++)
        ammpli_prompt_release(make(m, AMMPL_METHOD_VP, nano_names, NANO_CLASSES, largest[k]));
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "kind", "random_patch"));
    ck_ok(ammpli_config_set_text(cfg, "prompt_size", "13"));
    ck_status(ammpli_prompt_create(m, AMMPL_METHOD_VP, nano_names, NANO_CLASSES, cfg, &p), AMMPL_E_RANGE, "1 to 12");
    ammpli_config_destroy(cfg);
    /* A name that no context leaves room for; descriptions that are too long */
    for (ammpl_method method = AMMPL_METHOD_ZEROSHOT; method <= AMMPL_METHOD_AMMPL; method++) {
        ck_status(ammpli_prompt_create(m, method, long_name, 2, NULL, &p), AMMPL_E_RANGE, "the quick brown fox");
        ck_assert_ptr_null(p);
    }
    ammpli_model_release(m);
    ammpli_context_release(ctx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("published");
    TCase *c = tcase_create("settings");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, settings);
    tcase_add_test(c, clipped);
    tcase_add_test(c, prompt_size);
    tcase_add_test(c, groups);
    tcase_add_test(c, groups_from_a_file);
    tcase_add_test(c, rates_of_steps);
    tcase_add_test(c, refused);
    suite_add_tcase(s, c);
    return test_main(s);
}
