/* learn.c - see learn.h. */
#include "method/learn.h"

#include <math.h>

double ammpli_batch_weight(const ammpl_batch *batch)
{
    return batch->weight != 0 ? batch->weight : 1.0 / (double)batch->n;
}

ammpl_status ammpli_cross_entropy(ammpli_engine *e, const float *logits, const int32_t *label, int64_t n, int64_t C, double weight,
                                  double *loss, float *dlogits)
{
    ammpli_mark mark = ammpli_arena_mark(e);
    int32_t *device;
    float *each, *host;
    TRY(ammpli_take_host(e, (size_t)n * sizeof *host, (void **)&host));
    TRY(ammpli_take_ints(e, label, n, &device));
    TRY(ammpli_take_floats(e, n, &each));
    RUN(cross_entropy_forward, each, logits, device, n, C);
    RUN(cross_entropy_backward, dlogits, logits, device, (float)weight, n, C);
    RUN(download, host, each, (size_t)n * sizeof *host);
    for (int64_t i = 0; i < n; i++)
        *loss += weight * (double)host[i];
    ammpli_arena_release(e, mark);
    return AMMPL_OK;
}

ammpl_status ammpli_check_loss(double loss)
{
    if (isfinite(loss))
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_NUMERIC, "the loss is not a finite number; the pictures or the prompt hold NaN, or the learning "
                                        "rate is too high");
}

ammpl_status ammpli_gradients_take(ammpli_engine *e, const ammpl_prompt *p, float ***grad)
{
    TRY(ammpli_take_host_zeros(e, (int64_t)p->tensors, sizeof **grad, (void **)grad));
    for (size_t i = 0; i < p->tensors; i++)
        if (p->tensor[i].trainable)
            TRY(ammpli_take_zeros(e, p->tensor[i].count, &(*grad)[i]));
    return AMMPL_OK;
}

ammpl_status ammpli_gradients_add(ammpli_engine *e, ammpl_prompt *p, float *const *grad)
{
    int32_t *flag, bad = 0;
    TRY(ammpli_take_ints(e, &bad, 1, &flag));
    for (size_t i = 0; i < p->tensors; i++)
        if (grad[i])
            RUN(finite_check, flag, grad[i], p->tensor[i].count);
    RUN(download, &bad, flag, sizeof bad);
    if (bad)
        return ammpli_fail(AMMPL_E_NUMERIC, "a gradient is not a finite number; the learning rate is too high");
    for (size_t i = 0; i < p->tensors; i++)
        if (grad[i])
            RUN(add, p->tensor[i].grad, grad[i], 1, p->tensor[i].count);
    return e->ops->sync(e->stream);
}

const float *ammpli_value(const ammpl_prompt *p, const char *name)
{
    const ammpli_tensor *t = ammpli_prompt_find(p, name);
    return t ? t->value : NULL;
}

float *ammpli_grad_of(const ammpl_prompt *p, float *const *grad, const char *name)
{
    const ammpli_tensor *t = ammpli_prompt_find(p, name);
    return t ? grad[t - p->tensor] : NULL;
}
