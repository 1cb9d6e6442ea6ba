/* differences.h - a gradient against finite differences of the loss that it is the gradient of.
 *
 * The loss is float32: one evaluation is off by about 1e-6.  So differences are taken along random directions of a whole tensor, with
 * steps large enough for that noise and Richardson's extrapolation against the curvature, and several directions are compared at
 * once: |differences - products with the gradient| / |products|, where products below a hundredth of the largest gradient count as that.
 */
#ifndef AMMPL_TESTS_DIFFERENCES_H
#define AMMPL_TESTS_DIFFERENCES_H

#include "train/train.h"

enum { DIFFERENCES_TENSORS = 64 };
typedef struct differences {
    ammpl_prompt *prompt;
    double (*loss)(void *user); /* at the prompt's present values; adds its gradients to the prompt's */
    void *user;
    uint32_t directions;
    double largest, norm[DIFFERENCES_TENSORS]; /* of all gradients, of each */
    float *gradient[DIFFERENCES_TENSORS];
} differences;

/* Evaluates the loss at the present values and keeps all gradients of it. */
void differences_open(differences *d);
void differences_close(differences *d);
/* How far the differences along directions of tensor t are from what its gradient says; its values are put back. */
double differences_error(const differences *d, size_t t);
/* Mean cross-entropy, in double from logits [n,C]. */
double differences_cross_entropy(const float *logits, const int32_t *label, size_t n, size_t C);

#endif
