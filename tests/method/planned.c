/* planned.c - an allocator that counts, and calls of every kind of prompt beside their plans. */
#include "planned.h"

#include <stdlib.h>
#include <string.h>

/* ---- the allocator ---- */

static void *count_alloc(void *user, size_t size, size_t align)
{
    counter *c = user;
    long long now = atomic_fetch_add(&c->now, (long long)size) + (long long)size, peak = atomic_load(&c->peak);
    while (now > peak && !atomic_compare_exchange_weak(&c->peak, &peak, now)) {
    }
    atomic_fetch_add(&c->requests, 1);
    return c->below.alloc(c->below.user, size, align);
}

static void count_release(void *user, void *ptr, size_t size)
{
    counter *c = user;
    atomic_fetch_sub(&c->now, (long long)size);
    c->below.release(c->below.user, ptr, size);
}

void count(ammpl_context *ctx, counter *c)
{
    memset(c, 0, sizeof *c);
    c->below = ctx->allocator;
    ctx->allocator.user = c;
    ctx->allocator.alloc = count_alloc;
    ctx->allocator.release = count_release;
}

/* ---- kinds ---- */

typedef struct variant {
    const char *name, *options[12];
} variant;
static const variant ammpl_variants[] = {
    {"ammpl_shared", {"scope", "shared", NULL}},
    {"ammpl_class", {"scope", "class", NULL}},
    {"ammpl_class_blend", {"scope", "class", "mask_gradient", "blend", NULL}},
    {"ammpl_simultaneous", {"order", "simultaneous", NULL}},
    {"ammpl_draws_image", {"draws", "image", "interaction", "false", NULL}},
    {"ammpl_no_mask", {"mask", "false", NULL}},
    {"ammpl_mask_alone", {"padding", "false", "interaction", "false", NULL}},
    {"ammpl_candidates", {"candidates", "1", NULL}},
    {"ammpl_scalar", {"shift", "scalar", "scope", "class", NULL}},
    {"ammpl_mean", {"evaluation", "mean:2", NULL}},
};
_Static_assert(sizeof ammpl_variants / sizeof ammpl_variants[0] == AMMPL_VARIANTS, "a variant is not counted");

const char *name_of(int i)
{
    return i < KINDS ? kinds[i].name : ammpl_variants[i - KINDS].name;
}

void keep_patches(ammpl_prompt *p, float probability)
{
    ammpli_tensor *t = ammpli_prompt_find(p, "mask_prob");
    if (!t)
        return;
    float *prob = malloc((size_t)t->count * sizeof *prob);
    for (int64_t i = 0; i < t->count; i++)
        prob[i] = probability;
    ck_ok(ammpli_prompt_write(p, (size_t)(t - p->tensor), prob));
    free(prob);
}

void even_odds(ammpl_prompt *p)
{
    keep_patches(p, 0.5f);
}

void open_any(nano *n, int i, const char *const *more)
{
    if (i < KINDS) {
        kind_open(n, &kinds[i], more);
        return;
    }
    const char *options[24] = {0};
    size_t used = 0;
    for (const char *const *o = ammpl_variants[i - KINDS].options; *o; o++)
        options[used++] = *o;
    for (const char *const *o = more; o && *o; o++)
        options[used++] = *o;
    nano_open_method(n, "nano-odd", AMMPL_METHOD_AMMPL, options);
    even_odds(n->prompt);
}

float *pictures(const nano *n, size_t count)
{
    size_t R = (size_t)n->model->preprocess.size, each = 3 * R * R;
    float *seven = nano_pixels(n), *all = malloc(count * each * sizeof *all);
    for (size_t i = 0; i < count; i++)
        memcpy(all + i * each, seven + i % NANO_IMAGES * each, each * sizeof *all);
    free(seven);
    return all;
}

/* logits [count,C] */
static void call_for(const nano *n, ammpl_session *s, int32_t what, size_t count, const float *pixels, float *logits)
{
    float *features = malloc(count * (size_t)n->model->embed * sizeof *features);
    int32_t *label = malloc(count * sizeof *label);
    double loss;
    for (size_t i = 0; i < count; i++)
        label[i] = (int32_t)(i % n->prompt->classes);
    for (size_t i = 0; i < count * (size_t)n->model->embed; i++)
        features[i] = (float)(i % 7) - 3;
    ammpl_batch batch = {.struct_size = sizeof batch, .n = count, .label = label, .seed = 5};
    if (what == AMMPL_PLAN_ACCUMULATE_FEATURES)
        batch.features = features;
    else
        batch.pixels = pixels;
    if (what == AMMPL_PLAN_PREDICT)
        ck_ok(ammpli_session_predict(s, n->prompt, pixels, count, logits));
    else
        ck_ok(ammpli_session_accumulate(s, n->prompt, &batch, &loss, logits));
    free(label);
    free(features);
}

void call(const nano *n, ammpl_session *s, int32_t what, size_t count, const float *pixels)
{
    float *logits = malloc(count * n->prompt->classes * sizeof *logits);
    call_for(n, s, what, count, pixels, logits);
    free(logits);
}

int64_t results_of(const nano *n, ammpl_session *s, int32_t what, size_t count, const float *pixels, float *out)
{
    int64_t numbers = (int64_t)(count * n->prompt->classes);
    ck_assert_int_le(numbers, RESULTS);
    ck_ok(ammpli_prompt_zero_gradients(n->prompt));
    call_for(n, s, what, count, pixels, out);
    for (size_t i = 0; what != AMMPL_PLAN_PREDICT && i < n->prompt->tensors; numbers += n->prompt->tensor[i++].count) {
        ck_assert_int_le(numbers + n->prompt->tensor[i].count, RESULTS);
        ck_ok(ammpli_prompt_gradient_read(n->prompt, i, out + numbers));
    }
    return numbers;
}

bool learns_from(const nano *n, int32_t what)
{
    const ammpli_method *m = n->prompt->method;
    if (what == AMMPL_PLAN_ACCUMULATE)
        return m->accumulate != NULL;
    return what == AMMPL_PLAN_PREDICT || (m->plain_images && m->plain_images(n->prompt));
}

void compare(const nano *n, const char *name, int32_t what, size_t count_of_images, counter *c)
{
    ammpl_session *planner, *s;
    uint64_t planned;
    float *pixels = pictures(n, count_of_images);
    ck_ok(ammpli_session_create(n->model, n->cfg, &planner));
    ck_ok(ammpl_session_plan(planner, n->prompt, count_of_images, what, &planned));
    ammpli_session_release(planner);
    long long before = atomic_load(&c->now);
    atomic_store(&c->peak, before);
    ck_ok(ammpli_session_create(n->model, n->cfg, &s));
    call(n, s, what, count_of_images, pixels);
    double taken = (double)(atomic_load(&c->peak) - before);
    ck_assert_msg(taken <= 1.05 * (double)planned && taken >= 0.95 * (double)planned, "%s, call %d of %zu images: %.0f bytes planned, %.0f taken",
                  name, (int)what, count_of_images, (double)planned, taken);
    long long requests = atomic_load(&c->requests);
    call(n, s, what, count_of_images, pixels);
    ck_assert_msg(atomic_load(&c->requests) == requests, "%s, call %d: repeated, it allocates", name, (int)what);
    ammpli_session_release(s);
    free(pixels);
}

void check_limited(const nano *n, const char *name, int32_t what, size_t count_of_images, int64_t limit, counter *c, float *out)
{
    ammpl_session *s;
    uint64_t planned;
    float *pixels = pictures(n, count_of_images);
    ck_ok(ammpli_config_set_int(n->cfg, AMMPL_OPT_MEMORY_LIMIT, limit));
    long long before = atomic_load(&c->now);
    ck_ok(ammpli_session_create(n->model, n->cfg, &s));
    ck_ok(ammpl_session_plan(s, n->prompt, count_of_images, what, &planned));
    ck_ok(ammpli_session_prepare(s, n->prompt, what, (int64_t)count_of_images)); /* the plan's own search is no part of the call */
    atomic_store(&c->peak, atomic_load(&c->now));
    (void)results_of(n, s, what, count_of_images, pixels, out);
    long long requests = atomic_load(&c->requests);
    (void)results_of(n, s, what, count_of_images, pixels, out);
    long long taken = atomic_load(&c->peak) - before;
    ck_assert_msg(taken <= limit, "%s, call %d of %zu images: a limit of %lld bytes, %lld taken", name, (int)what, count_of_images,
                  (long long)limit, taken);
    ck_assert_msg((double)taken <= 1.05 * (double)planned && (double)taken >= 0.95 * (double)planned,
                  "%s, call %d of %zu images, a limit of %lld bytes: %.0f planned, %lld taken", name, (int)what, count_of_images, (long long)limit,
                  (double)planned, taken);
    ck_assert_msg(atomic_load(&c->requests) == requests, "%s, call %d of %zu images, a limit of %lld bytes: repeated, it allocates", name, (int)what,
                  count_of_images, (long long)limit);
    ammpli_session_release(s);
    free(pixels);
}
