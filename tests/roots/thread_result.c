/* SPDX-License-Identifier: Apache-2.0
 *
 * The result of a thread that has ended and is not joined yet.
 * expect: 1 reached */
#include "root.h"

#include <pthread.h>
#include <unistd.h>

static volatile int ended;

static void *result(void *arg)
{
    (void)arg;
    void *p = plant();
    ended = 1;
    return p;
}

int main(void)
{
    pthread_t t;
    pthread_create(&t, NULL, result, NULL);
    while (!ended) usleep(100);
    usleep(2000);
    return check();
}
