/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of the run queues that every switch goes through, inline: what runq.c says holds here. */
#ifndef CORO_RUNQ_H
#define CORO_RUNQ_H

#include "coro/runtime.h"

enum { RUNQ_STREAK = 64, RUNQ_FETCH = 8 }; /* fetched ahead at a time */

bool runq_spill(struct p *p, struct g *g, uint32_t head);
void runq_look_ahead(struct p *p, uint32_t head, uint32_t tail);

/* At the tail; half goes to the global queue when it is full. */
static inline void runq_put(struct p *p, struct g *g)
{
    for (;;) {
        uint32_t head = atomic_load_explicit(&p->runq_head, memory_order_acquire);
        uint32_t tail = atomic_load_explicit(&p->runq_tail, memory_order_relaxed);
        if (likely(tail - head < RUNQ_SIZE)) {
            atomic_store_explicit(&p->runq[tail % RUNQ_SIZE], g, memory_order_relaxed);
            atomic_store_explicit(&p->runq_tail, tail + 1, memory_order_release);
            return;
        }
        if (runq_spill(p, g, head)) return;
    }
}

static inline struct g *runq_take_next(struct p *p)
{
    if (sched.nprocs > 1) return atomic_exchange_explicit(&p->runnext, NULL, memory_order_acq_rel);
    struct g *g = atomic_load_explicit(&p->runnext, memory_order_relaxed);
    atomic_store_explicit(&p->runnext, NULL, memory_order_relaxed);
    return g;
}

static inline struct g *runq_ring_get(struct p *p)
{
    uint32_t head = atomic_load_explicit(&p->runq_head, memory_order_acquire);
    for (;;) {
        uint32_t tail = atomic_load_explicit(&p->runq_tail, memory_order_relaxed);
        if (head == tail) return NULL;
        struct g *g = atomic_load_explicit(&p->runq[head % RUNQ_SIZE], memory_order_relaxed);
        if (head % RUNQ_FETCH == 0 && tail - head > 2 * RUNQ_FETCH &&
            atomic_load_explicit(&sched.nglobal, memory_order_relaxed) > RUNQ_SIZE)
            runq_look_ahead(p, head, tail);
        if (sched.nprocs == 1) {
            atomic_store_explicit(&p->runq_head, head + 1, memory_order_release);
            return g;
        }
        if (atomic_compare_exchange_weak_explicit(&p->runq_head, &head, head + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return g;
    }
}

static inline struct g *runq_get(struct p *p)
{
    if (atomic_load_explicit(&p->runnext, memory_order_relaxed)) {
        if (likely(++p->runnext_streak < RUNQ_STREAK)) {
            struct g *g = runq_take_next(p);
            if (g) return g;
        } else {
            p->runnext_streak = 0;
            struct g *g = runq_ring_get(p);
            if (g) return g;
            return runq_take_next(p);
        }
    }
    p->runnext_streak = 0;
    return runq_ring_get(p);
}

#endif
