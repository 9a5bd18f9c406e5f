/* SPDX-License-Identifier: Apache-2.0
 *
 * A timeout in a loop: 150 timers of an hour, each forgotten when the work came first. The twin keeps one and resets it. */
#include "coro.h"
#include "tests/control/plant.h"

#define HOUR 3600000000000ull
static bool leak;
static co_timer *one; /* the twin's */

static co_chan *work;

static __attribute__((noinline)) void serve(void)
{
    for (int i = 0; i < 150; i++) {
        co_chan *late;
        if (leak) {
            late = co_after(HOUR); /* PLANTED */
        } else {
            if (!one) one = co_timer_new(HOUR);
            co_timer_reset(one, HOUR);
            late = co_timer_chan(one);
        }
        co_send(work, &i);
        struct co_case c[] = {{.ch = work, .kind = CO_RECV}, {.ch = late, .kind = CO_RECV}};
        co_select(c, 2);
    }
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    work = co_make(int, 1);
    serve();
    scrub();
    co_sleep_ns(20000000);
    return 0;
}
