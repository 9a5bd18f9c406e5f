/* SPDX-License-Identifier: Apache-2.0
 *
 * The scheduler: migration and errno, many coroutines, sleeping, blocking calls, heavy libc calls on a coroutine's stack, stack limits,
 * control words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fenv.h>
#include <glob.h>
#include <netdb.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- errno */

enum { HOPPERS = 16, HOPS = 2000 };
static int wrong_errno, threads_seen;

static void hop(void *arg)
{
    co_waitgroup *wg = arg;
    int mine = (int)(co_self_id() % 100) + 1;
    pthread_t first = pthread_self();
    bool moved = false;
    errno = mine;
    for (int i = 0; i < HOPS; i++) {
        if (i % 64 == 0)
            co_sleep_ns(1000);
        else
            co_yield_now();
        if (errno != mine) __atomic_fetch_add(&wrong_errno, 1, __ATOMIC_RELAXED);
        if (!pthread_equal(pthread_self(), first)) moved = true;
        errno = mine;
        if (write(-1, "", 1) != -1 || errno != EBADF) __atomic_fetch_add(&wrong_errno, 1, __ATOMIC_RELAXED);
        errno = mine;
    }
    if (moved) __atomic_fetch_add(&threads_seen, 1, __ATOMIC_RELAXED);
    co_wg_done(wg);
}

static void test_errno_follows_the_coroutine(void)
{
    co_waitgroup wg = {0};
    co_wg_add(&wg, HOPPERS);
    for (int i = 0; i < HOPPERS; i++) assert_int_equal(co_go(hop, &wg), 0);
    co_wg_wait(&wg);
    assert_int_equal(wrong_errno, 0);
}

/* ---- many */

enum { MANY = 100000 };
static long arrived;

static void wait_there(void *ch)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
    co_recv(ch, NULL);
    __atomic_fetch_sub(&arrived, 1, __ATOMIC_RELAXED);
}

static void test_many_parked(void)
{
    co_chan *c = co_make(int, 0);
    uint64_t before = co_count();
    for (int i = 0; i < MANY; i++) assert_int_equal(co_go(wait_there, c), 0);
    while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < MANY) co_yield_now();
    assert_int_equal(co_count(), before + MANY);
    co_close(c);
    while (co_count() > before) co_yield_now();
    assert_int_equal(arrived, 0);
}

/* ---- sleep */

struct sleeper {
    uint64_t ns;
    co_chan *order;
};
static void sleep_then_say(void *arg)
{
    struct sleeper *s = arg;
    co_sleep_ns(s->ns);
    co_send(s->order, &s->ns);
}

static void test_sleepers_wake_in_order(void)
{
    enum { N = 20 };
    struct sleeper s[N];
    co_chan *order = co_make(uint64_t, N);
    uint64_t start = now_ns();
    for (unsigned i = 0; i < N; i++) {
        s[i] = (struct sleeper){10000000u + (i * 7 % N) * 5000000u, order};
        co_go(sleep_then_say, &s[i]);
    }
    uint64_t longest = 0, sum = 0, v = 0;
    for (int i = 0; i < N; i++) {
        co_recv(order, &v);
        assert_true(now_ns() - start >= v); /* never early */
        if (v > longest) longest = v;
        sum += v;
    }
    assert_int_equal(v, longest);
    assert_int_equal(sum, N * 10000000u + 5000000u * (N * (N - 1) / 2));
    co_chan_free(order);
}

/* ---- blocking calls give the processor away */

static void block(void *arg)
{
    (void)arg;
    usleep(30000);
}
static void blocker(void *wg)
{
    co_blocking(block, NULL);
    co_wg_done(wg);
}
static void test_blocking_calls_overlap(void)
{
    enum { N = 20 };
    co_waitgroup wg = {0};
    uint64_t start = now_ns();
    co_wg_add(&wg, N);
    for (int i = 0; i < N; i++) co_go(blocker, &wg);
    co_wg_wait(&wg);
    assert_true(now_ns() - start < N * 30000000ull * 3 / 4); /* one after the other would be 600 ms */
}

/* ---- libc */

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void heavy(void *arg)
{
    bool *ok = arg;
    char text[200];
    *ok = true;
    snprintf(text, sizeof text, "%.40Lf %g %d", 1.0L / 3, 2.5, 42);
    *ok = *ok && strstr(text, "0.3333333333333333333") && strstr(text, "2.5 42");
    regex_t re;
    *ok = *ok && regcomp(&re, "^(a|b)*[[:alpha:]]{2,30}(x+y?)+$", REG_EXTENDED) == 0;
    *ok = *ok && regexec(&re, "ababqqxxyx", 0, NULL, 0) == 0;
    regfree(&re);
    int n[2000];
    for (int i = 0; i < 2000; i++) n[i] = (i * 7919) % 2000;
    qsort(n, 2000, sizeof *n, by_value);
    for (int i = 1; i < 2000; i++) *ok = *ok && n[i - 1] <= n[i];
    struct addrinfo *ai = NULL, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    int unknown = getaddrinfo("localhost", "80", &hints, &ai); /* a bare machine knows no name */
    *ok = *ok && (unknown == 0 ? ai != NULL : ai == NULL);
    if (unknown == 0) freeaddrinfo(ai);
    glob_t g;
    *ok = *ok && glob("/proc/self/stat*", 0, NULL, &g) == 0 && g.gl_pathc >= 2;
    globfree(&g);
}
static void heavy_job(void *arg)
{
    void **a = arg;
    heavy(a[0]);
    co_wg_done(a[1]);
}
static void test_heavy_libc_calls(void)
{
    bool ok = false;
    co_waitgroup wg = {0};
    void *a[2] = {&ok, &wg};
    co_wg_add(&wg, 1);
    co_go(heavy_job, a);
    co_wg_wait(&wg);
    assert_true(ok);
}

/* ---- stack limits */

static int use_stack(int kib)
{
    volatile char page[1024];
    page[0] = (char)kib;
    return kib <= 1 ? page[0] : use_stack(kib - 1) + page[0] - page[0];
}
static int result;
static void deep(void *kib)
{
    result = use_stack((int)(intptr_t)kib);
    co_exit();
}
static void test_stack_limits(void)
{
    static const struct {
        size_t limit;
        int use_kib;
    } rows[] = {{0, 150}, {64 << 10, 30}, {1 << 20, 700}, {8 << 20, 6000}, {64 << 20, 40000}, {1 << 30, 100000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t before = co_count();
        result = 0;
        struct co_attr attr = {.stack_limit_bytes = rows[i].limit};
        assert_int_equal(co_go_attr(&attr, deep, (void *)(intptr_t)rows[i].use_kib), 0);
        while (co_count() > before) co_yield_now();
        assert_int_equal(result, 1);
    }
    struct co_attr absurd = {.stack_limit_bytes = (size_t)1 << 40};
    assert_int_equal(co_go_attr(&absurd, deep, NULL), -EINVAL);
}

/* ---- rounding mode is a coroutine's own */

static void round_down(void *arg)
{
    int *mode = arg;
    fesetround(FE_DOWNWARD);
    for (int i = 0; i < 50; i++) co_yield_now();
    *mode = fegetround();
}
static void test_control_words(void)
{
    int mode = -1;
    uint64_t before = co_count();
    co_go(round_down, &mode);
    while (co_count() > before) {
        assert_int_equal(fegetround(), FE_TONEAREST);
        co_yield_now();
    }
    assert_int_equal(mode, FE_DOWNWARD);
}

/* ---- names, ids, other threads */

static void *start_from_thread(void *wg)
{
    for (int i = 0; i < 100; i++) co_wg_add(wg, 1), co_go(blocker, wg);
    return co_self_id() == 0 ? wg : NULL;
}
static void test_start_from_another_thread(void)
{
    co_waitgroup wg = {0};
    pthread_t t;
    void *ok;
    assert_int_equal(pthread_create(&t, NULL, start_from_thread, &wg), 0);
    pthread_join(t, &ok);
    assert_non_null(ok);
    co_wg_wait(&wg);
    assert_true(co_self_id() > 0);
    assert_string_equal(co_name(), "main");
}

/* A locked coroutine stays on its thread, and nothing else runs there: runtime.LockOSThread. */
struct locked {
    co_chan *ch;
    co_waitgroup *wg;
    pid_t tids[4];
};
static struct locked the_locked;
static void stays(void *arg)
{
    long i = (long)(intptr_t)arg, v;
    struct locked *l = &the_locked;
    co_lock_thread();
    co_lock_thread();
    co_unlock_thread();
    pid_t tid = gettid();
    __atomic_store_n(&l->tids[i], tid, __ATOMIC_RELEASE);
    for (int k = 0; k < 300; k++) {
        if (k % 3 == 0) co_yield_now();
        if (k % 3 == 1) co_sleep_ns(1000);
        if (k % 3 == 2) co_recv(l->ch, &v);
        CHECK(gettid() == tid);
    }
    __atomic_store_n(&l->tids[i], 0, __ATOMIC_RELEASE);
    if (i % 2) co_unlock_thread();
    co_wg_done(l->wg);
}
static void others(void *arg)
{
    struct locked *l = arg;
    for (long k = 0; k < 400; k++) {
        pid_t tid = gettid();
        for (int i = 0; i < 4; i++) CHECK(__atomic_load_n(&l->tids[i], __ATOMIC_ACQUIRE) != tid);
        if (k < 100) co_send(l->ch, &k);
        co_yield_now();
    }
    co_wg_done(l->wg);
}

/* Two that wake each other for ever don't keep a third one, or a timer, from their p. */
static co_chan *there, *back;
static long turns;
static void answers(void *arg)
{
    (void)arg;
    co_lock_thread();
    for (long v; co_recv(there, &v);) co_send(back, &v);
}
static void counts(void *arg)
{
    for (; !*(_Atomic bool *)arg; turns++) co_yield_now();
}
static void locked_pair(int others)
{
    _Atomic bool *end = calloc(1, sizeof *end);
    there = co_make(long, 0), back = co_make(long, 0);
    co_lock_thread();
    turns = 0;
    for (int n = 0; n < others; n++) co_go(counts, (void *)end);
    co_go(answers, NULL);
    co_timer *t = co_timer_new(5000000);
    long rounds = 0;
    uint64_t now;
    for (long v; !co_try_recv(co_timer_chan(t), &now, NULL); rounds++) {
        co_send(there, &rounds);
        CHECK(co_recv(back, &v) && v == rounds);
    }
    *end = true;
    co_close(there);
    CHECK(rounds > 0 && (turns > rounds / 1000) == (others > 0));
    co_timer_free(t);
    co_unlock_thread();
}
static void test_locked_threads(void)
{
    static co_waitgroup wg;
    the_locked = (struct locked){.ch = co_make(long, 0), .wg = &wg};
    co_wg_add(&wg, 8);
    for (long i = 0; i < 4; i++) {
        co_go(stays, (void *)(intptr_t)i);
        co_go(others, &the_locked);
    }
    co_wg_wait(&wg);
    locked_pair(0);
    locked_pair(6);   /* more than there are processors */
    co_lock_thread(); /* main() too */
    pid_t tid = gettid();
    co_sleep_ns(1000000);
    CHECK(gettid() == tid);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "4", 1);
    const struct CMUnitTest tests[] = {
        RUN(test_locked_threads),
        RUN(test_errno_follows_the_coroutine),
        RUN(test_many_parked),
        RUN(test_sleepers_wake_in_order),
        RUN(test_blocking_calls_overlap),
        RUN(test_heavy_libc_calls),
        RUN(test_stack_limits),
        RUN(test_control_words),
        RUN(test_start_from_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
