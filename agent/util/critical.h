/* SPDX-License-Identifier: Apache-2.0
 *
 * Per-thread agent state, and the critical sections that defer a stop.
 *
 * A snapshot stops a thread by a signal. A thread in the middle of agent code (refilling a cache,
 * interning a stack, holding an agent lock) must not stop there: the forked child would see half-made
 * structures and locks that nobody releases. So slow paths run between agent_enter() and agent_leave(); the
 * stop signal's handler sees critical > 0, notes stop_pending and returns, and agent_leave() stops the
 * thread then.
 *
 * Invariants
 *   1. Every agent lock is held only while critical > 0. Hence no agent lock is held in the child.
 *   2. The fast paths of malloc and free are outside: whatever instruction they stop at, the heap is
 *      consistent up to one block, and that block's address is in a register.
 *   3. Nothing between enter and leave blocks for long, calls the program, or enters malloc.
 *
 * Async-signal-safe. Sections nest. */
#ifndef SEEP_UTIL_CRITICAL_H
#define SEEP_UTIL_CRITICAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mcache;
struct thread;

struct agent_tls {
    struct mcache *mcache; /* heap: NULL until the first allocation and after the thread's exit */
    struct mcache *fast;   /* for the fast paths: the same, or heap_no_cache, but never NULL; see mcache_bind() */
    uint32_t critical;     /* depth of critical sections */
    uint32_t stop_pending; /* set by the stop signal's handler while critical > 0 */
    uint32_t in_profile;   /* recursion guard of the profiler */
    uint32_t heap_exited;  /* heap_thread_exit() has run: no cache of its own any more */
    uint32_t no_leak;      /* depth of seep_no_leak_begin(): what is allocated meanwhile is no leak */
    uint32_t eintr_ours;   /* set by the stop signal's handler when it was what interrupted a system call */
    struct thread *thread; /* entry/threads.c: registry entry, NULL until known */
    uint64_t rng;          /* sampler's generator state, 0: not seeded */
    /* The stack the thread runs on now, when known: set by entry/threads.c for a plain thread and by coro at each
     * switch; 0, 0: unknown. A hint for the tracer: used only when sp is inside. [stack_lo, stack_hi) is mapped. */
    uintptr_t stack_lo, stack_hi;
    uint32_t trace_thread, trace_mute; /* entry/alloctrace.c: number from 1; depth of what is not recorded */
};

/* What a thread without a cache has in its place: bins without room. Never written. */
extern struct mcache heap_no_cache;

extern __thread struct agent_tls agent_tls __attribute__((tls_model("initial-exec")));

/* True in a snapshot's child. The heap's slow paths then serve from a private bump arena. */
extern bool agent_in_child;

void agent_stop_now(void); /* snapshot/stop.c: the deferred stop */

static inline void agent_enter(void)
{
    agent_tls.critical++;
    __asm__ volatile("" ::: "memory");
}

static inline void agent_leave(void)
{
    __asm__ volatile("" ::: "memory");
    if (--agent_tls.critical == 0 && __builtin_expect(agent_tls.stop_pending != 0, 0)) agent_stop_now();
}

#endif
