/* trainer.c - epochs, batches and updates: one call per optimizer step, a run on top of it. */
#include "train/train.h"

#include <string.h>

/* Images that an epoch uses: all, or whole batches only. */
static int64_t images_per_epoch(const ammpl_trainer *t)
{
    int64_t n = t->count;
    return t->drop_last && n >= t->batch ? n / t->batch * t->batch : n;
}

int64_t ammpli_trainer_steps_before(const ammpl_trainer *t, int64_t epoch, int64_t next)
{
    int64_t per_step = t->batch * t->accumulate;
    return epoch * ((images_per_epoch(t) + per_step - 1) / per_step) + (next + per_step - 1) / per_step;
}

/* Fisher-Yates from the listed order, keyed by seed and epoch. */
static void order_of(const ammpl_trainer *t, int64_t epoch, int32_t *order)
{
    if (t->shuffle)
        ammpli_shuffle(t->seed, (uint32_t)epoch, order, t->count);
    else
        for (int64_t i = 0; i < t->count; i++)
            order[i] = (int32_t)i;
}

void ammpli_trainer_order(ammpl_trainer *t)
{
    order_of(t, t->epoch, t->order);
}

static void free_step(ammpl_context *ctx, ammpli_step_data *d)
{
    ammpli_free(ctx, d->input);
    ammpli_free(ctx, d->logits);
    ammpli_free(ctx, d->label);
    ammpli_free(ctx, d->id);
    ammpli_free(ctx, d->bad);
}

void ammpli_trainer_release(ammpl_trainer *t)
{
    if (!t || atomic_fetch_sub(&t->ref.count, 1) > 1)
        return;
    ammpl_context *ctx = t->prompt->ctx;
    ammpli_loader_destroy(t->loader);
    ammpli_feature_cache_destroy(t->cache);
    free_step(ctx, &t->data_of_step);
    ammpli_optimizer_release(t->optimizer);
    ammpli_config_destroy(t->config);
    ammpli_free(ctx, t->order);
    ammpli_free(ctx, t->next_order);
    ammpli_dataset_release(t->data);
    ammpl_prompt *p = t->prompt;
    ammpl_session *s = t->session;
    ammpli_free(ctx, t);
    ammpli_prompt_release(p);
    ammpli_session_release(s);
}

/* Image features are kept where no step can change them (shortcut 5). */
static ammpl_status open_cache(ammpl_trainer *t)
{
    const ammpl_prompt *p = t->prompt;
    const char *folder = ammpli_config_string(t->config, AMMPL_OPT_CACHE);
    bool plain = p->method->plain_images && p->method->plain_images(p);
    if (plain && !t->augment)
        return ammpli_feature_cache_create(t->session, t->data, folder, &t->cache);
    if (folder[0])
        ammpli_log(p->ctx, AMMPL_LEVEL_WARN, "the cache %.200s has no effect: %s", folder,
                   plain ? "augmented images are never the same twice; set augment = none" : "the prompt changes what the image tower reads");
    return AMMPL_OK;
}

/* Floats of one image in a step's input. */
static size_t input_width(const ammpl_trainer *t)
{
    size_t side = (size_t)t->prompt->model->preprocess.size;
    return t->cache ? (size_t)t->prompt->model->embed : 3 * side * side;
}

ammpl_status ammpli_trainer_open_input(ammpl_trainer *t)
{
    ammpl_context *ctx = t->prompt->ctx;
    ammpli_step_data *d = &t->data_of_step;
    int64_t per_step = t->batch * t->accumulate, most = per_step < t->count ? per_step : t->count;
    free_step(ctx, d);
    ammpli_loader_destroy(t->loader);
    t->loader = NULL;
    *d = (ammpli_step_data){.input = ammpli_alloc(ctx, (size_t)most * input_width(t), sizeof(float)),
                            .logits = ammpli_alloc(ctx, (size_t)most * t->prompt->classes, sizeof(float)),
                            .label = ammpli_alloc(ctx, (size_t)most, sizeof(int32_t)),
                            .id = ammpli_alloc(ctx, (size_t)most, sizeof(uint32_t)),
                            .bad = ammpli_alloc(ctx, (size_t)most, sizeof(bool))};
    if (!d->input || !d->logits || !d->label || !d->id || !d->bad)
        return AMMPL_E_MEMORY;
    return t->cache ? AMMPL_OK : ammpli_loader_create(t->prompt->model, t->data, t->augment, t->seed, most, &t->loader);
}

/* Images of the class that has most: the "shots" of the published settings. */
static int64_t largest_class(const ammpl_dataset *ds)
{
    int64_t most = 0;
    for (size_t c = 0; c < ds->classes; c++) {
        int64_t n = 0;
        for (size_t i = 0; i < ds->count; i++)
            n += ds->item[i].label == (int32_t)c;
        most = n > most ? n : most;
    }
    return most;
}

ammpl_status ammpli_trainer_create(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                                   ammpl_trainer **out)
{
    *out = NULL;
    if (!p->method->accumulate)
        return ammpli_fail(AMMPL_E_STATE, "method %s has nothing to learn", p->method->name);
    if (ds->count == 0)
        return ammpli_fail(AMMPL_E_ARGUMENT, "the data set has no images to train on");
    if (p->classes < 2)
        return ammpli_fail(AMMPL_E_ARGUMENT, "there is one class only (\"%.100s\"): nothing to tell apart; give at least two",
                           p->class_name[0]);
    TRY(ammpli_check_classes(p, ds));
    TRY(ammpli_dataset_check_filled(ds, "train on"));
    ammpl_trainer *t = ammpli_alloc(p->ctx, 1, sizeof *t);
    if (!t)
        return AMMPL_E_MEMORY;
    t->ref.count = 1;
    t->session = ammpli_session_hold(s);
    t->prompt = ammpli_prompt_hold(p);
    t->data = ammpli_dataset_hold((ammpl_dataset *)ds);
    t->count = (int64_t)ds->count;
    ammpl_status status;
    int64_t per_step;
    TRY_GOTO(fail, ammpli_training_config(p, cfg, largest_class(ds), &t->config));
    t->epochs = ammpli_config_int(t->config, AMMPL_OPT_EPOCHS);
    t->batch = ammpli_config_int(t->config, AMMPL_OPT_BATCH);
    t->accumulate = ammpli_config_int(t->config, AMMPL_OPT_ACCUMULATE);
    t->shuffle = ammpli_config_int(t->config, AMMPL_OPT_SHUFFLE) != 0;
    t->drop_last = ammpli_config_int(t->config, AMMPL_OPT_DROP_LAST) != 0;
    t->skip_bad = ammpli_config_int(t->config, AMMPL_OPT_SKIP_BAD) != 0;
    t->augment = strcmp(ammpli_config_string(t->config, AMMPL_OPT_AUGMENT), "none") != 0;
    t->seed = (uint64_t)ammpli_config_int(t->config, AMMPL_OPT_SEED);
    per_step = t->batch * t->accumulate;
    t->steps = t->epochs * ((images_per_epoch(t) + per_step - 1) / per_step);
    TRY_GOTO(fail, ammpli_optimizer_create(p, t->config, &t->optimizer));
    t->order = ammpli_alloc(p->ctx, (size_t)t->count, sizeof *t->order);
    t->next_order = ammpli_alloc(p->ctx, (size_t)t->count, sizeof *t->next_order);
    if (!t->order || !t->next_order) {
        status = AMMPL_E_MEMORY;
        goto fail;
    }
    ammpli_trainer_order(t);
    TRY_GOTO(fail, open_cache(t));
    TRY_GOTO(fail, ammpli_trainer_open_input(t));
    *out = t;
    return AMMPL_OK;
fail:
    ammpli_trainer_release(t);
    return status;
}

static ammpl_status load_step(ammpl_trainer *t, int64_t count)
{
    ammpli_step_data *d = &t->data_of_step;
    size_t width = input_width(t);
    const int32_t *item = t->order + t->next;
    d->n = 0;
    if (t->cache)
        TRY(ammpli_feature_cache_fetch(t->cache, item, count, t->skip_bad, d->bad, d->input));
    else
        TRY(ammpli_loader_fetch(t->loader, item, count, (uint32_t)t->step, t->skip_bad, d->bad, d->input));
    for (int64_t i = 0; i < count; i++) {
        if (d->bad[i])
            continue;
        memmove(d->input + (size_t)d->n * width, d->input + (size_t)i * width, width * sizeof(float));
        d->label[d->n] = t->data->item[item[i]].label;
        d->id[d->n++] = t->data->item[item[i]].id;
    }
    return AMMPL_OK;
}

/* Images of the step that begins at image `next` of an epoch. */
static int64_t step_images(const ammpl_trainer *t, int64_t next)
{
    int64_t left = images_per_epoch(t) - next, per_step = t->batch * t->accumulate;
    return left < per_step ? left : per_step;
}

/* The pictures of the step after this one of `count` images; from the second step on: who takes a single one gets no more. */
static void begin_next(ammpl_trainer *t, int64_t count)
{
    int64_t next = t->next + count;
    const int32_t *order = t->order;
    if (!t->loader || !t->going || t->step + 1 >= t->steps)
        return;
    if (next >= images_per_epoch(t)) {
        order_of(t, t->epoch + 1, t->next_order);
        order = t->next_order;
        next = 0;
    }
    ammpli_loader_begin(t->loader, order + next, step_images(t, next), (uint32_t)t->step + 1);
}

/* A step in several parts: the mean of the auxiliary loss goes over the rows of all of them. */
static ammpl_status shared_aux_weight(ammpl_trainer *t, const ammpli_step_data *d, double *weight)
{
    int64_t rows = 0;
    for (int64_t from = 0; from < d->n; from += t->batch) {
        int64_t n = d->n - from < t->batch ? d->n - from : t->batch, part;
        TRY(ammpli_session_aux_rows(t->session, t->prompt, d->input + (size_t)from * input_width(t), d->label + from, (size_t)n, &part));
        rows += part;
    }
    *weight = rows > 0 ? 1.0 / (double)rows : 0;
    return AMMPL_OK;
}

/* Gradients of the step's mean loss, in parts of at most `batch` images. */
static ammpl_status gradients(ammpl_trainer *t, const ammpli_step_data *d, double *loss)
{
    size_t C = t->prompt->classes, width = input_width(t);
    double aux_weight = 0;
    *loss = 0;
    if (t->prompt->method->aux_rows && d->n > t->batch)
        TRY(shared_aux_weight(t, d, &aux_weight));
    TRY(ammpli_prompt_zero_gradients(t->prompt));
    for (int64_t from = 0; from < d->n; from += t->batch) {
        int64_t n = d->n - from < t->batch ? d->n - from : t->batch;
        const float *input = d->input + (size_t)from * width;
        double part;
        ammpl_batch batch = {.struct_size = sizeof batch,
                             .n = (size_t)n,
                             .pixels = t->cache ? NULL : input,
                             .features = t->cache ? input : NULL,
                             .label = d->label + from,
                             .image_id = d->id + from,
                             .seed = t->seed,
                             .step = (uint32_t)t->step,
                             .weight = 1.0 / (double)d->n,
                             .epoch = t->epoch,
                             .aux_weight = aux_weight};
        TRY(ammpli_session_accumulate(t->session, t->prompt, &batch, &part, d->logits + (size_t)from * C));
        *loss += part;
    }
    return AMMPL_OK;
}

static int64_t count_correct(const ammpli_step_data *d, size_t C)
{
    int64_t correct = 0;
    for (int64_t b = 0; b < d->n; b++) {
        const float *logits = d->logits + (size_t)b * C;
        size_t best = 0;
        for (size_t i = 1; i < C; i++)
            if (logits[i] > logits[best])
                best = i;
        correct += (int32_t)best == d->label[b];
    }
    return correct;
}

static void report(const ammpl_trainer *t, double loss, double rate, int64_t n, bool epoch_end, ammpl_progress *out)
{
    double images = t->epoch_images > 0 ? (double)t->epoch_images : 1;
    *out = (ammpl_progress){.struct_size = sizeof *out,
                            .epoch = (uint64_t)t->epoch,
                            .epochs = (uint64_t)t->epochs,
                            .step = (uint64_t)t->step,
                            .steps = (uint64_t)t->steps,
                            .images = (uint64_t)n,
                            .loss = loss,
                            .learning_rate = rate,
                            .seconds = t->seconds,
                            .seconds_left = t->seconds / (double)(t->step + 1) * (double)(t->steps - t->step - 1),
                            .epoch_end = epoch_end,
                            .epoch_loss = t->epoch_loss / images,
                            .epoch_accuracy = t->epoch_correct / images,
                            .epoch_seconds = t->epoch_seconds,
                            .images_per_second = t->epoch_seconds > 0 ? (double)t->epoch_images / t->epoch_seconds : 0};
}

/* A prompt that was given other classes in between would learn them from these pictures. */
static ammpl_status check_binding(const ammpl_trainer *t)
{
    if (ammpli_check_classes(t->prompt, t->data) >= 0)
        return AMMPL_OK;
    ammpli_clear_error();
    return ammpli_fail(AMMPL_E_STATE, "the prompt was given other classes than the data's since this trainer was made; give it those "
                                      "again, or make a trainer for data of the new ones");
}

ammpl_status ammpli_trainer_step(ammpl_trainer *t, ammpl_progress *progress)
{
    if (t->step >= t->steps)
        return AMMPL_END;
    TRY(check_binding(t));
    double begin = ammpli_seconds();
    int64_t count = step_images(t, t->next);
    const ammpli_step_data *d = &t->data_of_step;
    double loss, rate;
    TRY(load_step(t, count));
    if (d->n == 0 && t->epoch_images == 0 && t->next + count >= images_per_epoch(t))
        return ammpli_fail(AMMPL_E_IMAGE, "none of the %lld training images could be read", (long long)t->count);
    begin_next(t, count);
    TRY(gradients(t, d, &loss));
    ammpli_optimizer_set_moment(t->optimizer, &(ammpli_moment){t->epoch, t->step, t->steps});
    rate = t->optimizer->rate[0];
    if (d->n > 0)
        TRY(ammpli_optimizer_step(t->optimizer));
    /* Nothing below can fail: the step counts. */
    double seconds = ammpli_seconds() - begin;
    t->seconds += seconds;
    t->epoch_seconds += seconds;
    t->epoch_loss += loss * (double)d->n;
    t->epoch_correct += (double)count_correct(d, t->prompt->classes);
    t->epoch_images += d->n;
    t->next += count;
    bool epoch_end = t->next >= images_per_epoch(t);
    if (progress)
        report(t, loss, rate, d->n, epoch_end, progress);
    t->step++;
    t->going = true;
    if (epoch_end) {
        t->epoch++;
        t->next = 0;
        t->epoch_loss = t->epoch_correct = t->epoch_seconds = 0;
        t->epoch_images = 0;
        ammpli_trainer_order(t);
        if (t->cache)
            ammpli_feature_cache_epoch_end(t->cache);
    }
    return AMMPL_OK;
}

ammpl_status ammpli_train(ammpl_session *s, ammpl_prompt *p, const ammpl_dataset *ds, const ammpl_config *cfg,
                          ammpl_progress_fn fn, void *user)
{
    ammpl_trainer *t;
    atomic_store(&s->cancel, 0);
    TRY(ammpli_trainer_create(s, p, ds, cfg, &t));
    ammpl_status status;
    for (;;) {
        ammpl_progress progress;
        status = ammpli_trainer_step(t, &progress);
        if (status != AMMPL_OK)
            break;
        if ((fn && fn(user, &progress)) || atomic_load(&s->cancel)) {
            status = AMMPL_CANCELLED;
            break;
        }
    }
    ammpli_trainer_release(t);
    return status == AMMPL_END ? AMMPL_OK : status;
}
