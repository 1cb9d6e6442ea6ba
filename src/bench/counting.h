/* counting.h - a backend's table that also counts what is asked of it. */
#ifndef AMMPLI_BENCH_COUNTING_H
#define AMMPLI_BENCH_COUNTING_H

#include <ammpl/ammpl_backend.h>

typedef struct ammpli_counts {
    double flop;  /* 2 per multiply-add of products: linear layers, gemm, attention */
    double bytes; /* that ops move at least, each array once; uploads and downloads not */
} ammpli_counts;
extern ammpli_counts ammpli_counted;

/* `base` with counting; there is one such table at a time. */
const ammpl_ops *ammpli_counting(const ammpl_ops *base);
/* Products of attention: 2 forward, 5 backward, over whole blocks of queries x keys.  start NULL: B sequences of T / B rows. */
double ammpli_attention_flop(const int32_t *start, int64_t B, int64_t T, int64_t D, const int32_t *group, int64_t P, double products);

#endif
