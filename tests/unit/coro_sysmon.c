/* SPDX-License-Identifier: Apache-2.0
 *
 * The monitor thread: how often it wakes while the program pauses shortly, or for long, and that it is there when it is needed. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "coro/types.h"
#include "tests/unit/coro_test.h"

enum { MS = 1000000 };

static long switches_of(const char *tid)
{
    char path[300], line[128];
    long n = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", tid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) (void)sscanf(line, "voluntary_ctxt_switches: %ld", &n);
    if (f) fclose(f);
    return n;
}

static bool runs_coroutines(int tid)
{
    for (struct m *m = atomic_load(&sched.all_m); m; m = m->all_link)
        if (m->tid == tid) return true;
    return tid == getpid();
}
static long monitor_switches(void)
{
    long sum = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && !runs_coroutines(atoi(e->d_name))) sum += switches_of(e->d_name);
    closedir(d);
    return sum;
}

static void nothing(void *arg)
{
    (void)arg;
}
static void pause_shortly(int times)
{
    co_go(nothing, NULL); /* the first one starts the monitor */
    for (int i = 0; i < times; i++) co_sleep_ns(MS);
}

/* Sleeping and waking with each pause would be one time for each at least. */
static void test_short_pauses(void)
{
    enum { PAUSES = 1500 };
    setenv("CORO_MAXPROCS", "1", 1);
    pause_shortly(1);
    long before = monitor_switches();
    pause_shortly(PAUSES);
    assert_true(monitor_switches() - before < PAUSES);
}

/* It looks round every 10 ms unless it sleeps: after short pauses, too, a long one lets it sleep. */
static void test_long_pause(void)
{
    setenv("CORO_MAXPROCS", "1", 1);
    pause_shortly(300);
    long before = monitor_switches();
    co_sleep_ns(2000 * (uint64_t)MS);
    assert_true(monitor_switches() - before < 120);
}

static void block(void *arg)
{
    (void)arg;
    nanosleep(&(struct timespec){.tv_nsec = 300 * MS}, NULL);
}
static void count(void *arg)
{
    for (int i = 0; i < 20; i++) {
        ++*(int *)arg;
        co_sleep_ns(MS);
    }
}

/* The processor of a blocking call is lent to others, after short pauses and after a long one. */
static void test_blocking_after_pauses(void)
{
    setenv("CORO_MAXPROCS", "1", 1);
    for (int round = 0; round < 2; round++) {
        int counted = 0;
        pause_shortly(200);
        if (round) co_sleep_ns(300 * (uint64_t)MS);
        co_go(count, &counted);
        co_blocking(block, NULL);
        assert_int_equal(counted, 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(test_short_pauses),
        RUN(test_long_pause),
        RUN(test_blocking_after_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
