/* digest.h - BLAKE2b (RFC 7693) of 128 bits, without a key: names content so that nobody can make two of one name. */
#ifndef AMMPLI_DIGEST_H
#define AMMPLI_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum { AMMPLI_DIGEST_SIZE = 16, AMMPLI_DIGEST_TEXT = 2 * AMMPLI_DIGEST_SIZE + 1 };

typedef struct ammpli_digest {
    uint8_t byte[AMMPLI_DIGEST_SIZE];
} ammpli_digest;

typedef struct ammpli_digesting {
    uint64_t h[8], total; /* bytes that were compressed */
    uint8_t block[128];   /* waits until more comes: the last block is treated as such */
    size_t filled;
} ammpli_digesting;

void ammpli_digest_begin(ammpli_digesting *d);
void ammpli_digest_add(ammpli_digesting *d, const void *data, size_t size);
ammpli_digest ammpli_digest_end(ammpli_digesting *d);
/* 32 hexadecimal digits, as `b2sum -l 128` prints them. */
void ammpli_digest_text(const ammpli_digest *d, char text[AMMPLI_DIGEST_TEXT]);

#endif
