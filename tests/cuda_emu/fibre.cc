/* fibre.cc - stacks, and switching between them: by hand on x86-64, by ucontext elsewhere. */
#include "emu.h"

#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__) || defined(CUDA_EMU_UCONTEXT)
#define USE_UCONTEXT 1
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace emu {

enum { STACK = 256 * 1024, GUARD = 16 * 1024 };

struct fibre {
    char *stack; /* GUARD bytes that nobody may touch, then STACK */
    void (*entry)(void *);
    void *arg;
#if USE_UCONTEXT
    ucontext_t context;
#else
    void *sp;
#endif
    void *fake; /* AddressSanitizer's */
};

static fibre *running_fibre;
#if USE_UCONTEXT
static ucontext_t scheduler;
#else
static void *scheduler;
#endif
#if defined(__SANITIZE_ADDRESS__)
static void *scheduler_fake;
static const void *scheduler_stack;
static size_t scheduler_size;
#endif

#if !USE_UCONTEXT
extern "C" void cuda_emu_switch(void **save, void *load);
asm(R"(
.text
.type cuda_emu_switch, @function
.hidden cuda_emu_switch
.globl cuda_emu_switch
cuda_emu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size cuda_emu_switch, .-cuda_emu_switch
)");
#endif

static void arrived(void *fake)
{
#if defined(__SANITIZE_ADDRESS__)
    const void *from;
    size_t size;
    __sanitizer_finish_switch_fiber(fake, &from, &size);
    if (running_fibre && !scheduler_stack) {
        scheduler_stack = from;
        scheduler_size = size;
    }
#else
    (void)fake;
#endif
}

static void first_entry(void)
{
    arrived(NULL);
    fibre *f = running_fibre;
    for (;;)
        f->entry(f->arg);
}

fibre *fibre_create(void (*entry)(void *), void *arg)
{
    fibre *f = new fibre();
    f->stack = static_cast<char *>(mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (f->stack == MAP_FAILED || mprotect(f->stack, GUARD, PROT_NONE) != 0)
        fail("no memory for the stack of a thread");
    f->entry = entry;
    f->arg = arg;
#if USE_UCONTEXT
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack + GUARD;
    f->context.uc_stack.ss_size = STACK;
    f->context.uc_link = NULL;
    makecontext(&f->context, first_entry, 0);
#else
    void **top = reinterpret_cast<void **>(f->stack + GUARD + STACK);
    *--top = NULL; /* first_entry begins with the stack as after a call */
    *--top = reinterpret_cast<void *>(first_entry);
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    f->sp = top;
#endif
    return f;
}

void fibre_enter(fibre *f)
{
    running_fibre = f;
#if defined(__SANITIZE_ADDRESS__)
    scheduler_stack = NULL;
    __sanitizer_start_switch_fiber(&scheduler_fake, f->stack + GUARD, STACK);
#endif
#if USE_UCONTEXT
    swapcontext(&scheduler, &f->context);
#else
    cuda_emu_switch(&scheduler, f->sp);
#endif
    running_fibre = NULL;
#if defined(__SANITIZE_ADDRESS__)
    arrived(scheduler_fake);
#endif
}

void fibre_leave(void)
{
    fibre *f = running_fibre;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&f->fake, scheduler_stack, scheduler_size);
#endif
#if USE_UCONTEXT
    swapcontext(&f->context, &scheduler);
#else
    cuda_emu_switch(&f->sp, scheduler);
#endif
    arrived(f->fake);
}

const char *fibre_stack(const fibre *f, const char **end)
{
    *end = f->stack + GUARD + STACK;
    return f->stack;
}

} // namespace emu
