/* kernels.h - inside of the CPU backend: the stream, the packed weight, and the table of vector kernels.
 *
 * kernels.inc is written once with compiler vector types and compiled for several widths; stream_create picks the widest
 * table that this processor runs.  Ops (one file per family) cut the work into tasks and call kernels on blocks.
 *
 * Same bits whatever the number of threads and whatever else is in the batch: how work is cut into tasks may depend on
 * both, the order of a sum never does.  Sums over k go in blocks of a fixed size from 0 upwards, in edge tiles as in
 * full ones; lanes of a vector are added in one fixed order.
 */
#ifndef AMMPLI_CPU_KERNELS_H
#define AMMPLI_CPU_KERNELS_H

#include <assert.h>
#include <math.h>
#include <stdalign.h>
#include <string.h>

#include "core/core.h"
#include "cpu/cpu.h"

enum {
    PANEL = 16,               /* columns of a packed panel, whatever the vector width */
    DEPTH_MAX = 256,          /* of a product that is cut into blocks of k */
    SCRATCH = 192 * 1024 / 4, /* floats of scratch that one task may use */
};

/* A frozen [N, K]: panel p holds rows 16p..16p+15 as [K][16], rows past N as zeros. */
struct ammpl_weight {
    int64_t N, K;
    float *panel; /* [ceil(N/16)][K][16]; or NULL, and */
    uint16_t *half; /* the same as F16: widened block by block where it is used, to the same products */
};

typedef struct ammpli_cpu_kernels {
    const char *name; /* "AVX2+FMA" */
    int32_t width;    /* floats of a vector */
    bool (*supported)(void);

    /* c[rows, 16 panels] = a[rows, k] b, or += when `add`; b is panels of [k][16], `stride` floats apart. */
    void (*product)(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t stride, int64_t rows,
                    int64_t panels, int64_t k, bool add);
    /* dst[c][r] = src[r][c], r < rows, c < cols. */
    void (*transpose)(float *dst, int64_t ldd, const float *src, int64_t lds, int64_t rows, int64_t cols);
    /* The end of linear_forward for n columns of one row: pre = c + bias, y = act(pre) + residual. */
    void (*finish)(float *y, float *pre, const float *c, const float *bias, const float *residual, int32_t act, int64_t n);
    void (*act_forward)(float *y, const float *x, int64_t n, int32_t act);
    void (*act_backward)(float *dx, const float *dy, const float *x, int64_t n, int32_t act);
    void (*layernorm_forward)(float *y, const float *x, const float *gamma, const float *beta, int64_t D, float eps);
    void (*layernorm_backward)(float *dx, const float *dy, const float *x, const float *gamma, const float *residual,
                               int64_t D, float eps);
    /* A block of scores, `rows` queries against `keys` keys in rows of `wide` (a multiple of 16) places, lds apart; query r
     * sees the first min(keys, seen + r).  The rest counts as -infinity.  With m = the larger of max[r] and this block's:
     * factor[r] = exp(max[r] - m), max[r] = m, s = exp(scale s - m), sum[r] = sum[r] factor[r] + their sum. */
    void (*softmax_block)(float *s, int64_t lds, float *max, float *sum, float *factor, float scale, int64_t rows,
                          int64_t keys, int64_t wide, int64_t seen);
    /* Of exponentials s: p = s / sum[r] in their place, and p (d - dot[r]) scale in the place of d. */
    void (*softmax_backward)(float *s, float *d, int64_t lds, const float *sum, const float *dot, float scale, int64_t rows,
                             int64_t wide);
    /* The same of blocks that lie on their side, with a row for a key and 16 panels of queries: softmax_block, and its backward, where
     * max NULL says that s holds the exponentials already, and else p = exp(scale s - max[r]) / sum[r]. */
    void (*softmax_columns)(float *s, int64_t lds, float *max, float *sum, float scale, int64_t keys, int64_t panels, int64_t seen);
    void (*softmax_columns_backward)(float *s, float *d, int64_t lds, const float *max, const float *sum, const float *dot,
                                     float scale, int64_t keys, int64_t panels, int64_t seen);
    void (*exp)(float *y, const float *x, int64_t n);
} ammpli_cpu_kernels;

extern const ammpli_cpu_kernels ammpli_cpu_kernels_x4, ammpli_cpu_kernels_avx2, ammpli_cpu_kernels_avx512;
const ammpli_cpu_kernels *ammpli_cpu_best_kernels(void);

struct ammpl_stream {
    const ammpl_host *host;
    const ammpli_cpu_kernels *kernels;
    double asked;   /* when elapsed was last asked; 0: never */
    float *scratch; /* [SCRATCH] for tasks on the caller's thread, from the first loop on that has such; else NULL */
};

/* Every op, in the table's order: the table, the reference table and the tests are made of this list.
 * F: has a fast path and a reference of its own; P: one plain loop is both. */
#define AMMPLI_CPU_OPS(F, P) \
    P(alloc) P(release) P(upload) P(download) P(copy) P(zero) P(sync) P(elapsed) \
    P(weight_create) P(weight_destroy) F(linear_forward) F(linear_backward) F(gemm) \
    F(layernorm_forward) F(layernorm_backward) P(layernorm_weight_backward) P(softmax_forward) P(softmax_backward) \
    F(attention_forward) F(attention_backward) F(act_forward) F(act_backward) \
    P(rows_copy) P(rows_add) P(embed) P(scale) P(add) \
    P(l2norm_forward) P(l2norm_backward) P(dot_forward) P(dot_backward) P(cross_entropy_forward) P(cross_entropy_backward) \
    P(patches_forward) P(patches_backward) P(mask_draw) P(mask_mix_forward) P(mask_mix_backward) \
    P(sgd) P(adamw) P(finite_check)

/* Declares each op with the type of its slot, so that no prototype can disagree with the table. */
#define DECLARE_PLAIN(op) extern __typeof__(*((ammpl_ops *)0)->op) ammpli_cpu_##op;
#define DECLARE_FAST(op) DECLARE_PLAIN(op) extern __typeof__(*((ammpl_ops *)0)->op) ammpli_cpu_##op##_reference;
AMMPLI_CPU_OPS(DECLARE_FAST, DECLARE_PLAIN)
#undef DECLARE_PLAIN
#undef DECLARE_FAST

extern const ammpl_ops ammpli_cpu_ops, ammpli_cpu_reference_ops;

#define REQUIRE(s, ok, sentence)                                    \
    do {                                                            \
        if (!(ok))                                                  \
            return (s)->host->fail(AMMPL_E_ARGUMENT, sentence);     \
    } while (0)

/* Runs tasks 0..n-1 on the pool, or here when all of them together are too little work to wake anybody:
 * `work` is about the number of floats touched or of multiply-adds / 8. */
void ammpli_cpu_for(ammpl_stream *s, int64_t n, int64_t work, void (*fn)(void *arg, int64_t i, int worker), void *arg);
/* The same for tasks that need scratch, SCRATCH floats of any value, aligned to 64 bytes: a worker's stack has room for that, the
 * caller's need not have (musl gives a thread 128 KiB), so there the stream's are taken.  AMMPL_E_MEMORY: no room for them. */
int32_t ammpli_cpu_for_scratch(ammpl_stream *s, int64_t n, int64_t work, void (*fn)(void *arg, int64_t i, float *scratch), void *arg);
/* Elements per task so that n elements of `work` each give a few tasks per thread, a multiple of `unit`. */
int64_t ammpli_cpu_grain(ammpl_stream *s, int64_t n, int64_t work, int64_t unit);

/* Bytes that the machine has, and that it can give without swapping (what the page cache would give back among them), by a file like
 * /proc/meminfo; no more than the numbers in any of the files `limits` (ended by NULL), where there are such: a container's.  False: the
 * system does not say (available.c). */
bool ammpli_cpu_available(const char *meminfo, const char *const *limits, uint64_t *available, uint64_t *total);

/* Scalar definitions, used by reference loops (activation.c). */
float ammpli_cpu_act(float x, int32_t act);
float ammpli_cpu_act_slope(float x, int32_t act);
/* dst = n elements of src from `first` on; src is of AMMPL_DTYPE_* and need not be aligned (memory.c). */
void ammpli_cpu_read(float *dst, const void *src, int32_t dtype, int64_t first, int64_t n);
/* n aligned F16 to float, as ammpli_cpu_read does it. */
void ammpli_cpu_widen(float *dst, const uint16_t *src, int64_t n);

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A sum in a fixed order that the compiler can vectorise: 8 lanes, then pairs of lanes. */
static inline float ammpli_cpu_dot(const float *a, const float *b, int64_t n)
{
    float lane[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            lane[j] += a[i + j] * b[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += a[i] * b[i];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

#endif
