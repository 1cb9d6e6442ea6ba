/* ammpl-bench: how fast this machine computes what the library does, beside what it could do at most. */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS "machine,kernels,gemm,towers,steps,loading,pictures"

static struct {
    const char *architecture, *only, *steps, *kernels, *write, *export;
    int classes, batch, repeats, json, half, openblas, yardstick;
} opt = {.architecture = "ViT-B/16", .only = GROUPS, .repeats = 5, .yardstick = 4096};

static const struct flag flags[] = {
    {"architecture", FLAG_TEXT, &opt.architecture, "NAME", "without --model: random weights of ViT-B/32, ViT-B/16, ViT-B/16-336 or ViT-L/14 (ViT-B/16)"},
    {"f16", FLAG_SWITCH, &opt.half, NULL, "the random weights' file in F16"},
    {"only", FLAG_TEXT, &opt.only, "\"a,b\"", "some of machine, kernels (of a device), gemm, towers, steps, loading, pictures"},
    {"steps", FLAG_TEXT, &opt.steps, "NAME", "training steps of such names, or of all names that begin so and go on with a dash (coop, ammpl, ...), separated by commas; zeroshot predicts"},
    {"classes", FLAG_COUNT, &opt.classes, "N", "classes of a step and texts of the tower; 0 = each step's own, 100 texts (0)"},
    {"batch", FLAG_COUNT, &opt.batch, "N", "images of a step and of the tower; 0 = each step's own, 8 images (0)"},
    {"repeats", FLAG_COUNT, &opt.repeats, "N", "medians of so many runs, 1 to 101 (5)"},
    {"kernels", FLAG_TEXT, &opt.kernels, "NAME", "other kernels than the best: SSE2, AVX2+FMA, AVX-512, NEON"},
    {"compare-openblas", FLAG_SWITCH, &opt.openblas, NULL, "products also through OpenBLAS, where it was built in"},
    {"yardstick", FLAG_COUNT, &opt.yardstick, "N", "on a device: products of N x N x N, and copies of 16 N x N floats, are the yardsticks (4096)"},
    {"write-model", FLAG_TEXT, &opt.write, "FOLDER", "write the random weights there, keep them, and measure nothing"},
    {"export", FLAG_TEXT, &opt.export, "FOLDER", "each step's prompt as it was before, for tests/reference/bench_torch.py"},
    {"json", FLAG_SWITCH, &opt.json, NULL, "one JSON object a line instead of a table"},
};

static const ammpl_option options[] = {AMMPL_OPT_MEMORY_LIMIT, 0};

static const struct program program = {
    .name = "ammpl-bench",
    .about = "measures kernels, towers and training steps beside what the machine can do",
    .usage = "[--model M | --architecture NAME] [--only \"towers,steps\"] [--classes N] [--batch N] [--threads N] [--json]",
    .flags = flags,
    .flag_count = sizeof flags / sizeof flags[0],
    .option_flags = AMMPL_OPTION_LOAD | AMMPL_OPTION_SESSION,
    .options = options,
};

static bool wants(const char *part)
{
    struct list parts = {NULL, 0, 0};
    list_split(&parts, opt.only);
    bool found = list_find(&parts, part) < parts.count;
    list_free(&parts);
    return found;
}

/* There is at least one part in --only, and no other than GROUPS. */
static bool check_parts(struct app *app)
{
    struct list parts = {NULL, 0, 0}, groups = {NULL, 0, 0};
    list_split(&parts, opt.only);
    list_split(&groups, GROUPS);
    size_t known = 0;
    while (known < parts.count && list_find(&groups, parts.item[known]) < groups.count)
        known++;
    bool ok = (parts.count > 0 && known == parts.count) ||
              app_usage(app, "--only '%s': some of " GROUPS ", separated by commas", known < parts.count ? parts.item[known] : "");
    list_free(&parts);
    list_free(&groups);
    return ok;
}

/* What a device is measured by. */
static bool open_yardsticks(struct bench *b, struct inside_work *copy, struct inside_work *product)
{
    int64_t n = opt.yardstick;
    return app_check(b->app, inside_kernel(b->app->context, 0, 16 * n, n, copy)) &&
           app_check(b->app, inside_linear(b->app->context, n, n, n, 0, product));
}

/* The clock, and the peak loop beside it. */
struct peak_check {
    double clock, filled; /* GHz; operations a cycle, 0 without AVX2 */
};

/* A loop that does not fill the multiply-add units is no yardstick (x86-64 with AVX2: two of them, 32 operations a cycle). */
static struct peak_check check_peak(struct bench *b)
{
    struct peak_check c = {.filled = bench_filled()};
    c.clock = bench_clock();
    int processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (c.filled == 0)
        return c;
    double all = bench_peak(8, b->threads), most = BENCH_FULL * c.clock * (b->threads < processors ? b->threads : processors);
    if (all > 1.15 * most)
        snprintf(b->doubt, sizeof b->doubt, "%d threads' peak is %.0f GFLOP/s, the processors give %.0f: its figures are no yardstick here", b->threads,
                 all, most);
    else if (fabs(c.filled - BENCH_FULL) > 0.05 * BENCH_FULL)
        snprintf(b->doubt, sizeof b->doubt, "the peak loop reaches %.1f operations a cycle, not %d within 5 %%: its figures are no yardstick here",
                 c.filled, BENCH_FULL);
    return c;
}

/* Clock, peaks, bandwidth, micro-kernel. */
static bool machine(struct bench *b, const struct peak_check *check)
{
    double reading[BENCH_MOST_REPEATS];
    bench_show_number(b, "machine", "clock", check->clock, "GHz");
    for (int width = 4; width <= 16 && bench_peak(width, 1) > 0; width *= 2) {
        char name[64];
        snprintf(name, sizeof name, "multiply-adds, %d wide, %d thread%s", width, b->threads, b->threads == 1 ? "" : "s");
        for (int i = 0; i < b->repeats; i++)
            reading[i] = bench_peak(width, b->threads);
        bench_show_number(b, "machine", name, bench_median(reading, b->repeats), "GFLOP/s");
    }
    if (check->filled > 0)
        bench_show_number(b, "machine", "AVX2 peak per cycle (32 is full)", check->filled, "flop");
    if (!bench_bandwidth(b->threads, reading, b->repeats))
        return app_fail(b->app, "memory bandwidth: no 256 MiB to read");
    bench_show_number(b, "machine", "memory bandwidth", bench_median(reading, b->repeats), "GB/s");
    struct figure f;
    if (!bench_measure_inside(b, &b->micro, &f) || !app_check(b->app, inside_micro_kernel(b->app->context, &b->micro)))
        return false;
    int width;
    bench_show(b, "machine", inside_kernels(&width), &f, 0, NULL);
    return true;
}

/* Rates of a device's yardsticks. */
static bool device(struct bench *b)
{
    struct figure f;
    struct inside_work copy, product;
    if (!open_yardsticks(b, &copy, &product) || !bench_measure_inside(b, &copy, &f))
        return false;
    bench_show_number(b, "device", "copy of memory, read and written", f.cost.bytes / f.seconds * 1e-9, "GB/s");
    if (!bench_measure_inside(b, &product, &f))
        return false;
    bench_show_number(b, "device", "large product", f.cost.flop / f.seconds * 1e-9, "GFLOP/s");
    return true;
}

static bool measure(struct bench *b)
{
    struct peak_check check = {.clock = 0};
    if (!b->device && (wants("machine") || wants("gemm") || wants("towers") || wants("steps"))) /* figures that are shares of the peak */
        check = check_peak(b);
    bool ok = (!wants("machine") || (b->device ? device(b) : machine(b, &check))) && (!wants("kernels") || !b->device || bench_kernels(b)) &&
           (!wants("loading") || bench_loading(b, b->app->model_path)) &&
           (!wants("pictures") || bench_pictures(b)) && (!wants("gemm") || bench_gemm(b, opt.openblas)) &&
           (!wants("towers") || bench_towers(b, opt.batch > 0 ? opt.batch : 8, opt.classes > 0 ? opt.classes : 100)) &&
           (!wants("steps") || bench_steps(b, opt.steps, opt.classes, opt.batch, opt.export));
    if (ok && wants("machine") && b->doubt[0]) /* said before the first figure beside it */
        b->app->status = 1;
    return ok;
}

/* A folder of this run's own with the random model, gone at the end, and when the run is interrupted. */
static char folder[512], weights[540], merges[540];

static void remove_model(void)
{
    unlink(weights);
    unlink(merges);
    rmdir(folder);
}

static void interrupted(int number)
{
    remove_model();
    signal(number, SIG_DFL);
    raise(number);
}

static bool make_model(struct app *app)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/ammpl-bench-XXXXXX", parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    if (mkdtemp(folder) == NULL)
        return app_fail(app, "%s: no folder for the random model: %s", folder, strerror(errno));
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    atexit(remove_model);
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
    if (signal(SIGHUP, interrupted) == SIG_IGN) /* under nohup it goes on */
        signal(SIGHUP, SIG_IGN);
    int failed = bench_write_model(opt.architecture, folder, opt.half);
    return failed == 0 || app_fail(app, "the random model could not be written: %s", strerror(failed));
}

static bool run(struct app *app)
{
    bool own = app->model_path == NULL;
    int processors = (int)sysconf(_SC_NPROCESSORS_ONLN), threads = app->threads > 0 ? app->threads : processors < 256 ? processors : 256;
    struct bench b = {.app = app, .threads = threads, .repeats = opt.repeats, .json = opt.json, .settle = opt.openblas};
    /* As many threads as the yardsticks': by itself the library takes fewer under a container's quota. */
    bool set = app_check(app, ammpl_context_set_threads(app->context, threads));
    const ammpl_device *d = set ? app_device(app) : NULL; /* before the model is written */
    b.device = d != NULL && strcmp(ammpl_device_name(d), "cpu") != 0;
    inside_use_device(d);
    bool ok = d != NULL && (!own || (make_model(app) && (app->model_path = folder) != NULL));
    if (ok && own) /* random weights have no config that says so */
        ok = app_check(app, ammpl_config_set_text(app->config, "activation", "quick_gelu"));
    ok = ok && app_load_model(app);
    if (ok) {
        inside_use_precision_of(app->model);
        app_ready(app);
    }
    ok = ok && (b.device ? open_yardsticks(&b, &b.copy, &b.micro) : app_check(app, inside_micro_kernel(app->context, &b.micro))) &&
         measure(&b);
    if (ok)
        bench_show_number(&b, "memory", "most of this process (VmHWM)", bench_peak_memory(), "MiB");
    if (b.micro.close != NULL)
        b.micro.close(&b.micro);
    if (b.copy.close != NULL)
        b.copy.close(&b.copy);
    return ok;
}

static bool check_usage(struct app *app, const struct list *operands)
{
    size_t known = 0;
    while (bench_architecture(known) != NULL && strcmp(bench_architecture(known), opt.architecture) != 0)
        known++;
    if (operands->count > 0)
        return app_usage(app, "%s: no such thing", operands->item[0]);
    if (bench_architecture(known) == NULL)
        return app_usage(app, "--architecture %s: ViT-B/32, ViT-B/16, ViT-B/16-336 or ViT-L/14", opt.architecture);
    if (strcmp(app->backend, "cpu") != 0 && (opt.kernels != NULL || opt.openblas))
        return app_usage(app, "--backend %s: --kernels and --compare-openblas are the CPU's", app->backend);
    if (opt.openblas && inside_openblas_name() == NULL)
        return app_fail(app, "--compare-openblas: this ammpl-bench was built without; meson configure -Dopenblas=enabled");
    if (!check_parts(app) || (opt.steps != NULL && !bench_knows_steps(app, opt.steps)))
        return false;
    if (strcmp(app->backend, "cpu") == 0 && strcmp(opt.only, "kernels") == 0)
        return app_usage(app, "--only kernels: they are a device's; give --backend");
    const char *towers;
    if (!app_check(app, ammpl_config_get_string(app->config, AMMPL_OPT_TOWERS, &towers)))
        return false;
    if (strcmp(towers, "both") != 0 && (wants("gemm") || wants("towers") || wants("steps") || wants("pictures")))
        return app_usage(app, "--towers %s: of one tower only loading is measured; give --only loading", towers);
    if (opt.repeats < 1 || opt.repeats > BENCH_MOST_REPEATS)
        return app_usage(app, "--repeats %d: 1 to %d", opt.repeats, BENCH_MOST_REPEATS);
    if (opt.classes > BENCH_MOST_CLASSES)
        return app_usage(app, "--classes %d: at most %d", opt.classes, BENCH_MOST_CLASSES);
    if (opt.batch > BENCH_MOST_IMAGES)
        return app_usage(app, "--batch %d: at most %d", opt.batch, BENCH_MOST_IMAGES);
    if (opt.yardstick < 1)
        return app_usage(app, "--yardstick %d: at least 1", opt.yardstick);
    if (inside_use_kernels(opt.kernels) != 0)
        return app_usage(app, "--kernels %s: this processor has none of that name", opt.kernels);
    return true;
}

int main(int argc, char **argv)
{
    struct app app;
    struct list operands = {NULL, 0, 0};
    if (app_open(&app, &program, argc, argv, &operands) && check_usage(&app, &operands)) {
        int failed = opt.write != NULL ? bench_write_model(opt.architecture, opt.write, opt.half) : 0;
        if (failed != 0)
            app_fail(&app, "--write-model %s: %s", opt.write, strerror(failed));
        else if (opt.write == NULL)
            run(&app);
    }
    list_free(&operands);
    return app_close(&app);
}
