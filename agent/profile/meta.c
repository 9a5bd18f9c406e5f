/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of the profiler: bounded metadata, growing arrays, hash tables of ids (internal.h).
 *
 * Invariants
 *   1. Nothing is freed or moved: what a reader without a lock has found stays true.
 *   2. An old hash table stays readable after growth; the sum of the old ones is less than the current one.
 * Allocates metadata only. Not async-signal-safe (locks). */
#include "agent/profile/internal.h"

#include "agent/util/log.h"

#include <string.h>

static size_t meta_bytes; /* atomic */
static uint32_t meta_said;

void *prof_meta(size_t size, size_t align)
{
    void *p = persistent_alloc(size, align, OS_PROF);
    if (p) __atomic_fetch_add(&meta_bytes, size, __ATOMIC_RELAXED);
    return p;
}

bool prof_meta_full(void)
{
    if (__atomic_load_n(&meta_bytes, __ATOMIC_RELAXED) < PROF_META_LIMIT) return false;
    if (__atomic_exchange_n(&meta_said, 1, __ATOMIC_RELAXED) == 0)
        log_line("the profile holds 1 GiB of stacks: further ones are counted without their frames "
                 "(raise SEEP_RATE or lower SEEP_DEPTH)");
    return true;
}

void *chunks_grow(struct chunks *c, uint32_t i, size_t entry_size)
{
    uint64_t n = (uint64_t)i + (1u << CHUNK_BASE_LOG2);
    unsigned k = 63u - (unsigned)__builtin_clzll(n) - CHUNK_BASE_LOG2;
    if (k >= CHUNKS) return NULL;
    if (!c->chunk[k]) {
        char *p = prof_meta(entry_size << (k + CHUNK_BASE_LOG2), 64);
        if (!p) return NULL;
        __atomic_store_n(&c->chunk[k], p, __ATOMIC_RELEASE);
    }
    return chunks_at(c, i, entry_size);
}

static void slots_put(struct idslots *s, uint64_t word)
{
    uint64_t i = word >> 32;
    while (s->slot[i & s->mask] != 0) i++;
    __atomic_store_n(&s->slot[i & s->mask], word, __ATOMIC_RELEASE);
}

bool idtab_insert(struct idtab *t, uint32_t hash, uint32_t id)
{
    struct idslots *s = t->slots;
    if (!s || t->used * 2 > s->mask) {
        uint64_t n = s ? (s->mask + 1) * 2 : 1024;
        struct idslots *g = prof_meta(sizeof *g + n * sizeof g->slot[0], 64);
        if (!g) {
            /* No memory to grow: go on while there is room to end a probe. */
            if (!s || t->used + 1 > s->mask) return false;
        } else {
            g->mask = n - 1;
            if (s)
                for (uint64_t i = 0; i <= s->mask; i++)
                    if (s->slot[i]) slots_put(g, s->slot[i]);
            __atomic_store_n(&t->slots, g, __ATOMIC_RELEASE);
            s = g;
        }
    }
    slots_put(s, (uint64_t)hash << 32 | id);
    t->used++;
    return true;
}

void fork_lock(struct lock *l, int phase)
{
    if (phase == 0)
        lock_acquire(l);
    else
        lock_release(l); /* the forking thread is the holder in both processes */
}
