/* SPDX-License-Identifier: Apache-2.0
 *
 * Condition variable. Model: Go's sync.Cond: first come, first signalled, and no wake-up without a signal. The waiter is in the queue
 * before it unlocks the mutex, and both the queue and the waiter are kept from others by the lock word until its switch is over: no
 * signal given with the mutex held after that is lost. */
#include "coro/sync.h"

_Static_assert(offsetof(co_cond, last) - offsetof(co_cond, first) == sizeof(void *), "a struct waitq");

CO_EXPORT void co_cond_wait(co_cond *c, co_mutex *m)
{
    struct g *g = runtime_parker("co_cond_wait");
    word_lock(&c->lock);
    waitq_push(WAITQ(c, first), wait_node(g, c, SEEP_OBJ_COND));
    co_mutex_unlock(m);
    sched_park(g, (uintptr_t)&c->lock, SEEP_WAIT_COND);
    g->waits = NULL;
    co_mutex_lock(m);
}

CO_EXPORT void co_cond_signal(co_cond *c)
{
    word_lock(&c->lock);
    struct sudog *s = waitq_pop(WAITQ(c, first));
    word_unlock(&c->lock);
    if (s) sudog_wake(s, true);
}

CO_EXPORT void co_cond_broadcast(co_cond *c)
{
    uint32_t n;
    word_lock(&c->lock);
    struct sudog *woken = take_all(WAITQ(c, first), &n);
    word_unlock(&c->lock);
    wake_list(woken);
}
