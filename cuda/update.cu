/* update.cu - optimizer steps as PyTorch defines them, and the search for NaN. */
#include "common.cuh"

/* What an update has of its own from step to step. */
struct sgd_numbers {
    float lr;
};
struct adamw_numbers {
    float keep, rate, root;
};

/* torch.optim.SGD: g += decay p; m = mu m + g; p -= lr m. */
static __global__ void sgd_kernel(float *p, float *momentum, const float *g, const sgd_numbers *of, float mu, float decay, int64_t n)
{
    float lr = of->lr;
    for (int64_t i = first_index(); i < n; i += index_step()) {
        float m = mu * momentum[i] + (g[i] + decay * p[i]);
        momentum[i] = m;
        p[i] -= lr * m;
    }
}

/* torch.optim.AdamW: p *= keep = 1 - lr decay; m += (1 - beta1)(g - m); v = beta2 v + (1 - beta2) g^2;
 * p -= rate m / (sqrt(v) / root + eps), rate = lr / (1 - beta1^step), root = sqrt(1 - beta2^step). */
static __global__ void adamw_kernel(float *p, float *m, float *v, const float *g, const adamw_numbers *of, float beta1, float beta2,
                                    float eps, int64_t n)
{
    float keep = of->keep, rate = of->rate, root = of->root;
    for (int64_t i = first_index(); i < n; i += index_step()) {
        float mean = m[i] + (1 - beta1) * (g[i] - m[i]), square = beta2 * v[i] + (1 - beta2) * (g[i] * g[i]);
        m[i] = mean;
        v[i] = square;
        p[i] = p[i] * keep - rate * (mean / (sqrtf(square) / root + eps));
    }
}

/* An exponent of all ones is NaN or infinity. */
static __global__ void finite_check_kernel(int32_t *flag, const float *x, int64_t n)
{
    bool bad = false;
    for (int64_t i = first_index(); i < n; i += index_step())
        bad = bad || (__float_as_uint(x[i]) & 0x7f800000u) == 0x7f800000u;
    if (__syncthreads_or(bad) && threadIdx.x == 0)
        atomicOr(flag, 1);
}

static int32_t sgd_step(ammpl_stream *s, float *p, float *momentum, const float *g, float mu, float decay, int64_t n)
{
    LAUNCH(s, sgd_kernel, blocks_for(n), THREADS, p, momentum, g, (const sgd_numbers *)s->numbers, mu, decay, n);
    return AMMPL_OK;
}

int32_t ammpl_cuda_sgd(ammpl_stream *s, float *p, float *momentum, const float *g, float lr, float mu, float decay, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || (p && momentum && g)), "sgd: n is negative, or p, momentum or g is NULL");
    if (n == 0)
        return AMMPL_OK;
    sgd_numbers numbers = {lr};
    TRY(graph_numbers(s, &numbers, sizeof numbers));
    return queued<sgd_step>::call(s, p, momentum, g, mu, decay, n);
}

static int32_t adamw_step(ammpl_stream *s, float *p, float *m, float *v, const float *g, float beta1, float beta2, float eps, int64_t n)
{
    LAUNCH(s, adamw_kernel, blocks_for(n), THREADS, p, m, v, g, (const adamw_numbers *)s->numbers, beta1, beta2, eps, n);
    return AMMPL_OK;
}

int32_t ammpl_cuda_adamw(ammpl_stream *s, float *p, float *m, float *v, const float *g, float lr, float beta1, float beta2, float eps,
                         float decay, int64_t step, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || (p && m && v && g)), "adamw: n is negative, or p, m, v or g is NULL");
    REQUIRE(s, step >= 1, "adamw: step counts from 1");
    if (n == 0)
        return AMMPL_OK;
    float rate = (float)(lr / (1 - pow((double)beta1, (double)step))), root = (float)sqrt(1 - pow((double)beta2, (double)step));
    adamw_numbers numbers = {1 - lr * decay, rate, root};
    TRY(graph_numbers(s, &numbers, sizeof numbers));
    return queued<adamw_step>::call(s, p, m, v, g, beta1, beta2, eps, n);
}

int32_t ammpl_cuda_finite_check(ammpl_stream *s, int32_t *flag, const float *x, int64_t n)
{
    REQUIRE(s, n >= 0 && flag && (n == 0 || x), "finite_check: n is negative, or flag or x is NULL");
    if (n)
        LAUNCH(s, finite_check_kernel, blocks_for(n), THREADS, flag, x, n);
    return AMMPL_OK;
}
