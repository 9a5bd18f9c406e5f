/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent asks of the kernel. One file implements it for Linux; nothing else in agent/ or coro/ calls
 * mmap and its kin. All functions are thread-safe; none allocates from the heap; errors are negative
 * errno, 0 is success. They call the kernel directly (no libc wrapper that a program could interpose), and in test builds
 * each can be made to fail (util/fault.h).
 *
 * Address space has four states, and only os/linux.c makes the transitions (after runtime/mem.go):
 *   None ──os_reserve──▶ Reserved ──os_map──▶ Prepared ──os_used──▶ Ready
 *   Ready ──os_unused──▶ Prepared (contents gone or lazily going) ── os_free ──▶ None ◀── os_unreserve ── Reserved
 * Reserved: address space without memory. Prepared: may become memory without a system call failing;
 * touching it is a mistake. Ready: usable.
 *
 * Every region the agent maps is noted, so that the marker leaves it out of the roots and the
 * account of RSS can name it. */
#ifndef SEEP_OS_H
#define SEEP_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum os_kind {
    OS_HEAP,  /* arenas */
    OS_META,  /* spans, caches, tables */
    OS_GC,    /* arena map, marks of slots, summaries, bitmaps, mark bits */
    OS_PROF,  /* stacks, buckets, samples */
    OS_STACK, /* coroutine stacks */
    OS_OTHER, /* the agent's own stacks, child's arena */
    OS_KIND_COUNT
};

struct os_region {
    uintptr_t lo, hi;
    enum os_kind kind;
};

size_t os_page_size(void);
size_t os_whole_pages(size_t size); /* rounded up to such */

/* Reserve size bytes aligned to align (a power of two; 0: the page size), at hint when it is free, anywhere
 * otherwise. NULL when the kernel refuses. */
void *os_reserve(void *hint, size_t size, size_t align, enum os_kind kind);
int os_map(void *p, size_t size);  /* Reserved → Prepared */
int os_used(void *p, size_t size); /* Prepared → Ready */
/* Ready → Prepared: gives the pages back. lazy asks for MADV_FREE, remembered as unavailable for good after EINVAL. */
int os_unused(void *p, size_t size, bool lazy);
int os_free(void *p, size_t size); /* Prepared, Ready → None; the pages that the size begins, as os_alloc() gave them */
int os_unreserve(void *p, size_t size); /* Reserved → None */
/* Ready → Reserved: pages, guards and page tables go, an access is an error. Small pages again where os_map() makes it usable. */
int os_return(void *p, size_t size);
/* Reserve + map + used in one; zeroed memory, NULL when refused. */
void *os_alloc(size_t size, enum os_kind kind);
/* As os_alloc(), but shared with children that are forked meanwhile. */
void *os_share(size_t size, enum os_kind kind);
/* Reserved, but readable as zeros: for sparse tables that are looked up with any index. os_map + os_used make parts
 * writable. */
void *os_reserve_zero(size_t size, enum os_kind kind);
/* Moves the pages of [from, from + size) over those at to, both Ready and page-aligned; from stays Ready and reads as
 * zeros. Negative errno, nothing done, where the kernel can't. */
int os_move(void *from, void *to, size_t size);
/* Pages that will be written, at once; where the kernel can (5.14). */
void os_populate(void *p, size_t size);
int os_huge(void *p, size_t size, bool on);                /* MADV_HUGEPAGE / MADV_NOHUGEPAGE */
void *os_remap(void *p, size_t old_size, size_t new_size); /* mremap; may move; NULL when refused */

/* Walk the agent's regions, in no order. Lock-free for readers; exact in a stopped world. */
void os_regions(void (*fn)(void *arg, const struct os_region *r), void *arg);
size_t os_kind_bytes(enum os_kind kind); /* Ready + Prepared bytes of the kind, by our own books */

/* Around fork: the region table's lock. */
void os_fork_lock(void);
void os_fork_unlock(void);

/* Futex on a private 32-bit word. timeout_ns < 0: for ever. Returns 0, -EAGAIN, -ETIMEDOUT or -EINTR. */
int os_futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns);
int os_futex_wake(uint32_t *word, int n);
/* A word to wait for: 0 free, 1 held, 2 waited for. Outside of critical sections, so that who waits can be stopped;
 * where the holder does nothing long, a lock (util/lock.h) is the better choice. */
void os_word_enter(uint32_t *word);
void os_word_leave(uint32_t *word);
void os_yield(void);
/* Every thread of the process passes a full fence before this returns. -EPERM, -ENOSYS, -EINVAL: not here. */
int os_barrier(void);
/* The same, and each thread that was within a restartable sequence (rseq) goes on at the sequence's abort address, if it goes on. The first
 * time it takes some milliseconds in a process of several threads. */
int os_restart(void);

int os_gettid(void);
int os_getpid(void);
uint64_t os_mono_ns(void);
uint64_t os_coarse_ns(void); /* the same to some milliseconds, behind by that at most */
uint64_t os_unix_ns(void);
uint64_t os_thread_cpu_ns(void); /* CPU time of the calling thread */
uint64_t os_random(void);        /* a seed: getrandom, or the clock and addresses */
long os_write(int fd, const void *p, size_t n);
_Noreturn void os_exit(int code); /* exit_group */
_Noreturn void os_abort(void);    /* SIGABRT with default disposition */

#endif
