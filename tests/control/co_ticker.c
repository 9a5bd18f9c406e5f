/* SPDX-License-Identifier: Apache-2.0
 *
 * Five tickers whose loops have ended and who were not stopped; the twin stops them. A ticker that is listened to and a pending
 * timer that a coroutine waits for are no findings. */
#include "coro.h"
#include "tests/control/plant.h"

static bool leak;

static __attribute__((noinline)) void poll_for_a_while(void)
{
    co_ticker *t = co_ticker_new(3600000000000u); /* PLANTED */
    co_sleep_ns(1000000);
    if (!leak) co_ticker_free(t);
}

static void listens(void *arg)
{
    uint64_t now;
    for (;;) co_recv(co_ticker_chan(arg), &now);
}

static void waits(void *arg)
{
    (void)arg;
    uint64_t now;
    co_recv(co_after(3600000000000u), &now);
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    co_go(listens, co_ticker_new(1000000));
    co_go(waits, NULL);
    for (int i = 0; i < 5; i++) poll_for_a_while();
    scrub();
    co_sleep_ns(20000000);
    return 0;
}
