/* golden.c - see golden.h. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void seen(const fixture *f, const char *what, double deviation)
{
    if (getenv("AMMPL_TEST_SHOW"))
        printf("# %s %s %s %.1e\n", ammpli_st_meta(f->st, "method"), f->variant, what, deviation);
}

/* Options stand in the metadata by name. */
static void read_options(fixture *f)
{
    for (size_t i = 0; i < ammpli_option_count(); i++) {
        const char *name = ammpli_option_at(i)->name, *value = ammpli_st_meta(f->st, name);
        if (!value)
            continue;
        if (strcmp(name, "template") == 0) { /* an array there */
            char lines[512] = "";
            json_t *list = json_loads(value, 0, NULL), *text;
            size_t k;
            json_array_foreach(list, k, text)
                strcat(strcat(lines, k ? "\n" : ""), json_string_value(text));
            ck_ok(ammpli_config_set_text(f->cfg, name, lines));
            json_decref(list);
        } else {
            ck_ok(ammpli_config_set_text(f->cfg, name, strcmp(value, "per-step") == 0 ? "cosine_steps" : value));
        }
    }
}

void open_fixture(fixture *f, const char *prefix, const char *variant, int64_t memory_limit)
{
    char path[128];
    const ammpli_method *method;
    snprintf(path, sizeof path, "%s_%s.safetensors", prefix, variant);
    memset(f, 0, sizeof *f);
    f->variant = variant;
    f->ctx = test_context();
    ck_ok(ammpli_st_open(f->ctx, test_golden(path), &f->st));
    ck_ok(ammpli_config_create(f->ctx, &f->cfg));
    read_options(f);
    ck_ok(ammpli_config_set_int(f->cfg, AMMPL_OPT_MEMORY_LIMIT, memory_limit));
    f->seed = (uint64_t)ammpli_config_int(f->cfg, AMMPL_OPT_SEED);
    ck_ok(ammpli_model_load_file(f->ctx, test_device(f->ctx), test_golden(ammpli_st_meta(f->st, "model")), NULL, &f->model));
    f->classes = json_loads(ammpli_st_meta(f->st, "classes"), 0, NULL);
    f->C = json_array_size(f->classes);
    ck_assert_uint_le(f->C, MOST_CLASSES);
    for (size_t i = 0; i < f->C; i++)
        f->names[i] = json_string_value(json_array_get(f->classes, i));
    ck_ok(ammpli_method_find(ammpli_st_meta(f->st, "method"), &method));
    ck_ok(ammpli_prompt_create(f->model, method->id, f->names, f->C, f->cfg, &f->prompt));
    for (size_t i = 0; i < f->prompt->tensors; i++) {
        char name[96];
        int64_t count;
        snprintf(name, sizeof name, "init.%s", f->prompt->tensor[i].name);
        float *init = test_tensor(f->st, name, &count);
        ck_assert_int_eq(count, f->prompt->tensor[i].count);
        ck_ok(ammpli_prompt_write(f->prompt, i, init));
        free(init);
    }
    ck_ok(ammpli_session_create(f->model, f->cfg, &f->session));
    int64_t total;
    f->images = test_tensor(f->st, "images", &total);
    if (memory_limit == 1) {
        ammpli_session_plan plan;
        ck_ok(ammpli_session_footprint(f->session, f->prompt, AMMPL_PLAN_ACCUMULATE, BATCH, 1, &plan));
        f->session->memory_limit = plan.total;
        f->session->engine.limit = (size_t)plan.total;
    }
    f->chw = total / IMAGES;
    f->labels = test_tensor(f->st, "labels", NULL);
    f->ids = test_tensor(f->st, "image_ids", NULL);
    f->batches = method->accumulate ? test_tensor(f->st, "batches", NULL) : NULL;
}

void close_fixture(fixture *f)
{
    free(f->images);
    free(f->labels);
    free(f->ids);
    free(f->batches);
    json_decref(f->classes);
    ammpli_session_release(f->session);
    ammpli_prompt_release(f->prompt);
    ammpli_model_release(f->model);
    ammpli_config_destroy(f->cfg);
    ammpli_st_close(f->st);
    ammpli_context_release(f->ctx);
}

double run_batch(fixture *f, int step, int epoch, float *logits)
{
    float *pixels = malloc((size_t)(BATCH * f->chw) * sizeof *pixels);
    int32_t label[BATCH];
    uint32_t id[BATCH];
    size_t n = 0;
    for (int k = 0; k < BATCH; k++) {
        int i = (int)f->batches[step * BATCH + k];
        if (i < 0)
            continue;
        memcpy(pixels + (int64_t)n * f->chw, f->images + i * f->chw, (size_t)f->chw * sizeof *pixels);
        label[n] = (int32_t)f->labels[i];
        id[n++] = (uint32_t)f->ids[i];
    }
    ammpl_batch batch = {.struct_size = sizeof batch, .n = n, .pixels = pixels, .label = label, .image_id = id, .seed = f->seed, .step = (uint32_t)step, .epoch = epoch};
    double loss = NAN;
    ck_ok(ammpli_prompt_zero_gradients(f->prompt));
    ck_ok(ammpli_session_accumulate(f->session, f->prompt, &batch, &loss, logits));
    free(pixels);
    return loss;
}

float *read_gradient(const fixture *f, size_t i)
{
    float *g = malloc((size_t)f->prompt->tensor[i].count * sizeof *g);
    ck_assert_ptr_nonnull(g);
    ck_ok(ammpli_prompt_gradient_read(f->prompt, i, g));
    return g;
}

double norm_of(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * x[i];
    return sqrt(s);
}

void check_gradients(const fixture *f, const char *prefix)
{
    double largest = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < f->prompt->tensors; i++) {
            char name[96];
            const ammpli_tensor *t = &f->prompt->tensor[i];
            snprintf(name, sizeof name, "%s.%s", prefix, t->name);
            float *want = test_tensor(f->st, name, NULL), *got = read_gradient(f, i);
            double size = norm_of(want, t->count), d = test_difference(got, want, t->count, 1e-4 * largest);
            largest = size > largest ? size : largest;
            if (pass)
                seen(f, "gradient", d);
            ck_assert_msg(!pass || d <= GRADIENTS, "%s: %s differs by %.3g (norm %.3g)", f->variant, name, d, size);
            free(want);
            free(got);
        }
}

void check_training(fixture *f)
{
    static const char *const groups[] = {"lr", "lr_text"};
    ammpl_optimizer *o;
    ammpl_config *training;
    ck_ok(ammpli_training_config(f->prompt, f->cfg, 0, &training));
    ck_ok(ammpli_optimizer_create(f->prompt, training, &o));
    float *losses = test_tensor(f->st, "losses", NULL);
    for (int step = 0; step < STEPS; step++) {
        int epoch = step / STEPS_PER_EPOCH;
        ammpli_optimizer_set_moment(o, &(ammpli_moment){epoch, step, STEPS});
        for (int g = 0; g < 2 && ammpli_st_find(f->st, groups[g]); g++) {
            float *rates = test_tensor(f->st, groups[g], NULL);
            ck_assert_msg(fabs(o->rate[g] - (double)rates[step]) <= 1e-6 * (double)rates[step], "%s: step %d: rate %g, reference %g",
                          f->variant, step, o->rate[g], (double)rates[step]);
            free(rates);
        }
        double loss = run_batch(f, step, epoch, NULL), d = fabs(loss - (double)losses[step]) / fabs((double)losses[step]);
        seen(f, "loss", d);
        ck_assert_msg(d <= LOSSES, "%s: loss of step %d is %.8g, reference %.8g (%.3g)", f->variant, step, loss, (double)losses[step], d);
        ck_ok(ammpli_optimizer_step(o));
    }
    for (size_t i = 0; i < f->prompt->tensors; i++) {
        char name[96];
        const ammpli_tensor *t = &f->prompt->tensor[i];
        snprintf(name, sizeof name, "final.%s", t->name);
        float *want = test_tensor(f->st, name, NULL), *got = malloc((size_t)t->count * sizeof *got);
        ck_ok(ammpli_prompt_read(f->prompt, i, got));
        double d = test_difference(got, want, t->count, 1e-30);
        seen(f, "final", d);
        ck_assert_msg(d <= FINALS, "%s: final %s differs by %.3g", f->variant, t->name, d);
        free(want);
        free(got);
    }
    free(losses);
    ammpli_optimizer_release(o);
    ammpli_config_destroy(training);
}
