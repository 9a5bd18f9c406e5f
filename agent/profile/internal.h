/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of agent/profile share and nobody else needs.
 *
 * Memory: everything here is metadata that is never given back (prof_meta), bounded by PROF_META_LIMIT. Arrays that grow
 * are `chunks`: chunk k holds 256 << k entries, entries never move, so readers need no lock. */
#ifndef SEEP_PROFILE_INTERNAL_H
#define SEEP_PROFILE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/profile/profile.h"
#include "agent/util/critical.h"
#include "agent/util/lock.h"

#define PROF_META_LIMIT ((size_t)1 << 30) /* bytes; beyond it no new stack or bucket is made */

/* Zeroed metadata; NULL when there is none. Counts its bytes. */
void *prof_meta(size_t size, size_t align);
/* Metadata is at its bound: says so once. */
bool prof_meta_full(void);

/* ---- Growing arrays. Entries are numbered from 0. */
enum { CHUNK_BASE_LOG2 = 8, CHUNKS = 24 };
struct chunks {
    char *chunk[CHUNKS];
};

static inline void *chunks_at(const struct chunks *c, uint32_t i, size_t entry_size)
{
    uint64_t n = (uint64_t)i + (1u << CHUNK_BASE_LOG2);
    unsigned k = 63u - (unsigned)__builtin_clzll(n);
    const char *base = __atomic_load_n(&c->chunk[k - CHUNK_BASE_LOG2], __ATOMIC_ACQUIRE);
    return base ? (void *)(uintptr_t)(base + (n - (1ull << k)) * entry_size) : NULL;
}
/* The same, making the chunk when it is not there. Under the array's lock. */
void *chunks_grow(struct chunks *c, uint32_t i, size_t entry_size);

/* ---- Hash tables of ids (from 1): open addressing, (hash, id) in one word, readers take no lock.
 * Under the owner's lock an insertion stores one word, and growth publishes a larger copy; a reader that still
 * looks at the old one may miss the newest ids and then looks again under the lock. */
struct idslots {
    uint64_t mask;
    uint64_t slot[]; /* hash << 32 | id; 0: empty */
};
struct idtab {
    struct idslots *slots;
    uint64_t used; /* guarded by the owner's lock */
};

typedef bool idtab_eq(uint32_t id, const void *key);

static inline __attribute__((always_inline)) uint32_t idtab_find(const struct idtab *t, uint32_t hash, idtab_eq *eq,
                                                                 const void *key)
{
    const struct idslots *s = __atomic_load_n(&t->slots, __ATOMIC_ACQUIRE);
    if (!s) return 0;
    for (uint64_t i = hash;; i++) {
        uint64_t w = __atomic_load_n(&s->slot[i & s->mask], __ATOMIC_ACQUIRE);
        if (w == 0) return 0;
        if ((uint32_t)(w >> 32) == hash && eq((uint32_t)w, key)) return (uint32_t)w;
    }
}
/* Under the owner's lock; the entry of id is complete. False: no memory. */
bool idtab_insert(struct idtab *t, uint32_t hash, uint32_t id);

/* ---- Between the files. */
struct prof_bucket *bucket_for(uint32_t stack, uint64_t size); /* NULL: no memory */
struct prof_bucket *bucket_mut(uint32_t id);
void buckets_init(bool often); /* as traces_init() */
uint32_t stack_empty(void);    /* id of the stack without frames */
void stack_fork(int phase);    /* 0 prepare, 1 parent, 2 child */
void bucket_fork(int phase);
void samples_fork(int phase);
void modules_fork(int phase);
uint64_t stack_waits(void); /* for the lock, since the start */
uint64_t bucket_waits(void);
uint64_t samples_waits(void);
void fork_lock(struct lock *l, int phase);

int64_t prof_gap(uint64_t *rng, uint64_t rate); /* one draw */

#endif
