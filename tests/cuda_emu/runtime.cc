/* runtime.cc - the functions of the CUDA runtime, on top of stream.cc and memory.cc. */
#include "stream.h"

#include <memory>
#include <mutex>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct emu_pool {
    int device;
};

namespace emu {

uint64_t seed;
bool judging = CUDA_EMU_JUDGES;
static int devices = 1;
static std::recursive_mutex mutex;
static cudaError_t last_error;
static int64_t until_failure = -1;
static int failure;
static bool failure_stays, captures_refused;
static thread_local int current_device;

static cuda_emu_counts *make_counts(void)
{
    void *p = mmap(NULL, sizeof(cuda_emu_counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : static_cast<cuda_emu_counts *>(p);
}
cuda_emu_counts *counts = make_counts();

void fail(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "cuda_emu: %s (seed %llu)\n", text, static_cast<unsigned long long>(seed));
    fflush(stderr);
    abort();
}

/* Every call: the lock, a failure when one is asked for, some of the queued work; device memory is closed at its end. */
static void leave(void);
struct call {
    cudaError_t error;
    call() : error(cudaSuccess)
    {
        mutex.lock();
        if (until_failure == 0) {
            error = static_cast<cudaError_t>(failure);
            last_error = error;
            counts->failures++;
            if (!failure_stays)
                until_failure = -1;
        } else {
            until_failure -= until_failure > 0;
            go_on();
        }
    }
    ~call()
    {
        leave();
    }
    cudaError_t fails(cudaError_t e)
    {
        last_error = e;
        return e;
    }
};

#define BEGIN()                   \
    call c;                       \
    if (c.error != cudaSuccess)   \
        return c.error

/* Closing costs time for every page: after each synchronisation with every third seed, where nothing runs in between, and now
 * and then with the others. */
static void leave(void)
{
    if (draw() % 16 == 0)
        close_heap();
    mutex.unlock();
}

bool failure_due(void) /* for cublas.cc, whose statuses are others */
{
    if (until_failure != 0) {
        until_failure -= until_failure > 0;
        return false;
    }
    if (!failure_stays)
        until_failure = -1;
    counts->failures++;
    return true; /* the last error is that of cuBLAS's own runtime */
}

static void note_memory(bool anew)
{
    counts->device = bytes_total() - bytes_free();
    uint64_t now = counts->device + counts->pinned;
    counts->most = anew || now > counts->most ? now : counts->most;
}

void lock(void)
{
    mutex.lock();
    go_on();
}

void unlock(void)
{
    leave();
}

static void check_host(const void *p, const char *call, const char *argument)
{
    if (in_heap(p))
        fail("%s: %s is device memory, the host's was promised", call, argument);
}

static void check_device(const void *p, size_t n, const char *call, const char *argument)
{
    if (n && !in_heap(p))
        fail("%s: %s is %p, which is no device memory", call, argument, p);
}

} // namespace emu

using namespace emu;

extern "C" {

void cuda_emu_configure(uint64_t new_seed, size_t memory, int new_devices)
{
    drain_all();
    close_heap();
    set_seed(new_seed);
    set_total(memory);
    devices = new_devices;
    counts->queued = 0; /* what a killed process left is none of this one's */
    note_memory(true);
}

void cuda_emu_judge(int judge)
{
    drain_all();
    judging = judge != 0 && CUDA_EMU_JUDGES;
}

void cuda_emu_fail(int64_t n, int error, int for_ever)
{
    until_failure = n;
    failure = error;
    failure_stays = for_ever;
}

void cuda_emu_refuse_captures(int refuse)
{
    captures_refused = refuse != 0;
}

const cuda_emu_counts *cuda_emu_counted(void)
{
    return counts;
}

/* ---- devices ---- */

cudaError_t cudaGetDeviceCount(int *n)
{
    BEGIN();
    *n = devices > 0 ? devices : 0;
    return devices > 0 ? cudaSuccess : c.fails(devices == 0 ? cudaErrorNoDevice : cudaErrorInsufficientDriver);
}

cudaError_t cudaGetDevice(int *device)
{
    BEGIN();
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    BEGIN();
    if (device < 0 || device >= devices)
        return c.fails(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    BEGIN();
    if (device < 0 || device >= devices)
        return c.fails(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    strcpy(p->name, "emulated device");
    p->totalGlobalMem = bytes_total();
    p->major = 7;
    p->minor = 5;
    p->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int device)
{
    BEGIN();
    *value = device >= 0 && device < devices;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    BEGIN();
    *available = bytes_free();
    *total = bytes_total();
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    std::lock_guard<std::recursive_mutex> guard(mutex);
    cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {{cudaSuccess, "cudaSuccess", "no error"},
              {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
              {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
              {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
              {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
              {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
              {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"},
              {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
              {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
              {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
              {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
              {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
              {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
              {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
              {cudaErrorSystemNotReady, "cudaErrorSystemNotReady", "system not yet initialized"},
              {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"}};

const char *cudaGetErrorName(cudaError_t e)
{
    for (const auto &x : errors)
        if (x.error == e)
            return x.name;
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t e)
{
    for (const auto &x : errors)
        if (x.error == e)
            return x.text;
    return "unknown error";
}

/* ---- streams and events ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    BEGIN();
    *s = stream_new();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    call c; /* what destroys may tell a failure of before, and does its work: so with all of them */
    stream_delete(s);
    recycle();
    return c.error;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    BEGIN();
    counts->waits++;
    drain(s);
    if (seed % 3 == 1 || draw() % 4 == 0)
        close_heap();
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    BEGIN();
    enqueue_wait(s, e);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    BEGIN();
    *e = new emu_event();
    (*e)->timed = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    call c;
    drain_event(e);
    delete e;
    return c.error;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    BEGIN();
    enqueue_record(s, e);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    BEGIN();
    counts->waits += e->done < e->recorded;
    drain_event(e);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    BEGIN();
    if (!from->timed || !to->timed || !from->recorded || !to->recorded)
        return c.fails(cudaErrorInvalidResourceHandle);
    if (from->done < from->recorded || to->done < to->recorded)
        return c.fails(cudaErrorNotReady);
    *milliseconds = static_cast<float>(1e3 * (to->seconds - from->seconds));
    return cudaSuccess;
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    BEGIN();
    if (s->capturing || captures_refused)
        return c.fails(cudaErrorInvalidValue);
    s->capturing = new emu_graph();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph)
{
    call c; /* a failure that was asked for ends the capture, too */
    *graph = s->capturing;
    s->capturing = NULL;
    if (c.error != cudaSuccess) {
        delete *graph;
        *graph = NULL;
        return c.error;
    }
    return *graph ? cudaSuccess : c.fails(cudaErrorInvalidValue);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    BEGIN();
    *exec = new emu_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    BEGIN();
    counts->graphs++;
    for (const emu_graph::node &n : exec->nodes) {
        enqueue(s, n.name.c_str(), n.run);
        counts->alone--;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    call c;
    delete graph;
    return c.error;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    call c;
    delete exec;
    return c.error;
}

/* ---- memory ---- */

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    BEGIN();
    counts->allocations++;
    *p = allocate_pinned(bytes);
    note_memory(false);
    return *p ? cudaSuccess : c.fails(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *p)
{
    BEGIN();
    drain_all(); /* as the real one, it waits for the device */
    release_pinned(p);
    return cudaSuccess;
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *props)
{
    BEGIN();
    if (props->location.id < 0 || props->location.id >= devices)
        return c.fails(cudaErrorInvalidDevice);
    *pool = new emu_pool{props->location.id};
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *)
{
    BEGIN();
    return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t)
{
    BEGIN();
    return cudaSuccess;
}

cudaError_t cudaMallocFromPoolAsync(void **p, size_t bytes, cudaMemPool_t, cudaStream_t s)
{
    BEGIN();
    if (bytes == 0)
        return c.fails(cudaErrorInvalidValue);
    if (s->capturing)
        fail("memory is allocated on a stream that is captured");
    counts->allocations++;
    uint32_t born = enqueue(s, "cudaMallocFromPoolAsync", [] {})->id;
    *p = allocate(bytes, born);
    if (!*p) {
        drain_all(); /* what is about to be freed may do */
        *p = allocate(bytes, born);
    }
    note_memory(false);
    return *p ? cudaSuccess : c.fails(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t s)
{
    BEGIN();
    check_device(p, 1, "cudaFreeAsync", "the pointer");
    if (s->capturing)
        fail("memory is freed on a stream that is captured");
    counts->allocations++;
    enqueue(s, "cudaFreeAsync", [p] {
        allocation *a = find_allocation(p, 1, "frees");
        if (a->base != p)
            fail("cudaFreeAsync of a pointer into the middle of an allocation");
        check_users(a);
        release(a);
    });
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    BEGIN();
    if (kind == cudaMemcpyHostToDevice) {
        check_host(src, "cudaMemcpyAsync", "src");
        check_device(dst, bytes, "cudaMemcpyAsync", "dst");
    } else {
        check_device(src, bytes, "cudaMemcpyAsync", "src");
        kind == cudaMemcpyDeviceToHost ? check_host(dst, "cudaMemcpyAsync", "dst") : check_device(dst, bytes, "cudaMemcpyAsync", "dst");
    }
    if (kind == cudaMemcpyDeviceToDevice && bytes && static_cast<const char *>(dst) < static_cast<const char *>(src) + bytes &&
        static_cast<const char *>(src) < static_cast<const char *>(dst) + bytes)
        fail("cudaMemcpyAsync: the ranges overlap");
    counts->copies++;
    counts->downloads += kind == cudaMemcpyDeviceToHost;
    enqueue(s, "cudaMemcpyAsync", [=] { /* late: src is read now, not when the copy was asked for */
        if (kind == cudaMemcpyHostToDevice)
            touch(dst, bytes, true, "dst");
        else if (kind == cudaMemcpyDeviceToHost)
            touch(src, bytes, false, "src");
        else
            copy_record(dst, src, bytes);
        memcpy(dst, src, bytes);
    });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t s)
{
    BEGIN();
    check_device(dst, bytes, "cudaMemsetAsync", "dst");
    enqueue(s, "cudaMemsetAsync", [=] {
        touch(dst, bytes, true, "dst");
        memset(dst, value, bytes);
    });
    return cudaSuccess;
}

/* ---- launches: as in CUDA, what is wrong with one is found out by cudaGetLastError ---- */

void cuda_emu_launch(const emu_kernel *k, cudaStream_t s)
{
    call c;
    cudaError_t error = c.error == cudaSuccess ? check_launch(*k) : c.error;
    if (error != cudaSuccess) {
        last_error = error;
        k->destroy(k->parameters);
        return;
    }
    std::shared_ptr<emu_kernel> kept(new emu_kernel(*k), [](emu_kernel *last) { /* of a graph, perhaps */
        last->destroy(last->parameters);
        delete last;
    });
    enqueue(s, k->name, [kept] { run_kernel(*kept); });
}

} // extern "C"
