/* feature_cache.c - see feature_cache.h. */
#include "train/feature_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/safetensors.h"
#include "train/train.h"

__extension__ typedef unsigned __int128 hash128;
enum { KEY = 33, ENCODE_AT_ONCE = 32 };
static const size_t PICTURE_LIMIT = (size_t)1 << 30;

struct ammpli_feature_cache {
    ammpl_context *ctx;
    const ammpl_model *model;
    const ammpl_dataset *data;
    float *feature; /* [count,E] */
    bool *have;     /* [count] */
    char (*key)[KEY]; /* [count] hash of the picture's content in hex; NULL without a folder */
    char *path;
    char model_key[KEY]; /* hash of probe and preprocessing: whose features these are */
    bool is_new;         /* something is not in the file yet */
};

/* ---- keys: FNV-1a, 128 bits ---- */

static hash128 hash_start(void)
{
    return (hash128)0x6c62272e07bb0142u << 64 | 0x62b821756295c58du;
}

static hash128 hash_bytes(hash128 h, const void *data, size_t n)
{
    const hash128 prime = (hash128)1 << 88 | 0x13bu;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * prime;
    return h;
}

static void hash_text(hash128 h, char key[KEY])
{
    snprintf(key, KEY, "%016llx%016llx", (unsigned long long)(h >> 64), (unsigned long long)h);
}

/* A picture's key: of its file's bytes, or of its size and pixels.  An unreadable file has none. */
static void picture_key(ammpl_context *ctx, const ammpli_item *item, char key[KEY])
{
    key[0] = '\0';
    if (item->image) {
        int32_t size[2] = {item->image->width, item->image->height};
        hash128 h = hash_bytes(hash_start(), size, sizeof size);
        hash_text(hash_bytes(h, item->image->pixels, (size_t)3 * (size_t)size[0] * (size_t)size[1]), key);
        return;
    }
    void *data;
    size_t n;
    if (ammpli_file_read(ctx, item->path, PICTURE_LIMIT, &data, &n) < 0) {
        ammpli_clear_error(); /* whoever needs the picture will say so */
        return;
    }
    hash_text(hash_bytes(hash_start(), data, n), key);
    ammpli_free(ctx, data);
}

static void find_model_key(ammpli_feature_cache *c)
{
    const ammpl_model *m = c->model;
    hash128 h = hash_bytes(hash_start(), m->probe, sizeof m->probe);
    h = hash_bytes(h, m->activation, strlen(m->activation));
    h = hash_bytes(h, &m->preprocess.size, sizeof m->preprocess.size);
    h = hash_bytes(h, m->preprocess.mean, sizeof m->preprocess.mean);
    hash_text(hash_bytes(h, m->preprocess.std, sizeof m->preprocess.std), c->model_key);
}

/* ---- the file ---- */

/* Opens the cache file if it is there and this model's; NULL otherwise, with a warning when it is damaged. */
static ammpli_st *open_file(const ammpli_feature_cache *c)
{
    struct stat info;
    ammpli_st *st = NULL;
    if (!c->path || stat(c->path, &info) != 0)
        return NULL;
    const char *format, *key;
    if (ammpli_st_open(c->ctx, c->path, &st) < 0) {
        ammpli_log(c->ctx, AMMPL_LEVEL_WARN, "cache ignored: %s", ammpli_error_text());
        ammpli_clear_error();
        return NULL;
    }
    format = ammpli_st_meta(st, "format");
    key = ammpli_st_meta(st, "model");
    if (format && strcmp(format, "ammpl-features") == 0 && key && strcmp(key, c->model_key) == 0)
        return st;
    ammpli_log(c->ctx, AMMPL_LEVEL_WARN, "cache ignored: %s holds another model's features", c->path);
    ammpli_st_close(st);
    return NULL;
}

/* A tensor's E floats, if that is what it holds. */
static bool read_feature(const ammpli_feature_cache *c, const ammpli_st *st, const ammpli_st_tensor *t, float *out)
{
    if (t->rank != 1 || t->count != c->model->embed || t->dtype != AMMPL_DTYPE_F32)
        return false;
    bool read = ammpli_st_read_f32(st, t, out) >= 0;
    if (!read)
        ammpli_clear_error();
    return read;
}

static void read_file(ammpli_feature_cache *c)
{
    ammpli_st *st = open_file(c);
    for (size_t i = 0; st && i < c->data->count; i++) {
        const ammpli_st_tensor *t = c->key[i][0] ? ammpli_st_find(st, c->key[i]) : NULL;
        c->have[i] = t && read_feature(c, st, t, c->feature + (int64_t)i * c->model->embed);
    }
    ammpli_st_close(st);
}

typedef struct entry {
    const char *key;
    const float *feature;
} entry;

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

/* Ours and what the file holds of other pictures, each once. */
static ammpl_status write_entries(const ammpli_feature_cache *c, entry *list, size_t n)
{
    ammpli_st_writer *w;
    TRY(ammpli_st_writer_create(c->ctx, &w));
    ammpl_status status;
    qsort(list, n, sizeof *list, by_key);
    TRY_GOTO(done, ammpli_st_writer_meta(w, "format", "ammpl-features"));
    TRY_GOTO(done, ammpli_st_writer_meta(w, "version", "1"));
    TRY_GOTO(done, ammpli_st_writer_meta(w, "model", c->model_key));
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(list[i].key, list[i - 1].key) != 0)
            TRY_GOTO(done, ammpli_st_writer_add(w, list[i].key, AMMPL_DTYPE_F32, 1, &c->model->embed, list[i].feature));
    status = ammpli_st_writer_save(w, c->path, true);
done:
    ammpli_st_writer_destroy(w);
    return status;
}

static ammpl_status save(ammpli_feature_cache *c)
{
    int64_t E = c->model->embed;
    ammpli_st *st = open_file(c);
    size_t others = st ? ammpli_st_count(st) : 0, n = 0;
    entry *list = ammpli_alloc(c->ctx, c->data->count + others, sizeof *list);
    float *old = ammpli_alloc(c->ctx, others, (size_t)E * sizeof *old);
    ammpl_status status = AMMPL_E_MEMORY;
    if (list && old) {
        for (size_t i = 0; i < c->data->count; i++)
            if (c->have[i] && c->key[i][0])
                list[n++] = (entry){c->key[i], c->feature + (int64_t)i * E};
        for (size_t i = 0; i < others; i++)
            if (read_feature(c, st, ammpli_st_at(st, i), old + (int64_t)i * E))
                list[n++] = (entry){ammpli_st_at(st, i)->name, old + (int64_t)i * E};
        status = write_entries(c, list, n);
    }
    ammpli_free(c->ctx, list);
    ammpli_free(c->ctx, old);
    ammpli_st_close(st);
    return status;
}

void ammpli_feature_cache_save(ammpli_feature_cache *c)
{
    if (!c->path || !c->is_new)
        return;
    c->is_new = false;
    if (save(c) < 0) {
        ammpli_log(c->ctx, AMMPL_LEVEL_WARN, "the cache was not written: %s", ammpli_error_text());
        ammpli_clear_error();
    }
}

/* ---- the cache ---- */

static ammpl_status open_folder(ammpli_feature_cache *c, const char *folder)
{
    size_t n = c->data->count, size = strlen(folder) + 64;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return ammpli_fail(AMMPL_E_IO, "cache: the folder %.300s cannot be made: %s", folder, strerror(errno));
    c->path = ammpli_alloc(c->ctx, size, 1);
    c->key = ammpli_alloc(c->ctx, n, sizeof *c->key);
    if (!c->path || !c->key)
        return AMMPL_E_MEMORY;
    find_model_key(c);
    snprintf(c->path, size, "%s/features-%.16s.safetensors", folder, c->model_key);
    for (size_t i = 0; i < n; i++)
        picture_key(c->ctx, &c->data->item[i], c->key[i]);
    read_file(c);
    return AMMPL_OK;
}

ammpl_status ammpli_feature_cache_create(const ammpl_model *m, const ammpl_dataset *ds, const char *folder,
                                         ammpli_feature_cache **out)
{
    *out = NULL;
    ammpli_feature_cache *c = ammpli_alloc(m->ctx, 1, sizeof *c);
    if (!c)
        return AMMPL_E_MEMORY;
    c->ctx = m->ctx;
    c->model = m;
    c->data = ds;
    c->feature = ammpli_alloc(c->ctx, ds->count, (size_t)m->embed * sizeof *c->feature);
    c->have = ammpli_alloc(c->ctx, ds->count, sizeof *c->have);
    ammpl_status status = c->feature && c->have ? AMMPL_OK : AMMPL_E_MEMORY;
    if (status >= 0 && folder[0])
        status = open_folder(c, folder);
    if (status < 0) {
        ammpli_feature_cache_destroy(c);
        return status;
    }
    *out = c;
    return AMMPL_OK;
}

void ammpli_feature_cache_destroy(ammpli_feature_cache *c)
{
    if (!c)
        return;
    ammpli_feature_cache_save(c);
    ammpl_context *ctx = c->ctx;
    ammpli_free(ctx, c->path);
    ammpli_free(ctx, c->key);
    ammpli_free(ctx, c->have);
    ammpli_free(ctx, c->feature);
    ammpli_free(ctx, c);
}

/* Encodes `n` items that are not there yet; those that cannot be read stay absent. */
static ammpl_status encode(ammpli_feature_cache *c, ammpl_session *s, const int32_t *item, int64_t n, bool skip_bad, float *pixels,
                           float *feature)
{
    bool bad[ENCODE_AT_ONCE] = {false};
    int64_t E = c->model->embed;
    TRY(ammpli_load_batch(c->model, c->data, item, n, false, 0, 0, skip_bad, bad, pixels));
    TRY(ammpli_session_encode_images(s, NULL, pixels, (size_t)n, feature));
    for (int64_t i = 0; i < n; i++) {
        memcpy(c->feature + item[i] * E, feature + i * E, (size_t)E * sizeof *feature);
        c->have[item[i]] = !bad[i];
        c->is_new |= !bad[i];
    }
    return AMMPL_OK;
}

ammpl_status ammpli_feature_cache_fetch(ammpli_feature_cache *c, ammpl_session *s, const int32_t *item, int64_t n, bool skip_bad,
                                        bool *bad, float *out)
{
    int64_t E = c->model->embed, R = c->model->preprocess.size;
    int32_t missing[ENCODE_AT_ONCE], waiting = 0;
    float *pixels = NULL, *feature = NULL;
    ammpl_status status = AMMPL_OK;
    for (int64_t i = 0; i < n; i++) {
        if (!c->have[item[i]])
            missing[waiting++] = item[i];
        if (waiting == 0 || (waiting < ENCODE_AT_ONCE && i + 1 < n))
            continue;
        if (!pixels) {
            pixels = ammpli_alloc(c->ctx, (size_t)(ENCODE_AT_ONCE * 3 * R * R), sizeof *pixels);
            feature = ammpli_alloc(c->ctx, (size_t)(ENCODE_AT_ONCE * E), sizeof *feature);
        }
        status = pixels && feature ? encode(c, s, missing, waiting, skip_bad, pixels, feature) : AMMPL_E_MEMORY;
        if (status < 0)
            goto done;
        waiting = 0;
    }
    for (int64_t i = 0; i < n; i++) {
        bad[i] = !c->have[item[i]];
        memcpy(out + i * E, c->feature + item[i] * E, (size_t)E * sizeof *out);
    }
done:
    ammpli_free(c->ctx, pixels);
    ammpli_free(c->ctx, feature);
    return status;
}
