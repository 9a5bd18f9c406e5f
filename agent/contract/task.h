/* SPDX-License-Identifier: Apache-2.0
 *
 * Task providers: the one interface between the agent and anything that has stacks (coroutines,
 * threads, a program's own fibers).
 *
 * A snapshot calls a provider in two places:
 *   prepare()  in the parent while every thread is stopped, before the fork. Must be short; may not
 *              allocate from the heap, take locks that a stopped thread may hold, or call the program.
 *              It copies what the child would not see (memory excluded from the fork).
 *   iterate(), roots(), … rests(), timer_lost()
 *              in the child, single threaded, on a frozen copy of the process. May not take locks or
 *              allocate from the heap.
 *   finish()   in the parent, when the child has ended.
 * All callbacks may be NULL except iterate. A provider is registered once and never removed. */
#ifndef SEEP_TASK_H
#define SEEP_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum seep_task_state {
    SEEP_TASK_RUNNING,  /* on a thread now; its registers come from the thread */
    SEEP_TASK_RUNNABLE, /* will run without help */
    SEEP_TASK_WAITING,  /* parked */
    SEEP_TASK_SYSCALL,  /* in a blocking call on a thread */
    SEEP_TASK_DEAD      /* finished, storage kept for reuse: not a task any more */
};
#define SEEP_TASK_STATE_NAMES                               \
    {                                                       \
        "running", "runnable", "waiting", "syscall", "dead" \
    }

enum seep_wait_reason {
#define WAIT_REASON(id, text, proof) SEEP_WAIT_##id,
#include "wait_reasons.def"
#undef WAIT_REASON
    SEEP_WAIT_COUNT
};

/* What a waiting task waits for. */
enum seep_object_kind {
    SEEP_OBJ_CHAN,
    SEEP_OBJ_MUTEX,
    SEEP_OBJ_RWMUTEX,
    SEEP_OBJ_COND,
    SEEP_OBJ_WAITGROUP,
    SEEP_OBJ_SEMAPHORE,
    SEEP_OBJ_OTHER
};
#define SEEP_OBJECT_KIND_NAMES                                                \
    {                                                                         \
        "chan", "mutex", "rwmutex", "cond", "waitgroup", "semaphore", "other" \
    }

struct seep_wait {
    uintptr_t object; /* address of the primitive; 0: nil, which nothing ever wakes */
    enum seep_object_kind kind;
    uint64_t
        owner_task; /* id of the task of this provider that holds the lock: who waits waits for it. 0: unknown, none */
};

enum { SEEP_TASK_REGS = 16 };

struct seep_task {
    uint64_t id;      /* unique within the provider for the life of the process */
    const char *name; /* NULL or a string that lives as long as the provider */
    enum seep_task_state state;
    enum seep_wait_reason wait_reason;
    bool wakeable;                /* something outside the heap can wake it: a pending timer, an fd, a signal */
    uint64_t blocked_since_ns;    /* CLOCK_MONOTONIC; 0 when not blocked */
    uintptr_t stack_lo, stack_hi; /* bounds of its stack: [lo, hi) */
    /* The live part is [sp, stack_hi). When stack_image is not NULL the bytes of the live part stand
     * there instead (the stack itself is packed or not in the child); addresses still mean the stack. */
    uintptr_t sp, pc, fp;
    const void *stack_image;
    size_t committed_bytes;         /* of memory for the stack */
    uintptr_t regs[SEEP_TASK_REGS]; /* other roots: saved callee-saved registers, a pending argument */
    unsigned nregs;
    const struct seep_wait *waits; /* NULL when it waits for nothing */
    unsigned nwaits;
    uint32_t create_stack; /* id of prof_stack_here() at its creation; 0: unknown */
    uint64_t schedules, cpu_ns;
    uint32_t defer_depth;
    uintptr_t ref; /* what rests() is to be called with; 0: not at all */
};

/* Return non-zero to stop. The task is valid during the call only. */
typedef int seep_task_fn(void *arg, const struct seep_task *task);
typedef int seep_range_fn(void *arg, uintptr_t lo, uintptr_t hi);

/* A pending timer that sends on a channel: who waits on the object will be woken. */
struct seep_timer {
    uintptr_t object;            /* the heap block that programs hold */
    bool ticker;                 /* it goes on until it is stopped */
    uint64_t when_ns, period_ns; /* CLOCK_MONOTONIC; period_ns: of a ticker */
    uint64_t dropped;            /* ticks that found the last one not received */
    uint32_t create_stack;
};
typedef int seep_timer_fn(void *arg, const struct seep_timer *timer);

struct seep_task_provider {
    uint32_t version; /* SEEP_TASK_PROVIDER_VERSION */
    const char *name; /* "coro", "thread", … */
    void *ctx;
    void (*prepare)(void *ctx);
    int (*iterate)(void *ctx, seep_task_fn *fn, void *arg);
    int (*roots)(void *ctx, seep_range_fn *fn, void *arg);  /* memory that is always reachable */
    int (*stacks)(void *ctx, seep_range_fn *fn, void *arg); /* memory that only holds tasks' stacks:
                                                               not a root by itself */
    size_t (*stack_sys)(void *ctx, size_t *inuse);          /* bytes of address space committed for stacks */
    int (*timers)(void *ctx, seep_timer_fn *fn, void *arg); /* in the child; roots() leaves these out */
    /* In the program: when the caller is a task of this provider, lets the others run for about that long and returns true. */
    bool (*settle)(void *ctx, uint64_t ns);
    /* Verdicts for the provider itself: in the child, after the others, and only when those are proofs. A waiting task, its registers known,
     * whose frames no word outside of them points into; a timer that nothing can reach. */
    void (*rests)(void *ctx, uintptr_t ref);
    void (*timer_lost)(void *ctx, uintptr_t object);
    /* In the program, on the thread that took the snapshot, with nothing stopped. told: the child got to its end, and the process goes on. */
    void (*finish)(void *ctx, bool told);
};
#define SEEP_TASK_PROVIDER_VERSION 2

#endif
