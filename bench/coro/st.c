/* SPDX-License-Identifier: Apache-2.0
 *
 * State Threads in the loads of bench/coro.plan: see seep.c. One thread; it has no channels, so "chan" and "buffered" are a slot or a
 * ring with two condition variables, which is what its users write. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <st.h>

static long count;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *yielder(void *arg)
{
    long n = *(long *)arg;
    for (long i = 0; i < n; i++) st_usleep(0);
    return NULL;
}

static double load_yield(void)
{
    long each = count / 2;
    st_thread_t a = st_thread_create(yielder, &each, 1, 0), b = st_thread_create(yielder, &each, 1, 0);
    if (!a || !b) exit(1);
    double begin = now();
    st_thread_join(a, NULL);
    st_thread_join(b, NULL);
    return (now() - begin) / (double)count;
}

struct ring {
    long values[128];
    int cap, n, in, out;
    st_cond_t more, room;
};

static void push(struct ring *r, long v)
{
    while (r->n == r->cap) st_cond_wait(r->room);
    r->values[r->in] = v;
    r->in = (r->in + 1) % r->cap;
    r->n++;
    st_cond_signal(r->more);
}

static long pop(struct ring *r)
{
    while (r->n == 0) st_cond_wait(r->more);
    long v = r->values[r->out];
    r->out = (r->out + 1) % r->cap;
    r->n--;
    st_cond_signal(r->room);
    return v;
}

static struct ring ping, pong;
static void init(struct ring *r, int cap)
{
    r->cap = cap;
    r->more = st_cond_new();
    r->room = st_cond_new();
}

static void *echo(void *arg)
{
    (void)arg;
    for (;;) push(&pong, pop(&ping));
}

static double load_chan(void)
{
    init(&ping, 1);
    init(&pong, 1);
    st_thread_create(echo, NULL, 0, 0);
    double begin = now();
    for (long i = 0; i < count; i++) {
        push(&ping, i);
        pop(&pong);
    }
    return (now() - begin) / (double)count;
}

static void *producer(void *arg)
{
    (void)arg;
    for (long i = 0; i < count; i++) push(&ping, i);
    return NULL;
}

static double load_buffered(void)
{
    init(&ping, 128);
    st_thread_create(producer, NULL, 0, 0);
    double begin = now();
    for (long i = 0; i < count; i++) pop(&ping);
    return (now() - begin) / (double)count;
}

static int left;
static st_cond_t zero;
static void *nothing(void *arg)
{
    (void)arg;
    if (--left == 0) st_cond_signal(zero);
    return NULL;
}

static double load_spawn(void)
{
    zero = st_cond_new();
    double begin = now();
    for (long i = 0; i < count; i += 100) {
        left = 100;
        for (int k = 0; k < 100; k++)
            if (!st_thread_create(nothing, NULL, 0, 0)) exit(1);
        while (left) st_cond_wait(zero);
    }
    return (now() - begin) / (double)count;
}

static double load_mutex(void)
{
    st_mutex_t m = st_mutex_new();
    double begin = now();
    for (long i = 0; i < count; i++) {
        st_mutex_lock(m);
        st_mutex_unlock(m);
    }
    return (now() - begin) / (double)count;
}

static const struct {
    const char *name;
    double (*run)(void);
} loads[] = {
    {"yield", load_yield}, {"chan", load_chan},   {"buffered", load_buffered},
    {"spawn", load_spawn}, {"mutex", load_mutex},
};

int main(int argc, char **argv)
{
    if (argc == 3 && st_init() == 0)
        for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
            if (strcmp(argv[1], loads[i].name) == 0) {
                count = atol(argv[2]);
                printf("metric ns %.3f\n", loads[i].run());
                return 0;
            }
    fprintf(stderr, "usage: st LOAD COUNT\n");
    return 2;
}
