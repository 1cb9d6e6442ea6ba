/* philox.c - Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
 *
 * A draw depends on its counter and the seed only: masks, crops and initial values are the same on every backend and
 * for any number of threads, batch composition and after resuming.  The layout of the counter is a file format.
 */
#include "core/core.h"

#include <math.h>

void ammpli_philox(uint64_t seed, uint32_t purpose, uint32_t position, uint32_t c1, uint32_t c2, uint32_t c3,
                   uint32_t out[4])
{
    uint32_t x0 = purpose << 24 | (position & 0xffffffu), x1 = c1, x2 = c2, x3 = c3;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * x0;
        uint64_t b = (uint64_t)0xCD9E8D57u * x2;
        uint32_t y0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        uint32_t y2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)b;
        x3 = (uint32_t)a;
        x0 = y0;
        x2 = y2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

float ammpli_uniform(const uint32_t x[4])
{
    return (float)(x[0] >> 8) * 0x1p-24f;
}

double ammpli_normal(const uint32_t x[4])
{
    double u1 = ((x[0] >> 8) + 1) * 0x1p-24; /* in (0, 1]: its logarithm is finite */
    double u2 = (x[1] >> 8) * 0x1p-24;
    return sqrt(-2.0 * log(u1)) * cos(6.283185307179586476925286766559 * u2);
}

void ammpli_shuffle(uint64_t seed, uint32_t epoch, int32_t *order, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = (int32_t)i;
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t x[4];
        ammpli_philox(seed, AMMPLI_DRAW_SHUFFLE, (uint32_t)i, 0, 0, epoch, x);
        int64_t j = (int64_t)(((uint64_t)x[0] * (uint64_t)(i + 1)) >> 32);
        int32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

uint32_t ammpli_hash(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}
