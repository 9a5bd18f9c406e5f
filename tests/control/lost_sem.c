/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread waits for a semaphore that only its own stack and the stack of a thread that joins it still know: neither will ever
 * go on. The twin's main posts it. */
#include <pthread.h>
#include <semaphore.h>

#include "tests/control/plant.h"

static sem_t *known;
static bool leak;

static void *inner(void *arg)
{
    sem_wait(arg); /* PLANTED */
    return NULL;
}

static void *outer(void *arg)
{
    sem_t *s = malloc(sizeof *s);
    pthread_t t;
    sem_init(s, 0, 0);
    if (!leak) __atomic_store_n(&known, s, __ATOMIC_RELEASE);
    pthread_create(&t, NULL, inner, s); /* CREATED */
    pthread_join(t, NULL);
    free(s);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t;
    leak = leaking(argc, argv);
    pthread_create(&t, NULL, outer, NULL);
    nap(100);
    if (!leak) {
        sem_post(known);
        pthread_join(t, NULL);
    }
    return 0;
}
