/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything of the runtime at once, for as many rounds as asked: pipelines, selects with timeouts, mutexes, blocking calls, sockets,
 * coroutines that come and go. Every round must come to its end with the right sums and no coroutine left. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coro.h"

enum { STAGES = 5, VALUES = 300, LOCKERS = 6, SPAWNS = 300, PAIRS = 6 };

static co_mutex mutex;
static long locked, spawned;
static co_waitgroup all;

struct stage {
    co_chan *in, *out;
};
static void stage(void *arg)
{
    struct stage *s = arg;
    long v;
    while (co_recv(s->in, &v)) {
        v++;
        co_send(s->out, &v);
    }
    co_close(s->out);
    co_wg_done(&all);
}

static void locker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++) {
        co_mutex_lock(&mutex);
        long l = locked;
        if (i % 20 == 0) co_yield_now();
        if (i % 100 == 0) co_sleep_ns(20000);
        locked = l + 1;
        co_mutex_unlock(&mutex);
    }
    co_wg_done(&all);
}

static void nap(void *arg)
{
    (void)arg;
    usleep(200);
}
static void blocker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) co_blocking(nap, NULL);
    co_wg_done(&all);
}

static void leaf(void *arg)
{
    (void)arg;
    __atomic_fetch_add(&spawned, 1, __ATOMIC_RELAXED);
    co_wg_done(&all);
}
static void spawner(void *arg)
{
    (void)arg;
    for (int i = 0; i < SPAWNS; i++) {
        co_wg_add(&all, 1);
        if (co_go(leaf, NULL) != 0) abort();
        if (i % 50 == 0) co_yield_now();
    }
    co_wg_done(&all);
}

static void echo(void *fd)
{
    char buf[64];
    ssize_t n;
    while ((n = co_read((int)(long)fd, buf, sizeof buf)) > 0) co_write((int)(long)fd, buf, (size_t)n);
    close((int)(long)fd);
    co_wg_done(&all);
}
static void talker(void *fd)
{
    for (int i = 0; i < 50; i++) {
        char c = (char)i, d = 0;
        if (co_write((int)(long)fd, &c, 1) != 1 || co_read((int)(long)fd, &d, 1) != 1 || c != d) abort();
    }
    close((int)(long)fd);
    co_wg_done(&all);
}

static void expire(void *ch)
{
    co_sleep_ns(300000);
    co_close(ch);
    co_wg_done(&all);
}
static void impatient(void *arg)
{
    (void)arg;
    co_chan *never = co_make(long, 0), *late = co_make(long, 0);
    long v;
    struct co_case cases[] = {{.ch = never, .kind = CO_RECV, .elem = &v}, {.ch = late, .kind = CO_RECV, .elem = &v}};
    co_wg_add(&all, 1);
    co_go(expire, late);
    if (co_select(cases, 2) != 1 || cases[1].ok) abort();
    co_chan_free(never);
    co_chan_free(late);
    co_wg_done(&all);
}

static void go(co_fn *fn, void *arg)
{
    co_wg_add(&all, 1);
    if (co_go(fn, arg) != 0) abort();
}

static void one_round(void)
{
    co_chan *c[STAGES + 1];
    struct stage s[STAGES];
    for (int i = 0; i <= STAGES; i++) c[i] = co_make(long, (size_t)i % 3);
    for (int i = 0; i < STAGES; i++) {
        s[i] = (struct stage){c[i], c[i + 1]};
        go(stage, &s[i]);
    }
    locked = spawned = 0;
    for (int i = 0; i < LOCKERS; i++) go(locker, NULL);
    for (int i = 0; i < 4; i++) go(blocker, NULL), go(spawner, NULL), go(impatient, NULL);
    for (int i = 0; i < PAIRS; i++) {
        int fd[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0) abort();
        go(echo, (void *)(long)fd[0]);
        go(talker, (void *)(long)fd[1]);
    }
    long sent = 0, got = 0, sum = 0, v;
    while (got < VALUES) {
        struct co_case cases[] = {{.ch = sent < VALUES ? c[0] : NULL, .kind = CO_SEND, .elem = &sent},
                                  {.ch = c[STAGES], .kind = CO_RECV, .elem = &v}};
        if (co_select(cases, 2) == 0) {
            if (++sent == VALUES) co_close(c[0]);
        } else {
            got++;
            sum += v;
        }
    }
    if (sum != (long)VALUES * (VALUES - 1) / 2 + (long)VALUES * STAGES) abort();
    co_wg_wait(&all);
    if (locked != LOCKERS * 200 || spawned != 4 * SPAWNS) abort();
    while (co_count() > 1) co_yield_now();
    for (int i = 0; i <= STAGES; i++) co_chan_free(c[i]);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 30;
    for (int i = 0; i < rounds; i++) one_round();
    printf("%d rounds on %u processors\n", rounds, co_maxprocs());
    return 0;
}
