/* api_context.c - contexts and the devices they offer. */
#include "shell.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

ammpl_status ammpl_context_create(const ammpl_allocator *alloc, ammpl_context **out)
{
    ENTER();
    CLEAR(out);
    NEED(NULL, out);
    ammpl_allocator known;
    if (alloc) {
        PASS(NULL, ammpli_struct_in("ammpl_allocator", &known, sizeof known, alloc));
        CHECK(NULL, known.flags == 0, AMMPL_E_VERSION, "ammpl_allocator.flags is %u: this library knows none, set it to 0",
              known.flags);
        CHECK(NULL, known.alloc && known.release, AMMPL_E_ARGUMENT, "ammpl_allocator: set both alloc and release");
    }
    return ammpli_leave(NULL, ammpli_context_create(alloc ? &known : NULL, out));
}

void ammpl_context_destroy(ammpl_context *ctx)
{
    ammpli_context_release(ctx);
}

ammpl_status ammpl_context_set_log(ammpl_context *ctx, ammpl_level min, ammpl_log_fn fn, void *user)
{
    ENTER();
    NEED(NULL, ctx);
    ctx->log_min = min;
    ctx->log_user = user;
    ctx->log_fn = fn;
    return AMMPL_OK;
}

ammpl_status ammpl_context_set_threads(ammpl_context *ctx, int32_t threads)
{
    ENTER();
    NEED(NULL, ctx);
    CHECK(ctx, threads >= 0 && threads <= 256, AMMPL_E_RANGE, "%d threads asked for: 1 to 256, or 0 for all processors",
          threads);
    return ammpli_leave(ctx, ammpli_context_set_threads(ctx, threads));
}

ammpl_status ammpl_context_memory(const ammpl_context *ctx, uint64_t *now, uint64_t *peak)
{
    ENTER();
    CLEAR(now);
    CLEAR(peak);
    NEED(NULL, ctx);
    if (now)
        *now = atomic_load(&ctx->memory_now);
    if (peak)
        *peak = atomic_load(&ctx->memory_peak);
    return AMMPL_OK;
}

/* ---- backends ---- */

uint32_t ammpl_backend_spi_version(void)
{
    return AMMPL_BACKEND_SPI_VERSION;
}

ammpl_status ammpl_context_load_backend(ammpl_context *ctx, const char *path)
{
    ENTER();
    NEED(NULL, ctx);
    NEED(ctx, path);
    return ammpli_leave(ctx, ammpli_backend_load(ctx, path));
}

ammpl_status ammpl_context_scan_backends(ammpl_context *ctx, const char *folder)
{
    ENTER();
    NEED(NULL, ctx);
    return ammpli_leave(ctx, ammpli_backend_scan(ctx, folder));
}

/* The CPU's is number 0, plug-ins follow. */
size_t ammpl_backend_count(const ammpl_context *ctx)
{
    return ctx ? 1 + ctx->candidates : 0;
}

ammpl_status ammpl_backend_report(const ammpl_context *ctx, size_t i, const char **name, const char **why)
{
    ENTER();
    CLEAR(name);
    CLEAR(why);
    NEED(NULL, ctx);
    CHECK(ctx, i < ammpl_backend_count(ctx), AMMPL_E_RANGE, "there is no backend number %zu: %zu were looked at", i,
          ammpl_backend_count(ctx));
    const ammpli_candidate *c = i ? &ctx->candidate[i - 1] : NULL;
    if (name)
        *name = c ? c->path : ctx->device[0].backend->name;
    if (why)
        *why = c && c->why ? c->why : "";
    return AMMPL_OK;
}

/* ---- devices ---- */

size_t ammpl_device_count(const ammpl_context *ctx)
{
    return ctx ? ctx->devices : 0;
}

const ammpl_device *ammpl_device_at(const ammpl_context *ctx, size_t i)
{
    return ctx && i < ctx->devices ? &ctx->device[i] : NULL;
}

__attribute__((format(printf, 3, 4))) static void append(char *text, size_t cap, const char *format, ...)
{
    size_t n = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + n, cap - n, format, args);
    va_end(args);
}

const ammpl_device *ammpl_device_find(const ammpl_context *ctx, const char *name)
{
    ENTER();
    if (!ctx || !name) {
        ammpli_leave(ctx, ammpli_fail(AMMPL_E_ARGUMENT, "%s: %s is NULL", __func__, ctx ? "name" : "ctx"));
        return NULL;
    }
    for (size_t i = 0; i < ctx->devices; i++)
        if (strcmp(ctx->device[i].name, name) == 0 || strcmp(ctx->device[i].backend->name, name) == 0)
            return &ctx->device[i];
    char there[1024] = "";
    for (size_t i = 0; i < ctx->devices; i++)
        append(there, sizeof there, "%s%s", i ? ", " : "", ctx->device[i].name);
    for (size_t i = 0; i < ctx->candidates; i++)
        if (ctx->candidate[i].why)
            append(there, sizeof there, "; %s: %s", ctx->candidate[i].path, ctx->candidate[i].why);
    ammpli_leave(ctx, ammpli_fail(AMMPL_E_ARGUMENT, "there is no device \"%s\" here; there is: %s", name, there));
    return NULL;
}

ammpl_status ammpl_device_memory(const ammpl_device *dev, uint64_t *available, uint64_t *total)
{
    ENTER();
    CLEAR(available);
    CLEAR(total);
    NEED(NULL, dev);
    uint64_t now, all;
    PASS(NULL, dev->backend->memory(&dev->context->host, dev->index, &now, &all));
    if (available)
        *available = now;
    if (total)
        *total = all;
    return AMMPL_OK;
}

const char *ammpl_device_name(const ammpl_device *dev)
{
    return dev ? dev->name : NULL;
}

const char *ammpl_device_description(const ammpl_device *dev)
{
    return dev ? dev->description : NULL;
}
