/* pool.c - one thread pool per context: a parallel loop over independent tasks.
 *
 * What a task computes may not depend on which thread runs it, nor on how many there are; then results do not either.
 * After fork the child has none of the threads: it notices by its process id and starts new ones.
 *
 * Loops follow each other within a fraction of a millisecond in a step, and on a virtual machine a thread that sleeps takes
 * a tenth of one to come back: so between loops, and at the end of one, threads look for a while before they sleep, unless
 * there are more of them than processors.
 */
#include "core/core.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Kernels keep blocks of a matrix on the stack; musl would give a thread 128 KiB. */
enum { WORKER_STACK = 2 << 20 };
enum { LOOK_NS = 1000000 }; /* by measurement: SPEED.md's log */

struct ammpli_pool {
    ammpl_context *ctx;
    int threads; /* workers beside the caller: threads - 1 */
    bool looks;  /* no more threads than processors, when they were started */
    pid_t owner; /* the process whose workers these are */
    pthread_t *worker;
    int started;
    pthread_mutex_t use;  /* held by the session that runs a loop */
    alignas(64) atomic_uint news;     /* changes after there is something for workers to do; apart, as they look at it */
    alignas(64) pthread_mutex_t lock; /* guards what follows; `next` changes without it, and `busy` is read without it */
    pthread_cond_t wake, done;
    uint64_t round;   /* counts loops */
    bool open;        /* workers may join the round */
    atomic_uint busy; /* workers that have joined it and not finished */
    int running;      /* workers that have come to wait for work */
    bool quit;
    ammpli_ahead *first; /* jobs with tasks that nobody has begun, oldest first */
    ammpli_task_fn fn;
    void *arg;
    int64_t n;
    atomic_llong next; /* the next task nobody has taken */
};

static void run_tasks(ammpli_pool *pool, ammpli_task_fn fn, void *arg, int64_t n, int worker)
{
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= n)
            return;
        fn(arg, i, worker);
    }
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* True once *word is no longer `seen`, false after LOOK_NS. */
static bool look(atomic_uint *word, unsigned seen)
{
    for (int64_t end = now_ns() + LOOK_NS; now_ns() < end; sched_yield()) /* to whoever else wants this processor */
        for (int i = 0; i < 16; i++) {
            if (atomic_load(word) != seen)
                return true;
            relax();
        }
    return false;
}

/* Unlocks, then tells: who looks must not run into a held lock.  Workers look again under the lock before they sleep. */
static void tell_workers(ammpli_pool *pool)
{
    pthread_mutex_unlock(&pool->lock);
    atomic_fetch_add(&pool->news, 1);
    pthread_cond_broadcast(&pool->wake);
}

typedef struct worker_start {
    ammpli_pool *pool;
    int index;
} worker_start;

/* One task of the oldest job; the lock is held, but for the time it takes. */
static void run_ahead(ammpli_pool *pool, int worker)
{
    ammpli_ahead *job = pool->first;
    int64_t i = job->next++;
    if (job->next == job->n)
        pool->first = job->after;
    pthread_mutex_unlock(&pool->lock);
    job->fn(job->arg, i, worker);
    pthread_mutex_lock(&pool->lock);
    job->done++;
    pthread_cond_broadcast(&pool->done);
}

/* A worker's part of the open round, likewise. */
static void run_round(ammpli_pool *pool, int worker)
{
    ammpli_task_fn fn = pool->fn;
    void *arg = pool->arg;
    int64_t n = pool->n;
    pool->busy++;
    pthread_mutex_unlock(&pool->lock);
    run_tasks(pool, fn, arg, n, worker);
    pthread_mutex_lock(&pool->lock);
    if (--pool->busy == 0)
        pthread_cond_broadcast(&pool->done);
}

static void *worker_main(void *p)
{
    worker_start start = *(worker_start *)p;
    ammpli_pool *pool = start.pool;
    ammpli_free(pool->ctx, p);
    uint64_t seen = 0;
    bool looked = true; /* a new pool's workers sleep until the first loop */
    pthread_mutex_lock(&pool->lock);
    pool->running++;
    pthread_cond_broadcast(&pool->done);
    while (!pool->quit) {
        if (pool->open && pool->round != seen) {
            seen = pool->round;
            run_round(pool, start.index);
            looked = false;
        } else if (pool->first) {
            run_ahead(pool, start.index);
            looked = false;
        } else if (pool->looks && !looked) {
            unsigned news = atomic_load(&pool->news);
            pthread_mutex_unlock(&pool->lock);
            looked = !look(&pool->news, news);
            pthread_mutex_lock(&pool->lock);
        } else {
            pthread_cond_wait(&pool->wake, &pool->lock);
            looked = false; /* it may be too late for this loop; another may follow soon */
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int processors(void)
{
    return ammpli_processors("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
}

/* Fewer workers than wanted (the system refused threads) is no error: the loop runs on those there are. */
static void start_workers(ammpli_pool *pool)
{
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->owner = getpid();
    pool->looks = pool->threads <= processors();
    pool->started = 0;
    pool->round = 0;
    pool->busy = 0;
    pool->running = 0;
    pool->open = false;
    pool->quit = false;
    pool->first = NULL;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    for (int i = 1; i < pool->threads; i++) {
        worker_start *start = ammpli_alloc(pool->ctx, 1, sizeof *start);
        if (!start)
            break;
        *start = (worker_start){pool, i};
        if (pthread_create(&pool->worker[pool->started], &attr, worker_main, start) != 0) {
            ammpli_free(pool->ctx, start);
            break;
        }
        pool->started++;
    }
    pthread_attr_destroy(&attr);
    /* No thread is being born when the caller's program forks: what it held then (an allocator's lock) would be held for ever. */
    pthread_mutex_lock(&pool->lock);
    while (pool->running < pool->started)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

ammpl_status ammpli_pool_create(ammpl_context *ctx, int threads, ammpli_pool **out)
{
    *out = NULL;
    if (threads <= 0)
        threads = processors();
    ammpli_pool *pool = ammpli_alloc(ctx, 1, sizeof *pool);
    pthread_t *worker = ammpli_alloc(ctx, (size_t)threads, sizeof *worker);
    if (!pool || !worker) {
        ammpli_free(ctx, pool);
        ammpli_free(ctx, worker);
        return AMMPL_E_MEMORY;
    }
    pool->ctx = ctx;
    pool->threads = threads;
    pool->worker = worker;
    pthread_mutex_init(&pool->use, NULL);
    start_workers(pool);
    *out = pool;
    return AMMPL_OK;
}

void ammpli_pool_destroy(ammpli_pool *pool)
{
    if (!pool)
        return;
    if (pool->owner == getpid()) { /* a forked child has no threads to join */
        pthread_mutex_lock(&pool->lock);
        pool->quit = true;
        tell_workers(pool);
        for (int i = 0; i < pool->started; i++)
            pthread_join(pool->worker[i], NULL);
        pthread_cond_destroy(&pool->wake);
        pthread_cond_destroy(&pool->done);
        pthread_mutex_destroy(&pool->lock);
        pthread_mutex_destroy(&pool->use);
    }
    ammpl_context *ctx = pool->ctx;
    ammpli_free(ctx, pool->worker);
    ammpli_free(ctx, pool);
}

int ammpli_pool_threads(const ammpli_pool *pool)
{
    return pool->threads;
}

void ammpli_parallel(ammpli_pool *pool, int64_t n, ammpli_task_fn fn, void *arg)
{
    if (pool->owner != getpid()) {
        pthread_mutex_init(&pool->use, NULL);
        start_workers(pool);
    }
    if (n <= 1 || pool->started == 0 || pthread_mutex_trylock(&pool->use) != 0) {
        for (int64_t i = 0; i < n; i++)
            fn(arg, i, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->fn = fn;
    pool->arg = arg;
    pool->n = n;
    atomic_store(&pool->next, 0);
    pool->open = true;
    pool->round++;
    tell_workers(pool);
    run_tasks(pool, fn, arg, n, 0);
    pthread_mutex_lock(&pool->lock);
    pool->open = false; /* a worker that was busy with something else needs not come any more */
    pthread_mutex_unlock(&pool->lock);
    unsigned busy;
    while ((busy = pool->busy) > 0 && pool->looks && look(&pool->busy, busy))
        ;
    if (busy > 0) {
        pthread_mutex_lock(&pool->lock);
        while (pool->busy > 0)
            pthread_cond_wait(&pool->done, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->use);
}

/* ---- ahead ---- */

void ammpli_ahead_start(ammpli_pool *pool, ammpli_ahead *job)
{
    job->owner = getpid();
    if (job->n == 0 || pool->owner != job->owner || pool->started == 0)
        return; /* all of it is done at its end */
    pthread_mutex_lock(&pool->lock);
    ammpli_ahead **at = &pool->first;
    while (*at)
        at = &(*at)->after;
    *at = job;
    tell_workers(pool);
}

/* Nobody begins a task of it any more: next = n, and how many had been begun is returned.  What is being done is waited for. */
static int64_t take_back(ammpli_pool *pool, ammpli_ahead *job)
{
    if (job->owner != getpid()) { /* those who worked on it live in another process */
        job->next = job->n;
        return 0;
    }
    if (pool->owner != job->owner) /* the pool's threads are another process's: it was not started there */
        return job->next;
    pthread_mutex_lock(&pool->lock);
    for (ammpli_ahead **at = &pool->first; *at; at = &(*at)->after)
        if (*at == job) {
            *at = job->after;
            break;
        }
    int64_t begun = job->next;
    job->next = job->n;
    while (job->done < begun)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return begun;
}

typedef struct rest_of_job {
    const ammpli_ahead *job;
    int64_t first;
} rest_of_job;

static void run_rest(void *arg, int64_t i, int worker)
{
    const rest_of_job *rest = arg;
    rest->job->fn(rest->job->arg, rest->first + i, worker);
}

void ammpli_ahead_end(ammpli_pool *pool, ammpli_ahead *job)
{
    int64_t begun = take_back(pool, job);
    if (begun == job->n)
        return;
    rest_of_job rest = {job, begun};
    ammpli_parallel(pool, job->n - begun, run_rest, &rest);
}

void ammpli_ahead_drop(ammpli_pool *pool, ammpli_ahead *job)
{
    take_back(pool, job);
}
