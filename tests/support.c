/* support.c - see support.h. */
#include "support.h"

#include <dlfcn.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu/kernels.h"
#include "cuda_emu/control.h"

static const char *turn(const char *folder, const char *part, const char *name)
{
    static char buffer[4][1024];
    static int next;
    char *b = buffer[next++ % 4];
    snprintf(b, sizeof buffer[0], "%s%s/%s", folder, part, name);
    return b;
}

/* The source tree: where it was built, or where somebody carried it. */
static const char *source_tree(void)
{
    const char *root = getenv("AMMPL_TEST_ROOT");
    return root ? root : TEST_ROOT;
}

const char *test_golden(const char *name)
{
    return turn(source_tree(), "/tests/golden", name);
}

const char *test_shared(const char *name)
{
    const char *path = turn(source_tree(), "/../shared", name);
    struct stat st;
    return stat(path, &st) == 0 ? path : NULL;
}

static char temp_folder[512]; /* of the whole program, so that cases which fail or are killed leave nothing either */
static pid_t temp_owner;

static void remove_temp(void)
{
    if (getpid() != temp_owner)
        return;
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", temp_folder);
    if (system(command) != 0)
        fprintf(stderr, "could not remove %s\n", temp_folder);
}

static void make_temp(void)
{
    if (temp_folder[0])
        return;
    const char *parent = getenv("TMPDIR");
    snprintf(temp_folder, sizeof temp_folder, "%s/ammpl-test-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(temp_folder)) {
        fprintf(stderr, "%s cannot be made\n", temp_folder);
        exit(EXIT_FAILURE);
    }
    temp_owner = getpid();
    atexit(remove_temp);
}

const char *test_temp(const char *name)
{
    char own[560]; /* a forked case gets a folder of its own */
    make_temp();
    snprintf(own, sizeof own, "%s/%d", temp_folder, (int)getpid());
    mkdir(own, 0700); /* or it is there */
    return turn(own, "", name);
}

const char *test_written(const char *name, const char *text)
{
    const char *path = test_temp(name);
    FILE *file = fopen(path, "w");
    ck_assert_msg(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s cannot be written", path);
    return path;
}

/* ---- the CPU with one of its tables of kernels ---- */

extern const ammpli_cpu_kernels test_kernels_wide __attribute__((weak)); /* in programs that have ops/wide.c */
static const ammpli_cpu_kernels *kernels;                                /* NULL: as the library chooses */
static ammpl_backend cpu;
static atomic_int *streams; /* that got them; in memory that forked cases share */

static int32_t stream_with_kernels(const ammpl_host *host, int32_t device, int32_t precision, ammpl_stream **out)
{
    int32_t status = ammpli_cpu_backend.stream_create(host, device, precision, out);
    if (status >= 0) {
        (*out)->kernels = kernels;
        atomic_fetch_add(streams, 1);
    }
    return status;
}

/* False: this processor cannot run them. */
static bool choose_kernels(const char *name)
{
    const ammpli_cpu_kernels *all[] = {
        &ammpli_cpu_kernels_x4,
#if defined(__x86_64__)
        &ammpli_cpu_kernels_avx2, &ammpli_cpu_kernels_avx512, &test_kernels_wide,
#endif
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] && strcmp(all[i]->name, name) == 0)
            kernels = all[i];
    void *shared = mmap(NULL, sizeof *streams, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!kernels || shared == MAP_FAILED) {
        fprintf(stderr, "no kernels are called %s\n", name);
        exit(EXIT_FAILURE);
    }
    streams = shared;
    cpu = ammpli_cpu_backend;
    cpu.stream_create = stream_with_kernels;
    return kernels->supported();
}

ammpl_context *test_context(void)
{
    ammpl_context *ctx;
    ck_assert_int_eq(ammpli_context_create(NULL, &ctx), AMMPL_OK);
    if (kernels)
        ctx->device[0].backend = &cpu;
    return ctx;
}

/* ---- a device other than the CPU ---- */

static const char *plugin; /* NULL: the CPU */
static bool one_process;
static cuda_emu_counted_fn counted;

/* In memory that forked cases share. */
static struct tally {
    atomic_ullong compared, refused;
} *tally;
static int32_t (*real_fail)(int32_t status, const char *message);

/* What an op cannot do, and launches and products that the device does not take: nothing that a caller does wrong. */
static int32_t count_refusal(int32_t status, const char *message)
{
    if (status == AMMPL_E_UNSUPPORTED || status == AMMPL_E_BACKEND)
        atomic_fetch_add(&tally->refused, 1);
    return real_fail(status, message);
}

void test_count_refusals(ammpl_context *ctx, bool on)
{
    if (ctx->host.fail != count_refusal)
        real_fail = ctx->host.fail;
    ctx->host.fail = on ? count_refusal : real_fail;
}

void test_count_compared(int64_t values)
{
    atomic_fetch_add(&tally->compared, (unsigned long long)values);
}

bool test_nothing_refused(void)
{
    printf("# %llu values compared, %llu refused\n", atomic_load(&tally->compared), atomic_load(&tally->refused));
    return atomic_load(&tally->refused) == 0;
}

static bool open_tally(void)
{
    void *p = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    tally = p == MAP_FAILED ? NULL : p;
    return tally != NULL;
}

const ammpl_device *test_device(ammpl_context *ctx)
{
    if (!plugin)
        return &ctx->device[0];
    ck_ok(ammpli_backend_load(ctx, plugin));
    test_count_refusals(ctx, true);
    return &ctx->device[1];
}

double test_rounding(void)
{
    return plugin ? 1e-4 : 0;
}

void test_same(const char *what, const float *a, const float *b, int64_t n, double floor)
{
    if (plugin) {
        double d = test_difference(a, b, n, floor);
        ck_assert_msg(d <= test_rounding(), "%s differs by %.3g", what, d);
    } else {
        ck_assert_msg(memcmp(a, b, (size_t)n * sizeof *a) == 0, "%s differs by %.3g", what, test_difference(a, b, n, floor));
    }
}

void test_in_one_process(void)
{
    one_process = true;
}

/* Loads it once before the cases fork, so that an emulated device counts in one place.  False: it cannot be used here. */
static bool open_plugin(void)
{
    const char *seed = getenv("AMMPL_TEST_SEED");
    ammpl_context *ctx;
    plugin = getenv("AMMPL_TEST_BACKEND");
    if (!plugin)
        return true;
    if (ammpli_context_create(NULL, &ctx) < 0 || ammpli_backend_load(ctx, plugin) < 0) {
        test_skip("everything on this device", ammpli_error_text());
        printf("1..0 # SKIP\n");
        return false;
    }
    printf("# %s: %s\n", ctx->device[1].name, ctx->device[1].description);
    void *module = dlopen(plugin, RTLD_NOW | RTLD_NOLOAD), *symbol = dlsym(module, "cuda_emu_configure");
    cuda_emu_configure_fn configure;
    memcpy(&configure, &symbol, sizeof configure);
    if (configure)
        configure(seed ? strtoull(seed, NULL, 10) : 0, (size_t)1 << 30, 1);
    else
        test_in_one_process();
    symbol = dlsym(module, "cuda_emu_judge");
    cuda_emu_judge_fn judge;
    memcpy(&judge, &symbol, sizeof judge);
    if (judge && getenv("AMMPL_TEST_UNJUDGED"))
        judge(0);
    symbol = dlsym(module, "cuda_emu_counted");
    memcpy(&counted, &symbol, sizeof counted);
    ammpli_context_release(ctx);
    return true;
}

/* A run that launched nothing on the device has tested something else, and one in which the device refused something, less. */
static bool device_was_used(void)
{
    bool refused = plugin && !test_nothing_refused();
    if (refused)
        fprintf(stderr, "the device refused something\n");
    if (!counted || refused)
        return !refused;
    const cuda_emu_counts *c = counted();
    printf("# emulated: %llu kernels in %llu launches of %llu threads, %llu products, %llu copies, %llu accesses judged\n",
           (unsigned long long)c->kernels, (unsigned long long)c->launches, (unsigned long long)c->threads,
           (unsigned long long)c->products, (unsigned long long)c->copies, (unsigned long long)c->accesses);
    if (!c->launches)
        fprintf(stderr, "nothing was launched on the device\n");
    return c->launches > 0;
}

float *test_tensor(const ammpli_st *st, const char *name, int64_t *count)
{
    const ammpli_st_tensor *t = ammpli_st_find(st, name);
    ck_assert_msg(t != NULL, "%s has no tensor %s", ammpli_st_name(st), name);
    float *data = malloc((size_t)t->count * sizeof *data + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(ammpli_st_read_f32(st, t, data), AMMPL_OK);
    if (count)
        *count = t->count;
    return data;
}

double test_difference(const float *a, const float *b, int64_t n, double floor)
{
    double d = 0, r = 0;
    test_count_compared(n);
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        r += (double)b[i] * b[i];
    }
    d = sqrt(d);
    r = sqrt(r);
    return isfinite(d) ? d / (r > floor ? r : floor) : INFINITY;
}

void test_skip(const char *name, const char *why)
{
    printf("SKIP %s: %s\n", name, why);
    fflush(stdout);
}

bool test_comma_locale(void)
{
    /* musl takes any name, and keeps the point. */
    return (setlocale(LC_ALL, "de_DE.UTF-8") || setlocale(LC_ALL, "fr_FR.UTF-8")) && *localeconv()->decimal_point == ',';
}

bool test_has_comma_locale(const char *name)
{
    bool has = test_comma_locale();
    setlocale(LC_ALL, "C");
    if (!has)
        test_skip(name, "neither de_DE.UTF-8 nor fr_FR.UTF-8 is installed, nor what makes one (Debian's locales)");
    return has;
}

int test_main(Suite *suite)
{
    const char *table = getenv("AMMPL_TEST_KERNELS");
    if (table && !choose_kernels(table)) {
        test_skip(table, "this processor cannot run these kernels");
        printf("1..0 # SKIP\n");
        return EXIT_SUCCESS;
    }
    if (!open_tally())
        return EXIT_FAILURE;
    if (!open_plugin())
        return EXIT_SUCCESS;
    make_temp();
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    if (one_process)
        srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner), run = srunner_ntests_run(runner);
    srunner_free(runner);
    bool used = device_was_used();
    if (table)
        printf("# %d streams with %s\n", atomic_load(streams), table);
    if (table && atomic_load(streams) == 0) {
        fprintf(stderr, "nothing was computed with %s\n", table);
        used = false;
    }
    return failed || !run || !used ? EXIT_FAILURE : EXIT_SUCCESS;
}
