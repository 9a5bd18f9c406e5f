/* SPDX-License-Identifier: Apache-2.0
 *
 * Sample tables: one struct heap_sample for each slot of a span that holds sampled objects.
 *
 * sampler → sample_set/sample_take; the heap tests the record on free; the snapshot's child reads the tables in a
 * stopped world.
 *
 * Invariants
 *   1. A span gets its table with its first record and keeps it until it is deleted. Small spans that have one hold
 *      sampled objects only (heap/types.h), so tables are bounded by those, not by the heap.
 *   2. A record belongs to whoever holds the slot: it is written before malloc returns the block, and read, changed and
 *      taken by the thread that frees or resizes the block. Hence no lock.
 *   3. Every slot of a table on a free list is zero, but for the link in the first.
 * Lock: table_lock (RANK_SAMPLE_TABLES) for the free lists. Allocates metadata only.
 * Dropped: tables for ordinary spans with a sampled object in them, gone with their last record: every free in such a span
 * had to look into it (2 % of a program's instructions at 512 KiB), and each record needed a lock. */
#include "agent/profile/internal.h"

#include <string.h>

#include "agent/profile/arch.h"

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
static struct heap_sample *table_of(struct mspan *span)
{
    struct heap_sample **where = heap_span_samples(span), *t = __atomic_load_n(where, __ATOMIC_ACQUIRE), *none = NULL;
    if (__builtin_expect(t != NULL, 1)) return t;
    struct heap_sample *room = heap_span_record(span), *mine = room ? room : table_new(heap_span_nelems(span));
    if (!mine || __atomic_compare_exchange_n(where, &none, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return mine;
    if (!room) table_free(mine, heap_span_nelems(span));
    return none;
}

/* Milliseconds of CLOCK_MONOTONIC, wrapping; good to 1 ms: the clock is read again when the cycle counter has moved
 * on by about half a millisecond. */
static uint32_t now_ms(void)
{
    static uint64_t ticks_at, ms_at; /* racy on purpose: each pair that can be read is off by at most a tick */
    uint64_t t = arch_ticks();
    if (t - __atomic_load_n(&ticks_at, __ATOMIC_ACQUIRE) < (1u << 20))
        return (uint32_t)__atomic_load_n(&ms_at, __ATOMIC_RELAXED);
    uint64_t ms = os_mono_ns() / 1000000;
    __atomic_store_n(&ms_at, ms, __ATOMIC_RELAXED);
    __atomic_store_n(&ticks_at, t, __ATOMIC_RELEASE);
    return (uint32_t)ms;
}

bool sample_set(struct mspan *span, uint32_t index, uint32_t bucket, size_t requested)
{
    struct heap_sample *t = table_of(span);
    if (!t || t[index].bucket != 0) return false;
    t[index] = (struct heap_sample){.bucket = bucket, .time_ms = now_ms(), .requested = requested};
    return true;
}

bool sample_take(struct mspan *span, uint32_t index, struct heap_sample *out)
{
    struct heap_sample *t = __atomic_load_n(heap_span_samples(span), __ATOMIC_ACQUIRE);
    if (!t || t[index].bucket == 0) return false;
    *out = t[index];
    t[index] = (struct heap_sample){0};
    return true;
}

bool sample_resize(struct mspan *span, uint32_t index, size_t requested, struct heap_sample *out)
{
    struct heap_sample *t = __atomic_load_n(heap_span_samples(span), __ATOMIC_ACQUIRE);
    if (!t || t[index].bucket == 0) return false;
    *out = t[index];
    t[index].requested = requested;
    return true;
}

void samples_drop(struct mspan *span)
{
    struct heap_sample **where = heap_span_samples(span), *t = *where;
    if (!t) return;
    __atomic_store_n(where, NULL, __ATOMIC_RELEASE);
    if (t != heap_span_record(span)) table_free(t, heap_span_nelems(span));
}

uint64_t samples_waits(void)
{
    return __atomic_load_n(&table_lock.contended, __ATOMIC_RELAXED);
}

void samples_fork(int phase)
{
    fork_lock(&table_lock, phase);
}
