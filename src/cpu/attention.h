/* attention.h - what the definition of attention (attention_reference.c) and its fast path (attention.c) share. */
#ifndef AMMPLI_CPU_ATTENTION_H
#define AMMPLI_CPU_ATTENTION_H

#include "cpu/kernels.h"

typedef struct attention_job {
    const ammpli_cpu_kernels *kernels;
    float *out; /* forward: out [T,D]; backward: dqkv [T,3D] */
    const float *dout, *fout, *qkv;
    const int32_t *start;
    int64_t D, H, dh, B;
    float scale;
    int32_t causal;
    const float *prefix; /* [groups*P,3D] */
    float *dprefix;
    const int32_t *group; /* [B]; NULL: no sequence has a prefix */
    int64_t P, groups;
    int64_t each, blocks; /* forward: sequences of a task; 0: a task is one of so many blocks of a sequence's queries */
} attention_job;

/* One head's view of one sequence: key and value m, where the first P are those of its prefix. */
typedef struct attention_view {
    const float *q, *k, *before; /* own queries and keys, the prefix's keys; rows 3D apart, values D behind keys */
    int64_t L, P;                /* own rows, rows before them */
    int64_t group;               /* -1: none */
} attention_view;

static inline attention_view attention_view_of(const attention_job *j, int64_t b, int64_t h)
{
    attention_view v = {.q = j->qkv + j->start[b] * 3 * j->D + h * j->dh, .L = j->start[b + 1] - j->start[b], .group = -1};
    v.k = v.q + j->D;
    if (j->group && j->group[b] >= 0) {
        v.group = j->group[b];
        v.P = j->P;
        v.before = j->prefix + v.group * j->P * 3 * j->D + j->D + h * j->dh;
    }
    return v;
}

/* Backward's tasks: a head, and the sequences of one group in their order (they add to the same rows) or one without.  Calls
 * fn for each of them. */
static inline int64_t attention_families(const attention_job *j)
{
    return j->H * (j->groups + j->B);
}

/* Checks the arguments that forward and backward share and fills the job with them. */
int32_t ammpli_cpu_attention_job(ammpl_stream *s, attention_job *j, const float *written, const float *qkv, const int32_t *start,
                                 int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal, const float *prefix,
                                 const int32_t *group, int64_t P);

#endif
