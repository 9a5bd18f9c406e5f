/* SPDX-License-Identifier: Apache-2.0
 *
 * Many short-lived threads: each takes over the blocks that the thread before it left, frees them, and leaves 1,000 of
 * its own. A thread's cache must come back when it ends. */
#include <pthread.h>

#include "bench/alloc/load.h"

enum { THREADS = 5000, BLOCKS = 1000 };

static void *block[BLOCKS];

static void *live_shortly(void *arg)
{
    struct rng r = {0x6a09e667f3bcc909u + (uintptr_t)arg};
    for (int i = 0; i < BLOCKS; i++) {
        free(block[i]);
        block[i] = block_new(16 + rng_below(&r, 497));
    }
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
