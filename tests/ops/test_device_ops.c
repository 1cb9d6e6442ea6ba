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
    r.by_count = !configure; /* the emulated ones do not */
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

/* Ops that need memory for themselves, more and more of it. */
static ammpl_status scratch_op(const device *d, int which, float *y, const float *x, const ammpl_weight *w, const int32_t *start, int64_t T, int64_t D)
{
    const ammpl_ops *ops = d->backend->ops;
    switch (which) {
    case 0: return ops->layernorm_weight_backward(d->stream, y, y + D, x, x, T, D, 1e-5f); /* 2 T floats */
    case 1: return ops->attention_backward(d->stream, y, x, x, x, start, 1, T, T, D, 3, 1, NULL, NULL, NULL, 0); /* 3 T heads */
    case 2: return ops->linear_forward(d->stream, y, NULL, x, w, NULL, y, AMMPL_ACT_NONE, T); /* T D */
    default: return ops->mask_mix_backward(d->stream, NULL, y, x, x, start, NULL, NULL, NULL, start, 0, T, 1, 2 * D); /* 2 T D */
    }
}

/* What stream_bytes says of an op is what the op takes for itself, and nothing is computed until it is asked for in earnest. */
START_TEST(scratch_is_foretold)
{
    enum { T = 37, D = 33, OPS = 4, FLOATS = 8 * T * D, ROUNDED = 256, OF_A_BLOCK = 128 };
    static const uint64_t least[OPS] = {2 * T, 3 * T * 3, T * D, 2 * T * D};
    if (configure)
        configure(1, GIB, 1);
    device d = open_device();
    const ammpl_ops *ops = d.backend->ops;
    void *x, *index;
    ammpl_weight *w;
    static float zeros[FLOATS];
    const int32_t start[T] = {0, T};
    ck_ok(ops->weight_create(d.stream, zeros, AMMPL_DTYPE_F32, 0, D, D, &w));
    ck_ok(ops->alloc(d.stream, sizeof zeros, &x));
    ck_ok(ops->alloc(d.stream, sizeof start, &index));
    ck_ok(ops->upload(d.stream, x, zeros, sizeof zeros));
    ck_ok(ops->upload(d.stream, index, start, sizeof start));
    ck_ok(ops->gemm(d.stream, 1, 1, 1, 1, 1, x, 0, 0, x, 0, 0, 0, (float *)x + 1, 0)); /* what products take whatever they are */
    ck_ok(ops->sync(d.stream));
    uint64_t without = d.backend->stream_bytes(d.stream, 0), now = atomic_load(&d.ctx->memory_now);
    atomic_store(&d.ctx->memory_peak, now);
    for (int i = 0; i < OPS; i++) {
        uint64_t launches = counted ? counted()->launches + counted()->products : 0, formula = least[i] * sizeof(float);
        (void)d.backend->stream_bytes(d.stream, 1);
        ck_ok(scratch_op(&d, i, (float *)x + FLOATS / 2, x, w, index, T, D));
        uint64_t foretold = d.backend->stream_bytes(d.stream, 0) - without;
        ck_assert(!counted || counted()->launches + counted()->products == launches);
        ck_ok(scratch_op(&d, i, (float *)x + FLOATS / 2, x, w, index, T, D));
        ck_ok(ops->sync(d.stream));
        uint64_t taken = atomic_load(&d.ctx->memory_now) - now;
        ck_assert_uint_eq(atomic_load(&d.ctx->memory_peak) - now, taken); /* never two of them */
        ck_assert_msg(foretold >= formula && foretold <= formula + ROUNDED && taken >= foretold && taken <= foretold + OF_A_BLOCK,
                      "op %d: %d bytes foretold, %d taken, %d by its formula", i, (int)foretold, (int)taken, (int)formula);
    }
    ops->release(d.stream, x);
    ops->release(d.stream, index);
    ops->weight_destroy(d.stream, w);
    close_device(&d);
}
END_TEST

/* Every op that may have scratch, in shapes where it does, on a stream of every precision; what stream_trim gives back. */
START_TEST(scratch_of_every_op)
{
    static const int32_t precisions[] = {AMMPL_PRECISION_F32, AMMPL_PRECISION_TF32, AMMPL_PRECISION_BF16, AMMPL_PRECISION_F16};
    static const char *const names[] = {"layernorm_weight_backward", "attention_backward", "linear_forward", "mask_mix_backward", "linear_backward",
                                        "attention_forward of equal lengths", "attention_backward of equal lengths",
                                        "attention_forward of those behind a prefix", "attention_backward of those behind a prefix"};
    enum { L = 36, T = 2 * L, D = 24, H = 2, P = 5, OPS = 9, FLOATS = 16 * T * D, OF_A_BLOCK = 128 };
    static float zeros[FLOATS];
    if (configure)
        configure(1, GIB, 1);
    device d = open_device();
    const ammpl_ops *ops = d.backend->ops;
    ammpl_stream *own = d.stream;
    ck_ok(d.backend->stream_create(&d.ctx->host, 0, precisions[_i], &d.stream));
    void *x, *index;
    ammpl_weight *w;
    const int32_t start[T] = {0, L, T};
    ck_ok(ops->weight_create(d.stream, zeros, AMMPL_DTYPE_F32, 0, D, D, &w));
    ck_ok(ops->alloc(d.stream, sizeof zeros, &x));
    ck_ok(ops->alloc(d.stream, sizeof start, &index));
    ck_ok(ops->upload(d.stream, x, zeros, sizeof zeros));
    ck_ok(ops->upload(d.stream, index, start, sizeof start));
    ck_ok(ops->gemm(d.stream, 1, 1, 1, 1, 1, x, 0, 0, x, 0, 0, 0, (float *)x + 1, 0));
    float *y = (float *)x + FLOATS / 2;
    const int32_t *group = (int32_t *)index + 3; /* zeros */
    for (int i = 0; i < OPS; i++) {
        uint64_t launches = 0, foretold = 0, without = 0, now = 0;
        for (int asked = 1; asked >= 0; asked--) {
            if (asked) {
                ck_ok(d.backend->stream_trim(d.stream, 0)); /* without graphs, whose lists would be counted */
                ck_ok(ops->scale(d.stream, x, 1, 1));
                ck_ok(ops->sync(d.stream));
                launches = counted ? counted()->launches + counted()->products : 0;
                without = d.backend->stream_bytes(d.stream, 1);
                now = atomic_load(&d.ctx->memory_now);
            }
            switch (i) {
            case 4: ck_ok(ops->linear_backward(d.stream, y, x, w, NULL, AMMPL_ACT_NONE, T)); break;
            case 5: ck_ok(ops->attention_forward(d.stream, y, x, index, 2, L, T, D, H, 0, NULL, NULL, 0)); break;
            case 6: ck_ok(ops->attention_backward(d.stream, y, x, x, x, index, 2, L, T, D, H, 0, NULL, NULL, NULL, 0)); break;
            case 7: ck_ok(ops->attention_forward(d.stream, y, x, index, 2, L, T, D, H, 0, x, group, P)); break;
            case 8: ck_ok(ops->attention_backward(d.stream, y, x, x, x, index, 2, L, T, D, H, 0, y + T * 3 * D, x, group, P)); break;
            default: ck_ok(scratch_op(&d, i, y, x, w, index, i == 3 ? 2 : L, D)); break;
            }
            if (asked) {
                foretold = d.backend->stream_bytes(d.stream, 0) - without;
                ck_assert(!counted || counted()->launches + counted()->products == launches);
                ck_assert_uint_eq(d.backend->stream_bytes(d.stream, 0), without); /* what was foretold once is not there */
            }
        }
        ck_ok(ops->sync(d.stream));
        uint64_t taken = atomic_load(&d.ctx->memory_now) - now;
        bool none = i == 4 && _i < 2; /* factors as they are */
        ck_assert_msg(none ? foretold == 0 && taken == 0 : foretold > 0 && taken >= foretold && taken <= foretold + OF_A_BLOCK,
                      "%s in precision %d: %d bytes foretold, %d taken", names[i], (int)precisions[_i], (int)foretold, (int)taken);
        ck_assert_uint_eq(d.backend->stream_bytes(d.stream, 0) - without, foretold);
    }
    ops->release(d.stream, x);
    ops->release(d.stream, index);
    ops->weight_destroy(d.stream, w);
    d.backend->stream_destroy(d.stream);
    d.stream = own;
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
    if (is_wanted("scratch_is_foretold"))
        tcase_add_test(all, scratch_is_foretold);
    if (is_wanted("scratch_of_every_op"))
        tcase_add_loop_test(all, scratch_of_every_op, 0, 4);
    if (is_wanted("two_streams"))
        tcase_add_test(all, two_streams);
    if (is_wanted("repeated_steps"))
        add_steps(all);
    if (is_wanted("precision"))
        add_precisions(all);
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
