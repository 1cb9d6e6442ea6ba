/* harness.c - see ops.h. */
#include "ops.h"

/* Check's own assertions write to a pipe even when they hold: too slow for millions of values. */
#define expect(ok, ...)            \
    do {                           \
        if (!(ok))                 \
            ck_abort_msg(__VA_ARGS__); \
    } while (0)

enum { GUARD = 256 }; /* bytes on either side of a buffer */

const int64_t odd_sizes[6] = {1, 3, 5, 31, 33, 197};

void run_begin(run *r, const char *name, const ammpl_ops *ops, ammpl_stream *s)
{
    *r = (run){.name = name, .ops = ops, .s = s, .random = 1};
}

static void *grow(void *p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return p;
    *cap = need > 2 * *cap ? need : 2 * *cap;
    p = realloc(p, *cap * size);
    ck_assert_ptr_nonnull(p);
    return p;
}

void *keep(run *r, size_t bytes)
{
    r->host = grow(r->host, &r->host_cap, r->host_count + 1, sizeof *r->host);
    void *p = calloc(1, bytes + 1);
    ck_assert_ptr_nonnull(p);
    return r->host[r->host_count++] = p;
}

double uniform(run *r)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(r->random >> 40) * 0x1p-24;
}

float *draw_scaled(run *r, int64_t n, float scale, float offset)
{
    float *x = keep(r, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = offset + scale * (float)(2 * uniform(r) - 1);
    return x;
}

float *draw(run *r, int64_t n)
{
    return draw_scaled(r, n, 1, 0);
}

int32_t *draw_index(run *r, int64_t n, int32_t below)
{
    int32_t *x = keep(r, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (int32_t)(uniform(r) * below);
    return x;
}

double *to_double(run *r, const float *x, int64_t n)
{
    double *d = keep(r, (size_t)n * sizeof *d);
    for (int64_t i = 0; i < n; i++)
        d[i] = (double)x[i];
    return d;
}

/* ---- backend memory ---- */

static unsigned char guard_byte(size_t i)
{
    return (unsigned char)(0xA5 ^ i * 29);
}

static void *place(run *r, const void *host, size_t bytes, bool constant)
{
    char *image = keep(r, bytes + 2 * GUARD), *block;
    for (size_t i = 0; i < GUARD; i++) {
        image[i] = (char)guard_byte(i);
        image[GUARD + bytes + i] = (char)guard_byte(i);
    }
    if (host)
        memcpy(image + GUARD, host, bytes);
    else
        memset(image + GUARD, 0xff, bytes); /* NaN as float, -1 as int */
    ck_ok(r->ops->alloc(r->s, bytes + 2 * GUARD, (void **)&block));
    ck_ok(r->ops->upload(r->s, block, image, bytes + 2 * GUARD));
    r->buffers = grow(r->buffers, &r->cap, r->count + 1, sizeof *r->buffers);
    r->buffers[r->count++] = (buffer){block, bytes, constant ? image + GUARD : NULL};
    return block + GUARD;
}

void *put(run *r, const void *host, size_t bytes)
{
    return place(r, host, bytes, true);
}

void *put_change(run *r, const void *host, size_t bytes)
{
    return place(r, host, bytes, false);
}

float *make(run *r, int64_t n)
{
    return place(r, NULL, (size_t)n * sizeof(float), false);
}

float *get(run *r, const float *device, int64_t n)
{
    float *x = keep(r, (size_t)n * sizeof *x);
    ck_ok(r->ops->download(r->s, x, device, (size_t)n * sizeof *x));
    r->transcript = grow(r->transcript, &r->room, r->length + (size_t)n * sizeof *x, 1);
    memcpy(r->transcript + r->length, x, (size_t)n * sizeof *x);
    r->length += (size_t)n * sizeof *x;
    return x;
}

void run_end(run *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const buffer *b = &r->buffers[i];
        char *image = keep(r, b->bytes + 2 * GUARD);
        ck_ok(r->ops->download(r->s, image, b->block, b->bytes + 2 * GUARD));
        for (size_t k = 0; k < GUARD; k++) {
            expect((unsigned char)image[k] == guard_byte(k), "%s: wrote %zu bytes before a buffer of %zu", r->name,
                          GUARD - k, b->bytes);
            expect((unsigned char)image[GUARD + b->bytes + k] == guard_byte(k),
                          "%s: wrote %zu bytes behind a buffer of %zu", r->name, k + 1, b->bytes);
        }
        if (b->expected)
            expect(memcmp(b->expected, image + GUARD, b->bytes) == 0, "%s: changed an input of %zu bytes", r->name,
                          b->bytes);
        r->compared += (int64_t)(2 * GUARD + (b->expected ? b->bytes : 0));
        r->ops->release(r->s, b->block);
    }
    for (size_t i = 0; i < r->host_count; i++)
        free(r->host[i]);
    free(r->host);
    free(r->buffers);
    r->host = NULL;
    r->buffers = NULL;
    r->host_count = r->host_cap = r->count = r->cap = 0;
}

void run_free(run *r)
{
    free(r->transcript);
    r->transcript = NULL;
    r->length = r->room = 0;
}

/* ---- comparisons ---- */

void close_to(run *r, const char *what, const float *got, const double *want, int64_t n, double tolerance)
{
    double square = 0, wrong = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(want[i])) {
            square += want[i] * want[i];
            finite++;
        }
    double rms = finite ? sqrt(square / (double)finite) : 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(want[i])) {
            expect(isnan(want[i]) ? isnan(got[i]) : (double)got[i] == want[i], "%s: %s[%ld] is %.9g, expected %g", r->name, what,
                   (long)i, (double)got[i], want[i]);
            continue;
        }
        double error = fabs((double)got[i] - want[i]);
        expect(error <= tolerance * (fabs(want[i]) + rms) + 1e-30, "%s: %s[%ld of %ld] is %.9g, expected %.9g (off by %.2g)",
               r->name, what, (long)i, (long)n, (double)got[i], want[i], error);
        wrong += error * error;
    }
    expect(sqrt(wrong) <= tolerance / 3 * sqrt(square) + 1e-30 || finite < 10, "%s: %s[%ld] is off by %.2g of its norm", r->name,
           what, (long)n, sqrt(wrong / square));
    r->compared += n;
}

void same_bits(run *r, const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        expect(memcmp(got + i, want + i, sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i])), "%s: %s[%ld] is %.9g, expected the bits of %.9g", r->name, what,
                      (long)i, (double)got[i], (double)want[i]);
    r->compared += n;
}

void same_rows(run *r, const char *what, const float *got, const float *want, int64_t n)
{
    if (r->by_shape)
        close_to(r, what, got, to_double(r, want, n), n, 3e-6);
    else
        same_bits(r, what, got, want, n);
}

void all_nan(run *r, const char *what, const float *got, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        expect(isnan(got[i]), "%s: %s[%ld] is %g, expected NaN", r->name, what, (long)i, (double)got[i]);
    r->compared += n;
}

void all_finite(run *r, const char *what, const float *got, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        expect(isfinite(got[i]), "%s: %s[%ld] is %g", r->name, what, (long)i, (double)got[i]);
    r->compared += n;
}

void slopes(run *r, const char *what, const float *gradient, double (*value)(void *ctx, const double *x), void *ctx, double *x,
            int64_t n, int64_t checks, double tolerance)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fabs((double)gradient[i]) > largest ? fabs((double)gradient[i]) : largest;
    if (checks > n)
        checks = n;
    for (int64_t c = 0; c < checks; c++) {
        int64_t i = c * n / checks;
        const double h = 1e-3, keep_x = x[i];
        double f[4];
        for (int k = 0; k < 4; k++) {
            static const double step[4] = {-2, -1, 1, 2};
            x[i] = keep_x + step[k] * h;
            f[k] = value(ctx, x);
        }
        x[i] = keep_x;
        double slope = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h);
        expect(fabs(slope - (double)gradient[i]) <= tolerance * (fabs(slope) + largest) + 1e-9,
                      "%s: %s[%ld of %ld] is %.9g, finite differences give %.9g", r->name, what, (long)i, (long)n,
                      (double)gradient[i], slope);
    }
    r->compared += checks;
}

/* ---- activations ---- */

double act_double(double x, int32_t act)
{
    switch (act) {
    case AMMPL_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case AMMPL_ACT_GELU: return x * 0.5 * erfc(-x * 0.70710678118654752440);
    case AMMPL_ACT_RELU: return x < 0 ? 0 : x;
    default: return x;
    }
}

double slope_double(double x, int32_t act)
{
    switch (act) {
    case AMMPL_ACT_QUICK_GELU: {
        double g = 1 / (1 + exp(-1.702 * x));
        return g + 1.702 * x * g * (1 - g);
    }
    case AMMPL_ACT_GELU: return 0.5 * erfc(-x * 0.70710678118654752440) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
    case AMMPL_ACT_RELU: return x > 0 ? 1 : 0;
    default: return 1;
    }
}
