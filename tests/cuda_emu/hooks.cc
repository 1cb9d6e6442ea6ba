/* hooks.cc - a record for every word of device and shared memory: who wrote it last, who read it last.
 *
 * Two accesses of one launch to one word, one of them a write, must be ordered: by the same thread, by a barrier of their
 * block, or by a meeting of their warp.  Accesses of different operations must be ordered by their streams, events or the
 * host.  A word that nobody wrote must not be read.
 */
#include "emu.h"

#include <sys/mman.h>

namespace emu {

struct record {
    uint32_t write_op, write_block, write_barriers, write_meetings;
    uint32_t read_op, read_block, read_barriers, read_meetings;
    uint16_t write_thread, read_thread; /* below 1024 */
    uint8_t write_atomic, readers; /* since the last barrier: 1 thread, 2 lanes of one warp, 3 warps, 4 blocks */
};

/* Device words: a table as sparse as the heap's addresses, found by arithmetic. */
static record *records;
static const char *records_from;
static const size_t WORDS = (size_t(1) << 38) / 4;

static record *record_of(const void *p)
{
    if (!records) {
        void *m = mmap(NULL, WORDS * sizeof(record), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (m == MAP_FAILED)
            fail("no room for the records of device memory");
        records = static_cast<record *>(m);
        records_from = heap_base();
    }
    return records + (static_cast<const char *>(p) - records_from) / 4;
}

void forget_words(const void *p, size_t n)
{
    uintptr_t from = (reinterpret_cast<uintptr_t>(record_of(p)) + 4095) / 4096 * 4096,
              to = reinterpret_cast<uintptr_t>(record_of(static_cast<const char *>(p) + n)) / 4096 * 4096;
    if (to > from)
        madvise(reinterpret_cast<void *>(from), to - from, MADV_DONTNEED);
}

/* One block: are these two places ordered?  The later one is `b`. */
static inline bool in_order(uint32_t thread, uint32_t barriers, uint32_t meetings, const place &b)
{
    return thread == b.thread || barriers != b.barriers || (thread / 32 == b.thread / 32 && meetings != b.meetings);
}

[[noreturn]] static void race(const char *how, const char *then, uint32_t block, uint32_t thread, const void *p)
{
    fail("race: %s %s %p, which thread %u of block %u %s in the same interval between barriers", where().c_str(), how, p, thread, block,
         then);
}

[[noreturn]] static void unordered(const char *how, const char *then, uint32_t op)
{
    fail("missing stream dependency: %s %s what %s %s on another stream, with nothing between that orders them", where().c_str(), how,
         name_of(op), then);
}

static inline void judge(record *r, bool write, bool atomic, const place &me, uint32_t op, bool device, const void *p)
{
    const char *how = write ? "writes" : "reads";
    bool in_kernel = now.in_kernel;
    if (r->write_op == op && in_kernel) {
        if (!(atomic && r->write_atomic) &&
            (r->write_block != me.block || !in_order(r->write_thread, r->write_barriers, r->write_meetings, me)))
            race(how, "wrote", r->write_block, r->write_thread, p);
    } else if (device && r->write_op && r->write_op != op && !ordered(r->write_op, *running)) {
        unordered(how, "wrote", r->write_op);
    }
    if (!write) {
        if (!r->write_op)
            fail("uninitialised: %s reads %p, which nobody wrote", where().c_str(), p);
        bool same = r->read_op == op && in_kernel;
        uint8_t readers = 1;
        if (same && r->read_block != me.block)
            readers = 4;
        else if (same && r->read_barriers == me.barriers && r->read_thread / 32 != me.thread / 32)
            readers = 3;
        else if (same && !in_order(r->read_thread, r->read_barriers, r->read_meetings, me))
            readers = 2;
        bool still = same && (r->readers == 4 || (r->readers == 3 && r->read_barriers == me.barriers) ||
                              (r->readers == 2 && r->read_barriers == me.barriers && r->read_meetings == me.meetings));
        r->readers = still && r->readers > readers ? r->readers : readers;
        r->read_op = op;
        r->read_block = me.block;
        r->read_thread = static_cast<uint16_t>(me.thread);
        r->read_barriers = me.barriers;
        r->read_meetings = me.meetings;
        return;
    }
    if (r->read_op == op && in_kernel) {
        bool apart = r->readers == 4 || r->read_block != me.block ||
                     !in_order(r->read_thread, r->read_barriers, r->read_meetings, me) ||
                     (r->readers == 3 && r->read_barriers == me.barriers) ||
                     (r->readers == 2 && r->read_barriers == me.barriers && r->read_meetings == me.meetings);
        if (apart && !atomic)
            race(how, "read", r->read_block, r->read_thread, p);
    } else if (device && r->read_op && r->read_op != op && !ordered(r->read_op, *running)) {
        unordered(how, "reads", r->read_op);
    }
    r->write_op = op;
    r->write_block = me.block;
    r->write_thread = static_cast<uint16_t>(me.thread);
    r->write_barriers = me.barriers;
    r->write_meetings = me.meetings;
    r->write_atomic = atomic;
}

/* ---- accesses of a kernel ---- */

static const size_t SHARED_ROOM = (48 + 64) * 1024; /* block.cc */
static record shared_records[SHARED_ROOM / 4]; /* of the block of that generation */

uint64_t judged_accesses; /* of this launch */

static void access(const void *p, size_t n, bool write, bool atomic)
{
    const char *c = static_cast<const char *>(p);
    judged_accesses++;
    if (c >= now.shared && c < now.shared + SHARED_ROOM) {
        size_t at = static_cast<size_t>(c - now.shared);
        if (at + n > now.shared_bytes)
            fail("%s %s byte %zu of %zu bytes of shared memory", where().c_str(), write ? "writes" : "reads", at + n - 1, now.shared_bytes);
        place me = now.at;
        me.block = 0;
        for (size_t i = 0; i < n; i += 4) {
            record *r = &shared_records[(at + i) / 4];
            if (r->write_op != now.generation)
                r->write_op = 0; /* of an earlier block: nothing was written in this one */
            else if (!write && r->write_barriers != me.barriers && r->read_op == now.generation && r->readers == 3 &&
                     r->read_barriers == me.barriers)
                continue; /* in order, and one of many readers: nothing to note */
            judge(r, write, atomic, me, now.generation, false, p);
        }
    } else if (c >= now.stack && c < now.stack_end) {
        return;
    } else if (in_heap(p)) {
        find_allocation(p, n, write ? "writes" : "reads");
        for (size_t i = 0; i < n; i += 4)
            judge(record_of(c + i), write, atomic, now.at, running->id, true, p);
    } else if (!(c >= now.parameters && c < now.parameters_end && !write) && !in_pinned(p, n)) {
        fail("%s %s %p, which is host memory: a pointer of the host was given to a kernel", where().c_str(), write ? "writes" : "reads", p);
    }
    if (--now.countdown <= 0)
        switch_thread();
}

void atomic_access(void *p)
{
    if (now.judged)
        access(p, 4, true, true);
}

/* ---- accesses of whole ranges ---- */

void touch(const void *p, size_t n, bool write, const char *what)
{
    if (n == 0)
        return;
    if (!in_heap(p))
        fail("%s: %s is %p, which is no device memory", where().c_str(), what, p);
    find_allocation(p, n, write ? "writes" : "reads");
    const char *c = static_cast<const char *>(p);
    for (size_t i = 0; judging && i < n; i += 4)
        judge(record_of(c + i), write, false, place{0, 0, 0, 0}, running->id, true, c + i);
}

void copy_record(void *dst, const void *src, size_t n)
{
    if (n == 0)
        return;
    find_allocation(src, n, "reads");
    touch(dst, n, true, "dst");
    for (size_t i = 0; judging && i < n; i += 4) {
        record *from = record_of(static_cast<const char *>(src) + i);
        if (!from->write_op)
            record_of(static_cast<char *>(dst) + i)->write_op = 0;
        else
            judge(from, false, false, place{0, 0, 0, 0}, running->id, true, src);
    }
}

} // namespace emu

/* ---- what the compiler calls ---- */

#define HOOKS(n)                                                                                                \
    void __tsan_read##n(void *p) { if (emu::now.judged) emu::access(p, n, false, false); }                        \
    void __tsan_write##n(void *p) { if (emu::now.judged) emu::access(p, n, true, false); }                        \
    void __tsan_unaligned_read##n(void *p) { if (emu::now.judged) emu::access(p, n, false, false); }              \
    void __tsan_unaligned_write##n(void *p) { if (emu::now.judged) emu::access(p, n, true, false); }              \
    void __tsan_volatile_read##n(void *p) { if (emu::now.judged) emu::access(p, n, false, false); }               \
    void __tsan_volatile_write##n(void *p) { if (emu::now.judged) emu::access(p, n, true, false); }

#pragma GCC diagnostic ignored "-Wmissing-declarations"
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void *p, size_t n) { if (emu::now.judged) emu::access(p, n, false, false); }
void __tsan_write_range(void *p, size_t n) { if (emu::now.judged) emu::access(p, n, true, false); }
void __tsan_init(void) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
}
