/* dpt.h - the parts of DPT (Xing et al., IEEE TMM 2023; methods.md 5.10).
 *
 * b blocks with visual prompts of their own, then T blocks whose prompts are made of the image's tokens and of the text features
 * of its K likeliest classes (CAVPT).  N = P + 1 tokens of an image; n visual prompts; per chunk B images.
 */
#ifndef AMMPLI_DPT_H
#define AMMPLI_DPT_H

#include "method/learn.h"
#include "method/stage.h"

enum { DPT_EXTRA = 10, DPT_KEY = 32 }; /* tokens that CAVPT learns beside an image's, width of its queries and keys */

typedef struct dpt_sizes {
    int64_t C, E, W, N, n, K, b, T;
} dpt_sizes;
dpt_sizes ammpli_dpt_sizes_of(const ammpl_prompt *p);

/* One CAVPT layer for B images. */
typedef struct dpt_cavpt {
    int64_t layer, B; /* j; images */
    /* learned, and their gradients (NULL at inference) */
    const float *ctx, *meta, *meta_bias, *q, *k, *v, *ln, *ln_bias, *ln2, *ln2_bias, *classifier;
    float *dctx, *dmeta, *dmeta_bias, *dq, *dk, *dv, *dln, *dln_bias, *dln2, *dln2_bias, *dclassifier;
    /* kept by forward */
    float *text;      /* [B*K,E] W[I] */
    float *query;     /* [B*K,W] Q0 = meta(W[I]) */
    float *tokens;    /* [B,N+10,W] KV = [X | ctx] */
    float *queries, *keys; /* [B*K,32], [B*(N+10),32] */
    float *attention; /* [B,K,N+10] A */
    float *mixed;     /* [B*K,W] A KV */
    float *out;       /* [B*K,W] O = v(A KV) */
    float *sum;       /* [B*K,W] O + Q0 */
    float *prompt;    /* [B*K,W] P = ln2(O + Q0) */
} dpt_cavpt;
/* Its tensors, and where gradients go (grad NULL: inference). */
dpt_cavpt ammpli_dpt_cavpt_of(const ammpl_prompt *p, float *const *grad, int64_t layer, int64_t B);
/* x [B*N,W] the tokens before the block (no gradient goes back to them), selected [B*K] rows of text features w [C,E]. */
ammpl_status ammpli_dpt_cavpt_forward(ammpli_engine *e, const dpt_sizes *z, dpt_cavpt *c, const float *x, const float *w,
                               const int32_t *selected);
/* Aux logits [h,C] = classifier(ln(O)) of h rows of O: the cross-entropy of the true class, each row times `weight`, is added to
 * *loss; its gradient to dout [B*K,W] and to the layer's parameters. */
ammpl_status ammpli_dpt_cavpt_aux(ammpli_engine *e, const dpt_sizes *z, const dpt_cavpt *c, const int32_t *hit /*[h] host*/,
                           const int32_t *label /*[h] host*/, int64_t h, double weight, double *loss, float *dout);
/* dprompt [B*K,W] and dout [B*K,W] (from aux; overwritten) to the parameters, and added to dw [C,E] at `selected`. */
ammpl_status ammpli_dpt_cavpt_backward(ammpli_engine *e, const dpt_sizes *z, const dpt_cavpt *c, const float *dprompt, float *dout,
                                const int32_t *selected, float *dw);

/* dpt_run.c */
ammpl_status ammpli_dpt_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits);
ammpl_status ammpli_dpt_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits);
ammpl_status ammpli_dpt_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out);
ammpl_status ammpli_dpt_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out);
ammpl_status ammpli_dpt_aux_rows(ammpl_session *s, const ammpl_prompt *p, const float *pixels, const int32_t *label, int64_t n, int64_t *rows);

#endif
