/* bench_measure.c - medians of repeated runs between yardsticks; a table, or JSON lines. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"

enum { MOST = 101 };

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* ---- on the host ---- */

static bool yardsticks(struct bench *b, double *peak, double *kernel)
{
    *peak = bench_best_peak(b->threads);
    double start = bench_now(b->threads);
    if (!app_check(b->app, b->micro.run(&b->micro)))
        return false;
    *kernel = b->micro.cost.flop / (bench_now(b->threads) - start) * 1e-9;
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
static bool device_yardsticks(struct bench *b, double *peak, double *kernel)
{
    double copy, product;
    struct inside_cost cost;
    if (!on_device(b, run_inside, &b->copy, b->copy.stream, &cost, &copy) ||
        !on_device(b, run_inside, &b->micro, b->micro.stream, &cost, &product))
        return false;
    *peak = b->copy.cost.bytes / copy * 1e-9;
    *kernel = b->micro.cost.flop / product * 1e-9;
    return true;
}

/* ---- between yardsticks ---- */

bool bench_measure(struct bench *b, bench_fn fn, void *arg, struct ammpl_stream *stream, struct figure *out)
{
    double seconds[MOST], of_peak[MOST], of_kernel[MOST], peak[2], kernel[2];
    struct inside_cost cost = {0, 0};
    bool device = b->device && stream != NULL;
    bool (*yardstick)(struct bench *, double *, double *) = b->device ? device_yardsticks : yardsticks;
    int repeats = b->repeats < MOST ? b->repeats : MOST;
    if (!app_check(b->app, fn(arg, &cost)))
        return false;
    for (int i = 0; i < repeats; i++) {
        if (!yardstick(b, &peak[0], &kernel[0]) ||
            !(device ? on_device(b, fn, arg, stream, &cost, &seconds[i]) : on_host(b, fn, arg, &cost, &seconds[i])) ||
            !yardstick(b, &peak[1], &kernel[1]))
            return false;
        of_peak[i] = (b->device ? cost.bytes : cost.flop) / seconds[i] * 1e-9 / ((peak[0] + peak[1]) / 2);
        of_kernel[i] = cost.flop / seconds[i] * 1e-9 / ((kernel[0] + kernel[1]) / 2);
    }
    *out = (struct figure){median(seconds, repeats), cost, median(of_peak, repeats), median(of_kernel, repeats)};
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

double bench_peak_memory(void)
{
    char line[256];
    double kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = atof(line + 6);
    if (status != NULL)
        fclose(status);
    return kib / 1024;
}
