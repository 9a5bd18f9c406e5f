/* SPDX-License-Identifier: Apache-2.0
 *
 * Pointers that wait for the turn of their chunk. */
#ifndef SEEP_SNAPSHOT_MARK_CHUNKS_H
#define SEEP_SNAPSHOT_MARK_CHUNKS_H

#include "agent/snapshot/child.h"

/* Makes room in a chunk; false when all blocks are in use. */
bool mark_add_block(struct marker *m, struct mark_chunk *c);

static inline void mark_free_block(struct marker *m, struct mark_block *b)
{
    b->next = m->free_blocks;
    m->free_blocks = b;
    m->used_blocks--;
}

/* off, of in.lo, is in c; false when there is no room. */
static inline __attribute__((always_inline)) bool mark_append(struct marker *m, struct mark_chunk *c, uintptr_t off)
{
    if ((uintptr_t)c->to % sizeof(struct mark_block) == 0 && !mark_add_block(m, c)) return false;
    *--c->to = (uint32_t)off & m->chunk_mask;
    return true;
}

#endif
