/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutines that own their thread. Model: runtime.LockOSThread, and stoplockedm/startlockedm of Go's runtime/proc.go.
 *
 * A locked coroutine keeps g.m for good. When it parks, its m gives the p away and sleeps. Who takes the coroutine from a queue passes his p
 * to that m and sleeps himself. sched.c sends every switch that a locked one takes part in through g0 (allowed()).
 *
 * Invariant: an m with a locked coroutine is not on the idle list; it is counted in sched.nidle_m while it sleeps, which its waker takes
 * back, perhaps before it has come to sleep. */
#include "coro/runq.h"

#include "coro/include/coro.h"

struct g *lock_thread_wait(struct m *m, struct g *stash)
{
    if (stash) runq_put(m->p, stash);
    if (m->p) p_handoff(m_release(m));
    m_stop_locked(m);
    return m->locked_g;
}

void lock_thread_pass(struct m *m, struct g *g)
{
    m_pass(g->m, m_release(m));
}

void lock_thread_end(struct g *g)
{
    g->m->locked_g = NULL;
    g->m->lock_depth = 0;
    __atomic_fetch_and(&g->flags, ~(uint32_t)G_LOCKED, __ATOMIC_RELAXED); /* pack.c tries others */
}

CO_EXPORT void co_lock_thread(void)
{
    struct g *g = runtime_parker("co_lock_thread");
    g->m->locked_g = g;
    g->m->lock_depth++;
    __atomic_fetch_or(&g->flags, G_LOCKED, __ATOMIC_RELAXED);
}

CO_EXPORT void co_unlock_thread(void)
{
    struct g *g = runtime_parker("co_unlock_thread");
    if (g->flags & G_LOCKED && --g->m->lock_depth == 0) lock_thread_end(g);
}
