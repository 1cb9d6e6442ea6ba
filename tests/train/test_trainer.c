/* test_trainer.c - training runs: resumed at every step, cancelled, repeated, on any number of threads, the same bits. */
#include "nano.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

/* ---- resuming ---- */

typedef struct variant {
    const char *optimizer, *scope, *accumulate, *drop_last;
    int64_t steps; /* of 4 epochs of 7 images in batches of 3 */
} variant;
static const variant variants[] = {{"sgd", "shared", "1", "off", 12},  {"sgd", "class", "1", "off", 12},
                                   {"adamw", "shared", "1", "off", 12}, {"adamw", "class", "1", "off", 12},
                                   {"sgd", "shared", "2", "off", 8},   {"adamw", "class", "2", "off", 8},
                                   {"sgd", "class", "2", "off", 8},    {"adamw", "shared", "2", "off", 8},
                                   {"sgd", "shared", "1", "on", 8},    {"adamw", "class", "2", "on", 4}};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static void open_variant(nano *n, const variant *v)
{
    const char *options[] = {"optimizer", v->optimizer, "scope", v->scope, "accumulate", v->accumulate, "drop_last", v->drop_last,
                             "augment", "crop_flip", NULL};
    nano_open(n, options);
}

START_TEST(resumed_at_every_step)
{
    const variant *v = &variants[_i];
    char what[64];
    nano n;
    open_variant(&n, v);
    snprintf(what, sizeof what, "%s, %s, accumulate %s", v->optimizer, v->scope, v->accumulate);
    nano_resume_everywhere(&n, v->steps, what);
    nano_close(&n);
}
END_TEST

/* Every picture once in an epoch, the last batch short or left out; and updates do something. */
START_TEST(batches)
{
    static const struct {
        const char *batch, *accumulate, *drop_last;
        uint64_t images[4]; /* per step of an epoch */
    } cases[] = {{"3", "1", "off", {3, 3, 1}}, {"3", "2", "off", {6, 1}}, {"3", "1", "on", {3, 3}},   {"3", "2", "on", {6}},
                 {"7", "1", "off", {7}},       {"8", "1", "on", {7}},     {"2", "1", "on", {2, 2, 2}}, {"2", "2", "on", {4, 2}}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const char *options[] = {"batch", cases[k].batch, "accumulate", cases[k].accumulate, "drop_last", cases[k].drop_last,
                                 "epochs", "2", NULL};
        nano n;
        nano_open(&n, options);
        nano_trainer(&n);
        size_t size;
        char *before = nano_bytes(n.prompt, &size), *after;
        for (int epoch = 0; epoch < 2; epoch++)
            for (int i = 0; i < 4 && cases[k].images[i]; i++) {
                ammpl_progress p;
                ck_ok(ammpli_trainer_step(n.trainer, &p));
                ck_assert_msg(p.images == cases[k].images[i], "case %zu: step %d has %d images", k, i, (int)p.images);
                ck_assert_int_eq(p.epoch, epoch);
                ck_assert_int_eq(p.epoch_end, i == 3 || cases[k].images[i + 1] == 0);
            }
        ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_END, "");
        after = nano_bytes(n.prompt, &size);
        ck_assert(memcmp(before, after, size) != 0);
        free(before);
        free(after);
        nano_close(&n);
    }
}
END_TEST

static double rate(const ammpl_config *cfg, int64_t epoch)
{
    return ammpli_schedule_rate(cfg, ammpli_config_float(cfg, AMMPL_OPT_LR), ammpli_config_int(cfg, AMMPL_OPT_WARMUP_EPOCHS),
                                &(ammpli_moment){.epoch = epoch});
}

/* ---- schedule: methods.md 6.5 ---- */

START_TEST(schedule)
{
    static const struct {
        const char *lr, *epochs, *warmup;
        int count;
        double rate[10]; /* of epochs 0.., or with last_only of the last one */
        bool last_only;
        double digits;
    } cases[] = {
        {"0.0035", "5", "1", 5, {1e-5, .0035, .0031657797, .0022907797, .0012092203}, false, 1e-7},
        {"0.0025", "5", "1", 5, {1e-5, .0025, .0022612712, .0016362712, .00086372876}, false, 1e-7},
        {"0.0026", "2", "1", 2, {1e-5, .0026}, false, 1e-12},
        {"0.002", "10", "1", 10,
         {1e-5, .002, .0019510565, .001809017, .0015877853, .001309017, .001, .00069098301, .00041221475, .00019098301}, false, 1e-7},
        {"0.002", "50", "1", 1, {7.885e-6}, true, 1e-4},
        {"0.002", "100", "1", 1, {1.973e-6}, true, 3e-4},
        {"0.002", "200", "1", 1, {4.934e-7}, true, 1.1e-4},
        {"0.01", "60", "10", 1, {.00080664716}, true, 1e-7},
        {"0.01", "100", "10", 1, {.00029559616}, true, 1e-7},
    };
    ammpl_context *ctx = test_context();
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        ammpl_config *cfg;
        ck_ok(ammpli_config_create(ctx, &cfg));
        ck_ok(ammpli_config_set_text(cfg, "lr", cases[k].lr));
        ck_ok(ammpli_config_set_text(cfg, "epochs", cases[k].epochs));
        ck_ok(ammpli_config_set_text(cfg, "warmup_epochs", cases[k].warmup));
        for (int i = 0; i < cases[k].count; i++) {
            int64_t epoch = cases[k].last_only ? atoi(cases[k].epochs) - 1 : i;
            double got = rate(cfg, epoch), want = cases[k].rate[i];
            ck_assert_msg(fabs(got - want) <= cases[k].digits * want, "lr %s, %s epochs: %.10g in epoch %d, expected %.10g", cases[k].lr,
                          cases[k].epochs, got, (int)epoch, want);
        }
        for (int64_t epoch = 0; epoch < atoi(cases[k].warmup); epoch++)
            ck_assert_double_eq(rate(cfg, epoch), 1e-5);
        ck_ok(ammpli_config_set_text(cfg, "schedule", "constant"));
        ck_assert_double_eq(rate(cfg, atoi(cases[k].warmup) - 1), 1e-5);
        ck_assert_double_eq(rate(cfg, atoi(cases[k].epochs) - 1), atof(cases[k].lr));
        ammpli_config_destroy(cfg);
    }
    ammpli_context_release(ctx);
}
END_TEST

/* A run uses the rate of its epoch from the epoch's first step on; groups multiply it. */
START_TEST(rates_of_a_run)
{
    static const char *const options[] = {"lr_mask", "7", "lr_padding", "0.5", NULL};
    nano n;
    nano_open(&n, options);
    nano_trainer(&n);
    for (int step = 0; step < 12; step++) {
        ammpl_progress p;
        ck_ok(ammpli_trainer_step(n.trainer, &p));
        double want = rate(n.cfg, step / 3);
        ck_assert_double_eq(p.learning_rate, want);
        ck_assert_int_eq(n.trainer->optimizer->groups, 3);
        ck_assert_double_eq(n.trainer->optimizer->rate[ammpli_prompt_find(n.prompt, "mask_prob")->group], 7 * want);
        ck_assert_double_eq(n.trainer->optimizer->rate[ammpli_prompt_find(n.prompt, "padding")->group], 0.5 * want);
    }
    nano_close(&n);
}
END_TEST

/* ---- runs ---- */

typedef struct stop {
    int at, calls;
    ammpl_session *cancel; /* through the session instead of the return value */
} stop;

static int32_t stop_at(void *user, const ammpl_progress *p)
{
    stop *s = user;
    s->calls++;
    if ((int)p->step != s->at)
        return 0;
    if (!s->cancel)
        return 1;
    atomic_store(&s->cancel->cancel, 1);
    return 0;
}

START_TEST(cancelled)
{
    for (int how = 0; how < 2; how++)
        for (int at = 0; at < 12; at += 5) {
            nano whole, part;
            nano_open(&whole, NULL);
            nano_open(&part, NULL);
            nano_trainer(&part);
            nano_steps(&part, at + 1);
            stop s = {.at = at, .cancel = how ? whole.session : NULL};
            ck_status(ammpli_train(whole.session, whole.prompt, whole.data, whole.cfg, stop_at, &s), AMMPL_CANCELLED, "");
            ck_assert_int_eq(s.calls, at + 1);
            ck_assert_msg(nano_same(whole.prompt, part.prompt), "cancelled after step %d", at);
            nano_close(&whole);
            nano_close(&part);
        }
}
END_TEST

/* The same run again, and on other numbers of threads. */
START_TEST(same_bits)
{
    static const int threads[] = {1, 1, 2, 3, 8};
    static const char *const shared[] = {"scope", "shared", NULL}, *const per_class[] = {"scope", "class", NULL};
    size_t first_size = 0;
    char *first = NULL;
    for (size_t k = 0; k < sizeof threads / sizeof threads[0]; k++) {
        nano n;
        size_t size;
        nano_open(&n, _i ? per_class : shared);
        ck_ok(ammpli_context_set_threads(n.ctx, threads[k]));
        stop s = {.at = -1};
        ck_ok(ammpli_train(n.session, n.prompt, n.data, n.cfg, stop_at, &s));
        ck_assert_int_eq(s.calls, 12);
        char *bytes = nano_bytes(n.prompt, &size);
        if (k == 0) {
            first = bytes;
            first_size = size;
        } else {
            ck_assert_msg(size == first_size && memcmp(bytes, first, size) == 0, "%d threads", threads[k]);
            free(bytes);
        }
        nano_close(&n);
    }
    free(first);
}
END_TEST

/* Another seed, order or augmentation is another run: what is compared above is not constant. */
START_TEST(other_runs_differ)
{
    static const char *const other[][3] = {{"seed", "12", NULL}, {"shuffle", "off", NULL}, {"augment", "none", NULL},
                                           {"weight_decay", "0", NULL}, {"momentum", "0", NULL}, {"optimizer", "adamw", NULL}};
    nano n;
    nano_open(&n, NULL);
    ck_ok(ammpli_train(n.session, n.prompt, n.data, n.cfg, NULL, NULL));
    for (size_t k = 0; k < sizeof other / sizeof other[0]; k++) {
        nano m;
        nano_open(&m, NULL);
        nano_set(&m, other[k][0], other[k][1]); /* after the prompt was made: it starts at the same values */
        ck_ok(ammpli_train(m.session, m.prompt, m.data, m.cfg, NULL, NULL));
        ck_assert_msg(!nano_same(n.prompt, m.prompt), "%s = %s changes nothing", other[k][0], other[k][1]);
        nano_close(&m);
    }
    nano_close(&n);
}
END_TEST

/* A trained prompt predicts the same after a way through a file. */
START_TEST(trained_saved_loaded)
{
    static const char *const modes[] = {"expected", "threshold", "sample", "mean:2"};
    for (size_t k = 0; k < 2 * sizeof modes / sizeof modes[0]; k++) {
        const char *options[] = {"evaluation", modes[k / 2], "scope", k % 2 ? "class" : "shared", "eval_seed", "3", NULL};
        nano n;
        nano_open(&n, options);
        ck_ok(ammpli_train(n.session, n.prompt, n.data, n.cfg, NULL, NULL));
        char name[32];
        snprintf(name, sizeof name, "trained%zu", k);
        char path[1024];
        strcpy(path, test_temp(name));
        ck_ok(ammpli_prompt_save_file(n.prompt, path, false));
        ammpl_prompt *loaded;
        ck_ok(ammpli_prompt_load_file(n.model, path, NULL, &loaded));
        ck_assert(nano_same(n.prompt, loaded));
        float *before = nano_logits(&n, n.prompt), *after = nano_logits(&n, loaded);
        ck_assert_msg(memcmp(before, after, NANO_IMAGES * NANO_CLASSES * sizeof *before) == 0, "%s", modes[k / 2]);
        free(before);
        free(after);
        ammpli_prompt_release(loaded);
        nano_close(&n);
    }
}
END_TEST

/* ---- states ---- */

/* A state of another run is refused by what differs, and nothing changes. */
START_TEST(states_of_other_runs)
{
    static const struct {
        const char *name, *value, *word;
    } other[] = {{"seed", "12", "seed"},       {"batch", "2", "batch"},           {"epochs", "5", "epochs"},
                 {"lr", "0.051", "lr"},        {"optimizer", "adamw", "optimizer"}, {"accumulate", "2", "accumulate"},
                 {"augment", "none", "augment"}, {"momentum", "0.8", "momentum"},   {"scope", "class", "scope"},
                 {"mask_gradient", "blend", "mask_gradient"}, {"drop_last", "on", "drop_last"}, {"shuffle", "off", "shuffle"},
                 {"warmup_epochs", "2", "warmup_epochs"}, {"weight_decay", "0", "weight_decay"}};
    nano n;
    nano_open(&n, NULL);
    nano_trainer(&n);
    nano_steps(&n, 5);
    char path[1024];
    strcpy(path, test_temp("other"));
    ck_ok(ammpli_trainer_save(n.trainer, path));
    for (size_t k = 0; k < sizeof other / sizeof other[0]; k++) {
        const char *options[] = {other[k].name, other[k].value, NULL};
        nano m;
        nano_open(&m, options);
        nano_trainer(&m);
        nano_steps(&m, 2);
        size_t size;
        char *before = nano_bytes(m.prompt, &size), *after;
        ck_status(ammpli_trainer_load(m.trainer, path), AMMPL_E_STATE, other[k].word);
        after = nano_bytes(m.prompt, &size);
        ck_assert(memcmp(before, after, size) == 0);
        ck_assert_int_eq(m.trainer->step, 2);
        free(before);
        free(after);
        nano_close(&m);
    }
    nano_close(&n);
}
END_TEST

/* Other pictures, other class names, another CLIP. */
START_TEST(states_of_other_data)
{
    static const char *const renamed[] = {"cat", "ox", "bird"};
    nano n, m;
    nano_open(&n, NULL);
    nano_trainer(&n);
    nano_steps(&n, 5);
    char path[1024];
    strcpy(path, test_temp("data"));
    ck_ok(ammpli_trainer_save(n.trainer, path));

    nano_open(&m, NULL);
    nano_add_pictures(m.data, 1);
    nano_trainer(&m);
    ck_status(ammpli_trainer_load(m.trainer, path), AMMPL_E_STATE, "data");
    nano_close(&m);

    nano_open(&m, NULL);
    m.data->item[3].label = 1;
    nano_trainer(&m);
    ck_status(ammpli_trainer_load(m.trainer, path), AMMPL_E_STATE, "data");
    nano_close(&m);

    nano_open(&m, NULL);
    ammpli_prompt_release(m.prompt);
    ammpli_dataset_release(m.data);
    ck_ok(ammpli_prompt_create(m.model, AMMPL_METHOD_AMMPL, renamed, 3, m.cfg, &m.prompt));
    ck_ok(ammpli_dataset_create(m.ctx, renamed, 3, &m.data));
    nano_add_pictures(m.data, NANO_IMAGES);
    nano_trainer(&m);
    ck_status(ammpli_trainer_load(m.trainer, path), AMMPL_E_STATE, "classes");
    nano_close(&m);

    nano_open(&m, NULL);
    m.model->probe[3] += 0.5f;
    nano_trainer(&m);
    ck_status(ammpli_trainer_load(m.trainer, path), AMMPL_E_MODEL, "another CLIP");
    nano_close(&m);
    nano_close(&n);
}
END_TEST

/* A prompt is no state, a state no prompt; a state cut anywhere is refused and changes nothing. */
START_TEST(damaged_states)
{
    nano n;
    nano_open(&n, NULL);
    nano_trainer(&n);
    nano_steps(&n, 4);
    char path[1024], prompt[1024], cut[1024];
    strcpy(path, test_temp("state"));
    strcpy(prompt, test_temp("prompt"));
    strcpy(cut, test_temp("cut"));
    ck_ok(ammpli_trainer_save(n.trainer, path));
    ck_ok(ammpli_prompt_save_file(n.prompt, prompt, false));
    ck_status(ammpli_trainer_load(n.trainer, prompt), AMMPL_E_FORMAT, "not a training state");
    ammpl_prompt *p;
    ck_status(ammpli_prompt_load_file(n.model, path, NULL, &p), AMMPL_E_FORMAT, "not a prompt file");
    ck_assert_ptr_null(p);
    ck_status(ammpli_trainer_load(n.trainer, test_temp("nowhere")), AMMPL_E_IO, "nowhere");
    void *data;
    size_t size;
    ck_ok(ammpli_file_read(n.ctx, path, 1 << 24, &data, &size));
    nano_restart(&n);
    nano_trainer(&n);
    nano fresh;
    nano_open(&fresh, NULL);
    for (size_t keep = 0; keep < size; keep += keep < 200 ? 1 : 997) {
        ck_ok(ammpli_file_write(n.ctx, cut, data, keep, true));
        ammpli_clear_error();
        ck_assert_int_lt(ammpli_trainer_load(n.trainer, cut), 0);
        ck_assert_int_gt(strlen(ammpli_error_text()), 10);
    }
    ck_assert(nano_same(n.prompt, fresh.prompt));
    ck_assert_int_eq(n.trainer->step, 0);
    ck_ok(ammpli_trainer_load(n.trainer, path));
    ammpli_free(n.ctx, data);
    nano_close(&fresh);
    nano_close(&n);
}
END_TEST

/* A disk that is full half way leaves the state that was there, and no rubbish beside it. */
START_TEST(full_disk)
{
    nano n;
    nano_open(&n, NULL);
    nano_trainer(&n);
    nano_steps(&n, 2);
    char folder[1024], path[1100], command[1200];
    snprintf(folder, sizeof folder, "%s", test_temp("full"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/state", folder);
    ck_ok(ammpli_trainer_save(n.trainer, path));
    void *before, *after;
    size_t size, size_after;
    ck_ok(ammpli_file_read(n.ctx, path, 1 << 24, &before, &size));
    nano_steps(&n, 1);
    struct rlimit limit, small;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    for (rlim_t bytes = 0; bytes < size; bytes += size / 4) {
        small = limit;
        small.rlim_cur = bytes;
        ammpli_clear_error();
        int set = setrlimit(RLIMIT_FSIZE, &small); /* no assertion until it is back: Check reports through a file */
        ammpl_status status = ammpli_trainer_save(n.trainer, path);
        int back = setrlimit(RLIMIT_FSIZE, &limit);
        ck_assert_int_eq(set, 0);
        ck_assert_int_eq(back, 0);
        ck_assert_int_eq(status, AMMPL_E_IO);
        ck_assert_ptr_nonnull(strstr(ammpli_error_text(), path));
        ck_ok(ammpli_file_read(n.ctx, path, 1 << 24, &after, &size_after));
        ck_assert(size_after == size && memcmp(before, after, size) == 0);
        ammpli_free(n.ctx, after);
    }
    snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = state", folder);
    ck_assert_msg(system(command) == 0, "something is left beside the state");
    ck_ok(ammpli_trainer_save(n.trainer, path));
    ck_ok(ammpli_file_read(n.ctx, path, 1 << 24, &after, &size_after));
    ck_assert(size_after != size || memcmp(before, after, size) != 0);
    ammpli_free(n.ctx, before);
    ammpli_free(n.ctx, after);
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trainer");
    TCase *c = tcase_create("runs");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, resumed_at_every_step, 0, VARIANTS);
    tcase_add_test(c, batches);
    tcase_add_test(c, schedule);
    tcase_add_test(c, rates_of_a_run);
    tcase_add_test(c, cancelled);
    tcase_add_loop_test(c, same_bits, 0, 2);
    tcase_add_test(c, other_runs_differ);
    tcase_add_test(c, trained_saved_loaded);
    tcase_add_test(c, states_of_other_runs);
    tcase_add_test(c, states_of_other_data);
    tcase_add_test(c, damaged_states);
    tcase_add_test(c, full_disk);
    suite_add_tcase(s, c);
    return test_main(s);
}
