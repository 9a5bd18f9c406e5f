/* SPDX-License-Identifier: Apache-2.0
 *
 * Four threads each wait on a condition variable of their own whose owner has forgotten them. The twin keeps the queues in a
 * global and signals. */
#include <pthread.h>

#include "tests/control/plant.h"

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t more;
    int n;
    pthread_t worker;
};
enum { N = 4 };
static struct queue *known[N];
static bool leak;

static void *worker(void *arg)
{
    struct queue *q = arg;
    pthread_mutex_lock(&q->lock);
    while (q->n == 0) pthread_cond_wait(&q->more, &q->lock); /* PLANTED */
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static __attribute__((noinline)) void start(int i)
{
    struct queue *q = calloc(1, sizeof *q);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->more, NULL);
    if (!leak) known[i] = q;
    pthread_create(&q->worker, NULL, worker, q); /* CREATED */
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    for (int i = 0; i < N; i++) start(i);
    scrub();
    nap(100);
    for (int i = 0; i < N && !leak; i++) {
        pthread_mutex_lock(&known[i]->lock);
        known[i]->n = 1;
        pthread_cond_signal(&known[i]->more);
        pthread_mutex_unlock(&known[i]->lock);
        pthread_join(known[i]->worker, NULL);
        free(known[i]);
    }
    return 0;
}
