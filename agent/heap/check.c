/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap's invariants, checked. One function a structure; each says one line and aborts when it finds a fault.
 *
 *   span_check   a span: geometry, page map, list lengths    O(slots)
 *   heap_check   all of it                                   O(heap); with no other thread in the heap
 *
 * SEEP_CHECK: 1 no bins, every free takes the slow path; 2 also a span whenever a cache takes or leaves it;
 * 3 also the page allocator's summaries after every change of pages by a span. */
#include "agent/heap/fast.h"

#include <string.h>

#include "agent/util/log.h"

#define INVARIANT(s, cond) \
    if (!(cond)) log_fatal("heap check: span %p at %p: %s", (const void *)(s), (void *)(s)->base, #cond)

static uint32_t list_length(const struct mspan *s, const struct slot *f)
{
    uint32_t n = 0;
    for (; f; f = slot_decode(f->link), n++) {
        uintptr_t p = (uintptr_t)f;
        INVARIANT(s, p - s->base < s->bump - s->base && span_slot_start(s, p) && n < s->nelems);
        INVARIANT(s, *mark_of(p) == MARK_FREE);
    }
    return n;
}

enum { CHUNK_PART = sizeof(uint64_t) << MARK_SHIFT };

static bool none_marked(const uint8_t *eight)
{
    uint64_t marks;
    memcpy(&marks, eight, sizeof marks);
    return marks == 0;
}

/* How many slots are marked as used: each at its start, and nothing else in the span is marked. */
static uint32_t marked_used(const struct mspan *s)
{
    uint32_t n = 0;
    for (uintptr_t p = s->base; p < s->base + (s->npages << HPAGE_SHIFT); p += 1 << MARK_SHIFT) {
        if (p % CHUNK_PART == 0 && none_marked(mark_of(p))) {
            p += CHUNK_PART - (1 << MARK_SHIFT);
            continue;
        }
        uint8_t mark = __atomic_load_n(mark_of(p), __ATOMIC_RELAXED);
        if (mark == MARK_FREE) continue;
        INVARIANT(s, p < s->bump && span_slot_start(s, p));
        INVARIANT(s, mark == s->mark || (mark == MARK_SAMPLED && span_lists(s)));
        n++;
    }
    return n;
}

bool span_check(const struct mspan *s)
{
    INVARIANT(s, s->state == SPAN_SMALL || s->state == SPAN_LARGE);
    INVARIANT(s, (s->base & (HPAGE_BYTES - 1)) == 0 && s->npages > 0);
    INVARIANT(s, span_of(s->base) == s && span_of(s->base + (s->npages << HPAGE_SHIFT) - 1) == s);
    INVARIANT(s, s->used <= s->nelems);
    if (s->state == SPAN_LARGE) {
        INVARIANT(s, s->nelems == 1 && s->elem_size == s->npages << HPAGE_SHIFT && s->used <= 1);
        INVARIANT(s, marked_used(s) == 0);
        return true;
    }
    INVARIANT(s, s->elem_size == class_to_size[span_size_class(s)]);
    INVARIANT(s, s->base <= s->bump && s->bump <= s->limit && s->limit - s->base == s->nelems * s->elem_size);
    uint32_t carved = (uint32_t)((s->bump - s->base) / s->elem_size);
    uint64_t remote = __atomic_load_n(&s->remote, __ATOMIC_ACQUIRE);
    INVARIANT(s, list_length(s, s->free) + s->used == carved);
    INVARIANT(s, list_length(s, (const struct slot *)REMOTE_ADDR(remote)) == REMOTE_COUNT(remote));
    INVARIANT(s, marked_used(s) + REMOTE_COUNT(remote) <= s->used);
    for (size_t i = 0; is_near(s) && i < s->npages; i++)
        INVARIANT(s, near_class(heap_near.map, near_slot(s->base))[i] == s->mark);
    INVARIANT(s, REMOTE_COUNT(remote) <= s->used);
    INVARIANT(s, !(remote & REMOTE_FULL) || (s->used == s->nelems && s->owner == NULL && REMOTE_ADDR(remote) == 0));
    INVARIANT(s, s->fast == NO_CACHE || s->fast == s->owner);
    INVARIANT(s, !s->central || s->owner == NULL);
    return true;
}

struct sums {
    uint64_t pages;
    uint64_t in_bins; /* slots marked free that are in no list of their span */
};

/* Slots marked as sampled are those in the span's list. */
static void check_listed(const struct mspan *s)
{
    uint32_t marked = 0, listed = 0;
    for (uint32_t i = 0; i < s->nelems; i++) marked += *mark_of(s->base + i * s->elem_size) == MARK_SAMPLED;
    for (const struct sample_node *n = s->listed; n; n = n->next, listed++)
        INVARIANT(s, n->index < s->nelems && *mark_of(s->base + n->index * s->elem_size) == MARK_SAMPLED &&
                         listed < s->nelems);
    INVARIANT(s, marked == listed);
}

static int check_span(void *arg, const struct heap_span_info *info)
{
    struct sums *sums = arg;
    const struct mspan *s = info->span;
    span_check(s);
    sums->pages += info->npages;
    if (span_lists(s)) check_listed(s);
    if (s->state == SPAN_SMALL) sums->in_bins += s->used - marked_used(s) - REMOTE_COUNT(s->remote);
    return 0;
}

static void check_binned(unsigned c, uintptr_t p)
{
    const struct mspan *s = span_of(p);
    if (!s || s->span_class != c * 2 || !span_slot_start(s, p) || p >= s->bump || !is_near(s) ||
        *mark_of(p) != MARK_FREE)
        log_fatal("heap check: %p in bin %u", (void *)p, c);
}

static void check_cache(const struct mcache *mc)
{
    uint32_t idle = 0;
    for (unsigned sc = 0; sc < SPAN_CLASSES; sc++) {
        const struct mspan *cur = mc->alloc[sc];
        if (cur != &empty_span) INVARIANT(cur, cur->owner == mc && cur->current && cur->span_class == sc);
        for (const struct mspan *s = mc->partial[sc].head; s; s = s->next) {
            INVARIANT(s, s->owner == mc && !s->current && s->span_class == sc);
            INVARIANT(s, s->free != NULL || s->bump < s->limit);
            INVARIANT(s, s->idle == (s->used == 0));
            if (s->idle) idle += (uint32_t)s->npages;
        }
    }
    for (size_t n = 0; n <= SPARE_PAGES; n++) {
        for (const struct mspan *s = mc->spare[n]; s; s = s->next, idle += (uint32_t)n)
            INVARIANT(s, s->state == SPAN_LARGE && s->used == 0 && s->npages == n && !s->samples);
    }
    for (unsigned c = 0; c < SIZE_CLASSES; c++) {
        if (!heap_traced && mc->bin[c].fine != (is_near(mc->alloc[c * 2]) ? mc->alloc[c * 2] : &empty_span))
            log_fatal("heap check: cache %p: fine[%u]", (const void *)mc, c);
        if (mc->top[c] < mc->base[c] || mc->top[c] > mc->end[c])
            log_fatal("heap check: cache %p: bin %u", (const void *)mc, c);
        for (const uintptr_t *at = mc->base[c]; at < mc->top[c]; at++) check_binned(c, *at);
    }
    if (idle != mc->idle_pages) log_fatal("heap check: cache %p: idle pages", (const void *)mc);
}

bool heap_check(void)
{
    struct sums sums = {0};
    uint64_t binned = 0, bytes = 0;
    heap_walk_spans(check_span, &sums);
    if (sums.pages != mheap.inuse_pages)
        log_fatal("heap check: %lu pages in spans, %lu in the books", sums.pages, mheap.inuse_pages);
    for (const struct mcache *mc = mheap.caches; mc; mc = mc->next_all) {
        if (mc->in_use) check_cache(mc);
        binned += bins_count(mc, &bytes);
    }
    if (binned != sums.in_bins)
        log_fatal("heap check: %lu slots marked free beyond the lists, %lu in bins", sums.in_bins, binned);
    for (unsigned sc = 0; sc < SPAN_CLASSES; sc++) {
        uint32_t n = 0;
        for (const struct mspan *s = mheap.central[sc].partial.head; s; s = s->next, n++)
            INVARIANT(s, s->central && s->owner == NULL && s->span_class == sc);
        if (n != mheap.central[sc].npartial) log_fatal("heap check: central list %u: length", sc);
    }
    if (!pages_check()) log_fatal("heap check: page summaries");
    return true;
}
