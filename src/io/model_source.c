/* model_source.c - from a path to open safetensors files: a file, a folder, shards. */
#include "io/model_parts.h"

#include "io/json.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_SHARDS = 512, JSON_LIMIT = 64 << 20, LISTED = 8 };

static const char INDEX[] = "model.safetensors.index.json";

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* folder + file in a new block. */
static char *join(const ammpli_model_source *src, const char *file)
{
    size_t n = strlen(src->folder) + strlen(file) + 1;
    char *path = ammpli_alloc(src->ctx, n, 1);
    if (path)
        snprintf(path, n, "%s%s", src->folder, file);
    return path;
}

static bool exists(const ammpli_model_source *src, const char *file, ammpl_status *status)
{
    struct stat st;
    char *path = join(src, file);
    if (!path) {
        *status = AMMPL_E_MEMORY;
        return false;
    }
    bool there = stat(path, &st) == 0;
    ammpli_free(src->ctx, path);
    return there;
}

ammpl_status ammpli_model_source_read(const ammpli_model_source *src, const char *file, void **data, size_t *size)
{
    ammpl_status status = AMMPL_OK;
    *data = NULL;
    *size = 0;
    if (!src->folder || !exists(src, file, &status))
        return status;
    char *path = join(src, file);
    if (!path)
        return AMMPL_E_MEMORY;
    status = ammpli_file_read(src->ctx, path, JSON_LIMIT, data, size);
    ammpli_free(src->ctx, path);
    return status;
}

static ammpl_status open_one(ammpli_model_source *src, const char *file)
{
    char *path = join(src, file);
    if (!path)
        return AMMPL_E_MEMORY;
    ammpl_status status = ammpli_st_open(src->ctx, path, &src->st[src->n]);
    ammpli_free(src->ctx, path);
    src->n += status == AMMPL_OK;
    return status;
}

/* ---- shards ---- */

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every tensor that the index lists must be in the shard it names. */
static ammpl_status check_index(const ammpli_model_source *src, const json_t *map, const char *const *file)
{
    const char *tensor;
    json_t *shard;
    json_object_foreach((json_t *)map, tensor, shard)
    {
        const char *wanted = json_string_value(shard);
        const char **found = bsearch(&wanted, file, src->n, sizeof *file, compare_strings);
        if (!ammpli_st_find(src->st[found - (const char **)file], tensor))
            return ammpli_fail(AMMPL_E_FORMAT, "%s%s: says that tensor %.200s is in %.100s, but it is not", src->folder, INDEX,
                               tensor, wanted);
    }
    return AMMPL_OK;
}

static ammpl_status open_listed(ammpli_model_source *src, const json_t *map)
{
    const char *tensor, **file;
    json_t *shard;
    size_t n = 0, listed = json_object_size(map);
    ammpl_status status = AMMPL_OK;
    if (!json_is_object(map) || listed == 0)
        return ammpli_fail(AMMPL_E_FORMAT, "%s%s: has no weight_map", src->folder, INDEX);
    if (!(file = ammpli_alloc(src->ctx, listed, sizeof *file)))
        return AMMPL_E_MEMORY;
    json_object_foreach((json_t *)map, tensor, shard)
    {
        file[n] = json_string_value(shard);
        /* A shard lies beside its index: a path that leads elsewhere is not followed. */
        if (!file[n] || !ends_with(file[n], ".safetensors") || strchr(file[n], '/')) {
            status = ammpli_fail(AMMPL_E_FORMAT, "%s%s: the shard of tensor %.200s is not the name of a .safetensors file beside it",
                                 src->folder, INDEX, tensor);
            goto end;
        }
        n++;
    }
    qsort(file, n, sizeof *file, compare_strings);
    size_t unique = 1;
    for (size_t i = 1; i < n; i++)
        if (strcmp(file[i], file[unique - 1]) != 0)
            file[unique++] = file[i];
    if (unique > MAX_SHARDS) {
        status = ammpli_fail(AMMPL_E_FORMAT, "%s%s: names %zu shards, more than %d", src->folder, INDEX, unique, MAX_SHARDS);
        goto end;
    }
    if (!(src->st = ammpli_alloc(src->ctx, unique, sizeof *src->st))) {
        status = AMMPL_E_MEMORY;
        goto end;
    }
    for (size_t i = 0; i < unique && status == AMMPL_OK; i++)
        status = open_one(src, file[i]);
    if (status == AMMPL_OK)
        status = check_index(src, map, file);
end:
    ammpli_free(src->ctx, file);
    return status;
}

static ammpl_status open_shards(ammpli_model_source *src)
{
    void *text;
    size_t size;
    json_t *index;
    char name[300];
    TRY(ammpli_model_source_read(src, INDEX, &text, &size));
    snprintf(name, sizeof name, "%.260s%s", src->folder, INDEX);
    ammpl_status status = ammpli_json_parse(text, size, 8, name, "its text", &index);
    ammpli_free(src->ctx, text);
    TRY(status);
    status = open_listed(src, json_object_get(index, "weight_map"));
    json_decref(index);
    return status;
}

/* ---- folders ---- */

static int is_safetensors(const struct dirent *entry)
{
    return ends_with(entry->d_name, ".safetensors");
}

/* The only .safetensors file, or a sentence that lists what there is. */
static ammpl_status open_only(ammpli_model_source *src)
{
    struct dirent **list;
    ammpl_status status;
    int n = scandir(src->folder, &list, is_safetensors, alphasort);
    if (n < 0)
        return ammpli_fail(AMMPL_E_IO, "%s: cannot be listed: %s", src->folder, strerror(errno));
    if (n == 1) {
        status = open_one(src, list[0]->d_name);
    } else if (n == 0) {
        status = ammpli_fail(AMMPL_E_IO, "%s: has no .safetensors file; examples/python/to_safetensors.py makes one from .pt or .bin",
                             src->folder);
    } else {
        char names[400] = "";
        size_t at = 0;
        for (int i = 0; i < n && i < LISTED && at < sizeof names - 1; i++)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%.40s", i ? ", " : "", list[i]->d_name);
        status = ammpli_fail(AMMPL_E_IO, "%s: has %d .safetensors files (%s%s) and none is called model.safetensors; name one",
                             src->folder, n, names, n > LISTED ? ", ..." : "");
    }
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    return status;
}

static ammpl_status open_folder(ammpli_model_source *src)
{
    static const char *const known[] = {"model.safetensors", "open_clip_model.safetensors"};
    ammpl_status status = AMMPL_OK;
    bool sharded = false;
    const char *file = NULL;
    for (size_t i = 0; i < 2 && !file && status == AMMPL_OK; i++)
        if (exists(src, known[i], &status))
            file = known[i];
    if (!file && status == AMMPL_OK)
        sharded = exists(src, INDEX, &status);
    TRY(status);
    if (sharded)
        return open_shards(src);
    if (!(src->st = ammpli_alloc(src->ctx, 1, sizeof *src->st)))
        return AMMPL_E_MEMORY;
    return file ? open_one(src, file) : open_only(src);
}

ammpl_status ammpli_model_source_open(ammpl_context *ctx, const char *path, ammpli_model_source *src)
{
    struct stat st;
    *src = (ammpli_model_source){.ctx = ctx, .name = path};
    if (stat(path, &st) != 0)
        return ammpli_fail(AMMPL_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    const char *slash = strrchr(path, '/');
    bool is_folder = S_ISDIR(st.st_mode);
    size_t n = is_folder ? strlen(path) : slash ? (size_t)(slash - path) + 1 : 0;
    if (!(src->folder = ammpli_alloc(ctx, n + 2, 1)))
        return AMMPL_E_MEMORY;
    memcpy(src->folder, path, n);
    if (is_folder && n > 0 && path[n - 1] != '/')
        src->folder[n] = '/';
    ammpl_status status = AMMPL_OK;
    if (is_folder)
        status = open_folder(src);
    else if (strcmp(path + n, INDEX) == 0)
        status = open_shards(src);
    else if (!(src->st = ammpli_alloc(ctx, 1, sizeof *src->st)))
        status = AMMPL_E_MEMORY;
    else
        status = open_one(src, path + n);
    if (status < 0)
        ammpli_model_source_close(src);
    return status;
}

void ammpli_model_source_close(ammpli_model_source *src)
{
    for (size_t i = 0; i < src->n; i++)
        ammpli_st_close(src->st[i]);
    ammpli_free(src->ctx, src->st);
    ammpli_free(src->ctx, src->folder);
    *src = (ammpli_model_source){.ctx = src->ctx};
}
