/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of coro/ call of each other. In the order of a coroutine's life: init, spawn, schedule, wait, die. */
#ifndef CORO_RUNTIME_H
#define CORO_RUNTIME_H

#include "agent/heap/heap.h"
#include "agent/os/os.h"
#include "agent/util/log.h"
#include "coro/types.h"

/* ---- init.c */
struct g *runtime_enter(void); /* first call on a thread: makes main() a coroutine; NULL on foreign threads */
struct g *runtime_need_g(const char *caller); /* the current coroutine, or a fatal report */
uint64_t runtime_live(void);                  /* coroutines alive, main included */
bool runtime_foreign_threads(void);           /* threads that are not the runtime's and could wake a coroutine */

/* The current coroutine; the runtime is started when need be. NULL: a thread that isn't the runtime's. */
static inline struct g *runtime_self(void)
{
    struct g *g = context_self();
    return likely(g != NULL) ? g : runtime_enter();
}
/* A coroutine that is allowed to park. */
static inline struct g *runtime_parker(const char *caller)
{
    struct g *g = context_self();
    const struct m *m = context_m();
    if (unlikely(!m || !m->p)) g = runtime_need_g(caller);
    return g;
}

/* ---- g.c: descriptors. */
struct g *g_new_slow(struct p *p, size_t stack_limit, int *error); /* dead, with a stack */
void g_free_slow(struct p *p, struct g *g);
struct g *g_new_main(uintptr_t lo, uintptr_t hi);
struct g *g_main(void); /* what that has made; NULL before */
uint64_t g_next_id(struct p *p);
int g_each(int (*fn)(void *arg, struct g *g), void *arg); /* every descriptor ever made, dead ones too */
void g_trim_tick(uint64_t now_ns);                        /* sysmon: gives pages of idle stacks back */
void g_fork_child(struct g *self);
enum { SUDOG_MAX = 512 };
bool sudog_fill(struct p *p);
void sudog_drain(struct p *p);
static inline struct sudog *sudog_get(struct p *p) /* NULL: no memory */
{
    if (unlikely(!p->free_sudog) && !sudog_fill(p)) return NULL;
    struct sudog *s = p->free_sudog;
    p->free_sudog = s->more;
    p->free_sudogs--;
    return s;
}
static inline void sudog_put(struct p *p, struct sudog *s)
{
    s->elem = s->object = NULL;
    s->slot[0] = s->slot[1] = 0;
    s->more = p->free_sudog;
    p->free_sudog = s;
    if (unlikely(++p->free_sudogs >= SUDOG_MAX)) sudog_drain(p);
}
struct g *g_by_stack(uintptr_t addr);
struct g *g_at(uint32_t index);
uint32_t g_count(void); /* indices in use, dead ones too */

/* ---- stack.c: the arena. */
enum { STACK_CLASSES = 6, STACK_DEFAULT = 1 };
int stack_class(size_t limit); /* -1: too large */
bool stack_alloc(int cls, uint32_t owner, uintptr_t *lo, uintptr_t *hi);
bool stack_owner(uintptr_t addr, uint32_t *index);         /* the descriptor of the slot that holds addr */
bool stack_guards_are_free(void);                          /* they cost no mapping */
void stack_release_pages(struct g *const *gs, unsigned n); /* contents of dead coroutines' stacks */
bool stack_guard_at(uintptr_t addr, uintptr_t *slot_lo);   /* is it in a guard? */
int stack_ranges(seep_range_fn *fn, void *arg);
size_t stack_sys_bytes(void);
/* The kernel gives no guards: check words instead. */
extern bool stack_canaries __attribute__((visibility("hidden")));
void stack_check(struct g *g);
void stack_fork_child(void);

/* ---- stack_rest.c: slots whose contents stand elsewhere */
enum { STACK_COLOUR = 64, STACK_COLOURS = 32, STACK_REST_MAX = 16384, STACK_REST_BATCH = 128 };
int stack_rest(struct g *const *gs,
               unsigned n);          /* their pages go back; at most a batch. In any order, fastest by address */
bool stack_wake(const struct g *g);  /* its pages may be written to again, and are zeroed. False: no memory */
bool stack_rests_at(uintptr_t addr); /* may an access there trap because of stack_rest()? */
int stack_probe(const struct g *g);  /* 0, or why pages can't be given back */
void stack_rest_fork_child(void);

/* ---- pack.c */
void g_unpack(struct g *g);      /* by whoever is going to switch to it: waits until its stack is in its place */
bool pack_fault(uintptr_t addr); /* in the handler of SIGSEGV. True: make the access again */
extern _Atomic uint64_t pack_count, pack_bytes; /* packed now, and what their contents are */
void pack_store_fork_prepare(void);
void pack_store_fork_done(void);
void pack_fork_child(void);

/* ---- pack_scan.c */
void pack_scan_init(void);
void pack_tick(uint64_t now_ns); /* by sysmon */
void pack_scan_fork_child(void);

/* ---- runq.c */
struct g *runq_steal(struct p *p, struct p *from, bool take_next);
bool runq_empty(struct p *p);
void global_put_later(struct p *p); /* with sched.lock held, as global_get */
void global_put(struct g *g);
void global_put_list(struct g_list *l);
bool global_reserve(uint32_t n); /* room for n coroutines in all */
struct g *global_get(struct p *p, bool batch);
void global_fill(struct p *p, uint32_t skip); /* a batch into p's ring, but for the first `skip` */
void list_push(struct g_list *l, struct g *g);
struct g *list_pop(struct g_list *l);

/* ---- spawn.c */
int spawn_from(uint32_t create_stack, void (*fn)(void *), void *arg); /* with the creation stack of another place */

/* ---- sched.c */
void sched_init(void);
void sched_to_g0(struct m *m, struct g *g, enum post post);
void sched_park(struct g *g, uintptr_t post,
                enum seep_wait_reason reason); /* post: enum post, or a lock word's address */
void sched_ready(struct g *g);                 /* it runs soon, after the running one */
void sched_yield_to_others(struct g *g);       /* as co_yield() */
_Noreturn void sched_exit(struct g *g);
_Noreturn void sched_loop(struct m *m); /* g0's life */

/* ---- m.c: threads. */
void m_wake_one(void); /* there may be work for an idle p */
bool m_start(struct p *p, bool spinning);
void m_stop(struct m *m); /* sleeps without a p; comes back with one */
void m_acquire(struct m *m, struct p *p);
struct p *m_release(struct m *m);
struct p *p_idle_get(void);  /* with sched.lock held */
struct p *p_idle_take(void); /* the same without */
void p_idle_put(struct p *p);
void p_handoff(struct p *p);
void m_setup_signals(struct m *m);
void m_finish_blocking(struct m *m, struct g *g); /* POST_BLOCKING */
void p_wake_for_timer(uint64_t when_ns);
int m_thread(void *(*fn)(void *), void *arg); /* 0 or a negative errno */

void m_stop_locked(struct m *m);
void m_pass(struct m *to, struct p *p);

/* ---- sysmon.c */
int sysmon_start(void);

/* ---- lock_thread.c; on g0, but for the last two. */
struct g *lock_thread_wait(struct m *m, struct g *stash); /* gives the p up until m's locked coroutine is to run */
void lock_thread_pass(struct m *m, struct g *g);          /* m's p goes to the thread that g is locked to */
bool lock_thread_ready(struct g *g); /* runnable, in no queue: runs on its thread; false: not yet */
void lock_thread_end(struct g *g);

/* ---- timer.c */
void timer_add(struct p *p, struct timer *t, uint64_t when_ns, void (*fire)(struct timer *));
bool timer_remove(struct timer *t);
bool timer_run(struct p *p, uint64_t now_ns); /* true: something fired */
uint64_t timer_first(void);                   /* of all; 0: none */
void timer_fork_child(struct p *p);
int timer_roots(seep_range_fn *fn, void *arg); /* the objects of pending timers: they will run code or send */

/* ---- ticker.c */
int timer_each(seep_timer_fn *fn, void *arg);             /* those of them that send on a channel of their own */
bool timer_fact(struct timer *t, struct seep_timer *out); /* ticker.c: false when it is none of those */
void timer_let_go(uintptr_t object);                      /* a timer or ticker that nothing reaches */
void *timer_object(struct timer *t); /* the heap block that t is part of; NULL: a coroutine's own timer */

void ctx_fork_child(void); /* ctx.c */

/* ---- poll.c */
struct poll_count {
    _Alignas(64) _Atomic uint32_t n; /* all processors write to it: nothing else is to stand in its line */
};
extern struct poll_count poll_waiters;
int poll_wait(int fd, bool write, const char *caller);
bool poll_ready(struct g_list *out, int64_t timeout_ns); /* false: interrupted or nothing */
bool poll_init(void);
void poll_break(void);
void poll_check(bool all, struct g_list *out);
void poll_fork_child(void);

/* ---- site.c: creation stacks. */
uint32_t site_here(struct m *m, uintptr_t ra, uintptr_t cfa);

/* ---- report.c */
_Noreturn void report_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void report_deadlock(void);
void report_install(void);             /* the overflow report */
bool report_has_faults(void);          /* SIGSEGV still comes here */
void report_watch_thread(struct m *m); /* of the calling thread: its end is reported */

/* ---- dump.c: all stacks on SIGQUIT. */
void dump_install(void);
void dump_if_asked(void); /* by sysmon */
void dump_fork_child(struct m *m);

/* ---- provider.c */
void provider_init(void);
unsigned g_pcs(const struct g *g, uintptr_t *pcs, unsigned max); /* of one that does not run */

static inline enum g_status g_status(const struct g *g)
{
    return (enum g_status)atomic_load_explicit(&((struct g *)(uintptr_t)g)->status, memory_order_relaxed);
}
static inline void g_set_status(struct g *g, enum g_status s)
{
    atomic_store_explicit(&g->status, (uint8_t)s, memory_order_relaxed);
}

#endif
