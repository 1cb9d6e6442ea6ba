/* tower.h - the frozen towers as differentiable functions: rows in, features out, gradients of the rows back.
 *
 * A pass is one run of sequences.  With keep, what backward needs stays in the arena: per block and row its input, QKV, the
 * attention's output and the MLP's pre-activation (9 D floats for a hidden width of 4 D); the rest is recomputed.
 */
#ifndef AMMPLI_TOWER_H
#define AMMPLI_TOWER_H

#include "clip/engine.h"

typedef struct ammpli_pass {
    const ammpli_tower *tower;
    int64_t B, T, max_len;
    const int32_t *start; /* [B+1] backend memory */
    const int32_t *read;  /* [B] the row that becomes the feature, backend memory */
    bool keep;
    float *saved;    /* per block x [T,D], qkv [T,3D], attention [T,D], MLP pre-activation [T,F]; only with keep */
    float *embedded; /* [T,D] image only: before ln_pre */
    float *last;     /* [B,D] the read rows after the last block */
} ammpli_pass;

/* Bytes of backend memory that one sequence of `len` rows takes with keep, and without. */
size_t ammpli_pass_bytes(const ammpli_tower *tower, int64_t len, bool keep);

/* Text: B, T, max_len, start, read and keep are set; x [T,l] are the input rows, positions added; overwritten.
 * feature [B,E], not normalised.  What the pass keeps is taken from the arena. */
ammpl_status ammpli_text_forward(ammpli_engine *e, ammpli_pass *pass, float *x, float *feature);
ammpl_status ammpli_text_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dx);

/* Image: token [n,P,W] are the patches' embeddings, without positions.  feature [n,E], not normalised. */
ammpl_status ammpli_image_forward(ammpli_engine *e, ammpli_pass *pass, const float *token, int64_t n, bool keep,
                                  float *feature);
ammpl_status ammpli_image_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dtoken);

/* pixels [n,3,R,R] to patch embeddings [n,P,W]. */
ammpl_status ammpli_patch_embed(ammpli_engine *e, const float *pixels, int64_t n, float *token);

/* Sequences of token ids (SOT ... EOT, read at EOT) to plain, unnormalised text features: the hand-written prompts. */
ammpl_status ammpli_text_features(ammpli_engine *e, int32_t *const *ids, const size_t *len, int64_t n, float *feature);

#endif
