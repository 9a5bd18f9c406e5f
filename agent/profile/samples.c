/* SPDX-License-Identifier: Apache-2.0
 *
 * Sample tables: per span, one struct heap_sample for each slot, there only while the span holds a sampled object.
 *
 * sampler → sample_set/sample_take; the heap tests the span's table pointer on free; the snapshot's child reads the
 * tables in a stopped world.
 *
 * Invariants
 *   1. A span's table pointer, its records and its live count change only under the span's stripe lock. The heap's
 *      test of the pointer without the lock is enough for a free: the freeing thread owns the slot, the record was
 *      stored before malloc returned the block, and whatever handed the block to this thread ordered that
 *      store before the test. It may look at its own record too: where its object is sampled, the table cannot go; where
 *      not, the table may be another span's by now, and sample_take decides under the lock.
 *   2. A table whose last record is taken is all zero, is taken off its span and put on the free list of its size:
 *      memory is bounded by the number of sampled objects, not by the number of spans that ever held one.
 *   3. Hence every slot of a table on a free list is zero.
 * Locks: stripe[] (RANK_SAMPLES), never two at once but in a fork; then table_lock (RANK_SAMPLE_TABLES).
 * Allocates metadata only.
 * Dropped: a table kept until its span is freed costs a quarter of a long-lived churning heap in the end; lock-free records
 * with reclaimed tables need epochs, for one uncontended atomic saved on frees inside sampled spans only. */
#include "agent/profile/internal.h"

#include "agent/profile/arch.h"

enum { STRIPES = 64, MIN_LOG2 = 5, CLASSES = 20 };

struct table {
    struct table *next; /* on a free list */
    uint32_t live;      /* records in use; guarded by the stripe lock */
    uint32_t log2;      /* of the table's bytes */
    struct heap_sample slot[];
};

#define S1                              \
    {                                   \
        .lock = LOCK_INIT(RANK_SAMPLES) \
    }
#define S4  S1, S1, S1, S1
#define S16 S4, S4, S4, S4
static struct {
    struct lock lock;
    char pad[64 - sizeof(struct lock) % 64];
} stripe[STRIPES] = {S16, S16, S16, S16};

static struct lock table_lock = LOCK_INIT(RANK_SAMPLE_TABLES);
static struct table *free_tables[CLASSES]; /* guarded by table_lock */

static struct lock *span_lock(const struct mspan *span)
{
    uint64_t h = (uint64_t)(uintptr_t)span * 0x9e3779b97f4a7c15ull;
    return &stripe[h >> 58].lock;
}
_Static_assert(STRIPES == 64, "span_lock takes 6 bits");

static struct table *table_of(struct heap_sample *slots)
{
    return slots ? (struct table *)(void *)((char *)slots - offsetof(struct table, slot)) : NULL;
}

static struct table *table_new(uint32_t nelems)
{
    size_t bytes = sizeof(struct table) + nelems * sizeof(struct heap_sample);
    uint32_t log2 = 64u - (uint32_t)__builtin_clzll(bytes - 1);
    if (log2 < MIN_LOG2) log2 = MIN_LOG2;
    if (log2 - MIN_LOG2 >= CLASSES) return NULL;
    lock_acquire(&table_lock);
    struct table *t = free_tables[log2 - MIN_LOG2];
    if (t) {
        free_tables[log2 - MIN_LOG2] = t->next;
        t->next = NULL;
    }
    lock_release(&table_lock);
    if (!t) t = prof_meta((size_t)1 << log2, 64);
    if (t) t->log2 = log2;
    return t;
}

static void table_free(struct table *t)
{
    uint32_t c = t->log2 - MIN_LOG2;
    lock_acquire(&table_lock);
    t->next = free_tables[c];
    free_tables[c] = t;
    lock_release(&table_lock);
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
    struct heap_sample **where = heap_span_samples(span);
    uint32_t nelems = heap_span_nelems(span);
    if (index >= nelems) return false;
    struct lock *l = span_lock(span);
    bool done = false;
    lock_acquire(l);
    struct heap_sample *slots = *where;
    if (!slots) {
        struct table *t = table_new(nelems);
        slots = t ? t->slot : NULL;
    }
    if (slots) {
        struct table *t = table_of(slots);
        done = slots[index].bucket == 0;
        if (done) {
            slots[index] = (struct heap_sample){.bucket = bucket, .time_ms = now_ms(), .requested = requested};
            t->live++;
        }
        __atomic_store_n(where, slots, __ATOMIC_RELEASE);
    }
    lock_release(l);
    return done;
}

bool sample_take(struct mspan *span, uint32_t index, struct heap_sample *out)
{
    struct heap_sample **where = heap_span_samples(span);
    struct lock *l = span_lock(span);
    bool was = false;
    lock_acquire(l);
    struct heap_sample *slots = *where;
    if (slots && slots[index].bucket != 0) {
        struct table *t = table_of(slots);
        was = true;
        *out = slots[index];
        slots[index] = (struct heap_sample){0};
        if (--t->live == 0) {
            __atomic_store_n(where, NULL, __ATOMIC_RELEASE);
            table_free(t);
        }
    }
    lock_release(l);
    return was;
}

bool sample_resize(struct mspan *span, uint32_t index, size_t requested, struct heap_sample *out)
{
    struct heap_sample **where = heap_span_samples(span);
    struct lock *l = span_lock(span);
    bool was = false;
    lock_acquire(l);
    struct heap_sample *slots = *where;
    if (slots && slots[index].bucket != 0) {
        was = true;
        *out = slots[index];
        slots[index].requested = requested;
    }
    lock_release(l);
    return was;
}

void samples_fork(int phase)
{
    if (phase == 0) {
        for (unsigned i = 0; i < STRIPES; i++) fork_lock(&stripe[i].lock, phase);
        fork_lock(&table_lock, phase);
    } else {
        fork_lock(&table_lock, phase);
        for (unsigned i = STRIPES; i-- > 0;) fork_lock(&stripe[i].lock, phase);
    }
}
