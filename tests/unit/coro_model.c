/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels against a sequential model. A seed makes a program of operations for one coroutine at a time (try forms, select with
 * default, close) on a few channels, and every result must be that of the model. Then many coroutines at once with random
 * operations: what was sent is received exactly once, and each sender's values arrive in their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

static uint64_t rng_state;
static unsigned rng(unsigned below)
{
    rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)((rng_state >> 33) % below);
}

/* ---- one at a time */

enum { CHANS = 4, STEPS = 400, SEEDS = 300, MAX_CAP = 5 };
struct model {
    size_t cap, n, head;
    bool closed;
    long ring[MAX_CAP];
};

static bool model_send(struct model *m, long v)
{
    if (m->n == m->cap) return false;
    m->ring[(m->head + m->n++) % m->cap] = v;
    return true;
}
static bool model_recv(struct model *m, long *v, bool *ok)
{
    if (m->n) {
        *v = m->ring[m->head];
        m->head = (m->head + 1) % m->cap;
        m->n--;
        *ok = true;
        return true;
    }
    *v = 0;
    *ok = false;
    return m->closed;
}

static void one_seed(uint64_t seed)
{
    co_chan *c[CHANS];
    struct model m[CHANS];
    rng_state = seed;
    for (int i = 0; i < CHANS; i++) {
        m[i] = (struct model){.cap = rng(MAX_CAP + 1)};
        c[i] = co_make(long, m[i].cap);
    }
    for (int s = 0; s < STEPS; s++) {
        unsigned k = rng(CHANS);
        long v = (long)rng(1000) + 1, got = -1, want = -1;
        bool ok = false, want_ok = false;
        switch (rng(8)) {
        case 0:
        case 1:
        case 2:
            if (m[k].closed) break;
            assert_int_equal(co_try_send(c[k], &v), model_send(&m[k], v));
            break;
        case 3:
        case 4:
            if (model_recv(&m[k], &want, &want_ok)) {
                assert_true(co_try_recv(c[k], &got, &ok));
                assert_int_equal(got, want);
                assert_int_equal(ok, want_ok);
            } else {
                assert_false(co_try_recv(c[k], &got, &ok));
            }
            break;
        case 5:
        case 6: { /* a select over two: when both are ready either may go */
            unsigned j = rng(CHANS);
            if (m[j].closed) break;
            struct co_case cases[] = {{.ch = c[k], .kind = CO_RECV, .elem = &got},
                                      {.ch = c[j], .kind = CO_SEND, .elem = &v}};
            bool can_recv = m[k].n || m[k].closed, can_send = m[j].n < m[j].cap;
            long i = co_try_select(cases, 2);
            if (i == 0) {
                assert_true(can_recv);
                model_recv(&m[k], &want, &want_ok);
                assert_int_equal(got, want);
                assert_int_equal(cases[0].ok, want_ok);
            } else if (i == 1) {
                assert_true(can_send && model_send(&m[j], v));
            } else {
                assert_false(can_recv || can_send);
            }
            break;
        }
        default:
            if (rng(60) == 0 && !m[k].closed) {
                co_close(c[k]);
                m[k].closed = true;
            }
        }
        assert_int_equal(co_len(c[k]), m[k].n);
    }
    for (int i = 0; i < CHANS; i++) co_chan_free(c[i]);
}

static void test_sequential(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) one_seed(seed * 0x9e3779b97f4a7c15ull);
}

/* ---- all at once */

enum { SENDERS = 8, RECEIVERS = 8, EACH = 2000, LINKS = 3 };
static co_chan *links[LINKS];
static co_waitgroup senders, receivers;
static unsigned char seen[SENDERS][EACH];
static long failures;

static void sender(void *arg)
{
    long who = (long)(intptr_t)arg;
    uint64_t r = (uint64_t)who * 77777 + 1;
    for (long i = 0; i < EACH; i++) {
        long v = who * EACH + i;
        r = r * 6364136223846793005ull + 1442695040888963407ull;
        unsigned what = (unsigned)(r >> 40) % 4, k = (unsigned)(r >> 50) % LINKS;
        if (what == 0) {
            struct co_case cases[LINKS];
            for (int n = 0; n < LINKS; n++) cases[n] = (struct co_case){.ch = links[n], .kind = CO_SEND, .elem = &v};
            co_select(cases, LINKS);
        } else if (what == 1) {
            while (!co_try_send(links[k], &v)) co_yield_now();
        } else {
            co_send(links[k], &v);
        }
        if (what == 3) co_yield_now();
    }
    co_wg_done(&senders);
}

static void take(long v, long last[SENDERS][LINKS], unsigned k)
{
    long who = v / EACH, i = v % EACH;
    if (__atomic_exchange_n(&seen[who][i], 1, __ATOMIC_RELAXED)) __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    if (i <= last[who][k]) __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED); /* FIFO for each sender and channel */
    last[who][k] = i;
}

static void receiver(void *arg)
{
    unsigned k = (unsigned)(intptr_t)arg % LINKS;
    long last[SENDERS][LINKS], v;
    memset(last, -1, sizeof last);
    bool by_select = (intptr_t)arg % 2;
    unsigned open = LINKS;
    struct co_case cases[LINKS];
    for (int n = 0; n < LINKS; n++) cases[n] = (struct co_case){.ch = links[n], .kind = CO_RECV, .elem = &v};
    while (by_select && open) {
        size_t i = co_select(cases, LINKS);
        if (cases[i].ok)
            take(v, last, (unsigned)i);
        else
            cases[i].ch = NULL, open--; /* closed: never ready again */
    }
    while (!by_select && co_recv(links[k], &v)) take(v, last, k);
    co_wg_done(&receivers);
}

static void test_concurrent(void)
{
    for (int round = 0; round < 3; round++) {
        memset(seen, 0, sizeof seen);
        for (int i = 0; i < LINKS; i++) links[i] = co_make(long, (size_t)(round + i) % 3);
        co_wg_add(&senders, SENDERS);
        co_wg_add(&receivers, RECEIVERS);
        for (intptr_t i = 0; i < RECEIVERS; i++) co_go(receiver, (void *)i);
        for (intptr_t i = 0; i < SENDERS; i++) co_go(sender, (void *)i);
        co_wg_wait(&senders);
        for (int i = 0; i < LINKS; i++) co_close(links[i]);
        co_wg_wait(&receivers);
        for (int i = 0; i < LINKS; i++) co_chan_free(links[i]);
        for (int s = 0; s < SENDERS; s++)
            for (int i = 0; i < EACH; i++) failures += !seen[s][i];
        assert_int_equal(failures, 0);
    }
}

/* ---- mutex */

static co_mutex mutex;
static long counter;
static void count_up(void *wg)
{
    for (int i = 0; i < 5000; i++) {
        if (i % 5 || !co_mutex_try_lock(&mutex)) co_mutex_lock(&mutex);
        long c = counter;
        if (i % 16 == 0) co_yield_now();
        counter = c + 1;
        co_mutex_unlock(&mutex);
    }
    co_wg_done(wg);
}
static void test_mutex_excludes(void)
{
    co_waitgroup wg = {0};
    co_wg_add(&wg, 8);
    for (int i = 0; i < 8; i++) co_go(count_up, &wg);
    co_wg_wait(&wg);
    assert_int_equal(counter, 8 * 5000);
    assert_true(co_mutex_try_lock(&mutex));
    assert_false(co_mutex_try_lock(&mutex));
    co_mutex_unlock(&mutex);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "4", 1);
    const struct CMUnitTest tests[] = {RUN(test_sequential), RUN(test_concurrent), RUN(test_mutex_excludes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
