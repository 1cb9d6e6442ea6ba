/* memory.cc - device memory: one reserved range whose pages nobody may touch unless an operation runs.
 *
 * Addresses are never used twice, so that a pointer to what was freed stays wrong; between two allocations lies a gap that
 * belongs to nobody.  Fresh memory holds NaN.
 */
#include "emu.h"

#include <map>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#endif

namespace emu {

static const size_t RESERVED = size_t(1) << 38, ALIGN = 512, GAP = 512;
static char *heap;
static size_t top, used, alive, total = size_t(1) << 30;
static bool is_open;
static std::map<uintptr_t, allocation> allocations; /* by their end */
static std::map<uintptr_t, size_t> pinned;          /* by their end */
static allocation *last_found; /* of operation last_running: most accesses go where the one before went */
static uint32_t last_running;

void set_total(size_t bytes)
{
    total = bytes;
}

size_t bytes_free(void)
{
    return total - used;
}

size_t bytes_total(void)
{
    return total;
}

const char *heap_base(void)
{
    return heap;
}

bool in_heap(const void *p)
{
    const char *c = static_cast<const char *>(p);
    return heap && c >= heap && c < heap + RESERVED;
}

static struct sigaction before;

static void on_fault(int number, siginfo_t *info, void *context)
{
    if (in_heap(info->si_addr)) {
        static const char text[] = "cuda_emu: the host touches device memory: a pointer of the device is followed outside of kernels\n";
        if (write(2, text, sizeof text - 1) < 0)
            _exit(3);
        signal(SIGABRT, SIG_DFL);
        abort();
    }
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else
        sigaction(number, &before, NULL); /* and the access is repeated */
}

static void reserve(void)
{
    heap = static_cast<char *>(mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (heap == MAP_FAILED)
        fail("no room for the device's addresses");
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &ours, &before);
}

static size_t page(void)
{
    static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    return size;
}

static void protect(int how)
{
    size_t n = (top + page() - 1) / page() * page();
    if (n && mprotect(heap, n, how) != 0)
        fail("device memory cannot be protected");
}

void open_heap(void)
{
    if (is_open || !heap)
        return;
    protect(PROT_READ | PROT_WRITE);
    is_open = true;
}

void close_heap(void)
{
    if (!is_open)
        return;
    protect(PROT_NONE);
    is_open = false;
}

char *allocate(size_t bytes, uint32_t born)
{
    if (!heap)
        reserve();
    if (bytes > total - used || top + bytes + ALIGN + 2 * GAP > RESERVED)
        return NULL;
    char *base = heap + top + GAP;
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    close_heap(); /* so that the new pages are opened with the others */
    top += GAP + room + GAP;
    used += bytes;
    alive++;
    open_heap();
    UNPOISON(base, bytes);
    memset(base, 0xff, bytes);
    POISON(base - GAP, GAP);
    POISON(base + bytes, room - bytes + GAP);
    allocations[reinterpret_cast<uintptr_t>(base) + bytes] = allocation{base, bytes, born, {}, false};
    last_found = NULL;
    return base;
}

void recycle(void)
{
    if (!heap || alive > 0 || top < (size_t(1) << 24))
        return;
    close_heap();
    madvise(heap, (top + page() - 1) / page() * page(), MADV_DONTNEED);
    forget_words(heap, top);
    UNPOISON(heap, top);
    allocations.clear();
    last_found = NULL;
    top = 0;
}

void release(allocation *a)
{
    used -= a->bytes;
    alive--;
    a->dead = true;
    POISON(a->base, a->bytes);
    forget_words(a->base, a->bytes);
    uintptr_t from = (reinterpret_cast<uintptr_t>(a->base) + page() - 1) / page() * page(),
              to = (reinterpret_cast<uintptr_t>(a->base) + a->bytes) / page() * page();
    if (to > from)
        madvise(reinterpret_cast<void *>(from), to - from, MADV_DONTNEED);
    last_found = NULL;
}

allocation *find_allocation(const void *p, size_t bytes, const char *what)
{
    const char *c = static_cast<const char *>(p);
    uint32_t now = running ? running->id : 0;
    allocation *a = last_found;
    if (a && last_running == now && c >= a->base && c + bytes <= a->base + a->bytes)
        return a;
    auto i = allocations.upper_bound(reinterpret_cast<uintptr_t>(p)); /* the first that ends behind p */
    if (i == allocations.end() || c < i->second.base)
        fail("%s %s device memory out of bounds: %p is in no allocation", where().c_str(), what, p);
    a = &i->second;
    if (c + bytes > a->base + a->bytes)
        fail("%s %s device memory out of bounds: bytes %td to %td of an allocation of %zu", where().c_str(), what, c - a->base,
             c - a->base + static_cast<ptrdiff_t>(bytes), a->bytes);
    if (a->dead)
        fail("%s %s device memory that was freed", where().c_str(), what);
    if (running) {
        if (a->users.size() <= running->stream)
            a->users.resize(running->stream + 1, 0);
        a->users[running->stream] = running->id;
        if (!ordered(a->born, *running))
            fail("%s %s memory that another stream may not have allocated yet: a missing stream dependency", where().c_str(), what);
        last_found = a;
        last_running = now;
    }
    return a;
}

/* ---- pinned memory of the host, which the device sees too ---- */

void *allocate_pinned(size_t bytes)
{
    size_t n = (bytes + page() - 1) / page() * page();
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    memset(p, 0xff, bytes);
    pinned[reinterpret_cast<uintptr_t>(p) + bytes] = bytes;
    counts->pinned += bytes;
    return p;
}

void release_pinned(void *p)
{
    auto i = pinned.upper_bound(reinterpret_cast<uintptr_t>(p));
    if (i == pinned.end() || i->first - i->second != reinterpret_cast<uintptr_t>(p))
        fail("cudaFreeHost of what cudaHostAlloc did not give");
    munmap(p, (i->second + page() - 1) / page() * page());
    counts->pinned -= i->second;
    pinned.erase(i);
}

bool in_pinned(const void *p, size_t bytes)
{
    uintptr_t at = reinterpret_cast<uintptr_t>(p);
    auto i = pinned.upper_bound(at);
    return i != pinned.end() && at >= i->first - i->second && at + bytes <= i->first;
}

} // namespace emu
