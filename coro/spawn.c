/* SPDX-License-Identifier: Apache-2.0
 *
 * A coroutine's beginning and end, and what it can ask about itself. co_go() takes a dead descriptor with its stack (g.c), writes
 * the first frame, and puts it next in the queue; the end gives it back.
 *
 * Invariant: the argument of a coroutine that has not started stands in its first frame, in the live part of its stack. */
#include "coro/defer.h"
#include "coro/include/coro.h"
#include "coro/switch.h"

_Static_assert(sizeof(co_fn *) == sizeof(void *), "passed in a register of the first frame");

static void coroutine_main(void *fn, void *arg, uintptr_t post, void **left)
{
    struct g *g = context_self();
    switch_arrive((struct context_left){left, post});
    ((co_fn *)(uintptr_t)fn)(arg);
    if (unlikely(g->unwinding != NULL)) defer_finish(g);
    sched_exit(g);
}

/* create_stack 0: the caller's, found from its return address and frame. */
static inline int spawn(size_t limit, const char *name, co_fn *fn, void *arg, uint32_t create_stack, uintptr_t ra,
                        uintptr_t cfa)
{
    struct g *self = runtime_self();
    struct m *m = self ? self->m : NULL;
    struct p *p = m ? m->p : NULL;
    if (unlikely(!atomic_load_explicit(&sched.sysmon_started, memory_order_relaxed))) sysmon_start();
    struct g *g;
    if (likely(p && limit == 0 && p->free_g)) {
        g = p->free_g;
        p->free_g = g->link;
        p->free_gs--;
    } else {
        int err = 0;
        g = g_new_slow(p, limit, &err);
        if (!g) return err;
    }
    g->name = name;
    g->schedules = g->cpu_ns = g->blocked_ns = 0;
    g->reason = SEEP_WAIT_NONE;
    g->waits = NULL;
    g->create_stack = create_stack ? create_stack : site_here(m, ra, cfa);
    if (unlikely(stack_canaries)) stack_check(g);
    g->sp = context_make(g->stack_hi, coroutine_main, (void *)(uintptr_t)fn, arg);
    if (likely(p)) {
        g->id = g_next_id(p);
        atomic_store_explicit(&p->live, atomic_load_explicit(&p->live, memory_order_relaxed) + 1, memory_order_relaxed);
        ready_next(g);
    } else {
        g->id = g_next_id(NULL);
        atomic_fetch_add_explicit(&sched.live, 1, memory_order_relaxed);
        sched_ready(g);
    }
    return 0;
}

CO_EXPORT __attribute__((noinline)) int co_go(co_fn *fn, void *arg)
{
    return spawn(0, NULL, fn, arg, 0, (uintptr_t)__builtin_return_address(0),
                 (uintptr_t)__builtin_frame_address(0) + 16);
}

CO_EXPORT __attribute__((noinline)) int co_go_attr(const struct co_attr *attr, co_fn *fn, void *arg)
{
    return spawn(attr ? attr->stack_limit_bytes : 0, attr ? attr->name : NULL, fn, arg, 0,
                 (uintptr_t)__builtin_return_address(0), (uintptr_t)__builtin_frame_address(0) + 16);
}

int spawn_from(uint32_t create_stack, co_fn *fn, void *arg)
{
    return spawn(0, NULL, fn, arg, create_stack, 0, 0);
}

CO_EXPORT uint64_t co_self_id(void)
{
    struct g *g = runtime_self();
    return g ? g->id : 0;
}

CO_EXPORT const char *co_name(void)
{
    struct g *g = runtime_self();
    return g ? g->name : NULL;
}

CO_EXPORT void co_set_name(const char *name)
{
    struct g *g = runtime_self();
    if (g) g->name = name;
}
