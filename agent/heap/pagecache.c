/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's page cache: the free pages of one aligned group of 64, taken from the bitmap at once, so that most
 * small spans are made without the heap's lock (after runtime/mpagecache.go). Unlike in Go, pages of the same
 * group that the thread frees go back into the cache.
 *
 * Invariants
 *   1. Pages in a cache are allocated in the bitmap and belong to no span; they are idle, not in use.
 *   2. scav is a subset of free.
 * Locks: take and give need none (the owner's thread); fill and flush are under mheap.lock. Units: pages. */
#include "agent/heap/types.h"

/* Lowest start of n ones in a row, or 64. */
static unsigned find_run(uint64_t bits, size_t n)
{
    for (size_t have = 1; have < n && bits;) { /* a bit stays while `have` ones begin at it */
        size_t step = n - have < have ? n - have : have;
        bits &= bits >> step;
        have += step;
    }
    return bits ? (unsigned)__builtin_ctzll(bits) : 64;
}

uintptr_t pcache_take(struct pcache *c, size_t npages, size_t *scavenged)
{
    unsigned i = find_run(c->free, npages);
    if (i == 64) return 0;
    uint64_t mask = ((1ull << npages) - 1) << i;
    *scavenged = (size_t)__builtin_popcountll(c->scav & mask);
    if (*scavenged) usage_add(&mheap.released_pages, -(int64_t)*scavenged);
    c->free &= ~mask;
    c->scav &= ~mask;
    return c->base + ((uintptr_t)i << HPAGE_SHIFT);
}

bool pcache_give(struct pcache *c, uintptr_t base, size_t npages)
{
    uintptr_t at = (base - c->base) >> HPAGE_SHIFT;
    if (c->base == 0 || at + npages > PCACHE_PAGES || npages >= PCACHE_PAGES) return false;
    c->free |= ((1ull << npages) - 1) << at;
    return true;
}

void pcache_flush(struct pcache *c)
{
    for (unsigned i = 0; i < PCACHE_PAGES && c->free >> i;) {
        if (!(c->free >> i & 1)) {
            i++;
            continue;
        }
        /* A run whose pages are all scavenged, or all not. */
        bool scav = c->scav >> i & 1;
        unsigned n = 1;
        while (i + n < PCACHE_PAGES && (c->free >> (i + n) & 1) && (bool)(c->scav >> (i + n) & 1) == scav) n++;
        /* Released pages are counted while they are in the cache: pages_free counts them anew. */
        if (scav) usage_add(&mheap.released_pages, -(int64_t)n);
        pages_free(c->base + ((uintptr_t)i << HPAGE_SHIFT), n, scav);
        i += n;
    }
    *c = (struct pcache){0};
}

bool pcache_fill(struct pcache *c)
{
    pcache_flush(c);
    uintptr_t p = pages_find(1);
    if (!p) return false;
    uintptr_t base = p & ~(((uintptr_t)PCACHE_PAGES << HPAGE_SHIFT) - 1);
    const struct arena *a = arena_of(base);
    uint32_t word = (uint32_t)((base >> HPAGE_SHIFT) % ARENA_PAGES) / 64;
    const struct chunk *chunk = &a->chunks[word / CHUNK_WORDS];
    c->base = base;
    c->free = ~chunk->alloc[word % CHUNK_WORDS];
    c->scav = chunk->scav[word % CHUNK_WORDS];
    for (unsigned i = 0; i < PCACHE_PAGES;) { /* in runs: pages_take wants them free */
        if (!(c->free >> i & 1)) {
            i++;
            continue;
        }
        unsigned n = 1;
        while (i + n < PCACHE_PAGES && (c->free >> (i + n) & 1)) n++;
        size_t scavenged;
        pages_take(base + ((uintptr_t)i << HPAGE_SHIFT), n, &scavenged);
        if (scavenged) usage_add(&mheap.released_pages, (int64_t)scavenged); /* still released, but here */
        i += n;
    }
    return true;
}
