/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads (m) and the processors (p) they hold: starting, stopping, blocking calls, and sysmon.
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
enum { TICK_MIN_NS = 20000, TICK_MAX_NS = 10000000, SPIN_NS = 10000000, POLL_NS = 10000000, CHECK_NS = 100000000 };

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
static int thread_create(void *(*fn)(void *), void *arg)
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
        err = thread_create(m_main, m);
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
    return sched.nm == sched.nidle_m && !atomic_load(&sched.nglobal) && !atomic_load(&poll_waiters) &&
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
                      timer_first() == 0 && !atomic_load(&poll_waiters);
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
    if (atomic_load(&sched.nglobal) || (alone && (timer_first() || atomic_load(&poll_waiters)))) {
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
    colock_acquire(&sched.lock);
    struct p *p = p_idle_get();
    colock_release(&sched.lock);
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

/* ---- sysmon: the thread that needs no p */

static bool retake(struct p *p, uint64_t now)
{
    uint32_t status = atomic_load(&p->status), tick = atomic_load_explicit(&p->tick, memory_order_relaxed);
    uint32_t calls = atomic_load_explicit(&p->syscall_tick, memory_order_relaxed);
    bool same = tick == p->seen_tick && calls == p->seen_syscall;
    if (!same) {
        p->seen_tick = tick;
        p->seen_syscall = calls;
        p->spin_ns = now;
    }
    uint64_t passed = p->seen_ns ? now - p->seen_ns : 0;
    p->seen_ns = now;
    struct m *m = atomic_load(&p->m);
    struct g *g = m ? atomic_load(&m->curg) : NULL;
    if (status == P_RUNNING && g) g->cpu_ns += passed;
    if (status != P_SYSCALL || !same) return false;
    bool needed = !runq_empty(p) || atomic_load(&sched.nglobal) ||
                  atomic_load(&sched.nidle_p) + atomic_load(&sched.nspinning) == 0 || now - p->spin_ns > SPIN_NS;
    if (!needed || !atomic_compare_exchange_strong(&p->status, &status, P_IDLE)) return false;
    atomic_store(&p->m, NULL);
    p_handoff(p);
    return true;
}

/* all: everybody else is about to sleep. */
static void look_after_poller(bool check, bool all)
{
    struct g_list l = {0};
    if (!atomic_load(&poll_waiters)) return;
    if (!atomic_load(&sched.polling)) poll_ready(&l, 0);
    if (check) poll_check(all, &l);
    if (!l.n) return;
    for (struct g *g = l.head; g; g = g->link) g_set_status(g, G_RUNNABLE);
    global_put_list(&l);
    m_wake_one();
}

/* Idle memory goes back from here when there is no agent's thread. */
static void heap_tick(void)
{
    if (__atomic_load_n(&heap_waits_work, __ATOMIC_RELAXED)) heap_wait_tick(false);
}

static void *sysmon(void *unused)
{
    (void)unused;
    uint64_t delay = TICK_MIN_NS;
    unsigned quiet = 0;
    uint64_t last_poll = 0, last_check = 0;
    mutex_probe();
    for (;;) {
        uint32_t nap = 0;
        os_futex_wait(&nap, 0, (int64_t)delay);
        uint64_t now = os_mono_ns();
        atomic_store(&sched.coarse_ns, now);
        bool did = false;
        for (uint32_t i = 0; i < sched.nprocs; i++) did |= retake(&sched.ps[i], now);
        uint64_t first = timer_first();
        if (first && first < now && atomic_load(&sched.nidle_p)) m_wake_one();
        if (now - last_poll > POLL_NS) {
            last_poll = now;
            if (now - last_check > CHECK_NS) last_check = now;
            look_after_poller(last_check == now, false);
        }
        g_trim_tick(now);
        heap_tick();
        dump_if_asked();
        quiet = did ? 0 : quiet + 1;
        if (did) delay = TICK_MIN_NS;
        if (quiet > 50 && delay < TICK_MAX_NS) delay *= 2;
        if (delay > TICK_MAX_NS) delay = TICK_MAX_NS;
        if (atomic_load(&sched.nidle_p) != sched.nprocs) continue;

        colock_acquire(&sched.lock);
        /* Timers and descriptors that nobody waits for in the poller (it could not be made) are looked after from here. */
        bool idle = atomic_load(&sched.nidle_p) == sched.nprocs &&
                    (atomic_load(&sched.polling) || (timer_first() == 0 && !atomic_load(&poll_waiters)));
        __atomic_store_n(&sched.sysmon_word, idle ? 1 : 0, __ATOMIC_RELAXED);
        colock_release(&sched.lock);
        if (idle) look_after_poller(true, true);
        while (__atomic_load_n(&sched.sysmon_word, __ATOMIC_ACQUIRE)) {
            os_futex_wait(&sched.sysmon_word, 1, 1000000000);
            dump_if_asked();
            g_trim_tick(os_mono_ns());
            heap_tick();
        }
        atomic_store(&sched.coarse_ns, os_mono_ns());
        delay = TICK_MIN_NS;
        quiet = 0;
    }
    return NULL;
}

int sysmon_start(void)
{
    if (likely(atomic_load_explicit(&sched.sysmon_started, memory_order_relaxed))) return 0;
    if (atomic_exchange(&sched.sysmon_started, true)) return 0;
    int err = thread_create(sysmon, NULL);
    if (err) {
        static _Atomic bool said;
        atomic_store(&sched.sysmon_started, false);
        if (!atomic_exchange(&said, true))
            log_line("coro: no monitor thread could be started (error %d): blocking calls keep their processor", -err);
    }
    return err;
}
