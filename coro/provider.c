/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutines as tasks (contract/task.h): what a snapshot learns of each.
 *
 * Invariants
 *   1. Everything here reads only, takes no lock, and may run in the snapshot's child or in a stopped world.
 *   2. A coroutine that is on an m, coming or going, is reported as running with an unknown sp: its thread knows it, or its
 *      whole stack counts. Only one whose registers are saved is reported with them; its stack may be packed (pack.c).
 *   3. Values in flight: small ones stand in wait nodes and are reported as registers; larger ones on the stack of the one
 *      that waits; the argument of a coroutine not yet started in its first frame. Pending timers are roots: they will send, or run code.
 * blocked_since_ns comes from the coarse clock: it is right to about 10 ms, early rather than late. cpu_ns is sampled by sysmon: right on
 * average, in steps of its tick (20 µs to 10 ms). */
#include "coro/defer.h"
#include "coro/pack.h"
#include "coro/runtime.h"

#include "agent/profile/profile.h"
#include "agent/snapshot/snapshot.h"
#include "coro/include/coro.h"

enum { MAX_WAITS = 1024 };

/* Is g on a thread now, or on its way to or from one? */
static bool on_thread(const struct g *g)
{
    for (struct m *m = atomic_load(&sched.all_m); m; m = m->all_link)
        if (atomic_load(&m->curg) == g || atomic_load(&m->prev) == g) return true;
    return false;
}

unsigned g_pcs(const struct g *g, uintptr_t *pcs, unsigned max)
{
    struct pack_view v;
    if (!pack_view(g, &v)) return 0;
    const struct context_frame *f = (const void *)v.bytes;
    struct unwind_regs r = {.pc = f->pc,
                            .sp = v.sp + sizeof *f,
                            .fp = f->rbp,
                            .rbx = f->rbx,
                            .r12 = f->r12,
                            .r13 = f->r13,
                            .r14 = f->r14,
                            .r15 = f->r15,
                            .complete = true};
    return unwind_stopped(&r, g->stack_lo, g->stack_hi, v.packed ? f + 1 : NULL, pcs, max);
}

static void add_reg(struct seep_task *t, uintptr_t v)
{
    if (v && t->nregs < SEEP_TASK_REGS) t->regs[t->nregs++] = v;
}

static void add_saved(struct seep_task *t, const struct g *g)
{
    struct pack_view v;
    if (!pack_view(g, &v)) return;
    const struct context_frame *f = (const void *)v.bytes;
    t->sp = v.sp + sizeof *f;
    if (v.packed) {
        t->stack_image = f + 1;
        t->committed_bytes = v.size;
    }
    t->pc = f->pc;
    t->fp = f->rbp;
    uintptr_t saved[] = {f->rbx, f->rbp, f->r12, f->r13, f->r14, f->r15};
    for (unsigned i = 0; i < sizeof saved / sizeof *saved; i++) add_reg(t, saved[i]);
}

static struct seep_wait waits[MAX_WAITS]; /* of one task at a time: single threaded */

/* Who holds the lock that s waits for; 0: unknown. A lock in memory that is gone can't be waited for. */
static uint64_t owner_of(const struct sudog *s)
{
    if (s->kind == SEEP_OBJ_MUTEX) return ((const co_mutex *)s->object)->owner;
    if (s->kind != SEEP_OBJ_RWMUTEX) return 0;
    const co_rwmutex *m = s->object;
    return m->writing || m->readers == 1 ? m->owner : 0; /* of several readers none is known */
}

static void add_waits(struct seep_task *t, const struct g *g)
{
    t->waits = waits;
    for (const struct sudog *s = g->waits; s && t->nwaits < MAX_WAITS; s = s->more)
        waits[t->nwaits++] = (struct seep_wait){
            .object = (uintptr_t)s->object, .kind = (enum seep_object_kind)s->kind, .owner_task = owner_of(s)};
    if (t->nwaits == MAX_WAITS) t->wakeable = true; /* not all are known: no verdict */
}

struct walk {
    seep_task_fn *fn;
    void *arg;
    uint32_t index;
};

static int one(void *arg, struct g *g)
{
    struct walk *w = arg;
    enum g_status s = g_status(g);
    w->index++;
    if (s == G_DEAD || s == G_ORPHAN || !g->id) return 0;
    struct seep_task t = {.id = g->id,
                          .name = g->name,
                          .stack_lo = g->stack_lo,
                          .stack_hi = g->stack_hi,
                          .committed_bytes = os_page_size(), /* at least: its top page */
                          .create_stack = g->create_stack,
                          .schedules = g->schedules,
                          .cpu_ns = g->cpu_ns,
                          .defer_depth = defer_depth(g)};
    add_reg(&t, (uintptr_t)g->unwinding);               /* what it deferred, with the arguments */
    if (g->cls == STACK_CLASSES) t.committed_bytes = 0; /* its thread's stack, accounted there */
    if (s == G_SYSCALL) {
        t.state = SEEP_TASK_SYSCALL;
        t.wait_reason = SEEP_WAIT_SYSCALL;
        t.blocked_since_ns = g->blocked_ns;
    } else if (s == G_RUNNING || on_thread(g)) {
        t.state = SEEP_TASK_RUNNING;
    } else {
        t.state = s == G_WAITING ? SEEP_TASK_WAITING : SEEP_TASK_RUNNABLE;
        add_saved(&t, g);
    }
    if (t.state == SEEP_TASK_WAITING) {
        t.wait_reason = (enum seep_wait_reason)g->reason;
        t.blocked_since_ns = g->blocked_ns;
        if (g->cls < STACK_CLASSES && !(g->flags & G_ASIDE)) t.ref = w->index;
        t.wakeable = g->reason == SEEP_WAIT_SLEEP || g->reason == SEEP_WAIT_IO;
        if (!t.wakeable) add_waits(&t, g);
    }
    if (g->waits)
        for (const struct sudog *n = g->waits; n; n = n->more) {
            add_reg(&t, n->slot[0]);
            add_reg(&t, n->slot[1]);
        }
    return w->fn(w->arg, &t);
}

static int iterate(void *ctx, seep_task_fn *fn, void *arg)
{
    (void)ctx;
    struct walk w = {.fn = fn, .arg = arg};
    return g_each(one, &w);
}

static int main_stack(seep_range_fn *fn, void *arg)
{
    const struct g *g = g_main();
    if (!g || g_status(g) == G_DEAD || g_status(g) == G_ORPHAN) return 0;
    return fn(arg, g->stack_lo, g->stack_hi);
}

static int stacks(void *ctx, seep_range_fn *fn, void *arg)
{
    (void)ctx;
    int stop = stack_ranges(fn, arg);
    return stop ? stop : main_stack(fn, arg);
}

static int roots(void *ctx, seep_range_fn *fn, void *arg)
{
    (void)ctx;
    return timer_roots(fn, arg);
}

static int timers(void *ctx, seep_timer_fn *fn, void *arg)
{
    (void)ctx;
    return timer_each(fn, arg);
}

static size_t stack_sys(void *ctx, size_t *inuse)
{
    (void)ctx;
    size_t packed = (size_t)atomic_load(&pack_count);
    *inuse = ((size_t)runtime_live() - packed) * os_page_size() + (size_t)atomic_load(&pack_bytes);
    return stack_sys_bytes() + pack_store_bytes();
}

static void prepare(void *ctx)
{
    (void)ctx;
    pack_scan_prepare();
}

static void rests(void *ctx, uintptr_t ref)
{
    (void)ctx;
    pack_scan_rests(ref);
}

static void timer_lost(void *ctx, uintptr_t object)
{
    (void)ctx;
    pack_scan_timer_lost(object);
}

static void finish(void *ctx, bool told)
{
    (void)ctx;
    pack_scan_finish(told);
}

static bool settle(void *ctx, uint64_t ns)
{
    (void)ctx;
    if (!context_self()) return false;
    co_sleep_ns(ns);
    return true;
}

static const struct seep_task_provider provider = {
    .version = SEEP_TASK_PROVIDER_VERSION,
    .name = "coro",
    .iterate = iterate,
    .roots = roots,
    .stacks = stacks,
    .stack_sys = stack_sys,
    .timers = timers,
    .settle = settle,
    .prepare = prepare,
    .rests = rests,
    .timer_lost = timer_lost,
    .finish = finish,
};

void provider_init(void)
{
    provider_register(&provider);
}
