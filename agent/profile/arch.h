/* SPDX-License-Identifier: Apache-2.0
 *
 * x86-64: DWARF register numbers (System V ABI, AMD64 supplement, figure 3.36) and how to read our own registers. Another
 * architecture replaces this file. */
#ifndef SEEP_PROFILE_ARCH_H
#define SEEP_PROFILE_ARCH_H

#include <stdint.h>
#include <ucontext.h>

#include "agent/profile/profile.h"

enum {
    ARCH_RBX = 3,
    ARCH_FP = 6, /* rbp */
    ARCH_SP = 7, /* rsp */
    ARCH_R12 = 12,
    ARCH_R13 = 13,
    ARCH_R14 = 14,
    ARCH_R15 = 15,
    ARCH_RA = 16, /* rip */
    ARCH_REGS = 17
};
#define ARCH_CALLEE_SAVED \
    (1u << ARCH_RBX | 1u << ARCH_FP | 1u << ARCH_R12 | 1u << ARCH_R13 | 1u << ARCH_R14 | 1u << ARCH_R15)

/* The registers at one instruction of the function that says this. r: uintptr_t[ARCH_REGS]. */
#define ARCH_CAPTURE(r)                         \
    __asm__ volatile("leaq 0(%%rip), %%rax\n\t" \
                     "movq %%rax, 128(%0)\n\t"  \
                     "movq %%rsp, 56(%0)\n\t"   \
                     "movq %%rbp, 48(%0)\n\t"   \
                     "movq %%rbx, 24(%0)\n\t"   \
                     "movq %%r12, 96(%0)\n\t"   \
                     "movq %%r13, 104(%0)\n\t"  \
                     "movq %%r14, 112(%0)\n\t"  \
                     "movq %%r15, 120(%0)"      \
                     :                          \
                     : "r"(r)                   \
                     : "rax", "memory")

/* What a signal interrupted. Async-signal-safe. */
static inline struct unwind_regs arch_interrupted(const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    return (struct unwind_regs){
        .pc = (uintptr_t)g[REG_RIP],
        .sp = (uintptr_t)g[REG_RSP],
        .fp = (uintptr_t)g[REG_RBP],
        .rbx = (uintptr_t)g[REG_RBX],
        .r12 = (uintptr_t)g[REG_R12],
        .r13 = (uintptr_t)g[REG_R13],
        .r14 = (uintptr_t)g[REG_R14],
        .r15 = (uintptr_t)g[REG_R15],
        .complete = true,
    };
}

/* A counter that rises with time at an unknown, steady enough rate; cheap. */
static inline uint64_t arch_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

#endif
