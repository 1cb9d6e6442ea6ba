/* core.h - what every file of the library stands on: status, memory, threads, random numbers.
 *
 * Vocabulary, used everywhere: B images, C classes, L tokens of one sequence, T tokens of all sequences of a pass,
 * D width, H heads, E joint width, M context tokens, P = g*g patches, q pixels of a patch's side, R = g*q.
 * Internal names start with ammpli_, public ones with ammpl_.
 */
#ifndef AMMPLI_CORE_H
#define AMMPLI_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ammpl/ammpl.h>
#include <ammpl/ammpl_backend.h> /* ammpl_host, ammpl_ops */

/* ---- status: error.c ---------------------------------------------------------------------------------------- */

/* Records this thread's sentence, unless one stands already (the first failure is the cause), and returns `status`. */
ammpl_status ammpli_fail(ammpl_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
void ammpli_clear_error(void); /* on entry to every public function that can fail */
const char *ammpli_error_text(void);

/* Passes a failure on. */
#define TRY(call)                        \
    do {                                 \
        ammpl_status try_status = (call); \
        if (try_status < 0)              \
            return try_status;           \
    } while (0)
/* Passes a failure on after cleaning up at a label; expects a variable `status`. */
#define TRY_GOTO(label, call)            \
    do {                                 \
        status = (call);                 \
        if (status < 0)                  \
            goto label;                  \
    } while (0)

/* ---- memory: memory.c --------------------------------------------------------------------------------------- */

/* Zeroed, 64-byte aligned memory of the context's allocator, counted.  NULL and a recorded sentence when there is none
 * (return AMMPL_E_MEMORY then).  count * size is checked for overflow.  Zero bytes give a valid pointer. */
void *ammpli_alloc(ammpl_context *ctx, size_t count, size_t size);
void ammpli_free(ammpl_context *ctx, void *p); /* NULL accepted */
size_t ammpli_block_bytes(size_t bytes);       /* what such a block takes of the allocator */
char *ammpli_strdup(ammpl_context *ctx, const char *s);
/* Puts n characters of `more` behind a text that has `room` bytes in all, as far as they fit. */
void ammpli_append(char *text, size_t room, const char *more, size_t n);
/* The allocator of contexts that were given none: large blocks are mapped, in huge pages where the system has them, and come
 * cleared. */
void *ammpli_default_alloc(void *user, size_t size, size_t align);
void ammpli_default_release(void *user, void *ptr, size_t size);
/* Memory that does not come from the allocator (a device's) counts like the rest; below 0: given back. */
void ammpli_count_memory(ammpl_context *ctx, int64_t bytes);
/* A growing array: makes room for `need` elements, doubling; false (with a sentence) when out of memory. */
bool ammpli_grow(ammpl_context *ctx, void **array, size_t *cap, size_t need, size_t size);

/* ---- log ------------------------------------------------------------------------------------------------------ */
void ammpli_log(ammpl_context *ctx, ammpl_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- thread pool: pool.c --------------------------------------------------------------------------------------- */

/* Runs fn(arg, i, worker) for i in 0..n-1, in any order on any thread, and returns when all are done.  `worker` is
 * 0..threads-1 and names private scratch.  When the pool is busy with another session, or after fork until it has been
 * restarted, everything runs on the calling thread.  fn must not call it again on the same pool (it would run inline). */
typedef void (*ammpli_task_fn)(void *arg, int64_t i, int worker);
typedef struct ammpli_pool ammpli_pool;
ammpl_status ammpli_pool_create(ammpl_context *ctx, int threads, ammpli_pool **out); /* threads <= 0: one for each processor */
/* processors.c: what a small file of the kernel's begins with, ended by 0; false: it is not there, or empty. */
bool ammpli_beginning_of(const char *path, char *text, size_t size);
/* 1..256, those the calling thread may run on, or fewer by a quota of processor time: cpu_max holds "microseconds period" or
 * "max ..." (cgroup 2), or else the other two hold one number each (cgroup 1).  A part of a processor counts as one. */
int ammpli_processors(const char *cpu_max, const char *quota_us, const char *period_us);
void ammpli_pool_destroy(ammpli_pool *pool);
int ammpli_pool_threads(const ammpli_pool *pool);
void ammpli_parallel(ammpli_pool *pool, int64_t n, ammpli_task_fn fn, void *arg);

/* Tasks that run ahead of their need: by threads of the pool that have no loop to work on.  The job belongs to the caller, who
 * starts it (fn, arg and n are set, the rest is zero) and ends it once: then all of it is done, what nobody had begun by the
 * caller itself.  Dropped instead: what nobody had begun is left out.  The pool may have been replaced in between. */
typedef struct ammpli_ahead {
    ammpli_task_fn fn;
    void *arg;
    int64_t n;
    /* inside, guarded by the pool's lock */
    int64_t next, done; /* tasks that were begun, that are finished */
    int owner;          /* process that started it */
    struct ammpli_ahead *after;
} ammpli_ahead;
void ammpli_ahead_start(ammpli_pool *pool, ammpli_ahead *job);
void ammpli_ahead_end(ammpli_pool *pool, ammpli_ahead *job);
void ammpli_ahead_drop(ammpli_pool *pool, ammpli_ahead *job);

/* ---- counter-based random numbers: philox.c ------------------------------------------------------------------- */

/* Purposes: part of the prompt file's version, test vectors in tests/golden/philox.txt. */
enum {
    AMMPLI_DRAW_MASK = 1,      /* position patch, c1 class-name hash (0: draws = image), c2 image id, c3 step */
    AMMPLI_DRAW_MASK_EVAL = 2, /* position patch, c1 class-name hash (0: shared scope), c2 draw             */
    AMMPLI_DRAW_INIT = 3,      /* position element, c1 tensor-name hash, c2 class-name hash, c3 element>>24  */
    AMMPLI_DRAW_SHUFFLE = 4,   /* position i, c3 epoch                                                       */
    AMMPLI_DRAW_CROP = 5,      /* position draw number (100 top, 101 left), c2 image id, c3 step             */
    AMMPLI_DRAW_FLIP = 6,      /* c2 image id, c3 step                                                       */
    AMMPLI_DRAW_SHOTS = 7,     /* c2 image id                                                                */
    AMMPLI_DRAW_PLACE = 8,     /* position axis (0 row, 1 column), c3 step                                   */
    AMMPLI_DRAW_PLACE_EVAL = 9 /* position axis                                                              */
};
/* Philox4x32-10 of counter {purpose<<24 | position, c1, c2, c3} under key = seed. */
void ammpli_philox(uint64_t seed, uint32_t purpose, uint32_t position, uint32_t c1, uint32_t c2, uint32_t c3,
                   uint32_t out[4]);
float ammpli_uniform(const uint32_t x[4]);  /* (x[0] >> 8) * 2^-24, in [0, 1) */
double ammpli_normal(const uint32_t x[4]);  /* Box-Muller of x[0], x[1], in double */
uint32_t ammpli_hash(const char *name);     /* FNV-1a 32 of the UTF-8 bytes */
void ammpli_shuffle(uint64_t seed, uint32_t epoch, int32_t *order, int64_t n); /* the epoch's permutation of 0..n-1 */

/* ---- handles --------------------------------------------------------------------------------------------------- */

/* First member of every public handle: lives while its count is above zero. */
typedef struct ammpli_ref {
    atomic_int count;
} ammpli_ref;

struct ammpl_device {
    char name[48]; /* "cpu", or "BACKEND:0" */
    char description[128];
    const ammpl_backend *backend;
    int32_t index; /* among the backend's devices */
    ammpl_context *context;
};

/* A plug-in that was looked at (backends.c). */
typedef struct ammpli_candidate {
    char *path;
    char *why;                    /* it is not used; NULL where it is */
    const ammpl_backend *backend; /* in use, else NULL */
} ammpli_candidate;

enum { AMMPLI_DEVICES_MAX = 16 };

struct ammpl_context {
    ammpli_ref ref;
    ammpl_allocator allocator;
    atomic_ullong memory_now, memory_peak;
    ammpl_level log_min;
    ammpl_log_fn log_fn;
    void *log_user;
    ammpli_pool *pool;
    ammpl_host host;        /* what backends get: allocation, log, parallel loops */
    ammpl_device device[AMMPLI_DEVICES_MAX]; /* "cpu" first */
    size_t devices;
    ammpli_candidate *candidate;
    size_t candidates, candidate_cap;
    atomic_ullong next_id;  /* unique numbers for prompts, so that caches know what they hold */
};

ammpl_status ammpli_context_create(const ammpl_allocator *alloc, ammpl_context **out); /* context.c */
ammpl_context *ammpli_context_hold(ammpl_context *ctx);
void ammpli_context_release(ammpl_context *ctx);
ammpl_status ammpli_context_set_threads(ammpl_context *ctx, int threads);

/* backends.c: one plug-in (the sentence of a failure begins with its path), all of a folder (NULL: the installed ones; those
 * that cannot be used are no failure), and the end of the list (never of the plug-ins: threads may be inside). */
ammpl_status ammpli_backend_load(ammpl_context *ctx, const char *path);
ammpl_status ammpli_backend_scan(ammpl_context *ctx, const char *folder);
void ammpli_backend_forget(ammpl_context *ctx);

#endif
