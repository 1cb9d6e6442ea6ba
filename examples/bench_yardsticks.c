/* bench_yardsticks.c - the clock, the multiply-add peak and the memory's bandwidth, by small kernels of their own. */
#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double bench_now(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- clock ---- */

#define TEN(x) x x x x x x x x x x

double bench_clock(void)
{
    enum { TIMES = 50000 };
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        uint64_t x = 1, y = 3;
        double start = bench_now(1);
        for (int i = 0; i < TIMES; i++) {
            /* One cycle each: of registers, because some processors add constants at no cost. */
#if defined(__x86_64__)
            __asm__ volatile(TEN(TEN("add %1, %0\n\t")) : "+r"(x) : "r"(y));
#elif defined(__aarch64__)
            __asm__ volatile(TEN(TEN("add %0, %0, %1\n\t")) : "+r"(x) : "r"(y));
#else
            for (int k = 0; k < 100; k++) {
                x += y;
                __asm__ volatile("" : "+r"(x));
            }
#endif
        }
        double seconds = bench_now(1) - start;
        best = seconds < best ? seconds : best;
    }
    return 100.0 * TIMES / best * 1e-9;
}

/* ---- peak ---- */

/* More chains than any processor needs to hide an addition behind others; numbers the compiler does not know. */
enum { CHAINS = 12, STEPS = 1800000 }; /* 3 ms */
static volatile float factor = 0.9997f, term = 1e-3f, sink;

#define CHAIN_LOOP(name, attributes, vec, splat, fma, lane)                    \
    __attribute__((noinline)) attributes static void name(void)                \
    {                                                                          \
        const vec x = splat(factor), y = splat(term);                          \
        vec a0 = x, a1 = y, a2 = fma(x, x, y), a3 = fma(y, x, y);              \
        vec a4 = fma(a2, x, y), a5 = fma(a3, x, y), a6 = fma(a4, x, y);        \
        vec a7 = fma(a5, x, y), a8 = fma(a6, x, y), a9 = fma(a7, x, y);        \
        vec a10 = fma(a8, x, y), a11 = fma(a9, x, y);                          \
        for (int i = 0; i < STEPS; i++) {                                      \
            a0 = fma(a0, x, y), a1 = fma(a1, x, y), a2 = fma(a2, x, y);        \
            a3 = fma(a3, x, y), a4 = fma(a4, x, y), a5 = fma(a5, x, y);        \
            a6 = fma(a6, x, y), a7 = fma(a7, x, y), a8 = fma(a8, x, y);        \
            a9 = fma(a9, x, y), a10 = fma(a10, x, y), a11 = fma(a11, x, y);    \
        }                                                                      \
        sink = lane(a0) + lane(a1) + lane(a2) + lane(a3) + lane(a4) + lane(a5) \
               + lane(a6) + lane(a7) + lane(a8) + lane(a9) + lane(a10) + lane(a11); \
    }

#if defined(__x86_64__)
#include <immintrin.h>
#define LANE(v) ((v)[0])
CHAIN_LOOP(chains16, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, _mm512_fmadd_ps, LANE)
CHAIN_LOOP(chains8, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, _mm256_fmadd_ps, LANE)
static inline __m128 madd4(__m128 a, __m128 x, __m128 y)
{
    return _mm_add_ps(_mm_mul_ps(a, x), y);
}
CHAIN_LOOP(chains4, , __m128, _mm_set1_ps, madd4, LANE)
#elif defined(__aarch64__)
#include <arm_neon.h>
static inline float32x4_t madd4(float32x4_t a, float32x4_t x, float32x4_t y)
{
    return vfmaq_f32(y, a, x);
}
#define LANE(v) vgetq_lane_f32(v, 0)
CHAIN_LOOP(chains4, , float32x4_t, vdupq_n_f32, madd4, LANE)
#else
typedef float vec4 __attribute__((vector_size(16)));
static inline vec4 splat4(float x)
{
    return x - (vec4){0};
}
static inline vec4 madd4(vec4 a, vec4 x, vec4 y)
{
    return a * x + y;
}
#define LANE(v) ((v)[0])
CHAIN_LOOP(chains4, , vec4, splat4, madd4, LANE)
#endif

static void (*chains_of(int width))(void)
{
#if defined(__x86_64__)
    if (width == 16)
        return __builtin_cpu_supports("avx512f") ? chains16 : NULL;
    if (width == 8)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? chains8 : NULL;
#endif
    return width == 4 ? chains4 : NULL;
}

/* ---- on several threads: each does its share at the same time ---- */

struct share {
    atomic_int *waiting; /* threads that have not begun; NULL: there is one thread only */
    void (*fn)(void);
    const float *data;
    size_t n;
    double begin, end;
    float sum;
};

static void read_memory(struct share *s)
{
    float lane[64] = {0};
    for (size_t i = 0; i + 64 <= s->n; i += 64)
        for (size_t k = 0; k < 64; k++)
            lane[k] += s->data[i + k];
    for (size_t k = 0; k < 64; k++)
        s->sum += lane[k];
}

static void run_fn(struct share *s)
{
    if (s->fn != NULL)
        s->fn();
    else
        read_memory(s);
}

/* The first time a new thread may still be looking for a processor of its own.  They begin together without sleeping, or waking up
 * would be measured. */
static void *run_share(void *p)
{
    struct share *s = p;
    int threads = s->waiting == NULL ? 1 : 2;
    if (s->waiting != NULL) {
        run_fn(s);
        atomic_fetch_sub(s->waiting, 1);
        while (atomic_load(s->waiting) > 0)
            sched_yield();
    }
    s->begin = bench_now(threads);
    run_fn(s);
    s->end = bench_now(threads);
    return NULL;
}

/* What all of them do in a second, where each does `work`: from the first one's beginning to the last one's end, so that threads which
 * take turns on a processor count it once. */
static double rate_of(struct share *share, int threads, double work)
{
    pthread_t thread[256];
    atomic_int waiting = threads;
    int started = 0;
    for (int i = 0; i < threads; i++)
        share[i].waiting = threads > 1 ? &waiting : NULL;
    for (int i = 1; i < threads; i++)
        started += pthread_create(&thread[i], NULL, run_share, &share[i]) == 0;
    if (started < threads - 1) { /* the others would wait for ever */
        fprintf(stderr, "ammpl-bench: %d threads cannot be started; give fewer --threads\n", threads);
        exit(1);
    }
    run_share(&share[0]);
    for (int i = 1; i < threads; i++)
        pthread_join(thread[i], NULL);
    double begin = share[0].begin, end = share[0].end;
    for (int i = 1; i < threads; i++) {
        begin = share[i].begin < begin ? share[i].begin : begin;
        end = share[i].end > end ? share[i].end : end;
    }
    return work * threads / (end - begin);
}

double bench_peak(int width, int threads)
{
    struct share share[256] = {{.fn = NULL}};
    void (*fn)(void) = chains_of(width);
    if (fn == NULL)
        return 0;
    for (int i = 0; i < threads; i++)
        share[i].fn = fn;
    return rate_of(share, threads, 2.0 * CHAINS * STEPS * width) * 1e-9;
}

double bench_best_peak(int threads)
{
    static int best; /* one thread tells it */
    double most = 0;
    for (int width = best > 0 ? 32 : 4; width <= 16; width *= 2) {
        double peak = bench_peak(width, 1);
        best = peak > most ? width : best;
        most = peak > most ? peak : most;
    }
    return bench_peak(best, threads);
}

double bench_filled(void)
{
    double nearest = 0;
    for (int i = 0; i < 5; i++) {
        double before = bench_clock(), peak = bench_peak(8, 1), filled = 2 * peak / (before + bench_clock());
        if (peak == 0)
            return 0;
        nearest = i == 0 || fabs(filled - BENCH_FULL) < fabs(nearest - BENCH_FULL) ? filled : nearest;
    }
    return nearest;
}

bool bench_bandwidth(int threads, double *reading, int n)
{
    enum { BYTES = 256 << 20 };
    struct share share[256] = {{.fn = NULL}};
    float *data = malloc(BYTES);
    size_t each = BYTES / sizeof(float) / (size_t)threads;
    if (data == NULL)
        return false;
    memset(data, 1, BYTES); /* of zeros the compiler makes calloc, whose pages are all one page until somebody writes */
    for (int i = -1; i < n; i++) { /* the first still writes back what was set */
        for (int k = 0; k < threads; k++)
            share[k] = (struct share){.data = data + (size_t)k * each, .n = each};
        double rate = rate_of(share, threads, (double)each * sizeof(float));
        sink = share[0].sum;
        if (i >= 0)
            reading[i] = rate * 1e-9;
    }
    free(data);
    return true;
}
