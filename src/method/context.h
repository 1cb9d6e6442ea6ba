/* context.h - learned context of the text tower: how many tokens, where they start from, what stands beside them; and
 * initial values that do not depend on the order of classes or tensors. */
#ifndef AMMPLI_CONTEXT_H
#define AMMPLI_CONTEXT_H

#include "method/method.h"

/* M, which n_ctx then says: n_ctx where it is set above 0, else `own` (fewer where the longest class name leaves no room), or with
 * own = 0 the words of ctx_init. */
ammpl_status ammpli_context_count(ammpl_prompt *p, int64_t own, int64_t *M);
/* A tensor [M,l] or [C,M,l]: the first M token embeddings of ctx_init where it has that many words (`part`: or more), else
 * N(0, 0.02^2). */
ammpl_status ammpli_context_initialise(const ammpl_prompt *p, const ammpli_tensor *t, bool part, uint64_t seed, float *value);
/* The text plan of "CONTEXT NAME."; tokens of ctx_init that are not learned stay as fixed words (methods.md 5.7). */
ammpl_status ammpli_context_bind(ammpl_prompt *p, int64_t M, int32_t position, bool part);

/* Draws n values of a tensor, or of one class's slice of it, keyed by the names of both (class_hash 0: no class). */
void ammpli_initial_normal(const char *tensor, uint32_t class_hash, uint64_t seed, double mean, double std, float *value,
                           int64_t n);
/* U(+-1/sqrt(fan_in)): PyTorch's Linear, weight and bias. */
void ammpli_initial_uniform(const char *tensor, uint32_t class_hash, uint64_t seed, int64_t fan_in, float *value, int64_t n);

#endif
