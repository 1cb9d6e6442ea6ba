/* api_train.c - evaluation, optimizer and training. */
#include "shell.h"
#include "train/train.h"

#include <math.h>
#include <string.h>

/* A session and a prompt of one model, and pictures of the same context. */
static ammpl_status check_three(const char *function, const ammpl_session *s, const ammpl_prompt *p, const ammpl_dataset *ds)
{
    if (!s || !p || !ds)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: the %s is NULL", function, !s ? "session" : !p ? "prompt" : "data set");
    if (s->model != p->model)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: the prompt and the session belong to different models", function);
    if (s->model->ctx != ds->ctx)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: the data set and the session belong to different contexts", function);
    return AMMPL_OK;
}

static const ammpl_context *context(const ammpl_session *s)
{
    return s ? s->model->ctx : NULL;
}

ammpl_status ammpl_session_evaluate(ammpl_session *s, const ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                                    ammpl_progress_fn fn, void *user, int32_t *predicted, ammpl_metrics *out)
{
    ENTER();
    PASS(context(s), ammpli_struct_clear("ammpl_metrics", out));
    PASS(context(s), check_three(__func__, s, p, ds));
    ammpl_metrics known = {.struct_size = sizeof known};
    ammpl_status status = ammpli_session_evaluate(s, p, ds, cfg, fn, user, predicted, &known);
    if (status >= 0) /* a cancelled evaluation has counts too */
        ammpli_struct_out(out, &known, sizeof known);
    return ammpli_leave(context(s), status);
}

/* ---- optimizer ---- */

ammpl_status ammpl_optimizer_create(ammpl_prompt *p, const ammpl_config *cfg, ammpl_optimizer **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, p);
    NEED(p->ctx, out);
    ammpl_config *training;
    PASS(p->ctx, ammpli_training_config(p, cfg, 0, &training));
    ammpl_status status = ammpli_optimizer_create(p, training, out);
    ammpli_config_destroy(training);
    return ammpli_leave(p->ctx, status);
}

void ammpl_optimizer_destroy(ammpl_optimizer *o)
{
    if (o)
        ammpli_optimizer_release(o);
}

ammpl_status ammpl_optimizer_step(ammpl_optimizer *o)
{
    ENTER();
    NEED(NULL, o);
    return ammpli_leave(o->prompt->ctx, ammpli_optimizer_step(o));
}

size_t ammpl_optimizer_group_count(const ammpl_optimizer *o)
{
    return o ? (size_t)o->groups : 0;
}

double ammpl_optimizer_learning_rate(const ammpl_optimizer *o, size_t group)
{
    return o && group < (size_t)o->groups ? o->rate[group] : 0;
}

ammpl_status ammpl_optimizer_set_learning_rate(ammpl_optimizer *o, size_t group, double lr)
{
    ENTER();
    NEED(NULL, o);
    CHECK(o->prompt->ctx, group < (size_t)o->groups, AMMPL_E_RANGE, "group %zu: the optimizer has %d", group, o->groups);
    CHECK(o->prompt->ctx, isfinite(lr) && lr >= 0, AMMPL_E_RANGE, "a learning rate of %g: a number of at least 0", lr);
    o->rate[group] = lr;
    return AMMPL_OK;
}

ammpl_status ammpl_optimizer_set_epoch(ammpl_optimizer *o, int64_t epoch)
{
    ENTER();
    NEED(NULL, o);
    CHECK(o->prompt->ctx, epoch >= 0, AMMPL_E_RANGE, "epoch %lld: they count from 0", (long long)epoch);
    CHECK(o->prompt->ctx, strcmp(ammpli_config_string(o->config, AMMPL_OPT_SCHEDULE), "cosine_steps") != 0, AMMPL_E_STATE,
          "this optimizer's rate changes with every step: use ammpl_optimizer_set_step");
    ammpli_optimizer_set_moment(o, &(ammpli_moment){.epoch = epoch});
    return AMMPL_OK;
}

ammpl_status ammpl_optimizer_set_step(ammpl_optimizer *o, int64_t epoch, int64_t step, int64_t steps)
{
    ENTER();
    NEED(NULL, o);
    CHECK(o->prompt->ctx, epoch >= 0 && step >= 0 && steps >= 0, AMMPL_E_RANGE, "epoch %lld, step %lld of %lld: they count from 0",
          (long long)epoch, (long long)step, (long long)steps);
    ammpli_optimizer_set_moment(o, &(ammpli_moment){epoch, step, steps});
    return AMMPL_OK;
}

/* ---- training ---- */

ammpl_status ammpl_trainer_create(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                                  ammpl_trainer **out)
{
    ENTER();
    CLEAR(out);
    PASS(context(s), check_three(__func__, s, p, ds));
    NEED(context(s), out);
    return ammpli_leave(context(s), ammpli_trainer_create(s, p, ds, cfg, out));
}

void ammpl_trainer_destroy(ammpl_trainer *t)
{
    if (t)
        ammpli_trainer_release(t);
}

const char *ammpl_trainer_option(const ammpl_trainer *t, const char *name)
{
    return t && name ? ammpli_config_text(t->config, name) : NULL;
}

ammpl_status ammpl_trainer_step(ammpl_trainer *t, ammpl_progress *progress)
{
    ENTER();
    if (progress)
        PASS(t ? context(t->session) : NULL, ammpli_struct_clear("ammpl_progress", progress));
    NEED(NULL, t);
    ammpl_progress known = {.struct_size = sizeof known};
    ammpl_status status = ammpli_trainer_step(t, &known);
    if (status == AMMPL_OK && progress)
        ammpli_struct_out(progress, &known, sizeof known);
    return ammpli_leave(context(t->session), status);
}

ammpl_status ammpl_trainer_save(const ammpl_trainer *t, const char *path)
{
    ENTER();
    NEED(NULL, t);
    NEED(context(t->session), path);
    return ammpli_leave(context(t->session), ammpli_trainer_save(t, path));
}

ammpl_status ammpl_trainer_load(ammpl_trainer *t, const char *path)
{
    ENTER();
    NEED(NULL, t);
    NEED(context(t->session), path);
    return ammpli_leave(context(t->session), ammpli_trainer_load(t, path));
}

ammpl_status ammpl_train(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                         ammpl_progress_fn fn, void *user)
{
    ENTER();
    PASS(context(s), check_three(__func__, s, p, ds));
    return ammpli_leave(context(s), ammpli_train(s, p, ds, cfg, fn, user));
}
