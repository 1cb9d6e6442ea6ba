/* loss.cu - cross entropy of logits [B,C]: a warp per row.  A label outside 0..C-1 leaves its row alone and is told by the
 * next download or sync. */
#include "common.cuh"

/* The largest logit and the sum of e^(z - largest).  NaN comes back in the sum. */
__device__ __forceinline__ void normaliser(const float *z, int64_t C, float *max, float *sum)
{
    float m = -INFINITY, total = 0;
    for (int64_t c = lane_index(); c < C; c += WARP)
        m = fmaxf(m, z[c]);
    m = warp_max(m);
    for (int64_t c = lane_index(); c < C; c += WARP)
        total += expf(z[c] - m);
    *max = m;
    *sum = warp_sum(total);
}

__device__ __forceinline__ bool label_is_wrong(int32_t label, int64_t C, volatile int32_t *fault)
{
    bool wrong = label < 0 || label >= C;
    if (wrong && lane_index() == 0)
        *fault = FAULT_LABEL;
    return wrong;
}

static __global__ void entropy_forward_kernel(float *loss, const float *logits, const int32_t *label, int64_t B, int64_t C,
                                              volatile int32_t *fault)
{
    for (int64_t b = first_row(); b < B; b += row_step()) {
        const float *z = logits + b * C;
        float max, sum;
        if (label_is_wrong(label[b], C, fault))
            continue;
        normaliser(z, C, &max, &sum);
        if (lane_index() == 0)
            loss[b] = logf(sum) - (z[label[b]] - max);
    }
}

static __global__ void entropy_backward_kernel(float *dlogits, const float *logits, const int32_t *label, float weight, int64_t B,
                                               int64_t C, volatile int32_t *fault)
{
    for (int64_t b = first_row(); b < B; b += row_step()) {
        const float *z = logits + b * C;
        float *d = dlogits + b * C, max, sum, others = 0;
        if (label_is_wrong(label[b], C, fault))
            continue;
        normaliser(z, C, &max, &sum);
        for (int64_t c = lane_index(); c < C; c += WARP) {
            float p = weight * (expf(z[c] - max) / sum);
            if (c == label[b])
                continue;
            d[c] = p;
            others += p;
        }
        /* softmax - 1 of the label as minus the sum of the others: no cancellation when the label is almost certain. */
        others = warp_sum(others);
        if (lane_index() == 0)
            d[label[b]] = -others;
    }
}

static int32_t check(ammpl_stream *s, const void *out, const float *logits, const int32_t *label, int64_t B, int64_t C)
{
    REQUIRE(s, B >= 0 && C >= 0 && (B == 0 || (out && logits && label)),
            "cross_entropy: a negative size, or an array is NULL");
    return AMMPL_OK;
}

int32_t ammpl_cuda_cross_entropy_forward(ammpl_stream *s, float *loss, const float *logits, const int32_t *label, int64_t B, int64_t C)
{
    TRY(check(s, loss, logits, label, B, C));
    if (B)
        LAUNCH(s, entropy_forward_kernel, row_blocks(B), THREADS, loss, logits, label, B, C, s->fault);
    return AMMPL_OK;
}

int32_t ammpl_cuda_cross_entropy_backward(ammpl_stream *s, float *dlogits, const float *logits, const int32_t *label, float weight,
                                          int64_t B, int64_t C)
{
    TRY(check(s, dlogits, logits, label, B, C));
    if (B)
        LAUNCH(s, entropy_backward_kernel, row_blocks(B), THREADS, dlogits, logits, label, weight, B, C, s->fault);
    return AMMPL_OK;
}
