/* test_safetensors.c - reading good and hostile files, deterministic writing, atomic saving. */
#include "support.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static ammpl_context *ctx;
static unsigned char file[4096]; /* the file under test */
static size_t file_size;

static unsigned long long empty; /* what the context alone holds */

static void setup(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1)); /* no thread that frees its own start block later */
    empty = ctx->memory_now;
}

static void teardown(void)
{
    ck_assert_uint_eq(ctx->memory_now, empty);
    ammpli_context_release(ctx);
}

/* Header text as it is, then `bytes` bytes of data 0, 1, 2... */
static void make(const char *header, size_t bytes)
{
    uint64_t length = strlen(header);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    for (size_t i = 0; i < bytes; i++)
        file[8 + length + i] = (unsigned char)i;
    file_size = 8 + length + bytes;
    ck_assert_uint_le(file_size, sizeof file);
}

static void refuse(const char *header, size_t bytes, const char *word)
{
    ammpli_st *st = (void *)1;
    make(header, bytes);
    ck_status(ammpli_st_open_memory(ctx, file, file_size, "x", &st), AMMPL_E_FORMAT, word);
    ck_assert_ptr_null(st);
    ck_assert_int_eq(strncmp(ammpli_error_text(), "x: ", 3), 0);
}

#define F32(name, shape, offsets) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

START_TEST(reads_what_is_there)
{
    ammpli_st *st;
    make("{" F32("b", "[2,1]", "[8,16]") ",\"__metadata__\":{\"k\":\"v\\u00e9\"}," F32("a", "[]", "[16,20]") ",\"n\":"
         "{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}," F32("none", "[0,7]", "[8,8]") "}   ", 20);
    ck_ok(ammpli_st_open_memory(ctx, file, file_size, "x", &st));
    ck_assert_uint_eq(ammpli_st_count(st), 4);
    ck_assert_str_eq(ammpli_st_at(st, 0)->name, "a");
    ck_assert_str_eq(ammpli_st_at(st, 3)->name, "none");
    ck_assert_str_eq(ammpli_st_meta(st, "k"), "v\xc3\xa9");
    ck_assert_ptr_null(ammpli_st_meta(st, "K"));
    ck_assert_ptr_null(ammpli_st_find(st, "c"));
    const ammpli_st_tensor *t = ammpli_st_find(st, "b");
    ck_assert_int_eq(t->rank, 2);
    ck_assert_int_eq(t->count, 2);
    unsigned char raw[8];
    ck_ok(ammpli_st_read(st, t, raw));
    ck_assert_int_eq(raw[0], 8);
    ck_assert_int_eq(ammpli_st_find(st, "none")->count, 0);
    ck_assert_int_eq(ammpli_st_find(st, "a")->count, 1);
    ammpli_st_close(st);
}
END_TEST

START_TEST(refuses_damaged_headers)
{
    static const struct {
        const char *header, *word;
        size_t bytes;
    } bad[] = {
        {"[]", "does not start with {", 0},
        {"{", "damaged", 0},
        {"{} x", "damaged", 0},
        {"{\"a\":[[[[]]]]}", "nested deeper", 0},
        {"{\"a\":1}", "not an object", 0},
        {"{\"a\":{}}", "no dtype", 0},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", "dtype F31", 4},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", "no dtype", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", "no shape", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "data_offsets", 4},
        {"{" F32("a", "[1]", "[0]") "}", "data_offsets", 4},
        {"{" F32("a", "[1]", "[0,4,8]") "}", "data_offsets", 4},
        {"{" F32("a", "[1]", "[0,4.0]") "}", "data_offsets", 4},
        {"{" F32("a", "[-1]", "[0,4]") "}", "not a count", 4},
        {"{" F32("a", "[1.0]", "[0,4]") "}", "not a count", 4},
        {"{" F32("a", "[99999999999999999999]", "[0,4]") "}", "damaged", 4},
        {"{" F32("a", "[4294967296,4294967296]", "[0,4]") "}", "more elements", 4},
        {"{" F32("a", "[4611686018427387905]", "[0,4]") "}", "ask for", 4}, /* times 4 wraps round to 4 bytes */
        {"{" F32("a", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", "9 dimensions", 4},
        {"{" F32("a", "[2]", "[0,4]") "}", "a: its offsets 0..4 hold 4 bytes", 4},
        {"{" F32("a", "[1]", "[0,5]") "}", "hold 5 bytes", 5},
        {"{" F32("a", "[1]", "[4,0]") "}", "not within", 4},
        {"{" F32("a", "[1]", "[-4,0]") "}", "not within", 4},
        {"{" F32("a", "[1]", "[4,8]") "}", "4..8 are not within the file's 0..4", 4},
        {"{" F32("a", "[1]", "[4,8]") "}", "gap of 4", 8},
        {"{" F32("a", "[2]", "[0,8]") "," F32("b", "[1]", "[4,8]") "}", "overlap those of a", 8},
        {"{" F32("a", "[1]", "[0,4]") "," F32("b", "[1]", "[8,12]") "}", "gap of 4", 12},
        {"{" F32("a", "[1]", "[0,4]") "}", "1 bytes follow", 5},
        {"{" F32("a", "[1]", "[0,4]") "," F32("a", "[1]", "[4,8]") "}", "duplicate", 8},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "duplicate", 0},
        {"{\"__metadata__\":{\"a\":1}}", "metadata a is not a string", 0},
        {"{\"__metadata__\":[]}", "__metadata__ is not an object", 0},
        {"{" F32("a\\n", "[1]", "[0,4]") "}", "control characters", 4},
        {"{" F32("a\\u0000", "[1]", "[0,4]") "}", "damaged", 4},
        {"{" F32("\xff", "[1]", "[0,4]") "}", "damaged", 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(bad[i].header, bad[i].bytes, bad[i].word);
}
END_TEST

START_TEST(refuses_lengths)
{
    ammpli_st *st;
    for (size_t n = 0; n < 8; n++)
        ck_status(ammpli_st_open_memory(ctx, file, n, "x", &st), AMMPL_E_FORMAT, "too few");
    make("{" F32("a", "[1]", "[0,4]") "}", 4);
    for (size_t n = 8; n < file_size; n++)
        ck_status(ammpli_st_open_memory(ctx, file, n, "x", &st), AMMPL_E_FORMAT, n < file_size - 4 ? "truncated" : "within");
    uint64_t huge = UINT64_MAX;
    memcpy(file, &huge, 8);
    ck_status(ammpli_st_open_memory(ctx, file, file_size, "x", &st), AMMPL_E_FORMAT, "beyond the end");
    /* Above 100 MB and inside the file: refused by its length alone, before anything is read. */
    const char *path = test_temp("huge.safetensors");
    FILE *f = fopen(path, "wb");
    uint64_t length = 100000001;
    ck_assert_uint_eq(fwrite(&length, 8, 1, f), 1);
    ck_assert_int_eq(ftruncate(fileno(f), 100000100), 0);
    fclose(f);
    ck_status(ammpli_st_open(ctx, path, &st), AMMPL_E_FORMAT, "100 MB");
}
END_TEST

START_TEST(survives_every_flipped_bit)
{
    make("{\"__metadata__\":{\"k\":\"v\"}," F32("a", "[1]", "[0,4]") "," F32("b", "[2,2]", "[4,20]") "}", 20);
    for (size_t i = 0; i < file_size - 20; i++)
        for (int bit = 0; bit < 8; bit++) {
            ammpli_st *st;
            file[i] ^= (unsigned char)(1 << bit);
            ammpli_clear_error();
            ammpl_status status = ammpli_st_open_memory(ctx, file, file_size, "x", &st);
            if (status == AMMPL_OK) { /* a letter of a name: what it says is still within the file */
                for (size_t k = 0; k < ammpli_st_count(st); k++) {
                    float values[4];
                    ck_assert_uint_le(ammpli_st_at(st, k)->bytes, sizeof values);
                    ck_ok(ammpli_st_read(st, ammpli_st_at(st, k), values));
                }
            } else {
                ck_assert_int_eq(status, AMMPL_E_FORMAT);
                ck_assert_ptr_null(st);
                ck_assert_int_ne(ammpli_error_text()[0], 0);
            }
            ammpli_st_close(st);
            file[i] ^= (unsigned char)(1 << bit);
        }
}
END_TEST

START_TEST(converts_and_finds_nan)
{
    static const struct {
        const char *dtype;
        size_t size;
        unsigned char bytes[8];
        double value;
    } cases[] = {
        {"F32", 4, {0, 0, 0x20, 0xc0}, -2.5},
        {"F16", 2, {0x00, 0xc1}, -2.5},
        {"F16", 2, {0x01, 0x00}, 0x1p-24},
        {"F16", 2, {0xff, 0x83}, -1023 * 0x1p-24},
        {"F16", 2, {0x00, 0x04}, 0x1p-14},
        {"F16", 2, {0xff, 0x7b}, 65504},
        {"F16", 2, {0x00, 0x7c}, INFINITY},
        {"F16", 2, {0x01, 0xfc}, NAN},
        {"BF16", 2, {0x20, 0xc0}, -2.5},
        {"BF16", 2, {0x80, 0x7f}, INFINITY},
        {"BF16", 2, {0xc0, 0x7f}, NAN},
        {"F32", 4, {0, 0, 0xc0, 0x7f}, NAN},
        {"F32", 4, {0, 0, 0x80, 0xff}, INFINITY},
        {"F64", 8, {0, 0, 0, 0, 0, 0, 0x04, 0xc0}, -2.5},
        {"F64", 8, {0, 0, 0, 0, 0, 0, 0xf0, 0x7f}, INFINITY},
        {"I64", 8, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -2},
        {"I32", 4, {0xfe, 0xff, 0xff, 0xff}, -2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[128];
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[],\"data_offsets\":[0,%zu]}}", cases[i].dtype,
                 cases[i].size);
        make(header, cases[i].size);
        memcpy(file + file_size - cases[i].size, cases[i].bytes, cases[i].size);
        ammpli_st *st;
        float value;
        ck_ok(ammpli_st_open_memory(ctx, file, file_size, "x", &st));
        if (isfinite(cases[i].value)) {
            ck_ok(ammpli_st_read_f32(st, ammpli_st_at(st, 0), &value));
            ck_assert_double_eq((double)value, cases[i].value);
        } else {
            ck_status(ammpli_st_read_f32(st, ammpli_st_at(st, 0), &value), AMMPL_E_NUMERIC, "tensor t");
        }
        ammpli_st_close(st);
    }
    make("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    ammpli_st *st;
    float value;
    ck_ok(ammpli_st_open_memory(ctx, file, file_size, "x", &st));
    ck_status(ammpli_st_read_f32(st, ammpli_st_at(st, 0), &value), AMMPL_E_UNSUPPORTED, "dtype");
    ammpli_st_close(st);
}
END_TEST

START_TEST(converts_in_pieces)
{
    enum { N = 20001 }; /* several pieces and a rest */
    static double values[N];
    static float back[N];
    char header[128];
    snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"F64\",\"shape\":[%d],\"data_offsets\":[0,%zu]}}", N, sizeof values);
    for (int i = 0; i < N; i++)
        values[i] = i;
    const char *path = test_temp("pieces.safetensors");
    FILE *f = fopen(path, "wb");
    uint64_t length = strlen(header);
    ck_assert_uint_eq(fwrite(&length, 8, 1, f), 1);
    ck_assert_uint_eq(fwrite(header, length, 1, f), 1);
    ck_assert_uint_eq(fwrite(values, sizeof values, 1, f), 1);
    fclose(f);
    ammpli_st *st;
    ck_ok(ammpli_st_open(ctx, path, &st));
    ck_assert_str_eq(ammpli_st_name(st), path);
    ck_ok(ammpli_st_read_f32(st, ammpli_st_at(st, 0), back));
    for (int i = 0; i < N; i++)
        ck_assert_double_eq((double)back[i], values[i]);
    ck_assert_int_eq(truncate(path, 1000), 0);
    ck_status(ammpli_st_read_f32(st, ammpli_st_at(st, 0), back), AMMPL_E_IO, "shorter");
    ammpli_st_close(st);
}
END_TEST

START_TEST(refuses_what_is_no_file)
{
    ammpli_st *st;
    ck_status(ammpli_st_open(ctx, "/nonexistent/x", &st), AMMPL_E_IO, "cannot be opened");
    ck_status(ammpli_st_open(ctx, "/tmp", &st), AMMPL_E_IO, "is a folder");
    const char *pipe = test_temp("pipe");
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    ck_status(ammpli_st_open(ctx, pipe, &st), AMMPL_E_IO, "not a regular file");
    void *data;
    size_t size;
    const char *path = test_temp("small");
    ck_ok(ammpli_file_write(ctx, path, "hello", 5, false));
    ck_status(ammpli_file_read(ctx, path, 4, &data, &size), AMMPL_E_FORMAT, "more than the 4");
    ck_assert_ptr_null(data);
    ck_ok(ammpli_file_read(ctx, path, 5, &data, &size));
    ck_assert_uint_eq(size, 5);
    ck_assert_str_eq(data, "hello"); /* NUL added */
    ammpli_free(ctx, data);
}
END_TEST

/* ---- writing ---- */

static const float floats[6] = {1, -2, 3, 4, 5, 6};
static const int64_t ints[2] = {7, -8};

static ammpli_st_writer *writer(bool turned)
{
    ammpli_st_writer *w;
    ck_ok(ammpli_st_writer_create(ctx, &w));
    for (int i = 0; i < 3; i++)
        switch (turned ? 2 - i : i) {
        case 0: ck_ok(ammpli_st_writer_add(w, "z", AMMPL_DTYPE_F32, 2, (int64_t[]){2, 3}, floats)); break;
        case 1: ck_ok(ammpli_st_writer_add(w, "n", AMMPLI_ST_I64, 1, (int64_t[]){2}, ints)); break;
        default: ck_ok(ammpli_st_writer_add(w, "a\"\xc3\xa9", AMMPL_DTYPE_F32, 0, NULL, floats)); break;
        }
    ck_ok(ammpli_st_writer_meta(w, turned ? "x" : "b", "1"));
    ck_ok(ammpli_st_writer_meta(w, turned ? "b" : "x", "1"));
    return w;
}

START_TEST(writes_the_same_bytes)
{
    void *data[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        ammpli_st_writer *w = writer(i);
        ck_ok(ammpli_st_writer_bytes(w, &data[i], &size[i]));
        ammpli_st_writer_destroy(w);
    }
    ck_assert_uint_eq(size[0], size[1]);
    ck_assert_mem_eq(data[0], data[1], size[0]);
    ammpli_st *st;
    ck_ok(ammpli_st_open_memory(ctx, data[0], size[0], "x", &st));
    ck_assert_uint_eq(ammpli_st_count(st), 3);
    const ammpli_st_tensor *z = ammpli_st_find(st, "z"), *n = ammpli_st_find(st, "n");
    ck_assert_uint_eq(n->offset % 8, 0);
    ck_assert_uint_eq(z->offset % 4, 0);
    float back[6];
    ck_ok(ammpli_st_read_f32(st, z, back));
    ck_assert_mem_eq(back, floats, sizeof back);
    ck_assert_int_eq(z->shape[1], 3);
    ck_assert_ptr_nonnull(ammpli_st_find(st, "a\"\xc3\xa9"));
    ck_assert_str_eq(ammpli_st_meta(st, "b"), "1");
    ammpli_st_close(st);
    ammpli_free(ctx, data[0]);
    ammpli_free(ctx, data[1]);
}
END_TEST

START_TEST(writer_refuses)
{
    ammpli_st_writer *w = writer(false);
    ck_status(ammpli_st_writer_add(w, "z", AMMPL_DTYPE_F32, 0, NULL, floats), AMMPL_E_ARGUMENT, "twice");
    ck_status(ammpli_st_writer_add(w, "h", AMMPL_DTYPE_F16, 0, NULL, floats), AMMPL_E_ARGUMENT, "only F32");
    ck_status(ammpli_st_writer_add(w, "h", AMMPL_DTYPE_F32, 1, (int64_t[]){-1}, floats), AMMPL_E_ARGUMENT, "shape");
    ck_status(ammpli_st_writer_meta(w, "k", "\xff"), AMMPL_E_ARGUMENT, "UTF-8");
    ammpli_st_writer_destroy(w);
}
END_TEST

/* Entries of a folder besides . and .. */
static int entries(const char *folder)
{
    int n = -2;
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

START_TEST(saves_atomically)
{
    char folder[512], path[600];
    snprintf(folder, sizeof folder, "%s", test_temp("save"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/p", folder);
    umask(027);
    ammpli_st_writer *w = writer(false);
    ck_ok(ammpli_st_writer_save(w, path, false));
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0640);
    ck_status(ammpli_st_writer_save(w, path, false), AMMPL_E_EXISTS, "exists already");
    ck_ok(ammpli_st_writer_save(w, path, true));
    ck_assert_int_eq(entries(folder), 1);
    ammpli_st_writer_destroy(w);
    ck_status(ammpli_file_write(ctx, folder, "x", 1, true), AMMPL_E_IO, "regular"); /* a folder stands there */
    ck_status(ammpli_file_write(ctx, "/nonexistent/p", "x", 1, true), AMMPL_E_IO, "folder");
    ck_status(ammpli_file_write(ctx, "/tmp/", "x", 1, true), AMMPL_E_IO, "name of a file");
    ck_assert_int_eq(symlink("nowhere", strcat(folder, "/link")), 0); /* a dangling link is something, too */
    ck_status(ammpli_file_write(ctx, folder, "x", 1, false), AMMPL_E_EXISTS, "exists");
}
END_TEST

START_TEST(full_disk_leaves_the_old_file)
{
    char folder[512], path[600];
    static char big[100000];
    snprintf(folder, sizeof folder, "%s", test_temp("full"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/p", folder);
    ck_ok(ammpli_file_write(ctx, path, "old", 3, false));
    signal(SIGXFSZ, SIG_IGN); /* then write() fails half way, as on a full disk */
    struct rlimit limit = {50000, 50000};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_status(ammpli_file_write(ctx, path, big, sizeof big, true), AMMPL_E_IO, "cannot be written");
    ck_assert_int_eq(entries(folder), 1);
    void *data;
    size_t size;
    ck_ok(ammpli_file_read(ctx, path, 100, &data, &size));
    ck_assert_str_eq(data, "old");
    ammpli_free(ctx, data);
}
END_TEST

/* Two savers of one new name: exactly one wins. */
static char race_path[600];
static atomic_int race_won, race_lost;

static void *race(void *arg)
{
    (void)arg;
    ammpli_clear_error();
    ammpl_status status = ammpli_file_write(ctx, race_path, "x", 1, false);
    if (status == AMMPL_OK)
        race_won++;
    else if (status == AMMPL_E_EXISTS)
        race_lost++;
    return NULL;
}

START_TEST(one_of_many_savers_wins)
{
    for (int round = 0; round < 20; round++) {
        pthread_t thread[8];
        char name[32];
        snprintf(name, sizeof name, "race%d", round);
        snprintf(race_path, sizeof race_path, "%s", test_temp(name));
        race_won = race_lost = 0;
        for (int i = 0; i < 8; i++)
            ck_assert_int_eq(pthread_create(&thread[i], NULL, race, NULL), 0);
        for (int i = 0; i < 8; i++)
            pthread_join(thread[i], NULL);
        ck_assert_int_eq(race_won, 1);
        ck_assert_int_eq(race_lost, 7);
    }
}
END_TEST

/* ---- memory ---- */

static atomic_long allowed; /* requests granted before one fails */

static void *stingy_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    return atomic_fetch_sub(&allowed, 1) > 0 && posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void stingy_release(void *user, void *p, size_t size)
{
    (void)user;
    (void)size;
    free(p);
}

START_TEST(every_failing_request_is_reported)
{
    ammpl_allocator allocator = {.struct_size = sizeof allocator, .alloc = stingy_alloc, .release = stingy_release};
    ammpl_context *poor;
    allowed = 1000;
    ck_ok(ammpli_context_create(&allocator, &poor));
    ck_ok(ammpli_context_set_threads(poor, 1));
    unsigned long long before = poor->memory_now;
    ammpli_st_writer *w = writer(false);
    void *data, *copy;
    size_t size, copy_size;
    ck_ok(ammpli_st_writer_bytes(w, &data, &size));
    int failures = 0;
    for (long k = 0;; k++) {
        ammpli_st *st;
        ammpli_st_writer *pw;
        ammpli_clear_error();
        allowed = k;
        copy = NULL;
        ammpl_status status = ammpli_st_open_memory(poor, data, size, "x", &st);
        if (status == AMMPL_OK && (status = ammpli_st_writer_create(poor, &pw)) == AMMPL_OK) {
            status = ammpli_st_writer_add(pw, "t", AMMPL_DTYPE_F32, 0, NULL, floats);
            if (status == AMMPL_OK)
                status = ammpli_st_writer_bytes(pw, &copy, &copy_size);
            ammpli_st_writer_destroy(pw);
        }
        ammpli_free(poor, copy);
        ammpli_st_close(st);
        ck_assert_uint_eq(poor->memory_now, before);
        if (status == AMMPL_OK)
            break;
        ck_assert_int_eq(status, AMMPL_E_MEMORY);
        failures++;
    }
    ck_assert_int_gt(failures, 5);
    ammpli_free(ctx, data);
    ammpli_st_writer_destroy(w);
    ammpli_context_release(poor);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tc = tcase_create("safetensors");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, reads_what_is_there);
    tcase_add_test(tc, refuses_damaged_headers);
    tcase_add_test(tc, refuses_lengths);
    tcase_add_test(tc, survives_every_flipped_bit);
    tcase_add_test(tc, converts_and_finds_nan);
    tcase_add_test(tc, converts_in_pieces);
    tcase_add_test(tc, refuses_what_is_no_file);
    tcase_add_test(tc, writes_the_same_bytes);
    tcase_add_test(tc, writer_refuses);
    tcase_add_test(tc, saves_atomically);
    tcase_add_test(tc, full_disk_leaves_the_old_file);
    tcase_add_test(tc, one_of_many_savers_wins);
    tcase_add_test(tc, every_failing_request_is_reported);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
