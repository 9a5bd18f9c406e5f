/* SPDX-License-Identifier: Apache-2.0
 *
 * The snapshot at exit: once per process, at the first of
 *
 *     exit, return from main    our destructor, after the program's atexit handlers and destructors
 *     quick_exit                a handler that was registered first, hence runs last
 *     _exit, _Exit, abort       wrappers
 *
 * It is written before the process goes on to end. The exit code, buffered output and pending signals are as without us.
 * Not seen: exit_group through syscall(), fatal signals, an abort() from inside libc (assert).
 *
 * In a vfork child, which runs on its parent's memory, and in a child that no fork handler saw, nothing happens. A forked
 * child that has no agent thread yet takes the snapshot on the calling thread. */
#include "agent/entry/entry.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/entry/internal.h"
#include "agent/os/os.h"
#include "agent/snapshot/snapshot.h"
#include "agent/util/critical.h"
#include "agent/util/options.h"

NEXT(_exit, void, (int));
NEXT(_Exit, void, (int));
NEXT(abort, void, (void));

static const int64_t LIMIT_NS = 120ll * 1000000000;
static uint32_t taken;

void exit_snapshot(void)
{
    if (agent_in_child || agent_tls.critical || agent_thread_is_self()) return;
    if (!life_recording() || !agent_options.exit || !process_is_known()) return;
    if (process_is_forked() && !agent_options.follow) return;
    if (__atomic_exchange_n(&taken, 1, __ATOMIC_ACQ_REL)) return;
    int saved = errno;
    struct snapshot_request req = {.trigger = TRIGGER_EXIT};
    snapshot_request(&req, NULL, LIMIT_NS);
    errno = saved;
}

bool exit_snapshot_begun(void)
{
    return __atomic_load_n(&taken, __ATOMIC_ACQUIRE) != 0;
}

void exit_fork_child(void)
{
    taken = 0;
}

void exit_init(void)
{
    RESOLVE(_exit);
    RESOLVE(_Exit);
    RESOLVE(abort);
    at_quick_exit(exit_snapshot);
}

__attribute__((destructor)) static void at_exit(void)
{
    exit_snapshot();
}

SEEP_EXPORT void _exit(int code)
{
    exit_snapshot();
    FIND(_exit);
    next__exit(code);
    os_exit(code);
}

SEEP_EXPORT void _Exit(int code)
{
    exit_snapshot();
    FIND(_Exit);
    next__Exit(code);
    os_exit(code);
}

SEEP_EXPORT void abort(void)
{
    exit_snapshot();
    FIND(abort);
    next_abort();
    os_abort();
}
