/* SPDX-License-Identifier: Apache-2.0
 *
 * Sample tables: one struct heap_sample for each slot of a span that holds sampled objects.
 *
 * The heap asks for a span's table at its first record and gives it back with the span; the snapshot's child reads the
 * tables in a stopped world. A large span has room for its one record itself.
 *
 * Invariants
 *   1. A span gets its table with its first record and keeps it until it is deleted. Small spans that have one hold
 *      sampled objects only (heap/types.h), so tables are bounded by those, not by the heap.
 *   2. Every slot of a table on a free list is zero, but for the link in the first.
 * Lock: table_lock (RANK_SAMPLE_TABLES) for the free lists. Allocates metadata only.
 * Dropped: tables for ordinary spans with a sampled object in them, gone with their last record: every free in such a span
 * had to look into it (2 % of a program's instructions at 512 KiB), and each record needed a lock. */
#include "agent/profile/internal.h"

#include <string.h>

enum { MIN_LOG2 = 5, CLASSES = 20 };

static struct lock table_lock = LOCK_INIT(RANK_SAMPLE_TABLES);
static struct heap_sample *free_tables[CLASSES]; /* guarded by table_lock; by size, linked through the first slots */

static unsigned table_class(uint32_t nelems)
{
    size_t bytes = nelems * sizeof(struct heap_sample);
    unsigned log2 = 64u - (unsigned)__builtin_clzll(bytes - 1);
    return log2 < MIN_LOG2 ? 0 : log2 - MIN_LOG2;
}

static struct heap_sample *table_new(uint32_t nelems)
{
    unsigned c = table_class(nelems);
    if (c >= CLASSES) return NULL;
    lock_acquire(&table_lock);
    struct heap_sample *t = free_tables[c];
    if (t) {
        memcpy(&free_tables[c], t, sizeof free_tables[c]);
        *t = (struct heap_sample){0};
    }
    lock_release(&table_lock);
    return t ? t : prof_meta((size_t)1 << (c + MIN_LOG2), 64);
}

static void table_free(struct heap_sample *t, uint32_t nelems)
{
    unsigned c = table_class(nelems);
    lock_acquire(&table_lock);
    memcpy(t, &free_tables[c], sizeof free_tables[c]);
    free_tables[c] = t;
    lock_release(&table_lock);
}

/* Two threads may want the table of a span at once. */
struct heap_sample *prof_table(struct mspan *span)
{
    struct heap_sample **where = heap_span_samples(span), *none = NULL, *mine = table_new(heap_span_nelems(span));
    if (!mine || __atomic_compare_exchange_n(where, &none, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return mine;
    table_free(mine, heap_span_nelems(span));
    return none;
}

void prof_span_freed(struct mspan *span)
{
    struct heap_sample **where = heap_span_samples(span), *t = *where;
    /* A record still here would be of a slot whose free was not told. */
    uint32_t n = heap_span_carved(span);
    for (uint32_t i = 0; i < n; i++)
        if (__builtin_expect(t[i].bucket != 0, 0)) prof_free(&t[i]);
    __atomic_store_n(where, NULL, __ATOMIC_RELEASE);
    table_free(t, heap_span_nelems(span));
}

uint64_t samples_waits(void)
{
    return __atomic_load_n(&table_lock.contended, __ATOMIC_RELAXED);
}

void samples_fork(int phase)
{
    fork_lock(&table_lock, phase);
}
