/* SPDX-License-Identifier: Apache-2.0
 *
 * The three modes of SEEP_UNWIND on one chain of calls that keeps frame pointers: each finds the same callers. The program
 * runs itself once for each mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/profile/internal.h"
#include "agent/profile/unwind.h"

#define FRAME __attribute__((noinline, noclone, optimize("no-omit-frame-pointer", "no-optimize-sibling-calls")))

static uintptr_t pcs[PROF_MAX_DEPTH];
static unsigned n, max = PROF_MAX_DEPTH, skip;

FRAME static int take(int x)
{
    n = unwind_here(pcs, max, skip);
    return x + (int)n;
}
FRAME static int first(int x)
{
    return take(x + 1) + 1;
}
FRAME static int second(int x)
{
    volatile char room[300] = {1};
    return first(x + 1) + room[0];
}
FRAME static int third(int x)
{
    return second(x + 1) + 1;
}

/* The function of the chain that pc is in: the last one that begins below it. */
static int function(uintptr_t pc)
{
    int (*const fn[])(int) = {take, first, second, third};
    int best = -1;
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)fn[i] < pc && pc - (uintptr_t)fn[i] < 200 &&
            (best < 0 || (uintptr_t)fn[i] > (uintptr_t)fn[best]))
            best = i;
    return best;
}

static void chain(void **state)
{
    (void)state;
    assert_true(third(1) > 0);
    assert_true(n > 4);
    for (int i = 0; i < 4; i++) assert_int_equal(function(pcs[i]), i);
}

/* A limit, and frames left out. */
static void limits(void **state)
{
    (void)state;
    pcs[2] = 7;
    max = 2;
    skip = 1;
    third(1);
    assert_int_equal(n, 2);
    assert_int_equal(function(pcs[0]), 1);
    assert_int_equal(function(pcs[1]), 2);
    assert_int_equal(pcs[2], 7);
    max = PROF_MAX_DEPTH;
    skip = 0;
}

static int rerun(const char *mode)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SEEP_UNWIND", mode, 1);
        execl("/proc/self/exe", "profile_modes", mode, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status != 0;
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc < 2) return rerun("fast") + rerun("fp") + rerun("libunwind");
    prof_init();
    prof_late_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(chain), cmocka_unit_test(limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
