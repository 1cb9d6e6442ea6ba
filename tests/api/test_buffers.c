/* test_buffers.c - output arrays that are one element too small: AMMPL_E_BUFFER, the number needed, nothing written past. */
#include "api.h"

#include <stdio.h>

enum { GUARD = 12345 };

/* `call` uses `cap`; it must refuse need - 1 naming need, and fill need elements of `array` but not one more. */
#define ck_cap(array, need, call)                                                        \
    do {                                                                                 \
        char number[24];                                                                 \
        snprintf(number, sizeof number, "%zu", (size_t)(need));                          \
        (array)[need] = GUARD;                                                           \
        size_t cap = (need) - 1;                                                         \
        ck_is(call, AMMPL_E_BUFFER, number);                                             \
        cap = (need);                                                                    \
        ck_done(call);                                                                   \
        ck_assert_msg((array)[need] == GUARD, "%s: wrote more than " #need, #call);      \
    } while (0)

START_TEST(arrays)
{
    world *w = world_shared();
    enum { N = 2 };
    static float f[8 * PIXELS], pixels[N * PIXELS];
    ck_cap(f, PIXELS, ammpl_model_preprocess(w->model, w->image, f, cap));
    ck_cap(f, PIXELS, ammpl_model_augment(w->model, w->image, 1, 0, 0, f, cap));
    ck_cap(f, N * EMBED, ammpl_session_encode_texts(w->session, class_names, N, f, cap));
    ck_cap(f, N * EMBED, ammpl_session_encode_images(w->session, NULL, pixels, N, f, cap));
    ck_cap(f, CLASSES * EMBED, ammpl_session_encode_classes(w->session, w->prompt, f, cap));
    ck_cap(f, N * CLASSES, ammpl_session_predict(w->session, w->prompt, pixels, N, f, cap));
    ck_cap(f, CLASSES * 3 * PATCH * PATCH, ammpl_session_padding(w->session, w->prompt, f, cap));
    ck_cap(f, CLASSES * GRID * GRID, ammpl_session_masks(w->session, w->prompt, 0, f, cap));
    for (size_t i = 0; i < ammpl_prompt_tensor_count(w->prompt); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        ck_done(ammpl_prompt_tensor_describe(w->prompt, i, &info));
        ck_assert_uint_lt(info.count, sizeof f / sizeof *f);
        ck_cap(f, info.count, ammpl_prompt_tensor_read(w->prompt, i, f, cap));
        ck_cap(f, info.count, ammpl_prompt_gradient_read(w->prompt, i, f, cap));
    }
    world_destroy(w);
}
END_TEST

START_TEST(tokens)
{
    world *w = world_shared();
    int32_t ids[32] = {0};
    size_t need;
    ck_is(ammpl_model_tokenize(w->model, "a photo of a cat", NULL, 0, &need), AMMPL_E_BUFFER, "room");
    ck_assert_uint_gt(need, 3);
    const size_t n = need;
    ck_cap(ids, n, ammpl_model_tokenize(w->model, "a photo of a cat", ids, cap, &need));
    ck_assert_uint_eq(need, n);
    need = 7;
    ck_is(ammpl_model_tokenize(w->model, "one text that has far more than nineteen tokens", ids, 32, &need), AMMPL_E_RANGE,
          "one text");
    ck_assert_uint_eq(need, 0);
    world_destroy(w);
}
END_TEST

START_TEST(prompt_bytes)
{
    world *w = world_shared();
    static unsigned char bytes[1 << 20];
    size_t need;
    ck_is(ammpl_prompt_save_memory(w->prompt, NULL, 0, &need), AMMPL_E_BUFFER, "room");
    const size_t n = need;
    ck_assert_uint_gt(n, 100);
    ck_assert_uint_lt(n, sizeof bytes);
    bytes[n] = 77;
    ck_is(ammpl_prompt_save_memory(w->prompt, bytes, n - 1, &need), AMMPL_E_BUFFER, "room");
    ck_assert_uint_eq(need, n);
    ck_done(ammpl_prompt_save_memory(w->prompt, bytes, n, NULL));
    ck_assert_uint_eq(bytes[n], 77);
    ammpl_prompt *again;
    ck_done(ammpl_prompt_load_memory(w->model, bytes, n, NULL, &again));
    ck_assert_uint_eq(ammpl_prompt_class_count(again), CLASSES);
    ammpl_prompt_destroy(again);
    world_destroy(w);
}
END_TEST

TCase *case_buffers(void)
{
    TCase *tc = tcase_create("buffers");
    tcase_add_test(tc, arrays);
    tcase_add_test(tc, tokens);
    tcase_add_test(tc, prompt_bytes);
    return tc;
}
