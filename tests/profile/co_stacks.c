/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocations on stacks that are none of a thread: in coroutines at several depths, before and after they yielded, out of a
 * callback of libc, and in a signal handler on top of a coroutine's stack. For agree.sh, which has each stack compared. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "coro.h"

enum { COROUTINES = 20, ROUNDS = 5, MAX_DEPTH = 30 };

static co_waitgroup all;
static unsigned blocks; /* atomic */

static __attribute__((noinline)) void block(void)
{
    void *volatile p = malloc(40);
    free(p);
    __atomic_fetch_add(&blocks, 1, __ATOMIC_RELAXED);
}

static int order(const void *a, const void *b)
{
    block();
    return *(const int *)a - *(const int *)b;
}

static void on_signal(int sig)
{
    (void)sig;
    block();
}

static __attribute__((noinline)) int deeper(unsigned n)
{
    volatile int here[8] = {(int)n};
    if (n == 0) {
        int v[] = {3, 1, 2};
        block();
        qsort(v, 3, sizeof v[0], order);
        raise(SIGUSR1);
        return v[0];
    }
    return deeper(n - 1) + here[0];
}

static void run(void *arg)
{
    unsigned depth = (unsigned)(size_t)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (deeper((depth + i) % MAX_DEPTH) < 0) abort();
        co_yield_now();
    }
    co_wg_done(&all);
}

int main(void)
{
    signal(SIGUSR1, on_signal);
    co_wg_add(&all, COROUTINES);
    for (size_t i = 0; i < COROUTINES; i++)
        if (co_go(run, (void *)i) != 0) abort();
    co_wg_wait(&all);
    printf("%u blocks\n", blocks);
    return blocks < COROUTINES * ROUNDS * 4;
}
