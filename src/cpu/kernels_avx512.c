/* kernels_avx512.c - vectors of 16 floats: x86-64 with AVX-512F.  12 x 2 accumulators over two panels of 32 registers. */
#include "cpu/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define W 16
#define TARGET __attribute__((target("avx512f,fma")))
#include "cpu/vector.h"

INLINE vec FMA(vec a, vec b, vec c)
{
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

INLINE vec MAX(vec a, vec b)
{
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}
#define ROWS 12
#define VECS 2
#include "cpu/kernels.inc"

static bool supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
}

const ammpli_cpu_kernels ammpli_cpu_kernels_avx512 = KERNEL_TABLE("AVX-512", supported);
#endif
