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

void ammpli_text_plan_free(ammpl_prompt *p)
{
    ammpli_text_plan *plan = &p->text;
    ammpli_free(p->ctx, plan->start);
    ammpli_free(p->ctx, plan->read);
    p->ops->release(p->stream, plan->base);
    *plan = (ammpli_text_plan){0};
}

/* SOT, M gaps, then the tokens of "NAME.", EOT: the context's own words never matter, only how many tokens they take. */
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

/* Device rows of the plan from token ids and positions; an id of -1 is a gap. */
static ammpl_status upload_base(ammpl_prompt *p, ammpli_text_plan *plan, const int32_t *id, const int32_t *position)
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
        if (id[t] >= 0) {
            row[filled] = (int32_t)t;
            token[filled++] = id[t];
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

ammpl_status ammpli_text_plan_context(ammpl_prompt *p, int64_t M)
{
    const ammpl_model *m = p->model;
    ammpl_context *ctx = p->ctx;
    ammpli_text_plan plan = {.n = (int64_t)p->classes, .M = M};
    int32_t **ids = ammpli_alloc(ctx, p->classes, sizeof *ids), *id = NULL;
    size_t *len = ammpli_alloc(ctx, p->classes, sizeof *len);
    plan.start = ammpli_alloc(ctx, p->classes + 1, sizeof *plan.start);
    plan.read = ammpli_alloc(ctx, p->classes, sizeof *plan.read);
    ammpl_status status = AMMPL_E_MEMORY;
    if (!ids || !len || !plan.start || !plan.read)
        goto done;
    for (size_t i = 0; i < p->classes; i++) {
        TRY_GOTO(done, class_tokens(p, i, &ids[i], &len[i]));
        int64_t rows = (int64_t)len[i] + M + 2;
        if (rows > m->context) {
            status = ammpli_fail(AMMPL_E_RANGE,
                                 "class \"%.200s\": with %lld context tokens its prompt takes %lld tokens, the model reads %lld; "
                                 "shorten the name or use a smaller n_ctx",
                                 p->class_name[i], (long long)M, (long long)rows, (long long)m->context);
            goto done;
        }
        /* An end-of-text token inside the name would be the row that CLIP reads. */
        size_t end = 0;
        while (end < len[i] && ids[i][end] != ammpli_tokenizer_eot(m->tokenizer))
            end++;
        len[i] = end;
        plan.start[i + 1] = plan.start[i] + (int32_t)((int64_t)end + M + 2);
        plan.read[i] = plan.start[i + 1] - 1;
        plan.max_len = (int64_t)end + M + 2 > plan.max_len ? (int64_t)end + M + 2 : plan.max_len;
    }
    plan.T = plan.start[p->classes];
    id = ammpli_alloc(ctx, (size_t)(2 * plan.T), sizeof *id);
    if (!id) {
        status = AMMPL_E_MEMORY;
        goto done;
    }
    int32_t *position = id + plan.T;
    for (size_t i = 0; i < p->classes; i++) {
        int32_t *row = id + plan.start[i];
        for (int32_t j = 0; j < plan.start[i + 1] - plan.start[i]; j++) {
            position[plan.start[i] + j] = j;
            row[j] = j == 0 ? ammpli_tokenizer_sot(m->tokenizer) : j <= M ? -1 : ammpli_tokenizer_eot(m->tokenizer);
        }
        memcpy(row + 1 + M, ids[i], len[i] * sizeof *row);
    }
    TRY_GOTO(done, upload_base(p, &plan, id, position));
    ammpli_text_plan_free(p);
    p->text = plan;
    plan = (ammpli_text_plan){0};
done:
    ammpli_free(ctx, id);
    for (size_t i = 0; ids && i < p->classes; i++)
        ammpli_free(ctx, ids[i]);
    ammpli_free(ctx, ids);
    ammpli_free(ctx, len);
    ammpli_free(ctx, plan.start);
    ammpli_free(ctx, plan.read);
    p->ops->release(p->stream, plan.base);
    return status;
}

ammpl_status ammpli_context_words(const ammpl_prompt *p, const char *words, int64_t M, float *value)
{
    const ammpl_model *m = p->model;
    int64_t l = m->text.width;
    int32_t *ids;
    size_t n;
    TRY(ammpli_tokenize(m->tokenizer, words, &ids, &n));
    void *device = NULL;
    float *rows = NULL;
    ammpl_status status;
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
