/* SPDX-License-Identifier: Apache-2.0
 *
 * Producer → consumer: one thread allocates, the other frees, so every free is remote. They meet at a ring of 1,024
 * batches; batches of 64 keep the price of the ring small. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "bench/alloc/load.h"

enum { BATCH = 64, RING = 1024, BATCHES = 110000 };

static void *ring[RING][BATCH];
static atomic_long head, tail;
static long total;

static void *consume(void *arg)
{
    (void)arg;
    for (long t = 0; t < total; t++) {
        while (atomic_load_explicit(&head, memory_order_acquire) == t) sched_yield();
        void **batch = ring[t % RING];
        for (int i = 0; i < BATCH; i++) free(batch[i]);
        atomic_store_explicit(&tail, t + 1, memory_order_release);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct rng r = {0xda942042e4dd58b5u};
    pthread_t consumer;
    total = load_scale(argc, argv) * BATCHES;
    if (pthread_create(&consumer, NULL, consume, NULL)) return 4;
    for (long h = 0; h < total; h++) {
        while (h - atomic_load_explicit(&tail, memory_order_acquire) == RING) sched_yield();
        void **batch = ring[h % RING];
        for (int i = 0; i < BATCH; i++) batch[i] = block_new(16 + rng_below(&r, 240));
        atomic_store_explicit(&head, h + 1, memory_order_release);
    }
    pthread_join(consumer, NULL);
    return 0;
}
