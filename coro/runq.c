/* SPDX-License-Identifier: Apache-2.0
 *
 * Run queues. Each p has a ring of 256 that its owner fills at the tail and anybody empties at the head, and one slot before it for
 * the coroutine that was readied last; a global queue takes what does not fit. A second ring (later) collects those that yield while
 * others wait in the global queue, so that they go to its end together. Model: Go's runtime/proc.go (runqput, runqget, runqgrab).
 *
 * Invariants
 *   1. Only the owner of p moves a tail. The head moves by compare-and-swap: by the owner by one, by a thief by half.
 *   2. A slot between head and tail holds a runnable coroutine whose context is saved.
 *   3. Every 64th time the ring goes before the slot: two partners that wake each other do not starve the rest.
 * Lock-free but for the global queue (sched.lock), a ring that grows with the number of descriptors, so that putting
 * never fails. With one p nobody steals: its queue needs no atomic read-modify-write. */
#include "coro/runq.h"

enum { STEAL_NEXT_RELAX = 200 };

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

/* ---- the global queue */

bool global_reserve(uint32_t n)
{
    colock_acquire(&sched.lock);
    bool ok = n <= sched.global_cap;
    if (!ok) {
        uint32_t cap = sched.global_cap ? sched.global_cap * 2 : 1024, had = atomic_load(&sched.nglobal);
        struct g **ring = os_alloc(cap * sizeof *ring, OS_META);
        if (ring) {
            for (uint32_t i = 0; i < had; i++) ring[i] = sched.global[(sched.global_head + i) & (sched.global_cap - 1)];
            if (sched.global) os_free(sched.global, sched.global_cap * sizeof *ring);
            sched.global = ring;
            sched.global_cap = cap;
            sched.global_head = 0;
            ok = n <= cap;
        }
    }
    colock_release(&sched.lock);
    return ok;
}

static inline struct g **global_at(uint32_t i)
{
    return &sched.global[(sched.global_head + i) & (sched.global_cap - 1)];
}

static void global_put_batch(struct g *const *batch, uint32_t n)
{
    colock_acquire(&sched.lock);
    uint32_t had = atomic_load_explicit(&sched.nglobal, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) *global_at(had + i) = batch[i];
    atomic_store(&sched.nglobal, had + n); /* and the fence that m_wake_one() relies on */
    colock_release(&sched.lock);
}

void global_put(struct g *g)
{
    global_put_batch(&g, 1);
}

void global_put_list(struct g_list *l)
{
    if (!l->n) return;
    colock_acquire(&sched.lock);
    uint32_t n = atomic_load_explicit(&sched.nglobal, memory_order_relaxed);
    for (struct g *g; (g = list_pop(l)) != NULL;) *global_at(n++) = g;
    atomic_store(&sched.nglobal, n);
    colock_release(&sched.lock);
}

/* Of n elements, what stands in one piece both from here in a p's ring and from there in the global one. */
static uint32_t run_length(uint32_t n, uint32_t here, uint32_t there)
{
    if (n > RUNQ_SIZE - here) n = RUNQ_SIZE - here;
    if (n > sched.global_cap - there) n = sched.global_cap - there;
    return n;
}

/* Of p->later. */
void global_put_later(struct p *p)
{
    struct ring *r = &p->later;
    uint32_t had = atomic_load_explicit(&sched.nglobal, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire), n;
    do {
        n = atomic_load_explicit(&r->tail, memory_order_relaxed) - head;
        for (uint32_t i = 0, k; i < n; i += k) {
            uint32_t from = (head + i) % RUNQ_SIZE, to = (sched.global_head + had + i) & (sched.global_cap - 1);
            k = run_length(n - i, from, to);
            struct g *_Atomic *slots = &r->slots[from];
            struct g **gs = &sched.global[to];
#pragma GCC unroll 8
            for (uint32_t j = 0; j < k; j++) gs[j] = atomic_load_explicit(&slots[j], memory_order_relaxed);
        }
    } while (!atomic_compare_exchange_strong(&r->head, &head, head + n));
    atomic_store(&sched.nglobal, had + n);
}

/* With sched.lock held. p's ring takes a fair share of the global queue, but for the first `skip`, and behind its end, as hints for
 * look_ahead(), what comes next. */
void global_fill(struct p *p, uint32_t skip)
{
    uint32_t n = atomic_load_explicit(&sched.nglobal, memory_order_relaxed);
    struct ring *r = &p->runq;
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t room = RUNQ_SIZE - (tail - atomic_load_explicit(&r->head, memory_order_acquire));
    uint32_t want = (n + sched.nprocs - 1) / sched.nprocs;
    if (want > RUNQ_SIZE / 2) want = RUNQ_SIZE / 2;
    want -= skip;
    if (want > room) want = room;
    n -= skip;
    p->deep = n > want;
    p->fed = atomic_load_explicit(&p->tick, memory_order_relaxed);
    uint32_t copy = want + HINTS;
    if (copy > n) copy = n;
    if (copy > room) copy = room;
    for (uint32_t i = 0, k; i < copy; i += k) {
        uint32_t from = (sched.global_head + skip + i) & (sched.global_cap - 1), to = (tail + i) % RUNQ_SIZE;
        k = run_length(copy - i, to, from);
        struct g *_Atomic *slots = &r->slots[to];
        struct g *const *gs = &sched.global[from];
#pragma GCC unroll 8
        for (uint32_t j = 0; j < k; j++) atomic_store_explicit(&slots[j], gs[j], memory_order_relaxed);
    }
    atomic_store_explicit(&r->tail, tail + want, memory_order_release);
    sched.global_head += skip + want;
    atomic_store_explicit(&sched.nglobal, n - want, memory_order_release);
}

/* With sched.lock held. batch: takes a fair share into p's ring too. */
struct g *global_get(struct p *p, bool batch)
{
    uint32_t n = atomic_load_explicit(&sched.nglobal, memory_order_relaxed);
    if (batch) p->deep = false;
    if (!n) return NULL;
    struct g *first = *global_at(0);
    if (batch) {
        global_fill(p, 1);
    } else {
        sched.global_head++;
        atomic_store_explicit(&sched.nglobal, n - 1, memory_order_release);
    }
    return first;
}

/* ---- a p's ring */

/* The ring is full: half of it and g go to the global queue, unless thieves are quicker. */
COLD void runq_overflow(struct ring *r, struct g *g)
{
    for (;;) {
        struct g *batch[RUNQ_SIZE / 2 + 1];
        uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
        if (atomic_load_explicit(&r->tail, memory_order_relaxed) - head < RUNQ_SIZE) {
            ring_put(r, g);
            return;
        }
        for (uint32_t i = 0; i < RUNQ_SIZE / 2; i++)
            batch[i] = atomic_load_explicit(&r->slots[(head + i) % RUNQ_SIZE], memory_order_relaxed);
        batch[RUNQ_SIZE / 2] = g;
        if (!atomic_compare_exchange_strong(&r->head, &head, head + RUNQ_SIZE / 2)) continue;
        global_put_batch(batch, RUNQ_SIZE / 2 + 1);
        return;
    }
}

/* ---- a drawn order (CORO_SEED) */

uint64_t runq_seed;

void runq_set_seed(uint64_t seed)
{
    runq_seed = seed * 0x9e3779b97f4a7c15ull | 1;
    struct g *self = context_self();
    if (self && self->m) self->m->rng = (uint32_t)(runq_seed >> 32) | 1;
}

/* George Marsaglia's xorshift, 64 bits. */
static uint32_t draw(uint32_t below)
{
    runq_seed ^= runq_seed << 13;
    runq_seed ^= runq_seed >> 7;
    runq_seed ^= runq_seed << 17;
    return (uint32_t)((runq_seed >> 32) * below >> 32);
}

static struct g *ring_draw(struct ring *r)
{
    uint32_t head = atomic_load(&r->head), n = atomic_load(&r->tail) - head;
    if (n == 0) return NULL;
    uint32_t at = (head + draw(n)) % RUNQ_SIZE;
    struct g *g = atomic_load(&r->slots[at]);
    atomic_store(&r->slots[at], atomic_load(&r->slots[head % RUNQ_SIZE]));
    atomic_store(&r->head, head + 1);
    return g;
}

/* What was readied last has no place of its own. */
static struct g *take_next_drawn(struct p *p)
{
    struct g *g = atomic_exchange(&p->runnext, NULL);
    if (g) runq_put(p, g);
    return NULL;
}

struct g *runq_take_shared(struct p *p)
{
    if (unlikely(runq_seed)) return take_next_drawn(p);
    return atomic_exchange_explicit(&p->runnext, NULL, memory_order_acq_rel);
}

struct g *ring_get_slow(struct p *p, struct ring *r)
{
    if (unlikely(runq_seed)) return ring_draw(r);
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    for (;;) {
        uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
        if (head == tail) return NULL;
        struct g *g = atomic_load_explicit(&r->slots[head % RUNQ_SIZE], memory_order_relaxed);
        if (p->deep)
            look_ahead(r, head);
        else
            look_next(r, head, tail);
        if (!p->shared) {
            atomic_store_explicit(&r->head, head + 1, memory_order_release);
            return g;
        }
        if (atomic_compare_exchange_weak_explicit(&r->head, &head, head + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return g;
    }
}

static bool ring_is_empty(struct ring *r)
{
    return atomic_load(&r->head) == atomic_load(&r->tail);
}

bool runq_empty(struct p *p)
{
    return ring_is_empty(&p->runq) && ring_is_empty(&p->later) && atomic_load(&p->runnext) == NULL;
}

/* Half of what is in `from`: one is returned, the rest goes to p's ring, which is empty. */
static struct g *steal_half(struct p *p, struct ring *from)
{
    for (;;) {
        uint32_t head = atomic_load_explicit(&from->head, memory_order_acquire);
        uint32_t tail = atomic_load_explicit(&from->tail, memory_order_acquire);
        uint32_t n = tail - head;
        n -= n / 2;
        if (n == 0) return NULL;
        if (n > RUNQ_SIZE / 2) continue; /* head and tail were not of one moment */
        uint32_t mine = atomic_load_explicit(&p->runq.tail, memory_order_relaxed);
        struct g *last = NULL;
        for (uint32_t i = 0; i < n; i++) {
            last = atomic_load_explicit(&from->slots[(head + i) % RUNQ_SIZE], memory_order_relaxed);
            if (i + 1 < n) atomic_store_explicit(&p->runq.slots[(mine + i) % RUNQ_SIZE], last, memory_order_relaxed);
        }
        if (!atomic_compare_exchange_strong(&from->head, &head, head + n)) continue;
        atomic_store_explicit(&p->runq.tail, mine + n - 1, memory_order_release);
        return last;
    }
}

struct g *runq_steal(struct p *p, struct p *from, bool take_next)
{
    for (;;) {
        struct g *g = steal_half(p, &from->runq);
        if (g || (g = steal_half(p, &from->later)) != NULL) return g;
        struct g *next = atomic_load_explicit(&from->runnext, memory_order_relaxed);
        if (!take_next || !next) return NULL;
        /* Its waker is likely to park at once and run it: leave it a moment, or two partners would move apart. */
        if (atomic_load_explicit(&from->status, memory_order_relaxed) == P_RUNNING)
            for (int i = 0; i < STEAL_NEXT_RELAX; i++) cpu_relax();
        if (atomic_compare_exchange_strong(&from->runnext, &next, NULL)) return next;
    }
}
