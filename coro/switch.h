/* SPDX-License-Identifier: Apache-2.0
 *
 * The way from one coroutine to the next, inline in each function that parks: pick one, switch, and on the new stack do
 * what is to be done for the one that was left. sched.c's head has the rules.
 *
 * Which function holds the switch makes no difference to the return stack of the processor: it predicts right as long as the two
 * parked in the same one. */
#ifndef CORO_SWITCH_H
#define CORO_SWITCH_H

#include "agent/util/critical.h"
#include "coro/runq.h"

extern intptr_t sched_errno_at __attribute__((visibility("hidden")));

/* errno of the thread that runs this, without a call: it stands at the same distance from the thread pointer in every thread. */
static inline int errno_get(void)
{
    return context_tls_int(sched_errno_at);
}
static inline void errno_set(int e)
{
    context_tls_set_int(sched_errno_at, e);
}

void sched_after(struct m *m, struct g *left, uintptr_t post); /* what is rare of switch_arrive() */
struct g *sched_by_g0(struct m *m, struct g *from, struct g *to);
struct g *sched_pick_fair(struct p *p);

#define INLINE static inline __attribute__((always_inline))

/* The current coroutine runs, after a switch away from what `l` says. */
INLINE void switch_arrive(struct context_left l)
{
    struct g *left = (struct g *)l.save; /* sp is its first field */
    /* m is looked up where it is needed: held across the calls, it would take a register, and a yield's frame 96 bytes for 80, which
     * lie in two lines wherever they begin. A third one that is not at hand took 25 ns a switch among 100,000. */
    if (l.post == POST_NONE)
        ;
    else if (likely(l.post >= POST_UNLOCK))
        word_unlock((uint32_t *)l.post);
    else if (l.post == POST_YIELD && likely(!atomic_load_explicit(&sched.nglobal, memory_order_relaxed)))
        runq_put(context_m()->p, left);
    else
        sched_after(context_m(), left, l.post);
    atomic_store_explicit(&context_m()->prev, NULL, memory_order_relaxed);
}

/* `to` is the one that m runs from now on; what it was scheduled before. */
INLINE uint64_t switch_begin(struct m *m, struct g *to)
{
    uint64_t schedules = to->schedules;
    to->schedules = schedules + 1;
    to->m = m;
    g_set_status(to, G_RUNNING);
    atomic_store_explicit(&m->curg, to, memory_order_relaxed);
    return schedules;
}
INLINE struct context_left switch_go(struct g *from, struct g *to, uintptr_t post, uint64_t entered)
{
    context_set_self(to);
    agent_tls.stack_lo = to->stack_lo; /* for whoever samples here */
    agent_tls.stack_hi = to->stack_hi;
    return sched.form(&from->sp, to->sp, post, entered);
}

/* From `from`, which runs on m, to `to`; NULL: g0. Comes back when `from` is switched to again, perhaps on another m, with what
 * switch_arrive() is to be called with. One call for all cases, so that equal stacks look equal. */
INLINE struct context_left switch_to(struct m *m, struct g *from, struct g *to, uintptr_t post)
{
    uint64_t schedules = 1;
    if (unlikely(stack_canaries) && !from->is_g0) stack_check(from);
    atomic_store_explicit(&m->prev, from, memory_order_relaxed);
    if (likely(to && !((from->flags | to->flags) & G_ASIDE)))
        schedules = switch_begin(m, to);
    else
        to = sched_by_g0(m, from, to);
    return switch_go(from, to, post, schedules);
}

/* The next one without leaving the p: what a parking coroutine can find by itself. NULL: g0 looks wider. */
INLINE struct g *switch_pick(struct p *p)
{
    uint32_t tick = atomic_load_explicit(&p->tick, memory_order_relaxed);
    if (unlikely(tick % FAIR_TICKS == 0)) return sched_pick_fair(p);
    atomic_store_explicit(&p->tick, tick + 1, memory_order_relaxed);
    return runq_get(p);
}

/* g gives its thread up for `to` (NULL: g0), and comes back. */
INLINE void switch_leave(struct g *g, struct m *m, struct g *to, uintptr_t post)
{
    int saved = errno_get();
    switch_arrive(switch_to(m, g, to, post));
    errno_set(saved);
}

/* g waits; post is done once its registers are saved. Comes back when somebody made it ready. */
INLINE void switch_park(struct g *g, uintptr_t post, enum seep_wait_reason reason)
{
    struct m *m = context_m();
    g->reason = (uint8_t)reason;
    g->blocked_ns = atomic_load_explicit(&sched.coarse_ns, memory_order_relaxed);
    g_set_status(g, G_WAITING);
    switch_leave(g, m, switch_pick(m->p), post);
}

/* g is to run soon, after the current one, which makes it ready and holds a p. */
INLINE void ready_next(struct g *g)
{
    g_set_status(g, G_RUNNABLE);
    if (unlikely(g->flags & G_ASIDE) && lock_thread_ready(g)) return;
    runq_put_next(context_m()->p, g);
    if (unlikely(atomic_load(&sched.nidle_p) != 0)) m_wake_one();
}

#endif
