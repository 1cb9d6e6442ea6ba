/* mlp.h - the two-layer perceptrons that let one modality inform the other: y = W2 relu(W1 x + b1) + b2.
 *
 * `groups` independent ones side by side (class scope: one per class; shared scope: one), each reading m rows.
 */
#ifndef AMMPLI_MLP_H
#define AMMPLI_MLP_H

#include "method/method.h"

typedef struct ammpli_mlp {
    int64_t groups, in, hidden, out;
    const float *w1, *b1, *w2, *b2; /* [g,hidden,in], [g,hidden], [g,out,hidden], [g,out] */
} ammpli_mlp;

typedef struct ammpli_mlp_gradient {
    float *w1, *b1, *w2, *b2; /* added to */
} ammpli_mlp_gradient;

/* hidden [g,m,hidden] receives W1 x + b1 (before the ReLU): backward needs it. */
ammpl_status ammpli_mlp_forward(ammpli_engine *e, const ammpli_mlp *f, float *y /*[g,m,out]*/, float *hidden,
                                const float *x /*[g,m,in]*/, int64_t m);
/* dx [g,m,in] is overwritten. */
ammpl_status ammpli_mlp_backward(ammpli_engine *e, const ammpli_mlp *f, const ammpli_mlp_gradient *d, float *dx,
                                 const float *dy, const float *hidden, const float *x, int64_t m);

#endif
