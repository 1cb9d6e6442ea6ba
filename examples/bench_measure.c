/* bench_measure.c - medians of repeated runs between yardsticks; a table, or JSON lines. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/json.h"

/* ---- on the host ---- */

/* What the machine does at one moment; on a device peak is the copy, kernel the product. */
struct moment {
    double peak, kernel, clock;
};

/* Long work is judged by longer yardsticks: one of each (3 ms), and as many more as it has fifths of a second, up to ten. */
static bool host_yardsticks(struct bench *b, double seconds, struct moment *now)
{
    int rounds = seconds < 1.8 ? 1 + (int)(seconds / 0.2) : 10;
    double peak = 0, kernel = 0; /* seconds of a GFLOP, so that a round that was held up counts for as long as it took */
    if (b->settle)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    for (int i = 0; i < rounds; i++) {
        peak += 1 / bench_best_peak(b->threads);
        double start = bench_now(b->threads);
        if (!app_check(b->app, b->micro.run(&b->micro)))
            return false;
        kernel += (bench_now(b->threads) - start) / (b->micro.cost.flop * 1e-9);
    }
    *now = (struct moment){rounds / peak, rounds / kernel, bench_clock()};
    return true;
}

/* Short work is done several times, so that it lasts as long as the yardsticks. */
static bool on_host(struct bench *b, bench_fn fn, void *arg, struct inside_cost *cost, double *seconds)
{
    int times = 0;
    double start = bench_now(b->threads), now = start;
    do {
        if (!app_check(b->app, fn(arg, cost)))
            return false;
        times++;
        now = bench_now(b->threads);
    } while (now - start < 0.01);
    *seconds = (now - start) / times;
    return true;
}

/* ---- on a device ---- */

/* fn again and again by the device's clock.  One run that did not last tells how many do. */
static bool on_device(struct bench *b, bench_fn fn, void *arg, struct ammpl_stream *stream, struct inside_cost *cost, double *seconds)
{
    for (int times = 1; times < 4096;) {
        if (!app_check(b->app, inside_elapsed(stream, seconds)))
            return false;
        for (int i = 0; i < times; i++)
            if (!app_check(b->app, fn(arg, cost)))
                return false;
        if (!app_check(b->app, inside_elapsed(stream, seconds)))
            return false;
        double all = *seconds;
        *seconds = all / times;
        if (all >= 0.004)
            break;
        times = all > 0.004 / 64 ? (int)(times * 0.005 / all) + 1 : 64 * times;
    }
    return true;
}

static ammpl_status run_inside(void *arg, struct inside_cost *cost)
{
    struct inside_work *w = arg;
    ammpl_status status = w->run(w);
    *cost = w->cost;
    return status;
}

/* GB/s of the copy, GFLOP/s of the product. */
static bool device_yardsticks(struct bench *b, double seconds, struct moment *now)
{
    double copy, product;
    struct inside_cost cost;
    (void)seconds;
    if (!on_device(b, run_inside, &b->copy, b->copy.stream, &cost, &copy) ||
        !on_device(b, run_inside, &b->micro, b->micro.stream, &cost, &product))
        return false;
    *now = (struct moment){.peak = b->copy.cost.bytes / copy * 1e-9, .kernel = b->micro.cost.flop / product * 1e-9};
    return true;
}

/* ---- between yardsticks ---- */

bool bench_measure(struct bench *b, bench_fn fn, void *arg, struct ammpl_stream *stream, struct figure *out)
{
    enum { MOST = BENCH_MOST_REPEATS };
    double seconds[MOST], of_peak[MOST], of_kernel[MOST], peak[MOST], clock[MOST], last = bench_now(b->threads);
    struct inside_cost cost = {0, 0};
    struct moment before, after;
    bool device = b->device && stream != NULL;
    bool (*yardsticks)(struct bench *, double, struct moment *) = b->device ? device_yardsticks : host_yardsticks;
    int n = b->repeats;
    if (!bench_check(b, "warming up", fn(arg, &cost)))
        return false;
    last = bench_now(b->threads) - last;
    for (int i = 0; i < n; last = seconds[i++]) {
        if (!yardsticks(b, last, &before) ||
            !(device ? on_device(b, fn, arg, stream, &cost, &seconds[i]) : on_host(b, fn, arg, &cost, &seconds[i])) ||
            !yardsticks(b, last, &after))
            return false;
        peak[i] = (before.peak + after.peak) / 2;
        clock[i] = (before.clock + after.clock) / 2;
        of_peak[i] = (b->device ? cost.bytes : cost.flop) / seconds[i] * 1e-9 / peak[i];
        of_kernel[i] = cost.flop / seconds[i] * 1e-9 / ((before.kernel + after.kernel) / 2);
    }
    *out = (struct figure){bench_median(seconds, n), cost, bench_median(of_peak, n), bench_median(of_kernel, n), b->device ? 0 : bench_median(peak, n),
                           bench_median(clock, n)};
    return true;
}

bool bench_measure_inside(struct bench *b, struct inside_work *w, struct figure *out)
{
    bool ok = bench_measure(b, run_inside, w, w->stream, out);
    w->close(w);
    return ok;
}

/* ---- output ---- */

static void begin_object(const char *group, const char *name)
{
    fputs("{\"group\": ", stdout);
    put_json_string(stdout, group);
    fputs(", \"name\": ", stdout);
    put_json_string(stdout, name);
}

static void member(const char *name, double value)
{
    printf(", \"%s\": ", name);
    put_json_number(stdout, value);
}

void bench_show(struct bench *b, const char *group, const char *name, const struct figure *f, double items, const char *unit)
{
    bool doubtful = b->doubt[0] && f->peak > 0;
    if (doubtful && !b->doubt_said) {
        fprintf(stderr, "ammpl-bench: %s\n", b->doubt);
        b->doubt_said = true;
    }
    if (b->json) {
        begin_object(group, name);
        member("seconds", f->seconds);
        if (f->cost.flop > 0) {
            member("gflop", f->cost.flop * 1e-9);
            member(b->device ? "of_gemm" : "of_kernel", f->of_kernel);
        }
        if (b->device && f->cost.bytes > 0)
            member("gbyte", f->cost.bytes * 1e-9);
        if (f->of_peak > 0)
            member(b->device ? "of_copy" : "of_peak", f->of_peak);
        if (f->peak > 0)
            member("peak", f->peak);
        if (f->clock > 0)
            member("clock", f->clock);
        if (doubtful)
            fputs(", \"doubtful\": true", stdout);
        if (unit != NULL)
            member(unit, items / f->seconds);
        puts("}");
    } else {
        printf("%-12s %-38s %10.3f ms", group, name, 1e3 * f->seconds);
        if (f->cost.flop > 0)
            printf(" %9.3f GFLOP %7.1f GFLOP/s  %5.3f of %s", f->cost.flop * 1e-9, f->cost.flop / f->seconds * 1e-9, f->of_kernel,
                   b->device ? "gemm" : "kernel");
        if (b->device && f->cost.bytes > 0)
            printf(" %9.3f GB", f->cost.bytes * 1e-9);
        if (f->of_peak > 0)
            printf("  %5.3f of %s", f->of_peak, b->device ? "copy" : "peak");
        if (unit != NULL)
            printf(" %8.1f %s", items / f->seconds, unit);
        putchar('\n');
    }
    fflush(stdout);
}

void bench_show_number(struct bench *b, const char *group, const char *name, double value, const char *unit)
{
    if (b->json) {
        begin_object(group, name);
        member(unit, value);
        puts("}");
    } else {
        printf("%-12s %-38s %10.2f %s\n", group, name, value, unit);
    }
    fflush(stdout);
}

/* ---- memory ---- */

/* MiB behind a key in one of the kernel's lists; 0: it is not there. */
static double mib_after(const char *path, const char *key)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kib = atof(line + strlen(key));
    if (file != NULL)
        fclose(file);
    return kib / 1024;
}

double bench_peak_memory(void)
{
    return mib_after("/proc/self/status", "VmHWM:");
}

bool bench_has_room(struct bench *b, const char *what, double bytes)
{
    double free = mib_after("/proc/meminfo", "MemAvailable:"), wanted = bytes / 1048576;
    struct rlimit own;
    if (getrlimit(RLIMIT_AS, &own) == 0 && own.rlim_cur != RLIM_INFINITY) {
        double left = (double)own.rlim_cur / 1048576 - mib_after("/proc/self/status", "VmSize:");
        free = free == 0 || left < free ? left : free;
    }
    return free == 0 || wanted < free ||
           app_fail(b->app, "%s: takes about %.0f MiB, this process can have %.0f MiB; give smaller --classes or --batch", what, wanted, free);
}

bool bench_check(struct bench *b, const char *what, ammpl_status status)
{
    const char *sentence = ammpl_last_error();
    if (status == AMMPL_E_MEMORY && sentence[0] == '\0')
        return app_fail(b->app, "%s: out of memory; give smaller --classes or --batch", what);
    return app_check(b->app, status);
}
