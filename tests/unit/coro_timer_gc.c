/* SPDX-License-Identifier: Apache-2.0
 *
 * CORO_TIMER_GC=1: tickers and timers that nothing reaches are stopped and freed, as by Go since 1.23; all others go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/snapshot/snapshot.h"
#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

static const uint64_t HOUR = 3600000000000u;

static int count_one(void *arg, const struct seep_timer *t)
{
    (void)t;
    ++*(unsigned *)arg;
    return 0;
}
static unsigned pending(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < provider_count(); i++)
        if (!strcmp(provider_get(i)->name, "coro")) provider_get(i)->timers(provider_get(i)->ctx, count_one, &n);
    return n;
}

static co_ticker *kept;
static co_timer **in_heap;
static _Atomic int ticks;
static __attribute__((noinline)) void lose(int n)
{
    for (int i = 0; i < n; i++) {
        co_ticker_new(HOUR);
        co_timer_new(HOUR);
        co_after(HOUR);
    }
}
/* Waits for a ticker that only it knows. */
static void own_ticker(void *arg)
{
    co_ticker *t = co_ticker_new((uint64_t)(uintptr_t)arg);
    co_recv(co_ticker_chan(t), NULL);
    ticks++;
    co_ticker_free(t);
}
static __attribute__((noinline)) void make_all(void)
{
    kept = co_ticker_new(1000000);
    in_heap = malloc(sizeof *in_heap);
    *in_heap = co_timer_new(HOUR);
    co_go(own_ticker, (void *)(uintptr_t)50000000);
    co_go(own_ticker, (void *)(uintptr_t)HOUR);
    lose(50);
}
/* What stale words of frames and registers keep is a few at most. */
static void clear_stack(void)
{
    volatile char hole[8192];
    for (size_t i = 0; i < sizeof hole; i++) hole[i] = 0;
}

static void let_go(void)
{
    setenv("CORO_TIMER_GC", "1", 1);
    make_all();
    clear_stack();
    yield_times(10);
    assert_int_equal(pending(), 4 + 150);
    co_pack(HOUR);
    assert_true(pending() >= 4 && pending() <= 4 + 5);
    unsigned left = pending();
    co_pack(HOUR);
    assert_true(pending() <= left);
    for (int i = 0; i < 5; i++) co_recv(co_ticker_chan(kept), NULL); /* it still ticks */
    while (!ticks) co_sleep_ns(1000000);
    assert_true(co_timer_stop(*in_heap));
    lose(50); /* the memory is whole */
    co_timer_free(*in_heap);
    co_ticker_free(kept);
}
static void not_asked_for(void)
{
    make_all();
    clear_stack();
    yield_times(10);
    co_pack(HOUR);
    assert_int_equal(pending(), 4 + 150);
}
static void by_itself(void)
{
    setenv("CORO_TIMER_GC", "1", 1);
    setenv("CORO_PACK_AFTER", "1", 1);
    make_all();
    clear_stack();
    for (int i = 0; i < 1000 && pending() > 20; i++) co_sleep_ns(10000000);
    assert_true(pending() <= 20);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "1", 1);
    const struct CMUnitTest tests[] = {RUN(let_go), RUN(not_asked_for), RUN(by_itself)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
