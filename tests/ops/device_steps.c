/* device_steps.c - steps whose calls are the same but for their numbers: as graphs, and one by one. */
#include "device.h"

/* Arrays of the device, and a step's numbers. */
enum { DRAWN = 6, TILES = 37, LEARNED = DRAWN * TILES, TIMES = 5, OUTPUTS = 4 };
typedef struct repeated {
    float *prob, *mask, *gradient, *adam, *mean, *square, *plain, *momentum, *pixels;
    int32_t *index;
    float *all; /* [TIMES,OUTPUTS,LEARNED]: masks and tensors after each step */
} repeated;

/* A step whose calls are the last one's but for their numbers.  It ends where memory comes and goes, so that what is queued may still
 * run when the next one begins.  waits: after every call, so that none of them becomes part of a graph. */
static void repeat(device *d, const repeated *r, int i, const float *pixels, size_t n, bool waits)
{
#define ASK(op, ...)                                  \
    do {                                              \
        ck_ok(ops->op(d->stream, __VA_ARGS__));       \
        if (waits)                                    \
            ck_ok(ops->sync(d->stream));              \
    } while (0)
    const ammpl_ops *ops = d->backend->ops;
    int32_t index[3 * DRAWN];
    for (int k = 0; k < 3 * DRAWN; k++)
        index[k] = k < DRAWN ? (i + k) % 2 : i * 7 + k;
    const uint32_t *hash = (const uint32_t *)r->index + DRAWN, *id = hash + DRAWN;
    void *between;
    ASK(upload, r->index, index, sizeof index);
    ASK(mask_draw, r->mask, r->prob, r->index, hash, id, 11 + (uint64_t)i, 2, (uint32_t)i, AMMPL_MASK_SAMPLE, DRAWN, TILES);
    ASK(add, r->gradient, r->mask, 0.25f, LEARNED);
    ASK(mask_draw, r->mask, r->prob, r->index, hash, NULL, 5, 3, 1000 + (uint32_t)i, AMMPL_MASK_SAMPLE, DRAWN, TILES);
    ASK(add, r->gradient, r->mask, -0.125f, LEARNED);
    ASK(adamw, r->adam, r->mean, r->square, r->gradient, 0.1f / (float)(1 + i), 0.9f, 0.99f, 1e-8f, 0.01f, i + 1, LEARNED);
    ASK(sgd, r->plain, r->momentum, r->gradient, 0.2f / (float)(1 + i), 0.9f, 0.01f, LEARNED);
    ASK(upload, r->pixels, pixels, n * sizeof *pixels);
    ASK(scale, r->pixels, 0.5f, LEARNED);
    ASK(add, r->plain, r->pixels, 0.5f, LEARNED);
    ASK(add, r->adam, r->pixels, 0.25f, LEARNED);
    ASK(add, r->adam, r->pixels + n - LEARNED, 0.25f, LEARNED);
    ASK(add, r->gradient, r->pixels, 0.125f, LEARNED);
    ASK(scale, r->gradient, 0.5f, LEARNED);
    ASK(sgd, r->plain, r->momentum, r->gradient, 0.3f / (float)(1 + i), 0.9f, 0.01f, LEARNED);
    ck_ok(ops->alloc(d->stream, 1, &between));
    const float *result[OUTPUTS] = {r->mask, r->adam, r->plain, r->gradient};
    for (int k = 0; k < OUTPUTS; k++)
        ck_ok(ops->copy(d->stream, r->all + (i * OUTPUTS + k) * LEARNED, result[k], LEARNED * sizeof(float)));
    ops->release(d->stream, between);
#undef ASK
}

static float *floats_of(device *d, size_t n, float value)
{
    void *to;
    float *host = malloc(n * sizeof *host);
    ck_assert_ptr_nonnull(host);
    for (size_t i = 0; i < n; i++)
        host[i] = value + (float)(i % 7) / 16;
    ck_ok(d->backend->ops->alloc(d->stream, n * sizeof *host, &to));
    ck_ok(d->backend->ops->upload(d->stream, to, host, n * sizeof *host));
    free(host);
    return to;
}

/* TIMES steps on a stream of their own; how many graphs they became. */
static uint64_t repeat_all(uint64_t seed, size_t n, bool waits, float out[TIMES * OUTPUTS * LEARNED])
{
    if (configure)
        configure(seed, GIB, 1);
    device d = open_device();
    const ammpl_ops *ops = d.backend->ops;
    void *index;
    uint64_t before = counted ? counted()->graphs : 0;
    float *pixels = malloc(n * sizeof *pixels);
    ck_assert_ptr_nonnull(pixels);
    ck_ok(ops->alloc(d.stream, 3 * DRAWN * sizeof(int32_t), &index));
    repeated r = {.prob = floats_of(&d, 2 * TILES, 0.3f), .mask = floats_of(&d, LEARNED, 0), .gradient = floats_of(&d, LEARNED, 0),
                  .adam = floats_of(&d, LEARNED, 1), .mean = floats_of(&d, LEARNED, 0), .square = floats_of(&d, LEARNED, 0),
                  .plain = floats_of(&d, LEARNED, 1), .momentum = floats_of(&d, LEARNED, 0), .pixels = floats_of(&d, n, 0),
                  .index = index, .all = floats_of(&d, TIMES * OUTPUTS * LEARNED, 0)};
    ck_ok(ops->sync(d.stream));
    for (int i = 0; i < TIMES; i++) {
        for (size_t k = 0; k < n; k++)
            pixels[k] = (float)((k + (size_t)i) % 13);
        repeat(&d, &r, i, pixels, n, waits);
    }
    ck_ok(ops->download(d.stream, out, r.all, TIMES * OUTPUTS * LEARNED * sizeof *out));
    void *all[] = {r.prob, r.mask, r.gradient, r.adam, r.mean, r.square, r.plain, r.momentum, r.pixels, r.index, r.all};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ops->release(d.stream, all[i]);
    free(pixels);
    close_device(&d);
    return counted ? counted()->graphs - before : 0;
}

/* Draws, updates and uploads that become graphs give the bits that they give one by one, whatever changes from step to step: steps
 * and seeds, learning rates, AdamW's corrections, indices and pixels.  The first number of pixels finds room in the graph's memory; the
 * second does not on the emulated device, and stands between two graphs. */
START_TEST(repeated_steps)
{
    static const size_t sizes[] = {40001, 300001};
    static float alone[TIMES * OUTPUTS * LEARNED], together[TIMES * OUTPUTS * LEARNED];
    static const char *const names[OUTPUTS] = {"masks", "AdamW's tensor", "SGD's tensor", "gradients"};
    for (size_t k = 0; k < 2; k++) {
        ck_assert_uint_eq(repeat_all(0, sizes[k], true, alone), 0);
        for (uint64_t seed = 0; seed < (configure ? SEEDS : 1); seed++) {
            uint64_t graphs = repeat_all(seed, sizes[k], false, together);
            for (int i = 0; i < TIMES * OUTPUTS; i++) {
                size_t at = (size_t)i * LEARNED, size = LEARNED * sizeof *alone;
                ck_assert_msg(memcmp(alone + at, together + at, size) == 0, "step %d: other %s when it is a graph", i / OUTPUTS, names[i % OUTPUTS]);
                ck_assert_msg(i < OUTPUTS || memcmp(alone + at, alone + at - OUTPUTS * LEARNED, size) != 0, "%s: nothing changes", names[i % OUTPUTS]);
            }
            ck_assert_msg(!counted || graphs == (TIMES - 1) * (k + 1), "%d graphs in %d steps with %zu pixels", (int)graphs, TIMES, sizes[k]);
        }
    }
}
END_TEST

void add_repeated_steps(TCase *to)
{
    tcase_add_test(to, repeated_steps);
}
