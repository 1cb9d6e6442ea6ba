/* dual.h - methods whose logits are s <image feature, class feature>, each from its own tower: CoOp, VP, VPT, DLP, IVLP, MaPLe.
 *
 * Such a method says what it puts into the towers (assemble) and takes the gradients of just that (scatter); predict,
 * accumulate and encode_* below do the rest.
 */
#ifndef AMMPLI_DUAL_H
#define AMMPLI_DUAL_H

#include "method/learn.h"
#include "method/stage.h"

/* What goes into the towers, in backend memory, and where gradients of it are added. */
typedef struct ammpli_sides {
    /* Text: a learned context in the gaps of the prompt's text plan, or (ctx NULL) the templates' fixed features. */
    const float *ctx; /* [M,l] or per class [C,M,l] */
    bool per_class, has_deep, has_visual;
    const float **deep; /* [layers] host: [M,l] before block i of the text tower; NULL: none */
    /* Image: prompt tokens, or pixels. */
    ammpli_visual visual;
    const float **visual_prompt; /* [layers] host, what visual.prompt points to */
    const float *added;          /* [P,W] embedding of pixels that are added to every image; NULL: none */
    float *dctx, **ddeep, **dvisual, *dadded; /* like the above; written only when there are gradients */
} ammpli_sides;

/* The gradients of p's tensors are `grad` (parallel to p->tensor); NULL at inference, as is batch. */
typedef ammpl_status (*ammpli_assemble_fn)(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad,
                                           ammpli_sides *out);
typedef ammpl_status (*ammpli_scatter_fn)(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch,
                                          const ammpli_sides *sides, float *const *grad);

/* Members of ammpli_method for such methods; the method's `assemble` (and `scatter`) are set, too. */
ammpl_status ammpli_dual_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits);
ammpl_status ammpli_dual_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits);
ammpl_status ammpli_dual_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out);
ammpl_status ammpli_dual_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out);

/* Adds a tensor NAME.index [rows, width] for every layer from..to-1 to the prompt; and finds its value or gradient. */
ammpl_status ammpli_layers_add(ammpl_prompt *p, const char *name, int64_t from, int64_t to, int64_t rows, int64_t width);
const float *ammpli_layer_value(const ammpl_prompt *p, const char *name, int64_t layer);
float *ammpli_layer_grad(const ammpl_prompt *p, float *const *grad, const char *name, int64_t layer);
/* Puts those tensors where they belong: sides->deep or visual_prompt [layer], and their gradients. */
void ammpli_layers_assemble(const ammpl_prompt *p, const char *name, int64_t from, int64_t to, float *const *grad,
                            const float **value, float **gradient);
/* How many layers have prompts: the option where it is given (0 is nothing given, unless least is 0), else min(own, layers).
 * AMMPL_E_RANGE outside least..layers.  The option then says so. */
ammpl_status ammpli_depth(ammpl_prompt *p, ammpl_option option, int64_t own, int64_t least, int64_t layers, int64_t *depth);
/* How many layers a file has tensors NAME.from, NAME.from+1, ... (or NAME.from.PART, ...) for, up to the last that is there, and the
 * rows of the first: for `infer`. */
int64_t ammpli_layers_in_file(const ammpli_st *st, const char *name, int64_t from, int64_t *rows);

/* n_ctx_vision where it is set above 0, else `own`; the option then says so. */
ammpl_status ammpli_visual_count(ammpl_prompt *p, int64_t own, int64_t *V);
/* An option that a file's tensors tell: sets it where nobody gives it (0 is nothing given, unless least is 0); AMMPL_E_SHAPE where
 * what is given says otherwise. */
ammpl_status ammpli_infer_int(ammpl_prompt *p, const ammpli_st *st, ammpl_option option, int64_t least, int64_t value);
ammpl_status ammpli_infer_text(ammpl_prompt *p, const ammpli_st *st, ammpl_option option, const char *value);

/* For the method table: what most of these methods answer. */
ammpl_status ammpli_infer_nothing(ammpl_prompt *p, const ammpli_st *st);
int32_t ammpli_unconditioned(const ammpl_prompt *p); /* 0 */
void ammpli_dual_cost(const ammpl_prompt *p, ammpl_cost *out); /* one image pass; the classes once per step where ctx is learned */
bool ammpli_yes(const ammpl_prompt *p);

#endif
