/* attention_reference.c - the definition of attention: one query at a time, scores computed again wherever they are needed. */
#include "cpu/attention.h"

int32_t ammpli_cpu_attention_job(ammpl_stream *s, attention_job *j, const float *written, const float *qkv, const int32_t *start,
                                 int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal, const float *prefix,
                                 const int32_t *group, int64_t P)
{
    REQUIRE(s, B >= 0 && max_len >= 0 && T >= 0 && D >= 1 && H >= 1 && D % H == 0 && P >= 0,
            "attention: a negative size, or D is no multiple of H");
    REQUIRE(s, T == 0 || B == 0 || (written && qkv && start && (P == 0 || (prefix && group))), "attention: an array is NULL");
    *j = (attention_job){.kernels = s->kernels, .qkv = qkv, .start = start, .B = B, .D = D, .H = H, .dh = D / H,
                         .scale = 1.0f / sqrtf((float)(D / H)), .causal = causal, .P = P};
    if (B == 0 || T == 0)
        return AMMPL_OK;
    bool ordered = start[0] == 0 && start[B] == T;
    for (int64_t i = 0; i < B; i++)
        ordered = ordered && start[i] <= start[i + 1] && start[i + 1] - start[i] <= max_len;
    REQUIRE(s, ordered, "attention: start does not go from 0 to T in steps of 0 to max_len");
    if (P > 0) {
        j->prefix = prefix;
        j->group = group;
        for (int64_t i = 0; i < B; i++)
            j->groups = group[i] >= j->groups ? group[i] + 1 : j->groups;
    }
    return AMMPL_OK;
}

static float score(const float *q, const float *k, int64_t dh, float scale)
{
    float sum = 0;
    for (int64_t d = 0; d < dh; d++)
        sum += q[d] * k[d];
    return sum * scale;
}

static const float *key(const attention_job *j, const attention_view *v, int64_t m)
{
    return m < v->P ? v->before + m * 3 * j->D : v->k + (m - v->P) * 3 * j->D;
}

/* Largest score of a query over n keys, and the sum of e^(score - largest). */
static void normaliser(const attention_job *j, const attention_view *v, const float *q, int64_t n, float *max, float *sum)
{
    *max = -INFINITY;
    for (int64_t m = 0; m < n; m++) {
        float s = score(q, key(j, v, m), j->dh, j->scale);
        *max = s > *max ? s : *max;
    }
    *sum = 0;
    for (int64_t m = 0; m < n; m++)
        *sum += expf(score(q, key(j, v, m), j->dh, j->scale) - *max);
}

static void forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const attention_job *j = arg;
    int64_t D = j->D, dh = j->dh, b = task / j->H, h = task % j->H;
    attention_view v = attention_view_of(j, b, h);
    float *out = j->out + j->start[b] * D + h * dh;
    for (int64_t i = 0; i < v.L; i++) {
        int64_t n = v.P + (j->causal ? i + 1 : v.L);
        const float *q = v.q + i * 3 * D;
        float max, sum, *o = out + i * D;
        normaliser(j, &v, q, n, &max, &sum);
        memset(o, 0, (size_t)dh * sizeof *o);
        for (int64_t m = 0; m < n; m++) {
            float p = expf(score(q, key(j, &v, m), dh, j->scale) - max) / sum;
            for (int64_t d = 0; d < dh; d++)
                o[d] += p * key(j, &v, m)[D + d];
        }
    }
}

static void backward_sequence(const attention_job *j, int64_t b, int64_t h)
{
    int64_t D = j->D, dh = j->dh, ld = 3 * D;
    attention_view v = attention_view_of(j, b, h);
    const float *out = j->fout + j->start[b] * D + h * dh, *dout = j->dout + j->start[b] * D + h * dh;
    float *dq = j->out + j->start[b] * ld + h * dh, *dbefore = v.P ? j->dprefix + (v.before - j->prefix) : NULL;
    for (int64_t i = 0; i < v.L; i++)
        for (int64_t d = 0; d < dh; d++)
            dq[i * ld + d] = dq[i * ld + D + d] = dq[i * ld + 2 * D + d] = 0;
    for (int64_t i = 0; i < v.L; i++) {
        int64_t n = v.P + (j->causal ? i + 1 : v.L);
        const float *q = v.q + i * ld;
        float max, sum, dot = score(dout + i * D, out + i * D, dh, 1);
        normaliser(j, &v, q, n, &max, &sum);
        for (int64_t m = 0; m < n; m++) {
            const float *k = key(j, &v, m);
            float *dk = m < v.P ? dbefore + m * ld : dq + D + (m - v.P) * ld;
            float p = expf(score(q, k, dh, j->scale) - max) / sum;
            float ds = p * (score(dout + i * D, k + D, dh, 1) - dot) * j->scale;
            for (int64_t d = 0; d < dh; d++) {
                dk[D + d] += p * dout[i * D + d];
                dk[d] += ds * q[d];
                dq[i * ld + d] += ds * k[d];
            }
        }
    }
}

static void backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const attention_job *j = arg;
    int64_t h = task % j->H, family = task / j->H;
    if (family >= j->groups) {
        int64_t b = family - j->groups;
        if (!j->group || j->group[b] < 0)
            backward_sequence(j, b, h);
        return;
    }
    for (int64_t b = 0; b < j->B; b++)
        if (j->group[b] == family)
            backward_sequence(j, b, h);
}

int32_t ammpli_cpu_attention_forward_reference(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B,
                                               int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal,
                                               const float *prefix, const int32_t *group, int64_t P)
{
    attention_job j;
    TRY(ammpli_cpu_attention_job(s, &j, out, qkv, start, B, max_len, T, D, H, causal, prefix, group, P));
    j.out = out;
    if (T > 0)
        ammpli_cpu_for(s, B * H, T * (max_len + P) * D, forward_task, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_attention_backward_reference(ammpl_stream *s, float *dqkv, const float *dout, const float *out,
                                                const float *qkv, const int32_t *start, int64_t B, int64_t max_len, int64_t T,
                                                int64_t D, int64_t H, int32_t causal, float *dprefix, const float *prefix,
                                                const int32_t *group, int64_t P)
{
    attention_job j;
    TRY(ammpli_cpu_attention_job(s, &j, dqkv, qkv, start, B, max_len, T, D, H, causal, prefix, group, P));
    REQUIRE(s, T == 0 || (dout && out && (P == 0 || dprefix)), "attention_backward: dout, out or dprefix is NULL");
    j.out = dqkv;
    j.dout = dout;
    j.fout = out;
    j.dprefix = dprefix;
    if (T > 0)
        ammpli_cpu_for(s, attention_families(&j), T * (max_len + P) * D, backward_task, &j);
    return AMMPL_OK;
}
