/* method.h - prompts and the table of methods.
 *
 * A method says which tensors it learns and how images and classes become logits; everything it computes goes through
 * the towers and the ops table, so it runs on every backend.  To add one: a file in src/method, a line in table.c.
 */
#ifndef AMMPLI_METHOD_H
#define AMMPLI_METHOD_H

#include "clip/tower.h"
#include "core/config.h"
#include "io/safetensors.h"

typedef struct ammpli_tensor {
    char name[48];
    int32_t rank;
    int64_t shape[4], count;
    bool trainable;     /* the options give the loss a path to it */
    int32_t group;      /* of the optimizer */
    float *value, *grad; /* [shape], backend memory */
} ammpli_tensor;

/* What the text tower reads for each class: "CONTEXT NAME." cut at EOT, with M gaps where learned context goes. */
typedef struct ammpli_text_plan {
    int64_t n, T, max_len, M; /* classes, rows, longest, context tokens */
    int32_t *start;           /* [n+1] host */
    int32_t *read;            /* [n] EOT row within all rows, host */
    int32_t *gap;             /* [n*M] rows of the gaps, host */
    int32_t *id;              /* [T] token of every row, -1 in the gaps, host */
    float *base;              /* [T,l] backend: token + position, position alone in the gaps */
} ammpli_text_plan;

/* A parameter group of the optimizer: its rate is `factor` times the schedule's; or it follows its own options, unless the
 * rate for all groups is given and theirs is not. */
enum { AMMPLI_MAX_GROUPS = 4 };
typedef struct ammpli_group {
    double factor;
    ammpl_option lr, warmup_epochs; /* 0: none of its own */
} ammpli_group;

/* Defaults of a method where they differ from the option table's: the last one that fits holds. */
enum { AMMPLI_OWN = 1, AMMPLI_FEW_SHOT = 2, AMMPLI_BASE_TO_NOVEL = 4, AMMPLI_CROSS_DATASET = 8, AMMPLI_PUBLISHED = 14, AMMPLI_ANY_PROTOCOL = 15 };
typedef struct ammpli_default {
    int32_t protocols; /* for these; 0 ends the list */
    int64_t shots;     /* and from so many images of a class on */
    const char *name, *value;
} ammpli_default;

typedef struct ammpli_method ammpli_method;
struct ammpli_sides; /* dual.h */

struct ammpl_prompt {
    ammpli_ref ref;
    ammpl_context *ctx;
    ammpl_model *model; /* held */
    const ammpl_ops *ops;
    ammpl_stream *stream;
    const ammpli_method *method;
    ammpl_config *config; /* the options in force; every saved one is set */
    bool from_file;       /* not made, but read */
    uint64_t id;          /* unique in its context */
    uint64_t revision;    /* counts changes of values, classes and options: what caches are keyed by */
    uint64_t binding;     /* counts changes of classes */
    uint64_t layout;      /* counts changes of tensors' shapes: an optimizer made before does not fit any more */
    size_t classes;
    char **class_name;
    uint32_t *class_hash; /* [classes] ammpli_hash(class_name) */
    ammpli_tensor *tensor;
    size_t tensors, tensor_cap;
    int32_t groups;
    ammpli_group group[AMMPLI_MAX_GROUPS];
    ammpli_text_plan text;
};

struct ammpli_method {
    ammpl_method id;
    const char *name, *doc;
    const char *const *options; /* those that are part of its prompt files, ended by NULL */
    const ammpli_default *defaults;
    /* Adds the tensors (shapes, groups, trainable) that the options and the model call for. */
    ammpl_status (*define)(ammpl_prompt *p);
    /* Initial value of one tensor, host memory [count]. */
    ammpl_status (*initialise)(const ammpl_prompt *p, const ammpli_tensor *t, uint64_t seed, float *value);
    /* Fills p->text for p's classes (called at creation and when classes are re-bound). */
    ammpl_status (*bind)(ammpl_prompt *p);
    /* Sets the options that a file's metadata lack and its tensors' shapes tell (contract.md); AMMPL_E_SHAPE where one is given that
     * contradicts them.  Called for the file's options, then again with those given beside it. */
    ammpl_status (*infer)(ammpl_prompt *p, const ammpli_st *st);
    int32_t (*conditioning)(const ammpl_prompt *p);
    bool (*can_rebind)(const ammpl_prompt *p);
    /* Image and text passes (the parameters are counted elsewhere). */
    void (*cost)(const ammpl_prompt *p, ammpl_cost *out);
    /* Training reads images through the plain tower only, so that their features never change.  NULL: no. */
    bool (*plain_images)(const ammpl_prompt *p);
    /* What it puts into the towers, and what becomes of the gradients of that: methods of dual.h. */
    ammpl_status (*assemble)(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad,
                             struct ammpli_sides *out);
    ammpl_status (*scatter)(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, const struct ammpli_sides *sides,
                            float *const *grad);
    /* logits [n,C] (host) of pixels [n,3,R,R] (host). */
    ammpl_status (*predict)(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *logits);
    /* Forward and backward; adds to p's gradients. NULL: nothing to learn. */
    ammpl_status (*accumulate)(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits);
    /* Rows that the mean of an auxiliary loss goes over (dpt); NULL: no such loss. */
    ammpl_status (*aux_rows)(ammpl_session *s, const ammpl_prompt *p, const float *pixels, const int32_t *label, int64_t n,
                             int64_t *rows);
    ammpl_status (*encode_images)(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out);
    ammpl_status (*encode_classes)(ammpl_session *s, const ammpl_prompt *p, float *out);
};

/* table.c */
size_t ammpli_method_count(void);
const ammpli_method *ammpli_method_at(size_t i);
const ammpli_method *ammpli_method_by_id(ammpl_method id);        /* NULL when unknown */
ammpl_status ammpli_method_find(const char *name, const ammpli_method **out); /* AMMPL_E_OPTION names the nearest */
/* Sets in `to` the method's defaults under cfg's protocol (cfg may be NULL) and for so many images of a class: those that prompt
 * files save, or the others. */
ammpl_status ammpli_method_defaults(const ammpli_method *m, const ammpl_config *cfg, int64_t shots, bool saved, ammpl_config *to);

/* prompt.c */
ammpl_status ammpli_prompt_create(const ammpl_model *m, ammpl_method method, const char *const *names, size_t n,
                                  const ammpl_config *cfg, ammpl_prompt **out);
/* A prompt with names and the method's default options (under cfg's protocol), no tensors yet; and the initial value of its
 * tensor i. */
ammpl_status ammpli_prompt_new(const ammpl_model *m, const ammpli_method *method, const char *const *names, size_t n,
                               const ammpl_config *cfg, ammpl_prompt **out);
ammpl_status ammpli_prompt_initialise(ammpl_prompt *p, size_t i, uint64_t seed);
/* Logs which options set in cfg (NULL: none) belong to other methods. */
void ammpli_warn_of_options(const ammpl_prompt *p, const ammpl_config *cfg);
ammpl_prompt *ammpli_prompt_hold(ammpl_prompt *p);
void ammpli_prompt_release(ammpl_prompt *p);
ammpl_status ammpli_prompt_rebind(ammpl_prompt *p, const char *const *names, size_t n);
/* A tensor of the given name; shape has rank entries.  Values and gradients are zero. */
ammpl_status ammpli_prompt_add(ammpl_prompt *p, const char *name, int32_t rank, const int64_t *shape, bool trainable,
                               int32_t group);
/* A tensor like tensor i with another number of rows (first axis), at its initial values; and its exchange, which cannot fail, for
 * the i-th.  One that is not needed after all is given back by the second function. */
ammpl_status ammpli_prompt_make_like(const ammpl_prompt *p, size_t i, int64_t rows, ammpli_tensor *out);
void ammpli_tensor_free(const ammpl_prompt *p, ammpli_tensor *t);
void ammpli_prompt_exchange(ammpl_prompt *p, size_t i, const ammpli_tensor *t);
ammpli_tensor *ammpli_prompt_find(const ammpl_prompt *p, const char *name); /* NULL when absent */
ammpl_status ammpli_prompt_read(const ammpl_prompt *p, size_t i, float *dst);
ammpl_status ammpli_prompt_write(ammpl_prompt *p, size_t i, const float *src); /* AMMPL_E_NUMERIC for NaN */
ammpl_status ammpli_prompt_gradient_read(const ammpl_prompt *p, size_t i, float *dst);
ammpl_status ammpli_prompt_gradient_write(ammpl_prompt *p, size_t i, const float *src);
ammpl_status ammpli_prompt_zero_gradients(ammpl_prompt *p);

void ammpli_prompt_cost(const ammpl_prompt *p, ammpl_cost *out);

/* import.c */
ammpl_status ammpli_prompt_import_file(const ammpl_model *m, ammpl_method method, const char *const *names, size_t n,
                                       const char *path, const ammpl_config *cfg, ammpl_prompt **out);

/* prompt_file.c */
ammpl_status ammpli_prompt_load(const ammpl_model *m, const ammpli_st *st, const ammpl_config *cfg, ammpl_prompt **out);
ammpl_status ammpli_prompt_load_file(const ammpl_model *m, const char *path, const ammpl_config *cfg, ammpl_prompt **out);
ammpl_status ammpli_prompt_load_memory(const ammpl_model *m, const void *data, size_t size, const ammpl_config *cfg,
                                       ammpl_prompt **out);
ammpl_status ammpli_prompt_save_file(const ammpl_prompt *p, const char *path, bool overwrite);
ammpl_status ammpli_prompt_bytes(const ammpl_prompt *p, void **data, size_t *size);
/* The file comes from p's model (AMMPL_E_MODEL) and has p's classes in p's order (AMMPL_E_STATE): for state files. */
ammpl_status ammpli_prompt_check_origin(const ammpl_prompt *p, const ammpli_st *st);
/* An option's value as files have it: the templates are an array.  New string; NULL: out of memory. */
char *ammpli_prompt_option_text(const ammpl_prompt *p, const char *name);
/* Metadata and tensors of p into a writer, under a format name (state files hold a prompt and more).  `host` receives the
 * values' block, to be freed after the writer has saved, also on failure. */
ammpl_status ammpli_prompt_write_into(const ammpl_prompt *p, const char *format, ammpli_st_writer *w, float **host);

/* text_plan.c */
/* How learned tokens and fixed words stand around a class's name (methods.md 5.2, 5.7). */
enum { AMMPLI_POSITION_END, AMMPLI_POSITION_MIDDLE, AMMPLI_POSITION_FRONT };
typedef struct ammpli_context_form {
    int64_t M; /* learned tokens */
    int32_t position; /* of the learned tokens' block: end = before the name, front = behind it, middle = around it */
    const int32_t *fixed; /* words of the context that are not learned: between learned tokens and name */
    int64_t fixed_count;
} ammpli_context_form;
/* "CONTEXT NAME." for every class with learned tokens in the context's place (contract.md, methods.md 4.1). */
ammpl_status ammpli_text_plan_context(ammpl_prompt *p, const ammpli_context_form *form);
void ammpli_text_plan_free(ammpl_prompt *p);
ammpl_status ammpli_longest_name(const ammpl_prompt *p, int64_t *tokens); /* of "NAME." */
/* A class name, or the context's words, as the text tower reads them: `_` becomes a space. New string. */
char *ammpli_spoken_name(ammpl_context *ctx, const char *name);
/* The first M token embeddings of `words` [M,l] into host memory. */
ammpl_status ammpli_context_words(const ammpl_prompt *p, const char *words, int64_t M, float *value);

#endif
