/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread locks a global mutex that it holds already. */
#include <pthread.h>

#include "tests/control/plant.h"

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static bool leak;

static void *twice(void *arg)
{
    pthread_mutex_lock(&m);
    if (!leak) pthread_mutex_unlock(&m);
    pthread_mutex_lock(&m); /* PLANTED */
    pthread_mutex_unlock(&m);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t;
    leak = leaking(argc, argv);
    pthread_create(&t, NULL, twice, NULL); /* CREATED */
    if (leak)
        nap(100);
    else
        pthread_join(t, NULL);
    return 0;
}
