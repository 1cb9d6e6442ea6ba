/* Pictures that are made ahead of their step: the same pixels, errors where the picture is needed, and JPEGs at a reduced scale
 * only where that was asked for.
 */
#include "nano.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 9 };

static void name_file(int i, char path[128])
{
    char name[32];
    snprintf(name, sizeof name, "picture%d.png", i);
    snprintf(path, 128, "%s", test_temp(name));
}

static void write_file(ammpl_context *ctx, int i)
{
    char path[128];
    name_file(i, path);
    ammpl_image *img = nano_picture(ctx, (uint32_t)i);
    ck_ok(ammpli_image_save_png(img, path));
    ammpli_image_destroy(img);
}

/* A data set of files, all there. */
static ammpl_dataset *file_data(ammpl_context *ctx)
{
    ammpl_dataset *data;
    ck_ok(ammpli_dataset_create(ctx, nano_names, NANO_CLASSES, &data));
    for (int i = 0; i < FILES; i++) {
        char path[128];
        write_file(ctx, i);
        name_file(i, path);
        ck_ok(ammpli_dataset_add(data, NULL, path, i % NANO_CLASSES, (uint32_t)i));
    }
    return data;
}

static size_t numbers(const ammpl_model *m)
{
    return 3 * (size_t)m->preprocess.size * (size_t)m->preprocess.size;
}

/* Begun or not, wholly or the wrong ones: the pixels of ammpli_load_batch; while the data set grows. */
START_TEST(same_pixels)
{
    static const int threads[] = {1, 2, 3, 8};
    static const int32_t items[] = {4, 1, 8, 0, 2}, others[] = {4, 1, 7, 0, 2};
    enum { N = 5 };
    nano n;
    nano_open(&n, NULL);
    ck_ok(ammpli_context_set_threads(n.ctx, threads[_i]));
    ammpl_dataset *data = file_data(n.ctx);
    size_t each = numbers(n.model);
    float *want = malloc(N * each * sizeof *want), *got = malloc(N * each * sizeof *got);
    bool bad[N];
    ammpli_loader *l;
    ck_ok(ammpli_load_batch(n.model, data, items, N, true, 7, 3, false, bad, NULL, want));
    ck_ok(ammpli_loader_create(n.model, data, true, 7, N, &l));
    for (int way = 0; way < 5; way++) {
        if (way == 1)
            ammpli_loader_begin(l, items, N, 3);
        if (way == 2)
            ammpli_loader_begin(l, items, N, 2); /* another step's crops */
        if (way == 3)
            ammpli_loader_begin(l, others, N, 3);
        if (way == 4)
            ammpli_loader_begin(l, items, 2, 3);
        nano_add_pictures(data, 40); /* the list of items moves */
        memset(got, 0, N * each * sizeof *got);
        ck_ok(ammpli_loader_fetch(l, items, N, 3, false, bad, got));
        ck_assert_msg(memcmp(got, want, N * each * sizeof *got) == 0, "way %d: other pixels", way);
    }
    ammpli_loader_begin(l, items, N, 4);
    ammpli_loader_destroy(l); /* in the middle of it */
    free(got);
    free(want);
    ammpli_dataset_release(data);
    nano_close(&n);
}
END_TEST

/* What cannot be read is told by the fetch that needs it, by name, or skipped there. */
START_TEST(errors_come_with_the_picture)
{
    static const int32_t first[] = {0, 1}, second[] = {2, 3};
    nano n;
    nano_open(&n, NULL);
    ammpl_dataset *data = file_data(n.ctx);
    float *pixels = malloc(2 * numbers(n.model) * sizeof *pixels);
    bool bad[2];
    char path[128];
    ammpli_loader *l;
    name_file(3, path);
    ck_assert_int_eq(unlink(path), 0);
    ck_ok(ammpli_loader_create(n.model, data, false, 0, 2, &l));
    ammpli_loader_begin(l, first, 2, 0);
    ck_ok(ammpli_loader_fetch(l, first, 2, 0, false, bad, pixels));
    ammpli_loader_begin(l, second, 2, 1);
    ck_status(ammpli_loader_fetch(l, second, 2, 1, false, bad, pixels), AMMPL_E_IO, "picture3.png");
    ammpli_loader_begin(l, second, 2, 1);
    ck_ok(ammpli_loader_fetch(l, second, 2, 1, true, bad, pixels));
    ck_assert(!bad[0] && bad[1]);
    ammpli_loader_destroy(l);
    free(pixels);
    ammpli_dataset_release(data);
    nano_close(&n);
}
END_TEST

/* The same in training: the step before is done, the one that needs the file is not, and once it is there training goes on as if it
 * had always been. */
START_TEST(training_waits_for_a_file)
{
    static const char *const options[] = {"shuffle", "off", "batch", "3", "epochs", "2", NULL};
    char path[128];
    name_file(4, path);
    char *bytes[2];
    size_t size[2];
    for (int late = 0; late < 2; late++) {
        nano n;
        nano_open(&n, options);
        ammpl_dataset *data = file_data(n.ctx);
        if (late)
            ck_assert_int_eq(unlink(path), 0);
        ck_ok(ammpli_trainer_create(n.session, n.prompt, data, n.cfg, &n.trainer));
        nano_steps(&n, 1);
        if (late) {
            ck_status(ammpli_trainer_step(n.trainer, NULL), AMMPL_E_IO, "picture4.png");
            ck_assert_int_eq(n.trainer->step, 1);
            write_file(n.ctx, 4);
        }
        nano_steps(&n, 5);
        bytes[late] = nano_bytes(n.prompt, &size[late]);
        ammpli_dataset_release(data);
        nano_close(&n);
    }
    ck_assert(size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0);
    free(bytes[0]);
    free(bytes[1]);
}
END_TEST

/* ---- jpeg = reduced ---- */

/* A reduced picture is the average of the pixels that each of its own stands for, up to what JPEG's transform makes of edges. */
START_TEST(reduced_scale)
{
    ammpl_context *ctx = test_context();
    ammpl_image *full, *small;
    const char *path = test_golden("images/444.jpg");
    ck_ok(ammpli_image_load(ctx, path, &full));
    int32_t shorter = full->width < full->height ? full->width : full->height;
    for (int32_t by = 1; by <= 16; by *= 2) {
        int32_t is = by > 8 ? 8 : by;
        ck_ok(ammpli_image_load_at_least(ctx, path, by == 16 ? 1 : shorter / by, &small));
        ck_assert_int_eq(small->width, (full->width + is - 1) / is);
        ck_assert_int_eq(small->height, (full->height + is - 1) / is);
        double sum = 0;
        int64_t count = 0;
        for (int32_t y = 0; y < full->height / is; y++)
            for (int32_t x = 0; x < full->width / is; x++)
                for (int c = 0; c < 3; c++, count++) {
                    double mean = 0;
                    for (int32_t j = 0; j < is * is; j++)
                        mean += full->pixels[((y * is + j / is) * full->width + x * is + j % is) * 3 + c];
                    sum += fabs(mean / (is * is) - small->pixels[(y * small->width + x) * 3 + c]);
                }
        ck_assert_msg(is == 1 ? sum == 0 : sum / (double)count < 3, "1/%d: %.2f levels from the mean", (int)is, sum / (double)count);
        ammpli_image_destroy(small);
    }
    ck_ok(ammpli_image_load_at_least(ctx, path, shorter / 2 + 1, &small)); /* one pixel too few */
    ck_assert_int_eq(small->width, full->width);
    ammpli_image_destroy(small);
    ammpli_image_destroy(full);
    ammpli_context_release(ctx);
}
END_TEST

/* By default the pixels of the whole picture; where asked for, others, near them; PNGs are what they are. */
START_TEST(only_where_asked_for)
{
    static const int32_t items[] = {0, 1};
    nano n;
    nano_open(&n, NULL);
    ammpl_config *cfg;
    ammpl_model *reduced;
    ammpl_dataset *data;
    size_t each = numbers(n.model);
    float *want = malloc(2 * each * sizeof *want), *got = malloc(2 * each * sizeof *got);
    bool bad[2];
    ck_ok(ammpli_config_create(n.ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "jpeg", "reduced"));
    ck_ok(ammpli_model_load_file(n.ctx, NULL, test_golden("nano"), cfg, &reduced));
    ck_assert_int_eq(n.model->preprocess.least, 0);
    ck_assert_int_eq(reduced->preprocess.least, 2 * reduced->preprocess.size);
    reduced->preprocess.least = 11; /* the JPEG is small, too */
    ck_ok(ammpli_dataset_create(n.ctx, nano_names, NANO_CLASSES, &data));
    write_file(n.ctx, 0);
    char path[128];
    name_file(0, path);
    ck_ok(ammpli_dataset_add(data, NULL, test_golden("images/444.jpg"), 0, 0));
    ck_ok(ammpli_dataset_add(data, NULL, path, 1, 1));
    for (int i = 0; i < 2; i++) {
        ammpl_image *img;
        ck_ok(ammpli_image_load(n.ctx, i ? path : test_golden("images/444.jpg"), &img));
        ck_ok(ammpli_preprocess_test(&n.model->preprocess, img, want + (size_t)i * each));
        ammpli_image_destroy(img);
    }
    ck_ok(ammpli_load_batch(n.model, data, items, 2, false, 0, 0, false, bad, NULL, got));
    ck_assert(memcmp(got, want, 2 * each * sizeof *got) == 0);
    ck_ok(ammpli_load_batch(reduced, data, items, 2, false, 0, 0, false, bad, NULL, got));
    ck_assert(memcmp(got + each, want + each, each * sizeof *got) == 0);
    double difference = test_difference(got, want, (int64_t)each, 1);
    ck_assert_msg(difference > 0, "the JPEG was decoded at its full size"); /* how far they move: reduced_scale */
    free(want);
    free(got);
    ammpli_dataset_release(data);
    ammpli_model_release(reduced);
    ammpli_config_destroy(cfg);
    nano_close(&n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loader");
    TCase *c = tcase_create("pictures");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, same_pixels, 0, 4);
    tcase_add_test(c, errors_come_with_the_picture);
    tcase_add_test(c, training_waits_for_a_file);
    tcase_add_test(c, reduced_scale);
    tcase_add_test(c, only_where_asked_for);
    suite_add_tcase(s, c);
    return test_main(s);
}
