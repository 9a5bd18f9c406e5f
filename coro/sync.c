/* SPDX-License-Identifier: Apache-2.0
 *
 * Waitgroup and mutex. Model: Go's sync package.
 *
 * Waitgroup: a count and a list of waiters under one lock; whoever brings the count to 0 wakes all of them and does not touch the
 * waitgroup afterwards, so it may stand on the stack of the one that waits.
 *
 * Mutex: state LOCKED | WAITERS | STARVING. Without waiters, lock and unlock are one compare-and-swap each. Normally an unlock wakes the
 * first waiter, which competes with whoever comes by (throughput); when a waiter has waited for 1 ms, unlock hands the mutex
 * over to the queue in order until the queue is empty or its head came lately (no starvation). The queue is under the lock word.
 *
 * Both begin with their lock word: sched.c releases it after the waiter's switch. */
#include "coro/chan.h"

enum { LOCKED = 1, WAITERS = 2, STARVING = 4 };
enum { STARVE_NS = 1000000 };

_Static_assert(offsetof(co_waitgroup, last) - offsetof(co_waitgroup, first) == sizeof(void *), "a struct waitq");
_Static_assert(offsetof(co_mutex, last) - offsetof(co_mutex, first) == sizeof(void *), "a struct waitq");

static struct sudog *wait_node(struct g *g, void *object, enum seep_object_kind kind)
{
    g->wait = (struct sudog){.g = g, .object = object, .kind = (uint16_t)kind};
    g->waits = &g->wait;
    return &g->wait;
}

/* ---- waitgroup */

CO_EXPORT void co_wg_add(co_waitgroup *wg, int64_t delta)
{
    struct waitq *q = (struct waitq *)(void *)&wg->first;
    word_lock(&wg->lock);
    wg->count += delta;
    if (wg->count < 0) report_fatal("negative waitgroup counter (%p)", (void *)wg);
    struct sudog *woken = NULL, **end = &woken;
    if (wg->count == 0) {
        for (struct sudog *s; (s = waitq_pop(q)) != NULL; end = &s->next) *end = s;
        wg->waiters = 0;
    }
    word_unlock(&wg->lock);
    while (woken) {
        struct sudog *next = woken->next;
        woken->next = NULL;
        sudog_wake(woken, true);
        woken = next;
    }
}

CO_EXPORT void co_wg_done(co_waitgroup *wg)
{
    co_wg_add(wg, -1);
}

CO_EXPORT void co_wg_wait(co_waitgroup *wg)
{
    struct g *g = runtime_parker("co_wg_wait");
    word_lock(&wg->lock);
    if (wg->count == 0) {
        word_unlock(&wg->lock);
        return;
    }
    wg->waiters++;
    waitq_push((struct waitq *)(void *)&wg->first, wait_node(g, wg, SEEP_OBJ_WAITGROUP));
    sched_park(g, POST_UNLOCK, &wg->lock, SEEP_WAIT_WAITGROUP);
    g->waits = NULL;
}

/* ---- mutex */

static bool cas(uint32_t *state, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(state, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static COLD void lock_slow(co_mutex *m)
{
    struct g *g = runtime_parker("co_mutex_lock");
    struct waitq *q = (struct waitq *)(void *)&m->first;
    uint64_t since = 0;
    for (;;) {
        word_lock(&m->lock);
        uint32_t old = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
        for (;;) { /* take it, or say that somebody waits */
            uint32_t want = old & LOCKED ? old | WAITERS : old | LOCKED;
            if (since && old & LOCKED && os_mono_ns() - since > STARVE_NS) want |= STARVING;
            if (cas(&m->state, old, want)) break;
            old = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
        }
        if (!(old & LOCKED)) {
            word_unlock(&m->lock);
            return;
        }
        struct sudog *s = wait_node(g, m, SEEP_OBJ_MUTEX);
        if (!since) {
            since = os_mono_ns();
            waitq_push(q, s);
        } else { /* woken and not quick enough: first again */
            s->next = q->first;
            if (q->first)
                q->first->prev = s;
            else
                q->last = s;
            q->first = s;
        }
        s->slot[0] = since;
        sched_park(g, POST_UNLOCK, &m->lock, SEEP_WAIT_MUTEX);
        g->waits = NULL;
        if (s->ok) return; /* handed over */
    }
}

static COLD void unlock_slow(co_mutex *m)
{
    struct waitq *q = (struct waitq *)(void *)&m->first;
    word_lock(&m->lock);
    uint32_t state = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
    if (!(state & LOCKED)) report_fatal("unlock of unlocked mutex %p", (void *)m);
    struct sudog *s = waitq_pop(q);
    bool hand_over = s && state & STARVING;
    uint32_t next = q->first ? WAITERS : 0;
    if (hand_over) {
        next |= LOCKED;
        if (q->first && os_mono_ns() - q->first->slot[0] > STARVE_NS) next |= STARVING;
    }
    /* Nobody else changes a state that is LOCKED and has waiters. */
    __atomic_store_n(&m->state, next, __ATOMIC_RELEASE);
    word_unlock(&m->lock);
    if (s) sudog_wake(s, hand_over);
}

CO_EXPORT void co_mutex_lock(co_mutex *m)
{
    if (unlikely(!cas(&m->state, 0, LOCKED))) lock_slow(m);
}

CO_EXPORT bool co_mutex_try_lock(co_mutex *m)
{
    uint32_t old = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
    return !(old & (LOCKED | STARVING)) && cas(&m->state, old, old | LOCKED);
}

CO_EXPORT void co_mutex_unlock(co_mutex *m)
{
    if (unlikely(!cas(&m->state, LOCKED, 0))) unlock_slow(m);
}
