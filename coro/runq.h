/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of the run queues that every switch goes through, inline: what runq.c says holds here. */
#ifndef CORO_RUNQ_H
#define CORO_RUNQ_H

#include "coro/runtime.h"

enum { FAIR_TICKS = 64 };

void runq_overflow(struct ring *r, struct g *g); /* puts it, where ring_put() finds no room */
struct g *runq_take_shared(struct p *p);         /* runnext, which a thief may take first */
struct g *ring_get_slow(struct p *p, struct ring *r);

/* Hides the misses of long queues: of the one that comes after AHEAD others the top of its frame is fetched, whose address its descriptor
 * has, which was asked for AHEAD switches ago. What stands behind the ring's end is a hint (global_fill()), or old: a descriptor in any
 * case, for they never go away. The processor does not retire a prefetch before its page is found, so what is left of a switch among
 * 100,000 is the page walk, overlapped by as many switches as fit between the two: instructions and stores count here. None of it is to
 * stay in the second level (locality 0): before its next turn it would be lost there anyway. Tried: groups of 2 to 32 stacks at a time
 * (no better, or slower), one line (slower) and three; the second line 4 to 12 switches later than the first (0.95 of the time where
 * addresses ascend, 1.03 where they descend); descriptors reused in the order of their addresses (0.93, but spawn and exit take 1.1 of
 * the time); huge pages for them (1.00); longer rings (1.12). */
enum { AHEAD = 16, FRAME_LINES = 2, CALL_LINES = 6, HINTS = 2 * AHEAD + 1 };

static inline __attribute__((always_inline)) void look_ahead(const struct ring *r, uint32_t head)
{
    struct g *const _Atomic *slots = r->slots;
    const struct g *g = atomic_load_explicit(&slots[(head + AHEAD) % RUNQ_SIZE], memory_order_relaxed);
    if (unlikely(!g)) return;
    const char *sp = g->sp;
    for (uint32_t line = 0; line < FRAME_LINES; line++) __builtin_prefetch(sp + line * 64, 1, 0);
    __builtin_prefetch(atomic_load_explicit(&slots[(head + 2 * AHEAD) % RUNQ_SIZE], memory_order_relaxed), 1, 0);
}

/* What a coroutine needs first of its stack when it waited in a call of co_read()'s depth. */
static inline void fetch_frame(const struct g *g)
{
    for (uint32_t line = 0; line < CALL_LINES; line++) __builtin_prefetch((const char *)g->sp + line * 64, 1);
}

/* A short queue that others share: of the next one the frame, and of the one behind it the descriptor, which says where that is. Between two of
 * them the kernel may have worked for microseconds, on megabytes. */
static inline void look_next(const struct ring *r, uint32_t head, uint32_t tail)
{
    if (tail - head < 2 || tail - head > RUNQ_SIZE) return;
    fetch_frame(atomic_load_explicit(&r->slots[(head + 1) % RUNQ_SIZE], memory_order_relaxed));
    if (tail - head > 2)
        __builtin_prefetch(atomic_load_explicit(&r->slots[(head + 2) % RUNQ_SIZE], memory_order_relaxed), 1);
}

/* CORO_SEED: which runnable coroutine is next is drawn from this generator; 0: it is not. With it there is one p, which is `shared`, so
 * that the slow forms are taken. */
extern uint64_t runq_seed __attribute__((visibility("hidden")));
void runq_set_seed(uint64_t seed); /* also of the choice among a select's ready cases */

static inline uint32_t ring_used(const struct ring *r)
{
    return atomic_load_explicit(&r->tail, memory_order_relaxed) - atomic_load_explicit(&r->head, memory_order_relaxed);
}

/* At the tail of r, one of the caller's p; much of it goes to the global queue when it is full. */
static inline __attribute__((always_inline)) void ring_put(struct ring *r, struct g *g)
{
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (unlikely(tail - head >= RUNQ_SIZE)) {
        runq_overflow(r, g);
        return;
    }
    atomic_store_explicit(&r->slots[tail % RUNQ_SIZE], g, memory_order_relaxed);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
}
static inline __attribute__((always_inline)) void runq_put(struct p *p, struct g *g)
{
    ring_put(&p->runq, g);
}

static inline __attribute__((always_inline)) struct g *ring_get(struct p *p, struct ring *r)
{
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    if (head == atomic_load_explicit(&r->tail, memory_order_relaxed)) return NULL;
    if (unlikely(p->unusual)) return ring_get_slow(p, r);
    struct g *g = atomic_load_explicit(&r->slots[head % RUNQ_SIZE], memory_order_relaxed);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return g;
}

static inline __attribute__((always_inline)) struct g *runq_get(struct p *p)
{
    struct g *g = atomic_load_explicit(&p->runnext, memory_order_relaxed);
    if (g) {
        if (unlikely(p->shared))
            g = runq_take_shared(p);
        else
            atomic_store_explicit(&p->runnext, NULL, memory_order_relaxed);
        if (likely(g != NULL)) return g;
    }
    return ring_get(p, &p->runq);
}

/* Now and then the rings go first, so that two partners that wake each other do not starve the rest. */
static inline struct g *runq_get_fair(struct p *p)
{
    struct g *g = ring_get(p, &p->runq);
    if (!g) g = ring_get(p, &p->later);
    return g ? g : runq_get(p);
}

/* Before all others; the one that had this place goes to the ring. */
static inline __attribute__((always_inline)) void runq_put_next(struct p *p, struct g *g)
{
    struct g *old;
    if (unlikely(p->shared)) {
        old = atomic_exchange(&p->runnext, g); /* also the fence that m_wake_one() relies on */
    } else {                                   /* nobody steals, and no idle p has to hear of it */
        old = atomic_load_explicit(&p->runnext, memory_order_relaxed);
        atomic_store_explicit(&p->runnext, g, memory_order_release);
    }
    if (old) runq_put(p, old);
}

#endif
