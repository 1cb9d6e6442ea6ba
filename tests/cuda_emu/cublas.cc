/* cublas.cc - the product, column-major.  The order of its sum depends on the shape, as cuBLAS's does: nobody may rely on one. */
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
    const float *A, *B;
    float *C;
    int64_t lda, ldb, ldc;
};

static void touch_columns(const float *p, int64_t rows, int64_t columns, int64_t ld, bool write, const char *what)
{
    for (int64_t j = 0; j < columns; j++)
        touch(p + j * ld, static_cast<size_t>(rows) * sizeof *p, write, what);
}

static void multiply(const product &p)
{
    touch_columns(p.A, p.ta ? p.k : p.m, p.ta ? p.m : p.k, p.lda, false, "A");
    touch_columns(p.B, p.tb ? p.n : p.k, p.tb ? p.k : p.n, p.ldb, false, "B");
    if (p.beta != 0)
        touch_columns(p.C, p.m, p.n, p.ldc, false, "C");
    touch_columns(p.C, p.m, p.n, p.ldc, true, "C");
    size_t m = static_cast<size_t>(p.m);
    int64_t parts = 1 + (p.m * 7 + p.n * 3 + p.k) % 3, part = (p.k + parts - 1) / parts; /* split over k by shape */
    std::vector<float> a(m * static_cast<size_t>(p.k)), sum(m), total(m);
    for (int64_t k = 0; k < p.k; k++)
        for (int64_t i = 0; i < p.m; i++)
            a[static_cast<size_t>(k * p.m + i)] = p.ta ? p.A[i * p.lda + k] : p.A[k * p.lda + i];
    for (int64_t j = 0; j < p.n; j++) {
        std::fill(total.begin(), total.end(), 0.0f);
        for (int64_t from = 0; from < p.k; from += part) {
            std::fill(sum.begin(), sum.end(), 0.0f);
            for (int64_t k = from; k < std::min(from + part, p.k); k++) {
                float b = p.tb ? p.B[k * p.ldb + j] : p.B[j * p.ldb + k];
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
    BEGIN(CUBLAS_STATUS_NOT_INITIALIZED);
    delete h;
    return CUBLAS_STATUS_SUCCESS;
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
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    }
    return "an unknown status";
}

cublasStatus_t cublasSgemmStridedBatched_64(cublasHandle_t h, cublasOperation_t op_a, cublasOperation_t op_b, int64_t m, int64_t n,
                                            int64_t k, const float *alpha, const float *A, int64_t lda, long long stride_a,
                                            const float *B, int64_t ldb, long long stride_b, const float *beta, float *C,
                                            int64_t ldc, long long stride_c, int64_t count)
{
    BEGIN(CUBLAS_STATUS_EXECUTION_FAILED);
    product p = {op_a == CUBLAS_OP_T, op_b == CUBLAS_OP_T, m, n, k, *alpha, *beta, A, B, C, lda, ldb, ldc};
    if (m < 0 || n < 0 || k < 0 || count < 0 || lda < std::max<int64_t>(1, p.ta ? k : m) || ldb < std::max<int64_t>(1, p.tb ? n : k) ||
        ldc < std::max<int64_t>(1, m))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (count > 1 && stride_c < ldc * n && stride_c > -ldc * n)
        fail("cublasSgemmStridedBatched: the batch's C overlap");
    counts->products++;
    enqueue(h->stream, "cublasSgemmStridedBatched", [=]() mutable {
        for (int64_t i = 0; i < count; i++, p.A += stride_a, p.B += stride_b, p.C += stride_c)
            if (m > 0 && n > 0)
                multiply(p);
    });
    return CUBLAS_STATUS_SUCCESS;
}

} // extern "C"
