/* test_method_training.c - training runs of every method but AMMPL, in all their kinds: resumed at every step, on any number of threads,
 * in less memory, with kept image features, in parts; and the update itself, by its formula.
 */
#include "method/kinds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two epochs of 3 + 3 + 1 pictures; with DPT's change of phase, and the end of VP's warm-up, in between. */
static const char *const two_epochs[] = {"epochs", "2", "guidance_epochs", "1", NULL};

static void open_short(nano *n, const kind *k, const char *name, const char *value)
{
    const char *options[] = {two_epochs[0], two_epochs[1], two_epochs[2], two_epochs[3], name, value, NULL};
    kind_open(n, k, options);
}

/* All steps of a run: their reports and the prompt's bytes. */
typedef struct run {
    ammpl_progress progress[12];
    size_t steps, size;
    char *bytes;
    float *logits;
} run;

static void run_all(nano *n, run *r)
{
    *r = (run){.steps = 0};
    if (!n->trainer)
        nano_trainer(n);
    while (r->steps < 12 && ammpli_trainer_step(n->trainer, &r->progress[r->steps]) == AMMPL_OK)
        r->steps++;
    ck_status(ammpli_trainer_step(n->trainer, NULL), AMMPL_END, "");
    r->bytes = nano_bytes(n->prompt, &r->size);
    r->logits = nano_logits(n, n->prompt);
}

static void check_same(const char *what, const char *how, const run *a, const run *b)
{
    ck_assert_uint_eq(a->steps, b->steps);
    for (size_t i = 0; i < a->steps; i++)
        nano_check_progress(&a->progress[i], &b->progress[i]);
    ck_assert_msg(a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0, "%s, %s: it ends elsewhere", what, how);
    ck_assert_msg(memcmp(a->logits, b->logits, NANO_IMAGES * NANO_CLASSES * sizeof(float)) == 0, "%s, %s: other logits", what, how);
}

static void run_free(run *r)
{
    free(r->bytes);
    free(r->logits);
}

/* With a last batch that is short, across DPT's change of phase and both its warm-ups, and VP's warm-up steps. */
START_TEST(resumed_at_every_step)
{
    static const char *const three_epochs[] = {"epochs", "3", NULL};
    nano n;
    kind_open(&n, &kinds[_i], three_epochs);
    nano_resume_everywhere(&n, 9, kinds[_i].name);
    nano_close(&n);
}
END_TEST

START_TEST(resumed_with_adamw)
{
    static const char *const names[] = {"coop_class_middle", "cocoop_words", "vp_random_patch", "maple_deep", "dpt_two"};
    static const char *const options[] = {"optimizer", "adamw", "accumulate", "2", "epochs", "3", NULL};
    nano n;
    kind_open(&n, kind_of(names[_i]), options);
    nano_resume_everywhere(&n, 6, names[_i]);
    nano_close(&n);
}
END_TEST

/* A state goes on in a run of its own kind only. */
START_TEST(states_of_other_kinds)
{
    nano n[KINDS];
    char state[KINDS][64];
    for (int i = 0; i < KINDS; i++) {
        kind_open(&n[i], &kinds[i], NULL);
        nano_trainer(&n[i]);
        snprintf(state[i], sizeof state[i], "%s", test_temp(kinds[i].name));
        ck_ok(ammpli_trainer_save(n[i].trainer, state[i]));
    }
    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j < KINDS; j++) {
            ammpli_clear_error();
            ammpl_status status = ammpli_trainer_load(n[i].trainer, state[j]);
            ck_assert_msg(status == (i == j ? AMMPL_OK : AMMPL_E_STATE), "a state of %s in a run of %s: %s", kinds[j].name, kinds[i].name,
                          ammpli_error_text());
        }
    for (int i = 0; i < KINDS; i++)
        nano_close(&n[i]);
}
END_TEST

START_TEST(threads)
{
    static const int counts[] = {1, 2, 3, 8};
    run first, r;
    for (int k = 0; k < 4; k++) {
        nano n;
        open_short(&n, &kinds[_i], NULL, NULL);
        ck_ok(ammpli_context_set_threads(n.ctx, counts[k]));
        run_all(&n, k == 0 ? &first : &r);
        ck_assert_uint_eq(first.steps, 6);
        if (k > 0) {
            check_same(kinds[_i].name, "threads", &r, &first);
            run_free(&r);
        }
        nano_close(&n);
    }
    run_free(&first);
}
END_TEST

/* As little as the run's steps, and the predictions after it, can do with. */
static void limit_to_least(nano *n)
{
    ammpli_session_plan step, predict;
    ck_ok(ammpli_session_footprint(n->session, n->prompt, AMMPL_PLAN_ACCUMULATE, NANO_BATCH, 1, &step));
    ck_ok(ammpli_session_footprint(n->session, n->prompt, AMMPL_PLAN_PREDICT, NANO_IMAGES, 1, &predict));
    n->session->memory_limit = step.total > predict.total ? step.total : predict.total;
    n->session->engine.limit = (size_t)n->session->memory_limit;
}

/* Room for nothing, for a part of a batch, for all of it. */
START_TEST(memory_limit)
{
    static const char *const limits[] = {"0", "least", "492K", "1M"};
    run first, r;
    for (int k = 0; k < 4; k++) {
        nano n;
        open_short(&n, &kinds[_i], "memory_limit", k == 1 ? "0" : limits[k]);
        if (k == 1)
            limit_to_least(&n);
        run_all(&n, k == 0 ? &first : &r);
        if (k > 0) {
            check_same(kinds[_i].name, limits[k], &r, &first);
            run_free(&r);
        }
        nano_close(&n);
    }
    run_free(&first);
}
END_TEST

/* Where images stay as they are, their features are kept and change nothing; elsewhere there is nothing to keep. */
START_TEST(kept_features)
{
    ammpl_method method = kinds[_i].method;
    bool plain = method == AMMPL_METHOD_COOP || method == AMMPL_METHOD_COCOOP || method == AMMPL_METHOD_DLP ||
                 strcmp(kinds[_i].name, "ivlp_text") == 0;
    nano n;
    run with, without;
    open_short(&n, &kinds[_i], "augment", "none");
    nano_trainer(&n);
    ck_assert_msg((n.trainer->cache != NULL) == plain, "%s", kinds[_i].name);
    run_all(&n, &with);
    nano_restart(&n);
    nano_trainer(&n);
    if (plain) { /* pictures instead */
        ammpli_feature_cache_destroy(n.trainer->cache);
        n.trainer->cache = NULL;
        ck_ok(ammpli_trainer_open_input(n.trainer));
    }
    run_all(&n, &without);
    check_same(kinds[_i].name, "features kept", &with, &without);
    run_free(&with);
    run_free(&without);
    nano_close(&n);
    open_short(&n, &kinds[_i], "augment", "crop_flip"); /* pictures that change every time are not kept */
    nano_trainer(&n);
    ck_assert_ptr_null(n.trainer->cache);
    nano_close(&n);
}
END_TEST

/* batch = 1, accumulate = 3 is batch = 3 up to the order of sums; DPT's auxiliary loss is a mean over all of them. */
START_TEST(accumulated)
{
    const char *parts[] = {"batch", "1", "accumulate", "3", "epochs", "2", "guidance_epochs", "1", NULL};
    nano a, b;
    run whole, sum;
    open_short(&a, &kinds[_i], NULL, NULL);
    kind_open(&b, &kinds[_i], parts);
    run_all(&a, &whole);
    run_all(&b, &sum);
    ck_assert_uint_eq(whole.steps, sum.steps);
    for (size_t i = 0; i < whole.steps; i++) {
        ck_assert_uint_eq(whole.progress[i].images, sum.progress[i].images);
        ck_assert_msg(fabs(whole.progress[i].loss - sum.progress[i].loss) <= 1e-5 * whole.progress[i].loss,
                      "%s: loss of step %zu is %.9g at once, %.9g in parts", kinds[_i].name, i, whole.progress[i].loss, sum.progress[i].loss);
    }
    for (size_t t = 0; t < a.prompt->tensors; t++) {
        double d = test_difference(b.prompt->tensor[t].value, a.prompt->tensor[t].value, a.prompt->tensor[t].count, 1e-30);
        ck_assert_msg(d <= 1e-4, "%s: %s differs by %.3g", kinds[_i].name, a.prompt->tensor[t].name, d);
    }
    run_free(&whole);
    run_free(&sum);
    nano_close(&a);
    nano_close(&b);
}
END_TEST

/* Every tensor moves as PyTorch's SGD or AdamW would move it, at the rate of its own group. */
START_TEST(updates)
{
    const char *optimizer = _i % 2 ? "adamw" : "sgd";
    const kind *k = &kinds[_i / 2];
    static const char *const three_epochs[] = {"epochs", "3", "optimizer", "sgd", NULL};
    /* AdamW moves by lr whatever the gradient, so that where momenta all but cancel, their rounding counts lr times: a small one. */
    static const char *const adamw[] = {"epochs", "3", "optimizer", "adamw", "lr", "0.01", NULL};
    enum { STEPS = 8 };
    nano n;
    double *m[64], *v[64], rate[AMMPLI_MAX_GROUPS];
    kind_open(&n, k, _i % 2 ? adamw : three_epochs);
    nano_trainer(&n);
    double decay = ammpli_config_float(n.trainer->config, AMMPL_OPT_WEIGHT_DECAY);
    for (size_t t = 0; t < n.prompt->tensors; t++) {
        m[t] = calloc((size_t)n.prompt->tensor[t].count, sizeof *m[t]);
        v[t] = calloc((size_t)n.prompt->tensor[t].count, sizeof *v[t]);
    }
    for (int step = 1; step <= STEPS; step++) {
        float *before[64];
        for (size_t t = 0; t < n.prompt->tensors; t++) {
            before[t] = malloc((size_t)n.prompt->tensor[t].count * sizeof *before[t]);
            memcpy(before[t], n.prompt->tensor[t].value, (size_t)n.prompt->tensor[t].count * sizeof *before[t]);
        }
        nano_steps(&n, 1);
        memcpy(rate, n.trainer->optimizer->rate, sizeof rate);
        for (size_t t = 0; t < n.prompt->tensors; t++) {
            const ammpli_tensor *tensor = &n.prompt->tensor[t];
            double lr = rate[tensor->group], worst = 0, moved = 0;
            for (int64_t i = 0; i < tensor->count; i++) {
                double p = (double)before[t][i], g = (double)tensor->grad[i];
                if (_i % 2) {
                    m[t][i] = 0.9 * m[t][i] + 0.1 * g;
                    v[t][i] = 0.999 * v[t][i] + 0.001 * g * g;
                    p -= lr * decay * p;
                    p -= lr * (m[t][i] / (1 - pow(0.9, step))) / (sqrt(v[t][i] / (1 - pow(0.999, step))) + 1e-8);
                } else {
                    m[t][i] = 0.9 * m[t][i] + g + decay * p;
                    p -= lr * m[t][i];
                }
                worst = fmax(worst, fabs(p - (double)tensor->value[i]) / fmax(fabs(p), 1e-3));
                moved = fmax(moved, fabs((double)(tensor->value[i] - before[t][i])));
            }
            ck_assert_msg(worst <= 5e-5, "%s, %s: %s is %.3g off after step %d", k->name, optimizer, tensor->name, worst, step);
            ck_assert_msg(moved > 0 || step < STEPS /* warm-up's steps can be too small */, "%s, %s: %s stays as it was in step %d", k->name, optimizer, tensor->name, step);
            free(before[t]);
        }
    }
    for (size_t t = 0; t < n.prompt->tensors; t++) {
        free(m[t]);
        free(v[t]);
    }
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("method_training");
    TCase *c = tcase_create("runs");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, resumed_at_every_step, 0, KINDS);
    tcase_add_loop_test(c, resumed_with_adamw, 0, 5);
    tcase_add_test(c, states_of_other_kinds);
    tcase_add_loop_test(c, threads, 0, KINDS);
    tcase_add_loop_test(c, memory_limit, 0, KINDS);
    tcase_add_loop_test(c, kept_features, 0, KINDS);
    tcase_add_loop_test(c, accumulated, 0, KINDS);
    tcase_add_loop_test(c, updates, 0, 2 * KINDS);
    suite_add_tcase(s, c);
    return test_main(s);
}
