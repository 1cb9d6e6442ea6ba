/* patches.c - pictures [B,3,gq,gq] as rows of patches [B,g*g,3*q*q] and back: a permutation, so each way is a copy. */
#include "cpu/kernels.h"

typedef struct patches_job {
    float *patches, *pixels; /* one of them is only read */
    int64_t g, q;
    bool backward;
} patches_job;

/* One row of patches of one picture: q lines of g runs of q pixels in each channel. */
static void patches_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const patches_job *j = arg;
    int64_t g = j->g, q = j->q, b = task / g, row = task % g;
    for (int64_t column = 0; column < g; column++)
        for (int64_t c = 0; c < 3; c++)
            for (int64_t y = 0; y < q; y++) {
                float *patch = j->patches + (((b * g + row) * g + column) * 3 + c) * q * q + y * q;
                float *pixel = j->pixels + ((b * 3 + c) * g * q + row * q + y) * g * q + column * q;
                memcpy(j->backward ? pixel : patch, j->backward ? patch : pixel, (size_t)q * sizeof(float));
            }
}

int32_t ammpli_cpu_patches_forward(ammpl_stream *s, float *patches, const float *pixels, int64_t B, int64_t g, int64_t q)
{
    REQUIRE(s, B >= 0 && g >= 0 && q >= 0 && (B * g * q == 0 || (patches && pixels)),
            "patches_forward: a negative size, or patches or pixels is NULL");
    patches_job j = {.patches = patches, .pixels = (float *)(uintptr_t)pixels, .g = g, .q = q};
    ammpli_cpu_for(s, B * g, B * g * g * q * q * 3, patches_task, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_patches_backward(ammpl_stream *s, float *dpixels, const float *dpatches, int64_t B, int64_t g, int64_t q)
{
    REQUIRE(s, B >= 0 && g >= 0 && q >= 0 && (B * g * q == 0 || (dpixels && dpatches)),
            "patches_backward: a negative size, or dpixels or dpatches is NULL");
    patches_job j = {.patches = (float *)(uintptr_t)dpatches, .pixels = dpixels, .g = g, .q = q, .backward = true};
    ammpli_cpu_for(s, B * g, B * g * g * q * q * 3, patches_task, &j);
    return AMMPL_OK;
}
