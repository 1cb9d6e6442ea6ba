/* linear.c - y = act(x W^T + bias) + residual and dx = (dy W) act'(pre) for frozen, packed W.
 *
 * W [N,K] is packed once at load into panels of 16 output columns, panel p = [K][16]: what a tile of product() reads for
 * y = x W^T, in order.  The same copy serves dx = dy W: 16 x 16 blocks of a panel are contiguous, and turned around in
 * cache they are panels of W^T.  That costs one move per weight and block of rows, 1/rows of the multiplications.
 *
 * A task is a block of rows x a block of columns of the result, or a part of such a block among the last.  Within a group of rows that a
 * shared cache holds (GROUP) those of the same columns follow each other, so that the weights they share come from memory once.  It sums over k in blocks of DEPTH into C, in its scratch,
 * then finishes whole row pieces (bias, pre, act, residual): so residual may be y.  With AVX2 what is in use at once is small enough for half
 * of L1 and of L2, which is what a thread has whose processor runs a neighbour's thread as well: a panel block (DEPTH x 16, 12 KiB) and a strip
 * of rows in L1; ROWS_MAX rows, their C and the panel blocks in L2.  The cut into tasks looks at T and at the number of
 * threads, and no bit of the result depends on it: each element is one chain of multiply-adds over k from 0 upwards.
 */
#include "cpu/kernels.h"

enum { DEPTH = 192, ROWS_MAX = 48, PANELS_MAX = 20 };
enum { HALF_ROWS_MAX = 192, HALF_PANELS_MAX = 10 }; /* more rows: F16 weights are widened once a task */
enum { BACK_ROWS_MAX = 576, BACK_PANELS_MAX = 4 };  /* and turned around once a task: more still, ROWS_MAX at a time */
enum { ROWS_SOON = 6 }; /* rows of backward's result that are called for ahead */
enum { WIDE_DEPTH = 64, WIDE_PANELS = 2 }; /* of F16 weights: widened at once */
static_assert(ROWS_MAX * PANELS_MAX * PANEL <= SCRATCH, "C fits into the scratch");
static_assert((HALF_ROWS_MAX * HALF_PANELS_MAX + WIDE_DEPTH * WIDE_PANELS) * PANEL <= SCRATCH, "C and what is widened do");
static_assert((BACK_ROWS_MAX + DEPTH) * BACK_PANELS_MAX * PANEL <= SCRATCH, "C and turned panels do");
static_assert((int)DEPTH <= DEPTH_MAX && DEPTH % PANEL == 0, "a block of n is whole panels in backward");
enum { GROUP = 8 << 20 }; /* bytes of rows */
enum { LATE_PARTS = 4 };   /* of a block among the last, at most */

/* ---- the packed weight ---- */

typedef struct pack_job {
    const ammpli_cpu_kernels *kernels;
    const ammpl_weight *w;
    const void *src;
    int32_t dtype, transposed;
} pack_job;

/* The same for a weight that stays F16. */
static void pack_half_task(void *arg, int64_t p, int worker)
{
    (void)worker;
    const pack_job *j = arg;
    int64_t N = j->w->N, K = j->w->K, n = p * PANEL, width = min64(PANEL, N - n);
    uint16_t *panel = j->w->half + p * K * PANEL;
    const char *src = j->src; /* of any alignment */
    if (j->transposed) {
        for (int64_t k = 0; k < K; k++)
            memcpy(panel + k * PANEL, src + 2 * (k * N + n), 2 * (size_t)width);
        return;
    }
    uint16_t rows[PANEL * DEPTH];
    for (int64_t k0 = 0; k0 < K; k0 += DEPTH) {
        int64_t depth = min64(DEPTH, K - k0);
        for (int64_t r = 0; r < width; r++)
            memcpy(rows + r * DEPTH, src + 2 * ((n + r) * K + k0), 2 * (size_t)depth);
        for (int64_t k = 0; k < depth; k++)
            for (int64_t r = 0; r < width; r++)
                panel[(k0 + k) * PANEL + r] = rows[r * DEPTH + k];
    }
}

static void pack_task(void *arg, int64_t p, int worker)
{
    (void)worker;
    const pack_job *j = arg;
    int64_t N = j->w->N, K = j->w->K, n = p * PANEL, width = min64(PANEL, N - n);
    float *panel = j->w->panel + p * K * PANEL; /* zeros already, where it reaches past N */
    if (j->transposed) {
        for (int64_t k = 0; k < K; k++)
            ammpli_cpu_read(panel + k * PANEL, j->src, j->dtype, k * N + n, width);
        return;
    }
    float rows[PANEL * DEPTH];
    for (int64_t k = 0; k < K; k += DEPTH) {
        int64_t depth = min64(DEPTH, K - k);
        for (int64_t r = 0; r < width; r++)
            ammpli_cpu_read(rows + r * DEPTH, j->src, j->dtype, (n + r) * K + k, depth);
        j->kernels->transpose(panel + k * PANEL, PANEL, rows, DEPTH, width, depth);
    }
}

int32_t ammpli_cpu_weight_create(ammpl_stream *s, const void *src_host, int32_t dtype, int32_t flags, int64_t N, int64_t K,
                                 ammpl_weight **out)
{
    REQUIRE(s, out, "weight_create: out is NULL");
    *out = NULL;
    REQUIRE(s, src_host && N >= 1 && K >= 1, "weight_create: src_host is NULL, or N or K is below 1");
    REQUIRE(s, dtype >= AMMPL_DTYPE_F32 && dtype <= AMMPL_DTYPE_BF16, "weight_create: dtype is none of AMMPL_DTYPE_*");
    bool half = flags & AMMPL_WEIGHT_KEEP_F16;
    REQUIRE(s, !half || dtype == AMMPL_DTYPE_F16, "weight_create: only F16 can be kept as F16");
    size_t bytes;
    int64_t padded;
    if (__builtin_add_overflow(N, PANEL - 1, &padded) ||
        __builtin_mul_overflow((size_t)(padded / PANEL), (size_t)K * PANEL * (half ? sizeof(uint16_t) : sizeof(float)), &bytes) || K > INT64_MAX / 64)
        return s->host->fail(AMMPL_E_MEMORY, "weight_create: more bytes than can be addressed");
    ammpl_weight *w = s->host->alloc(s->host->user, sizeof *w);
    void *panel = w ? s->host->alloc(s->host->user, bytes) : NULL;
    if (!panel) {
        if (w)
            s->host->release(s->host->user, w);
        return s->host->fail(AMMPL_E_MEMORY, "out of memory: no room for a weight");
    }
    *w = (ammpl_weight){.N = N, .K = K, .panel = half ? NULL : panel, .half = half ? panel : NULL};
    pack_job j = {s->kernels, w, src_host, dtype, flags & AMMPL_WEIGHT_TRANSPOSED};
    ammpli_cpu_for(s, ceil_div(N, PANEL), N * K, half ? pack_half_task : pack_task, &j);
    *out = w;
    return AMMPL_OK;
}

void ammpli_cpu_weight_destroy(ammpl_stream *s, ammpl_weight *w)
{
    if (!w)
        return;
    s->host->release(s->host->user, w->half ? (void *)w->half : w->panel);
    s->host->release(s->host->user, w);
}

/* ---- the definition ---- */

static float element(const ammpl_weight *w, int64_t n, int64_t k)
{
    int64_t at = (n / PANEL * w->K + k) * PANEL + n % PANEL;
    float value;
    if (!w->half)
        return w->panel[at];
    ammpli_cpu_read(&value, w->half, AMMPL_DTYPE_F16, at, 1);
    return value;
}

static int32_t check(ammpl_stream *s, const float *out, const float *in, const ammpl_weight *w, int32_t act, int64_t T)
{
    REQUIRE(s, T >= 0 && w && (T == 0 || (out && in)), "linear: T is negative or an array is NULL");
    REQUIRE(s, act >= AMMPL_ACT_NONE && act <= AMMPL_ACT_RELU, "linear: act is none of AMMPL_ACT_*");
    return AMMPL_OK;
}

int32_t ammpli_cpu_linear_forward_reference(ammpl_stream *s, float *y, float *pre, const float *x, const ammpl_weight *w,
                                            const float *bias, const float *residual, int32_t act, int64_t T)
{
    TRY(check(s, y, x, w, act, T));
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < w->N; n++) {
            float sum = 0;
            for (int64_t k = 0; k < w->K; k++)
                sum += x[t * w->K + k] * element(w, n, k);
            if (bias)
                sum += bias[n];
            if (pre)
                pre[t * w->N + n] = sum;
            y[t * w->N + n] = ammpli_cpu_act(sum, act) + (residual ? residual[t * w->N + n] : 0);
        }
    return AMMPL_OK;
}

int32_t ammpli_cpu_linear_backward_reference(ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w,
                                             const float *pre, int32_t act, int64_t T)
{
    TRY(check(s, dx, dy, w, act, T));
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < w->K; k++) {
            float sum = 0;
            for (int64_t n = 0; n < w->N; n++)
                sum += dy[t * w->N + n] * element(w, n, k);
            dx[t * w->K + k] = pre ? sum * ammpli_cpu_act_slope(pre[t * w->K + k], act) : sum;
        }
    return AMMPL_OK;
}

/* ---- fast path ---- */

typedef struct linear_job {
    const ammpli_cpu_kernels *kernels;
    const ammpl_weight *w;
    float *y, *pre;                       /* forward: [T,N]; backward: y is dx [T,K] */
    const float *x, *bias, *residual, *slope_at; /* forward: x [T,K]; backward: x is dy [T,N], slope_at [T,K] */
    int32_t act;
    int64_t T, rows, panels;              /* of a block */
    int64_t row_blocks, column_blocks, group; /* blocks of each kind; of rows in a group */
    int64_t whole, parts, part;           /* tasks that are whole blocks; parts of each later block, panels of a part */
} linear_job;

/* What a task computes of the result: rows from t0 on, panels from p0 on. */
typedef struct region {
    int64_t t0, rows, p0, panels;
} region;

static region region_of(const linear_job *j, int64_t task, int64_t columns)
{
    int64_t late = task - j->whole, block = late < 0 ? task : j->whole + late / j->parts;
    int64_t first = block / (j->group * j->column_blocks) * j->group, blocks = min64(j->group, j->row_blocks - first);
    int64_t within = block - first * j->column_blocks, t0 = (first + within % blocks) * j->rows, p0 = within / blocks * j->panels;
    int64_t end = min64(p0 + j->panels, ceil_div(columns, PANEL));
    if (late >= 0) {
        p0 = min64(p0 + late % j->parts * j->part, end); /* the last columns' block may have fewer parts: the others are empty */
        end = min64(p0 + j->part, end);
    }
    return (region){t0, min64(j->rows, j->T - t0), p0, end - p0};
}

/* A task's products where W is F16, with rows t0.. of x and panels p0..: parts of two panels are widened into cache, and each
 * element is the same chain over k as ever. */
static void half_products(const linear_job *j, float *c, int64_t ldc, float *wide, int64_t t0, int64_t rows, int64_t p0, int64_t panels)
{
    int64_t K = j->w->K;
    for (int64_t p = 0; p < panels; p += WIDE_PANELS)
        for (int64_t k = 0; k < K; k += WIDE_DEPTH) {
            int64_t some = min64(WIDE_PANELS, panels - p), depth = min64(WIDE_DEPTH, K - k);
            for (int64_t i = 0; i < some; i++)
                ammpli_cpu_widen(wide + i * WIDE_DEPTH * PANEL, j->w->half + ((p0 + p + i) * K + k) * PANEL, depth * PANEL);
            j->kernels->product(c + p * PANEL, ldc, j->x + t0 * K + k, K, wide, WIDE_DEPTH * PANEL, rows, some, depth, k > 0);
        }
}

/* dst [16][16], the block of a panel of W from element `at` on turned around; `width` of its columns are there. */
static void turn(const linear_job *j, float *dst, int64_t at, int64_t width)
{
    alignas(64) float wide[PANEL * PANEL];
    const float *block = wide;
    if (j->w->half)
        ammpli_cpu_widen(wide, j->w->half + at, width * PANEL);
    else
        block = j->w->panel + at;
    j->kernels->transpose(dst, PANEL, block, PANEL, width, PANEL);
}

static void forward_task(void *arg, int64_t task, float *scratch)
{
    const linear_job *j = arg;
    int64_t N = j->w->N, K = j->w->K;
    region of = region_of(j, task, N);
    int64_t t0 = of.t0, rows = of.rows, p0 = of.p0, panels = of.panels;
    if (panels == 0)
        return;
    int64_t ldc = panels * PANEL, n0 = p0 * PANEL, columns = min64(ldc, N - n0);
    float *c = scratch, *wide = c + HALF_ROWS_MAX * HALF_PANELS_MAX * PANEL;
    if (j->w->half)
        half_products(j, c, ldc, wide, t0, rows, p0, panels);
    for (int64_t k = 0; k < K && !j->w->half; k += DEPTH)
        j->kernels->product(c, ldc, j->x + t0 * K + k, K, j->w->panel + (p0 * K + k) * PANEL, K * PANEL, rows, panels,
                            min64(DEPTH, K - k), k > 0);
    for (int64_t r = 0; r < rows; r++) {
        int64_t o = (t0 + r) * N + n0;
        j->kernels->finish(j->y + o, j->pre ? j->pre + o : NULL, c + r * ldc, j->bias ? j->bias + n0 : NULL,
                           j->residual ? j->residual + o : NULL, j->act, columns);
    }
}

static void backward_task(void *arg, int64_t task, float *scratch)
{
    const linear_job *j = arg;
    int64_t N = j->w->N, K = j->w->K;
    region of = region_of(j, task, K);
    int64_t t0 = of.t0, rows = of.rows, p0 = of.p0, panels = of.panels;
    if (panels == 0)
        return;
    int64_t ldc = panels * PANEL, k0 = p0 * PANEL, columns = min64(ldc, K - k0);
    float *c = scratch, *turned = c + BACK_ROWS_MAX * BACK_PANELS_MAX * PANEL;
    if (columns < ldc) /* the last panel's columns past K are computed like the others, then dropped */
        memset(turned, 0, DEPTH * BACK_PANELS_MAX * PANEL * sizeof *turned);
    for (int64_t n = 0; n < N; n += DEPTH) {
        int64_t depth = min64(DEPTH, N - n);
        for (int64_t i = 0; i < depth; i += PANEL) /* along a panel of W, whose blocks lie one behind the other */
            for (int64_t p = 0; p < panels; p++) {
                int64_t k = k0 + p * PANEL;
                turn(j, turned + p * DEPTH * PANEL + i * PANEL, (n + i) * K + k * PANEL, min64(PANEL, K - k));
            }
        int64_t next = j->w->half ? 0 : min64(n + 2 * DEPTH, N);
        for (int64_t i = n + DEPTH; i < next; i += PANEL) /* called for while these are in use */
            for (int64_t f = 0; f < panels * PANEL * PANEL; f += PANEL)
                __builtin_prefetch(j->w->panel + i * K + k0 * PANEL + f, 0, 2);
        for (int64_t r = 0; r < rows; r += ROWS_MAX)
            j->kernels->product(c + r * ldc, ldc, j->x + (t0 + r) * N + n, N, turned, DEPTH * PANEL, min64(ROWS_MAX, rows - r), panels, depth, n > 0);
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t o = (t0 + r) * K + k0, soon = r + ROWS_SOON < rows ? o + ROWS_SOON * K : o;
        for (int64_t f = 0; f < columns; f += PANEL) { /* short pieces, a row apart */
            __builtin_prefetch(j->y + soon + f, 1);
            if (j->slope_at)
                __builtin_prefetch(j->slope_at + soon + f);
        }
        j->kernels->act_backward(j->y + o, c + r * ldc, j->slope_at ? j->slope_at + o : c + r * ldc,
                                 columns, j->slope_at ? j->act : AMMPL_ACT_NONE);
    }
}

/* Tasks: blocks of at most rows_max x panels_max of the result, sums over `depth`, evenly sized, narrower when there would be too few for the threads.
 * The last blocks, one for each thread, are cut into LATE_PARTS at most: at the end nobody waits long for another's task. */
static int64_t cut(ammpl_stream *s, linear_job *j, int64_t columns, int64_t depth, int64_t rows_max, int64_t panels_max)
{
    int64_t threads = s->host->threads(s->host->user), panels = ceil_div(columns, PANEL);
    int64_t row_blocks = ceil_div(j->T, rows_max), blocks = ceil_div(panels, panels_max);
    j->rows = ceil_div(j->T, row_blocks);
    int64_t wanted = threads > 1 ? ceil_div(4 * threads, row_blocks) : 1;
    if (blocks < wanted)
        blocks = min64(wanted, ceil_div(panels, 2));
    j->panels = ceil_div(panels, blocks);
    j->row_blocks = row_blocks;
    j->column_blocks = ceil_div(panels, j->panels);
    int64_t fit = GROUP / (j->rows * depth * (int64_t)sizeof(float));
    j->group = fit < 1 ? 1 : min64(fit, row_blocks);
    int64_t all = row_blocks * j->column_blocks, late = threads > 1 ? min64(threads, all) : 0;
    j->whole = all - late;
    j->part = 2 * ceil_div(j->panels, 2 * LATE_PARTS); /* even: 16 lanes' tiles are two panels wide */
    j->parts = ceil_div(j->panels, j->part);
    return j->whole + late * j->parts;
}

int32_t ammpli_cpu_linear_forward(ammpl_stream *s, float *y, float *pre, const float *x, const ammpl_weight *w,
                                  const float *bias, const float *residual, int32_t act, int64_t T)
{
    TRY(check(s, y, x, w, act, T));
    if (T == 0)
        return AMMPL_OK;
    linear_job j = {.kernels = s->kernels, .w = w, .y = y, .pre = pre, .x = x, .bias = bias, .residual = residual, .act = act,
                    .T = T};
    int64_t tasks = w->half ? cut(s, &j, w->N, w->K, HALF_ROWS_MAX, HALF_PANELS_MAX) : cut(s, &j, w->N, w->K, ROWS_MAX, PANELS_MAX);
    return ammpli_cpu_for_scratch(s, tasks, T * w->N * w->K / 8, forward_task, &j);
}

int32_t ammpli_cpu_linear_backward(ammpl_stream *s, float *dx, const float *dy, const ammpl_weight *w, const float *pre,
                                   int32_t act, int64_t T)
{
    TRY(check(s, dx, dy, w, act, T));
    if (T == 0)
        return AMMPL_OK;
    linear_job j = {.kernels = s->kernels, .w = w, .y = dx, .x = dy, .slope_at = pre, .act = act, .T = T};
    return ammpli_cpu_for_scratch(s, cut(s, &j, w->K, w->N, BACK_ROWS_MAX, BACK_PANELS_MAX), T * w->N * w->K / 8, backward_task, &j);
}
