/* engine.h - what computes: a model, its backend's ops, one stream of work and the memory of one step. */
#ifndef AMMPLI_ENGINE_H
#define AMMPLI_ENGINE_H

#include "clip/clip.h"

/* Bump memory on the backend, and on the host for a step's indices.  A planned step (method/plan.c) finds one block that holds it
 * all; else blocks are added when it runs out and merged into one at the next full reset.  A steady state allocates nothing. */
typedef struct ammpli_arena_block {
    char *base;
    size_t size;
} ammpli_arena_block;
typedef struct ammpli_arena {
    ammpli_arena_block *block;
    size_t count, cap; /* blocks */
    size_t used;       /* of the last block */
    size_t most;       /* that was used of it, since it was last set to 0 */
} ammpli_arena;
typedef struct ammpli_mark {
    size_t block, used, host_block, host_used;
} ammpli_mark;

typedef struct ammpli_engine {
    ammpl_context *ctx;
    const ammpl_model *model;
    const ammpl_ops *ops;
    ammpl_stream *stream;
    ammpli_arena arena, host;
    size_t limit;     /* bytes of all that a session takes; 0: no limit */
    size_t beside;    /* of these, what is in no arena */
    bool rehearsing;  /* ops do nothing (rehearsal.c): what is asked of the arenas is counted */
    uint32_t without; /* tests only: exact shortcuts to leave out */
} ammpli_engine;
enum {
    AMMPLI_WITHOUT_PREFIX = 1, /* 2: equal leading rows of texts are encoded once */
    AMMPLI_WITHOUT_ROWS = 2,   /* 3: only rows that somebody reads are computed */
    AMMPLI_WITHOUT_WANTED = 4, /* 4: the first block differentiates by the rows that lead to a parameter */
    AMMPLI_WITHOUT_EQUAL = 8,  /* 6: equal pictures are encoded once */
    AMMPLI_WITHOUT_CUT = 16,    /* 1: learned texts end at the row that is read */
    AMMPLI_WITHOUT_LINEAR = 32, /* 7: masked pictures are made of patches that are embedded already */
    AMMPLI_WITHOUT_ONE_QUERY = 64, /* 9: the last block of pictures computes no keys and values */
    AMMPLI_WITHOUT_FRONT = 128, /* prompts whose outputs nobody reads stand before all pictures, where nothing has to be copied around them */
};

/* The status of a call, when what it had queued until it failed is done, too: what its caller asks of another stream then comes later. */
ammpl_status ammpli_settle(const ammpl_ops *ops, ammpl_stream *s, ammpl_status status);

/* Queues an op on the engine `e` in sight, and passes its failure on. */
#define RUN(op, ...) TRY(e->ops->op(e->stream, __VA_ARGS__))

ammpl_status ammpli_engine_open(ammpli_engine *e, const ammpl_model *m); /* does not hold the model */
void ammpli_engine_close(ammpli_engine *e);
void ammpli_engine_close_arenas(ammpli_engine *e); /* the memory alone */
/* Bytes of the stream's own (ammpl_backend.h: stream_bytes; 0 of one that takes none); and stream_trim. */
size_t ammpli_stream_bytes(const ammpli_engine *e, bool rehearse);
ammpl_status ammpli_stream_trim(ammpli_engine *e, size_t spare);

/* Memory until the arena is reset (or released to a mark taken before). Not cleared. */
ammpl_status ammpli_take(ammpli_engine *e, size_t bytes, void **out);
ammpl_status ammpli_take_floats(ammpli_engine *e, int64_t n, float **out);
ammpl_status ammpli_take_zeros(ammpli_engine *e, int64_t n, float **out);
/* Host memory of the same kind; and cleared. */
ammpl_status ammpli_take_host(ammpli_engine *e, size_t bytes, void **out);
ammpl_status ammpli_take_host_zeros(ammpli_engine *e, int64_t count, size_t size, void **out);
/* A copy of host numbers in backend memory. */
ammpl_status ammpli_take_ints(ammpli_engine *e, const int32_t *host, int64_t n, int32_t **out);
ammpl_status ammpli_take_copy(ammpli_engine *e, const float *host, int64_t n, float **out);
ammpli_mark ammpli_arena_mark(const ammpli_engine *e);
void ammpli_arena_release(ammpli_engine *e, ammpli_mark mark); /* gives back what was taken since */
void ammpli_arena_reset(ammpli_engine *e);                     /* everything; merges the blocks */
/* Nothing is taken, and so many bytes of either kind are there in one block. */
ammpl_status ammpli_arena_reserve(ammpli_engine *e, size_t bytes, size_t host_bytes);
/* What an arena's blocks take of their allocator; and of an arena that takes more than so many such bytes, they are given back. */
size_t ammpli_arena_bytes(const ammpli_arena *a);
void ammpli_arena_give_back(ammpli_engine *e, size_t most, size_t host_most);

/* rehearsal.c: an engine on which a step can be gone through to see what memory it takes.  Its ops compute nothing, backend memory
 * is not there (nobody but ops looks at it), and what is downloaded is zero. */
typedef struct ammpli_rehearsal {
    ammpli_engine engine;
    const ammpli_engine *on; /* whose stream is asked what ops would take for themselves */
} ammpli_rehearsal;
ammpl_status ammpli_rehearsal_open(ammpli_rehearsal *r, const ammpli_engine *on);
void ammpli_rehearsal_close(ammpli_rehearsal *r);

#endif
