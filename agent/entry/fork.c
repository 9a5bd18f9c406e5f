/* SPDX-License-Identifier: Apache-2.0
 *
 * fork(): the child gets a heap without a half-made structure and without a lock that nobody releases.
 *
 *     program's prepare handlers ─▶ ours ─▶ fork ─▶ ours ─▶ program's child/parent handlers
 *
 * Handlers run in that order when ours are the first that are registered, so __register_atfork (what pthread_atfork() of
 * every object calls) is wrapped: the first caller of all registers ours before its own. A handler of the program may
 * therefore call malloc.
 *
 * prepare waits until no snapshot is between stop and clone (snapshot_gate, taken outside of critical sections, so
 * that the waiter itself can be stopped), then takes the agent's locks by rank.
 * vfork, posix_spawn, clone and _Fork are not touched: nothing of ours runs in their children (process_is_known()).
 *
 * In the child: one thread, locks free, no agent thread, no control socket, no SEEP_SIGNAL pending, a new process row.
 * fork + exec pays for this file only; see agent_thread_start_deferred() for the rest.
 * Tried and dropped: wrapping fork() itself; libc then runs the program's prepare handlers under our locks. */
#include "agent/entry/entry.h"

#include <pthread.h>

#include "agent/entry/internal.h"
#include "agent/gc/finalizer.h"
#include "agent/heap/heap.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/snapshot.h"

typedef void handler(void);
extern void *__dso_handle;

static int (*next_register)(handler *prepare, handler *parent, handler *child, void *dso);
static bool registered;

static void prepare(void)
{
    snapshot_gate_enter();
    requests_fork_prepare();
    threads_fork_prepare();
    heap_fork_prepare_first();
    finalizers_fork_prepare();
    prof_fork_prepare();
    heap_fork_prepare();
}

static void parent(void)
{
    heap_fork_parent();
    prof_fork_parent();
    finalizers_fork_parent();
    threads_fork_parent();
    requests_fork_parent();
    snapshot_gate_leave();
}

static void child(void)
{
    heap_fork_child();
    prof_fork_child();
    finalizers_fork_child();
    threads_fork_child();
    requests_fork_child();
    snapshot_fork_child();
    life_fork_child();
    exit_fork_child();
    agent_thread_fork_child();
    finalizer_thread_fork_child();
}

void fork_init(void)
{
    if (registered) return;
    registered = true;
    next_register = __extension__(__typeof__(next_register)) next_symbol("__register_atfork");
    if (next_register) next_register(prepare, parent, child, &__dso_handle);
}

SEEP_EXPORT int __register_atfork(handler *pre, handler *par, handler *chi, void *dso);
SEEP_EXPORT int __register_atfork(handler *pre, handler *par, handler *chi, void *dso)
{
    life_init();
    fork_init();
    return next_register(pre, par, chi, dso);
}
