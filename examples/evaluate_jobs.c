/* evaluate_jobs.c - see evaluate_jobs.h.
 *
 * A child writes to its pipe: "P SHARE" for progress, one line of JSON for each test ("{...}"), and whatever it has to say on
 * standard error; the last of these lines is the reason when it fails.
 */
#include "evaluate_jobs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/progress.h"

struct job {
    const struct run *run;
    pid_t process;
    int pipe;
    char *text; /* read and not yet split into lines */
    size_t size, room;
    char *lines;   /* of results so far */
    char said[1024]; /* the last other line */
    double progress; /* 0..1 */
};

struct pool {
    struct app *app;
    const struct plan *plan;
    struct journal *journal;
    const struct jobs_choice *choice;
    struct job *job;
    int running, most;
    size_t next, finished, failed, due; /* next: place in the plan */
    long long largest;                  /* KiB that a run had at its peak */
    double begin;
    char first_failure[1400];
    struct list warnings; /* each is shown once for a method, not for every run */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the child ---- */

static void tell(void *user, double share)
{
    static double last;
    double t = now();
    if (t - last > 0.1) {
        last = t;
        dprintf(*(int *)user, "P %.4f\n", share);
    }
}

static _Noreturn void child(struct pool *pool, const struct run *run, int out)
{
    struct app *app = pool->app;
    char *text = NULL;
    size_t size;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would take its results */
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the parent's to deal with */
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    dup2(out, STDERR_FILENO);
    close(pool->journal->file); /* the lock on it is the parent's alone */
    app->notes = app->report = stderr;
    app->quiet = 1;
    FILE *lines = open_memstream(&text, &size);
    bool ok = lines != NULL && (app->model != NULL || app_load_model(app)) &&
              run_perform(app, pool->plan, run, &pool->choice->extras, lines, tell, &out) && fclose(lines) == 0;
    for (size_t done = 0; ok && done < size;) {
        ssize_t n = write(out, text + done, size - done);
        ok = n > 0;
        done += n > 0 ? (size_t)n : 0;
    }
    fflush(stderr);
    _exit(ok ? 0 : 1);
}

/* ---- starting ---- */

static long long number_after(const char *path, const char *key)
{
    char line[256];
    long long value = -1;
    FILE *file = fopen(path, "r");
    while (file != NULL && value < 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoll(line + strlen(key), NULL, 10);
    if (file != NULL)
        fclose(file);
    return value;
}

/* Another run may start while memory for one as large as the largest so far, and a quarter more, is free. */
static bool memory_allows(struct pool *pool)
{
    char path[64];
    long long available = number_after("/proc/meminfo", "MemAvailable:"), need = pool->largest;
    for (int i = 0; i < pool->running; i++) {
        snprintf(path, sizeof path, "/proc/%ld/status", (long)pool->job[i].process);
        long long peak = number_after(path, "VmHWM:");
        need = peak > need ? peak : need;
    }
    return pool->running == 0 || available < 0 || available > need + need / 4;
}

static bool start(struct pool *pool, const struct run *run)
{
    int ends[2];
    if (pipe(ends) != 0)
        return app_fail(pool->app, "no pipe for a run: %s", strerror(errno));
    progress_clear();
    fflush(NULL);
    pid_t process = fork();
    if (process == 0) {
        close(ends[0]);
        child(pool, run, ends[1]);
    }
    close(ends[1]);
    if (process < 0) {
        close(ends[0]);
        return app_fail(pool->app, "no process for a run: %s", strerror(errno));
    }
    pool->job[pool->running++] = (struct job){.run = run, .process = process, .pipe = ends[0]};
    return true;
}

static bool start_some(struct pool *pool)
{
    while (pool->next < pool->plan->count && pool->running < pool->most && memory_allows(pool)) {
        const struct run *run = &pool->plan->run[pool->next++];
        if (!run->done && !start(pool, run))
            return false;
    }
    return true;
}

/* ---- listening ---- */

static void append(char **text, const char *more, size_t n)
{
    size_t have = *text == NULL ? 0 : strlen(*text);
    char *longer = allocate(have + n + 1);
    if (have != 0)
        memcpy(longer, *text, have);
    memcpy(longer + have, more, n);
    free(*text);
    *text = longer;
}

static void warn(struct pool *pool, const struct run *run, const char *line)
{
    char text[1400];
    size_t before = pool->warnings.count;
    snprintf(text, sizeof text, "%s%s%s: %.1000s", run->entry->method, run->entry->variant[0] == '\0' ? "" : " ", run->entry->variant, line);
    if (list_find_or_add(&pool->warnings, text) == before)
        app_say(pool->app, "%s\n", text);
}

static void take_line(struct pool *pool, struct job *job, char *line)
{
    if (line[0] == '{') {
        append(&job->lines, line, strlen(line));
        append(&job->lines, "\n", 1);
    } else if (line[0] == 'P' && line[1] == ' ') {
        job->progress = strtod(line + 2, NULL);
    } else {
        size_t n = strlen(pool->app->program->name);
        line += strncmp(line, pool->app->program->name, n) == 0 && line[n] == ':' ? n + 2 : 0;
        if (strncmp(line, "warning: ", 9) == 0)
            warn(pool, job->run, line);
        snprintf(job->said, sizeof job->said, "%s", line);
    }
}

/* Reads what there is; false at the end. */
static bool listen_to(struct pool *pool, struct job *job)
{
    if (job->room - job->size < 65536) {
        size_t room = 2 * job->room + 65536;
        char *text = allocate(room);
        if (job->size != 0)
            memcpy(text, job->text, job->size);
        free(job->text);
        job->text = text;
        job->room = room;
    }
    ssize_t n = read(job->pipe, job->text + job->size, job->room - job->size);
    if (n < 0 && errno == EINTR)
        return true;
    if (n <= 0)
        return false;
    job->size += (size_t)n;
    char *at = job->text, *newline;
    while ((newline = memchr(at, '\n', job->size - (size_t)(at - job->text))) != NULL) {
        *newline = '\0';
        take_line(pool, job, at);
        at = newline + 1;
    }
    job->size -= (size_t)(at - job->text);
    memmove(job->text, at, job->size);
    return true;
}

/* ---- ending ---- */

/* The lines of a finished run that the journal does not have: all, or what a cut left out. */
static bool record(struct pool *pool, const struct job *job)
{
    bool ok = true;
    for (char *at = job->lines, *end; ok && at != NULL && *at != '\0'; at = end) {
        struct records one = {NULL, 0, 0};
        char why[256];
        end = strchr(at, '\n') + 1;
        bool known = false;
        ok = records_add(&one, at, (size_t)(end - at), why) || app_fail(pool->app, "a run gave %s", why);
        for (size_t i = 0; ok && i < pool->journal->records.count; i++)
            known = known || record_same_place(&pool->journal->records.item[i], &one.item[0]);
        if (known) {
            memmove(at, end, strlen(end) + 1);
            end = at;
        }
        records_free(&one);
    }
    return ok && (job->lines == NULL || journal_append(pool->app, pool->journal, job->lines));
}

static void say_finished(struct pool *pool, const struct job *job)
{
    char name[256];
    run_name(job->run, name, sizeof name);
    app_say(pool->app, "run %zu of %zu: %s:", pool->finished + pool->failed, pool->due, name);
    const struct records *records = &pool->journal->records;
    for (size_t k = 0; k < plan_test_count(pool->plan, job->run); k++) {
        struct record place = plan_place(pool->plan, job->run, k);
        for (size_t i = 0; i < records->count; i++)
            if (record_same_place(&records->item[i], &place))
                app_say(pool->app, "%s %s %.2f %%", k == 0 ? "" : ",", strcmp(place.split, "all") != 0 ? place.split : place.dataset,
                        100 * records->item[i].accuracy);
    }
    app_say(pool->app, "\n");
}

static bool end_job(struct pool *pool, int i)
{
    struct job job = pool->job[i];
    struct rusage usage;
    int state = 0;
    char name[256];
    while (wait4(job.process, &state, 0, &usage) < 0 && errno == EINTR) {
    }
    close(job.pipe);
    pool->job[i] = pool->job[--pool->running];
    pool->largest = usage.ru_maxrss > pool->largest ? usage.ru_maxrss : pool->largest;
    bool ok = true;
    run_name(job.run, name, sizeof name);
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) {
        pool->finished++;
        ok = record(pool, &job);
        if (ok)
            say_finished(pool, &job);
    } else {
        pool->failed++;
        if (WIFSIGNALED(state))
            snprintf(job.said, sizeof job.said, "its process was ended by signal %d%s", WTERMSIG(state),
                     WTERMSIG(state) == SIGKILL ? " (out of memory? see --jobs and --memory-limit)" : "");
        app_say(pool->app, "run %zu of %zu: %s failed: %s\n", pool->finished + pool->failed, pool->due, name, job.said);
        if (pool->failed == 1)
            snprintf(pool->first_failure, sizeof pool->first_failure, "%s: %s", name, job.said);
    }
    free(job.text);
    free(job.lines);
    return ok;
}

static void show(const struct pool *pool)
{
    double done = (double)(pool->finished + pool->failed);
    char before[300] = "";
    for (int i = 0; i < pool->running; i++)
        done += pool->job[i].progress;
    if (pool->running > 0)
        run_name(pool->job[0].run, before, sizeof before);
    double seconds = now() - pool->begin;
    progress_share(before, pool->finished + pool->failed, pool->due, done / (double)pool->due,
                   done > 0 ? seconds / done * ((double)pool->due - done) : -1);
}

static bool work(struct pool *pool)
{
    bool ok = start_some(pool);
    while (ok && pool->running > 0 && !interrupt_seen()) {
        struct pollfd ear[256];
        for (int i = 0; i < pool->running; i++)
            ear[i] = (struct pollfd){pool->job[i].pipe, POLLIN, 0};
        poll(ear, (nfds_t)pool->running, 200);
        for (int i = pool->running - 1; ok && i >= 0; i--)
            if (ear[i].revents != 0 && !listen_to(pool, &pool->job[i]))
                ok = end_job(pool, i);
        show(pool);
        ok = ok && start_some(pool);
    }
    return ok;
}

static void stop_all(struct pool *pool)
{
    for (int i = 0; i < pool->running; i++) {
        kill(pool->job[i].process, SIGKILL);
        waitpid(pool->job[i].process, NULL, 0);
        close(pool->job[i].pipe);
        free(pool->job[i].text);
        free(pool->job[i].lines);
    }
    pool->running = 0;
}

bool jobs_perform(struct app *app, const struct plan *plan, struct journal *journal, const struct jobs_choice *choice)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = app->threads != 0 ? app->threads : (int)processors;
    struct pool pool = {.app = app, .plan = plan, .journal = journal, .choice = choice, .begin = now()};
    for (size_t i = 0; i < plan->count; i++)
        pool.due += !plan->run[i].done;
    pool.most = choice->jobs != 0 ? choice->jobs : (int)processors;
    pool.most = pool.most > 256 ? 256 : pool.most;
    if ((size_t)pool.most > pool.due)
        pool.most = (int)pool.due;
    if (pool.due == 0)
        return true;
    pool.job = allocate((size_t)pool.most * sizeof *pool.job);
    interrupt_watch(NULL);
    bool ok = app_check(app, ammpl_context_set_threads(app->context, threads / pool.most > 1 ? threads / pool.most : 1)) && work(&pool);
    stop_all(&pool);
    progress_clear();
    free(pool.job);
    list_free(&pool.warnings);
    if (ok && interrupt_seen())
        return app_fail(app, "interrupted: %zu of %zu runs are in %s; the same command goes on", plan->count - pool.due + pool.finished,
                        plan->count, journal->path);
    if (ok && pool.failed != 0)
        return app_fail(app, "%zu of %zu runs failed; the first: %s", pool.failed, pool.due, pool.first_failure);
    return ok;
}
