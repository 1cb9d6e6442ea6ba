/* test_tokenizer.c - cleaning, pieces and byte-pair encoding against tests/reference/tokenizer_ref.py; hostile input.
 *
 * The goldens come in two vocabularies: CLIP's own, where ../shared has it, and its first 600 merges, which lie here.
 */
#include "support.h"

#include "data/bpe.h"
#include "data/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

enum { MINI_ROWS = 600 + 512 + 2, CLIP_ROWS = 49408 };

typedef struct bytes {
    char *data; /* with a NUL after the end */
    size_t size;
} bytes;

static ammpl_context *ctx;
static unsigned long long empty;
static bytes mini;
static const char *clip_vocabulary;

static bytes read_file(const char *path)
{
    bytes b;
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    fseek(f, 0, SEEK_END);
    b.size = (size_t)ftell(f);
    rewind(f);
    b.data = calloc(b.size + 1, 1);
    ck_assert_ptr_nonnull(b.data);
    ck_assert_uint_eq(fread(b.data, 1, b.size, f), b.size);
    fclose(f);
    return b;
}

static void setup(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    empty = ctx->memory_now;
    mini = read_file(test_golden("tokenizer-merges.txt"));
}

static void teardown(void)
{
    free(mini.data);
    ck_assert_uint_eq(ctx->memory_now, empty);
    ammpli_context_release(ctx);
}

static ammpli_tokenizer *create(const void *merges, size_t size, const char *vocab_json, int64_t rows)
{
    ammpli_tokenizer *t;
    ck_ok(ammpli_tokenizer_create(ctx, merges, size, vocab_json, rows, "the vocabulary", &t));
    return t;
}

static ammpli_tokenizer *create_clip(void)
{
    bytes file = read_file(clip_vocabulary);
    ammpli_tokenizer *t = create(file.data, file.size, NULL, CLIP_ROWS);
    free(file.data);
    return t;
}

static ammpli_tokenizer *create_mini(void)
{
    return create(mini.data, mini.size, NULL, MINI_ROWS);
}

static void check_ids(const ammpli_tokenizer *t, const char *text, const int32_t *want, size_t want_n)
{
    int32_t *ids;
    size_t n;
    ck_ok(ammpli_tokenize(t, text, &ids, &n));
    ck_assert_ptr_nonnull(ids);
    ck_assert_msg(n == want_n, "\"%s\": %zu ids, expected %zu", text, n, want_n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(ids[i] == want[i], "\"%s\": id %zu is %d, expected %d", text, i, ids[i], want[i]);
    ammpli_free(ctx, ids);
}

/* Ids of a golden, each put through (a * id + b) modulo `rows`. */
static void check_golden_ids(const ammpli_tokenizer *t, const char *text, const json_t *golden, int32_t a, int32_t b,
                             int32_t rows)
{
    size_t n = json_array_size(golden);
    int32_t *want = malloc((n + 1) * sizeof *want);
    for (size_t i = 0; i < n; i++)
        want[i] = (a * (int32_t)json_integer_value(json_array_get(golden, i)) + b) % rows;
    check_ids(t, text, want, n);
    free(want);
}

/* The next line of a golden file as JSON, NULL at its end. */
static json_t *next_line(FILE *f)
{
    char *line = NULL;
    size_t cap = 0;
    json_t *value = NULL;
    json_error_t error;
    if (getline(&line, &cap, f) > 0) {
        value = json_loads(line, 0, &error);
        ck_assert_msg(value != NULL, "golden: %s", error.text);
    }
    free(line);
    return value;
}

/* Column 2: the miniature vocabulary, 3: CLIP's. */
static void check_goldens(const ammpli_tokenizer *t, size_t column, int32_t a, int32_t b, int32_t rows)
{
    FILE *f = fopen(test_golden("tokenizer.txt"), "r");
    ck_assert_ptr_nonnull(f);
    int lines = 0;
    for (json_t *line; (line = next_line(f)); lines++) {
        check_golden_ids(t, json_string_value(json_array_get(line, 0)), json_array_get(line, column), a, b, rows);
        json_decref(line);
    }
    ck_assert_int_gt(lines, 500);
    fclose(f);
}

START_TEST(cleans_as_the_goldens)
{
    FILE *f = fopen(test_golden("tokenizer.txt"), "r");
    ck_assert_ptr_nonnull(f);
    for (json_t *line; (line = next_line(f));) {
        const char *text = json_string_value(json_array_get(line, 0)),
                   *want = json_string_value(json_array_get(line, 1));
        ammpli_text clean;
        ck_ok(ammpli_clean(ctx, text, &clean));
        char *got = calloc(4 * clean.n + 1, 1), *end = got;
        for (size_t i = 0; i < clean.n; i++)
            end += utf8proc_encode_char(clean.cp[i], (utf8proc_uint8_t *)end);
        ck_assert_msg(strcmp(got, want) == 0, "\"%s\" becomes \"%s\", expected \"%s\"", text, got, want);
        free(got);
        ammpli_free(ctx, clean.cp);
        json_decref(line);
    }
    fclose(f);
}
END_TEST

START_TEST(miniature_goldens)
{
    ammpli_tokenizer *t = create_mini();
    check_goldens(t, 2, 1, 0, MINI_ROWS);
    ck_assert_int_eq(ammpli_tokenizer_sot(t), MINI_ROWS - 2);
    ck_assert_int_eq(ammpli_tokenizer_eot(t), MINI_ROWS - 1);
    ammpli_tokenizer_destroy(t);
}
END_TEST

START_TEST(clip_goldens)
{
    ammpli_tokenizer *t = create_clip();
    check_goldens(t, 3, 1, 0, CLIP_ROWS);
    ck_assert_int_eq(ammpli_tokenizer_sot(t), 49406);
    ck_assert_int_eq(ammpli_tokenizer_eot(t), 49407);
    ammpli_tokenizer_destroy(t);
}
END_TEST

/* methods.md A.3, ids end with 0. */
static const struct {
    const char *text;
    int32_t ids[20];
} vectors[] = {
    {"a photo of a", {320, 1125, 539, 320}},
    {"X", {343}},
    {"a photo of a dog.", {320, 1125, 539, 320, 1929, 269}},
    {"a centered satellite photo of Annual Crop Land.", {320, 24584, 10316, 1125, 539, 2906, 9955, 973, 269}},
    {"banded texture.", {37804, 16505, 269}},
    {"a photo of a person doing Apply Eye Makeup.", {320, 1125, 539, 320, 2533, 1960, 4356, 3272, 5853, 269}},
    {"a photo of a 707-320, a type of aircraft.",
     {320, 1125, 539, 320, 278, 271, 278, 268, 274, 273, 271, 267, 320, 3877, 539, 7706, 269}},
    {"a photo of apple pie, a type of food.", {320, 1125, 539, 3055, 5319, 267, 320, 3877, 539, 1559, 269}},
    {"a photo of a american bulldog, a type of pet.",
     {320, 1125, 539, 320, 2151, 15611, 267, 320, 3877, 539, 3703, 269}},
    {"a photo of a pink primrose, a type of flower.",
     {320, 1125, 539, 320, 3360, 45891, 267, 320, 3877, 539, 4055, 269}},
    {"This is a photo of a aquarium fish", {589, 533, 320, 1125, 539, 320, 16814, 2759}},
    {"it's <|endoftext|> &amp;amp; ok", {585, 568, 49407, 261, 2481}},
    {"St. Bernard!.", {545, 269, 14579, 22517}},
    {"", {0}},
};

START_TEST(published_vectors)
{
    ammpli_tokenizer *t = create_clip();
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        size_t n = 0;
        while (vectors[i].ids[n])
            n++;
        check_ids(t, vectors[i].text, vectors[i].ids, n);
    }
    ammpli_tokenizer_destroy(t);
}
END_TEST

START_TEST(ids_of_vocab_json)
{
    bytes json = read_file(test_golden("tokenizer-vocab.json"));
    ammpli_tokenizer *t = create(mini.data, mini.size, json.data, MINI_ROWS);
    check_goldens(t, 2, 7, 3, MINI_ROWS);
    ck_assert_int_eq(ammpli_tokenizer_sot(t), (7 * (MINI_ROWS - 2) + 3) % MINI_ROWS);
    ck_assert_int_eq(ammpli_tokenizer_eot(t), (7 * (MINI_ROWS - 1) + 3) % MINI_ROWS);
    ammpli_tokenizer_destroy(t);
    ammpli_tokenizer_destroy(create(mini.data, mini.size, json.data, CLIP_ROWS)); /* a table with rows to spare */
    free(json.data);
}
END_TEST

/* Random merges, with strings that two pairs make and pairs that stand twice: the order of merging is CLIP's to the letter. */
START_TEST(odd_vocabularies)
{
    FILE *f = fopen(test_golden("tokenizer-odd.txt"), "r");
    ck_assert_ptr_nonnull(f);
    for (json_t *line; (line = next_line(f));) {
        const json_t *merges = json_array_get(line, 0), *texts = json_array_get(line, 1);
        char file[1 << 14];
        size_t size = 0, i;
        json_t *value;
        json_array_foreach(merges, i, value) size +=
            (size_t)snprintf(file + size, sizeof file - size, "%s\n", json_string_value(value));
        int32_t rows = (int32_t)json_array_size(merges) + 514;
        ammpli_tokenizer *t = create(file, size, NULL, rows);
        json_array_foreach(texts, i, value)
            check_golden_ids(t, json_string_value(json_array_get(value, 0)), json_array_get(value, 1), 1, 0, rows);
        ammpli_tokenizer_destroy(t);
        json_decref(line);
    }
    fclose(f);
}
END_TEST

static bytes gzip(const void *data, size_t size)
{
    bytes b = {calloc(size + size / 100 + 1000, 1), 0};
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)data, .avail_in = (unsigned)size};
    z.next_out = (unsigned char *)b.data;
    z.avail_out = (unsigned)(size + size / 100 + 1000);
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    b.size = z.total_out;
    deflateEnd(&z);
    return b;
}

/* Four merges, in whatever form. */
static void check_form(const void *data, size_t size)
{
    static const int32_t want[] = {514, 513, 515};
    ammpli_tokenizer *t = create(data, size, NULL, 518);
    check_ids(t, "the thing", want, 3);
    ammpli_tokenizer_destroy(t);
}

#define MERGES "i n\nt h\nth e</w>\nin g</w>"

START_TEST(forms_of_vocabulary_files)
{
    static const char *const forms[] = {
        "#version: 0.2\n" MERGES "\n",
        "\"bpe_simple_vocab_16e6.txt#version: 0.2\n" MERGES "\n",
        MERGES "\n",
        MERGES,
        MERGES "\n\n\n",
        "#version: 0.2\r\ni n\r\nt h\r\nth e</w>\r\nin g</w>\r\n",
        MERGES "\nfurther lines, dropped unseen\n\n", /* CLIP's file has more than the table has rows for */
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t size = strlen(forms[i]);
        check_form(forms[i], size);
        bytes packed = gzip(forms[i], size);
        check_form(packed.data, packed.size);
        free(packed.data);
    }
    bytes a = gzip(MERGES, 9), b = gzip(&MERGES[9], sizeof MERGES - 10); /* a file of two members */
    bytes both = {malloc(a.size + b.size), a.size + b.size};
    memcpy(both.data, a.data, a.size);
    memcpy(both.data + a.size, b.data, b.size);
    check_form(both.data, both.size);
    free(a.data);
    free(b.data);
    free(both.data);
}
END_TEST

START_TEST(no_merges_at_all)
{
    static const int32_t want[] = {64, 321};
    ammpli_tokenizer *t = create("", 0, NULL, 514);
    check_ids(t, "AB", want, 2);
    ammpli_tokenizer_destroy(t);
}
END_TEST

static void check_refused(const void *merges, size_t size, const char *json, int64_t rows, ammpl_status status,
                          const char *word)
{
    ammpli_tokenizer *t = (void *)ctx;
    ck_status(ammpli_tokenizer_create(ctx, merges, size, json, rows, "the-file", &t), status, word);
    ck_assert_ptr_null(t);
}

START_TEST(bad_merges_are_refused)
{
    static const struct {
        const char *merges;
        int64_t rows;
        ammpl_status status;
        const char *word;
    } bad[] = {
        {"i n\n", 516, AMMPL_E_SHAPE, "the-file has 1 merges"},
        {"", 515, AMMPL_E_SHAPE, "needs 1"},
        {MERGES, 513, AMMPL_E_SHAPE, "513 rows"},
        {MERGES, 0, AMMPL_E_SHAPE, "rows"},
        {MERGES, -1, AMMPL_E_SHAPE, "rows"},
        {MERGES, INT64_MIN, AMMPL_E_SHAPE, "rows"},
        {MERGES, INT64_MAX, AMMPL_E_SHAPE, "rows"},
        {MERGES, INT32_MAX, AMMPL_E_SHAPE, "rows"},
        {"i n\nth\n", 516, AMMPL_E_FORMAT, "line 2"},
        {"#version\ni n\nth\n", 516, AMMPL_E_FORMAT, "line 3"},
        {"i n\n\nt h\n", 516, AMMPL_E_FORMAT, "line 2"},
        {"i n\nt h e\n", 516, AMMPL_E_FORMAT, "line 2"},
        {"i n\nt  h\n", 516, AMMPL_E_FORMAT, "line 2"},
        {"i n\n t h\n", 516, AMMPL_E_FORMAT, "line 2"},
        {"i n\nt h \n", 516, AMMPL_E_FORMAT, "line 2"},
        {"i n\nt\th\n", 516, AMMPL_E_FORMAT, "line 2"},
        {"i n\nt \r\n", 516, AMMPL_E_FORMAT, "line 2"},
        {"i n\ninn i\n", 516, AMMPL_E_FORMAT, "line 2 merges a symbol"},
        {"i n\nin g</w>\ning </w>\n", 517, AMMPL_E_FORMAT, "line 3 merges a symbol"},
        {"in g\ni n\n", 516, AMMPL_E_FORMAT, "line 1 merges a symbol"},
        {"i \xff\n", 515, AMMPL_E_FORMAT, "line 1 merges a symbol"},
        {"i \xe4\xb8\x80\n", 515, AMMPL_E_FORMAT, "line 1 merges a symbol"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_refused(bad[i].merges, strlen(bad[i].merges), NULL, bad[i].rows, bad[i].status, bad[i].word);
    check_refused("i n\nt \0h\n", 9, NULL, 516, AMMPL_E_FORMAT, "line 2");
    check_refused("\0\0\0\0", 4, NULL, 515, AMMPL_E_FORMAT, "line 1");
}
END_TEST

START_TEST(bad_gzip_is_refused)
{
    bytes packed = gzip(mini.data, mini.size);
    for (size_t size = 2; size < packed.size; size += 1 + size / 50)
        check_refused(packed.data, size, NULL, MINI_ROWS, AMMPL_E_FORMAT, "cut short");
    for (size_t i = 10; i < packed.size; i += 7) { /* past the header, all is covered by its checksum */
        packed.data[i] ^= 0x10;
        check_refused(packed.data, packed.size, NULL, MINI_ROWS, AMMPL_E_FORMAT, "the-file is");
        packed.data[i] ^= 0x10;
    }
    bytes garbage = {calloc(packed.size + 8, 1), packed.size + 8};
    memcpy(garbage.data, packed.data, packed.size);
    check_refused(garbage.data, garbage.size, NULL, MINI_ROWS, AMMPL_E_FORMAT, "the-file is");
    free(garbage.data);
    free(packed.data);
}
END_TEST

/* A few bytes must not make gigabytes, nor a large file be read in vain. */
START_TEST(sizes_are_bounded)
{
    size_t size = (64 << 20) + 1;
    char *zeros = calloc(size, 1);
    bytes bomb = gzip(zeros, size);
    ck_assert_uint_lt(bomb.size, 100000);
    check_refused(bomb.data, bomb.size, NULL, MINI_ROWS, AMMPL_E_FORMAT, "unpacks to more than");
    free(bomb.data);
    check_refused(zeros, size, NULL, MINI_ROWS, AMMPL_E_FORMAT, "larger than");
    memset(zeros, '\n', size);
    memcpy(zeros + size - 5, "\ni n", 4);
    check_refused(zeros, size - 1, "{}", MINI_ROWS, AMMPL_E_FORMAT, "merges are more than");
    free(zeros);
}
END_TEST

/* The miniature's vocab.json with one value changed: "name": value, or without `name` when that is NULL. */
static void check_json(const char *name, const char *value, ammpl_status status, const char *word)
{
    json_t *root = json_load_file(test_golden("tokenizer-vocab.json"), 0, NULL);
    ck_assert_ptr_nonnull(root);
    if (value)
        json_object_set_new(root, name, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(root, name);
    char *text = json_dumps(root, 0);
    check_refused(mini.data, mini.size, text, MINI_ROWS, status, word);
    free(text);
    json_decref(root);
}

START_TEST(bad_vocab_json_is_refused)
{
    check_json("!", NULL, AMMPL_E_FORMAT, "no number for the symbol \"!\"");
    check_json("a</w>", NULL, AMMPL_E_FORMAT, "a</w>");
    check_json("the</w>", NULL, AMMPL_E_FORMAT, "the</w>");
    check_json("<|startoftext|>", NULL, AMMPL_E_FORMAT, "<|startoftext|>");
    check_json("<|endoftext|>", NULL, AMMPL_E_FORMAT, "<|endoftext|>");
    check_json("the</w>", "\"7\"", AMMPL_E_FORMAT, "the</w>");
    check_json("the</w>", "null", AMMPL_E_FORMAT, "the</w>");
    check_json("the</w>", "1.5", AMMPL_E_FORMAT, "the</w>");
    check_json("the</w>", "-1", AMMPL_E_SHAPE, "the id -1");
    check_json("the</w>", "1114", AMMPL_E_SHAPE, "1114 rows");
    check_json("the</w>", "9223372036854775807", AMMPL_E_SHAPE, "the</w>");
    check_json("the</w>", "3", AMMPL_E_FORMAT, "another symbol's"); /* "!" has 3 */

    static const char *const broken[] = {
        "", "{", "[]", "7", "{\"a\":1,\"a\":2}", "{\"a\"}", "{\"\xff\":1}", "{\"\\u0000\":1}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        check_refused(mini.data, mini.size, broken[i], MINI_ROWS, AMMPL_E_FORMAT, "vocab.json");
    char *deep = malloc(1 << 20);
    memset(deep, '[', (1 << 20) - 1);
    deep[(1 << 20) - 1] = '\0';
    check_refused(mini.data, mini.size, deep, MINI_ROWS, AMMPL_E_FORMAT, "vocab.json");
    free(deep);
}
END_TEST

START_TEST(text_that_is_not_utf8_is_refused)
{
    static const char *const bad[] = {
        "\x80",
        "\xff",
        "a\xc3",
        "a\xc3z",
        "\xc0\x80",
        "\xe0\x80\x80",
        "\xe4\xb8",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80",
        "caf\xe9",
        "ok \xf0\x9f\x98",
    };
    ammpli_tokenizer *t = create_mini();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t *ids = (void *)ctx;
        size_t n = 1;
        ck_status(ammpli_tokenize(t, bad[i], &ids, &n), AMMPL_E_FORMAT, "UTF-8");
        ck_assert_ptr_null(ids);
        ck_assert_uint_eq(n, 0);
    }
    ammpli_tokenizer_destroy(t);
}
END_TEST

/* A megabyte that is one piece, one run of marks, one near-entity after the other: time must not grow with the square. */
START_TEST(long_texts_take_no_minutes)
{
    static const char *const units[] = {"a",
                                        "th",
                                        "hellothere",
                                        "!",
                                        "\u0301\u0323",
                                        "\u03a3.",
                                        "A.\u03a3",
                                        "&",
                                        "&a",
                                        "&#",
                                        "&aacutecounterclockwisecontourinteg",
                                        "'",
                                        "9",
                                        "<|endoftext|>",
                                        "\u0130",
                                        "\ufb03",
                                        "\u00a0",
                                        "\u4e00",
                                        "\uac00\u11a7",
                                        "\u1f82"};
    size_t size = 1 << 20;
    char *text = calloc(size + 1, 1);
    ammpli_tokenizer *t = create_mini();
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t length = strlen(units[i]);
        memset(text, 0, size + 1);
        for (size_t at = 0; at + length <= size; at += length)
            memcpy(text + at, units[i], length);
        int32_t *ids;
        size_t n;
        ck_ok(ammpli_tokenize(t, text, &ids, &n));
        ammpli_free(ctx, ids);
    }
    free(text);
    text = calloc((4 << 20) + 2, 1);
    memset(text, ' ', (4 << 20) + 1);
    int32_t *ids;
    size_t n;
    ck_status(ammpli_tokenize(t, text, &ids, &n), AMMPL_E_RANGE, "longer");
    text[4 << 20] = '\0';
    check_ids(t, text, NULL, 0);
    free(text);
    ammpli_tokenizer_destroy(t);
}
END_TEST

static int allowed; /* requests the poor allocator still grants */

static void *poor_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    return allowed-- > 0 && posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void poor_release(void *user, void *p, size_t size)
{
    (void)user;
    (void)size;
    free(p);
}

START_TEST(without_memory_nothing_is_left_behind)
{
    ammpl_allocator allocator = {.struct_size = sizeof allocator, .alloc = poor_alloc, .release = poor_release};
    ammpl_context *poor;
    allowed = 1000;
    ck_ok(ammpli_context_create(&allocator, &poor));
    ck_ok(ammpli_context_set_threads(poor, 1));
    unsigned long long before = poor->memory_now;
    bytes packed = gzip(mini.data, mini.size), json = read_file(test_golden("tokenizer-vocab.json"));
    int denied = 0;
    for (ammpl_status status = AMMPL_E_MEMORY; status != AMMPL_OK; denied++) {
        ammpli_tokenizer *t;
        int32_t *ids = NULL;
        size_t n;
        allowed = denied;
        ammpli_clear_error();
        status = ammpli_tokenizer_create(poor, packed.data, packed.size, json.data, MINI_ROWS, "the-file", &t);
        if (status == AMMPL_OK)
            status = ammpli_tokenize(t, "a photo of a large \u00e9t\u00e9 that has more than sixteen ids", &ids, &n);
        ck_assert_msg(status == AMMPL_OK || status == AMMPL_E_MEMORY, "%s", ammpli_error_text());
        ck_assert(status == AMMPL_OK || strstr(ammpli_error_text(), "memory"));
        ammpli_free(poor, ids);
        ammpli_tokenizer_destroy(t);
        ck_assert_uint_eq(poor->memory_now, before);
    }
    ck_assert_int_gt(denied, 15);
    free(packed.data);
    free(json.data);
    ammpli_context_release(poor);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tc = tcase_create("tokenizer");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, cleans_as_the_goldens);
    tcase_add_test(tc, miniature_goldens);
    tcase_add_test(tc, ids_of_vocab_json);
    tcase_add_test(tc, odd_vocabularies);
    tcase_add_test(tc, forms_of_vocabulary_files);
    tcase_add_test(tc, no_merges_at_all);
    tcase_add_test(tc, bad_merges_are_refused);
    tcase_add_test(tc, bad_gzip_is_refused);
    tcase_add_test(tc, sizes_are_bounded);
    tcase_add_test(tc, bad_vocab_json_is_refused);
    tcase_add_test(tc, text_that_is_not_utf8_is_refused);
    tcase_add_test(tc, long_texts_take_no_minutes);
    tcase_add_test(tc, without_memory_nothing_is_left_behind);
    const char *shared = test_shared("data/clip-bpe/bpe_simple_vocab_16e6.txt.gz");
    if (shared) {
        clip_vocabulary = strdup(shared); /* test_shared's buffers are used again */
        tcase_add_test(tc, clip_goldens);
        tcase_add_test(tc, published_vectors);
    } else {
        test_skip("clip_goldens", "CLIP's vocabulary is not in ../shared/data/clip-bpe");
        test_skip("published_vectors", "CLIP's vocabulary is not in ../shared/data/clip-bpe");
    }
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
