/* api_session.c - inference and gradients. */
#include "method/session.h"
#include "shell.h"

#include <math.h>
#include <string.h>

ammpl_status ammpl_session_create(const ammpl_model *m, const ammpl_config *cfg, ammpl_session **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, m);
    NEED(m->ctx, out);
    return ammpli_leave(m->ctx, ammpli_session_create(m, cfg, out));
}

void ammpl_session_destroy(ammpl_session *s)
{
    if (s)
        ammpli_session_release(s);
}

void ammpl_session_cancel(ammpl_session *s)
{
    if (s)
        atomic_store(&s->cancel, 1);
}

/* ---- checks ---- */

static const ammpl_context *context(const ammpl_session *s)
{
    return s ? s->model->ctx : NULL;
}

/* A session, and a prompt of the same model. */
static ammpl_status check_pair(const char *function, const ammpl_session *s, const ammpl_prompt *p)
{
    if (!s || !p)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: the %s is NULL", function, s ? "prompt" : "session");
    if (s->model != p->model)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: the prompt and the session belong to different models", function);
    return AMMPL_OK;
}

/* n pictures and room for `each` numbers per picture. */
static ammpl_status check_pictures(const char *function, const float *pixels, size_t n, const float *out, size_t cap,
                                   size_t each)
{
    if (!pixels || !out)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: %s is NULL", function, pixels ? "the output array" : "pixels");
    if (n == 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: there are no images (n = 0)", function);
    if (n > INT32_MAX)
        return ammpli_fail(AMMPL_E_RANGE, "%s: %zu images at once, more than %d", function, n, INT32_MAX);
    return ammpli_check_cap(function, cap, n, each);
}

/* ---- features ---- */

ammpl_status ammpl_session_encode_texts(ammpl_session *s, const char *const *texts, size_t n, float *out, size_t cap)
{
    ENTER();
    NEED(NULL, s);
    NEED(context(s), out);
    PASS(context(s), ammpli_check_strings(__func__, "texts", texts, n));
    PASS(context(s), ammpli_check_cap(__func__, cap, n, (size_t)s->model->embed));
    return ammpli_leave(context(s), ammpli_session_encode_texts(s, texts, n, out));
}

ammpl_status ammpl_session_encode_images(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n, float *out,
                                         size_t cap)
{
    ENTER();
    NEED(NULL, s);
    if (p)
        PASS(context(s), check_pair(__func__, s, p));
    PASS(context(s), check_pictures(__func__, pixels, n, out, cap, (size_t)s->model->embed));
    return ammpli_leave(context(s), ammpli_session_encode_images(s, p, pixels, n, out));
}

ammpl_status ammpl_session_encode_classes(ammpl_session *s, const ammpl_prompt *p, float *out, size_t cap)
{
    ENTER();
    PASS(context(s), check_pair(__func__, s, p));
    NEED(context(s), out);
    PASS(context(s), ammpli_check_cap(__func__, cap, p->classes, (size_t)s->model->embed));
    return ammpli_leave(context(s), ammpli_session_encode_classes(s, p, out));
}

ammpl_status ammpl_session_predict(ammpl_session *s, const ammpl_prompt *p, const float *pixels, size_t n, float *logits,
                                   size_t cap)
{
    ENTER();
    PASS(context(s), check_pair(__func__, s, p));
    PASS(context(s), check_pictures(__func__, pixels, n, logits, cap, p->classes));
    return ammpli_leave(context(s), ammpli_session_predict(s, p, pixels, n, logits));
}

ammpl_status ammpl_session_plan(ammpl_session *s, const ammpl_prompt *p, size_t n, int32_t call, uint64_t *bytes)
{
    ENTER();
    CLEAR(bytes);
    PASS(context(s), check_pair(__func__, s, p));
    NEED(context(s), bytes);
    CHECK(context(s), n > 0 && n <= INT32_MAX, n ? AMMPL_E_RANGE : AMMPL_E_ARGUMENT, "%s: n is %zu: 1 to %d images", __func__, n,
          INT32_MAX);
    CHECK(context(s), call >= AMMPL_PLAN_PREDICT && call <= AMMPL_PLAN_ACCUMULATE_FEATURES, AMMPL_E_RANGE,
          "%s: call is %d, none of AMMPL_PLAN_*", __func__, (int)call);
    ammpli_session_plan plan;
    PASS(context(s), ammpli_session_plan_of(s, p, call, (int64_t)n, &plan));
    *bytes = (uint64_t)plan.total;
    return AMMPL_OK;
}

/* ---- gradients ---- */

static ammpl_status check_batch(const ammpl_batch *b)
{
    if (b->reserved != 0 || b->reserved2 != 0)
        return ammpli_fail(AMMPL_E_VERSION, "ammpl_batch: reserved members must be 0 for libammpl %s", AMMPL_VERSION_STRING);
    if (!(b->pixels || b->features) || !b->label)
        return ammpli_fail(AMMPL_E_ARGUMENT, "ammpl_batch.%s is NULL", b->pixels || b->features ? "label" : "pixels");
    if (b->n == 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "ammpl_batch: there are no images (n = 0)");
    if (b->n > INT32_MAX)
        return ammpli_fail(AMMPL_E_RANGE, "ammpl_batch: %zu images at once, more than %d", b->n, INT32_MAX);
    if (!isfinite(b->weight) || b->weight < 0)
        return ammpli_fail(AMMPL_E_RANGE, "ammpl_batch.weight is %g: a number above 0, or 0 for 1/n", b->weight);
    if (!isfinite(b->aux_weight) || b->aux_weight < 0)
        return ammpli_fail(AMMPL_E_RANGE, "ammpl_batch.aux_weight is %g: a number above 0, or 0 for 1/rows", b->aux_weight);
    if (b->epoch < 0)
        return ammpli_fail(AMMPL_E_RANGE, "ammpl_batch.epoch is %lld: they count from 0", (long long)b->epoch);
    return AMMPL_OK;
}

ammpl_status ammpl_session_aux_rows(ammpl_session *s, const ammpl_prompt *p, const float *pixels, const int32_t *labels, size_t n,
                                    size_t *rows)
{
    ENTER();
    CLEAR(rows);
    PASS(context(s), check_pair(__func__, s, p));
    NEED(context(s), labels);
    NEED(context(s), rows);
    PASS(context(s), check_pictures(__func__, pixels, n, pixels, 0, 0));
    int64_t count;
    PASS(context(s), ammpli_session_aux_rows(s, p, pixels, labels, n, &count));
    *rows = (size_t)count;
    return AMMPL_OK;
}

ammpl_status ammpl_session_accumulate(ammpl_session *s, ammpl_prompt *p, const ammpl_batch *batch, double *loss, float *logits)
{
    ENTER();
    CLEAR(loss);
    PASS(context(s), check_pair(__func__, s, p));
    NEED(context(s), loss);
    ammpl_batch known;
    PASS(context(s), ammpli_struct_in("ammpl_batch", &known, sizeof known, batch));
    PASS(context(s), check_batch(&known));
    ammpl_status status = ammpli_session_accumulate(s, p, &known, loss, logits);
    if (status < 0)
        *loss = 0;
    return ammpli_leave(context(s), status);
}

/* ---- what AMMPL learned, to look at ---- */

ammpl_status ammpl_session_padding(ammpl_session *s, const ammpl_prompt *p, float *out, size_t cap)
{
    ENTER();
    PASS(context(s), check_pair(__func__, s, p));
    NEED(context(s), out);
    size_t q = (size_t)s->model->patch;
    PASS(context(s), ammpli_check_cap(__func__, cap, p->classes, 3 * q * q));
    return ammpli_leave(context(s), ammpli_session_padding(s, p, out));
}

ammpl_status ammpl_session_masks(ammpl_session *s, const ammpl_prompt *p, uint32_t draw, float *out, size_t cap)
{
    ENTER();
    PASS(context(s), check_pair(__func__, s, p));
    NEED(context(s), out);
    size_t g = (size_t)s->model->grid;
    PASS(context(s), ammpli_check_cap(__func__, cap, p->classes, g * g));
    return ammpli_leave(context(s), ammpli_session_masks(s, p, draw, out));
}
