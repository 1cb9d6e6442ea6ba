/* stage.h - many encodes in bounded memory: text with learned context, images with masked patches.
 *
 * A stage keeps what backward needs of as many encodes as fit the budget.  The others run in chunks, and each of these again in
 * backward: in the same order, with the same bits.
 */
#ifndef AMMPLI_STAGE_H
#define AMMPLI_STAGE_H

#include "method/session.h"

/* stage.c: encodes 0..kept-1 of n go through the tower together, the others `chunk` at a time.  Both follow from `most`, which n cannot
 * exceed: fewer encodes take no more memory than were planned. */
typedef struct ammpli_chunks {
    int64_t n, kept, chunk; /* kept: 0 where no backward follows */
} ammpli_chunks;
ammpli_chunks ammpli_chunks_of(const ammpl_session *s, const ammpli_tower *tower, int64_t n, int64_t most, int64_t len, bool backward);
/* The chunk that begins with encode `from` ends in front of this one. */
int64_t ammpli_chunk_end(const ammpli_chunks *c, int64_t from);
/* How many of n fit the budget with what backward needs of them, at least 1. */
int64_t ammpli_encodes_that_fit(const ammpl_session *s, const ammpli_tower *tower, int64_t n, int64_t len);

/* ---- text_stage.c: sequence i is "SOT CONTEXT NAME. EOT" of class cls[i] ---- */
typedef struct ammpli_text_rows { /* one pass, index arrays in backend memory */
    int32_t *base;  /* [T] row of the plan's base */
    int64_t gaps;
    int32_t *gap;   /* [gaps] row that takes a context token */
    int32_t *ctx;   /* [gaps] row of the context */
    int32_t *shift; /* [gaps] row of the shift */
} ammpli_text_rows;

/* What sequences begin with alike (shortcut 2): found by comparing what they are assembled of. */
typedef struct ammpli_text_sharing {
    int64_t rows, count; /* leading rows, groups that have them in common; rows 0: nothing is shared */
    int32_t *group;      /* [n] host: of each sequence */
    int32_t *first;      /* [count] host: a sequence of each group */
} ammpli_text_sharing;

typedef struct ammpli_text_stage {
    const ammpl_prompt *prompt;
    int64_t n;
    const int32_t *cls;      /* [n] host; NULL: sequence i is class i */
    const float *ctx;        /* [M,l], or [C,M,l] with per_class; backend */
    bool per_class;
    const float *shift;      /* [shift_rows,l] added to every context token of sequence i, from row shift_of[i]; or NULL */
    const int32_t *shift_of; /* [n] host */
    int64_t shift_rows;      /* of which the sequences read */
    int64_t shifts;          /* so many different ones at most, whatever the pictures show */
    const float *const *deep; /* [layers] host: [M,l] in the context's place before block i (methods.md 5.7), or NULL */
    bool raw;                /* z are the features as they are */
    bool backward;           /* backward will follow */
    float *z, *norm;         /* [n,E] normalised features, [n] their lengths before */
    /* inside */
    ammpli_chunks chunks;
    ammpli_text_sharing sharing;
    ammpli_pass kept, first; /* of what is kept; of the shared rows alone, where there are several chunks */
    ammpli_text_rows kept_rows, first_rows;
} ammpli_text_stage;

/* Fills z and norm (taken from the arena). */
ammpl_status ammpli_text_stage_forward(ammpl_session *s, ammpli_text_stage *t);
/* Adds to dctx (like ctx), to dshift (like shift; NULL without one) and to ddeep (like deep; NULL without). */
ammpl_status ammpli_text_stage_backward(ammpl_session *s, const ammpli_text_stage *t, const float *dz /*[n,E]*/, float *dctx,
                                        float *dshift, float *const *ddeep);

/* ---- image_stage.c: encode i is image ii[i] under mask mi[i] with pad ki[i], or as it is, with what prompts add ---- */
typedef struct ammpli_image_stage {
    int64_t n, most;         /* encodes; at most so many, whatever the pictures show */
    const float *image;      /* [B,P,W] patch embeddings, backend; or with `pixels` [B,P,3qq] */
    const float *mask;       /* [.,P] backend; NULL: the plain image */
    const float *pad;        /* [K,W] patch embedding of each pad, or its pixels; NULL: zero */
    bool pixels;             /* tests only, without shortcut 7: every picture is made, then embedded */
    const int32_t *ii, *mi, *ki; /* [n] host */
    const float *added;      /* [P,W] embedding of a pixel prompt, added to every image's; NULL: none (no masks with it) */
    const ammpli_visual *visual; /* prompt tokens; NULL: none */
    bool backward;
    float blend;             /* of mask_mix_backward */
    float *x, *norm;         /* [n,E], [n] */
    /* inside */
    ammpli_chunks chunks;
    ammpli_image_run kept;
} ammpli_image_stage;

ammpl_status ammpli_image_stage_forward(ammpl_session *s, ammpli_image_stage *t);
/* Where the gradients of a stage's inputs are added; NULL: not wanted. */
typedef struct ammpli_image_gradient {
    const int32_t *pi; /* [n] host: row of dprob that encode i's mask was drawn from */
    float *prob;       /* [.,P]; wanted where there are masks */
    float *pad;        /* like pad */
    float *added;      /* [P,W] */
    float *const *visual; /* [layers] like visual->prompt */
} ammpli_image_gradient;
ammpl_status ammpli_image_stage_backward(ammpl_session *s, const ammpli_image_stage *t, const float *dx /*[n,E]*/,
                                         const ammpli_image_gradient *d);

/* Floats of a patch as a stage of masked images reads it: its embedding, or without shortcut 7 its pixels. */
static inline int64_t ammpli_patch_width(const ammpli_engine *e)
{
    return e->without & AMMPLI_WITHOUT_LINEAR ? 3 * e->model->patch * e->model->patch : e->model->image.width;
}

#endif
