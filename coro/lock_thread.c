/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutines that own their thread. Model: runtime.LockOSThread, and stoplockedm/startlockedm of Go's runtime/proc.go.
 *
 * A locked coroutine keeps g.m for good. When it parks, its m gives the p away and sleeps: to the m of the next one in the queue, if that
 * one is locked, too, else to whoever is idle. Who makes a locked one ready gives an idle p to its m at once: one wake-up of a thread, where
 * by a queue there would be two, the second by an m that takes it from there. Without an idle p it is queued, and who finds it there passes
 * his p to that m and sleeps himself. sched.c sends every switch that a locked one takes part in through g0.
 *
 * Invariant: an m with a locked coroutine is not on the idle list; it is counted in sched.nidle_m while it sleeps, which its waker takes
 * back, perhaps before it has come to sleep. */
#include "coro/runq.h"

#include "coro/include/coro.h"

struct g *lock_thread_wait(struct m *m, struct g *stash)
{
    struct p *p = m->p;
    if (stash) runq_put(p, stash);
    bool fair = p && atomic_load_explicit(&p->tick, memory_order_relaxed) % FAIR_TICKS ==
                         0; /* the others' turn: find_runnable() */
    struct g *next = p && !fair ? runq_get(p) : NULL;
    if (next == m->locked_g) return next; /* ready again already */
    if (p) {
        (void)m_release(m);
        if (next && next->flags & G_LOCKED) {
            m_pass(next->m, p);
        } else {
            if (next) runq_put_next(p, next);
            p_handoff(p);
        }
    }
    m_stop_locked(m);
    return m->locked_g;
}

void lock_thread_pass(struct m *m, struct g *g)
{
    m_pass(g->m, m_release(m));
}

bool lock_thread_ready(struct g *g)
{
    if (!(g->flags & G_LOCKED) || atomic_load(&sched.nidle_p) == 0) return false;
    struct p *p = p_idle_take();
    if (p) m_pass(g->m, p);
    return p != NULL;
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
