/* inside.c - see examples/bench_inside.h.  Part of ammpl-bench, not of the library. */
#include "bench_inside.h"

#include <stdlib.h>

#include "clip/tower.h"
#include "cpu/kernels.h"
#include "method/session.h"

#ifdef WITH_OPENBLAS
#include <cblas.h>
void openblas_set_num_threads(int n);
#endif

/* ---- counting ---- */

static double counted;

static int32_t count_linear_forward(ammpl_stream *s, float *y, float *pre, const float *x, const ammpl_weight *w, const float *bias,
                                    const float *residual, int32_t act, int64_t T)
{
    counted += 2.0 * (double)T * (double)w->N * (double)w->K;
    return ammpli_cpu_ops.linear_forward(s, y, pre, x, w, bias, residual, act, T);
}

static int32_t count_linear_backward(ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w, const float *pre, int32_t act,
                                     int64_t T)
{
    counted += 2.0 * (double)T * (double)w->N * (double)w->K;
    return ammpli_cpu_ops.linear_backward(s, dx, dy, w, pre, act, T);
}

static int32_t count_gemm(ammpl_stream *s, int64_t batch, int64_t M, int64_t N, int64_t K, float alpha, const float *A,
                          int32_t trans_a, int64_t stride_a, const float *B, int32_t trans_b, int64_t stride_b, float beta, float *C,
                          int64_t stride_c)
{
    counted += 2.0 * (double)batch * (double)M * (double)N * (double)K;
    return ammpli_cpu_ops.gemm(s, batch, M, N, K, alpha, A, trans_a, stride_a, B, trans_b, stride_b, beta, C, stride_c);
}

/* Products of attention: 2 forward, 5 backward, over whole blocks of queries x keys. */
static double attention_flop(const int32_t *start, int64_t B, int64_t D, const int32_t *group, int64_t P, double products)
{
    double pairs = 0;
    for (int64_t b = 0; b < B; b++) {
        double L = start[b + 1] - start[b];
        pairs += L * (L + (P > 0 && group[b] >= 0 ? (double)P : 0));
    }
    return products * 2.0 * pairs * (double)D;
}

static int32_t count_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B, int64_t max_len,
                                       int64_t T, int64_t D, int64_t H, int32_t causal, const float *prefix, const int32_t *group,
                                       int64_t P)
{
    counted += attention_flop(start, B, D, group, P, 2);
    return ammpli_cpu_ops.attention_forward(s, out, qkv, start, B, max_len, T, D, H, causal, prefix, group, P);
}

static int32_t count_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *out, const float *qkv,
                                        const int32_t *start, int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H,
                                        int32_t causal, float *dprefix, const float *prefix, const int32_t *group, int64_t P)
{
    counted += attention_flop(start, B, D, group, P, 5);
    return ammpli_cpu_ops.attention_backward(s, dqkv, dout, out, qkv, start, B, max_len, T, D, H, causal, dprefix, prefix, group, P);
}

static ammpl_ops counting_ops;

static const ammpl_ops *counting(void)
{
    counting_ops = ammpli_cpu_ops;
    counting_ops.linear_forward = count_linear_forward;
    counting_ops.linear_backward = count_linear_backward;
    counting_ops.gemm = count_gemm;
    counting_ops.attention_forward = count_attention_forward;
    counting_ops.attention_backward = count_attention_backward;
    return &counting_ops;
}

static const ammpli_cpu_kernels *chosen;

static const ammpli_cpu_kernels *kernels(void)
{
    return chosen ? chosen : ammpli_cpu_best_kernels();
}

void inside_count(ammpl_session *s)
{
    s->engine.ops = counting();
    s->engine.stream->kernels = kernels();
    counted = 0;
}

double inside_counted(void)
{
    double n = counted;
    counted = 0;
    return n;
}

/* ---- kernels ---- */

const char *inside_kernels(int *width)
{
    *width = kernels()->width;
    return kernels()->name;
}

int inside_use_kernels(const char *name)
{
    static const ammpli_cpu_kernels *const all[] = {
        &ammpli_cpu_kernels_x4,
#if defined(__x86_64__)
        &ammpli_cpu_kernels_avx2, &ammpli_cpu_kernels_avx512,
#endif
    };
    chosen = NULL;
    for (size_t i = 0; name && i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i]->name, name) == 0 && all[i]->supported())
            chosen = all[i];
    return name && !chosen;
}

/* ---- work on arrays ---- */

typedef struct arrays {
    ammpl_context *ctx;
    ammpl_stream *s;
    float *x, *y, *z, *u;
    ammpl_weight *w;
    float *plain; /* the weight as it is */
    int32_t *start;
    int64_t T, N, K, B, L, D, H;
    int causal, backward;
} arrays;

static void arrays_close(struct inside_work *w)
{
    arrays *a = w->state;
    if (!a)
        return;
    if (a->s) {
        ammpli_cpu_ops.weight_destroy(a->s, a->w);
        ammpli_cpu_backend.stream_destroy(a->s);
    }
    free(a->x), free(a->y), free(a->z), free(a->u), free(a->plain), free(a->start), free(a);
    w->state = NULL;
}

static float *numbers(int64_t n)
{
    float *p = aligned_alloc(64, ((size_t)n * sizeof *p + 127) / 64 * 64);
    uint32_t x = 1;
    for (int64_t i = 0; p && i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(x >> 8) * 0x1p-23f - 1.0f;
    }
    return p;
}

static ammpl_status arrays_open(ammpl_context *ctx, struct inside_work *w, arrays **out)
{
    arrays *a = calloc(1, sizeof *a);
    *w = (struct inside_work){.state = a, .close = arrays_close};
    *out = a;
    if (!a)
        return AMMPL_E_MEMORY;
    a->ctx = ctx;
    TRY(ammpli_cpu_backend.stream_create(&ctx->host, 0, &a->s));
    a->s->kernels = kernels();
    return AMMPL_OK;
}

enum { MICRO_DEPTH = 128, MICRO_ROWS = 12, MICRO_TIMES = 4096 };

static void micro_task(void *arg, int64_t i, int worker)
{
    (void)i;
    (void)worker;
    const arrays *a = arg;
    alignas(64) float c[MICRO_ROWS * 2 * PANEL], x[MICRO_ROWS * MICRO_DEPTH], b[2 * MICRO_DEPTH * PANEL];
    memcpy(x, a->x, sizeof x);
    memcpy(b, a->y, sizeof b);
    for (int n = 0; n < MICRO_TIMES; n++)
        a->s->kernels->product(c, 2 * PANEL, x, MICRO_DEPTH, b, MICRO_DEPTH * PANEL, MICRO_ROWS, 2, MICRO_DEPTH, false);
    __asm__ volatile("" : : "r"(c) : "memory");
}

static ammpl_status micro_run(struct inside_work *w)
{
    arrays *a = w->state;
    int threads = ammpli_pool_threads(a->ctx->pool);
    ammpli_parallel(a->ctx->pool, threads, micro_task, a);
    w->flop = 2.0 * MICRO_ROWS * 2 * PANEL * MICRO_DEPTH * (double)MICRO_TIMES * threads;
    return AMMPL_OK;
}

ammpl_status inside_micro_kernel(ammpl_context *ctx, struct inside_work *w)
{
    arrays *a;
    TRY(arrays_open(ctx, w, &a));
    a->x = numbers(MICRO_ROWS * MICRO_DEPTH);
    a->y = numbers(2 * MICRO_DEPTH * PANEL);
    w->run = micro_run;
    return a->x && a->y ? AMMPL_OK : AMMPL_E_MEMORY;
}

static ammpl_status linear_run(struct inside_work *w)
{
    arrays *a = w->state;
    w->flop = 2.0 * (double)a->T * (double)a->N * (double)a->K;
    return a->backward ? ammpli_cpu_ops.linear_backward(a->s, a->x, a->y, a->w, NULL, AMMPL_ACT_NONE, a->T)
                       : ammpli_cpu_ops.linear_forward(a->s, a->y, NULL, a->x, a->w, a->z, NULL, AMMPL_ACT_NONE, a->T);
}

static ammpl_status linear_arrays(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w)
{
    arrays *a;
    TRY(arrays_open(ctx, w, &a));
    a->T = T, a->N = N, a->K = K, a->backward = backward;
    a->x = numbers(T * K);
    a->y = numbers(T * N);
    a->z = numbers(N);
    a->plain = numbers(N * K);
    return a->x && a->y && a->z && a->plain ? AMMPL_OK : AMMPL_E_MEMORY;
}

ammpl_status inside_linear(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w)
{
    TRY(linear_arrays(ctx, T, N, K, backward, w));
    arrays *a = w->state;
    w->run = linear_run;
    return ammpli_cpu_ops.weight_create(a->s, a->plain, AMMPL_DTYPE_F32, 0, N, K, &a->w);
}

#ifdef WITH_OPENBLAS
static ammpl_status openblas_run(struct inside_work *w)
{
    arrays *a = w->state;
    int T = (int)a->T, N = (int)a->N, K = (int)a->K;
    w->flop = 2.0 * T * (double)N * K;
    if (a->backward)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, T, K, N, 1, a->y, N, a->plain, K, 0, a->x, K);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, T, N, K, 1, a->x, K, a->plain, K, 0, a->y, N);
    return AMMPL_OK;
}

ammpl_status inside_openblas(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w)
{
    TRY(linear_arrays(ctx, T, N, K, backward, w));
    openblas_set_num_threads(ammpli_pool_threads(ctx->pool));
    w->run = openblas_run;
    return AMMPL_OK;
}
#else
ammpl_status inside_openblas(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w)
{
    (void)ctx, (void)T, (void)N, (void)K, (void)backward;
    *w = (struct inside_work){0};
    return AMMPL_E_UNSUPPORTED;
}
#endif

static ammpl_status attention_run(struct inside_work *w)
{
    arrays *a = w->state;
    w->flop = attention_flop(a->start, a->B, a->D, NULL, 0, a->backward ? 5 : 2);
    return a->backward ? ammpli_cpu_ops.attention_backward(a->s, a->z, a->u, a->x, a->y, a->start, a->B, a->L, a->T, a->D, a->H,
                                                           a->causal, NULL, NULL, NULL, 0)
                       : ammpli_cpu_ops.attention_forward(a->s, a->x, a->y, a->start, a->B, a->L, a->T, a->D, a->H, a->causal, NULL,
                                                          NULL, 0);
}

ammpl_status inside_attention(ammpl_context *ctx, int64_t B, int64_t L, int64_t D, int64_t H, int causal, int backward,
                              struct inside_work *w)
{
    arrays *a;
    TRY(arrays_open(ctx, w, &a));
    a->B = B, a->L = L, a->D = D, a->H = H, a->T = B * L, a->causal = causal, a->backward = backward;
    a->x = numbers(a->T * D);
    a->u = numbers(a->T * D);
    a->y = numbers(a->T * 3 * D);
    a->z = numbers(a->T * 3 * D);
    a->start = malloc((size_t)(B + 1) * sizeof *a->start);
    if (!a->x || !a->y || !a->z || !a->u || !a->start)
        return AMMPL_E_MEMORY;
    for (int64_t b = 0; b <= B; b++)
        a->start[b] = (int32_t)(b * L);
    w->run = attention_run;
    return AMMPL_OK;
}

/* ---- towers ---- */

typedef struct tower {
    ammpli_engine engine;
    int64_t B, L;
    float *input; /* images: [B,P,W]; texts: [B*L,l] */
    float *dfeature;
    int32_t *index; /* texts: start [B+1], read [B] */
    int backward;
} tower;

static void tower_close(struct inside_work *w)
{
    tower *t = w->state;
    if (!t)
        return;
    ammpli_engine_close(&t->engine);
    free(t->input), free(t->dfeature), free(t->index), free(t);
    w->state = NULL;
}

static ammpl_status tower_open(const ammpl_model *m, int64_t B, int64_t L, int64_t floats, int backward, struct inside_work *w)
{
    tower *t = calloc(1, sizeof *t);
    *w = (struct inside_work){.state = t, .close = tower_close};
    if (!t)
        return AMMPL_E_MEMORY;
    t->B = B, t->L = L, t->backward = backward;
    TRY(ammpli_engine_open(&t->engine, m));
    t->engine.ops = counting();
    t->engine.stream->kernels = kernels();
    t->input = numbers(floats);
    t->dfeature = numbers(B * m->embed);
    return t->input && t->dfeature ? AMMPL_OK : AMMPL_E_MEMORY;
}

static ammpl_status image_run(struct inside_work *w)
{
    tower *t = w->state;
    ammpli_engine *e = &t->engine;
    const ammpl_model *m = e->model;
    int64_t P = m->grid * m->grid;
    float *feature, *dtoken;
    ammpli_image_run run;
    counted = 0;
    ammpli_arena_reset(e);
    TRY(ammpli_take_floats(e, t->B * m->embed, &feature));
    TRY(ammpli_image_forward(e, &run, t->input, t->B, NULL, t->backward, feature));
    if (t->backward) {
        TRY(ammpli_take_floats(e, t->B * P * m->image.width, &dtoken));
        TRY(ammpli_image_backward(e, &run, t->dfeature, dtoken, NULL, NULL));
    }
    w->flop = counted;
    return AMMPL_OK;
}

ammpl_status inside_image_tower(const ammpl_model *m, int64_t B, int backward, struct inside_work *w)
{
    TRY(tower_open(m, B, 0, B * m->grid * m->grid * m->image.width, backward, w));
    w->run = image_run;
    return AMMPL_OK;
}

static ammpl_status text_run(struct inside_work *w)
{
    tower *t = w->state;
    ammpli_engine *e = &t->engine;
    int64_t T = t->B * t->L, l = e->model->text.width;
    float *feature, *x, *dx;
    ammpli_pass pass = {.B = t->B, .T = T, .max_len = t->L, .start = t->index, .read = t->index + t->B + 1, .keep = t->backward};
    counted = 0;
    ammpli_arena_reset(e);
    TRY(ammpli_take_floats(e, t->B * e->model->embed, &feature));
    TRY(ammpli_take_copy(e, t->input, T * l, &x));
    TRY(ammpli_text_forward(e, &pass, x, feature));
    if (t->backward) {
        TRY(ammpli_take_floats(e, T * l, &dx));
        TRY(ammpli_text_backward(e, &pass, t->dfeature, dx, NULL));
    }
    w->flop = counted;
    return AMMPL_OK;
}

ammpl_status inside_text_tower(const ammpl_model *m, int64_t B, int64_t L, int backward, struct inside_work *w)
{
    TRY(tower_open(m, B, L, B * L * m->text.width, backward, w));
    tower *t = w->state;
    t->index = malloc((size_t)(2 * B + 1) * sizeof *t->index);
    if (!t->index)
        return AMMPL_E_MEMORY;
    for (int64_t b = 0; b <= B; b++)
        t->index[b] = (int32_t)(b * L);
    for (int64_t b = 0; b < B; b++)
        t->index[B + 1 + b] = (int32_t)((b + 1) * L - 1);
    w->run = text_run;
    return AMMPL_OK;
}
