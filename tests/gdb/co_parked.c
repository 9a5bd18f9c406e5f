/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutines parked in known functions, packed where there is an argument, then a core file of it all. */
#include <stdlib.h>
#include "coro.h"

static co_mutex mutex;
static __attribute__((noinline)) void inner_receive(co_chan *c)
{
    co_recv(c, NULL);
}
static void receiver(void *arg)
{
    inner_receive(arg);
}
static void selector(void *arg)
{
    struct co_case cases[] = {{.ch = arg, .kind = CO_RECV}, {.ch = NULL, .kind = CO_RECV}};
    co_select(cases, 2);
}
static void locker(void *arg)
{
    (void)arg;
    co_mutex_lock(&mutex);
}

int main(int argc, char **argv)
{
    (void)argv;
    co_chan *c = co_make(int, 0);
    co_mutex_lock(&mutex);
    co_go_attr(&(struct co_attr){.name = "first"}, receiver, c);
    co_go_attr(&(struct co_attr){.name = "second"}, selector, c);
    co_go_attr(&(struct co_attr){.name = "third"}, locker, NULL);
    co_sleep_ns(20000000);
    if (argc > 1 && co_pack(0) != 3) return 3;
    abort();
}
