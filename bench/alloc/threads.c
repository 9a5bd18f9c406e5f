/* SPDX-License-Identifier: Apache-2.0
 *
 * Many short-lived threads, one after the other, as a server with a thread for each connection: each does 4,000 steps
 * on 200 blocks of its own, frees all but two, and leaves those in a table of 2,000 that all share. */
#include <pthread.h>

#include "bench/alloc/load.h"

enum { THREADS = 2500, STEPS = 4000, BLOCKS = 200, KEPT = 2, TABLE = 2000 };

static void *table[TABLE];

static void *live_shortly(void *arg)
{
    void *block[BLOCKS] = {0};
    struct rng r = {0x6a09e667f3bcc909u + (uintptr_t)arg};
    for (int i = 0; i < STEPS; i++) {
        uint32_t at = rng_below(&r, BLOCKS);
        free(block[at]);
        block[at] = block_new(16 + rng_below(&r, 497));
    }
    for (int i = 0; i < KEPT; i++) {
        uint32_t at = rng_below(&r, TABLE);
        free(table[at]);
        table[at] = block[i];
    }
    for (int i = KEPT; i < BLOCKS; i++) free(block[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    for (long n = load_scale(argc, argv) * THREADS; n > 0; n--) {
        pthread_t t;
        if (pthread_create(&t, NULL, live_shortly, (void *)n)) return 4;
        pthread_join(t, NULL);
    }
    return 0;
}
