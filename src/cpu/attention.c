/* attention.c - out = softmax(q k^T / sqrt(dh)) v per head, over ragged sequences, and its transpose.
 *
 * Fast path: a task is one head of one sequence (forward: one block of its queries).  Scores exist in blocks of
 * queries x keys on the stack only, whatever the length: the running maximum and sum of each query are corrected from
 * block to block of keys (Milakov & Gimelshein 2018; Dao et al. 2022).  Blocks of keys start at the sequence's own first
 * key, so a sequence's numbers do not depend on its neighbours, nor, when causal, on where it is cut.  Backward computes
 * the probabilities again.  A masked key counts with probability 0, so that what is not finite in it spreads to earlier
 * rows of the same sequence (as in PyTorch; the reference loops do not look at it).
 */
#include "cpu/kernels.h"

typedef struct attention_job {
    const ammpli_cpu_kernels *kernels;
    float *out; /* forward: out [T,D]; backward: dqkv [T,3D] */
    const float *dout, *fout, *qkv;
    const int32_t *start;
    int64_t D, H, dh, blocks, B;
    float scale;
    int32_t causal;
} attention_job;

static int32_t check(ammpl_stream *s, const float *a, const float *b, const int32_t *start, int64_t B, int64_t max_len,
                     int64_t T, int64_t D, int64_t H)
{
    REQUIRE(s, B >= 0 && max_len >= 0 && T >= 0 && D >= 1 && H >= 1 && D % H == 0,
            "attention: a negative size, or D is no multiple of H");
    REQUIRE(s, T == 0 || B == 0 || (a && b && start), "attention: an array is NULL");
    if (B == 0 || T == 0)
        return AMMPL_OK;
    bool ordered = start[0] == 0 && start[B] == T;
    for (int64_t i = 0; i < B; i++)
        ordered = ordered && start[i] <= start[i + 1] && start[i + 1] - start[i] <= max_len;
    REQUIRE(s, ordered, "attention: start does not go from 0 to T in steps of 0 to max_len");
    return AMMPL_OK;
}

/* ---- the definition: one query at a time, scores computed again wherever they are needed ---- */

static float score(const float *q, const float *k, int64_t dh, float scale)
{
    float sum = 0;
    for (int64_t d = 0; d < dh; d++)
        sum += q[d] * k[d];
    return sum * scale;
}

/* Largest score of a query over n keys, and the sum of e^(score - largest). */
static void normaliser(const float *q, const float *k, int64_t ld, int64_t n, int64_t dh, float scale, float *max, float *sum)
{
    *max = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        float s = score(q, k + i * ld, dh, scale);
        *max = s > *max ? s : *max;
    }
    *sum = 0;
    for (int64_t i = 0; i < n; i++)
        *sum += expf(score(q, k + i * ld, dh, scale) - *max);
}

static void forward_head_reference(void *arg, int64_t task, int worker)
{
    (void)worker;
    const attention_job *j = arg;
    int64_t D = j->D, dh = j->dh, b = task / j->H, h = task % j->H, L = j->start[b + 1] - j->start[b];
    const float *q = j->qkv + j->start[b] * 3 * D + h * dh, *k = q + D, *v = q + 2 * D;
    float *out = j->out + j->start[b] * D + h * dh;
    for (int64_t i = 0; i < L; i++) {
        int64_t n = j->causal ? i + 1 : L;
        float max, sum, *o = out + i * D;
        normaliser(q + i * 3 * D, k, 3 * D, n, dh, j->scale, &max, &sum);
        memset(o, 0, (size_t)dh * sizeof *o);
        for (int64_t m = 0; m < n; m++) {
            float p = expf(score(q + i * 3 * D, k + m * 3 * D, dh, j->scale) - max) / sum;
            for (int64_t d = 0; d < dh; d++)
                o[d] += p * v[m * 3 * D + d];
        }
    }
}

static void backward_head_reference(void *arg, int64_t task, int worker)
{
    (void)worker;
    const attention_job *j = arg;
    int64_t D = j->D, dh = j->dh, b = task / j->H, h = task % j->H, L = j->start[b + 1] - j->start[b];
    const float *q = j->qkv + j->start[b] * 3 * D + h * dh, *k = q + D, *v = q + 2 * D;
    const float *out = j->fout + j->start[b] * D + h * dh, *dout = j->dout + j->start[b] * D + h * dh;
    float *dq = j->out + j->start[b] * 3 * D + h * dh, *dk = dq + D, *dv = dq + 2 * D;
    for (int64_t i = 0; i < L; i++)
        for (int64_t d = 0; d < dh; d++)
            dq[i * 3 * D + d] = dk[i * 3 * D + d] = dv[i * 3 * D + d] = 0;
    for (int64_t i = 0; i < L; i++) {
        int64_t n = j->causal ? i + 1 : L;
        float max, sum, dot = score(dout + i * D, out + i * D, dh, 1);
        normaliser(q + i * 3 * D, k, 3 * D, n, dh, j->scale, &max, &sum);
        for (int64_t m = 0; m < n; m++) {
            float p = expf(score(q + i * 3 * D, k + m * 3 * D, dh, j->scale) - max) / sum;
            float ds = p * (score(dout + i * D, v + m * 3 * D, dh, 1) - dot) * j->scale;
            for (int64_t d = 0; d < dh; d++) {
                dv[m * 3 * D + d] += p * dout[i * D + d];
                dk[m * 3 * D + d] += ds * q[i * 3 * D + d];
                dq[i * 3 * D + d] += ds * k[m * 3 * D + d];
            }
        }
    }
}

static attention_job job(ammpl_stream *s, const float *qkv, const int32_t *start, int64_t B, int64_t D, int64_t H,
                         int32_t causal)
{
    return (attention_job){.kernels = s->kernels, .qkv = qkv, .start = start, .B = B, .D = D, .H = H, .dh = D / H,
                           .scale = 1.0f / sqrtf((float)(D / H)), .causal = causal};
}

int32_t ammpli_cpu_attention_forward_reference(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B,
                                               int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal)
{
    TRY(check(s, out, qkv, start, B, max_len, T, D, H));
    if (T == 0)
        return AMMPL_OK;
    attention_job j = job(s, qkv, start, B, D, H, causal);
    j.out = out;
    ammpli_cpu_for(s, B * H, T * max_len * D, forward_head_reference, &j);
    return AMMPL_OK;
}

int32_t ammpli_cpu_attention_backward_reference(ammpl_stream *s, float *dqkv, const float *dout, const float *out,
                                                const float *qkv, const int32_t *start, int64_t B, int64_t max_len, int64_t T,
                                                int64_t D, int64_t H, int32_t causal)
{
    TRY(check(s, dqkv, qkv, start, B, max_len, T, D, H));
    REQUIRE(s, T == 0 || (dout && out), "attention_backward: dout or out is NULL");
    if (T == 0)
        return AMMPL_OK;
    attention_job j = job(s, qkv, start, B, D, H, causal);
    j.out = dqkv;
    j.dout = dout;
    j.fout = out;
    ammpli_cpu_for(s, B * H, T * max_len * D, backward_head_reference, &j);
    return AMMPL_OK;
}

/* ---- fast path: heads of up to 128 ---- */

/* Queries and keys of a block, so that everything fits on the stack; a ViT's 50, 65 and 197 fill them well.  Blocks of
 * queries are cut evenly (rows do not know of each other), blocks of keys at fixed places: sums over them go in this order. */
enum { HEAD_SMALL = 64, HEAD_MAX = 128 };
enum { QUERIES = 80, KEYS = 128, QUERIES_LARGE = 64, KEYS_LARGE = 64 };                     /* forward, head <= 64, <= 128 */
enum { BACK_QUERIES = 68, BACK_KEYS = 80, BACK_QUERIES_LARGE = 48, BACK_KEYS_LARGE = 48 }; /* backward                    */
static_assert(QUERIES * KEYS + (QUERIES + 2 * KEYS) * HEAD_SMALL <= SCRATCH, "forward's scratch");
static_assert(QUERIES_LARGE * KEYS_LARGE + (QUERIES_LARGE + 2 * KEYS_LARGE) * HEAD_MAX <= SCRATCH, "the same, large heads");

/* Rows [n][dh], ld apart, as panels of [n][16]; places past dh are 0. */
static void pack(float *panels, int64_t stride, const float *src, int64_t ld, int64_t n, int64_t dh)
{
    for (int64_t p = 0; p * PANEL < dh; p++) {
        int64_t width = min64(PANEL, dh - p * PANEL);
        for (int64_t i = 0; i < n; i++) {
            float *to = panels + p * stride + i * PANEL;
            const float *from = src + i * ld + p * PANEL;
            if (width == PANEL) {
                memcpy(to, from, PANEL * sizeof *to);
                continue;
            }
            memcpy(to, from, (size_t)width * sizeof *to);
            memset(to + width, 0, (size_t)(PANEL - width) * sizeof *to);
        }
    }
}

/* The same rows turned around: panels of 16 rows as [dh][16]; rows past n are 0. */
static void pack_turned(const ammpli_cpu_kernels *kernels, float *panels, int64_t stride, const float *src, int64_t ld,
                        int64_t n, int64_t dh)
{
    for (int64_t p = 0; p * PANEL < n; p++) {
        float *to = panels + p * stride;
        int64_t width = min64(PANEL, n - p * PANEL);
        if (width < PANEL)
            memset(to, 0, (size_t)(dh * PANEL) * sizeof *to);
        kernels->transpose(to, PANEL, src + p * PANEL * ld, ld, width, dh);
    }
}

static void forward_block(void *arg, int64_t task, int worker)
{
    (void)worker;
    const attention_job *j = arg;
    const ammpli_cpu_kernels *kernels = j->kernels;
    int64_t D = j->D, dh = j->dh, block = task % j->blocks, h = task / j->blocks % j->H, b = task / j->blocks / j->H;
    int64_t L = j->start[b + 1] - j->start[b], most = dh <= HEAD_SMALL ? QUERIES : QUERIES_LARGE;
    int64_t KB = dh <= HEAD_SMALL ? KEYS : KEYS_LARGE, each = ceil_div(L, ceil_div(L, most) + !L);
    int64_t q0 = block * each, rows = min64(each, L - q0), padded = ceil_div(dh, PANEL) * PANEL;
    if (rows <= 0)
        return;
    const float *q = j->qkv + (j->start[b] + q0) * 3 * D + h * dh, *k = j->qkv + j->start[b] * 3 * D + D + h * dh;
    alignas(64) float scratch[SCRATCH], max[QUERIES], sum[QUERIES], factor[QUERIES];
    float *s = scratch, *o = s + most * KB, *k_panels = o + most * padded, *v_panels = k_panels + KB * padded;
    for (int64_t i = 0; i < rows; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
    }
    for (int64_t k0 = 0; k0 < (j->causal ? q0 + rows : L); k0 += KB) {
        int64_t keys = min64(KB, L - k0), wide = ceil_div(keys, PANEL) * PANEL;
        pack_turned(kernels, k_panels, dh * PANEL, k + k0 * 3 * D, 3 * D, keys, dh);
        pack(v_panels, KB * PANEL, k + D + k0 * 3 * D, 3 * D, keys, dh);
        kernels->product(s, KB, q, 3 * D, k_panels, dh * PANEL, rows, wide / PANEL, dh, false);
        kernels->softmax_block(s, KB, max, sum, factor, j->scale, rows, keys, wide, j->causal ? q0 + 1 - k0 : keys);
        if (k0)
            for (int64_t i = 0; i < rows; i++)
                for (int64_t d = 0; d < padded; d++)
                    o[i * padded + d] *= factor[i];
        kernels->product(o, padded, s, KB, v_panels, KB * PANEL, rows, padded / PANEL, keys, k0 > 0);
    }
    for (int64_t i = 0; i < rows; i++) {
        float *out = j->out + (j->start[b] + q0 + i) * D + h * dh, inverse = 1.0f / sum[i];
        for (int64_t d = 0; d < dh; d++)
            out[d] = o[i * padded + d] * inverse;
    }
}

int32_t ammpli_cpu_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B,
                                     int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal)
{
    if (H >= 1 && D / H > HEAD_MAX)
        return ammpli_cpu_attention_forward_reference(s, out, qkv, start, B, max_len, T, D, H, causal);
    TRY(check(s, out, qkv, start, B, max_len, T, D, H));
    if (T == 0)
        return AMMPL_OK;
    attention_job j = job(s, qkv, start, B, D, H, causal);
    j.out = out;
    j.blocks = ceil_div(max_len, j.dh <= HEAD_SMALL ? QUERIES : QUERIES_LARGE);
    ammpli_cpu_for(s, B * H * j.blocks, T * max_len * D / 4, forward_block, &j);
    return AMMPL_OK;
}

/* dst [n][dh], ld apart, += src [n][lds]. */
static void add_rows(float *dst, int64_t ld, const float *src, int64_t lds, int64_t n, int64_t dh)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < dh; d++)
            dst[i * ld + d] += src[i * lds + d];
}

/* With P the probabilities and dS = P (dout v^T - <dout, out>) scale:  dq = dS k,  dk = dS^T q,  dv = P^T dout.
 * A task is a whole head: dk and dv are sums over its queries. */
static void backward_head(void *arg, int64_t task, int worker)
{
    (void)worker;
    const attention_job *j = arg;
    const ammpli_cpu_kernels *kernels = j->kernels;
    int64_t D = j->D, dh = j->dh, ld = 3 * D, b = task / j->H, h = task % j->H, L = j->start[b + 1] - j->start[b];
    int64_t QB = dh <= HEAD_SMALL ? BACK_QUERIES : BACK_QUERIES_LARGE, KB = dh <= HEAD_SMALL ? BACK_KEYS : BACK_KEYS_LARGE;
    int64_t padded = ceil_div(dh, PANEL) * PANEL, each = ceil_div(L, ceil_div(L, QB) + !L);
    const float *q = j->qkv + j->start[b] * ld + h * dh, *k = q + D, *v = k + D;
    const float *out = j->fout + j->start[b] * D + h * dh, *dout = j->dout + j->start[b] * D + h * dh;
    float *dq = j->out + j->start[b] * ld + h * dh, *dk = dq + D, *dv = dk + D;
    alignas(64) float scratch[SCRATCH], max[BACK_QUERIES], sum[BACK_QUERIES], factor[BACK_QUERIES], dot[BACK_QUERIES];
    /* s, ds [QB][KB]; turned: s^T or ds^T, [KB][QB], and before that a [QB][dh] sum; the others [.][dh] as panels, `keys`
     * also a [KB][dh] sum. */
    float *s = scratch, *ds = s + QB * KB, *turned = ds + QB * KB, *keys_in = turned + QB * (KB > padded ? KB : padded);
    float *q_panels = keys_in + KB * padded, *dout_panels = q_panels + QB * padded;
    for (int64_t i = 0; i < L; i++)
        for (int part = 0; part < 3; part++)
            memset(dq + i * ld + part * D, 0, (size_t)dh * sizeof *dq);
    for (int64_t q0 = 0; q0 < L; q0 += each) {
        int64_t rows = min64(each, L - q0), end = j->causal ? q0 + rows : L, last = (end - 1) / KB * KB;
        pack(q_panels, QB * PANEL, q + q0 * ld, ld, rows, dh);
        pack(dout_panels, QB * PANEL, dout + q0 * D, D, rows, dh);
        for (int64_t i = 0; i < rows; i++) {
            max[i] = -INFINITY;
            sum[i] = 0;
            dot[i] = ammpli_cpu_dot(dout + (q0 + i) * D, out + (q0 + i) * D, dh);
        }
        /* Two sweeps over the keys: up for the normalisers, down for the gradients.  The last block's exponentials are
         * final when the sweep turns, so that short sequences need their scores once. */
        for (int64_t sweep = 0; sweep < 2 * (last / KB) + 1; sweep++) {
            bool up = sweep <= last / KB;
            int64_t k0 = up ? sweep * KB : 2 * last - sweep * KB, n = min64(KB, L - k0), wide = ceil_div(n, PANEL) * PANEL;
            int64_t seen = j->causal ? q0 + 1 - k0 : n;
            pack_turned(kernels, keys_in, dh * PANEL, k + k0 * ld, ld, n, dh);
            kernels->product(s, KB, q + q0 * ld, ld, keys_in, dh * PANEL, rows, wide / PANEL, dh, false);
            if (up)
                kernels->softmax_block(s, KB, max, sum, factor, j->scale, rows, n, wide, seen);
            if (k0 < last && up)
                continue;
            pack_turned(kernels, keys_in, dh * PANEL, v + k0 * ld, ld, n, dh);
            kernels->product(ds, KB, dout + q0 * D, D, keys_in, dh * PANEL, rows, wide / PANEL, dh, false);
            kernels->softmax_backward(s, ds, KB, up ? NULL : max, sum, dot, j->scale, rows, n, wide, seen);
            pack(keys_in, KB * PANEL, k + k0 * ld, ld, n, dh);
            kernels->product(turned, padded, ds, KB, keys_in, KB * PANEL, rows, padded / PANEL, n, false);
            add_rows(dq + q0 * ld, ld, turned, padded, rows, dh);
            kernels->transpose(turned, QB, ds, KB, rows, n);
            kernels->product(keys_in, padded, turned, QB, q_panels, QB * PANEL, n, padded / PANEL, rows, false);
            add_rows(dk + k0 * ld, ld, keys_in, padded, n, dh);
            kernels->transpose(turned, QB, s, KB, rows, n);
            kernels->product(keys_in, padded, turned, QB, dout_panels, QB * PANEL, n, padded / PANEL, rows, false);
            add_rows(dv + k0 * ld, ld, keys_in, padded, n, dh);
        }
    }
}
static_assert(3 * BACK_QUERIES * BACK_KEYS + (2 * BACK_QUERIES + BACK_KEYS) * HEAD_SMALL <= SCRATCH, "backward's scratch");
static_assert(2 * BACK_QUERIES_LARGE * BACK_KEYS_LARGE + (3 * BACK_QUERIES_LARGE + BACK_KEYS_LARGE) * HEAD_MAX <= SCRATCH,
              "the same, large heads");

int32_t ammpli_cpu_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *out, const float *qkv,
                                      const int32_t *start, int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H,
                                      int32_t causal)
{
    if (H >= 1 && D / H > HEAD_MAX)
        return ammpli_cpu_attention_backward_reference(s, dqkv, dout, out, qkv, start, B, max_len, T, D, H, causal);
    TRY(check(s, dqkv, qkv, start, B, max_len, T, D, H));
    REQUIRE(s, T == 0 || (dout && out), "attention_backward: dout or out is NULL");
    if (T == 0)
        return AMMPL_OK;
    attention_job j = job(s, qkv, start, B, D, H, causal);
    j.out = dqkv;
    j.dout = dout;
    j.fout = out;
    ammpli_cpu_for(s, B * H, T * max_len * D / 2, backward_head, &j);
    return AMMPL_OK;
}
