/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls of x86-64 Linux without libc: no wrapper that a program interposes, no errno, no cancellation
 * point. Results below 0 and above -4096 are negative errno. Async-signal-safe. */
#ifndef SEEP_OS_SYSCALL_X86_64_H
#define SEEP_OS_SYSCALL_X86_64_H

#include <sys/syscall.h>

#include "agent/util/fault.h"

/* In builds with FAULT=1 a call may be made to fail. */
#ifdef SEEP_FAULT
#define SYSCALL_FAULT(n)                     \
    do {                                     \
        long fault_error = fault_syscall(n); \
        if (fault_error) return fault_error; \
    } while (0)
#else
#define SYSCALL_FAULT(n) (void)0
#endif

static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
    SYSCALL_FAULT(n);
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

static inline long sys3(long n, long a, long b, long c)
{
    SYSCALL_FAULT(n);
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}

static inline long sys4(long n, long a, long b, long c, long d)
{
    SYSCALL_FAULT(n);
    register long r10 __asm__("r10") = d;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return r;
}

/* In a spin loop. */
static inline void cpu_pause(void)
{
    __builtin_ia32_pause();
}

#endif
