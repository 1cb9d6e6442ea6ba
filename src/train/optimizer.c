/* optimizer.c - SGD with momentum and AdamW over a prompt's trainable tensors. */
#include "train/train.h"

#include <string.h>

void ammpli_optimizer_release(ammpl_optimizer *o)
{
    if (!o || atomic_fetch_sub(&o->ref.count, 1) > 1)
        return;
    ammpl_prompt *p = o->prompt;
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; o->moment[k] && i < o->tensors; i++)
            p->ops->release(p->stream, o->moment[k][i]);
        ammpli_free(p->ctx, o->moment[k]);
    }
    p->ops->release(p->stream, o->flag);
    ammpli_config_destroy(o->config);
    ammpli_free(p->ctx, o);
    ammpli_prompt_release(p);
}

static ammpl_status zeros_like(ammpl_prompt *p, const ammpli_tensor *t, float **out)
{
    size_t bytes = (size_t)t->count * sizeof(float);
    TRY(p->ops->alloc(p->stream, bytes, (void **)out));
    return p->ops->zero(p->stream, *out, bytes);
}

ammpl_status ammpli_optimizer_create(ammpl_prompt *p, const ammpl_config *training, ammpl_optimizer **out)
{
    *out = NULL;
    ammpl_optimizer *o = ammpli_alloc(p->ctx, 1, sizeof *o);
    if (!o)
        return AMMPL_E_MEMORY;
    o->ref.count = 1;
    o->prompt = ammpli_prompt_hold(p);
    o->tensors = p->tensors;
    o->layout = p->layout;
    o->groups = p->groups;
    o->adamw = strcmp(ammpli_config_string(training, AMMPL_OPT_OPTIMIZER), "adamw") == 0;
    ammpl_status status;
    TRY_GOTO(fail, p->ops->alloc(p->stream, sizeof(int32_t), &o->flag));
    TRY_GOTO(fail, ammpli_config_create(p->ctx, &o->config));
    TRY_GOTO(fail, ammpli_config_merge(o->config, training));
    for (int k = 0; k < (o->adamw ? 2 : 1); k++) {
        o->moment[k] = ammpli_alloc(p->ctx, p->tensors, sizeof *o->moment[k]);
        if (!o->moment[k]) {
            status = AMMPL_E_MEMORY;
            goto fail;
        }
        for (size_t i = 0; i < p->tensors; i++)
            if (p->tensor[i].trainable)
                TRY_GOTO(fail, zeros_like(p, &p->tensor[i], &o->moment[k][i]));
    }
    ammpli_optimizer_set_moment(o, &(ammpli_moment){0});
    *out = o;
    return AMMPL_OK;
fail:
    ammpli_optimizer_release(o);
    return status;
}

void ammpli_optimizer_set_moment(ammpl_optimizer *o, const ammpli_moment *at)
{
    for (int32_t g = 0; g < o->groups; g++) {
        const ammpli_group *group = &o->prompt->group[g];
        double base = ammpli_config_float(o->config, group->lr ? group->lr : AMMPL_OPT_LR);
        int64_t warmup = ammpli_config_int(o->config, group->warmup_epochs ? group->warmup_epochs : AMMPL_OPT_WARMUP_EPOCHS);
        o->rate[g] = group->factor * ammpli_schedule_rate(o->config, base, warmup, at);
    }
}

/* Does a gradient of tensors from..to-1 hold NaN or infinity? */
static ammpl_status find_bad(const ammpl_optimizer *o, size_t from, size_t to, int32_t *bad)
{
    const ammpl_prompt *p = o->prompt;
    *bad = 0;
    TRY(p->ops->upload(p->stream, o->flag, bad, sizeof *bad));
    for (size_t i = from; i < to; i++)
        if (p->tensor[i].trainable)
            TRY(p->ops->finite_check(p->stream, o->flag, p->tensor[i].grad, p->tensor[i].count));
    return p->ops->download(p->stream, bad, o->flag, sizeof *bad);
}

/* AMMPL_E_NUMERIC, naming the tensor, when a gradient holds NaN or infinity.  All are asked at once: each answer is a wait. */
static ammpl_status check_gradients(const ammpl_optimizer *o)
{
    const ammpl_prompt *p = o->prompt;
    int32_t bad;
    TRY(find_bad(o, 0, p->tensors, &bad));
    for (size_t i = 0; bad && i < p->tensors; i++) {
        int32_t this_one;
        TRY(find_bad(o, i, i + 1, &this_one));
        if (this_one)
            return ammpli_fail(AMMPL_E_NUMERIC, "the gradient of %s is not finite; nothing was updated; lower the learning rate",
                               p->tensor[i].name);
    }
    return AMMPL_OK;
}

static ammpl_status update(ammpl_optimizer *o)
{
    ammpl_prompt *p = o->prompt;
    TRY(check_gradients(o));
    p->revision++; /* where it fails from here on, some tensors may be new */
    float decay = (float)ammpli_config_float(o->config, AMMPL_OPT_WEIGHT_DECAY);
    for (size_t i = 0; i < p->tensors; i++) {
        const ammpli_tensor *t = &p->tensor[i];
        float lr = (float)o->rate[t->group];
        if (!t->trainable)
            continue;
        if (o->adamw)
            TRY(p->ops->adamw(p->stream, t->value, o->moment[0][i], o->moment[1][i], t->grad, lr,
                              (float)ammpli_config_float(o->config, AMMPL_OPT_BETA1),
                              (float)ammpli_config_float(o->config, AMMPL_OPT_BETA2),
                              (float)ammpli_config_float(o->config, AMMPL_OPT_EPSILON), decay, o->step + 1, t->count));
        else
            TRY(p->ops->sgd(p->stream, t->value, o->moment[0][i], t->grad, lr,
                            (float)ammpli_config_float(o->config, AMMPL_OPT_MOMENTUM), decay, t->count));
    }
    return AMMPL_OK;
}

ammpl_status ammpli_optimizer_step(ammpl_optimizer *o)
{
    const ammpl_prompt *p = o->prompt;
    if (o->layout != p->layout)
        return ammpli_fail(AMMPL_E_STATE, "the prompt was given other classes since this optimizer was made, and some of its tensors "
                                          "another shape; make a new optimizer");
    TRY(ammpli_settle(p->ops, p->stream, update(o)));
    o->step++;
    return p->ops->sync(p->stream);
}
