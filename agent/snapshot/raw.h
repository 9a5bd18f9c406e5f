/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls made directly, for the snapshot's child: no libc wrapper that the program could interpose, no errno.
 * Every function returns the kernel's value: negative errno on failure. Async-signal-safe, allocates nothing. */
#ifndef SEEP_SNAPSHOT_RAW_H
#define SEEP_SNAPSHOT_RAW_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "agent/os/syscall_x86_64.h"

static inline int raw_open(const char *path, int flags, unsigned mode)
{
    return (int)sys6(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, mode, 0, 0);
}
static inline int raw_close(int fd)
{
    return (int)sys3(SYS_close, fd, 0, 0);
}
static inline long raw_read(int fd, void *p, size_t n)
{
    return sys3(SYS_read, fd, (long)p, (long)n);
}
static inline long raw_pread(int fd, void *p, size_t n, uint64_t off)
{
    return sys6(SYS_pread64, fd, (long)p, (long)n, (long)off, 0, 0);
}
static inline long raw_readlink(const char *path, char *buf, size_t n)
{
    return sys3(SYS_readlink, (long)path, (long)buf, (long)n);
}
static inline int raw_fstat(int fd, struct stat *st)
{
    return (int)sys3(SYS_fstat, fd, (long)st, 0);
}
static inline int raw_lstat(const char *path, struct stat *st)
{
    return (int)sys3(SYS_lstat, (long)path, (long)st, 0);
}

/* A set of signals as the kernel has it: bit n - 1 for signal n. */
static const uint64_t ALL_SIGNALS = ~(3ull << 31); /* but 32 and 33, which libc uses */

/* The calling thread's mask. mask and old may be NULL. */
static inline int raw_sigmask(int how, const uint64_t *mask, uint64_t *old)
{
    return (int)sys4(SYS_rt_sigprocmask, how, (long)mask, (long)old, sizeof *mask);
}

#endif
