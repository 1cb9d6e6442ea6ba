/* mersenne.c - see mersenne.h. */
#include "data/mersenne.h"

#include <string.h>

enum { WORDS = 624, SHIFT = 397 };

/* ---- MT19937 ---- */

static void start(ammpli_mersenne *m, uint32_t seed)
{
    m->state[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++)
        m->state[i] = 1812433253u * (m->state[i - 1] ^ (m->state[i - 1] >> 30)) + i;
    m->at = WORDS;
}

/* The seed's 32-bit words, low one first, as the key of the reference code's init_by_array. */
void ammpli_mersenne_seed(ammpli_mersenne *m, uint64_t seed)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t *x = m->state, length = key[1] ? 2 : 1, i = 1;
    start(m, 19650218u);
    for (uint32_t k = 0; k < WORDS; k++) {
        x[i] = (x[i] ^ ((x[i - 1] ^ (x[i - 1] >> 30)) * 1664525u)) + key[k % length] + k % length;
        if (++i == WORDS) {
            x[0] = x[WORDS - 1];
            i = 1;
        }
    }
    for (uint32_t k = 1; k < WORDS; k++) {
        x[i] = (x[i] ^ ((x[i - 1] ^ (x[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == WORDS) {
            x[0] = x[WORDS - 1];
            i = 1;
        }
    }
    x[0] = 0x80000000u;
}

static void renew(ammpli_mersenne *m)
{
    uint32_t *x = m->state;
    for (int i = 0; i < WORDS; i++) {
        uint32_t y = (x[i] & 0x80000000u) | (x[(i + 1) % WORDS] & 0x7fffffffu);
        x[i] = x[(i + SHIFT) % WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    m->at = 0;
}

uint32_t ammpli_mersenne_bits(ammpli_mersenne *m, int bits)
{
    if (m->at == WORDS)
        renew(m);
    uint32_t y = m->state[m->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    y ^= y >> 18;
    return y >> (32 - bits);
}

/* ---- what Python draws with it ---- */

/* Uniform in 0..n-1, n >= 1: as many bits as n has, drawn again until they are below it. */
static size_t below(ammpli_mersenne *m, size_t n)
{
    int bits = 0;
    while (n >> bits)
        bits++;
    size_t draw;
    do
        draw = ammpli_mersenne_bits(m, bits);
    while (draw >= n);
    return draw;
}

void ammpli_mersenne_shuffle(ammpli_mersenne *m, size_t *list, size_t n)
{
    for (size_t i = n; i-- > 1;) {
        size_t j = below(m, i + 1), swap = list[i];
        list[i] = list[j];
        list[j] = swap;
    }
}

/* Up to this many elements the list is copied and drawn from, beyond it indices are drawn and repeated ones drawn again. */
static size_t pool_limit(size_t k)
{
    size_t power = 4;
    while (power < 3 * k)
        power *= 4;
    return k > 5 ? 21 + power : 21;
}

void ammpli_mersenne_sample(ammpli_mersenne *m, size_t n, size_t k, size_t *out, size_t *pool)
{
    if (n <= pool_limit(k)) {
        for (size_t i = 0; i < n; i++)
            pool[i] = i;
        for (size_t i = 0; i < k; i++) {
            size_t j = below(m, n - i);
            out[i] = pool[j];
            pool[j] = pool[n - i - 1];
        }
        return;
    }
    memset(pool, 0, n * sizeof *pool); /* 1: taken */
    for (size_t i = 0; i < k; i++) {
        do
            out[i] = below(m, n);
        while (pool[out[i]]);
        pool[out[i]] = 1;
    }
}
