/* digest.c - BLAKE2b of 128 bits (RFC 7693). */
#include "core/digest.h"

#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are read in the order of their bytes");

enum { BLOCK = 128, ROUNDS = 12 };

static const uint64_t initial[8] = {0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
                                    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u};

static const uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t rotated(uint64_t x, int bits)
{
    return x >> bits | x << (64 - bits);
}

static void mix(uint64_t v[16], int a, int b, int c, int d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = rotated(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotated(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotated(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotated(v[b] ^ v[c], 63);
}

/* Takes in d->block; last: all ones for the last one, else 0. */
static void compress(ammpli_digesting *d, uint64_t last)
{
    uint64_t v[16], m[16];
    d->total += d->filled;
    memcpy(v, d->h, sizeof d->h);
    memcpy(v + 8, initial, sizeof initial);
    memcpy(m, d->block, sizeof m);
    v[12] ^= d->total;
    v[14] ^= last;
    for (int r = 0; r < ROUNDS; r++) {
        const uint8_t *s = sigma[r % 10];
        for (int i = 0; i < 4; i++)
            mix(v, i, 4 + i, 8 + i, 12 + i, m[s[2 * i]], m[s[2 * i + 1]]);
        for (int i = 0; i < 4; i++)
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[s[8 + 2 * i]], m[s[9 + 2 * i]]);
    }
    for (int i = 0; i < 8; i++)
        d->h[i] ^= v[i] ^ v[8 + i];
    d->filled = 0;
}

void ammpli_digest_begin(ammpli_digesting *d)
{
    *d = (ammpli_digesting){0};
    memcpy(d->h, initial, sizeof initial);
    d->h[0] ^= 0x01010000u ^ AMMPLI_DIGEST_SIZE; /* fan-out 1, depth 1, no key */
}

void ammpli_digest_add(ammpli_digesting *d, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        if (d->filled == BLOCK)
            compress(d, 0);
        size_t n = BLOCK - d->filled < size ? BLOCK - d->filled : size;
        memcpy(d->block + d->filled, at, n);
        d->filled += n;
        at += n;
        size -= n;
    }
}

ammpli_digest ammpli_digest_end(ammpli_digesting *d)
{
    ammpli_digest out;
    memset(d->block + d->filled, 0, BLOCK - d->filled);
    compress(d, ~(uint64_t)0);
    memcpy(out.byte, d->h, sizeof out.byte);
    return out;
}

void ammpli_digest_text(const ammpli_digest *d, char text[AMMPLI_DIGEST_TEXT])
{
    for (int i = 0; i < AMMPLI_DIGEST_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", d->byte[i]);
}
