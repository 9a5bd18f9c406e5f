/* SPDX-License-Identifier: Apache-2.0
 *
 * A server's mix, on two threads: each request allocates some 20 blocks, 90 % of them small, fills a reply, and
 * frees all but one, which lives in a cache of 20,000 entries until its place is needed. Every eighth cache entry
 * belongs to the other thread. */
#include <pthread.h>

#include "bench/alloc/load.h"

enum { THREADS = 2, CACHE = 20000, REQUESTS = 500000, PER_REQUEST = 20 };

static void *cache[THREADS][CACHE];
static long requests;

static void *serve(void *arg)
{
    size_t me = (size_t)arg;
    struct rng r = {0x853c49e6748fea9bu + me};
    for (long n = 0; n < requests; n++) {
        void *block[PER_REQUEST];
        for (int i = 0; i < PER_REQUEST; i++) {
            size_t size = server_size(&r);
            block[i] = block_new(size);
            memset(block[i], i, size < 256 ? size : 256);
        }
        size_t owner = rng_below(&r, 8) ? me : (me + 1) % THREADS;
        void *old = __atomic_exchange_n(&cache[owner][rng_below(&r, CACHE)], block[0], __ATOMIC_ACQ_REL);
        free(old);
        for (int i = PER_REQUEST - 1; i > 0; i--) free(block[i]);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];
    requests = load_scale(argc, argv) * REQUESTS;
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, serve, (void *)i)) return 4;
    for (size_t i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    return 0;
}
