/* SPDX-License-Identifier: Apache-2.0
 *
 * What stopping needs to know of x86-64: where a signal frame keeps registers, what a system call instruction looks like,
 * how to read the caller's own registers, and how to go on on another stack. Async-signal-safe. */
#ifndef SEEP_SNAPSHOT_STOP_X86_64_H
#define SEEP_SNAPSHOT_STOP_X86_64_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "agent/heap/heap.h"
#include "agent/profile/arch.h"
#include "agent/snapshot/snapshot.h"

static inline uintptr_t arch_thread_pointer(void)
{
    uintptr_t tp;
    __asm__("mov %%fs:0, %0" : "=r"(tp));
    return tp;
}

static inline bool arch_is_syscall(uintptr_t pc)
{
    return memcmp((const void *)pc, "\x0f\x05", 2) == 0;
}

/* The frame is that of a system call which fails with EINTR because of this signal. */
static inline bool arch_syscall_interrupted(const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    return g[REG_RAX] == -EINTR && arch_is_syscall((uintptr_t)g[REG_RIP] - 2);
}

/* ... or which has just returned something, perhaps less than all. */
static inline bool arch_syscall_returned(const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    return g[REG_RAX] > 0 && arch_is_syscall((uintptr_t)g[REG_RIP] - 2);
}

/* ... or which the kernel begins again when the handler returns. */
static inline bool arch_syscall_restarts(const ucontext_t *uc)
{
    return arch_is_syscall((uintptr_t)uc->uc_mcontext.gregs[REG_RIP]);
}

static inline void arch_add_vector_words(struct stopped_thread *t, const void *from, size_t bytes)
{
    const unsigned max = sizeof t->all_regs / sizeof *t->all_regs;
    const uintptr_t *w = from;
    struct heap_object o;
    for (size_t i = 0; i < bytes / sizeof *w && t->nregs < max; i++)
        if (w[i] > 4095 && w[i] >> 47 == 0 && heap_find(w[i], &o)) t->all_regs[t->nregs++] = w[i];
}

/* memmove() may hold a pointer in a vector register and nowhere else. The signal frame has them all: the legacy area
 * (xmm0–15 at 160), and where the software-reserved words say so the extended one from 576 on. */
static inline void arch_vector_words(struct stopped_thread *t, const char *fp)
{
    enum { XMM = 160, XMM_BYTES = 256, SW = 464, EXTENDED = 576, MAGIC = 0x46505853 };
    struct {
        uint32_t magic, extended_size;
        uint64_t features;
        uint32_t xstate_size;
    } sw;
    if (!fp) return;
    arch_add_vector_words(t, fp + XMM, XMM_BYTES);
    memcpy(&sw, fp + SW, sizeof sw);
    if (sw.magic == MAGIC && sw.xstate_size > EXTENDED && sw.xstate_size < (64u << 10))
        arch_add_vector_words(t, fp + EXTENDED, sw.xstate_size - EXTENDED);
}

static inline void arch_capture(struct stopped_thread *t, const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    t->regs = arch_interrupted(uc);
    t->nregs = 0;
    for (int r = REG_R8; r <= REG_RSP; r++) t->all_regs[t->nregs++] = (uintptr_t)g[r]; /* the 16 general ones */
    arch_vector_words(t, (const char *)uc->uc_mcontext.fpregs);
    t->tls = arch_thread_pointer();
    t->in_syscall = arch_syscall_interrupted(uc) || arch_syscall_restarts(uc);
}

/* The caller's own frame. What its callers keep in callee-saved registers is here or on the stack above. */
static inline __attribute__((always_inline)) void arch_capture_self(struct stopped_thread *t)
{
    struct unwind_regs *r = &t->regs;
    __asm__ volatile("lea 0(%%rip), %%rax\n\t"
                     "mov %%rax, 0(%0)\n\t"
                     "mov %%rsp, 8(%0)\n\t"
                     "mov %%rbp, 16(%0)\n\t"
                     "mov %%rbx, 24(%0)\n\t"
                     "mov %%r12, 32(%0)\n\t"
                     "mov %%r13, 40(%0)\n\t"
                     "mov %%r14, 48(%0)\n\t"
                     "mov %%r15, 56(%0)\n\t"
                     :
                     : "r"(r)
                     : "rax", "memory");
    _Static_assert(offsetof(struct unwind_regs, r15) == 56, "order of struct unwind_regs");
    r->complete = true;
    memcpy(t->all_regs, r, 64);
    t->nregs = 8;
    t->tls = arch_thread_pointer();
}

static inline _Noreturn void arch_call_on_stack(void *top, void (*fn)(void *), void *arg)
{
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "call *%1\n\t"
                     "ud2"
                     :
                     : "r"((uintptr_t)top & ~(uintptr_t)15), "r"(fn), "D"(arg)
                     : "memory");
    __builtin_unreachable();
}

#endif
