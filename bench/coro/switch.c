/* SPDX-License-Identifier: Apache-2.0
 *
 * The bare switch of coro/context_ARCH.S, without a scheduler:   switch switch|switch-fp COUNT
 * Two stacks switch to each other; prints ns for one switch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coro/context.h"

static void *here, *there;
static char stack[65536] __attribute__((aligned(64)));

/* Both sides run these: one call site, as in the scheduler. */
static __attribute__((noinline)) void fenv_loop(void **save, void **to, long n)
{
    while (n--) context_switch(save, *to, 0, 1);
}
static __attribute__((noinline)) void bare_loop(void **save, void **to, long n)
{
    while (n--) context_switch_bare(save, *to, 0, 1);
}

static void other(void *fp, void *unused, uintptr_t post, void **left)
{
    (void)unused, (void)post, (void)left;
    (fp ? fenv_loop : bare_loop)(&there, &here, -1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    long n = atol(argv[2]) / 2;
    bool fp = strcmp(argv[1], "switch-fp") == 0;
    there = context_make((uintptr_t)(stack + sizeof stack), other, fp ? stack : NULL, NULL);
    context_fp_init();
    double begin = now();
    (fp ? fenv_loop : bare_loop)(&here, &there, n);
    printf("metric ns %.3f\n", (now() - begin) / (double)(2 * n));
    return 0;
}
