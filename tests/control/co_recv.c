/* SPDX-License-Identifier: Apache-2.0
 *
 * Five workers each wait for jobs on a channel of their own, which the dispatcher forgets to close. The twin closes. */
#include "coro.h"
#include "tests/control/plant.h"

enum { WORKERS = 5, JOBS = 3 };

static bool leak;
static co_waitgroup done;

static void work(void *arg)
{
    int job;
    while (co_recv(arg, &job)) co_wg_done(&done); /* PLANTED */
    co_chan_free(arg);
}

static __attribute__((noinline)) void dispatch(void)
{
    co_wg_add(&done, WORKERS * JOBS);
    for (int w = 0; w < WORKERS; w++) {
        co_chan *jobs = co_make(int, 1);
        co_go(work, jobs); /* CREATED */
        for (int j = 0; j < JOBS; j++) co_send(jobs, &j);
        if (!leak) co_close(jobs);
    }
    co_wg_wait(&done);
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    dispatch();
    scrub();
    co_sleep_ns(20000000);
    return 0;
}
