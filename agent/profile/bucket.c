/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets: (stack, slot size) → cumulative counters of sampled objects.
 *
 * The key holds the slot size because the probability of a sample depends on it: one factor 1/(1 - exp(-size/rate)) is
 * right for the whole bucket (docs/sampling.md).
 *
 * Invariants
 *   1. stack, size and id of a bucket never change once its id is known.
 *   2. Counters only rise. allocs - frees = records of the bucket in sample tables, and alloc_bytes - free_bytes = the sum
 *      of their `requested`, whenever no thread is inside a critical section.
 * Lock: bucket_lock (RANK_BUCKET) for insertion; lookups and counters take none. Allocates metadata only. */
#include "agent/profile/internal.h"

struct bucket_key {
    uint32_t stack;
    uint64_t size;
};

static struct lock bucket_lock = LOCK_INIT(RANK_BUCKET);
static struct chunks entries;
static struct idtab index_tab;
static uint32_t count; /* atomic; stored under bucket_lock */

struct prof_bucket *bucket_mut(uint32_t id)
{
    return chunks_at(&entries, id - 1, sizeof(struct prof_bucket));
}

static bool bucket_equal(uint32_t id, const void *key)
{
    const struct bucket_key *k = key;
    const struct prof_bucket *b = bucket_mut(id);
    return b->stack == k->stack && b->size == k->size;
}

static uint32_t bucket_hash(const struct bucket_key *k)
{
    uint64_t h = (k->stack * 0x9e3779b97f4a7c15ull) ^ (k->size * 0xc2b2ae3d27d4eb4full);
    h = (h ^ (h >> 32)) * 0x9fb21c651e98df25ull;
    return (uint32_t)(h >> 32) | 1;
}

static uint32_t bucket_find(uint32_t stack, uint64_t size)
{
    struct bucket_key k = {stack, size};
    uint32_t hash = bucket_hash(&k);
    uint32_t id = idtab_find(&index_tab, hash, bucket_equal, &k);
    if (id) return id;
    uint32_t none = stack_empty();
    if (stack != none && prof_meta_full()) return bucket_find(none, size);
    lock_acquire(&bucket_lock);
    id = idtab_find(&index_tab, hash, bucket_equal, &k);
    if (!id) {
        struct prof_bucket *b = chunks_grow(&entries, count, sizeof *b);
        if (b) {
            *b = (struct prof_bucket){.stack = stack, .size = size, .id = count + 1};
            if (idtab_insert(&index_tab, hash, count + 1)) {
                id = count + 1;
                __atomic_store_n(&count, id, __ATOMIC_RELEASE);
            }
        }
    }
    lock_release(&bucket_lock);
    return id;
}

/* ---- The buckets asked for last. */
enum { MANY_LOG2 = 12, FEW_LOG2 = 9 };
static struct prof_bucket *recent[1 << MANY_LOG2]; /* atomic; only recent_log2 bits are used */
static unsigned recent_log2 = FEW_LOG2;

void buckets_init(bool often)
{
    recent_log2 = often ? MANY_LOG2 : FEW_LOG2;
}

struct prof_bucket *bucket_for(uint32_t stack, uint64_t size)
{
    uint64_t h = (stack + size * 0x9e3779b97f4a7c15ull) * 0x9fb21c651e98df25ull;
    struct prof_bucket **last = &recent[h >> (64 - recent_log2)], *b = __atomic_load_n(last, __ATOMIC_ACQUIRE);
    if (__builtin_expect(b && b->stack == stack && b->size == size, 1)) return b;
    uint32_t id = bucket_find(stack, size);
    b = id ? bucket_mut(id) : NULL;
    if (b) __atomic_store_n(last, b, __ATOMIC_RELEASE);
    return b;
}

uint32_t bucket_count(void)
{
    return __atomic_load_n(&count, __ATOMIC_ACQUIRE);
}

const struct prof_bucket *bucket_get(uint32_t id)
{
    return id == 0 || id > bucket_count() ? NULL : bucket_mut(id);
}

uint64_t bucket_waits(void)
{
    return __atomic_load_n(&bucket_lock.contended, __ATOMIC_RELAXED);
}

void bucket_fork(int phase)
{
    fork_lock(&bucket_lock, phase);
}
