/* SPDX-License-Identifier: Apache-2.0
 *
 * More runnable coroutines than the ring of one processor holds: all take turns, and what else becomes ready is not starved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

enum { ROUNDS = 40 };
static int apart = 3;
static long many, done[ROUNDS];

static void takes_turns(void *wg)
{
    for (int r = 0; r < ROUNDS; r++) {
        errno = r + 1;
        co_yield_now();
        CHECK(errno == r + 1);
        done[r]++;
        if (r >= apart) CHECK(done[r - apart] == many);
    }
    co_wg_done(wg);
}

static void test_all_take_turns(void)
{
    static const long sizes[] = {2, 200, 255, 257, 300, 520, 1000, 5000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        co_waitgroup wg = {0};
        many = sizes[i];
        memset(done, 0, sizeof done);
        co_wg_add(&wg, many);
        for (long k = 0; k < many; k++) assert_int_equal(co_go(takes_turns, &wg), 0);
        co_wg_wait(&wg);
        assert_int_equal(done[ROUNDS - 1], many);
    }
}

static bool stop;
static co_chan *ping, *pong;

static void fills_the_queue(void *wg)
{
    while (!stop) co_yield_now();
    co_wg_done(wg);
}
static void echoes(void *unused)
{
    (void)unused;
    long v;
    while (co_recv(ping, &v)) co_send(pong, &v);
}
static void *sends_from_a_thread(void *ch)
{
    long v = 7;
    while (!co_try_send(ch, &v)) usleep(100);
    return NULL;
}

static void test_nobody_is_starved(void)
{
    enum { N = 2000 };
    co_waitgroup wg = {0};
    co_wg_add(&wg, N);
    for (long k = 0; k < N; k++) assert_int_equal(co_go(fills_the_queue, &wg), 0);
    ping = co_make(long, 0);
    pong = co_make(long, 0);
    co_go(echoes, NULL);
    for (long i = 0, v; i < 500; i++) {
        co_send(ping, &i);
        co_recv(pong, &v);
        assert_int_equal(v, i);
    }
    for (int i = 0; i < 10; i++) co_sleep_ns(1000000);
    pthread_t t;
    co_chan *c = co_make(long, 0);
    long v = 0;
    assert_int_equal(pthread_create(&t, NULL, sends_from_a_thread, c), 0);
    co_recv(c, &v);
    assert_int_equal(v, 7);
    stop = true;
    co_wg_wait(&wg);
    pthread_join(t, NULL);
}

/* Two that wake each other, always by the place before the queue. */
static long rounds;
static void rallies(void *unused)
{
    (void)unused;
    long v;
    while (co_recv(ping, &v)) rounds++, co_send(pong, &v);
}
static void serves(void *unused)
{
    (void)unused;
    for (long v = 0; !stop;) co_send(ping, &v), co_recv(pong, &v);
    co_close(ping);
}
static void test_two_partners_leave_the_rest_its_turn(void)
{
    enum { N = 1000 };
    co_waitgroup wg = {0};
    many = N;
    apart = ROUNDS; /* every 64th comes out of turn: that all come to their end is what counts */
    ping = co_make(long, 0);
    pong = co_make(long, 0);
    co_go(rallies, NULL);
    co_go(serves, NULL);
    co_wg_add(&wg, N);
    for (long k = 0; k < N; k++) assert_int_equal(co_go(takes_turns, &wg), 0);
    co_wg_wait(&wg);
    stop = true;
    assert_true(rounds > 0);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "1", 1);
    const struct CMUnitTest tests[] = {
        RUN(test_all_take_turns),
        RUN(test_nobody_is_starved),
        RUN(test_two_partners_leave_the_rest_its_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
