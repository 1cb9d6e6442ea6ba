/* gemm.cu - products of things that are learned, and the one way to cuBLAS.
 *
 * cuBLAS is column-major.  A row-major [R, C] is a column-major [C, R], so C = A B in rows is C^T = B^T A^T in columns: the
 * factors change places, and each is transposed for cuBLAS exactly when it is for us.
 */
#include "common.cuh"

static int32_t open_blas(ammpl_stream *s)
{
    if (!s->workspace)
        TRY(ammpl_cuda_alloc(s, WORKSPACE, &s->workspace));
    if (s->blas)
        return AMMPL_OK;
    cublasHandle_t blas;
    CUBLAS(s->host, cublasCreate(&blas));
    s->blas = blas;
    cublasStatus_t status = cublasSetStream(blas, s->queue);
    if (status == CUBLAS_STATUS_SUCCESS) /* after SetStream, which puts the default one back */
        status = cublasSetWorkspace(blas, s->workspace, WORKSPACE);
    if (status == CUBLAS_STATUS_SUCCESS)
        return AMMPL_OK;
    (void)cublasDestroy(blas);
    s->blas = NULL;
    return cublas_failed(s->host, status, "cublasSetWorkspace");
}

int32_t multiply(ammpl_stream *s, int32_t precision, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const void *A,
                 bool trans_a, int64_t stride_a, const void *B, bool trans_b, int64_t stride_b, float beta, float *C, int64_t stride_c)
{
    device_guard guard(s->device);
    TRY(open_blas(s));
    cudaDataType_t factor = precision == AMMPL_PRECISION_BF16  ? CUDA_R_16BF
                            : precision == AMMPL_PRECISION_F16 ? CUDA_R_16F
                                                               : CUDA_R_32F;
    cublasComputeType_t compute = precision == AMMPL_PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    CUBLAS(s->host, cublasGemmStridedBatchedEx_64(s->blas, trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, trans_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                                                  N, M, K, &alpha, B, factor, trans_b ? K : N, stride_b, A, factor, trans_a ? M : K,
                                                  stride_a, &beta, C, CUDA_R_32F, N, stride_c, batch, compute, CUBLAS_GEMM_DEFAULT));
    return AMMPL_OK;
}

int32_t multiply_each(ammpl_stream *s, int32_t precision, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, matrices A,
                      bool trans_a, matrices B, bool trans_b, matrices C)
{
    device_guard guard(s->device);
    TRY(open_blas(s));
    cublasComputeType_t compute = precision == AMMPL_PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    float beta = 0;
    CUBLAS(s->host, cublasGemmBatchedEx_64(s->blas, trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, trans_a ? CUBLAS_OP_T : CUBLAS_OP_N, N, M, K,
                                           &alpha, (const void *const *)B.at, CUDA_R_32F, B.ld, (const void *const *)A.at, CUDA_R_32F, A.ld,
                                           &beta, (void *const *)C.at, CUDA_R_32F, C.ld, batch, compute, CUBLAS_GEMM_DEFAULT));
    return AMMPL_OK;
}

/* C = beta C, where there is nothing to sum: beta 0 overwrites, whatever C held. */
static __global__ void scale_rows_kernel(float *C, int64_t size, int64_t stride, int64_t n, float beta)
{
    for (int64_t i = first_index(); i < n; i += index_step()) {
        float *c = C + i / size * stride + i % size;
        *c = beta != 0 ? beta * *c : 0;
    }
}

int32_t ammpl_cuda_gemm(ammpl_stream *s, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const float *A,
                        int32_t trans_a, int64_t stride_a, const float *B, int32_t trans_b, int64_t stride_b, float beta, float *C,
                        int64_t stride_c)
{
    REQUIRE(s, batch >= 0 && M >= 0 && N >= 0 && K >= 0, "gemm: a negative size");
    REQUIRE(s, batch <= 1 || stride_c != 0, "gemm: C's stride may be 0 only with batch 1");
    REQUIRE(s, batch * M * N == 0 || (C && (K == 0 || (A && B))), "gemm: A, B or C is NULL");
    if (batch * M * N == 0)
        return AMMPL_OK;
    if (K > 0)
        return multiply(s, AMMPL_PRECISION_F32, batch, M, N, K, alpha, A, trans_a != 0, stride_a, B, trans_b != 0, stride_b, beta, C, stride_c);
    LAUNCH(s, scale_rows_kernel, blocks_for(batch * M * N), THREADS, C, M * N, stride_c, batch * M * N, beta);
    return AMMPL_OK;
}
