/* test_feature_cache.c - features of images that training does not change are encoded once and may outlive the run: the bits
 * are those of a run without a cache.
 */
#include "cached.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- in memory ---- */

START_TEST(same_bits)
{
    const char *options[] = {"mask", "off", "augment", "none", "scope", _i % 2 ? "class" : "shared", "interaction", _i / 2 % 2 ? "off" : "on",
                             "accumulate", _i / 4 % 2 ? "2" : "1", "optimizer", _i / 8 ? "adamw" : "sgd", NULL};
    nano with, without;
    nano_open(&with, options);
    nano_open(&without, options);
    nano_trainer(&with);
    nano_trainer(&without);
    ck_assert_ptr_nonnull(with.trainer->cache);
    cached_without(&without);
    for (int step = 0; step < with.trainer->steps; step++) {
        ammpl_progress a, b;
        ck_ok(ammpli_trainer_step(with.trainer, &a));
        ck_ok(ammpli_trainer_step(without.trainer, &b));
        ck_assert_msg(a.loss == b.loss, "step %d: loss %.17g with a cache, %.17g without", step, a.loss, b.loss);
        ck_assert(a.epoch_accuracy == b.epoch_accuracy);
        ck_assert_msg(nano_same(with.prompt, without.prompt), "step %d", step);
        if (a.epoch == 0 && a.epoch_end)
            cached_break_pictures(&with); /* each has been encoded once, and is not again */
    }
    nano_close(&with);
    nano_close(&without);
}
END_TEST

/* Where images change there is no cache. */
START_TEST(not_where_images_change)
{
    static const char *const masked[] = {"augment", "none", "cache", "here", NULL};
    static const char *const augmented[] = {"mask", "off", "cache", "here", NULL};
    nano n;
    nano_open(&n, _i ? masked : augmented);
    cached_listen(&n);
    nano_trainer(&n);
    ck_assert_ptr_null(n.trainer->cache);
    ck_assert_msg(strstr(cached_logged, "cache here has no effect") != NULL, "%s", cached_logged);
    ck_assert_int_ne(access("here", F_OK), 0);
    nano_steps(&n, 3);
    nano_close(&n);
}
END_TEST

START_TEST(resumed)
{
    nano n;
    char folder[1024];
    size_t size;
    char *end = cached_expected(cached_options, NULL, &size);
    nano_open(&n, cached_options);
    nano_trainer(&n);
    for (int step = 0; step < CACHED_STEPS; step++) {
        char name[32];
        snprintf(name, sizeof name, "state%d", step);
        ck_ok(ammpli_trainer_save(n.trainer, test_temp(name)));
        nano_steps(&n, 1);
    }
    for (int from = 0; from < CACHED_STEPS; from++) {
        char name[32];
        snprintf(name, sizeof name, "state%d", from);
        nano_restart(&n);
        if (from == 6) /* the folder is no part of the state */
            nano_set(&n, "cache", cached_folder(folder, "resumed"));
        nano_trainer(&n);
        ck_ok(ammpli_trainer_load(n.trainer, test_temp(name)));
        nano_steps(&n, CACHED_STEPS - from);
        cached_check(&n, end, size, name);
    }
    free(end);
    nano_close(&n);
}
END_TEST

/* An unreadable picture stops the step or is skipped as ever, and is used once it can be read. */
START_TEST(unreadable)
{
    const char *options[] = {"mask", "off", "augment", "none", "skip_bad", _i ? "on" : "off", NULL};
    nano with, without, *both[] = {&with, &without};
    char path[1024], folder[1024];
    snprintf(path, sizeof path, "%s", test_temp("bad.png"));
    for (int k = 0; k < 2; k++) {
        nano_open(both[k], options);
        if (k == 0)
            nano_set(both[k], "cache", cached_folder(folder, "unreadable"));
        ck_ok(ammpli_dataset_add(both[k]->data, NULL, path, 2, NANO_IMAGES));
        nano_trainer(both[k]);
        cached_listen(both[k]);
    }
    cached_without(&without);
    for (int step = 0; step < 12; step++) {
        ammpl_progress a = {0}, b = {0};
        if (step == 6) {
            ammpl_image *img = nano_picture(with.ctx, 30);
            ck_ok(ammpli_image_save_png(img, path));
            ammpli_image_destroy(img);
        }
        ammpli_clear_error();
        ammpl_status x = ammpli_trainer_step(with.trainer, &a);
        ammpli_clear_error();
        ck_assert_int_eq(x, ammpli_trainer_step(without.trainer, &b));
        ck_assert(x == AMMPL_OK || (!_i && x == AMMPL_E_IO && step < 6));
        ck_assert_uint_eq(a.images, b.images);
        ck_assert(a.loss == b.loss);
        ck_assert(nano_same(with.prompt, without.prompt));
    }
    ck_assert_int_eq(cached_warnings, _i ? 4 : 0); /* twice each */
    nano_close(&with);
    nano_close(&without);
}
END_TEST

/* A picture whose feature is not finite is an error of its step, and is not kept. */
START_TEST(not_finite)
{
    nano n, good;
    nano_open(&n, cached_options);
    nano_open(&good, cached_options);
    nano_trainer(&n);
    nano_trainer(&good);
    nano_steps(&n, 1);
    float std = n.model->preprocess.std[1];
    cached_break_pictures(&n);
    for (int again = 0; again < 2; again++)
        ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_NUMERIC, "not a finite number");
    n.model->preprocess.std[1] = std;
    nano_steps(&n, 11);
    nano_steps(&good, 12);
    ck_assert(nano_same(n.prompt, good.prompt));
    nano_close(&n);
    nano_close(&good);
}
END_TEST

/* ---- features instead of pixels ---- */

START_TEST(given_features)
{
    static const char *const masked[] = {"mask", "on", NULL};
    static const int32_t label[NANO_IMAGES] = {0, 1, 2, 0, 1, 2, 1};
    nano n;
    nano_open(&n, _i ? masked : cached_options);
    float *pixels = nano_pixels(&n), feature[NANO_IMAGES * 64], logits[2][NANO_IMAGES * NANO_CLASSES], gradient[2][4096];
    ck_assert_int_le(n.model->embed, 64);
    ck_assert_int_le(n.prompt->tensor[0].count, 4096);
    ck_ok(ammpli_session_encode_images(n.session, NULL, pixels, NANO_IMAGES, feature));
    double loss[2];
    for (int k = 0; k < 2; k++) {
        ammpl_batch batch = {.struct_size = sizeof batch, .n = NANO_IMAGES, .pixels = k ? NULL : pixels, .label = label,
                             .features = k ? feature : NULL};
        ck_ok(ammpli_prompt_zero_gradients(n.prompt));
        if (_i && k) {
            ck_status(ammpli_session_accumulate(n.session, n.prompt, &batch, &loss[k], logits[k]), AMMPL_E_STATE, "features");
            goto done;
        }
        ck_ok(ammpli_session_accumulate(n.session, n.prompt, &batch, &loss[k], logits[k]));
        ck_ok(ammpli_prompt_gradient_read(n.prompt, 0, gradient[k]));
    }
    ck_assert(loss[0] == loss[1]);
    ck_assert(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
    ck_assert(memcmp(gradient[0], gradient[1], (size_t)n.prompt->tensor[0].count * sizeof(float)) == 0);
done:
    free(pixels);
    nano_close(&n);
}
END_TEST

/* ---- between runs ---- */

START_TEST(second_run_encodes_nothing)
{
    char folder[1024], files[1024];
    size_t size;
    cached_folder(folder, "kept");
    if (_i)
        cached_folder(files, "pictures");
    char *want = cached_expected(cached_options, _i ? files : NULL, &size);
    for (int run = 0; run < 2; run++) {
        nano n;
        cached_open(&n, folder);
        if (_i)
            cached_use_files(&n, files, NANO_IMAGES);
        nano_trainer(&n);
        if (run)
            cached_break_pictures(&n);
        nano_steps(&n, 3); /* an epoch: what is new is written now */
        ck_assert_uint_eq(cached_entries(n.ctx, cached_file(folder)), NANO_IMAGES);
        nano_steps(&n, CACHED_STEPS - 3);
        cached_check(&n, want, size, run ? "second run" : "first run");
        nano_close(&n);
        ck_assert_msg(cached_warnings == 0, "%s", cached_logged);
    }
    free(want);
}
END_TEST

/* A run that stops within its first epoch leaves what it has. */
START_TEST(stopped_early)
{
    char folder[1024];
    nano n;
    cached_open(&n, cached_folder(folder, "early"));
    nano_trainer(&n);
    nano_steps(&n, 1);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing there yet */
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    nano_close(&n);
    ammpl_context *ctx = test_context();
    ck_assert_uint_eq(cached_entries(ctx, cached_file(folder)), NANO_BATCH);
    ammpli_context_release(ctx);
}
END_TEST

/* Pictures are known by their content: renamed ones are found, changed ones are not. */
START_TEST(changed_files)
{
    char folder[1024], files[1024], path[1200], other[1200];
    size_t size;
    cached_folder(folder, "changing");
    cached_folder(files, "changed");
    nano n;
    cached_open(&n, folder);
    cached_use_files(&n, files, NANO_IMAGES);
    nano_trainer(&n);
    nano_steps(&n, 3);
    nano_close(&n);
    snprintf(path, sizeof path, "%s/2.png", files);
    snprintf(other, sizeof other, "%s/5.png", files);
    ammpl_context *ctx = test_context();
    ammpl_image *img = nano_picture(ctx, 99);
    ck_ok(ammpli_image_save_png(img, path)); /* the same name and size on disk */
    ck_ok(ammpli_image_save_png(img, other));
    ammpli_image_destroy(img);
    ammpli_context_release(ctx);
    char *want = cached_expected(cached_options, files, &size);
    for (int run = 0; run < 2; run++) {
        cached_open(&n, folder);
        cached_use_files(&n, files, NANO_IMAGES);
        nano_trainer(&n);
        if (run)
            cached_break_pictures(&n);
        nano_steps(&n, CACHED_STEPS);
        cached_check(&n, want, size, "changed files");
        nano_close(&n);
        ck_assert_int_eq(cached_warnings, 0);
    }
    ctx = test_context();
    ck_assert_uint_eq(cached_entries(ctx, cached_file(folder)), NANO_IMAGES + 1);
    ammpli_context_release(ctx);
    free(want);
}
END_TEST

/* A picture that changes between the trainer's making and its first use is kept under what it is, not what it was. */
START_TEST(changed_meanwhile)
{
    char folder[1024], files[1024], path[1200];
    size_t size;
    cached_folder(folder, "meanwhile");
    cached_folder(files, "moving");
    nano n;
    cached_open(&n, folder);
    cached_use_files(&n, files, NANO_IMAGES - 1);
    nano_trainer(&n);
    nano_steps(&n, 3);
    nano_close(&n); /* there is a file now, so that the next trainer looks at every picture */
    cached_open(&n, folder);
    cached_use_files(&n, files, NANO_IMAGES);
    nano_trainer(&n);
    snprintf(path, sizeof path, "%s/%d.png", files, NANO_IMAGES - 1);
    ammpl_image *img = nano_picture(n.ctx, 98), *was = nano_picture(n.ctx, NANO_IMAGES - 1);
    ck_ok(ammpli_image_save_png(img, path));
    nano_steps(&n, 3);
    ck_ok(ammpli_image_save_png(was, path));
    ammpli_image_destroy(img);
    ammpli_image_destroy(was);
    nano_close(&n);
    char *want = cached_expected(cached_options, files, &size);
    cached_open(&n, folder);
    cached_use_files(&n, files, NANO_IMAGES);
    nano_trainer(&n);
    nano_steps(&n, CACHED_STEPS);
    cached_check(&n, want, size, "a picture that changed and changed back");
    free(want);
    nano_close(&n);
}
END_TEST

/* Runs on other pictures add to the file, also while another run is at work. */
START_TEST(merged)
{
    char folder[1024];
    nano a, b;
    cached_open(&a, cached_folder(folder, "merged"));
    cached_open(&b, folder);
    ammpl_image *img = nano_picture(b.ctx, 50);
    ck_ok(ammpli_dataset_add(b.data, img, NULL, 1, NANO_IMAGES));
    ck_ok(ammpli_dataset_add(b.data, img, NULL, 2, NANO_IMAGES + 1)); /* the same picture twice: one entry */
    ammpli_image_destroy(img);
    nano_trainer(&a);
    nano_trainer(&b);
    nano_steps(&b, 1);
    nano_close(&b);
    size_t first = cached_entries(a.ctx, cached_file(folder));
    ck_assert_uint_le(first, NANO_BATCH);
    nano_steps(&a, 3);
    size_t second = cached_entries(a.ctx, cached_file(folder));
    ck_assert_uint_ge(second, NANO_IMAGES);
    ck_assert_uint_le(second, NANO_IMAGES + 1);
    nano_close(&a);
    cached_open(&b, folder);
    img = nano_picture(b.ctx, 50);
    ck_ok(ammpli_dataset_add(b.data, img, NULL, 1, NANO_IMAGES));
    ammpli_image_destroy(img);
    nano_trainer(&b);
    nano_steps(&b, 3);
    ck_assert_uint_eq(cached_entries(b.ctx, cached_file(folder)), NANO_IMAGES + 1);
    nano_close(&b);
    ck_assert_int_eq(cached_warnings, 0);
}
END_TEST

/* ---- folders that do not serve ---- */

START_TEST(bad_folders)
{
    char path[1024], below[1100];
    size_t size;
    char *want = cached_expected(cached_options, NULL, &size);
    cached_folder(path, "afile");
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    ck_assert_int_eq(cached_run(path, want, size, "a file in place of the folder"), 1);
    ck_assert_msg(strstr(cached_logged, path) != NULL, "%s", cached_logged);
    snprintf(below, sizeof below, "%s/below", cached_folder(path, "nowhere"));
    ck_assert_int_eq(cached_run(below, want, size, "no parent folder"), 1);
    ck_assert_msg(strstr(cached_logged, below) != NULL, "%s", cached_logged);
    /* A folder that goes away: nothing can be written. */
    nano n;
    cached_open(&n, cached_folder(path, "gone"));
    nano_trainer(&n);
    ck_assert_int_eq(rmdir(path), 0);
    nano_steps(&n, CACHED_STEPS);
    ck_assert_int_eq(cached_warnings, 1);
    ck_assert_msg(strstr(cached_logged, path) != NULL, "%s", cached_logged);
    ck_assert_str_eq(ammpli_error_text(), "");
    cached_check(&n, want, size, "a folder that went away");
    nano_close(&n);
    ck_assert_int_eq(cached_warnings, 1);
    free(want);
}
END_TEST

/* A run that fails says why it did, whatever happens to its features on the way out. */
START_TEST(sentence_of_a_failing_run)
{
    static const char *const options[] = {"mask", "off", "augment", "none", "shuffle", "off", NULL};
    nano n;
    char path[1024];
    nano_open(&n, options);
    cached_listen(&n);
    nano_set(&n, "cache", cached_folder(path, "leaving"));
    ck_ok(ammpli_dataset_add(n.data, NULL, "/nowhere/at/all.png", 2, NANO_IMAGES));
    nano_trainer(&n);
    ck_assert_int_eq(rmdir(path), 0);
    nano_steps(&n, 2);
    ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_IO, "at/all.png");
    ammpli_trainer_release(n.trainer);
    n.trainer = NULL;
    ck_assert_int_eq(cached_warnings, 1);
    ck_assert_msg(strstr(cached_logged, "features could not be kept") != NULL, "%s", cached_logged);
    ck_assert_msg(strstr(ammpli_error_text(), "at/all.png") != NULL, "%s", ammpli_error_text());
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("feature_cache");
    TCase *c = tcase_create("cache");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, same_bits, 0, 16);
    tcase_add_loop_test(c, not_where_images_change, 0, 2);
    tcase_add_test(c, resumed);
    tcase_add_loop_test(c, unreadable, 0, 2);
    tcase_add_test(c, not_finite);
    tcase_add_loop_test(c, given_features, 0, 2);
    tcase_add_loop_test(c, second_run_encodes_nothing, 0, 2);
    tcase_add_test(c, stopped_early);
    tcase_add_test(c, changed_files);
    tcase_add_test(c, changed_meanwhile);
    tcase_add_test(c, merged);
    tcase_add_test(c, bad_folders);
    tcase_add_test(c, sentence_of_a_failing_run);
    suite_add_tcase(s, c);
    return test_main(s);
}
