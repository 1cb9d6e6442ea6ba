/* case_memory.c - memory, streams, and weights in every dtype. */
#include "ops.h"
#include "cpu/kernels.h"

#include <time.h>

void case_alloc(run *r)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 1000003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *p = NULL;
        ck_ok(r->ops->alloc(r->s, sizes[i], &p));
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        ck_ok(r->ops->zero(r->s, p, sizes[i]));
        r->ops->release(r->s, p);
        r->compared++;
    }
    refuses(r, r->ops->alloc(r->s, 4, NULL), "alloc");
}

void case_release(run *r)
{
    r->ops->release(r->s, NULL);
    for (int i = 0; i < 100; i++) { /* a leak would show in the context's count and under ASan */
        void *p;
        ck_ok(r->ops->alloc(r->s, 1 << 20, &p));
        r->ops->release(r->s, p);
        r->compared++;
    }
}

static void moves(run *r, int32_t (*there)(ammpl_stream *, void *, const void *, size_t),
                  int32_t (*back)(ammpl_stream *, void *, const void *, size_t))
{
    for (int i = 0; i < 6; i++) {
        int64_t n = odd_sizes[i];
        float *x = draw(r, n), *device = make(r, n), *again = keep(r, (size_t)n * 4);
        ck_ok(there(r->s, device, x, (size_t)n * 4));
        ck_ok(back(r->s, again, device, (size_t)n * 4));
        same_bits(r, "bytes", again, x, n);
    }
    ck_ok(there(r->s, NULL, NULL, 0));
    refuses(r, there(r->s, NULL, odd_sizes, 4), "NULL");
}

void case_upload(run *r)
{
    moves(r, r->ops->upload, r->ops->download);
}

void case_download(run *r)
{
    moves(r, r->ops->upload, r->ops->download);
}

void case_copy(run *r)
{
    for (int i = 0; i < 6; i++) {
        int64_t n = odd_sizes[i];
        float *x = draw(r, n), *from = PUT(r, x, n), *to = make(r, n);
        ck_ok(r->ops->copy(r->s, to, from, (size_t)n * 4));
        same_bits(r, "copy", get(r, to, n), x, n);
    }
    refuses(r, r->ops->copy(r->s, NULL, odd_sizes, 4), "NULL");
}

void case_zero(run *r)
{
    for (int i = 0; i < 6; i++) {
        int64_t n = odd_sizes[i];
        float *x = make(r, n), *nothing = keep(r, (size_t)n * 4);
        ck_ok(r->ops->zero(r->s, x, (size_t)n * 4));
        same_bits(r, "zero", get(r, x, n), nothing, n);
    }
    refuses(r, r->ops->zero(r->s, NULL, 4), "NULL");
}

void case_sync(run *r)
{
    ck_ok(r->ops->sync(r->s));
    r->compared++;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Never more than the host saw pass, counted from one answer to the next, whatever lies between. */
void case_elapsed(run *r)
{
    double first = -1, seconds = -1, sum = 0, before = now();
    ck_ok(r->ops->elapsed(r->s, &first));
    ck_assert(first == 0);
    for (int i = 0; i < 5; i++) {
        int64_t n = 1000 << i;
        float *x = draw(r, n), *device = put_change(r, x, (size_t)n * 4);
        ck_ok(r->ops->scale(r->s, device, 2, n));
        ck_ok(r->ops->elapsed(r->s, &seconds));
        ck_assert_msg(seconds > 0, "%s: %g seconds for %ld values", r->name, seconds, (long)n);
        sum += seconds;
        r->compared++;
    }
    ck_assert_msg(sum <= now() - before + 1e-4, "%s: %g seconds, and the host saw %g pass", r->name, sum, now() - before);
    refuses(r, r->ops->elapsed(r->s, NULL), "NULL");
}

/* A float as the file would hold it, and back, by definition. */
static uint16_t narrow(float x, int32_t dtype)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (dtype == AMMPL_DTYPE_BF16)
        return (uint16_t)(bits >> 16);
    int exponent;
    double m = frexp(fabs((double)x), &exponent); /* normal halves only: what the drawn numbers are */
    return (uint16_t)((bits >> 31) << 15 | (uint32_t)(exponent + 14) << 10 | ((uint32_t)(m * 2048) & 0x3ff));
}

/* The rows of an identity pick the columns of W: exactly, whatever the tables do. */
void case_weight_create(run *r)
{
    for (int32_t dtype = AMMPL_DTYPE_F32; dtype <= AMMPL_DTYPE_BF16; dtype++)
        for (int32_t transposed = 0; transposed < 2; transposed++)
            for (int i = 0; i < 6; i++) {
                int64_t N = odd_sizes[i], K = odd_sizes[(i + 3) % 6];
                float *w = draw_scaled(r, N * K, 0.5f, 1), *x = keep(r, (size_t)(K * K) * 4);
                char *file = keep(r, (size_t)(N * K) * 4 + 1);
                for (int64_t e = 0; e < N * K; e++) {
                    if (dtype == AMMPL_DTYPE_F32) {
                        memcpy(file + 1 + 4 * e, w + e, 4); /* unaligned, as tensors in files may be */
                        continue;
                    }
                    uint16_t h = narrow(w[e], dtype);
                    memcpy(file + 1 + 2 * e, &h, 2);
                    uint32_t bits;
                    memcpy(&bits, w + e, 4);
                    bits &= dtype == AMMPL_DTYPE_BF16 ? 0xffff0000u : 0xffffe000u;
                    memcpy(w + e, &bits, 4);
                }
                for (int64_t k = 0; k < K; k++)
                    x[k * K + k] = 1;
                ammpl_weight *weight;
                ck_ok(r->ops->weight_create(r->s, file + 1, dtype, transposed, N, K, &weight));
                float *y = make(r, K * N), *want = keep(r, (size_t)(K * N) * 4);
                ck_ok(r->ops->linear_forward(r->s, y, NULL, PUT(r, x, K * K), weight, NULL, NULL, AMMPL_ACT_NONE, K));
                for (int64_t k = 0; k < K; k++)
                    for (int64_t n = 0; n < N; n++)
                        want[k * N + n] = transposed ? w[k * N + n] : w[n * K + k];
                same_bits(r, "weight", get(r, y, K * N), want, K * N);
                r->ops->weight_destroy(r->s, weight);
            }
    float one = 1;
    ammpl_weight *weight = (ammpl_weight *)&one;
    refuses(r, r->ops->weight_create(r->s, &one, 7, 0, 1, 1, &weight), "dtype");
    ck_assert_ptr_null(weight);
    refuses(r, r->ops->weight_create(r->s, NULL, AMMPL_DTYPE_F32, 0, 1, 1, &weight), "NULL");
    refuses(r, r->ops->weight_create(r->s, &one, AMMPL_DTYPE_F32, 0, 0, 1, &weight), "below 1");
    refuses(r, r->ops->weight_create(r->s, &one, AMMPL_DTYPE_F32, 0, 1, 1, NULL), "out");
}

void case_weight_destroy(run *r)
{
    r->ops->weight_destroy(r->s, NULL);
    float *w = draw(r, 33 * 31);
    for (int i = 0; i < 50; i++) {
        ammpl_weight *weight;
        ck_ok(r->ops->weight_create(r->s, w, AMMPL_DTYPE_F32, 0, 33, 31, &weight));
        r->ops->weight_destroy(r->s, weight);
        r->compared++;
    }
}
