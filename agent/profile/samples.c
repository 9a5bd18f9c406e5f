/* SPDX-License-Identifier: Apache-2.0
 *
 * Where records of sampled objects are: in a list of the span, or, where most objects are sampled, in a table of the
 * span, one struct heap_sample for each slot. A large span has room for its one record itself.
 *
 * The heap asks for a place before it records a slot and gives it back when the slot is freed (a list) or the span goes (a
 * table); the snapshot's child reads them in a stopped world.
 *
 * Invariants
 *   1. A slot has a node in its span's list from before its mark is MARK_SAMPLED until it is freed. Lists are short: a sample
 *      comes every PROF_OFTEN_RATE bytes at most, on average, and a span has 128 KiB at most.
 *   2. A span gets its table with its first record and keeps it until it is deleted. Such spans hold sampled objects only
 *      (heap/types.h), so tables are bounded by those, not by the heap.
 *   3. Every slot of a table on a free list is zero, but for the link in the first.
 * Locks: one of `stripes` for a list, table_lock for free tables (RANK_SAMPLE_TABLES); never two together but for a fork. Allocates
 * metadata only.
 * Dropped: tables for ordinary spans with a sampled object in them: each free in such a span had to look into it (2 % of a
 * program's instructions at 512 KiB). Spans of their own for sampled objects at all rates: a block that was in no cache
 * instead of the one freed last, with its span, its mark and its pages (a microsecond a sample, 1 MiB resident). */
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
static struct heap_sample *table_of(struct mspan *span, struct heap_sample **where)
{
    struct heap_sample *t = __atomic_load_n(where, __ATOMIC_ACQUIRE), *none = NULL;
    if (__builtin_expect(t != NULL, 1)) return t;
    struct heap_sample *mine = table_new(heap_span_nelems(span));
    if (!mine || __atomic_compare_exchange_n(where, &none, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return mine;
    table_free(mine, heap_span_nelems(span));
    return none;
}

/* ---- Lists. A lock for some of all spans each, with nodes of its own, so that threads seldom want each other's. */
enum { STRIPES = 8, NODE_BATCH = 32 };
#define STRIPE                                \
    {                                         \
        .lock = LOCK_INIT(RANK_SAMPLE_TABLES) \
    }
static struct stripe {
    struct lock lock;
    struct sample_node *free_nodes; /* guarded by lock: a stack, so that the next is in the processor's cache mostly */
    uint8_t pad[40];
} stripes[STRIPES] __attribute__((aligned(64))) = {STRIPE, STRIPE, STRIPE, STRIPE, STRIPE, STRIPE, STRIPE, STRIPE};

static struct stripe *stripe_of(const struct mspan *span)
{
    return &stripes[((uintptr_t)span * 0x9e3779b97f4a7c15ull) >> 61];
}

static struct sample_node *node_new(struct stripe *t)
{
    if (!t->free_nodes) {
        struct sample_node *n = prof_meta(NODE_BATCH * sizeof *n, 64);
        for (int i = 0; n && i < NODE_BATCH; i++) {
            n[i].next = t->free_nodes;
            t->free_nodes = &n[i];
        }
    }
    struct sample_node *n = t->free_nodes;
    if (n) t->free_nodes = n->next;
    return n;
}

struct heap_sample *prof_place(struct mspan *span, uint32_t index)
{
    struct sample_node **list = heap_span_listed(span);
    if (!list) {
        struct heap_sample *t = table_of(span, heap_span_samples(span));
        return t ? &t[index] : NULL;
    }
    struct stripe *t = stripe_of(span);
    lock_acquire(&t->lock);
    struct sample_node *n = node_new(t);
    if (n) {
        *n = (struct sample_node){.next = *list, .index = index};
        *list = n;
    }
    lock_release(&t->lock);
    return n ? &n->record : NULL;
}

struct heap_sample *prof_listed(struct mspan *span, uint32_t index)
{
    struct stripe *t = stripe_of(span);
    lock_acquire(&t->lock);
    struct sample_node *n = *heap_span_listed(span);
    while (n && n->index != index) n = n->next;
    lock_release(&t->lock);
    return n ? &n->record : NULL;
}

void prof_free_listed(struct mspan *span, uint32_t index)
{
    struct heap_sample old = {0};
    struct stripe *t = stripe_of(span);
    lock_acquire(&t->lock);
    for (struct sample_node *n, **at = heap_span_listed(span); (n = *at) != NULL; at = &n->next) {
        if (n->index != index) continue;
        old = n->record;
        *at = n->next;
        n->next = t->free_nodes;
        t->free_nodes = n;
        break;
    }
    lock_release(&t->lock);
    if (old.bucket) prof_free(&old);
}

/* A record still here would be of a slot whose free was not told. */
void prof_span_freed(struct mspan *span)
{
    struct sample_node **list = heap_span_listed(span);
    while (list && *list) prof_free_listed(span, (*list)->index);
    if (list) return;
    struct heap_sample **where = heap_span_samples(span), *t = *where;
    uint32_t n = heap_span_carved(span);
    for (uint32_t i = 0; i < n; i++)
        if (__builtin_expect(t[i].bucket != 0, 0)) prof_free(&t[i]);
    __atomic_store_n(where, NULL, __ATOMIC_RELEASE);
    table_free(t, heap_span_nelems(span));
}

uint64_t samples_waits(void)
{
    uint64_t n = __atomic_load_n(&table_lock.contended, __ATOMIC_RELAXED);
    for (int i = 0; i < STRIPES; i++) n += __atomic_load_n(&stripes[i].lock.contended, __ATOMIC_RELAXED);
    return n;
}

void samples_fork(int phase)
{
    fork_lock(&table_lock, phase);
    for (int i = 0; i < STRIPES; i++) fork_lock(&stripes[i].lock, phase);
}
