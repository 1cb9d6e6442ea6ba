/* device_failures.c - devices that are not there, full, busy or lost, and calls of CUDA that fail. */
#include <stdio.h>

#include "device.h"

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

/* cuBLAS tells what it met only where that stays. */
static ammpl_status blas_status(const char *text)
{
    return strstr(text, "CUBLAS_STATUS_ALLOC_FAILED") ? AMMPL_E_DEVICE_MEMORY : AMMPL_E_BACKEND;
}

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
            ck_assert_msg(blas ? status == blas_status(text) : status == errors[_i].status && strstr(text, errors[_i].word),
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

/* Attention of pictures behind a prefix, which is products, forward and backward: dqkv is what comes of it, and behind it dprefix. */
enum { PICTURES = 2, TOKENS = 33, PREFIX = 3, HEAD = 4, DQKV = (PICTURES * TOKENS + PREFIX) * 3 * HEAD };

static ammpl_status attention_of_pictures(device *d, ammpl_stream *s, float dqkv[DQKV])
{
    const ammpl_ops *ops = d->backend->ops;
    void *qkv = NULL, *out = NULL, *gradient = NULL, *start = NULL;
    float in[DQKV];
    const int32_t bounds[PICTURES + 1 + PICTURES] = {0, TOKENS, PICTURES * TOKENS, 0, 0}; /* and groups */
    const int64_t T = PICTURES * TOKENS, own = T * 3 * HEAD;
    ammpl_status status;
    for (int i = 0; i < DQKV; i++)
        in[i] = (float)(i * 5 % 11) / 4 - 1;
    TRY_GOTO(done, ops->alloc(s, sizeof in, &qkv));
    TRY_GOTO(done, ops->alloc(s, sizeof in, &gradient));
    TRY_GOTO(done, ops->alloc(s, sizeof in / 3, &out));
    TRY_GOTO(done, ops->alloc(s, sizeof bounds, &start));
    TRY_GOTO(done, ops->upload(s, qkv, in, sizeof in));
    TRY_GOTO(done, ops->upload(s, start, bounds, sizeof bounds));
    TRY_GOTO(done, ops->zero(s, gradient, sizeof in));
    const float *rows = qkv;
    float *to = gradient;
    const int32_t *group = (const int32_t *)start + PICTURES + 1;
    TRY_GOTO(done, ops->attention_forward(s, out, rows, start, PICTURES, TOKENS, T, HEAD, 1, 0, rows + own, group, PREFIX));
    TRY_GOTO(done, ops->attention_backward(s, to, out, out, rows, start, PICTURES, TOKENS, T, HEAD, 1, 0, to + own, rows + own, group,
                                           PREFIX));
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
                                        "launch of attention_softmax_kernel", "launch of attention_softmax_backward_kernel", "launch of attention_gather_kernel",
                                        "launch of attention_scatter_kernel", "launch of attention_prefix_kernel"};
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
        ammpl_status want_status = strncmp(text, "cublas", 6) == 0 ? blas_status(text) : errors[_i].status;
        ck_assert_msg(status == AMMPL_OK || status == want_status, "call %d: status %d: %s", k, status, text);
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

/* What CUDA says when a device is gone, busy or not ready: by an op, by a product, and when the plug-in is loaded. */
START_TEST(kinds_of_errors)
{
    static const struct {
        int error;
        ammpl_status status;
        const char *name, *word;
    } kinds[] = {{46, AMMPL_E_BACKEND, "cudaErrorDevicesUnavailable", "is busy"},
                 {100, AMMPL_E_DEVICE_LOST, "cudaErrorNoDevice", "lost to this process"},
                 {214, AMMPL_E_DEVICE_LOST, "cudaErrorECCUncorrectable", "lost to this process"},
                 {700, AMMPL_E_DEVICE_LOST, "cudaErrorIllegalAddress", "lost to this process"},
                 {719, AMMPL_E_DEVICE_LOST, "cudaErrorLaunchFailure", "lost to this process"},
                 {802, AMMPL_E_BACKEND, "cudaErrorSystemNotReady", "nvidia-fabricmanager"},
                 {999, AMMPL_E_DEVICE_LOST, "cudaErrorUnknown", "lost to this process"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        configure(1, GIB, 1);
        device d = open_device();
        const ammpl_ops *ops = d.backend->ops;
        void *x;
        ck_ok(ops->alloc(d.stream, 3 * sizeof(float), &x));
        ck_ok(ops->zero(d.stream, x, 3 * sizeof(float)));
        float *a = x;
        ck_ok(ops->gemm(d.stream, 1, 1, 1, 1, 1, a, 0, 0, a + 1, 0, 0, 0, a + 2, 0));
        fail_at(0, kinds[k].error, 1);
        ck_status(ops->sync(d.stream), kinds[k].status, kinds[k].name);
        ck_assert_msg(strncmp(ammpli_error_text(), "cudaStreamSynchronize: ", 23) == 0 && strstr(ammpli_error_text(), kinds[k].word), "%s",
                      ammpli_error_text());
        ck_status(ops->gemm(d.stream, 1, 1, 1, 1, 1, a, 0, 0, a + 1, 0, 0, 0, a + 2, 0), kinds[k].status, kinds[k].word);
        ck_assert_msg(strncmp(ammpli_error_text(), "cublasGemm", 10) == 0, "%s", ammpli_error_text());
        ammpl_context *ctx = test_context();
        bool none = kinds[k].error == 100; /* so far there was no device to lose */
        ck_status(ammpli_backend_load(ctx, plugin), none ? AMMPL_E_BACKEND : kinds[k].status, none ? "shows no GPU" : kinds[k].word);
        fail_at(-1, 0, 0);
        ammpli_context_release(ctx);
        ops->release(d.stream, x);
        close_device(&d);
    }
}
END_TEST

/* A download that failed is over: nothing is written to the caller's memory, which may be another's by then. */
START_TEST(failed_downloads_are_over)
{
    int failed = 0;
    for (int k = 0; k < 6; k++) {
        configure(1, GIB, 1); /* as late as can be */
        device d = open_device();
        const ammpl_ops *ops = d.backend->ops;
        void *x;
        float y = 0;
        ck_ok(ops->alloc(d.stream, sizeof y, &x));
        ck_ok(ops->zero(d.stream, x, sizeof y));
        fail_at(k, 1, 0);
        ammpl_status status = ops->download(d.stream, &y, x, sizeof y);
        fail_at(-1, 0, 0);
        y = 9;
        ck_ok(ops->sync(d.stream));
        ck_assert_msg(status >= 0 || y == 9, "call %d fails, and the copy comes later", k);
        failed += status < 0;
        ops->release(d.stream, x);
        close_device(&d);
    }
    ck_assert_int_gt(failed, 1);
}
END_TEST

/* A device that is not there: it says so, and leaves no error behind that another stream's next launch would take for its own. */
START_TEST(no_such_device)
{
    static const int32_t numbers[] = {-1, 1, 63, 64, 99};
    device d = open_device();
    const ammpl_ops *ops = d.backend->ops;
    void *x;
    float in = 3, out;
    ck_ok(ops->alloc(d.stream, sizeof in, &x));
    ck_ok(ops->upload(d.stream, x, &in, sizeof in));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        ammpl_stream *s;
        uint64_t now, all;
        ck_status(d.backend->stream_create(&d.ctx->host, numbers[i], AMMPL_PRECISION_F32, &s), AMMPL_E_ARGUMENT, "no such device");
        ck_assert_ptr_null(s);
        ck_ok(ops->scale(d.stream, x, 2, 1));
        ck_status(d.backend->memory(&d.ctx->host, numbers[i], &now, &all), AMMPL_E_BACKEND, "cudaSetDevice: ");
        ck_ok(ops->scale(d.stream, x, 2, 1));
    }
    ck_ok(ops->download(d.stream, &out, x, sizeof out));
    ck_assert(out == 3 * 1024);
    ops->release(d.stream, x);
    close_device(&d);
}
END_TEST

void add_failures(Suite *suite)
{
    TCase *to = tcase_create("failures");
    tcase_set_timeout(to, 300);
    suite_add_tcase(suite, to);
    tcase_add_test(to, no_such_device);
    if (!configure)
        return;
    tcase_add_loop_test(to, calls_fail, 0, sizeof errors / sizeof *errors);
    tcase_add_loop_test(to, attention_fails, 0, sizeof errors / sizeof *errors);
    tcase_add_loop_test(to, no_device, 0, 2);
    tcase_add_test(to, kinds_of_errors);
    tcase_add_test(to, failed_downloads_are_over);
}
