/* SPDX-License-Identifier: Apache-2.0
 *
 * os/ranges.h for Linux. Which process is meant: a number that stands for our own (Linux 6.14). Before, a descriptor of it is opened for
 * each call, which costs more than most of the advice: a kept one would mean the parent after a fork, and programs that close every
 * descriptor would close it. */
#include "agent/os/ranges.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/util/fault.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

#ifndef PIDFD_SELF_THREAD_GROUP
#define PIDFD_SELF_THREAD_GROUP (-10001)
#endif

enum { BATCH = 256 };
static bool no_self; /* the kernel does not know the number */

static long raw(long r)
{
    return r < 0 ? -(long)errno : r;
}

/* Returns 0 when all of it was advised. */
static int advise_batch(int pidfd, const struct os_range *r, unsigned n, int advice)
{
    struct iovec iov[BATCH];
    size_t total = 0;
    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){(void *)r[i].lo, r[i].size};
        total += r[i].size;
    }
    if (fault_here(FAULT_PROCESS_MADVISE)) return -ENOSYS;
    long done = raw(syscall(SYS_process_madvise, pidfd, iov, (size_t)n, advice, 0u));
    if (done < 0) return (int)done;
    return (size_t)done == total ? 0 : -EINVAL;
}

static int advise(const struct os_range *r, unsigned n, int advice)
{
    int pidfd = -1, err = 0;
    for (unsigned i = 0; i < n && !err; i += BATCH) {
        unsigned m = n - i < BATCH ? n - i : BATCH;
        int done = -EBADF;
        if (m > 1 && !__atomic_load_n(&no_self, __ATOMIC_RELAXED)) {
            done = advise_batch(PIDFD_SELF_THREAD_GROUP, r + i, m, advice);
            if (done == -EBADF) __atomic_store_n(&no_self, true, __ATOMIC_RELAXED);
        }
        if (m > 1 && done == -EBADF) {
            if (pidfd < 0) pidfd = (int)raw(syscall(SYS_pidfd_open, (int)getpid(), 0u));
            if (pidfd >= 0) done = advise_batch(pidfd, r + i, m, advice);
        }
        for (unsigned k = i; done != 0 && k < i + m && !err; k++)
            err = (int)raw(syscall(SYS_madvise, r[k].lo, r[k].size, advice));
    }
    if (pidfd >= 0) syscall(SYS_close, pidfd);
    return err;
}

int os_guard(const struct os_range *r, unsigned n)
{
    return fault_here(FAULT_GUARD) ? -EINVAL : advise(r, n, MADV_GUARD_INSTALL);
}

int os_unguard(const struct os_range *r, unsigned n)
{
    return advise(r, n, MADV_GUARD_REMOVE);
}

int os_guard_protect(const struct os_range *r)
{
    return fault_here(FAULT_PROTECT) ? -ENOMEM : (int)raw(syscall(SYS_mprotect, r->lo, r->size, PROT_NONE));
}

int os_release(const struct os_range *r, unsigned n)
{
    return fault_here(FAULT_RELEASE) ? -EINVAL : advise(r, n, MADV_DONTNEED);
}
