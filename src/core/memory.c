/* memory.c - every byte of the library comes from the context's allocator and is counted here. */
#include "core/core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64 };

/* ---- the default allocator ---- */

/* From this size on a block is a mapping of its own.  AddressSanitizer watches blocks of the C library's only. */
#if defined(__SANITIZE_ADDRESS__)
static const size_t MAPPED = SIZE_MAX;
#else
static const size_t MAPPED = 1 << 20;
#endif
static const size_t HUGE_PAGE = 2 << 20;

static void *map(size_t size)
{
    size_t more = size + HUGE_PAGE, page = (size_t)sysconf(_SC_PAGESIZE);
    if (more < size)
        return NULL;
    char *start = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    /* From a huge page's border on; what lies before it and behind the block is given back. */
    size_t ahead = -(uintptr_t)start % HUGE_PAGE, pages = (size + page - 1) / page * page;
    if (ahead > 0)
        munmap(start, ahead);
    if (more - ahead > pages)
        munmap(start + ahead + pages, more - ahead - pages);
#ifdef MADV_HUGEPAGE
    madvise(start + ahead, size, MADV_HUGEPAGE); /* refused: then not */
#endif
    return start + ahead;
}

void *ammpli_default_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    if (size >= MAPPED)
        return map(size);
    return posix_memalign(&p, align, size) == 0 ? p : NULL;
}

void ammpli_default_release(void *user, void *ptr, size_t size)
{
    (void)user;
    if (size >= MAPPED)
        munmap(ptr, size);
    else
        free(ptr);
}

static bool comes_cleared(const ammpl_context *ctx, size_t size)
{
    return size >= MAPPED && ctx->allocator.alloc == ammpli_default_alloc;
}

/* ---- counted blocks ---- */

/* Stands in the 64 bytes before each block, so that release can hand the size back to the allocator. */
typedef struct block_header {
    size_t total;
} block_header;

void ammpli_count_memory(ammpl_context *ctx, int64_t bytes)
{
    unsigned long long change = (unsigned long long)bytes, now = atomic_fetch_add(&ctx->memory_now, change) + change;
    unsigned long long peak = atomic_load(&ctx->memory_peak);
    while (now > peak && !atomic_compare_exchange_weak(&ctx->memory_peak, &peak, now)) {
    }
}

size_t ammpli_block_bytes(size_t bytes)
{
    return (bytes + 2 * ALIGN - 1) / ALIGN * ALIGN;
}

void *ammpli_alloc(ammpl_context *ctx, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 2 * ALIGN) {
        ammpli_fail(AMMPL_E_MEMORY, "out of memory: %zu x %zu bytes were asked for, more than can be addressed", count, size);
        return NULL;
    }
    size_t total = ammpli_block_bytes(bytes);
    char *block = ctx->allocator.alloc(ctx->allocator.user, total, ALIGN);
    if (!block) {
        ammpli_fail(AMMPL_E_MEMORY,
                    "out of memory: %zu bytes could not be had; use a smaller batch, fewer classes or a memory_limit", bytes);
        return NULL;
    }
    if (!comes_cleared(ctx, total))
        memset(block, 0, total);
    ((block_header *)(void *)block)->total = total;
    ammpli_count_memory(ctx, (int64_t)total);
    return block + ALIGN;
}

void ammpli_free(ammpl_context *ctx, void *p)
{
    if (!p)
        return;
    char *block = (char *)p - ALIGN;
    size_t total = ((block_header *)(void *)block)->total;
    ammpli_count_memory(ctx, -(int64_t)total);
    ctx->allocator.release(ctx->allocator.user, block, total);
}

char *ammpli_strdup(ammpl_context *ctx, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = ammpli_alloc(ctx, n, 1);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

void ammpli_append(char *text, size_t room, const char *more, size_t n)
{
    size_t used = strlen(text), left = room - used - 1;
    n = n < left ? n : left;
    memcpy(text + used, more, n);
    text[used + n] = '\0';
}

bool ammpli_grow(ammpl_context *ctx, void **array, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return true;
    size_t wanted = need > 2 * *cap ? need : 2 * *cap;
    if (wanted < 16)
        wanted = 16;
    void *bigger = ammpli_alloc(ctx, wanted, size);
    if (!bigger)
        return false;
    if (*array)
        memcpy(bigger, *array, *cap * size);
    ammpli_free(ctx, *array);
    *array = bigger;
    *cap = wanted;
    return true;
}
