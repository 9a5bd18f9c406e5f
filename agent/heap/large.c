/* SPDX-License-Identifier: Apache-2.0
 *
 * Large objects: over 32 KiB, or aligned to more than a page of the heap. Each is a span of its own.
 *
 *   realloc: fits → give the tail back → or grow into free pages behind → or move page tables (2 MiB and more) → or NULL,
 *   and the caller copies
 *
 *   free: kept by the thread (up to SPARE_PAGES, and IDLE_MAX_PAGES with its other idle spans), else pages to the heap
 *
 * Invariants
 *   1. Only the thread that holds the object changes its span, so no lock guards npages.
 *   2. A shrink or growth changes the page map before pages are given up, and after they are taken.
 * Locks: mheap.lock inside. Units: bytes, pages where named so. */
#include "agent/heap/fast.h"

#include <string.h>

#include "agent/profile/profile.h"

enum { MOVE_MIN_BYTES = 2 << 20 };

static size_t pages_for(size_t size)
{
    return (size + HPAGE_BYTES - 1) >> HPAGE_SHIFT;
}

/* Large objects count in the sample gap too. */
static void count_large(struct mcache *mc, struct mspan *s, size_t requested)
{
    int64_t left = (mc->sample >> COUNT_BITS) + mc->sample_rest;
    size_t bytes = s->elem_size;
    mc->large_bytes += bytes;
    mc->large_mallocs++;
    if (left >= (int64_t)bytes) {
        mcache_arm(mc, left - (int64_t)bytes); /* which first books what small ones took */
        return;
    }
    int64_t gap;
    bool due = prof_due(&gap);
    mcache_arm(mc, gap);
    if (due) {
        __atomic_store_n(&s->samples, &s->record, __ATOMIC_RELEASE);
        prof_record(&s->record, bytes, requested);
    } else {
        prof_unrecorded((void *)s->base);
    }
}

/* ---- Spare spans: the smaller ones that the thread freed, to be had again without the heap's lock and the page map. */
static struct mspan *take_spare(struct mcache *mc, size_t npages, unsigned span_class)
{
    for (size_t n = npages; n <= npages + 1 && n <= SPARE_PAGES; n++) {
        struct mspan *s = mc->spare[n];
        if (!s) continue;
        mc->spare[n] = s->next;
        mc->idle_pages -= (uint32_t)n;
        s->next = s->prev = NULL; /* which is the record, too */
        s->span_class = (uint16_t)span_class;
        s->needzero = true;
        return s;
    }
    return NULL;
}

static bool keep_spare(struct mcache *mc, struct mspan *s)
{
    if (!mc || s->npages > SPARE_PAGES || mc->idle_pages + s->npages > IDLE_MAX_PAGES) return false;
    mc->idle_pages += (uint32_t)s->npages;
    s->next = mc->spare[s->npages];
    mc->spare[s->npages] = s;
    return true;
}

size_t large_release_spare(struct mcache *mc)
{
    size_t pages = 0;
    for (size_t n = 0; n <= SPARE_PAGES; n++) {
        for (struct mspan *s; (s = mc->spare[n]) != NULL; pages += n) {
            mc->spare[n] = s->next;
            mc->idle_pages -= (uint32_t)n;
            span_delete(mc, s);
        }
    }
    return pages;
}

void *large_alloc(struct mcache *mc, size_t size, size_t align, unsigned flags)
{
    size_t npages = pages_for(size ? size : 1);
    unsigned span_class = flags & HEAP_NOSCAN ? 1 : 0;
    struct mspan *s = align <= HPAGE_BYTES ? take_spare(mc, npages, span_class) : NULL;
    if (!s) s = span_new(mc, npages, align, span_class, SPAN_LARGE);
    if (!s) return NULL;
    s->used = 1;
    void *p = (void *)s->base;
    if ((flags & HEAP_ZERO) && s->needzero) memset(p, 0, size);
    count_large(mc, s, size);
    return p;
}

void large_free(struct mcache *mc, struct mspan *s)
{
    s->used = 0;
    __atomic_store_n(&s->samples, NULL, __ATOMIC_RELEASE); /* its record is empty: the profile knows */
    if (!keep_spare(mc, s)) span_delete(mc, s);
}

static void set_size(struct mspan *s, size_t npages)
{
    s->npages = npages;
    s->elem_size = npages << HPAGE_SHIFT;
}

static void shrink(struct mspan *s, size_t npages)
{
    size_t tail = s->npages - npages;
    uintptr_t at = s->base + (npages << HPAGE_SHIFT);
    span_set_pages(s, npages, s->npages, NULL);
    set_size(s, npages);
    usage_add(&mheap.inuse_pages, -(int64_t)tail);
    usage_add(&mheap.large_pages, -(int64_t)tail);
    lock_acquire(&mheap.lock);
    pages_free(at, tail, false);
    lock_release(&mheap.lock);
    scavenge_freed(tail);
}

static bool grow(struct mspan *s, size_t npages)
{
    size_t more = npages - s->npages, scavenged = 0;
    uintptr_t at = s->base + s->elem_size;
    lock_acquire(&mheap.lock);
    bool ok = pages_are_free(at, more);
    /* At the end of the mapped part the heap may grow right there. */
    if (!ok && at <= mheap.grow_lo &&
        (at == mheap.grow_lo || pages_are_free(at, (mheap.grow_lo - at) >> HPAGE_SHIFT)) &&
        mheap.grow_hi - at >= more << HPAGE_SHIFT)
        ok = arena_grow(more - ((mheap.grow_lo - at) >> HPAGE_SHIFT)) && pages_are_free(at, more);
    if (ok) pages_take(at, more, &scavenged);
    lock_release(&mheap.lock);
    if (!ok) return false;
    size_t old = s->npages;
    set_size(s, npages);
    span_set_pages(s, old, npages, s);
    usage_add(&mheap.inuse_pages, (int64_t)more);
    usage_add(&mheap.large_pages, (int64_t)more);
    return true;
}

/* Page tables instead of bytes: the new span's pages are exchanged for those of the old one, which read as zeros then. */
static struct mspan *move_pages(struct mcache *mc, struct mspan *s, size_t npages)
{
    struct mspan *n = span_new(mc, npages, 0, s->span_class, SPAN_LARGE);
    if (!n) return NULL;
    if (os_move((void *)s->base, (void *)n->base, s->elem_size) != 0)
        memcpy((void *)n->base, (void *)s->base, s->elem_size);
    n->used = 1;
    return n;
}

static void resize_sample(struct mspan *s, size_t size)
{
    if (s->samples && s->record.bucket != 0) prof_resize(&s->record, size);
}

void *large_realloc(struct mspan *s, size_t size)
{
    size_t npages = pages_for(size);
    void *p = (void *)s->base;
    agent_enter();
    bool ok = true;
    if (npages < s->npages)
        shrink(s, npages);
    else if (npages > s->npages)
        ok = grow(s, npages);
    if (ok) resize_sample(s, size);
    if (!ok && s->elem_size >= MOVE_MIN_BYTES && agent_tls.mcache) {
        struct mcache *mc = agent_tls.mcache;
        struct mspan *n = move_pages(mc, s, npages);
        if (n) {
            p = (void *)n->base;
            count_large(mc, n, size);
            if (s->samples && s->record.bucket != 0) prof_free(&s->record);
            large_free(mc, s);
            ok = true;
        }
    }
    agent_leave();
    return ok ? p : NULL;
}
