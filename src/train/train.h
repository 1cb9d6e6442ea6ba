/* train.h - optimizer, schedule, trainer and evaluation. */
#ifndef AMMPLI_TRAIN_H
#define AMMPLI_TRAIN_H

#include "data/dataset.h"
#include "method/session.h"
#include "train/feature_cache.h"

/* optimizer.c */
struct ammpl_optimizer {
    ammpli_ref ref;
    ammpl_prompt *prompt; /* held */
    ammpl_config *config; /* what was in force at creation, the method's defaults included */
    bool adamw;
    int64_t step;         /* updates done */
    int32_t groups;
    double rate[AMMPLI_MAX_GROUPS]; /* of the next step */
    float **moment[2];    /* [tensors] backend memory; NULL where not trainable; second one for AdamW */
    void *flag;           /* of finite_check, backend memory */
    size_t tensors;
    uint64_t layout; /* the prompt's, when the moments were made */
};
/* Where in a run a step is: what schedules go by. */
typedef struct ammpli_moment {
    int64_t epoch, step, steps;
} ammpli_moment;
/* Options from ammpli_training_config. */
ammpl_status ammpli_optimizer_create(ammpl_prompt *p, const ammpl_config *training, ammpl_optimizer **out);
void ammpli_optimizer_release(ammpl_optimizer *o);
ammpl_status ammpli_optimizer_step(ammpl_optimizer *o);
void ammpli_optimizer_set_moment(ammpl_optimizer *o, const ammpli_moment *at);
/* schedule.c */
double ammpli_schedule_rate(const ammpl_config *cfg, double base, int64_t warmup_epochs, const ammpli_moment *at);
/* The options that a run of p trains under: the table's, the method's for cfg's protocol and so many images of a class, then
 * cfg's (may be NULL), with every group's own rate settled.  The caller destroys it. */
ammpl_status ammpli_training_config(const ammpl_prompt *p, const ammpl_config *cfg, int64_t shots, ammpl_config **out);

/* loader.c: pictures of `n` items (indices into ds) decoded and preprocessed in parallel, pixels [n,3,R,R].  augment: crops and
 * flips keyed by seed and step.  digest (may be NULL) receives each picture's.  With skip_bad, `bad[i]` is set for pictures that cannot be
 * read (their pixels are zero) and a warning is logged; without, the first bad one is the error. */
ammpl_status ammpli_load_batch(const ammpl_model *m, const ammpl_dataset *ds, const int32_t *item, int64_t n, bool augment,
                               uint64_t seed, uint32_t step, bool skip_bad, bool *bad, ammpli_digest *digest, float *pixels);
/* The same in batches of at most `most`, the next of which can be begun while something else is computed: in bounded memory, with
 * the same pixels, and what is wrong with a picture is told to whoever fetches it.  Model and data outlive the loader. */
typedef struct ammpli_loader ammpli_loader;
ammpl_status ammpli_loader_create(const ammpl_model *m, const ammpl_dataset *ds, bool augment, uint64_t seed, int64_t most,
                                  ammpli_loader **out);
void ammpli_loader_destroy(ammpli_loader *l);
void ammpli_loader_begin(ammpli_loader *l, const int32_t *item, int64_t n, uint32_t step);
ammpl_status ammpli_loader_fetch(ammpli_loader *l, const int32_t *item, int64_t n, uint32_t step, bool skip_bad, bool *bad,
                                 float *pixels);
void ammpli_loader_drop(ammpli_loader *l); /* what was begun is not wanted; NULL accepted */

/* Pictures of one optimizer step: `n` of them read well, packed together. */
typedef struct ammpli_step_data {
    float *input, *logits; /* input: pixels, or features from the cache */
    int32_t *label;
    uint32_t *id;
    bool *bad;
    int64_t n;
} ammpli_step_data;

/* trainer.c */
struct ammpl_trainer {
    ammpli_ref ref;
    ammpl_session *session; /* held, as are prompt and data */
    ammpl_prompt *prompt;
    ammpl_dataset *data;
    ammpl_config *config;
    ammpl_optimizer *optimizer;
    ammpli_feature_cache *cache; /* NULL where image features can change; then */
    ammpli_loader *loader;
    ammpli_step_data data_of_step; /* room for a whole step */
    int64_t count; /* images when the trainer was made: later ones do not take part */
    int64_t epochs, batch, accumulate;
    bool shuffle, drop_last, skip_bad, augment;
    bool going; /* this trainer has done a step */
    uint64_t seed;
    int64_t epoch, next; /* epoch at work; images of it already used */
    int64_t step, steps; /* optimizer steps done, and in all */
    int32_t *order, *next_order; /* [count] this epoch's order; room for the next one's */
    /* running figures of this epoch, and seconds of the whole run: part of the state */
    double epoch_loss, epoch_correct, seconds, epoch_seconds;
    int64_t epoch_images;
};
ammpl_status ammpli_trainer_create(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                                   ammpl_trainer **out);
void ammpli_trainer_release(ammpl_trainer *t);
ammpl_status ammpli_trainer_step(ammpl_trainer *t, ammpl_progress *progress);
ammpl_status ammpli_train(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                          ammpl_progress_fn fn, void *user);
/* Optimizer steps before image `next` of an epoch. */
int64_t ammpli_trainer_steps_before(const ammpl_trainer *t, int64_t epoch, int64_t next);
ammpl_status ammpli_trainer_open_input(ammpl_trainer *t); /* room for a step's images, as features or not; and what reads them */
void ammpli_trainer_order(ammpl_trainer *t); /* the order of the epoch at work */
/* state_file.c */
ammpl_status ammpli_trainer_save(const ammpl_trainer *t, const char *path);
ammpl_status ammpli_trainer_load(ammpl_trainer *t, const char *path);
/* evaluate.c */
double ammpli_seconds(void); /* of a clock that only goes forward */
/* AMMPL_E_ARGUMENT unless the data's class names are the prompt's, in its order. */
ammpl_status ammpli_check_classes(const ammpl_prompt *p, const ammpl_dataset *ds);
ammpl_status ammpli_session_evaluate(ammpl_session *s, const ammpl_prompt *p, const ammpl_dataset *ds,
                                     const ammpl_config *cfg, ammpl_progress_fn fn, void *user, int32_t *predicted,
                                     ammpl_metrics *out);
#endif
