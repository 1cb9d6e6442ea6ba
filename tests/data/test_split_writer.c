/* test_split_writer.c - data sets written as CoOp's split files: the bytes that Python writes, read back with the same ids. */
#include "support.h"

#include "core/config.h"
#include "data/dataset.h"
#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ammpl_context *ctx;
static unsigned long long base_memory;
static char path[512];

static void set_up(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    base_memory = ctx->memory_now;
    snprintf(path, sizeof path, "%s", test_temp("split.json"));
    unlink(path);
}

static void tear_down(void)
{
    ck_assert_uint_eq(ctx->memory_now, base_memory);
    ammpli_context_release(ctx);
}

static ammpl_dataset *make(const char *names, const char *const *paths, const int *labels)
{
    char copy[64];
    const char *name[8];
    size_t n = 0;
    snprintf(copy, sizeof copy, "%s", names);
    for (char *word = strtok(copy, ","); word; word = strtok(NULL, ","))
        name[n++] = word;
    ammpl_dataset *ds;
    ck_ok(ammpli_dataset_create(ctx, name, n, &ds));
    for (size_t i = 0; paths[i]; i++)
        ck_ok(ammpli_dataset_add(ds, NULL, paths[i], labels[i], (uint32_t)i));
    return ds;
}
#define MAKE(names, labels, ...) make(names, (const char *const[]){__VA_ARGS__, NULL}, labels)

static void check_text(const char *expected)
{
    void *text;
    size_t size;
    ck_ok(ammpli_file_read(ctx, path, 1 << 20, &text, &size));
    ck_assert_str_eq(text, expected);
    ammpli_free(ctx, text);
}

static void check_same(const ammpl_dataset *ds, const char *root, const char *part)
{
    ammpl_dataset *read;
    ck_ok(ammpli_dataset_open_split(ctx, root, path, part, &read));
    ck_assert_uint_eq(read->count, ds->count);
    ck_assert_uint_eq(read->classes, ds->classes);
    for (size_t c = 0; c < ds->classes; c++)
        ck_assert_str_eq(read->class_name[c], ds->class_name[c]);
    for (size_t i = 0; i < ds->count; i++) {
        ck_assert_str_eq(read->item[i].path, ds->item[i].path);
        ck_assert_int_eq(read->item[i].label, ds->item[i].label);
        ck_assert_uint_eq(read->item[i].id, ds->item[i].id);
    }
    ammpli_dataset_release(read);
}

/* Expected: print(json.dumps(..., indent=4, separators=(",", ": "))) of Python 3.11. */
START_TEST(bytes_are_pythons)
{
    ammpl_dataset *train = MAKE("cat,sea cow", ((const int[]){1, 0}), "/data/p/a/1.jpg", "/data/p/b \"q\"/2.jpg");
    ammpl_dataset *test = MAKE("cat,sea cow", ((const int[]){0}), "/elsewhere/3.jpg");
    ck_ok(ammpli_dataset_save_split(train, NULL, test, "/data/p/", path, false));
    check_text("{\n    \"train\": [\n        [\n            \"a/1.jpg\",\n            1,\n            \"sea cow\"\n        ],\n"
               "        [\n            \"b \\\"q\\\"/2.jpg\",\n            0,\n            \"cat\"\n        ]\n    ],\n"
               "    \"val\": [],\n    \"test\": [\n        [\n            \"/elsewhere/3.jpg\",\n            0,\n            \"cat\"\n"
               "        ]\n    ]\n}");
    check_same(train, "/data/p", "train");
    check_same(test, "/data/p", "test");
    ck_status(ammpli_dataset_save_split(train, NULL, test, "/data/p", path, false), AMMPL_E_EXISTS, "split.json");
    ck_ok(ammpli_dataset_save_split(test, train, NULL, "/data/p", path, true));
    check_same(train, "/data/p", "val");
    ammpli_dataset_release(train);
    ammpli_dataset_release(test);
}
END_TEST

START_TEST(picks_keep_their_ids)
{
    ammpl_dataset *all = MAKE("a,b", ((const int[]){0, 1, 0, 1, 0, 1, 0, 1}), "p/0", "p/1", "p/2", "p/3", "p/4", "p/5", "p/6", "p/7");
    ammpl_dataset *picks;
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "sampler", "dassl"));
    ck_ok(ammpli_dataset_select_few(all, NULL, 2, cfg, &picks, NULL));
    ck_assert(picks->item[0].id != 0 || picks->item[1].id != 1);
    ck_ok(ammpli_dataset_save_split(picks, NULL, all, "p", path, false));
    check_same(picks, "p", "train");
    check_same(all, "p", "test");
    ammpli_config_destroy(cfg);
    ammpli_dataset_release(picks);
    ammpli_dataset_release(all);
}
END_TEST

START_TEST(ids_that_are_none)
{
    static const char *const ids[] = {"[3]", "[3, -1]", "[3, \"4\"]", "[3, 4294967296]"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        FILE *f = fopen(path, "w");
        fprintf(f, "{\"train\": [[\"x\", 0, \"a\"], [\"y\", 1, \"b\"]], \"ids\": {\"train\": %s}}", ids[i]);
        fclose(f);
        ammpl_dataset *ds;
        ck_status(ammpli_dataset_open_split(ctx, "", path, "train", &ds), AMMPL_E_FORMAT, "ids of \"train\" have no number for its image 1");
        ck_assert_ptr_null(ds);
    }
}
END_TEST

START_TEST(what_cannot_be_written)
{
    ammpl_dataset *ds = MAKE("a,b", ((const int[]){0, 1}), "p/0", "q/1");
    ammpl_dataset *other = MAKE("a,c", ((const int[]){0, 1}), "p/0", "p/1"), *more = MAKE("a,b,c", ((const int[]){0}), "p/0");
    ck_status(ammpli_dataset_save_split(ds, NULL, NULL, "p", path, false), AMMPL_E_ARGUMENT, "image 1, q/1: is not below the root");
    ck_status(ammpli_dataset_save_split(ds, NULL, other, "", path, false), AMMPL_E_ARGUMENT, "differ from class 1 on");
    ck_status(ammpli_dataset_save_split(ds, more, NULL, "", path, false), AMMPL_E_ARGUMENT, "differ from class 2 on");
    ammpl_image *img;
    ck_ok(ammpli_image_create(ctx, 1, 1, &img));
    ck_ok(ammpli_dataset_add(more, img, NULL, 1, 1));
    ammpli_image_destroy(img);
    ck_status(ammpli_dataset_save_split(more, NULL, NULL, "p", path, false), AMMPL_E_ARGUMENT, "image 1: has no file");
    ck_ok(ammpli_dataset_add(other, NULL, "p/\xff.jpg", 1, 2));
    ck_status(ammpli_dataset_save_split(other, NULL, NULL, "p", path, false), AMMPL_E_ARGUMENT, "is not UTF-8");
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_status(ammpli_dataset_save_split(ds, NULL, NULL, "", "/no/such/folder/x.json", false), AMMPL_E_IO, "/no/such/folder/x.json");
    ammpli_dataset_release(ds);
    ammpli_dataset_release(other);
    ammpli_dataset_release(more);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("split_writer");
    TCase *tc = tcase_create("splits");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, bytes_are_pythons);
    tcase_add_test(tc, picks_keep_their_ids);
    tcase_add_test(tc, ids_that_are_none);
    tcase_add_test(tc, what_cannot_be_written);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
