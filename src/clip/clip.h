/* clip.h - the frozen CLIP: weights, and its two towers as differentiable functions (methods.md 1).
 *
 * Towers run on rows: all tokens of all sequences of a pass in one [T, D] array, sequence b owning rows
 * start[b]..start[b+1]-1.  So text sequences of unequal length cost nothing extra, and causal text is cut at the row that
 * is read (shortcut 1).  Weights are frozen: backward gives gradients of the input rows only.
 */
#ifndef AMMPLI_CLIP_H
#define AMMPLI_CLIP_H

#include "core/core.h"
#include "data/image.h"
#include "data/tokenizer.h"

typedef struct ammpli_block {
    float *ln1_gamma, *ln1_beta, *ln2_gamma, *ln2_beta; /* [D] */
    ammpl_weight *qkv;   /* [3D, D] rows Q, K, V */
    ammpl_weight *out;   /* [D, D] */
    ammpl_weight *fc;    /* [F, D] */
    ammpl_weight *proj;  /* [D, F] */
    float *qkv_bias, *out_bias, *fc_bias, *proj_bias;
} ammpli_block;

typedef struct ammpli_tower {
    int64_t width, layers, heads, hidden; /* D, blocks, H, F */
    int32_t act;                          /* AMMPL_ACT_QUICK_GELU or AMMPL_ACT_GELU */
    int32_t causal;
    float eps;
    ammpli_block *block; /* [layers] */
    float *ln_post_gamma, *ln_post_beta; /* text: ln_final; image: ln_post */
    ammpl_weight *projection;            /* [E, D]: feature = ln_post(row) projection^T */
} ammpli_tower;

struct ammpl_model {
    ammpli_ref ref;
    ammpl_context *ctx; /* held */
    const ammpl_device *device;
    const ammpl_ops *ops;
    ammpl_stream *stream; /* for loading and destroying only; sessions have their own */
    bool keep_f16, reduced_jpegs; /* weights = f16, jpeg = reduced */
    int32_t precision; /* AMMPL_PRECISION_*, of all its streams */
    bool has_text, has_image; /* towers = text / image leaves the other unpacked */
    int64_t embed; /* E */
    ammpli_tower text, image;
    /* text side */
    int64_t vocab, context;
    void *token_table; /* [vocab, l] in the file's dtype, backend memory */
    int32_t token_dtype;
    float *text_position; /* [context, l] */
    ammpli_tokenizer *tokenizer;
    /* image side */
    int64_t grid, patch;        /* g, q */
    ammpl_weight *patch_weight; /* [W, 3qq] */
    float *class_embedding;     /* [1, W] (for the probe) */
    float *class_row;           /* [1, W] class embedding + position 0 */
    float *patch_position;      /* [P, W] positions 1..P */
    float *ln_pre_gamma, *ln_pre_beta;
    ammpli_preprocess preprocess;
    double logit_scale; /* the stored value; s = exp(logit_scale) */
    float probe[16];
    char *source;
    const char *activation; /* "quick_gelu" or "gelu" */
};

/* model_file.c (src/io): everything above from a file, folder or memory. */
ammpl_status ammpli_model_load_file(ammpl_context *ctx, const ammpl_device *dev, const char *path, const ammpl_config *cfg,
                                    ammpl_model **out);
ammpl_status ammpli_model_load_memory(ammpl_context *ctx, const ammpl_device *dev, const void *weights, size_t weights_size,
                                      const void *merges, size_t merges_size, const char *vocab_json,
                                      const char *config_json, const ammpl_config *cfg, ammpl_model **out);
/* model.c (src/clip) */
ammpl_model *ammpli_model_hold(const ammpl_model *m);
void ammpli_model_release(ammpl_model *m);
/* AMMPL_E_STATE where the image tower was left out. */
ammpl_status ammpli_model_check_image(const ammpl_model *m);
/* Fills m->probe (contract.md, "Prompt files") when both towers are there; the loader's last step. */
ammpl_status ammpli_model_compute_probe(ammpl_model *m);
/* Ids of "text" with SOT and EOT in a new array; AMMPL_E_RANGE (naming the text) when longer than the context. */
ammpl_status ammpli_model_tokens(const ammpl_model *m, const char *text, int32_t **ids, size_t *n);

/* nearest_tokens.c: the k tokens, 1 <= k <= vocab, whose embeddings are nearest to vector [l]: ids and Euclidean distances [k]. */
ammpl_status ammpli_model_nearest_tokens(const ammpl_model *m, const float *vector, size_t k, int32_t *ids, float *distances);

#endif
