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

static bool yardsticks(struct bench *b, double *peak, double *kernel)
{
    *peak = bench_best_peak(b->threads);
    double start = bench_now(b->threads);
    if (!app_check(b->app, b->micro.run(&b->micro)))
        return false;
    *kernel = b->micro.flop / (bench_now(b->threads) - start) * 1e-9;
    return true;
}

bool bench_measure(struct bench *b, bench_fn fn, void *arg, struct figure *out)
{
    double seconds[MOST], of_peak[MOST], of_kernel[MOST], flop = 0, peak[2], kernel[2];
    int repeats = b->repeats < MOST ? b->repeats : MOST;
    if (!app_check(b->app, fn(arg, &flop)))
        return false;
    for (int i = 0; i < repeats; i++) {
        if (!yardsticks(b, &peak[0], &kernel[0]))
            return false;
        /* Short work is done several times, so that it lasts as long as the yardsticks. */
        int times = 0;
        double start = bench_now(b->threads), now = start;
        do {
            if (!app_check(b->app, fn(arg, &flop)))
                return false;
            times++;
            now = bench_now(b->threads);
        } while (now - start < 0.01);
        if (!yardsticks(b, &peak[1], &kernel[1]))
            return false;
        seconds[i] = (now - start) / times;
        of_peak[i] = flop / seconds[i] * 1e-9 / ((peak[0] + peak[1]) / 2);
        of_kernel[i] = flop / seconds[i] * 1e-9 / ((kernel[0] + kernel[1]) / 2);
    }
    *out = (struct figure){median(seconds, repeats), flop, median(of_peak, repeats), median(of_kernel, repeats)};
    return true;
}

static ammpl_status run_inside(void *arg, double *flop)
{
    struct inside_work *w = arg;
    ammpl_status status = w->run(w);
    *flop = w->flop;
    return status;
}

bool bench_measure_inside(struct bench *b, struct inside_work *w, struct figure *out)
{
    bool ok = bench_measure(b, run_inside, w, out);
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
        if (f->flop > 0) {
            member("gflop", f->flop * 1e-9);
            member("of_peak", f->of_peak);
            member("of_kernel", f->of_kernel);
        }
        if (unit != NULL)
            member(unit, items / f->seconds);
        puts("}");
    } else {
        printf("%-12s %-38s %10.3f ms", group, name, 1e3 * f->seconds);
        if (f->flop > 0)
            printf(" %9.3f GFLOP %7.1f GFLOP/s  %5.3f of peak  %5.3f of kernel", f->flop * 1e-9, f->flop / f->seconds * 1e-9,
                   f->of_peak, f->of_kernel);
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
