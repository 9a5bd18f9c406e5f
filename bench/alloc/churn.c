/* SPDX-License-Identifier: Apache-2.0
 *
 * Thread churn: two lines of threads at once, each line with a table of 4,000 blocks. A thread replaces blocks at random,
 * 50,000 times, then starts its successor, which inherits the table, and ends. So most of what a thread frees at first is of a
 * thread that is gone. */
#include <pthread.h>
#include <semaphore.h>

#include "bench/alloc/load.h"

enum { LINES = 2, BLOCKS = 4000, STEPS = 50000, THREADS = 80 };

static struct line {
    void *block[BLOCKS];
    struct rng r;
    long left;
    sem_t done;
} line[LINES];

static void *live(void *arg)
{
    struct line *l = arg;
    for (int i = 0; i < STEPS; i++) {
        uint32_t at = rng_below(&l->r, BLOCKS);
        free(l->block[at]);
        l->block[at] = block_new(16 + rng_below(&l->r, 497));
    }
    pthread_t next;
    if (--l->left == 0) {
        sem_post(&l->done);
    } else {
        if (pthread_create(&next, NULL, live, l) != 0) exit(4);
        pthread_detach(next);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    for (uint32_t i = 0; i < LINES; i++) {
        pthread_t t;
        line[i].r.s = 0x3c6ef372fe94f82bu + i;
        line[i].left = load_scale(argc, argv) * THREADS;
        sem_init(&line[i].done, 0, 0);
        if (pthread_create(&t, NULL, live, &line[i]) != 0) return 4;
        pthread_detach(t);
    }
    for (int i = 0; i < LINES; i++) sem_wait(&line[i].done);
    return 0;
}
