/* SPDX-License-Identifier: Apache-2.0
 *
 * Many coroutines that wait, and two snapshots of them, for bench/snapshot.plan:   tasks daisy|stuck COUNT
 * daisy: each holds, on its stack, the channel that the next one receives from; main holds the first. All are live, and each is known to
 * be so only once the one before it is. stuck: each receives from a channel that nobody else holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coro.h"
#include "seep.h"

struct link {
    co_chan *in, *out;
};

static _Atomic long waiting;

static void wait_here(void *arg)
{
    volatile struct link l = *(struct link *)arg;
    ((struct link *)arg)->in = ((struct link *)arg)->out = NULL;
    free(arg);
    waiting++;
    co_recv(l.in, NULL);
    if (l.out) co_send(l.out, NULL);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    int daisy = strcmp(argv[1], "daisy") == 0;
    long n = atol(argv[2]);
    co_chan *volatile held = NULL;
    co_chan *next = co_chan_make(0, 0);
    if (daisy) held = next;
    for (long i = 0; i < n; i++) {
        struct link *l = malloc(sizeof *l);
        if (!l) return 4;
        l->in = next;
        next = co_chan_make(0, 0);
        l->out = daisy ? next : NULL;
        if (co_go(wait_here, l) < 0) return 4;
        if (i % 256 == 0) co_yield ();
    }
    next = NULL;
    while (waiting < n) co_yield ();
    co_sleep_ns(10000000);
    for (int i = 0; i < 2; i++) {
        int r = seep_snapshot(argv[1]);
        if (r) {
            fprintf(stderr, "tasks: snapshot failed: %d\n", r);
            return 1;
        }
    }
    return held != NULL && !daisy;
}
