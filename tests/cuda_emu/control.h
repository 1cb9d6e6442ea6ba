/* control.h - what tests ask of the emulated device; found in the plug-in with dlsym, absent from a real one.  C99. */
#ifndef CUDA_EMU_CONTROL_H
#define CUDA_EMU_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_emu_counts {
    uint64_t kernels, launches, threads, products, copies, accesses; /* kernels: different ones */
    uint64_t graphs, alone; /* launched; kernels, products and copies outside of them */
    uint64_t pinned; /* bytes of the host now */
    uint64_t device, most; /* bytes of the device now; of it and pinned at most, since it was last configured */
    uint64_t queued; /* operations that did not run yet */
    uint64_t failures; /* calls that failed because it was asked for */
    uint64_t downloads, waits, allocations; /* copies to the host; times the host waited; blocks asked for or given back */
    uint64_t names[256];                                             /* hashes of theirs */
} cuda_emu_counts;

/* The seed of all orders from now on (seed % 3: operations run at once, as late as can be, as it comes), bytes of device memory,
 * how many devices (0: none, below 0: no driver).  Defaults: 0, 1 GiB, 1. */
#pragma GCC visibility push(default)
typedef void (*cuda_emu_configure_fn)(uint64_t seed, size_t memory, int devices);
void cuda_emu_configure(uint64_t seed, size_t memory, int devices);
/* Without judging (0) loads and stores of kernels are only made: about twice as fast, for tests of what comes out. */
typedef void (*cuda_emu_judge_fn)(int judge);
void cuda_emu_judge(int judge);
/* From the n-th call from now on (0: the next) one call of the runtime fails with this error; below 0: none.  With `for_ever`
 * all that follow fail, too. */
typedef void (*cuda_emu_fail_fn)(int64_t n, int error, int for_ever);
void cuda_emu_fail(int64_t n, int error, int for_ever);
/* From now on no stream can be captured (1), as with a driver that cannot: nothing becomes a graph. */
typedef void (*cuda_emu_refuse_captures_fn)(int refuse);
void cuda_emu_refuse_captures(int refuse);
/* Counted since the plug-in was loaded, forked children included. */
typedef const cuda_emu_counts *(*cuda_emu_counted_fn)(void);
const cuda_emu_counts *cuda_emu_counted(void);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
