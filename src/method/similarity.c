/* similarity.c - what stands between features and a loss: cosines and their gradients, cross-entropy; token embeddings. */
#include "method/learn.h"

#include <float.h>
#include <math.h>

static ammpl_status embed_tokens(ammpli_engine *e, const int32_t *id, int64_t n, float *out)
{
    const ammpl_model *m = e->model;
    int32_t *device;
    float *rows;
    TRY(ammpli_take_ints(e, id, n, &device));
    TRY(ammpli_take_floats(e, n * m->text.width, &rows));
    RUN(embed, rows, m->token_table, m->token_dtype, device, n, m->text.width);
    return e->ops->download(e->stream, out, rows, (size_t)(n * m->text.width) * sizeof *out);
}

ammpl_status ammpli_session_embed_tokens(ammpl_session *s, const int32_t *id, int64_t n, float *out)
{
    const ammpl_model *m = s->model;
    if (!m->has_text)
        return ammpli_fail(AMMPL_E_STATE, "the model was loaded without its text tower (option towers)");
    for (int64_t i = 0; i < n; i++)
        if (id[i] < 0 || id[i] >= m->vocab)
            return ammpli_fail(AMMPL_E_RANGE, "token %lld is %d: the vocabulary has 0 to %lld", (long long)i, id[i], (long long)m->vocab - 1);
    TRY(ammpli_session_unplanned(s, (double)n * (double)(1 + m->text.width)));
    return ammpli_session_settle(s, embed_tokens(&s->engine, id, n, out));
}

/* Features from the host, and of length 1 with their lengths. */
typedef struct unit {
    float *y, *norm; /* [n,E], [n] */
} unit;

/* `name` is theirs in the header.  Where float32 cannot hold the square of a length, 1/length would make zeros of a feature. */
static ammpl_status take_unit(ammpli_engine *e, const char *name, const float *host, int64_t n, unit *u)
{
    int64_t E = e->model->embed;
    float *x, *length;
    TRY(ammpli_take_copy(e, host, n * E, &x));
    TRY(ammpli_take_floats(e, n * E, &u->y));
    TRY(ammpli_take_floats(e, n, &u->norm));
    TRY(ammpli_take_host(e, (size_t)n * sizeof *length, (void **)&length));
    RUN(l2norm_forward, u->y, u->norm, x, n, E);
    TRY(e->ops->download(e->stream, length, u->norm, (size_t)n * sizeof *length));
    for (int64_t i = 0; i < n; i++)
        if (!(length[i] >= 1e-16f && length[i] <= FLT_MAX)) /* NaN, too */
            return ammpli_fail(AMMPL_E_NUMERIC, "feature %lld of %s is zero, not finite or of a length that float32 cannot square (%g)",
                               (long long)i, name, (double)length[i]);
    return AMMPL_OK;
}

static ammpl_status check_finite(const float *x, int64_t n, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return ammpli_fail(AMMPL_E_NUMERIC, "%s are not finite; what was given is NaN, infinite or too large", what);
    return AMMPL_OK;
}

/* About the floats that n and C features, and what stands between them, take. */
static double floats_of(const ammpl_session *s, int64_t n, int64_t C)
{
    return ((double)n + (double)C) * (double)(3 * s->model->embed + 2) + (double)n * (double)C;
}

static ammpl_status similarity(ammpli_engine *e, const float *x, int64_t n, const float *z, int64_t C, float *logits)
{
    unit a, b;
    float *out;
    TRY(take_unit(e, "x", x, n, &a));
    TRY(take_unit(e, "z", z, C, &b));
    TRY(ammpli_take_floats(e, n * C, &out));
    RUN(gemm, 1, n, C, e->model->embed, (float)exp(e->model->logit_scale), a.y, 0, 0, b.y, 1, 0, 0, out, 0);
    TRY(e->ops->download(e->stream, logits, out, (size_t)(n * C) * sizeof *logits));
    return check_finite(logits, n * C, "the logits");
}

ammpl_status ammpli_session_similarity(ammpl_session *s, const float *x, int64_t n, const float *z, int64_t C, float *logits)
{
    TRY(ammpli_session_unplanned(s, floats_of(s, n, C)));
    return ammpli_session_settle(s, similarity(&s->engine, x, n, z, C, logits));
}

/* out [n,E] (host) = the gradient before normalisation of dy [n,E]. */
static ammpl_status through_norm(ammpli_engine *e, const unit *u, const float *dy, int64_t n, float *out)
{
    int64_t E = e->model->embed;
    float *dx;
    TRY(ammpli_take_floats(e, n * E, &dx));
    RUN(l2norm_backward, dx, dy, u->y, u->norm, n, E);
    TRY(e->ops->download(e->stream, out, dx, (size_t)(n * E) * sizeof *out));
    return check_finite(out, n * E, "the gradients");
}

static ammpl_status similarity_backward(ammpli_engine *e, const float *x, int64_t n, const float *z, int64_t C, const float *dlogits,
                                        float *dx, float *dz)
{
    int64_t E = e->model->embed;
    float scale = (float)exp(e->model->logit_scale), *d, *dy;
    unit a, b;
    TRY(take_unit(e, "x", x, n, &a));
    TRY(take_unit(e, "z", z, C, &b));
    TRY(ammpli_take_copy(e, dlogits, n * C, &d));
    TRY(ammpli_take_floats(e, (n > C ? n : C) * E, &dy));
    if (dx) {
        RUN(gemm, 1, n, E, C, scale, d, 0, 0, b.y, 0, 0, 0, dy, 0);
        TRY(through_norm(e, &a, dy, n, dx));
    }
    if (dz) {
        RUN(gemm, 1, C, E, n, scale, d, 1, 0, a.y, 0, 0, 0, dy, 0);
        TRY(through_norm(e, &b, dy, C, dz));
    }
    return AMMPL_OK;
}

ammpl_status ammpli_session_similarity_backward(ammpl_session *s, const float *x, int64_t n, const float *z, int64_t C,
                                                const float *dlogits, float *dx, float *dz)
{
    TRY(ammpli_session_unplanned(s, floats_of(s, n, C)));
    return ammpli_session_settle(s, similarity_backward(&s->engine, x, n, z, C, dlogits, dx, dz));
}

static ammpl_status cross_entropy(ammpli_engine *e, const float *logits, const int32_t *label, int64_t n, int64_t C, double weight,
                                  double *loss, float *dlogits)
{
    float *x, *d;
    TRY(ammpli_take_copy(e, logits, n * C, &x));
    TRY(ammpli_take_floats(e, n * C, &d));
    TRY(ammpli_cross_entropy(e, x, label, n, C, weight > 0 ? weight : 1.0 / (double)n, loss, d));
    TRY(ammpli_check_loss(*loss));
    return dlogits ? e->ops->download(e->stream, dlogits, d, (size_t)(n * C) * sizeof *dlogits) : AMMPL_OK;
}

ammpl_status ammpli_session_cross_entropy(ammpl_session *s, const float *logits, const int32_t *label, int64_t n, int64_t C,
                                          double weight, double *loss, float *dlogits)
{
    for (int64_t i = 0; i < n; i++)
        if (label[i] < 0 || label[i] >= C)
            return ammpli_fail(AMMPL_E_LABEL, "label %lld is %d: there are classes 0 to %lld", (long long)i, label[i], (long long)C - 1);
    TRY(ammpli_session_unplanned(s, 3 * (double)n * (double)C));
    return ammpli_session_settle(s, cross_entropy(&s->engine, logits, label, n, C, weight, loss, dlogits));
}
