/* state_file.c - a training run between two steps: prompt, momenta, counters and options in one safetensors file. */
#include "train/train.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a run's numbers depend on besides the prompt's own options: a state continues only under the same. */
static const char *const run_options[] = {"optimizer", "lr", "momentum", "weight_decay", "beta1", "beta2", "epsilon", "schedule",
                                          "warmup_epochs", "warmup_lr", "warmup_steps", "lr_text", "warmup_epochs_text", "epochs", "batch", "seed", "shuffle", "drop_last",
                                          "accumulate", "augment"};
enum { RUN_OPTIONS = sizeof run_options / sizeof run_options[0] };
static const char *const moment_name[2] = {"momentum.", "second_moment."};

/* FNV-1a over labels and ids: tells other data apart. */
static void data_signature(const ammpl_dataset *ds, int64_t count, char text[64])
{
    uint64_t h = 14695981039346656037u;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t word[2] = {(uint32_t)ds->item[i].label, ds->item[i].id};
        for (size_t b = 0; b < sizeof word; b++)
            h = (h ^ ((const unsigned char *)word)[b]) * 1099511628211u;
    }
    snprintf(text, 64, "%" PRId64 " images, %016" PRIx64, count, h);
}

/* The counters, by name. */
typedef struct counter {
    const char *name;
    int64_t *integer;
    double *real;
} counter;
enum { COUNTERS = 9 };

static void counters_of(ammpl_trainer *t, counter out[COUNTERS])
{
    const counter all[COUNTERS] = {{"step", &t->step, NULL},
                                   {"epoch", &t->epoch, NULL},
                                   {"next", &t->next, NULL},
                                   {"updates", &t->optimizer->step, NULL},
                                   {"epoch_images", &t->epoch_images, NULL},
                                   {"epoch_loss", NULL, &t->epoch_loss},
                                   {"epoch_correct", NULL, &t->epoch_correct},
                                   {"seconds", NULL, &t->seconds},
                                   {"epoch_seconds", NULL, &t->epoch_seconds}};
    memcpy(out, all, sizeof all);
}

static ammpl_status collect(ammpl_trainer *t, ammpli_st_writer *w, float **values, float **moments)
{
    ammpl_prompt *p = t->prompt;
    char text[64], name[80];
    TRY(ammpli_prompt_write_into(p, "ammpl-state", w, values));
    for (int i = 0; i < RUN_OPTIONS; i++) {
        snprintf(name, sizeof name, "train.%s", run_options[i]);
        TRY(ammpli_st_writer_meta(w, name, ammpli_config_text(t->config, run_options[i])));
    }
    data_signature(t->data, t->count, text);
    TRY(ammpli_st_writer_meta(w, "data", text));
    counter c[COUNTERS];
    counters_of(t, c);
    for (int i = 0; i < COUNTERS; i++) {
        snprintf(name, sizeof name, "counter.%s", c[i].name);
        if (c[i].integer)
            snprintf(text, sizeof text, "%" PRId64, *c[i].integer);
        else
            ammpli_print_double(text, *c[i].real);
        TRY(ammpli_st_writer_meta(w, name, text));
    }
    int64_t total = 0;
    for (size_t i = 0; i < p->tensors; i++)
        total += p->tensor[i].trainable ? p->tensor[i].count : 0;
    *moments = ammpli_alloc(p->ctx, (size_t)(2 * total), sizeof **moments);
    if (!*moments)
        return AMMPL_E_MEMORY;
    float *host = *moments;
    for (int k = 0; k < 2 && t->optimizer->moment[k]; k++)
        for (size_t i = 0; i < p->tensors; i++) {
            const ammpli_tensor *tensor = &p->tensor[i];
            if (!tensor->trainable)
                continue;
            TRY(p->ops->download(p->stream, host, t->optimizer->moment[k][i], (size_t)tensor->count * sizeof *host));
            snprintf(name, sizeof name, "%s%s", moment_name[k], tensor->name);
            TRY(ammpli_st_writer_add(w, name, AMMPL_DTYPE_F32, tensor->rank, tensor->shape, host));
            host += tensor->count;
        }
    return AMMPL_OK;
}

ammpl_status ammpli_trainer_save(const ammpl_trainer *t, const char *path)
{
    ammpl_context *ctx = t->prompt->ctx;
    ammpli_st_writer *w;
    float *values = NULL, *moments = NULL;
    TRY(ammpli_st_writer_create(ctx, &w));
    ammpl_status status = collect((ammpl_trainer *)t, w, &values, &moments);
    if (status >= 0)
        status = ammpli_st_writer_save(w, path, true);
    ammpli_st_writer_destroy(w);
    ammpli_free(ctx, values);
    ammpli_free(ctx, moments);
    return status;
}

/* AMMPL_E_STATE unless the file says the same as this run. */
static ammpl_status check_same(const ammpli_st *st, const char *key, const char *here)
{
    const char *there = ammpli_st_meta(st, key);
    if (there && strcmp(there, here) == 0)
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_STATE, "%s was saved with %s = %.100s, this run has %.100s; resume with the options it was started with",
                       ammpli_st_name(st), key, there ? there : "nothing", here);
}

static ammpl_status check_run(const ammpl_trainer *t, const ammpli_st *st)
{
    const ammpl_prompt *p = t->prompt;
    char name[80], text[64];
    const char *format = ammpli_st_meta(st, "format");
    if (!format || strcmp(format, "ammpl-state") != 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s is not a training state: its metadata say format = %.40s, expected ammpl-state",
                           ammpli_st_name(st), format ? format : "nothing");
    const char *version = ammpli_st_meta(st, "version");
    if (!version || strcmp(version, "1") != 0)
        return ammpli_fail(AMMPL_E_VERSION, "%s has state format version %.20s; this library reads version 1", ammpli_st_name(st),
                           version ? version : "nothing");
    TRY(check_same(st, "method", p->method->name));
    for (const char *const *option = p->method->options; *option; option++) {
        char *here = ammpli_prompt_option_text(p, *option);
        ammpl_status status = here ? check_same(st, *option, here) : AMMPL_E_MEMORY;
        ammpli_free(p->ctx, here);
        TRY(status);
    }
    for (int i = 0; i < RUN_OPTIONS; i++) {
        snprintf(name, sizeof name, "train.%s", run_options[i]);
        TRY(check_same(st, name, ammpli_config_text(t->config, run_options[i])));
    }
    TRY(ammpli_prompt_check_origin(p, st));
    data_signature(t->data, t->count, text);
    return check_same(st, "data", text);
}

/* The file's tensor of that name and the shape of `like` into host memory. */
static ammpl_status read_like(const ammpli_st *st, const char *name, const ammpli_tensor *like, float *host)
{
    const ammpli_st_tensor *from = ammpli_st_find(st, name);
    if (!from)
        return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %s is missing", ammpli_st_name(st), name);
    if (from->rank != like->rank || memcmp(from->shape, like->shape, (size_t)like->rank * sizeof *like->shape) != 0)
        return ammpli_fail(AMMPL_E_SHAPE, "%s: tensor %s has another shape than this run's", ammpli_st_name(st), name);
    return ammpli_st_read_f32(st, from, host);
}

static ammpl_status read_counters(ammpl_trainer *t, const ammpli_st *st, int64_t integer[COUNTERS], double real[COUNTERS])
{
    counter c[COUNTERS];
    counters_of(t, c);
    for (int i = 0; i < COUNTERS; i++) {
        char name[80], *end = NULL;
        snprintf(name, sizeof name, "counter.%s", c[i].name);
        const char *text = ammpli_st_meta(st, name);
        if (text && c[i].integer)
            integer[i] = strtoll(text, &end, 10);
        bool number = text && (c[i].integer ? end != text && !*end : ammpli_parse_double(text, &real[i]));
        if (!number)
            return ammpli_fail(AMMPL_E_FORMAT, "%s: its metadata \"%s\" should be a number", ammpli_st_name(st), name);
    }
    bool sane = integer[0] >= 0 && integer[0] <= t->steps && integer[1] >= 0 && integer[1] <= t->epochs && integer[2] >= 0 &&
                integer[2] < t->count && integer[3] >= 0 && integer[3] <= integer[0] && integer[4] >= 0 && integer[4] <= t->count &&
                integer[0] == ammpli_trainer_steps_before(t, integer[1], integer[2]);
    return sane ? AMMPL_OK
                : ammpli_fail(AMMPL_E_FORMAT, "%s: its counters (step %lld, epoch %lld, image %lld) are not those of this run",
                              ammpli_st_name(st), (long long)integer[0], (long long)integer[1], (long long)integer[2]);
}

/* Everything is read and checked before anything is changed. */
static ammpl_status load(ammpl_trainer *t, const ammpli_st *st, float *host)
{
    ammpl_prompt *p = t->prompt;
    int64_t integer[COUNTERS] = {0};
    double real[COUNTERS] = {0};
    TRY(check_run(t, st));
    TRY(read_counters(t, st, integer, real));
    float *at = host;
    for (size_t i = 0; i < p->tensors; at += p->tensor[i++].count)
        TRY(read_like(st, p->tensor[i].name, &p->tensor[i], at));
    for (int k = 0; k < 2 && t->optimizer->moment[k]; k++)
        for (size_t i = 0; i < p->tensors; at += p->tensor[i++].count) {
            char name[80];
            snprintf(name, sizeof name, "%s%s", moment_name[k], p->tensor[i].name);
            if (p->tensor[i].trainable)
                TRY(read_like(st, name, &p->tensor[i], at));
        }
    at = host;
    for (size_t i = 0; i < p->tensors; at += p->tensor[i++].count)
        TRY(ammpli_prompt_write(p, i, at));
    for (int k = 0; k < 2 && t->optimizer->moment[k]; k++)
        for (size_t i = 0; i < p->tensors; at += p->tensor[i++].count)
            if (p->tensor[i].trainable)
                TRY(p->ops->upload(p->stream, t->optimizer->moment[k][i], at, (size_t)p->tensor[i].count * sizeof *at));
    TRY(p->ops->sync(p->stream));
    counter c[COUNTERS];
    counters_of(t, c);
    for (int i = 0; i < COUNTERS; i++) {
        if (c[i].integer)
            *c[i].integer = integer[i];
        else
            *c[i].real = real[i];
    }
    ammpli_trainer_order(t);
    return AMMPL_OK;
}

ammpl_status ammpli_trainer_load(ammpl_trainer *t, const char *path)
{
    const ammpl_prompt *p = t->prompt;
    int64_t total = 0;
    for (size_t i = 0; i < p->tensors; i++)
        total += p->tensor[i].count;
    ammpli_st *st;
    TRY(ammpli_st_open(p->ctx, path, &st));
    float *host = ammpli_alloc(p->ctx, (size_t)(3 * total), sizeof *host);
    ammpl_status status = host ? load(t, st, host) : AMMPL_E_MEMORY;
    ammpli_free(p->ctx, host);
    ammpli_st_close(st);
    return status;
}
