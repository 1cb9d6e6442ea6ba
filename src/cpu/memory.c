/* memory.c - memory and (trivial) streams: on the CPU everything is done when an op returns. */
#include "cpu/kernels.h"

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

/* No denormal appears on the way, so that a host program that flushes them to zero reads the same numbers. */
static float from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff, bits;
    float f;
    if (exponent == 0) {
        bits = 113u << 23 | fraction << 13;
        memcpy(&f, &bits, 4);
        f -= 0x1p-14f;
        memcpy(&bits, &f, 4);
    } else {
        bits = (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    }
    bits |= sign;
    memcpy(&f, &bits, 4);
    return f;
}

float ammpli_cpu_read(const void *src, int32_t dtype, int64_t i)
{
    float f;
    uint16_t h;
    if (dtype == AMMPL_DTYPE_F32) {
        memcpy(&f, (const char *)src + 4 * i, 4);
        return f;
    }
    memcpy(&h, (const char *)src + 2 * i, 2);
    if (dtype == AMMPL_DTYPE_F16)
        return from_f16(h);
    uint32_t bits = (uint32_t)h << 16;
    memcpy(&f, &bits, 4);
    return f;
}
