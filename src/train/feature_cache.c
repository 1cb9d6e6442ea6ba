/* feature_cache.c - see feature_cache.h. */
#include "train/feature_cache.h"

#include "train/feature_file.h"
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct ammpli_feature_cache {
    ammpl_context *ctx;
    ammpl_session *session;
    const ammpl_dataset *data;
    int64_t embed;
    int64_t count;  /* pictures when the cache was made */
    float *feature; /* [count,E] */
    bool *have;     /* [count] */
    /* with a folder: */
    ammpli_feature_file *file;
    ammpli_digest *digest; /* [count], of what the feature was made from; valid where have */
    bool fresh;            /* there is something that was not in the file */
    bool written;
};

/* ---- the folder ---- */

/* What goes wrong around a file is a warning, and this thread's sentence stays that of the call itself. */
typedef struct sentence {
    char text[1024];
} sentence;

static sentence set_aside(void)
{
    sentence s;
    snprintf(s.text, sizeof s.text, "%s", ammpli_error_text());
    ammpli_clear_error();
    return s;
}

static void warn_and_restore(ammpl_context *ctx, ammpl_status status, const char *what, const sentence *before)
{
    if (status < 0)
        ammpli_log(ctx, AMMPL_LEVEL_WARN, "%s: %s", what, ammpli_error_text());
    ammpli_clear_error();
    if (before->text[0])
        ammpli_fail(AMMPL_OK, "%s", before->text);
}

typedef struct digest_job {
    const ammpl_dataset *data;
    ammpli_digest *digest;
    bool *readable;
} digest_job;

static void digest_one(void *arg, int64_t i, int worker)
{
    (void)worker;
    const digest_job *job = arg;
    ammpli_clear_error();
    job->readable[i] = ammpli_dataset_load_digest(job->data, (size_t)i, 0, &job->digest[i], NULL) >= 0;
    ammpli_clear_error(); /* whoever needs the picture will say so */
}

/* Takes from the file what it has of these pictures. */
static ammpl_status take_known(ammpli_feature_cache *c, const ammpli_st *st)
{
    int64_t count = c->count;
    digest_job job = {c->data, c->digest, c->have};
    ammpli_parallel(c->ctx->pool, count, digest_one, &job);
    ammpl_status status = AMMPL_OK;
    for (int64_t i = 0; i < count; i++) {
        char name[AMMPLI_DIGEST_TEXT];
        ammpli_digest_text(&c->digest[i], name);
        const ammpli_st_tensor *t = c->have[i] && status >= 0 ? ammpli_st_find(st, name) : NULL;
        c->have[i] = t != NULL;
        if (t)
            status = ammpli_st_read_f32(st, t, c->feature + i * c->embed);
    }
    if (status < 0)
        memset(c->have, 0, (size_t)count * sizeof *c->have);
    return status;
}

static void open_folder(ammpli_feature_cache *c, const char *folder)
{
    sentence before = set_aside();
    ammpli_st *st = NULL;
    ammpl_status status = ammpli_feature_file_create(c->session, folder, &c->file);
    warn_and_restore(c->ctx, status, "features are kept for this run only", &before);
    if (status < 0)
        return;
    status = ammpli_feature_file_open(c->file, &st);
    if (st)
        status = take_known(c, st);
    ammpli_st_close(st);
    warn_and_restore(c->ctx, status, "this file of features is not used", &before);
}

static ammpl_status write_all(const ammpli_feature_cache *c)
{
    size_t n = 0;
    ammpli_feature_entry *list = ammpli_alloc(c->ctx, (size_t)c->count, sizeof *list);
    if (!list)
        return AMMPL_E_MEMORY;
    for (int64_t i = 0; i < c->count; i++)
        if (c->have[i]) {
            ammpli_digest_text(&c->digest[i], list[n].name);
            list[n++].feature = c->feature + (int64_t)i * c->embed;
        }
    ammpl_status status = ammpli_feature_file_write(c->file, list, n);
    ammpli_free(c->ctx, list);
    return status;
}

static void save(ammpli_feature_cache *c)
{
    if (!c->file || !c->fresh)
        return;
    sentence before = set_aside();
    warn_and_restore(c->ctx, write_all(c), "features could not be kept", &before);
    c->fresh = false;
    c->written = true;
}

void ammpli_feature_cache_epoch_end(ammpli_feature_cache *c)
{
    if (!c->written)
        save(c);
}

/* ---- the cache ---- */

ammpl_status ammpli_feature_cache_create(ammpl_session *s, const ammpl_dataset *ds, const char *folder, ammpli_feature_cache **out)
{
    *out = NULL;
    ammpl_context *ctx = s->model->ctx;
    ammpli_feature_cache *c = ammpli_alloc(ctx, 1, sizeof *c);
    if (!c)
        return AMMPL_E_MEMORY;
    *c = (ammpli_feature_cache){.ctx = ctx, .session = s, .data = ds, .embed = s->model->embed};
    c->count = (int64_t)ds->count;
    c->feature = ammpli_alloc(ctx, ds->count, (size_t)c->embed * sizeof *c->feature);
    c->have = ammpli_alloc(ctx, ds->count, sizeof *c->have);
    c->digest = folder[0] ? ammpli_alloc(ctx, ds->count, sizeof *c->digest) : NULL;
    if (!c->feature || !c->have || (folder[0] && !c->digest)) {
        ammpli_feature_cache_destroy(c);
        return AMMPL_E_MEMORY;
    }
    if (folder[0])
        open_folder(c, folder);
    *out = c;
    return AMMPL_OK;
}

void ammpli_feature_cache_destroy(ammpli_feature_cache *c)
{
    if (!c)
        return;
    save(c);
    ammpl_context *ctx = c->ctx;
    ammpli_feature_file_destroy(c->file);
    ammpli_free(ctx, c->digest);
    ammpli_free(ctx, c->have);
    ammpli_free(ctx, c->feature);
    ammpli_free(ctx, c);
}

/* What encoding `n` pictures takes. */
typedef struct work {
    int32_t *item;
    bool *bad;
    float *pixels, *feature;
    ammpli_digest *digest; /* NULL without a file */
} work;

static ammpl_status encode(ammpli_feature_cache *c, work *w, int64_t n, bool skip_bad)
{
    int64_t E = c->embed;
    TRY(ammpli_load_batch(c->session->model, c->data, w->item, n, false, 0, 0, skip_bad, w->bad, w->digest, w->pixels));
    TRY(ammpli_session_encode_images(c->session, NULL, w->pixels, (size_t)n, w->feature));
    for (int64_t i = 0; i < n * E; i++)
        if (!isfinite(w->feature[i]))
            return ammpli_fail(AMMPL_E_NUMERIC, "the feature of image %u is not a finite number; its pixels hold NaN, or the model does",
                               (unsigned)c->data->item[w->item[i / E]].id);
    for (int64_t i = 0; i < n; i++) {
        int32_t item = w->item[i];
        if (w->bad[i])
            continue;
        memcpy(c->feature + item * E, w->feature + i * E, (size_t)E * sizeof *w->feature);
        if (w->digest)
            c->digest[item] = w->digest[i];
        c->have[item] = c->fresh = true;
    }
    return AMMPL_OK;
}

/* n of the items are not there yet. */
static ammpl_status encode_missing(ammpli_feature_cache *c, const int32_t *item, int64_t count, int64_t n, bool skip_bad)
{
    ammpl_context *ctx = c->ctx;
    size_t side = (size_t)c->session->model->preprocess.size;
    work w = {.item = ammpli_alloc(ctx, (size_t)n, sizeof *w.item),
              .bad = ammpli_alloc(ctx, (size_t)n, sizeof *w.bad),
              .pixels = ammpli_alloc(ctx, (size_t)n, 3 * side * side * sizeof *w.pixels),
              .feature = ammpli_alloc(ctx, (size_t)n, (size_t)c->embed * sizeof *w.feature),
              .digest = c->file ? ammpli_alloc(ctx, (size_t)n, sizeof *w.digest) : NULL};
    ammpl_status status = AMMPL_E_MEMORY;
    if (w.item && w.bad && w.pixels && w.feature && (w.digest || !c->file)) {
        int64_t at = 0;
        for (int64_t i = 0; i < count; i++)
            if (!c->have[item[i]])
                w.item[at++] = item[i];
        status = encode(c, &w, n, skip_bad);
    }
    ammpli_free(ctx, w.item);
    ammpli_free(ctx, w.bad);
    ammpli_free(ctx, w.pixels);
    ammpli_free(ctx, w.feature);
    ammpli_free(ctx, w.digest);
    return status;
}

ammpl_status ammpli_feature_cache_fetch(ammpli_feature_cache *c, const int32_t *item, int64_t n, bool skip_bad, bool *bad, float *out)
{
    int64_t missing = 0;
    for (int64_t i = 0; i < n; i++)
        missing += !c->have[item[i]];
    if (missing > 0)
        TRY(encode_missing(c, item, n, missing, skip_bad));
    for (int64_t i = 0; i < n; i++) {
        bad[i] = !c->have[item[i]];
        memcpy(out + i * c->embed, c->feature + item[i] * c->embed, (size_t)c->embed * sizeof *out);
    }
    return AMMPL_OK;
}
