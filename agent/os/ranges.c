/* SPDX-License-Identifier: Apache-2.0
 *
 * os/ranges.h for Linux. A descriptor of our own process is opened for each call: a kept one would mean the parent after a
 * fork, and programs that close every descriptor would close it. Its cost (1 µs) is shared by the batch. */
#include "agent/os/ranges.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/util/fault.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

enum { BATCH = 256 };

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
    int pidfd = n > 1 ? (int)raw(syscall(SYS_pidfd_open, (int)getpid(), 0u)) : -1;
    int err = 0;
    for (unsigned i = 0; i < n && !err; i += BATCH) {
        unsigned m = n - i < BATCH ? n - i : BATCH;
        if (pidfd >= 0 && advise_batch(pidfd, r + i, m, advice) == 0) continue;
        for (unsigned k = i; k < i + m && !err; k++) err = (int)raw(syscall(SYS_madvise, r[k].lo, r[k].size, advice));
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
