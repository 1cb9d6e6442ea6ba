/* mask.cu - masks drawn from keep-probabilities, and masked pictures mixed from patch tokens (architecture, shortcut 7). */
#include "common.cuh"

/* The uniform of Philox4x32-10 for the counter {x0, c1, c2, c3} under the seed, as in src/core/philox.c: to the bit. */
__device__ __forceinline__ float philox_uniform(uint64_t seed, uint32_t x0, uint32_t x1, uint32_t x2, uint32_t x3)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint32_t y0 = __umulhi(0xCD9E8D57u, x2) ^ x1 ^ k0, y2 = __umulhi(0xD2511F53u, x0) ^ x3 ^ k1;
        x1 = 0xCD9E8D57u * x2;
        x3 = 0xD2511F53u * x0;
        x0 = y0;
        x2 = y2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (float)(x0 >> 8) * 5.9604644775390625e-8f;
}

/* What a draw has of its own from step to step. */
struct draw_numbers {
    uint64_t seed;
    uint32_t step;
};

static __global__ void mask_draw_kernel(float *m, const float *prob, const int32_t *pi, const uint32_t *hash, const uint32_t *id,
                                        const draw_numbers *of, uint32_t purpose, int32_t mode, int64_t n, int64_t P)
{
    uint64_t seed = of->seed;
    uint32_t step = of->step;
    for (int64_t e = first_row(); e < n; e += row_step()) {
        uint32_t c1 = hash ? hash[e] : 0, c2 = id ? id[e] : 0;
        for (int64_t p = lane_index(); p < P; p += WARP) {
            float x = prob[pi[e] * P + p], clamped = x < 0 ? 0 : x > 1 ? 1 : x; /* NaN stays NaN: it keeps nothing when sampled */
            float keep;
            if (mode == AMMPL_MASK_SAMPLE)
                keep = philox_uniform(seed, purpose << 24 | ((uint32_t)p & 0xffffffu), c1, c2, step) < clamped ? 1 : 0;
            else
                keep = mode == AMMPL_MASK_EXPECTED ? clamped : x >= 0.5f ? 1 : 0;
            m[e * P + p] = keep;
        }
    }
}

static int32_t draw_masks(ammpl_stream *s, float *m, const float *prob, const int32_t *pi, const uint32_t *hash, const uint32_t *id,
                          uint32_t purpose, int32_t mode, int64_t n, int64_t P)
{
    LAUNCH(s, mask_draw_kernel, row_blocks(n), THREADS, m, prob, pi, hash, id, (const draw_numbers *)s->numbers, purpose, mode, n, P);
    return AMMPL_OK;
}

int32_t ammpl_cuda_mask_draw(ammpl_stream *s, float *m, const float *prob, const int32_t *pi, const uint32_t *hash, const uint32_t *id,
                             uint64_t seed, uint32_t purpose, uint32_t step, int32_t mode, int64_t n, int64_t P)
{
    REQUIRE(s, n >= 0 && P >= 0 && (n * P == 0 || (m && prob && pi)), "mask_draw: a negative size, or m, prob or pi is NULL");
    REQUIRE(s, mode >= AMMPL_MASK_SAMPLE && mode <= AMMPL_MASK_THRESHOLD, "mask_draw: mode is none of AMMPL_MASK_*");
    if (n * P == 0)
        return AMMPL_OK;
    draw_numbers numbers = {seed, step};
    TRY(graph_numbers(s, &numbers, sizeof numbers));
    return queued<draw_masks>::call(s, m, prob, pi, hash, id, purpose, mode, n, P);
}

/* ---- mixing: rows are tokens, e*P + p, a warp each ---- */

static __global__ void mask_mix_forward_kernel(float *token, const float *m, const int32_t *mi, const float *image, const int32_t *ii,
                                          const float *pad, const int32_t *ki, int64_t n, int64_t P, int64_t D)
{
    for (int64_t row = first_row(); row < n * P; row += row_step()) {
        int64_t e = row / P, p = row % P;
        float keep = m[mi[e] * P + p], drop = 1 - keep;
        const float *from = image + (ii[e] * P + p) * D, *instead = pad ? pad + ki[e] * D : NULL;
        for (int64_t d = lane_index(); d < D; d += WARP)
            token[row * D + d] = instead ? keep * from[d] + drop * instead[d] : keep * from[d];
    }
}

/* dm[e,p] = <dtoken, image> - blend <dtoken, pad> */
static __global__ void mask_mix_backward_kernel(float *dm, const float *dtoken, const float *image, const int32_t *ii,
                                                const float *pad, const int32_t *ki, float blend, int64_t n, int64_t P, int64_t D)
{
    for (int64_t row = first_row(); row < n * P; row += row_step()) {
        int64_t e = row / P, p = row % P;
        float dot = warp_dot(dtoken + row * D, image + (ii[e] * P + p) * D, D);
        if (pad)
            dot -= blend * warp_dot(dtoken + row * D, pad + ki[e] * D, D);
        if (lane_index() == 0)
            dm[row] = dot;
    }
}

/* sum[e] = the sum over p of (1 - m) dtoken[e,p]; blockIdx.y takes e. */
static __global__ void mask_pad_kernel(float *sum, const float *dtoken, const float *m, const int32_t *mi, int64_t n, int64_t P,
                                               int64_t D)
{
    for (int64_t e = blockIdx.y; e < n; e += gridDim.y)
        for (int64_t d = first_index(); d < D; d += index_step()) {
            float total = 0;
            for (int64_t p = 0; p < P; p++)
                total = fmaf(1 - m[mi[e] * P + p], dtoken[(e * P + p) * D + d], total);
            sum[e * D + d] = total;
        }
}

int32_t ammpl_cuda_mask_mix_forward(ammpl_stream *s, float *token, const float *m, const int32_t *mi, const float *image,
                                    const int32_t *ii, const float *pad, const int32_t *ki, int64_t n, int64_t P, int64_t D)
{
    REQUIRE(s, n >= 0 && P >= 0 && D >= 0 && (n * P * D == 0 || (token && m && mi && image && ii && (!pad || ki))),
            "mask_mix_forward: a negative size, or an array is NULL");
    if (n * P * D > 0)
        LAUNCH(s, mask_mix_forward_kernel, row_blocks(n * P), THREADS, token, m, mi, image, ii, pad, ki, n, P, D);
    return AMMPL_OK;
}

int32_t ammpl_cuda_mask_mix_backward(ammpl_stream *s, float *dm, float *dpad, const float *dtoken, const float *m, const int32_t *mi,
                                     const float *image, const int32_t *ii, const float *pad, const int32_t *ki, float blend, int64_t n,
                                     int64_t P, int64_t D)
{
    REQUIRE(s, n >= 0 && P >= 0 && D >= 0, "mask_mix_backward: a negative size");
    REQUIRE(s, n * P * D == 0 || (dtoken && (!dm || (image && ii)) && (!dpad || (m && mi && ki)) && (!dm || !pad || ki)),
            "mask_mix_backward: an array is NULL");
    if (n * P * D == 0)
        return AMMPL_OK;
    if (dm)
        LAUNCH(s, mask_mix_backward_kernel, row_blocks(n * P), THREADS, dm, dtoken, image, ii, blend != 0 ? pad : NULL, ki, blend, n, P,
               D);
    if (!dpad)
        return AMMPL_OK;
    float *sum; /* of each e over its patches; then e = 0, 1, ... onto the pads */
    TRY(take_scratch(s, (size_t)(n * D) * sizeof(float), &sum));
    LAUNCH(s, mask_pad_kernel, dim3(blocks_for(D), (unsigned)(n < 65535 ? n : 65535)), THREADS, sum, dtoken, m, mi, n, P, D);
    return ammpl_cuda_rows_add(s, dpad, ki, sum, NULL, n, D);
}
