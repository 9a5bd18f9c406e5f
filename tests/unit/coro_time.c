/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers and tickers, one row for each rule with its source. Nothing is expected to happen *before* a time: the machine may be slow;
 * what must not have happened yet is set an hour away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

#define MS   1000000ull
#define HOUR 3600000000000ull

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool after_sends_the_time(void)
{
    uint64_t before = now_ns(), at = 0;
    co_chan *c = co_after(5 * MS);
    bool ok = co_recv(c, &at) && at >= before + 5 * MS && at <= now_ns();
    co_chan_free(c);
    return ok;
}
static bool after_freed_early(void)
{
    co_chan *c = co_after(HOUR);
    co_chan_free(c);
    co_chan_free(co_after(0));
    return true;
}
static bool select_with_timeout(void)
{
    co_chan *never = co_make(int, 0), *t = co_after(2 * MS);
    struct co_case cases[] = {{.ch = never, .kind = CO_RECV}, {.ch = t, .kind = CO_RECV}};
    bool ok = co_select(cases, 2) == 1;
    co_chan_free(never);
    co_chan_free(t);
    return ok;
}
static bool stop_before(void)
{
    co_timer *t = co_timer_new(HOUR);
    bool ok = co_timer_stop(t) && !co_timer_stop(t) && !co_try_recv(co_timer_chan(t), NULL, NULL);
    co_timer_free(t);
    return ok;
}
static bool stop_after_received(void)
{
    co_timer *t = co_timer_new(0);
    co_recv(co_timer_chan(t), NULL);
    bool ok = !co_timer_stop(t);
    co_timer_free(t);
    return ok;
}
static bool no_stale_after_stop(void)
{
    for (int i = 0; i < 200; i++) {
        co_timer *t = co_timer_new(i % 2 ? 0 : 20000);
        if (i % 3) co_sleep_ns(100000);
        bool stopped = co_timer_stop(t);
        if (!stopped || co_try_recv(co_timer_chan(t), NULL, NULL))
            return false; /* nobody received: it counts as pending */
        co_timer_free(t);
    }
    return true;
}
static bool no_stale_after_reset(void)
{
    co_timer *t = co_timer_new(0);
    co_sleep_ns(2 * MS);
    uint64_t from = now_ns(), at = 0;
    bool ok = co_timer_reset(t, 10 * MS) && !co_try_recv(co_timer_chan(t), NULL, NULL);
    co_recv(co_timer_chan(t), &at);
    ok = ok && at >= from + 10 * MS && !co_timer_reset(t, HOUR) && co_timer_reset(t, 0);
    co_recv(co_timer_chan(t), NULL);
    co_timer_free(t);
    return ok;
}
static bool looks_unbuffered(void)
{
    co_timer *t = co_timer_new(0);
    co_sleep_ns(2 * MS);
    bool ok = co_len(co_timer_chan(t)) == 0 && co_cap(co_timer_chan(t)) == 0 && co_recv(co_timer_chan(t), NULL);
    co_timer_free(t);
    return ok;
}

struct call {
    co_chan *done;
    uint64_t id;
    int n;
};
static void called(void *arg)
{
    struct call *c = arg;
    c->id = co_self_id();
    c->n++;
    co_send(c->done, &c->n);
}
static bool func_in_its_own_coroutine(void)
{
    struct call c = {.done = co_make(int, 0)};
    co_timer *t = co_after_func(MS, called, &c);
    int n = 0;
    bool ok = co_timer_chan(t) == NULL && co_recv(c.done, &n) && c.id != co_self_id() && !co_timer_stop(t);
    ok = ok && !co_timer_reset(t, 0) && co_recv(c.done, &n) && n == 2;
    co_timer_free(t);
    co_chan_free(c.done);
    return ok;
}
static bool func_stopped(void)
{
    struct call c = {0};
    co_timer *t = co_after_func(HOUR, called, &c);
    bool ok = co_timer_stop(t) && c.n == 0;
    co_timer_free(t);
    return ok;
}

static bool ticks_come_in_step(void)
{
    uint64_t from = now_ns(), at = 0;
    co_ticker *t = co_ticker_new(3 * MS);
    bool ok = true;
    for (unsigned i = 1; i <= 4; i++) ok = ok && co_recv(co_ticker_chan(t), &at) && at >= from + i * 3 * MS;
    co_ticker_free(t);
    return ok;
}
static bool ticks_are_dropped(void)
{
    co_ticker *t = co_ticker_new(MS);
    while (co_ticker_dropped(t) < 5) co_sleep_ns(MS);
    uint64_t at = 0, late = now_ns();
    bool ok = co_recv(co_ticker_chan(t), &at) && at < late; /* one was kept: the first */
    ok = ok && co_recv(co_ticker_chan(t), &at);
    co_ticker_free(t);
    return ok;
}
static bool stopped_ticker_is_silent(void)
{
    co_ticker *t = co_ticker_new(MS);
    co_sleep_ns(5 * MS);
    co_ticker_stop(t);
    uint64_t dropped = co_ticker_dropped(t);
    co_sleep_ns(5 * MS);
    bool ok = !co_try_recv(co_ticker_chan(t), NULL, NULL) && co_ticker_dropped(t) == dropped;
    co_ticker_reset(t, MS);
    ok = ok && co_recv(co_ticker_chan(t), NULL);
    co_ticker_free(t);
    return ok;
}

/* Many timers set, stopped, reset and fired at once by several coroutines; each value sent is received once. */
static void racer(void *arg)
{
    co_waitgroup *wg = arg;
    uint32_t r = (uint32_t)co_self_id() * 2654435761u;
    for (int i = 0; i < 400; i++) {
        r = r * 1664525u + 1013904223u;
        co_timer *t = co_timer_new(r % 50000);
        if (r & 1 << 20) co_sleep_ns(r % 30000 + 1);
        if (r & 1 << 21) co_timer_reset(t, r % 20000);
        if (r & 1 << 22) {
            co_timer_stop(t);
            CHECK(!co_try_recv(co_timer_chan(t), NULL, NULL));
        } else if (r & 1 << 23) {
            CHECK(co_recv(co_timer_chan(t), NULL));
            CHECK(!co_timer_stop(t));
        }
        co_timer_free(t);
    }
    co_wg_done(wg);
}
static bool race(void)
{
    static co_waitgroup wg;
    co_wg_add(&wg, 20);
    for (int i = 0; i < 20; i++) co_go(racer, &wg);
    co_wg_wait(&wg);
    return true;
}

static const struct rule rows[] = {
    {"After sends the time once the duration has passed", "package time, After", after_sends_the_time},
    {"a channel of co_after may be freed before it fires", "own", after_freed_early},
    {"a timeout in a select", "package time, After: example", select_with_timeout},
    {"Stop: true if it stops the timer, false if stopped before", "package time, Timer.Stop", stop_before},
    {"Stop: false after the value was received", "package time, Timer.Stop", stop_after_received},
    {"after Stop nothing stale is received", "package time, Timer.Stop, Go 1.23", no_stale_after_stop},
    {"after Reset nothing stale is received; its result is that of Stop", "package time, Timer.Reset, Go 1.23",
     no_stale_after_reset},
    {"a timer's channel has length and capacity 0", "Go 1.23 release notes", looks_unbuffered},
    {"AfterFunc calls in its own goroutine; C is nil; Reset arms it again", "package time, AfterFunc",
     func_in_its_own_coroutine},
    {"Stop of AfterFunc: true if it has not begun", "package time, Timer.Stop", func_stopped},
    {"ticks come at intervals", "package time, NewTicker", ticks_come_in_step},
    {"ticks are dropped for slow receivers", "package time, NewTicker", ticks_are_dropped},
    {"no ticks after Stop; Reset starts again", "package time, Ticker.Stop, Reset", stopped_ticker_is_silent},
    {"stop, reset, receive and fire at once", "own", race},
};
static void test_rules(void)
{
    CHECK_RULES(rows);
}

static void period_zero(void)
{
    co_ticker_new(0);
}
static void close_of_timer(void)
{
    co_close(co_after(HOUR));
}
static void wrong_kind(void)
{
    co_timer_stop((co_timer *)co_ticker_new(HOUR));
}
static void pending_is_no_deadlock(void)
{
    co_chan *c = co_after(20 * MS);
    co_recv(c, NULL);
    _exit(7);
}
static void stopped_is_deadlock(void)
{
    co_timer *t = co_timer_new(HOUR);
    co_timer_stop(t);
    co_recv(co_timer_chan(t), NULL);
}
static const struct ending ends[] = {
    {period_zero, 2, "package time, NewTicker: panics if not positive", {"a period of 0"}},
    {close_of_timer, 2, "spec, Close: a receive-only channel", {"close of a timer's channel"}},
    {wrong_kind, 2, "own", {"is no timer"}},
    {pending_is_no_deadlock, 7, "runtime/proc.go, checkdead", {NULL}},
    {stopped_is_deadlock, 2, "runtime/proc.go, checkdead", {"deadlock", "[chan receive]"}},
};
static void test_ends(void **state)
{
    (void)state;
    CHECK_ENDINGS(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends), RUN(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
