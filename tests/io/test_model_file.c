/* test_model_file.c - models as they are met: namings, dtypes, folders, shards, vocabularies, towers, memory that runs out. */
#include "io/model_editor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clip/clip.h"
#include "core/config.h"

static ammpl_context *ctx;
static ammpl_config *cfg;
static unsigned long long empty;
static int notices;

static void count_notice(void *user, ammpl_level level, const char *message)
{
    (void)user;
    ck_assert_int_ge(level, AMMPL_LEVEL_WARN);
    ck_assert_ptr_nonnull(strstr(message, "quick_gelu"));
    notices++;
}

static void setup(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1));
    ctx->log_fn = count_notice;
    notices = 0;
    empty = ctx->memory_now;
    ck_ok(ammpli_config_create(ctx, &cfg));
}

static void teardown(void)
{
    ammpli_config_destroy(cfg);
    ck_assert_uint_eq(ctx->memory_now, empty);
    ammpli_context_release(ctx);
}

static ammpl_model *load(const char *path)
{
    ammpl_model *m;
    ck_ok(ammpli_model_load_file(ctx, NULL, path, cfg, &m));
    return m;
}

static void refuse(const char *path, ammpl_status status, const char *word)
{
    ammpl_model *m = (void *)1;
    ck_status(ammpli_model_load_file(ctx, NULL, path, cfg, &m), status, word);
    ck_assert_ptr_null(m);
}

static void download(ammpl_model *m, float *dst, const float *src, size_t count)
{
    ck_ok(m->ops->download(m->stream, dst, src, count * sizeof *dst));
}

static void check_probe(const ammpl_model *m, const float want[16], double tolerance)
{
    for (int i = 0; i < 16; i++)
        ck_assert_double_eq_tol((double)m->probe[i], (double)want[i], tolerance);
}

/* ---- good files ---- */

START_TEST(sizes_come_from_shapes)
{
    ammpl_model *m = load(test_golden("nano"));
    ck_assert(m->has_text && m->has_image);
    ck_assert_int_eq(m->embed, 22);
    ck_assert_int_eq(m->text.width, 18);
    ck_assert_int_eq(m->text.layers, 3);
    ck_assert_int_eq(m->text.heads, 3);
    ck_assert_int_eq(m->text.hidden, 72);
    ck_assert_int_eq(m->text.causal, 1);
    ck_assert_int_eq(m->vocab, 540);
    ck_assert_int_eq(m->context, 19);
    ck_assert_int_eq(m->image.width, 28);
    ck_assert_int_eq(m->image.layers, 2);
    ck_assert_int_eq(m->image.heads, 2);
    ck_assert_int_eq(m->image.hidden, 112);
    ck_assert_int_eq(m->image.causal, 0);
    ck_assert_int_eq(m->grid, 3);
    ck_assert_int_eq(m->patch, 5);
    ck_assert_int_eq(m->preprocess.size, 15);
    ck_assert_str_eq(m->activation, "quick_gelu");
    ck_assert_str_eq(m->source, test_golden("nano"));
    ck_assert_int_eq(m->token_dtype, AMMPL_DTYPE_F32);
    ck_assert_int_eq(notices, 0); /* there is a config */
    ammpli_model_release(m);
}
END_TEST

START_TEST(values_are_the_files)
{
    ammpl_model *m = load(test_golden("nano"));
    ammpli_st *st;
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", test_golden("nano"));
    ck_ok(ammpli_st_open(ctx, path, &st));
    float got[540 * 18];
    float *tokens = test_tensor(st, "token_embedding.weight", NULL), *bias = test_tensor(st, "ln_final.bias", NULL);
    float *position = test_tensor(st, "visual.positional_embedding", NULL);
    float *class = test_tensor(st, "visual.class_embedding", NULL);
    download(m, got, m->token_table, 540 * 18);
    ck_assert_mem_eq(got, tokens, sizeof got);
    download(m, got, m->text.ln_post_beta, 18);
    ck_assert_mem_eq(got, bias, 18 * sizeof *got);
    download(m, got, m->patch_position, 9 * 28);
    ck_assert_mem_eq(got, position + 28, 9 * 28 * sizeof *got);
    download(m, got, m->class_embedding, 28);
    ck_assert_mem_eq(got, class, 28 * sizeof *got);
    download(m, got, m->class_row, 28);
    for (int i = 0; i < 28; i++)
        ck_assert_float_eq(got[i], class[i] + position[i]);
    free(tokens);
    free(bias);
    free(position);
    free(class);
    ammpli_st_close(st);
    ammpli_model_release(m);
}
END_TEST

/* The same weights under other names and in narrower types are the same model. */
START_TEST(namings_and_dtypes_agree)
{
    ammpl_model *m = load(test_golden("nano"));
    float probe[16];
    memcpy(probe, m->probe, sizeof probe);
    ck_assert(fabsf(probe[0]) > 0 && fabsf(probe[8]) > 0);
    ammpli_model_release(m);
    m = load(test_golden("nano-hf"));
    check_probe(m, probe, 1e-6);
    ck_assert_int_eq(m->image.heads, 2);
    ck_assert_int_eq(m->text.heads, 3);
    ammpli_model_release(m);
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, test_golden("nano")));
    m = load(test_golden("nano-f16"));
    ck_assert_int_eq(m->token_dtype, AMMPL_DTYPE_F16);
    check_probe(m, probe, 2e-3);
    ammpli_model_release(m);
    m = load(test_golden("nano-bf16"));
    ck_assert_int_eq(m->token_dtype, AMMPL_DTYPE_BF16);
    check_probe(m, probe, 1e-2);
    ammpli_model_release(m);
}
END_TEST

START_TEST(one_tower_is_enough)
{
    static const char *const folders[] = {"nano", "nano-hf"};
    for (int i = 0; i < 2; i++) {
        ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TOWERS, "text"));
        ammpl_model *m = load(test_golden(folders[i]));
        ck_assert(m->has_text && !m->has_image && !m->patch_weight && !m->image.block);
        ck_assert_int_eq(m->embed, 22);
        ammpli_model_release(m);
        ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_TOWERS, "image"));
        ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, "/nonexistent")); /* which nobody looks at */
        m = load(test_golden(folders[i]));
        ck_assert(!m->has_text && m->has_image && !m->token_table && !m->tokenizer);
        ck_assert_int_eq(m->embed, 22);
        int32_t *ids;
        size_t n;
        ck_status(ammpli_model_tokens(m, "x", &ids, &n), AMMPL_E_STATE, "text tower");
        ammpli_model_release(m);
        ammpli_config_unset(cfg, AMMPL_OPT_VOCAB);
    }
}
END_TEST

START_TEST(text_becomes_tokens)
{
    ammpl_model *m = load(test_golden("nano"));
    int32_t *ids;
    size_t n;
    ck_ok(ammpli_model_tokens(m, "", &ids, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(ids[0], 538);
    ck_assert_int_eq(ids[1], 539);
    ammpli_free(ctx, ids);
    ck_ok(ammpli_model_tokens(m, "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7", &ids, &n)); /* just fits */
    ck_assert_uint_eq(n, 19);
    ammpli_free(ctx, ids);
    ck_status(ammpli_model_tokens(m, "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8", &ids, &n), AMMPL_E_RANGE, "1 2 3");
    ck_assert_ptr_null(ids);
    ck_assert_uint_eq(n, 0);
    ck_status(ammpli_model_tokens(m, "\xff", &ids, &n), AMMPL_E_FORMAT, "UTF-8");
    ammpl_model *other = ammpli_model_hold(m);
    ammpli_model_release(m);
    ck_assert_int_eq(other->vocab, 540); /* still there */
    ammpli_model_release(other);
}
END_TEST

START_TEST(real_weights_load)
{
    ammpl_model *m = load(test_shared("data/tinyclip"));
    ck_assert_int_eq(m->embed, 128);
    ck_assert_int_eq(m->vocab, 49408);
    ck_assert_int_eq(m->context, 32);
    ck_assert_int_eq(m->image.heads, 2);
    ck_assert_int_eq(m->preprocess.size, 64);
    ck_assert_double_eq_tol(exp(m->logit_scale), 13.8, 0.05);
    ck_assert_int_eq(notices, 1); /* nothing says which activation it has */
    /* The table of 12.6 MB and no second copy of anything else beside what is kept. */
    ck_assert_uint_lt(ctx->memory_peak, 2ull * 49408 * 128 * 2 + ctx->memory_now);
    int32_t *ids;
    size_t n;
    ck_ok(ammpli_model_tokens(m, "a photo of a cat.", &ids, &n));
    static const int32_t want[] = {49406, 320, 1125, 539, 320, 2368, 269, 49407};
    ck_assert_uint_eq(n, 8);
    ck_assert_mem_eq(ids, want, sizeof want);
    ammpli_free(ctx, ids);
    ammpli_model_release(m);
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_ACTIVATION, "gelu"));
    m = load(test_shared("data/tinyclip"));
    ck_assert_str_eq(m->activation, "gelu");
    ck_assert_int_eq(m->text.act, AMMPL_ACT_GELU);
    ck_assert_int_eq(notices, 1); /* told: nothing to notice */
    ammpli_model_release(m);
}
END_TEST

/* ---- files and folders ---- */

static char folder[300];

static const char *in_folder(const char *file)
{
    static char path[2][600];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, file);
    return path[turn];
}

static void copy(const char *from, const char *file, const char *to)
{
    char path[600];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", test_golden(from), file);
    unsigned char *data = edit_read(path, &size);
    edit_write(in_folder(to), data, size);
    free(data);
}

/* A folder with nano's config and vocabulary, without weights. */
static void new_folder(const char *name)
{
    snprintf(folder, sizeof folder, "%s", test_temp(name));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    copy("nano", "open_clip_config.json", "open_clip_config.json");
    copy("nano", "merges.txt", "merges.txt");
    copy("nano", "vocab.json", "vocab.json");
}

START_TEST(folders_have_rules)
{
    new_folder("rules");
    refuse(in_folder("nothing"), AMMPL_E_IO, "cannot be opened");
    refuse(folder, AMMPL_E_IO, "no .safetensors file");
    copy("nano", "model.safetensors", "b.safetensors");
    ammpli_model_release(load(folder)); /* the only one */
    ammpli_model_release(load(in_folder("b.safetensors")));
    ammpli_model_release(load(in_folder("")));
    edit_write(in_folder("a.safetensors"), "damaged", 7);
    refuse(folder, AMMPL_E_IO, "a.safetensors, b.safetensors");
    copy("nano", "model.safetensors", "open_clip_model.safetensors");
    ammpli_model_release(load(folder));
    edit_write(in_folder("model.safetensors"), "damaged", 7);
    refuse(folder, AMMPL_E_FORMAT, "model.safetensors"); /* it comes first */
    refuse(in_folder("merges.txt"), AMMPL_E_FORMAT, "merges.txt");
    ck_assert_int_eq(unlink(in_folder("merges.txt")), 0);
    copy("nano", "model.safetensors", "model.safetensors");
    refuse(folder, AMMPL_E_IO, "no vocabulary");
    ck_assert_ptr_nonnull(strstr(ammpli_error_text(), "bpe_simple_vocab_16e6.txt.gz"));
}
END_TEST

START_TEST(relative_paths_work)
{
    new_folder("relative");
    copy("nano", "model.safetensors", "model.safetensors");
    ck_assert_int_eq(chdir(folder), 0);
    ammpli_model_release(load("model.safetensors"));
    ammpli_model_release(load("."));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, "merges.txt"));
    ammpli_model_release(load("./model.safetensors"));
}
END_TEST

START_TEST(vocabularies_are_found)
{
    char path[600];
    new_folder("vocabularies");
    copy("nano", "model.safetensors", "model.safetensors");
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, test_golden("nano")));
    ammpli_model_release(load(folder));
    snprintf(path, sizeof path, "%s/merges.txt", test_golden("nano"));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, path)); /* the vocab.json beside it counts */
    ammpli_model_release(load(folder));
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, test_golden("nano-f16")));
    refuse(folder, AMMPL_E_IO, "neither merges.txt nor");
    ck_ok(ammpli_config_set_string(cfg, AMMPL_OPT_VOCAB, "/nonexistent/merges.txt"));
    refuse(folder, AMMPL_E_IO, "/nonexistent/merges.txt");
    ammpli_config_unset(cfg, AMMPL_OPT_VOCAB);
    edit_write(in_folder("vocab.json"), "{", 1);
    refuse(folder, AMMPL_E_FORMAT, "vocab.json");
    ck_assert_int_eq(unlink(in_folder("vocab.json")), 0); /* ids by CLIP's rule: 512 symbols, the merges, start and end */
    ammpli_model_release(load(folder));
    ck_assert_int_eq(rename(in_folder("merges.txt"), in_folder("bpe_simple_vocab_16e6.txt")), 0);
    ammpli_model_release(load(folder));
}
END_TEST

/* ---- shards ---- */

static void write_shards(const edit_model *e, const char *second, json_t *index)
{
    json_t *map = json_object();
    size_t half = e->n / 2, size;
    for (size_t i = 0; i < e->n; i++)
        json_object_set_new(map, e->tensor[i].name, json_string(i < half ? "model-1.safetensors" : second));
    json_object_set_new(index, "weight_map", map);
    for (int i = 0; i < 2; i++) {
        unsigned char *data = edit_bytes_of(e, i ? half : 0, i ? e->n : half, &size);
        edit_write(in_folder(i ? "model-2.safetensors" : "model-1.safetensors"), data, size);
        free(data);
    }
}

static void write_index(const json_t *index)
{
    char *text = json_dumps(index, 0);
    edit_write(in_folder("model.safetensors.index.json"), text, strlen(text));
    free(text);
}

START_TEST(shards_are_one_model)
{
    edit_model e;
    char path[600];
    new_folder("shards");
    snprintf(path, sizeof path, "%s/model.safetensors", test_golden("nano"));
    edit_open(&e, path);
    json_t *index = json_pack("{s:{s:i}}", "metadata", "total_size", 1);
    write_shards(&e, "model-2.safetensors", index);
    write_index(index);
    ammpl_model *m = load(folder), *whole = load(test_golden("nano"));
    check_probe(m, whole->probe, 1e-12);
    ammpli_model_release(m);
    ammpli_model_release(whole);
    ammpli_model_release(load(in_folder("model.safetensors.index.json")));

    json_t *map = json_object_get(index, "weight_map");
    json_object_set_new(map, e.tensor[0].name, json_string("model-2.safetensors"));
    write_index(index);
    refuse(folder, AMMPL_E_FORMAT, "but it is not");
    json_object_set_new(map, e.tensor[0].name, json_string("../model-1.safetensors"));
    write_index(index);
    refuse(folder, AMMPL_E_FORMAT, "beside it");
    json_object_set_new(map, e.tensor[0].name, json_string("model-3.safetensors"));
    write_index(index);
    refuse(folder, AMMPL_E_IO, "model-3.safetensors");
    json_object_set_new(map, e.tensor[0].name, json_integer(1));
    write_index(index);
    refuse(folder, AMMPL_E_FORMAT, "beside it");
    json_object_set_new(map, e.tensor[0].name, json_string("model-1.safetensors"));
    json_object_set_new(map, "absent", json_string("model-1.safetensors"));
    write_index(index);
    refuse(folder, AMMPL_E_FORMAT, "tensor absent");
    json_object_del(index, "weight_map");
    write_index(index);
    refuse(folder, AMMPL_E_FORMAT, "weight_map");
    edit_write(in_folder("model.safetensors.index.json"), "{", 1);
    refuse(folder, AMMPL_E_FORMAT, "damaged");
    json_decref(index);

    index = json_object(); /* the same tensor in both shards */
    write_shards(&e, "model-2.safetensors", index);
    write_index(index);
    size_t size;
    unsigned char *data = edit_bytes(&e, &size);
    edit_write(in_folder("model-2.safetensors"), data, size);
    refuse(folder, AMMPL_E_FORMAT, "same part");
    free(data);
    json_decref(index);
    edit_free(&e);
}
END_TEST

/* ---- memory ---- */

static long allowed; /* requests granted before one fails */

static void *stingy_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    return allowed-- > 0 && posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void stingy_release(void *user, void *p, size_t size)
{
    (void)user;
    (void)size;
    free(p);
}

START_TEST(every_failing_request_is_reported)
{
    static const char *const folders[] = {"nano", "nano-hf"};
    ammpl_allocator allocator = {.struct_size = sizeof allocator, .alloc = stingy_alloc, .release = stingy_release};
    ammpl_context *poor;
    ammpl_model *m;
    allowed = 1000;
    ck_ok(ammpli_context_create(&allocator, &poor));
    ck_ok(ammpli_context_set_threads(poor, 1));
    unsigned long long before = poor->memory_now;
    for (int i = 0; i < 2; i++) {
        long k = 0;
        for (;; k++) {
            ammpli_clear_error();
            allowed = k;
            ammpl_status status = ammpli_model_load_file(poor, NULL, test_golden(folders[i]), NULL, &m);
            if (status == AMMPL_OK)
                break;
            ck_assert_msg(status == AMMPL_E_MEMORY, "request %ld: %d, %s", k, (int)status, ammpli_error_text());
            ck_assert_ptr_null(m);
            ck_assert_ptr_nonnull(strstr(ammpli_error_text(), "memory"));
            ck_assert_uint_eq(poor->memory_now, before);
        }
        ck_assert_int_gt(k, 100);
        ammpli_model_release(m);
        ck_assert_uint_eq(poor->memory_now, before);
    }
    ammpli_context_release(poor);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_file");
    TCase *tc = tcase_create("model_file");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, sizes_come_from_shapes);
    tcase_add_test(tc, values_are_the_files);
    tcase_add_test(tc, namings_and_dtypes_agree);
    tcase_add_test(tc, one_tower_is_enough);
    tcase_add_test(tc, text_becomes_tokens);
    if (test_shared("data/tinyclip"))
        tcase_add_test(tc, real_weights_load);
    else
        test_skip("real_weights_load", "shared/data/tinyclip is not there");
    tcase_add_test(tc, folders_have_rules);
    tcase_add_test(tc, relative_paths_work);
    tcase_add_test(tc, vocabularies_are_found);
    tcase_add_test(tc, shards_are_one_model);
    tcase_add_test(tc, every_failing_request_is_reported);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
