/* planned.h - what calls of every kind of prompt take, counted by an allocator, beside what was planned for them. */
#ifndef AMMPL_TESTS_PLANNED_H
#define AMMPL_TESTS_PLANNED_H

#include <stdatomic.h>

#include "kinds.h"

/* An allocator that counts, on top of the context's own. */
typedef struct counter {
    atomic_llong now, peak, requests;
    ammpl_allocator below;
} counter;
void count(ammpl_context *ctx, counter *c);

/* Kinds of prompts: every method's in all its kinds, then AMMPL's own. */
enum { AMMPL_VARIANTS = 10, ALL = KINDS + AMMPL_VARIANTS };
const char *name_of(int i);
/* On nano-odd; masks are drawn at even odds, so that no two are equal by chance. */
void open_any(nano *n, int i, const char *const *more);
void even_odds(ammpl_prompt *p);
/* Every patch is kept with this probability. */
void keep_patches(ammpl_prompt *p, float probability);

/* n pictures: the seven of nano again and again (malloc). */
float *pictures(const nano *n, size_t count);
/* what: AMMPL_PLAN_PREDICT, _ACCUMULATE or _ACCUMULATE_FEATURES. */
bool learns_from(const nano *n, int32_t what);
void call(const nano *n, ammpl_session *s, int32_t what, size_t count, const float *pixels);
/* The same, and what came of it in out [at most RESULTS]: logits, then the gradients that a step adds; how many numbers. */
enum { RESULTS = 1 << 16 };
int64_t results_of(const nano *n, ammpl_session *s, int32_t what, size_t count, const float *pixels, float *out);
/* A new session's call: planned and counted bytes; with a repetition, which asks for nothing. */
void compare(const nano *n, const char *name, int32_t what, size_t count_of_images, counter *c);
/* A new session's call under a limit takes no more than that, and repeated it asks for nothing; its results in out. */
void check_limited(const nano *n, const char *name, int32_t what, size_t count_of_images, int64_t limit, counter *c, float *out);

#endif
