/* SPDX-License-Identifier: Apache-2.0
 *
 * Agent locks: a futex word, a rank, and a contention count. No pthread mutex: these are used before libc is
 * ready, in programs that replace pthread functions, and are re-initialised in a forked child.
 *
 * lock_acquire() enters a critical section (util/critical.h) and lock_release() leaves it. Ranks: a
 * thread may only acquire a lock of a higher rank than any it holds; builds with -DSEEP_LOCK_CHECK
 * assert it. Not to be taken in a signal handler. */
#ifndef SEEP_UTIL_LOCK_H
#define SEEP_UTIL_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Lowest first: what is acquired first has the lower rank. */
enum lock_rank {
    RANK_SNAPSHOT,      /* snapshot/trigger.c: one snapshot at a time */
    RANK_THREADS,       /* entry/threads.c: the registry */
    RANK_CORO,          /* coro: runtime locks (sub-ranks are the runtime's own) */
    RANK_FINALIZERS,    /* gc/finalizer.c */
    RANK_MODULES,       /* profile/modules.c */
    RANK_SCAVENGE,      /* heap: scavenger's pace */
    RANK_SAMPLE_TABLES, /* profile: free lists of sample tables */
    RANK_BUCKET,        /* profile: buckets */
    RANK_STACKTAB,      /* profile: stack table */
    RANK_MCACHE,        /* heap: list of caches */
    RANK_MCENTRAL,      /* heap: one per span class */
    RANK_MHEAP,         /* heap: pages, spans, arenas */
    RANK_PERSISTENT,    /* heap: the metadata bump allocator */
    RANK_OS,            /* os: region table */
    RANK_LOG,           /* util/log.c */
    RANK_COUNT
};

struct lock {
    uint32_t word; /* 0 free, 1 held, 2 held with waiters */
    uint32_t rank;
    uint64_t contended; /* acquisitions that had to wait; guarded by the lock */
};

#define LOCK_INIT(r) \
    {                \
        0, (r), 0    \
    }

void lock_acquire(struct lock *l);
bool lock_try(struct lock *l);
void lock_release(struct lock *l);

#endif
