/* bench_ops.c - GFLOP/s of the CPU backend's heavy ops, as a share of what a loop of independent multiply-adds reaches.
 *
 *     bench_ops [THREADS [REPEATS [OP]]]
 *
 * Every figure is the best of REPEATS runs, and the peak is measured between them, so that both see the same machine.
 * The table in src/SPEED.md is made of its output.
 */
#include "cpu/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* One thread: its own processor time, so that neighbours cost only what they take of caches and memory. */
static clockid_t ticks = CLOCK_THREAD_CPUTIME_ID;

static double now(void)
{
    struct timespec t;
    clock_gettime(ticks, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define CHAINS 12
#define BODY(vec, FMA)                             \
    {                                              \
        vec a[CHAINS];                             \
        for (int i = 0; i < CHAINS; i++)           \
            a[i] = (vec){(float)i};                \
        const vec x = {0.5f}, y = {0.25f};         \
        for (int64_t n = 0; n < steps; n++)        \
            _Pragma("GCC unroll 12")               \
            for (int i = 0; i < CHAINS; i++)       \
                a[i] = FMA(a[i], x, y);            \
        float sum = 0;                             \
        for (int i = 0; i < CHAINS; i++)           \
            sum += a[i][0];                        \
        return sum;                                \
    }
#if defined(__x86_64__)
#include <immintrin.h>
__attribute__((target("avx512f"), noinline)) static float loop16(int64_t steps) BODY(__m512, _mm512_fmadd_ps)
__attribute__((target("avx2,fma"), noinline)) static float loop8(int64_t steps) BODY(__m256, _mm256_fmadd_ps)
#endif
typedef float v4 __attribute__((vector_size(16)));
#define MULADD(a, x, y) ((a) * (x) + (y))
__attribute__((noinline)) static float loop4(int64_t steps) BODY(v4, MULADD)

static int32_t width;
static volatile float sink;

static void peak_task(void *arg, int64_t i, int worker)
{
    (void)i;
    (void)worker;
    int64_t steps = *(int64_t *)arg;
#if defined(__x86_64__)
    if (width == 16) {
        sink = loop16(steps);
        return;
    }
    if (width == 8) {
        sink = loop8(steps);
        return;
    }
#endif
    sink = loop4(steps);
}

static float *numbers(int64_t n)
{
    float *p = aligned_alloc(64, ((size_t)n * 4 + 127) / 64 * 64);
    uint32_t x = 1;
    for (int64_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(x >> 8) * 0x1p-23f - 1.0f;
    }
    return p;
}

typedef struct shape {
    const char *op;
    int64_t a, b, c, d; /* linear: T, N, K; attention: B, L, D, H */
} shape;

int main(int argc, char **argv)
{
    static const shape shapes[] = {
        {"forward", 1576, 2304, 768, 0}, {"forward", 1576, 768, 768, 0}, {"forward", 1576, 3072, 768, 0},
        {"forward", 1576, 768, 3072, 0}, {"forward", 2600, 384, 128, 0}, {"forward", 2600, 128, 128, 0},
        {"forward", 2600, 128, 512, 0}, {"forward", 2600, 288, 96, 0}, {"forward", 2600, 96, 384, 0},
        {"forward", 8, 768, 3072, 0}, {"forward", 100, 512, 512, 0},
        {"backward", 1576, 2304, 768, 0}, {"backward", 1576, 768, 768, 0}, {"backward", 1576, 3072, 768, 0},
        {"backward", 1576, 768, 3072, 0}, {"backward", 2600, 384, 128, 0}, {"backward", 2600, 128, 512, 0},
        {"backward", 100, 512, 512, 0},
        {"attention forward", 8, 197, 768, 12}, {"attention forward", 40, 65, 128, 4}, {"attention forward", 100, 12, 512, 8},
        {"attention forward", 40, 17, 96, 3},
        {"attention backward", 8, 197, 768, 12}, {"attention backward", 40, 65, 128, 4},
        {"attention backward", 100, 12, 512, 8}, {"attention backward", 40, 17, 96, 3},
        {"layernorm forward", 1576, 768, 0, 0}, {"layernorm backward", 1576, 768, 0, 0}, {"gelu", 1576, 768, 0, 0},
        {"quick_gelu", 1576, 768, 0, 0}};
    int threads = argc > 1 ? atoi(argv[1]) : 1, repeats = argc > 2 ? atoi(argv[2]) : 20;
    const char *only = argc > 3 ? argv[3] : "";
    ammpl_context *ctx;
    ammpl_stream *s;
    if (threads > 1)
        ticks = CLOCK_MONOTONIC;
    if (ammpli_context_create(NULL, &ctx) < 0 || ammpli_context_set_threads(ctx, threads) < 0 ||
        ammpli_cpu_backend.stream_create(&ctx->host, 0, AMMPL_PRECISION_F32, &s) < 0)
        return 1;
    width = s->kernels->width;
    const ammpl_ops *ops = &ammpli_cpu_ops;
    printf("%s\n", ctx->device[0].description);
    printf("%-20s %24s %9s %9s %6s\n", "op", "shape", "GFLOP/s", "peak", "share");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *h = &shapes[i];
        if (!strstr(h->op, only))
            continue;
        bool attention = strncmp(h->op, "attention", 9) == 0, back = strstr(h->op, "backward") != NULL;
        bool row = strncmp(h->op, "layer", 5) == 0 || strstr(h->op, "gelu");
        int64_t T = attention ? h->a * h->b : h->a, N = attention ? 3 * h->c : h->b, K = attention ? h->c : row ? h->b : h->c;
        double flops = attention ? (double)h->a * (double)(h->b * h->b * h->c) * (back ? 10.0 : 4.0)
                       : row     ? (double)(T * N)
                                 : 2.0 * (double)T * (double)N * (double)K;
        float *x = numbers(T * K), *y = numbers(T * N), *z = numbers(T * N), *u = numbers(T * K), *bias = numbers(N);
        float *weight = numbers(row ? 1 : N * K);
        int32_t *start = malloc((size_t)(h->a + 1) * sizeof *start);
        for (int64_t b = 0; b <= h->a; b++)
            start[b] = (int32_t)(b * (attention ? h->b : 1));
        ammpl_weight *w;
        ops->weight_create(s, weight, AMMPL_DTYPE_F32, 0, row ? 1 : N, row ? 1 : K, &w);
        double best = 1e9, fastest = 1e9, peak_flops = 0;
        for (int r = 0; r < repeats; r++) {
            int64_t steps = 400000;
            double t0 = now();
            ctx->host.parallel(ctx->host.user, threads, peak_task, &steps);
            double t1 = now();
            peak_flops = 2.0 * CHAINS * width * (double)steps * threads;
            int inner = (int)(3e8 / flops) + 1;
            if (row)
                inner = 10;
            double t2 = now();
            for (int k = 0; k < inner; k++) {
                if (strcmp(h->op, "forward") == 0)
                    ops->linear_forward(s, y, NULL, x, w, bias, z, AMMPL_ACT_NONE, T);
                else if (strcmp(h->op, "backward") == 0)
                    ops->linear_backward(s, x, y, w, NULL, AMMPL_ACT_NONE, T);
                else if (strcmp(h->op, "attention forward") == 0)
                    ops->attention_forward(s, x, y, start, h->a, h->b, T, h->c, h->d, 0, NULL, NULL, 0);
                else if (strcmp(h->op, "attention backward") == 0)
                    ops->attention_backward(s, z, u, x, y, start, h->a, h->b, T, h->c, h->d, 0, NULL, NULL, NULL,
                                            0);
                else if (strcmp(h->op, "layernorm forward") == 0)
                    ops->layernorm_forward(s, z, x, bias, bias, T, K, 1e-5f);
                else if (strcmp(h->op, "layernorm backward") == 0)
                    ops->layernorm_backward(s, z, y, x, bias, NULL, T, K, 1e-5f);
                else
                    ops->act_forward(s, z, x, T * K, strcmp(h->op, "gelu") == 0 ? AMMPL_ACT_GELU : AMMPL_ACT_QUICK_GELU);
            }
            double t3 = now();
            best = (t3 - t2) / inner < best ? (t3 - t2) / inner : best;
            fastest = t1 - t0 < fastest ? t1 - t0 : fastest;
        }
        double rate = flops / best * 1e-9, peak = peak_flops / fastest * 1e-9;
        char text[64];
        snprintf(text, sizeof text, attention ? "B%ld L%ld D%ld H%ld" : row ? "T%ld D%ld" : "T%ld N%ld K%ld", (long)h->a, (long)h->b,
                 (long)h->c, (long)h->d);
        if (row)
            printf("%-20s %24s %9.2f ns per 16 elements\n", h->op, text, 16 * best * 1e9 / flops);
        else
            printf("%-20s %24s %9.1f %9.1f %6.2f\n", h->op, text, rate, peak, rate / peak);
        fflush(stdout);
        ops->weight_destroy(s, w);
        free(x), free(y), free(z), free(u), free(bias), free(weight), free(start);
    }
    ammpli_cpu_backend.stream_destroy(s);
    ammpli_context_release(ctx);
    return 0;
}
