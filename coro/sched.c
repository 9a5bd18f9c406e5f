/* SPDX-License-Identifier: Apache-2.0
 *
 * The scheduler: what runs next. A coroutine that parks picks its successor from its p's queue and switches to it directly; only
 * when there is none it switches to g0, which looks everywhere else (find_runnable):
 *
 *   own queue → global queue → poller → steal → give the p up, look again → wait in the poller or asleep
 *
 * Invariants
 *   1. What was to be done for the coroutine that is left (release a lock, queue it, free it) is done after the switch, by
 *      sched_arrive() on the new stack: before, its registers are not saved.
 *   2. A submitter publishes work, then (a full fence) looks whether a p is idle and no m is looking for work. An m that stops
 *      looking says so, then (a full fence) looks at all queues once more. So work and an idle p are never both left alone.
 *   3. Every 61st switch looks at the global queue and the timers first; every switch counts in p->tick.
 * Model: Go's runtime/proc.go. Tried and dropped: always going through g0 as Go does (two switches instead of one). */
#include "coro/runq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/critical.h"

enum { FAIR_TICKS = 61, STEAL_ROUNDS = 4 };

struct sched sched;

/* errno of the thread that runs this, without a call: it stands at the same distance from the thread pointer in every thread. */
static intptr_t errno_at;
static inline int errno_get(void)
{
    return context_tls_int(errno_at);
}
static inline void errno_set(int e)
{
    context_tls_set_int(errno_at, e);
}

CO_EXPORT __attribute__((noinline)) int *co_errno_location(void);
int *co_errno_location(void)
{
    __asm__ volatile("" ::: "memory");
    return __errno_location();
}

static enum fp { FP_FENV, FP_FULL, FP_OFF } fp_mode; /* which form of the switch: context.h */

void sched_init(void)
{
    const char *s = getenv("CORO_FPU");
    errno_at = (intptr_t)((uintptr_t)__errno_location() - context_thread_pointer());
    context_fp_init();
    if (!s || !*s || !strcmp(s, "fenv")) return;
    if (!strcmp(s, "full"))
        fp_mode = FP_FULL, context_fp_full = true;
    else if (!strcmp(s, "off"))
        fp_mode = FP_OFF;
    else
        log_line("coro: CORO_FPU=%s is none of fenv, full, off; using fenv", s);
}

/* On g0 now and then: somebody has written MXCSR by itself. What it wrote is lost or went to others until now. */
static inline void fp_check(void)
{
    static _Atomic bool said;
    if (fp_mode != FP_FENV || likely(!context_fp_strays())) return;
    context_fp_full = true;
    fp_mode = FP_FULL;
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

static inline void arrive(void)
{
    struct m *m = context_self()->m;
    struct g *prev = atomic_load_explicit(&m->prev, memory_order_relaxed);
    enum post post = m->post;
    if (post == POST_UNLOCK) {
        word_unlock(m->post_arg);
    } else if (post == POST_YIELD) {
        /* Where others wait in the global queue it goes behind them. */
        if (unlikely(atomic_load_explicit(&sched.nglobal, memory_order_relaxed)))
            global_put(prev);
        else
            runq_put(m->p, prev);
    } else if (post == POST_EXIT) {
        g_free(m->p, prev);
    } else if (post == POST_UNLOCK_ALL) {
        unlock_all(m->post_arg);
    } else if (post == POST_BLOCKING) {
        m_finish_blocking(m, prev);
    }
    atomic_store_explicit(&m->prev, NULL, memory_order_relaxed);
}

/* The only place that switches: see context_x86_64.S. */
static __attribute__((noinline)) void context_to(struct g *from, struct g *to)
{
    context_set_self(to);
    agent_tls.stack_lo = to->stack_lo; /* for whoever samples here */
    agent_tls.stack_hi = to->stack_hi;
    if (likely(fp_mode == FP_FENV))
        context_switch(&from->sp, to->sp);
    else if (fp_mode == FP_FULL)
        context_switch_full(&from->sp, to->sp);
    else
        context_switch_bare(&from->sp, to->sp);
    arrive();
}

void sched_arrive(void)
{
    arrive();
}

/* From `from`, which runs on m, to `to`. Comes back when `from` is switched to again, perhaps on another m. */
static inline void switch_to(struct m *m, struct g *from, struct g *to, enum post post, void *post_arg)
{
    m->post = post;
    m->post_arg = post_arg;
    atomic_store_explicit(&m->prev, from, memory_order_relaxed);
    if (unlikely(to->is_g0)) {
        atomic_store_explicit(&m->curg, NULL, memory_order_relaxed);
    } else {
        to->m = m;
        to->schedules++;
        g_set_status(to, G_RUNNING);
        atomic_store_explicit(&m->curg, to, memory_order_relaxed);
        struct p *p = m->p;
        atomic_store_explicit(&p->tick, atomic_load_explicit(&p->tick, memory_order_relaxed) + 1, memory_order_relaxed);
    }
    context_to(from, to);
}

/* The coroutine has no p: g0 goes on. Comes back with one. */
void sched_to_g0(struct m *m, struct g *g, enum post post)
{
    m->post = post;
    atomic_store(&m->prev, g);
    atomic_store(&m->curg, NULL);
    context_to(g, &m->g0);
}

/* Is there anything that only g0 looks at? */
static __attribute__((noinline)) bool fair_turn(const struct p *p)
{
    fp_check();
    return atomic_load_explicit(&sched.nglobal, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&p->timers.first_ns, memory_order_relaxed) != 0;
}

/* The next one without leaving the p: what a parking coroutine can find by itself. */
static struct g *next_local(struct p *p)
{
    if (unlikely(atomic_load_explicit(&p->tick, memory_order_relaxed) % FAIR_TICKS == 0) && fair_turn(p))
        return NULL; /* g0 looks wider */
    return runq_get(p);
}

/* What `from` may switch to in place of next (NULL: none): locked ones come and go through g0. */
static inline struct g *allowed(struct m *m, const struct g *from, struct g *next)
{
    if (unlikely((from->flags | (next ? next->flags : 0)) & G_LOCKED)) {
        m->stash = next;
        return &m->g0;
    }
    return next ? next : &m->g0;
}

static struct g *look_global(struct p *p, bool batch)
{
    if (!atomic_load_explicit(&sched.nglobal, memory_order_relaxed)) return NULL;
    colock_acquire(&sched.lock);
    struct g *g = global_get(p, batch);
    colock_release(&sched.lock);
    return g;
}

void sched_park(struct g *g, enum post post, void *post_arg, enum seep_wait_reason reason)
{
    struct m *m = g->m;
    int saved = errno_get();
    if (unlikely(stack_canaries)) stack_check(g);
    g->reason = (uint8_t)reason;
    g->blocked_ns = atomic_load_explicit(&sched.coarse_ns, memory_order_relaxed);
    g_set_status(g, G_WAITING);
    struct g *next = next_local(m->p);
    switch_to(m, g, allowed(m, g, next), post, post_arg);
    g->reason = SEEP_WAIT_NONE;
    errno_set(saved);
}

void sched_yield_to_others(struct g *g)
{
    struct m *m = g->m;
    if (unlikely(stack_canaries)) stack_check(g);
    int saved = errno_get();
    struct p *p = m->p;
    struct g *next = next_local(p);
    if (!next && (next = look_global(p, true)) == NULL) {
        uint32_t tick = atomic_load_explicit(&p->tick, memory_order_relaxed);
        if (tick % FAIR_TICKS != 0) {
            /* Alone: do not leave, but count, so that the timers and the poller get their turn. */
            atomic_store_explicit(&p->tick, tick + 1, memory_order_relaxed);
            return;
        }
        next = NULL;
    }
    g_set_status(g, G_RUNNABLE);
    switch_to(m, g, allowed(m, g, next), POST_YIELD, NULL);
    errno_set(saved);
}

_Noreturn void sched_exit(struct g *g)
{
    struct m *m = g->m;
    if (unlikely(stack_canaries)) stack_check(g);
    g_set_status(g, G_DEAD);
    atomic_fetch_sub_explicit(&sched.live, 1, memory_order_relaxed);
    if (unlikely(g->flags & G_LOCKED)) lock_thread_end(g);
    struct g *next = next_local(m->p);
    switch_to(m, g, allowed(m, g, next), POST_EXIT, NULL);
    __builtin_unreachable();
}

void sched_ready(struct g *g)
{
    struct g *self = context_self();
    struct m *m = self ? self->m : NULL;
    g_set_status(g, G_RUNNABLE);
    if (likely(m && m->p))
        runq_put_next(m->p, g);
    else
        global_put(g);
    m_wake_one();
}

/* ---- g0 */

/* Queues what the poller found, on p's queue as far as there is room; returns the first. */
static struct g *take_ready(struct p *p, struct g_list *l)
{
    for (struct g *g = l->head; g; g = g->link) g_set_status(g, G_RUNNABLE);
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
    if (!atomic_load_explicit(&poll_waiters, memory_order_relaxed)) return NULL;
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
    colock_acquire(&sched.lock);
    struct p *p = p_idle_get();
    colock_release(&sched.lock);
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
    return timer_first() != 0 || atomic_load(&poll_waiters) != 0;
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
        if (first || atomic_load(&poll_waiters)) {
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
            atomic_store_explicit(&p->tick, tick + 1, memory_order_relaxed);
            if ((g = look_global(p, false)) != NULL) return g;
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

_Noreturn void sched_loop(void *mp, void *unused)
{
    (void)unused;
    struct m *m = mp; /* g0 never changes its thread */
    sched_arrive();
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
            if (unlikely(g->flags & G_LOCKED)) {
                lock_thread_pass(m, g);
                continue;
            }
        }
        switch_to(m, &m->g0, g, POST_NONE, NULL);
    }
}
