/* text_plan.c - what the text tower reads for each class: fixed rows with gaps for learned context (methods.md 4.1). */
#include "method/method.h"

#include <stdio.h>
#include <string.h>

char *ammpli_spoken_name(ammpl_context *ctx, const char *name)
{
    char *spoken = ammpli_strdup(ctx, name);
    for (char *c = spoken; c && *c; c++)
        if (*c == '_')
            *c = ' ';
    return spoken;
}

static void free_plan(const ammpl_prompt *p, ammpli_text_plan *plan)
{
    ammpli_free(p->ctx, plan->start);
    ammpli_free(p->ctx, plan->read);
    ammpli_free(p->ctx, plan->gap);
    ammpli_free(p->ctx, plan->id);
    p->ops->release(p->stream, plan->base);
    *plan = (ammpli_text_plan){0};
}

void ammpli_text_plan_free(ammpl_prompt *p)
{
    free_plan(p, &p->text);
}

/* The tokens of "NAME.": the learned context's own words never matter, only how many tokens it takes. */
static ammpl_status class_tokens(const ammpl_prompt *p, size_t i, int32_t **ids, size_t *len)
{
    char *spoken = ammpli_spoken_name(p->ctx, p->class_name[i]);
    size_t size = spoken ? strlen(spoken) + 2 : 0;
    char *text = spoken ? ammpli_alloc(p->ctx, size, 1) : NULL;
    ammpl_status status = AMMPL_E_MEMORY;
    if (text) {
        snprintf(text, size, "%s.", spoken);
        status = ammpli_tokenize(p->model->tokenizer, text, ids, len);
    }
    ammpli_free(p->ctx, text);
    ammpli_free(p->ctx, spoken);
    return status;
}

ammpl_status ammpli_longest_name(const ammpl_prompt *p, int64_t *tokens)
{
    *tokens = 0;
    for (size_t i = 0; i < p->classes; i++) {
        int32_t *ids = NULL;
        size_t n;
        ammpl_status status = class_tokens(p, i, &ids, &n);
        ammpli_free(p->ctx, ids);
        TRY(status);
        *tokens = (int64_t)n > *tokens ? (int64_t)n : *tokens;
    }
    return AMMPL_OK;
}

/* Device rows of the plan from its token ids and their positions. */
static ammpl_status upload_base(ammpl_prompt *p, ammpli_text_plan *plan, const int32_t *position)
{
    const ammpl_model *m = p->model;
    int64_t T = plan->T, l = m->text.width, filled = 0;
    int32_t *host = ammpli_alloc(p->ctx, (size_t)(3 * T), sizeof *host), *device = NULL;
    float *words = NULL;
    void *block = NULL;
    ammpl_status status = AMMPL_E_MEMORY;
    if (!host)
        return status;
    int32_t *row = host, *token = host + T, *pos = host + 2 * T;
    for (int64_t t = 0; t < T; t++) {
        pos[t] = position[t];
        if (plan->id[t] >= 0) {
            row[filled] = (int32_t)t;
            token[filled++] = plan->id[t];
        }
    }
    TRY_GOTO(done, p->ops->alloc(p->stream, (size_t)(T * l) * sizeof(float), (void **)&plan->base));
    TRY_GOTO(done, p->ops->alloc(p->stream, (size_t)(T * l) * sizeof(float), (void **)&words));
    TRY_GOTO(done, p->ops->alloc(p->stream, (size_t)(3 * T) * sizeof *device, &block));
    device = block;
    TRY_GOTO(done, p->ops->upload(p->stream, device, host, (size_t)(3 * T) * sizeof *device));
    TRY_GOTO(done, p->ops->embed(p->stream, words, m->token_table, m->token_dtype, device + T, filled, l));
    TRY_GOTO(done, p->ops->rows_copy(p->stream, plan->base, NULL, m->text_position, device + 2 * T, T, l));
    TRY_GOTO(done, p->ops->rows_add(p->stream, plan->base, device, words, NULL, filled, l));
    status = p->ops->sync(p->stream);
done:
    p->ops->release(p->stream, block);
    p->ops->release(p->stream, words);
    ammpli_free(p->ctx, host);
    return status;
}

/* One class's rows: ids of "fixed NAME." between SOT and EOT with -1 where learned tokens go (methods.md 5.2). */
typedef struct class_rows {
    int32_t *id; /* [n] */
    size_t n;
} class_rows;

/* Tokens of the class's name alone: where position = middle or front parts it from the full stop. */
static ammpl_status name_tokens(const ammpl_prompt *p, size_t i, size_t *n)
{
    char *spoken = ammpli_spoken_name(p->ctx, p->class_name[i]);
    int32_t *ids = NULL;
    ammpl_status status = spoken ? ammpli_tokenize(p->model->tokenizer, spoken, &ids, n) : AMMPL_E_MEMORY;
    ammpli_free(p->ctx, ids);
    ammpli_free(p->ctx, spoken);
    return status;
}

static ammpl_status too_long(const ammpl_prompt *p, size_t i, int64_t M, int64_t rows)
{
    return ammpli_fail(AMMPL_E_RANGE,
                       "class \"%.200s\": with %lld context tokens its prompt takes %lld tokens, the model reads %lld; "
                       "shorten the name or use a smaller n_ctx",
                       p->class_name[i], (long long)M, (long long)rows, (long long)p->model->context);
}

static ammpl_status lay_out(const ammpl_prompt *p, size_t i, const ammpli_context_form *form, class_rows *out)
{
    const ammpl_model *m = p->model;
    int64_t M = form->M, fixed = form->fixed_count;
    int32_t *ids = NULL, eot = ammpli_tokenizer_eot(m->tokenizer);
    size_t len, before = 0;
    TRY(class_tokens(p, i, &ids, &len));
    ammpl_status status = AMMPL_OK;
    int64_t rows = (int64_t)len + fixed + M + 2;
    if (rows > m->context) {
        status = too_long(p, i, M, rows);
        goto done;
    }
    /* An end-of-text token inside the name would be the row that CLIP reads. */
    size_t end = 0;
    while (end < len && ids[end] != eot)
        end++;
    if (form->position != AMMPLI_POSITION_END)
        TRY_GOTO(done, name_tokens(p, i, &before));
    if (end < len && before > 0) {
        status = ammpli_fail(AMMPL_E_UNSUPPORTED, "class \"%.200s\" holds CLIP's end-of-text token; that works with position = end only",
                             p->class_name[i]);
        goto done;
    }
    out->n = end + (size_t)(fixed + M) + 2;
    out->id = ammpli_alloc(p->ctx, out->n, sizeof *out->id);
    if (!out->id) {
        status = AMMPL_E_MEMORY;
        goto done;
    }
    int32_t *at = out->id;
    int64_t first = form->position == AMMPLI_POSITION_END ? M : form->position == AMMPLI_POSITION_MIDDLE ? M / 2 : 0;
    *at++ = ammpli_tokenizer_sot(m->tokenizer);
    for (int64_t k = 0; k < first; k++)
        *at++ = -1;
    for (int64_t k = 0; k < fixed; k++)
        *at++ = form->fixed[k];
    for (size_t k = 0; k < before; k++)
        *at++ = ids[k];
    for (int64_t k = first; k < M; k++)
        *at++ = -1;
    for (size_t k = before; k < end; k++)
        *at++ = ids[k];
    *at = eot;
done:
    ammpli_free(p->ctx, ids);
    return status;
}

ammpl_status ammpli_text_plan_context(ammpl_prompt *p, const ammpli_context_form *form)
{
    ammpl_context *ctx = p->ctx;
    size_t n = p->classes;
    int64_t M = form->M;
    ammpli_text_plan plan = {.n = (int64_t)n, .M = M};
    class_rows *rows = ammpli_alloc(ctx, n, sizeof *rows);
    int32_t *position = NULL;
    plan.start = ammpli_alloc(ctx, n + 1, sizeof *plan.start);
    plan.read = ammpli_alloc(ctx, n, sizeof *plan.read);
    plan.gap = ammpli_alloc(ctx, n * (size_t)M, sizeof *plan.gap);
    ammpl_status status = AMMPL_E_MEMORY;
    if (!rows || !plan.start || !plan.read || !plan.gap)
        goto done;
    for (size_t i = 0; i < n; i++) {
        TRY_GOTO(done, lay_out(p, i, form, &rows[i]));
        int64_t len = (int64_t)rows[i].n;
        plan.start[i + 1] = plan.start[i] + (int32_t)len;
        plan.read[i] = plan.start[i + 1] - 1;
        plan.max_len = len > plan.max_len ? len : plan.max_len;
    }
    plan.T = plan.start[n];
    plan.id = ammpli_alloc(ctx, (size_t)plan.T, sizeof *plan.id);
    position = ammpli_alloc(ctx, (size_t)plan.T, sizeof *position);
    if (!plan.id || !position) {
        status = AMMPL_E_MEMORY;
        goto done;
    }
    int32_t *gap = plan.gap;
    for (size_t i = 0; i < n; i++)
        for (int32_t j = 0; j < (int32_t)rows[i].n; j++) {
            int32_t row = plan.start[i] + j;
            position[row] = j;
            plan.id[row] = rows[i].id[j];
            if (plan.id[row] < 0)
                *gap++ = row;
        }
    TRY_GOTO(done, upload_base(p, &plan, position));
    ammpli_text_plan_free(p);
    p->text = plan;
    plan = (ammpli_text_plan){0};
done:
    ammpli_free(ctx, position);
    for (size_t i = 0; rows && i < n; i++)
        ammpli_free(ctx, rows[i].id);
    ammpli_free(ctx, rows);
    free_plan(p, &plan);
    return status;
}

ammpl_status ammpli_context_words(const ammpl_prompt *p, const char *words, int64_t M, float *value)
{
    const ammpl_model *m = p->model;
    int64_t l = m->text.width;
    int32_t *ids;
    size_t n;
    char *spoken = ammpli_spoken_name(p->ctx, words);
    ammpl_status status = spoken ? ammpli_tokenize(m->tokenizer, spoken, &ids, &n) : AMMPL_E_MEMORY;
    ammpli_free(p->ctx, spoken);
    TRY(status);
    void *device = NULL;
    float *rows = NULL;
    if ((int64_t)n < M) {
        status = ammpli_fail(AMMPL_E_OPTION, "ctx_init \"%.100s\" has %zu tokens, n_ctx asks for %lld", words, n, (long long)M);
        goto done;
    }
    TRY_GOTO(done, p->ops->alloc(p->stream, (size_t)M * sizeof(int32_t), &device));
    TRY_GOTO(done, p->ops->alloc(p->stream, (size_t)(M * l) * sizeof(float), (void **)&rows));
    TRY_GOTO(done, p->ops->upload(p->stream, device, ids, (size_t)M * sizeof(int32_t)));
    TRY_GOTO(done, p->ops->embed(p->stream, rows, m->token_table, m->token_dtype, device, M, l));
    status = p->ops->download(p->stream, value, rows, (size_t)(M * l) * sizeof(float));
done:
    p->ops->release(p->stream, device);
    p->ops->release(p->stream, rows);
    ammpli_free(p->ctx, ids);
    return status;
}
