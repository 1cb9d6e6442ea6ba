/* update.c - optimizer steps as PyTorch defines them, and the search for NaN. */
#include "cpu/kernels.h"

typedef struct update_job {
    float *p, *m, *v;
    const float *g;
    float lr, mu, decay, beta1, beta2, eps, rate, root;
    int32_t *flag;
    int64_t n, grain;
} update_job;

/* torch.optim.SGD: g += decay p; m = mu m + g; p -= lr m. */
static void sgd_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const update_job *j = arg;
    for (int64_t i = task * j->grain; i < min64((task + 1) * j->grain, j->n); i++) {
        float g = j->g[i] + j->decay * j->p[i];
        float m = j->mu * j->m[i] + g;
        j->m[i] = m;
        j->p[i] -= j->lr * m;
    }
}

/* torch.optim.AdamW: p *= 1 - lr decay; m += (1 - beta1)(g - m); v = beta2 v + (1 - beta2) g^2;
 * p -= lr / (1 - beta1^step) m / (sqrt(v) / sqrt(1 - beta2^step) + eps). */
static void adamw_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const update_job *j = arg;
    float keep = 1 - j->lr * j->decay, new1 = 1 - j->beta1, new2 = 1 - j->beta2;
    for (int64_t i = task * j->grain; i < min64((task + 1) * j->grain, j->n); i++) {
        float g = j->g[i];
        float m = j->m[i] + new1 * (g - j->m[i]);
        float v = j->beta2 * j->v[i] + new2 * (g * g);
        j->m[i] = m;
        j->v[i] = v;
        j->p[i] = j->p[i] * keep - j->rate * (m / (sqrtf(v) / j->root + j->eps));
    }
}

int32_t ammpli_cpu_sgd(ammpl_stream *s, float *p, float *momentum, const float *g, float lr, float mu, float decay, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || (p && momentum && g)), "sgd: n is negative, or p, momentum or g is NULL");
    update_job j = {.p = p, .m = momentum, .g = g, .lr = lr, .mu = mu, .decay = decay, .n = n,
                    .grain = ammpli_cpu_grain(s, n, 2, 16)};
    ammpli_cpu_for(s, ceil_div(n, j.grain), 2 * n, sgd_task, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_adamw(ammpl_stream *s, float *p, float *m, float *v, const float *g, float lr, float beta1, float beta2,
                         float eps, float decay, int64_t step, int64_t n)
{
    REQUIRE(s, n >= 0 && (n == 0 || (p && m && v && g)), "adamw: n is negative, or p, m, v or g is NULL");
    REQUIRE(s, step >= 1, "adamw: step counts from 1");
    update_job j = {.p = p, .m = m, .v = v, .g = g, .lr = lr, .decay = decay, .beta1 = beta1, .beta2 = beta2, .eps = eps,
                    .rate = (float)(lr / (1 - pow(beta1, (double)step))), .root = (float)sqrt(1 - pow(beta2, (double)step)),
                    .n = n, .grain = ammpli_cpu_grain(s, n, 8, 16)};
    ammpli_cpu_for(s, ceil_div(n, j.grain), 8 * n, adamw_task, &j);
    return AMMPL_OK;
}

/* An exponent of all ones is NaN or infinity: compared as bits, which the compiler vectorises. */
int32_t ammpli_cpu_finite_check(ammpl_stream *s, int32_t *flag, const float *x, int64_t n)
{
    REQUIRE(s, n >= 0 && flag && (n == 0 || x), "finite_check: n is negative, or flag or x is NULL");
    int32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    if (bad)
        *flag = 1;
    return AMMPL_OK;
}
