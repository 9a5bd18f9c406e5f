/* SPDX-License-Identifier: Apache-2.0
 *
 * For the wrappers of system calls that a signal interrupts although its handler has SA_RESTART (signal(7)). The
 * agent's handlers set agent_tls.eintr_ours when they were what interrupted the call; the wrapper then goes on with it.
 * A wrapper saves the flag around its own use: it may run in a signal handler of the program, inside another
 * wrapper's call.
 *
 * A program's handler that runs between the agent's and the return to the wrapper is as one that ran just before the
 * call: the call goes on. That window is some hundred nanoseconds wide. */
#ifndef SEEP_ENTRY_EINTR_H
#define SEEP_ENTRY_EINTR_H

#include <errno.h>
#include <time.h>

#include "agent/entry/internal.h"
#include "agent/heap/heap.h"
#include "agent/util/critical.h"

enum { EINTR_FAILED = 1, EINTR_PARTIAL = 2 };

static inline uint32_t eintr_begin(bool will_block)
{
    agent_thread_poll(will_block);
    if (unlikely(__atomic_load_n(&heap_waits_work, __ATOMIC_RELAXED) != 0)) heap_wait_tick(false);
    uint32_t outer = agent_tls.eintr_ours;
    agent_tls.eintr_ours = 0;
    return outer;
}

static inline void eintr_end(uint32_t outer)
{
    agent_tls.eintr_ours = outer;
}

/* After a call that failed with error: was it us? */
static inline bool eintr_ours(int error)
{
    if (error != EINTR || agent_tls.eintr_ours != EINTR_FAILED) return false;
    agent_tls.eintr_ours = 0;
    return true;
}

static inline uint64_t eintr_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts); /* through the vdso */
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t eintr_left_ns(uint64_t end_ns) /* UINT64_MAX: for ever, and stays */
{
    if (end_ns == UINT64_MAX) return UINT64_MAX;
    uint64_t now = eintr_now_ns();
    return end_ns > now ? end_ns - now : 0;
}

static inline uint64_t timespec_ns(const struct timespec *ts) /* saturates; a bad one is the kernel's to refuse */
{
    const uint64_t MOST = 1ull << 62;
    if (ts->tv_sec < 0 || (uint64_t)ts->tv_sec >= MOST / 1000000000) return MOST;
    return (uint64_t)ts->tv_sec * 1000000000 + (uint64_t)ts->tv_nsec;
}

static inline bool timespec_good(const struct timespec *ts)
{
    return ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < 1000000000;
}

static inline struct timespec ns_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

#endif
