/* test_feature_file.c - nothing that lies in a cache's folder can change a run's bits or stop it. */
#include "cached.h"

#include "core/digest.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 16 };

static void *read_whole(const char *path, size_t *size)
{
    ammpl_context *ctx = test_context();
    void *data;
    ck_ok(ammpli_file_read(ctx, path, 1 << 24, &data, size));
    void *copy = malloc(*size);
    memcpy(copy, data, *size);
    ammpli_free(ctx, data);
    ammpli_context_release(ctx);
    return copy;
}

static void write_whole(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    fclose(f);
}

/* Cut anywhere, or with a byte changed anywhere: a warning that names the file, the same bits, and a good file afterwards. */
START_TEST(damaged_files)
{
    char folder[1024], path[1200];
    size_t size, bytes, after;
    char *want = cached_expected(cached_options, NULL, &size);
    ck_assert_int_eq(cached_run(cached_folder(folder, "damaged"), want, size, "first"), 0);
    snprintf(path, sizeof path, "%s", cached_file(folder));
    char *good = read_whole(path, &bytes), *bad = malloc(bytes);
    for (size_t at = (size_t)_i; at < bytes; at += bytes / 12) {
        memcpy(bad, good, bytes);
        bad[at] = (char)(bad[at] ^ (_i == 1 ? 1 << at % 8 : 0x20));
        write_whole(path, bad, _i ? bytes : at);
        char what[64];
        snprintf(what, sizeof what, "%s at byte %zu of %zu", _i ? "changed" : "cut", at, bytes);
        ck_assert_msg(cached_run(folder, want, size, what) == 1, "%s: %d warnings, %s", what, cached_warnings, cached_logged);
        ck_assert_msg(strstr(cached_logged, path) != NULL, "%s: %s", what, cached_logged);
        char *again = read_whole(path, &after);
        ck_assert_msg(after == bytes && memcmp(again, good, bytes) == 0, "%s: the file was not made anew", what);
        free(again);
    }
    free(good);
    free(bad);
    free(want);
}
END_TEST

/* What a forger changes; the checksum is right again unless it is that. */
enum forgery {
    FORMAT, VERSION, PROBE, SIZE, MEAN, STD, WITNESS, CHECKSUM, SHAPE, RANK, DTYPE, NAME, SHORT_NAME, NOT_FINITE, HUGE_LENGTH, ZERO,
    FORGERIES
};

static void forge(const char *path, enum forgery what)
{
    static const char *const key[] = {"format", "version", "probe", "image_size", "mean", "std", "witness"};
    ammpl_context *ctx = test_context();
    ammpli_st *st;
    ammpli_st_writer *w;
    ammpli_digesting sum;
    static float value[MAX_TENSORS][64];
    static const int64_t number[64] = {1}; /* a feature of length 1 in whole numbers */
    ck_ok(ammpli_st_open(ctx, path, &st));
    ck_ok(ammpli_st_writer_create(ctx, &w));
    for (int i = 0; i <= (int)WITNESS; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", ammpli_st_meta(st, key[i]), i == (int)what ? "1" : "");
        ck_ok(ammpli_st_writer_meta(w, key[i], text));
    }
    ammpli_digest_begin(&sum);
    for (size_t i = 0; i < ammpli_st_count(st); i++) {
        const ammpli_st_tensor *t = ammpli_st_at(st, i);
        int64_t shape[2] = {t->count, 1};
        char name[64];
        snprintf(name, sizeof name, "%s", t->name);
        ck_assert(t->count < 64 && ammpli_st_count(st) <= MAX_TENSORS);
        ck_ok(ammpli_st_read_f32(st, t, value[i]));
        bool last = i + 1 == ammpli_st_count(st);
        if (last && what == NOT_FINITE)
            value[i][3] = NAN;
        if (last && what == DTYPE)
            for (int64_t k = 0; k < t->count; k++)
                value[i][k] = (float)number[k];
        for (int64_t k = 0; last && k < t->count; k++)
            value[i][k] *= what == HUGE_LENGTH ? 1e18f : what == ZERO ? 0.0f : 1.0f;
        if (last && what == SHAPE)
            shape[0]--;
        if (last && (what == NAME || what == SHORT_NAME))
            snprintf(name + 31, sizeof name - 31, "%s", what == NAME ? "g" : "");
        ammpli_digest_add(&sum, name, 32);
        ammpli_digest_add(&sum, value[i], (size_t)shape[0] * sizeof(float));
        bool whole = last && what == DTYPE;
        ck_ok(ammpli_st_writer_add(w, name, whole ? AMMPLI_ST_I64 : AMMPL_DTYPE_F32, last && what == RANK ? 2 : 1, shape,
                                   whole ? (const void *)number : value[i]));
    }
    char text[AMMPLI_DIGEST_TEXT];
    ammpli_digest digest = ammpli_digest_end(&sum);
    ammpli_digest_text(&digest, text);
    if (what == CHECKSUM)
        text[0] = text[0] == '0' ? '1' : '0';
    ck_ok(ammpli_st_writer_meta(w, "checksum", text));
    ck_ok(ammpli_st_writer_save(w, path, true));
    ammpli_st_writer_destroy(w);
    ammpli_st_close(st);
    ammpli_context_release(ctx);
}

START_TEST(forged_files)
{
    char folder[1024], path[1200];
    size_t size;
    char *want = cached_expected(cached_options, NULL, &size);
    ck_assert_int_eq(cached_run(cached_folder(folder, "forged"), want, size, "first"), 0);
    snprintf(path, sizeof path, "%s", cached_file(folder));
    char what[32];
    snprintf(what, sizeof what, "forgery %d", _i);
    forge(path, (enum forgery)_i);
    if (_i == FORGERIES) /* the forger changes nothing */
        ck_assert_int_eq(cached_run(folder, want, size, what), 0);
    else
        ck_assert_msg(cached_run(folder, want, size, what) == 1 && strstr(cached_logged, path), "%s: %d warnings, %s", what, cached_warnings, cached_logged);
    ck_assert_int_eq(cached_run(folder, want, size, what), 0);
    free(want);
}
END_TEST

/* Models have files of their own, also where they differ in the image tower's blocks alone, which the probe does not see; and
 * another model's file under this model's name is not used. */
START_TEST(other_models)
{
    char folder[1024], path[1200], pattern[1200];
    size_t size;
    char *want = cached_expected(cached_options, NULL, &size);
    ck_assert_int_eq(cached_run(cached_folder(folder, "models"), want, size, "first"), 0);
    snprintf(path, sizeof path, "%s", cached_file(folder));
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    nano n, m;
    cached_open(&n, folder);
    nano_open(&m, cached_options);
    nano *both[] = {&n, &m};
    for (int k = 0; k < 2; k++) {
        ammpl_model *other = both[k]->model;
        if (_i == 0)
            other->image.block[0].fc_bias[0] += 0.5f; /* backend memory is host memory on the CPU */
        else if (_i == 1)
            other->preprocess.mean[2] += 0.125f;
        else
            other->probe[3] += 0.125f;
        nano_trainer(both[k]);
    }
    cached_without(&m);
    nano_steps(&n, CACHED_STEPS);
    nano_steps(&m, CACHED_STEPS);
    ck_assert_msg(nano_same(n.prompt, m.prompt), "another model's features were used");
    nano_close(&n);
    nano_close(&m);
    ck_assert_int_eq(cached_warnings, 0);
    glob_t found;
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_uint_eq(found.gl_pathc, 2);
    const char *theirs = strcmp(found.gl_pathv[0], path) == 0 ? found.gl_pathv[1] : found.gl_pathv[0];
    ck_assert_int_eq(rename(theirs, path), 0);
    ck_assert_int_eq(cached_run(folder, want, size, "another model's file"), 1);
    ck_assert_msg(strstr(cached_logged, "not this model's features") != NULL, "%s", cached_logged);
    globfree(&found);
    free(want);
}
END_TEST

/* A host program that writes numbers with a comma uses the file of one that does not. */
START_TEST(same_file_in_any_locale)
{
    char folder[1024], path[1200];
    size_t size;
    char *want = cached_expected(cached_options, NULL, &size);
    ck_assert_int_eq(cached_run(cached_folder(folder, "locale"), want, size, "first"), 0);
    snprintf(path, sizeof path, "%s", cached_file(folder));
    ck_assert(test_comma_locale());
    nano n;
    cached_open(&n, folder);
    nano_trainer(&n);
    cached_break_pictures(&n); /* all comes from the file */
    nano_steps(&n, CACHED_STEPS);
    cached_check(&n, want, size, "with commas");
    nano_close(&n);
    ck_assert_int_eq(cached_warnings, 0);
    ck_assert_str_eq(cached_file(folder), path);
    free(want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("feature_file");
    TCase *c = tcase_create("cache");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, damaged_files, 0, 2);
    tcase_add_loop_test(c, forged_files, 0, FORGERIES + 1);
    tcase_add_loop_test(c, other_models, 0, 3);
    if (test_has_comma_locale("same_file_in_any_locale"))
        tcase_add_test(c, same_file_in_any_locale);
    suite_add_tcase(s, c);
    return test_main(s);
}
