/* inside.c - see examples/bench_inside.h.  Part of ammpl-bench, not of the library. */
#include "bench_inside.h"

#include <stdlib.h>

#include "bench/counting.h"
#include "clip/tower.h"
#include "cpu/kernels.h"
#include "method/session.h"

#ifdef WITH_OPENBLAS
#include <cblas.h>
#endif

/* ---- the device ---- */

static const ammpl_device *device; /* NULL: the CPU */
static int32_t precision;

static const ammpl_backend *backend(void)
{
    return device ? device->backend : &ammpli_cpu_backend;
}

static const ammpl_ops *ops(void)
{
    return backend()->ops;
}

void inside_use_device(const ammpl_device *d)
{
    device = d && d->backend != &ammpli_cpu_backend ? d : NULL;
}

void inside_use_precision_of(const ammpl_model *m)
{
    precision = m->precision;
}

ammpl_status inside_elapsed(struct ammpl_stream *s, double *seconds)
{
    return ops()->elapsed(s, seconds);
}

struct ammpl_stream *inside_stream(ammpl_session *session)
{
    return session->engine.stream;
}

static const ammpli_cpu_kernels *chosen;

static const ammpli_cpu_kernels *kernels(void)
{
    return chosen ? chosen : ammpli_cpu_best_kernels();
}

/* The stream is the CPU's own kind only there. */
static void choose_kernels(ammpl_stream *s)
{
    if (!device)
        s->kernels = kernels();
}

void inside_count(ammpl_session *s)
{
    s->engine.ops = ammpli_counting(ops());
    choose_kernels(s->engine.stream);
    ammpli_counted = (ammpli_counts){0};
}

struct inside_cost inside_counted(void)
{
    struct inside_cost cost = {ammpli_counted.flop, ammpli_counted.bytes};
    ammpli_counted = (ammpli_counts){0};
    return cost;
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

/* The arrays lie in the device's memory, as many floats of each as are asked for. */
enum { ARRAYS = 4 };
typedef struct arrays {
    ammpl_context *ctx;
    ammpl_stream *s;
    const ammpl_ops *ops; /* that count */
    float *at[ARRAYS];
    ammpl_weight *w;
    float *plain; /* the weight as it is; the host's */
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
        ops()->weight_destroy(a->s, a->w);
        for (int i = 0; i < ARRAYS; i++)
            ops()->release(a->s, a->at[i]);
        ops()->release(a->s, a->start);
        backend()->stream_destroy(a->s);
    }
    free(a->plain), free(a);
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

static ammpl_status array(arrays *a, int i, int64_t n)
{
    float *p = numbers(n);
    if (!p)
        return AMMPL_E_MEMORY;
    ammpl_status status = ops()->alloc(a->s, (size_t)n * sizeof *p, (void **)&a->at[i]);
    if (status >= 0)
        status = ops()->upload(a->s, a->at[i], p, (size_t)n * sizeof *p);
    free(p);
    return status;
}

static ammpl_status arrays_open(ammpl_context *ctx, struct inside_work *w, arrays **out)
{
    arrays *a = calloc(1, sizeof *a);
    *w = (struct inside_work){.state = a, .close = arrays_close};
    *out = a;
    if (!a)
        return AMMPL_E_MEMORY;
    a->ctx = ctx;
    TRY(backend()->stream_create(&ctx->host, device ? device->index : 0, precision, &a->s));
    a->ops = ammpli_counting(ops());
    choose_kernels(a->s);
    w->stream = a->s;
    return AMMPL_OK;
}

/* Runs what `status` did between two readings of the counts. */
static ammpl_status charged(struct inside_work *w, ammpl_status status)
{
    w->cost = inside_counted();
    return status;
}

enum { MICRO_DEPTH = 128, MICRO_ROWS = 12, MICRO_TIMES = 4096 };

static void micro_task(void *arg, int64_t i, int worker)
{
    (void)i;
    (void)worker;
    const arrays *a = arg;
    alignas(64) float c[MICRO_ROWS * 2 * PANEL], x[MICRO_ROWS * MICRO_DEPTH], b[2 * MICRO_DEPTH * PANEL];
    memcpy(x, a->at[0], sizeof x);
    memcpy(b, a->at[1], sizeof b);
    for (int n = 0; n < MICRO_TIMES; n++)
        a->s->kernels->product(c, 2 * PANEL, x, MICRO_DEPTH, b, MICRO_DEPTH * PANEL, MICRO_ROWS, 2, MICRO_DEPTH, false);
    __asm__ volatile("" : : "r"(c) : "memory");
}

static ammpl_status micro_run(struct inside_work *w)
{
    arrays *a = w->state;
    int threads = ammpli_pool_threads(a->ctx->pool);
    ammpli_parallel(a->ctx->pool, threads, micro_task, a);
    w->cost.flop = 2.0 * MICRO_ROWS * 2 * PANEL * MICRO_DEPTH * (double)MICRO_TIMES * threads;
    return AMMPL_OK;
}

ammpl_status inside_micro_kernel(ammpl_context *ctx, struct inside_work *w)
{
    arrays *a;
    TRY(arrays_open(ctx, w, &a));
    TRY(array(a, 0, MICRO_ROWS * MICRO_DEPTH));
    TRY(array(a, 1, 2 * MICRO_DEPTH * PANEL));
    w->run = micro_run;
    return AMMPL_OK;
}

static ammpl_status linear_run(struct inside_work *w)
{
    arrays *a = w->state;
    return charged(w, a->backward ? a->ops->linear_backward(a->s, a->at[0], a->at[1], a->w, NULL, AMMPL_ACT_NONE, a->T)
                                  : a->ops->linear_forward(a->s, a->at[1], NULL, a->at[0], a->w, a->at[2], NULL, AMMPL_ACT_NONE, a->T));
}

static ammpl_status linear_arrays(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w)
{
    arrays *a;
    TRY(arrays_open(ctx, w, &a));
    a->T = T, a->N = N, a->K = K, a->backward = backward;
    TRY(array(a, 0, T * K));
    TRY(array(a, 1, T * N));
    TRY(array(a, 2, N));
    a->plain = numbers(N * K);
    return a->plain ? AMMPL_OK : AMMPL_E_MEMORY;
}

ammpl_status inside_linear(ammpl_context *ctx, int64_t T, int64_t N, int64_t K, int backward, struct inside_work *w)
{
    TRY(linear_arrays(ctx, T, N, K, backward, w));
    arrays *a = w->state;
    w->run = linear_run;
    return ops()->weight_create(a->s, a->plain, AMMPL_DTYPE_F32, 0, N, K, &a->w);
}

#ifdef WITH_OPENBLAS
const char *inside_openblas_name(void)
{
    return openblas_get_config();
}

static ammpl_status openblas_run(struct inside_work *w)
{
    arrays *a = w->state;
    int T = (int)a->T, N = (int)a->N, K = (int)a->K;
    w->cost.flop = 2.0 * T * (double)N * K;
    if (a->backward)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, T, K, N, 1, a->at[1], N, a->plain, K, 0, a->at[0], K);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, T, N, K, 1, a->at[0], K, a->plain, K, 0, a->at[1], N);
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
const char *inside_openblas_name(void)
{
    return NULL;
}

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
    return charged(w, a->backward ? a->ops->attention_backward(a->s, a->at[3], a->at[2], a->at[0], a->at[1], a->start, a->B, a->L, a->T,
                                                               a->D, a->H, a->causal, NULL, NULL, NULL, 0)
                                  : a->ops->attention_forward(a->s, a->at[0], a->at[1], a->start, a->B, a->L, a->T, a->D, a->H, a->causal,
                                                              NULL, NULL, 0));
}

ammpl_status inside_attention(ammpl_context *ctx, int64_t B, int64_t L, int64_t D, int64_t H, int causal, int backward,
                              struct inside_work *w)
{
    arrays *a;
    TRY(arrays_open(ctx, w, &a));
    a->B = B, a->L = L, a->D = D, a->H = H, a->T = B * L, a->causal = causal, a->backward = backward;
    TRY(array(a, 0, a->T * D));
    TRY(array(a, 1, a->T * 3 * D));
    TRY(array(a, 2, a->T * D));
    TRY(array(a, 3, a->T * 3 * D));
    size_t bytes = (size_t)(B + 1) * sizeof *a->start;
    int32_t *start = malloc(bytes);
    if (!start)
        return AMMPL_E_MEMORY;
    for (int64_t b = 0; b <= B; b++)
        start[b] = (int32_t)(b * L);
    ammpl_status status = ops()->alloc(a->s, bytes, (void **)&a->start);
    if (status >= 0)
        status = ops()->upload(a->s, a->start, start, bytes);
    free(start);
    w->run = attention_run;
    return status;
}

/* ---- ops that are bound by memory ---- */

static ammpl_status copy_run(struct inside_work *w)
{
    arrays *a = w->state;
    return charged(w, a->ops->copy(a->s, a->at[1], a->at[0], (size_t)(a->T * a->D) * sizeof(float)));
}

static ammpl_status start_run(struct inside_work *w)
{
    arrays *a = w->state;
    return charged(w, a->ops->scale(a->s, a->at[0], 1, 1));
}

static ammpl_status layernorm_run(struct inside_work *w)
{
    arrays *a = w->state;
    return charged(w, a->backward ? a->ops->layernorm_backward(a->s, a->at[1], a->at[0], a->at[2], a->at[3], a->at[1], a->T, a->D, 1e-5f)
                                  : a->ops->layernorm_forward(a->s, a->at[1], a->at[0], a->at[3], a->at[3], a->T, a->D, 1e-5f));
}

static ammpl_status act_run(struct inside_work *w)
{
    arrays *a = w->state;
    return charged(w, a->backward ? a->ops->act_backward(a->s, a->at[1], a->at[0], a->at[2], a->T * a->D, AMMPL_ACT_QUICK_GELU)
                                  : a->ops->act_forward(a->s, a->at[1], a->at[0], a->T * a->D, AMMPL_ACT_QUICK_GELU));
}

static ammpl_status add_run(struct inside_work *w)
{
    arrays *a = w->state;
    return charged(w, a->ops->add(a->s, a->at[1], a->at[0], 0.5f, a->T * a->D));
}

static ammpl_status rows_run(struct inside_work *w)
{
    arrays *a = w->state;
    return charged(w, a->ops->rows_copy(a->s, a->at[1], NULL, a->at[0], a->start, a->T, a->D));
}

static const struct {
    const char *name;
    ammpl_status (*run)(struct inside_work *w);
    int backward;
} kernels_by_name[] = {
    {"copy", copy_run, 0},
    {"start of one kernel", start_run, 0},
    {"layernorm forward", layernorm_run, 0},
    {"layernorm backward, residual", layernorm_run, 1},
    {"quick_gelu forward", act_run, 0},
    {"quick_gelu backward", act_run, 1},
    {"add", add_run, 0},
    {"rows by index", rows_run, 0},
};

const char *inside_kernel_name(size_t i)
{
    return i < sizeof kernels_by_name / sizeof *kernels_by_name ? kernels_by_name[i].name : NULL;
}

ammpl_status inside_kernel(ammpl_context *ctx, size_t i, int64_t T, int64_t D, struct inside_work *w)
{
    arrays *a;
    TRY(arrays_open(ctx, w, &a));
    a->T = T, a->D = D, a->backward = kernels_by_name[i].backward;
    TRY(array(a, 0, T * D));
    TRY(array(a, 1, T * D));
    TRY(array(a, 2, T * D));
    TRY(array(a, 3, D));
    TRY(ops()->alloc(a->s, (size_t)T * sizeof *a->start, (void **)&a->start));
    TRY(ops()->zero(a->s, a->start, (size_t)T * sizeof *a->start));
    w->run = kernels_by_name[i].run;
    return AMMPL_OK;
}

/* ---- towers ---- */

typedef struct tower {
    ammpli_engine engine;
    int64_t B, L;
    float *input; /* images: [B,P,W]; texts: [B*L,l]; all in backend memory */
    float *dfeature;
    int32_t *index; /* texts: start [B+1], read [B] */
    int backward;
} tower;

static void tower_close(struct inside_work *w)
{
    tower *t = w->state;
    if (!t)
        return;
    if (t->engine.stream) {
        ops()->release(t->engine.stream, t->input);
        ops()->release(t->engine.stream, t->dfeature);
        ops()->release(t->engine.stream, t->index);
    }
    ammpli_engine_close(&t->engine);
    free(t);
    w->state = NULL;
}

static ammpl_status tower_bytes(tower *t, const void *host, size_t bytes, void **out)
{
    TRY(ops()->alloc(t->engine.stream, bytes, out));
    return ops()->upload(t->engine.stream, *out, host, bytes);
}

static ammpl_status tower_array(tower *t, int64_t n, float **out)
{
    float *p = numbers(n);
    ammpl_status status = p ? tower_bytes(t, p, (size_t)n * sizeof *p, (void **)out) : AMMPL_E_MEMORY;
    free(p);
    return status;
}

static ammpl_status tower_open(const ammpl_model *m, int64_t B, int64_t L, int64_t floats, int backward, struct inside_work *w)
{
    tower *t = calloc(1, sizeof *t);
    *w = (struct inside_work){.state = t, .close = tower_close};
    if (!t)
        return AMMPL_E_MEMORY;
    t->B = B, t->L = L, t->backward = backward;
    TRY(ammpli_engine_open(&t->engine, m));
    t->engine.ops = ammpli_counting(ops());
    choose_kernels(t->engine.stream);
    w->stream = t->engine.stream;
    TRY(tower_array(t, floats, &t->input));
    return tower_array(t, B * m->embed, &t->dfeature);
}

static ammpl_status image_run(struct inside_work *w)
{
    tower *t = w->state;
    ammpli_engine *e = &t->engine;
    const ammpl_model *m = e->model;
    int64_t P = m->grid * m->grid;
    float *feature, *dtoken;
    ammpli_image_run run;
    inside_counted();
    ammpli_arena_reset(e);
    TRY(ammpli_take_floats(e, t->B * m->embed, &feature));
    TRY(ammpli_image_forward(e, &run, t->input, t->B, NULL, t->backward, feature));
    if (t->backward) {
        TRY(ammpli_take_floats(e, t->B * P * m->image.width, &dtoken));
        TRY(ammpli_image_backward(e, &run, t->dfeature, dtoken, NULL, NULL));
    }
    return charged(w, AMMPL_OK);
}

ammpl_status inside_image_tower(const ammpl_model *m, int64_t B, int backward, struct inside_work *w)
{
    TRY(tower_open(m, B, 0, B * m->grid * m->grid * m->image.width, backward, w));
    w->run = image_run;
    return AMMPL_OK;
}

double inside_tower_bytes(const ammpl_model *m, int64_t B, int64_t L, int backward)
{
    return (double)B * (double)ammpli_pass_bytes(L > 0 ? &m->text : &m->image, L > 0 ? L : m->grid * m->grid + 1, backward);
}

static ammpl_status text_run(struct inside_work *w)
{
    tower *t = w->state;
    ammpli_engine *e = &t->engine;
    int64_t T = t->B * t->L, l = e->model->text.width;
    float *feature, *x, *dx;
    ammpli_pass pass = {.B = t->B, .T = T, .max_len = t->L, .start = t->index, .read = t->index + t->B + 1, .keep = t->backward};
    inside_counted();
    ammpli_arena_reset(e);
    TRY(ammpli_take_floats(e, t->B * e->model->embed, &feature));
    TRY(ammpli_take_floats(e, T * l, &x));
    RUN(copy, x, t->input, (size_t)(T * l) * sizeof *x);
    TRY(ammpli_text_forward(e, &pass, x, feature));
    if (t->backward) {
        TRY(ammpli_take_floats(e, T * l, &dx));
        TRY(ammpli_text_backward(e, &pass, t->dfeature, dx, NULL));
    }
    return charged(w, AMMPL_OK);
}

ammpl_status inside_text_tower(const ammpl_model *m, int64_t B, int64_t L, int backward, struct inside_work *w)
{
    TRY(tower_open(m, B, L, B * L * m->text.width, backward, w));
    tower *t = w->state;
    size_t bytes = (size_t)(2 * B + 1) * sizeof *t->index;
    int32_t *index = malloc(bytes);
    if (!index)
        return AMMPL_E_MEMORY;
    for (int64_t b = 0; b <= B; b++)
        index[b] = (int32_t)(b * L);
    for (int64_t b = 0; b < B; b++)
        index[B + 1 + b] = (int32_t)((b + 1) * L - 1);
    ammpl_status status = tower_bytes(t, index, bytes, (void **)&t->index);
    free(index);
    w->run = text_run;
    return status;
}
