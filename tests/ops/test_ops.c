/* test_ops.c - every op of every table that this machine runs, through the cases of its op (ops.h).
 *
 * For each table and op: the case itself (values in double, finite differences, odd sizes, guard bands, NaN, a row alone
 * against the row in a batch); then again with 2, 3 and 8 threads and with the tasks of every loop taken backwards, where
 * each bit read back must be the same.
 */
#include "ops.h"
#include "cpu/kernels.h"

#include <stdio.h>

static const op_case cases[] = {TEST_OPS(OP_CASE)};
enum { CASES = sizeof cases / sizeof *cases };
static_assert(CASES == AMMPL_OPS_COUNT, "an op without a case");

/* Vectors of 16 on processors without AVX-512, so that this form is run everywhere (wide.c). */
extern const ammpli_cpu_kernels test_kernels_wide;
void case_functions(run *r, const ammpli_cpu_kernels *kernels);

typedef struct table {
    const char *name;
    const ammpl_ops *ops;
    const ammpli_cpu_kernels *kernels; /* NULL: the reference loops */
} table;

static const table tables[] = {
    {"reference", &ammpli_cpu_reference_ops, NULL},
    {"4 wide", &ammpli_cpu_ops, &ammpli_cpu_kernels_x4},
#if defined(__x86_64__)
    {"AVX2", &ammpli_cpu_ops, &ammpli_cpu_kernels_avx2},
    {"AVX-512", &ammpli_cpu_ops, &ammpli_cpu_kernels_avx512},
    {"16 wide", &ammpli_cpu_ops, &test_kernels_wide},
#endif
};
enum { TABLES = sizeof tables / sizeof *tables };

static void backwards(void *user, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
    (void)user;
    for (int64_t i = n; i-- > 0;)
        fn(arg, i, 0);
}

/* threads 0: 5 claimed, tasks in reverse order. */
static run one_run(const table *t, const op_case *c, int threads)
{
    char name[128];
    snprintf(name, sizeof name, "%s, %s, %d threads", c->name, t->name, threads);
    ammpl_context *ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, threads ? threads : 5));
    unsigned long long before = atomic_load(&ctx->memory_now);
    ammpl_host host = ctx->host;
    if (!threads)
        host.parallel = backwards;
    ammpl_stream *s;
    ck_ok(ammpli_cpu_backend.stream_create(&host, 0, AMMPL_PRECISION_F32, &s));
    if (t->kernels)
        s->kernels = t->kernels;
    run r;
    run_begin(&r, name, t->ops, s);
    c->fn(&r);
    run_end(&r);
    r.name = c->name;
    ammpli_cpu_backend.stream_destroy(s);
    /* Starting threads may still have held something of their own before: then it is less. */
    unsigned long long after = atomic_load(&ctx->memory_now);
    ck_assert_msg(after == before || (after < before && threads != 1), "%s leaves backend memory behind", name);
    ammpli_context_release(ctx);
    return r;
}

START_TEST(op)
{
    const table *t = &tables[_i / CASES];
    const op_case *c = &cases[_i % CASES];
    run first = one_run(t, c, 1);
    ck_assert_msg(first.compared > 0, "%s compared nothing", c->name);
    static const int threads[] = {2, 3, 8, 0};
    for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
        run again = one_run(t, c, threads[k]);
        ck_assert_uint_eq(again.length, first.length);
        ck_assert_msg(!first.length || memcmp(again.transcript, first.transcript, first.length) == 0, "%s, %s: %d threads give other bits than 1",
                      c->name, t->name, threads[k]);
        first.compared += again.compared + (int64_t)again.length / 4;
        run_free(&again);
    }
    printf("# %s, %s: %lld values compared\n", t->name, c->name, (long long)first.compared);
    run_free(&first);
}
END_TEST

/* Two tables round differently but compute the same.  The bound is what the reference loops lose themselves on the hardest
 * inputs (sharp softmax, means of ten deviations). */
START_TEST(fast_against_reference)
{
    const table *t = &tables[1 + _i / CASES];
    const op_case *c = &cases[_i % CASES];
    run fast = one_run(t, c, 2), reference = one_run(&tables[0], c, 2);
    ck_assert_uint_eq(fast.length, reference.length);
    const float *a = (const float *)(const void *)fast.transcript, *b = (const float *)(const void *)reference.transcript;
    double difference = 0, square = 0;
    for (size_t i = 0; i < fast.length / 4; i++) {
        ck_assert_msg(isnan(a[i]) == isnan(b[i]), "%s, %s: value %zu is %g, the reference gives %g", c->name, t->name, i,
                      (double)a[i], (double)b[i]);
        if (!isfinite(a[i]) || !isfinite(b[i]))
            continue;
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        square += (double)b[i] * (double)b[i];
    }
    ck_assert_msg(sqrt(difference) <= 1e-5 * sqrt(square), "%s, %s: differs from the reference by %.2g", c->name, t->name,
                  sqrt(difference / square));
    run_free(&fast);
    run_free(&reference);
}
END_TEST

START_TEST(functions)
{
    run r;
    run_begin(&r, tables[_i].name, NULL, NULL);
    case_functions(&r, tables[_i].kernels);
    ck_assert(r.compared > 0);
    run_end(&r);
}
END_TEST

/* The backend's own doors. */
START_TEST(backend)
{
    ammpl_context *ctx = test_context();
    ck_ok(ammpli_context_set_threads(ctx, 2));
    ck_assert_int_eq(ammpli_cpu_backend.spi_version, AMMPL_BACKEND_SPI_VERSION);
    char text[64], expected[64];
    ammpli_cpu_backend.describe(&ctx->host, 0, text, sizeof text);
    snprintf(expected, sizeof expected, "%s, 2 threads", ammpli_cpu_best_kernels()->name);
    ck_assert_str_eq(text, expected);
    ammpli_cpu_backend.stream_destroy(NULL);
    const void *const *slots = (const void *const *)(const void *)((const char *)&ammpli_cpu_ops + offsetof(ammpl_ops, alloc));
    for (size_t i = 0; i < AMMPL_OPS_COUNT; i++)
        ck_assert_ptr_nonnull(slots[i]);
    ammpli_context_release(ctx);
}
END_TEST

/* An allocator that says no at the k-th request: a status, nothing leaked, and the next try works. */
static ammpl_context *failing_ctx;
static int until_failure;

static void *failing_alloc(void *user, size_t size)
{
    (void)user;
    return until_failure-- == 0 ? NULL : ammpli_alloc(failing_ctx, 1, size);
}

START_TEST(out_of_memory)
{
    failing_ctx = test_context();
    ck_ok(ammpli_context_set_threads(failing_ctx, 1)); /* the old pool's threads are gone, and with them what they held */
    ammpl_host host = failing_ctx->host;
    host.alloc = failing_alloc;
    unsigned long long before = atomic_load(&failing_ctx->memory_now);
    float w[6] = {1, 2, 3, 4, 5, 6};
    for (int k = 0; k < 4; k++) {
        ammpl_stream *stream;
        ammpl_weight *weight;
        void *block;
        until_failure = k;
        ammpl_status made = ammpli_cpu_backend.stream_create(&host, 0, AMMPL_PRECISION_F32, &stream);
        ck_assert_int_eq(made, k ? AMMPL_OK : AMMPL_E_MEMORY);
        ck_assert((stream != NULL) == (k > 0));
        if (!stream)
            continue;
        ck_assert_int_eq(ammpli_cpu_ops.alloc(stream, 100, &block), k == 1 ? AMMPL_E_MEMORY : AMMPL_OK);
        ck_assert((block == NULL) == (k == 1));
        until_failure = k - 2;
        ck_assert_int_eq(ammpli_cpu_ops.weight_create(stream, w, AMMPL_DTYPE_F32, 0, 2, 3, &weight), k > 1 ? AMMPL_E_MEMORY : AMMPL_OK);
        ck_assert((weight == NULL) == (k > 1));
        ammpli_cpu_ops.weight_destroy(stream, weight);
        ck_assert_int_eq(ammpli_cpu_ops.weight_create(stream, w, AMMPL_DTYPE_F32, 0, INT64_MAX / 2, INT64_MAX / 2, &weight),
                         AMMPL_E_MEMORY);
        ammpli_cpu_ops.release(stream, block);
        if (k == 1) {
            until_failure = -1;
            ck_ok(ammpli_cpu_ops.weight_create(stream, w, AMMPL_DTYPE_F32, 0, 2, 3, &weight));
            ammpli_cpu_ops.weight_destroy(stream, weight);
        }
        ammpli_cpu_backend.stream_destroy(stream);
    }
    ammpli_clear_error();
    ck_assert_uint_eq(atomic_load(&failing_ctx->memory_now), before);
    ammpli_context_release(failing_ctx);
}
END_TEST

/* An op whose scratch cannot be had says so, and finds it the next time. */
START_TEST(no_scratch)
{
    failing_ctx = test_context();
    ammpl_host host = failing_ctx->host;
    host.alloc = failing_alloc;
    float a[2] = {2, 3}, b[2] = {5, 7}, c = 0;
    ammpl_stream *stream;
    until_failure = -1;
    ck_ok(ammpli_cpu_backend.stream_create(&host, 0, AMMPL_PRECISION_F32, &stream));
    until_failure = 0;
    ck_assert_int_eq(ammpli_cpu_ops.gemm(stream, 1, 1, 1, 2, 1, a, 0, 0, b, 0, 0, 0, &c, 0), AMMPL_E_MEMORY);
    ammpli_clear_error();
    ck_assert(c == 0);
    ck_ok(ammpli_cpu_ops.gemm(stream, 1, 1, 1, 2, 1, a, 0, 0, b, 0, 0, 0, &c, 0));
    ck_assert(c == 31);
    ammpli_cpu_backend.stream_destroy(stream);
    ammpli_context_release(failing_ctx);
}
END_TEST

/* What the machine can give counts the page cache; a container's limit is the smaller machine. */
START_TEST(available)
{
    uint64_t now, all;
    const char *meminfo = test_written("meminfo", "MemTotal:       8000 kB\nMemFree:        1000 kB\nMemAvailable:   6000 kB\nBuffers: 5 kB\n");
    const char *const none[] = {"/nowhere", test_written("max", "max\n"), NULL};
    const char *const half[] = {"/nowhere", test_written("half", "4096000\n"), NULL};
    const char *const small[] = {test_written("small", "1024000\n"), half[1], NULL};
    ck_assert(ammpli_cpu_available(meminfo, none, &now, &all));
    ck_assert(now == 6000 * 1024 && all == 8000 * 1024);
    ck_assert(ammpli_cpu_available(meminfo, half, &now, &all));
    ck_assert(now == 4096000 && all == 4096000);
    ck_assert(ammpli_cpu_available(meminfo, small, &now, &all));
    ck_assert(now == 1024000 && all == 1024000);
    ck_assert(ammpli_cpu_available("/nowhere", small + 2, &now, &all)); /* as the kernel itself says it */
    ck_assert(now > 0 && all >= now);
    ck_assert(ammpli_cpu_available(test_written("old", "MemTotal: 8000 kB\nMemFree: 1000 kB\n"), small + 2, &now, &all));
    ck_assert(now != 1000 * 1024);
}
END_TEST

/* test_ops [TABLE [OP...]]: all of them, or one table's, or some ops of it. */
int main(int argc, char **argv)
{
    Suite *suite = suite_create("ops");
    TCase *all = tcase_create("ops");
    tcase_set_timeout(all, 120);
    for (int t = 0; t < TABLES; t++) {
        if (argc > 1 && strcmp(argv[1], tables[t].name) != 0)
            continue;
        if (tables[t].kernels && !tables[t].kernels->supported()) {
            test_skip(tables[t].name, "this processor cannot run it");
            continue;
        }
        for (int i = 0; i < CASES; i++) {
            bool wanted = argc <= 2;
            for (int a = 2; a < argc; a++)
                wanted = wanted || strcmp(argv[a], cases[i].name) == 0;
            if (!wanted)
                continue;
            tcase_add_loop_test(all, op, t * CASES + i, t * CASES + i + 1);
            if (t)
                tcase_add_loop_test(all, fast_against_reference, (t - 1) * CASES + i, (t - 1) * CASES + i + 1);
        }
        if (t)
            tcase_add_loop_test(all, functions, t, t + 1);
    }
    tcase_add_test(all, backend);
    tcase_add_test(all, out_of_memory);
    tcase_add_test(all, no_scratch);
    tcase_add_test(all, available);
    suite_add_tcase(suite, all);
    return test_main(suite);
}
