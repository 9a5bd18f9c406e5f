/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing while everything moves: coroutines call each other through channels, some of them rarely, each checks its frame after each wait;
 * meanwhile the process packs and takes snapshots as fast as it can. Argument: seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coro.h"

enum { N = 3000 };
static co_chan *to[N];
static co_waitgroup done;
static _Atomic long wakes, broken;

static void worker(void *arg)
{
    long i = (long)arg, v;
    volatile unsigned char frame[64 + 7 * 64];
    size_t size = 64 + (size_t)(i % 8) * 64;
    for (;;) {
        for (size_t k = 0; k < size; k++) frame[k] = (unsigned char)(k + (size_t)i);
        if (!co_recv(to[i], &v)) break;
        for (size_t k = 0; k < size; k++) broken += frame[k] != (unsigned char)(k + (size_t)i);
        wakes++;
    }
    co_wg_done(&done);
}

static void driver(void *arg)
{
    unsigned rng = (unsigned)(long)arg;
    time_t end = time(NULL) + (time_t)(long)arg % 1000;
    while (time(NULL) <= end) {
        rng = rng * 1103515245 + 12345;
        long v = rng >> 8;
        co_try_send(to[(unsigned)v % ((rng >> 28) ? 64 : N)], &v); /* most go to a few */
        if ((rng >> 20 & 63) == 0) co_sleep_ns(50000);
    }
    co_wg_done(&done);
}

int main(int argc, char **argv)
{
    long seconds = argc > 1 ? atol(argv[1]) : 2, packed = 0;
    for (long i = 0; i < N; i++) {
        to[i] = co_make(long, 0);
        co_wg_add(&done, 1);
        co_go(worker, (void *)i);
    }
    for (long d = 0; d < 3; d++) {
        co_wg_add(&done, 1);
        co_go(driver, (void *)(d * 1000 + seconds));
    }
    time_t end = time(NULL) + (time_t)seconds;
    while (time(NULL) <= end) {
        long n = co_pack(0);
        if (n < 0) return 77;
        packed += n;
        co_sleep_ns(1000000);
    }
    co_sleep_ns(1100000000);
    for (long i = 0; i < N; i++) co_close(to[i]);
    co_wg_wait(&done);
    printf("%ld wakes, %ld packed, %ld broken\n", (long)wakes, packed, (long)broken);
    return broken || wakes < 1000 || packed < N ? 1 : 0;
}
