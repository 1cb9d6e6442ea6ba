/* nano.c - see nano.h. */
#include "nano.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const nano_names[NANO_CLASSES] = {"cat", "red_dog", "bird"};
static const int32_t labels[NANO_IMAGES] = {0, 1, 2, 0, 1, 2, 1};

void nano_set(nano *n, const char *name, const char *value)
{
    ck_ok(ammpli_config_set_text(n->cfg, name, value));
}

ammpl_image *nano_picture(ammpl_context *ctx, uint32_t number)
{
    int32_t w = 15 + (int32_t)(number % 5) * 4, h = 15 + (int32_t)(number % 3) * 7;
    ammpl_image *img;
    ck_ok(ammpli_image_create(ctx, w, h, &img));
    for (int32_t y = 0; y < h; y++)
        for (int32_t x = 0; x < w; x++)
            for (int32_t c = 0; c < 3; c++) {
                uint32_t r[4];
                ammpli_philox(77, 200, (uint32_t)(y / 3 * 64 + x / 3), (uint32_t)c, number, 0, r);
                img->pixels[(y * w + x) * 3 + c] = (uint8_t)(r[0] >> 24);
            }
    return img;
}

void nano_add_pictures(ammpl_dataset *data, int count)
{
    for (int i = 0; i < count; i++) {
        ammpl_image *img = nano_picture(data->ctx, (uint32_t)i);
        ck_ok(ammpli_dataset_add(data, img, NULL, labels[i % NANO_IMAGES], (uint32_t)i));
        ammpli_image_destroy(img);
    }
}

static void make_learner(nano *n)
{
    ck_ok(ammpli_prompt_create(n->model, n->method, nano_names, NANO_CLASSES, n->cfg, &n->prompt));
    ck_ok(ammpli_session_create(n->model, n->cfg, &n->session));
    n->trainer = NULL;
}

static void drop_learner(nano *n)
{
    ammpli_trainer_release(n->trainer);
    ammpli_session_release(n->session);
    ammpli_prompt_release(n->prompt);
}

void nano_open(nano *n, const char *const *options)
{
    nano_open_method(n, "nano", AMMPL_METHOD_AMMPL, options);
}

void nano_open_method(nano *n, const char *model, ammpl_method method, const char *const *options)
{
    static const char *const base[] = {"epochs", "4", "batch", "3", "lr", "0.05", "seed", "11", NULL};
    memset(n, 0, sizeof *n);
    n->method = method;
    n->ctx = test_context();
    ck_ok(ammpli_model_load_file(n->ctx, test_device(n->ctx), test_golden(model), NULL, &n->model));
    ck_ok(ammpli_config_create(n->ctx, &n->cfg));
    for (const char *const *o = base; *o; o += 2)
        nano_set(n, o[0], o[1]);
    for (const char *const *o = options; o && *o; o += 2)
        nano_set(n, o[0], o[1]);
    ck_ok(ammpli_dataset_create(n->ctx, nano_names, NANO_CLASSES, &n->data));
    nano_add_pictures(n->data, NANO_IMAGES);
    make_learner(n);
}

void nano_close(nano *n)
{
    drop_learner(n);
    ammpli_dataset_release(n->data);
    ammpli_config_destroy(n->cfg);
    ammpli_model_release(n->model);
    ammpli_context_release(n->ctx);
}

void nano_restart(nano *n)
{
    drop_learner(n);
    make_learner(n);
}

void nano_trainer(nano *n)
{
    ck_assert_ptr_null(n->trainer);
    ck_ok(ammpli_trainer_create(n->session, n->prompt, n->data, n->cfg, &n->trainer));
}

void nano_steps(nano *n, int64_t steps)
{
    for (int64_t i = 0; i < steps; i++)
        ck_ok(ammpli_trainer_step(n->trainer, NULL));
}

void nano_check_progress(const ammpl_progress *a, const ammpl_progress *b)
{
    ck_assert_uint_eq(a->epoch, b->epoch);
    ck_assert_uint_eq(a->step, b->step);
    ck_assert_uint_eq(a->steps, b->steps);
    ck_assert_uint_eq(a->images, b->images);
    ck_assert_int_eq(a->epoch_end, b->epoch_end);
    ck_assert_msg(a->loss == b->loss, "step %d: loss %.17g here, %.17g there", (int)a->step, a->loss, b->loss);
    ck_assert(a->learning_rate == b->learning_rate);
    ck_assert(a->epoch_loss == b->epoch_loss);
    ck_assert(a->epoch_accuracy == b->epoch_accuracy);
}

static const char *state_name(int64_t step)
{
    char name[32];
    snprintf(name, sizeof name, "state%d", (int)step);
    return test_temp(name);
}

void nano_resume_everywhere(nano *n, int64_t steps, const char *what)
{
    enum { MOST = 16 };
    ammpl_progress progress[MOST], p;
    nano_trainer(n);
    ck_assert_int_eq(n->trainer->steps, steps);
    ck_assert_int_le(steps, MOST);
    for (int64_t step = 0; step <= steps; step++) {
        ck_ok(ammpli_trainer_save(n->trainer, state_name(step)));
        if (step < steps)
            ck_ok(ammpli_trainer_step(n->trainer, &progress[step]));
    }
    ck_status(ammpli_trainer_step(n->trainer, NULL), AMMPL_END, "");
    size_t size, end_size;
    char *end = nano_bytes(n->prompt, &end_size);
    for (int64_t from = 0; from <= steps; from++) {
        nano_restart(n);
        nano_trainer(n);
        ck_ok(ammpli_trainer_load(n->trainer, state_name(from)));
        for (int64_t step = from; step < steps; step++) {
            ck_ok(ammpli_trainer_step(n->trainer, &p));
            nano_check_progress(&p, &progress[step]);
        }
        ck_status(ammpli_trainer_step(n->trainer, NULL), AMMPL_END, "");
        char *bytes = nano_bytes(n->prompt, &size);
        ck_assert_msg(size == end_size && memcmp(bytes, end, size) == 0, "%s: resumed at step %d it ends elsewhere", what, (int)from);
        free(bytes);
    }
    /* A trainer that is elsewhere goes where the state says. */
    ck_ok(ammpli_trainer_load(n->trainer, state_name(1)));
    ck_ok(ammpli_trainer_step(n->trainer, &p));
    nano_check_progress(&p, &progress[1]);
    free(end);
}

char *nano_bytes(const ammpl_prompt *p, size_t *size)
{
    void *data;
    ck_ok(ammpli_prompt_bytes(p, &data, size));
    char *copy = malloc(*size);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, data, *size);
    ammpli_free(p->ctx, data);
    return copy;
}

bool nano_same(const ammpl_prompt *a, const ammpl_prompt *b)
{
    size_t m, n;
    char *x = nano_bytes(a, &m), *y = nano_bytes(b, &n);
    bool same = m == n && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

float *nano_pixels(const nano *n)
{
    size_t chw = (size_t)3 * (size_t)n->model->preprocess.size * (size_t)n->model->preprocess.size;
    float *pixels = malloc(NANO_IMAGES * chw * sizeof *pixels);
    ck_assert_ptr_nonnull(pixels);
    for (size_t i = 0; i < NANO_IMAGES; i++) {
        ammpl_image *img = nano_picture(n->ctx, (uint32_t)i);
        ck_ok(ammpli_preprocess_test(&n->model->preprocess, img, pixels + i * chw));
        ammpli_image_destroy(img);
    }
    return pixels;
}

float *nano_logits(nano *n, const ammpl_prompt *p)
{
    float *pixels = nano_pixels(n), *logits = malloc(NANO_IMAGES * p->classes * sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    ck_ok(ammpli_session_predict(n->session, p, pixels, NANO_IMAGES, logits));
    free(pixels);
    return logits;
}

double nano_normal(uint32_t which, uint32_t i)
{
    uint32_t x[4];
    ammpli_philox(99, 201, i, which, 0, 0, x);
    return ammpli_normal(x);
}

void nano_copy_values(ammpl_prompt *to, const ammpl_prompt *from)
{
    for (size_t i = 0; i < to->tensors; i++) {
        const ammpli_tensor *t = ammpli_prompt_find(from, to->tensor[i].name);
        if (!t || t->count != to->tensor[i].count)
            continue;
        float *value = malloc((size_t)t->count * sizeof *value);
        ck_assert_ptr_nonnull(value);
        ck_ok(ammpli_prompt_read(from, (size_t)(t - from->tensor), value));
        ck_ok(ammpli_prompt_write(to, i, value));
        free(value);
    }
}
