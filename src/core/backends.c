/* backends.c - backends that come as plug-ins: where they are looked for, why one is not used, the devices they bring.
 *
 * A plug-in is opened once and never closed: its threads and callbacks may outlive whoever asked for it.  Each that was
 * looked at leaves a line in the context's list, so that "there is no such device" can say why.
 */
#include "core/core.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "libammpl-" /* files of a folder that are plug-ins: libammpl-NAME.so */
#define SUFFIX ".so"

/* ---- the list ---- */

static ammpl_status add_candidate(ammpl_context *ctx, const char *path, const char *why, const ammpl_backend *backend)
{
    if (!ammpli_grow(ctx, (void **)&ctx->candidate, &ctx->candidate_cap, ctx->candidates + 1, sizeof *ctx->candidate))
        return AMMPL_E_MEMORY;
    char *own_path = ammpli_strdup(ctx, path), *own_why = why ? ammpli_strdup(ctx, why) : NULL;
    if (!own_path || (why && !own_why)) {
        ammpli_free(ctx, own_path);
        return AMMPL_E_MEMORY;
    }
    ctx->candidate[ctx->candidates++] = (ammpli_candidate){own_path, own_why, backend};
    return AMMPL_OK;
}

/* Writes why a candidate is not used into the list, and returns the failure. */
static ammpl_status refuse(ammpl_context *ctx, const char *path, ammpl_status status)
{
    char why[512];
    snprintf(why, sizeof why, "%s", ammpli_error_text());
    for (size_t i = 0; i < ctx->candidates; i++)
        if (strcmp(ctx->candidate[i].path, path) == 0 && ctx->candidate[i].why && strcmp(ctx->candidate[i].why, why) == 0)
            return status; /* asked again, answered as before */
    TRY(add_candidate(ctx, path, why, NULL));
    ammpli_log(ctx, AMMPL_LEVEL_INFO, "backend %s: not used: %s", path, why);
    return status;
}

void ammpli_backend_forget(ammpl_context *ctx)
{
    for (size_t i = 0; i < ctx->candidates; i++) {
        ammpli_free(ctx, ctx->candidate[i].path);
        ammpli_free(ctx, ctx->candidate[i].why);
    }
    ammpli_free(ctx, ctx->candidate);
    ctx->candidate = NULL;
    ctx->candidates = ctx->candidate_cap = 0;
}

/* ---- one plug-in ---- */

/* Everything that later code takes for granted.  The first two members are the same in every version. */
static ammpl_status check_table(const ammpl_backend *b)
{
    if (!b)
        return ammpli_fail(AMMPL_E_BACKEND, "its entry gave no table");
    if (b->spi_version != AMMPL_BACKEND_SPI_VERSION)
        return ammpli_fail(AMMPL_E_VERSION, "it is made for version %u of the backend interface, this library has %d", b->spi_version,
                           AMMPL_BACKEND_SPI_VERSION);
    if (b->struct_size < sizeof *b || !b->ops || b->ops->struct_size != sizeof *b->ops)
        return ammpli_fail(AMMPL_E_VERSION, "its tables are not this library's: it was built with another ammpl_backend.h");
    if (!b->name || !b->device_count || !b->describe || !b->memory || !b->stream_create || !b->stream_destroy)
        return ammpli_fail(AMMPL_E_UNSUPPORTED, "its table has a hole where devices or streams are");
    for (size_t i = 0; i < AMMPL_OPS_COUNT; i++) {
        void (*op)(void);
        memcpy(&op, (const char *)b->ops + 2 * sizeof(uint32_t) + i * sizeof op, sizeof op);
        if (!op)
            return ammpli_fail(AMMPL_E_UNSUPPORTED, "op %zu of %zu is missing from its table", i + 1, AMMPL_OPS_COUNT);
    }
    return AMMPL_OK;
}

static ammpl_status open_plugin(ammpl_context *ctx, const char *path, const ammpl_backend **out, int32_t *devices)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        return ammpli_fail(AMMPL_E_BACKEND, "it cannot be loaded: %s", dlerror());
    ammpl_backend_entry_fn entry;
    void *symbol = dlsym(module, AMMPL_BACKEND_ENTRY);
    memcpy(&entry, &symbol, sizeof entry); /* POSIX's way from an object pointer to a function */
    if (!entry)
        return ammpli_fail(AMMPL_E_BACKEND, "it is no backend: it has no " AMMPL_BACKEND_ENTRY);
    ammpl_status status = entry(&ctx->host, out);
    if (status < 0)
        return ammpli_fail(status, "its entry failed without a sentence");
    TRY(check_table(*out));
    status = (*out)->device_count(&ctx->host, devices);
    if (status < 0 || *devices < 1)
        return ammpli_fail(status < 0 ? status : AMMPL_E_BACKEND, "it finds no device");
    return AMMPL_OK;
}

static ammpl_status add_devices(ammpl_context *ctx, const ammpl_backend *b, int32_t n)
{
    for (size_t i = 0; i < ctx->devices; i++)
        if (strcmp(ctx->device[i].backend->name, b->name) == 0)
            return ammpli_fail(AMMPL_E_BACKEND, "a backend named %s is in use already", b->name);
    for (int32_t i = 0; i < n && ctx->devices < AMMPLI_DEVICES_MAX; i++) {
        ammpl_device *d = &ctx->device[ctx->devices];
        int length = snprintf(d->name, sizeof d->name, "%s:%d", b->name, i);
        if (length < 0 || (size_t)length >= sizeof d->name)
            return ammpli_fail(AMMPL_E_BACKEND, "its name is longer than %zu bytes", sizeof d->name - 12);
        d->backend = b;
        d->index = i;
        d->context = ctx;
        b->describe(&ctx->host, i, d->description, sizeof d->description);
        ctx->devices++;
    }
    return AMMPL_OK;
}

ammpl_status ammpli_backend_load(ammpl_context *ctx, const char *path)
{
    char full[PATH_MAX]; /* also so that dlopen never searches: what was asked for, or nothing */
    if (!realpath(path, full))
        return ammpli_fail(AMMPL_E_IO, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < ctx->candidates; i++)
        if (ctx->candidate[i].backend && strcmp(ctx->candidate[i].path, full) == 0)
            return AMMPL_OK;
    const ammpl_backend *b = NULL;
    int32_t n = 0;
    ammpl_status status = open_plugin(ctx, full, &b, &n);
    size_t before = ctx->devices;
    if (status >= 0)
        status = add_devices(ctx, b, n);
    if (status >= 0)
        status = add_candidate(ctx, full, NULL, b);
    if (status >= 0) {
        ammpli_log(ctx, AMMPL_LEVEL_INFO, "backend %s: %s, %d device%s", full, b->name, n, n == 1 ? "" : "s");
        return AMMPL_OK;
    }
    ctx->devices = before;
    status = refuse(ctx, full, status);
    char why[512];
    snprintf(why, sizeof why, "%s", ammpli_error_text());
    ammpli_clear_error();
    return ammpli_fail(status, "%s: %s", full, why);
}

/* ---- a folder ---- */

static bool is_plugin(const char *name)
{
    size_t n = strlen(name), head = strlen(PREFIX), tail = strlen(SUFFIX);
    return n > head + tail && strncmp(name, PREFIX, head) == 0 && strcmp(name + n - tail, SUFFIX) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ammpl_status list_plugins(ammpl_context *ctx, const char *folder, DIR *dir, char ***path, size_t *n)
{
    size_t cap = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (!is_plugin(entry->d_name))
            continue;
        size_t size = strlen(folder) + strlen(entry->d_name) + 2;
        if (!ammpli_grow(ctx, (void **)path, &cap, *n + 1, sizeof **path) || !((*path)[*n] = ammpli_alloc(ctx, size, 1)))
            return AMMPL_E_MEMORY;
        snprintf((*path)[(*n)++], size, "%s/%s", folder, entry->d_name);
    }
    if (*n)
        qsort(*path, *n, sizeof **path, by_name); /* the file system's order is none */
    return AMMPL_OK;
}

ammpl_status ammpli_backend_scan(ammpl_context *ctx, const char *folder)
{
    if (!folder)
        folder = AMMPLI_BACKEND_FOLDER;
    DIR *dir = opendir(folder);
    if (!dir) {
        ammpli_fail(AMMPL_E_IO, "the folder cannot be read: %s", strerror(errno));
        ammpl_status status = refuse(ctx, folder, AMMPL_OK);
        ammpli_clear_error();
        return status;
    }
    char **path = NULL;
    size_t n = 0;
    ammpl_status status = list_plugins(ctx, folder, dir, &path, &n);
    closedir(dir);
    for (size_t i = 0; i < n && status >= 0; i++) {
        status = ammpli_backend_load(ctx, path[i]);
        if (status < 0 && status != AMMPL_E_MEMORY) {
            status = AMMPL_OK; /* its line in the list says why */
            ammpli_clear_error();
        }
    }
    for (size_t i = 0; i < n; i++)
        ammpli_free(ctx, path[i]);
    ammpli_free(ctx, path);
    return status;
}
