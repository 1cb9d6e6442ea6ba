/* case_update.c - optimizer steps and the search for NaN. */
#include "ops.h"

static const int64_t update_sizes[] = {1, 3, 5, 31, 33, 197, 30011};
enum { UPDATE_SIZES = sizeof update_sizes / sizeof *update_sizes, STEPS = 5 };

void case_sgd(run *r)
{
    for (int i = 0; i < UPDATE_SIZES; i++) {
        int64_t n = update_sizes[i], bad = n / 2;
        float *p = draw(r, n), *zero = keep(r, (size_t)n * 4), *pd = PUT_CHANGE(r, p, n), *md = PUT_CHANGE(r, zero, n);
        double *wp = to_double(r, p, n), *wm = to_double(r, zero, n);
        for (int step = 0; step < STEPS; step++) {
            float *g = draw(r, n);
            ck_ok(r->ops->sgd(r->s, pd, md, PUT(r, g, n), 0.1f, 0.9f, 5e-4f, n));
            for (int64_t k = 0; k < n; k++) {
                wm[k] = (double)0.9f * wm[k] + ((double)g[k] + (double)5e-4f * wp[k]);
                wp[k] -= (double)0.1f * wm[k];
            }
        }
        float *got = get(r, pd, n);
        close_to(r, "p", got, wp, n, 1e-6);
        close_to(r, "momentum", get(r, md, n), wm, n, 1e-6);
        zero[bad] = NAN;
        ck_ok(r->ops->sgd(r->s, pd, md, PUT(r, zero, n), 0.1f, 0.9f, 0, n));
        float *after = get(r, pd, n);
        all_nan(r, "p of NaN", after + bad, 1);
        all_finite(r, "before NaN", after, bad);
        all_finite(r, "after NaN", after + bad + 1, n - bad - 1);
    }
    float x = 0;
    refuses(r, r->ops->sgd(r->s, &x, &x, &x, 0, 0, 0, -1), "negative");
    refuses(r, r->ops->sgd(r->s, &x, NULL, &x, 0, 0, 0, 1), "NULL");
}

/* PyTorch's AdamW with these numbers, in the order of torch.optim.adamw._single_tensor_adamw. */
void case_adamw(run *r)
{
    const double lr = (double)0.01f, beta1 = (double)0.9f, beta2 = (double)0.999f, eps = (double)1e-8f, decay = (double)0.01f;
    for (int i = 0; i < UPDATE_SIZES; i++) {
        int64_t n = update_sizes[i], bad = n / 2;
        float *p = draw(r, n), *zero = keep(r, (size_t)n * 4);
        float *pd = PUT_CHANGE(r, p, n), *md = PUT_CHANGE(r, zero, n), *vd = PUT_CHANGE(r, zero, n);
        double *wp = to_double(r, p, n), *wm = to_double(r, zero, n), *wv = to_double(r, zero, n);
        for (int step = 1; step <= STEPS; step++) {
            float *g = draw(r, n);
            ck_ok(r->ops->adamw(r->s, pd, md, vd, PUT(r, g, n), 0.01f, 0.9f, 0.999f, 1e-8f, 0.01f, step, n));
            for (int64_t k = 0; k < n; k++) {
                wp[k] *= 1 - lr * decay;
                wm[k] += (1 - beta1) * ((double)g[k] - wm[k]);
                wv[k] = beta2 * wv[k] + (1 - beta2) * (double)g[k] * (double)g[k];
                wp[k] -= lr / (1 - pow(beta1, step)) * wm[k] / (sqrt(wv[k]) / sqrt(1 - pow(beta2, step)) + eps);
            }
        }
        close_to(r, "p", get(r, pd, n), wp, n, 1e-6);
        close_to(r, "m", get(r, md, n), wm, n, 1e-6);
        close_to(r, "v", get(r, vd, n), wv, n, 3e-6);
        zero[bad] = NAN;
        ck_ok(r->ops->adamw(r->s, pd, md, vd, PUT(r, zero, n), 0.01f, 0.9f, 0.999f, 1e-8f, 0.01f, 6, n));
        float *after = get(r, pd, n);
        all_nan(r, "p of NaN", after + bad, 1);
        all_finite(r, "before NaN", after, bad);
        all_finite(r, "after NaN", after + bad + 1, n - bad - 1);
    }
    float x = 0;
    refuses(r, r->ops->adamw(r->s, &x, &x, &x, &x, 0, 0, 0, 0, 0, 1, -1), "negative");
    refuses(r, r->ops->adamw(r->s, &x, &x, NULL, &x, 0, 0, 0, 0, 0, 1, 1), "NULL");
    refuses(r, r->ops->adamw(r->s, &x, &x, &x, &x, 0, 0, 0, 0, 0, 0, 1), "step");
}

void case_finite_check(run *r)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY}, good[] = {3.4028234e38f, -3.4028234e38f, 1e-45f, 0};
    for (int i = 0; i < UPDATE_SIZES; i++) {
        int64_t n = update_sizes[i];
        for (int k = 0; k < 7; k++) {
            float *x = draw(r, n);
            int32_t zero = 0, got;
            int64_t places[] = {0, n / 2, n - 1};
            x[places[(i + k) % 3]] = k < 3 ? bad[k] : good[k - 3];
            int32_t *flag = PUT_CHANGE(r, &zero, 1);
            ck_ok(r->ops->finite_check(r->s, flag, PUT(r, x, n), n));
            ck_ok(r->ops->download(r->s, &got, flag, 4));
            ck_assert_int_eq(got, k < 3);
            r->compared++;
            ck_ok(r->ops->finite_check(r->s, flag, PUT(r, good, 4), 4)); /* stays what it was */
            ck_ok(r->ops->download(r->s, &got, flag, 4));
            ck_assert_int_eq(got, k < 3);
            r->compared++;
        }
    }
    float x = 0;
    int32_t flag = 0;
    ck_ok(r->ops->finite_check(r->s, &flag, NULL, 0));
    refuses(r, r->ops->finite_check(r->s, &flag, &x, -1), "negative");
    refuses(r, r->ops->finite_check(r->s, NULL, &x, 1), "NULL");
}
