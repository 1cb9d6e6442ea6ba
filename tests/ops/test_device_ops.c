/* test_device_ops.c - the cases of ops.h on the device of a plug-in.
 *
 *     test_device_ops [PLUGIN [CASE...]]     default: the emulated device, every case
 *
 * Every case runs on the device and is judged by its own computation in double; its numbers are held against the CPU's
 * reference loops, and a second time must give the same bits.  The emulated device runs each case under several seeds, that
 * is in other orders of threads, streams and copies: the same bits, too.  Then what happens when calls of CUDA fail.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>

#include "cpu/kernels.h"
#include "device.h"

static const op_case cases[] = {TEST_OPS(OP_CASE)};
enum { CASES = sizeof cases / sizeof *cases };
static_assert(CASES == AMMPL_OPS_COUNT, "an op without a case");

const char *plugin = TEST_PLUGIN;
static char **wanted; /* cases, ended by NULL; NULL: all */
cuda_emu_configure_fn configure;
cuda_emu_fail_fn fail_at;
cuda_emu_counted_fn counted;

device open_device(void)
{
    device d = {.ctx = test_context()};
    ck_ok(ammpli_context_set_threads(d.ctx, 1)); /* what the threads hold would come and go */
    ck_ok(ammpli_backend_load(d.ctx, plugin));
    d.backend = d.ctx->device[1].backend;
    d.before = atomic_load(&d.ctx->memory_now);
    ck_ok(d.backend->stream_create(&d.ctx->host, 0, AMMPL_PRECISION_F32, &d.stream));
    return d;
}

void close_device(device *d)
{
    d->backend->stream_destroy(d->stream);
    ck_assert_uint_eq(atomic_load(&d->ctx->memory_now), d->before);
    ammpli_context_release(d->ctx);
}

static run on_device(const op_case *c, uint64_t seed)
{
    if (configure)
        configure(seed, GIB, 1);
    device d = open_device();
    test_count_refusals(d.ctx, true);
    run r;
    run_begin(&r, c->name, d.backend->ops, d.stream);
    r.by_shape = true;
    c->fn(&r);
    run_end(&r);
    close_device(&d);
    return r;
}

static run on_cpu(const op_case *c)
{
    ammpl_context *ctx = test_context();
    ammpl_stream *s;
    run r;
    ck_ok(ammpli_cpu_backend.stream_create(&ctx->host, 0, AMMPL_PRECISION_F32, &s));
    run_begin(&r, c->name, &ammpli_cpu_reference_ops, s);
    c->fn(&r);
    run_end(&r);
    ammpli_cpu_backend.stream_destroy(s);
    ammpli_context_release(ctx);
    return r;
}

START_TEST(op)
{
    const op_case *c = &cases[_i];
    cuda_emu_counts before = counted ? *counted() : (cuda_emu_counts){0};
    run first = on_device(c, 0);
    int64_t compared = first.compared;
    ck_assert_msg(compared > 0, "%s compared nothing", c->name);
    for (uint64_t seed = 1; seed < (configure ? SEEDS : 2); seed++) {
        run again = on_device(c, seed);
        ck_assert_uint_eq(again.length, first.length);
        ck_assert_msg(!first.length || memcmp(again.transcript, first.transcript, first.length) == 0,
                      "%s: run %d gives other bits than the first", c->name, (int)seed);
        compared += again.compared + (int64_t)again.length / 4;
        run_free(&again);
    }
    run reference = on_cpu(c);
    ck_assert_uint_eq(first.length, reference.length);
    const float *a = (const float *)(const void *)first.transcript, *b = (const float *)(const void *)reference.transcript;
    double difference = 0, square = 0;
    for (size_t i = 0; i < first.length / 4; i++) {
        ck_assert_msg(isnan(a[i]) == isnan(b[i]), "%s: value %zu is %g, the CPU gives %g", c->name, i, (double)a[i], (double)b[i]);
        if (!isfinite(a[i]) || !isfinite(b[i]))
            continue;
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        square += (double)b[i] * (double)b[i];
    }
    ck_assert_msg(sqrt(difference) <= 1e-5 * sqrt(square), "%s: differs from the CPU by %.2g", c->name, sqrt(difference / square));
    compared += (int64_t)first.length / 4;
    test_count_compared(compared);
    printf("# %s: %lld values compared, %.2g off the CPU", c->name, (long long)compared, square > 0 ? sqrt(difference / square) : 0.0);
    if (counted)
        printf("; %llu launches, %llu million accesses judged", (unsigned long long)(counted()->launches - before.launches),
               (unsigned long long)(counted()->accesses - before.accesses) / 1000000);
    printf("\n");
    run_free(&first);
    run_free(&reference);
}
END_TEST

/* A device that is full: a smaller request works, and what was there is as it was. */
START_TEST(out_of_device_memory)
{
    if (configure)
        configure(1, 64 << 20, 1);
    device d = open_device();
    const ammpl_ops *ops = d.backend->ops;
    uint64_t now, all;
    ck_ok(d.backend->memory(&d.ctx->host, 0, &now, &all));
    void *small, *large;
    float x = 7, y = 0;
    ck_ok(ops->alloc(d.stream, 1 << 20, &small));
    ck_ok(ops->upload(d.stream, small, &x, sizeof x));
    for (int again = 0; again < 3; again++) {
        ck_status(ops->alloc(d.stream, (size_t)all + 1, &large), AMMPL_E_DEVICE_MEMORY, "memory_limit");
        ck_assert_ptr_null(large);
        ck_ok(ops->alloc(d.stream, (size_t)all / 2, &large));
        ops->release(d.stream, large);
    }
    ck_ok(ops->download(d.stream, &y, small, sizeof y));
    ck_assert(y == x);
    ops->release(d.stream, small);
    close_device(&d);
}
END_TEST

/* Two streams of one device that hand memory to each other by way of the host. */
START_TEST(two_streams)
{
    for (uint64_t seed = 0; seed < 6; seed++) {
        if (configure)
            configure(seed, GIB, 1);
        device d = open_device();
        const ammpl_ops *ops = d.backend->ops;
        ammpl_stream *other;
        enum { N = 1000 };
        float x[N], y[N];
        void *a, *b;
        ck_ok(d.backend->stream_create(&d.ctx->host, 0, AMMPL_PRECISION_F32, &other));
        ck_ok(ops->alloc(d.stream, sizeof x, &a));
        ck_ok(ops->alloc(other, sizeof x, &b));
        for (int i = 0; i < N; i++)
            x[i] = (float)i;
        ck_ok(ops->upload(d.stream, a, x, sizeof x));
        memset(x, 0, sizeof x); /* the caller's array is free as soon as upload returns */
        ck_ok(ops->scale(d.stream, a, 2, N));
        ck_ok(ops->sync(d.stream));
        ck_ok(ops->zero(other, b, sizeof x));
        ck_ok(ops->add(other, b, a, 1, N));
        ck_ok(ops->sync(other));
        ck_ok(ops->scale(d.stream, b, 3, N));
        ck_ok(ops->download(d.stream, y, b, sizeof y));
        for (int i = 0; i < N; i++)
            ck_assert(y[i] == 6 * (float)i);
        ops->release(other, b);
        ops->release(d.stream, a);
        d.backend->stream_destroy(other);
        close_device(&d);
    }
}
END_TEST

/* x rounded to `bits` of fraction, to nearest, ties to even. */
static double rounded(double x, int bits)
{
    int exponent;
    double m = frexp(x, &exponent);
    return ldexp(nearbyint(ldexp(m, bits + 1)), exponent - bits - 1);
}

/* Linear layers of a stream that rounds its factors, forward (with what stands behind the product) and backward.  BF16 factors are
 * rounded by our own kernel: what comes out is their product, but for the order of a float32 sum.  TF32's are the library's to round,
 * up or down: 2^-10 each at most; the emulated one rounds to nearest, and it must be seen that it did. */
static const struct {
    int32_t precision;
    int bits;
    double bound; /* of |got - want| / sum |x| |w|, want being the product of rounded factors (TF32: of those as they are) */
} precisions[] = {{AMMPL_PRECISION_F32, 30, 1e-6}, {AMMPL_PRECISION_TF32, 30, 2.1 / 1024}, {AMMPL_PRECISION_BF16, 7, 1e-6}};

static void check_rounded(int kind, const char *what, const float *got, const float *x, const float *w, int64_t T, int64_t N, int64_t K, bool transposed,
                          double *worst, double *moved)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double want = 0, exact = 0, size = 0;
            for (int64_t k = 0; k < K; k++) {
                double a = (double)x[t * K + k], b = (double)w[transposed ? k * N + n : n * K + k];
                want += rounded(a, precisions[kind].bits) * rounded(b, precisions[kind].bits);
                exact += a * b;
                size += fabs(a * b);
            }
            double off = fabs((double)got[t * N + n] - want) / size;
            ck_assert_msg(off <= precisions[kind].bound, "%s [%d,%d,%d]: off by %.3g of the sum of sizes", what, (int)T, (int)N, (int)K, off);
            *worst = fmax(*worst, off);
            *moved = fmax(*moved, fabs((double)got[t * N + n] - exact) / size);
        }
}

START_TEST(precision)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {33, 31, 65}, {17, 129, 64}};
    if (configure)
        configure(2, GIB, 1);
    device d = open_device();
    ammpl_stream *s;
    double worst = 0, moved = 0;
    ck_ok(d.backend->stream_create(&d.ctx->host, 0, precisions[_i].precision, &s));
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        int64_t T = shapes[i / 2][0], N = shapes[i / 2][1], K = shapes[i / 2][2];
        int32_t transposed = i % 2 != 0;
        run r;
        run_begin(&r, "precision", d.backend->ops, s);
        r.random += i;
        float *x = draw(&r, T * K), *w = draw(&r, N * K), *dy = draw(&r, T * N), *zero = keep(&r, (size_t)(T * N) * sizeof *zero);
        ammpl_weight *weight;
        ck_ok(r.ops->weight_create(s, w, AMMPL_DTYPE_F32, transposed ? AMMPL_WEIGHT_TRANSPOSED : 0, N, K, &weight));
        float *y = put_change(&r, zero, (size_t)(T * N) * sizeof *zero), *dx = make(&r, T * K);
        ck_ok(r.ops->linear_forward(s, y, NULL, PUT(&r, x, T * K), weight, NULL, y, AMMPL_ACT_NONE, T)); /* y += x W^T */
        check_rounded(_i, "y", get(&r, y, T * N), x, w, T, N, K, transposed, &worst, &moved);
        ck_ok(r.ops->linear_backward(s, dx, PUT(&r, dy, T * N), weight, NULL, AMMPL_ACT_NONE, T));
        check_rounded(_i, "dx", get(&r, dx, T * K), dy, w, T, K, N, !transposed, &worst, &moved);
        r.ops->weight_destroy(s, weight);
        run_end(&r);
        run_free(&r);
    }
    printf("# precision %d: off by %.2g at most, %.2g from exact factors\n", (int)precisions[_i].precision, worst, moved);
    ck_assert_msg(!configure || _i == 0 || moved > 1e-4, "nothing was rounded");
    d.backend->stream_destroy(s);
    close_device(&d);
}
END_TEST

/* Attention over pictures on such a stream: a rounding away from one of AMMPL_PRECISION_F32, and seen to be.  Heads of 6 do not
 * begin where products in TF32 could read them: those are not rounded. */
START_TEST(attention_precision)
{
    enum { B = 3, L = 37, H = 2, T = B * L };
    if (configure)
        configure(2, GIB, 1);
    device d = open_device();
    for (int64_t D = H * 6; D <= H * 20; D += H * 14) {
        float *result[2][2];
        run r[2];
        for (int k = 0; k < 2; k++) {
            ammpl_stream *s;
            ck_ok(d.backend->stream_create(&d.ctx->host, 0, k ? precisions[_i].precision : AMMPL_PRECISION_F32, &s));
            run_begin(&r[k], "attention_precision", d.backend->ops, s);
            int32_t start[B + 1] = {0, L, 2 * L, T}, *bounds = PUT(&r[k], start, B + 1);
            float *qkv = PUT(&r[k], draw_scaled(&r[k], T * 3 * D, 2, 0), T * 3 * D), *dout = PUT(&r[k], draw(&r[k], T * D), T * D);
            float *out = make(&r[k], T * D), *dqkv = make(&r[k], T * 3 * D);
            ck_ok(r[k].ops->attention_forward(s, out, qkv, bounds, B, L, T, D, H, 0, NULL, NULL, 0));
            ck_ok(r[k].ops->attention_backward(s, dqkv, dout, out, qkv, bounds, B, L, T, D, H, 0, NULL, NULL, NULL, 0));
            result[k][0] = get(&r[k], out, T * D);
            result[k][1] = get(&r[k], dqkv, T * 3 * D);
        }
        double forward = test_difference(result[1][0], result[0][0], T * D, 0), backward = test_difference(result[1][1], result[0][1], T * 3 * D, 0);
        bool exact = D == H * 6 || precisions[_i].precision == AMMPL_PRECISION_F32;
        printf("# precision %d, heads of %d: out differs by %.2g, dqkv by %.2g\n", (int)precisions[_i].precision, (int)(D / H), forward, backward);
        ck_assert(forward <= (exact ? 0 : 2e-3) && backward <= (exact ? 0 : 4e-3));
        ck_assert_msg(exact || !configure || (forward > 1e-5 && backward > 1e-5), "nothing was rounded");
        for (int k = 0; k < 2; k++) {
            run_end(&r[k]);
            run_free(&r[k]);
            d.backend->stream_destroy(r[k].s);
        }
    }
    close_device(&d);
}
END_TEST

START_TEST(unknown_precision)
{
    device d = open_device();
    ammpl_stream *s;
    ck_status(d.backend->stream_create(&d.ctx->host, 0, 3, &s), AMMPL_E_UNSUPPORTED, "precision");
    ck_assert_ptr_null(s);
    close_device(&d);
}
END_TEST

/* Uploads larger than all of the staging, and many small ones: nobody writes over what the device has not read yet. */
START_TEST(long_uploads)
{
    enum { N = 300001, SMALL = 2000 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    ck_assert(x && y);
    for (uint64_t seed = 0; seed < 3; seed++) {
        if (configure)
            configure(seed, GIB, 1);
        device d = open_device();
        const ammpl_ops *ops = d.backend->ops;
        void *a;
        ck_ok(ops->alloc(d.stream, N * sizeof *x, &a));
        for (int i = 0; i < N; i++)
            x[i] = (float)(i ^ (int)seed);
        ck_ok(ops->upload(d.stream, a, x, N * sizeof *x));
        for (int i = 0; i < SMALL; i++) {
            float piece[61];
            for (int k = 0; k < 61; k++)
                x[i * 61 + k] = piece[k] = (float)(i + k);
            ck_ok(ops->upload(d.stream, (float *)a + i * 61, piece, sizeof piece));
        }
        ck_ok(ops->download(d.stream, y, a, N * sizeof *y));
        ck_assert_int_eq(memcmp(x, y, N * sizeof *x), 0);
        ops->release(d.stream, a);
        close_device(&d);
    }
    free(x);
    free(y);
}
END_TEST

/* ---- every kernel of the sources ---- */

/* Counts the different kernels in LAUNCH(s, ...) of a file: seen holds their names, one after the other. */
static size_t kernels_of(const char *path, char seen[][128], size_t n)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return n;
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "LAUNCH(s, ");
        if (!at)
            continue;
        char name[128];
        at += strlen("LAUNCH(s, ");
        size_t length = *at == '(' ? strcspn(at, ")") + 1 : strcspn(at, ",");
        length = length < sizeof name ? length : sizeof name - 1;
        memcpy(name, at, length);
        name[length] = '\0';
        bool known = false;
        for (size_t i = 0; i < n; i++)
            known = known || strcmp(seen[i], name) == 0;
        if (!known)
            strcpy(seen[n++], name);
    }
    fclose(f);
    return n;
}

static int check_counts(void)
{
    static char seen[256][128];
    size_t n = 0;
    DIR *dir = opendir(TEST_ROOT "/cuda");
    if (!dir)
        return EXIT_FAILURE;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[1024];
        size_t length = strlen(e->d_name);
        if (length < 4 || strcmp(e->d_name + length - 3, ".cu") != 0)
            continue;
        snprintf(path, sizeof path, TEST_ROOT "/cuda/%s", e->d_name);
        n = kernels_of(path, seen, n);
    }
    closedir(dir);
    const cuda_emu_counts *c = counted();
    printf("# emulated: %llu of %zu kernels, %llu launches, %llu threads, %llu products, %llu copies, %llu accesses judged\n",
           (unsigned long long)c->kernels, n, (unsigned long long)c->launches, (unsigned long long)c->threads,
           (unsigned long long)c->products, (unsigned long long)c->copies, (unsigned long long)c->accesses);
    if (n > 0 && c->kernels == n)
        return EXIT_SUCCESS;
    printf("# FAILED: not every kernel of cuda/ was launched\n");
    return EXIT_FAILURE;
}

static bool is_wanted(const char *name)
{
    for (char **w = wanted; w && *w; w++)
        if (strcmp(*w, name) == 0)
            return true;
    return !wanted;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        plugin = argv[1];
    wanted = argc > 2 ? argv + 2 : NULL;
    ammpl_context *ctx; /* the plug-in is loaded here, so that forked cases count in one place */
    void *module = NULL;
    if (ammpli_context_create(NULL, &ctx) < 0)
        return EXIT_FAILURE;
    if (ammpli_backend_load(ctx, plugin) < 0) {
        test_skip("ops of the device", ammpli_error_text());
        printf("1..0 # SKIP no device\n");
        return strcmp(plugin, TEST_PLUGIN) == 0; /* the emulated one must work */
    }
    printf("# %s: %s\n", ctx->device[1].name, ctx->device[1].description);
    module = dlopen(plugin, RTLD_NOW | RTLD_NOLOAD);
    void *symbols[] = {dlsym(module, "cuda_emu_configure"), dlsym(module, "cuda_emu_fail"), dlsym(module, "cuda_emu_counted")};
    memcpy(&configure, &symbols[0], sizeof configure);
    memcpy(&fail_at, &symbols[1], sizeof fail_at);
    memcpy(&counted, &symbols[2], sizeof counted);
    ammpli_context_release(ctx);
    if (!configure)
        test_in_one_process();

    Suite *suite = suite_create("device_ops");
    TCase *all = tcase_create("ops");
    tcase_set_timeout(all, 300);
    for (int i = 0; i < CASES; i++)
        if (is_wanted(cases[i].name))
            tcase_add_loop_test(all, op, i, i + 1);
    if (is_wanted("out_of_device_memory"))
        tcase_add_test(all, out_of_device_memory);
    if (is_wanted("two_streams"))
        tcase_add_test(all, two_streams);
    if (is_wanted("repeated_steps"))
        add_steps(all);
    if (is_wanted("precision")) {
        tcase_add_loop_test(all, precision, 0, sizeof precisions / sizeof *precisions);
        tcase_add_loop_test(all, attention_precision, 0, sizeof precisions / sizeof *precisions);
        tcase_add_test(all, unknown_precision);
    }
    if (is_wanted("long_uploads"))
        tcase_add_test(all, long_uploads);
    if (!wanted)
        add_failures(suite);
    suite_add_tcase(suite, all);
    int status = test_main(suite);
    if (!test_nothing_refused())
        status = EXIT_FAILURE;
    return configure && !wanted ? status | check_counts() : status;
}
