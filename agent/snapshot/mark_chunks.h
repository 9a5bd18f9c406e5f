/* SPDX-License-Identifier: Apache-2.0
 *
 * Pointers that wait for the turn of their chunk. */
#ifndef SEEP_SNAPSHOT_MARK_CHUNKS_H
#define SEEP_SNAPSHOT_MARK_CHUNKS_H

#include "agent/snapshot/child.h"

/* A turn marks what FRESH objects' pointers point to (or a block's pointers more), and then scans them, all but the last MARK_FAR. */
enum { FRESH = 4096, MARK_FAR = 256 };
/* A chunk with that many blocks has its turn next: enough for a good one, and what that finds waits in the memory that it leaves. */
enum { MARK_RIPE = 128 };

static inline void mark_free_block(struct marker *m, struct mark_block *b)
{
    b->next = m->free_blocks;
    m->free_blocks = b;
    m->used_blocks--;
}

/* The chunk that has its turn now; it may have had another one meanwhile, and no pointers. */
static inline uint32_t mark_next_turn(struct marker *m)
{
    if (m->nripe) return m->ripe[--m->nripe];
    uint32_t turn = m->turns[m->first_turn];
    if (++m->first_turn == m->nchunks) m->first_turn = 0;
    m->nturns--;
    m->chunks[turn].queued = false;
    return turn;
}

/* No place is left below. */
static inline bool mark_full(const uint32_t *to)
{
    return (uintptr_t)to % sizeof(struct mark_block) == 0;
}

bool mark_append_rare(struct marker *m, size_t chunk, uintptr_t off);

/* off, of in.lo, is in that chunk; false when there is no room. */
static inline __attribute__((always_inline)) bool mark_append(struct marker *m, size_t chunk, uintptr_t off)
{
    uint32_t *to = m->to[chunk];
    if (__builtin_expect(mark_full(to), 0)) return mark_append_rare(m, chunk, off);
    *--to = (uint32_t)off & m->chunk_mask;
    m->to[chunk] = to;
    return true;
}

#endif
