/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads that wait and that somebody can wake: on a condition variable in main's frame, handed to nobody but the threads; on
 * a mutex that a sleeping thread holds on its own stack; joining a thread that sleeps; in a timed wait on a lost object. */
#include <pthread.h>
#include <time.h>

#include "tests/control/plant.h"

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t go;
    int gone;
};

static void *waits(void *arg)
{
    struct shared *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->gone) pthread_cond_wait(&s->go, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void *locks(void *arg)
{
    pthread_mutex_lock(arg);
    pthread_mutex_unlock(arg);
    return NULL;
}

static void *holds(void *arg)
{
    pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
    pthread_t t;
    pthread_mutex_lock(&mine);
    pthread_create(&t, NULL, locks, &mine);
    nap(200);
    pthread_mutex_unlock(&mine);
    pthread_join(t, NULL);
    return arg;
}

static void *joins(void *arg)
{
    pthread_t t;
    pthread_create(&t, NULL, holds, NULL);
    pthread_join(t, NULL);
    return arg;
}

static void *timed(void *arg)
{
    struct shared *s = calloc(1, sizeof *s);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 3600;
    pthread_mutex_lock(&s->lock);
    while (!s->gone) pthread_cond_timedwait(&s->go, &s->lock, &until);
    free(s);
    return arg;
}

int main(void)
{
    struct shared s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    pthread_t t[4];
    pthread_create(&t[0], NULL, waits, &s);
    pthread_create(&t[1], NULL, holds, NULL);
    pthread_create(&t[2], NULL, joins, NULL);
    pthread_create(&t[3], NULL, timed, NULL);
    nap(100);
    exit(0);
}
