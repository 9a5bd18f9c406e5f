/* SPDX-License-Identifier: Apache-2.0
 *
 * The start of the runtime, how main() becomes a coroutine, and fork.
 *
 * Nothing happens before the first co_ call. That call makes the processors; when it comes from the main thread, the
 * thread becomes an m with a new small stack for scheduling, and what ran on it becomes a coroutine on the thread's own
 * stack. From then on main() may go on on any m, as Go's main goroutine does (pinning it would make each switch to
 * it a hand-over between threads); exit() works from wherever it is. Other threads of the program stay what they are: they may start
 * coroutines and use what does not park.
 *
 * fork() keeps the calling coroutine only. The child may start coroutines; channels that others were using at the time of
 * the fork must not be used in it, as with mutexes of other threads.
 *
 * Locks: init_lock. Not async-signal-safe. */
#include "coro/switch.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/entry/entry.h"
#include "coro/include/coro.h"
#include "coro/mutex.h"

enum { G0_STACK = 64 << 10, MAX_PROCS = 256 };

static struct colock init_lock;
static bool main_attached;

static uint32_t count_procs(void)
{
    const char *s = getenv("CORO_MAXPROCS");
    if (s && *s) {
        char *end;
        long n = strtol(s, &end, 10);
        if (!*end && n >= 1 && n <= MAX_PROCS) return (uint32_t)n;
        log_line("coro: CORO_MAXPROCS=%s is not a number from 1 to %d; using the processors online", s, MAX_PROCS);
    }
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_PROCS ? MAX_PROCS : (uint32_t)n;
}

/* CORO_SEED=N: one processor, and an order of coroutines that is drawn, the same one each time. */
static bool seeded(void)
{
    const char *s = getenv("CORO_SEED");
    if (!s || !*s) return false;
    char *end;
    uint64_t n = strtoull(s, &end, 0);
    if (!*end && *s != '-') {
        runq_set_seed(n);
        return true;
    }
    log_line("coro: CORO_SEED=%s is not a number; the order is the usual one", s);
    return false;
}

static void fork_prepare(void)
{
    colock_acquire(&sched.lock);
    pack_store_fork_prepare();
}
static void fork_parent(void)
{
    pack_store_fork_done();
    colock_release(&sched.lock);
}

static void fork_child(void)
{
    struct g *g = context_self();
    struct m *m = g ? g->m : NULL;
    sched.lock = (struct colock){0};
    init_lock = (struct colock){0};
    sched.global_head = 0;
    sched.idle_m = NULL;
    sched.nm = m ? 1 : 0;
    sched.nidle_m = 0;
    sched.idle_p = NULL;
    sched.sysmon_word = 0;
    atomic_store(&sched.nidle_p, 0);
    atomic_store(&sched.nspinning, m && m->spinning ? 1 : 0);
    atomic_store(&sched.nglobal, 0);
    atomic_store(&sched.polling, 0);
    atomic_store(&sched.sysmon_started, false);
    atomic_store(&sched.live, g ? 1 : 0);
    atomic_store(&sched.all_m, m);
    if (m) m->all_link = NULL;
    if (!g) main_attached = false;
    for (uint32_t i = sched.nprocs; i-- > 0;) {
        struct p *p = &sched.ps[i];
        atomic_store(&p->runq.head, 0);
        atomic_store(&p->runq.tail, 0);
        atomic_store(&p->later.head, 0);
        atomic_store(&p->later.tail, 0);
        atomic_store(&p->runnext, NULL);
        atomic_store(&p->live, 0);
        timer_fork_child(p);
        if (m && p == m->p) continue;
        p->free_g = NULL;
        p->free_gs = 0;
        p->free_sudog = NULL;
        p->free_sudogs = 0;
        atomic_store(&p->m, NULL);
        p_idle_put(p);
    }
    if (m && !m->p && m->old_p) { /* inside co_blocking: the p is idle now and is asked for at its end */
        m->old_p = NULL;
    }
    g_fork_child(g);
    ctx_fork_child();
    stack_fork_child();
    dump_fork_child(m);
    pack_fork_child();
    pack_scan_fork_child();
    poll_fork_child();
}

/* Nobody else runs in this process, as far as the agent knows. */
static bool runtime_alone(void)
{
    unsigned n = 0;
    for (struct thread *t = threads_first(); t; t = t->next) n += t->tid != 0 && !t->ended;
    return n <= 1;
}

static COLD void runtime_init(void)
{
    colock_acquire(&init_lock);
    if (!atomic_load(&sched.ready)) {
        if (!context_probe()) report_fatal("a shadow stack is locked on: coroutines can't run in this process");
        sched.nprocs = seeded() ? 1 : count_procs();
        sched.ps = persistent_alloc(sched.nprocs * sizeof(struct p), 64, OS_META);
        if (!sched.ps) report_fatal("no memory for %u processors", sched.nprocs);
        sched_init();
        mutex_init();
        if (runtime_alone()) mutex_probe(); /* else sysmon does: it takes time then */
        atomic_store(&sched.next_id, 1);
        atomic_store(&sched.coarse_ns, os_mono_ns());
        colock_acquire(&sched.lock);
        for (uint32_t i = sched.nprocs; i-- > 0;) {
            sched.ps[i].id = i;
            sched.ps[i].shared = sched.nprocs > 1 || runq_seed;
            p_idle_put(&sched.ps[i]);
        }
        colock_release(&sched.lock);
        report_install();
        dump_install();
        pack_scan_init();
        pthread_atfork(fork_prepare, fork_parent, fork_child);
        provider_init();
        atomic_store(&sched.ready, true);
    }
    colock_release(&init_lock);
}

/* g0's first frame. */
static void entry_loop(void *mp, void *unused, uintptr_t post, void **left)
{
    struct m *m = mp;
    (void)unused;
    switch_arrive((struct context_left){left, post});
    sched_loop(m);
}

/* The main thread becomes an m, and what it runs a coroutine. */
static COLD void attach_main(void)
{
    main_attached = true;
    pthread_attr_t attr;
    void *lo = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &lo, &size);
        pthread_attr_destroy(&attr);
    }
    struct m *m = persistent_alloc(sizeof *m, 64, OS_META);
    void *stack = os_alloc(G0_STACK, OS_OTHER);
    struct g *g = g_new_main((uintptr_t)lo, (uintptr_t)lo + size);
    if (!m || !stack || !g) report_fatal("no memory to make main() a coroutine");
    m->g0.is_g0 = true;
    m->g0.m = m;
    m->g0.stack_lo = (uintptr_t)stack;
    m->g0.stack_hi = (uintptr_t)stack + G0_STACK;
    m->g0.sp = context_make((uintptr_t)stack + G0_STACK, entry_loop, m, NULL);
    m->rng = (uint32_t)(runq_seed ? runq_seed >> 32 : os_random()) | 1;
    m_setup_signals(m);
    mutex_thread_init();
    context_set_m(m);
    g->id = atomic_fetch_add(&sched.next_id, 1);
    g->name = "main";
    g->m = m;
    g->schedules = 1;
    atomic_store(&m->curg, g);
    atomic_fetch_add(&sched.live, 1);
    colock_acquire(&sched.lock);
    sched.nm++;
    m->all_link = atomic_load(&sched.all_m);
    atomic_store(&sched.all_m, m);
    struct p *p = p_idle_get();
    colock_release(&sched.lock);
    context_set_self(g);
    if (p) {
        m_acquire(m, p);
        g_set_status(g, G_RUNNING);
        return;
    }
    /* Other threads' coroutines hold every p: wait for one, as after a blocking call. */
    g_set_status(g, G_SYSCALL);
    sched_to_g0(m, g, POST_BLOCKING);
}

COLD struct g *runtime_enter(void)
{
    int saved = *co_errno_location();
    if (!atomic_load(&sched.ready)) runtime_init();
    if (!main_attached && os_gettid() == os_getpid()) attach_main();
    *co_errno_location() = saved;
    return context_self();
}

COLD struct g *runtime_need_g(const char *caller)
{
    struct g *g = runtime_enter();
    if (!g) report_fatal("%s: called on a thread that runs no coroutines (start one with co_go)", caller);
    if (!g->m->p) report_fatal("%s: called inside co_blocking, where a coroutine can't park", caller);
    return g;
}

bool runtime_foreign_threads(void)
{
    unsigned ours = 0, all = 0;
    for (struct m *m = atomic_load(&sched.all_m); m; m = m->all_link) ours++;
    if (atomic_load(&sched.sysmon_started)) ours++;
    for (struct thread *t = threads_first(); t; t = t->next)
        if (t->tid != 0 && !t->is_agent && !t->ended) all++;
    return all > ours;
}

uint64_t runtime_live(void)
{
    int64_t n = atomic_load(&sched.live);
    for (uint32_t i = 0; i < sched.nprocs; i++) n += atomic_load_explicit(&sched.ps[i].live, memory_order_relaxed);
    return n > 0 ? (uint64_t)n : 0;
}

CO_EXPORT unsigned co_maxprocs(void)
{
    runtime_self();
    return sched.nprocs;
}

CO_EXPORT uint64_t co_count(void)
{
    runtime_self();
    return runtime_live();
}
