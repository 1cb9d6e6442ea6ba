/* learner.c - see learner.h. */
#include "learner.h"

#include <stdlib.h>
#include <string.h>

const char *const methods[METHODS] = {"coop", "maple", "ammpl"};

static uint64_t bytes_now(const ammpl_context *ctx)
{
    uint64_t now;
    ck_ok(ammpl_context_memory(ctx, &now, NULL));
    return now;
}

static void start(learner *l, ammpl_method method)
{
    ck_ok(ammpl_session_create(l->model, l->cfg, &l->session));
    ck_ok(ammpl_prompt_create(l->model, method, nano_names, NANO_CLASSES, l->cfg, &l->prompt));
    ck_ok(ammpl_optimizer_create(l->prompt, l->cfg, &l->optimizer));
}

void open_larger(learner *l, bool device, const char *precision, const char *method, const char *optimizer, size_t n)
{
    ammpl_method id;
    memset(l, 0, sizeof *l);
    l->ctx = test_context();
    ck_ok(ammpli_context_set_threads(l->ctx, 1)); /* what the threads hold would come and go */
    const ammpl_device *on = device ? test_device(l->ctx) : NULL;
    l->before = bytes_now(l->ctx);
    ck_ok(ammpl_config_create(l->ctx, &l->cfg));
    ck_ok(ammpl_config_set_text(l->cfg, "precision", precision));
    ck_ok(ammpl_config_set_text(l->cfg, "lr", "0.01"));
    ck_ok(ammpl_config_set_text(l->cfg, "optimizer", optimizer));
    ck_ok(ammpl_model_load_file(l->ctx, on, test_golden("nano-odd"), l->cfg, &l->model));
    ck_ok(ammpl_method_find(method, &id));
    start(l, id);
    int64_t R = l->model->preprocess.size;
    l->chw = (size_t)(3 * R * R);
    l->n = n;
    l->pixels = malloc(n * l->chw * sizeof *l->pixels);
    l->label = malloc(n * sizeof *l->label);
    ck_assert(l->pixels && l->label);
    for (size_t i = 0; i < n * l->chw; i++)
        l->pixels[i] = (float)nano_normal(7, (uint32_t)i);
    for (size_t i = 0; i < n; i++)
        l->label[i] = (int32_t)((i + 2) % NANO_CLASSES);
}

void open_learner(learner *l, bool device, const char *precision, const char *method)
{
    open_larger(l, device, precision, method, "sgd", BATCH);
}

static void stop(learner *l)
{
    ammpl_optimizer_destroy(l->optimizer);
    ammpl_prompt_destroy(l->prompt);
    ammpl_session_destroy(l->session);
}

void restart_learner(learner *l)
{
    ammpl_method id;
    ck_ok(ammpl_method_find(l->prompt->method->name, &id));
    stop(l);
    start(l, id);
}

void close_learner(learner *l)
{
    free(l->pixels);
    free(l->label);
    stop(l);
    ammpl_model_destroy(l->model);
    ammpl_config_destroy(l->cfg);
    ck_assert_uint_eq(bytes_now(l->ctx), l->before);
    ammpl_context_destroy(l->ctx);
}

ammpl_status gradients(learner *l, uint32_t number, double *loss)
{
    ammpl_batch batch = {.struct_size = sizeof batch, .n = l->n, .pixels = l->pixels, .label = l->label, .seed = 3, .step = number};
    *loss = 0;
    TRY(ammpl_prompt_zero_gradients(l->prompt));
    return ammpl_session_accumulate(l->session, l->prompt, &batch, loss, NULL);
}

double step(learner *l, uint32_t number)
{
    double loss;
    ck_ok(gradients(l, number, &loss));
    ck_ok(ammpl_optimizer_step(l->optimizer));
    return loss;
}

size_t values_bytes(const learner *l)
{
    size_t all = 0;
    for (size_t t = 0; t < l->prompt->tensors; t++)
        all += (size_t)l->prompt->tensor[t].count * sizeof(float);
    return all;
}

float *values_of(const learner *l)
{
    size_t at = 0;
    float *x = malloc(values_bytes(l));
    ck_assert_ptr_nonnull(x);
    for (size_t t = 0; t < l->prompt->tensors; at += (size_t)l->prompt->tensor[t++].count)
        ck_ok(ammpl_prompt_tensor_read(l->prompt, t, x + at, (size_t)l->prompt->tensor[t].count));
    return x;
}

bool same_tensors(const learner *a, const learner *b)
{
    float *x = values_of(a), *y = values_of(b);
    bool same = memcmp(x, y, values_bytes(a)) == 0;
    free(x);
    free(y);
    return same;
}

void put_values(learner *l, const float *x)
{
    for (size_t t = 0; t < l->prompt->tensors; x += l->prompt->tensor[t++].count)
        ck_ok(ammpl_prompt_tensor_write(l->prompt, t, x, (size_t)l->prompt->tensor[t].count));
}
