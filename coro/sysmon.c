/* SPDX-License-Identifier: Apache-2.0
 *
 * The monitor (sysmon): the thread that needs no p. It looks round every 20 us, less and less often while it finds nothing to do, down to
 * once in 10 ms, and keeps the coarse clock, takes p's away from blocking calls, looks into the poller for those that are busy, and gives
 * idle memory back. While everybody is idle it sleeps, until somebody takes a p.
 *
 * Invariants
 *   1. While it sleeps, sched.sysmon_word is 1, and every p is idle.
 *   2. Before it sleeps it registers all waiting descriptors again (poll.c): nobody would do it later.
 * A server with pauses of less than a millisecond is idle a thousand times a second: to sleep costs a wake-up each time, by one that has
 * better things to do, and the registrations. So after a short sleep it stays awake longer the next time.
 * Locks: sched.lock. Not async-signal-safe. */
#include "coro/runtime.h"

#include "agent/util/critical.h"
#include "coro/mutex.h"

enum { TICK_MIN_NS = 20000, TICK_MAX_NS = 10000000, SPIN_NS = 10000000, POLL_NS = 10000000, CHECK_NS = 100000000 };
enum { SHORT_SLEEP_NS = 10000000, PATIENCE_MIN_NS = 1000000, PATIENCE_MAX_NS = 16000000 };

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
    if (!atomic_load(&poll_waiters.n)) return;
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

struct rest {
    uint64_t idle_since_ns; /* 0: somebody was busy at the last look */
    uint64_t patience_ns;   /* how long all are to be idle before sysmon sleeps */
    uint32_t ticks;         /* of all p's together */
};

/* Everybody is idle at this look, and has been since one that was patience_ns ago. */
static bool idle_for_long(struct rest *r, uint64_t now)
{
    uint32_t ticks = 0;
    if (atomic_load(&sched.nidle_p) != sched.nprocs) {
        r->idle_since_ns = 0;
        return false;
    }
    for (uint32_t i = 0; i < sched.nprocs; i++) ticks += atomic_load_explicit(&sched.ps[i].tick, memory_order_relaxed);
    if (!r->idle_since_ns || ticks != r->ticks) {
        r->idle_since_ns = now;
        r->ticks = ticks;
    }
    return now - r->idle_since_ns >= r->patience_ns;
}

static void woken_after(struct rest *r, uint64_t slept_ns)
{
    r->idle_since_ns = 0;
    if (slept_ns >= SHORT_SLEEP_NS)
        r->patience_ns = r->patience_ns < PATIENCE_MIN_NS * 4 ? 0 : r->patience_ns / 4;
    else if (r->patience_ns < PATIENCE_MAX_NS)
        r->patience_ns = r->patience_ns ? 2 * r->patience_ns : PATIENCE_MIN_NS;
}

/* Until somebody takes a p. False: somebody has, or there is something that nobody but sysmon waits for. */
static bool sleep_while_idle(void)
{
    colock_acquire(&sched.lock);
    /* Timers and descriptors that nobody waits for in the poller (it could not be made) are looked after from here. */
    bool idle = atomic_load(&sched.nidle_p) == sched.nprocs &&
                (atomic_load(&sched.polling) || (timer_first() == 0 && !atomic_load(&poll_waiters.n)));
    __atomic_store_n(&sched.sysmon_word, idle ? 1 : 0, __ATOMIC_RELAXED);
    colock_release(&sched.lock);
    if (!idle) return false;
    look_after_poller(true, true);
    while (__atomic_load_n(&sched.sysmon_word, __ATOMIC_ACQUIRE)) {
        os_futex_wait(&sched.sysmon_word, 1, 1000000000);
        dump_if_asked();
        g_trim_tick(os_mono_ns());
        heap_tick();
    }
    return true;
}

static void *sysmon(void *unused)
{
    (void)unused;
    uint64_t delay = TICK_MIN_NS;
    unsigned quiet = 0;
    uint64_t last_poll = 0, last_check = 0;
    struct rest rest = {0};
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
        if (!idle_for_long(&rest, now)) continue;

        bool slept = sleep_while_idle();
        uint64_t then = os_mono_ns();
        atomic_store(&sched.coarse_ns, then);
        if (slept) woken_after(&rest, then - now);
        delay = TICK_MIN_NS;
        quiet = 0;
    }
    return NULL;
}

int sysmon_start(void)
{
    if (likely(atomic_load_explicit(&sched.sysmon_started, memory_order_relaxed))) return 0;
    if (atomic_exchange(&sched.sysmon_started, true)) return 0;
    int err = m_thread(sysmon, NULL);
    if (err) {
        static _Atomic bool said;
        atomic_store(&sched.sysmon_started, false);
        if (!atomic_exchange(&said, true))
            log_line("coro: no monitor thread could be started (error %d): blocking calls keep their processor", -err);
    }
    return err;
}
