/* session.h - scratch memory for one thread, and what it remembers of the last prompt. */
#ifndef AMMPLI_SESSION_H
#define AMMPLI_SESSION_H

#include "method/method.h"

/* Class features and pads of one prompt in one state, so that inference computes them once. */
typedef struct ammpli_class_cache {
    uint64_t prompt_id, revision; /* 0: empty */
    float *z0;       /* [C,E] normalised, backend memory */
    float *raw;      /* [C,E] not normalised; NULL where nobody reads them */
    float *pad;      /* [K,3qq] pixels; K = C or 1; NULL where nothing is padded */
    float *pad_row;  /* [K,W] their patch embedding */
    int64_t pads;    /* K */
    size_t bytes;    /* of all of this */
} ammpli_class_cache;

/* Features of hand-written descriptions: they change with the classes alone. */
typedef struct ammpli_text_cache {
    uint64_t prompt_id, binding; /* 0: empty */
    float *z;                    /* [C,E] normalised, backend memory */
    size_t bytes;
} ammpli_text_cache;

/* Bytes that a session holds beside what every session has, or that a call needs. */
typedef struct ammpli_holding {
    size_t arena, host;  /* blocks of both arenas */
    size_t cache, texts; /* what is remembered of a prompt */
    size_t own;          /* the stream's */
} ammpli_holding;

/* What a call takes under a prompt: plan.c. */
typedef struct ammpli_session_plan {
    uint64_t prompt_id, binding; /* 0: no prompt */
    int32_t call;                /* AMMPL_PLAN_*, AMMPLI_PLAN_* */
    int64_t n;                   /* images, or texts; 0: empty */
    int64_t budget;              /* of a stage */
    size_t arena, host;          /* bytes of both arenas */
    ammpli_holding needs;
    size_t spare;                /* of the stream's, what only saves time */
    int64_t total;               /* bytes, with the session's own */
} ammpli_session_plan;
/* Calls of which ammpl_session_plan does not tell: they have a plan where there is a limit. */
enum { AMMPLI_PLAN_IMAGES = AMMPL_PLAN_ACCUMULATE_FEATURES + 1, AMMPLI_PLAN_TEXTS, AMMPLI_PLAN_CLASSES, AMMPLI_PLAN_AUX_ROWS };
enum { AMMPLI_PLANS = 16 /* remembered: a run has whole batches, a last one, and predictions between them */ };
enum { AMMPLI_LEAST_ROWS = 64 /* products of fewer rows use the weights badly */ };
/* Bound what inference holds, AMMPLI_PAIRS_AT_ONCE where an image has texts or pictures of its own; results do not depend on it. */
enum { AMMPLI_IMAGES_AT_ONCE = 32, AMMPLI_PAIRS_AT_ONCE = 8, AMMPLI_TEXTS_AT_ONCE = 64 };

struct ammpl_session {
    ammpli_ref ref;
    ammpl_model *model; /* held */
    ammpli_engine engine;
    ammpli_class_cache cache;
    ammpli_text_cache texts;
    int64_t memory_limit; /* bytes of all that a call takes; 0: none */
    int64_t most;         /* bytes that one stage may keep for backward, without a limit */
    int64_t budget;       /* the same in the call at work */
    int64_t least_rows;   /* of what a stage goes through again, beside what it keeps, so many rows go at once at least */
    ammpli_session_plan plan[AMMPLI_PLANS];
    int next_plan;
    /* under a limit: */
    size_t spare, most_spare; /* bytes of the stream's for what only saves time: now, and where there is room */
    bool after_plan;          /* what a planned call left is there */
    atomic_int cancel;
};

ammpl_status ammpli_session_create(const ammpl_model *m, const ammpl_config *cfg, ammpl_session **out);
ammpl_session *ammpli_session_hold(ammpl_session *s);
void ammpli_session_release(ammpl_session *s);
void ammpli_session_clear_cache(ammpl_session *s);
void ammpli_session_clear_texts(ammpl_session *s);
/* The status of a call, when what it had queued is done (clip/engine.h).  What a failed one has put into a cache may never have come to be
 * there: it is forgotten. */
ammpl_status ammpli_session_settle(ammpl_session *s, ammpl_status status);
/* Backend memory for a cache, counted in its bytes. */
ammpl_status ammpli_session_keep(ammpl_session *s, size_t *held, size_t bytes, float **out);

/* Whether p learns, from features instead of pixels: else AMMPL_E_STATE. */
ammpl_status ammpli_session_check_step(const ammpl_prompt *p, bool features);
/* plan.c: the plan of a call, remembered (AMMPL_E_MEMORY: beyond the limit); the same with a budget of the caller's choice, which
 * nobody remembers; and memory for such a call, before it. */
ammpl_status ammpli_session_plan_of(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, ammpli_session_plan *out);
ammpl_status ammpli_session_footprint(const ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n, int64_t budget,
                                      ammpli_session_plan *out);
ammpl_status ammpli_session_prepare(ammpl_session *s, const ammpl_prompt *p, int32_t call, int64_t n);
/* A call begins that has no plan and no op with scratch, and takes about so many floats: it is compared with the limit as it comes.  What
 * planned calls left stays where there is room. */
ammpl_status ammpli_session_unplanned(ammpl_session *s, double floats);
ammpl_status ammpli_session_budget(ammpl_session *s); /* of the device, and what the stream could do without */
/* How many images, or texts, go through the tower at once in inference: 1..most, as the budget allows. */
int64_t ammpli_images_at_once(const ammpl_session *s, int64_t most);
int64_t ammpli_texts_at_once(const ammpl_session *s, int64_t most);

/* Plain image features [n,E], normalised, in backend memory of the step. */
ammpl_status ammpli_plain_features(ammpl_session *s, const float *pixels, int64_t n, float **x);

/* Arguments are checked by the caller (lib/): sizes, NULL, the prompt's model being the session's. Host memory. */
/* Within a call; texts NULL: those of a plan, as long as the model reads them; p NULL: plain CLIP features. */
ammpl_status ammpli_encode_texts(ammpl_session *s, const char *const *texts, size_t n, float *out /*[n,E]*/);
ammpl_status ammpli_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, int64_t n, float *out /*[n,E]*/);
ammpl_status ammpli_session_encode_texts(ammpl_session *s, const char *const *texts, size_t n, float *out /*[n,E]*/);
ammpl_status ammpli_session_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n,
                                          float *out /*[n,E]*/);
ammpl_status ammpli_session_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out /*[C,E]*/);
ammpl_status ammpli_session_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n,
                                    float *logits /*[n,C]*/);
ammpl_status ammpli_session_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss,
                                       float *logits /*[n,C] or NULL*/);
ammpl_status ammpli_session_aux_rows(ammpl_session *s, const ammpl_prompt *p, const float *pixels, const int32_t *label, size_t n,
                                     int64_t *rows);
/* similarity.c: everything in host memory. */
ammpl_status ammpli_session_embed_tokens(ammpl_session *s, const int32_t *id, int64_t n, float *out /*[n,l]*/);
ammpl_status ammpli_session_similarity(ammpl_session *s, const float *x /*[n,E]*/, int64_t n, const float *z /*[C,E]*/, int64_t C,
                                       float *logits /*[n,C]*/);
/* dx, dz: like x, z; either may be NULL. */
ammpl_status ammpli_session_similarity_backward(ammpl_session *s, const float *x, int64_t n, const float *z, int64_t C,
                                                const float *dlogits, float *dx, float *dz);
/* Adds to *loss; weight 0: 1/n; dlogits may be NULL. */
ammpl_status ammpli_session_cross_entropy(ammpl_session *s, const float *logits, const int32_t *label, int64_t n, int64_t C,
                                          double weight, double *loss, float *dlogits);
/* ammpl_view.c: AMMPL prompts only. */
ammpl_status ammpli_session_padding(ammpl_session *s, const ammpl_prompt *p, float *out /*[C,3,q,q]*/);
ammpl_status ammpli_session_masks(ammpl_session *s, const ammpl_prompt *p, uint32_t draw, float *out /*[C,P]*/);

#endif
