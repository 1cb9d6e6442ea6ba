/* gemm.c - C[b] = alpha A[b] B[b] + beta C[b] for things that are learned: small, changing, not packed beforehand.
 *
 * A task is one block of rows x columns of one C; it copies its blocks of B (and of A when that is transposed) into
 * panels in its scratch and uses the same product() as linear.c, with the same order of sums.
 */
#include "cpu/kernels.h"

enum { DEPTH = 256, ROWS_MAX = 48, PANELS_MAX = 3 };
static_assert(ROWS_MAX * DEPTH + (DEPTH + ROWS_MAX) * PANELS_MAX * PANEL <= SCRATCH, "C and what is packed fit into the scratch");

typedef struct gemm_job {
    const ammpli_cpu_kernels *kernels;
    int64_t M, N, K, stride_a, stride_b, stride_c, row_blocks, column_blocks;
    float alpha, beta;
    const float *A, *B;
    float *C;
    int32_t trans_a, trans_b;
} gemm_job;

static int32_t check(ammpl_stream *s, const gemm_job *j, int64_t batch)
{
    REQUIRE(s, batch >= 0 && j->M >= 0 && j->N >= 0 && j->K >= 0, "gemm: a negative size");
    REQUIRE(s, batch <= 1 || j->stride_c != 0, "gemm: C's stride may be 0 only with batch 1");
    REQUIRE(s, batch * j->M * j->N == 0 || (j->C && (j->K == 0 || (j->A && j->B))), "gemm: A, B or C is NULL");
    return AMMPL_OK;
}

/* beta 0 overwrites C, whatever it held. */
static float blend(const gemm_job *j, float sum, float c)
{
    return j->beta != 0 ? j->alpha * sum + j->beta * c : j->alpha * sum;
}

int32_t ammpli_cpu_gemm_reference(ammpl_stream *s, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const float *A,
                                  int32_t trans_a, int64_t stride_a, const float *B, int32_t trans_b, int64_t stride_b,
                                  float beta, float *C, int64_t stride_c)
{
    gemm_job j = {.M = M, .N = N, .K = K, .stride_c = stride_c, .alpha = alpha, .beta = beta, .A = A, .B = B, .C = C};
    TRY(check(s, &j, batch));
    for (int64_t b = 0; b < batch; b++)
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) {
                const float *a = A + b * stride_a, *bb = B + b * stride_b;
                float sum = 0, *c = C + b * stride_c + m * N + n;
                for (int64_t k = 0; k < K; k++)
                    sum += a[trans_a ? k * M + m : m * K + k] * bb[trans_b ? n * K + k : k * N + n];
                *c = blend(&j, sum, *c);
            }
    return AMMPL_OK;
}

/* ---- fast path ---- */

static void gemm_task(void *arg, int64_t task, float *scratch)
{
    const gemm_job *j = arg;
    int64_t M = j->M, N = j->N, K = j->K, blocks = j->row_blocks * j->column_blocks, b = task / blocks;
    int64_t m0 = task % blocks / j->column_blocks * ROWS_MAX, n0 = task % j->column_blocks * PANELS_MAX * PANEL;
    int64_t rows = min64(ROWS_MAX, M - m0), columns = min64(PANELS_MAX * PANEL, N - n0), panels = ceil_div(columns, PANEL);
    const float *A = j->A + b * j->stride_a, *B = j->B + b * j->stride_b;
    float *C = j->C + b * j->stride_c;
    float *c = scratch, *packed_a = c + ROWS_MAX * PANELS_MAX * PANEL, *packed_b = packed_a + ROWS_MAX * DEPTH;
    if (columns % PANEL || K == 0) { /* columns past N are computed like the others, then dropped */
        memset(packed_b, 0, DEPTH * PANELS_MAX * PANEL * sizeof *packed_b);
        memset(c, 0, ROWS_MAX * PANELS_MAX * PANEL * sizeof *c);
    }
    for (int64_t k0 = 0; k0 < K; k0 += DEPTH) {
        int64_t depth = min64(DEPTH, K - k0), lda = j->trans_a ? DEPTH : K;
        const float *a = j->trans_a ? packed_a : A + m0 * K + k0;
        if (j->trans_a)
            j->kernels->transpose(packed_a, DEPTH, A + k0 * M + m0, M, depth, rows);
        for (int64_t p = 0; p < panels; p++) {
            float *panel = packed_b + p * DEPTH * PANEL;
            int64_t n = n0 + p * PANEL, width = min64(PANEL, N - n);
            if (j->trans_b)
                j->kernels->transpose(panel, PANEL, B + n * K + k0, K, width, depth);
            else
                for (int64_t k = 0; k < depth; k++)
                    memcpy(panel + k * PANEL, B + (k0 + k) * N + n, (size_t)width * sizeof(float));
        }
        j->kernels->product(c, PANELS_MAX * PANEL, a, lda, packed_b, DEPTH * PANEL, rows, panels, depth, k0 > 0);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < columns; i++) {
            float *out = C + (m0 + r) * N + n0 + i;
            *out = blend(j, c[r * PANELS_MAX * PANEL + i], *out);
        }
}

int32_t ammpli_cpu_gemm(ammpl_stream *s, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const float *A,
                        int32_t trans_a, int64_t stride_a, const float *B, int32_t trans_b, int64_t stride_b, float beta,
                        float *C, int64_t stride_c)
{
    gemm_job j = {.kernels = s->kernels, .M = M, .N = N, .K = K, .stride_a = stride_a, .stride_b = stride_b,
                  .stride_c = stride_c, .row_blocks = ceil_div(M, ROWS_MAX), .column_blocks = ceil_div(N, PANELS_MAX * PANEL),
                  .alpha = alpha, .beta = beta, .A = A, .B = B, .C = C, .trans_a = trans_a, .trans_b = trans_b};
    TRY(check(s, &j, batch));
    return ammpli_cpu_for_scratch(s, batch * j.row_blocks * j.column_blocks, batch * M * N * (K / 8 + 1), gemm_task, &j);
}
