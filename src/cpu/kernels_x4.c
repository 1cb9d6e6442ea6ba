/* kernels_x4.c - vectors of 4 floats: NEON on Arm, SSE2 on x86-64, whatever the compiler makes of them elsewhere. */
#define W 4
#define TARGET
#include "cpu/vector.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#define NAME "NEON"
#define VECS 4 /* 32 registers */
INLINE vec FMA(vec a, vec b, vec c)
{
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

INLINE vec MAX(vec a, vec b)
{
    return (vec)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
}
#else
#if defined(__SSE2__)
#define NAME "SSE2"
#else
#define NAME "plain C"
#endif
#define VECS 2
INLINE vec FMA(vec a, vec b, vec c)
{
    return a * b + c; /* two roundings, in edge tiles and full ones alike */
}

INLINE vec MAX(vec a, vec b)
{
    return pick(a > b, a, b);
}
#endif
#define ROWS 6
#include "cpu/kernels.inc"

static bool supported(void)
{
    return true;
}

const ammpli_cpu_kernels ammpli_cpu_kernels_x4 = KERNEL_TABLE(NAME, supported);
