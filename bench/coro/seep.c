/* SPDX-License-Identifier: Apache-2.0
 *
 * seep's runtime in the loads of bench/coro.plan:   seep LOAD COUNT
 * Does COUNT operations and prints what one costs (ns, or bytes for "parked"). go.go, boost.cc and st.c do the same work. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coro.h"

static long count, turns;
static co_waitgroup wg;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* One of them times the turns from its second one on: by then all others have been started, and none has ended when it has had its last. */
static double first_turn, last_turn;

static void yielder(void *arg)
{
    bool clock = arg != NULL;
    co_yield ();
    if (clock) first_turn = now();
    for (long i = 1; i < turns; i++) co_yield ();
    if (clock) last_turn = now();
    co_wg_done(&wg);
}

/* `many` coroutines yield to each other, in the second round with warm stacks. */
static double yields(long many)
{
    for (int round = 0; round < 2; round++) {
        turns = round ? count / many : 3;
        co_wg_add(&wg, many);
        for (long i = 0; i < many; i++)
            if (co_go(yielder, i ? NULL : &turns) != 0) exit(1);
        co_wg_wait(&wg);
    }
    return (last_turn - first_turn) / (double)((turns - 1) * many);
}
static double load_yield(void)
{
    return yields(2);
}
static double load_many(void)
{
    return yields(100000);
}

static co_chan *ping, *pong, *four[4];

static void echo(void *apart)
{
    long v;
    if (apart) co_lock_thread();
    while (co_recv(ping, &v)) co_send(pong, &v);
}

static double round_trips(bool apart)
{
    ping = co_make(long, 0);
    pong = co_make(long, 0);
    if (apart) co_lock_thread();
    co_go(echo, apart ? ping : NULL);
    double begin = now();
    for (long i = 0, v; i < count; i++) {
        co_send(ping, &i);
        co_recv(pong, &v);
    }
    return (now() - begin) / (double)count;
}

static double load_chan(void)
{
    return round_trips(false);
}
/* Each on a thread of its own, so that every wake-up goes to another processor. */
static double load_chan_apart(void)
{
    return round_trips(true);
}

static void producer(void *arg)
{
    (void)arg;
    for (long i = 0; i < count; i++) co_send(ping, &i);
    co_close(ping);
}

static double load_buffered(void)
{
    ping = co_make(long, 128);
    co_go(producer, NULL);
    double begin = now();
    long v;
    while (co_recv(ping, &v)) continue;
    return (now() - begin) / (double)count;
}

/* A buffered channel is filled and one of four cases finds it. */
static double load_select_ready(void)
{
    long v;
    struct co_case cases[4];
    for (int i = 0; i < 4; i++) cases[i] = (struct co_case){.ch = co_make(long, 1), .kind = CO_RECV, .elem = &v};
    double begin = now();
    for (long i = 0; i < count; i++) {
        co_send(cases[i % 4].ch, &i);
        co_select(cases, 4);
    }
    return (now() - begin) / (double)count;
}

static void waker(void *arg)
{
    (void)arg;
    long v;
    for (long i = 0; i < count; i++) {
        co_send(four[i % 4], &i);
        co_recv(pong, &v);
    }
}

/* The select always waits, is woken by one of four, and answers. */
static double load_select_wait(void)
{
    long v;
    struct co_case cases[4];
    pong = co_make(long, 0);
    for (int i = 0; i < 4; i++) {
        four[i] = co_make(long, 0);
        cases[i] = (struct co_case){.ch = four[i], .kind = CO_RECV, .elem = &v};
    }
    co_go(waker, NULL);
    double begin = now();
    for (long i = 0; i < count; i++) {
        co_select(cases, 4);
        co_send(pong, &v);
    }
    return (now() - begin) / (double)count;
}

static void nothing(void *arg)
{
    (void)arg;
    co_wg_done(&wg);
}

static double load_spawn(void)
{
    double begin = now();
    for (long i = 0; i < count; i += 100) {
        co_wg_add(&wg, 100);
        for (int k = 0; k < 100; k++) co_go(nothing, NULL);
        co_wg_wait(&wg);
    }
    return (now() - begin) / (double)count;
}

static double load_mutex(void)
{
    static co_mutex m;
    double begin = now();
    for (long i = 0; i < count; i++) {
        co_mutex_lock(&m);
        co_mutex_unlock(&m);
    }
    return (now() - begin) / (double)count;
}

static double load_timer(void)
{
    double begin = now();
    for (long i = 0; i < count; i++) {
        co_timer *t = co_timer_new(3600000000000u);
        co_timer_stop(t);
        co_timer_free(t);
    }
    return (now() - begin) / (double)count;
}

static long status_kib(const char *field)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0) kib = atol(line + strlen(field) + 1);
    if (f) fclose(f);
    return kib;
}

static void receiver(void *arg)
{
    co_recv(arg, NULL);
    co_wg_done(&wg);
}

static void park_all(size_t limit, double *ns, double *bytes)
{
    const struct co_attr attr = {.stack_limit_bytes = limit};
    co_chan *c = co_make(long, 0);
    co_go(nothing, NULL), co_wg_add(&wg, 1), co_wg_wait(&wg);
    long before = status_kib("VmRSS") + status_kib("VmPTE");
    double begin = now();
    for (long i = 0; i < count; i++) {
        if (co_go_attr(&attr, receiver, c) != 0) exit(1);
        if (i % 100 == 99) co_yield ();
    }
    co_yield ();
    *ns = (now() - begin) / (double)count;
    *bytes = (double)(status_kib("VmRSS") + status_kib("VmPTE") - before) * 1024 / (double)count;
}
static double load_parked(void)
{
    double ns, bytes;
    park_all(0, &ns, &bytes);
    return bytes;
}
static double load_parked_64k(void)
{
    double ns, bytes;
    park_all(64 << 10, &ns, &bytes);
    return bytes;
}
static double load_park(void)
{
    double ns, bytes;
    park_all(0, &ns, &bytes);
    return ns;
}

static const struct {
    const char *name;
    double (*run)(void);
} loads[] = {
    {"yield", load_yield},
    {"many", load_many},
    {"chan", load_chan},
    {"chan-apart", load_chan_apart},
    {"buffered", load_buffered},
    {"select-ready", load_select_ready},
    {"select-wait", load_select_wait},
    {"spawn", load_spawn},
    {"mutex", load_mutex},
    {"timer", load_timer},
    {"park", load_park},
    {"parked", load_parked},
    {"parked-64k", load_parked_64k},
};

int main(int argc, char **argv)
{
    if (argc == 3)
        for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
            if (strcmp(argv[1], loads[i].name) == 0) {
                count = atol(argv[2]);
                double cost = loads[i].run();
                printf("metric %s %.3f\n", strncmp(argv[1], "parked", 6) == 0 ? "bytes" : "ns", cost);
                fflush(stdout);
                _Exit(0);
            }
    fprintf(stderr, "usage: seep LOAD COUNT\n");
    return 2;
}
