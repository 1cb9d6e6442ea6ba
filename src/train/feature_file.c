/* feature_file.c - see feature_file.h. */
#include "train/feature_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* So many entries that the header stays below the format's 100 MB. */
enum { MAX_ENTRIES = 500000 };
static const char *const identity_name[AMMPLI_IDENTITY] = {"probe", "image_size", "mean", "std", "witness"};

/* ---- identity ---- */

/* The feature of a picture that is the same everywhere, as this session computes it. */
static ammpl_status find_witness(ammpl_session *s, char text[AMMPLI_DIGEST_TEXT])
{
    const ammpl_model *m = s->model;
    size_t n = (size_t)3 * (size_t)m->preprocess.size * (size_t)m->preprocess.size;
    float *pixels = ammpli_alloc(m->ctx, n, sizeof *pixels);
    float *feature = ammpli_alloc(m->ctx, (size_t)m->embed, sizeof *feature);
    ammpl_status status = pixels && feature ? AMMPL_OK : AMMPL_E_MEMORY;
    for (size_t i = 0; status >= 0 && i < n; i++)
        pixels[i] = (float)((uint32_t)i * 2654435761u >> 24) / 64.0f - 2.0f; /* as spread as real ones are */
    if (status >= 0)
        status = ammpli_session_encode_images(s, NULL, pixels, 1, feature);
    if (status >= 0) {
        ammpli_digesting d;
        ammpli_digest_begin(&d);
        ammpli_digest_add(&d, feature, (size_t)m->embed * sizeof *feature);
        ammpli_digest witness = ammpli_digest_end(&d);
        ammpli_digest_text(&witness, text);
    }
    ammpli_free(m->ctx, pixels);
    ammpli_free(m->ctx, feature);
    return status;
}

static void print_floats(char *text, size_t cap, const float *x, int n)
{
    char number[AMMPLI_NUMBER_CAP];
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        ammpli_print_float(number, x[i]);
        used += (size_t)snprintf(text + used, cap - used, "%s%s", i ? " " : "", number);
    }
}

static ammpl_status find_identity(ammpl_session *s, const char *folder, ammpli_feature_file *f)
{
    const ammpl_model *m = s->model;
    size_t cap = sizeof f->identity[0], path_size = strlen(folder) + 64;
    print_floats(f->identity[0], cap, m->probe, 16);
    snprintf(f->identity[1], cap, m->preprocess.least ? "%d jpeg=reduced" : "%d", (int)m->preprocess.size);
    print_floats(f->identity[2], cap, m->preprocess.mean, 3);
    print_floats(f->identity[3], cap, m->preprocess.std, 3);
    TRY(find_witness(s, f->identity[4]));
    ammpli_digesting d;
    ammpli_digest_begin(&d);
    for (int i = 0; i < AMMPLI_IDENTITY; i++)
        ammpli_digest_add(&d, f->identity[i], strlen(f->identity[i]) + 1);
    ammpli_digest whole = ammpli_digest_end(&d);
    char key[AMMPLI_DIGEST_TEXT];
    ammpli_digest_text(&whole, key);
    f->path = ammpli_alloc(f->ctx, path_size, 1);
    if (!f->path)
        return AMMPL_E_MEMORY;
    snprintf(f->path, path_size, "%s/features-%.16s.safetensors", folder, key);
    return AMMPL_OK;
}

ammpl_status ammpli_feature_file_create(ammpl_session *s, const char *folder, ammpli_feature_file **out)
{
    *out = NULL;
    struct stat st;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) /* 0777: the umask decides, as for any folder */
        return ammpli_fail(AMMPL_E_IO, "%s: this folder cannot be made: %s", folder, strerror(errno));
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        return ammpli_fail(AMMPL_E_IO, "%s: is not a folder", folder);
    ammpli_feature_file *f = ammpli_alloc(s->model->ctx, 1, sizeof *f);
    if (!f)
        return AMMPL_E_MEMORY;
    f->ctx = s->model->ctx;
    f->embed = s->model->embed;
    ammpl_status status = find_identity(s, folder, f);
    if (status < 0)
        ammpli_feature_file_destroy(f);
    else
        *out = f;
    return status;
}

void ammpli_feature_file_destroy(ammpli_feature_file *f)
{
    if (!f)
        return;
    ammpli_free(f->ctx, f->path);
    ammpli_free(f->ctx, f);
}

/* ---- reading ---- */

static bool is_digest(const char *name)
{
    return strlen(name) == AMMPLI_DIGEST_TEXT - 1 && strspn(name, "0123456789abcdef") == AMMPLI_DIGEST_TEXT - 1;
}

static bool has_length_1(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return fabs(sum - 1) < 1e-3;
}

static ammpl_status check_meta(const ammpli_st *st, const char *name, const char *here)
{
    const char *there = ammpli_st_meta(st, name);
    if (there && strcmp(there, here) == 0)
        return AMMPL_OK;
    return ammpli_fail(AMMPL_E_FORMAT, "%s: not this model's features: its %s is \"%.60s\", expected \"%.60s\"", ammpli_st_name(st),
                       name, there ? there : "", here);
}

static void add_to_checksum(ammpli_digesting *sum, const char *name, const float *feature, int64_t E)
{
    ammpli_digest_add(sum, name, AMMPLI_DIGEST_TEXT - 1);
    ammpli_digest_add(sum, feature, (size_t)E * sizeof *feature);
}

/* row: room for [E]. */
static ammpl_status check_file(const ammpli_feature_file *f, const ammpli_st *st, float *row)
{
    TRY(check_meta(st, "format", "ammpl-features"));
    TRY(check_meta(st, "version", "1"));
    for (int i = 0; i < AMMPLI_IDENTITY; i++)
        TRY(check_meta(st, identity_name[i], f->identity[i]));
    ammpli_digesting sum;
    ammpli_digest_begin(&sum);
    for (size_t i = 0; i < ammpli_st_count(st); i++) {
        const ammpli_st_tensor *t = ammpli_st_at(st, i);
        if (!is_digest(t->name) || t->dtype != AMMPL_DTYPE_F32 || t->rank != 1 || t->shape[0] != f->embed)
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %.64s is not an image feature", ammpli_st_name(st), t->name);
        TRY(ammpli_st_read_f32(st, t, row));
        if (!has_length_1(row, f->embed))
            return ammpli_fail(AMMPL_E_FORMAT, "%s: tensor %.64s is not of length 1", ammpli_st_name(st), t->name);
        add_to_checksum(&sum, t->name, row, f->embed);
    }
    char text[AMMPLI_DIGEST_TEXT];
    ammpli_digest digest = ammpli_digest_end(&sum);
    ammpli_digest_text(&digest, text);
    return check_meta(st, "checksum", text);
}

ammpl_status ammpli_feature_file_open(const ammpli_feature_file *f, ammpli_st **out)
{
    *out = NULL;
    struct stat info;
    ammpli_st *st;
    if (stat(f->path, &info) != 0 && errno == ENOENT)
        return AMMPL_OK;
    TRY(ammpli_st_open(f->ctx, f->path, &st));
    float *row = ammpli_alloc(f->ctx, (size_t)f->embed, sizeof *row);
    ammpl_status status = row ? check_file(f, st, row) : AMMPL_E_MEMORY;
    ammpli_free(f->ctx, row);
    if (status < 0)
        ammpli_st_close(st);
    else
        *out = st;
    return status;
}

/* ---- writing ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const ammpli_feature_entry *)a)->name, ((const ammpli_feature_entry *)b)->name);
}

/* Sorts; of equal names (the same picture twice) one stays. */
static size_t without_doubles(ammpli_feature_entry *entry, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(entry, n, sizeof *entry, by_name);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(entry[i].name, entry[kept - 1].name) != 0)
            entry[kept++] = entry[i];
    return kept < MAX_ENTRIES ? kept : MAX_ENTRIES;
}

static ammpl_status write_sorted(const ammpli_feature_file *f, const ammpli_feature_entry *entry, size_t n)
{
    ammpli_digesting sum;
    char checksum[AMMPLI_DIGEST_TEXT];
    ammpli_digest_begin(&sum);
    for (size_t i = 0; i < n; i++)
        add_to_checksum(&sum, entry[i].name, entry[i].feature, f->embed);
    ammpli_digest digest = ammpli_digest_end(&sum);
    ammpli_digest_text(&digest, checksum);

    ammpli_st_writer *w;
    TRY(ammpli_st_writer_create(f->ctx, &w));
    ammpl_status status;
    TRY_GOTO(done, ammpli_st_writer_meta(w, "format", "ammpl-features"));
    TRY_GOTO(done, ammpli_st_writer_meta(w, "version", "1"));
    TRY_GOTO(done, ammpli_st_writer_meta(w, "checksum", checksum));
    for (int i = 0; i < AMMPLI_IDENTITY; i++)
        TRY_GOTO(done, ammpli_st_writer_meta(w, identity_name[i], f->identity[i]));
    for (size_t i = 0; i < n; i++)
        TRY_GOTO(done, ammpli_st_writer_add(w, entry[i].name, AMMPL_DTYPE_F32, 1, &f->embed, entry[i].feature));
    status = ammpli_st_writer_save(w, f->path, true);
done:
    ammpli_st_writer_destroy(w);
    return status;
}

ammpl_status ammpli_feature_file_write(const ammpli_feature_file *f, const ammpli_feature_entry *entry, size_t n)
{
    ammpli_st *st = NULL;
    if (ammpli_feature_file_open(f, &st) < 0)
        ammpli_clear_error(); /* whoever read it has heard of that; it is replaced now */
    size_t others = st ? ammpli_st_count(st) : 0, all = 0;
    ammpli_feature_entry *list = ammpli_alloc(f->ctx, n + others, sizeof *list);
    float *old = ammpli_alloc(f->ctx, others, (size_t)f->embed * sizeof *old);
    ammpl_status status = list && old ? AMMPL_OK : AMMPL_E_MEMORY;
    for (size_t i = 0; status >= 0 && i < n; i++)
        list[all++] = entry[i];
    for (size_t i = 0; status >= 0 && i < others; i++) {
        const ammpli_st_tensor *t = ammpli_st_at(st, i);
        ammpli_feature_entry *e = &list[all++];
        memcpy(e->name, t->name, sizeof e->name);
        e->feature = old + (int64_t)i * f->embed;
        status = ammpli_st_read_f32(st, t, old + (int64_t)i * f->embed);
    }
    if (status >= 0)
        status = write_sorted(f, list, without_doubles(list, all));
    ammpli_st_close(st);
    ammpli_free(f->ctx, old);
    ammpli_free(f->ctx, list);
    return status;
}
