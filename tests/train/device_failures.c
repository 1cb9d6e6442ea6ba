/* device_failures.c - calls of CUDA that fail within predictions and training steps, and devices that are lost for good. */
#include "learner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one call fails ---- */

/* Each call of CUDA fails in turn while a graph is made: the prediction fails or is right, and the next one is right. */
START_TEST(graphs_fail)
{
    float want[BATCH * NANO_CLASSES], got[BATCH * NANO_CLASSES];
    int failed = 0, reached = 0;
    for (int64_t k = _i; k < 240; k += 61) {
        learner l;
        configure((uint64_t)k, (size_t)1 << 30, 1);
        open_learner(&l, true, "f32", "vpt");
        test_count_refusals(l.ctx, false);
        ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, BATCH, want, BATCH * NANO_CLASSES));
        uint64_t failures = counted()->failures;
        fail_at(k, 1, 0);
        ammpl_status status = ammpl_session_predict(l.session, l.prompt, l.pixels, BATCH, got, BATCH * NANO_CLASSES);
        fail_at(-1, 0, 0);
        failed += status < 0;
        reached += counted()->failures > failures;
        ck_assert(status < 0 || memcmp(want, got, sizeof want) == 0);
        for (int again = 0; again < 3; again++) {
            ck_ok(ammpl_session_predict(l.session, l.prompt, l.pixels, BATCH, got, BATCH * NANO_CLASSES));
            ck_assert_msg(memcmp(want, got, sizeof want) == 0, "after call %d failed", (int)k);
        }
        close_learner(&l);
    }
    printf("# %d calls reached, %d predictions failed\n", reached, failed);
    ck_assert(reached > 1 && failed > 0);
}
END_TEST

/* A step in which a call fails, and what its user does then: the gradients once more; tensors that a failed update may have left between
 * two steps are written anew.  False: the call was not reached. */
enum { STEPS_THEN = 4 };
static bool failing_step(learner *l, uint32_t number, int64_t call, int error, double *loss, int *failed)
{
    uint64_t before = counted()->failures;
    float *kept = values_of(l);
    fail_at(call, error, 0);
    ammpl_status status = gradients(l, number, loss);
    bool updating = status >= 0;
    if (updating)
        status = ammpl_optimizer_step(l->optimizer);
    fail_at(-1, 0, 0);
    if (status < 0) {
        const char *text = ammpli_error_text();
        bool out_of_memory = status == AMMPL_E_DEVICE_MEMORY && (error == 2 || strstr(text, "ALLOC_FAILED"));
        ck_assert_msg(out_of_memory || status == AMMPL_E_BACKEND, "step %d, call %d: status %d: %s", (int)number, (int)call, status, text);
        ck_assert_msg(strncmp(text, "cu", 2) == 0 || strncmp(text, "launch of ", 10) == 0, "%s", text);
        ck_assert_msg(counted()->queued == 0, "%d operations of a failed call are still queued", (int)counted()->queued);
        (*failed)++;
        if (updating)
            put_values(l, kept);
        *loss = step(l, number);
    }
    free(kept);
    return counted()->failures > before;
}

/* Calls of a training step fail one by one, in the first step, in the one whose calls become graphs, and in one that is graphs: the
 * step fails with its status or is right to the bit, and so is the next one.  Without momentum, so that a user can go back. */
START_TEST(steps_fail)
{
    static const int64_t strides[][METHODS] = {{131, 131, 193}, {127, 127, 331}, {17, 17, 37}}; /* a few calls of each step */
    const char *method = methods[_i % METHODS];
    int failed = 0, calls = 0;
    uint32_t in = (uint32_t)(_i / METHODS); /* that step */
    learner l;
    double want[STEPS_THEN], got[STEPS_THEN];
    configure(0, (size_t)1 << 30, 1);
    open_learner(&l, true, "f32", method);
    test_count_refusals(l.ctx, false);
    ck_ok(ammpl_config_set_text(l.cfg, "momentum", "0"));
    restart_learner(&l);
    for (uint32_t i = 0; i < in + 2; i++)
        want[i] = step(&l, i);
    float *end = values_of(&l);
    size_t bytes = values_bytes(&l);
    bool reached = true;
    for (int64_t k = _i; reached; k += strides[in][_i % METHODS]) {
        int error = 1 + calls / 2 % 2;
        configure((uint64_t)k, (size_t)1 << 30, 1);
        restart_learner(&l);
        for (uint32_t i = 0; i < in + 2; i++) {
            if (i == in)
                reached = failing_step(&l, i, k, error, &got[i], &failed);
            else
                got[i] = step(&l, i);
            ck_assert_msg(got[i] == want[i], "%s, call %d of step %d: loss %d is %.9g, not %.9g", method, (int)k, (int)in, (int)i, got[i], want[i]);
        }
        float *now = values_of(&l);
        ck_assert_msg(memcmp(now, end, bytes) == 0, "%s, call %d of step %d: other tensors", method, (int)k, (int)in);
        free(now);
        calls += reached;
    }
    printf("# %s, step %d: %d of %d calls made it fail\n", method, (int)in, failed, calls);
    ck_assert(calls > 1 && (in > 0 || failed > 0));
    free(end);
    close_learner(&l);
}
END_TEST

/* Does the session see the tensors as they are? */
static bool sees_tensors(learner *l)
{
    float kept[BATCH * NANO_CLASSES], anew[BATCH * NANO_CLASSES];
    ck_ok(ammpl_session_predict(l->session, l->prompt, l->pixels, BATCH, kept, BATCH * NANO_CLASSES));
    ammpl_session_destroy(l->session);
    ck_ok(ammpl_session_create(l->model, l->cfg, &l->session));
    ck_ok(ammpl_session_predict(l->session, l->prompt, l->pixels, BATCH, anew, BATCH * NANO_CLASSES));
    return memcmp(kept, anew, sizeof kept) == 0;
}

/* Each call fails in turn while gradients are cleared, tensors updated, or one is written: nothing of it comes later, and where some tensors have changed
 * the session that knew the old ones sees that. */
START_TEST(updates_fail)
{
    learner l;
    double loss;
    int failed = 0, changed = 0;
    configure(1, (size_t)1 << 30, 1); /* as late as can be */
    open_learner(&l, true, "f32", "maple");
    test_count_refusals(l.ctx, false);
    ck_ok(gradients(&l, 0, &loss));
    ck_assert(sees_tensors(&l));
    float *before = values_of(&l);
    size_t bytes = values_bytes(&l);
    size_t count = (size_t)l.prompt->tensor[0].count;
    float *written = malloc(count * sizeof *written);
    for (size_t i = 0; i < count; i++)
        written[i] = 2 * before[i] + 1;
    bool reached = true;
    for (int k = 0; reached; k++) {
        uint64_t failures = counted()->failures;
        fail_at(k, 1, 0);
        ammpl_status status = _i == 0   ? ammpl_prompt_zero_gradients(l.prompt)
                              : _i == 1 ? ammpl_optimizer_step(l.optimizer)
                                        : ammpl_prompt_tensor_write(l.prompt, 0, written, count);
        fail_at(-1, 0, 0);
        reached = counted()->failures > failures;
        ck_assert_msg(status >= 0 || counted()->queued == 0, "call %d: %d operations are still queued", k, (int)counted()->queued);
        failed += status < 0;
        float *now = values_of(&l);
        if (status < 0 && !changed && memcmp(now, before, bytes) != 0) {
            ck_assert_msg(sees_tensors(&l), "call %d: a prediction of the tensors before", k);
            changed++;
        }
        free(now);
    }
    printf("# %d calls made it fail\n", failed);
    ck_assert(failed > (_i < 2 ? 3 : 0) && changed == (_i > 0));
    free(before);
    free(written);
    close_learner(&l);
}
END_TEST

/* ---- a device that is lost ---- */

#define LOST(call)                                                                                                                     \
    do {                                                                                                                               \
        ck_status(call, AMMPL_E_DEVICE_LOST, "lost to this process");                                                                  \
        ck_assert_msg(strncmp(ammpli_error_text(), "cu", 2) == 0 || strncmp(ammpli_error_text(), "launch of ", 10) == 0, "%s: %s", #call, \
                      ammpli_error_text());                                                                                            \
    } while (0)

/* From some call on, all calls fail: each of ours says so, and names the call; all that there is can still be destroyed, and a context on
 * the CPU goes on. */
START_TEST(device_is_lost)
{
    static const int errors[] = {719, 700, 214, 999};
    static const int64_t calls[] = {0, 3, 20, 61, 200};
    const char *method = methods[_i % METHODS];
    int error = errors[_i];
    learner cpu;
    double before[2], after[2], loss;
    open_learner(&cpu, false, "f32", method);
    for (uint32_t i = 0; i < 2; i++)
        before[i] = step(&cpu, i);
    close_learner(&cpu);
    for (uint32_t steps = 0; steps < 4; steps += 3) { /* before it is lost: none, or as many as make graphs */
        learner l;
        ammpl_session *s = NULL;
        ammpl_prompt *p = NULL;
        ammpl_optimizer *o = NULL;
        ammpl_model *m = NULL;
        static const char *const text = "a photo of a cat.";
        ammpl_method id;
        configure(steps, (size_t)1 << 30, 1);
        open_learner(&l, true, "f32", method);
        for (uint32_t i = 0; i < steps; i++)
            step(&l, i);
        fail_at(calls[(steps + (uint32_t)_i) % 5], error, 1);
        ammpl_status status = AMMPL_OK;
        for (uint32_t i = 0; i < 9 && status >= 0; i++) { /* a step of graphs has few calls */
            status = gradients(&l, i, &loss);
            status = status < 0 ? status : ammpl_optimizer_step(l.optimizer);
        }
        ck_assert_msg(status == AMMPL_E_DEVICE_LOST, "status %d: %s", status, ammpli_error_text());
        size_t E = (size_t)l.model->embed, n = (size_t)l.prompt->tensor[0].count;
        float *x = calloc(BATCH * E + n + BATCH * NANO_CLASSES, sizeof *x);
        ammpl_batch batch = {.struct_size = sizeof batch, .n = l.n, .pixels = l.pixels, .label = l.label, .seed = 3};
        for (int again = 0; again < 2; again++) {
            LOST(ammpl_prompt_zero_gradients(l.prompt));
            LOST(ammpl_session_accumulate(l.session, l.prompt, &batch, &loss, NULL));
            LOST(ammpl_optimizer_step(l.optimizer));
            LOST(ammpl_session_predict(l.session, l.prompt, l.pixels, BATCH, x, BATCH * NANO_CLASSES));
            LOST(ammpl_session_encode_images(l.session, NULL, l.pixels, BATCH, x, BATCH * E));
            LOST(ammpl_session_encode_texts(l.session, &text, 1, x, E));
            LOST(ammpl_prompt_tensor_read(l.prompt, 0, x, n));
            LOST(ammpl_prompt_tensor_write(l.prompt, 0, x, n));
            LOST(ammpl_prompt_gradient_read(l.prompt, 0, x, n));
            LOST(ammpl_session_create(l.model, l.cfg, &s));
            ck_ok(ammpl_method_find(method, &id));
            LOST(ammpl_prompt_create(l.model, id, nano_names, NANO_CLASSES, l.cfg, &p));
            LOST(ammpl_optimizer_create(l.prompt, l.cfg, &o));
            LOST(ammpl_model_load_file(l.ctx, &l.ctx->device[1], test_golden("nano-odd"), l.cfg, &m));
            ck_assert(!s && !p && !o && !m);
        }
        free(x);
        close_learner(&l); /* counts what is left over */
        fail_at(-1, 0, 0); /* for the next one's sake */
    }
    fail_at(0, error, 1);
    open_learner(&cpu, false, "f32", method);
    for (uint32_t i = 0; i < 2; i++)
        after[i] = step(&cpu, i);
    close_learner(&cpu);
    ck_assert_int_eq(memcmp(before, after, sizeof before), 0);
}
END_TEST

void add_failures(Suite *to)
{
    TCase *c = tcase_create("failures");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, graphs_fail, 0, 4);
    tcase_add_loop_test(c, steps_fail, 0, 3 * METHODS);
    tcase_add_loop_test(c, updates_fail, 0, 3);
    tcase_add_loop_test(c, device_is_lost, 0, 4);
    suite_add_tcase(to, c);
}
