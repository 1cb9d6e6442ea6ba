/* api_tape.c - the towers as differentiable functions. */
#include "clip/tape.h"
#include "method/session.h"
#include "shell.h"

#include <math.h>

ammpl_status ammpl_tape_create(const ammpl_model *m, const ammpl_config *cfg, ammpl_tape **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, m);
    NEED(m->ctx, out);
    return ammpli_leave(m->ctx, ammpli_tape_create(m, cfg, out));
}

void ammpl_tape_destroy(ammpl_tape *t)
{
    if (t)
        ammpli_tape_destroy(t);
}

static const ammpl_context *context(const ammpl_tape *t)
{
    return t ? t->model->ctx : NULL;
}

/* ---- checks ---- */

static ammpl_status check_record(const char *function, int32_t record)
{
    return record >= AMMPL_RECORD_NONE && record <= AMMPL_RECORD_PROMPTS
               ? AMMPL_OK
               : ammpli_fail(AMMPL_E_OPTION, "%s: record is %d: see AMMPL_RECORD_*", function, record);
}

/* A tape whose pass has begun and is not finished. */
static ammpl_status check_open(const char *function, const ammpl_tape *t)
{
    if (!t)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: t is NULL", function);
    if (t->phase == AMMPLI_TAPE_EMPTY)
        return ammpli_fail(AMMPL_E_STATE, "%s: no pass has begun (or it ended with a failure)", function);
    if (t->phase != AMMPLI_TAPE_OPEN)
        return ammpli_fail(AMMPL_E_STATE, "%s: the pass is finished; begin another", function);
    return AMMPL_OK;
}

/* One on whose pass backward can come. */
static ammpl_status check_recorded(const char *function, const ammpl_tape *t)
{
    if (!t)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: t is NULL", function);
    if (t->phase == AMMPLI_TAPE_EMPTY)
        return ammpli_fail(AMMPL_E_STATE, "%s: no pass has begun (or it ended with a failure)", function);
    if (t->record == AMMPL_RECORD_NONE)
        return ammpli_fail(AMMPL_E_STATE, "%s: the pass was begun with record = AMMPL_RECORD_NONE", function);
    if (t->phase == AMMPLI_TAPE_BACK)
        return ammpli_fail(AMMPL_E_STATE, "%s: backward has been; begin another pass", function);
    return AMMPL_OK;
}

/* ---- the pass ---- */

ammpl_status ammpl_tape_plan(const ammpl_model *m, int32_t tower, size_t n, size_t rows, int32_t record, uint64_t *bytes)
{
    ENTER();
    CLEAR(bytes);
    NEED(NULL, m);
    NEED(m->ctx, bytes);
    PASS(m->ctx, check_record(__func__, record));
    CHECK(m->ctx, n > 0 && rows > 0, AMMPL_E_ARGUMENT, "%s: there are no rows (n = %zu, rows = %zu)", __func__, n, rows);
    CHECK(m->ctx, n <= INT32_MAX && rows <= INT32_MAX, AMMPL_E_RANGE, "%s: %zu sequences of %zu rows cannot be counted", __func__, n,
          rows);
    return ammpli_leave(m->ctx, ammpli_tape_plan(m, tower, (int64_t)n, (int64_t)rows, record, bytes));
}

ammpl_status ammpl_tape_begin_text(ammpl_tape *t, const ammpl_text_input *in)
{
    ammpl_text_input known;
    ENTER();
    NEED(NULL, t);
    PASS(context(t), ammpli_struct_in("ammpl_text_input", &known, sizeof known, in));
    PASS(context(t), check_record(__func__, known.record));
    CHECK(context(t), known.n > 0 && known.L > 0, AMMPL_E_ARGUMENT, "ammpl_text_input: there are no rows (n = %zu, L = %zu)", known.n,
          known.L);
    CHECK(context(t), known.rows, AMMPL_E_ARGUMENT, "ammpl_text_input.rows is NULL");
    CHECK(context(t), known.prefix || known.prefix_rows == 0, AMMPL_E_ARGUMENT, "ammpl_text_input.prefix is NULL");
    return ammpli_leave(context(t), ammpli_tape_begin_text(t, &known));
}

ammpl_status ammpl_tape_begin_image(ammpl_tape *t, const ammpl_image_input *in)
{
    ammpl_image_input known;
    ENTER();
    NEED(NULL, t);
    PASS(context(t), ammpli_struct_in("ammpl_image_input", &known, sizeof known, in));
    PASS(context(t), check_record(__func__, known.record));
    CHECK(context(t), known.reserved == 0, AMMPL_E_VERSION, "ammpl_image_input: reserved members must be 0 for libammpl %s",
          AMMPL_VERSION_STRING);
    CHECK(context(t), known.n > 0, AMMPL_E_ARGUMENT, "ammpl_image_input: there are no images (n = 0)");
    CHECK(context(t), !known.pixels != !known.tokens, AMMPL_E_ARGUMENT, "ammpl_image_input: either pixels or tokens, the other NULL");
    return ammpli_leave(context(t), ammpli_tape_begin_image(t, &known));
}

ammpl_status ammpl_tape_insert(ammpl_tape *t, int32_t block, const float *prompt, size_t count, int32_t per_sequence, int32_t before_ln)
{
    ENTER();
    PASS(context(t), check_open(__func__, t));
    CHECK(context(t), prompt || count == 0, AMMPL_E_ARGUMENT, "%s: prompt is NULL", __func__);
    CHECK(context(t), count <= INT32_MAX, AMMPL_E_RANGE, "%s: %zu tokens at once, more than %d", __func__, count, INT32_MAX);
    return ammpli_leave(context(t), ammpli_tape_insert(t, block, prompt, (int64_t)count, per_sequence != 0, before_ln != 0));
}

ammpl_status ammpl_tape_run(ammpl_tape *t, int32_t block)
{
    ENTER();
    PASS(context(t), check_open(__func__, t));
    return ammpli_leave(context(t), ammpli_tape_run(t, block));
}

ammpl_status ammpl_tape_tokens(ammpl_tape *t, float *out, size_t cap)
{
    ENTER();
    PASS(context(t), check_open(__func__, t));
    NEED(context(t), out);
    PASS(context(t), ammpli_check_cap(__func__, cap, ammpli_tape_token_count(t), 1));
    return ammpli_leave(context(t), ammpli_tape_tokens(t, out));
}

ammpl_status ammpl_tape_finish(ammpl_tape *t, float *out, size_t cap)
{
    ENTER();
    PASS(context(t), check_open(__func__, t));
    NEED(context(t), out);
    PASS(context(t), ammpli_check_cap(__func__, cap, (size_t)t->n, (size_t)t->model->embed));
    return ammpli_leave(context(t), ammpli_tape_finish(t, out));
}

ammpl_status ammpl_tape_seed(ammpl_tape *t, size_t read, const float *dtokens, size_t count)
{
    ENTER();
    PASS(context(t), check_recorded(__func__, t));
    NEED(context(t), dtokens);
    CHECK(context(t), read < t->reads, AMMPL_E_RANGE, "%s: read %zu: tokens were read %zu times", __func__, read, t->reads);
    size_t wanted = ammpli_tape_seed_count(t, read);
    CHECK(context(t), count == wanted, AMMPL_E_SHAPE, "%s: %zu numbers for tokens that are %zu", __func__, count, wanted);
    return ammpli_leave(context(t), ammpli_tape_seed(t, read, dtokens));
}

ammpl_status ammpl_tape_backward(ammpl_tape *t, const float *dfeatures)
{
    ENTER();
    PASS(context(t), check_recorded(__func__, t));
    CHECK(context(t), t->phase == AMMPLI_TAPE_FINISHED || !dfeatures, AMMPL_E_STATE,
          "%s: the pass is not finished, so that there are no features yet", __func__);
    return ammpli_leave(context(t), ammpli_tape_backward(t, dfeatures));
}

ammpl_status ammpl_tape_gradient(ammpl_tape *t, int32_t what, size_t index, float *out, size_t cap)
{
    size_t count;
    ENTER();
    NEED(NULL, t);
    NEED(context(t), out);
    CHECK(context(t), t->phase == AMMPLI_TAPE_BACK, AMMPL_E_STATE, "%s: there are gradients after ammpl_tape_backward", __func__);
    PASS(context(t), ammpli_tape_gradient_count(t, what, index, &count));
    PASS(context(t), ammpli_check_cap(__func__, cap, count, 1));
    return ammpli_leave(context(t), ammpli_tape_gradient(t, what, index, out));
}

/* ---- around the towers ---- */

static const ammpl_context *session_context(const ammpl_session *s)
{
    return s ? s->model->ctx : NULL;
}

ammpl_status ammpl_session_embed_tokens(ammpl_session *s, const int32_t *ids, size_t n, float *out, size_t cap)
{
    ENTER();
    NEED(NULL, s);
    NEED(session_context(s), ids);
    NEED(session_context(s), out);
    CHECK(session_context(s), n > 0, AMMPL_E_ARGUMENT, "%s: there are no tokens (n = 0)", __func__);
    CHECK(session_context(s), n <= INT32_MAX, AMMPL_E_RANGE, "%s: %zu tokens at once, more than %d", __func__, n, INT32_MAX);
    PASS(session_context(s), ammpli_check_cap(__func__, cap, n, (size_t)s->model->text.width));
    return ammpli_leave(session_context(s), ammpli_session_embed_tokens(s, ids, (int64_t)n, out));
}

/* n rows and C classes, few enough to be multiplied. */
static ammpl_status check_counts(const char *function, size_t n, size_t C)
{
    if (n == 0 || C == 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "%s: there are %zu images and %zu classes", function, n, C);
    if (n > INT32_MAX || C > INT32_MAX)
        return ammpli_fail(AMMPL_E_RANGE, "%s: %zu images and %zu classes at once, more than %d", function, n, C, INT32_MAX);
    return AMMPL_OK;
}

ammpl_status ammpl_session_similarity(ammpl_session *s, const float *x, size_t n, const float *z, size_t classes, float *logits,
                                      size_t cap)
{
    ENTER();
    NEED(NULL, s);
    NEED(session_context(s), x);
    NEED(session_context(s), z);
    NEED(session_context(s), logits);
    PASS(session_context(s), check_counts(__func__, n, classes));
    PASS(session_context(s), ammpli_check_cap(__func__, cap, n, classes));
    return ammpli_leave(session_context(s), ammpli_session_similarity(s, x, (int64_t)n, z, (int64_t)classes, logits));
}

ammpl_status ammpl_session_similarity_backward(ammpl_session *s, const float *x, size_t n, const float *z, size_t classes,
                                               const float *dlogits, float *dx, float *dz)
{
    ENTER();
    NEED(NULL, s);
    NEED(session_context(s), x);
    NEED(session_context(s), z);
    NEED(session_context(s), dlogits);
    CHECK(session_context(s), dx || dz, AMMPL_E_ARGUMENT, "%s: dx and dz are NULL", __func__);
    PASS(session_context(s), check_counts(__func__, n, classes));
    return ammpli_leave(session_context(s),
                        ammpli_session_similarity_backward(s, x, (int64_t)n, z, (int64_t)classes, dlogits, dx, dz));
}

ammpl_status ammpl_session_cross_entropy(ammpl_session *s, const float *logits, const int32_t *label, size_t n, size_t classes,
                                         double weight, double *loss, float *dlogits, size_t cap)
{
    ENTER();
    CLEAR(loss);
    NEED(NULL, s);
    NEED(session_context(s), logits);
    NEED(session_context(s), label);
    NEED(session_context(s), loss);
    CHECK(session_context(s), isfinite(weight) && weight >= 0, AMMPL_E_RANGE, "%s: weight is %g: a number above 0, or 0 for 1/n", __func__,
          weight);
    PASS(session_context(s), check_counts(__func__, n, classes));
    if (dlogits)
        PASS(session_context(s), ammpli_check_cap(__func__, cap, n, classes));
    ammpl_status status =
        ammpli_session_cross_entropy(s, logits, label, (int64_t)n, (int64_t)classes, weight, loss, dlogits);
    if (status < 0)
        *loss = 0;
    return ammpli_leave(session_context(s), status);
}
