/* common.cuh - inside of the CUDA backend: the stream, how kernels are started, how failures become statuses, reductions.
 *
 * The files are CUDA and, for tests/cuda_emu, C++ as well: kernels start through LAUNCH, shared memory is declared with SHARED,
 * and there is no PTX, no tensor-core intrinsic, no cooperative group.  One file per family of ops, named as in src/cpu.
 *
 * Same bits every time and whatever else is in the batch, as on the CPU: a sum goes in an order that depends on its own length
 * only, there are no float atomics, and the compiler contracts nothing (-fmad=false; fmaf where it is meant).  Products are
 * cuBLAS's: the same bits every time for the same shape, but not for another number of rows.
 */
#ifndef AMMPL_CUDA_COMMON_CUH
#define AMMPL_CUDA_COMMON_CUH

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <string.h>
#include <tuple>

#include <ammpl/ammpl_backend.h>

/* Statuses of ammpl.h, which a plug-in does not see. */
enum {
    AMMPL_OK = 0,
    AMMPL_E_ARGUMENT = -1,
    AMMPL_E_MEMORY = -2,
    AMMPL_E_DEVICE_MEMORY = -3,
    AMMPL_E_UNSUPPORTED = -7,
    AMMPL_E_BACKEND = -14,
    AMMPL_E_DEVICE_LOST = -15
};

/* ---- the two compilers ---- */

#ifdef CUDA_EMU
#define START_KERNEL(kernel, grid, block, shared, queue, ...) \
    cuda_emu_start(#kernel, grid, block, shared, queue, kernel, __VA_ARGS__)
#define SHARED(type, name, count)              \
    static const char name##_key = 0;          \
    type *name = static_cast<type *>(cuda_emu_shared(&name##_key, (count) * sizeof(type)))
#define UNROLL
enum { SCORE_BYTES = 40 << 10 }; /* so that tests see attention in several parts */
enum { GRAPH_BYTES = 1 << 20 }; /* and uploads that find no room */
#else
#define START_KERNEL(kernel, grid, block, shared, queue, ...) kernel<<<grid, block, shared, queue>>>(__VA_ARGS__)
#define SHARED(type, name, count) __shared__ type name[count]
#define UNROLL _Pragma("unroll")
enum { SCORE_BYTES = 32 << 20 }; /* of attention's scores at a time, which stay in the L2, and of gathered keys and values */
enum { GRAPH_BYTES = 64 << 20 }; /* of the host for the graphs of a stream, pinned memory and calls, at most: three batches of 32 pictures */
#endif

/* ---- the stream ---- */

enum { SEGMENTS = 4, SEGMENT_BYTES = 1 << 18 };

/* Pinned memory that uploads go through, so that the caller's array is free at once and nobody waits for the device: a ring of
 * segments, each with the event after which it may be written again. */
struct staging {
    char *memory; /* NULL until the first upload */
    cudaEvent_t done[SEGMENTS];
    int segment;
    size_t used; /* of it */
};

/* What a stream has allocated. */
struct device_block {
    void *ptr;
    size_t bytes;
    device_block *next;
};

/* What kernels find wrong in backend memory, in pinned memory that they write and the next download or sync reads. */
enum { FAULT_NONE = 0, FAULT_START = 1, FAULT_LABEL = 2 };

struct graphs; /* graph.cu */

struct ammpl_stream {
    const ammpl_host *host;
    int device, precision; /* AMMPL_PRECISION_* */
    cudaMemPool_t pool;
    cudaStream_t queue;
    cublasHandle_t blas; /* NULL until the first product */
    void *workspace;
    device_block *blocks;
    struct staging staging;
    volatile int32_t *fault;
    cudaEvent_t asked[2]; /* elapsed: one holds when it was last asked, the other one is next; NULL until then */
    int next_asked;
    float *scratch; /* of one op: see take_scratch */
    size_t scratch_bytes;
    bool rehearsing; /* ops launch nothing, and take_scratch only says what it would take */
    size_t scratch_wanted; /* at most, since rehearsing began */
    struct graphs *graphs; /* NULL until the first call */
    size_t graph_bytes; /* of the host for them, at most: GRAPH_BYTES, or less */
    void *numbers; /* [NUMBERS_BYTES] of the device; NULL until graph_numbers */
};

/* A frozen [N, K] as the file stores it: [N, K], or [K, N] when transposed. */
struct ammpl_weight {
    int64_t N, K;
    int32_t transposed, dtype; /* AMMPL_DTYPE_F32, or BF16 or F16 of a stream that multiplies so */
    float unit;                /* what a number in memory stands for: a power of two, 1 but where linear.cu rounded to F16 */
    void *value;
};

/* ---- failures ---- */

/* The status for a CUDA or cuBLAS failure, with a sentence that names the call. */
int32_t cuda_failed(const ammpl_host *host, cudaError_t error, const char *call);
int32_t cublas_failed(const ammpl_host *host, cublasStatus_t status, const char *call);
enum { FAILURE_TEXT = 400 };
const char *last_failure(void); /* this thread's last sentence, [FAILURE_TEXT] */

#define TRY(call)                   \
    do {                            \
        int32_t try_status = (call); \
        if (try_status < 0)         \
            return try_status;      \
    } while (0)
#define CUDA(host, call)                                       \
    do {                                                       \
        cudaError_t cuda_error = (call);                       \
        if (cuda_error != cudaSuccess)                         \
            return cuda_failed((host), cuda_error, #call);     \
    } while (0)
#define CUBLAS(host, call)                                     \
    do {                                                       \
        cublasStatus_t cublas_status = (call);                 \
        if (cublas_status != CUBLAS_STATUS_SUCCESS)            \
            return cublas_failed((host), cublas_status, #call); \
    } while (0)
#define REQUIRE(s, ok, sentence)                                \
    do {                                                        \
        if (!(ok))                                              \
            return (s)->host->fail(AMMPL_E_ARGUMENT, sentence); \
    } while (0)

/* The host program's current device is its own: it comes back when the op returns. */
struct device_guard {
    int before, changed;
    cudaError_t error; /* of making it the current one, and the call that gave it */
    const char *call;
    explicit device_guard(int device);
    ~device_guard();
};

/* Starts a kernel and returns its status from the op.  grid and block are dim3 or numbers. */
#define LAUNCH(s, kernel, grid, block, ...)                                                 \
    do {                                                                                    \
        if ((s)->rehearsing)                                                                \
            break;                                                                          \
        device_guard guard((s)->device);                                                    \
        START_KERNEL(kernel, dim3(grid), dim3(block), 0, (s)->queue, __VA_ARGS__);          \
        cudaError_t launched = cudaGetLastError();                                          \
        if (launched != cudaSuccess)                                                        \
            return cuda_failed((s)->host, launched, "launch of " #kernel);                  \
    } while (0)

/* ---- memory.cu ---- */

/* Memory for the op that asks, until the next op of this stream asks: what it held is gone.  REHEARSED: there is none, the op ends. */
enum { REHEARSED = INT32_MIN };
int32_t take_scratch(ammpl_stream *s, size_t bytes, float **out);
/* Pinned memory of the host, which counts as the device's does; NULL accepted by free_pinned. */
int32_t alloc_pinned(ammpl_stream *s, size_t bytes, void **out);
void free_pinned(ammpl_stream *s, void *memory, size_t bytes);
enum { WORKSPACE = 4 << 20 }; /* of cuBLAS, from our pool: with one of its own it would choose by what is free */

/* ---- gemm.cu ---- */

/* Row-major C [M,N] = alpha A B + beta C for a batch, K >= 1: the one place that knows that cuBLAS is column-major.
 * precision: what the factors may be rounded to; with AMMPL_PRECISION_BF16 or F16 they are that in memory. */
int32_t multiply(ammpl_stream *s, int32_t precision, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const void *A,
                 bool trans_a, int64_t stride_a, const void *B, bool trans_b, int64_t stride_b, float beta, float *C, int64_t stride_c);

/* Matrices of one shape, anywhere in device memory: where each begins, an array there, too, and how far its rows are apart. */
struct matrices {
    float *const *at;
    int64_t ld;
};

/* The same for matrices that lie anywhere: C = alpha A B each, in FP32 or TF32; with TF32 everything begins at 16 bytes, and every
 * row does. */
int32_t multiply_each(ammpl_stream *s, int32_t precision, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, matrices A,
                      bool trans_a, matrices B, bool trans_b, matrices C);

/* ---- attention.cu ---- */

/* dprefix [.,3D] += dk and dv [P,2D] of each of n sequences, in their order, which lie `stride` floats apart in aside; a sequence
 * whose group is -1 has none. */
int32_t add_prefixes(ammpl_stream *s, float *dprefix, const float *aside, int64_t stride, const int32_t *group, int64_t n, int64_t P,
                     int64_t D);

/* ---- attention_equal.cu ---- */

/* Whether the functions below take an op: sequences of one length, not short, with no more keys than a warp holds scores, the
 * prefix's among them, without causal mask, whose heads begin at 16 bytes, as products in TF32 want it.  o: out or dout; dqkv NULL:
 * forward. */
bool attention_is_equal(const float *qkv, const float *o, const float *dqkv, int64_t B, int64_t max_len, int64_t T, int64_t dh,
                        int32_t causal, int64_t P);

/* The ops of the same name for those, T = B L.  P 0: prefix, group are not read. */
int32_t equal_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t L, int64_t D,
                                int64_t H, float scale, const float *prefix, const int32_t *group, int64_t P);
int32_t equal_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *qkv, const int32_t *start, int64_t B,
                                 int64_t L, int64_t D, int64_t H, float scale, float *dprefix, const float *prefix, const int32_t *group,
                                 int64_t P);

/* ---- graph.cu ---- */

typedef int32_t (*queued_run)(ammpl_stream *s, const char *args);
/* An op with its arguments one after the other (bytes: a multiple of 8): done, or held back as part of a graph. */
int32_t graph_call(ammpl_stream *s, queued_run run, const char *args, size_t bytes);
int32_t graph_upload(ammpl_stream *s, void *dst, const void *src_host, size_t bytes);
/* Puts an op's arguments that change from step to step where its kernel, queued next, finds them: into s->numbers, by an upload. */
enum { NUMBERS_BYTES = 64 };
int32_t graph_numbers(ammpl_stream *s, const void *numbers, size_t bytes);
int32_t graph_boundary(ammpl_stream *s); /* what was held back is queued */
void graph_boundary_quietly(ammpl_stream *s); /* the same where no status can be returned: the next call returns it */
void graph_forget(ammpl_stream *s);      /* memory that ops hold between calls has moved */
bool graph_is_captured(const ammpl_stream *s); /* what ops queue now becomes one: memory may not come or go */
void graph_close(ammpl_stream *s);

static inline void put_argument(char **to, const void *value, size_t n)
{
    memcpy(*to, value, n);
    *to += n;
}

static inline void take_argument(const char **from, void *value, size_t n)
{
    memcpy(value, *from, n);
    *from += n;
}

/* A function of a stream whose calls are written down: its arguments as bytes, and back. */
template <auto OP> struct queued;
template <class... A, int32_t (*OP)(ammpl_stream *, A...)> struct queued<OP> {
    enum : size_t { BYTES = ((sizeof(A) + ...) + 7) / 8 * 8 };
    static int32_t run(ammpl_stream *s, const char *args)
    {
        std::tuple<A...> t;
        std::apply([&](A &...a) { (take_argument(&args, &a, sizeof a), ...); }, t);
        return std::apply([s](A... a) { return OP(s, a...); }, t);
    }
    static int32_t call(ammpl_stream *s, A... a)
    {
        char args[BYTES] = {}, *to = args;
        (put_argument(&to, &a, sizeof a), ...);
        if (!s->rehearsing)
            return graph_call(s, run, args, BYTES);
        int32_t status = OP(s, a...);
        return status == REHEARSED ? (int32_t)AMMPL_OK : status;
    }
};

/* ---- every op ---- */

/* Those that may become part of a graph; those that may in two parts, numbers that change from step to step and a kernel that reads
 * them; and those that end what comes before: the host waits in them, or memory comes or goes. */
#define CUDA_QUEUED(X) \
    X(copy) X(zero) X(linear_forward) X(linear_backward) X(gemm) \
    X(layernorm_forward) X(layernorm_backward) X(layernorm_weight_backward) X(softmax_forward) X(softmax_backward) \
    X(attention_forward) X(attention_backward) X(act_forward) X(act_backward) \
    X(rows_copy) X(rows_add) X(embed) X(scale) X(add) \
    X(l2norm_forward) X(l2norm_backward) X(dot_forward) X(dot_backward) X(cross_entropy_forward) X(cross_entropy_backward) \
    X(patches_forward) X(patches_backward) X(mask_mix_forward) X(mask_mix_backward) \
    X(finite_check)
#define CUDA_IN_PARTS(X) X(mask_draw) X(sgd) X(adamw)
#define CUDA_AT_ONCE(X) X(alloc) X(release) X(download) X(sync) X(elapsed) X(weight_create) X(weight_destroy)
#define CUDA_OPS(X) CUDA_QUEUED(X) CUDA_IN_PARTS(X) CUDA_AT_ONCE(X) X(upload)

/* Declares each op with the type of its slot, so that no definition can disagree with the table. */
template <class F> struct slot_type;
template <class F> struct slot_type<F *> {
    typedef F type;
};
#define DECLARE_OP(op) extern slot_type<decltype(ammpl_ops::op)>::type ammpl_cuda_##op;
CUDA_OPS(DECLARE_OP)
#undef DECLARE_OP

/* ---- shapes of launches ---- */

enum { THREADS = 256, WARP = 32, ROWS_PER_BLOCK = THREADS / WARP };

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Blocks of THREADS for n elements; a kernel's loop takes what does not fit. */
static inline unsigned blocks_for(int64_t n)
{
    int64_t blocks = ceil_div(n, THREADS), most = 1 << 20;
    return (unsigned)(blocks < most ? blocks : most);
}

/* Blocks for n rows, a warp each. */
static inline unsigned row_blocks(int64_t n)
{
    int64_t blocks = ceil_div(n, ROWS_PER_BLOCK), most = 1 << 20;
    return (unsigned)(blocks < most ? blocks : most);
}

/* for (int64_t i = first_index(); i < n; i += index_step()) */
__device__ __forceinline__ int64_t first_index(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ int64_t index_step(void)
{
    return (int64_t)gridDim.x * blockDim.x;
}

/* for (int64_t row = first_row(); row < n; row += row_step()): the same for all lanes of a warp */
__device__ __forceinline__ int64_t first_row(void)
{
    return (int64_t)blockIdx.x * ROWS_PER_BLOCK + threadIdx.x / WARP;
}

__device__ __forceinline__ int64_t row_step(void)
{
    return (int64_t)gridDim.x * ROWS_PER_BLOCK;
}

__device__ __forceinline__ int lane_index(void)
{
    return (int)(threadIdx.x % WARP);
}

/* ---- indexed rows that repeat (rows.cu) ---- */

/* Rows that repeat are added in the order of their places, by whoever owns the first of them: of all places with index[j] =
 * index[i] block i works when it is the first, and takes the others as they come.  Nobody needs to know how often rows repeat,
 * and each place is looked at by every block: n^2 comparisons of n rows, less work than the rows themselves until n is in
 * the hundred thousands.  Calls f(j) for those places, ascending, by all threads of the block together. */
template <class F> __device__ __forceinline__ void for_equal(const int32_t *index, int64_t i, int64_t n, F f)
{
    SHARED(unsigned, votes, THREADS / WARP);
    int32_t mine = index[i];
    for (int64_t from = 0; from < i; from += THREADS) { /* is another one the first? */
        int64_t j = from + threadIdx.x;
        if (__syncthreads_or(j < i && index[j] == mine))
            return;
    }
    for (int64_t from = i; from < n; from += THREADS) {
        int64_t j = from + threadIdx.x;
        unsigned vote = __ballot_sync(0xffffffffu, j < n && index[j] == mine);
        if (threadIdx.x % WARP == 0)
            votes[threadIdx.x / WARP] = vote;
        __syncthreads();
        for (int w = 0; w < THREADS / WARP; w++)
            for (unsigned left = votes[w]; left; left &= left - 1)
                f(from + w * WARP + __ffs((int)left) - 1);
        __syncthreads(); /* votes are written again */
    }
}

/* ---- reductions: every lane gets the result; halves are added as a tree, always the same one ---- */

#define ALL_LANES 0xffffffffu

__device__ __forceinline__ float warp_sum(float x)
{
    for (int half = WARP / 2; half; half /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, half);
    return x;
}

/* NaN may get lost: it comes back with e^(x - max). */
__device__ __forceinline__ float warp_max(float x)
{
    for (int half = WARP / 2; half; half /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, half));
    return x;
}

/* <a, b> of n, by the lanes of a warp. */
__device__ __forceinline__ float warp_dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;
    for (int64_t i = lane_index(); i < n; i += WARP)
        sum = fmaf(a[i], b[i], sum);
    return warp_sum(sum);
}

/* Mean and 1 / sqrt(variance + eps) of a row, by a warp: the mean first, then the mean square of the rest. */
__device__ __forceinline__ void moments(const float *x, int64_t D, float eps, float *mean, float *rstd)
{
    float sum = 0, square = 0;
    for (int64_t i = lane_index(); i < D; i += WARP)
        sum += x[i];
    *mean = warp_sum(sum) / (float)D;
    for (int64_t i = lane_index(); i < D; i += WARP) {
        float d = x[i] - *mean;
        square = fmaf(d, d, square);
    }
    *rstd = 1.0f / sqrtf(warp_sum(square) / (float)D + eps);
}

/* ---- numbers as files store them ---- */

/* A half as a float; no denormal appears on the way. */
__device__ __forceinline__ float from_f16(uint16_t h)
{
    uint32_t exponent = h & 0x7c00u, fraction = (h & 0x3ffu) << 13, sign = (uint32_t)(h & 0x8000u) << 16;
    if (exponent == 0) /* 2^-24 units: the float 2^-14 + fraction, less 2^-14 */
        return __uint_as_float(__float_as_uint(__uint_as_float(113u << 23 | fraction) - 6.103515625e-5f) | sign);
    uint32_t bits = (exponent << 13) + (112u << 23) + (exponent == 0x7c00u ? 112u << 23 : 0) + fraction;
    return __uint_as_float(bits | sign);
}

__device__ __forceinline__ float read_value(const void *src, int32_t dtype, int64_t i)
{
    if (dtype == AMMPL_DTYPE_F32)
        return ((const float *)src)[i];
    uint16_t h = ((const uint16_t *)src)[i];
    return dtype == AMMPL_DTYPE_F16 ? from_f16(h) : __uint_as_float((uint32_t)h << 16);
}

/* A float as a BF16, to nearest, ties to even; NaN stays NaN. */
__device__ __forceinline__ uint32_t to_bf16(float x)
{
    uint32_t u = __float_as_uint(x);
    return (u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 0x40u : (u + 0x7fffu + (u >> 16 & 1)) >> 16;
}

/* A float as an F16, to nearest, ties to even; NaN stays NaN, what is beyond becomes infinite. */
__device__ __forceinline__ uint32_t to_f16(float x)
{
    uint32_t u = __float_as_uint(x), sign = u >> 16 & 0x8000u, size = u & 0x7fffffffu;
    if (size > 0x7f800000u)
        return sign | 0x7e00u;
    if (size >= 143u << 23) /* 2^16 */
        return sign | 0x7c00u;
    if (size < 113u << 23) /* below 2^-14: 2^-24 units, as those of the float 0.5 + size */
        return sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - (126u << 23));
    return sign | (size - (112u << 23) + 0xfffu + (size >> 13 & 1)) >> 13;
}

/* ---- activations (activation.cu has the formulas) ---- */

__device__ __forceinline__ float act_value(float x, int32_t act)
{
    switch (act) {
    case AMMPL_ACT_QUICK_GELU: return x / (1.0f + expf(-1.702f * x));
    case AMMPL_ACT_GELU: return x * (0.5f * erfcf(x * -0.707106781f));
    case AMMPL_ACT_RELU: return x < 0 ? 0 : x;
    default: return x;
    }
}

__device__ __forceinline__ float act_slope(float x, int32_t act)
{
    switch (act) {
    case AMMPL_ACT_QUICK_GELU: {
        float g = 1.0f / (1.0f + expf(-1.702f * x));
        return g + 1.702f * x * g * (1.0f - g);
    }
    case AMMPL_ACT_GELU: return 0.5f * erfcf(x * -0.707106781f) + x * (expf(-0.5f * x * x) * 0.398942280f);
    case AMMPL_ACT_RELU: return x > 0 ? 1 : x * 0;
    default: return 1;
    }
}

#endif
