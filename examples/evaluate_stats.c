/* evaluate_stats.c - see evaluate_stats.h. */
#include "evaluate_stats.h"

#include <math.h>

/* The 97.5 % quantile of Student's t. */
static double student(size_t degrees)
{
    static const double quantile[] = {
        12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912,
        2.364624, 2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
        2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
        2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899,
        2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272};
    static const double z = 1.959964; /* of the normal distribution */
    enum { KNOWN = sizeof quantile / sizeof quantile[0] };
    if (degrees <= KNOWN)
        return quantile[degrees - 1];
    double n = (double)degrees; /* two terms of its expansion: right to 5 digits from here on */
    return z + (z * z * z + z) / (4 * n) + (5 * z * z * z * z * z + 16 * z * z * z + 3 * z) / (96 * n * n);
}

struct statistics statistics_of(const double *value, size_t n)
{
    struct statistics s = {0, 0, 0, NAN};
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(value[i])) {
            s.mean += value[i];
            s.n++;
        }
    if (s.n == 0) {
        s.mean = s.sd = NAN;
        return s;
    }
    s.mean /= (double)s.n;
    for (size_t i = 0; i < n; i++)
        if (!isnan(value[i]))
            squares += (value[i] - s.mean) * (value[i] - s.mean);
    s.sd = sqrt(squares / (double)s.n);
    if (s.n > 1)
        s.ci95 = student(s.n - 1) * sqrt(squares / (double)(s.n - 1) / (double)s.n);
    return s;
}

double harmonic_mean(double a, double b)
{
    return a + b == 0 ? 0 : 2 * a * b / (a + b);
}
