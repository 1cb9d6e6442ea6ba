/* backend.cu - the plug-in's entry, its table, devices, streams, and how CUDA's failures are told. */
#include "common.cuh"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <type_traits>

/* ---- the table ---- */

/* An op before which all that was held back is queued. */
template <auto OP> struct at_once;
template <class R, class... A, R (*OP)(ammpl_stream *, A...)> struct at_once<OP> {
    static R call(ammpl_stream *s, A... a)
    {
        if constexpr (std::is_void<R>::value)
            graph_boundary_quietly(s);
        else
            TRY(graph_boundary(s));
        return OP(s, a...);
    }
};

static constexpr ammpl_ops make_table(void)
{
    ammpl_ops t = {};
    t.struct_size = sizeof(ammpl_ops);
#define QUEUED(op) t.op = queued<ammpl_cuda_##op>::call;
#define AT_ONCE(op) t.op = at_once<ammpl_cuda_##op>::call;
#define IN_PARTS(op) t.op = ammpl_cuda_##op;
    CUDA_QUEUED(QUEUED)
    CUDA_AT_ONCE(AT_ONCE)
    CUDA_IN_PARTS(IN_PARTS)
    t.upload = graph_upload;
#undef QUEUED
#undef AT_ONCE
#undef IN_PARTS
    return t;
}
static constexpr ammpl_ops table = make_table();

#define ONE(op) +1
static_assert(0 CUDA_OPS(ONE) == AMMPL_OPS_COUNT, "an op is missing from CUDA_OPS");

/* ---- failures ---- */

/* "cudaMemcpyAsync" of "cudaMemcpyAsync(dst, ...)". */
static int name_length(const char *call)
{
    const char *open = strchr(call, '(');
    return (int)(open ? (size_t)(open - call) : strlen(call));
}

/* After these nothing works on the device until the process ends. */
static bool is_lost(cudaError_t error)
{
    switch ((int)error) {
    case 100: /* cudaErrorNoDevice: not at the start (device_count), so it was there */
    case 214: /* cudaErrorECCUncorrectable */
    case 220: /* cudaErrorNvlinkUncorrectable */
    case 226: /* cudaErrorContained */
    case 700: /* cudaErrorIllegalAddress */
    case 702: /* cudaErrorLaunchTimeout */
    case 709: /* cudaErrorContextIsDestroyed */
    case 710: /* cudaErrorAssert */
    case 714: /* cudaErrorHardwareStackError */
    case 715: /* cudaErrorIllegalInstruction */
    case 716: /* cudaErrorMisalignedAddress */
    case 717: /* cudaErrorInvalidAddressSpace */
    case 718: /* cudaErrorInvalidPc */
    case 719: /* cudaErrorLaunchFailure */
    case 721: /* cudaErrorTensorMemoryLeak */
    case 999: /* cudaErrorUnknown: what the driver itself cannot tell comes back with every call */
        return true;
    default:
        return false;
    }
}

static int32_t kind_of(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? AMMPL_E_DEVICE_MEMORY : is_lost(error) ? AMMPL_E_DEVICE_LOST : AMMPL_E_BACKEND;
}

static const char *hint_of(int32_t kind, cudaError_t error)
{
    if (kind == AMMPL_E_DEVICE_MEMORY)
        return "; use a smaller batch, fewer classes or a memory_limit";
    if (kind == AMMPL_E_DEVICE_LOST)
        return "; the device is lost to this process: start it again";
    switch ((int)error) {
    case 46: /* cudaErrorDevicesUnavailable: nothing of this process's is gone */
        return "; the device is busy: another program has it to itself, or has left no room on it; try again later";
    case 802: /* cudaErrorSystemNotReady */
        return "; the machine's services for its GPUs (nvidia-fabricmanager) do not run, or not yet: start them, and try again";
    default: return "";
    }
}

static thread_local char failure[FAILURE_TEXT];

const char *last_failure(void)
{
    return failure;
}

int32_t cuda_failed(const ammpl_host *host, cudaError_t error, const char *call)
{
    (void)cudaGetLastError(); /* what does not stick is forgotten: the stream stays usable */
    snprintf(failure, sizeof failure, "%.*s: %s (%s)%s", name_length(call), call, cudaGetErrorString(error), cudaGetErrorName(error),
             hint_of(kind_of(error), error));
    return host->fail(kind_of(error), failure);
}

/* What cuBLAS met.  It has a runtime of its own, whose last error nobody else sees; but what sticks comes back from every call. */
static cudaError_t error_behind_cublas(void)
{
    size_t now, all;
    cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&now, &all);
    (void)cudaGetLastError();
    return error;
}

int32_t cublas_failed(const ammpl_host *host, cublasStatus_t status, const char *call)
{
    cudaError_t behind = error_behind_cublas();
    int32_t kind = status == CUBLAS_STATUS_ALLOC_FAILED && !is_lost(behind) ? AMMPL_E_DEVICE_MEMORY : kind_of(behind);
    snprintf(failure, sizeof failure, "%.*s: %s%s%s%s", name_length(call), call, cublasGetStatusName(status), behind != cudaSuccess ? ", " : "",
             behind != cudaSuccess ? cudaGetErrorName(behind) : "", hint_of(kind, behind));
    return host->fail(kind, failure);
}

device_guard::device_guard(int device) : before(device), changed(0), error(cudaGetDevice(&before)), call("cudaGetDevice")
{
    if (error == cudaSuccess && before != device) {
        call = "cudaSetDevice";
        error = cudaSetDevice(device);
        changed = error == cudaSuccess;
    }
    if (error != cudaSuccess)
        (void)cudaGetLastError(); /* or the next launch takes it for its own */
}

device_guard::~device_guard()
{
    if (changed && cudaSetDevice(before) != cudaSuccess)
        (void)cudaGetLastError();
}

/* ---- devices ---- */

static int32_t device_count(const ammpl_host *host, int32_t *n)
{
    int count = 0;
    *n = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
        (void)cudaGetLastError();
        return host->fail(AMMPL_E_BACKEND, "the NVIDIA driver is there, but it shows no GPU (cudaGetDeviceCount: cudaErrorNoDevice)");
    }
    if (error == cudaErrorInsufficientDriver) {
        (void)cudaGetLastError();
        return host->fail(AMMPL_E_BACKEND, "there is no NVIDIA driver on this machine, or it is older than this CUDA version needs "
                                           "(cudaGetDeviceCount: cudaErrorInsufficientDriver)");
    }
    if (error != cudaSuccess)
        return cuda_failed(host, error, "cudaGetDeviceCount");
    *n = count;
    return AMMPL_OK;
}

static void describe(const ammpl_host *, int32_t device, char *text, size_t cap)
{
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, device) != cudaSuccess) {
        (void)cudaGetLastError();
        snprintf(text, cap, "a CUDA device that tells nothing about itself");
        return;
    }
    snprintf(text, cap, "%.80s, %.1f GiB, compute %d.%d", p.name, (double)p.totalGlobalMem / (1 << 30), p.major, p.minor);
}

static int32_t memory(const ammpl_host *host, int32_t device, uint64_t *available, uint64_t *total)
{
    device_guard guard(device);
    size_t now = 0, all = 0;
    if (guard.error != cudaSuccess) /* another device's numbers are none */
        return cuda_failed(host, guard.error, guard.call);
    CUDA(host, cudaMemGetInfo(&now, &all));
    *available = now;
    *total = all;
    return AMMPL_OK;
}

/* ---- one pool per device, for all streams of the process: freed memory stays in it until the last of them goes ---- */

enum { DEVICES = 64 };
static struct {
    cudaMemPool_t pool;
    int made, streams;
} pools[DEVICES];
static pthread_mutex_t pools_mutex = PTHREAD_MUTEX_INITIALIZER;

static cudaError_t make_pool(int device)
{
    if (pools[device].made)
        return cudaSuccess;
    cudaMemPoolProps props = {};
    props.allocType = cudaMemAllocationTypePinned;
    props.location.type = cudaMemLocationTypeDevice;
    props.location.id = device;
    cudaError_t error = cudaMemPoolCreate(&pools[device].pool, &props);
    if (error != cudaSuccess)
        return error;
    pools[device].made = 1;
    uint64_t keep = UINT64_MAX; /* a synchronisation gives nothing back to the system */
    return cudaMemPoolSetAttribute(pools[device].pool, cudaMemPoolAttrReleaseThreshold, &keep);
}

static int32_t open_pool(const ammpl_host *host, int32_t device, cudaMemPool_t *out)
{
    pthread_mutex_lock(&pools_mutex);
    cudaError_t error = make_pool(device);
    if (error == cudaSuccess) {
        pools[device].streams++;
        *out = pools[device].pool;
    }
    pthread_mutex_unlock(&pools_mutex);
    return error == cudaSuccess ? AMMPL_OK : cuda_failed(host, error, "cudaMemPoolCreate");
}

static void close_pool(int32_t device)
{
    pthread_mutex_lock(&pools_mutex);
    if (--pools[device].streams == 0)
        (void)cudaMemPoolTrimTo(pools[device].pool, 0);
    pthread_mutex_unlock(&pools_mutex);
}

/* ---- streams ---- */

static int32_t fill_stream(ammpl_stream *s)
{
    CUDA(s->host, cudaStreamCreateWithFlags(&s->queue, cudaStreamNonBlocking));
    void *fault;
    TRY(alloc_pinned(s, sizeof(int32_t), &fault));
    s->fault = (volatile int32_t *)fault;
    *s->fault = FAULT_NONE;
    return AMMPL_OK;
}

static void stream_destroy(ammpl_stream *s)
{
    if (!s)
        return;
    {
        device_guard guard(s->device);
        graph_close(s);
        if (s->queue)
            (void)cudaStreamSynchronize(s->queue);
        if (s->blas)
            (void)cublasDestroy(s->blas);
        while (s->blocks) /* scratch, the products' workspace, and what its owner did not give back */
            ammpl_cuda_release(s, s->blocks->ptr);
        for (int i = 0; i < SEGMENTS; i++)
            if (s->staging.done[i])
                (void)cudaEventDestroy(s->staging.done[i]);
        for (int i = 0; i < 2; i++)
            if (s->asked[i])
                (void)cudaEventDestroy(s->asked[i]);
        free_pinned(s, s->staging.memory, SEGMENTS * SEGMENT_BYTES);
        free_pinned(s, (void *)s->fault, sizeof(int32_t));
        if (s->queue)
            (void)cudaStreamDestroy(s->queue);
        close_pool(s->device);
        (void)cudaGetLastError();
    }
    s->host->release(s->host->user, s);
}

static int32_t stream_create(const ammpl_host *host, int32_t device, int32_t precision, ammpl_stream **out)
{
    *out = NULL;
    if (precision < AMMPL_PRECISION_F32 || precision > AMMPL_PRECISION_F16)
        return host->fail(AMMPL_E_UNSUPPORTED, "stream_create: precision is none of AMMPL_PRECISION_*");
    device_guard guard(device);
    if (guard.error == cudaErrorInvalidDevice || device < 0 || device >= DEVICES)
        return host->fail(AMMPL_E_ARGUMENT, "stream_create: there is no such device");
    if (guard.error != cudaSuccess)
        return cuda_failed(host, guard.error, guard.call);
    cudaMemPool_t pool = NULL;
    TRY(open_pool(host, device, &pool));
    ammpl_stream *s = (ammpl_stream *)host->alloc(host->user, sizeof *s);
    if (!s) {
        close_pool(device);
        return host->fail(AMMPL_E_MEMORY, "out of memory: no room for a stream");
    }
    s->host = host;
    s->device = device;
    s->precision = precision;
    s->pool = pool;
    s->graph_bytes = GRAPH_BYTES;
    int32_t status = fill_stream(s);
    if (status < 0) {
        stream_destroy(s);
        return status;
    }
    *out = s;
    return AMMPL_OK;
}

/* Lists of blocks, and of graphs: a stream has few of either. */
enum { LISTS = 16 << 10 };

static uint64_t stream_bytes(ammpl_stream *s, int32_t rehearse)
{
    size_t scratch = s->rehearsing ? s->scratch_wanted : s->scratch_bytes;
    s->rehearsing = rehearse != 0;
    s->scratch_wanted = 0;
    return (uint64_t)WORKSPACE + SEGMENTS * SEGMENT_BYTES + s->graph_bytes + NUMBERS_BYTES + LISTS + scratch;
}

static int32_t stream_trim(ammpl_stream *s, uint64_t spare)
{
    TRY(graph_boundary(s));
    device_guard guard(s->device);
    CUDA(s->host, cudaStreamSynchronize(s->queue));
    graph_close(s);
    s->graph_bytes = spare < GRAPH_BYTES ? (size_t)spare : (size_t)GRAPH_BYTES;
    ammpl_cuda_release(s, s->scratch);
    s->scratch = NULL;
    s->scratch_bytes = 0;
    return AMMPL_OK;
}

static const ammpl_backend backend = {AMMPL_BACKEND_SPI_VERSION, sizeof(ammpl_backend), "cuda", &table, device_count,
                                      describe, memory, stream_create, stream_destroy, stream_bytes, stream_trim};

extern "C" __attribute__((visibility("default"))) int32_t ammpl_backend_entry(const ammpl_host *host, const ammpl_backend **out)
{
    *out = &backend;
    if (host->struct_size < sizeof(ammpl_host))
        return host->fail(AMMPL_E_BACKEND, "it was built for a newer libammpl than this one");
    return AMMPL_OK;
}
