/* kernels_avx2.c - vectors of 8 floats: x86-64 with AVX2 and FMA.  6 x 2 accumulators, 2 of b, 1 of a: 15 of 16 registers. */
#include "cpu/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define W 8
#define TARGET __attribute__((target("avx2,fma")))
#include "cpu/vector.h"

INLINE vec FMA(vec a, vec b, vec c)
{
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

INLINE vec MAX(vec a, vec b)
{
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
}

/* In the sum's own register: left to themselves compilers let sums wander through registers, of which all but one are taken, and move
 * them back at a loop's end. */
#define ADD_PRODUCT(sum, a, b) __asm__("vfmadd231ps {%2, %1, %0|%0, %1, %2}" : "+x"(sum) : "x"(a), "x"(b))
#define ROWS 6
#define VECS 2
#include "cpu/kernels.inc"

static bool supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const ammpli_cpu_kernels ammpli_cpu_kernels_avx2 = KERNEL_TABLE("AVX2+FMA", supported);
#endif
