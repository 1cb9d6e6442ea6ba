/* context.c - see context.h. */
#include "method/context.h"

#include <math.h>
#include <string.h>

static bool is_gap(char c)
{
    return c == ' ' || c == '_'; /* "a_photo_of_a" reads as "a photo of a" (methods.md 4.1) */
}

/* Words between gaps: how many context tokens an initial text stands for (methods.md 5.2). */
static int64_t count_words(const char *text)
{
    int64_t n = 0;
    for (const char *c = text; *c; c++)
        n += !is_gap(*c) && (c == text || is_gap(c[-1]));
    return n;
}

static int64_t initial_words(const ammpl_prompt *p)
{
    return count_words(ammpli_config_string(p->config, AMMPL_OPT_CTX_INIT));
}

static bool starts_from_words(const ammpl_prompt *p, int64_t M, bool part)
{
    int64_t words = initial_words(p);
    return words == M || (part && words > M);
}

/* The method's own number, or as many as fit beside the longest class name. */
static ammpl_status own_count(const ammpl_prompt *p, int64_t own, int64_t *M)
{
    int64_t name;
    TRY(ammpli_longest_name(p, &name));
    int64_t room = p->model->context - 2 - name;
    *M = own <= room ? own : room > 1 ? room : 1;
    if (*M < own)
        ammpli_log(p->ctx, AMMPL_LEVEL_INFO, "%s: %lld context tokens instead of %lld: the model reads %lld tokens in all",
                   p->method->name, (long long)*M, (long long)own, (long long)p->model->context);
    return AMMPL_OK;
}

ammpl_status ammpli_context_count(ammpl_prompt *p, int64_t own, int64_t *M)
{
    int64_t given = ammpli_config_int(p->config, AMMPL_OPT_N_CTX);
    *M = given > 0 ? given : initial_words(p);
    if (given <= 0 && own > 0)
        TRY(own_count(p, own, M));
    if (*M < 1)
        return ammpli_fail(AMMPL_E_OPTION, "n_ctx is 0 and ctx_init has no words; give one of them");
    if (*M > p->model->context)
        return ammpli_fail(AMMPL_E_RANGE, "n_ctx = %lld: the model reads %lld tokens in all", (long long)*M,
                           (long long)p->model->context);
    return ammpli_config_set_int(p->config, AMMPL_OPT_N_CTX, *M);
}

ammpl_status ammpli_context_initialise(const ammpl_prompt *p, const ammpli_tensor *t, bool part, uint64_t seed, float *value)
{
    int64_t slices = t->rank == 3 ? t->shape[0] : 1, n = t->count / slices, M = t->shape[t->rank - 2];
    if (starts_from_words(p, M, part)) {
        TRY(ammpli_context_words(p, ammpli_config_string(p->config, AMMPL_OPT_CTX_INIT), M, value));
        for (int64_t i = 1; i < slices; i++)
            memcpy(value + i * n, value, (size_t)n * sizeof *value);
        return AMMPL_OK;
    }
    for (int64_t i = 0; i < slices; i++)
        ammpli_initial_normal(t->name, t->rank == 3 ? p->class_hash[i] : 0, seed, 0, 0.02, value + i * n, n);
    return AMMPL_OK;
}

ammpl_status ammpli_context_bind(ammpl_prompt *p, int64_t M, int32_t position, bool part)
{
    ammpli_context_form form = {.M = M, .position = position};
    int32_t *ids = NULL;
    size_t n = 0;
    if (starts_from_words(p, M, part)) {
        char *spoken = ammpli_spoken_name(p->ctx, ammpli_config_string(p->config, AMMPL_OPT_CTX_INIT));
        ammpl_status status = spoken ? ammpli_tokenize(p->model->tokenizer, spoken, &ids, &n) : AMMPL_E_MEMORY;
        ammpli_free(p->ctx, spoken);
        TRY(status);
        form.fixed = ids + M;
        form.fixed_count = (int64_t)n > M ? (int64_t)n - M : 0;
    }
    ammpl_status status = ammpli_text_plan_context(p, &form);
    ammpli_free(p->ctx, ids);
    return status;
}

static void draw(const char *tensor, uint32_t class_hash, uint64_t seed, int64_t i, uint32_t x[4])
{
    ammpli_philox(seed, AMMPLI_DRAW_INIT, (uint32_t)(i & 0xffffff), ammpli_hash(tensor), class_hash, (uint32_t)(i >> 24), x);
}

void ammpli_initial_normal(const char *tensor, uint32_t class_hash, uint64_t seed, double mean, double std, float *value,
                           int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t x[4];
        draw(tensor, class_hash, seed, i, x);
        value[i] = (float)(mean + std * ammpli_normal(x));
    }
}

void ammpli_initial_uniform(const char *tensor, uint32_t class_hash, uint64_t seed, int64_t fan_in, float *value, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t x[4];
        draw(tensor, class_hash, seed, i, x);
        value[i] = (float)((2.0 * (double)ammpli_uniform(x) - 1.0) / sqrt((double)fan_in));
    }
}
