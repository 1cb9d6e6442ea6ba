/* block.cc - one launch: its blocks one after another, the threads of a block interleaved.
 *
 * A thread runs until it waits (at a barrier, in a warp's meeting) or until the seed takes the processor away from it in the
 * middle of its accesses.  Who goes next is up to the seed: ascending, descending, warps or threads in random order, so that
 * a missing barrier meets an order in which it is wrong even without the records of hooks.cc.
 */
#include "emu.h"

#include <algorithm>

#include <map>
#include <sys/mman.h>

namespace emu {

enum { THREADS = 1024, WARP = 32, SHARED_STATIC = 48 * 1024, SHARED_MOST = 64 * 1024 /* sm_75, the smallest */ };
enum state { READY, BARRIER, MEETING, DONE };

struct thread {
    fibre *f;
    enum state state;
    dim3 index;
    uint32_t barriers, meetings;
    const char *file; /* where it waits */
    int line, predicate, kind, which;
    uint32_t mask, value, result;
};

__thread thread_now now;
static thread threads[THREADS];
static int number, current; /* threads of the block; the one that runs */
static const emu_kernel *kernel;
static dim3 block_index;
static uint32_t block_number;
static int together; /* the result of the last barrier */

/* Shared memory of the block: dynamic first, then what kernels declare. */
static char *shared;
struct declaration {
    const void *key;
    size_t at, bytes;
};
static std::vector<declaration> declarations;

static std::map<const void *, int> most_dynamic; /* cudaFuncAttributeMaxDynamicSharedMemorySize */

static void thread_main(void *arg)
{
    thread *t = static_cast<thread *>(arg);
    kernel->call(kernel->parameters);
    t->state = DONE;
    fibre_leave();
}

std::string where(void)
{
    if (!running)
        return "the host";
    if (!now.in_kernel)
        return running->name;
    const thread &t = threads[current];
    char text[256];
    snprintf(text, sizeof text, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", kernel->name, block_index.x, block_index.y,
             block_index.z, t.index.x, t.index.y, t.index.z);
    return text;
}

static void wait_as(enum state s)
{
    threads[current].state = s;
    fibre_leave();
}

void switch_thread(void)
{
    now.countdown = 1 + static_cast<int64_t>(draw() % 2000);
    wait_as(READY);
}

/* ---- barriers and warps ---- */

extern "C" int cuda_emu_barrier(const char *file, int line, int predicate)
{
    thread &t = threads[current];
    t.file = file;
    t.line = line;
    t.predicate = predicate;
    wait_as(BARRIER);
    return together;
}

static void release_barrier(void)
{
    together = 0;
    for (int i = 0; i < number; i++) {
        if (threads[i].file != threads[0].file || threads[i].line != threads[0].line)
            fail("kernel %s, block %u: divergent barrier: thread 0 waits at line %d, thread %d at line %d", kernel->name,
                 block_number, threads[0].line, i, threads[i].line);
        together += threads[i].predicate != 0;
    }
    for (int i = 0; i < number; i++) {
        threads[i].state = READY;
        threads[i].barriers++;
    }
}

/* When the last lane of the mask has come, every one gets its result. */
static void try_meeting(int lane0, uint32_t mask)
{
    thread *w = threads + lane0;
    uint32_t votes = 0;
    const thread *first = NULL;
    for (int i = 0; i < WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        if (lane0 + i >= number)
            fail("%s: a mask of %08x names lane %d, which this block does not have", where().c_str(), mask, i);
        const thread &t = w[i];
        if (t.state != MEETING || t.mask != mask)
            return;
        if (!first)
            first = &t;
        if (t.file != first->file || t.line != first->line)
            fail("%s: lanes of one warp meet at lines %d and %d", where().c_str(), first->line, t.line);
        votes |= (t.value != 0 ? 1u : 0u) << i;
    }
    for (int i = 0; i < WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        thread &t = w[i];
        int from = t.kind == 0 ? t.which & (WARP - 1) : i ^ t.which;
        if (t.kind < 2 && (from >= WARP || !(mask >> from & 1)))
            fail("kernel %s, block %u: lane %d reads lane %d, which is not in the mask %08x (line %d)", kernel->name, block_number, i,
                 from, mask, t.line);
        t.result = t.kind == 2 ? votes : t.kind == 3 ? 0 : w[from].value;
        t.meetings++;
    }
    now.at.meetings = threads[current].meetings;
    for (int i = 0; i < WARP; i++)
        if (mask >> i & 1)
            w[i].state = READY;
}

extern "C" uint32_t cuda_emu_warp(const char *file, int line, int kind, uint32_t mask, uint32_t value, int which)
{
    int me = current, lane = me % WARP;
    thread &t = threads[me];
    if (!(mask >> lane & 1))
        fail("%s: lane %d is not in its own mask %08x (line %d)", where().c_str(), lane, mask, line);
    t.file = file;
    t.line = line;
    t.kind = kind;
    t.mask = mask;
    t.value = value;
    t.which = which;
    t.state = MEETING;
    try_meeting(me - lane, mask);
    if (t.state == MEETING)
        wait_as(MEETING);
    return t.result;
}

/* ---- shared memory ---- */

extern "C" void *cuda_emu_shared(const void *key, size_t bytes)
{
    for (const declaration &d : declarations)
        if (d.key == key)
            return shared + d.at;
    size_t at = (now.shared_bytes + 15) / 16 * 16, size = 0;
    for (const declaration &d : declarations)
        size += d.bytes;
    if (size + bytes > SHARED_STATIC)
        fail("kernel %s declares more than %d bytes of shared memory", kernel->name, SHARED_STATIC);
    declarations.push_back(declaration{key, at, bytes});
    now.shared_bytes = at + bytes;
    if (now.shared_bytes > SHARED_MOST)
        fail("kernel %s: %zu bytes of shared memory, a block has %d", kernel->name, now.shared_bytes, SHARED_MOST);
    return shared + at;
}

extern "C" void *cuda_emu_dynamic_shared(void)
{
    return shared;
}

extern "C" cudaError_t cuda_emu_max_shared(const void *function, int bytes)
{
    if (bytes < 0 || bytes > SHARED_MOST)
        return cudaErrorInvalidValue;
    most_dynamic[function] = bytes;
    return cudaSuccess;
}

/* ---- what kernels ask ---- */

extern "C" dim3 cuda_emu_thread(void)
{
    return threads[current].index;
}

extern "C" dim3 cuda_emu_block(void)
{
    return block_index;
}

extern "C" dim3 cuda_emu_block_size(void)
{
    return kernel->block;
}

extern "C" dim3 cuda_emu_grid_size(void)
{
    return kernel->grid;
}

extern "C" int cuda_emu_atomic(int *p, int kind, int value)
{
    atomic_access(p);
    int before = *p;
    *p = kind == 0 ? std::max(before, value) : before | value;
    return before;
}

/* ---- the launch ---- */

cudaError_t check_launch(const emu_kernel &k)
{
    uint64_t size = static_cast<uint64_t>(k.block.x) * k.block.y * k.block.z;
    if (size < 1 || size > THREADS || k.block.z > 64 || k.grid.x < 1 || k.grid.y < 1 || k.grid.z < 1 || k.grid.x > INT32_MAX ||
        k.grid.y > 65535 || k.grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    auto most = most_dynamic.find(k.function);
    size_t allowed = most == most_dynamic.end() ? size_t(SHARED_STATIC) : static_cast<size_t>(most->second);
    return k.shared <= allowed ? cudaSuccess : cudaErrorInvalidValue;
}

/* The order in which ready threads are asked, anew each round. */
static void choose_order(int policy, std::vector<int> &order)
{
    for (int i = 0; i < number; i++)
        order[static_cast<size_t>(i)] = policy == 1 ? number - 1 - i : i;
    if (policy < 2)
        return;
    size_t unit = policy == 2 ? 1 : WARP, units = order.size() / unit; /* what is left of a last warp stays last */
    for (size_t i = units; i > 1; i--) {
        size_t j = draw() % i;
        std::swap_ranges(order.begin() + static_cast<long>((i - 1) * unit), order.begin() + static_cast<long>(i * unit),
                         order.begin() + static_cast<long>(j * unit));
    }
}

static void report_stuck(void)
{
    for (int i = 0; i < number; i++) {
        const thread &t = threads[i];
        if (t.state == MEETING)
            fail("kernel %s, block %u: lanes with mask %08x at line %d wait for lanes that do not come", kernel->name, block_number,
                 t.mask, t.line);
    }
    for (int i = 0; i < number; i++)
        if (threads[i].state == BARRIER)
            fail("kernel %s, block %u: divergent barrier: thread %d waits at line %d for threads that have ended", kernel->name,
                 block_number, i, threads[i].line);
}

static void run_block(int policy, std::vector<int> &order)
{
    static uint32_t blocks;
    now.generation = ++blocks;
    now.shared_bytes = kernel->shared;
    declarations.clear();
    memset(shared, 0xff, SHARED_MOST); /* NaN */
    for (int i = 0; i < number; i++) {
        thread &t = threads[i];
        if (!t.f)
            t.f = fibre_create(thread_main, &t);
        unsigned n = static_cast<unsigned>(i), x = kernel->block.x, y = kernel->block.y;
        t.index = dim3(n % x, n / x % y, n / x / y);
        t.state = READY;
        t.barriers = t.meetings = 0;
    }
    for (int left = number; left > 0;) {
        bool any = false;
        choose_order(policy, order);
        for (int i : order) {
            if (threads[i].state != READY)
                continue;
            any = true;
            current = i;
            now.at = place{block_number, static_cast<uint32_t>(i), threads[i].barriers, threads[i].meetings};
            now.stack = fibre_stack(threads[i].f, &now.stack_end);
            now.in_kernel = true;
            now.judged = judging;
            fibre_enter(threads[i].f);
            now.in_kernel = now.judged = false;
            left -= threads[i].state == DONE;
        }
        if (any)
            continue;
        for (int i = 0; i < number; i++)
            if (threads[i].state != BARRIER)
                report_stuck();
        release_barrier();
    }
}

void run_kernel(const emu_kernel &k)
{
    if (!shared) {
        shared = static_cast<char *>(mmap(NULL, SHARED_MOST + SHARED_STATIC, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (shared == MAP_FAILED)
            fail("no memory for a block's shared memory");
    }
    kernel = &k;
    now.shared = shared;
    now.parameters = static_cast<const char *>(k.parameters);
    now.parameters_end = now.parameters + k.parameters_size;
    number = static_cast<int>(k.block.x * k.block.y * k.block.z);
    std::vector<int> order(static_cast<size_t>(number));
    int policy = static_cast<int>(draw() % 4);
    now.countdown = 1 + static_cast<int64_t>(draw() % 2000);
    uint64_t blocks = static_cast<uint64_t>(k.grid.x) * k.grid.y * k.grid.z, first = draw() % blocks;
    bool down = draw() % 2;
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t b = (first + (down ? blocks - i : i)) % blocks;
        block_number = static_cast<uint32_t>(b);
        block_index = dim3(static_cast<unsigned>(b % k.grid.x), static_cast<unsigned>(b / k.grid.x % k.grid.y),
                           static_cast<unsigned>(b / k.grid.x / k.grid.y));
        run_block(policy, order);
    }
    counts->launches++;
    counts->accesses += judged_accesses;
    judged_accesses = 0;
    counts->threads += blocks * static_cast<uint64_t>(number);
    uint64_t name = 1469598103934665603u;
    for (const char *c = k.name; *c; c++)
        name = (name ^ static_cast<unsigned char>(*c)) * 1099511628211u;
    for (uint64_t &slot : counts->names) {
        if (slot == name)
            break;
        if (slot == 0) {
            slot = name;
            counts->kernels++;
            break;
        }
    }
}

} // namespace emu
