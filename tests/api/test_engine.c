/* test_engine.c - training by other engines: the library's own steps, made from its public parts. */
#include "api.h"

#include <math.h>
#include <stdbool.h>

enum { IMAGES = 4, EPOCHS = 3, BATCH = 3 }; /* the last batch of an epoch is short */
static const uint64_t SEED = 5;

static ammpl_config *options(world *w, const char *optimizer)
{
    ammpl_config *cfg;
    ck_done(ammpl_config_create(w->ctx, &cfg));
    ck_done(ammpl_config_set_int(cfg, AMMPL_OPT_EPOCHS, EPOCHS));
    ck_done(ammpl_config_set_int(cfg, AMMPL_OPT_BATCH, BATCH));
    ck_done(ammpl_config_set_int(cfg, AMMPL_OPT_SEED, (int64_t)SEED));
    ck_done(ammpl_config_set_string(cfg, AMMPL_OPT_OPTIMIZER, optimizer));
    ck_done(ammpl_config_set_float(cfg, AMMPL_OPT_LR, 0.05));
    return cfg;
}

static ammpl_prompt *fresh(world *w, const ammpl_config *cfg)
{
    ammpl_prompt *p;
    ck_done(ammpl_prompt_create(w->model, AMMPL_METHOD_AMMPL, class_names, CLASSES, cfg, &p));
    return p;
}

/* Items first, first + stride, ... of the n in `item`, as one batch of weight 1/n. */
static double accumulate(world *w, ammpl_prompt *p, const int32_t *item, size_t n, size_t first, size_t stride,
                         uint32_t step)
{
    static float pixels[BATCH * PIXELS];
    int32_t label[BATCH];
    uint32_t id[BATCH];
    size_t k = 0;
    for (size_t i = first; i < n; i += stride, k++) {
        ammpl_image *img;
        ck_done(ammpl_dataset_load_image(w->data, (size_t)item[i], &img));
        label[k] = ammpl_dataset_label(w->data, (size_t)item[i]);
        id[k] = (uint32_t)ammpl_dataset_image_id(w->data, (size_t)item[i]);
        ck_done(ammpl_model_augment(w->model, img, SEED, id[k], step, pixels + k * PIXELS, PIXELS));
        ammpl_image_destroy(img);
    }
    double loss = 0;
    ammpl_batch batch = {.struct_size = sizeof batch,
                         .n = k,
                         .pixels = pixels,
                         .label = label,
                         .image_id = id,
                         .seed = SEED,
                         .step = step,
                         .weight = 1.0 / (double)n};
    if (k > 0)
        ck_done(ammpl_session_accumulate(w->session, p, &batch, &loss, NULL));
    return loss;
}

/* The largest difference of two prompts' tensors or gradients, relative to the largest number of each tensor. */
static double difference(const ammpl_prompt *a, const ammpl_prompt *b,
                         ammpl_status (*read)(const ammpl_prompt *, size_t, float *, size_t))
{
    static float x[1 << 14], y[1 << 14];
    double worst = 0;
    ck_assert_uint_ge(ammpl_prompt_tensor_count(a), 3);
    for (size_t i = 0; i < ammpl_prompt_tensor_count(a); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        double top = 0, off = 0;
        ck_done(ammpl_prompt_tensor_describe(a, i, &info));
        ck_done(read(a, i, x, sizeof x / sizeof *x));
        ck_done(read(b, i, y, sizeof y / sizeof *y));
        for (size_t k = 0; k < info.count; k++) {
            top = fmax(top, fabs((double)x[k]));
            off = fmax(off, fabs((double)x[k] - (double)y[k]));
        }
        worst = fmax(worst, off > 0 ? off / top : 0);
    }
    return worst;
}

static void train_by_hand(world *w, ammpl_prompt *p, const ammpl_config *cfg)
{
    ammpl_optimizer *o;
    uint32_t step = 0;
    ck_done(ammpl_optimizer_create(p, cfg, &o));
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        int32_t order[IMAGES];
        ck_done(ammpl_dataset_shuffle(w->data, SEED, epoch, order, IMAGES));
        for (size_t from = 0; from < IMAGES; from += BATCH, step++) {
            size_t n = IMAGES - from < BATCH ? IMAGES - from : BATCH;
            ck_done(ammpl_prompt_zero_gradients(p));
            ck_assert(accumulate(w, p, order + from, n, 0, 1, step) > 0);
            ck_done(ammpl_optimizer_set_epoch(o, epoch));
            ck_done(ammpl_optimizer_step(o));
        }
    }
    ammpl_optimizer_destroy(o);
}

START_TEST(as_the_trainer)
{
    world *w = world_shared();
    ammpl_config *cfg = options(w, _i ? "adamw" : "sgd");
    ammpl_prompt *start = fresh(w, cfg), *own = fresh(w, cfg), *library = fresh(w, cfg);
    train_by_hand(w, own, cfg);
    ck_done(ammpl_train(w->session, library, w->data, cfg, NULL, NULL));
    ck_assert_msg(difference(own, library, ammpl_prompt_tensor_read) == 0, "the same bits: off by %g",
                  difference(own, library, ammpl_prompt_tensor_read));
    ck_assert(difference(own, start, ammpl_prompt_tensor_read) > 1e-3);
    ammpl_prompt_destroy(start);
    ammpl_prompt_destroy(own);
    ammpl_prompt_destroy(library);
    ammpl_config_destroy(cfg);
    world_destroy(w);
}
END_TEST

/* Replicas of a prompt, each with a part of the batch: their gradients add up to the whole batch's, written back by name. */
START_TEST(replicas)
{
    enum { PARTS = 2 };
    static float sum[1 << 14], part[1 << 14];
    world *w = world_shared();
    ammpl_config *cfg = options(w, "sgd");
    ammpl_prompt *whole = fresh(w, cfg), *replica[PARTS];
    const int32_t item[BATCH] = {3, 0, 2};
    double loss = accumulate(w, whole, item, BATCH, 0, 1, 7), parts = 0;
    for (size_t r = 0; r < PARTS; r++) {
        replica[r] = fresh(w, cfg);
        parts += accumulate(w, replica[r], item, BATCH, r, PARTS, 7);
    }
    ck_assert_double_eq_tol(parts, loss, 1e-5 * loss);
    ck_assert(difference(whole, replica[0], ammpl_prompt_gradient_read) > 1e-2);
    for (size_t i = 0; i < ammpl_prompt_tensor_count(whole); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        ck_done(ammpl_prompt_tensor_describe(whole, i, &info));
        size_t by_name = (size_t)ammpl_prompt_tensor_find(replica[0], info.name), n = (size_t)info.count;
        memset(sum, 0, sizeof sum);
        for (size_t r = 0; r < PARTS; r++) {
            ck_done(ammpl_prompt_gradient_read(replica[r], by_name, part, n));
            for (size_t k = 0; k < n; k++)
                sum[k] += part[k];
        }
        ck_done(ammpl_prompt_gradient_write(replica[0], by_name, sum, n));
    }
    /* Measured: 2.1e-7. */
    ck_assert_double_le(difference(whole, replica[0], ammpl_prompt_gradient_read), 1e-5);
    for (size_t r = 0; r < PARTS; r++)
        ammpl_prompt_destroy(replica[r]);
    ammpl_prompt_destroy(whole);
    ammpl_config_destroy(cfg);
    world_destroy(w);
}
END_TEST

START_TEST(order)
{
    world *w = world_shared();
    int32_t a[IMAGES], b[IMAGES];
    bool seen[IMAGES] = {false}, other = false;
    ck_done(ammpl_dataset_shuffle(w->data, 1, 0, a, IMAGES));
    for (size_t i = 0; i < IMAGES; i++) {
        ck_assert(a[i] >= 0 && a[i] < IMAGES && !seen[a[i]]);
        seen[a[i]] = true;
    }
    for (uint32_t epoch = 1; epoch < 8; epoch++) {
        ck_done(ammpl_dataset_shuffle(w->data, 1, epoch, b, IMAGES));
        other = other || memcmp(a, b, sizeof a) != 0;
    }
    ck_assert(other);
    ck_done(ammpl_dataset_shuffle(w->data, 1, 0, b, IMAGES));
    ck_assert_mem_eq(a, b, sizeof a);
    ck_is(ammpl_dataset_shuffle(w->data, 1, 0, b, IMAGES - 1), AMMPL_E_BUFFER, "4");
    world_destroy(w);
}
END_TEST

TCase *case_engine(void)
{
    TCase *tc = tcase_create("engine");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, as_the_trainer, 0, 2);
    tcase_add_test(tc, replicas);
    tcase_add_test(tc, order);
    return tc;
}
