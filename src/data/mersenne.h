/* mersenne.h - Python's random module, as far as the published runs used it: MT19937 (Matsumoto and Nishimura, 1998), and the
 * draws that random.seed, sample and shuffle make with it (methods.md 6.2; the same in CPython 3.2 to 3.12).
 */
#ifndef AMMPLI_MERSENNE_H
#define AMMPLI_MERSENNE_H

#include "core/core.h"

typedef struct ammpli_mersenne {
    uint32_t state[624];
    int at; /* next word of the state; 624: a new state is due */
} ammpli_mersenne;

/* random.seed(seed) */
void ammpli_mersenne_seed(ammpli_mersenne *m, uint64_t seed);
/* random.getrandbits(bits), 1..32 */
uint32_t ammpli_mersenne_bits(ammpli_mersenne *m, int bits);
/* random.shuffle(list) */
void ammpli_mersenne_shuffle(ammpli_mersenne *m, size_t *list, size_t n);
/* random.sample(range(n), k), k <= n, into out[k]; pool[n] is scratch. */
void ammpli_mersenne_sample(ammpli_mersenne *m, size_t n, size_t k, size_t *out, size_t *pool);

#endif
