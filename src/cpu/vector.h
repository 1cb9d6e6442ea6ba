/* vector.h - compiler vector types of W floats for kernels.inc; W and TARGET are defined by the including file. */
#include "cpu/kernels.h"

#define INLINE static inline __attribute__((always_inline)) TARGET

/* In front of a loop over registers: all of it, in either compiler's words. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vec __attribute__((vector_size(4 * W), may_alias));
typedef float vec_unaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * W), may_alias));

INLINE vec load(const float *p)
{
    return *(const vec_unaligned *)p;
}

INLINE void store(float *p, vec v)
{
    *(vec_unaligned *)p = v;
}

/* x - 0 is x for every x, -0 too: the compilers make one broadcast of it. */
INLINE vec splat(float x)
{
    return x - (vec){0};
}

INLINE vec pick(veci condition, vec yes, vec no)
{
    return (vec)(((veci)yes & condition) | ((veci)no & ~condition));
}
