/* SPDX-License-Identifier: Apache-2.0
 *
 * First answer wins: three coroutines send their answer on an unbuffered channel, the caller takes one and goes; two of
 * them wait for ever. 10 rounds: 20 stuck coroutines. The twin gives the channel room for every answer. */
#include "coro.h"
#include "tests/control/plant.h"

static bool leak;

static void fetch(void *arg)
{
    int answer = 42;
    co_send(arg, &answer); /* PLANTED */
}

static __attribute__((noinline)) int first_wins(void)
{
    co_chan *ch = co_make(int, leak ? 0 : 3);
    int answer = 0;
    for (int i = 0; i < 3; i++) co_go(fetch, ch); /* CREATED */
    co_recv(ch, &answer);
    if (!leak) {
        co_recv(ch, &answer);
        co_recv(ch, &answer);
        co_chan_free(ch);
    }
    return answer;
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    for (int i = 0; i < 10; i++)
        if (first_wins() != 42) return 4;
    scrub();
    co_sleep_ns(20000000);
    return 0;
}
