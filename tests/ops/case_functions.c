/* case_functions.c - accuracy of the vectorised elementary functions, on a dense grid, in every width. */
#include "ops.h"
#include "cpu/kernels.h"

#include <stdio.h>

void case_functions(run *r, const ammpli_cpu_kernels *kernels);

enum { GRID = 400000 };

/* Largest |y - want(x)| / unit over a grid of [low, high]. */
void case_functions(run *r, const ammpli_cpu_kernels *kernels)
{
    float *x = keep(r, GRID * sizeof *x), *y = keep(r, GRID * sizeof *y), *ones = keep(r, GRID * sizeof *ones);
    double worst_exp = 0, worst_act[4] = {0}, worst_slope[4] = {0};
    for (int i = 0; i < GRID; i++) {
        x[i] = (float)(-87 + 175.5 * i / GRID);
        ones[i] = 1;
    }
    kernels->exp(y, x, GRID);
    for (int i = 0; i < GRID; i++)
        worst_exp = fmax(worst_exp, fabs((double)y[i] / exp((double)x[i]) - 1));
    ck_assert_msg(worst_exp < 2e-7, "%s: exp is off by %.3g", r->name, worst_exp);
    const float ends[] = {-INFINITY, -1000, -103, 0, 88.72f, 89, 1e30f, INFINITY, NAN};
    float end[9];
    kernels->exp(end, ends, 9);
    ck_assert(end[0] == 0 && end[1] == 0 && end[2] == 0x1p-149f && end[3] == 1 && end[4] > 3.3e38f);
    ck_assert(isfinite(end[4]) && isinf(end[5]) && isinf(end[6]) && isinf(end[7]) && isnan(end[8]));
    for (int i = 0; i < GRID; i++)
        x[i] = (float)(-14 + 28.0 * i / GRID);
    for (int32_t act = AMMPL_ACT_QUICK_GELU; act <= AMMPL_ACT_GELU; act++) {
        /* In units of |value| + 1e-3 e^-x^2/2...: relative where the function is not tiny, absolute 1e-10 beyond. */
        kernels->act_forward(y, x, GRID, act);
        for (int i = 0; i < GRID; i++) {
            double want = act_double((double)x[i], act);
            worst_act[act] = fmax(worst_act[act], fabs((double)y[i] - want) / fmax(fabs(want), 1e-3));
        }
        kernels->act_backward(y, ones, x, GRID, act);
        for (int i = 0; i < GRID; i++)
            worst_slope[act] = fmax(worst_slope[act], fabs((double)y[i] - slope_double((double)x[i], act)));
        ck_assert_msg(worst_act[act] < 2e-6, "%s: act %d is off by %.3g", r->name, (int)act, worst_act[act]);
        ck_assert_msg(worst_slope[act] < 5e-7, "%s: the slope of act %d is off by %.3g", r->name, (int)act, worst_slope[act]);
    }
    r->compared += 5 * GRID + 9;
    printf("# %s: relative error of exp %.2g, QuickGELU %.2g, GELU %.2g; error of their slopes %.2g, %.2g\n", r->name, worst_exp,
           worst_act[1], worst_act[2], worst_slope[1], worst_slope[2]);
}
