/* device_steps.c - calls that come again: as graphs and one by one, what is kept of them, and what fails. */
#include <stdio.h>

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

/* ---- what is kept, and what fails ---- */

/* A stretch of calls between two waits: an upload of `n` floats to x, where n > 0, and `calls` additions of x to y, whose factors
 * begin at `factor`.  y_host changes as y does. */
typedef struct stretch {
    size_t n;
    int calls;
    float factor;
} stretch;

typedef struct sums {
    device d;
    size_t n;
    float *x, *y, *x_host, *y_host; /* [n], [LEARNED] */
} sums;

static sums open_sums(size_t n)
{
    configure(0, GIB, 1);
    sums u = {.d = open_device(), .n = n};
    u.x = floats_of(&u.d, n, 0);
    u.y = floats_of(&u.d, LEARNED, 0);
    u.x_host = calloc(n, sizeof *u.x_host);
    u.y_host = calloc(LEARNED, sizeof *u.y_host);
    ck_assert(u.x_host && u.y_host);
    ck_ok(u.d.backend->ops->upload(u.d.stream, u.x, u.x_host, n * sizeof *u.x_host));
    ck_ok(u.d.backend->ops->zero(u.d.stream, u.y, LEARNED * sizeof *u.y_host));
    ck_ok(u.d.backend->ops->sync(u.d.stream));
    return u;
}

static void close_sums(sums *u)
{
    u->d.backend->ops->release(u->d.stream, u->x);
    u->d.backend->ops->release(u->d.stream, u->y);
    free(u->x_host);
    free(u->y_host);
    close_device(&u->d);
}

/* The calls without the wait; small integers, so that sums are exact in any order. */
static ammpl_status ask(sums *u, const stretch *of)
{
    const ammpl_ops *ops = u->d.backend->ops;
    for (size_t i = 0; of->n && i < u->n; i++)
        u->x_host[i] = (float)((int)(u->x_host[i] + 1 + (float)(i % 3)) % 5);
    if (of->n)
        TRY(ops->upload(u->d.stream, u->x, u->x_host, of->n * sizeof *u->x_host));
    for (int c = 0; c < of->calls; c++)
        TRY(ops->add(u->d.stream, u->y, u->x, of->factor + (float)c, LEARNED));
    for (int c = 0; c < of->calls; c++)
        for (int i = 0; i < LEARNED; i++)
            u->y_host[i] += (of->factor + (float)c) * u->x_host[i];
    return AMMPL_OK;
}

static bool is_right(sums *u)
{
    float got[LEARNED];
    ck_ok(u->d.backend->ops->download(u->d.stream, got, u->y, sizeof got));
    return memcmp(got, u->y_host, sizeof got) == 0;
}

/* Asks and waits: how many graphs that started. */
static int graphs_of(sums *u, const stretch *of)
{
    uint64_t before = counted()->graphs;
    ck_ok(ask(u, of));
    ck_ok(u->d.backend->ops->sync(u->d.stream));
    return (int)(counted()->graphs - before);
}

/* Stretches with one upload in common, which together are more than graphs may pin (1 MiB on the emulated device): no more is ever
 * pinned; and when others have been asked for since, the memory is theirs. */
START_TEST(pinned_memory_is_bounded)
{
    enum { PIXELS = 150000, PINNED = 1 << 20 };
    static const stretch large[] = {{PIXELS, 8, 1}, {PIXELS, 8, 2}, {PIXELS, 8, 3}}, small = {0, 9, 7};
    sums u = open_sums(PIXELS);
    uint64_t before = counted()->pinned; /* the ring's */
    for (int i = 0; i < 9; i++) {
        graphs_of(&u, &large[i / 3]);
        ck_assert_msg(counted()->pinned - before <= PINNED, "%d bytes are pinned", (int)(counted()->pinned - before));
    }
    ck_assert_int_eq(graphs_of(&u, &large[0]), 1);
    ck_assert_int_eq(graphs_of(&u, &large[2]), 0); /* no room beside the first */
    for (int i = 0; i < 12; i++)
        graphs_of(&u, &small);
    graphs_of(&u, &large[2]);
    ck_assert_int_eq(graphs_of(&u, &large[2]), 1);
    ck_assert_uint_le(counted()->pinned - before, PINNED);
    ck_assert(is_right(&u));
    close_sums(&u);
}
END_TEST

/* What is the beginning of something longer is a graph of its own, whichever came first. */
START_TEST(beginnings)
{
    static const stretch length[] = {{LEARNED, 20, 1}, {LEARNED, 9, 1}};
    sums u = open_sums(LEARNED);
    for (int i = 0; i < 6; i++) {
        const stretch *one = &length[_i], *other = &length[!_i];
        int graphs = graphs_of(&u, one) + graphs_of(&u, other);
        ck_assert_msg(i == 0 || graphs == 2, "time %d: %d graphs", i, graphs);
    }
    ck_assert(is_right(&u));
    close_sums(&u);
}
END_TEST

/* Known stretches that come one after the other, while all that was asked for is still queued: the host waits only where it writes bytes
 * of an upload over those of the time before. */
START_TEST(waits_for_uploads_only)
{
    enum { TIMES_ASKED = 6 };
    const stretch of = {_i ? LEARNED : 0, 9, 1};
    sums u = open_sums(LEARNED);
    configure(1, GIB, 1); /* as late as can be */
    uint64_t graphs = counted()->graphs, waits = 0;
    for (int i = 0; i < TIMES_ASKED; i++) {
        void *between;
        uint64_t before = counted()->waits;
        ck_ok(ask(&u, &of));
        ck_ok(u.d.backend->ops->alloc(u.d.stream, 1, &between)); /* its end */
        u.d.backend->ops->release(u.d.stream, between);
        waits += counted()->waits - before;
    }
    ck_assert_uint_eq(counted()->graphs - graphs, TIMES_ASKED - 1);
    ck_assert_uint_eq(waits, _i ? TIMES_ASKED - 2 : 0);
    ck_assert(is_right(&u));
    close_sums(&u);
}
END_TEST

/* A call of CUDA fails when memory is given back, which has no status: the next call has it, with its sentence.  A graph that cannot be
 * launched is done call by call, and where no event tells when it has run, its pinned memory is left alone. */
START_TEST(failures_of_release)
{
    static const struct {
        int error;
        ammpl_status status;
    } kinds[] = {{2, AMMPL_E_DEVICE_MEMORY}, {1, AMMPL_E_BACKEND}, {700, AMMPL_E_DEVICE_LOST}};
    enum { CALLS = 40 };
    static const stretch known = {LEARNED, 9, 1}, other = {LEARNED, 8, 1};
    int failed = 0;
    for (int k = 0; k < 3 * CALLS; k++) {
        sums u = open_sums(LEARNED);
        const ammpl_ops *ops = u.d.backend->ops;
        void *block;
        ck_ok(ops->alloc(u.d.stream, 100, &block));
        for (int i = 0; i < (k % 3 == 2 ? 2 : 1); i++) /* the second time it is captured at the end; the third it is a graph; what differs is done as it comes */
            graphs_of(&u, &known);
        ck_assert(is_right(&u));
        configure(1, GIB, 1); /* as late as can be */
        ck_ok(ask(&u, k % 3 ? &known : &other));
        ammpli_clear_error();
        fail_at(k / 3, kinds[_i].error, 0);
        ops->release(u.d.stream, block);
        fail_at(-1, 0, 0);
        ammpl_status status = ask(&u, &known); /* other numbers, while the last ones may not have been read yet */
        status = status < 0 ? status : ops->sync(u.d.stream);
        if (status < 0) {
            ck_assert_int_eq(status, kinds[_i].status);
            ck_assert_msg(strncmp(ammpli_error_text(), "cuda", 4) == 0 || strncmp(ammpli_error_text(), "launch of ", 10) == 0, "%s", ammpli_error_text());
            ammpli_clear_error();
            ck_ok(ops->sync(u.d.stream)); /* said once */
            failed++;
        } else {
            ck_assert_msg(is_right(&u), "call %d failed unseen", k / 3);
        }
        close_sums(&u);
    }
    printf("# error %d: %d failures told\n", kinds[_i].error, failed);
    ck_assert_int_gt(failed, 0);
}
END_TEST

void add_steps(TCase *to)
{
    tcase_add_test(to, repeated_steps);
    if (!configure)
        return;
    tcase_add_test(to, pinned_memory_is_bounded);
    tcase_add_loop_test(to, beginnings, 0, 2);
    tcase_add_loop_test(to, waits_for_uploads_only, 0, 2);
    tcase_add_loop_test(to, failures_of_release, 0, 3);
}
