/* SPDX-License-Identifier: Apache-2.0
 *
 * Waitgroup and mutex. Model: Go's sync package.
 *
 * Waitgroup: a count and a list of waiters under one lock; whoever brings the count to 0 wakes all of them and does not touch the
 * waitgroup afterwards, so it may stand on the stack of the one that waits. Who was woken and finds it counting again reports that.
 *
 * Mutex: state LOCKED | WAITERS | STARVING. Without waiters, lock is a compare-and-swap and unlock a subtraction, inline in the program
 * (coro.h). Normally an unlock wakes the first waiter, which competes with whoever comes by (throughput); when a waiter has waited for
 * 1 ms, unlock hands the mutex over to the queue in order until the queue is empty or its head came lately (no starvation). While
 * STARVING is set nobody takes it by himself. The queue is under the lock word. `owner` is the id of the coroutine that locked it, for the
 * detectors; any coroutine may unlock. Tried and dropped: owner and flags in one word (the second compare-and-swap then waits for
 * the id: 6.1 ns against 4.4 for a lock and unlock).
 *
 * Both begin with their lock word: sched.c releases it after the waiter's switch. */
#include "coro/defer.h"
#include "coro/sync.h"

enum { LOCKED = 1, WAITERS = 2, STARVING = 4 };
enum { STARVE_NS = 1000000 };

_Static_assert(offsetof(co_waitgroup, last) - offsetof(co_waitgroup, first) == sizeof(void *), "a struct waitq");
_Static_assert(offsetof(co_mutex, last) - offsetof(co_mutex, first) == sizeof(void *), "a struct waitq");

/* ---- waitgroup */

CO_EXPORT void co_wg_add(co_waitgroup *wg, int64_t delta)
{
    struct sudog *woken = NULL;
    uint32_t n;
    int64_t count;
    word_lock(&wg->lock);
    bool overflow = __builtin_add_overflow(wg->count, delta, &count);
    if (unlikely(overflow || count < 0)) {
        word_unlock(&wg->lock);
        runtime_panic(overflow ? "waitgroup counter overflow (%p)" : "negative waitgroup counter (%p)", (void *)wg);
    }
    wg->count = count;
    if (count == 0) {
        woken = take_all(WAITQ(wg, first), &n);
        wg->waiters = 0;
    }
    word_unlock(&wg->lock);
    wake_list(woken);
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
    waitq_push(WAITQ(wg, first), wait_node(g, wg, SEEP_OBJ_WAITGROUP));
    sched_park(g, (uintptr_t)&wg->lock, SEEP_WAIT_WAITGROUP);
    g->waits = NULL;
    if (unlikely(__atomic_load_n(&wg->count, __ATOMIC_RELAXED) != 0))
        runtime_panic("waitgroup %p is reused before a previous co_wg_wait has returned", (void *)wg);
}

/* ---- mutex */

static bool cas(uint32_t *state, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(state, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static COLD void lock_slow(co_mutex *m)
{
    struct g *g = runtime_parker("co_mutex_lock");
    struct waitq *q = WAITQ(m, first);
    uint64_t since = 0;
    for (;;) {
        word_lock(&m->lock);
        uint32_t old = __atomic_load_n(&m->state, __ATOMIC_RELAXED), want;
        for (;;) { /* take it, or say that somebody waits */
            want = old & (LOCKED | STARVING) ? old | WAITERS : old | LOCKED;
            if (since && old & LOCKED && os_mono_ns() - since > STARVE_NS) want |= STARVING;
            if (cas(&m->state, old, want)) break;
            old = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
        }
        if (!(old & (LOCKED | STARVING))) {
            m->owner = g->id;
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
        sched_park(g, (uintptr_t)&m->lock, SEEP_WAIT_MUTEX);
        g->waits = NULL;
        if (s->ok) return; /* handed over */
    }
}

/* The second half of an unlock that left `state`. */
CO_EXPORT COLD void co_mutex_unlocked_(co_mutex *m, uint32_t state)
{
    struct waitq *q = WAITQ(m, first);
    if (!((state + LOCKED) & LOCKED)) report_fatal("unlock of unlocked mutex %p", (void *)m);
    word_lock(&m->lock);
    state = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
    bool hand_over = state & STARVING;
    if (state & LOCKED || !(state & WAITERS)) { /* somebody came by: it is for his unlock, or is done */
        word_unlock(&m->lock);
        return;
    }
    struct sudog *s = waitq_pop(q);
    if (hand_over && s) {
        uint32_t next = LOCKED | (q->first ? WAITERS : 0);
        if (q->first && os_mono_ns() - q->first->slot[0] > STARVE_NS) next |= STARVING;
        m->owner = s->g->id;
        __atomic_store_n(&m->state, next, __ATOMIC_RELEASE); /* nobody else changes a state that is STARVING */
    } else if (!q->first) {
        __atomic_fetch_and(&m->state, ~(uint32_t)(WAITERS | STARVING), __ATOMIC_RELEASE);
    }
    word_unlock(&m->lock);
    if (s) sudog_wake(s, hand_over);
}

CO_EXPORT void(co_mutex_lock)(co_mutex *m)
{
    if (unlikely(!cas(&m->state, 0, LOCKED)))
        lock_slow(m);
    else
        m->owner = holder_id();
}

CO_EXPORT bool co_mutex_try_lock(co_mutex *m)
{
    uint32_t old = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
    if (old & (LOCKED | STARVING) || !cas(&m->state, old, old | LOCKED)) return false;
    m->owner = holder_id();
    return true;
}

CO_EXPORT void(co_mutex_unlock)(co_mutex *m)
{
    m->owner = 0;
    uint32_t state = __atomic_sub_fetch(&m->state, LOCKED, __ATOMIC_RELEASE);
    if (unlikely(state != 0)) co_mutex_unlocked_(m, state);
}
