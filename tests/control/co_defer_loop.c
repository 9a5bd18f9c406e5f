/* SPDX-License-Identifier: Apache-2.0
 *
 * A coroutine that goes on for ever defers something for each request that it serves, so nothing is ever given back. The twin gives each
 * request a scope. */
#include <unistd.h>

#include "coro.h"
#include "seep.h"
#include "tests/control/plant.h"

static bool leak;
static co_chan *requests;

static void give_back(void *p)
{
    free(p);
}

static void request(void)
{
    void *p = malloc(64);
    co_defer(give_back, p);
}

static void serves(void *arg)
{
    (void)arg;
    for (;;) {
        co_recv(requests, NULL); /* PLANTED */
        if (leak) {
            request();
        } else {
            CO_SCOPE;
            request();
        }
    }
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    requests = co_make(int, 0);
    co_go(serves, NULL); /* CREATED */
    for (int step = 0; step < 4; step++) {
        for (int i = 0; i < 30; i++) co_send(requests, &i);
        co_sleep_ns(1000000);
        if (argc > 2 && step < 3) /* once: snapshots that are not recorded see the others */
            co_pack(0);
        else if (seep_snapshot(""))
            return 3;
    }
    return 0;
}
