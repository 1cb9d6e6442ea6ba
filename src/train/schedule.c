/* schedule.c - the learning rate of an epoch (methods.md 6.5). */
#include "train/train.h"

#include <math.h>
#include <string.h>

double ammpli_schedule_rate(const ammpl_config *cfg, int64_t epoch)
{
    double base = ammpli_config_float(cfg, AMMPL_OPT_LR);
    int64_t warmup = ammpli_config_int(cfg, AMMPL_OPT_WARMUP_EPOCHS), T = ammpli_config_int(cfg, AMMPL_OPT_EPOCHS);
    if (epoch < warmup)
        return ammpli_config_float(cfg, AMMPL_OPT_WARMUP_LR);
    if (strcmp(ammpli_config_string(cfg, AMMPL_OPT_SCHEDULE), "constant") == 0)
        return base;
    /* The period is the whole run, though the cosine starts after warm-up: the rate never reaches zero. */
    return base * 0.5 * (1 + cos(3.14159265358979323846 * (double)(epoch - warmup) / (double)T));
}
