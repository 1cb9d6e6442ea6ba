/* learn.h - the ends of every training step: loss of a batch, and gradients that reach the prompt only when all are finite. */
#ifndef AMMPLI_LEARN_H
#define AMMPLI_LEARN_H

#include "method/session.h"

/* A batch's weight of each image's loss: given, or 1/n. */
double ammpli_batch_weight(const ammpl_batch *batch);
/* *loss += the sum over rows of weight * cross-entropy(logits [n,C], label [n] host); dlogits [n,C] is overwritten. */
ammpl_status ammpli_cross_entropy(ammpli_engine *e, const float *logits, const int32_t *label, int64_t n, int64_t C, double weight,
                                  double *loss, float *dlogits);
/* AMMPL_E_NUMERIC unless it is finite. */
ammpl_status ammpli_check_loss(double loss);

/* Zeroed gradients of the trainable tensors, parallel to p->tensor (NULL where not trainable): a host array, freed by the caller. */
ammpl_status ammpli_gradients_take(ammpli_engine *e, const ammpl_prompt *p, float ***grad);
/* Adds them to the prompt's own, once all are known to be finite. */
ammpl_status ammpli_gradients_add(ammpli_engine *e, ammpl_prompt *p, float *const *grad);
/* Value and gradient of the tensor of that name; NULL when there is none. */
const float *ammpli_value(const ammpl_prompt *p, const char *name);
float *ammpli_grad_of(const ammpl_prompt *p, float *const *grad, const char *name);

#endif
