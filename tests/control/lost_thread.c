/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread allocates 40 blocks, keeps them in an array on its stack, and ends without freeing them. */
#include <pthread.h>

#include "tests/control/plant.h"

enum { BLOCKS = 40 };

static bool leak;

static __attribute__((noinline)) void work(void)
{
    void *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) block[i] = malloc(200); /* PLANTED */
    if (!leak)
        for (int i = 0; i < BLOCKS; i++) free(block[i]);
}

/* The top of an ended thread's stack holds its thread-local storage and stays a root: leave it some room. */
static void *run(void *arg)
{
    char room[16384];
    memset(room, 0, sizeof room);
    __asm__ volatile("" ::"r"(room) : "memory");
    work();
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t;
    leak = leaking(argc, argv);
    if (pthread_create(&t, NULL, run, NULL) || pthread_join(t, NULL)) return 4;
    scrub();
    return 0;
}
