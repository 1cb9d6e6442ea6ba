/* schedule.c - the learning rate of an epoch or a step (methods.md 6.5, 5.4), and which options a run trains under. */
#include "train/train.h"

#include <math.h>
#include <string.h>

static double cosine(double base, double done)
{
    return base * 0.5 * (1 + cos(3.14159265358979323846 * done));
}

/* Grows evenly to base over the warm-up steps, then falls to 0 at the last step. */
static double rate_of_step(const ammpl_config *cfg, double base, int64_t step, int64_t steps)
{
    int64_t warmup = ammpli_config_int(cfg, AMMPL_OPT_WARMUP_STEPS);
    if (step < warmup)
        return base * (double)(step + 1) / (double)warmup;
    return steps > warmup ? cosine(base, (double)(step - warmup) / (double)(steps - warmup)) : base;
}

double ammpli_schedule_rate(const ammpl_config *cfg, double base, int64_t warmup_epochs, const ammpli_moment *at)
{
    const char *schedule = ammpli_config_string(cfg, AMMPL_OPT_SCHEDULE);
    if (strcmp(schedule, "cosine_steps") == 0)
        return rate_of_step(cfg, base, at->step, at->steps);
    if (at->epoch < warmup_epochs)
        return ammpli_config_float(cfg, AMMPL_OPT_WARMUP_LR);
    if (strcmp(schedule, "constant") == 0)
        return base;
    /* The period is the whole run, though the cosine starts after warm-up: the rate never reaches zero. */
    return cosine(base, (double)(at->epoch - warmup_epochs) / (double)ammpli_config_int(cfg, AMMPL_OPT_EPOCHS));
}

/* A group's own option: as given; else as given for all groups; else as the prompt has it. */
static ammpl_status settle(const ammpl_prompt *p, const ammpl_config *cfg, ammpl_option own, ammpl_option all, ammpl_config *out)
{
    if (!own || ammpli_config_is_set(cfg, own))
        return AMMPL_OK;
    const ammpl_config *from = ammpli_config_is_set(cfg, all) ? cfg : p->config;
    ammpl_option id = from == cfg ? all : own;
    return ammpli_config_set_text(out, ammpli_option_by_id(own)->name, ammpli_config_text(from, ammpli_option_by_id(id)->name));
}

ammpl_status ammpli_training_config(const ammpl_prompt *p, const ammpl_config *cfg, int64_t shots, ammpl_config **out)
{
    TRY(ammpli_config_create(p->ctx, out));
    ammpl_status status;
    TRY_GOTO(fail, ammpli_method_defaults(p->method, cfg, shots, false, *out));
    if (cfg)
        TRY_GOTO(fail, ammpli_config_merge(*out, cfg));
    for (int32_t g = 0; g < p->groups; g++) {
        TRY_GOTO(fail, settle(p, cfg, p->group[g].lr, AMMPL_OPT_LR, *out));
        TRY_GOTO(fail, settle(p, cfg, p->group[g].warmup_epochs, AMMPL_OPT_WARMUP_EPOCHS, *out));
    }
    return AMMPL_OK;
fail:
    ammpli_config_destroy(*out);
    *out = NULL;
    return status;
}
