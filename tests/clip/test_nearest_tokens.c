/* test_nearest_tokens.c - tokens as text, by the strings of vocab.json, and the tokens nearest to a vector, by looking at all of them. */
#include "support.h"

#include "clip/clip.h"
#include "core/config.h"
#include "data/bpe.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

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

/* ---- tokens as text ---- */

/* A symbol of vocab.json as bytes: printable ones stand for themselves, the others for code points from 256 on (methods.md 2). */
static size_t symbol_bytes(const char *symbol, char *out)
{
    static int byte_of[512];
    int hidden = 0;
    for (int b = 0; b < 256; b++) {
        bool shown = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        byte_of[shown ? b : 256 + hidden++] = b;
    }
    size_t n = 0, length = strlen(symbol);
    bool ends = length > 4 && strcmp(symbol + length - 4, "</w>") == 0;
    const char *end = symbol + length - (ends ? 4 : 0);
    while (symbol < end) {
        utf8proc_int32_t c;
        symbol += utf8proc_iterate((const utf8proc_uint8_t *)symbol, end - symbol, &c);
        out[n++] = (char)byte_of[c];
    }
    if (ends)
        memcpy(out + n, "</w>", 4);
    return n + (ends ? 4 : 0);
}

static void check_text(const ammpli_tokenizer *t, int32_t id, const char *bytes, size_t n)
{
    char *text;
    size_t length;
    ck_ok(ammpli_token_text(t, id, &text, &length));
    ck_assert_msg(length == n && memcmp(text, bytes, n) == 0, "token %d is \"%s\" of %zu bytes, expected \"%.*s\"", (int)id, text, length,
                  (int)n, bytes);
    ammpli_free(ctx, text);
}

static void *read_golden(const char *name, size_t *size)
{
    void *data;
    ck_ok(ammpli_file_read(ctx, test_golden(name), 1 << 24, &data, size));
    return data;
}

START_TEST(every_token_of_a_vocabulary)
{
    size_t merges_size, json_size, tokens = 0;
    void *merges = read_golden("tokenizer-merges.txt", &merges_size), *text = read_golden("tokenizer-vocab.json", &json_size);
    json_t *vocab = json_loads(text, 0, NULL), *value;
    const char *symbol;
    int64_t rows = 0;
    ck_assert_ptr_nonnull(vocab);
    json_object_foreach(vocab, symbol, value)
        rows = json_integer_value(value) >= rows ? json_integer_value(value) + 1 : rows;
    for (int by_json = 0; by_json < 2; by_json++) {
        ammpli_tokenizer *t;
        ck_ok(ammpli_tokenizer_create(ctx, merges, merges_size, by_json ? text : NULL, by_json ? rows : 600 + 512 + 2, "here", &t));
        json_object_foreach(vocab, symbol, value)
        {
            char bytes[256];
            bool special = strncmp(symbol, "<|", 2) == 0;
            size_t n = special ? strlen(symbol) : symbol_bytes(symbol, bytes);
            if (by_json) /* ids as the file has them */
                check_text(t, (int32_t)json_integer_value(value), special ? symbol : bytes, n);
            tokens++;
        }
        if (!by_json) { /* CLIP's rule: the alphabet, the alphabet at a word's end, the merges, the two marks */
            check_text(t, 0, "!", 1);
            check_text(t, 256 + 32, "A</w>", 5);
            check_text(t, 188, "\0", 1);
            check_text(t, 512, "in", 2);
            check_text(t, 513, "th", 2);
            check_text(t, 600 + 512, "<|startoftext|>", 15);
            check_text(t, 600 + 513, "<|endoftext|>", 13);
        }
        char *none;
        size_t n;
        ck_status(ammpli_token_text(t, (int32_t)rows + 9999, &none, &n), AMMPL_E_RANGE, "no token");
        ck_assert_ptr_null(none);
        ck_status(ammpli_token_text(t, -1, &none, &n), AMMPL_E_RANGE, "no token");
        ammpli_tokenizer_destroy(t);
    }
    ck_assert_uint_gt(tokens, 2000);
    json_decref(vocab);
    ammpli_free(ctx, merges);
    ammpli_free(ctx, text);
}
END_TEST

/* ---- the nearest ones ---- */

static ammpl_model *load(const char *name)
{
    ammpl_model *m;
    ammpl_config *cfg;
    ck_ok(ammpli_config_create(ctx, &cfg));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, test_golden("nano")));
    ck_ok(ammpli_model_load_file(ctx, ammpl_device_at(ctx, 0), test_golden(name), cfg, &m));
    ammpli_config_destroy(cfg);
    return m;
}

/* The whole table, read from the file itself. */
static float *table_of(const char *name, int64_t *count)
{
    char path[64];
    ammpli_st *st;
    snprintf(path, sizeof path, "%s/model.safetensors", name);
    ck_ok(ammpli_st_open(ctx, test_golden(path), &st));
    float *table = test_tensor(st, "token_embedding.weight", count);
    ammpli_st_close(st);
    return table;
}

static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += pow((double)a[i] - (double)b[i], 2);
    return sqrt(sum);
}

static void check_nearest(const char *name)
{
    ammpl_model *m = load(name);
    int64_t count;
    float *table = table_of(name, &count);
    size_t l = (size_t)m->text.width, V = (size_t)m->vocab;
    int32_t *ids = malloc(V * sizeof *ids);
    float *distances = malloc(V * sizeof *distances), *vector = malloc(l * sizeof *vector);
    ck_assert_int_eq(count, (int64_t)(l * V));
    for (size_t of = 0; of < V; of += 37) {
        for (size_t i = 0; i < l; i++)
            vector[i] = table[of * l + i] + (i % 3 == 0 ? 0.001f : 0);
        ck_ok(ammpli_model_nearest_tokens(m, vector, V, ids, distances));
        ck_assert_int_eq(ids[0], (int32_t)of);
        uint8_t *seen = calloc(V, 1);
        for (size_t k = 0; k < V; k++) {
            ck_assert_msg(ids[k] >= 0 && (size_t)ids[k] < V && !seen[ids[k]], "place %zu holds token %d", k, (int)ids[k]);
            seen[ids[k]] = 1;
            ck_assert_double_eq_tol((double)distances[k], distance(vector, table + (size_t)ids[k] * l, l), 1e-5);
            ck_assert_msg(k == 0 || distances[k] >= distances[k - 1], "place %zu is nearer than the one before it", k);
        }
        free(seen);
        int32_t best;
        float least;
        ck_ok(ammpli_model_nearest_tokens(m, vector, 1, &best, &least));
        ck_assert_int_eq(best, ids[0]);
    }
    free(table);
    free(ids);
    free(distances);
    free(vector);
    ammpli_model_release(m);
}

START_TEST(nearest_is_nearest)
{
    check_nearest("nano");
    check_nearest("nano-f16");
    check_nearest("nano-bf16");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nearest_tokens");
    TCase *tc = tcase_create("tokens");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, every_token_of_a_vocabulary);
    tcase_add_test(tc, nearest_is_nearest);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
