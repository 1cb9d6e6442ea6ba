/* memory.c - memory and (trivial) streams: on the CPU everything is done when an op returns. */
#include "cpu/kernels.h"

#include <time.h>

int32_t ammpli_cpu_alloc(ammpl_stream *s, size_t bytes, void **out)
{
    REQUIRE(s, out, "alloc: out is NULL");
    *out = s->host->alloc(s->host->user, bytes);
    return *out ? AMMPL_OK : s->host->fail(AMMPL_E_MEMORY, "out of memory");
}

void ammpli_cpu_release(ammpl_stream *s, void *ptr)
{
    if (ptr)
        s->host->release(s->host->user, ptr);
}

int32_t ammpli_cpu_copy(ammpl_stream *s, void *dst, const void *src, size_t bytes)
{
    REQUIRE(s, !bytes || (dst && src), "copy: dst or src is NULL");
    if (bytes)
        memmove(dst, src, bytes);
    return AMMPL_OK;
}

int32_t ammpli_cpu_upload(ammpl_stream *s, void *dst, const void *src_host, size_t bytes)
{
    return ammpli_cpu_copy(s, dst, src_host, bytes);
}

int32_t ammpli_cpu_download(ammpl_stream *s, void *dst_host, const void *src, size_t bytes)
{
    return ammpli_cpu_copy(s, dst_host, src, bytes);
}

int32_t ammpli_cpu_zero(ammpl_stream *s, void *dst, size_t bytes)
{
    REQUIRE(s, !bytes || dst, "zero: dst is NULL");
    if (bytes)
        memset(dst, 0, bytes);
    return AMMPL_OK;
}

int32_t ammpli_cpu_sync(ammpl_stream *s)
{
    (void)s;
    return AMMPL_OK;
}

int32_t ammpli_cpu_elapsed(ammpl_stream *s, double *seconds)
{
    REQUIRE(s, seconds, "elapsed: seconds is NULL");
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    *seconds = s->asked > 0 ? now - s->asked : 0;
    s->asked = now;
    return AMMPL_OK;
}

/* Both forms are computed and one is picked, so that loops of it are vectorised.  No denormal appears on the way: a host
 * program that flushes them to zero reads the same numbers. */
static inline float from_f16(uint16_t h)
{
    uint32_t exponent = h & 0x7c00u, fraction = (h & 0x3ffu) << 13, small_bits = 113u << 23 | fraction;
    uint32_t normal = -(uint32_t)(exponent != 0), special = -(uint32_t)(exponent == 0x7c00u); /* masks */
    uint32_t bits = (exponent << 13) + (112u << 23) + (special & 112u << 23) + fraction;
    float small, f;
    memcpy(&small, &small_bits, 4);
    small -= 0x1p-14f;
    memcpy(&small_bits, &small, 4);
    bits = (bits & normal) | (small_bits & ~normal) | (uint32_t)(h & 0x8000u) << 16;
    memcpy(&f, &bits, 4);
    return f;
}

void ammpli_cpu_read(float *dst, const void *src, int32_t dtype, int64_t first, int64_t n)
{
    const char *p = (const char *)src + first * (dtype == AMMPL_DTYPE_F32 ? 4 : 2);
    uint16_t h;
    if (dtype == AMMPL_DTYPE_F32)
        memcpy(dst, p, (size_t)n * sizeof *dst);
    else if (dtype == AMMPL_DTYPE_F16)
        for (int64_t i = 0; i < n; i++) {
            memcpy(&h, p + 2 * i, 2);
            dst[i] = from_f16(h);
        }
    else
        for (int64_t i = 0; i < n; i++) {
            memcpy(&h, p + 2 * i, 2);
            uint32_t bits = (uint32_t)h << 16;
            memcpy(dst + i, &bits, 4);
        }
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx,f16c"))) static void widen_f16c(float *dst, const uint16_t *src, int64_t n)
{
    for (int64_t i = 0; i < n / 8 * 8; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i))));
    ammpli_cpu_read(dst + n / 8 * 8, src, AMMPL_DTYPE_F16, n / 8 * 8, n % 8);
}
#endif

void ammpli_cpu_widen(float *dst, const uint16_t *src, int64_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c")) {
        widen_f16c(dst, src, n);
        return;
    }
#endif
    ammpli_cpu_read(dst, src, AMMPL_DTYPE_F16, 0, n);
}
