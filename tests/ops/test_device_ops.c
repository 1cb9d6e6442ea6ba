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

static const char *plugin = TEST_PLUGIN;
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
    printf("# %s: %lld values compared, %.2g off the CPU", c->name, (long long)compared, square > 0 ? sqrt(difference / square) : 0.0);
    if (counted)
        printf("; %llu launches, %llu million accesses judged", (unsigned long long)(counted()->launches - before.launches),
               (unsigned long long)(counted()->accesses - before.accesses) / 1000000);
    printf("\n");
    run_free(&first);
    run_free(&reference);
}
END_TEST

/* ---- failures ---- */

enum { ROWS = 5, WIDTH = 6 };

/* A little of everything: y is what comes of it. */
static ammpl_status little_of_everything(device *d, float *y)
{
    const ammpl_ops *ops = d->backend->ops;
    ammpl_stream *s = NULL;
    ammpl_weight *w = NULL;
    void *x = NULL, *start = NULL, *other = NULL;
    float in[3 * ROWS * WIDTH], weight[WIDTH * WIDTH];
    int32_t bounds[3] = {0, 2, ROWS};
    for (int i = 0; i < 3 * ROWS * WIDTH; i++)
        in[i] = (float)(i % 7) - 3;
    for (int i = 0; i < WIDTH * WIDTH; i++)
        weight[i] = (float)(i % 5) - 2;
    ammpl_status status = d->backend->stream_create(&d->ctx->host, 0, AMMPL_PRECISION_F32, &s);
    if (status < 0)
        return status;
    TRY_GOTO(done, ops->weight_create(s, weight, AMMPL_DTYPE_F32, 0, WIDTH, WIDTH, &w));
    TRY_GOTO(done, ops->alloc(s, sizeof in, &x));
    TRY_GOTO(done, ops->alloc(s, sizeof in, &other));
    TRY_GOTO(done, ops->alloc(s, sizeof bounds, &start));
    TRY_GOTO(done, ops->upload(s, x, in, sizeof in));
    TRY_GOTO(done, ops->upload(s, start, bounds, sizeof bounds));
    TRY_GOTO(done, ops->zero(s, other, sizeof in));
    TRY_GOTO(done, ops->attention_forward(s, other, x, start, 2, 3, ROWS, WIDTH, 2, 1, NULL, NULL, 0));
    TRY_GOTO(done, ops->linear_forward(s, x, NULL, other, w, NULL, x, AMMPL_ACT_GELU, ROWS));
    TRY_GOTO(done, ops->copy(s, other, x, ROWS * WIDTH * sizeof *y));
    TRY_GOTO(done, ops->sync(s));
    status = ops->download(s, y, other, ROWS * WIDTH * sizeof *y);
done:
    ops->release(s, x);
    ops->release(s, other);
    ops->release(s, start);
    ops->weight_destroy(s, w);
    d->backend->stream_destroy(s);
    return status;
}

/* Each call of CUDA in turn fails: a status of the right kind, its name in the sentence, nothing leaked, and the next try
 * gives the right numbers. */
static const struct {
    int error;
    ammpl_status status;
    const char *word;
} errors[] = {{2, AMMPL_E_DEVICE_MEMORY, "memory_limit"}, {700, AMMPL_E_DEVICE_LOST, "lost"}, {214, AMMPL_E_DEVICE_LOST, "ECC"},
             {1, AMMPL_E_BACKEND, "nvalid"}};

START_TEST(calls_fail)
{
    float want[ROWS * WIDTH], got[ROWS * WIDTH];
    device d = open_device();
    ck_ok(little_of_everything(&d, want));
    unsigned long long before = atomic_load(&d.ctx->memory_now);
    int failed = 0, calls = 0;
    for (int k = 0; k < 400; k++) {
        ammpli_clear_error();
        fail_at(k, errors[_i].error, 0);
        ammpl_status status = little_of_everything(&d, got);
        fail_at(-1, 0, 0);
        ck_assert_uint_eq(atomic_load(&d.ctx->memory_now), before);
        if (status == AMMPL_OK) { /* a call whose failure changes nothing, or none at all */
            ck_assert_int_eq(memcmp(got, want, sizeof got), 0);
        } else {
            const char *text = ammpli_error_text();
            bool blas = strncmp(text, "cublas", 6) == 0;
            ck_assert_msg(blas || strncmp(text, "cuda", 4) == 0 || strncmp(text, "launch of ", 10) == 0, "call %d: %s", k, text);
            bool full = strstr(text, "CUBLAS_STATUS_ALLOC_FAILED") != NULL; /* all that cublasCreate says */
            ck_assert_msg(full ? status == AMMPL_E_DEVICE_MEMORY : status == errors[_i].status && strstr(text, errors[_i].word),
                          "call %d: status %d: %s", k, status, text);
            failed++;
        }
        calls = k;
        ammpli_clear_error();
        ck_ok(little_of_everything(&d, got));
        ck_assert_int_eq(memcmp(got, want, sizeof got), 0);
    }
    ck_assert_int_gt(failed, 20);
    printf("# error %d: %d of %d calls made an op fail\n", errors[_i].error, failed, calls + 1);
    close_device(&d);
}
END_TEST

/* Attention of pictures, which is products, forward and backward: dqkv is what comes of it. */
enum { PICTURES = 2, TOKENS = 33, HEAD = 4, DQKV = PICTURES * TOKENS * 3 * HEAD };

static ammpl_status attention_of_pictures(device *d, ammpl_stream *s, float dqkv[DQKV])
{
    const ammpl_ops *ops = d->backend->ops;
    void *qkv = NULL, *out = NULL, *gradient = NULL, *start = NULL;
    float in[DQKV];
    const int32_t bounds[PICTURES + 1] = {0, TOKENS, PICTURES * TOKENS};
    const int64_t T = PICTURES * TOKENS;
    ammpl_status status;
    for (int i = 0; i < DQKV; i++)
        in[i] = (float)(i * 5 % 11) / 4 - 1;
    TRY_GOTO(done, ops->alloc(s, sizeof in, &qkv));
    TRY_GOTO(done, ops->alloc(s, sizeof in, &gradient));
    TRY_GOTO(done, ops->alloc(s, sizeof in / 3, &out));
    TRY_GOTO(done, ops->alloc(s, sizeof bounds, &start));
    TRY_GOTO(done, ops->upload(s, qkv, in, sizeof in));
    TRY_GOTO(done, ops->upload(s, start, bounds, sizeof bounds));
    TRY_GOTO(done, ops->attention_forward(s, out, qkv, start, PICTURES, TOKENS, T, HEAD, 1, 0, NULL, NULL, 0));
    TRY_GOTO(done, ops->attention_backward(s, gradient, out, out, qkv, start, PICTURES, TOKENS, T, HEAD, 1, 0, NULL, NULL, NULL, 0));
    status = ops->download(s, dqkv, gradient, sizeof in);
done:
    ops->release(s, qkv);
    ops->release(s, gradient);
    ops->release(s, out);
    ops->release(s, start);
    return status;
}

/* Each call in turn fails: the sentence names it, and the same stream gives the right numbers afterwards. */
START_TEST(attention_fails)
{
    static const char *const names[] = {"cublasCreate", "cublasGemmBatchedEx_64", "cudaMallocFromPoolAsync", "launch of attention_pointers_kernel",
                                        "launch of attention_softmax_kernel", "launch of attention_softmax_backward_kernel"};
    enum { NAMES = sizeof names / sizeof *names, CALLS = 200 };
    bool seen[NAMES] = {false};
    float want[DQKV], got[DQKV];
    device d = open_device();
    int failed = 0, last = 0;
    ck_ok(attention_of_pictures(&d, d.stream, want));
    for (int k = 0; k < CALLS; k++) {
        ammpl_stream *s;
        ck_ok(d.backend->stream_create(&d.ctx->host, 0, AMMPL_PRECISION_F32, &s));
        ammpli_clear_error();
        fail_at(k, errors[_i].error, 0);
        ammpl_status status = attention_of_pictures(&d, s, got);
        fail_at(-1, 0, 0);
        const char *text = ammpli_error_text();
        if (status == AMMPL_OK)
            ck_assert_msg(memcmp(got, want, sizeof got) == 0, "call %d fails unseen", k);
        for (int i = 0; status < 0 && i < NAMES; i++)
            seen[i] = seen[i] || strncmp(text, names[i], strlen(names[i])) == 0;
        bool full = strstr(text, "CUBLAS_STATUS_ALLOC_FAILED") != NULL; /* all that cublasCreate says */
        ck_assert_msg(status == AMMPL_OK || status == (full ? AMMPL_E_DEVICE_MEMORY : errors[_i].status), "call %d: status %d: %s", k, status, text);
        failed += status < 0;
        last = status < 0 ? k : last;
        ammpli_clear_error();
        ck_ok(attention_of_pictures(&d, s, got));
        ck_assert_msg(memcmp(got, want, sizeof got) == 0, "other numbers after call %d failed", k);
        d.backend->stream_destroy(s);
    }
    for (int i = 0; i < NAMES; i++) /* where memory is all that is missing, it is asked for again */
        ck_assert_msg(seen[i] || (errors[_i].status == AMMPL_E_DEVICE_MEMORY && strcmp(names[i], "cudaMallocFromPoolAsync") == 0),
                      "no sentence begins with %s", names[i]);
    ck_assert_msg(last < CALLS - 1, "there are more calls than %d", CALLS);
    printf("# error %d: %d of %d calls made attention fail\n", errors[_i].error, failed, last + 1);
    close_device(&d);
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

START_TEST(no_device)
{
    static const char *const words[] = {"shows no GPU", "no NVIDIA driver"};
    ammpl_context *ctx = test_context();
    configure(0, GIB, -_i);
    ck_status(ammpli_backend_load(ctx, plugin), AMMPL_E_BACKEND, words[_i]);
    ck_assert_uint_eq(ctx->devices, 1);
    ammpli_context_release(ctx);
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
    if (is_wanted("two_streams"))
        tcase_add_test(all, two_streams);
    if (is_wanted("repeated_steps"))
        add_steps(all);
    if (is_wanted("precision"))
        add_precisions(all);
    if (is_wanted("long_uploads"))
        tcase_add_test(all, long_uploads);
    if (configure && !wanted) {
        tcase_add_loop_test(all, calls_fail, 0, sizeof errors / sizeof *errors);
        tcase_add_loop_test(all, attention_fails, 0, sizeof errors / sizeof *errors);
        tcase_add_loop_test(all, no_device, 0, 2);
    }
    suite_add_tcase(suite, all);
    int status = test_main(suite);
    return configure && !wanted ? status | check_counts() : status;
}
