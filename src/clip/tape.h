/* tape.h - the towers in the caller's hands: one pass that is begun, run in parts, finished, and gone back.
 *
 * A tape is a list of segments, passes over ranges of blocks.  A new one begins where a run stops (tokens can be read there),
 * where the number of slots changes, and, when only prompts are recorded, at the first of them.  Boundary k lies before
 * segment k; the rows there are those of segment k-1's layout (of the begin's for k = 0).  Prompts enter raw; where ln_pre is
 * to act on them it has done so before, for it works row by row.  A text's prefix is encoded once (shortcut 2), as sequence 0
 * of the layout, until an insert gives its slots other tokens for each sequence.
 */
#ifndef AMMPLI_TAPE_H
#define AMMPLI_TAPE_H

#include "clip/tower.h"

typedef struct ammpli_insert {
    int64_t block, count;
    bool own;             /* tokens [n,count,D], else [count,D] for all sequences */
    const float *prompt;  /* what stands in the slots, backend memory */
    const float *before;  /* what ln_pre acted on to make it, or NULL */
    float *grad;          /* like prompt, once backward has been */
} ammpli_insert;

typedef struct ammpli_segment {
    ammpli_pass pass;
    const float **prompt; /* [layers] host: the tables of pass.slots and of its backward */
    float **grad;         /* [layers] host */
    const int32_t *came;  /* [T - slots.n] backend memory: where the rows of pass.slots.other stood in the layout before */
} ammpli_segment;

typedef struct ammpli_seed {
    size_t boundary;
    ammpli_pass layout; /* of the rows that were read */
    float *d;           /* [T,D] gradient of these rows; NULL: none was given */
} ammpli_seed;

enum { AMMPLI_TAPE_EMPTY, AMMPLI_TAPE_OPEN, AMMPLI_TAPE_FINISHED, AMMPLI_TAPE_BACK };

struct ammpl_tape {
    ammpl_model *model; /* held */
    ammpli_engine engine;
    int64_t limit; /* memory_limit; 0: none */
    /* the pass */
    int32_t phase, record; /* AMMPLI_TAPE_*, AMMPL_RECORD_* */
    const ammpli_tower *tower;
    int64_t n, at;         /* sequences; the block to be run next */
    int64_t V;             /* slots of a sequence */
    bool own;              /* the layout's slots take [n,V,D] */
    ammpli_pass layout, begun; /* of the rows now, and at the begin */
    float *x;              /* [T,D] the rows now */
    const int32_t *came;   /* of the next segment */
    /* text */
    int64_t L, S, slot_first; /* places for rows, prefix rows, place of the first slot */
    int32_t *length;          /* [n] host */
    /* images from pixels */
    bool pixels;
    float *embedded; /* [n*N,W] before ln_pre */
    float *dx;       /* after backward: gradient of the begin's rows; NULL where it did not come so far */
    ammpli_insert *insert;
    ammpli_segment *segment;
    ammpli_seed *read;
    size_t inserts, insert_cap, segments, segment_cap, reads, read_cap;
};

/* What a caller gives has been checked by lib/ for NULL, sizes and state; what needs the model's numbers is checked here.
 * A failure of begin, insert, run, finish or backward ends the pass (phase EMPTY). */
ammpl_status ammpli_tape_create(const ammpl_model *m, const ammpl_config *cfg, ammpl_tape **out);
void ammpli_tape_destroy(ammpl_tape *t);
/* Bytes for n sequences of `rows` rows. */
ammpl_status ammpli_tape_plan(const ammpl_model *m, int32_t tower, int64_t n, int64_t rows, int32_t record, uint64_t *bytes);
ammpl_status ammpli_tape_begin_text(ammpl_tape *t, const ammpl_text_input *in);
ammpl_status ammpli_tape_begin_image(ammpl_tape *t, const ammpl_image_input *in);
ammpl_status ammpli_tape_insert(ammpl_tape *t, int64_t block, const float *prompt, int64_t count, bool own, bool before_ln);
ammpl_status ammpli_tape_run(ammpl_tape *t, int64_t to);
ammpl_status ammpli_tape_finish(ammpl_tape *t, float *out /*[n,E]*/);
/* Numbers in the tokens that can be read now. */
size_t ammpli_tape_token_count(const ammpl_tape *t);
ammpl_status ammpli_tape_tokens(ammpl_tape *t, float *out);

/* tape_back.c */
size_t ammpli_tape_seed_count(const ammpl_tape *t, size_t read);
ammpl_status ammpli_tape_seed(ammpl_tape *t, size_t read, const float *dtokens);
ammpl_status ammpli_tape_backward(ammpl_tape *t, const float *dfeatures /*[n,E] or NULL*/);
/* How many numbers that gradient has; AMMPL_E_STATE, _RANGE or _OPTION where there is none. */
ammpl_status ammpli_tape_gradient_count(const ammpl_tape *t, int32_t what, size_t index, size_t *count);
ammpl_status ammpli_tape_gradient(ammpl_tape *t, int32_t what, size_t index, float *out);

/* Rows [T,D] of the backend under a layout, to and from the caller's [n, rows, D] (text: zero behind each sequence's end). */
ammpl_status ammpli_tape_download(ammpl_tape *t, const ammpli_pass *layout, const float *rows, float *out);
ammpl_status ammpli_tape_upload(ammpl_tape *t, const ammpli_pass *layout, const float *in, float **rows);
/* Rows of one sequence in the caller's arrays under a layout. */
int64_t ammpli_tape_width(const ammpl_tape *t, const ammpli_pass *layout);

#endif
