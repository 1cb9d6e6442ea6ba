/* ammpl_run.h - the parts of AMMPL (ammpl.md): options, which images must be encoded, one forward and backward run. */
#ifndef AMMPLI_AMMPL_RUN_H
#define AMMPLI_AMMPL_RUN_H

#include "method/learn.h"
#include "method/mlp.h"
#include "method/stage.h"

typedef struct ammpli_ammpl_options {
    bool per_class;       /* scope = class */
    bool simultaneous;    /* order */
    bool scalar;          /* shift */
    bool blend;           /* mask_gradient */
    bool mask, padding, interaction;
    bool draws_image;     /* one mask per image for all classes */
    int64_t candidates;   /* 0: all classes */
    int32_t mode;         /* evaluation: AMMPL_MASK_* */
    int64_t samples;      /* S of mean:S; 0 otherwise */
    uint64_t eval_seed;
} ammpli_ammpl_options;

/* Reads them from the prompt's config; AMMPL_E_OPTION where two contradict each other. */
ammpl_status ammpli_ammpl_options_of(const ammpl_prompt *p, ammpli_ammpl_options *o);
/* f_T takes part: it writes into the padding, so there must be masks, and interaction. */
static inline bool ammpli_text_informs_image(const ammpli_ammpl_options *o)
{
    return o->mask && o->interaction;
}
static inline bool ammpli_has_pads(const ammpli_ammpl_options *o)
{
    return o->mask && (o->padding || o->interaction);
}

/* ---- ammpl_classes.c: z0 and pads, which depend on the prompt alone ---- */
typedef struct ammpli_class_side {
    ammpli_text_stage text; /* z0 in text.z */
    const float *z0;        /* [C,E] normalised */
    float *hidden;          /* [C,r] of f_T */
    float *pad;             /* [K,3qq] N + f_T(z0); NULL where nothing is padded */
    float *pad_row;         /* [K,W] its patch embedding */
    int64_t pads;           /* K: C, or 1 when all classes share N */
} ammpli_class_side;
/* with_z0: somebody reads z0. */
ammpl_status ammpli_class_side_forward(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o, bool with_z0,
                                       bool backward, ammpli_class_side *c);
/* Gradients of pads' patch embeddings and of z0 (either may be NULL) to the prompt's tensors; `grad` runs parallel to
 * p->tensor, NULL where a tensor does not learn. */
ammpl_status ammpli_class_side_backward(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o,
                                        ammpli_class_side *c, const float *dpad_row, float *dz0, float *const *grad);
/* The learned tiles alone, N [K,3qq], as patch embeddings [K,W]: what order = simultaneous pads with at first. */
ammpl_status ammpli_plain_pads(ammpl_session *s, const ammpl_prompt *p, float **pad_row, int64_t *pads);
/* dN += W^T dpad_row. */
ammpl_status ammpli_plain_pads_backward(ammpl_session *s, const ammpl_prompt *p, const float *dpad_row, int64_t pads,
                                        float *const *grad);
/* The same for inference, from the session's cache. */
ammpl_status ammpli_class_cache_fill(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o);

/* ---- ammpl_encodes.c: which images must be encoded ---- */
/* Pair (b, i) reads encode of[b*C + i]: a masked one below n, or n + b, the plain image b. */
typedef struct ammpli_encodes {
    int64_t n;               /* masked encodes, every two of them different */
    bool plain;              /* somebody reads a plain image: B more encodes follow */
    int32_t *ii, *mi, *ki, *pi; /* [n] image, mask row, pad, row of mask_prob */
    int32_t *of;             /* [B*C] */
} ammpli_encodes;
typedef struct ammpli_encode_question {
    int64_t B, C, P, pads;
    const float *mask;       /* [.,P] host; row of pair (b,i): b*row_image + i*row_class */
    int64_t row_image, row_class;
    bool prob_per_class;
    bool has_pads;
    bool merge;              /* equal pictures are encoded once */
    bool by_row;             /* masks of two rows count as different: what a plan has to do with */
    bool whole_is_plain;     /* a mask that keeps everything leaves the plain image; in training it has a gradient of its own */
    const bool *own;         /* [B*C] gets an encode of its own (candidates), or NULL: all */
} ammpli_encode_question;
ammpl_status ammpli_encodes_plan(ammpli_engine *e, const ammpli_encode_question *q, ammpli_encodes *out);

/* ---- ammpl_run.c ---- */
/* logits [n,C] host; draw: number of the evaluation draw. */
ammpl_status ammpli_ammpl_infer(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o, const float *pixels,
                                int64_t n, uint32_t draw, float *logits);
/* Normalised image features [n,E], for prompts whose pictures do not depend on the class. */
ammpl_status ammpli_ammpl_features(ammpl_session *s, const ammpl_prompt *p, const ammpli_ammpl_options *o, const float *pixels,
                                   int64_t n, float *out);
ammpl_status ammpli_ammpl_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits);

#endif
