/* cuda_runtime.h - stands in for the CUDA runtime, so that the .cu files compile as C++ and run on the CPU (../emu.h).
 *
 * Only what cuda/ uses is here.  Launches and shared memory go through the macros of cuda/common.cuh; everything that runs
 * inside a kernel calls the emulator by value, so that the compiler's instrumentation sees the kernel's own accesses only.
 */
#ifndef CUDA_EMU_CUDA_RUNTIME_H
#define CUDA_EMU_CUDA_RUNTIME_H

#include <math.h>
#include <new>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tuple>

#define CUDA_EMU 1

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

/* ---- types ---- */

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return float4{x, y, z, w};
}

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInitializationError = 3,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorECCUncorrectable = 214,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchFailure = 719,
    cudaErrorSystemNotReady = 802,
    cudaErrorUnknown = 999
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr { cudaDevAttrMemoryPoolsSupported = 115 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
enum cudaMemAllocationType { cudaMemAllocationTypePinned = 1 };
enum cudaMemLocationType { cudaMemLocationTypeDevice = 1 };
struct cudaMemLocation {
    cudaMemLocationType type;
    int id;
};
struct cudaMemPoolProps {
    cudaMemAllocationType allocType;
    cudaMemLocation location;
};
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};
typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
typedef struct emu_pool *cudaMemPool_t;
typedef struct emu_graph *cudaGraph_t;
typedef struct emu_graph *cudaGraphExec_t;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum { cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2, cudaHostAllocMapped = 2 };

/* ---- the runtime ---- */

extern "C" {
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorName(cudaError_t e);
const char *cudaGetErrorString(cudaError_t e);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to);

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *props);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);
cudaError_t cudaMallocFromPoolAsync(void **p, size_t bytes, cudaMemPool_t pool, cudaStream_t s);
cudaError_t cudaFreeAsync(void *p, cudaStream_t s);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t s);

/* ---- launches ---- */

typedef struct emu_kernel {
    const char *name;
    const void *function;
    dim3 grid, block;
    size_t shared; /* dynamic */
    void (*call)(void *parameters);
    void (*destroy)(void *parameters);
    void *parameters;
    size_t parameters_size;
} emu_kernel;
void cuda_emu_launch(const emu_kernel *k, cudaStream_t s);
cudaError_t cuda_emu_max_shared(const void *function, int bytes);

/* ---- inside a kernel ---- */

dim3 cuda_emu_thread(void);
dim3 cuda_emu_block(void);
dim3 cuda_emu_block_size(void);
dim3 cuda_emu_grid_size(void);
int cuda_emu_barrier(const char *file, int line, int predicate); /* how many predicates are not 0 */
/* kind: 0 from lane `which`, 1 from lane xor which, 2 vote: bits of lanes whose value is not 0, 3 nothing but meet */
uint32_t cuda_emu_warp(const char *file, int line, int kind, uint32_t mask, uint32_t value, int which);
void *cuda_emu_shared(const void *declaration, size_t bytes);
void *cuda_emu_dynamic_shared(void);
int cuda_emu_atomic(int *p, int kind, int value); /* kind 0 max, 1 or */
}

template <class... P, class... A>
static void cuda_emu_start(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t s, void (*kernel)(P...), A... args)
{
    struct parameters {
        void (*kernel)(P...);
        std::tuple<P...> values;
    };
    emu_kernel k = {};
    k.name = name;
    k.function = reinterpret_cast<const void *>(kernel);
    k.grid = grid;
    k.block = block;
    k.shared = shared;
    k.parameters = new parameters{kernel, std::tuple<P...>(args...)};
    k.parameters_size = sizeof(parameters);
    k.call = [](void *p) { std::apply(static_cast<parameters *>(p)->kernel, static_cast<parameters *>(p)->values); };
    k.destroy = [](void *p) { delete static_cast<parameters *>(p); };
    cuda_emu_launch(&k, s);
}

template <class F> static cudaError_t cudaFuncSetAttribute(F *function, cudaFuncAttribute, int value)
{
    return cuda_emu_max_shared(reinterpret_cast<const void *>(function), value);
}

#define threadIdx (cuda_emu_thread())
#define blockIdx (cuda_emu_block())
#define blockDim (cuda_emu_block_size())
#define gridDim (cuda_emu_grid_size())
#define __syncthreads() ((void)cuda_emu_barrier(__FILE__, __LINE__, 0))
#define __syncthreads_or(p) (cuda_emu_barrier(__FILE__, __LINE__, (p)) != 0)
#define __syncwarp() ((void)cuda_emu_warp(__FILE__, __LINE__, 3, 0xffffffffu, 0, 0))
#define __ballot_sync(mask, p) cuda_emu_warp(__FILE__, __LINE__, 2, mask, (p) != 0, 0)
#define __any_sync(mask, p) (cuda_emu_warp(__FILE__, __LINE__, 2, mask, (p) != 0, 0) != 0)
#define __shfl_sync(mask, v, lane) cuda_emu_shuffle(__FILE__, __LINE__, 0, mask, v, lane)
#define __shfl_xor_sync(mask, v, lanes) cuda_emu_shuffle(__FILE__, __LINE__, 1, mask, v, lanes)

template <class T> static inline T cuda_emu_shuffle(const char *file, int line, int kind, uint32_t mask, T value, int which)
{
    static_assert(sizeof(T) == 4, "shuffles of 4 bytes");
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    bits = cuda_emu_warp(file, line, kind, mask, bits, which);
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

static inline int atomicMax(int *p, int value)
{
    return cuda_emu_atomic(p, 0, value);
}
static inline int atomicOr(int *p, int value)
{
    return cuda_emu_atomic(p, 1, value);
}

static inline uint32_t __umulhi(uint32_t a, uint32_t b)
{
    return (uint32_t)(((uint64_t)a * b) >> 32);
}
static inline int __ffs(unsigned x)
{
    return __builtin_ffs((int)x);
}
static inline uint32_t __float_as_uint(float x)
{
    uint32_t u;
    __builtin_memcpy(&u, &x, 4);
    return u;
}
static inline float __uint_as_float(uint32_t u)
{
    float x;
    __builtin_memcpy(&x, &u, 4);
    return x;
}

#endif
