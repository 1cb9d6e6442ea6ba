/* evaluate_stats.c - see evaluate_stats.h. */
#include "evaluate_stats.h"

#include <math.h>

/* The 97.5 % quantile of Student's t. */
static double student(size_t degrees)
{
    static const double quantile[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
                                      2.2010,  2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
                                      2.0796,  2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423};
    static const double normal = 1.9600;
    enum { KNOWN = sizeof quantile / sizeof quantile[0] };
    if (degrees <= KNOWN)
        return quantile[degrees - 1];
    return normal + (normal * normal * normal + normal) / (4 * (double)degrees); /* the first term of its expansion */
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
