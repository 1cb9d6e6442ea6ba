/* bench_inside.h - what ammpl-bench asks of the library's inside (src/bench/inside.c): kernels, ops, towers, and how many
 * operations were really executed.  Everything else it measures through ammpl.h.
 */
#ifndef AMMPL_EXAMPLES_BENCH_INSIDE_H
#define AMMPL_EXAMPLES_BENCH_INSIDE_H

#include <ammpl/ammpl.h>

struct inside_cost {
    double flop;  /* 2 per multiply-add of products */
    double bytes; /* that the ops move at least, each array once */
};

/* One thing that can be done again and again. */
struct inside_work {
    ammpl_status (*run)(struct inside_work *w);
    void (*close)(struct inside_work *w);
    void *state;
    struct ammpl_stream *stream; /* what it runs on */
    struct inside_cost cost;     /* of one run, counted in the ops; 0 until it has run once */
};

/* Everything runs on this device from now on (at first: on the CPU). */
void inside_use_device(const ammpl_device *d);
/* Products of arrays are rounded as the model's. */
void inside_use_precision_of(const ammpl_model *m);
/* Waits; the seconds that the device took since it was last asked. */
ammpl_status inside_elapsed(struct ammpl_stream *s, double *seconds);
struct ammpl_stream *inside_stream(ammpl_session *s);

/* "AVX-512", and the floats of its vectors. */
const char *inside_kernels(int *width);
/* Uses another table of kernels ("AVX2+FMA", ...) from now on for new sessions and work; NULL: the best.  Not 0: unknown here. */
int inside_use_kernels(const char *name);

/* The micro-kernel on panels that stay in L1, on every thread of the context. */
ammpl_status inside_micro_kernel(ammpl_context *ctx, struct inside_work *w);
/* y = x W^T and dx = dy W. */
ammpl_status inside_linear(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w);
/* The same through OpenBLAS' sgemm: AMMPL_E_UNSUPPORTED where the bench was built without, which has no name for it. */
const char *inside_openblas_name(void);
ammpl_status inside_openblas(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w);
/* Attention over B sequences of L rows, causal or not. */
ammpl_status inside_attention(ammpl_context *ctx, int64_t B, int64_t L, int64_t D, int64_t H, int causal, int backward,
                              struct inside_work *w);
/* Ops that memory binds, on T rows of D; NULL behind the last. */
const char *inside_kernel_name(size_t i);
ammpl_status inside_kernel(ammpl_context *ctx, size_t i, int64_t T, int64_t D, struct inside_work *w);
/* B random pictures through the image tower, or B texts of L random tokens through the text tower. */
ammpl_status inside_image_tower(const ammpl_model *m, int64_t B, int backward, struct inside_work *w);
ammpl_status inside_text_tower(const ammpl_model *m, int64_t B, int64_t L, int backward, struct inside_work *w);
/* About what they take: B pictures (L = 0), or B texts of L tokens. */
double inside_tower_bytes(const ammpl_model *m, int64_t B, int64_t L, int backward);

/* Counts what a session executes from now on; and since the last time it was asked. */
void inside_count(ammpl_session *s);
struct inside_cost inside_counted(void);

#endif
