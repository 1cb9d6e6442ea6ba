/* ops.h - the harness of the op tests: every backend's table goes through the same cases.
 *
 * A case is a function case_<op>(run *).  It draws its inputs, puts them into backend memory between guard bands, calls
 * the op, and compares what comes back with a computation in double written in the case.  Everything read back is also kept
 * in a transcript, so that whole cases can be repeated under other conditions (threads, order of tasks) and compared bit
 * for bit.
 *
 * To add an op: its slot in ammpl_backend.h, its name in every backend's table and in TEST_OPS below (neither compiles
 * without), and case_<op> in a case_*.c (the suite does not link without).
 */
#ifndef AMMPL_TESTS_OPS_H
#define AMMPL_TESTS_OPS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

#define TEST_OPS(X) \
    X(alloc) X(release) X(upload) X(download) X(copy) X(zero) X(sync) X(elapsed) \
    X(weight_create) X(weight_destroy) X(linear_forward) X(linear_backward) X(gemm) \
    X(layernorm_forward) X(layernorm_backward) X(layernorm_weight_backward) X(softmax_forward) X(softmax_backward) \
    X(attention_forward) X(attention_backward) X(act_forward) X(act_backward) \
    X(rows_copy) X(rows_add) X(embed) X(scale) X(add) \
    X(l2norm_forward) X(l2norm_backward) X(dot_forward) X(dot_backward) X(cross_entropy_forward) X(cross_entropy_backward) \
    X(patches_forward) X(patches_backward) X(mask_draw) X(mask_mix_forward) X(mask_mix_backward) \
    X(sgd) X(adamw) X(finite_check)

typedef struct run run;
typedef struct op_case {
    const char *name;
    size_t slot; /* offset in ammpl_ops: a name that is no slot does not compile */
    void (*fn)(run *r);
} op_case;
#define DECLARE_CASE(op) void case_##op(run *r);
TEST_OPS(DECLARE_CASE)
#undef DECLARE_CASE
#define OP_CASE(op) {#op, offsetof(ammpl_ops, op), case_##op},

typedef struct buffer {
    char *block;      /* backend memory: guard, data, guard */
    size_t bytes;
    void *expected;   /* host copy of what an input must still hold, NULL for outputs */
} buffer;

struct run {
    const char *name;
    const ammpl_ops *ops;
    ammpl_stream *s;
    bool by_shape; /* products are a BLAS's: their rounding may depend on how many rows there are */
    bool by_count; /* and on how many products there are in a batch */
    uint64_t random;
    int64_t compared;    /* values */
    buffer *buffers;
    size_t count, cap;
    void **host;         /* host arrays of this case */
    size_t host_count, host_cap;
    unsigned char *transcript;
    size_t length, room;
};

void run_begin(run *r, const char *name, const ammpl_ops *ops, ammpl_stream *s);
/* Guard bands intact, inputs unchanged; frees the case's memory, keeps the transcript. */
void run_end(run *r);
void run_free(run *r);

/* ---- host arrays, freed with the case ---- */
void *keep(run *r, size_t bytes);              /* zeroed */
float *draw(run *r, int64_t n);                /* uniform in [-1, 1) */
float *draw_scaled(run *r, int64_t n, float scale, float offset);
int32_t *draw_index(run *r, int64_t n, int32_t below);
double *to_double(run *r, const float *x, int64_t n);
double uniform(run *r);

/* ---- backend memory between guard bands, checked and freed with the case ---- */
void *put(run *r, const void *host, size_t bytes);        /* an input: must be unchanged at the end */
void *put_change(run *r, const void *host, size_t bytes); /* input and output */
float *make(run *r, int64_t n);                           /* an output: holds NaN before */
/* Reads a buffer (or a part of one) back into a new host array and into the transcript. */
float *get(run *r, const float *device, int64_t n);

#define PUT(r, host, n) put(r, host, (size_t)(n) * sizeof *(host))
#define PUT_CHANGE(r, host, n) put_change(r, host, (size_t)(n) * sizeof *(host))

/* ---- comparisons: all of them count ---- */

/* |got - want| <= tolerance (|want| + root mean square of want) everywhere, a third of that over all (relative to the norm);
 * NaN where want has NaN. */
void close_to(run *r, const char *what, const float *got, const double *want, int64_t n, double tolerance);
void same_bits(run *r, const char *what, const float *got, const float *want, int64_t n);
/* The same rows from a product with fewer: same bits, but close where they are by_shape. */
void same_rows(run *r, const char *what, const float *got, const float *want, int64_t n);
void all_nan(run *r, const char *what, const float *got, int64_t n);
void all_finite(run *r, const char *what, const float *got, int64_t n);

/* Backward against finite differences of `value`, a scalar function in double of x[n] (all other arguments in ctx):
 * four-point central differences of `checks` elements, spread over x. */
void slopes(run *r, const char *what, const float *gradient, double (*value)(void *ctx, const double *x), void *ctx, double *x,
            int64_t n, int64_t checks, double tolerance);

/* The op must refuse, with a sentence containing `word`. */
#define refuses(r, call, word)                                                                                    \
    do {                                                                                                          \
        ck_status(call, AMMPL_E_ARGUMENT, word);                                                                  \
        ammpli_clear_error();                                                                                     \
        (r)->compared++;                                                                                          \
    } while (0)

/* The same where what is wrong lies in backend memory: the op says so, or the next sync. */
#define refuses_late(r, call, word)                                       \
    do {                                                                  \
        ammpl_status late = (call);                                       \
        if (late >= 0)                                                    \
            late = (r)->ops->sync((r)->s);                                \
        ck_assert_int_eq(late, AMMPL_E_ARGUMENT);                         \
        ck_assert_msg(strstr(ammpli_error_text(), word), "%s", ammpli_error_text()); \
        ammpli_clear_error();                                             \
        (r)->compared++;                                                  \
        ck_ok((r)->ops->sync((r)->s));                                    \
    } while (0)

/* Sizes that do not divide anything. */
extern const int64_t odd_sizes[6]; /* 1, 3, 5, 31, 33, 197 */

/* Activations in double. */
double act_double(double x, int32_t act);
double slope_double(double x, int32_t act);
/* An F16, by definition. */
double half_value(uint16_t h);

#endif
