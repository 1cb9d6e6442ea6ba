/* loader.c - a batch of pictures, decoded and preprocessed on the context's threads. */
#include "train/train.h"

#include <string.h>

/* Errors are per thread: each picture brings its own sentence home. */
typedef struct outcome {
    ammpl_status status;
    char text[512];
} outcome;

typedef struct load_job {
    const ammpl_model *model;
    const ammpl_dataset *data;
    const int32_t *item;
    bool augment;
    uint64_t seed;
    uint32_t step;
    ammpli_digest *digest; /* or NULL */
    float *pixels;
    outcome *result;
} load_job;

static void load_one(void *arg, int64_t i, int worker)
{
    (void)worker;
    load_job *job = arg;
    const ammpli_preprocess *pre = &job->model->preprocess;
    size_t count = (size_t)3 * (size_t)pre->size * (size_t)pre->size;
    float *chw = job->pixels + (size_t)i * count;
    const ammpli_item *item = &job->data->item[job->item[i]];
    ammpl_image *img = NULL;
    ammpli_clear_error();
    ammpl_status status = job->digest ? ammpli_dataset_load_digest(job->data, (size_t)job->item[i], &job->digest[i], &img)
                                      : ammpli_dataset_load_image(job->data, (size_t)job->item[i], &img);
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

ammpl_status ammpli_load_batch(const ammpl_model *m, const ammpl_dataset *ds, const int32_t *item, int64_t n, bool augment,
                               uint64_t seed, uint32_t step, bool skip_bad, bool *bad, ammpli_digest *digest, float *pixels)
{
    outcome *result = ammpli_alloc(m->ctx, (size_t)n, sizeof *result);
    if (!result)
        return AMMPL_E_MEMORY;
    load_job job = {m, ds, item, augment, seed, step, digest, pixels, result};
    ammpli_parallel(m->ctx->pool, n, load_one, &job);
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
    ammpli_free(m->ctx, result);
    return status;
}
