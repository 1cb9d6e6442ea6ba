/* tower.h - the frozen towers as differentiable functions: rows in, features out, gradients of the rows back.
 *
 * A pass is one run of sequences through a range of blocks.  Prompt tokens sit in slots: rows that are overwritten before
 * a block.  With keep, what backward needs stays in the arena: per block and row its input, QKV, the attention's output, what the
 * MLP's half adds to, and the MLP's pre-activation (10 D floats for a hidden width of 4 D); LayerNorms and activations are recomputed.
 */
#ifndef AMMPLI_TOWER_H
#define AMMPLI_TOWER_H

#include "clip/engine.h"

/* Rows that prompt tokens take (methods.md 5.5, 5.7, 5.10).  All arrays of int32 are backend memory. */
typedef struct ammpli_slots {
    int64_t n;            /* slots of all sequences; 0: none */
    const int32_t *row;   /* [n] the rows */
    const int32_t *token; /* [n] which prompt token goes there */
    const int32_t *other; /* [T-n] all other rows, ascending */
    const float *const *prompt; /* [layers] host: tokens [.,D] that overwrite the slots before block i; NULL: what stands there
                                 * carries on */
    int64_t first;        /* blocks before this one take no prompt */
    bool drop;            /* nobody reads the slots behind the last block of the pass */
    const int32_t *front; /* NULL, or the slots stand before all sequences, as rows 0..n-1, n / B for each.  Each block of the pass, not the
                           * tower's last among them, overwrites or drops what became of them in the one before: nobody reads it.  start
                           * then counts from row n on.  [B]: 0..B-1, whose slots a sequence sees */
} ammpli_slots;

/* Rows that several sequences begin with, encoded once (shortcut 2): they are sequences of their own, of which only keys and
 * values are read. */
typedef struct ammpli_prefix {
    int64_t rows, count;          /* rows of each, how many; rows 0: none */
    const int32_t *group;         /* [B] backend memory: which one stands before each sequence; -1: none */
    const struct ammpli_pass *of; /* the pass that encoded them, with keep; NULL: they are sequences 0..count-1 of this one */
    float *gradient;              /* [blocks][count*rows,3D]: with `of`, where backward adds what belongs to them; without, what
                                   * other passes have added there, or NULL */
} ammpli_prefix;

typedef struct ammpli_pass {
    const ammpli_tower *tower;
    int64_t from, to; /* blocks from..to-1 */
    int64_t B, T, max_len;
    const int32_t *start; /* [B+1] backend memory */
    const int32_t *read;  /* [reads] the row that becomes a sequence's feature, backend memory */
    ammpli_slots slots;
    ammpli_prefix prefix; /* all zero: none */
    int64_t wanted;            /* input rows whose gradient somebody reads, where that is not all of them (shortcut 4) */
    const int32_t *wanted_row; /* [wanted] backend memory; NULL: all */
    bool keep;
    bool every_row; /* tests only: without shortcut 3 */
    bool one_query; /* the tower's last block attends as one_query.c does, by these rows of QKV's heads */
    const int32_t *head_query, *head_key, *head_value; /* [B*H] backend memory */
    float *saved; /* what the blocks keep (blocks.c: saved_block); only with keep */
    float *last;  /* [reads,D] the read rows after the last block; only where that belongs to the pass */
    /* images only */
    const int32_t *patch_row, *position; /* [n*P] rows of the patches, their places */
    float *embedded;                     /* [T,D] before ln_pre */
} ammpli_pass;

/* Bytes of backend memory that one sequence of `len` rows takes with keep, and without. */
size_t ammpli_pass_bytes(const ammpli_tower *tower, int64_t len, bool keep);
/* Sequences that become features: all but the pass's own prefixes. */
static inline int64_t ammpli_pass_reads(const ammpli_pass *pass)
{
    return pass->prefix.rows > 0 && !pass->prefix.of ? pass->B - pass->prefix.count : pass->B;
}

/* ---- blocks.c ---- */

/* Takes pass->saved and last, once everything else of the pass is set: what outlives ammpli_blocks_forward. */
ammpl_status ammpli_pass_take(ammpli_engine *e, ammpli_pass *pass);
/* Blocks from..to-1 on x [T,D], in place.  Where the last block is the tower's, only pass->last is computed and x is
 * undefined (shortcut 3). */
ammpl_status ammpli_blocks_forward(ammpli_engine *e, const ammpli_pass *pass, float *x);
/* dx [T,D]: the gradient behind the pass (ignored where the pass ends in dlast [reads,D], the gradient of pass->last, which is
 * overwritten) becomes that of the first block's input, in the rows that are wanted.  Adds to dprompt[i] [.,D], like
 * slots.prompt (NULL, or an entry NULL: not wanted).  Rows of dx that a prompt overwrote before the first block are
 * undefined. */
ammpl_status ammpli_blocks_backward(ammpli_engine *e, const ammpli_pass *pass, float *dlast, float *dx, float *const *dprompt);
/* feature [reads,E] = ln_post(last) projection^T, not normalised; dfeature [reads,E] to dlast [reads,D]. */
ammpl_status ammpli_feature_forward(ammpli_engine *e, const ammpli_pass *pass, float *feature);
ammpl_status ammpli_feature_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dlast);

/* ---- tower.c ---- */

/* Text: B, T, max_len, start, read, keep, slots and prefix (all zero: none) are set; x [T,l] are the input rows, positions
 * added; overwritten.  feature [reads,E].  What the pass keeps is taken from the arena. */
ammpl_status ammpli_text_forward(ammpli_engine *e, ammpli_pass *pass, float *x, float *feature);
ammpl_status ammpli_text_backward(ammpli_engine *e, const ammpli_pass *pass, const float *dfeature, float *dx,
                                  float *const *dprompt);

/* Visual prompts: V tokens beside every image's own. */
typedef struct ammpli_visual {
    int64_t V;
    const float *const *prompt; /* [layers] host: [V,W] before block i; NULL: those that stand there carry on */
    bool raw;                   /* as in DPT's repository: prompt[0] enters behind ln_pre, and behind the last prompted block the
                                 * tokens are dropped; else before it, and they carry on (VPT, IVLP, MaPLe) */
} ammpli_visual;
/* The blocks in up to three passes: those of which nobody reads the prompts' outputs, those that carry prompts on, those behind
 * dropped tokens. */
typedef struct ammpli_image_run {
    ammpli_pass pass[3];
    int count;
} ammpli_image_run;
/* Image: token [n,P,W] are the patches' embeddings, without positions; visual may be NULL.  feature [n,E].  What the run keeps
 * is taken from the arena. */
ammpl_status ammpli_image_forward(ammpli_engine *e, ammpli_image_run *run, const float *token, int64_t n, const ammpli_visual *visual,
                                  bool keep, float *feature);
/* dtoken [n,P,W] is overwritten (NULL: not wanted); adds to dprompt, [layers] like visual->prompt. */
ammpl_status ammpli_image_backward(ammpli_engine *e, const ammpli_image_run *run, const float *dfeature, float *dtoken,
                                   const ammpli_visual *visual, float *const *dprompt);

/* The parts of it, for methods that stop between blocks.  A pass over n images of N = P + 1 rows (CLS first) and V slots;
 * `own`: the slots of image i read tokens i*V.. of the prompts, else all images the same V.  They stand at the image's end, or, where the
 * pass is as ammpli_slots wants it for that, with `front` before all images. */
ammpl_status ammpli_image_layout(ammpli_engine *e, ammpli_pass *pass, int64_t n, int64_t V, bool own, bool front);
/* pass->embedded [T,W] (the caller's) = [CLS | patches] + positions and first_prompt in the slots (NULL: zeros); x [T,W] =
 * ln_pre of it. */
ammpl_status ammpli_image_embed(ammpli_engine *e, ammpli_pass *pass, const float *token, const float *first_prompt, float *x);

/* pixels [n,3,R,R] to patch embeddings [n,P,W]. */
ammpl_status ammpli_patch_embed(ammpli_engine *e, const float *pixels, int64_t n, float *token);

/* Sequences of token ids (SOT ... EOT, read at EOT) to plain, unnormalised text features: the hand-written prompts. */
ammpl_status ammpli_text_features(ammpli_engine *e, int32_t *const *ids, const size_t *len, int64_t n, float *feature);

#endif
