/* loss.c - cross entropy of logits [B,C].  Few numbers: one loop, in order of class. */
#include "cpu/kernels.h"

static int32_t check(ammpl_stream *s, const void *out, const float *logits, const int32_t *label, int64_t B, int64_t C)
{
    REQUIRE(s, B >= 0 && C >= 0 && (B == 0 || (out && logits && label)),
            "cross_entropy: a negative size, or an array is NULL");
    for (int64_t b = 0; b < B; b++)
        REQUIRE(s, label[b] >= 0 && label[b] < C, "cross_entropy: a label is outside 0..C-1");
    return AMMPL_OK;
}

/* The largest logit, or NaN when there is one. */
static float largest(const float *z, int64_t C)
{
    float m = z[0];
    for (int64_t c = 1; c < C; c++)
        if (z[c] > m || z[c] != z[c])
            m = z[c];
    return m;
}

int32_t ammpli_cpu_cross_entropy_forward(ammpl_stream *s, float *loss, const float *logits, const int32_t *label, int64_t B,
                                         int64_t C)
{
    TRY(check(s, loss, logits, label, B, C));
    for (int64_t b = 0; b < B; b++) {
        const float *z = logits + b * C;
        float max = largest(z, C), sum = 0;
        for (int64_t c = 0; c < C; c++)
            sum += expf(z[c] - max);
        loss[b] = logf(sum) - (z[label[b]] - max);
    }
    return AMMPL_OK;
}

int32_t ammpli_cpu_cross_entropy_backward(ammpl_stream *s, float *dlogits, const float *logits, const int32_t *label,
                                          float weight, int64_t B, int64_t C)
{
    TRY(check(s, dlogits, logits, label, B, C));
    for (int64_t b = 0; b < B; b++) {
        const float *z = logits + b * C;
        float *d = dlogits + b * C, max = largest(z, C), sum = 0;
        for (int64_t c = 0; c < C; c++)
            sum += expf(z[c] - max);
        for (int64_t c = 0; c < C; c++)
            d[c] = weight * (expf(z[c] - max) / sum);
        /* softmax - 1 of the label as minus the sum of the others: no cancellation when the label is almost certain. */
        float others = 0;
        for (int64_t c = 0; c < C; c++)
            if (c != label[b])
                others += d[c];
        d[label[b]] = -others;
    }
    return AMMPL_OK;
}
