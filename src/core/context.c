/* context.c - allocator, log, thread pool and devices, shared by everything made from one context. */
#include "core/core.h"
#include "cpu/cpu.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- the host table: what a backend may ask of the library ---- */

static void *host_alloc(void *user, size_t size)
{
    return ammpli_alloc(user, 1, size);
}

static void host_release(void *user, void *ptr)
{
    ammpli_free(user, ptr);
}

static int32_t host_fail(int32_t status, const char *message)
{
    return ammpli_fail(status, "%s", message);
}

static int32_t host_threads(void *user)
{
    return ammpli_pool_threads(((ammpl_context *)user)->pool);
}

static void host_parallel(void *user, int64_t n, ammpli_task_fn fn, void *arg)
{
    ammpli_parallel(((ammpl_context *)user)->pool, n, fn, arg);
}

static void host_count(void *user, int64_t bytes)
{
    ammpli_count_memory(user, bytes);
}

ammpl_status ammpli_context_create(const ammpl_allocator *alloc, ammpl_context **out)
{
    *out = NULL;
    ammpl_allocator a = {.struct_size = sizeof a, .alloc = ammpli_default_alloc, .release = ammpli_default_release};
    if (alloc) {
        if (alloc->struct_size < sizeof a || !alloc->alloc || !alloc->release)
            return ammpli_fail(AMMPL_E_ARGUMENT, "allocator: set struct_size, alloc and release");
        a = *alloc;
    }
    ammpl_context *ctx = a.alloc(a.user, sizeof *ctx, 64);
    if (!ctx)
        return ammpli_fail(AMMPL_E_MEMORY, "out of memory: no room for a context");
    memset(ctx, 0, sizeof *ctx);
    ctx->ref.count = 1;
    ctx->allocator = a;
    ctx->log_min = AMMPL_LEVEL_WARN;
    ctx->next_id = 1;
    ctx->host = (ammpl_host){.struct_size = sizeof ctx->host,
                             .user = ctx,
                             .alloc = host_alloc,
                             .release = host_release,
                             .fail = host_fail,
                             .threads = host_threads,
                             .parallel = host_parallel,
                             .count = host_count};
    ammpl_status status = ammpli_pool_create(ctx, 0, &ctx->pool);
    if (status < 0) {
        a.release(a.user, ctx, sizeof *ctx);
        return status;
    }
    ammpl_device *cpu = &ctx->device[ctx->devices++];
    cpu->backend = &ammpli_cpu_backend;
    cpu->context = ctx;
    ammpli_append(cpu->name, sizeof cpu->name, ammpli_cpu_backend.name, strlen(ammpli_cpu_backend.name));
    ammpli_cpu_backend.describe(&ctx->host, 0, cpu->description, sizeof cpu->description);
    *out = ctx;
    return AMMPL_OK;
}

ammpl_context *ammpli_context_hold(ammpl_context *ctx)
{
    atomic_fetch_add(&ctx->ref.count, 1);
    return ctx;
}

void ammpli_context_release(ammpl_context *ctx)
{
    if (!ctx || atomic_fetch_sub(&ctx->ref.count, 1) > 1)
        return;
    ammpli_pool_destroy(ctx->pool);
    ammpli_backend_forget(ctx);
    ammpl_allocator a = ctx->allocator;
    a.release(a.user, ctx, sizeof *ctx);
}

ammpl_status ammpli_context_set_threads(ammpl_context *ctx, int threads)
{
    ammpli_pool *pool;
    TRY(ammpli_pool_create(ctx, threads, &pool));
    ammpli_pool_destroy(ctx->pool);
    ctx->pool = pool;
    ctx->device[0].backend->describe(&ctx->host, 0, ctx->device[0].description, sizeof ctx->device[0].description);
    return AMMPL_OK;
}

void ammpli_log(ammpl_context *ctx, ammpl_level level, const char *fmt, ...)
{
    if (!ctx->log_fn || level < ctx->log_min)
        return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ctx->log_fn(ctx->log_user, level, line);
}
