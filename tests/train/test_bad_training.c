/* test_bad_training.c - what training refuses: each with its status and a sentence that names it, and nothing half done. */
#include "nano.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- data ---- */

START_TEST(no_images)
{
    nano n;
    nano_open(&n, NULL);
    ammpl_dataset *empty;
    ck_ok(ammpli_dataset_create(n.ctx, nano_names, NANO_CLASSES, &empty));
    ck_status(ammpli_trainer_create(n.session, n.prompt, empty, n.cfg, &n.trainer), AMMPL_E_ARGUMENT, "no images");
    ck_assert_ptr_null(n.trainer);
    ammpl_metrics metrics;
    ck_status(ammpli_session_evaluate(n.session, n.prompt, empty, n.cfg, NULL, NULL, NULL, &metrics), AMMPL_E_ARGUMENT, "no images");
    ammpli_dataset_release(empty);
    nano_close(&n);
}
END_TEST

START_TEST(one_class)
{
    nano n;
    nano_open(&n, NULL);
    ammpl_dataset *data;
    ammpl_prompt *p;
    ck_ok(ammpli_prompt_create(n.model, AMMPL_METHOD_AMMPL, nano_names, 1, n.cfg, &p));
    ck_ok(ammpli_dataset_create(n.ctx, nano_names, 1, &data));
    nano_add_pictures(data, 1);
    ck_status(ammpli_trainer_create(n.session, p, data, n.cfg, &n.trainer), AMMPL_E_ARGUMENT, "one class");
    ck_assert_ptr_nonnull(strstr(ammpli_error_text(), "cat"));
    ammpli_dataset_release(data);
    ammpli_prompt_release(p);
    nano_close(&n);
}
END_TEST

START_TEST(empty_class)
{
    nano n;
    nano_open(&n, NULL);
    ammpl_dataset *data;
    ck_ok(ammpli_dataset_create(n.ctx, nano_names, NANO_CLASSES, &data));
    nano_add_pictures(data, 2); /* a cat and a red_dog */
    ck_status(ammpli_trainer_create(n.session, n.prompt, data, n.cfg, &n.trainer), AMMPL_E_LABEL, "bird");
    ck_assert_ptr_null(n.trainer);
    ammpli_dataset_release(data);
    nano_close(&n);
}
END_TEST

START_TEST(other_classes)
{
    static const char *const swapped[] = {"cat", "bird", "red_dog"};
    nano n;
    nano_open(&n, NULL);
    ammpl_dataset *data;
    ck_ok(ammpli_dataset_create(n.ctx, swapped, NANO_CLASSES, &data));
    nano_add_pictures(data, NANO_IMAGES);
    ck_status(ammpli_trainer_create(n.session, n.prompt, data, n.cfg, &n.trainer), AMMPL_E_ARGUMENT, "\"bird\"");
    ammpli_dataset_release(data);
    ck_ok(ammpli_dataset_create(n.ctx, nano_names, 2, &data));
    nano_add_pictures(data, 2);
    ck_status(ammpli_trainer_create(n.session, n.prompt, data, n.cfg, &n.trainer), AMMPL_E_ARGUMENT, "2 classes");
    ammpli_dataset_release(data);
    nano_close(&n);
}
END_TEST

START_TEST(nothing_to_learn)
{
    nano n;
    nano_open(&n, NULL);
    ammpl_prompt *p;
    ck_ok(ammpli_prompt_create(n.model, AMMPL_METHOD_ZEROSHOT, nano_names, NANO_CLASSES, NULL, &p));
    ck_status(ammpli_trainer_create(n.session, p, n.data, n.cfg, &n.trainer), AMMPL_E_STATE, "nothing to learn");
    ammpli_prompt_release(p);
    nano_close(&n);
}
END_TEST

START_TEST(label_out_of_range)
{
    nano n;
    nano_open(&n, NULL);
    ammpl_image *img = nano_picture(n.ctx, 0);
    ck_status(ammpli_dataset_add(n.data, img, NULL, NANO_CLASSES, 7), AMMPL_E_LABEL, "label 3");
    ck_status(ammpli_dataset_add(n.data, img, NULL, -1, 7), AMMPL_E_LABEL, "label -1");
    ck_status(ammpli_dataset_add(n.data, NULL, "here.png", 9, 7), AMMPL_E_LABEL, "here.png");
    ck_assert_uint_eq(n.data->count, NANO_IMAGES);
    ammpli_image_destroy(img);
    float *pixels = nano_pixels(&n);
    for (int bad = -1; bad <= NANO_CLASSES; bad += NANO_CLASSES + 1) {
        int32_t label[2] = {0, bad};
        double loss = 5;
        ammpl_batch batch = {.struct_size = sizeof batch, .n = 2, .pixels = pixels, .label = label};
        ck_status(ammpli_session_accumulate(n.session, n.prompt, &batch, &loss, NULL), AMMPL_E_LABEL, "image 1");
    }
    free(pixels);
    nano_close(&n);
}
END_TEST

/* ---- pictures that cannot be read ---- */

static int warnings;
static char warned[1024];

static void note_warning(void *user, ammpl_level level, const char *message)
{
    (void)user;
    if (level == AMMPL_LEVEL_WARN) {
        warnings++;
        snprintf(warned, sizeof warned, "%s", message);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static const struct {
    const char *name, *text; /* text NULL: there is no such file */
    ammpl_status status;
} bad_files[] = {{"missing.png", NULL, AMMPL_E_IO},
                 {"garbage.png", "this is no picture", AMMPL_E_IMAGE},
                 {"cut.png", "\x89PNG\r\n\x1a\n", AMMPL_E_IMAGE},
                 {"empty.jpg", "", AMMPL_E_IMAGE}};
enum { BAD_FILES = sizeof bad_files / sizeof bad_files[0] };

/* Among good ones it stops the run by name, with prompt and trainer as before; the run goes on once it can be read. */
START_TEST(unreadable_image)
{
    static const char *const options[] = {"shuffle", "off", NULL};
    nano n, good;
    char path[1024], whole[1024];
    strcpy(path, test_temp(bad_files[_i].name));
    strcpy(whole, test_temp("whole.png"));
    if (bad_files[_i].text)
        write_file(path, bad_files[_i].text);
    nano_open(&good, options);
    ammpl_image *img = nano_picture(good.ctx, 30);
    ck_ok(ammpli_image_save_png(img, whole));
    ammpli_image_destroy(img);
    ck_ok(ammpli_dataset_add(good.data, NULL, whole, 2, NANO_IMAGES));
    nano_open(&n, options);
    ck_ok(ammpli_dataset_add(n.data, NULL, path, 2, NANO_IMAGES));
    nano_trainer(&n);
    nano_trainer(&good);
    nano_steps(&n, 2);
    nano_steps(&good, 2);
    for (int again = 0; again < 2; again++) {
        ck_status(ammpli_trainer_step(n.trainer, NULL), bad_files[_i].status, bad_files[_i].name);
        ck_assert_int_eq(n.trainer->step, 2);
        ck_assert_int_eq(n.trainer->next, 6);
        ck_assert(nano_same(n.prompt, good.prompt));
    }
    img = nano_picture(good.ctx, 30); /* now it can be read: as though nothing had been */
    ck_ok(ammpli_image_save_png(img, path));
    ammpli_image_destroy(img);
    nano_steps(&n, 10);
    nano_steps(&good, 10);
    ck_assert(nano_same(n.prompt, good.prompt));
    nano_close(&n);
    nano_close(&good);
}
END_TEST

/* With skip_bad it is left out, with a warning that names it; the others are trained on, and their mean is theirs. */
START_TEST(skipped_image)
{
    static const char *const options[] = {"skip_bad", "on", "epochs", "2", NULL};
    nano n;
    char path[1024];
    strcpy(path, test_temp(bad_files[_i].name));
    if (bad_files[_i].text)
        write_file(path, bad_files[_i].text);
    nano_open(&n, options);
    n.ctx->log_min = AMMPL_LEVEL_WARN;
    n.ctx->log_fn = note_warning;
    ck_ok(ammpli_dataset_add(n.data, NULL, path, 2, NANO_IMAGES));
    nano_trainer(&n);
    uint64_t images = 0, steps = 0;
    ammpl_progress p;
    warnings = 0;
    while (ammpli_trainer_step(n.trainer, &p) == AMMPL_OK) {
        images += p.images;
        steps++;
        ck_assert(isfinite(p.loss) && p.loss > 0);
    }
    ck_assert_uint_eq(steps, 6);
    ck_assert_uint_eq(images, 2 * NANO_IMAGES);
    ck_assert_int_eq(warnings, 2);
    ck_assert_msg(strstr(warned, bad_files[_i].name) != NULL, "%s", warned);
    ammpl_metrics metrics;
    int32_t predicted[NANO_IMAGES + 1];
    ck_ok(ammpli_session_evaluate(n.session, n.prompt, n.data, n.cfg, NULL, NULL, predicted, &metrics));
    ck_assert_uint_eq(metrics.samples, NANO_IMAGES);
    ck_assert_uint_eq(metrics.skipped, 1);
    ck_assert_int_eq(predicted[NANO_IMAGES], -1);
    nano_close(&n);
}
END_TEST

/* A step whose pictures are all unreadable updates nothing. */
START_TEST(nothing_but_skipped)
{
    static const char *const options[] = {"skip_bad", "on", "shuffle", "off", "batch", "7", "epochs", "1", NULL};
    nano n;
    nano_open(&n, options);
    ck_ok(ammpli_dataset_add(n.data, NULL, "/nowhere/at/all.png", 2, NANO_IMAGES));
    nano_trainer(&n);
    nano_steps(&n, 1);
    size_t size;
    char *before = nano_bytes(n.prompt, &size), *after;
    ammpl_progress p;
    ck_ok(ammpli_trainer_step(n.trainer, &p));
    ck_assert_uint_eq(p.images, 0);
    after = nano_bytes(n.prompt, &size);
    ck_assert(memcmp(before, after, size) == 0);
    ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_END, "");
    free(before);
    free(after);
    nano_close(&n);
}
END_TEST

/* ---- numbers ---- */

/* Pixels that are not finite: prompt, gradients and trainer stay as they were, and the run can go on. */
START_TEST(nan_pixels)
{
    const char *options[] = {"scope", _i % 2 ? "class" : "shared", "mask", _i / 2 ? "off" : "on", NULL};
    nano n, good;
    nano_open(&n, options);
    nano_open(&good, options);
    nano_trainer(&n);
    nano_trainer(&good);
    nano_steps(&n, 3);
    nano_steps(&good, 3);
    float std = n.model->preprocess.std[1];
    ammpli_loader_drop(n.trainer->loader); /* the next pictures are made already */
    n.model->preprocess.std[1] = 0; /* every picture's green is infinite or NaN */
    ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_NUMERIC, "not a finite number");
    n.model->preprocess.std[1] = std;
    ck_assert_int_eq(n.trainer->step, 3);
    ck_assert(nano_same(n.prompt, good.prompt));
    nano_steps(&n, 9);
    nano_steps(&good, 9);
    ck_assert(nano_same(n.prompt, good.prompt));

    float *pixels = nano_pixels(&n), gradient[1024], kept[1024];
    static const int32_t label[] = {0, 1, 2, 0, 1, 2, 1};
    ammpl_batch batch = {.struct_size = sizeof batch, .n = NANO_IMAGES, .pixels = pixels, .label = label};
    double loss;
    ck_ok(ammpli_session_accumulate(n.session, n.prompt, &batch, &loss, NULL));
    ck_assert_int_le(n.prompt->tensor[0].count, 1024);
    ck_ok(ammpli_prompt_gradient_read(n.prompt, 0, kept));
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++) {
        pixels[1234] = bad[k];
        ck_status(ammpli_session_accumulate(n.session, n.prompt, &batch, &loss, NULL), AMMPL_E_NUMERIC, "finite");
        ck_ok(ammpli_prompt_gradient_read(n.prompt, 0, gradient));
        ck_assert(memcmp(gradient, kept, (size_t)n.prompt->tensor[0].count * sizeof *kept) == 0);
        float logits[NANO_IMAGES * NANO_CLASSES];
        ck_status(ammpli_session_predict(n.session, n.prompt, pixels, NANO_IMAGES, logits), AMMPL_E_NUMERIC, "finite");
    }
    free(pixels);
    nano_close(&n);
    nano_close(&good);
}
END_TEST

/* A gradient that is not finite updates no tensor. */
START_TEST(nan_gradients)
{
    nano n;
    nano_open(&n, NULL);
    nano_trainer(&n);
    nano_steps(&n, 3);
    size_t size;
    char *before = nano_bytes(n.prompt, &size), *after;
    int64_t updates = n.trainer->optimizer->step;
    for (size_t i = 0; i < n.prompt->tensors; i++) {
        float *g = calloc((size_t)n.prompt->tensor[i].count, sizeof *g);
        g[n.prompt->tensor[i].count - 1] = i % 2 ? NAN : INFINITY;
        ck_ok(ammpli_prompt_gradient_write(n.prompt, i, g));
        ck_status(ammpli_optimizer_step(n.trainer->optimizer), AMMPL_E_NUMERIC, n.prompt->tensor[i].name);
        ck_ok(ammpli_prompt_zero_gradients(n.prompt));
        free(g);
    }
    after = nano_bytes(n.prompt, &size);
    ck_assert(memcmp(before, after, size) == 0);
    ck_assert_int_eq(n.trainer->optimizer->step, updates);
    free(before);
    free(after);
    nano_close(&n);
}
END_TEST

/* A learning rate far too high ends in AMMPL_E_NUMERIC, never in a prompt with NaN in it. */
START_TEST(divergence)
{
    static const char *const options[] = {"lr", "1000000", "schedule", "constant", "warmup_epochs", "0", "epochs", "200", NULL};
    nano n;
    nano_open(&n, options);
    nano_trainer(&n);
    ammpl_status status;
    while ((status = ammpli_trainer_step(n.trainer, NULL)) == AMMPL_OK)
        ;
    ck_assert(status == AMMPL_E_NUMERIC || status == AMMPL_END);
    size_t size;
    free(nano_bytes(n.prompt, &size)); /* refuses NaN */
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bad_training");
    TCase *c = tcase_create("bad");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, no_images);
    tcase_add_test(c, one_class);
    tcase_add_test(c, empty_class);
    tcase_add_test(c, other_classes);
    tcase_add_test(c, nothing_to_learn);
    tcase_add_test(c, label_out_of_range);
    tcase_add_loop_test(c, unreadable_image, 0, BAD_FILES);
    tcase_add_loop_test(c, skipped_image, 0, BAD_FILES);
    tcase_add_test(c, nothing_but_skipped);
    tcase_add_loop_test(c, nan_pixels, 0, 4);
    tcase_add_test(c, nan_gradients);
    tcase_add_test(c, divergence);
    suite_add_tcase(s, c);
    return test_main(s);
}
