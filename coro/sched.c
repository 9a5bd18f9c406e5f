/* SPDX-License-Identifier: Apache-2.0
 *
 * The scheduler: what runs next. A coroutine that parks picks its successor from its p's queue and switches to it directly; only
 * when there is none it switches to g0, which looks everywhere else (find_runnable):
 *
 *   own queue → global queue → poller → steal → give the p up, look again → wait in the poller or asleep
 *
 * Invariants
 *   1. What was to be done for the coroutine that is left (release a lock, queue it, free it) is done after the switch, by
 *      switch_arrive() on the new stack: before, its registers are not saved.
 *   2. A submitter publishes work, then (a full fence) looks whether a p is idle and no m is looking for work. An m that stops
 *      looking says so, then (a full fence) looks at all queues once more. So work and an idle p are never both left alone.
 *   3. Every 64th switch looks at the timers and, in turns, at the global queue or the ring before anything else; every switch counts in
 *      p->tick, and whoever counts looks whether it is the turn of that. The global queue has had its turn when a batch was taken from it within
 *      the last 128.
 *   4. Who yields while others wait in the global queue goes behind them, by way of p->later, which is emptied into it before the p
 *      takes anything from there.
 * Model: Go's runtime/proc.go. Tried and dropped: always going through g0 as Go does (two switches instead of one); taking the lock of
 * the global queue for each that yields. */
#include "coro/switch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coro/include/coro.h"

enum { STEAL_ROUNDS = 4 };

struct sched sched;

intptr_t sched_errno_at;

CO_EXPORT __attribute__((noinline)) int *co_errno_location(void);
int *co_errno_location(void)
{
    __asm__ volatile("" ::: "memory");
    return __errno_location();
}

static void form_set(context_switch_fn *form)
{
    sched.form = form;
    context_fp_full = form == context_switch_full;
}

void sched_init(void)
{
    const char *s = getenv("CORO_FPU");
    sched_errno_at = (intptr_t)((uintptr_t)__errno_location() - context_thread_pointer());
    context_fp_init();
    form_set(context_switch);
    if (!s || !*s || !strcmp(s, "fenv")) return;
    if (!strcmp(s, "full"))
        form_set(context_switch_full);
    else if (!strcmp(s, "off"))
        form_set(context_switch_bare);
    else
        log_line("coro: CORO_FPU=%s is none of fenv, full, off; using fenv", s);
}

/* Now and then: somebody has written MXCSR by itself. What it wrote is lost or went to others until now. */
static inline void fp_check(void)
{
    static _Atomic bool said;
    if (sched.form != context_switch || likely(!context_fp_strays())) return;
    form_set(context_switch_full);
    if (!atomic_exchange(&said, true))
        log_line("coro: a coroutine changed MXCSR without <fenv.h>; from now on each switch keeps it. "
                 "Start with CORO_FPU=full to have that from the beginning");
}

static void unlock_all(struct sudog *list)
{
    /* In the order of the list, which is that of locking; equal objects stand side by side. */
    void *last = NULL;
    for (struct sudog *s = list; s;) {
        struct sudog *next = s->more; /* after the last unlock the list may be its owner's again */
        void *object = s->object;
        if (object && object != last) {
            last = object;
            while (next && next->object == object) next = next->more;
            word_unlock(object); /* the lock is the first word of everything that can be waited for */
        }
        s = next;
    }
}

COLD void sched_after(struct m *m, struct g *left, uintptr_t post)
{
    switch (post) {
    case POST_YIELD: ring_put(&m->p->later, left); break;
    case POST_UNLOCK_ALL: unlock_all(left->waits); break;
    case POST_EXIT: g_free_slow(m->p, left); break;
    case POST_BLOCKING: m_finish_blocking(m, left); break;
    default: break;
    }
}

/* Where switch_to() goes when not every m may run from or to, or there is no `to`: g0, which finds to in m->stash. From g0 itself: there. */
COLD struct g *sched_by_g0(struct m *m, struct g *from, struct g *to)
{
    bool there = from->is_g0;
    m->stash = there ? NULL : to;
    atomic_store_explicit(&m->curg, there ? to : NULL, memory_order_relaxed);
    if (!there) return &m->g0;
    to->schedules++;
    to->m = m;
    g_set_status(to, G_RUNNING);
    return to;
}

/* The coroutine has no p: g0 goes on. Comes back with one. */
void sched_to_g0(struct m *m, struct g *g, enum post post)
{
    switch_leave(g, m, NULL, post);
}

/* Of every second of these ticks the other one is the ring's: while some come and go by the global queue, it is not forgotten. */
static bool global_turn(const struct p *p)
{
    return atomic_load_explicit(&p->tick, memory_order_relaxed) % (2 * FAIR_TICKS) == 0;
}

/* A batch from the global queue was taken not long ago: it is not its turn yet. */
static bool recently_fed(const struct p *p)
{
    return atomic_load_explicit(&p->tick, memory_order_relaxed) - p->fed <= 2 * FAIR_TICKS;
}

static bool nothing_else(struct p *p)
{
    fp_check();
    return (!atomic_load_explicit(&sched.nglobal, memory_order_relaxed) || !global_turn(p) || recently_fed(p)) &&
           !atomic_load_explicit(&p->timers.first_ns, memory_order_relaxed);
}
static inline void count_tick(struct p *p)
{
    atomic_store_explicit(&p->tick, atomic_load_explicit(&p->tick, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* switch_pick() when the tick says that it is the others' turn. */
struct g *sched_pick_fair(struct p *p)
{
    if (!nothing_else(p)) return NULL; /* g0 counts this tick */
    count_tick(p);
    return runq_get_fair(p);
}

static struct g *look_global(struct p *p, bool batch)
{
    bool later = batch && ring_used(&p->later);
    if (!atomic_load_explicit(&sched.nglobal, memory_order_relaxed) && !later) return NULL;
    colock_acquire(&sched.lock);
    if (later) global_put_later(p);
    struct g *g = global_get(p, batch);
    colock_release(&sched.lock);
    return g;
}

void sched_park(struct g *g, uintptr_t post, enum seep_wait_reason reason)
{
    switch_park(g, post, reason);
}

/* Nothing was found in the queues of p: from the global one; NULL: it is g0's turn. self: there is nobody else. */
static COLD struct g *yield_further(struct g *self, struct p *p)
{
    if (atomic_load_explicit(&p->tick, memory_order_relaxed) % FAIR_TICKS == 0) return NULL;
    struct g *next = look_global(p, true);
    if (!next && unlikely(stack_canaries)) stack_check(self);
    return next ? next : self;
}

void sched_yield_to_others(struct g *g)
{
    struct m *m = context_m();
    struct g *next = switch_pick(m->p);
    if (unlikely(!next) && (next = yield_further(g, m->p)) == g) return;
    g_set_status(g, G_RUNNABLE);
    switch_leave(g, m, next, POST_YIELD);
}

/* For yield_deep(): what is due now and then. False: more than that is. */
static bool deep_prepare(struct p *p)
{
    if (atomic_load_explicit(&p->tick, memory_order_relaxed) % FAIR_TICKS == 0) {
        if (!nothing_else(p)) return false;
        count_tick(p);
    }
    if (ring_used(&p->runq)) return true;
    colock_acquire(&sched.lock);
    global_put_later(p);
    global_fill(p, 0);
    colock_release(&sched.lock);
    return ring_used(&p->runq) != 0;
}

/* From g to `to`, the first of p's ring, which stands at head; g takes the place `tail` of another ring or the same one. Nobody shares p. */
INLINE void yield_to(struct g *g, struct m *m, struct p *p, struct g *to, struct ring *place, uint32_t tick,
                     uint32_t head, uint32_t tail)
{
    int saved = errno_get();
    atomic_store_explicit(&p->tick, tick + 1, memory_order_relaxed);
    atomic_store_explicit(&m->prev, g, memory_order_relaxed);
    g_set_status(g, G_RUNNABLE);
    uint64_t schedules = switch_begin(m, to);
    atomic_store_explicit(&place->slots[tail % RUNQ_SIZE], g, memory_order_relaxed);
    atomic_store_explicit(&place->tail, tail + 1, memory_order_release);
    atomic_store_explicit(&p->runq.head, head + 1, memory_order_release);
    switch_arrive(switch_go(g, to, POST_NONE, schedules));
    errno_set(saved);
}

static void yield_deep(struct g *g, struct m *m, struct p *p);
static COLD void yield_prepare(struct g *g, struct m *m, struct p *p)
{
    if (deep_prepare(p))
        yield_deep(g, m, p);
    else
        sched_yield_to_others(g);
}

/* co_yield_now() with a p that nobody shares and others in the global queue: to p->later, by a call of its own, so that the way is as short as there.
 * The ring goes first, then p->later by way of the global queue, also when that is empty by now. */
static __attribute__((noinline)) void yield_deep(struct g *g, struct m *m, struct p *p)
{
    uint32_t tick = atomic_load_explicit(&p->tick, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&p->runq.head, memory_order_relaxed);
    if (unlikely(tick % FAIR_TICKS == 0 || head == atomic_load_explicit(&p->runq.tail, memory_order_relaxed))) {
        yield_prepare(g, m, p);
        return;
    }
    uint32_t tail = atomic_load_explicit(&p->later.tail, memory_order_relaxed);
    struct g *to = atomic_load_explicit(&p->runq.slots[head % RUNQ_SIZE], memory_order_relaxed);
    if (unlikely(atomic_load_explicit(&p->runnext, memory_order_relaxed) != NULL ||
                 tail - atomic_load_explicit(&p->later.head, memory_order_relaxed) >= RUNQ_SIZE ||
                 (g->flags | to->flags) & G_ASIDE)) {
        sched_yield_to_others(g);
        return;
    }
    look_ahead(&p->runq, head);
    yield_to(g, m, p, to, &p->later, tick, head, tail);
}

static __attribute__((noinline)) void yield_slow(void)
{
    struct m *m = context_m();
    struct p *p = m ? m->p : NULL;
    if (p && atomic_load_explicit(&p->tick, memory_order_relaxed) % FAIR_TICKS == 0 && nothing_else(p)) {
        /* As sched_pick_fair() does; and by the short way, where the others are parked, so that returns are predicted. */
        count_tick(p);
        co_yield_now();
        return;
    }
    sched_yield_to_others(runtime_parker("co_yield"));
}

/* With a p that nobody shares and another one in its ring, the way of sched_yield_to_others() is short: no thief is near, so the place in the
 * ring can be taken before the switch, and what is rare is left to yield_slow(). */
CO_EXPORT void co_yield_now(void)
{
    struct g *g = context_self();
    struct m *m = context_m();
    struct p *p = m ? m->p : NULL;
    if (unlikely(!p || p->unusual || stack_canaries)) {
        if (likely(p && p->deep && !p->shared && !stack_canaries))
            yield_deep(g, m, p);
        else
            yield_slow();
        return;
    }
    uint32_t tick = atomic_load_explicit(&p->tick, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&p->runq.head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&p->runq.tail, memory_order_relaxed);
    struct g *to = atomic_load_explicit(&p->runq.slots[head % RUNQ_SIZE], memory_order_relaxed);
    if (unlikely(tick % FAIR_TICKS == 0 || head == tail ||
                 atomic_load_explicit(&p->runnext, memory_order_relaxed) != NULL ||
                 atomic_load_explicit(&sched.nglobal, memory_order_relaxed) || (g->flags | to->flags) & G_ASIDE)) {
        yield_slow();
        return;
    }
    yield_to(g, m, p, to, &p->runq, tick, head, tail);
}

/* The descriptor goes to the free list while its coroutine is still on the way to the switch: the list is its p's, and so is the thread. */
_Noreturn void sched_exit(struct g *g)
{
    struct m *m = context_m();
    struct p *p = m->p;
    g_set_status(g, G_DEAD);
    g->name = NULL;
    atomic_store_explicit(&p->live, atomic_load_explicit(&p->live, memory_order_relaxed) - 1, memory_order_relaxed);
    if (unlikely(g->flags & G_LOCKED)) lock_thread_end(g);
    struct g *next = switch_pick(p);
    uintptr_t post = POST_EXIT;
    if (likely(g->cls == STACK_DEFAULT && p->free_gs < FREE_GS)) {
        g->link = p->free_g;
        p->free_g = g;
        p->free_gs++;
        post = POST_NONE;
    }
    (void)switch_to(m, g, next, post);
    __builtin_unreachable();
}

void sched_ready(struct g *g)
{
    const struct m *m = context_m();
    if (likely(m && m->p)) {
        ready_next(g);
        return;
    }
    g_set_status(g, G_RUNNABLE);
    if (unlikely(g->flags & G_ASIDE) && lock_thread_ready(g)) return;
    global_put(g);
    m_wake_one();
}

/* ---- g0 */

/* Queues what the poller found, on p's queue as far as there is room; returns the first. Their frames are asked for here, all at once: where
 * stacks lie far apart most of the wait is for page tables, and several walks go side by side. */
static struct g *take_ready(struct p *p, struct g_list *l)
{
    for (struct g *g = l->head; g; g = g->link) {
        g_set_status(g, G_RUNNABLE);
        fetch_frame(g);
    }
    struct g *first = list_pop(l);
    bool more = l->n > 0;
    for (uint32_t room = RUNQ_SIZE / 2; room && l->n; room--) runq_put(p, list_pop(l));
    global_put_list(l);
    if (more) {
        atomic_thread_fence(memory_order_seq_cst);
        m_wake_one();
    }
    return first;
}

static struct g *look_poller(struct p *p, int64_t timeout_ns)
{
    if (!atomic_load_explicit(&poll_waiters.n, memory_order_relaxed)) return NULL;
    if (atomic_load_explicit(&sched.polling, memory_order_relaxed)) return NULL;
    struct g_list l = {0};
    poll_ready(&l, timeout_ns);
    return take_ready(p, &l);
}

static uint32_t rng_next(struct m *m)
{
    m->rng ^= m->rng << 13;
    m->rng ^= m->rng >> 17;
    m->rng ^= m->rng << 5;
    return m->rng;
}

static struct g *look_steal(struct m *m, struct p *p)
{
    for (int round = 0; round < STEAL_ROUNDS; round++) {
        bool last = round == STEAL_ROUNDS - 1;
        uint32_t start = rng_next(m) % sched.nprocs;
        for (uint32_t i = 0; i < sched.nprocs; i++) {
            struct p *from = &sched.ps[(start + i) % sched.nprocs];
            if (from == p) continue;
            if (last && atomic_load_explicit(&from->timers.first_ns, memory_order_relaxed) &&
                timer_run(from, os_mono_ns())) {
                struct g *g = runq_get(p);
                if (g) return g;
            }
            struct g *g = runq_steal(p, from, last);
            if (g) return g;
        }
    }
    return NULL;
}

static void stop_spinning(struct m *m)
{
    if (!m->spinning) return;
    m->spinning = false;
    atomic_fetch_sub(&sched.nspinning, 1);
}

static void start_spinning(struct m *m)
{
    if (m->spinning) return;
    m->spinning = true;
    atomic_fetch_add(&sched.nspinning, 1);
}

/* The m found work: if it was the one that looks out for more, another one should. */
static void found(struct m *m)
{
    if (!m->spinning) return;
    stop_spinning(m);
    m_wake_one();
}

static bool try_idle_p(struct m *m)
{
    struct p *p = p_idle_take();
    if (!p) return false;
    m_acquire(m, p);
    return true;
}

static bool work_anywhere(void)
{
    if (atomic_load(&sched.nglobal)) return true;
    for (uint32_t i = 0; i < sched.nprocs; i++)
        if (!runq_empty(&sched.ps[i])) return true;
    return false;
}

static bool poller_needed(void)
{
    return timer_first() != 0 || atomic_load(&poll_waiters.n) != 0;
}

/* Without a p. Waits in the poller when there is something to wait for there and nobody does. True: look again, with a p.
 * Whoever adds a waiter while `polling` is set relies on this m: so after clearing it, look once more. */
static bool wait_in_poller(struct m *m, struct g **got)
{
    while (poller_needed() && poll_init()) {
        uint32_t none = 0;
        if (!atomic_compare_exchange_strong(&sched.polling, &none, 1)) return false;
        atomic_store(&sched.poll_until_ns, UINT64_MAX); /* whoever adds a timer now, wakes us */
        uint64_t first = timer_first();
        struct g_list l = {0};
        if (first || atomic_load(&poll_waiters.n)) {
            if (first) atomic_store(&sched.poll_until_ns, first);
            uint64_t now = os_mono_ns();
            if (!work_anywhere()) poll_ready(&l, first == 0 ? -1 : first > now ? (int64_t)(first - now) : 0);
        }
        atomic_store(&sched.polling, 0);
        atomic_store(&sched.coarse_ns, os_mono_ns());
        if (try_idle_p(m)) {
            *got = take_ready(m->p, &l);
            if (!*got) start_spinning(m);
            return true;
        }
        for (struct g *g = l.head; g; g = g->link) g_set_status(g, G_RUNNABLE);
        global_put_list(&l);
        /* Every p is busy, and their m's come by here when they run dry. */
        return false;
    }
    return false;
}

/* On g0. Returns a coroutine to run; m has a p then. */
static struct g *find_runnable(struct m *m)
{
    struct g *g;
    for (;;) {
        struct p *p = m->p;
        uint32_t tick = atomic_load_explicit(&p->tick, memory_order_relaxed);
        if (atomic_load_explicit(&p->timers.first_ns, memory_order_relaxed)) timer_run(p, os_mono_ns());
        if (tick % FAIR_TICKS == 0) {
            bool global = global_turn(p);
            count_tick(p);
            if (global && (g = look_global(p, false)) != NULL) return g;
            if ((g = runq_get_fair(p)) != NULL) return g;
        }
        if ((g = runq_get(p)) != NULL) return g;
        if ((g = look_global(p, true)) != NULL) return g;
        if ((g = look_poller(p, 0)) != NULL) return g;

        uint32_t busy = sched.nprocs - atomic_load(&sched.nidle_p);
        if (m->spinning || 2 * atomic_load(&sched.nspinning) < busy) {
            start_spinning(m);
            if ((g = look_steal(m, p)) != NULL) return g;
        }

        colock_acquire(&sched.lock);
        if ((g = global_get(p, true)) != NULL) {
            colock_release(&sched.lock);
            return g;
        }
        p_idle_put(m_release(m));
        colock_release(&sched.lock);
        if (m->spinning) {
            stop_spinning(m);
            if (work_anywhere() && try_idle_p(m)) {
                start_spinning(m);
                continue;
            }
        }
        if (wait_in_poller(m, &g)) {
            if (g) return g;
            continue;
        }
        m_stop(m);
    }
}

/* m and its g0 never part. */
_Noreturn void sched_loop(struct m *m)
{
    for (;;) {
        struct g *g = m->stash;
        m->stash = NULL;
        if (unlikely(m->locked_g != NULL)) {
            g = lock_thread_wait(m, g);
        } else {
            if (!m->p) m_stop(m);
            fp_check();
            if (likely(!g)) g = find_runnable(m);
            found(m);
            if (unlikely(g->flags & G_ASIDE)) {
                if (g->flags & G_LOCKED) {
                    lock_thread_pass(m, g);
                    continue;
                }
                g_unpack(g);
            }
        }
        struct p *p = m->p;
        count_tick(p);
        switch_arrive(switch_to(m, &m->g0, g, POST_NONE));
    }
}
