/* SPDX-License-Identifier: Apache-2.0
 *
 * The tracer at every instruction: code is single-stepped, and at each step the stack must end with the frames that
 * were there before. This walks through prologues and epilogues, PLT entries, the lazy binder, functions of libc in
 * assembler, and callbacks. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <cmocka.h>

#include "agent/profile/arch.h"
#include "agent/profile/internal.h"
#include "agent/profile/unwind.h"

static uintptr_t base[PROF_MAX_DEPTH];
static unsigned nbase, steps, bad;
static uintptr_t bad_pc;

static void on_step(int sig, siginfo_t *si, void *context)
{
    (void)sig, (void)si;
    struct unwind_regs regs = arch_interrupted(context);
    uintptr_t pcs[PROF_MAX_DEPTH];
    unsigned n = unwind_stopped(&regs, 0, 0, NULL, pcs, PROF_MAX_DEPTH);
    extern const char __start_stepper[], __stop_stepper[];
    if (regs.pc >= (uintptr_t)__start_stepper && regs.pc < (uintptr_t)__stop_stepper) return; /* sets the flag itself */
    steps++;
    if (n < nbase || memcmp(pcs + n - nbase, base, nbase * sizeof base[0]) != 0) {
        if (bad++ == 0) bad_pc = regs.pc;
    }
}

static inline __attribute__((always_inline)) void trap_flag(bool on)
{
    if (on)
        __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; add $128, %%rsp" ::: "memory", "cc");
    else
        __asm__ volatile("sub $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; add $128, %%rsp" ::: "memory", "cc");
}

static int order(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void call_libc(void)
{
    char buf[200], copy[200];
    int v[] = {5, 3, 9, 1, 7};
    snprintf(buf, sizeof buf, "%d %s %.3f", 42, "words", 2.5);
    qsort(v, 5, sizeof v[0], order);
    strcpy(copy, buf);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* the vdso */
    free(calloc(3, 100));
    printf("%s", "");
    if (strstr(copy, "words") == NULL || strtol(copy, NULL, 10) != 42) abort();
}

/* The frames below this one are the same at each step. */
static __attribute__((noinline, section("stepper"))) void step(void (*fn)(void))
{
    uintptr_t all[PROF_MAX_DEPTH];
    unsigned n = unwind_here(all, PROF_MAX_DEPTH, 0);
    assert_true(n > 3);
    nbase = n - 1;
    memcpy(base, all + 1, nbase * sizeof base[0]);
    steps = bad = 0;
    trap_flag(true);
    fn();
    trap_flag(false);
}

static void every_instruction(void **state)
{
    (void)state;
    struct sigaction sa = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, old;
    sigaction(SIGTRAP, &sa, &old);
    step(call_libc); /* binds lazily */
    unsigned first = steps;
    if (bad) print_message("%u of %u steps, first at %p\n", bad, steps, (void *)bad_pc);
    assert_int_equal(bad, 0);
    step(call_libc);
    assert_int_equal(bad, 0);
    sigaction(SIGTRAP, &old, NULL);
    print_message("%u and %u instructions\n", first, steps);
    assert_true(first > 1000 && steps > 1000);
}

int main(void)
{
    prof_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_instruction)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
