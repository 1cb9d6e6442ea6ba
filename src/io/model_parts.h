/* model_parts.h - what the files that read a model share: where tensors are, what they mean, what the config says. */
#ifndef AMMPLI_MODEL_PARTS_H
#define AMMPLI_MODEL_PARTS_H

#include <jansson.h>

#include "clip/clip.h"
#include "core/config.h"
#include "io/safetensors.h"

enum { AMMPLI_TEXT = 0, AMMPLI_IMAGE = 1, AMMPLI_TOWERS = 2 };
enum { AMMPLI_NAMES_OPENAI = 0, AMMPLI_NAMES_HF = 1 };

/* ---- model_source.c: the open files ---- */

typedef struct ammpli_model_source {
    ammpl_context *ctx;
    size_t n;
    ammpli_st **st;    /* one, or all shards */
    char *folder;      /* where config and vocabulary are looked for, "" or with its slash; NULL: memory */
    const char *name;  /* for sentences: the path as given, or "memory"; borrowed */
} ammpli_model_source;

ammpl_status ammpli_model_source_open(ammpl_context *ctx, const char *path, ammpli_model_source *src);
void ammpli_model_source_close(ammpli_model_source *src);
/* The bytes of a file in the folder, NUL-terminated; *data NULL when there is none. */
ammpl_status ammpli_model_source_read(const ammpli_model_source *src, const char *file, void **data, size_t *size);

/* ---- model_names.c: tensors by what they are ---- */

/* Parts of a block, in its order; q, k, v apart only under HF names. */
enum {
    AMMPLI_LN1_W, AMMPLI_LN1_B, AMMPLI_QKV_W, AMMPLI_QKV_B, AMMPLI_Q_W, AMMPLI_Q_B, AMMPLI_K_W, AMMPLI_K_B, AMMPLI_V_W,
    AMMPLI_V_B, AMMPLI_OUT_W, AMMPLI_OUT_B, AMMPLI_LN2_W, AMMPLI_LN2_B, AMMPLI_FC_W, AMMPLI_FC_B, AMMPLI_PROJ_W,
    AMMPLI_PROJ_B, AMMPLI_BLOCK_PARTS
};
/* Parts of a tower outside its blocks.  Text alone has tokens; image alone has the class, patch and pre parts. */
enum {
    AMMPLI_TOKENS, AMMPLI_POSITION, AMMPLI_CLASS, AMMPLI_PATCH, AMMPLI_PRE_W, AMMPLI_PRE_B, AMMPLI_POST_W, AMMPLI_POST_B,
    AMMPLI_PROJECTION,        /* [D, E], x . projection */
    AMMPLI_PROJECTION_LINEAR, /* [E, D] */
    AMMPLI_TOWER_PARTS
};

typedef struct ammpli_part {
    const ammpli_st *st;
    const ammpli_st_tensor *t; /* NULL: the file has none */
} ammpli_part;

typedef struct ammpli_tower_parts {
    ammpli_part part[AMMPLI_TOWER_PARTS];
    size_t layers, cap;
    ammpli_part (*block)[AMMPLI_BLOCK_PARTS]; /* [layers] */
} ammpli_tower_parts;

typedef struct ammpli_parts {
    int32_t names; /* AMMPLI_NAMES_*, for what is missing */
    ammpli_tower_parts tower[AMMPLI_TOWERS];
    ammpli_part logit_scale;
} ammpli_parts;

/* Sorts all tensors of the source into parts.  A tensor that no CLIP has is AMMPL_E_UNSUPPORTED by name, except below a
 * tower that is not wanted. */
ammpl_status ammpli_parts_find(const ammpli_model_source *src, const bool wanted[AMMPLI_TOWERS], ammpli_parts *parts);
void ammpli_parts_free(ammpl_context *ctx, ammpli_parts *parts);
/* Name of a part as this file would call it; layer -1: a tower's part. */
void ammpli_part_name(const ammpli_parts *parts, int tower, int64_t layer, int part, char *name, size_t cap);

/* ---- model_config.c, model_preprocess.c: what stands beside the tensors ---- */

typedef struct ammpli_tower_config {
    int64_t width, layers, heads; /* 0: not said */
    int64_t head_width;           /* 0: not said */
    double eps;
    int32_t act; /* AMMPL_ACT_*; AMMPL_ACT_NONE: not said */
} ammpli_tower_config;

typedef struct ammpli_model_config {
    char name[256]; /* for sentences; "" when there is no config */
    ammpli_tower_config tower[AMMPLI_TOWERS];
    int64_t embed, context, vocab, image_size, patch; /* 0: not said */
    int64_t eot;                                      /* -1: the greatest id, or not said */
    bool has_preprocess;
    int64_t size; /* that pictures are brought to; 0: not said */
    float mean[3], std[3];
} ammpli_model_config;

/* CLIP's own values. */
void ammpli_model_config_default(ammpli_model_config *c);
/* config.json or open_clip_config.json, told by content. */
ammpl_status ammpli_model_config_parse(const char *text, size_t n, const char *name, const bool wanted[AMMPLI_TOWERS],
                                       ammpli_model_config *c);
/* open_clip's preprocess_cfg / preprocessor_config.json. */
ammpl_status ammpli_preprocess_open_clip(const json_t *cfg, const char *name, ammpli_model_config *c);
ammpl_status ammpli_preprocess_hf(const char *text, size_t n, const char *name, ammpli_model_config *c);

/* ---- model_shapes.c: sizes from shapes ---- */

/* Fills the model's sizes and checks every tensor that is wanted: there, of a dtype that is read, of a shape that fits. */
ammpl_status ammpli_model_measure(const ammpli_parts *parts, const ammpli_model_config *c, const char *source, ammpl_model *m);

/* ---- model_vocab.c ---- */

/* From the given bytes, else the vocab option (a file or folder), else beside the model. */
ammpl_status ammpli_model_vocabulary(const ammpli_model_source *src, const ammpl_config *cfg, const void *merges,
                                     size_t merges_size, const char *vocab_json, ammpl_model *m);

/* ---- model_load.c ---- */

/* Packs the wanted tensors one by one into the device's form; the model is measured. */
ammpl_status ammpli_model_pack(const ammpli_parts *parts, ammpl_model *m);

#endif
