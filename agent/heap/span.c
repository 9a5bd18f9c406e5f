/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans: runs of pages with a structure, entered in the page map.
 *
 *   span_new    pages from the thread's page cache, else from the heap → structure → page map
 *   span_delete page map cleared → pages back → structure back
 *
 * Invariants
 *   1. A span's structure is complete before the page map shows it, and the page map forgets it before its pages can be
 *      had by anyone else.
 *   2. Structures are only ever reused as structures.
 *   3. All marks of pages that are in no span, or in a large one, are MARK_FREE.
 * Locks: mheap.lock for pages outside the cache and for batches of structures. Units: pages. */
#include "agent/heap/types.h"

#include <string.h>

#include "agent/profile/profile.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

struct mheap mheap = {
    .lock = LOCK_INIT(RANK_MHEAP),
    .cache_lock = LOCK_INIT(RANK_MCACHE),
};

enum { STRUCT_BATCH = 32 };

void usage_add(uint64_t *counter, int64_t pages)
{
    __atomic_fetch_add(counter, (uint64_t)pages, __ATOMIC_RELAXED);
}

/* ---- Structures: a small stash in each cache, the rest in the heap. */
static bool stash_fill(struct mcache *mc)
{
    lock_acquire(&mheap.lock);
    if (!mheap.free_spans) {
        struct mspan *block = persistent_alloc(STRUCT_BATCH * sizeof *block, 64, OS_META);
        for (int i = 0; block && i < STRUCT_BATCH; i++) {
            block[i].next = mheap.free_spans;
            mheap.free_spans = &block[i];
        }
        if (block) usage_add(&mheap.mspan_bytes, STRUCT_BATCH * sizeof *block);
    }
    for (int i = 0; i < SPAN_STASH / 2 && mheap.free_spans; i++) {
        struct mspan *s = mheap.free_spans;
        mheap.free_spans = s->next;
        s->next = mc->stash;
        mc->stash = s;
        mc->nstash++;
    }
    lock_release(&mheap.lock);
    return mc->stash != NULL;
}

static struct mspan *struct_new(struct mcache *mc)
{
    if (!mc->stash && !stash_fill(mc)) return NULL;
    struct mspan *s = mc->stash;
    mc->stash = s->next;
    mc->nstash--;
    return s;
}

static void stash_drop(struct mcache *mc, uint32_t keep)
{
    lock_acquire(&mheap.lock);
    while (mc->nstash > keep) {
        struct mspan *s = mc->stash;
        mc->stash = s->next;
        mc->nstash--;
        s->next = mheap.free_spans;
        mheap.free_spans = s;
    }
    lock_release(&mheap.lock);
}

void stash_flush(struct mcache *mc)
{
    stash_drop(mc, 0);
    lock_acquire(&mheap.lock);
    pcache_flush(&mc->pages);
    lock_release(&mheap.lock);
}

/* ---- Page map, and the classes of pages for the fast path of free */
static void set_class(const struct mspan *s, uint8_t class)
{
    if (s->state == SPAN_SMALL && is_near(s)) memset(near_class(heap_near.map, near_slot(s->base)), class, s->npages);
}

void span_set_pages(const struct mspan *s, size_t from, size_t to, struct mspan *value)
{
    for (size_t i = from; i < to;) {
        uintptr_t page = (s->base >> HPAGE_SHIFT) + i;
        struct mspan **map = &region_of(page << HPAGE_SHIFT)->spans[page & (REGION_PAGES - 1)];
        size_t n = REGION_PAGES - (page & (REGION_PAGES - 1));
        if (n > to - i) n = to - i;
        for (size_t k = 0; k < n; k++) __atomic_store_n(&map[k], value, __ATOMIC_RELEASE);
        i += n;
    }
}

/* ---- Pages */
static uintptr_t take_locked(size_t npages, size_t align_pages, size_t *scavenged)
{
    size_t want = npages + align_pages - 1; /* a run of so many holds an aligned one */
    uintptr_t p = pages_find(want);
    if (!p && arena_grow(want)) p = pages_find(want);
    if (!p) return 0;
    uintptr_t align = (uintptr_t)align_pages << HPAGE_SHIFT;
    p = (p + align - 1) & ~(align - 1);
    pages_take(p, npages, scavenged);
    return p;
}

static void check_pages(void)
{
    if (__builtin_expect(agent_options.check >= 3, 0) && !pages_check()) log_fatal("heap check: page summaries");
}

static uintptr_t take_pages(struct mcache *mc, size_t npages, size_t align_pages, size_t *scavenged)
{
    uintptr_t p = 0;
    bool cached = npages < PCACHE_MAX_ALLOC && align_pages == 1;
    if (cached) p = pcache_take(&mc->pages, npages, scavenged);
    if (p) return p;
    lock_acquire(&mheap.lock);
    if (cached && (pcache_fill(&mc->pages) || (arena_grow(npages) && pcache_fill(&mc->pages))))
        p = pcache_take(&mc->pages, npages, scavenged);
    if (!p) p = take_locked(npages, align_pages, scavenged);
    check_pages();
    lock_release(&mheap.lock);
    return p;
}

static void give_pages(struct mcache *mc, uintptr_t base, size_t npages)
{
    if (mc && pcache_give(&mc->pages, base, npages)) return;
    lock_acquire(&mheap.lock);
    pages_free(base, npages, false);
    check_pages();
    lock_release(&mheap.lock);
}

static void struct_drop(struct mcache *mc, struct mspan *s)
{
    s->next = mc->stash;
    mc->stash = s;
    mc->nstash++;
}

struct mspan *span_new(struct mcache *mc, size_t npages, size_t align_bytes, unsigned span_class, enum span_state state)
{
    struct mspan *s = struct_new(mc);
    if (!s) return NULL;
    size_t bytes = npages << HPAGE_SHIFT;
    size_t size = state == SPAN_LARGE ? bytes : class_to_size[size_class_of(span_class)];
    size_t align_pages = align_bytes > HPAGE_BYTES ? align_bytes >> HPAGE_SHIFT : 1, scavenged = 0;
    uintptr_t base = take_pages(mc, npages, align_pages, &scavenged);
    if (!base) {
        struct_drop(mc, s);
        return NULL;
    }
    if (scavenged) scavenge_taken(scavenged);
    *s = (struct mspan){
        .fast = NO_CACHE,
        .base = base,
        .inverse = state == SPAN_LARGE ? 0 : class_to_inverse[size_class_of(span_class)],
        .bump = base,
        .limit = state == SPAN_LARGE ? base : base + bytes / size * size,
        .mark = state == SPAN_LARGE      ? MARK_FREE
                : fine_class(span_class) ? (uint8_t)(span_class >> 1)
                                         : MARK_NO_BIN,
        .nelems = (uint32_t)(bytes / size),
        .elem_size = size,
        .npages = npages,
        .span_class = (uint16_t)span_class,
        .needzero = mheap.lazy || scavenged != npages,
        .state = (uint8_t)state,
    };
    usage_add(&mheap.inuse_pages, (int64_t)npages);
    if (state == SPAN_LARGE) usage_add(&mheap.large_pages, (int64_t)npages);
    set_class(s, s->mark);
    span_set_pages(s, 0, npages, s);
    return s;
}

void span_delete(struct mcache *mc, struct mspan *s)
{
    uintptr_t base = s->base;
    size_t npages = s->npages;
    if (__atomic_load_n(&s->samples, __ATOMIC_ACQUIRE)) prof_span_freed(s);
    set_class(s, 0);
    span_set_pages(s, 0, npages, NULL);
    if (s->state == SPAN_LARGE) usage_add(&mheap.large_pages, -(int64_t)npages);
    s->fast = NO_CACHE;
    __atomic_store_n(&s->owner, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&s->state, SPAN_UNUSED, __ATOMIC_RELEASE);
    usage_add(&mheap.inuse_pages, -(int64_t)npages);
    give_pages(mc, base, npages);
    scavenge_freed(npages);
    if (mc) {
        s->next = mc->stash;
        mc->stash = s;
        if (++mc->nstash > SPAN_STASH) stash_drop(mc, SPAN_STASH / 2);
    } else {
        lock_acquire(&mheap.lock);
        s->next = mheap.free_spans;
        mheap.free_spans = s;
        lock_release(&mheap.lock);
    }
}
