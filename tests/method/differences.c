/* differences.c - see differences.h. */
#include "differences.h"

#include "train/nano.h"

#include <math.h>
#include <stdlib.h>

double differences_cross_entropy(const float *logits, const int32_t *label, size_t n, size_t C)
{
    double sum = 0;
    for (size_t b = 0; b < n; b++) {
        double z = 0;
        for (size_t i = 0; i < C; i++)
            z += exp((double)logits[b * C + i] - (double)logits[b * C + (size_t)label[b]]);
        sum += log(z);
    }
    return sum / (double)n;
}

void differences_open(differences *d)
{
    ck_assert_uint_le(d->prompt->tensors, DIFFERENCES_TENSORS);
    ck_ok(ammpli_prompt_zero_gradients(d->prompt));
    d->loss(d->user);
    d->largest = 0;
    for (size_t t = 0; t < d->prompt->tensors; t++) {
        int64_t count = d->prompt->tensor[t].count;
        double square = 0;
        d->gradient[t] = malloc((size_t)count * sizeof(float));
        ck_ok(ammpli_prompt_gradient_read(d->prompt, t, d->gradient[t]));
        for (int64_t i = 0; i < count; i++)
            square += (double)d->gradient[t][i] * (double)d->gradient[t][i];
        d->norm[t] = sqrt(square);
        d->largest = fmax(d->largest, d->norm[t]);
    }
}

void differences_close(differences *d)
{
    for (size_t t = 0; t < d->prompt->tensors; t++)
        free(d->gradient[t]);
}

typedef struct line { /* the loss along a direction of one tensor */
    const differences *d;
    size_t tensor;
    const float *origin;
    const double *direction;
} line;

static double at(const line *l, double step)
{
    int64_t count = l->d->prompt->tensor[l->tensor].count;
    float *value = malloc((size_t)count * sizeof *value);
    for (int64_t i = 0; i < count; i++)
        value[i] = (float)((double)l->origin[i] + step * l->direction[i]);
    ck_ok(ammpli_prompt_write(l->d->prompt, l->tensor, value));
    free(value);
    return l->d->loss(l->d->user);
}

static double central(const line *l, double h)
{
    return (at(l, h) - at(l, -h)) / (2 * h);
}

double differences_error(const differences *d, size_t t)
{
    int64_t count = d->prompt->tensor[t].count;
    const float *gradient = d->gradient[t];
    float *origin = malloc((size_t)count * sizeof *origin);
    double *direction = malloc((size_t)count * sizeof *direction), d2 = 0, g2 = 0;
    ck_ok(ammpli_prompt_read(d->prompt, t, origin));
    for (uint32_t k = 0; k < d->directions; k++) {
        /* Random, of length 1, and leaning towards the gradient so that there is something to measure. */
        double length = 0, product = 0;
        for (int64_t i = 0; i < count; i++) {
            direction[i] = nano_normal((uint32_t)t * 100 + k, (uint32_t)i) / sqrt((double)count) +
                           0.7 * (k % 2 ? 1 : -1) * (double)gradient[i] / fmax(d->norm[t], 1e-30);
            length += direction[i] * direction[i];
        }
        for (int64_t i = 0; i < count; i++) {
            direction[i] /= sqrt(length);
            product += direction[i] * (double)gradient[i];
        }
        line l = {d, t, origin, direction};
        /* The slope tells how far one must go for a difference of about 2e-2. */
        double h = fmin(1e-2 / d->norm[t], 0.1), difference = (4 * central(&l, h / 2) - central(&l, h)) / 3;
        d2 += (difference - product) * (difference - product);
        g2 += product * product;
    }
    ck_ok(ammpli_prompt_write(d->prompt, t, origin));
    free(origin);
    free(direction);
    return sqrt(d2 / fmax(g2, d->directions * 1e-4 * d->largest * d->largest));
}
