/* SPDX-License-Identifier: Apache-2.0
 *
 * Recognised stacks (profile/trace.c) are exactly the walked ones: random call paths through frames of every kind, of which
 * many are alike at all but one place, with the remains of earlier paths left on the stack. */
#include <alloca.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "agent/profile/internal.h"
#include "agent/profile/unwind.h"

static __thread uint64_t state_x;
static __thread unsigned compared;
static unsigned max_depth = 64;

static unsigned pick(unsigned n)
{
    state_x = state_x * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state_x >> 40) % n;
}

static __attribute__((noinline)) void leaf(void)
{
    uintptr_t pcs[PROF_MAX_DEPTH];
    uint32_t often = unwind_intern(max_depth, 1);
    uint32_t walked = stack_intern(pcs, unwind_here(pcs, max_depth, 1));
    if (often != walked) fail();
    compared++;
}

static int next(unsigned depth);

static __attribute__((noinline)) int plain(unsigned d)
{
    volatile int x = 1;
    return next(d) + x;
}
static __attribute__((noinline)) int other(unsigned d)
{
    volatile int x[9] = {1};
    int r = pick(2) ? next(d) : 2 + next(d);
    return r + x[0];
}
static __attribute__((noinline)) int variable(unsigned d)
{
    size_t n = 16u * (1 + pick(4));
    volatile char *p = alloca(n);
    p[0] = 1;
    return next(d) + p[0];
}
static __attribute__((noinline)) int aligned(unsigned d)
{
    volatile char fixed[64] __attribute__((aligned(64)));
    volatile char *p = alloca(16u * (1 + pick(3)));
    fixed[0] = p[0] = 1;
    return next(d) + fixed[0];
}

static __attribute__((noinline)) int next(unsigned depth)
{
    if (depth == 0) {
        leaf();
        return 0;
    }
    switch (pick(4)) {
    case 0: return plain(depth - 1) + 1;
    case 1: return other(depth - 1) + 1;
    case 2: return variable(depth - 1) + 1;
    default: return aligned(depth - 1) + 1;
    }
}

static void known_stack(void)
{
    pthread_attr_t attr;
    void *low;
    size_t size;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    agent_tls.stack_lo = (uintptr_t)low;
    agent_tls.stack_hi = (uintptr_t)low + size;
}

static void run(uint64_t seed, unsigned rounds)
{
    known_stack();
    compared = 0;
    for (unsigned i = 0; i < rounds; i++) {
        state_x = seed + i % 97; /* paths recur, between others */
        next(2 + i % 11);
        if (i % 5000 == 4999) unwind_flush();
    }
    assert_int_equal(compared, rounds);
}

static void random_paths(void **state)
{
    (void)state;
    max_depth = 64;
    run(1, 30000);
    max_depth = 9; /* cut */
    run(2, 10000);
}

static void *on_thread(void *arg)
{
    run((uint64_t)(uintptr_t)arg, 15000);
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    pthread_t t[3];
    max_depth = 64;
    for (uintptr_t i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, on_thread, (void *)i), 0);
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
}

int main(void)
{
    prof_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_paths), cmocka_unit_test(many_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
