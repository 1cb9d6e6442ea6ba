/* api_context.c - contexts and the devices they offer. */
#include "shell.h"

#include <string.h>

enum { DEVICES = sizeof((ammpl_context *)0)->device / sizeof(ammpl_device) };

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

size_t ammpl_device_count(const ammpl_context *ctx)
{
    return ctx ? DEVICES : 0;
}

const ammpl_device *ammpl_device_at(const ammpl_context *ctx, size_t i)
{
    return ctx && i < DEVICES ? &ctx->device[i] : NULL;
}

const ammpl_device *ammpl_device_find(const ammpl_context *ctx, const char *name)
{
    ENTER();
    if (!ctx || !name) {
        ammpli_leave(ctx, ammpli_fail(AMMPL_E_ARGUMENT, "%s: %s is NULL", __func__, ctx ? "name" : "ctx"));
        return NULL;
    }
    char names[256] = "";
    for (size_t i = 0; i < DEVICES; i++) {
        if (strcmp(ctx->device[i].name, name) == 0)
            return &ctx->device[i];
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, ctx->device[i].name, sizeof names - strlen(names) - 1);
    }
    ammpli_leave(ctx, ammpli_fail(AMMPL_E_ARGUMENT, "there is no device \"%s\" here; there is: %s", name, names));
    return NULL;
}

const char *ammpl_device_name(const ammpl_device *dev)
{
    return dev ? dev->name : NULL;
}

const char *ammpl_device_description(const ammpl_device *dev)
{
    return dev ? dev->description : NULL;
}
