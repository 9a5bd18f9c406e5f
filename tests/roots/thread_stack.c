/* SPDX-License-Identifier: Apache-2.0
 *
 * A local variable of another thread that waits.
 * expect: 1 reached */
#include "root.h"

#include <pthread.h>
#include <semaphore.h>

static sem_t ready, go;

static void *wait_for_go(void *arg)
{
    (void)arg;
    void *volatile kept = plant();
    sem_post(&ready);
    sem_wait(&go);
    return kept ? NULL : arg;
}

int main(void)
{
    pthread_t t;
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    pthread_create(&t, NULL, wait_for_go, NULL);
    sem_wait(&ready);
    int rc = check();
    sem_post(&go);
    pthread_join(t, NULL);
    return rc;
}
