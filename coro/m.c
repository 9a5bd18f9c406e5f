/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads (m) and the processors (p) they hold: starting, stopping, and blocking calls.
 *
 * Invariants
 *   1. A p is held by one m, is on the idle list, or its m is in a blocking call (P_SYSCALL) and may lose it to whoever wins
 *      the compare-and-swap of its status.
 *   2. An m on the idle list has no p. nm - nidle_m counts those that can make something happen; at zero, with nothing in the poller
 *      and no foreign thread, nothing ever will: deadlock.
 *   3. An m never ends.
 * Threads are made by pthread_create: the agent sees them, and they have the signal mask of the coroutine that happened to
 * need one. Locks: sched.lock. */
#include "coro/runq.h"

#include <pthread.h>
#include <signal.h>
#include <errno.h>

#include "agent/util/critical.h"
#include "coro/include/coro.h"
#include "coro/mutex.h"

enum { M_STACK = 256 << 10, MAX_MS = 10000, ALTSTACK = 64 << 10 };

/* ---- idle processors; with sched.lock held */

struct p *p_idle_get(void)
{
    struct p *p = sched.idle_p;
    if (!p) return NULL;
    sched.idle_p = p->link;
    atomic_fetch_sub(&sched.nidle_p, 1);
    if (__atomic_load_n(&sched.sysmon_word, __ATOMIC_RELAXED)) {
        __atomic_store_n(&sched.sysmon_word, 0, __ATOMIC_RELEASE);
        os_futex_wake(&sched.sysmon_word, 1);
    }
    return p;
}

void p_idle_put(struct p *p)
{
    atomic_store(&p->status, P_IDLE);
    p->link = sched.idle_p;
    sched.idle_p = p;
    atomic_fetch_add(&sched.nidle_p, 1);
}

struct p *p_idle_take(void)
{
    colock_acquire(&sched.lock);
    struct p *p = p_idle_get();
    colock_release(&sched.lock);
    return p;
}

void m_acquire(struct m *m, struct p *p)
{
    atomic_store(&p->status, P_RUNNING);
    atomic_store_explicit(&p->m, m, memory_order_relaxed);
    m->p = p;
}

struct p *m_release(struct m *m)
{
    struct p *p = m->p;
    m->p = NULL;
    atomic_store_explicit(&p->m, NULL, memory_order_relaxed);
    return p;
}

/* ---- threads */

void m_setup_signals(struct m *m)
{
    report_watch_thread(m);
    stack_t old;
    if (sigaltstack(NULL, &old) != 0 || (!(old.ss_flags & SS_DISABLE) && old.ss_size >= 16384)) return;
    stack_t ss = {.ss_sp = os_alloc(ALTSTACK, OS_OTHER), .ss_size = ALTSTACK};
    if (ss.ss_sp) sigaltstack(&ss, NULL);
}

static void *m_main(void *arg)
{
    struct m *m = arg;
    context_set_self(&m->g0);
    context_set_m(m);
    m->g0.stack_lo = agent_tls.stack_lo; /* as far as the agent knows it */
    m->g0.stack_hi = agent_tls.stack_hi;
    m_setup_signals(m);
    mutex_thread_init();
    m_acquire(m, m->next_p);
    m->next_p = NULL;
    sched_loop(m);
}

static pthread_t thread_id; /* nobody joins them */
int m_thread(void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) return -EAGAIN;
    pthread_attr_setstacksize(&attr, M_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int err = pthread_create(&thread_id, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    return -err;
}

/* A new thread that begins with p. */
static COLD bool m_new(struct p *p, bool spinning)
{
    int *e = __errno_location(), saved = *e;
    struct m *m = persistent_alloc(sizeof *m, 64, OS_META);
    int err = -ENOMEM;
    if (m) {
        m->g0.is_g0 = true;
        m->g0.m = m;
        m->next_p = p;
        m->spinning = spinning;
        m->rng = (uint32_t)(runq_seed ? runq_seed >> 32 : os_random()) | 1;
        err = m_thread(m_main, m);
    }
    if (!err) {
        struct m *head = atomic_load(&sched.all_m);
        do {
            m->all_link = head;
        } while (!atomic_compare_exchange_weak(&sched.all_m, &head, m));
    } else {
        static _Atomic bool said;
        if (!atomic_exchange(&said, true)) log_line("coro: no further thread could be started (error %d)", -err);
        if (spinning) atomic_fetch_sub(&sched.nspinning, 1);
    }
    *__errno_location() = saved;
    return !err;
}

/* Runs p (NULL: any idle one) on a thread. `spinning`: the caller has counted it in nspinning. */
bool m_start(struct p *p, bool spinning)
{
    colock_acquire(&sched.lock);
    if (!p && !(p = p_idle_get())) {
        colock_release(&sched.lock);
        if (spinning) atomic_fetch_sub(&sched.nspinning, 1);
        return false;
    }
    struct m *m = sched.idle_m;
    if (m) {
        sched.idle_m = m->idle_link;
        sched.nidle_m--;
    } else if (sched.nm == MAX_MS) {
        report_fatal("more than %d threads are blocked", MAX_MS);
    } else {
        sched.nm++;
    }
    colock_release(&sched.lock);
    if (m) {
        m->next_p = p;
        m->spinning = spinning;
        __atomic_store_n(&m->park, 1, __ATOMIC_RELEASE);
        os_futex_wake(&m->park, 1);
        return true;
    }
    if (m_new(p, spinning)) return true;
    colock_acquire(&sched.lock);
    sched.nm--;
    p_idle_put(p);
    bool again = sched.idle_m && atomic_load(&sched.nglobal); /* who came meanwhile found no idle p: m_stop() */
    colock_release(&sched.lock);
    return again && m_start(NULL, false);
}

void m_wake_one(void)
{
    /* Reads after the fence of the publishing store: runq_put_next's exchange, or the unlock of sched.lock. */
    if (atomic_load(&sched.nidle_p) == 0 || atomic_load(&sched.nspinning) != 0) return;
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&sched.nspinning, &none, 1)) m_start(NULL, true);
}

/* With sched.lock held, by an m that has just become idle. */
static bool is_deadlock(void)
{
    return sched.nm == sched.nidle_m && !atomic_load(&sched.nglobal) && !atomic_load(&poll_waiters.n) &&
           timer_first() == 0 && atomic_load(&sched.nidle_p) == sched.nprocs && !atomic_load(&sched.polling);
}

void m_stop(struct m *m)
{
    colock_acquire(&sched.lock);
    struct p *p = atomic_load(&sched.nglobal) ? p_idle_get() : NULL;
    if (unlikely(p)) { /* one that no thread could be started for */
        colock_release(&sched.lock);
        m_acquire(m, p);
        return;
    }
    m->idle_link = sched.idle_m;
    sched.idle_m = m;
    sched.nidle_m++;
    bool dead = is_deadlock();
    /* The last one awake stopped the timer that the poller's m waits for: that one is to look again. */
    bool stale_poll = atomic_load(&sched.polling) && atomic_load(&sched.nidle_p) == sched.nprocs &&
                      timer_first() == 0 && !atomic_load(&poll_waiters.n);
    colock_release(&sched.lock);
    if (stale_poll) poll_break();
    if (dead && !runtime_foreign_threads()) report_deadlock();
    while (__atomic_load_n(&m->park, __ATOMIC_ACQUIRE) == 0) os_futex_wait(&m->park, 0, -1);
    __atomic_store_n(&m->park, 0, __ATOMIC_RELAXED);
    m_acquire(m, m->next_p);
    m->next_p = NULL;
}

/* As m_stop(), for one that runs a locked coroutine only: not on the idle list, woken by m_pass(). */
void m_stop_locked(struct m *m)
{
    colock_acquire(&sched.lock);
    sched.nidle_m++;
    bool dead = is_deadlock();
    colock_release(&sched.lock);
    if (dead && !runtime_foreign_threads()) report_deadlock();
    while (__atomic_load_n(&m->park, __ATOMIC_ACQUIRE) == 0) os_futex_wait(&m->park, 0, -1);
    __atomic_store_n(&m->park, 0, __ATOMIC_RELAXED);
    m_acquire(m, m->next_p);
    m->next_p = NULL;
}

void m_pass(struct m *to, struct p *p)
{
    colock_acquire(&sched.lock);
    sched.nidle_m--; /* it is counted there, or about to be */
    colock_release(&sched.lock);
    to->next_p = p;
    __atomic_store_n(&to->park, 1, __ATOMIC_RELEASE);
    os_futex_wake(&to->park, 1);
}

void p_wake_for_timer(uint64_t when_ns)
{
    if (atomic_load(&sched.polling)) {
        if (when_ns < atomic_load(&sched.poll_until_ns)) poll_break();
    } else {
        m_wake_one(); /* somebody idle should wait for it */
    }
}

/* p has lost its m: it goes to another one when there is anything to do, else it is idle. */
void p_handoff(struct p *p)
{
    uint32_t none = 0;
    if (!runq_empty(p) || atomic_load(&sched.nglobal)) {
        m_start(p, false);
        return;
    }
    if (atomic_load(&sched.nidle_p) == 0 && atomic_compare_exchange_strong(&sched.nspinning, &none, 1)) {
        m_start(p, true);
        return;
    }
    colock_acquire(&sched.lock);
    bool alone = atomic_load(&sched.nidle_p) == sched.nprocs - 1 && !atomic_load(&sched.polling);
    if (atomic_load(&sched.nglobal) || (alone && (timer_first() || atomic_load(&poll_waiters.n)))) {
        colock_release(&sched.lock);
        m_start(p, false);
        return;
    }
    p_idle_put(p);
    colock_release(&sched.lock);
}

/* ---- blocking calls */

/* On g0, for a coroutine whose p was taken while it blocked. */
void m_finish_blocking(struct m *m, struct g *g)
{
    g_set_status(g, G_RUNNABLE);
    struct p *p = p_idle_take();
    if (p) {
        m_acquire(m, p);
        runq_put_next(p, g);
    } else {
        global_put(g);
    }
}

CO_EXPORT void co_blocking(co_fn *fn, void *arg)
{
    struct g *g = runtime_parker("co_blocking");
    struct m *m = g->m; /* the same until the switch below: the call stays on this thread */
    struct p *p = m->p;
    sysmon_start();
    g->blocked_ns = atomic_load_explicit(&sched.coarse_ns, memory_order_relaxed);
    g->reason = SEEP_WAIT_SYSCALL;
    g_set_status(g, G_SYSCALL);
    g->sp = __builtin_frame_address(0);
    m->old_p = p;
    m->p = NULL;
    atomic_store_explicit(&p->syscall_tick, p->syscall_tick + 1, memory_order_relaxed);
    atomic_store(&p->status, P_SYSCALL);
    fn(arg);
    int saved = *co_errno_location();
    uint32_t expected = P_SYSCALL;
    if (atomic_compare_exchange_strong(&p->status, &expected, P_RUNNING)) {
        m->p = p;
        g_set_status(g, G_RUNNING);
        g->reason = SEEP_WAIT_NONE;
        return;
    }
    /* sysmon lent it away: the coroutine is queued by g0 and goes on where there is a p. */
    sched_to_g0(m, g, POST_BLOCKING);
    g->reason = SEEP_WAIT_NONE;
    *co_errno_location() = saved;
}
