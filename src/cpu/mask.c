/* mask.c - masks drawn from keep-probabilities, and masked pictures mixed from patch tokens (architecture, shortcut 7). */
#include "cpu/kernels.h"

typedef struct draw_job {
    float *m;
    const float *prob;
    const int32_t *pi;
    const uint32_t *hash, *id;
    uint64_t seed;
    uint32_t purpose, step;
    int32_t mode;
    int64_t P;
} draw_job;

static void draw_task(void *arg, int64_t i, int worker)
{
    (void)worker;
    const draw_job *j = arg;
    const float *prob = j->prob + j->pi[i] * j->P;
    float *m = j->m + i * j->P;
    uint32_t hash = j->hash ? j->hash[i] : 0, id = j->id ? j->id[i] : 0, x[4];
    for (int64_t p = 0; p < j->P; p++) {
        float clamped = prob[p] < 0 ? 0 : prob[p] > 1 ? 1 : prob[p]; /* NaN stays NaN: it keeps nothing when sampled */
        if (j->mode == AMMPL_MASK_SAMPLE) {
            ammpli_philox(j->seed, j->purpose, (uint32_t)p, hash, id, j->step, x);
            m[p] = ammpli_uniform(x) < clamped ? 1.0f : 0.0f;
        } else {
            m[p] = j->mode == AMMPL_MASK_EXPECTED ? clamped : prob[p] >= 0.5f ? 1.0f : 0.0f;
        }
    }
}

int32_t ammpli_cpu_mask_draw(ammpl_stream *s, float *m, const float *prob, const int32_t *pi, const uint32_t *hash,
                             const uint32_t *id, uint64_t seed, uint32_t purpose, uint32_t step, int32_t mode, int64_t n,
                             int64_t P)
{
    REQUIRE(s, n >= 0 && P >= 0 && (n * P == 0 || (m && prob && pi)), "mask_draw: a negative size, or m, prob or pi is NULL");
    REQUIRE(s, mode >= AMMPL_MASK_SAMPLE && mode <= AMMPL_MASK_THRESHOLD, "mask_draw: mode is none of AMMPL_MASK_*");
    draw_job j = {m, prob, pi, hash, id, seed, purpose, step, mode, P};
    ammpli_cpu_for(s, n, n * P * (mode == AMMPL_MASK_SAMPLE ? 16 : 1), draw_task, &j);
    return AMMPL_OK;
}

typedef struct mix_job {
    float *token, *dm, *dpad;
    const float *dtoken, *m, *image, *pad;
    const int32_t *mi, *ii, *ki;
    float blend;
    int64_t n, P, D, grain;
} mix_job;

static void mix_forward_task(void *arg, int64_t e, int worker)
{
    (void)worker;
    const mix_job *j = arg;
    int64_t P = j->P, D = j->D;
    const float *m = j->m + j->mi[e] * P, *pad = j->pad ? j->pad + j->ki[e] * D : NULL;
    for (int64_t p = 0; p < P; p++) {
        const float *image = j->image + (j->ii[e] * P + p) * D;
        float *token = j->token + (e * P + p) * D, keep = m[p], drop = 1 - m[p];
        if (pad)
            for (int64_t d = 0; d < D; d++)
                token[d] = keep * image[d] + drop * pad[d];
        else
            for (int64_t d = 0; d < D; d++)
                token[d] = keep * image[d];
    }
}

static void mix_backward_mask_task(void *arg, int64_t e, int worker)
{
    (void)worker;
    const mix_job *j = arg;
    int64_t P = j->P, D = j->D;
    const float *pad = j->pad && j->blend != 0 ? j->pad + j->ki[e] * D : NULL;
    for (int64_t p = 0; p < P; p++) {
        const float *dtoken = j->dtoken + (e * P + p) * D;
        float dot = ammpli_cpu_dot(dtoken, j->image + (j->ii[e] * P + p) * D, D);
        j->dm[e * P + p] = pad ? dot - j->blend * ammpli_cpu_dot(dtoken, pad, D) : dot;
    }
}

enum { COLUMNS = 64 };

/* ki repeats: a task owns COLUMNS columns and goes through e = 0, 1, ..., each summed over p first. */
static void mix_backward_pad_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const mix_job *j = arg;
    int64_t P = j->P, D = j->D, d0 = task * COLUMNS, width = min64(COLUMNS, D - d0);
    for (int64_t e = 0; e < j->n; e++) {
        const float *m = j->m + j->mi[e] * P;
        float sum[COLUMNS] = {0}, *dpad = j->dpad + j->ki[e] * D + d0;
        for (int64_t p = 0; p < P; p++) {
            const float *dtoken = j->dtoken + (e * P + p) * D + d0;
            float drop = 1 - m[p];
            for (int64_t d = 0; d < width; d++)
                sum[d] += drop * dtoken[d];
        }
        for (int64_t d = 0; d < width; d++)
            dpad[d] += sum[d];
    }
}

int32_t ammpli_cpu_mask_mix_forward(ammpl_stream *s, float *token, const float *m, const int32_t *mi, const float *image,
                                    const int32_t *ii, const float *pad, const int32_t *ki, int64_t n, int64_t P, int64_t D)
{
    REQUIRE(s, n >= 0 && P >= 0 && D >= 0 && (n * P * D == 0 || (token && m && mi && image && ii && (!pad || ki))),
            "mask_mix_forward: a negative size, or an array is NULL");
    mix_job j = {.token = token, .m = m, .mi = mi, .image = image, .ii = ii, .pad = pad, .ki = ki, .n = n, .P = P, .D = D};
    ammpli_cpu_for(s, n, n * P * D, mix_forward_task, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_mask_mix_backward(ammpl_stream *s, float *dm, float *dpad, const float *dtoken, const float *m,
                                     const int32_t *mi, const float *image, const int32_t *ii, const float *pad,
                                     const int32_t *ki, float blend, int64_t n, int64_t P, int64_t D)
{
    REQUIRE(s, n >= 0 && P >= 0 && D >= 0, "mask_mix_backward: a negative size");
    REQUIRE(s, n * P * D == 0 || (dtoken && (!dm || (image && ii)) && (!dpad || (m && mi && ki)) && (!dm || !pad || ki)),
            "mask_mix_backward: an array is NULL");
    mix_job j = {.dm = dm, .dpad = dpad, .dtoken = dtoken, .m = m, .mi = mi, .image = image, .ii = ii, .pad = pad, .ki = ki,
                 .blend = blend, .n = n, .P = P, .D = D};
    if (dm)
        ammpli_cpu_for(s, n, n * P * D, mix_backward_mask_task, &j);
    if (dpad)
        ammpli_cpu_for(s, ceil_div(D, COLUMNS), n * P * D, mix_backward_pad_task, &j);
    return AMMPL_OK;
}
