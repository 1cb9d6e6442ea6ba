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
    float *each, *host = ammpli_alloc(e->ctx, (size_t)n, sizeof *host);
    ammpl_status status = AMMPL_E_MEMORY;
    if (!host)
        return status;
    TRY_GOTO(done, ammpli_take_ints(e, label, n, &device));
    TRY_GOTO(done, ammpli_take_floats(e, n, &each));
    TRY_GOTO(done, e->ops->cross_entropy_forward(e->stream, each, logits, device, n, C));
    TRY_GOTO(done, e->ops->cross_entropy_backward(e->stream, dlogits, logits, device, (float)weight, n, C));
    TRY_GOTO(done, e->ops->download(e->stream, host, each, (size_t)n * sizeof *host));
    for (int64_t i = 0; i < n; i++)
        *loss += weight * (double)host[i];
    ammpli_arena_release(e, mark);
done:
    ammpli_free(e->ctx, host);
    return status;
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
    *grad = ammpli_alloc(e->ctx, p->tensors, sizeof **grad);
    if (!*grad)
        return AMMPL_E_MEMORY;
    for (size_t i = 0; i < p->tensors; i++)
        if (p->tensor[i].trainable) {
            ammpl_status status = ammpli_take_zeros(e, p->tensor[i].count, &(*grad)[i]);
            if (status < 0) {
                ammpli_free(e->ctx, *grad);
                *grad = NULL;
                return status;
            }
        }
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
