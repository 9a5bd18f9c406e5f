/* SPDX-License-Identifier: Apache-2.0
 *
 * Run queues. Each p has a ring of 256 that its owner fills at the tail and anybody empties at the head, and one slot before it for
 * the coroutine that was readied last; a global list takes what does not fit. Model: Go's runtime/proc.go (runqput, runqget, runqgrab).
 *
 * Invariants
 *   1. Only the owner of p moves the tail. The head moves by compare-and-swap: by the owner by one, by a thief by half.
 *   2. A slot between head and tail holds a runnable coroutine whose context is saved.
 *   3. The slot may go first at most STREAK times in a row while the ring has work: two partners that wake each other do
 *      not starve the rest.
 * Lock-free but for the global list (sched.lock). No allocation. */
#include "coro/runtime.h"

enum { STREAK = 64, STEAL_NEXT_RELAX = 200 };

void list_push(struct g_list *l, struct g *g)
{
    g->link = NULL;
    if (l->tail)
        l->tail->link = g;
    else
        l->head = g;
    l->tail = g;
    l->n++;
}

struct g *list_pop(struct g_list *l)
{
    struct g *g = l->head;
    if (!g) return NULL;
    l->head = g->link;
    if (!l->head) l->tail = NULL;
    l->n--;
    return g;
}

void global_put_list(struct g_list *l)
{
    if (!l->n) return;
    colock_acquire(&sched.lock);
    if (sched.global.tail)
        sched.global.tail->link = l->head;
    else
        sched.global.head = l->head;
    sched.global.tail = l->tail;
    sched.global.n += l->n;
    atomic_store(&sched.nglobal, sched.global.n);
    colock_release(&sched.lock);
    *l = (struct g_list){0};
}

void global_put(struct g *g)
{
    struct g_list l = {0};
    list_push(&l, g);
    global_put_list(&l);
}

/* With sched.lock held. batch: takes a fair share into p's ring too. */
struct g *global_get(struct p *p, bool batch)
{
    struct g *first = list_pop(&sched.global);
    if (first && batch) {
        uint32_t want = sched.global.n / sched.nprocs;
        if (want > RUNQ_SIZE / 2 - 1) want = RUNQ_SIZE / 2 - 1;
        uint32_t tail = atomic_load_explicit(&p->runq_tail, memory_order_relaxed);
        uint32_t room = RUNQ_SIZE - (tail - atomic_load_explicit(&p->runq_head, memory_order_acquire));
        if (want > room) want = room;
        for (uint32_t i = 0; i < want; i++)
            atomic_store_explicit(&p->runq[(tail + i) % RUNQ_SIZE], list_pop(&sched.global), memory_order_relaxed);
        atomic_store_explicit(&p->runq_tail, tail + want, memory_order_release);
    }
    atomic_store(&sched.nglobal, sched.global.n);
    return first;
}

/* The ring is full: half of it and g go to the global list. False: thieves were quicker, try again. */
static COLD bool runq_spill(struct p *p, struct g *g, uint32_t head)
{
    struct g *batch[RUNQ_SIZE / 2];
    for (uint32_t i = 0; i < RUNQ_SIZE / 2; i++)
        batch[i] = atomic_load_explicit(&p->runq[(head + i) % RUNQ_SIZE], memory_order_relaxed);
    if (!atomic_compare_exchange_strong(&p->runq_head, &head, head + RUNQ_SIZE / 2)) return false;
    struct g_list l = {0};
    for (uint32_t i = 0; i < RUNQ_SIZE / 2; i++) list_push(&l, batch[i]);
    list_push(&l, g);
    global_put_list(&l);
    return true;
}

bool runq_put(struct p *p, struct g *g)
{
    for (;;) {
        uint32_t head = atomic_load_explicit(&p->runq_head, memory_order_acquire);
        uint32_t tail = atomic_load_explicit(&p->runq_tail, memory_order_relaxed);
        if (likely(tail - head < RUNQ_SIZE)) {
            atomic_store_explicit(&p->runq[tail % RUNQ_SIZE], g, memory_order_relaxed);
            atomic_store_explicit(&p->runq_tail, tail + 1, memory_order_release);
            return true;
        }
        if (runq_spill(p, g, head)) return false;
    }
}

void runq_put_next(struct p *p, struct g *g)
{
    struct g *old = atomic_exchange(&p->runnext, g); /* also the fence that m_wake_one() relies on */
    if (old) runq_put(p, old);
}

static struct g *ring_get(struct p *p)
{
    uint32_t head = atomic_load_explicit(&p->runq_head, memory_order_acquire);
    for (;;) {
        uint32_t tail = atomic_load_explicit(&p->runq_tail, memory_order_relaxed);
        if (head == tail) return NULL;
        struct g *g = atomic_load_explicit(&p->runq[head % RUNQ_SIZE], memory_order_relaxed);
        if (tail - head > 16) { /* hide the misses of long queues: the descriptor, later the frame */
            __builtin_prefetch(atomic_load_explicit(&p->runq[(head + 16) % RUNQ_SIZE], memory_order_relaxed));
            struct g *soon = atomic_load_explicit(&p->runq[(head + 8) % RUNQ_SIZE], memory_order_relaxed);
            __builtin_prefetch(soon->sp);
        }
        if (atomic_compare_exchange_weak_explicit(&p->runq_head, &head, head + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return g;
    }
}

struct g *runq_get(struct p *p)
{
    if (atomic_load_explicit(&p->runnext, memory_order_relaxed)) {
        if (likely(++p->runnext_streak < STREAK)) {
            struct g *g = atomic_exchange_explicit(&p->runnext, NULL, memory_order_acq_rel);
            if (g) return g;
        } else {
            p->runnext_streak = 0;
            struct g *g = ring_get(p);
            if (g) return g;
            return atomic_exchange_explicit(&p->runnext, NULL, memory_order_acq_rel);
        }
    }
    p->runnext_streak = 0;
    return ring_get(p);
}

bool runq_empty(struct p *p)
{
    return atomic_load(&p->runq_head) == atomic_load(&p->runq_tail) && atomic_load(&p->runnext) == NULL;
}

struct g *runq_steal(struct p *p, struct p *from, bool take_next)
{
    for (;;) {
        uint32_t head = atomic_load_explicit(&from->runq_head, memory_order_acquire);
        uint32_t tail = atomic_load_explicit(&from->runq_tail, memory_order_acquire);
        uint32_t n = tail - head;
        n -= n / 2;
        if (n == 0) {
            struct g *next = atomic_load_explicit(&from->runnext, memory_order_relaxed);
            if (!take_next || !next) return NULL;
            /* Its waker is likely to park at once and run it: leave it a moment, or two partners would move apart. */
            if (atomic_load_explicit(&from->status, memory_order_relaxed) == P_RUNNING)
                for (int i = 0; i < STEAL_NEXT_RELAX; i++) cpu_relax();
            if (!atomic_compare_exchange_strong(&from->runnext, &next, NULL)) continue;
            return next;
        }
        if (n > RUNQ_SIZE / 2) continue; /* head and tail were not of one moment */
        uint32_t mine = atomic_load_explicit(&p->runq_tail, memory_order_relaxed);
        struct g *last = NULL;
        for (uint32_t i = 0; i < n; i++) {
            last = atomic_load_explicit(&from->runq[(head + i) % RUNQ_SIZE], memory_order_relaxed);
            if (i + 1 < n) atomic_store_explicit(&p->runq[(mine + i) % RUNQ_SIZE], last, memory_order_relaxed);
        }
        if (!atomic_compare_exchange_strong(&from->runq_head, &head, head + n)) continue;
        atomic_store_explicit(&p->runq_tail, mine + n - 1, memory_order_release);
        return last;
    }
}
