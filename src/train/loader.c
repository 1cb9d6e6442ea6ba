/* loader.c - batches of pictures, decoded and preprocessed on the context's threads: when they are needed, or ahead of that. */
#include "train/train.h"

#include <string.h>

/* Pictures that are decoded ahead take at most so much, or one picture. */
#define AHEAD_BYTES ((size_t)64 << 20)

/* Errors are per thread: each picture brings its own sentence home, to whoever needs the picture. */
typedef struct outcome {
    ammpl_status status;
    char text[512];
} outcome;

typedef struct load_job {
    const ammpl_model *model;
    const ammpl_dataset *data;
    const int32_t *item;     /* [n] */
    const ammpli_item *copy; /* [n] the items themselves, where the data set may grow meanwhile; else NULL */
    bool augment;
    uint64_t seed;
    uint32_t step;
    ammpli_digest *digest; /* or NULL */
    float *pixels;
    outcome *result;
} load_job;

static size_t numbers(const ammpl_model *m)
{
    return (size_t)3 * (size_t)m->preprocess.size * (size_t)m->preprocess.size;
}

static void load_one(void *arg, int64_t i, int worker)
{
    (void)worker;
    load_job *job = arg;
    const ammpli_preprocess *pre = &job->model->preprocess;
    size_t count = numbers(job->model);
    float *chw = job->pixels + (size_t)i * count;
    const ammpli_item *item = job->copy ? &job->copy[i] : &job->data->item[job->item[i]];
    ammpl_image *img = NULL;
    ammpli_clear_error();
    ammpl_status status = job->digest ? ammpli_dataset_load_digest(job->data, (size_t)job->item[i], pre->least, &job->digest[i], &img)
                                      : ammpli_item_load(job->data->ctx, item, pre->least, &img);
    if (status >= 0)
        status = job->augment ? ammpli_preprocess_train(pre, img, job->seed, item->id, job->step, chw)
                              : ammpli_preprocess_test(pre, img, chw);
    ammpli_image_destroy(img);
    job->result[i].status = status;
    if (status < 0) {
        memset(chw, 0, count * sizeof *chw);
        strncpy(job->result[i].text, ammpli_error_text(), sizeof job->result[i].text - 1);
        ammpli_clear_error();
    }
}

/* bad[i] for every picture that failed; what skip_bad does not excuse is the error. */
static ammpl_status judge(const ammpl_model *m, const outcome *result, int64_t n, bool skip_bad, bool *bad)
{
    ammpl_status status = AMMPL_OK;
    for (int64_t i = 0; i < n; i++) {
        bool unreadable = result[i].status == AMMPL_E_IMAGE || result[i].status == AMMPL_E_IO;
        bad[i] = result[i].status < 0;
        if (!bad[i])
            continue;
        if (skip_bad && unreadable)
            ammpli_log(m->ctx, AMMPL_LEVEL_WARN, "skipped: %s", result[i].text);
        else if (status >= 0)
            status = ammpli_fail(result[i].status, "%s", result[i].text);
    }
    return status;
}

ammpl_status ammpli_load_batch(const ammpl_model *m, const ammpl_dataset *ds, const int32_t *item, int64_t n, bool augment,
                               uint64_t seed, uint32_t step, bool skip_bad, bool *bad, ammpli_digest *digest, float *pixels)
{
    outcome *result = ammpli_alloc(m->ctx, (size_t)n, sizeof *result);
    if (!result)
        return AMMPL_E_MEMORY;
    load_job job = {m, ds, item, NULL, augment, seed, step, digest, pixels, result};
    ammpli_parallel(m->ctx->pool, n, load_one, &job);
    ammpl_status status = judge(m, result, n, skip_bad, bad);
    ammpli_free(m->ctx, result);
    return status;
}

/* ---- ahead ---- */

struct ammpli_loader {
    const ammpl_model *model;
    const ammpl_dataset *data;
    bool augment;
    uint64_t seed;
    int64_t most, cap; /* pictures of a batch; of them ahead */
    outcome *result;   /* [most] of the batch at work */
    /* the batch to come: its first `begun` pictures are being made */
    int64_t begun;
    int32_t *item;     /* [cap] */
    ammpli_item *copy; /* [cap] */
    float *pixels;     /* [cap, 3, R, R] */
    outcome *ahead_result; /* [cap] */
    load_job load;
    ammpli_ahead job;
};

ammpl_status ammpli_loader_create(const ammpl_model *m, const ammpl_dataset *ds, bool augment, uint64_t seed, int64_t most,
                                  ammpli_loader **out)
{
    *out = NULL;
    ammpli_loader *l = ammpli_alloc(m->ctx, 1, sizeof *l);
    if (!l)
        return AMMPL_E_MEMORY;
    size_t each = numbers(m) * sizeof(float);
    int64_t fit = (int64_t)(AHEAD_BYTES / each);
    *l = (ammpli_loader){.model = m, .data = ds, .augment = augment, .seed = seed, .most = most};
    l->cap = fit < 1 ? 1 : fit < most ? fit : most;
    l->result = ammpli_alloc(m->ctx, (size_t)most, sizeof *l->result);
    l->item = ammpli_alloc(m->ctx, (size_t)l->cap, sizeof *l->item);
    l->copy = ammpli_alloc(m->ctx, (size_t)l->cap, sizeof *l->copy);
    l->pixels = ammpli_alloc(m->ctx, (size_t)l->cap, each);
    l->ahead_result = ammpli_alloc(m->ctx, (size_t)l->cap, sizeof *l->ahead_result);
    if (!l->result || !l->item || !l->copy || !l->pixels || !l->ahead_result) {
        ammpli_loader_destroy(l);
        return AMMPL_E_MEMORY;
    }
    *out = l;
    return AMMPL_OK;
}

void ammpli_loader_drop(ammpli_loader *l)
{
    if (l && l->begun > 0)
        ammpli_ahead_drop(l->model->ctx->pool, &l->job);
    if (l)
        l->begun = 0;
}

void ammpli_loader_destroy(ammpli_loader *l)
{
    if (!l)
        return;
    ammpl_context *ctx = l->model->ctx;
    ammpli_loader_drop(l);
    ammpli_free(ctx, l->result);
    ammpli_free(ctx, l->item);
    ammpli_free(ctx, l->copy);
    ammpli_free(ctx, l->pixels);
    ammpli_free(ctx, l->ahead_result);
    ammpli_free(ctx, l);
}

void ammpli_loader_begin(ammpli_loader *l, const int32_t *item, int64_t n, uint32_t step)
{
    ammpli_loader_drop(l);
    l->begun = n < l->cap ? n : l->cap;
    for (int64_t i = 0; i < l->begun; i++) {
        l->item[i] = item[i];
        l->copy[i] = l->data->item[item[i]]; /* path and picture stay as long as the data set does */
    }
    l->load = (load_job){l->model, l->data, l->item, l->copy, l->augment, l->seed, step, NULL, l->pixels, l->ahead_result};
    l->job = (ammpli_ahead){.fn = load_one, .arg = &l->load, .n = l->begun};
    ammpli_ahead_start(l->model->ctx->pool, &l->job);
}

/* How many of these pictures are there now. */
static int64_t take_begun(ammpli_loader *l, const int32_t *item, int64_t n, uint32_t step, float *pixels)
{
    int64_t ready = l->begun;
    bool same = ready <= n && ready > 0 && l->load.step == step && memcmp(l->item, item, (size_t)ready * sizeof *item) == 0;
    if (!same) {
        ammpli_loader_drop(l);
        return 0;
    }
    ammpli_ahead_end(l->model->ctx->pool, &l->job);
    l->begun = 0;
    memcpy(pixels, l->pixels, (size_t)ready * numbers(l->model) * sizeof *pixels);
    memcpy(l->result, l->ahead_result, (size_t)ready * sizeof *l->result);
    return ready;
}

ammpl_status ammpli_loader_fetch(ammpli_loader *l, const int32_t *item, int64_t n, uint32_t step, bool skip_bad, bool *bad,
                                 float *pixels)
{
    int64_t ready = take_begun(l, item, n, step, pixels);
    load_job all = {l->model, l->data, item, NULL, l->augment, l->seed, step, NULL, pixels, l->result}, rest = all;
    rest.item += ready;
    rest.pixels += (size_t)ready * numbers(l->model);
    rest.result += ready;
    ammpli_parallel(l->model->ctx->pool, n - ready, load_one, &rest);
    for (int64_t i = 0; i < ready; i++)
        if (l->result[i].status < 0) /* as it is now that it is needed */
            load_one(&all, i, 0);
    return judge(l->model, l->result, n, skip_bad, bad);
}
