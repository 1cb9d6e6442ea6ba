/* test_image.c - pictures against Pillow's and torchvision's results, damage, memory.  Goldens: make_images.py. */
#include "support.h"

#include "data/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ammpl_context *ctx;
static ammpli_st *golden;
static unsigned long long base_memory;

static void set_up(void)
{
    ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 1)); /* workers free what started them at a time of their own */
    base_memory = ctx->memory_now;
    ck_ok(ammpli_st_open(ctx, test_golden("images/images.safetensors"), &golden));
}

/* Whatever happened in a case, nothing may be left. */
static void tear_down(void)
{
    ammpli_st_close(golden);
    ck_assert_uint_eq(ctx->memory_now, base_memory);
    ammpli_context_release(ctx);
}

static const ammpli_preprocess CLIP = {.mean = {0.48145466f, 0.4578275f, 0.40821073f},
                                       .std = {0.26862954f, 0.26130258f, 0.27577711f}};

static ammpli_preprocess clip(int size)
{
    ammpli_preprocess pre = CLIP;
    pre.size = size;
    return pre;
}

static ammpl_image *load(const char *file)
{
    char name[256];
    snprintf(name, sizeof name, "images/%s", file);
    ammpl_image *img;
    ck_ok(ammpli_image_load(ctx, test_golden(name), &img));
    return img;
}

static void *stored(const ammpli_st_tensor *t)
{
    void *data = malloc(t->bytes + 1);
    ck_assert_ptr_nonnull(data);
    ck_ok(ammpli_st_read(golden, t, data));
    return data;
}

static void check_pixels(const ammpli_st_tensor *t, const ammpl_image *img)
{
    ck_assert_int_eq(t->shape[0], img->height);
    ck_assert_int_eq(t->shape[1], img->width);
    uint8_t *expected = stored(t);
    ck_assert_msg(memcmp(expected, img->pixels, t->bytes) == 0, "%s differs from the reference", t->name);
    free(expected);
}

static void check_input(const ammpli_st_tensor *t, const float *chw)
{
    float *expected = stored(t);
    ck_assert_msg(memcmp(expected, chw, t->bytes) == 0, "%s differs from the reference by %g", t->name,
                  test_difference(chw, expected, t->count, 1));
    free(expected);
}

/* ---- against the reference ---- */

START_TEST(decoding_equals_pillow)
{
    int seen = 0;
    for (size_t i = 0; i < ammpli_st_count(golden); i++) {
        const ammpli_st_tensor *t = ammpli_st_at(golden, i);
        if (strncmp(t->name, "rgb/", 4) != 0)
            continue;
        ammpl_image *img = load(t->name + 4);
        check_pixels(t, img);
        ammpli_image_destroy(img);
        seen++;
    }
    ck_assert_int_eq(seen, 49);
}
END_TEST

START_TEST(resizing_equals_pillow)
{
    int seen = 0;
    for (size_t i = 0; i < ammpli_st_count(golden); i++) {
        const ammpli_st_tensor *t = ammpli_st_at(golden, i);
        int left, top, w, h, out_w, out_h;
        char file[64];
        if (sscanf(t->name, "resize/%d/%d/%d/%d/%d/%d/%63s", &left, &top, &w, &h, &out_w, &out_h, file) != 7)
            continue;
        ammpl_image *img = load(file), *out;
        ck_ok(ammpli_image_resize(img, left, top, w, h, out_w, out_h, &out));
        check_pixels(t, out);
        ammpli_image_destroy(out);
        ammpli_image_destroy(img);
        seen++;
    }
    ck_assert_int_eq(seen, 6);
}
END_TEST

START_TEST(test_inputs_equal_torchvision)
{
    int seen = 0;
    for (size_t i = 0; i < ammpli_st_count(golden); i++) {
        const ammpli_st_tensor *t = ammpli_st_at(golden, i);
        int size;
        char file[64];
        if (sscanf(t->name, "test/%d/%63s", &size, file) != 2)
            continue;
        ammpl_image *img = load(file);
        float *chw = malloc(t->bytes);
        ammpli_preprocess pre = clip(size);
        ck_ok(ammpli_preprocess_test(&pre, img, chw));
        check_input(t, chw);
        free(chw);
        ammpli_image_destroy(img);
        seen++;
    }
    ck_assert_int_eq(seen, 12);
}
END_TEST

START_TEST(training_inputs_equal_the_reference)
{
    int seen = 0;
    for (size_t i = 0; i < ammpli_st_count(golden); i++) {
        const ammpli_st_tensor *t = ammpli_st_at(golden, i);
        int size;
        unsigned long long seed;
        unsigned id, step;
        char file[64];
        if (sscanf(t->name, "train/%d/%llu/%u/%u/%63s", &size, &seed, &id, &step, file) != 5)
            continue;
        ammpl_image *img = load(file);
        float *chw = malloc(t->bytes);
        ammpli_preprocess pre = clip(size);
        ck_ok(ammpli_preprocess_train(&pre, img, seed, id, step, chw));
        check_input(t, chw);
        free(chw);
        ammpli_image_destroy(img);
        seen++;
    }
    ck_assert_int_eq(seen, 12);
}
END_TEST

/* ---- properties ---- */

START_TEST(a_part_of_a_resize_is_that_part)
{
    ammpl_image *img = load("large.png"), *whole, *part;
    ck_ok(ammpli_image_resize(img, 11, 3, 120, 90, 40, 70, &whole));
    ck_ok(ammpli_image_resize_part(img, 11, 3, 120, 90, 40, 70, 7, 20, 30, 13, &part));
    for (int y = 0; y < 13; y++)
        ck_assert_mem_eq(part->pixels + y * 30 * 3, whole->pixels + ((y + 20) * 40 + 7) * 3, 30 * 3);
    ammpli_image_destroy(part);
    ck_status(ammpli_image_resize(img, 31, 0, 120, 10, 5, 5, &part), AMMPL_E_RANGE, "resize");
    ck_assert_ptr_null(part);
    ck_status(ammpli_image_resize_part(img, 0, 0, 10, 10, 5, 5, 1, 0, 5, 5, &part), AMMPL_E_RANGE, "resize");
    ammpli_image_destroy(whole);
    ammpli_image_destroy(img);
}
END_TEST

START_TEST(extreme_shapes_cost_no_more_than_their_crop)
{
    ammpl_image *img;
    float chw[3 * 32 * 32];
    ammpli_preprocess pre = clip(32);
    ck_ok(ammpli_image_create(ctx, 1, 1000000, &img)); /* the resized picture would have 1e9 pixels */
    unsigned long long before = ctx->memory_now;
    ck_ok(ammpli_preprocess_test(&pre, img, chw));
    ck_ok(ammpli_preprocess_train(&pre, img, 1, 2, 3, chw));
    ck_assert_uint_lt(ctx->memory_peak, before + (1 << 20));
    ammpli_image_destroy(img);
    ck_status(ammpli_image_create(ctx, 0, 5, &img), AMMPL_E_RANGE, "0 x 5");
    ck_status(ammpli_image_create(ctx, 5, -1, &img), AMMPL_E_RANGE, "5 x -1");
    ck_status(ammpli_image_create(ctx, 20000, 20000, &img), AMMPL_E_RANGE, "20000 x 20000");
    ck_assert_ptr_null(img);
}
END_TEST

START_TEST(unprocess_is_the_way_back)
{
    ammpl_image *img = load("square.png"), *back;
    float chw[3 * 32 * 32];
    ammpli_preprocess pre = clip(32);
    ck_ok(ammpli_preprocess_test(&pre, img, chw));
    ck_ok(ammpli_unprocess(ctx, &pre, chw, &back));
    ck_assert_mem_eq(back->pixels, img->pixels, sizeof chw / sizeof *chw);
    ammpli_image_destroy(back);
    chw[0] = 1e30f;
    chw[1] = -1e30f;
    chw[2] = NAN;
    ck_ok(ammpli_unprocess(ctx, &pre, chw, &back));
    ck_assert_uint_eq(back->pixels[0], 255);
    ck_assert_uint_eq(back->pixels[3], 0);
    ck_assert_uint_eq(back->pixels[6], 0);
    ammpli_image_destroy(back);
    ammpli_image_destroy(img);
}
END_TEST

START_TEST(saving_and_loading_keeps_every_pixel)
{
    ammpl_image *img = load("elongated.png"), *back;
    const char *path = test_temp("saved.png");
    ck_ok(ammpli_image_save_png(img, path));
    ck_ok(ammpli_image_save_png(img, path)); /* replaced */
    ck_ok(ammpli_image_load(ctx, path, &back));
    ck_assert_int_eq(back->width, img->width);
    ck_assert_mem_eq(back->pixels, img->pixels, (size_t)img->width * (size_t)img->height * 3);
    ammpli_image_destroy(back);
    ck_status(ammpli_image_save_png(img, "/nowhere/at/all.png"), AMMPL_E_IO, "/nowhere/at/all.png");
    ammpli_image_destroy(img);
}
END_TEST

/* ---- damage ---- */

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

static bytes read_file(const char *file)
{
    char name[256];
    snprintf(name, sizeof name, "images/%s", file);
    void *data;
    bytes b;
    ck_ok(ammpli_file_read(ctx, test_golden(name), 1 << 20, &data, &b.size));
    b.data = malloc(b.size); /* exactly as long as the file, so that a sanitizer sees reads beyond it */
    memcpy(b.data, data, b.size);
    ammpli_free(ctx, data);
    return b;
}

static void check_refused(const uint8_t *data, size_t size, const char *why)
{
    ammpl_image *img;
    ck_status(ammpli_image_decode(ctx, data, size, "picture 7", &img), AMMPL_E_IMAGE, why);
    ck_assert_ptr_nonnull(strstr(ammpli_error_text(), "picture 7"));
    ck_assert_ptr_null(img);
}

START_TEST(not_a_picture)
{
    check_refused((const uint8_t *)"", 0, "neither as PNG nor as JPEG");
    check_refused((const uint8_t *)"just text\n", 10, "neither as PNG nor as JPEG");
    check_refused((const uint8_t *)"\x89PNG\r\n\x1a\n", 7, "neither");
    check_refused((const uint8_t *)"\x89PNG\r\n\x1a\n", 8, "too early");
    check_refused((const uint8_t *)"\xff\xd8\xff", 3, "too early");
    const char *path = test_temp("text.png");
    FILE *f = fopen(path, "w");
    fputs("a text file that calls itself a picture", f);
    fclose(f);
    ammpl_image *img;
    ck_status(ammpli_image_load(ctx, path, &img), AMMPL_E_IMAGE, "text.png");
    ck_assert_int_eq(truncate(path, (off_t)1 << 40), 0); /* sparse */
    ck_status(ammpli_image_load(ctx, path, &img), AMMPL_E_IMAGE, "text.png");
    ck_status(ammpli_image_load(ctx, test_temp("absent.png"), &img), AMMPL_E_IO, "absent.png");
    ck_assert_ptr_null(img);
}
END_TEST

/* Cut anywhere before the end of its pixels a picture is refused, and an end cut off behind them is not missed. */
START_TEST(truncated)
{
    const char *const file[] = {"rgb8.png", "adam7-rgba16.png", "palette4.png",
                                "420.jpg",  "progressive.jpg",  "cmyk.jpg"};
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        bytes b = read_file(file[i]);
        size_t must_fail = strstr(file[i], ".png") ? b.size - 16 : b.size - 12;
        for (size_t n = 0; n < must_fail; n += n < 64 ? 1 : 7) {
            uint8_t *part = malloc(n + 1);
            memcpy(part, b.data, n);
            check_refused(part, n, n < 8 ? "" : "too early");
            free(part);
        }
        free(b.data);
    }
}
END_TEST

static uint32_t crc_of(const uint8_t *data, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

static void put32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* A correct PNG header that lies about its size. */
static void check_png_size(uint32_t width, uint32_t height, const char *why)
{
    bytes b = read_file("rgb8.png");
    put32(b.data + 16, width);
    put32(b.data + 20, height);
    put32(b.data + 29, crc_of(b.data + 12, 17));
    check_refused(b.data, b.size, why);
    free(b.data);
}

static uint8_t *find_marker(bytes b, uint8_t marker)
{
    for (size_t i = 2; i + 1 < b.size; i++)
        if (b.data[i] == 0xff && b.data[i + 1] == marker)
            return b.data + i;
    ck_abort_msg("no marker %x", marker);
    return NULL;
}

static void check_jpeg_header(size_t at, uint8_t value, const char *why)
{
    bytes b = read_file("444.jpg");
    find_marker(b, 0xc0)[at] = value;
    check_refused(b.data, b.size, why);
    free(b.data);
}

START_TEST(lying_headers)
{
    unsigned long long before = ctx->memory_peak;
    check_png_size(0, 7, "damaged PNG");
    check_png_size(7, 0, "damaged PNG");
    check_png_size(0x7fffffff, 0x7fffffff, "damaged PNG");
    check_png_size(0xffffffff, 1, "damaged PNG");
    check_png_size(900000, 900000, "too large");
    check_png_size(16000, 16000, "too few");
    check_png_size(13, 12, "damaged PNG");    /* one row more than there is */
    check_jpeg_header(5, 0xff, "too few");    /* height */
    check_jpeg_header(7, 0xff, "too few");    /* width */
    check_jpeg_header(4, 12, "damaged JPEG"); /* bits */
    check_jpeg_header(9, 2, "damaged JPEG");  /* components */
    ck_assert_uint_lt(ctx->memory_peak, before + (1 << 20));
}
END_TEST

/* progressive.jpg with its last scan `times` times. */
static bytes repeat_last_scan(size_t times)
{
    bytes b = read_file("progressive.jpg"), many;
    size_t head = 0;
    for (size_t i = 2; i + 1 < b.size; i++)
        if (b.data[i] == 0xff && b.data[i + 1] == 0xda)
            head = i;
    size_t scan = b.size - 2 - head;
    many.size = head + times * scan + 2;
    many.data = malloc(many.size);
    memcpy(many.data, b.data, head);
    for (size_t i = 0; i < times; i++)
        memcpy(many.data + head + i * scan, b.data + head, scan);
    memcpy(many.data + many.size - 2, b.data + b.size - 2, 2);
    free(b.data);
    return many;
}

START_TEST(endless_scans)
{
    ammpl_image *img;
    bytes few = repeat_last_scan(20), many = repeat_last_scan(200);
    ck_ok(ammpli_image_decode(ctx, few.data, few.size, "few", &img));
    ammpli_image_destroy(img);
    check_refused(many.data, many.size, "scans");
    free(few.data);
    free(many.data);
}
END_TEST

/* Flipped bits and cuts in every golden picture: a picture or a refusal, no output, no memory left. */
START_TEST(mutations)
{
    fflush(stderr);
    int saved = dup(2), log = open(test_temp("stderr"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    ck_assert(saved >= 0 && log >= 0 && dup2(log, 2) == 2);
    DIR *d = opendir(test_golden("images"));
    const struct dirent *entry;
    unsigned long long before = ctx->memory_now;
    uint32_t refused = 0, files = 0;
    while ((entry = readdir(d))) {
        if (!strstr(entry->d_name, ".png") && !strstr(entry->d_name, ".jpg"))
            continue;
        bytes b = read_file(entry->d_name);
        for (uint32_t round = 0; round < 16; round++) {
            uint32_t x[4];
            ammpli_philox(ammpli_hash(entry->d_name), 0, round, 0, 0, 0, x);
            size_t n = round % 4 == 3 ? x[0] % b.size + 1 : b.size;
            uint8_t *mutant = malloc(n);
            memcpy(mutant, b.data, n);
            for (uint32_t k = 0; k <= round % 4; k++)
                mutant[(x[1] + k * x[3]) % n] ^= (uint8_t)(1 << (x[2] >> k) % 8);
            ammpl_image *img;
            ammpli_clear_error();
            ammpl_status status = ammpli_image_decode(ctx, mutant, n, "mutant", &img);
            ck_assert(status == AMMPL_OK || status == AMMPL_E_IMAGE);
            ck_assert((status == AMMPL_OK) == (img != NULL));
            ck_assert((status == AMMPL_OK) == (ammpli_error_text()[0] == '\0'));
            refused += !img;
            ammpli_image_destroy(img);
            free(mutant);
        }
        free(b.data);
        files++;
    }
    closedir(d);
    dup2(saved, 2);
    ck_assert_int_eq(lseek(log, 0, SEEK_END), 0); /* libpng and libjpeg said nothing */
    close(log);
    close(saved);
    ck_assert_uint_eq(files, 49);
    ck_assert_uint_gt(refused, files * 4);
    ck_assert_uint_eq(ctx->memory_now, before);
}
END_TEST

/* ---- memory that runs out ---- */

typedef struct scarce {
    long left; /* allocations until none succeeds; below 0: no limit */
    long held;
} scarce;

static void *scarce_alloc(void *user, size_t size, size_t align)
{
    scarce *s = user;
    void *p = NULL;
    if (s->left == 0 || posix_memalign(&p, align, size) != 0)
        return NULL;
    s->left -= s->left > 0;
    s->held++;
    return p;
}

static void scarce_release(void *user, void *p, size_t size)
{
    (void)size;
    ((scarce *)user)->held--;
    free(p);
}

static ammpl_status work(ammpl_context *c, const bytes *b, const char *path)
{
    ammpl_image *img = NULL;
    float chw[3 * 8 * 8];
    ammpli_preprocess pre = clip(8);
    TRY(ammpli_image_decode(c, b->data, b->size, "picture", &img));
    ammpl_status status;
    TRY_GOTO(done, ammpli_preprocess_test(&pre, img, chw));
    TRY_GOTO(done, ammpli_image_save_png(img, path));
done:
    ammpli_image_destroy(img);
    return status;
}

START_TEST(out_of_memory)
{
    const char *const file[] = {"palette8.png", "adam7-grey16.png", "cmyk.jpg", "progressive.jpg"};
    scarce s = {.left = -1};
    ammpl_allocator a = {.struct_size = sizeof a, .user = &s, .alloc = scarce_alloc, .release = scarce_release};
    ammpl_context *c;
    ck_ok(ammpli_context_create(&a, &c));
    ck_ok(ammpli_context_set_threads(c, 1));
    long base = s.held;
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        bytes b = read_file(file[i]);
        ammpl_status status = AMMPL_E_MEMORY;
        for (long n = 0; status != AMMPL_OK; n++) {
            s.left = n;
            ammpli_clear_error();
            status = work(c, &b, test_temp("scarce.png"));
            ck_assert_msg(status == AMMPL_OK || status == AMMPL_E_MEMORY, "%s: %s", file[i], ammpli_error_text());
            ck_assert((status == AMMPL_OK) == (ammpli_error_text()[0] == '\0'));
            ck_assert_int_eq(s.held, base);
            ck_assert_int_lt(n, 200);
        }
        free(b.data);
    }
    s.left = -1;
    ammpli_context_release(c);
    ck_assert_int_eq(s.held, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("image");
    TCase *c = tcase_create("pictures");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, decoding_equals_pillow);
    tcase_add_test(c, resizing_equals_pillow);
    tcase_add_test(c, test_inputs_equal_torchvision);
    tcase_add_test(c, training_inputs_equal_the_reference);
    tcase_add_test(c, a_part_of_a_resize_is_that_part);
    tcase_add_test(c, extreme_shapes_cost_no_more_than_their_crop);
    tcase_add_test(c, unprocess_is_the_way_back);
    tcase_add_test(c, saving_and_loading_keeps_every_pixel);
    tcase_add_test(c, not_a_picture);
    tcase_add_test(c, truncated);
    tcase_add_test(c, lying_headers);
    tcase_add_test(c, endless_scans);
    tcase_add_test(c, mutations);
    tcase_add_test(c, out_of_memory);
    suite_add_tcase(suite, c);
    return test_main(suite);
}
