/* cublas.cc - the products, column-major.  The order of its sum depends on the shape, as cuBLAS's does: nobody may rely on one. */
#include "stream.h"

#include <cublas_v2.h>

#include <algorithm>

namespace emu {
bool failure_due(void);
void lock(void);
void unlock(void);
} // namespace emu

struct emu_blas {
    cudaStream_t stream;
};

using namespace emu;

/* C [m,n] = alpha op(A) op(B) + beta C, one of a batch. */
struct product {
    bool ta, tb;
    int64_t m, n, k;
    float alpha, beta;
    const char *A, *B;
    float *C;
    int64_t lda, ldb, ldc;
    cudaDataType_t type; /* of the factors */
    bool tf32;
    int64_t size() const { return type == CUDA_R_32F ? 4 : 2; } /* bytes */
};

static void touch_columns(const void *p, int64_t size, int64_t rows, int64_t columns, int64_t ld, bool write, const char *what)
{
    for (int64_t j = 0; j < columns; j++)
        touch(static_cast<const char *>(p) + j * ld * size, static_cast<size_t>(rows * size), write, what);
}

static float f16_value(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    float size = exponent == 31 ? (fraction ? NAN : INFINITY) : exponent ? ldexpf(static_cast<float>(1024 + fraction), exponent - 25)
                                                                         : ldexpf(static_cast<float>(fraction), -24);
    return half >> 15 ? -size : size;
}

/* Element i of a factor, as the tensor cores see it. */
static float factor(const product &p, const char *x, int64_t i)
{
    uint32_t bits;
    if (p.size() == 2) {
        uint16_t half;
        memcpy(&half, x + 2 * i, 2);
        if (p.type == CUDA_R_16F)
            return f16_value(half);
        bits = static_cast<uint32_t>(half) << 16;
    } else {
        memcpy(&bits, x + 4 * i, 4);
        if (p.tf32 && (bits & 0x7f800000u) != 0x7f800000u) /* ten bits of fraction, to nearest */
            bits = (bits + 0xfffu + (bits >> 13 & 1)) & 0xffffe000u;
    }
    return __uint_as_float(bits);
}

static void multiply(const product &p)
{
    touch_columns(p.A, p.size(), p.ta ? p.k : p.m, p.ta ? p.m : p.k, p.lda, false, "A");
    touch_columns(p.B, p.size(), p.tb ? p.n : p.k, p.tb ? p.k : p.n, p.ldb, false, "B");
    if (p.beta != 0)
        touch_columns(p.C, 4, p.m, p.n, p.ldc, false, "C");
    touch_columns(p.C, 4, p.m, p.n, p.ldc, true, "C");
    size_t m = static_cast<size_t>(p.m);
    int64_t parts = 1 + (p.m * 7 + p.n * 3 + p.k) % 3, part = (p.k + parts - 1) / parts; /* split over k by shape */
    std::vector<float> a(m * static_cast<size_t>(p.k)), sum(m), total(m);
    for (int64_t k = 0; k < p.k; k++)
        for (int64_t i = 0; i < p.m; i++)
            a[static_cast<size_t>(k * p.m + i)] = factor(p, p.A, p.ta ? i * p.lda + k : k * p.lda + i);
    for (int64_t j = 0; j < p.n; j++) {
        std::fill(total.begin(), total.end(), 0.0f);
        for (int64_t from = 0; from < p.k; from += part) {
            std::fill(sum.begin(), sum.end(), 0.0f);
            for (int64_t k = from; k < std::min(from + part, p.k); k++) {
                float b = factor(p, p.B, p.tb ? k * p.ldb + j : j * p.ldb + k);
                const float *column = &a[static_cast<size_t>(k * p.m)];
                for (size_t i = 0; i < m; i++)
                    sum[i] += column[i] * b;
            }
            for (size_t i = 0; i < m; i++)
                total[i] += sum[i];
        }
        for (size_t i = 0; i < m; i++) {
            float *c = p.C + j * p.ldc + static_cast<int64_t>(i);
            *c = p.beta != 0 ? p.alpha * total[i] + p.beta * *c : p.alpha * total[i];
        }
    }
}

static bool valid(const product &p, int64_t count)
{
    return p.m >= 0 && p.n >= 0 && p.k >= 0 && count >= 0 && p.lda >= std::max<int64_t>(1, p.ta ? p.k : p.m) &&
           p.ldb >= std::max<int64_t>(1, p.tb ? p.n : p.k) && p.ldc >= std::max<int64_t>(1, p.m);
}

/* A batch at the addresses that A, B and C [count] hold when it runs. */
static void multiply_each(product p, const char *const *A, const char *const *B, float *const *C, int64_t count)
{
    size_t bytes = static_cast<size_t>(count) * sizeof(void *);
    touch(A, bytes, false, "the array of A");
    touch(B, bytes, false, "the array of B");
    touch(C, bytes, false, "the array of C");
    std::vector<const float *> columns;
    for (int64_t i = 0; i < count; i++) {
        if (p.tf32 && ((reinterpret_cast<uintptr_t>(A[i]) | reinterpret_cast<uintptr_t>(B[i]) | reinterpret_cast<uintptr_t>(C[i])) % 16 ||
                       p.lda % 4 || p.ldb % 4 || p.ldc % 4)) /* cuBLAS cannot look at the addresses before it chooses a kernel */
            fail("cublasGemmBatchedEx: with TF32 a matrix, or a row of it, does not begin at 16 bytes");
        for (int64_t j = 0; j < p.n; j++)
            columns.push_back(C[i] + j * p.ldc);
    }
    std::sort(columns.begin(), columns.end());
    for (size_t i = 1; i < columns.size(); i++)
        if (columns[i] - columns[i - 1] < p.m)
            fail("cublasGemmBatchedEx: the batch's C overlap");
    for (int64_t i = 0; i < count; i++) {
        p.A = A[i];
        p.B = B[i];
        p.C = C[i];
        multiply(p);
    }
}

#define BEGIN(status)                                          \
    struct guard {                                             \
        guard() { lock(); }                                    \
        ~guard() { unlock(); }                                 \
    } g;                                                       \
    if (failure_due())                                         \
        return status

extern "C" {

cublasStatus_t cublasCreate(cublasHandle_t *h)
{
    BEGIN(CUBLAS_STATUS_ALLOC_FAILED);
    *h = new emu_blas();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t h)
{
    lock();
    bool fails = failure_due(); /* and does its work, as cudaStreamDestroy */
    delete h;
    unlock();
    return fails ? CUBLAS_STATUS_NOT_INITIALIZED : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s)
{
    BEGIN(CUBLAS_STATUS_NOT_INITIALIZED);
    h->stream = s;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *workspace, size_t bytes)
{
    BEGIN(CUBLAS_STATUS_NOT_INITIALIZED);
    return workspace && bytes ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    BEGIN(CUBLAS_STATUS_NOT_INITIALIZED);
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    }
    return "an unknown status";
}

cublasStatus_t cublasGemmStridedBatchedEx_64(cublasHandle_t h, cublasOperation_t op_a, cublasOperation_t op_b, int64_t m, int64_t n,
                                             int64_t k, const void *alpha, const void *A, cudaDataType_t type_a, int64_t lda,
                                             long long stride_a, const void *B, cudaDataType_t type_b, int64_t ldb, long long stride_b,
                                             const void *beta, void *C, cudaDataType_t type_c, int64_t ldc, long long stride_c,
                                             int64_t count, cublasComputeType_t compute, cublasGemmAlgo_t)
{
    BEGIN(CUBLAS_STATUS_EXECUTION_FAILED);
    product p = {op_a == CUBLAS_OP_T, op_b == CUBLAS_OP_T, m, n, k, *static_cast<const float *>(alpha), *static_cast<const float *>(beta),
                 static_cast<const char *>(A), static_cast<const char *>(B), static_cast<float *>(C), lda, ldb, ldc,
                 type_a, compute == CUBLAS_COMPUTE_32F_FAST_TF32};
    if (!valid(p, count))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (type_a != type_b || type_c != CUDA_R_32F || (p.tf32 && type_a != CUDA_R_32F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (count > 1 && stride_c < ldc * n && stride_c > -ldc * n)
        fail("cublasGemmStridedBatchedEx: the batch's C overlap");
    counts->products++;
    enqueue(h->stream, "cublasGemmStridedBatchedEx", [=]() mutable {
        for (int64_t i = 0; i < count; i++, p.A += stride_a * p.size(), p.B += stride_b * p.size(), p.C += stride_c)
            if (m > 0 && n > 0)
                multiply(p);
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmBatchedEx_64(cublasHandle_t h, cublasOperation_t op_a, cublasOperation_t op_b, int64_t m, int64_t n, int64_t k,
                                      const void *alpha, const void *const *A, cudaDataType_t type_a, int64_t lda, const void *const *B,
                                      cudaDataType_t type_b, int64_t ldb, const void *beta, void *const *C, cudaDataType_t type_c,
                                      int64_t ldc, int64_t count, cublasComputeType_t compute, cublasGemmAlgo_t)
{
    BEGIN(CUBLAS_STATUS_EXECUTION_FAILED);
    product p = {op_a == CUBLAS_OP_T, op_b == CUBLAS_OP_T, m, n, k, *static_cast<const float *>(alpha), *static_cast<const float *>(beta),
                 NULL, NULL, NULL, lda, ldb, ldc, CUDA_R_32F, compute == CUBLAS_COMPUTE_32F_FAST_TF32};
    if (!valid(p, count))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (type_a != CUDA_R_32F || type_b != CUDA_R_32F || type_c != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    counts->products++;
    enqueue(h->stream, "cublasGemmBatchedEx", [=]() {
        if (m > 0 && n > 0)
            multiply_each(p, reinterpret_cast<const char *const *>(A), reinterpret_cast<const char *const *>(B),
                          reinterpret_cast<float *const *>(C), count);
    });
    return CUBLAS_STATUS_SUCCESS;
}

} // extern "C"
