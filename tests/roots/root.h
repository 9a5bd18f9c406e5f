/* SPDX-License-Identifier: Apache-2.0
 *
 * One kind of root a program. main() plants blocks of PLANTED bytes, hides every other trace of them and calls check(),
 * which takes the snapshot. The line "expect: N reached|interior|unreachable" at the head is what roots.sh compares. */
#ifndef TESTS_ROOT_H
#define TESTS_ROOT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLANTED 4007

int seep_snapshot(const char *label) __attribute__((weak));

/* Overwrites what earlier calls have left below the stack pointer, and the registers a call may change. */
__attribute__((noinline, unused)) static void scrub(void)
{
    volatile char dead[32768];
    for (size_t i = 0; i < sizeof dead; i++) dead[i] = 0;
    __asm__ volatile("" ::
                         : "memory", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                           "r14", "r15");
    __asm__ volatile("xor %%eax,%%eax\n xor %%ecx,%%ecx\n xor %%edx,%%edx\n xor %%esi,%%esi\n xor %%edi,%%edi\n"
                     "xor %%r8d,%%r8d\n xor %%r9d,%%r9d\n xor %%r10d,%%r10d\n xor %%r11d,%%r11d\n"
                     "pxor %%xmm0,%%xmm0\n pxor %%xmm1,%%xmm1\n pxor %%xmm2,%%xmm2\n pxor %%xmm3,%%xmm3\n" ::
                         : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3");
}

__attribute__((noinline, unused)) static void *plant(void)
{
    char *p = malloc(PLANTED);
    if (!p) exit(3);
    memset(p, 0, PLANTED);
    return p;
}

__attribute__((noinline, unused)) static int check(void)
{
    scrub();
    if (!seep_snapshot || seep_snapshot("check") != 0) {
        fprintf(stderr, "no snapshot\n");
        return 4;
    }
    return 0;
}

#endif
