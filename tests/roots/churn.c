/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads in the middle of malloc, free and list surgery: whatever instruction they stop at, nothing looks lost.
 * expect: 0 unreachable */
#include "root.h"

#include <pthread.h>
#include <unistd.h>

enum { THREADS = 4, LISTS = 32, SNAPSHOTS = 8 };

struct node {
    struct node *next;
};

static volatile int stop;

static void *churn(void *arg)
{
    unsigned r = (unsigned)(uintptr_t)arg;
    struct node *list[LISTS] = {0}, *n;
    while (!stop) {
        r = r * 1103515245u + 12345u;
        unsigned k = (r >> 16) % LISTS;
        if (r >> 31) {
            n = malloc(sizeof *n + ((r >> 20) & 511));
            n->next = list[k];
            list[k] = n;
        } else if (list[k]) {
            n = list[k];
            list[k] = n->next;
            free(n);
        }
    }
    for (unsigned k = 0; k < LISTS; k++)
        for (; list[k]; free(n)) {
            n = list[k];
            list[k] = n->next;
        }
    return NULL;
}

int main(void)
{
    pthread_t t[THREADS];
    int rc = 0;
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < SNAPSHOTS && rc == 0; i++) {
        usleep(5000);
        rc = check();
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    return rc;
}
