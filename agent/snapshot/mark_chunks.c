/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap in chunks, and the blocks of pointers that wait for the turns of mark_drain.c. */
#include "agent/snapshot/mark_chunks.h"

#include "agent/snapshot/mark_x86_64.h"

enum { MIN_CHUNK_SHIFT = 21, MAX_CHUNK_SHIFT = ARENA_SHIFT, MAX_CHUNKS_SHIFT = 14, LEAST_BLOCKS = 512 };

void mark_chunks_init(struct marker *m, size_t heap_bytes, size_t span_pages)
{
    m->filter = filter_best();
    m->chunk_shift = MIN_CHUNK_SHIFT;
    while (m->chunk_shift < MAX_CHUNK_SHIFT && m->in.len >> m->chunk_shift >> MAX_CHUNKS_SHIFT) m->chunk_shift++;
    m->nchunks = (uint32_t)(m->in.len >> m->chunk_shift) + 1; /* the end of the last block is a pointer, too */
    m->chunks = scratch_alloc(m->nchunks * sizeof *m->chunks);
    m->to = scratch_alloc(m->nchunks * sizeof *m->to);
    m->turns = scratch_alloc(m->nchunks * sizeof *m->turns);
    m->ripe = scratch_alloc(m->nchunks * sizeof *m->ripe);
    m->chunk_mask = (1u << m->chunk_shift) - 1;
    m->fresh = scratch_alloc((FRESH + MARK_BLOCK + MARK_FAR) * sizeof *m->fresh);
    m->now.page = UINTPTR_MAX;
    /* The most words that a chunk's spans can have, and those of one that goes on from the chunk before. */
    size_t pages = (size_t)1 << (m->chunk_shift - PAGE_SHIFT_SEEP), words = (1 << PAGE_SHIFT_SEEP) / 8 / 64 + 1;
    m->found = scratch_alloc((pages + span_pages) * words * sizeof *m->found);
    m->found_pages = scratch_alloc(pages);
    m->max_blocks = heap_bytes / 32 / sizeof(struct mark_block);
    if (m->max_blocks < LEAST_BLOCKS) m->max_blocks = LEAST_BLOCKS;
}

void mark_chunks_words(struct marker *m, uintptr_t lo, uintptr_t hi, uint32_t word)
{
    for (uintptr_t i = (lo - m->in.lo) >> m->chunk_shift; i <= (hi - 1 - m->in.lo) >> m->chunk_shift; i++)
        if (!m->chunks[i].words) m->chunks[i].words = word + 1;
}

void mark_chunks_cover(struct marker *m, uintptr_t lo, uintptr_t hi)
{
    for (uintptr_t i = (lo - m->in.lo) >> m->chunk_shift; i <= (hi - m->in.lo) >> m->chunk_shift; i++)
        m->chunks[i].flags |= CHUNK_COVERED;
}

/* Makes room in a chunk; false when all blocks are in use. */
static bool add_block(struct marker *m, struct mark_chunk *c, uint32_t **to)
{
    enum { MOST = (2 << 20) / sizeof(struct mark_block) };
    struct mark_block *b = m->free_blocks;
    if (!b) {
        if (m->used_blocks >= m->max_blocks) return false;
        size_t n = m->used_blocks < 64 ? 64 : m->used_blocks < MOST ? m->used_blocks : (size_t)MOST;
        size_t spare = n < MOST; /* a mapping of its own, which a huge page may be under, is aligned */
        b = scratch_alloc((n + spare) * sizeof *b);
        b = (struct mark_block *)(((uintptr_t)b + sizeof *b - 1) & ~(uintptr_t)(sizeof *b - 1));
        for (size_t i = 1; i < n; i++) b[i].next = i + 1 < n ? &b[i + 1] : NULL;
        b->next = &b[1];
    }
    m->free_blocks = b->next;
    m->used_blocks++;
    __builtin_prefetch(&b->at[MARK_BLOCK - 1], 1);
    __builtin_prefetch(b->next, 1);
    b->next = NULL;
    if (c->first) {
        c->last->next = b;
    } else {
        c->first = b;
        if (!c->queued) {
            uint32_t at = m->first_turn + m->nturns++;
            m->turns[at < m->nchunks ? at : at - m->nchunks] = (uint32_t)(c - m->chunks);
            c->queued = true;
        }
    }
    if (c->blocks < MARK_RIPE && ++c->blocks == MARK_RIPE) m->ripe[m->nripe++] = (uint32_t)(c - m->chunks);
    c->last = b;
    *to = b->at + MARK_BLOCK;
    return true;
}

bool mark_append_rare(struct marker *m, size_t chunk, uintptr_t off)
{
    struct mark_chunk *c = &m->chunks[chunk];
    uint32_t **to = c->flags ? &c->to : &m->to[chunk];
    if (mark_full(*to) && !add_block(m, c, to)) return false;
    *--*to = (uint32_t)off & m->chunk_mask;
    return true;
}
