/* evaluate.c - accuracy, loss and macro-F1 of a prompt on labelled pictures (methods.md 6.6). */
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct counts {
    int64_t *true_of, *predicted, *hit; /* [C] */
} counts;

/* The mean over classes that occur among the true labels; a class never predicted rightly counts 0. */
static double macro_f1(const counts *c, size_t C)
{
    double sum = 0;
    int64_t present = 0;
    for (size_t i = 0; i < C; i++) {
        if (c->true_of[i] == 0)
            continue;
        present++;
        sum += 2.0 * (double)c->hit[i] / (double)(c->true_of[i] + c->predicted[i]);
    }
    return present ? sum / (double)present : 0;
}

double ammpli_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

ammpl_status ammpli_check_classes(const ammpl_prompt *p, const ammpl_dataset *ds)
{
    if (ds->classes != p->classes)
        return ammpli_fail(AMMPL_E_ARGUMENT, "the data have %zu classes, the prompt has %zu; re-bind the prompt's classes", ds->classes,
                           p->classes);
    for (size_t i = 0; i < p->classes; i++)
        if (strcmp(ds->class_name[i], p->class_name[i]) != 0)
            return ammpli_fail(AMMPL_E_ARGUMENT, "class %zu is \"%.100s\" in the data and \"%.100s\" in the prompt; re-bind the prompt's "
                                                 "classes", i, ds->class_name[i], p->class_name[i]);
    return AMMPL_OK;
}

/* One image's logits: its loss, its class (first of equal ones). */
static int32_t score(const float *logits, size_t C, int32_t label, double *loss)
{
    size_t best = 0;
    double z = 0;
    for (size_t i = 1; i < C; i++)
        if (logits[i] > logits[best])
            best = i;
    for (size_t i = 0; i < C; i++)
        z += exp((double)logits[i] - (double)logits[best]);
    *loss = log(z) + (double)logits[best] - (double)logits[label];
    return (int32_t)best;
}

ammpl_status ammpli_session_evaluate(ammpl_session *s, const ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                                     ammpl_progress_fn fn, void *user, int32_t *predicted, ammpl_metrics *out)
{
    ammpl_context *ctx = p->ctx;
    const ammpl_model *m = p->model;
    TRY(ammpli_check_classes(p, ds));
    if (ds->count == 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "the data set has no images");
    /* Inference gains from larger batches; `batch` is the training batch and counts only where it is set. */
    int64_t batch = ammpli_config_is_set(cfg, AMMPL_OPT_BATCH) ? ammpli_config_int(cfg, AMMPL_OPT_BATCH) : 32;
    batch = batch < (int64_t)ds->count ? batch : (int64_t)ds->count;
    bool skip_bad = ammpli_config_int(cfg, AMMPL_OPT_SKIP_BAD) != 0;
    size_t C = p->classes;
    int64_t R = m->preprocess.size, count = 3 * R * R, n = (int64_t)ds->count;
    float *pixels = ammpli_alloc(ctx, (size_t)(batch * count), sizeof *pixels);
    float *logits = ammpli_alloc(ctx, (size_t)batch * C, sizeof *logits);
    int32_t *item = ammpli_alloc(ctx, (size_t)batch, sizeof *item);
    bool *bad = ammpli_alloc(ctx, (size_t)batch, sizeof *bad);
    int64_t *table = ammpli_alloc(ctx, 3 * C, sizeof *table);
    ammpli_loader *loader = NULL;
    double loss_sum = 0, begin = ammpli_seconds();
    ammpl_metrics metrics = {.struct_size = sizeof metrics};
    ammpl_status status = AMMPL_E_MEMORY;
    if (!pixels || !logits || !item || !bad || !table)
        goto done;
    counts c = {table, table + C, table + 2 * C};
    TRY_GOTO(done, ammpli_loader_create(m, ds, false, 0, batch, &loader));
    atomic_store(&s->cancel, 0);
    int64_t steps = (n + batch - 1) / batch;
    for (int64_t step = 0; step < steps; step++) {
        int64_t from = step * batch, B = n - from < batch ? n - from : batch;
        int64_t after = n - from - B < batch ? n - from - B : batch;
        for (int64_t b = 0; b < B; b++)
            item[b] = (int32_t)(from + b);
        TRY_GOTO(done, ammpli_loader_fetch(loader, item, B, (uint32_t)step, skip_bad, bad, pixels));
        for (int64_t b = 0; b < after; b++)
            item[b] = (int32_t)(from + B + b);
        ammpli_loader_begin(loader, item, after, (uint32_t)step + 1);
        TRY_GOTO(done, ammpli_session_predict(s, p, pixels, (size_t)B, logits));
        for (int64_t b = 0; b < B; b++) {
            int32_t label = ds->item[from + b].label;
            double loss;
            int32_t best = bad[b] ? -1 : score(logits + (size_t)b * C, C, label, &loss);
            if (predicted)
                predicted[from + b] = best;
            if (best < 0) {
                metrics.skipped++;
                continue;
            }
            metrics.samples++;
            metrics.correct += best == label;
            loss_sum += loss;
            c.true_of[label]++;
            c.predicted[best]++;
            c.hit[label] += best == label;
        }
        double seconds = ammpli_seconds() - begin;
        ammpl_progress progress = {.struct_size = sizeof progress,
                                   .epochs = 1,
                                   .step = (uint64_t)step,
                                   .steps = (uint64_t)steps,
                                   .images = (uint64_t)B,
                                   .seconds = seconds,
                                   .seconds_left = seconds / (double)(step + 1) * (double)(steps - step - 1),
                                   .epoch_end = step + 1 == steps,
                                   .images_per_second = (double)(from + B) / (seconds > 0 ? seconds : 1e-9)};
        if (step + 1 < steps && ((fn && fn(user, &progress)) || atomic_load(&s->cancel))) {
            status = AMMPL_CANCELLED;
            break;
        }
        if (step + 1 == steps && fn)
            fn(user, &progress);
    }
    if (metrics.samples == 0 && status == AMMPL_OK) {
        status = ammpli_fail(AMMPL_E_IMAGE, "none of the %lld images could be read", (long long)n);
        goto done;
    }
    double samples = metrics.samples > 0 ? (double)metrics.samples : 1; /* cancelled before the first */
    metrics.loss = loss_sum / samples;
    metrics.accuracy = (double)metrics.correct / samples;
    metrics.macro_f1 = macro_f1(&c, C);
    *out = metrics;
done:
    ammpli_loader_destroy(loader);
    ammpli_free(ctx, table);
    ammpli_free(ctx, bad);
    ammpli_free(ctx, item);
    ammpli_free(ctx, logits);
    ammpli_free(ctx, pixels);
    return status;
}
