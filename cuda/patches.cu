/* patches.cu - pictures [B,3,gq,gq] as rows of patches [B,g*g,3*q*q] and back: a permutation, so each way is a copy. */
#include "common.cuh"

/* Numbers of one picture in the order of its patches; blockIdx.y takes pictures. */
static __global__ void patches_kernel(float *patches, float *pixels, int64_t B, uint32_t g, uint32_t q, int32_t backward)
{
    uint32_t n = 3 * g * q * g * q;
    for (int64_t b = blockIdx.y; b < B; b += gridDim.y)
        for (uint32_t i = (uint32_t)first_index(); i < n; i += (uint32_t)index_step()) {
            uint32_t x = i % q, y = i / q % q, c = i / (q * q) % 3, patch = i / (3 * q * q);
            uint32_t row = patch / g * q + y, column = patch % g * q + x;
            float *pixel = pixels + b * n + (c * g * q + row) * g * q + column;
            if (backward)
                *pixel = patches[b * n + i];
            else
                patches[b * n + i] = *pixel;
        }
}

static int32_t run(ammpl_stream *s, float *patches, float *pixels, int64_t B, int64_t g, int64_t q, int32_t backward)
{
    int64_t n = 3 * g * q * g * q;
    if (B * n == 0)
        return AMMPL_OK;
    REQUIRE(s, g * q < 20000, "patches: a picture of 20000 pixels a side or more");
    LAUNCH(s, patches_kernel, dim3(blocks_for(n), (unsigned)(B < 65535 ? B : 65535)), THREADS, patches, pixels, B, (uint32_t)g,
           (uint32_t)q, backward);
    return AMMPL_OK;
}

int32_t ammpl_cuda_patches_forward(ammpl_stream *s, float *patches, const float *pixels, int64_t B, int64_t g, int64_t q)
{
    REQUIRE(s, B >= 0 && g >= 0 && q >= 0 && (B * g * q == 0 || (patches && pixels)),
            "patches_forward: a negative size, or patches or pixels is NULL");
    return run(s, patches, const_cast<float *>(pixels), B, g, q, 0);
}

int32_t ammpl_cuda_patches_backward(ammpl_stream *s, float *dpixels, const float *dpatches, int64_t B, int64_t g, int64_t q)
{
    REQUIRE(s, B >= 0 && g >= 0 && q >= 0 && (B * g * q == 0 || (dpixels && dpatches)),
            "patches_backward: a negative size, or dpixels or dpatches is NULL");
    return run(s, const_cast<float *>(dpatches), dpixels, B, g, q, 1);
}
