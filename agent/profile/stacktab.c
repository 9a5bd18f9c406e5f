/* SPDX-License-Identifier: Apache-2.0
 *
 * Interned stacks: (return addresses, module generation) → id from 1.
 *
 * sampler → stack_intern → bucket; the snapshot's child reads them by stack_get.
 *
 * Invariants
 *   1. An entry is complete before its id is in the hash table or counted, and never changes.
 *   2. Two ids differ in addresses or in generation. The generation rises only when a module goes
 *      (modules.c), because only then can the same address come to mean other code.
 *   3. id 1 is the stack without frames.
 * Lock: stack_lock (RANK_STACKTAB) for insertion; lookups take none. Allocates metadata only. */
#include "agent/profile/internal.h"

#include <string.h>

struct stack_entry {
    const uintptr_t *pcs;
    uint32_t n;
    uint32_t generation;
};

struct stack_key {
    const uintptr_t *pcs;
    uint32_t n;
    uint32_t generation;
};

static struct lock stack_lock = LOCK_INIT(RANK_STACKTAB);
static struct chunks entries;
static struct idtab index_tab;
static uint32_t count;  /* atomic; stored under stack_lock */
static uintptr_t *slab; /* guarded by stack_lock: room for the next stacks' addresses */
static size_t slab_left;

static struct stack_entry *entry_at(uint32_t id)
{
    return chunks_at(&entries, id - 1, sizeof(struct stack_entry));
}

static bool stack_equal(uint32_t id, const void *key)
{
    const struct stack_key *k = key;
    const struct stack_entry *e = entry_at(id);
    return e->n == k->n && e->generation == k->generation && memcmp(e->pcs, k->pcs, k->n * sizeof k->pcs[0]) == 0;
}

/* Two multiply lanes, so that a deep stack does not wait for one chain of multiplications. */
static uint32_t stack_hash(const struct stack_key *k)
{
    const uint64_t m = 0x9fb21c651e98df25ull;
    uint64_t a = k->generation + 1, b = k->n;
    uint32_t i = 0;
    for (; i + 2 <= k->n; i += 2) {
        a = (a ^ k->pcs[i]) * m;
        a ^= a >> 29;
        b = (b ^ k->pcs[i + 1]) * m;
        b ^= b >> 31;
    }
    if (i < k->n) a = (a ^ k->pcs[i]) * m;
    a = (a ^ (a >> 32) ^ (b * m)) * m;
    uint32_t h = (uint32_t)(a >> 32);
    return h ? h : 1; /* 0 would make (0, id) look empty only with id 0, but keep words non-zero anyway */
}

/* Under stack_lock. */
static uint32_t stack_add(const struct stack_key *k, uint32_t hash)
{
    if (k->n > slab_left) {
        size_t words = 8192;
        slab = prof_meta(words * sizeof *slab, sizeof *slab);
        slab_left = slab ? words : 0;
        if (!slab) return 0;
    }
    uint32_t id = count + 1;
    struct stack_entry *e = chunks_grow(&entries, id - 1, sizeof *e);
    if (!e) return 0;
    memcpy(slab, k->pcs, k->n * sizeof *slab);
    e->pcs = slab;
    e->n = k->n;
    e->generation = k->generation;
    if (!idtab_insert(&index_tab, hash, id)) return 0;
    slab += k->n;
    slab_left -= k->n;
    __atomic_store_n(&count, id, __ATOMIC_RELEASE);
    return id;
}

static uint32_t intern(const struct stack_key *k)
{
    uint32_t hash = stack_hash(k);
    uint32_t id = idtab_find(&index_tab, hash, stack_equal, k);
    if (id) return id;
    if (k->n != 0 && prof_meta_full()) return stack_empty();
    lock_acquire(&stack_lock);
    id = idtab_find(&index_tab, hash, stack_equal, k);
    if (!id) id = stack_add(k, hash);
    lock_release(&stack_lock);
    return id;
}

uint32_t stack_empty(void)
{
    static const uintptr_t none;
    return intern(&(struct stack_key){.pcs = &none, .n = 0, .generation = 1});
}

uint32_t stack_intern(const uintptr_t *pcs, unsigned n)
{
    if (n == 0) return stack_empty();
    if (n > PROF_MAX_DEPTH) n = PROF_MAX_DEPTH;
    return intern(&(struct stack_key){.pcs = pcs, .n = n, .generation = modules_generation()});
}

unsigned stack_get(uint32_t id, const uintptr_t **pcs, uint32_t *module_generation)
{
    if (id == 0 || id > stack_count()) {
        *pcs = NULL;
        if (module_generation) *module_generation = 0;
        return 0;
    }
    const struct stack_entry *e = entry_at(id);
    *pcs = e->pcs;
    if (module_generation) *module_generation = e->generation;
    return e->n;
}

uint32_t stack_count(void)
{
    return __atomic_load_n(&count, __ATOMIC_ACQUIRE);
}

uint64_t stack_waits(void)
{
    return __atomic_load_n(&stack_lock.contended, __ATOMIC_RELAXED);
}

void stack_fork(int phase)
{
    fork_lock(&stack_lock, phase);
}
