/* backend.c - the CPU backend's tables, its stream, and how loops are handed to the pool. */
#include "cpu/kernels.h"

#include <stdio.h>

#define SLOT(op) .op = ammpli_cpu_##op,
#define SLOT_REFERENCE(op) .op = ammpli_cpu_##op##_reference,
const ammpl_ops ammpli_cpu_ops = {.struct_size = sizeof(ammpl_ops), AMMPLI_CPU_OPS(SLOT, SLOT)};
const ammpl_ops ammpli_cpu_reference_ops = {.struct_size = sizeof(ammpl_ops), AMMPLI_CPU_OPS(SLOT_REFERENCE, SLOT)};

#define ONE(op) +1
static_assert(AMMPLI_CPU_OPS(ONE, ONE) == AMMPL_OPS_COUNT, "an op is missing from AMMPLI_CPU_OPS");

const ammpli_cpu_kernels *ammpli_cpu_best_kernels(void)
{
#if defined(__x86_64__)
    if (ammpli_cpu_kernels_avx512.supported())
        return &ammpli_cpu_kernels_avx512;
    if (ammpli_cpu_kernels_avx2.supported())
        return &ammpli_cpu_kernels_avx2;
#endif
    return &ammpli_cpu_kernels_x4;
}

enum { WAKE = 8192 }; /* work below this is done before a sleeping thread would have begun */

void ammpli_cpu_for(ammpl_stream *s, int64_t n, int64_t work, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
    if (n > 1 && work >= WAKE) {
        s->host->parallel(s->host->user, n, fn, arg);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        fn(arg, i, 0);
}

typedef struct scratch_job {
    void (*fn)(void *arg, int64_t i, float *scratch);
    void *arg;
    float *callers;
} scratch_job;

/* Its frame is large: it must not become part of scratch_task's. */
static void __attribute__((noinline)) on_worker(const scratch_job *j, int64_t i)
{
    alignas(64) float scratch[SCRATCH];
    j->fn(j->arg, i, scratch);
}

static void scratch_task(void *arg, int64_t i, int worker)
{
    const scratch_job *j = arg;
    if (worker > 0)
        on_worker(j, i);
    else
        j->fn(j->arg, i, j->callers);
}

int32_t ammpli_cpu_for_scratch(ammpl_stream *s, int64_t n, int64_t work, void (*fn)(void *arg, int64_t i, float *scratch), void *arg)
{
    if (!s->scratch)
        s->scratch = s->host->alloc(s->host->user, SCRATCH * sizeof *s->scratch);
    if (!s->scratch)
        return s->host->fail(AMMPL_E_MEMORY, "out of memory: no room for a thread's scratch");
    scratch_job j = {fn, arg, s->scratch};
    ammpli_cpu_for(s, n, work, scratch_task, &j);
    return AMMPL_OK;
}

int64_t ammpli_cpu_grain(ammpl_stream *s, int64_t n, int64_t work, int64_t unit)
{
    int64_t threads = s->host->threads(s->host->user);
    int64_t even = ceil_div(n, 4 * (threads > 0 ? threads : 1)), least = ceil_div(WAKE / 4, work > 0 ? work : 1);
    return ceil_div(even > least ? even : least, unit) * unit;
}

static int32_t device_count(const ammpl_host *host, int32_t *n)
{
    (void)host;
    *n = 1;
    return AMMPL_OK;
}

static void describe(const ammpl_host *host, int32_t device, char *text, size_t cap)
{
    (void)device;
    int32_t threads = host->threads(host->user);
    snprintf(text, cap, "%s, %d thread%s", ammpli_cpu_best_kernels()->name, threads, threads == 1 ? "" : "s");
}

static int32_t memory(const ammpl_host *host, int32_t device, uint64_t *available, uint64_t *total)
{
    static const char *const containers[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", NULL};
    (void)device;
    if (!ammpli_cpu_available("/proc/meminfo", containers, available, total))
        return host->fail(AMMPL_E_BACKEND, "the system does not say how much memory there is");
    return AMMPL_OK;
}

static int32_t stream_create(const ammpl_host *host, int32_t device, int32_t precision, ammpl_stream **out)
{
    (void)device;
    *out = NULL;
    if (precision != AMMPL_PRECISION_F32)
        return host->fail(AMMPL_E_UNSUPPORTED, "the CPU computes in float32: precision = f32 is all it has");
    ammpl_stream *s = host->alloc(host->user, sizeof *s);
    if (!s)
        return host->fail(AMMPL_E_MEMORY, "out of memory: no room for a stream");
    s->host = host;
    s->kernels = ammpli_cpu_best_kernels();
    *out = s;
    return AMMPL_OK;
}

static void stream_destroy(ammpl_stream *s)
{
    if (!s)
        return;
    if (s->scratch)
        s->host->release(s->host->user, s->scratch);
    s->host->release(s->host->user, s);
}

const ammpl_backend ammpli_cpu_backend = {
    .spi_version = AMMPL_BACKEND_SPI_VERSION,
    .struct_size = sizeof(ammpl_backend),
    .name = "cpu",
    .ops = &ammpli_cpu_ops,
    .device_count = device_count,
    .describe = describe,
    .memory = memory,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
};
