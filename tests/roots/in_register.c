/* SPDX-License-Identifier: Apache-2.0
 *
 * A register of another thread.
 * expect: 1 reached */
#include "root.h"

#include <pthread.h>
#include <unistd.h>

static volatile int held, stop;

static void *hold(void *arg)
{
    (void)arg;
    void *p = plant();
    scrub();
    __asm__ volatile("mov %0, %%r12\n"
                     "movq $0, %0\n"
                     "movl $1, %1\n"
                     "1: pause\n"
                     "cmpl $0, %2\n"
                     "je 1b\n"
                     : "+m"(p), "=m"(held)
                     : "m"(stop)
                     : "r12", "memory");
    return NULL;
}

int main(void)
{
    pthread_t t;
    pthread_create(&t, NULL, hold, NULL);
    while (!held) usleep(100);
    int rc = check();
    stop = 1;
    pthread_join(t, NULL);
    return rc;
}
