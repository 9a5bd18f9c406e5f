/* SPDX-License-Identifier: Apache-2.0
 *
 * What the marker knows of the heap: spans, slots, which of them are free, and the way from any word to a slot. The marking
 * itself is in mark_drain.c.
 *
 * Invariants
 *   1. What the inner loop needs of a span stands in the entry of each of its pages and in a small table of shapes.
 *   2. Free slots are born marked: nothing is ever found through freed memory.
 *   3. The last mark word of a span has room for one more slot, free: what follows the last one and is too small for one.
 * Memory: 4 bits a slot, 56 bytes a span, 12 bytes a page of 8 KiB. */
#include "agent/snapshot/child.h"

#include <errno.h>
#include <string.h>

#include "agent/os/os.h"
#include "agent/util/options.h"

/* ---- spans */

struct collect {
    struct marker *m;
    uintptr_t lo, hi;
    uint32_t n;
    size_t words, pages;
    size_t span_pages; /* most of a span of small slots */
};

static int count_span(void *arg, const struct heap_span_info *s)
{
    struct collect *c = arg;
    if (c->n == 0 || s->base < c->lo) c->lo = s->base;
    if (s->base + (s->npages << PAGE_SHIFT_SEEP) > c->hi) c->hi = s->base + (s->npages << PAGE_SHIFT_SEEP);
    c->n++;
    c->words += s->nelems / 64 + 1;
    c->pages += s->npages;
    if (!s->large && s->npages > c->span_pages) c->span_pages = s->npages;
    return 0;
}

static void free_bits(struct marker *m, uint32_t span)
{
    static uint64_t bits[8192 / 8 * 4 / 64 + 2]; /* more slots than any span has, see add_span() */
    const struct span_rec *s = &m->spans[span];
    unsigned last = s->nelems / 64;
    bits[last] = 0;
    heap_free_slots(m->mspans[span], bits);
    bits[last] |= ~0ull << (s->nelems % 64); /* what is no slot is free */
    for (unsigned i = 0; i <= last; i++) {
        m->marks[s->words + i] = m->words[s->words + i].free = bits[i];
    }
}

static uint64_t kind_of(struct marker *m, const struct span_rec *r)
{
    struct span_kind k = {r->elem, r->magic, r->nelems, r->noscan != 0, r->elem >= COVER_MIN_BYTES};
    if (!r->elem) return SPAN_KIND_LARGE;
    for (uint32_t i = SPAN_KIND_LARGE + 1; i < m->nkinds; i++)
        if (memcmp(&m->kinds[i], &k, sizeof k) == 0) return i;
    if (m->nkinds == SPAN_KINDS) child_fail(-EFAULT, "more shapes of spans than there are size classes");
    m->kinds[m->nkinds] = k;
    return m->nkinds++;
}

static int add_span(void *arg, const struct heap_span_info *s)
{
    struct collect *c = arg;
    struct marker *m = c->m;
    if (c->n >= m->nspans || s->nelems > 4096)
        child_fail(-EFAULT, "span %p has changed while it was walked", (void *)s->span);
    uint32_t id = c->n++;
    struct span_rec *r = &m->spans[id];
    r->base = s->base;
    r->nelems = s->nelems;
    r->noscan = s->noscan;
    r->npages = (uint32_t)s->npages;
    r->words = (uint32_t)c->words;
    if (s->large || s->elem_size > UINT32_MAX / 2) {
        r->nelems = 1;
    } else {
        r->elem = (uint32_t)s->elem_size;
        r->magic = UINT32_MAX / r->elem + 1;
    }
    m->mspans[id] = s->span;
    c->words += r->nelems / 64 + 1;
    uint64_t kind = kind_of(m, r);
    mark_chunks_words(m, r->base, r->base + (s->npages << PAGE_SHIFT_SEEP), r->words);
    if (kind == SPAN_KIND_LARGE || m->kinds[kind].covered)
        mark_chunks_cover(m, r->base, r->base + (s->npages << PAGE_SHIFT_SEEP));
    for (size_t i = 0; i < s->npages; i++) {
        size_t page = ((s->base - m->in.lo) >> PAGE_SHIFT_SEEP) + i, arena = page / ARENA_PAGES;
        if (!m->pages[arena]) {
            m->pages[arena] = scratch_alloc(ARENA_PAGES * sizeof **m->pages);
            m->span_ids[arena] = scratch_alloc(ARENA_PAGES * sizeof **m->span_ids);
        }
        uint64_t in = kind == SPAN_KIND_LARGE ? 0 : i << PAGE_SHIFT_SEEP;
        m->pages[arena][page % ARENA_PAGES] = kind << 54 | in << 32 | r->words;
        m->span_ids[arena][page % ARENA_PAGES] = id;
    }
    free_bits(m, id);
    return 0;
}

void mark_collect(struct marker *m)
{
    memset(m, 0, sizeof *m);
    m->in.keep = UINTPTR_MAX >> agent_options.tag_bits;
    struct collect c = {.m = m};
    heap_walk_spans(count_span, &c);
    if (c.n > 0) { /* a program with a malloc of its own has no span */
        m->in.lo = c.lo >> ARENA_SHIFT << ARENA_SHIFT;
        m->in.len = c.hi - m->in.lo;
    } else
        m->in.lo = (uintptr_t)1 << 62; /* no word points there */
    m->nspans = c.n;
    m->nwords = c.words;
    m->nkinds = SPAN_KIND_LARGE + 1;
    m->pages = scratch_alloc(((m->in.len >> ARENA_SHIFT) + 1) * sizeof *m->pages);
    m->span_ids = scratch_alloc(((m->in.len >> ARENA_SHIFT) + 1) * sizeof *m->span_ids);
    m->spans = scratch_alloc(c.n * sizeof *m->spans);
    m->mspans = scratch_alloc(c.n * sizeof *m->mspans);
    m->marks = scratch_alloc(c.words * sizeof *m->marks);
    m->words = scratch_alloc(c.words * sizeof *m->words);
    mark_chunks_init(m, c.pages << PAGE_SHIFT_SEEP, c.span_pages);
    c = (struct collect){.m = m};
    heap_walk_spans(add_span, &c);
    m->nspans = c.n;
    uint64_t *none = scratch_alloc(ARENA_PAGES * sizeof *none);
    for (size_t i = 0; i <= m->in.len >> ARENA_SHIFT; i++)
        if (!m->pages[i]) m->pages[i] = none;
}

/* ---- pointers */

bool mark_resolve(const struct marker *m, uintptr_t p, struct object_ref *o)
{
    uintptr_t off = p - m->in.lo;
    if (off >= m->in.len || !mark_page_entry(m, off)) return false;
    uint32_t id = m->span_ids[off >> ARENA_SHIFT][(off >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)];
    const struct span_rec *s = &m->spans[id];
    uint32_t i = (uint32_t)((uint64_t)(uint32_t)(p - s->base) * s->magic >> 32);
    if (i >= s->nelems) return false;
    *o = (struct object_ref){id, i};
    return true;
}
