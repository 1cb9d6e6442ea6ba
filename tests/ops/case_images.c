/* case_images.c - patches, masks, masked pictures from patch tokens. */
#include "ops.h"

static const int64_t patch_shapes[][3] = {{1, 1, 1}, {3, 1, 5}, {2, 3, 1}, {1, 5, 3}, {2, 7, 16}, {1, 3, 31}, {0, 2, 2}, {5, 14, 8}};
enum { PATCH_SHAPES = sizeof patch_shapes / sizeof *patch_shapes };

static void patches(run *r, bool backward)
{
    for (int i = 0; i < PATCH_SHAPES; i++) {
        int64_t B = patch_shapes[i][0], g = patch_shapes[i][1], q = patch_shapes[i][2], n = B * 3 * g * q * g * q;
        float *x = draw(r, n), *want = keep(r, (size_t)n * 4), *out = make(r, n);
        if (n)
            x[n / 2] = NAN;
        for (int64_t b = 0; b < B; b++)
            for (int64_t c = 0; c < 3; c++)
                for (int64_t y = 0; y < g * q; y++)
                    for (int64_t k = 0; k < g * q; k++) {
                        int64_t pixel = ((b * 3 + c) * g * q + y) * g * q + k;
                        int64_t patch = ((b * g * g + y / q * g + k / q) * 3 + c) * q * q + y % q * q + k % q;
                        if (backward)
                            want[pixel] = x[patch];
                        else
                            want[patch] = x[pixel];
                    }
        ck_ok(backward ? r->ops->patches_backward(r->s, out, PUT(r, x, n), B, g, q)
                       : r->ops->patches_forward(r->s, out, PUT(r, x, n), B, g, q));
        same_bits(r, "out", get(r, out, n), want, n);
    }
    float x = 0;
    refuses(r, backward ? r->ops->patches_backward(r->s, &x, &x, -1, 1, 1) : r->ops->patches_forward(r->s, &x, &x, -1, 1, 1), "negative");
    refuses(r, backward ? r->ops->patches_backward(r->s, NULL, &x, 1, 1, 1) : r->ops->patches_forward(r->s, &x, NULL, 1, 1, 1), "NULL");
}

void case_patches_forward(run *r)
{
    patches(r, false);
}

void case_patches_backward(run *r)
{
    patches(r, true);
}

static uint32_t *draw_words(run *r, int64_t n)
{
    uint32_t *x = keep(r, (size_t)n * 4);
    for (int64_t i = 0; i < n; i++)
        x[i] = (uint32_t)(uniform(r) * 4294967296.0);
    return x;
}

void case_mask_draw(run *r)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 5}, {5, 49}, {31, 33}, {33, 196}};
    for (size_t i = 0; i < 3 * 4 * sizeof sizes / sizeof *sizes; i++) {
        int32_t mode = (int32_t)(i % 3);
        int64_t n = sizes[i / 12][0], P = sizes[i / 12][1], rows = n / 2 + 1;
        bool with_hash = i / 3 & 1, with_id = i / 3 & 2;
        float *prob = draw_scaled(r, rows * P, 0.7f, 0.5f), *m = make(r, n * P), *want = keep(r, (size_t)(n * P) * 4);
        int32_t *pi = draw_index(r, n, (int32_t)rows);
        uint32_t *hash = draw_words(r, n), *id = draw_words(r, n);
        uint64_t seed = 0x123456789abcdef0u;
        prob[0] = NAN;
        prob[P / 2] = 0.5f;
        for (int64_t e = 0; e < n; e++)
            for (int64_t p = 0; p < P; p++) {
                float x = prob[pi[e] * P + p], clamped = x < 0 ? 0 : x > 1 ? 1 : x;
                uint32_t words[4];
                ammpli_philox(seed, AMMPLI_DRAW_MASK, (uint32_t)p, with_hash ? hash[e] : 0, with_id ? id[e] : 0, 77, words);
                want[e * P + p] = mode == AMMPL_MASK_SAMPLE     ? (ammpli_uniform(words) < clamped ? 1.0f : 0.0f)
                                  : mode == AMMPL_MASK_EXPECTED ? clamped
                                                                : (x >= 0.5f ? 1.0f : 0.0f);
            }
        float *probd = PUT(r, prob, rows * P);
        int32_t *pid = PUT(r, pi, n);
        uint32_t *hd = with_hash ? PUT(r, hash, n) : NULL, *idd = with_id ? PUT(r, id, n) : NULL;
        ck_ok(r->ops->mask_draw(r->s, m, probd, pid, hd, idd, seed, AMMPLI_DRAW_MASK, 77, mode, n, P));
        float *got = get(r, m, n * P);
        same_bits(r, "m", got, want, n * P);
        float *one = make(r, P); /* the draw belongs to the picture, not to its place */
        int64_t t = n / 2;
        ck_ok(r->ops->mask_draw(r->s, one, probd, pid + t, hd ? hd + t : NULL, idd ? idd + t : NULL, seed, AMMPLI_DRAW_MASK, 77,
                                mode, 1, P));
        same_bits(r, "picture alone", get(r, one, P), got + t * P, P);
    }
    float x = 0;
    int32_t zero = 0;
    refuses(r, r->ops->mask_draw(r->s, &x, &x, &zero, NULL, NULL, 1, 1, 1, 3, 1, 1), "mode");
    refuses(r, r->ops->mask_draw(r->s, &x, &x, NULL, NULL, NULL, 1, 1, 1, 0, 1, 1), "NULL");
    refuses(r, r->ops->mask_draw(r->s, &x, &x, &zero, NULL, NULL, 1, 1, 1, 0, -1, 1), "negative");
}

/* n masked pictures of `images` pictures, `masks` masks and `pads` paddings, P patches of D. */
typedef struct mix {
    int64_t n, P, D, images, masks, pads;
    const int32_t *mi, *ii, *ki;
    const float *m, *image, *pad, *dtoken;
    bool blend;
} mix;

static const int64_t mix_shapes[][3] = {{1, 1, 1}, {3, 5, 31}, {5, 33, 3}, {2, 49, 96}, {7, 16, 197}, {12, 196, 65}};
enum { MIX_SHAPES = sizeof mix_shapes / sizeof *mix_shapes };

static mix draw_mix(run *r, int i)
{
    mix x = {.n = mix_shapes[i][0], .P = mix_shapes[i][1], .D = mix_shapes[i][2]};
    x.images = x.n / 3 + 1;
    x.masks = x.n / 2 + 1;
    x.pads = x.n / 4 + 1;
    x.mi = draw_index(r, x.n, (int32_t)x.masks);
    x.ii = draw_index(r, x.n, (int32_t)x.images);
    x.ki = draw_index(r, x.n, (int32_t)x.pads);
    x.m = draw_scaled(r, x.masks * x.P, 0.5f, 0.5f);
    x.image = draw(r, x.images * x.P * x.D);
    x.pad = draw(r, x.pads * x.D);
    x.dtoken = draw(r, x.n * x.P * x.D);
    return x;
}

void case_mask_mix_forward(run *r)
{
    for (int i = 0; i < 2 * MIX_SHAPES; i++) {
        mix x = draw_mix(r, i / 2);
        int64_t n = x.n, P = x.P, D = x.D, t = n / 2;
        bool with_pad = i % 2;
        double *want = keep(r, (size_t)(n * P * D) * 8);
        for (int64_t e = 0; e < n; e++)
            for (int64_t p = 0; p < P; p++)
                for (int64_t d = 0; d < D; d++) {
                    double keep_it = (double)x.m[x.mi[e] * P + p];
                    want[(e * P + p) * D + d] = keep_it * (double)x.image[(x.ii[e] * P + p) * D + d] +
                                                (with_pad ? (1 - keep_it) * (double)x.pad[x.ki[e] * D + d] : 0);
                }
        float *token = make(r, n * P * D), *m = PUT(r, x.m, x.masks * P), *image = PUT(r, x.image, x.images * P * D);
        float *pad = with_pad ? PUT(r, x.pad, x.pads * D) : NULL, *one = make(r, P * D);
        int32_t *mi = PUT(r, x.mi, n), *ii = PUT(r, x.ii, n), *ki = with_pad ? PUT(r, x.ki, n) : NULL;
        ck_ok(r->ops->mask_mix_forward(r->s, token, m, mi, image, ii, pad, ki, n, P, D));
        float *got = get(r, token, n * P * D);
        close_to(r, "token", got, want, n * P * D, 4e-7);
        ck_ok(r->ops->mask_mix_forward(r->s, one, m, mi + t, image, ii + t, pad, ki ? ki + t : NULL, 1, P, D));
        same_bits(r, "picture alone", get(r, one, P * D), got + t * P * D, P * D);
        float *spoilt = keep(r, (size_t)(x.masks * P) * 4);
        memcpy(spoilt, x.m, (size_t)(x.masks * P) * 4);
        spoilt[x.mi[t] * P + P / 2] = NAN;
        ck_ok(r->ops->mask_mix_forward(r->s, token, PUT(r, spoilt, x.masks * P), mi, image, ii, pad, ki, n, P, D));
        float *after = get(r, token, n * P * D);
        for (int64_t e = 0; e < n; e++)
            for (int64_t p = 0; p < P; p++)
                if (x.mi[e] == x.mi[t] && p == P / 2)
                    all_nan(r, "token of NaN", after + (e * P + p) * D, D);
                else
                    same_bits(r, "beside NaN", after + (e * P + p) * D, got + (e * P + p) * D, D);
    }
    float x = 0;
    int32_t zero = 0;
    refuses(r, r->ops->mask_mix_forward(r->s, &x, &x, &zero, &x, &zero, NULL, NULL, -1, 1, 1), "negative");
    refuses(r, r->ops->mask_mix_forward(r->s, &x, &x, &zero, &x, &zero, &x, NULL, 1, 1, 1), "NULL");
    refuses(r, r->ops->mask_mix_forward(r->s, &x, &x, NULL, &x, &zero, NULL, NULL, 1, 1, 1), "NULL");
}

/* sum of dtoken (m image + (1 - m) pad) by pad; and by m, where the padding counts only in blend mode. */
static double value_by_pad(void *ctx, const double *pad)
{
    const mix *x = ctx;
    double sum = 0;
    for (int64_t e = 0; e < x->n; e++)
        for (int64_t k = 0; k < x->P * x->D; k++)
            sum += (double)x->dtoken[e * x->P * x->D + k] * (1 - (double)x->m[x->mi[e] * x->P + k / x->D]) *
                   pad[x->ki[e] * x->D + k % x->D];
    return sum;
}

static double value_by_mask(void *ctx, const double *m)
{
    const mix *x = ctx;
    double sum = 0;
    for (int64_t e = 0; e < x->n; e++)
        for (int64_t k = 0; k < x->P * x->D; k++) {
            double image = (double)x->image[x->ii[e] * x->P * x->D + k], pad = (double)x->pad[x->ki[e] * x->D + k % x->D];
            double mask = m[e * x->P + k / x->D];
            sum += (double)x->dtoken[e * x->P * x->D + k] * (mask * image + (x->blend ? (1 - mask) * pad : 0));
        }
    return sum;
}

void case_mask_mix_backward(run *r)
{
    for (int i = 0; i < 2 * MIX_SHAPES; i++) {
        mix x = draw_mix(r, i / 2);
        int64_t n = x.n, P = x.P, D = x.D, t = n / 2;
        x.blend = i % 2;
        float *zero = keep(r, (size_t)(x.pads * D) * 4), *dm = make(r, n * P), *dpad = PUT_CHANGE(r, zero, x.pads * D);
        float *dtoken = PUT(r, x.dtoken, n * P * D), *m = PUT(r, x.m, x.masks * P), *image = PUT(r, x.image, x.images * P * D);
        float *pad = PUT(r, x.pad, x.pads * D), blend = (float)x.blend, *one = make(r, P), *alone = PUT_CHANGE(r, zero, x.pads * D);
        int32_t *mi = PUT(r, x.mi, n), *ii = PUT(r, x.ii, n), *ki = PUT(r, x.ki, n);
        ck_ok(r->ops->mask_mix_backward(r->s, dm, dpad, dtoken, m, mi, image, ii, pad, ki, blend, n, P, D));
        float *got_m = get(r, dm, n * P), *got_pad = get(r, dpad, x.pads * D);
        double *masks = keep(r, (size_t)(n * P) * 8);
        for (int64_t k = 0; k < n * P; k++)
            masks[k] = (double)x.m[x.mi[k / P] * P + k % P];
        slopes(r, "dm", got_m, value_by_mask, &x, masks, n * P, 9, 1e-6);
        slopes(r, "dpad", got_pad, value_by_pad, &x, to_double(r, x.pad, x.pads * D), x.pads * D, 9, 1e-6);
        ck_ok(r->ops->mask_mix_backward(r->s, NULL, alone, dtoken, m, mi, NULL, NULL, NULL, ki, 0, n, P, D));
        same_bits(r, "dpad alone", get(r, alone, x.pads * D), got_pad, x.pads * D);
        ck_ok(r->ops->mask_mix_backward(r->s, one, NULL, dtoken + t * P * D, m, mi + t, image, ii + t, pad, ki + t, blend, 1, P, D));
        same_bits(r, "picture alone", get(r, one, P), got_m + t * P, P);
        /* dm is overwritten, dpad is added to */
        ck_ok(r->ops->mask_mix_backward(r->s, dm, dpad, dtoken, m, mi, image, ii, pad, ki, blend, n, P, D));
        same_bits(r, "dm again", get(r, dm, n * P), got_m, n * P);
        double *twice = to_double(r, got_pad, x.pads * D);
        for (int64_t k = 0; k < x.pads * D; k++)
            twice[k] *= 2;
        close_to(r, "dpad twice", get(r, dpad, x.pads * D), twice, x.pads * D, 1e-6);
        float *spoilt = keep(r, (size_t)(n * P * D) * 4);
        memcpy(spoilt, x.dtoken, (size_t)(n * P * D) * 4);
        spoilt[t * P * D] = NAN;
        ck_ok(r->ops->mask_mix_backward(r->s, dm, NULL, PUT(r, spoilt, n * P * D), m, mi, image, ii, pad, ki, blend, n, P, D));
        float *after = get(r, dm, n * P);
        all_nan(r, "dm of NaN", after + t * P, 1);
        same_bits(r, "before NaN", after, got_m, t * P);
        same_bits(r, "after NaN", after + t * P + 1, got_m + t * P + 1, (n - t) * P - 1);
    }
    float x = 0;
    int32_t zero = 0;
    refuses(r, r->ops->mask_mix_backward(r->s, &x, &x, &x, &x, &zero, &x, &zero, &x, &zero, 0, 1, -1, 1), "negative");
    refuses(r, r->ops->mask_mix_backward(r->s, &x, &x, NULL, &x, &zero, &x, &zero, &x, &zero, 0, 1, 1, 1), "NULL");
    refuses(r, r->ops->mask_mix_backward(r->s, &x, &x, &x, &x, &zero, &x, &zero, &x, NULL, 0, 1, 1, 1), "NULL");
}
