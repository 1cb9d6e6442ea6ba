/* test_structs.c - structs of older and newer callers: struct_size says how much of one there is. */
#include "api.h"

#include <stddef.h>

typedef struct newer_allocator {
    ammpl_allocator known;
    uint64_t later[2];
} newer_allocator;

static void *alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p;
    return posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void release(void *user, void *ptr, size_t size)
{
    (void)user;
    (void)size;
    free(ptr);
}

START_TEST(input)
{
    ammpl_context *ctx;
    newer_allocator a = {.known = {.struct_size = sizeof a, .alloc = alloc, .release = release}};
    ck_done(ammpl_context_create(&a.known, &ctx)); /* what it does not know is zero */
    ammpl_context_destroy(ctx);
    a.later[1] = 1;
    ck_is(ammpl_context_create(&a.known, &ctx), AMMPL_E_VERSION, "ammpl_allocator");
    ck_assert_ptr_null(ctx);
    a.known.struct_size = sizeof a.known;
    ck_done(ammpl_context_create(&a.known, &ctx));
    ammpl_context_destroy(ctx);
    a.known.flags = 1;
    ck_is(ammpl_context_create(&a.known, &ctx), AMMPL_E_VERSION, "flags");
    a.known.flags = 0;
    a.known.struct_size = offsetof(ammpl_allocator, release); /* a member that is not there counts as zero */
    ck_is(ammpl_context_create(&a.known, &ctx), AMMPL_E_ARGUMENT, "release");
    a.known.struct_size = 0;
    ck_is(ammpl_context_create(&a.known, &ctx), AMMPL_E_ARGUMENT, "sizeof(ammpl_allocator)");
    a.known.struct_size = 0xcccccccc; /* never set */
    ck_is(ammpl_context_create(&a.known, &ctx), AMMPL_E_ARGUMENT, "sizeof(ammpl_allocator)");
}
END_TEST

START_TEST(batch)
{
    world *w = world_shared();
    static float pixels[2 * PIXELS];
    const int32_t label[2] = {0, 1};
    struct {
        ammpl_batch known;
        uint64_t later;
    } b = {.known = {.struct_size = sizeof b, .n = 2, .pixels = pixels, .label = label}};
    double whole, older, half;
    ck_done(ammpl_session_accumulate(w->session, w->prompt, &b.known, &whole, NULL));
    b.known.weight = 0.25;
    ck_done(ammpl_session_accumulate(w->session, w->prompt, &b.known, &half, NULL));
    ck_assert(half < whole);
    b.known.struct_size = offsetof(ammpl_batch, weight); /* a caller from before there was a weight: 1/n */
    ck_done(ammpl_session_accumulate(w->session, w->prompt, &b.known, &older, NULL));
    ck_assert(older == whole);
    b.known.struct_size = offsetof(ammpl_batch, features); /* one from before features: what lies behind is not read */
    b.known.weight = 0;
    b.known.features = (const float *)(const void *)"no features";
    ck_done(ammpl_session_accumulate(w->session, w->prompt, &b.known, &older, NULL));
    ck_assert(older == whole);
    b.known.struct_size = sizeof b.known;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &b.known, &older, NULL), AMMPL_E_STATE, "features");
    b.known.features = NULL;
    b.known.pixels = NULL;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &b.known, &older, NULL), AMMPL_E_ARGUMENT, "pixels");
    b.known.pixels = pixels;
    b.known.struct_size = sizeof b;
    b.later = 1;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &b.known, &whole, NULL), AMMPL_E_VERSION, "ammpl_batch");
    ck_assert(whole == 0);
    b.later = 0;
    b.known.reserved = 1;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &b.known, &whole, NULL), AMMPL_E_VERSION, "reserved");
    b.known.reserved = 0;
    b.known.reserved2 = 1;
    ck_is(ammpl_session_accumulate(w->session, w->prompt, &b.known, &whole, NULL), AMMPL_E_VERSION, "reserved");
    world_destroy(w);
}
END_TEST

START_TEST(tape_inputs)
{
    world *w = world_shared();
    static float values[4 * PIXELS];
    ammpl_tape *t;
    ck_done(ammpl_tape_create(w->model, NULL, &t));
    struct {
        ammpl_text_input known;
        uint64_t later;
    } text = {.known = {.struct_size = offsetof(ammpl_text_input, prefix), .n = 1, .L = 3, .rows = values, .prefix_rows = 9}};
    ck_done(ammpl_tape_begin_text(t, &text.known)); /* from before there were prefixes: what lies behind is not read */
    text.known.struct_size = sizeof text;
    text.known.prefix_rows = 0;
    ck_done(ammpl_tape_begin_text(t, &text.known));
    text.later = 1;
    ck_is(ammpl_tape_begin_text(t, &text.known), AMMPL_E_VERSION, "ammpl_text_input");
    ammpl_image_input image = {.struct_size = sizeof image, .n = 1, .pixels = values};
    ck_done(ammpl_tape_begin_image(t, &image));
    image.reserved = 1;
    ck_is(ammpl_tape_begin_image(t, &image), AMMPL_E_VERSION, "reserved");
    image.reserved = 0;
    image.struct_size = 0;
    ck_is(ammpl_tape_begin_image(t, &image), AMMPL_E_ARGUMENT, "sizeof(ammpl_image_input)");
    ammpl_tape_destroy(t);
    world_destroy(w);
}
END_TEST

START_TEST(output)
{
    unsigned char bytes[2 * sizeof(ammpl_option_info)];
    ammpl_option_info *info = (ammpl_option_info *)(void *)bytes, full = {.struct_size = sizeof full};
    ck_done(ammpl_option_describe(3, &full));
    ck_assert_uint_gt(strlen(full.name), 0);
    ck_assert_uint_gt(strlen(full.doc), 0);

    /* An older caller's struct ends early: nothing is written behind its end. */
    memset(bytes, 0xee, sizeof bytes);
    info->struct_size = offsetof(ammpl_option_info, def);
    ck_done(ammpl_option_describe(3, info));
    ck_assert_uint_eq(info->struct_size, offsetof(ammpl_option_info, def));
    ck_assert_ptr_eq(info->name, full.name);
    for (size_t i = offsetof(ammpl_option_info, def); i < sizeof bytes; i++)
        ck_assert_uint_eq(bytes[i], 0xee);

    /* A newer caller's is longer: what this library does not know is zero. */
    memset(bytes, 0xee, sizeof bytes);
    info->struct_size = sizeof bytes;
    ck_done(ammpl_option_describe(3, info));
    ck_assert_uint_eq(info->struct_size, sizeof bytes);
    ck_assert_ptr_eq(info->doc, full.doc);
    for (size_t i = sizeof *info; i < sizeof bytes; i++)
        ck_assert_uint_eq(bytes[i], 0);

    /* After an error nothing stands in it. */
    memset(bytes, 0xee, sizeof bytes);
    info->struct_size = sizeof *info;
    ck_is(ammpl_option_describe(100000, info), AMMPL_E_RANGE, "100000");
    ck_assert_ptr_null(info->name);
    info->struct_size = 2;
    ck_is(ammpl_option_describe(0, info), AMMPL_E_ARGUMENT, "sizeof(ammpl_option_info)");
}
END_TEST

/* The other output structs keep the caller's size too. */
START_TEST(output_everywhere)
{
    world *w = world_shared();
    ammpl_tensor_info tensor = {.struct_size = offsetof(ammpl_tensor_info, count), .count = 77};
    ck_done(ammpl_prompt_tensor_describe(w->prompt, 0, &tensor));
    ck_assert_uint_eq(tensor.struct_size, offsetof(ammpl_tensor_info, count));
    ck_assert_uint_eq(tensor.count, 77);
    ck_assert_int_ge(tensor.rank, 1);
    ammpl_progress progress = {.struct_size = offsetof(ammpl_progress, seconds), .seconds = 77};
    ck_done(ammpl_trainer_step(w->trainer, &progress));
    ck_assert_uint_eq(progress.struct_size, offsetof(ammpl_progress, seconds));
    ck_assert(progress.seconds == 77);
    ck_assert(progress.loss > 0);
    ammpl_metrics metrics = {.struct_size = offsetof(ammpl_metrics, loss), .loss = 77};
    ck_done(ammpl_session_evaluate(w->session, w->prompt, w->data, NULL, NULL, NULL, NULL, &metrics));
    ck_assert_uint_eq(metrics.struct_size, offsetof(ammpl_metrics, loss));
    ck_assert_uint_eq(metrics.samples, 4);
    ck_assert(metrics.loss == 77);
    world_destroy(w);
}
END_TEST

TCase *case_structs(void)
{
    TCase *tc = tcase_create("structs");
    tcase_add_test(tc, input);
    tcase_add_test(tc, batch);
    tcase_add_test(tc, tape_inputs);
    tcase_add_test(tc, output);
    tcase_add_test(tc, output_everywhere);
    return tc;
}
