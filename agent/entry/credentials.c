/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that the agent's own thread would make fail: it is away while they run (agent_thread.c).
 *
 *   setuid, setgroups and kin   libc makes every thread do the same, and aborts when two answers differ. Capabilities belong to a
 *                               thread, so those of the agent's may differ from the caller's.
 *   unshare, setns              the kernel refuses what concerns the whole process when it has a second thread
 *   capset                      of the caller alone: the agent must not keep what the program gives up
 *
 * The thread that comes back has the caller's credentials. What works with a second thread is done after its return
 * and for the caller alone, as it was without this file: the agent stays in the namespaces of network, mounts and processes that it
 * was in, so its socket and the recording stay in reach, and it can still be started where children go to another PID
 * namespace (which forbids new threads). A call that asks for both kinds is made in two; if the second fails the
 * first has happened.
 *
 * Async-signal-safe as far as libc's are: in what may be a handler the thread comes back later. Without the agent's thread: one look. */
#include "agent/entry/entry.h"

#include <grp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <unistd.h>

#include "agent/entry/internal.h"
#include "agent/os/os.h"
#include "agent/snapshot/raw.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
enum { NAMESPACE_TYPE = 0xb703 }; /* NS_GET_NSTYPE of ioctl_ns(2) */
static const int UNSHARE_ALONE = CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FS;
static const int SETNS_ALONE = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWTIME;

#define WRAP(name, params, types, args)          \
    NEXT(name, int, types);                      \
    SEEP_EXPORT int name params;                 \
    SEEP_EXPORT int name params                  \
    {                                            \
        FIND(name);                              \
        bool away = agent_thread_away();         \
        int rc = next_##name args;               \
        if (unlikely(away)) agent_thread_back(); \
        return rc;                               \
    }
WRAP(setuid, (uid_t id), (uid_t), (id))
WRAP(setgid, (gid_t id), (gid_t), (id))
WRAP(seteuid, (uid_t id), (uid_t), (id))
WRAP(setegid, (gid_t id), (gid_t), (id))
WRAP(setreuid, (uid_t real, uid_t effective), (uid_t, uid_t), (real, effective))
WRAP(setregid, (gid_t real, gid_t effective), (gid_t, gid_t), (real, effective))
WRAP(setresuid, (uid_t real, uid_t effective, uid_t saved), (uid_t, uid_t, uid_t), (real, effective, saved))
WRAP(setresgid, (gid_t real, gid_t effective, gid_t saved), (gid_t, gid_t, gid_t), (real, effective, saved))
WRAP(setgroups, (size_t n, const gid_t *list), (size_t, const gid_t *), (n, list))
WRAP(initgroups, (const char *user, gid_t group), (const char *, gid_t), (user, group))
WRAP(capset, (void *header, const void *data), (void *, const void *), (header, data))

NEXT(unshare, int, (int));
NEXT(setns, int, (int, int));

void credentials_resolve(void)
{
    RESOLVE(setuid);
    RESOLVE(setgid);
    RESOLVE(seteuid);
    RESOLVE(setegid);
    RESOLVE(setreuid);
    RESOLVE(setregid);
    RESOLVE(setresuid);
    RESOLVE(setresgid);
    RESOLVE(setgroups);
    RESOLVE(initgroups);
    RESOLVE(capset);
    RESOLVE(unshare);
    RESOLVE(setns);
}

SEEP_EXPORT int unshare(int flags)
{
    FIND(unshare);
    int alone = flags & (UNSHARE_ALONE & ~CLONE_FS) ? flags & UNSHARE_ALONE : 0;
    if (!alone || !agent_thread_away()) return next_unshare(flags);
    int rc = next_unshare(alone);
    agent_thread_back();
    return rc == 0 && flags != alone ? next_unshare(flags & ~alone) : rc;
}

SEEP_EXPORT int setns(int fd, int type)
{
    FIND(setns);
    long of_fd = sys3(SYS_ioctl, fd, NAMESPACE_TYPE, 0);
    int types = of_fd > 0 ? (int)of_fd : type; /* else a pidfd, or no namespace's at all */
    int alone = types & SETNS_ALONE;
    if (!alone || !agent_thread_away()) return next_setns(fd, type);
    int rc = next_setns(fd, of_fd > 0 ? type : alone);
    agent_thread_back();
    return rc == 0 && types != alone ? next_setns(fd, types & ~alone) : rc;
}
