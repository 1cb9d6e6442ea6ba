/* evaluate_stats.h - means over seeds, as published and with what they are worth. */
#ifndef AMMPL_EXAMPLES_EVALUATE_STATS_H
#define AMMPL_EXAMPLES_EVALUATE_STATS_H

#include <stddef.h>

struct statistics {
    size_t n;
    double mean;
    double sd;   /* over the n values themselves (ddof 0), as the published tables have it */
    double ci95; /* half the width of the 95 % confidence interval of the mean: Student's t, n - 1 degrees of freedom; NaN for n < 2 */
};

/* Of those values that are not NaN; n = 0 gives NaN. */
struct statistics statistics_of(const double *value, size_t n);
/* 2ab / (a + b); 0 for two zeros. */
double harmonic_mean(double a, double b);

#endif
