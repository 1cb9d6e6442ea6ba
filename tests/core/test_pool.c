/* test_pool.c - the thread pool: every task once, whatever the number of threads; nested, contended, and after fork. */
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TASKS = 1000, WORKERS = 8 };
static const int threads[] = {1, 2, 3, WORKERS};
enum { COUNTS = sizeof threads / sizeof threads[0] };

static ammpl_context *ctx;
static ammpli_pool *pool;

static void open_pool(int n)
{
    ctx = test_context();
    ck_ok(ammpli_pool_create(ctx, n, &pool));
    ck_assert_int_eq(ammpli_pool_threads(pool), n);
}

static void close_pool(void)
{
    ammpli_pool_destroy(pool);
    ammpli_context_release(ctx);
}

/* What the tasks of one loop leave behind. */
typedef struct notes {
    atomic_int times[TASKS];    /* runs of each task */
    atomic_int inside[WORKERS]; /* tasks at work under a worker's number: never two */
    atomic_int clashes, strangers;
    atomic_int used[WORKERS];
    pthread_t by[TASKS];
    int spin;
} notes;

static notes *new_notes(void)
{
    notes *n = calloc(1, sizeof *n);
    ck_assert_ptr_nonnull(n);
    return n;
}

static void note(void *arg, int64_t i, int worker)
{
    notes *n = arg;
    if (worker < 0 || worker >= ammpli_pool_threads(pool)) {
        atomic_fetch_add(&n->strangers, 1);
        return;
    }
    if (atomic_fetch_add(&n->inside[worker], 1) != 0)
        atomic_fetch_add(&n->clashes, 1);
    atomic_fetch_add(&n->times[i], 1);
    atomic_store(&n->used[worker], 1);
    n->by[i] = pthread_self();
    for (volatile int k = 0; k < n->spin; k++)
        ;
    atomic_fetch_sub(&n->inside[worker], 1);
}

/* Each of the first `count` tasks ran once, the others never. */
static bool once(const notes *n, int64_t count)
{
    bool ok = atomic_load(&n->clashes) == 0 && atomic_load(&n->strangers) == 0;
    for (int64_t i = 0; i < TASKS; i++)
        ok = ok && atomic_load(&n->times[i]) == (i < count);
    return ok;
}

START_TEST(every_task_once)
{
    static const int64_t sizes[] = {0, 1, 2, 7, TASKS};
    open_pool(threads[_i]);
    for (int round = 0; round < 50; round++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            notes *n = new_notes();
            n->spin = round % 5 * 20;
            ammpli_parallel(pool, sizes[k], note, n);
            ck_assert_msg(once(n, sizes[k]), "%d threads, %d tasks", threads[_i], (int)sizes[k]);
            free(n);
        }
    close_pool();
}
END_TEST

/* A loop inside a task runs on the task's own thread. */
enum { OUTER = 20, INNER = TASKS / OUTER };
static atomic_int inner_times[TASKS], moved;

typedef struct inner {
    int64_t task;
    pthread_t owner;
} inner;

static void inner_task(void *arg, int64_t i, int worker)
{
    (void)worker;
    inner *in = arg;
    atomic_fetch_add(&inner_times[in->task * INNER + i], 1);
    if (!pthread_equal(in->owner, pthread_self()))
        atomic_fetch_add(&moved, 1);
}

static void outer_task(void *arg, int64_t i, int worker)
{
    (void)arg;
    (void)worker;
    inner in = {i, pthread_self()};
    ammpli_parallel(pool, INNER, inner_task, &in);
}

START_TEST(nested)
{
    open_pool(threads[_i]);
    ammpli_parallel(pool, OUTER, outer_task, NULL);
    for (int i = 0; i < TASKS; i++)
        ck_assert_int_eq(atomic_load(&inner_times[i]), 1);
    if (threads[_i] > 1)
        ck_assert_int_eq(atomic_load(&moved), 0);
    close_pool();
}
END_TEST

/* While one thread's loop holds the pool, another thread's loop runs wholly on that other thread. */
static atomic_int held, release;

static void hold(void *arg, int64_t i, int worker)
{
    (void)arg;
    (void)i;
    (void)worker;
    atomic_store(&held, 1);
    while (!atomic_load(&release))
        usleep(100);
}

static void *holder(void *arg)
{
    (void)arg;
    ammpli_parallel(pool, 2, hold, NULL);
    return NULL;
}

START_TEST(busy_pool_runs_inline)
{
    open_pool(threads[_i]);
    pthread_t other;
    ck_assert_int_eq(pthread_create(&other, NULL, holder, NULL), 0);
    while (!atomic_load(&held))
        usleep(100);
    notes *n = new_notes();
    ammpli_parallel(pool, TASKS, note, n);
    ck_assert(once(n, TASKS));
    for (int i = 0; i < TASKS; i++)
        ck_assert(pthread_equal(n->by[i], pthread_self()));
    free(n);
    atomic_store(&release, 1);
    pthread_join(other, NULL);
    n = new_notes(); /* and afterwards it serves again */
    ammpli_parallel(pool, TASKS, note, n);
    ck_assert(once(n, TASKS));
    free(n);
    close_pool();
}
END_TEST

/* The child has none of the parent's threads: it starts its own, and the parent's still work. */
START_TEST(after_fork)
{
    open_pool(threads[_i]);
    notes *n = new_notes();
    ammpli_parallel(pool, TASKS, note, n);
    ck_assert(once(n, TASKS));
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        alarm(20);
        int workers = 0;
        bool ok = true;
        for (int round = 0; round < 100; round++) {
            memset(n, 0, sizeof *n);
            n->spin = 2000;
            ammpli_parallel(pool, TASKS, note, n);
            ok = ok && once(n, TASKS);
            int used = 0;
            for (int w = 0; w < WORKERS; w++)
                used += atomic_load(&n->used[w]);
            workers = used > workers ? used : workers;
        }
        if (threads[_i] > 1)
            ok = ok && workers > 1;
        ammpli_pool_destroy(pool);
        _exit(ok ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
    memset(n, 0, sizeof *n);
    ammpli_parallel(pool, TASKS, note, n);
    ck_assert(once(n, TASKS));
    free(n);
    close_pool();
}
END_TEST

/* A child that never uses the pool can still destroy it. */
START_TEST(destroyed_after_fork)
{
    open_pool(threads[_i]);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        alarm(20);
        close_pool();
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
    close_pool();
}
END_TEST

static double processor_seconds(void)
{
    struct timespec t;
    ck_assert_int_eq(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Loops at once, and as long after one another as threads look for work, and longer; then the processor time that goes by
 * while there is none: the least of many pauses, as a thread that joined late has yet to fall asleep. */
START_TEST(looks_then_sleeps)
{
    static const useconds_t pauses[] = {0, 50, 700, 800, 850, 900, 950, 1000, 1300};
    open_pool(threads[_i]);
    for (size_t k = 0; k < sizeof pauses / sizeof pauses[0]; k++)
        for (int round = 0; round < 20; round++) {
            notes *n = new_notes();
            ammpli_parallel(pool, TASKS, note, n);
            ck_assert(once(n, TASKS));
            free(n);
            usleep(pauses[k]);
        }
    double least = 1;
    for (int round = 0; round < 20; round++) {
        notes *n = new_notes();
        n->spin = 200;
        ammpli_parallel(pool, TASKS, note, n);
        free(n);
        double before = processor_seconds();
        usleep(10000);
        double spent = processor_seconds() - before;
        least = spent < least ? spent : least;
    }
    cpu_set_t set;
    long processors = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    bool looks = threads[_i] > 1 && threads[_i] <= processors; /* a millisecond each, else not at all */
    ck_assert_double_le(least, looks ? 0.002 * (threads[_i] - 1) : 0.001);
    close_pool();
}
END_TEST

/* A container's quota of processor time is fewer processors, in both versions of control groups. */
START_TEST(quota)
{
    static const char nowhere[] = "/nowhere";
    int all = ammpli_processors(nowhere, nowhere, nowhere);
    ck_assert_int_ge(all, 1);
    ck_assert_int_eq(ammpli_processors(test_written("max", "max 100000\n"), nowhere, nowhere), all);
    ck_assert_int_eq(ammpli_processors(test_written("much", "99000000 100000\n"), nowhere, nowhere), all);
    ck_assert_int_eq(ammpli_processors(test_written("one", "50000 50000\n"), nowhere, nowhere), 1);
    ck_assert_int_eq(ammpli_processors(test_written("part", "30000 100000\n"), nowhere, nowhere), 1);
    ck_assert_int_eq(ammpli_processors(test_written("more", "110000 100000\n"), nowhere, nowhere), all < 2 ? all : 2);
    const char *period = test_written("period", "100000\n");
    ck_assert_int_eq(ammpli_processors(nowhere, test_written("old", "70000\n"), period), 1);
    ck_assert_int_eq(ammpli_processors(nowhere, test_written("none", "-1\n"), period), all);
    ck_assert_int_eq(ammpli_processors(nowhere, test_written("alone", "70000\n"), nowhere), all);
    ck_assert_int_eq(ammpli_processors(test_written("odd", "70000\n"), nowhere, nowhere), all);
}
END_TEST

/* ---- jobs that run ahead ---- */

/* Each task once, whoever does it, with loops in between; several jobs at once. */
START_TEST(ahead)
{
    open_pool(threads[_i]);
    notes *first = new_notes(), *second = new_notes(), *loop = new_notes();
    ammpli_ahead a = {.fn = note, .arg = first, .n = TASKS}, b = {.fn = note, .arg = second, .n = 7};
    ammpli_ahead_start(pool, &a);
    ammpli_ahead_start(pool, &b);
    ammpli_parallel(pool, TASKS, note, loop);
    ammpli_ahead_end(pool, &b); /* not the order of their starts */
    ammpli_ahead_end(pool, &a);
    for (int i = 0; i < TASKS; i++) {
        ck_assert_int_eq(atomic_load(&first->times[i]), 1);
        ck_assert_int_eq(atomic_load(&second->times[i]), i < 7);
        ck_assert_int_eq(atomic_load(&loop->times[i]), 1);
    }
    ck_assert_int_eq(atomic_load(&first->strangers) + atomic_load(&second->strangers), 0);
    free(first);
    free(second);
    free(loop);
    close_pool();
}
END_TEST

/* A dropped job is left alone from then on, and does nothing twice. */
static atomic_bool dropping;
static atomic_int begun;

/* Ends 20 ms after the caller is about to drop the job: it would have to be held up for seconds before all tasks were done. */
static void note_slowly(void *arg, int64_t i, int worker)
{
    atomic_fetch_add(&begun, 1);
    while (!atomic_load(&dropping))
        usleep(100);
    usleep(20000);
    note(arg, i, worker);
}

START_TEST(ahead_dropped)
{
    open_pool(threads[_i]);
    notes *n = new_notes();
    ammpli_ahead job = {.fn = note_slowly, .arg = n, .n = TASKS};
    atomic_store(&dropping, false);
    atomic_store(&begun, 0);
    ammpli_ahead_start(pool, &job);
    while (threads[_i] > 1 && atomic_load(&begun) == 0)
        usleep(100);
    atomic_store(&dropping, true);
    ammpli_ahead_drop(pool, &job);
    int done = 0, later = 0;
    for (int i = 0; i < TASKS; i++)
        done += atomic_load(&n->times[i]);
    ck_assert_int_lt(done, TASKS);
    ck_assert_int_eq(done, atomic_load(&begun)); /* what was being done was waited for */
    notes *loop = new_notes();
    ammpli_parallel(pool, TASKS, note, loop);
    for (int i = 0; i < TASKS; i++)
        later += atomic_load(&n->times[i]);
    ck_assert_int_eq(later, done);
    free(loop);
    free(n);
    close_pool();
}
END_TEST

/* The threads get on with it by themselves: nobody waits for it here but by looking. */
START_TEST(ahead_by_itself)
{
    open_pool(2);
    notes *n = new_notes();
    ammpli_ahead job = {.fn = note, .arg = n, .n = 3};
    ammpli_ahead_start(pool, &job);
    for (int k = 0; k < 20000 && atomic_load(&n->times[2]) == 0; k++)
        usleep(1000);
    ck_assert_int_eq(atomic_load(&n->times[2]), 1);
    ck_assert_int_eq(atomic_load(&n->used[1]), 1);
    ammpli_ahead_end(pool, &job);
    free(n);
    close_pool();
}
END_TEST

/* Another pool, or another process, finishes what the first began. */
START_TEST(ahead_in_another_pool)
{
    open_pool(3);
    notes *n = new_notes();
    n->spin = 20000;
    ammpli_ahead job = {.fn = note, .arg = n, .n = TASKS};
    ammpli_ahead_start(pool, &job);
    ammpli_pool_destroy(pool);
    ck_ok(ammpli_pool_create(ctx, 3, &pool));
    ammpli_ahead_end(pool, &job);
    for (int i = 0; i < TASKS; i++)
        ck_assert_int_eq(atomic_load(&n->times[i]), 1);
    free(n);
    close_pool();
}
END_TEST

START_TEST(ahead_after_fork)
{
    open_pool(2);
    notes *n = new_notes();
    ammpli_ahead job = {.fn = note, .arg = n, .n = TASKS};
    n->spin = 2000;
    ammpli_ahead_start(pool, &job);
    pid_t child = fork();
    if (child == 0) {
        ammpli_ahead_end(pool, &job);
        int missing = 0;
        for (int i = 0; i < TASKS; i++)
            missing += atomic_load(&n->times[i]) < 1;
        _exit(missing == 0 ? 0 : 1);
    }
    int state = 0;
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert_msg(WIFEXITED(state) && WEXITSTATUS(state) == 0, "the child ended with %d", state);
    ammpli_ahead_end(pool, &job);
    free(n);
    close_pool();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pool");
    TCase *c = tcase_create("pool");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, every_task_once, 0, COUNTS);
    tcase_add_loop_test(c, nested, 0, COUNTS);
    tcase_add_loop_test(c, busy_pool_runs_inline, 0, COUNTS);
    tcase_add_loop_test(c, after_fork, 0, COUNTS);
    tcase_add_loop_test(c, destroyed_after_fork, 0, COUNTS);
    tcase_add_loop_test(c, looks_then_sleeps, 0, COUNTS);
    tcase_add_test(c, quota);
    tcase_add_loop_test(c, ahead, 0, COUNTS);
    tcase_add_loop_test(c, ahead_dropped, 0, COUNTS);
    tcase_add_test(c, ahead_by_itself);
    tcase_add_test(c, ahead_in_another_pool);
    tcase_add_test(c, ahead_after_fork);
    suite_add_tcase(s, c);
    return test_main(s);
}
