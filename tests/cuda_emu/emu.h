/* emu.h - a CUDA device on the CPU, for tests: strict where a real one is forgiving, and free to be late wherever CUDA allows.
 *
 * The .cu files of cuda/ compile as C++ against include/, with -fsanitize=thread, whose calls at every load and store end in
 * hooks.cc instead of in that sanitizer's own runtime.  So each access of a kernel is judged: does it lie in a live
 * allocation, in the block's shared memory or on the thread's stack; was the word ever written; may another thread of this
 * launch have touched it since the last barrier; did an operation of another stream write it without an event between.
 * Builds under AddressSanitizer run the same kernels without the hooks; what lies around allocations is poisoned then.
 *
 *   fibre.cc     switching between the threads of a block
 *   block.cc     one launch: blocks, threads in several orders, barriers, warps, shared memory
 *   memory.cc    device memory: protected pages that only operations may touch; pinned memory
 *   hooks.cc     the record of every word, and what is wrong with an access
 *   stream.cc    queues that run later, in any order that events leave open; clocks that know what is ordered
 *   runtime.cc   the CUDA runtime's functions;  cublas.cc  the product
 *
 * A fault prints one line that begins with "cuda_emu:" and aborts.
 */
#ifndef CUDA_EMU_EMU_H
#define CUDA_EMU_EMU_H

#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <vector>

#include "control.h"

namespace emu {

[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern cuda_emu_counts *counts; /* in memory that forked tests share */
uint64_t draw(void);            /* the seed's next number */
extern uint64_t seed;
void set_seed(uint64_t seed); /* orders begin anew */

/* Who touches a word: a thread of a kernel, else 0.  Barriers and warp meetings so far order the threads of one block. */
struct place {
    uint32_t block, thread, barriers, meetings;
};

/* ---- operations and what is ordered before what (stream.cc) ---- */

typedef std::vector<uint32_t> clock; /* per stream: so many of its operations come before */
void join(clock &to, const clock &from);

struct operation {
    uint32_t id;            /* 1, 2, ... over all streams */
    uint32_t stream, place; /* its stream's number, its place there */
    std::string name;
    clock before;
    std::function<void()> run;
    emu_event *waits, *records; /* for a wait and a record: which version of the event */
    uint64_t version;
};

/* Is operation `id` ordered before `now`? */
bool ordered(uint32_t id, const operation &now);
const char *name_of(uint32_t id);
operation *enqueue(emu_stream *s, const char *name, std::function<void()> run);
extern const operation *running; /* NULL while the host runs */

/* ---- device memory (memory.cc) ---- */

struct allocation {
    char *base;
    size_t bytes;
    uint32_t born;                        /* the operation that made it */
    std::vector<uint32_t> users;          /* last operation of each stream that touched it, 0: none */
    bool dead;
};
bool in_heap(const void *p);
const char *heap_base(void);
void set_total(size_t bytes);
bool in_pinned(const void *p, size_t bytes);
/* The allocation that p lies in, or fails naming who touches what. */
allocation *find_allocation(const void *p, size_t bytes, const char *what);
char *allocate(size_t bytes, uint32_t born); /* NULL: full */
void release(allocation *a);
void *allocate_pinned(size_t bytes);
void release_pinned(void *p);
size_t bytes_free(void), bytes_total(void);
void open_heap(void);
void close_heap(void); /* back to pages that nobody may touch */
void recycle(void);    /* nothing is allocated: addresses may begin anew */

/* ---- words (hooks.cc) ---- */

/* A whole range read or written by one operation (copy, product); n bytes.  A read of what was never written fails. */
void touch(const void *p, size_t n, bool write, const char *what);
void copy_record(void *dst, const void *src, size_t n); /* device to device: what was not written stays so */
void atomic_access(void *p);
extern uint64_t judged_accesses;
void forget_words(const void *p, size_t n); /* a freed range */

/* ---- the thread that runs (block.cc) ---- */

/* In one place, since every access looks at it. */
struct thread_now {
    bool in_kernel, judged;
    place at;
    const char *stack, *stack_end; /* its own */
    const char *parameters, *parameters_end;
    const char *shared; /* the block's shared memory: so much of it is in use */
    size_t shared_bytes;
    uint32_t generation; /* of the block: 1, 2, ... over all launches */
    int64_t countdown;   /* accesses until another thread goes on */
};
/* Of each of the host's threads: what one does outside of the emulator while another one's kernel runs is no access of that kernel. */
extern __thread thread_now now __attribute__((tls_model("initial-exec")));
extern bool judging;
std::string where(void); /* "kernel k, block 3, thread 7" or the operation's name */
void switch_thread(void);
cudaError_t check_launch(const emu_kernel &k);
void run_kernel(const emu_kernel &k);

/* ---- fibres (fibre.cc) ---- */

struct fibre;
fibre *fibre_create(void (*entry)(void *), void *arg);
void fibre_enter(fibre *f); /* from the scheduler */
void fibre_leave(void);     /* back to it, from the fibre that runs */
const char *fibre_stack(const fibre *f, const char **end);

} // namespace emu

struct emu_event {
    uint64_t recorded, done; /* versions: how often asked for, how often happened */
    emu::clock clock;        /* of the last record */
    bool timed;
    double seconds; /* when it last happened */
};

#endif
