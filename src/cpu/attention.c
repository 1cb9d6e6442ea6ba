/* attention.c - out = softmax(q k^T / sqrt(dh)) v per head, over ragged sequences, and its transpose: the fast path.
 *
 * Scores exist in blocks of queries x keys in scratch only, whatever the length: the running maximum and sum of each query
 * are corrected from block to block of keys (Milakov & Gimelshein 2018; Dao et al. 2022).  Blocks of keys start at the
 * sequence's own first key, or its prefix's, so a sequence's numbers do not depend on its neighbours, nor, when causal, on
 * where it is cut, nor on whether what it begins with is a prefix or its own.  Backward, of which only the first holds to the
 * bit (short and long sequences add their normalisers in different orders), computes the probabilities again.
 * Short sequences go together: their packed prefix and their rows are handled once for all.  A masked key counts with
 * probability 0, so that what is not finite in it spreads to earlier rows of the same sequence (as in PyTorch; the
 * reference loops do not look at it).
 */
#include "cpu/attention.h"

/* Queries and keys of a block, so that everything fits into the scratch; a ViT's 50, 65 and 197 fill them well.  Forward
 * cuts queries evenly (rows do not know of each other), keys stand in blocks at fixed places: sums over them go in this order. */
enum { HEAD_SMALL = 64, HEAD_MAX = 128 };
enum { QUERIES = 72, KEYS = 208, QUERIES_LARGE = 64, KEYS_LARGE = 64 };                     /* forward, head <= 64, <= 128 */
enum { BACK_QUERIES = 48, BACK_KEYS = 224, BACK_QUERIES_LARGE = 32, BACK_KEYS_LARGE = 128, /* backward                    */
       BACK_STEP = 64 };                      /* keys whose gradients are added at a time */
enum { SHORT_QUERIES = 32, SHORT_KEYS = 80 }; /* backward: of sequences that go together */
static_assert(QUERIES * KEYS + (QUERIES + 2 * KEYS) * HEAD_SMALL <= SCRATCH, "forward's scratch");
static_assert(QUERIES_LARGE * KEYS_LARGE + (QUERIES_LARGE + 2 * KEYS_LARGE) * HEAD_MAX <= SCRATCH, "the same, large heads");

/* ---- packing ---- */

/* Rows [n][dh], ld apart, as rows `at`.. of panels of [.][16]; places past dh are 0. */
static void pack_rows(float *panels, int64_t stride, int64_t at, const float *src, int64_t ld, int64_t n, int64_t dh)
{
    for (int64_t p = 0; p * PANEL < dh; p++) {
        int64_t width = min64(PANEL, dh - p * PANEL);
        float *to = panels + p * stride + at * PANEL;
        const float *from = src + p * PANEL;
        for (int64_t i = 0; i < n; i++, to += PANEL, from += ld) {
            if (width == PANEL) {
                memcpy(to, from, PANEL * sizeof *to);
                continue;
            }
            memcpy(to, from, (size_t)width * sizeof *to);
            memset(to + width, 0, (size_t)(PANEL - width) * sizeof *to);
        }
    }
}

/* The same rows turned around: columns `at`.. of panels of [dh][16], `stride` apart. */
static void pack_columns(const ammpli_cpu_kernels *kernels, float *panels, int64_t stride, int64_t at, const float *src, int64_t ld,
                         int64_t n, int64_t dh)
{
    while (n > 0) {
        int64_t width = min64(PANEL - at % PANEL, n);
        kernels->transpose(panels + at / PANEL * stride + at % PANEL, PANEL, src, ld, width, dh);
        src += width * ld;
        at += width;
        n -= width;
    }
}

/* What a processor finds there must be numbers, though nobody reads what it makes of them. */
static void clear_columns(float *panels, int64_t stride, int64_t from, int64_t to, int64_t dh)
{
    if (from % PANEL)
        memset(panels + from / PANEL * stride, 0, (size_t)(dh * PANEL) * sizeof *panels);
    for (int64_t p = ceil_div(from, PANEL); p * PANEL < to; p++)
        memset(panels + p * stride, 0, (size_t)(dh * PANEL) * sizeof *panels);
}

/* Keys k0..k0+n-1 of a sequence (part = 0), or values (D), of its prefix first. */
static void pack_view_rows(const attention_job *j, const attention_view *v, float *panels, int64_t stride, int64_t part, int64_t k0,
                           int64_t n)
{
    int64_t ld = 3 * j->D, first = v->P > k0 ? min64(v->P - k0, n) : 0;
    if (first > 0)
        pack_rows(panels, stride, 0, v->before + k0 * ld + part, ld, first, j->dh);
    pack_rows(panels, stride, first, v->k + (k0 + first - v->P) * ld + part, ld, n - first, j->dh);
}

static void pack_view_columns(const attention_job *j, const attention_view *v, float *panels, int64_t part, int64_t k0, int64_t n)
{
    int64_t ld = 3 * j->D, first = v->P > k0 ? min64(v->P - k0, n) : 0, stride = j->dh * PANEL;
    if (n % PANEL)
        clear_columns(panels, stride, n, n, j->dh);
    if (first > 0)
        pack_columns(j->kernels, panels, stride, 0, v->before + k0 * ld + part, ld, first, j->dh);
    pack_columns(j->kernels, panels, stride, first, v->k + (k0 + first - v->P) * ld + part, ld, n - first, j->dh);
}

/* ---- forward ---- */

typedef struct forward_block {
    int64_t most, KB, padded;                  /* queries, keys, head rounded up to panels */
    float *s, *o, *k_panels, *v_panels;        /* [most][KB], [most][padded], keys turned, values */
    float max[QUERIES], sum[QUERIES], factor[QUERIES];
} forward_block;

static void begin_rows(forward_block *x, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        x->max[i] = -INFINITY;
        x->sum[i] = 0;
    }
}

static void finish_rows(const attention_job *j, const forward_block *x, float *out, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++, out += j->D) {
        float inverse = 1.0f / x->sum[i];
        for (int64_t d = 0; d < j->dh; d++)
            out[d] = x->o[i * x->padded + d] * inverse;
    }
}

/* Queries q0..q0+rows-1 of one sequence; `packed`: its keys are. */
static void forward_queries(const attention_job *j, forward_block *x, const attention_view *v, int64_t q0, int64_t rows, bool packed,
                            float *out)
{
    const ammpli_cpu_kernels *kernels = j->kernels;
    int64_t D = j->D, dh = j->dh, KB = x->KB, last = v->P + (j->causal ? q0 + rows : v->L), all = v->P + v->L;
    begin_rows(x, rows);
    for (int64_t k0 = 0; k0 < last; k0 += KB) {
        int64_t keys = min64(KB, all - k0), wide = ceil_div(keys, PANEL) * PANEL;
        if (!packed) {
            pack_view_columns(j, v, x->k_panels, 0, k0, keys);
            pack_view_rows(j, v, x->v_panels, KB * PANEL, D, k0, keys);
        }
        kernels->product(x->s, KB, v->q + q0 * 3 * D, 3 * D, x->k_panels, dh * PANEL, rows, wide / PANEL, dh, false);
        kernels->softmax_block(x->s, KB, x->max, x->sum, x->factor, j->scale, rows, keys, wide, j->causal ? v->P + q0 + 1 - k0 : keys);
        if (k0)
            for (int64_t i = 0; i < rows; i++)
                for (int64_t d = 0; d < x->padded; d++)
                    x->o[i * x->padded + d] *= x->factor[i];
        kernels->product(x->o, x->padded, x->s, KB, x->v_panels, KB * PANEL, rows, x->padded / PANEL, keys, k0 > 0);
    }
    finish_rows(j, x, out, rows);
}

/* Blocks first..end-1 of a sequence's queries over blocks of keys, which are packed once where there is one. */
static void forward_long(const attention_job *j, forward_block *x, int64_t b, int64_t h, int64_t first, int64_t end)
{
    attention_view v = attention_view_of(j, b, h);
    int64_t each = ceil_div(v.L, ceil_div(v.L, x->most) + !v.L);
    for (int64_t block = first; block < end && block * each < v.L; block++)
        forward_queries(j, x, &v, block * each, min64(each, v.L - block * each), block > first && v.P + v.L <= x->KB,
                        j->out + (j->start[b] + block * each) * j->D + h * j->dh);
}

/* Sequences b0..b1-1 with one prefix, whose keys fit in a block and whose rows all together do.  The prefix's keys stand in
 * the first P columns of every query's scores, the sequence's own behind them. */
static void forward_short(const attention_job *j, forward_block *x, int64_t b0, int64_t b1, int64_t h)
{
    const ammpli_cpu_kernels *kernels = j->kernels;
    int64_t D = j->D, dh = j->dh, ld = 3 * D, KB = x->KB, first = j->start[b0], rows = j->start[b1] - first;
    attention_view all = attention_view_of(j, b0, h);
    int64_t P = all.P, whole = P / PANEL * PANEL, turned = dh * PANEL;
    begin_rows(x, rows);
    kernels->product(x->s, KB, all.q, ld, x->k_panels, turned, rows, whole / PANEL, dh, false);
    for (int64_t b = b0; b < b1; b++) {
        attention_view v = attention_view_of(j, b, h);
        int64_t r = j->start[b] - first, keys = P + v.L, wide = ceil_div(keys, PANEL) * PANEL;
        pack_columns(kernels, x->k_panels, turned, P, v.k, ld, v.L, dh);
        kernels->product(x->s + r * KB + whole, KB, v.q, ld, x->k_panels + whole / PANEL * turned, turned, v.L, (wide - whole) / PANEL,
                         dh, false);
        kernels->softmax_block(x->s + r * KB, KB, x->max + r, x->sum + r, x->factor + r, j->scale, v.L, keys, wide,
                               j->causal ? P + 1 : keys);
    }
    if (P > 0)
        kernels->product(x->o, x->padded, x->s, KB, x->v_panels, KB * PANEL, rows, x->padded / PANEL, P, false);
    for (int64_t b = b0; b < b1; b++) {
        attention_view v = attention_view_of(j, b, h);
        int64_t r = j->start[b] - first;
        pack_rows(x->v_panels, KB * PANEL, P, v.k + D, ld, v.L, dh);
        kernels->product(x->o + r * x->padded, x->padded, x->s + r * KB + P, KB, x->v_panels + P * PANEL, KB * PANEL, v.L,
                         x->padded / PANEL, v.L, P > 0);
    }
    finish_rows(j, x, j->out + first * D + h * dh, rows);
}

static void forward_task(void *arg, int64_t task, float *scratch)
{
    const attention_job *j = arg;
    bool small = j->dh <= HEAD_SMALL;
    forward_block x = {.most = small ? QUERIES : QUERIES_LARGE, .KB = small ? KEYS : KEYS_LARGE, .padded = ceil_div(j->dh, PANEL) * PANEL};
    x.s = scratch;
    x.o = x.s + x.most * x.KB;
    x.k_panels = x.o + x.most * x.padded;
    x.v_panels = x.k_panels + x.KB * x.padded;
    if (j->each == 0) {
        forward_long(j, &x, task / j->blocks / j->H, task / j->blocks % j->H, task % j->blocks, task % j->blocks + 1);
        return;
    }
    int64_t h = task % j->H, b = task / j->H * j->each, end = min64(b + j->each, j->B), packed = -2;
    while (b < end) {
        attention_view v = attention_view_of(j, b, h);
        int64_t to = b;
        while (to < end && (!j->group || j->group[to] == v.group) && j->start[to + 1] - j->start[b] <= x.most &&
               v.P + j->start[to + 1] - j->start[to] <= x.KB)
            to++;
        if (to == b) { /* a prefix that leaves no room */
            forward_long(j, &x, b++, h, 0, INT64_MAX);
            packed = -2;
            continue;
        }
        if (packed != v.group) {
            clear_columns(x.k_panels, j->dh * PANEL, v.P, min64(v.P + x.most, x.KB), j->dh);
            if (v.P > 0) {
                pack_columns(j->kernels, x.k_panels, j->dh * PANEL, 0, v.before, 3 * j->D, v.P, j->dh);
                pack_rows(x.v_panels, x.KB * PANEL, 0, v.before + j->D, 3 * j->D, v.P, j->dh);
            }
            packed = v.group;
        }
        forward_short(j, &x, b, to, h);
        b = to;
    }
}

int32_t ammpli_cpu_attention_forward(ammpl_stream *s, float *out, const float *qkv, const int32_t *start, int64_t B,
                                     int64_t max_len, int64_t T, int64_t D, int64_t H, int32_t causal, const float *prefix,
                                     const int32_t *group, int64_t P)
{
    if (H >= 1 && D / H > HEAD_MAX)
        return ammpli_cpu_attention_forward_reference(s, out, qkv, start, B, max_len, T, D, H, causal, prefix, group, P);
    attention_job j;
    TRY(ammpli_cpu_attention_job(s, &j, out, qkv, start, B, max_len, T, D, H, causal, prefix, group, P));
    if (T == 0)
        return AMMPL_OK;
    int64_t most = j.dh <= HEAD_SMALL ? QUERIES : QUERIES_LARGE, keys = j.dh <= HEAD_SMALL ? KEYS : KEYS_LARGE;
    j.out = out;
    if (max_len + P <= keys)
        j.each = max_len < most ? min64(B, most / (max_len > 0 ? max_len : 1)) : 1;
    else
        j.blocks = ceil_div(max_len, most);
    int64_t tasks = j.each ? ceil_div(B, j.each) * H : B * H * j.blocks;
    return ammpli_cpu_for_scratch(s, tasks, T * (max_len + P) * D / 4, forward_task, &j);
}

/* ---- backward: with P the probabilities and dS = P (dout v^T - <dout, out>) scale:
 *      dq = dS k,  dk = dS^T q,  dv = P^T dout.  A task is a head of one sequence, or of all that share a prefix: dk and dv are
 *      sums over their queries. ---- */

/* dst [n][dh], ld apart, += src [n][lds]. */
static void add_rows(float *dst, int64_t ld, const float *src, int64_t lds, int64_t n, int64_t dh)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < dh; d++)
            dst[i * ld + d] += src[i * lds + d];
}

/* The gradient of the first key of v's prefix. */
static float *before_gradient(const attention_job *j, const attention_view *v)
{
    return v->P > 0 ? j->dprefix + (v->before - j->prefix) : NULL;
}

/* dst [n][dh], ld 3D, += a [n][k] times b, k rows as panels.  Behind a head stands the next one: where it does not end with a panel,
 * the product is made in `room` [n][padded]. */
static void add_product(const attention_job *j, float *dst, int64_t n, const float *a, int64_t lda, const float *b, int64_t stride,
                        int64_t k, float *room)
{
    int64_t panels = ceil_div(j->dh, PANEL);
    if (j->dh % PANEL == 0) {
        j->kernels->product(dst, 3 * j->D, a, lda, b, stride, n, panels, k, true);
        return;
    }
    j->kernels->product(room, panels * PANEL, a, lda, b, stride, n, panels, k, false);
    add_rows(dst, 3 * j->D, room, panels * PANEL, n, j->dh);
}

/* The same for the gradients of keys k0.. (part = 0) or values (D), where they belong. */
static void add_view_product(const attention_job *j, const attention_view *v, float *dk, int64_t part, int64_t k0, int64_t n,
                             const float *a, int64_t lda, const float *b, int64_t stride, int64_t k, float *room)
{
    int64_t ld = 3 * j->D, first = v->P > k0 ? min64(v->P - k0, n) : 0;
    if (first > 0)
        add_product(j, before_gradient(j, v) + k0 * ld + part, first, a, lda, b, stride, k, room);
    add_product(j, dk + (k0 + first - v->P) * ld + part, n - first, a + first * lda, lda, b, stride, k, room);
}

/* c [n][ldc] = keys k0.. (part = 0) or values (D), as they lie, times the panels b [dh][16]. */
static void view_product(const attention_job *j, const attention_view *v, float *c, int64_t ldc, int64_t part, int64_t k0, int64_t n,
                         const float *b, int64_t panels)
{
    int64_t ld = 3 * j->D, first = v->P > k0 ? min64(v->P - k0, n) : 0, stride = j->dh * PANEL;
    if (first > 0)
        j->kernels->product(c, ldc, v->before + k0 * ld + part, ld, b, stride, first, panels, j->dh, false);
    j->kernels->product(c + first * ldc, ldc, v->k + (k0 + first - v->P) * ld + part, ld, b, stride, n - first, panels, j->dh, false);
}

/* n rows of src as columns, up to a whole panel. */
static void turn_rows(const attention_job *j, float *panels, const float *src, int64_t ld, int64_t n)
{
    clear_columns(panels, j->dh * PANEL, n, n, j->dh);
    pack_columns(j->kernels, panels, j->dh * PANEL, 0, src, ld, n, j->dh);
}

/* Scores lie on their side here, a row for a key: so keys and values are read where they are, and all gradients but dq
 * are sums over rows as these lie. */
static void backward_long(const attention_job *j, float *scratch, int64_t b, int64_t h)
{
    const ammpli_cpu_kernels *kernels = j->kernels;
    attention_view view = attention_view_of(j, b, h);
    int64_t D = j->D, dh = j->dh, ld = 3 * D, L = view.L, P = view.P, padded = ceil_div(dh, PANEL) * PANEL;
    int64_t QB = dh <= HEAD_SMALL ? BACK_QUERIES : BACK_QUERIES_LARGE, KB = dh <= HEAD_SMALL ? BACK_KEYS : BACK_KEYS_LARGE;
    const float *out = j->fout + j->start[b] * D + h * dh, *dout = j->dout + j->start[b] * D + h * dh;
    float *dq = j->out + j->start[b] * ld + h * dh, *dk = dq + D;
    float max[BACK_QUERIES], sum[BACK_QUERIES], dot[BACK_QUERIES];
    /* s, ds [KB][QB]; a step of ds [QB][BACK_STEP] and its keys as panels; queries and gradients of outputs, turned and as rows. */
    float *s = scratch, *ds = s + KB * QB, *turned = ds + KB * QB, *k_rows = turned + QB * BACK_STEP, *room = k_rows + BACK_STEP * padded;
    float *q_turned = room + BACK_STEP * padded, *dout_turned = q_turned + QB * padded, *q_rows = dout_turned + QB * padded;
    float *dout_rows = q_rows + QB * padded;
    for (int64_t i = 0; i < L; i++)
        for (int part = 0; part < 3; part++)
            memset(dq + i * ld + part * D, 0, (size_t)dh * sizeof *dq);
    for (int64_t q0 = 0; q0 < L; q0 += QB) {
        int64_t rows = min64(QB, L - q0), panels = ceil_div(rows, PANEL), end = P + (j->causal ? q0 + rows : L), last = (end - 1) / KB * KB;
        turn_rows(j, q_turned, view.q + q0 * ld, ld, rows);
        turn_rows(j, dout_turned, dout + q0 * D, D, rows);
        pack_rows(q_rows, QB * PANEL, 0, view.q + q0 * ld, ld, rows, dh);
        pack_rows(dout_rows, QB * PANEL, 0, dout + q0 * D, D, rows, dh);
        for (int64_t i = 0; i < panels * PANEL; i++) {
            max[i] = -INFINITY;
            sum[i] = 0;
            dot[i] = i < rows ? ammpli_cpu_dot(dout + (q0 + i) * D, out + (q0 + i) * D, dh) : 0;
        }
        /* Two sweeps over the keys: up for the normalisers, down for the gradients.  The last block's exponentials are
         * final when the sweep turns: where all keys fit in a block, scores are computed once. */
        for (int64_t sweep = 0; sweep < 2 * (last / KB) + 1; sweep++) {
            bool up = sweep <= last / KB;
            int64_t k0 = up ? sweep * KB : 2 * last - sweep * KB, n = min64(KB, end - k0), seen = j->causal ? P + q0 + 1 - k0 : n;
            view_product(j, &view, s, QB, 0, k0, n, q_turned, panels);
            if (up)
                kernels->softmax_columns(s, QB, max, sum, j->scale, n, panels, seen);
            if (k0 < last && up)
                continue;
            view_product(j, &view, ds, QB, D, k0, n, dout_turned, panels);
            kernels->softmax_columns_backward(s, ds, QB, up ? NULL : max, sum, dot, j->scale, n, panels, seen);
            for (int64_t i = 0; i < n; i += BACK_STEP) {
                int64_t step = min64(BACK_STEP, n - i);
                const float *p = s + i * QB, *dp = ds + i * QB;
                add_view_product(j, &view, dk, 0, k0 + i, step, dp, QB, q_rows, QB * PANEL, rows, room);
                add_view_product(j, &view, dk, D, k0 + i, step, p, QB, dout_rows, QB * PANEL, rows, room);
                kernels->transpose(turned, BACK_STEP, dp, QB, step, rows);
                pack_view_rows(j, &view, k_rows, BACK_STEP * PANEL, 0, k0 + i, step);
                add_product(j, dq + q0 * ld, rows, turned, BACK_STEP, k_rows, BACK_STEP * PANEL, step, room);
            }
        }
    }
}
static_assert(2 * BACK_KEYS * BACK_QUERIES + BACK_STEP * BACK_QUERIES + (2 * BACK_STEP + 4 * BACK_QUERIES) * HEAD_SMALL <= SCRATCH,
              "backward's scratch");
static_assert(2 * BACK_KEYS_LARGE * BACK_QUERIES_LARGE + BACK_STEP * BACK_QUERIES_LARGE +
              (2 * BACK_STEP + 4 * BACK_QUERIES_LARGE) * HEAD_MAX <= SCRATCH, "the same, large heads");
static_assert(BACK_QUERIES <= BACK_STEP && BACK_QUERIES % PANEL == 0 && BACK_QUERIES_LARGE % PANEL == 0, "`room` holds queries, too");

/* What sequences that go together share: scores, probabilities and their gradients [queries][keys], one of them turned; the
 * prefix's and the sequence's keys and values turned, keys as rows; queries and gradients of outputs as rows. */
typedef struct backward_block {
    float *s, *ds, *turned, *k_turned, *v_turned, *k_rows, *q_rows, *dout_rows;
} backward_block;
static_assert(3 * SHORT_QUERIES * SHORT_KEYS + (3 * SHORT_KEYS + 2 * SHORT_QUERIES) * HEAD_SMALL <= SCRATCH, "their scratch");

/* Heads of whole panels only: sums go straight to where they belong. */
static bool is_short(const attention_job *j, const attention_view *v)
{
    return j->dh <= HEAD_SMALL && j->dh % PANEL == 0 && v->L <= SHORT_QUERIES && v->P + v->L <= SHORT_KEYS;
}

/* c [n,dh], ld 3D, (+)= the transposed of the block at `a` [rows][n] times rows [rows,dh]. */
static void turned_product(const attention_job *j, const backward_block *x, float *c, const float *a, const float *rows_panels,
                           int64_t n, int64_t rows, bool add)
{
    j->kernels->transpose(x->turned, SHORT_QUERIES, a, SHORT_KEYS, rows, n);
    j->kernels->product(c, 3 * j->D, x->turned, SHORT_QUERIES, rows_panels, SHORT_QUERIES * PANEL, n, j->dh / PANEL, rows, add);
}

/* Sequences b0..b1-1 of one family, SHORT_QUERIES rows at most; their prefix is packed. */
static void backward_short(const attention_job *j, const backward_block *x, int64_t b0, int64_t b1, int64_t h)
{
    const ammpli_cpu_kernels *kernels = j->kernels;
    int64_t D = j->D, dh = j->dh, ld = 3 * D, first = j->start[b0], rows = j->start[b1] - first, columns = dh / PANEL;
    attention_view all = attention_view_of(j, b0, h);
    int64_t P = all.P, whole = P / PANEL * PANEL, turned = dh * PANEL, stride = SHORT_KEYS * PANEL;
    const float *dout = j->dout + first * D + h * dh, *out = j->fout + first * D + h * dh;
    float *dq = j->out + first * ld + h * dh, max[SHORT_QUERIES], sum[SHORT_QUERIES], factor[SHORT_QUERIES], dot[SHORT_QUERIES];
    pack_rows(x->q_rows, SHORT_QUERIES * PANEL, 0, all.q, ld, rows, dh);
    pack_rows(x->dout_rows, SHORT_QUERIES * PANEL, 0, dout, D, rows, dh);
    for (int64_t i = 0; i < rows; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
        dot[i] = ammpli_cpu_dot(dout + i * D, out + i * D, dh);
    }
    kernels->product(x->s, SHORT_KEYS, all.q, ld, x->k_turned, turned, rows, whole / PANEL, dh, false);
    kernels->product(x->ds, SHORT_KEYS, dout, D, x->v_turned, turned, rows, whole / PANEL, dh, false);
    for (int64_t b = b0; b < b1; b++) {
        attention_view v = attention_view_of(j, b, h);
        int64_t r = j->start[b] - first, keys = P + v.L, wide = ceil_div(keys, PANEL) * PANEL, more = (wide - whole) / PANEL;
        float *s = x->s + r * SHORT_KEYS, *ds = x->ds + r * SHORT_KEYS;
        pack_columns(kernels, x->k_turned, turned, P, v.k, ld, v.L, dh);
        pack_columns(kernels, x->v_turned, turned, P, v.k + D, ld, v.L, dh);
        kernels->product(s + whole, SHORT_KEYS, v.q, ld, x->k_turned + whole * dh, turned, v.L, more, dh, false);
        kernels->product(ds + whole, SHORT_KEYS, dout + r * D, D, x->v_turned + whole * dh, turned, v.L, more, dh, false);
        kernels->softmax_block(s, SHORT_KEYS, max + r, sum + r, factor + r, j->scale, v.L, keys, wide, j->causal ? P + 1 : keys);
        kernels->softmax_backward(s, ds, SHORT_KEYS, sum + r, dot + r, j->scale, v.L, wide);
    }
    if (P > 0) {
        float *dbefore = before_gradient(j, &all);
        kernels->product(dq, ld, x->ds, SHORT_KEYS, x->k_rows, stride, rows, columns, P, false);
        turned_product(j, x, dbefore, x->ds, x->q_rows, P, rows, true);
        turned_product(j, x, dbefore + D, x->s, x->dout_rows, P, rows, true);
    }
    for (int64_t b = b0; b < b1; b++) {
        attention_view v = attention_view_of(j, b, h);
        int64_t r = j->start[b] - first, own = r * SHORT_KEYS + P;
        pack_rows(x->k_rows, stride, P, v.k, ld, v.L, dh);
        kernels->product(dq + r * ld, ld, x->ds + own, SHORT_KEYS, x->k_rows + P * PANEL, stride, v.L, columns, v.L, P > 0);
        turned_product(j, x, dq + r * ld + D, x->ds + own, x->q_rows + r * PANEL, v.L, v.L, false);
        turned_product(j, x, dq + r * ld + 2 * D, x->s + own, x->dout_rows + r * PANEL, v.L, v.L, false);
    }
}

/* Sequences b..end-1 that belong to family `group` (-1: sequence b alone), in their order. */
static void backward_family(const attention_job *j, float *scratch, int64_t b, int64_t end, int64_t group, int64_t h)
{
    backward_block x = {.s = scratch};
    int64_t each = SHORT_KEYS * j->dh;
    bool packed = false;
    x.ds = x.s + SHORT_QUERIES * SHORT_KEYS;
    x.turned = x.ds + SHORT_QUERIES * SHORT_KEYS;
    x.k_turned = x.turned + SHORT_QUERIES * SHORT_KEYS;
    x.v_turned = x.k_turned + each;
    x.k_rows = x.v_turned + each;
    x.q_rows = x.k_rows + each;
    x.dout_rows = x.q_rows + SHORT_QUERIES * j->dh;
    while (b < end) {
        if (j->group && j->group[b] != group) {
            b++;
            continue;
        }
        attention_view v = attention_view_of(j, b, h);
        if (!is_short(j, &v)) {
            backward_long(j, scratch, b++, h);
            packed = false;
            continue;
        }
        int64_t to = b + 1;
        for (; to < end && (!j->group || j->group[to] == group) && j->start[to + 1] - j->start[b] <= SHORT_QUERIES; to++) {
            attention_view next = attention_view_of(j, to, h);
            if (!is_short(j, &next))
                break;
        }
        if (!packed) {
            clear_columns(x.k_turned, j->dh * PANEL, v.P, SHORT_KEYS, j->dh);
            clear_columns(x.v_turned, j->dh * PANEL, v.P, SHORT_KEYS, j->dh);
            if (v.P > 0) {
                pack_columns(j->kernels, x.k_turned, j->dh * PANEL, 0, v.before, 3 * j->D, v.P, j->dh);
                pack_columns(j->kernels, x.v_turned, j->dh * PANEL, 0, v.before + j->D, 3 * j->D, v.P, j->dh);
                pack_rows(x.k_rows, SHORT_KEYS * PANEL, 0, v.before, 3 * j->D, v.P, j->dh);
            }
            packed = true;
        }
        backward_short(j, &x, b, to, h);
        b = to;
    }
}

static void backward_task(void *arg, int64_t task, float *scratch)
{
    const attention_job *j = arg;
    int64_t h = task % j->H, family = task / j->H, b = family - j->groups;
    if (b < 0)
        backward_family(j, scratch, 0, j->B, family, h);
    else if (!j->group || j->group[b] < 0)
        backward_family(j, scratch, b, b + 1, -1, h);
}

int32_t ammpli_cpu_attention_backward(ammpl_stream *s, float *dqkv, const float *dout, const float *out, const float *qkv,
                                      const int32_t *start, int64_t B, int64_t max_len, int64_t T, int64_t D, int64_t H,
                                      int32_t causal, float *dprefix, const float *prefix, const int32_t *group, int64_t P)
{
    if (H >= 1 && D / H > HEAD_MAX)
        return ammpli_cpu_attention_backward_reference(s, dqkv, dout, out, qkv, start, B, max_len, T, D, H, causal, dprefix, prefix,
                                                       group, P);
    attention_job j;
    TRY(ammpli_cpu_attention_job(s, &j, dqkv, qkv, start, B, max_len, T, D, H, causal, prefix, group, P));
    REQUIRE(s, T == 0 || (dout && out && (P == 0 || dprefix)), "attention_backward: dout, out or dprefix is NULL");
    if (T == 0)
        return AMMPL_OK;
    j.out = dqkv;
    j.dout = dout;
    j.fout = out;
    j.dprefix = dprefix;
    return ammpli_cpu_for_scratch(s, attention_families(&j), T * (max_len + P) * D / 2, backward_task, &j);
}
