/* SPDX-License-Identifier: Apache-2.0
 *
 * Select, after Go's runtime/select.go:
 *   0. where a case seems ready, lock its channel alone and try (a random one of several);
 *   1. lock all channels of the cases, in the order of their addresses;
 *   2. of those that can go on a random one does; a case whose waiters have all been claimed by others cannot after all;
 *   3. else queue a wait node on every channel, and park (the locks are released after the switch);
 *   4. woken by the one that won g->select_done: take the other nodes out, each under its channel's lock.
 *
 * Invariants
 *   1. The list of wait nodes stands in the order of locking, equal channels side by side (unlock_all() in sched.c).
 *   2. A node of a select may be dequeued by a waker that lost: then it is in no queue, and waitq_remove() sees that.
 * Allocates for more than SMALL cases, from the heap, before any lock is taken. */
#include "coro/chan.h"
#include "coro/defer.h"
#include "coro/switch.h"

enum { SMALL = 16 };

static uint32_t rng_below(struct m *m, uint32_t n)
{
    m->rng ^= m->rng << 13;
    m->rng ^= m->rng >> 17;
    m->rng ^= m->rng << 5;
    return (uint32_t)((uint64_t)m->rng * n >> 32);
}

struct order {
    uint32_t *ready, *lock; /* indices: room for those that can go on; the cases whose channel is not nil */
    uint32_t n;
};

static void lock_all(const struct co_case *cases, const struct order *o)
{
    const co_chan *last = NULL;
    for (uint32_t i = 0; i < o->n; i++) {
        co_chan *c = cases[o->lock[i]].ch;
        if (c != last) colock_acquire(&c->lock);
        last = c;
    }
}

static void unlock_but(const struct co_case *cases, const struct order *o, const co_chan *done)
{
    const co_chan *last = done;
    for (uint32_t i = o->n; i-- > 0;) {
        co_chan *c = cases[o->lock[i]].ch;
        if (c != last && c != done) colock_release(&c->lock);
        last = c;
    }
}

static inline bool by_address(const struct co_case *cases, uint32_t a, uint32_t b)
{
    return (uintptr_t)cases[a].ch > (uintptr_t)cases[b].ch;
}

/* A sort by address (Shell's: no recursion, no memory). */
static void sort(const struct co_case *cases, struct order *o)
{
    for (uint32_t gap = o->n / 2; gap; gap /= 2)
        for (uint32_t i = gap; i < o->n; i++) {
            uint32_t x = o->lock[i], k = i;
            for (; k >= gap && by_address(cases, o->lock[k - gap], x); k -= gap) o->lock[k] = o->lock[k - gap];
            o->lock[k] = x;
        }
}

/* Of a few each is put in its place at once, which is the end where they come in order. */
static void make_order(const struct co_case *cases, size_t n, struct order *o)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!cases[i].ch) continue;
        chan_check(cases[i].ch, "co_select");
        uint32_t at = k++;
        for (; n <= SMALL && at && by_address(cases, o->lock[at - 1], i); at--) o->lock[at] = o->lock[at - 1];
        o->lock[at] = i;
    }
    o->n = k;
    if (n > SMALL) sort(cases, o);
}

/* True for a send on a closed channel too: that one is still locked then. */
static bool attempt(struct co_case *c)
{
    if (c->kind == CO_RECV) return chan_recv_locked(c->ch, c->elem, &c->ok);
    if (c->ch->closed) return true;
    return chan_send_locked(c->ch, c->elem);
}

static void enqueue(struct g *g, const struct co_case *cases, const struct order *o)
{
    struct sudog **end = &g->waits;
    struct p *p = g->m->p;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct co_case *c = &cases[o->lock[i]];
        co_chan *ch = c->ch;
        struct sudog *s = sudog_get(p);
        if (unlikely(!s)) report_fatal("no memory for a select of %u cases", o->n);
        s->g = g;
        s->object = ch;
        s->ok = false;
        s->in_select = true;
        s->kind = SEEP_OBJ_CHAN;
        s->index = o->lock[i];
        bool small = ch->elem_size <= sizeof s->slot;
        s->elem = small ? s->slot : c->elem;
        if (c->kind == CO_SEND) {
            if (ch->elem_size == 8)
                __builtin_memcpy(s->slot, c->elem, 8);
            else if (small)
                __builtin_memcpy(s->slot, c->elem, ch->elem_size);
            waitq_push(&ch->senders, s);
        } else {
            waitq_push(&ch->receivers, s);
        }
        *end = s;
        end = &s->more;
    }
    *end = NULL;
}

/* The others leave their queues; the winner's outcome goes to its case. All nodes go back to the pool, after the last lock was
 * taken: until then unlock_all() may still be on its way through them. */
static uint32_t dequeue(struct g *g, struct co_case *cases)
{
    struct sudog *won = g->wake, *list = g->waits;
    for (struct sudog *s = list; s; s = s->more) {
        if (s == won) continue;
        const struct co_case *k = &cases[s->index];
        colock_acquire(&k->ch->lock);
        waitq_remove(k->kind == CO_SEND ? &k->ch->senders : &k->ch->receivers, s);
        colock_release(&k->ch->lock);
    }
    g->waits = NULL;
    uint32_t index = won->index;
    struct co_case *c = &cases[index];
    size_t size = c->ch->elem_size;
    c->ok = won->ok;
    if (c->kind == CO_RECV && c->elem) {
        if (!won->ok)
            __builtin_memset(c->elem, 0, size);
        else if (size == 8)
            __builtin_memcpy(c->elem, won->slot, 8);
        else if (size <= sizeof won->slot)
            __builtin_memcpy(c->elem, won->slot, size);
    }
    struct p *p = g->m->p;
    for (struct sudog *next; list; list = next) {
        next = list->more;
        sudog_put(p, list);
    }
    return index;
}

/* A look without the lock: it may be wrong either way. */
static inline bool seems_ready(const struct co_case *k)
{
    const co_chan *c = k->ch;
    if (k->kind == CO_RECV)
        return __atomic_load_n(&c->count, __ATOMIC_RELAXED) || __atomic_load_n(&c->senders.first, __ATOMIC_RELAXED) ||
               __atomic_load_n(&c->closed, __ATOMIC_RELAXED);
    return __atomic_load_n(&c->receivers.first, __ATOMIC_RELAXED) ||
           __atomic_load_n(&c->count, __ATOMIC_RELAXED) < c->cap;
}

/* One lock instead of all: a random one of those that seem ready, if it is. -1: look properly. */
static long quick_select(struct m *m, struct co_case *cases, size_t n)
{
    uint32_t ready[SMALL], k = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!cases[i].ch) continue;
        chan_check(cases[i].ch, "co_select");
        ready[k] = i;
        k += seems_ready(&cases[i]);
    }
    while (k) {
        uint32_t at = k == 1 ? 0 : rng_below(m, k), i = ready[at];
        co_chan *c = cases[i].ch;
        colock_acquire(&c->lock);
        if (!(cases[i].kind == CO_SEND && c->closed) && attempt(&cases[i])) return (long)i;
        colock_release(&c->lock);
        ready[at] = ready[--k];
    }
    return -1;
}

static long do_select(struct g *g, struct co_case *cases, size_t n, bool block, struct order *o)
{
    make_order(cases, n, o);
    lock_all(cases, o);
    uint32_t k = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct co_case *c = &cases[o->lock[i]];
        o->ready[k] = o->lock[i];
        k += seems_ready(c) || c->ch->closed;
    }
    while (k) {
        uint32_t at = k == 1 ? 0 : rng_below(g->m, k), i = o->ready[at];
        o->ready[at] = o->ready[--k];
        struct co_case *c = &cases[i];
        const co_chan *ch = c->ch;
        bool misuse = c->kind == CO_SEND && ch->closed;
        if (!attempt(c)) continue;
        unlock_but(cases, o, misuse ? NULL : ch);
        if (unlikely(misuse)) runtime_panic("send on closed channel %p (in a select)", (const void *)ch);
        return (long)i;
    }
    if (!block) {
        unlock_but(cases, o, NULL);
        return -1;
    }
    if (o->n == 0) { /* nil channels only */
        g->wait = (struct sudog){.g = g, .kind = SEEP_OBJ_CHAN};
        g->waits = n ? &g->wait : NULL;
        sched_park(g, POST_NONE, n ? SEEP_WAIT_SELECT : SEEP_WAIT_SELECT_EMPTY);
        __builtin_unreachable();
    }
    atomic_store_explicit(&g->select_done, 0, memory_order_relaxed);
    enqueue(g, cases, o);
    switch_park(g, POST_UNLOCK_ALL, SEEP_WAIT_SELECT);
    uint32_t index = dequeue(g, cases);
    bool closed_send = cases[index].kind == CO_SEND && !cases[index].ok;
    if (closed_send) runtime_panic("send on closed channel %p (closed while a select waited)", (void *)cases[index].ch);
    return (long)index;
}

static long select_any(struct co_case *cases, size_t n, bool block, const char *caller)
{
    struct g *g = runtime_parker(caller);
    if (n > UINT16_MAX) report_fatal("%s: %zu cases, at most 65535 are possible", caller, n);
    uint32_t ready[SMALL], lock[SMALL];
    struct order o = {ready, lock, 0};
    if (n <= SMALL) {
        long i = quick_select(g->m, cases, n);
        return i >= 0 ? i : do_select(g, cases, n, block, &o);
    }
    uint32_t *mem = heap_alloc(2 * n * sizeof *mem, 0, HEAP_NOSCAN);
    if (!mem) report_fatal("no memory for a select of %zu cases", n);
    o = (struct order){mem, mem + n, 0};
    long r = do_select(g, cases, n, block, &o);
    heap_free(mem);
    return r;
}

CO_EXPORT size_t co_select(struct co_case *cases, size_t n)
{
    return (size_t)select_any(cases, n, true, "co_select");
}

CO_EXPORT long co_try_select(struct co_case *cases, size_t n)
{
    return select_any(cases, n, false, "co_try_select");
}
