/* wide.c - kernels.inc in vectors of 16 floats, lowered to AVX2: the form that AVX-512 runs, on processors without it. */
#include "cpu/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wpsabi" /* everything that passes a vector is inlined */
#define W 16
#define TARGET __attribute__((target("avx2,fma")))
#include "cpu/vector.h"

extern const ammpli_cpu_kernels test_kernels_wide;

#define HALVES(op, ...)                                  \
    __m256 out[2];                                       \
    for (int i = 0; i < 2; i++)                          \
        out[i] = op(__VA_ARGS__);                        \
    vec v;                                               \
    memcpy(&v, out, sizeof v);                           \
    return v

INLINE vec FMA(vec a, vec b, vec c)
{
    __m256 x[2], y[2], z[2];
    memcpy(x, &a, sizeof a);
    memcpy(y, &b, sizeof b);
    memcpy(z, &c, sizeof c);
    HALVES(_mm256_fmadd_ps, x[i], y[i], z[i]);
}

INLINE vec MAX(vec a, vec b)
{
    __m256 x[2], y[2];
    memcpy(x, &a, sizeof a);
    memcpy(y, &b, sizeof b);
    HALVES(_mm256_max_ps, x[i], y[i]);
}
#define ROWS 12
#define VECS 2
#include "cpu/kernels.inc"

static bool supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const ammpli_cpu_kernels test_kernels_wide = KERNEL_TABLE("16 wide on AVX2", supported);
#endif
