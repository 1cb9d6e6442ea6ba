/* test_dataset.c - folders, split files, few-shot picks, chosen classes; what is wrong with them is said by name. */
#include "support.h"

#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ammpl_context *ctx;
static unsigned long long base_memory;
static char root[512]; /* a fresh folder of each case */

static void set_up(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1)); /* workers free what started them at a time of their own */
    base_memory = ctx->memory_now;
    static int sets;
    char name[16];
    snprintf(name, sizeof name, "set%d", sets++);
    snprintf(root, sizeof root, "%s", test_temp(name));
    ck_assert_int_eq(mkdir(root, 0700), 0);
}

static void tear_down(void)
{
    ck_assert_uint_eq(ctx->memory_now, base_memory);
    ammpli_context_release(ctx);
}

/* ---- building blocks ---- */

/* "root/name"; static buffers, 4 in turn. */
static const char *under(const char *name)
{
    static char path[4][1024];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* Makes the files of a list, parents included; a name that ends in / is a folder. */
static void make(const char *const *names)
{
    for (; *names; names++) {
        char path[1024];
        snprintf(path, sizeof path, "%s", under(*names));
        for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
            *p = '\0';
            mkdir(path, 0700);
            *p = '/';
        }
        if (path[strlen(path) - 1] != '/')
            write_text(path, "");
    }
}
#define MAKE(...) make((const char *const[]){__VA_ARGS__, NULL})

/* "name:label name:label ..." of all items, their names without the folder. */
static const char *items(const ammpl_dataset *ds)
{
    static char text[1024];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ds->count; i++) {
        const char *base = strrchr(ds->item[i].path, '/') + 1;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s:%d", i ? " " : "", base, (int)ds->item[i].label);
        ck_assert_uint_eq(ds->item[i].id, i);
    }
    return text;
}

static const char *classes(const ammpl_dataset *ds)
{
    static char text[1024];
    size_t n = 0;
    for (size_t c = 0; c < ds->classes; c++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", c ? "," : "", ds->class_name[c]);
    return text;
}

static void check_folder(const char *part, const char *expected_classes, const char *expected_items)
{
    ammpl_dataset *ds;
    ck_ok(ammpli_dataset_open_folder(ctx, root, part, &ds));
    ck_assert_str_eq(classes(ds), expected_classes);
    ck_assert_str_eq(items(ds), expected_items);
    ammpli_dataset_release(ds);
}

static void check_no_folder(const char *dir, const char *part, ammpl_status status, const char *word)
{
    ammpl_dataset *ds;
    ck_status(ammpli_dataset_open_folder(ctx, dir, part, &ds), status, word);
    ck_assert_ptr_null(ds);
}

/* ---- folders ---- */

START_TEST(folders_are_classes)
{
    MAKE("b/2.PNG", "b/10.jpg", "b/1.Jpeg", "b/notes.txt", "b/.hidden.png", "b/png", "b/deeper.jpg/", "b/x.gif",
         "B/a.png", "caf\xc3\xa9 au_lait/z.jpg", ".git/a.png", "loose.png");
    ck_assert_int_eq(symlink(under("b/2.PNG"), under("B/b.png")), 0);
    check_folder(NULL, "B,b,caf\xc3\xa9 au_lait", "a.png:0 b.png:0 1.Jpeg:1 10.jpg:1 2.PNG:1 z.jpg:2");
    check_folder("train", "B,b,caf\xc3\xa9 au_lait", "a.png:0 b.png:0 1.Jpeg:1 10.jpg:1 2.PNG:1 z.jpg:2");
}
END_TEST

START_TEST(folders_have_parts)
{
    MAKE("train/x/1.jpg", "train/y/2.jpg", "validation/y/3.jpg", "test/x/4.jpg");
    check_folder("train", "x,y", "1.jpg:0 2.jpg:1");
    check_folder("val", "y", "3.jpg:0");
    check_folder("test", "x", "4.jpg:0");
    MAKE("val/v/5.jpg");
    check_folder("val", "v", "5.jpg:0");
    check_no_folder(root, "training", AMMPL_E_ARGUMENT, "\"training\"");
}
END_TEST

START_TEST(folders_that_are_none)
{
    check_no_folder(under("absent"), NULL, AMMPL_E_IO, "absent");
    check_no_folder(root, NULL, AMMPL_E_FORMAT, "one folder per class");
    MAKE("file", "one/", "two/readme");
    check_no_folder(under("file"), NULL, AMMPL_E_IO, "file");
    check_no_folder(root, NULL, AMMPL_E_FORMAT, "no .jpg, .jpeg or .png file");
    MAKE("two/a.jpg");
    check_no_folder(root, NULL, AMMPL_E_LABEL, "class \"one\" has no images");
    ck_assert_int_eq(symlink("nowhere", under("one/broken.jpg")), 0);
    check_no_folder(root, NULL, AMMPL_E_IO, "one/broken.jpg");
}
END_TEST

START_TEST(a_divided_folder_asks_for_a_part)
{
    MAKE("train/x/1.jpg", "test/x/4.jpg");
    check_no_folder(root, NULL, AMMPL_E_FORMAT, "name a part");
    check_no_folder(root, "val", AMMPL_E_FORMAT, "name a part");
}
END_TEST

/* ---- split files ---- */

static ammpl_status open_split(const char *text, const char *part, ammpl_dataset **out)
{
    write_text(under("split.json"), text);
    return ammpli_dataset_open_split(ctx, "/pictures", under("split.json"), part, out);
}

static void check_no_split(const char *text, const char *part, ammpl_status status, const char *word)
{
    ammpl_dataset *ds;
    ck_status(open_split(text, part, &ds), status, word);
    ck_assert_ptr_null(ds);
}

START_TEST(splits_are_read)
{
    const char *text =
        "{\"train\": [[\"b/2.jpg\", 1, \"dog\"], [\"a/1.jpg\", 0, \"cat\"]],"
        " \"val\": [[\"/elsewhere/3.jpg\", 2, \"sea cow\"]], \"test\": [[\"../4.jpg\", 1, \"dog\"]], \"note\": 1}";
    ammpl_dataset *ds;
    ck_ok(open_split(text, "train", &ds));
    ck_assert_str_eq(classes(ds), "cat,dog,sea cow"); /* of all parts */
    ck_assert_str_eq(items(ds), "2.jpg:1 1.jpg:0");
    ck_assert_str_eq(ds->item[0].path, "/pictures/b/2.jpg");
    ammpli_dataset_release(ds);
    ck_ok(open_split(text, "val", &ds));
    ck_assert_str_eq(ds->item[0].path, "/elsewhere/3.jpg");
    ck_assert_int_eq(ds->item[0].label, 2);
    ammpli_dataset_release(ds);
    ck_ok(ammpli_dataset_open_split(ctx, "", under("split.json"), "test", &ds));
    ck_assert_str_eq(ds->item[0].path, "../4.jpg");
    ammpli_dataset_release(ds);
    ck_ok(ammpli_dataset_open_split(ctx, "p/", under("split.json"), "test", &ds));
    ck_assert_str_eq(ds->item[0].path, "p/../4.jpg");
    ck_status(ammpli_dataset_check_filled(ds, "the test part"), AMMPL_E_LABEL, "class \"cat\"");
    ammpli_dataset_release(ds);
}
END_TEST

START_TEST(splits_that_are_none)
{
    ammpl_dataset *ds;
    ck_status(ammpli_dataset_open_split(ctx, "", under("absent.json"), "train", &ds), AMMPL_E_IO, "absent.json");
    check_no_split("{}", NULL, AMMPL_E_ARGUMENT, "train, val and test");
    check_no_split("{}", "training", AMMPL_E_ARGUMENT, "training");
    check_no_split("", "train", AMMPL_E_FORMAT, "split.json: this split file is damaged");
    check_no_split("{\"train\": [", "train", AMMPL_E_FORMAT, "line 1");
    check_no_split("{\"train\": [], \"train\": []}", "train", AMMPL_E_FORMAT, "duplicate");
    check_no_split("[]", "train", AMMPL_E_FORMAT, "expected");
    check_no_split("{\"train\": 3}", "train", AMMPL_E_FORMAT, "\"train\" is not a list");
    check_no_split("{\"train\": [[\"a\", 0, \"x\"]], \"test\": {}}", "train", AMMPL_E_FORMAT, "\"test\" is not a list");
    check_no_split("{\"train\": [[\"a\", 0, \"x\"]]}", "val", AMMPL_E_FORMAT, "\"val\"");
    check_no_split("{\"train\": []}", "train", AMMPL_E_FORMAT, "no images");
    check_no_split("{\"train\": [[\"a\", 0, \"x\"], 7]}", "train", AMMPL_E_FORMAT, "train[1]");
    check_no_split("{\"train\": [[\"a\", 0]]}", "train", AMMPL_E_FORMAT, "train[0]");
    check_no_split("{\"train\": [[\"a\", \"0\", \"x\"]]}", "train", AMMPL_E_FORMAT, "train[0]");
    check_no_split("{\"train\": [[\"a\", 0.0, \"x\"]]}", "train", AMMPL_E_FORMAT, "train[0]");
    check_no_split("{\"train\": [[\"\", 0, \"x\"]]}", "train", AMMPL_E_FORMAT, "empty path");
    check_no_split("{\"train\": [[\"a\", 0, \"\"]]}", "train", AMMPL_E_FORMAT, "empty class name");
    check_no_split("{\"train\": [[\"a\\u0000b\", 0, \"x\"]]}", "train", AMMPL_E_FORMAT, "line 1");
}
END_TEST

START_TEST(splits_with_wrong_labels)
{
    check_no_split("{\"train\": [[\"a.jpg\", -1, \"x\"]]}", "train", AMMPL_E_LABEL, "a.jpg");
    check_no_split("{\"train\": [[\"a.jpg\", 1, \"x\"]]}", "train", AMMPL_E_LABEL, "label 1");
    check_no_split("{\"train\": [[\"a.jpg\", 4000000000, \"x\"]]}", "train", AMMPL_E_LABEL, "4000000000");
    check_no_split("{\"train\": [[\"a\", 0, \"x\"], [\"b\", 2, \"y\"], [\"c\", 2, \"y\"]]}", "train", AMMPL_E_LABEL,
                   "no entry has label 1");
    check_no_split("{\"train\": [[\"a\", 0, \"x\"]], \"test\": [[\"b\", 0, \"y\"]]}", "train", AMMPL_E_LABEL,
                   "test[0] calls label 0 \"y\"");
    check_no_split("{\"train\": [[\"a\", 0, \"x\"], [\"b\", 1, \"x\"]]}", "train", AMMPL_E_LABEL,
                   "\"x\" is there twice");
}
END_TEST

START_TEST(splits_that_are_bombs)
{
    enum { DEPTH = 3000000 };
    char *deep = malloc(DEPTH + 1);
    memset(deep, '[', DEPTH);
    deep[DEPTH] = '\0';
    check_no_split(deep, "train", AMMPL_E_FORMAT, "nested deeper");
    free(deep);
    ck_assert_int_eq(truncate(under("split.json"), (off_t)1 << 40), 0); /* sparse */
    ammpl_dataset *ds;
    ck_status(ammpli_dataset_open_split(ctx, "", under("split.json"), "train", &ds), AMMPL_E_FORMAT, "split.json");
    ck_assert_ptr_null(ds);
}
END_TEST

/* ---- by hand ---- */

static ammpl_dataset *three_classes(void)
{
    static const char *const name[] = {"red", "green", "blue"};
    ammpl_dataset *ds;
    ck_ok(ammpli_dataset_create(ctx, name, 3, &ds));
    return ds;
}

START_TEST(names_are_checked)
{
    ammpl_dataset *ds;
    ck_status(ammpli_dataset_create(ctx, NULL, 0, &ds), AMMPL_E_ARGUMENT, "at least one");
    ck_status(ammpli_dataset_create(ctx, (const char *const[]){"a", ""}, 2, &ds), AMMPL_E_ARGUMENT,
              "class 1 has an empty name");
    ck_status(ammpli_dataset_create(ctx, (const char *const[]){"a", NULL}, 2, &ds), AMMPL_E_ARGUMENT, "class 1");
    ck_status(ammpli_dataset_create(ctx, (const char *const[]){"a", "b", "a"}, 3, &ds), AMMPL_E_ARGUMENT,
              "\"a\" is there twice");
    ck_assert_ptr_null(ds);
    ck_ok(ammpli_dataset_create(ctx, (const char *const[]){"a", "A", "a "}, 3, &ds));
    ammpli_dataset_release(ds);
}
END_TEST

START_TEST(items_are_shared_and_outlive_their_source)
{
    ammpl_dataset *ds = three_classes(), *some;
    ammpl_image *img, *got;
    ck_ok(ammpli_image_create(ctx, 3, 2, &img));
    img->pixels[5] = 77;
    ck_ok(ammpli_dataset_add(ds, img, NULL, 1, 0));
    ammpli_image_destroy(img);
    ck_ok(ammpli_dataset_add(ds, NULL, test_golden("images/rgb8.png"), 2, 1));
    ck_ok(ammpli_dataset_add(ds, NULL, "/absent/picture.png", 0, 2));
    ck_status(ammpli_dataset_add(ds, NULL, "x.png", 3, 3), AMMPL_E_LABEL, "image 3, x.png: label 3");
    ck_status(ammpli_dataset_add(ds, NULL, "x.png", -1, 3), AMMPL_E_LABEL, "label -1");
    ck_assert_uint_eq(ds->count, 3);
    ck_ok(ammpli_dataset_select_shots(ds, 1, 5, &some));
    ck_assert_ptr_eq(ammpli_dataset_hold(ds), ds);
    ammpli_dataset_release(ds);
    ammpli_dataset_release(ds);
    ck_ok(ammpli_dataset_load_image(some, 0, &got));
    ck_assert_uint_eq(got->pixels[5], 77);
    ck_ok(ammpli_dataset_load_image(some, 1, &img));
    ck_assert_int_eq(img->width, 13);
    ammpli_image_destroy(img);
    ck_status(ammpli_dataset_load_image(some, 2, &img), AMMPL_E_IO, "/absent/picture.png");
    ck_status(ammpli_dataset_load_image(some, 3, &img), AMMPL_E_RANGE, "image 3");
    ck_assert_ptr_null(img);
    ammpli_dataset_release(some);
    ck_assert_uint_eq(got->pixels[5], 77);
    ammpli_image_destroy(got);
}
END_TEST

START_TEST(classes_are_filled)
{
    ammpl_dataset *ds = three_classes();
    ck_ok(ammpli_dataset_add(ds, NULL, "a", 0, 0));
    ck_ok(ammpli_dataset_add(ds, NULL, "b", 2, 1));
    ck_status(ammpli_dataset_check_filled(ds, "photos"), AMMPL_E_LABEL, "photos: class \"green\"");
    ck_ok(ammpli_dataset_add(ds, NULL, "c", 1, 2));
    ck_ok(ammpli_dataset_check_filled(ds, "photos"));
    ammpli_dataset_release(ds);
}
END_TEST

/* ---- parts of a data set ---- */

START_TEST(shots_equal_the_reference)
{
    ammpli_st *golden;
    ck_ok(ammpli_st_open(ctx, test_golden("images/images.safetensors"), &golden));
    const ammpli_st_tensor *t = ammpli_st_find(golden, "labels");
    int64_t label[60];
    ck_assert_uint_eq(t->bytes, sizeof label);
    ck_ok(ammpli_st_read(golden, t, label));
    ammpl_dataset *ds, *some, *again;
    ck_ok(ammpli_dataset_create(ctx, (const char *const[]){"a", "b", "c", "d"}, 4, &ds));
    for (uint32_t i = 0; i < 60; i++)
        ck_ok(ammpli_dataset_add(ds, NULL, "x", (int32_t)label[i], i));
    int seen = 0;
    for (size_t i = 0; i < ammpli_st_count(golden); i++) {
        int shots;
        unsigned long long seed;
        t = ammpli_st_at(golden, i);
        if (sscanf(t->name, "shots/%d/%llu", &shots, &seed) != 2)
            continue;
        int64_t expected[60];
        ck_ok(ammpli_st_read(golden, t, expected));
        ck_ok(ammpli_dataset_select_shots(ds, shots, seed, &some));
        ck_assert_int_eq(some->count, t->count);
        for (size_t k = 0; k < some->count; k++) {
            ck_assert_uint_eq(some->item[k].id, expected[k]);
            ck_assert_int_eq(some->item[k].label, label[expected[k]]);
        }
        ck_ok(ammpli_dataset_select_shots(some, shots, seed, &again)); /* ids key the draw, so that nothing changes */
        ck_assert_uint_eq(again->count, some->count);
        ammpli_dataset_release(again);
        ammpli_dataset_release(some);
        seen++;
    }
    ck_assert_int_eq(seen, 4);
    ck_ok(ammpli_dataset_select_shots(ds, 0, 1, &some));
    ck_assert_uint_eq(some->count, 60);
    ammpli_dataset_release(some);
    ck_status(ammpli_dataset_select_shots(ds, -1, 1, &some), AMMPL_E_RANGE, "-1 shots");
    ck_assert_ptr_null(some);
    ammpli_dataset_release(ds);
    ammpli_st_close(golden);
}
END_TEST

START_TEST(classes_are_chosen_and_relabelled)
{
    ammpl_dataset *ds = three_classes(), *some;
    for (uint32_t i = 0; i < 6; i++)
        ck_ok(ammpli_dataset_add(ds, NULL, "x", (int32_t)i % 3, i));
    ck_ok(ammpli_dataset_select_classes(ds, (const int32_t[]){2, 0}, 2, &some));
    ck_assert_str_eq(classes(some), "blue,red");
    ck_assert_uint_eq(some->count, 4);
    static const uint32_t id[] = {0, 2, 3, 5};
    static const int32_t label[] = {1, 0, 1, 0};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(some->item[i].id, id[i]);
        ck_assert_int_eq(some->item[i].label, label[i]);
    }
    ammpli_dataset_release(some);
    ck_status(ammpli_dataset_select_classes(ds, (const int32_t[]){0, 3}, 2, &some), AMMPL_E_LABEL, "class 3");
    ck_status(ammpli_dataset_select_classes(ds, (const int32_t[]){-1}, 1, &some), AMMPL_E_LABEL, "class -1");
    ck_status(ammpli_dataset_select_classes(ds, (const int32_t[]){1, 1}, 2, &some), AMMPL_E_ARGUMENT, "\"green\"");
    ck_status(ammpli_dataset_select_classes(ds, NULL, 0, &some), AMMPL_E_ARGUMENT, "at least one");
    ck_assert_ptr_null(some);
    ammpli_dataset_release(ds);
}
END_TEST

/* ---- memory that runs out ---- */

static long allocations_left;

static void *scarce_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    if (allocations_left == 0 || posix_memalign(&p, align, size) != 0)
        return NULL;
    allocations_left -= allocations_left > 0;
    return p;
}

static void scarce_release(void *user, void *p, size_t size)
{
    (void)user;
    (void)size;
    free(p);
}

static ammpl_status work(ammpl_context *c)
{
    ammpl_dataset *ds = NULL, *split = NULL, *some = NULL, *chosen = NULL;
    ammpl_status status;
    TRY_GOTO(done, ammpli_dataset_open_folder(c, root, "val", &ds));
    TRY_GOTO(done, ammpli_dataset_open_split(c, root, under("split.json"), "train", &split));
    TRY_GOTO(done, ammpli_dataset_select_shots(ds, 1, 1, &some));
    TRY_GOTO(done, ammpli_dataset_select_classes(ds, (const int32_t[]){1}, 1, &chosen));
done:
    ammpli_dataset_release(ds);
    ammpli_dataset_release(split);
    ammpli_dataset_release(some);
    ammpli_dataset_release(chosen);
    return status;
}

START_TEST(out_of_memory)
{
    MAKE("validation/a/1.jpg", "validation/a/2.jpg", "validation/b/3.png");
    write_text(under("split.json"), "{\"train\": [[\"1.jpg\", 0, \"x\"], [\"2.jpg\", 1, \"y\"]]}");
    ammpl_allocator a = {.struct_size = sizeof a, .alloc = scarce_alloc, .release = scarce_release};
    allocations_left = -1;
    ammpl_context *c;
    ck_ok(ammpli_context_create(&a, &c));
    ck_ok(ammpli_context_set_threads(c, 1));
    unsigned long long before = c->memory_now;
    ammpl_status status = AMMPL_E_MEMORY;
    for (long n = 0; status != AMMPL_OK; n++) {
        allocations_left = n;
        ammpli_clear_error();
        status = work(c);
        ck_assert_msg(status == AMMPL_OK || status == AMMPL_E_MEMORY, "%ld: %s", n, ammpli_error_text());
        ck_assert((status == AMMPL_OK) == (ammpli_error_text()[0] == '\0'));
        ck_assert_uint_eq(c->memory_now, before);
        ck_assert_int_lt(n, 300);
    }
    allocations_left = -1;
    ammpli_context_release(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset");
    TCase *c = tcase_create("data sets");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, folders_are_classes);
    tcase_add_test(c, folders_have_parts);
    tcase_add_test(c, folders_that_are_none);
    tcase_add_test(c, a_divided_folder_asks_for_a_part);
    tcase_add_test(c, splits_are_read);
    tcase_add_test(c, splits_that_are_none);
    tcase_add_test(c, splits_with_wrong_labels);
    tcase_add_test(c, splits_that_are_bombs);
    tcase_add_test(c, names_are_checked);
    tcase_add_test(c, items_are_shared_and_outlive_their_source);
    tcase_add_test(c, classes_are_filled);
    tcase_add_test(c, shots_equal_the_reference);
    tcase_add_test(c, classes_are_chosen_and_relabelled);
    tcase_add_test(c, out_of_memory);
    suite_add_tcase(suite, c);
    return test_main(suite);
}
