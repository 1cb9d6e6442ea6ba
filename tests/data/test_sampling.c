/* test_sampling.c - Python's random numbers and the picks that the published runs made with them.
 *
 * golden/shots.txt was written by Python itself (reference/make_shots.py); the vectors of methods.md A.1 stand below.
 */
#include "support.h"

#include "core/config.h"
#include "data/dataset.h"
#include "data/mersenne.h"
#include "data/named.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ammpl_context *ctx;
static unsigned long long base_memory;

static void set_up(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    base_memory = ctx->memory_now;
}

static void tear_down(void)
{
    ck_assert_uint_eq(ctx->memory_now, base_memory);
    ammpli_context_release(ctx);
}

/* ---- the golden file ---- */

enum { MOST = 1000 };

typedef struct numbers {
    size_t n;
    uint64_t value[MOST];
} numbers;

/* Reads numbers up to `end` or the end of the line; returns what follows. */
static const char *read_numbers(const char *text, char end, numbers *out)
{
    out->n = 0;
    while (*text && *text != '\n' && *text != end) {
        char *after;
        uint64_t value = strtoull(text, &after, 10);
        if (after == text) {
            text++;
            continue;
        }
        ck_assert_uint_lt(out->n, MOST);
        out->value[out->n++] = value;
        text = after;
    }
    return *text == end ? text + 1 : text;
}

/* Calls fn for every line that begins with the word; returns how many there were. */
static int each(const char *word, void (*fn)(const char *rest))
{
    static char line[65536];
    FILE *f = fopen(test_golden("shots.txt"), "r");
    ck_assert_ptr_nonnull(f);
    int count = 0;
    size_t n = strlen(word);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, word, n) == 0 && line[n] == ' ') {
            fn(line + n + 1);
            count++;
        }
    fclose(f);
    return count;
}

static numbers list_train, list_val, list_small;

static void take_list(const char *rest)
{
    numbers *to = strncmp(rest, "train:", 6) == 0 ? &list_train : strncmp(rest, "val:", 4) == 0 ? &list_val : &list_small;
    read_numbers(strchr(rest, ':') + 1, '|', to);
}

static size_t classes_of(const numbers *labels)
{
    size_t classes = 0;
    for (size_t i = 0; i < labels->n; i++)
        classes = labels->value[i] >= classes ? labels->value[i] + 1 : classes;
    return classes;
}

/* A data set with these labels; the path of item i is its number. */
static ammpl_dataset *dataset_of(const numbers *labels)
{
    const char *name[MOST];
    char text[MOST][8];
    size_t classes = classes_of(labels);
    for (size_t c = 0; c < classes; c++) {
        snprintf(text[c], sizeof text[c], "c%zu", c);
        name[c] = text[c];
    }
    ammpl_dataset *ds;
    ck_ok(ammpli_dataset_create(ctx, name, classes, &ds));
    for (size_t i = 0; i < labels->n; i++) {
        char path[32];
        snprintf(path, sizeof path, "%zu", i);
        ck_ok(ammpli_dataset_add(ds, NULL, path, (int32_t)labels->value[i], (uint32_t)i));
    }
    return ds;
}

/* ---- the generator ---- */

static void check_bits(const char *rest)
{
    numbers all;
    ammpli_mersenne m;
    read_numbers(rest, '|', &all);
    ammpli_mersenne_seed(&m, all.value[0]);
    for (size_t i = 1; i < all.n; i++)
        ck_assert_uint_eq(ammpli_mersenne_bits(&m, 32), all.value[i]);
}

static void check_shuffle(const char *rest)
{
    numbers all;
    ammpli_mersenne m;
    size_t list[64];
    read_numbers(rest, '|', &all);
    ammpli_mersenne_seed(&m, all.value[0]);
    size_t n = (size_t)all.value[1];
    for (size_t i = 0; i < n; i++)
        list[i] = i;
    ammpli_mersenne_shuffle(&m, list, n);
    ck_assert_uint_eq(all.n, n + 2);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(list[i] == all.value[i + 2], "seed %llu, shuffle of %zu: place %zu holds %zu", (unsigned long long)all.value[0],
                      n, i, list[i]);
}

START_TEST(generator_is_pythons)
{
    ck_assert_int_eq(each("bits", check_bits), 7);
    ck_assert_int_eq(each("shuffle", check_shuffle), 28);
}
END_TEST

/* Across the 624 words of a state: the 1000th number of random.seed(1), computed by Python. */
START_TEST(generator_renews_its_state)
{
    ammpli_mersenne m;
    ammpli_mersenne_seed(&m, 1);
    uint32_t x = 0;
    for (int i = 0; i < 1000; i++)
        x = ammpli_mersenne_bits(&m, 32);
    ck_assert_uint_eq(x, 1877627338u);
    ck_assert_uint_eq(ammpli_mersenne_bits(&m, 5), 16u);
}
END_TEST

/* ---- methods.md A.1, as printed there: groups A(100) B(30) C(12) D(90) E(16) with 16 shots, then A(20) B(6) C(3) D(200) with 4 ---- */

static const char *const appendix[3] = {
    "17 72 97 8 32 15 63 57 60 83 48 26 12 62 3 49 | 13 19 24 27 0 22 14 8 7 18 3 10 25 17 16 20 | "
    "0 1 2 3 4 5 6 7 8 9 10 11 | 69 1 48 87 27 54 3 67 28 56 63 70 29 44 86 58 | 9 14 0 6 8 10 1 2 4 13 5 11 3 7 12 15 | "
    "9 18 15 16 | 3 4 0 1 | 0 1 2 | 62 190 103 106",
    "7 11 10 46 21 94 85 39 32 77 27 4 74 87 20 55 | 20 12 25 23 16 11 17 14 27 8 1 0 24 22 10 21 | "
    "0 1 2 3 4 5 6 7 8 9 10 11 | 48 54 67 21 71 22 30 29 3 41 17 65 46 86 23 57 | 13 11 8 12 5 9 14 10 7 1 3 15 6 4 2 0 | "
    "16 19 11 14 | 3 2 5 1 | 0 1 2 | 168 56 83 179",
    "30 75 69 16 47 77 60 80 74 8 1 33 70 29 24 91 | 15 17 26 28 29 12 20 4 7 23 22 16 24 0 2 25 | "
    "0 1 2 3 4 5 6 7 8 9 10 11 | 75 5 38 3 34 60 76 49 54 50 73 56 17 46 12 4 | 4 7 3 15 10 6 12 11 8 9 2 14 13 5 0 1 | "
    "0 8 5 10 | 4 5 0 2 | 0 1 2 | 167 54 162 146"};

static ammpl_dataset *groups(const size_t *sizes, size_t n)
{
    static numbers labels;
    labels.n = 0;
    for (size_t c = 0; c < n; c++)
        for (size_t i = 0; i < sizes[c]; i++)
            labels.value[labels.n++] = c;
    return dataset_of(&labels);
}

static ammpl_config *few_config(const char *sampler, int64_t seed)
{
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_text(cfg, "sampler", sampler));
    ck_ok(ammpli_config_set_int(cfg, AMMPL_OPT_SEED, seed));
    return cfg;
}

/* Prints the picks as the appendix does: places within each class. */
static size_t print_picks(char *to, size_t room, const ammpl_dataset *picks, const size_t *sizes)
{
    size_t n = 0, first = 0;
    for (size_t i = 0; i < picks->count; i++) {
        bool next = i > 0 && picks->item[i].label != picks->item[i - 1].label;
        first = next ? first + sizes[picks->item[i].label - 1] : first;
        n += (size_t)snprintf(to + n, room - n, "%s%zu", next ? " | " : i ? " " : "", (size_t)picks->item[i].id - first);
    }
    return n;
}

START_TEST(picks_of_the_appendix)
{
    static const size_t train_sizes[] = {100, 30, 12, 90, 16}, val_sizes[] = {20, 6, 3, 200, 1};
    ammpl_dataset *train = groups(train_sizes, 5), *val = groups(val_sizes, 4), *few_train, *few_val;
    for (int seed = 1; seed <= 3; seed++) {
        ammpl_config *cfg = few_config("dassl", seed);
        char text[4096];
        ck_ok(ammpli_dataset_select_few(train, val, 16, cfg, &few_train, &few_val));
        size_t n = print_picks(text, sizeof text, few_train, train_sizes);
        n += (size_t)snprintf(text + n, sizeof text - n, " | ");
        print_picks(text + n, sizeof text - n, few_val, val_sizes);
        ck_assert_str_eq(text, appendix[seed - 1]);
        ammpli_dataset_release(few_train);
        ammpli_dataset_release(few_val);
        ammpli_config_destroy(cfg);
    }
    ammpli_dataset_release(train);
    ammpli_dataset_release(val);
}
END_TEST

/* ---- picks and divisions of odd lists ---- */

static void check_ids(const ammpl_dataset *ds, const numbers *expected, const numbers *labels)
{
    ck_assert_uint_eq(ds->count, expected->n);
    for (size_t i = 0; i < ds->count; i++) {
        char path[32];
        snprintf(path, sizeof path, "%llu", (unsigned long long)expected->value[i]);
        ck_assert_uint_eq(ds->item[i].id, expected->value[i]);
        ck_assert_int_eq(ds->item[i].label, (int)labels->value[expected->value[i]]);
        ck_assert_str_eq(ds->item[i].path, path);
    }
}

static void check_few(const char *rest)
{
    numbers head, train_picks, val_picks;
    read_numbers(rest, ':', &head);
    read_numbers(read_numbers(strchr(rest, ':') + 1, '|', &train_picks), '|', &val_picks);
    ammpl_dataset *train = dataset_of(&list_train), *val = dataset_of(&list_val), *few_train, *few_val;
    ammpl_config *cfg = few_config("dassl", (int64_t)head.value[0]);
    ck_ok(ammpli_dataset_select_few(train, val, (int32_t)head.value[1], cfg, &few_train, &few_val));
    check_ids(few_train, &train_picks, &list_train);
    check_ids(few_val, &val_picks, &list_val);
    ammpli_dataset_release(few_train);
    ammpli_dataset_release(few_val);
    ck_ok(ammpli_dataset_select_few(train, NULL, (int32_t)head.value[1], cfg, &few_train, NULL)); /* train comes first */
    check_ids(few_train, &train_picks, &list_train);
    ammpli_dataset_release(few_train);
    ammpli_config_destroy(cfg);
    ammpli_dataset_release(train);
    ammpli_dataset_release(val);
}

static void check_division(const char *rest)
{
    numbers part[3];
    ammpli_division how = {.of = AMMPLI_VAL, .part = {AMMPLI_TEST, AMMPLI_TRAIN, AMMPLI_VAL}}; /* any parts will do */
    char name[16];
    ck_assert_int_eq(sscanf(rest, "1 %lf %lf %15[a-z]", &how.share[0], &how.share[1], name), 3);
    const char *at = strchr(rest, ':') + 1;
    for (int i = 0; i < 3; i++)
        at = read_numbers(at, '|', &part[i]);
    const numbers *labels = strcmp(name, "val") == 0 ? &list_val : &list_small;
    ammpli_draft d = {.ctx = ctx, .images = "", .name = {.ctx = ctx}};
    for (size_t c = 0; c < classes_of(labels); c++)
        ck_ok(ammpli_draft_class(&d, "x"));
    for (size_t i = 0; i < labels->n; i++) {
        char path[32];
        snprintf(path, sizeof path, "%zu", i);
        ck_ok(ammpli_draft_add(&d, path, (int32_t)labels->value[i], AMMPLI_VAL));
    }
    ck_ok(ammpli_draft_divide(&d, &how));
    size_t at_part[3] = {0, 0, 0};
    for (size_t i = 0; i < d.count; i++) {
        int p = d.item[i].part == AMMPLI_TEST ? 0 : d.item[i].part == AMMPLI_TRAIN ? 1 : 2;
        ck_assert_uint_lt(at_part[p], part[p].n);
        ck_assert_int_eq(atoi(d.item[i].path + 1), (int)part[p].value[at_part[p]]);
        at_part[p]++;
    }
    for (int p = 0; p < 3; p++)
        ck_assert_uint_eq(at_part[p], part[p].n);
    ammpli_draft_free(&d);
}

START_TEST(picks_of_odd_lists)
{
    ck_assert_int_eq(each("list", take_list), 3);
    ck_assert_int_eq(each("few", check_few), 32);
}
END_TEST

START_TEST(divisions_are_pythons)
{
    ck_assert_int_eq(each("list", take_list), 3);
    ck_assert_int_eq(each("divide", check_division), 4);
}
END_TEST

/* ---- what else holds ---- */

START_TEST(native_is_the_other_sampler)
{
    static const size_t sizes[] = {9, 3, 20};
    ammpl_dataset *train = groups(sizes, 3), *few_train, *same;
    ammpl_config *cfg = few_config("native", 5);
    ck_ok(ammpli_dataset_select_few(train, NULL, 4, cfg, &few_train, NULL));
    ck_ok(ammpli_dataset_select_shots(train, 4, 5, &same));
    ck_assert_uint_eq(few_train->count, 4 + 3 + 4);
    ck_assert_uint_eq(few_train->count, same->count);
    for (size_t i = 0; i < same->count; i++)
        ck_assert_uint_eq(few_train->item[i].id, same->item[i].id);
    ammpli_dataset_release(few_train);
    ammpli_dataset_release(same);
    ck_ok(ammpli_dataset_select_few(train, train, 0, cfg, &few_train, &same));
    ck_assert_uint_eq(few_train->count, 32);
    ck_assert_uint_eq(same->count, 32);
    ammpli_dataset_release(few_train);
    ammpli_dataset_release(same);
    ck_ok(ammpli_config_set_text(cfg, "sampler", "dassl"));
    ck_ok(ammpli_dataset_select_few(train, train, 0, cfg, &few_train, &same));
    ck_assert_uint_eq(same->count, 32);
    ck_assert_uint_eq(few_train->item[31].id, 31);
    ammpli_dataset_release(few_train);
    ammpli_dataset_release(same);
    ck_ok(ammpli_dataset_select_few(train, NULL, INT32_MAX, cfg, &few_train, NULL));
    ck_assert_uint_eq(few_train->count, 32);
    ammpli_dataset_release(few_train);
    ck_status(ammpli_dataset_select_few(train, NULL, -1, cfg, &few_train, NULL), AMMPL_E_RANGE, "-1 shots");
    ck_assert_ptr_null(few_train);
    ck_status(ammpli_config_set_text(cfg, "sampler", "python"), AMMPL_E_OPTION, "dassl");
    ammpli_config_destroy(cfg);
    ammpli_dataset_release(train);
}
END_TEST

/* methods.md 6.3: 10 -> 5/5, 37 -> 19/18, 47 -> 24/23, 397 -> 199/198; labels from 0 again, names and ids stay. */
START_TEST(halves)
{
    static const size_t count[][2] = {{10, 5}, {37, 19}, {47, 24}, {397, 199}, {2, 1}, {1, 1}};
    for (size_t k = 0; k < sizeof count / sizeof count[0]; k++) {
        static size_t sizes[400];
        size_t n = count[k][0], base = count[k][1];
        for (size_t c = 0; c < n; c++)
            sizes[c] = 2;
        ammpl_dataset *all = groups(sizes, n), *half;
        ck_ok(ammpli_dataset_select_half(all, false, &half));
        ck_assert_uint_eq(half->classes, base);
        ck_assert_uint_eq(half->count, 2 * base);
        ammpli_dataset_release(half);
        if (n == 1) {
            ck_status(ammpli_dataset_select_half(all, true, &half), AMMPL_E_ARGUMENT, "no second half");
        } else {
            ck_ok(ammpli_dataset_select_half(all, true, &half));
            ck_assert_uint_eq(half->classes, n - base);
            ck_assert_int_eq(half->item[0].label, 0);
            ck_assert_uint_eq(half->item[0].id, 2 * base);
            ck_assert_str_eq(half->class_name[0], all->class_name[base]);
            ammpli_dataset_release(half);
        }
        ammpli_dataset_release(all);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sampling");
    TCase *tc = tcase_create("dassl");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, generator_is_pythons);
    tcase_add_test(tc, generator_renews_its_state);
    tcase_add_test(tc, picks_of_the_appendix);
    tcase_add_test(tc, picks_of_odd_lists);
    tcase_add_test(tc, divisions_are_pythons);
    tcase_add_test(tc, native_is_the_other_sampler);
    tcase_add_test(tc, halves);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
