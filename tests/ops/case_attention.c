/* case_attention.c - attention over ragged sequences, forward and backward. */
#include "ops.h"

typedef struct attention {
    const float *dout;
    int64_t L, D, H;
    bool causal;
} attention;

/* out [L,D] of one sequence's qkv [L,3D]; p [L] is scratch. */
static void attend(const attention *c, const double *qkv, double *out, double *p)
{
    int64_t L = c->L, D = c->D, dh = D / c->H;
    for (int64_t h = 0; h < c->H; h++)
        for (int64_t i = 0; i < L; i++) {
            int64_t n = c->causal ? i + 1 : L;
            double max = -INFINITY, sum = 0;
            for (int64_t j = 0; j < n; j++) {
                double s = 0;
                for (int64_t d = 0; d < dh; d++)
                    s += qkv[i * 3 * D + h * dh + d] * qkv[j * 3 * D + D + h * dh + d];
                p[j] = s / sqrt((double)dh);
                max = p[j] > max ? p[j] : max;
            }
            for (int64_t j = 0; j < n; j++)
                sum += p[j] = exp(p[j] - max);
            double *o = out + i * D + h * dh;
            memset(o, 0, (size_t)dh * sizeof *o);
            for (int64_t j = 0; j < n; j++)
                for (int64_t d = 0; d < dh; d++)
                    o[d] += p[j] / sum * qkv[j * 3 * D + 2 * D + h * dh + d];
        }
}

static double value_attention(void *ctx, const double *qkv)
{
    const attention *c = ctx;
    double *out = malloc((size_t)(c->L * c->D + c->L) * sizeof *out), sum = 0;
    ck_assert_ptr_nonnull(out);
    attend(c, qkv, out, out + c->L * c->D);
    for (int64_t i = 0; i < c->L * c->D; i++)
        sum += out[i] * (double)c->dout[i];
    free(out);
    return sum;
}

/* d out / d qkv applied to dout, in double, one sequence. */
static void attend_backward(run *r, const attention *c, const double *qkv, double *dqkv)
{
    int64_t L = c->L, D = c->D, dh = D / c->H, ld = 3 * D;
    double *p = keep(r, (size_t)(2 * L + 1) * sizeof *p), *dp = p + L, scale = 1 / sqrt((double)dh);
    for (int64_t h = 0; h < c->H; h++)
        for (int64_t i = 0; i < L; i++) {
            const double *q = qkv + i * ld + h * dh, *k = qkv + D + h * dh, *v = k + D;
            double *dq = dqkv + i * ld + h * dh, *dk = dqkv + D + h * dh, *dv = dk + D;
            const float *g = c->dout + i * D + h * dh;
            int64_t n = c->causal ? i + 1 : L;
            double max = -INFINITY, sum = 0, dot = 0;
            for (int64_t j = 0; j < n; j++) {
                p[j] = dp[j] = 0;
                for (int64_t d = 0; d < dh; d++) {
                    p[j] += q[d] * k[j * ld + d] * scale;
                    dp[j] += (double)g[d] * v[j * ld + d];
                }
                max = p[j] > max ? p[j] : max;
            }
            for (int64_t j = 0; j < n; j++)
                sum += p[j] = exp(p[j] - max);
            for (int64_t j = 0; j < n; j++) {
                p[j] /= sum;
                dot += p[j] * dp[j];
            }
            for (int64_t j = 0; j < n; j++) {
                double ds = p[j] * (dp[j] - dot) * scale;
                for (int64_t d = 0; d < dh; d++) {
                    dq[d] += ds * k[j * ld + d];
                    dk[j * ld + d] += ds * q[d];
                    dv[j * ld + d] += p[j] * (double)g[d];
                }
            }
        }
}

/* Head widths that fill a panel and that do not, on either side of what the fast path takes; lengths on either side of its
 * blocks.  A sequence may be empty. */
static const struct {
    int64_t H, dh, B;
    int32_t length[7];
    float scale; /* of q, k: large ones make the softmax sharp */
} attention_shapes[] = {{1, 1, 3, {1, 3, 5}, 1},
                        {3, 5, 4, {5, 0, 1, 31}, 1},
                        {2, 32, 5, {10, 65, 3, 80, 81}, 2},
                        {1, 64, 3, {197, 1, 33}, 1},
                        {2, 16, 3, {128, 129, 68}, 8},
                        {1, 33, 2, {69, 31}, 1},
                        {1, 80, 3, {49, 64, 97}, 1},
                        {1, 128, 2, {65, 5}, 1},
                        {2, 144, 2, {33, 3}, 1},
                        {1, 8, 1, {300}, 12},
                        {3, 20, 5, {37, 37, 37, 37, 37}, 1}, /* of one length, which a device may take together */
                        {2, 4, 3, {32, 32, 32}, 2},
                        {3, 5, 2, {33, 33}, 1},
                        {1, 4, 1, {640}, 1},
                        {1, 16, 2, {229, 7}, 2}, /* more keys than a block holds, forward and backward, for both sizes of heads */
                        {1, 112, 2, {9, 161}, 1}};
enum { ATTENTION_SHAPES = sizeof attention_shapes / sizeof *attention_shapes };

typedef struct batch {
    int64_t B, T, D, H, max_len;
    int32_t start[8];
    float *qkv, *dout;
    double *exact;
} batch;

static batch draw_batch(run *r, int i)
{
    batch b = {.B = attention_shapes[i].B, .H = attention_shapes[i].H, .D = attention_shapes[i].H * attention_shapes[i].dh};
    for (int64_t k = 0; k < b.B; k++) {
        int32_t n = attention_shapes[i].length[k];
        b.start[k + 1] = b.start[k] + n;
        b.max_len = n > b.max_len ? n : b.max_len;
    }
    b.T = b.start[b.B];
    b.qkv = draw_scaled(r, b.T * 3 * b.D, attention_shapes[i].scale, 0);
    b.dout = draw(r, b.T * b.D);
    b.exact = to_double(r, b.qkv, b.T * 3 * b.D);
    return b;
}

/* Where all are of one length and none is causal a device may multiply them together, in an order that depends on the shape. */
static bool may_go_together(int64_t B, int64_t max_len, int64_t T, bool causal)
{
    return !causal && B * max_len == T;
}

/* The same bits, but close ones where they are rounded in another way. */
static void same_but(run *r, bool rounded, const char *what, const float *got, const float *want, int64_t n, double tolerance)
{
    if (rounded)
        close_to(r, what, got, to_double(r, want, n), n, 2 * tolerance);
    else
        same_bits(r, what, got, want, n);
}

/* Sequences of which some begin with a prefix: widths that fill a panel and that do not, prefixes within one panel, over several,
 * and too long for what goes together; groups in any order. */
static const struct {
    int64_t H, dh, P, B;
    int32_t length[9], group[9];
} prefix_shapes[] = {{2, 64, 17, 9, {5, 3, 4, 0, 6, 3, 9, 4, 31}, {0, 0, 0, 0, 0, 0, 0, 0, 0}},
                     {3, 32, 5, 8, {4, 5, 3, 3, 7, 1, 33, 2}, {-1, 0, 0, 1, 1, -1, 1, 0}},
                     {1, 48, 70, 5, {3, 12, 11, 30, 2}, {1, 1, 0, 0, 2}},
                     {2, 5, 1, 4, {3, 2, 1, 4}, {0, -1, 0, 0}},
                     {1, 80, 20, 4, {3, 40, 66, 4}, {0, 0, 0, 1}},
                     {1, 64, 120, 3, {6, 20, 90}, {0, 0, 1}},
                     {1, 144, 3, 2, {2, 5}, {0, 0}},
                     {2, 16, 231, 3, {3, 50, 2}, {0, -1, 0}}, /* longer than a block of keys */
                     {1, 96, 130, 2, {35, 4}, {0, 0}},
                     {3, 8, 5, 3, {37, 37, 37}, {0, 0, 0}}, /* of one length, which a device may take together, all or in parts */
                     {2, 12, 5, 4, {37, 37, 37, 37}, {-1, 1, 0, 1}},
                     {1, 4, 3, 5, {33, 33, 33, 33, 33}, {0, 1, 2, 3, 4}},
                     {1, 64, 4, 3, {32, 32, 32}, {0, 1, 1}},
                     {1, 4, 2, 2, {34, 34}, {-1, -1}},
                     {1, 4, 608, 2, {32, 32}, {0, -1}}, /* as many keys as it takes */
                     {1, 4, 609, 1, {32}, {0}}};
enum { PREFIX_SHAPES = sizeof prefix_shapes / sizeof *prefix_shapes };

typedef struct prefixed {
    int64_t B, T, P, D, H, max_len, groups;
    int32_t start[10], group[9];
    float *qkv, *dout, *prefix;
} prefixed;

static prefixed draw_prefixed(run *r, int i)
{
    prefixed b = {.B = prefix_shapes[i].B, .P = prefix_shapes[i].P, .H = prefix_shapes[i].H, .D = prefix_shapes[i].H * prefix_shapes[i].dh};
    for (int64_t k = 0; k < b.B; k++) {
        int32_t n = prefix_shapes[i].length[k], g = b.group[k] = prefix_shapes[i].group[k];
        b.start[k + 1] = b.start[k] + n;
        b.max_len = n > b.max_len ? n : b.max_len;
        b.groups = g >= b.groups ? g + 1 : b.groups;
    }
    b.T = b.start[b.B];
    b.qkv = draw_scaled(r, b.T * 3 * b.D, 2, 0);
    b.dout = draw(r, b.T * b.D);
    b.prefix = draw_scaled(r, b.groups * b.P * 3 * b.D, 2, 0);
    return b;
}

/* Sequence k with its prefix in front as [rows,3D] floats; *P rows of it are the prefix's. */
static float *whole_sequence(run *r, const prefixed *b, int64_t k, int64_t *P)
{
    int64_t n = b->start[k + 1] - b->start[k], w = 3 * b->D;
    *P = b->group[k] >= 0 ? b->P : 0;
    float *x = keep(r, (size_t)((*P + n) * w + 1) * sizeof *x);
    if (*P)
        memcpy(x, b->prefix + b->group[k] * b->P * w, (size_t)(*P * w) * sizeof *x);
    memcpy(x + *P * w, b->qkv + b->start[k] * w, (size_t)(n * w) * sizeof *x);
    return x;
}

static void prefixes_forward(run *r, int i, int32_t causal)
{
    prefixed b = draw_prefixed(r, i);
    int64_t T = b.T, D = b.D;
    float *qkv = PUT(r, b.qkv, T * 3 * D), *prefix = PUT(r, b.prefix, b.groups * b.P * 3 * D), *out = make(r, T * D);
    int32_t *start = PUT(r, b.start, b.B + 1), *group = PUT(r, b.group, b.B);
    ck_ok(r->ops->attention_forward(r->s, out, qkv, start, b.B, b.max_len, T, D, b.H, causal, prefix, group, b.P));
    float *got = get(r, out, T * D);
    for (int64_t k = 0; k < b.B; k++) {
        int64_t P, n = b.start[k + 1] - b.start[k], L;
        float *whole = whole_sequence(r, &b, k, &P);
        L = P + n;
        if (!n)
            continue;
        double *want = keep(r, (size_t)(L * D) * 8), *p = keep(r, (size_t)(L + 1) * 8);
        attend(&(attention){NULL, L, D, b.H, causal}, to_double(r, whole, L * 3 * D), want, p);
        close_to(r, "out behind a prefix", got + b.start[k] * D, want + P * D, n * D, 5e-6);
        /* As one sequence, which may not fill its bound. */
        int32_t alone[2] = {0, (int32_t)L};
        float *one = make(r, L * D);
        ck_ok(r->ops->attention_forward(r->s, one, PUT(r, whole, L * 3 * D), PUT(r, alone, 2), 1, L + 1, L, D, b.H, causal, NULL, NULL, 0));
        same_but(r, r->by_shape && may_go_together(b.B, b.max_len, T, causal), "one sequence", get(r, one, L * D) + P * D,
                 got + b.start[k] * D, n * D, 5e-6);
    }
}

static void prefixes_backward(run *r, int i, int32_t causal)
{
    prefixed b = draw_prefixed(r, i);
    int64_t T = b.T, D = b.D, before = b.groups * b.P * 3 * D;
    float *qkv = PUT(r, b.qkv, T * 3 * D), *prefix = PUT(r, b.prefix, before), *dout = PUT(r, b.dout, T * D), *out = make(r, T * D);
    float *dqkv = make(r, T * 3 * D), *held = draw(r, before), *dprefix = PUT_CHANGE(r, held, before);
    int32_t *start = PUT(r, b.start, b.B + 1), *group = PUT(r, b.group, b.B);
    ck_ok(r->ops->attention_forward(r->s, out, qkv, start, b.B, b.max_len, T, D, b.H, causal, prefix, group, b.P));
    ck_ok(r->ops->attention_backward(r->s, dqkv, dout, out, qkv, start, b.B, b.max_len, T, D, b.H, causal, dprefix, prefix, group, b.P));
    float *got = get(r, dqkv, T * 3 * D), *got_prefix = get(r, dprefix, before);
    double *want = keep(r, (size_t)(T * 3 * D) * 8), *want_prefix = to_double(r, held, before);
    for (int64_t k = 0; k < b.B; k++) {
        int64_t P, n = b.start[k + 1] - b.start[k], L, first = b.group[k] * b.P * 3 * D;
        float *whole = whole_sequence(r, &b, k, &P), *g;
        L = P + n;
        double *d = keep(r, (size_t)(L * 3 * D + 1) * 8);
        g = keep(r, (size_t)(L * D + 1) * sizeof *g);
        memcpy(g + P * D, b.dout + b.start[k] * D, (size_t)(n * D) * sizeof *g);
        attend_backward(r, &(attention){g, L, D, b.H, causal}, to_double(r, whole, L * 3 * D), d);
        memcpy(want + b.start[k] * 3 * D, d + P * 3 * D, (size_t)(n * 3 * D) * 8);
        for (int64_t e = 0; e < P * 3 * D; e++)
            want_prefix[first + e] += d[e];
    }
    close_to(r, "dqkv behind a prefix", got, want, T * 3 * D, 5e-6);
    close_to(r, "dprefix", got_prefix, want_prefix, before, 5e-6);
    for (int64_t e = 0; e < before; e++) /* queries are not asked */
        if (e % (3 * D) < D)
            ck_assert(got_prefix[e] == held[e]);
    /* In two parts, one after the other. */
    int64_t half = b.B / 2, cut = b.start[half];
    int32_t part[10];
    float *again = PUT_CHANGE(r, held, before), *parts = make(r, T * 3 * D);
    for (int64_t k = half; k <= b.B; k++)
        part[k - half] = b.start[k] - (int32_t)cut;
    ck_ok(r->ops->attention_backward(r->s, parts, dout, out, qkv, start, half, b.max_len, cut, D, b.H, causal, again, prefix, group, b.P));
    ck_ok(r->ops->attention_backward(r->s, parts + cut * 3 * D, dout + cut * D, out + cut * D, qkv + cut * 3 * D,
                                     PUT(r, part, b.B - half + 1), b.B - half, b.max_len, T - cut, D, b.H, causal, again, prefix,
                                     group + half, b.P));
    bool whole = may_go_together(b.B, b.max_len, T, causal);
    bool part_of_it = may_go_together(half, b.max_len, cut, causal) || may_go_together(b.B - half, b.max_len, T - cut, causal);
    bool rounded = whole ? r->by_count : r->by_shape && part_of_it;
    same_but(r, rounded, "dqkv in parts", get(r, parts, T * 3 * D), got, T * 3 * D, 5e-6);
    same_but(r, rounded, "dprefix in parts", get(r, again, before), got_prefix, before, 5e-6);
}

void case_attention_forward(run *r)
{
    for (int i = 0; i < 2 * ATTENTION_SHAPES; i++) {
        batch b = draw_batch(r, i / 2);
        int64_t T = b.T, D = b.D;
        int32_t causal = i % 2;
        double tolerance = 3e-6 * (attention_shapes[i / 2].scale > 4 ? 100 : 1); /* scores in the hundreds have coarse ulps */
        float *qkv = PUT(r, b.qkv, T * 3 * D), *out = make(r, T * D);
        int32_t *start = PUT(r, b.start, b.B + 1);
        ck_ok(r->ops->attention_forward(r->s, out, qkv, start, b.B, b.max_len, T, D, b.H, causal, NULL, NULL, 0));
        float *got = get(r, out, T * D);
        double *want = keep(r, (size_t)(T * D) * 8), *p = keep(r, (size_t)(b.max_len + 1) * 8);
        for (int64_t k = 0; k < b.B; k++)
            attend(&(attention){NULL, b.start[k + 1] - b.start[k], D, b.H, causal}, b.exact + b.start[k] * 3 * D,
                   want + b.start[k] * D, p);
        close_to(r, "out", got, want, T * D, tolerance);
        for (int64_t k = 0; k < b.B; k++) { /* a sequence alone, with another bound on the length */
            int32_t n = b.start[k + 1] - b.start[k], alone[2] = {0, n};
            if (!n)
                continue;
            float *one = make(r, n * D);
            ck_ok(r->ops->attention_forward(r->s, one, qkv + b.start[k] * 3 * D, PUT(r, alone, 2), 1, n + 200, n, D, b.H, causal, NULL, NULL, 0));
            same_but(r, r->by_shape && may_go_together(b.B, b.max_len, T, causal), "sequence alone", get(r, one, n * D),
                     got + b.start[k] * D, n * D, tolerance);
            if (causal && n > 2) { /* cut: later rows do not count, to the bit */
                int32_t cut[2] = {0, n / 2};
                float *part = make(r, n / 2 * D);
                ck_ok(r->ops->attention_forward(r->s, part, qkv + b.start[k] * 3 * D, PUT(r, cut, 2), 1, n, n / 2, D, b.H, 1, NULL, NULL, 0));
                same_bits(r, "sequence cut", get(r, part, n / 2 * D), got + b.start[k] * D, n / 2 * D);
            }
        }
        int64_t last = b.start[b.B - 1]; /* a NaN key of the last sequence's first row: all of its rows, no others */
        for (int64_t d = 0; d < D; d++)
            b.qkv[last * 3 * D + D + d] = NAN;
        ck_ok(r->ops->attention_forward(r->s, out, PUT(r, b.qkv, T * 3 * D), start, b.B, b.max_len, T, D, b.H, causal, NULL, NULL, 0));
        float *after = get(r, out, T * D);
        same_bits(r, "before NaN", after, got, last * D);
        all_nan(r, "out of NaN", after + last * D, (T - last) * D);
    }
    for (int i = 0; i < 2 * PREFIX_SHAPES; i++)
        prefixes_forward(r, i / 2, i % 2);
    float x[6] = {0}, *in = PUT(r, x, 6), *out = make(r, 6);
    int32_t start[2] = {0, 2}, wrong[3] = {0, 2, 1}, *two = PUT(r, start, 2);
    ck_ok(r->ops->attention_forward(r->s, NULL, NULL, NULL, 0, 0, 0, 4, 2, 0, NULL, NULL, 0));
    refuses(r, r->ops->attention_forward(r->s, x, x, start, 1, 2, 2, 3, 2, 0, NULL, NULL, 0), "multiple");
    refuses(r, r->ops->attention_forward(r->s, x, x, start, -1, 2, 2, 2, 2, 0, NULL, NULL, 0), "negative");
    refuses(r, r->ops->attention_forward(r->s, x, NULL, start, 1, 2, 2, 1, 1, 0, NULL, NULL, 0), "NULL");
    refuses_late(r, r->ops->attention_forward(r->s, out, in, two, 1, 1, 2, 1, 1, 0, NULL, NULL, 0), "start");
    refuses_late(r, r->ops->attention_forward(r->s, out, in, PUT(r, wrong, 3), 2, 2, 1, 1, 1, 0, NULL, NULL, 0), "start");
    int32_t uneven[3] = {0, 31, 64}, group[2] = {0, -1}; /* where both should have 32 */
    float *rows = PUT(r, draw(r, 64 * 12), 64 * 12);
    for (int64_t P = 0; P <= 2; P += 2)
        refuses_late(r, r->ops->attention_forward(r->s, make(r, 64 * 4), rows, PUT(r, uneven, 3), 2, 32, 64, 4, 1, 0, rows,
                                                  PUT(r, group, 2), P), "start");
}

void case_attention_backward(run *r)
{
    for (int i = 0; i < 2 * ATTENTION_SHAPES; i++) {
        batch b = draw_batch(r, i / 2);
        int64_t T = b.T, D = b.D;
        int32_t causal = i % 2;
        double tolerance = 5e-6 * (attention_shapes[i / 2].scale > 4 ? 100 : 1);
        float *qkv = PUT(r, b.qkv, T * 3 * D), *dout = PUT(r, b.dout, T * D), *out = make(r, T * D), *dqkv = make(r, T * 3 * D);
        int32_t *start = PUT(r, b.start, b.B + 1);
        ck_ok(r->ops->attention_forward(r->s, out, qkv, start, b.B, b.max_len, T, D, b.H, causal, NULL, NULL, 0));
        ck_ok(r->ops->attention_backward(r->s, dqkv, dout, out, qkv, start, b.B, b.max_len, T, D, b.H, causal, NULL, NULL, NULL, 0));
        float *got = get(r, dqkv, T * 3 * D);
        double *want = keep(r, (size_t)(T * 3 * D) * 8);
        for (int64_t k = 0; k < b.B; k++) {
            attention c = {b.dout + b.start[k] * D, b.start[k + 1] - b.start[k], D, b.H, causal};
            attend_backward(r, &c, b.exact + b.start[k] * 3 * D, want + b.start[k] * 3 * D);
            if (c.L > 1 && c.L < 40 && attention_shapes[i / 2].scale < 4)
                slopes(r, "dqkv", got + b.start[k] * 3 * D, value_attention, &c, b.exact + b.start[k] * 3 * D, c.L * 3 * D, 13, 4e-6);
        }
        close_to(r, "dqkv", got, want, T * 3 * D, tolerance);
        for (int64_t k = 0; k < b.B; k++) { /* a sequence alone, with another bound on the length */
            int32_t n = b.start[k + 1] - b.start[k], alone[2] = {0, n};
            if (!n)
                continue;
            float *one = make(r, n * 3 * D);
            ck_ok(r->ops->attention_backward(r->s, one, dout + b.start[k] * D, out + b.start[k] * D, qkv + b.start[k] * 3 * D,
                                             PUT(r, alone, 2), 1, n + 200, n, D, b.H, causal, NULL, NULL, NULL, 0));
            same_but(r, r->by_shape && may_go_together(b.B, b.max_len, T, causal), "sequence alone", get(r, one, n * 3 * D),
                     got + b.start[k] * 3 * D, n * 3 * D, tolerance);
        }
        /* The last row of all, which sees every key of its sequence: its dq, and all dk and dv there. */
        int64_t first = b.start[b.B - 1];
        for (int64_t d = 0; d < D; d++)
            b.dout[(T - 1) * D + d] = NAN;
        ck_ok(r->ops->attention_backward(r->s, dqkv, PUT(r, b.dout, T * D), out, qkv, start, b.B, b.max_len, T, D, b.H, causal, NULL, NULL, NULL, 0));
        float *after = get(r, dqkv, T * 3 * D);
        same_bits(r, "before NaN", after, got, first * 3 * D);
        all_nan(r, "dq of NaN", after + (T - 1) * 3 * D, D);
        for (int64_t t = first; t < T; t++) {
            all_nan(r, "dk, dv of NaN", after + t * 3 * D + D, 2 * D);
            if (t < T - 1)
                same_bits(r, "dq beside NaN", after + t * 3 * D, got + t * 3 * D, D);
        }
    }
    for (int i = 0; i < 2 * PREFIX_SHAPES; i++)
        prefixes_backward(r, i / 2, i % 2);
    float x[6] = {0}, *in = PUT(r, x, 6), *out = make(r, 6);
    int32_t start[2] = {0, 2}, *two = PUT(r, start, 2);
    ck_ok(r->ops->attention_backward(r->s, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 4, 2, 0, NULL, NULL, NULL, 0));
    refuses(r, r->ops->attention_backward(r->s, x, x, x, x, start, 1, 2, 2, 3, 2, 0, NULL, NULL, NULL, 0), "multiple");
    refuses(r, r->ops->attention_backward(r->s, x, NULL, x, x, start, 1, 2, 2, 1, 1, 0, NULL, NULL, NULL, 0), "NULL");
    refuses_late(r, r->ops->attention_backward(r->s, out, in, in, in, two, 1, 1, 2, 1, 1, 0, NULL, NULL, NULL, 0), "start");
    int32_t uneven[3] = {0, 31, 64}, group[2] = {0, -1}; /* where both should have 32 */
    float *rows = PUT(r, draw(r, 64 * 12), 64 * 12), zeros[2 * 12] = {0};
    for (int64_t P = 0; P <= 2; P += 2)
        refuses_late(r, r->ops->attention_backward(r->s, make(r, 64 * 12), rows, rows, rows, PUT(r, uneven, 3), 2, 32, 64, 4, 1, 0,
                                                   PUT_CHANGE(r, zeros, 2 * 12), rows, PUT(r, group, 2), P), "start");
}
