/* SPDX-License-Identifier: Apache-2.0
 *
 * The structures of the runtime, together because their relations are the design (names after Go's runtime):
 *
 *   g      a coroutine. Its descriptor is metadata and never moves or goes away, so wait queues, timers and snapshots may
 *          point at it; its stack is a slot of the arena (stack.c) and can be given back or moved out.
 *   m      an OS thread. Runs schedule code on its own stack (g0), coroutines on theirs.
 *   p      a processor: the right to run coroutines, with a run queue, timers and free lists. CORO_MAXPROCS of them.
 *   sudog  "g waits for object": an element of the wait queue of a channel, mutex or waitgroup.
 *
 * Invariants
 *   1. A g is in exactly one place: running on an m, in one run queue, waiting (in wait queues or a timer heap), or on a free list.
 *   2. No g can be found by another m before its registers are saved: it is published, or the lock that hides it is
 *      released, by the code that runs after the switch (switch_arrive()).
 *   3. The current m and p are never kept in a variable over a switch: read them again from context_self().
 *   4. Nothing of the runtime points into a coroutine's stack but sudog.elem of elements larger than a slot.
 *
 * Lock order: object (chan, mutex, …; several by address) → timers → sched → stack. All are short spinning locks (lock.h), and none is held
 * when an agent lock is wanted, except timers and sched over the metadata allocator. */
#ifndef CORO_TYPES_H
#define CORO_TYPES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/contract/task.h"
#include "coro/context.h"
#include "coro/lock.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define COLD        __attribute__((noinline, cold))
#define CO_EXPORT   __attribute__((visibility("default")))

/* g.flags. Every switch to or from a coroutine goes through g0 while one of G_ASIDE is set. Written with atomic operations. */
enum {
    G_LOCKED = 1, /* runs on g.m only, which runs nothing else (lock_thread.c) */
    G_PACKED = 2, /* its stack stands elsewhere (pack.c); how many bytes: the upper 24 bits */
    G_MOVING = 4, /* one thread is packing or unpacking it */
    G_ASIDE = G_LOCKED | G_PACKED | G_MOVING
};

enum g_status {
    G_DEAD, /* on a free list, or never used */
    G_RUNNABLE,
    G_RUNNING,
    G_WAITING,
    G_SYSCALL, /* in co_blocking() */
    G_ORPHAN   /* was another coroutine of the parent when this process was forked: never runs again */
};

struct sudog {
    struct g *g;
    struct sudog *next, *prev; /* guarded by the object's lock */
    struct sudog *more;        /* the same g's next one, in a select; pool link */
    void *elem;                /* value to send or place to receive to: slot, or on g's stack when it is larger */
    void *object;              /* what is waited for; NULL: nil */
    bool ok;                   /* set by the waker: a value went over (false: closed) */
    bool in_select;            /* the waker must win g->select_done */
    uint16_t kind;             /* enum seep_object_kind */
    uint32_t index;            /* of the case */
    uint64_t slot[2];          /* small elements stand here */
};

struct timer {
    uint64_t when_ns; /* CLOCK_MONOTONIC; 0: not in a heap */
    void (*fire)(struct timer *t);
    struct p *p;     /* whose heap */
    uint32_t index;  /* in it; guarded by its lock */
    uint32_t firing; /* fires taken from the heap and not yet over; of timers with an object (ticker.c) */
};

struct unwinding;

struct pollfd_entry;
struct io_wait { /* for a descriptor, with a deadline: deadline.c */
    struct timer timer;
    struct pollfd_entry *entry;
    bool write, expired;
};

struct g {
    /* The first cache line is all of the descriptor that a switch touches. */
    void *sp;    /* saved context while not running */
    struct m *m; /* while running or in a blocking call */
    uintptr_t stack_lo, stack_hi;
    uint64_t schedules;  /* 0: its first frame was never entered */
    uint64_t blocked_ns; /* since when it waits: the coarse clock */
    _Atomic uint8_t status;
    uint8_t reason; /* enum seep_wait_reason */
    uint8_t cls;    /* stack class */
    bool is_g0;
    uint32_t flags;
    struct sudog *waits; /* what it waits for: &wait, a select's list, or NULL */

    struct g *link;     /* in a free list or a list of ready ones */
    struct sudog *wake; /* the one of them that woke it: set by the waker */
    uint64_t id;
    const char *name;
    uint64_t cpu_ns; /* sampled by sysmon */
    uint32_t create_stack;
    _Atomic uint32_t select_done; /* 0 while a select waits and nobody has claimed it */
    struct unwinding *unwinding;  /* deferred calls and panics: defer.c; NULL: none ever */
    union {
        struct sudog wait;  /* of an operation on one object */
        struct timer timer; /* of a sleep */
        struct io_wait io;
    };
};
_Static_assert(offsetof(struct g, link) == 64, "a switch touches one cache line");
_Static_assert(offsetof(struct g, id) == 80, "known to programs: coro.h");
_Static_assert(sizeof(struct g) <= 192, "bytes per coroutine at rest: see docs/coro.md");

struct g_list {
    struct g *head, *tail;
    uint32_t n;
};

enum { RUNQ_SIZE = 256, FREE_GS = 64 };
struct ring {
    _Atomic uint32_t head, tail;
    struct g *_Atomic slots[RUNQ_SIZE];
};

enum p_status { P_IDLE, P_RUNNING, P_SYSCALL };

struct timer_heap {
    struct colock lock;
    uint32_t n, cap;
    struct timer_entry *entries;
    _Atomic uint64_t first_ns; /* of the earliest one; 0: none */
};

struct p {
    _Atomic uint32_t tick; /* coroutines switched to */
    union {
        struct {
            bool shared; /* it is not the only one: others steal */
            bool deep;   /* something was left in the global queue: look ahead */
        };
        uint16_t unusual; /* one of them */
    };
    struct g *_Atomic runnext; /* readied by the running one: goes next */
    uint32_t fed;              /* tick of the last batch from the global queue */
    _Atomic int64_t live;      /* coroutines begun less those ended here; sched.live has the rest */
    struct g *free_g;          /* dead, with a stack of the default class; LIFO */
    uint32_t free_gs;
    uint32_t free_sudogs;
    struct sudog *free_sudog;
    uint64_t next_id, end_id;
    struct ring runq;
    struct ring later; /* those that yielded while others waited in the global queue: they go there together */

    _Atomic uint32_t syscall_tick; /* blocking calls begun */
    _Atomic uint32_t status;
    uint32_t id;
    struct m *_Atomic m;
    struct p *link; /* idle list */
    struct timer_heap timers;

    /* sysmon's */
    uint32_t seen_tick, seen_syscall;
    uint64_t seen_ns, spin_ns;
} __attribute__((aligned(64)));

/* What the code after a switch does for the coroutine that was left: one of these, or the address of a lock word to release. */
enum post { POST_NONE, POST_YIELD, POST_EXIT, POST_UNLOCK_ALL, POST_BLOCKING, POST_UNLOCK };

struct site; /* site.c */

struct m {
    struct g g0;
    struct g *_Atomic curg; /* the coroutine it runs; NULL: scheduling */
    struct p *p, *next_p, *old_p;
    struct g *_Atomic prev; /* left by the switch under way */
    uint32_t park;          /* futex: 1 when woken */
    bool spinning;
    int tid;
    uint32_t rng;
    struct m *idle_link, *all_link;
    struct site *sites; /* cache of creation stacks */
    struct g *locked_g; /* the only one that may run here; NULL: any */
    struct g *stash;    /* taken from the queue by one that could not switch to it: g0 is to deal with it */
    uint32_t lock_depth;
};

struct sched {
    struct colock lock; /* guards the fields up to the next blank line */
    struct g **global;  /* the global queue: a ring of global_cap, a power of two, at least one for each descriptor */
    uint32_t global_head, global_cap;
    struct m *idle_m;
    uint32_t nm, nidle_m;
    struct p *idle_p;
    uint32_t sysmon_word; /* futex: 1 while sysmon sleeps because all is idle */

    _Alignas(64) _Atomic uint32_t nidle_p;
    _Atomic uint32_t nspinning, nglobal;
    _Atomic uint32_t polling;       /* an m waits in the poller */
    _Atomic uint64_t poll_until_ns; /* when it will wake by itself */
    _Atomic uint64_t next_id;
    _Atomic int64_t live; /* coroutines not dead, but for what each p counts */
    struct m *_Atomic all_m;

    _Alignas(
        64) _Atomic uint64_t coarse_ns; /* CLOCK_MONOTONIC as of the last tick or wake-up: at most about 10 ms old */
    uint32_t nprocs;
    _Atomic bool ready, sysmon_started;
    context_switch_fn *form; /* of the switch: context.h */
    struct p *ps;
};
extern struct sched sched __attribute__((visibility("hidden")));

#endif
