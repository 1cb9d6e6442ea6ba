/* bench.h - the parts of ammpl-bench. */
#ifndef AMMPL_EXAMPLES_BENCH_H
#define AMMPL_EXAMPLES_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "bench_inside.h"
#include "common/app.h"

/* ---- bench_yardsticks.c: what the machine can do at this moment ---- */

/* Seconds that count for work on this many threads: the thread's own processor time for one, else the wall's. */
double bench_now(int threads);
/* GHz by a chain of dependent integer additions. */
double bench_clock(void);
/* GFLOP/s of independent chains of multiply-adds in vectors of `width` floats on each thread; 0: not on this processor. */
double bench_peak(int width, int threads);
/* Of the width that is best. */
double bench_best_peak(int threads);
/* Operations a cycle of eight lanes' chains on this thread, of five tries the nearest to what two units give; 0: not on this processor. */
enum { BENCH_FULL = 32 };
double bench_filled(void);
/* GB/s of reading memory that fits in no cache, of all threads together, n times; false: there is no memory. */
bool bench_bandwidth(int threads, double *reading, int n);

/* ---- bench_model.c: a random CLIP of a known size as a file ---- */

/* "ViT-B/32", "ViT-B/16", "ViT-B/16-336", "ViT-L/14"; NULL behind the last. */
const char *bench_architecture(size_t i);
/* model.safetensors and merges.txt in a folder that exists; half: in F16.  0, or errno. */
int bench_write_model(const char *architecture, const char *folder, bool half);

/* ---- bench_median.c ---- */

/* Sorts x. */
double bench_median(double *x, int n);

/* ---- bench_measure.c: figures, and how they are shown ---- */

enum { BENCH_MOST_REPEATS = 101 };

struct bench {
    struct app *app;
    int threads, repeats, json;
    bool device;              /* not the CPU: its own clock counts, and copies are a yardstick */
    bool settle;              /* yardsticks wait until a foreign library's threads sleep */
    struct inside_work micro; /* the yardstick beside the peak: the micro-kernel; on a device a large product */
    struct inside_work copy;  /* on a device */
    char doubt[160];          /* why shares of the peak say nothing here; "": they do */
    bool doubt_said;
};

/* Medians over the repeats. */
struct figure {
    double seconds;
    struct inside_cost cost;
    /* Shares of what the machine's peak (on a device: a copy of memory) and the micro-kernel (a large product) reached at the same
     * time; 0: there are no such costs. */
    double of_peak, of_kernel;
    double peak, clock; /* GFLOP/s and GHz at the same time; 0: on a device */
};

/* fn does the work once, and says what it cost (0: it does not matter). */
typedef ammpl_status (*bench_fn)(void *arg, struct inside_cost *cost);
/* Runs fn once to warm up, then `repeats` times between yardsticks.  stream: what it runs on; NULL: on the host. */
bool bench_measure(struct bench *b, bench_fn fn, void *arg, struct ammpl_stream *stream, struct figure *out);
/* The same for work inside, which is closed then. */
bool bench_measure_inside(struct bench *b, struct inside_work *w, struct figure *out);
/* A line of the table, or a JSON object: items (images, classes, ...) per second where `unit` is given. */
void bench_show(struct bench *b, const char *group, const char *name, const struct figure *f, double items, const char *unit);
/* A line with one number. */
void bench_show_number(struct bench *b, const char *group, const char *name, double value, const char *unit);
/* VmHWM of this process in MiB. */
double bench_peak_memory(void);
/* Before work that takes so many bytes: false, and a sentence, where the machine or a limit of this process does not give as many. */
bool bench_has_room(struct bench *b, const char *what, double bytes);
/* app_check for the library's inside, where a lack of memory has no sentence of its own. */
bool bench_check(struct bench *b, const char *what, ammpl_status status);

enum { BENCH_MOST_CLASSES = 10000, BENCH_MOST_IMAGES = 4096 };

/* ---- bench_work.c: what is measured but steps ---- */
bool bench_kernels(struct bench *b); /* of a device */
bool bench_gemm(struct bench *b, bool openblas);
bool bench_towers(struct bench *b, int batch, int classes);
bool bench_loading(struct bench *b, const char *folder);
bool bench_pictures(struct bench *b);

/* ---- bench_steps.c: a step of every method ---- */

/* Whether there is a step of each name in `only`; else a failure of usage is told. */
bool bench_knows_steps(struct app *app, const char *only);
/* The steps called as one of "only,only", or where there is none of that name, that-something (NULL: all); classes, batch 0: each
 * step's own.  Their initial prompts go into a folder (NULL: nowhere). */
bool bench_steps(struct bench *b, const char *only, int classes, int batch, const char *folder);

#endif
