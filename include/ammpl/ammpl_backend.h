/* ammpl_backend.h - the table of functions that a backend fills (CPU: linked in; others: plug-ins).  C99.
 *
 * A plug-in is a shared object that exports one symbol, ammpl_backend_entry, and needs none of the library's.
 *
 * A backend computes in float32 on memory of its own.  Pointers called `float *` below are that memory: only ops may
 * follow them.  Every op queues work on a stream, returns a status, allocates nothing, and gives the same bits for any
 * number of threads; a row's or a sequence's result does not depend on what else is in the batch.  What is wrong with
 * numbers in that memory (labels, starts) may come to light later: then download or sync says so.
 *
 * Backward functions overwrite gradients of activations and add to gradients of parameters, except where a comment says
 * otherwise.  Frozen weights have no gradients.  Arrays are dense and row-major; shapes stand beside each pointer.
 * T rows (tokens of all sequences of a pass), D width, H heads, B sequences; sequence b owns rows start[b]..start[b+1]-1.
 */
#ifndef AMMPL_AMMPL_BACKEND_H
#define AMMPL_AMMPL_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AMMPL_BACKEND_SPI_VERSION 2

typedef struct ammpl_stream ammpl_stream; /* a queue of work with its scratch; one per session      */
typedef struct ammpl_weight ammpl_weight; /* a frozen [N, K] in the backend's form; begins with int64_t N, K */

/* What the library gives a backend.  Lives as long as the context. */
typedef struct ammpl_host {
    uint32_t struct_size, reserved;
    void *user;
    void *(*alloc)(void *user, size_t size); /* zeroed, 64-byte aligned host memory, or NULL */
    void (*release)(void *user, void *ptr);
    int32_t (*fail)(int32_t status, const char *message); /* records the sentence, returns status */
    int32_t (*threads)(void *user);
    /* fn(arg, i, worker) for i in 0..n-1 on the pool; worker in 0..threads-1 */
    void (*parallel)(void *user, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg);
    /* Bytes of a device's own memory taken, or of the host's that did not come from alloc, or given back (below 0): they count like
     * those of alloc. */
    void (*count)(void *user, int64_t bytes);
} ammpl_host;

enum { AMMPL_DTYPE_F32 = 1, AMMPL_DTYPE_F16 = 2, AMMPL_DTYPE_BF16 = 3 };
/* What a stream's linear layers may round their factors to; sums are in float32, and gemm (what is learned) is F32 always.  However
 * large or small the numbers of a weight or of a row are, rounding costs them no more than their last bits: F16 needs scales for that. */
enum { AMMPL_PRECISION_F32 = 0, AMMPL_PRECISION_TF32 = 1, AMMPL_PRECISION_BF16 = 2, AMMPL_PRECISION_F16 = 3 };
enum { AMMPL_WEIGHT_TRANSPOSED = 1, AMMPL_WEIGHT_KEEP_F16 = 2 }; /* flags of weight_create */
enum { AMMPL_ACT_NONE = 0, AMMPL_ACT_QUICK_GELU = 1, AMMPL_ACT_GELU = 2, AMMPL_ACT_RELU = 3 };
enum { AMMPL_MASK_SAMPLE = 0, AMMPL_MASK_EXPECTED = 1, AMMPL_MASK_THRESHOLD = 2 };

typedef struct ammpl_ops {
    uint32_t struct_size, reserved;

    /* ---- memory ---- */
    int32_t (*alloc)(ammpl_stream *s, size_t bytes, void **out); /* 64-byte aligned, not cleared */
    void (*release)(ammpl_stream *s, void *ptr);
    int32_t (*upload)(ammpl_stream *s, void *dst, const void *src_host, size_t bytes);
    int32_t (*download)(ammpl_stream *s, void *dst_host, const void *src, size_t bytes); /* waits */
    int32_t (*copy)(ammpl_stream *s, void *dst, const void *src, size_t bytes);
    int32_t (*zero)(ammpl_stream *s, void *dst, size_t bytes);
    int32_t (*sync)(ammpl_stream *s);
    /* Waits; *seconds since this was last asked of the stream, by the device's own clock, from the end of the work before to the
     * end of the work since (0 the first time). */
    int32_t (*elapsed)(ammpl_stream *s, double *seconds);

    /* ---- frozen linear layers ---- */
    /* Packs src_host [N, K] (or [K, N] with AMMPL_WEIGHT_TRANSPOSED) of AMMPL_DTYPE_* once, at load.  AMMPL_WEIGHT_KEEP_F16, with
     * F16 only, asks for half the memory and the same products, bit for bit; a backend may do without. */
    int32_t (*weight_create)(ammpl_stream *s, const void *src_host, int32_t dtype, int32_t flags, int64_t N, int64_t K,
                             ammpl_weight **out);
    void (*weight_destroy)(ammpl_stream *s, ammpl_weight *w);
    /* y = act(x W^T + bias) + residual.  bias, residual and pre may be NULL; pre receives the value before act;
     * residual may be y itself. */
    int32_t (*linear_forward)(ammpl_stream *s, float *y /*[T,N]*/, float *pre /*[T,N]*/, const float *x /*[T,K]*/,
                              const ammpl_weight *w, const float *bias /*[N]*/, const float *residual /*[T,N]*/,
                              int32_t act, int64_t T);
    /* dx = dy W; with pre: dx = (dy W) * act'(pre), the gradient before the activation that produced x. */
    int32_t (*linear_backward)(ammpl_stream *s, float *dx /*[T,K]*/, const float *dy /*[T,N]*/, const ammpl_weight *w,
                               const float *pre /*[T,K]*/, int32_t act, int64_t T);

    /* ---- products without packed weights: C[b] = alpha A[b] B[b] + beta C[b] for b < batch ---- */
    /* A [M,K] (trans_a: stored [K,M]), B [K,N] (trans_b: stored [N,K]), C [M,N], batches stride_* floats apart
     * (0: shared; C's stride may be 0 only with batch 1). */
    int32_t (*gemm)(ammpl_stream *s, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const float *A,
                    int32_t trans_a, int64_t stride_a, const float *B, int32_t trans_b, int64_t stride_b, float beta,
                    float *C, int64_t stride_c);

    /* ---- transformer ---- */
    int32_t (*layernorm_forward)(ammpl_stream *s, float *y /*[T,D]*/, const float *x /*[T,D]*/, const float *gamma /*[D]*/,
                                 const float *beta /*[D]*/, int64_t T, int64_t D, float eps);
    /* dx = LN'(x)^T dy + residual; residual (may be NULL) may be dx itself. */
    int32_t (*layernorm_backward)(ammpl_stream *s, float *dx /*[T,D]*/, const float *dy /*[T,D]*/, const float *x /*[T,D]*/,
                                  const float *gamma /*[D]*/, const float *residual /*[T,D]*/, int64_t T, int64_t D,
                                  float eps);
    /* dgamma += sum over rows of dy * (x - mean) / std, dbeta += sum of dy, t ascending: for a LayerNorm that is learned. */
    int32_t (*layernorm_weight_backward)(ammpl_stream *s, float *dgamma /*[D]*/, float *dbeta /*[D]*/, const float *dy /*[T,D]*/,
                                         const float *x /*[T,D]*/, int64_t T, int64_t D, float eps);
    /* y = softmax(scale x) per row; dx = scale y (dy - <y, dy>).  y may be x, dx may be dy. */
    int32_t (*softmax_forward)(ammpl_stream *s, float *y /*[n,D]*/, const float *x /*[n,D]*/, float scale, int64_t n, int64_t D);
    int32_t (*softmax_backward)(ammpl_stream *s, float *dx /*[n,D]*/, const float *dy /*[n,D]*/, const float *y /*[n,D]*/,
                                float scale, int64_t n, int64_t D);
    /* out = softmax(q k^T / sqrt(D/H), causal: keys up to the query) v per head; qkv rows are [q | k | v].
     * start [B+1] int32 in backend memory; max_len >= every sequence's length, total rows T = start[B].
     * Sequences that begin alike share what they begin with: where group[b] >= 0, sequence b reads as if the P rows of prefix
     * from group[b] P on stood before its own (their queries are not asked), to the bit; but close to it where a device takes
     * sequences of one length together, as products of another shape.  P 0: prefix, group are not read. */
    int32_t (*attention_forward)(ammpl_stream *s, float *out /*[T,D]*/, const float *qkv /*[T,3D]*/, const int32_t *start,
                                 int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal,
                                 const float *prefix /*[.,3D]*/, const int32_t *group /*[B]*/, int64_t P);
    /* Overwrites dqkv; adds to the keys and values of dprefix (like prefix), sequences ascending, so that a pass cut into parts
     * gives the same bits (close ones, as above).  dprefix may be no part of dqkv. */
    int32_t (*attention_backward)(ammpl_stream *s, float *dqkv /*[T,3D]*/, const float *dout /*[T,D]*/,
                                  const float *out /*[T,D]*/, const float *qkv /*[T,3D]*/, const int32_t *start, int64_t B,
                                  int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal, float *dprefix /*[.,3D]*/,
                                  const float *prefix /*[.,3D]*/, const int32_t *group /*[B]*/, int64_t P);
    /* y = act(x); dx = dy * act'(x). */
    int32_t (*act_forward)(ammpl_stream *s, float *y, const float *x, int64_t n, int32_t act);
    int32_t (*act_backward)(ammpl_stream *s, float *dx, const float *dy, const float *x, int64_t n, int32_t act);

    /* ---- rows ---- */
    /* dst[di[i]] = src[si[i]] / dst[di[i]] += src[si[i]], i = 0..n-1, in this order for equal di.  di or si NULL: i itself;
     * index arrays are int32 in backend memory. */
    int32_t (*rows_copy)(ammpl_stream *s, float *dst /*[.,D]*/, const int32_t *di, const float *src /*[.,D]*/,
                         const int32_t *si, int64_t n, int64_t D);
    int32_t (*rows_add)(ammpl_stream *s, float *dst /*[.,D]*/, const int32_t *di, const float *src /*[.,D]*/,
                        const int32_t *si, int64_t n, int64_t D);
    /* y[i] = table[id[i]], a table of AMMPL_DTYPE_* rows in backend memory. */
    int32_t (*embed)(ammpl_stream *s, float *y /*[n,D]*/, const void *table, int32_t dtype, const int32_t *id /*[n]*/,
                     int64_t n, int64_t D);
    int32_t (*scale)(ammpl_stream *s, float *x, float a, int64_t n); /* x *= a */
    int32_t (*add)(ammpl_stream *s, float *y, const float *x, float a, int64_t n); /* y += a x */

    /* ---- features and loss ---- */
    /* y = x / |x| per row, norm receives |x|; dx = (dy - y <y, dy>) / |x|. */
    int32_t (*l2norm_forward)(ammpl_stream *s, float *y /*[n,D]*/, float *norm /*[n]*/, const float *x /*[n,D]*/, int64_t n,
                              int64_t D);
    int32_t (*l2norm_backward)(ammpl_stream *s, float *dx /*[n,D]*/, const float *dy /*[n,D]*/, const float *y /*[n,D]*/,
                               const float *norm /*[n]*/, int64_t n, int64_t D);
    /* out[i] = a <x[xi[i]], y[yi[i]]>, and adds a dout[i] y[yi[i]] to dx[xi[i]] and a dout[i] x[xi[i]] to dy[yi[i]]
     * (either may be NULL), i ascending.  xi, yi int32 in backend memory, NULL: i itself. */
    int32_t (*dot_forward)(ammpl_stream *s, float *out /*[n]*/, const float *x, const int32_t *xi, const float *y,
                           const int32_t *yi, float a, int64_t n, int64_t D);
    int32_t (*dot_backward)(ammpl_stream *s, float *dx, float *dy, const float *dout /*[n]*/, const float *x,
                            const int32_t *xi, const float *y, const int32_t *yi, float a, int64_t n, int64_t D);
    /* loss[b] = logsumexp(logits[b]) - logits[b][label[b]]; dlogits = weight * (softmax - onehot). */
    int32_t (*cross_entropy_forward)(ammpl_stream *s, float *loss /*[B]*/, const float *logits /*[B,C]*/,
                                     const int32_t *label /*[B]*/, int64_t B, int64_t C);
    int32_t (*cross_entropy_backward)(ammpl_stream *s, float *dlogits /*[B,C]*/, const float *logits /*[B,C]*/,
                                      const int32_t *label /*[B]*/, float weight, int64_t B, int64_t C);

    /* ---- images ---- */
    /* patches[b, p] = the q*q*3 pixels of patch p = (row, column), channel first: the rows that conv1 multiplies. */
    int32_t (*patches_forward)(ammpl_stream *s, float *patches /*[B,P,3qq]*/, const float *pixels /*[B,3,gq,gq]*/, int64_t B,
                               int64_t g, int64_t q);
    int32_t (*patches_backward)(ammpl_stream *s, float *dpixels /*[B,3,gq,gq]*/, const float *dpatches /*[B,P,3qq]*/,
                                int64_t B, int64_t g, int64_t q);
    /* Masks of n pictures: SAMPLE m = u < clamp(prob, 0, 1) with the Philox uniform of counter
     * {purpose<<24 | patch, hash[i], id[i], step} under seed; EXPECTED m = clamp(prob, 0, 1); THRESHOLD m = prob >= 0.5.
     * prob row pi[i]; pi, hash, id in backend memory; hash, id may be NULL (0). */
    int32_t (*mask_draw)(ammpl_stream *s, float *m /*[n,P]*/, const float *prob /*[.,P]*/, const int32_t *pi /*[n]*/,
                         const uint32_t *hash /*[n]*/, const uint32_t *id /*[n]*/, uint64_t seed, uint32_t purpose,
                         uint32_t step, int32_t mode, int64_t n, int64_t P);
    /* token[e,p] = m[mi[e],p] image[ii[e],p] + (1 - m) pad[ki[e]] (pad NULL: 0), by linearity of the patch embedding
     * (shortcut 7).  Index arrays int32 in backend memory. */
    int32_t (*mask_mix_forward)(ammpl_stream *s, float *token /*[n,P,D]*/, const float *m /*[.,P]*/, const int32_t *mi,
                                const float *image /*[.,P,D]*/, const int32_t *ii, const float *pad /*[.,D]*/,
                                const int32_t *ki, int64_t n, int64_t P, int64_t D);
    /* Adds to dpad[ki[e]] the sum over patches of (1 - m) dtoken (dpad may be NULL) and overwrites
     * dm[e,p] = <dtoken[e,p], image[ii[e],p] - blend * pad[ki[e]]> (dm may be NULL; blend 0 or 1). */
    int32_t (*mask_mix_backward)(ammpl_stream *s, float *dm /*[n,P]*/, float *dpad /*[.,D]*/,
                                 const float *dtoken /*[n,P,D]*/, const float *m /*[.,P]*/, const int32_t *mi,
                                 const float *image /*[.,P,D]*/, const int32_t *ii, const float *pad /*[.,D]*/,
                                 const int32_t *ki, float blend, int64_t n, int64_t P, int64_t D);

    /* ---- updates ---- */
    int32_t (*sgd)(ammpl_stream *s, float *p, float *momentum, const float *g, float lr, float mu, float decay, int64_t n);
    /* AdamW, decoupled decay; step counts from 1. */
    int32_t (*adamw)(ammpl_stream *s, float *p, float *m, float *v, const float *g, float lr, float beta1, float beta2,
                     float eps, float decay, int64_t step, int64_t n);
    /* *flag (backend memory, int32) becomes 1 when any x is NaN or infinite; otherwise it stays. */
    int32_t (*finite_check)(ammpl_stream *s, int32_t *flag, const float *x, int64_t n);
} ammpl_ops;

/* Function pointers in ammpl_ops: a table or a test list that misses one does not compile. */
#define AMMPL_OPS_COUNT ((sizeof(ammpl_ops) - 2 * sizeof(uint32_t)) / sizeof(void (*)(void)))

typedef struct ammpl_backend {
    uint32_t spi_version, struct_size; /* first, for ever */
    const char *name;
    const ammpl_ops *ops;
    /* Devices 0..n-1 that can compute here; with none a status and a sentence that says why. */
    int32_t (*device_count)(const ammpl_host *host, int32_t *n);
    /* One line for people: "AVX2+FMA, 2 threads". */
    void (*describe)(const ammpl_host *host, int32_t device, char *text, size_t cap);
    /* Bytes of the device's memory: free now, and all of it. */
    int32_t (*memory)(const ammpl_host *host, int32_t device, uint64_t *available, uint64_t *total);
    /* precision: AMMPL_PRECISION_*; AMMPL_E_UNSUPPORTED where the backend has no such.  Weights go with streams of their own. */
    int32_t (*stream_create)(const ammpl_host *host, int32_t device, int32_t precision, ammpl_stream **out);
    void (*stream_destroy)(ammpl_stream *s); /* waits for what is queued; NULL accepted */
    /* Bytes that the stream takes at most beside what alloc is asked for, of the device and of the host: what it may take whatever it is
     * asked for, and the scratch that it has.  From a call with rehearse = 1 until one with 0, linear_*, attention_*,
     * layernorm_weight_backward and mask_mix_backward compute nothing and follow no pointer but a weight, and no other op is asked for;
     * the latter call counts, in place of the scratch that there is, what these ops would take.  NULL: nothing. */
    uint64_t (*stream_bytes)(ammpl_stream *s, int32_t rehearse);
    /* Gives back its scratch, and from now on takes at most `spare` bytes (those it has are given back, too) for what only saves time: part
     * of what stream_bytes says, as much as the stream likes until this is asked.  NULL: there is no such thing. */
    int32_t (*stream_trim)(ammpl_stream *s, uint64_t spare);
} ammpl_backend;

/* What a plug-in exports under this name.  Gives its table, or a status with a sentence through host->fail.  The host
 * compares spi_version and struct_size before it looks at anything else. */
#define AMMPL_BACKEND_ENTRY "ammpl_backend_entry"
typedef int32_t (*ammpl_backend_entry_fn)(const ammpl_host *host, const ammpl_backend **out);

#ifdef __cplusplus
}
#endif
#endif /* AMMPL_AMMPL_BACKEND_H */
