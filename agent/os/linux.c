/* SPDX-License-Identifier: Apache-2.0
 *
 * os.h for Linux: address space, futexes, clocks. The only file of the agent that calls mmap and its kin.
 *
 * Invariants
 *   1. Every mapping is noted in regions.c before the caller sees it, and forgotten before it is unmapped.
 *   2. Books: os_map adds to the kind's bytes, os_free takes away what was added; os_unused changes nothing.
 * No locks of its own; allocates nothing; all but os_reserve, os_alloc, os_free and os_remap are async-signal-safe.
 * Units: bytes, nanoseconds.
 * Dropped: PROT_NONE again on os_unused (a system call and a VMA each time, to catch bugs the checker catches). */
#include "agent/os/internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/os/syscall_x86_64.h"
#include "agent/util/fault.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static uint32_t lazy_refused; /* MADV_FREE said EINVAL once */

static bool failed(long r)
{
    return r < 0 && r > -4096;
}

static long sys_mmap(void *hint, size_t size, int prot, int flags)
{
    return sys6(SYS_mmap, (long)hint, (long)size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static long sys_munmap(uintptr_t p, size_t size)
{
    return sys3(SYS_munmap, (long)p, (long)size, 0);
}

size_t os_page_size(void)
{
    return 4096;
}

size_t os_whole_pages(size_t size)
{
    return (size + os_page_size() - 1) & ~(os_page_size() - 1);
}

void *raw_map(size_t size)
{
    long r = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, 0);
    return failed(r) ? NULL : (void *)r;
}

static void *noted(long r, size_t size, enum os_kind kind)
{
    if (failed(r)) return NULL;
    if (!region_add((uintptr_t)r, (uintptr_t)r + size, kind)) {
        sys_munmap((uintptr_t)r, size);
        return NULL;
    }
    return (void *)r;
}

void *os_reserve(void *hint, size_t size, size_t align, enum os_kind kind)
{
    if (fault_here(FAULT_RESERVE)) return NULL;
    if (hint) {
        /* Kernels before 4.17 take the address as a hint only. */
        long r = sys_mmap(hint, size, PROT_NONE, MAP_NORESERVE | MAP_FIXED_NOREPLACE);
        if (r == (long)hint) return noted(r, size, kind);
        if (!failed(r)) sys_munmap((uintptr_t)r, size);
    }
    if (align <= os_page_size()) return noted(sys_mmap(NULL, size, PROT_NONE, MAP_NORESERVE), size, kind);
    long r = sys_mmap(NULL, size + align, PROT_NONE, MAP_NORESERVE);
    if (failed(r)) return NULL;
    uintptr_t lo = (uintptr_t)r, at = (lo + align - 1) & ~(align - 1), hi = lo + size + align;
    if (at > lo) sys_munmap(lo, at - lo);
    if (hi > at + size) sys_munmap(at + size, hi - at - size);
    return noted((long)at, size, kind);
}

void *os_reserve_zero(size_t size, enum os_kind kind)
{
    if (fault_here(FAULT_RESERVE)) return NULL;
    return noted(sys_mmap(NULL, size, PROT_READ, MAP_NORESERVE), size, kind);
}

int os_map(void *p, size_t size)
{
    if (fault_here(FAULT_MAP)) return -ENOMEM;
    long r = sys3(SYS_mprotect, (long)p, (long)size, PROT_READ | PROT_WRITE);
    if (failed(r)) return (int)r;
    region_count(region_kind((uintptr_t)p), (int64_t)size);
    return 0;
}

int os_used(void *p, size_t size)
{
    (void)p;
    (void)size;
    return fault_here(FAULT_USED) ? -ENOMEM : 0; /* Linux gives pages on first touch */
}

int os_unused(void *p, size_t size, bool lazy)
{
    if (fault_here(FAULT_UNUSED)) return -EINVAL;
    if (lazy && !__atomic_load_n(&lazy_refused, __ATOMIC_RELAXED)) {
        long r = fault_here(FAULT_MADV_FREE) ? -EINVAL : sys3(SYS_madvise, (long)p, (long)size, MADV_FREE);
        if (!failed(r)) return 0;
        if (r == -EINVAL) __atomic_store_n(&lazy_refused, 1, __ATOMIC_RELAXED);
    }
    return (int)sys3(SYS_madvise, (long)p, (long)size, MADV_DONTNEED);
}

int os_unreserve(void *p, size_t size)
{
    region_remove((uintptr_t)p, (uintptr_t)p + size);
    return (int)sys_munmap((uintptr_t)p, size);
}

int os_free(void *p, size_t size)
{
    enum os_kind kind = region_kind((uintptr_t)p);
    if (kind == OS_KIND_COUNT) return -EINVAL;
    size = os_whole_pages(size);
    region_count(kind, -(int64_t)size);
    return os_unreserve(p, size);
}

void *os_alloc(size_t size, enum os_kind kind)
{
    if (fault_here(FAULT_ALLOC)) return NULL;
    size = os_whole_pages(size);
    void *p = noted(sys_mmap(NULL, size, PROT_READ | PROT_WRITE, 0), size, kind);
    if (p) region_count(kind, (int64_t)size);
    return p;
}

int os_return(void *p, size_t size)
{
    if (fault_here(FAULT_UNUSED)) return -ENOMEM;
    long r = sys_mmap(p, size, PROT_NONE, MAP_FIXED | MAP_NORESERVE);
    if (failed(r)) return (int)r;
    sys3(SYS_madvise, (long)p, (long)size, MADV_NOHUGEPAGE);
    region_count(region_kind((uintptr_t)p), -(int64_t)size);
    return 0;
}

void *os_share(size_t size, enum os_kind kind)
{
    if (fault_here(FAULT_ALLOC)) return NULL;
    size = os_whole_pages(size);
    long r = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *p = noted(r, size, kind);
    if (p) region_count(kind, (int64_t)size);
    return p;
}

void os_populate(void *p, size_t size)
{
    sys3(SYS_madvise, (long)p, (long)size, MADV_POPULATE_WRITE);
}

int os_huge(void *p, size_t size, bool on)
{
    return (int)sys3(SYS_madvise, (long)p, (long)size, on ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void *os_remap(void *p, size_t old_size, size_t new_size)
{
    if (fault_here(FAULT_REMAP)) return NULL;
    enum os_kind kind = region_kind((uintptr_t)p);
    if (kind == OS_KIND_COUNT) return NULL;
    old_size = os_whole_pages(old_size);
    new_size = os_whole_pages(new_size);
    long r = sys4(SYS_mremap, (long)p, (long)old_size, (long)new_size, MREMAP_MAYMOVE);
    if (failed(r)) return NULL;
    region_remove((uintptr_t)p, (uintptr_t)p + old_size);
    region_count(kind, (int64_t)new_size - (int64_t)old_size);
    region_add((uintptr_t)r, (uintptr_t)r + new_size, kind);
    return (void *)r;
}

int os_move(void *from, void *to, size_t size)
{
    if (fault_here(FAULT_REMAP)) return -ENOMEM;
    long r = sys6(SYS_mremap, (long)from, (long)size, (long)size, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                  (long)to, 0);
    return failed(r) ? (int)r : 0;
}

int os_futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    return (int)sys4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)expected, timeout_ns < 0 ? 0 : (long)&ts);
}

int os_futex_wake(uint32_t *word, int n)
{
    return (int)sys3(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, (long)n);
}

void os_word_enter(uint32_t *word)
{
    uint32_t zero = 0;
    if (__atomic_compare_exchange_n(word, &zero, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0) os_futex_wait(word, 2, -1);
}

void os_word_leave(uint32_t *word)
{
    if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2) os_futex_wake(word, 1);
}

void os_yield(void)
{
    sys3(SYS_sched_yield, 0, 0, 0);
}

static int membarrier(long command, long registration)
{
    if (fault_here(FAULT_BARRIER)) return -ENOSYS;
    long r = sys3(SYS_membarrier, command, 0, 0);
    if (r == -EPERM) { /* not yet registered */
        r = sys3(SYS_membarrier, registration, 0, 0);
        if (r == 0) r = sys3(SYS_membarrier, command, 0, 0);
    }
    return (int)r;
}

int os_barrier(void)
{
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

int os_restart(void)
{
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
}

int os_gettid(void)
{
    return (int)sys3(SYS_gettid, 0, 0, 0);
}

int os_getpid(void)
{
    return (int)sys3(SYS_getpid, 0, 0, 0);
}

/* libc's clock_gettime goes through the vdso and takes no lock. */
static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts = {0};
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t os_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t os_coarse_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t os_unix_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t os_thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t os_random(void)
{
    uint64_t r = 0;
    if (sys3(SYS_getrandom, (long)&r, sizeof r, 1 /* GRND_NONBLOCK */) == (long)sizeof r) return r;
    r = os_mono_ns() ^ ((uint64_t)(uintptr_t)&r << 20) ^ (uint64_t)os_gettid();
    r = (r ^ (r >> 30)) * 0xbf58476d1ce4e5b9ull;
    return r ^ (r >> 31);
}

long os_write(int fd, const void *p, size_t n)
{
    return sys3(SYS_write, fd, (long)p, (long)n);
}

void os_exit(int code)
{
    for (;;) sys3(SYS_exit_group, code, 0, 0);
}

void os_abort(void)
{
    /* The kernel's struct sigaction: handler, flags, restorer, mask. */
    unsigned long act[4] = {0}, set = 1ul << (SIGABRT - 1);
    sys4(SYS_rt_sigaction, SIGABRT, (long)act, 0, 8);
    sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&set, 0, 8);
    sys3(SYS_tgkill, os_getpid(), os_gettid(), SIGABRT);
    os_exit(134);
}
