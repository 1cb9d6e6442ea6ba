/* test_gif.c - GIFs against what Pillow makes of them (reference/make_gifs.py), and damaged ones. */
#include "support.h"

#include "data/image.h"
#include "io/safetensors.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {"plain",  "large",  "two-colours",        "interlaced", "own-palette",
                                    "inside", "beyond", "inside-transparent", "animated"};
enum { NAMES = sizeof names / sizeof names[0] };

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

static const char *golden(const char *name, const char *suffix)
{
    char file[64];
    snprintf(file, sizeof file, "gif/%s.%s", name, suffix);
    return test_golden(file);
}

START_TEST(as_pillow)
{
    ammpl_image *gif, *png;
    ck_ok(ammpli_image_load(ctx, golden(names[_i], "gif"), &gif));
    ck_ok(ammpli_image_load(ctx, golden(names[_i], "png"), &png));
    ck_assert_int_eq(gif->width, png->width);
    ck_assert_int_eq(gif->height, png->height);
    for (int i = 0; i < 3 * gif->width * gif->height; i++)
        ck_assert_msg(gif->pixels[i] == png->pixels[i], "%s: pixel %d, %d: %d, expected %d", names[_i], i / 3 % gif->width, i / 3 / gif->width,
                      gif->pixels[i], png->pixels[i]);
    ammpli_image_destroy(gif);
    ammpli_image_destroy(png);
}
END_TEST

/* Cut at every byte; every byte changed in two ways: a picture or a sentence. */
START_TEST(damaged)
{
    void *data;
    size_t size;
    int failures = 0;
    ck_ok(ammpli_file_read(ctx, golden(names[_i], "gif"), 1 << 20, &data, &size));
    size_t step = size > 2000 ? 17 : 1;
    for (size_t i = 0; i < 3 * size; i += step) {
        ammpl_image *img;
        uint8_t *byte = (uint8_t *)data + i % size, saved = *byte;
        *byte = i < size ? saved : i < 2 * size ? (uint8_t)~saved : (uint8_t)(saved + 1);
        ammpli_clear_error();
        ammpl_status status = ammpli_image_decode(ctx, data, i < size ? i : size, "x.gif", &img);
        *byte = saved;
        ck_assert_msg(status == AMMPL_OK || status == AMMPL_E_IMAGE, "status %d: %s", (int)status, ammpli_error_text());
        ck_assert_int_eq(status < 0, img == NULL);
        failures += status < 0;
        ammpli_image_destroy(img);
    }
    ck_assert_int_gt(failures, (int)(size / step / 2));
    ammpli_free(ctx, data);
}
END_TEST

START_TEST(claims_of_size)
{
    ammpl_image *img;
    static const uint8_t head[] = {'G', 'I', 'F', '8', '9', 'a', 0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 1, 2, 3, 4, 5, 6, 0x2c, 0, 0, 0, 0,
                                   0xff, 0xff, 0xff, 0xff, 0, 2, 1, 0x44, 0, ';'};
    ck_status(ammpli_image_decode(ctx, head, sizeof head, "x.gif", &img), AMMPL_E_IMAGE, "x.gif: too large");
    uint8_t smaller[sizeof head];
    memcpy(smaller, head, sizeof head);
    smaller[7] = smaller[9] = smaller[25] = smaller[27] = 0x20; /* 8447 x 8447 */
    ck_status(ammpli_image_decode(ctx, smaller, sizeof smaller, "x.gif", &img), AMMPL_E_IMAGE, "too few for 8447 x 8447");
    ck_status(ammpli_image_decode(ctx, "GIF89a", 6, "x.gif", &img), AMMPL_E_IMAGE, "x.gif: damaged GIF");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gif");
    TCase *tc = tcase_create("pictures");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, as_pillow, 0, NAMES);
    tcase_add_loop_test(tc, damaged, 0, NAMES);
    tcase_add_test(tc, claims_of_size);
    suite_add_tcase(suite, tc);
    return test_main(suite);
}
