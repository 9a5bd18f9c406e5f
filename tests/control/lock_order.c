/* SPDX-License-Identifier: Apache-2.0
 *
 * Two threads take two global locks in opposite orders, and meet. Everybody can reach the locks: the ring is the proof. The
 * twin takes them in one order. */
#include <pthread.h>

#include "tests/control/plant.h"

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;
static bool leak;

static void take(pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
}

static void *ab(void *arg)
{
    take(&a);
    if (leak) pthread_barrier_wait(&both);
    pthread_mutex_lock(&b); /* PLANTED */
    pthread_mutex_unlock(&b);
    pthread_mutex_unlock(&a);
    return arg;
}

static void *ba(void *arg)
{
    if (!leak) return ab(arg);
    take(&b);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(&a);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[2];
    leak = leaking(argc, argv);
    pthread_barrier_init(&both, NULL, 2);
    pthread_create(&t[0], NULL, ab, NULL); /* CREATED */
    pthread_create(&t[1], NULL, ba, NULL);
    if (leak)
        nap(100);
    else
        for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    return 0;
}
