/* SPDX-License-Identifier: Apache-2.0
 *
 * Local variables of threads that have ended, their stacks still in the cache of libc.
 * expect: 8 unreachable */
#include "root.h"

#include <pthread.h>

static void *forget(void *arg)
{
    void *volatile kept = plant();
    return kept ? NULL : arg;
}

int main(void)
{
    pthread_t t[8];
    for (int i = 0; i < 8; i++) pthread_create(&t[i], NULL, forget, NULL);
    for (int i = 0; i < 8; i++) pthread_join(t[i], NULL);
    return check();
}
