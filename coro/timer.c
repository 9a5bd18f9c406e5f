/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers: a heap with four children a node for each p (shallower than two, and its children share a cache line), as in Go's
 * runtime/time.go, and the sleep that is built on it. A timer stays in the heap of the p that added it; whoever
 * finds it due fires it: its p when it schedules, a thief, or the poller's m.
 *
 * Invariants
 *   1. entries[i].when_ns >= entries[(i - 1) / 4].when_ns, and entries[i].timer->index == i.
 *   2. first_ns is entries[0].when_ns, 0 for an empty heap; readers without the lock use it as a hint, after which they look again.
 *   3. A sleeping coroutine's timer is added under the lock that is released after its switch.
 *   4. A snapshot sees the heap whole: it changes in critical sections only. Where a thread was not stopped, entries may be NULL.
 * Locks: the heap's, before sched.lock. Entries are address space of the agent (os_alloc), doubled when full. */
#include "coro/chan.h"

#include "agent/util/critical.h"

struct timer_entry {
    uint64_t when_ns;
    struct timer *timer;
};

enum { FIRST_CAP = 256 };

static void set(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
    h->entries[i] = e;
    e.timer->index = i;
}

static void up(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
    while (i > 0 && h->entries[(i - 1) / 4].when_ns > e.when_ns) {
        set(h, i, h->entries[(i - 1) / 4]);
        i = (i - 1) / 4;
    }
    set(h, i, e);
}

static void down(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
    for (;;) {
        uint32_t first = 4 * i + 1, least = first;
        if (first >= h->n) break;
        for (uint32_t k = first + 1; k < first + 4 && k < h->n; k++)
            if (h->entries[k].when_ns < h->entries[least].when_ns) least = k;
        if (h->entries[least].when_ns >= e.when_ns) break;
        set(h, i, h->entries[least]);
        i = least;
    }
    set(h, i, e);
}

static void note_first(struct timer_heap *h)
{
    atomic_store(&h->first_ns, h->n ? h->entries[0].when_ns : 0); /* with a fence, see p_wake_for_timer() */
}

static bool grow(struct timer_heap *h)
{
    uint32_t cap = h->cap ? h->cap * 2 : FIRST_CAP;
    struct timer_entry *e = os_alloc(cap * sizeof *e, OS_META);
    if (!e) return false;
    for (uint32_t i = 0; i < h->n; i++) e[i] = h->entries[i];
    struct timer_entry *old = h->entries;
    uint32_t old_cap = h->cap;
    h->entries = e;
    h->cap = cap;
    if (old) os_free(old, old_cap * sizeof *e);
    return true;
}

/* With the heap's lock held. */
static void insert(struct p *p, struct timer *t, uint64_t when_ns, void (*fire)(struct timer *))
{
    struct timer_heap *h = &p->timers;
    agent_enter();
    if (h->n == h->cap && !grow(h)) report_fatal("no memory for a timer");
    t->when_ns = when_ns ? when_ns : 1;
    t->fire = fire;
    t->p = p;
    up(h, h->n++, (struct timer_entry){t->when_ns, t});
    note_first(h);
    agent_leave();
}

static void take(struct timer_heap *h, uint32_t i)
{
    agent_enter();
    h->entries[i].timer->when_ns = 0;
    struct timer_entry last = h->entries[--h->n];
    if (i < h->n) {
        if (i > 0 && h->entries[(i - 1) / 4].when_ns > last.when_ns)
            up(h, i, last);
        else
            down(h, i, last);
    }
    note_first(h);
    agent_leave();
}

void timer_add(struct p *p, struct timer *t, uint64_t when_ns, void (*fire)(struct timer *))
{
    colock_acquire(&p->timers.lock);
    insert(p, t, when_ns, fire);
    bool first = t->index == 0; /* else somebody looks out for an earlier one already */
    colock_release(&p->timers.lock);
    if (first) p_wake_for_timer(when_ns);
}

/* False: it has fired, or is about to. */
bool timer_remove(struct timer *t)
{
    struct timer_heap *h = &t->p->timers;
    colock_acquire(&h->lock);
    bool there = t->when_ns != 0;
    if (there) take(h, t->index);
    colock_release(&h->lock);
    return there;
}

bool timer_run(struct p *p, uint64_t now_ns)
{
    struct timer_heap *h = &p->timers;
    bool any = false;
    for (;;) {
        uint64_t first = atomic_load_explicit(&h->first_ns, memory_order_relaxed);
        if (first == 0 || first > now_ns) return any;
        colock_acquire(&h->lock);
        struct timer *t = h->n && h->entries[0].when_ns <= now_ns ? h->entries[0].timer : NULL;
        if (t) {
            take(h, 0);
            __atomic_fetch_add(&t->firing, 1, __ATOMIC_RELAXED);
        }
        colock_release(&h->lock);
        if (!t) return any;
        t->fire(t);
        any = true;
    }
}

uint64_t timer_first(void)
{
    uint64_t least = 0;
    for (uint32_t i = 0; i < sched.nprocs; i++) {
        uint64_t first = atomic_load(&sched.ps[i].timers.first_ns);
        if (first && (!least || first < least)) least = first;
    }
    return least;
}

/* In the snapshot's child. A timer is part of its object, so the word that is shown as a root is the object's start. */
int timer_roots(seep_range_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < sched.nprocs; i++) {
        const struct timer_heap *h = &sched.ps[i].timers;
        for (uint32_t k = 0; k < h->n; k++) {
            struct seep_timer fact;
            if (!h->entries[k].timer || timer_fact(h->entries[k].timer, &fact)) continue; /* timer_each() */
            void *object = timer_object(h->entries[k].timer);
            if (!object) object = ctx_timer_object(h->entries[k].timer);
            int stop = object ? fn(arg, (uintptr_t)&object, (uintptr_t)(&object + 1)) : 0;
            if (stop) return stop;
        }
    }
    return 0;
}

int timer_each(seep_timer_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < sched.nprocs; i++) {
        const struct timer_heap *h = &sched.ps[i].timers;
        for (uint32_t k = 0; k < h->n; k++) {
            struct seep_timer fact;
            struct timer *t = h->entries[k].timer;
            int stop = t && timer_fact(t, &fact) ? fn(arg, &fact) : 0;
            if (stop) return stop;
        }
    }
    return 0;
}

void timer_fork_child(struct p *p)
{
    p->timers.lock = (struct colock){0};
    for (uint32_t i = 0; i < p->timers.n; i++) p->timers.entries[i].timer->when_ns = 0; /* they never fire here */
    p->timers.n = 0;
    atomic_store(&p->timers.first_ns, 0);
}

static void wake_sleeper(struct timer *t)
{
    sched_ready((struct g *)((char *)t - offsetof(struct g, timer)));
}

CO_EXPORT void co_sleep_ns(uint64_t ns)
{
    struct g *g = runtime_parker("co_sleep_ns");
    if (ns == 0) {
        sched_yield_to_others(g);
        return;
    }
    uint64_t now = os_mono_ns(), when = now + ns < now ? UINT64_MAX - 1 : now + ns;
    struct p *p = g->m->p;
    colock_acquire(&p->timers.lock);
    insert(p, &g->timer, when, wake_sleeper);
    p_wake_for_timer(when);
    sched_park(g, (uintptr_t)&p->timers.lock, SEEP_WAIT_SLEEP);
}
