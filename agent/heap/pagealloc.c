/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages: a bitmap for each chunk of 512 pages, and above the bitmaps five levels of summaries (start, longest, end of
 * free runs), so that the lowest run of n free pages is found in a walk down one path. After
 * runtime/mpagealloc.go; the levels are those of Go (14 bits, then four times 3), but sparse: the root is the list of
 * regions, each with its four lower levels.
 *
 * Invariants
 *   1. A page is free iff its alloc bit is 0. Pages outside mapped memory are never free.
 *   2. Every summary equals what its bitmap, or the eight summaries below it, say (pages_check).
 *   3. scav is 0 for pages that are allocated.
 * Locks: under mheap.lock. Allocates nothing. Units: pages. */
#include "agent/heap/types.h"

struct chunk *chunk_of(uintptr_t p)
{
    return &arena_of(p)->chunks[(p / CHUNK_BYTES) % ARENA_CHUNKS];
}

/* ---- Bitmaps */
static struct summary chunk_summary(const struct chunk *c)
{
    struct summary s = {0, 0, 0};
    uint32_t run = 0;
    bool first = true;
    for (int w = 0; w < CHUNK_WORDS; w++) {
        uint64_t bits = c->alloc[w];
        uint32_t left = 64;
        while (left > 0) {
            if (bits == 0) { /* free to the end of the word */
                run += left;
                break;
            }
            uint32_t zeros = (uint32_t)__builtin_ctzll(bits);
            if (zeros > left) zeros = left;
            run += zeros;
            if (first) s.start = run;
            first = false;
            if (run > s.max) s.max = run;
            run = 0;
            left -= zeros;
            bits = zeros < 64 ? bits >> zeros : 0;
            if (left == 0) break;
            uint32_t ones = bits == ~0ull ? 64 : (uint32_t)__builtin_ctzll(~bits);
            if (ones >= left) break;
            bits >>= ones;
            left -= ones;
        }
    }
    if (first) s.start = run;
    if (run > s.max) s.max = run;
    s.end = run;
    return s;
}

/* First run of n free pages in the chunk; the caller knows there is one. */
static uint32_t chunk_find(const struct chunk *c, uint32_t n)
{
    uint32_t run = 0, page = 0;
    for (int w = 0; w < CHUNK_WORDS; w++) {
        uint64_t bits = c->alloc[w];
        if (bits == 0) {
            run += 64;
            page += 64;
            if (run >= n) return page - run;
            continue;
        }
        for (uint32_t left = 64; left > 0;) {
            uint32_t zeros = bits == 0 ? left : (uint32_t)__builtin_ctzll(bits);
            if (zeros > left) zeros = left;
            if (run + zeros >= n) return page - run;
            run += zeros;
            page += zeros;
            left -= zeros;
            if (left == 0) break;
            bits >>= zeros;
            uint32_t ones = bits == ~0ull ? 64 : (uint32_t)__builtin_ctzll(~bits);
            if (ones > left) ones = left;
            run = 0;
            page += ones;
            left -= ones;
            bits = ones < 64 ? bits >> ones : 0;
        }
    }
    return CHUNK_PAGES;
}

static uint64_t mask_of(uint32_t from, uint32_t n)
{
    return (n == 64 ? ~0ull : (1ull << n) - 1) << from;
}

/* ---- Summaries */
static struct summary merge(const struct summary *e, uint32_t pages_each)
{
    struct summary s = {0, 0, 0};
    uint32_t run = 0;
    bool from_start = true;
    for (int i = 0; i < 8; i++) {
        if (e[i].max > s.max) s.max = e[i].max;
        if (run + e[i].start > s.max) s.max = run + e[i].start;
        if (e[i].start == pages_each) {
            run += pages_each;
        } else {
            if (from_start) s.start = run + e[i].start;
            from_start = false;
            run = e[i].end;
        }
    }
    if (from_start) s.start = run;
    s.end = run;
    return s;
}

static bool differs(struct summary a, struct summary b)
{
    return a.start != b.start || a.max != b.max || a.end != b.end;
}

/* Recomputes what lies above chunks [lo, hi] of a region. */
static void update_above(struct region *r, uint32_t lo, uint32_t hi)
{
    struct summary *level[] = {r->l4, r->l3, r->l2, r->l1, &r->top};
    uint32_t pages = CHUNK_PAGES;
    for (int l = 1; l < 5; l++, pages *= 8) {
        bool changed = false;
        lo >>= 3;
        hi >>= 3;
        for (uint32_t i = lo; i <= hi; i++) {
            struct summary s = merge(&level[l - 1][i * 8], pages);
            changed |= differs(s, level[l][i]);
            level[l][i] = s;
        }
        if (!changed) return;
    }
}

enum op { OP_TAKE, OP_FREE, OP_FREE_SCAV };

/* Applies op to a run of pages within one region; adds up scavenged pages taken. */
static void apply(uintptr_t base, size_t npages, enum op op, size_t *scavenged)
{
    struct region *r = region_of(base);
    uint32_t first = (uint32_t)((base - r->base) / CHUNK_BYTES);
    uint32_t page = (uint32_t)((base >> HPAGE_SHIFT) % CHUNK_PAGES), index = first;
    size_t left = npages;
    while (left > 0) {
        struct chunk *c = chunk_of(r->base + index * CHUNK_BYTES);
        while (left > 0 && page < CHUNK_PAGES) {
            uint32_t bit = page % 64, n = 64 - bit;
            if (n > left) n = (uint32_t)left;
            uint64_t mask = mask_of(bit, n);
            uint64_t *alloc = &c->alloc[page / 64], *scav = &c->scav[page / 64];
            if (op == OP_TAKE) {
                *scavenged += (size_t)__builtin_popcountll(*scav & mask);
                *alloc |= mask;
                *scav &= ~mask;
            } else {
                *alloc &= ~mask;
                if (op == OP_FREE_SCAV) *scav |= mask;
            }
            page += n;
            left -= n;
        }
        r->l4[index] = chunk_summary(c);
        page = 0;
        index++;
    }
    update_above(r, first, index - 1);
}

static void apply_all(uintptr_t base, size_t npages, enum op op, size_t *scavenged)
{
    while (npages > 0) { /* a huge span may cross regions */
        size_t room = REGION_PAGES - ((base >> HPAGE_SHIFT) & (REGION_PAGES - 1));
        size_t n = npages < room ? npages : room;
        apply(base, n, op, scavenged);
        base += n << HPAGE_SHIFT;
        npages -= n;
    }
}

void pages_take(uintptr_t base, size_t npages, size_t *scavenged)
{
    *scavenged = 0;
    apply_all(base, npages, OP_TAKE, scavenged);
    usage_add(&mheap.released_pages, -(int64_t)*scavenged);
}

void pages_free(uintptr_t base, size_t npages, bool scavenged)
{
    size_t none = 0;
    apply_all(base, npages, scavenged ? OP_FREE_SCAV : OP_FREE, &none);
    if (scavenged) usage_add(&mheap.released_pages, (int64_t)npages);
}

/* The lowest run of n pages in a region that has one; in pages from its start. */
static size_t region_find(const struct region *r, size_t n)
{
    const struct summary *level[] = {r->l1, r->l2, r->l3, r->l4};
    uint32_t each = REGION_PAGES / 8, i = 0;
    for (int l = 0; l < 4; l++, each /= 8) {
        const struct summary *e = &level[l][i * 8];
        size_t run = 0;
        for (uint32_t j = 0;; j++) {
            if (run + e[j].start >= n) return (size_t)(i * 8 + j) * each - run;
            if (e[j].max >= n) {
                i = i * 8 + j;
                break;
            }
            run = e[j].start == each ? run + each : e[j].end;
        }
    }
    return (size_t)i * CHUNK_PAGES + chunk_find(chunk_of(r->base + i * CHUNK_BYTES), (uint32_t)n);
}

uintptr_t pages_find(size_t npages)
{
    size_t run = 0;
    uintptr_t expected = 0;
    for (struct region *r = mheap.regions; r; r = r->next) {
        if (r->base != expected) run = 0;
        if (run + r->top.start >= npages) return r->base - (run << HPAGE_SHIFT);
        if (r->top.max >= npages) return r->base + (region_find(r, npages) << HPAGE_SHIFT);
        run = r->top.start == REGION_PAGES ? run + REGION_PAGES : r->top.end;
        expected = r->base + ((uintptr_t)1 << REGION_SHIFT);
    }
    return 0;
}

bool pages_are_free(uintptr_t base, size_t npages)
{
    while (npages > 0) {
        const struct arena *a = arena_of(base);
        if (!a) return false;
        const struct chunk *c = &a->chunks[(base / CHUNK_BYTES) % ARENA_CHUNKS];
        uint32_t page = (uint32_t)((base >> HPAGE_SHIFT) % CHUNK_PAGES), bit = page % 64, n = 64 - bit;
        if (n > npages) n = (uint32_t)npages;
        if (c->alloc[page / 64] & mask_of(bit, n)) return false;
        base += (uintptr_t)n << HPAGE_SHIFT;
        npages -= n;
    }
    return true;
}

bool pages_check(void)
{
    for (const struct region *r = mheap.regions; r; r = r->next) {
        for (uint32_t i = 0; i < REGION_CHUNKS; i++) {
            const struct arena *a = r->arenas[i / ARENA_CHUNKS];
            struct summary s = a ? chunk_summary(&a->chunks[i % ARENA_CHUNKS]) : (struct summary){0, 0, 0};
            if (differs(s, r->l4[i])) return false;
            for (int w = 0; a && w < CHUNK_WORDS; w++) {
                const struct chunk *c = &a->chunks[i % ARENA_CHUNKS];
                if (c->alloc[w] & c->scav[w]) return false;
            }
        }
        const struct summary *level[] = {r->l4, r->l3, r->l2, r->l1, &r->top};
        uint32_t n = REGION_CHUNKS / 8, pages = CHUNK_PAGES;
        for (int l = 1; l < 5; l++, n /= 8, pages *= 8) {
            for (uint32_t i = 0; i < n; i++) {
                if (differs(merge(&level[l - 1][i * 8], pages), level[l][i])) return false;
            }
        }
    }
    return true;
}
