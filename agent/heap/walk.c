/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking at the heap from outside: objects by address, spans and pages in address order, free slots of a span. For the
 * marker, the account of RSS, and the checker.
 *
 * heap_find may be called at any time with any word; the walks want a stopped world or the snapshot's child. No locks,
 * no allocation. */
#include "agent/heap/types.h"

#include "agent/util/critical.h"

bool heap_find(uintptr_t p, struct heap_object *out)
{
    if (p >> 48) return false;
    struct mspan *s = span_of(p);
    if (!s || p - s->base >= s->npages << HPAGE_SHIFT) return false;
    uint8_t state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
    if (state == SPAN_UNUSED) return false;
    uint32_t i = state == SPAN_LARGE ? 0 : span_index(s, p);
    if (i >= s->nelems) return false; /* the tail of a span that no slot uses */
    *out = (struct heap_object){
        .base = s->base + i * s->elem_size, .size = s->elem_size, .span = s, .index = i, .noscan = span_noscan(s)};
    return true;
}

int heap_walk_spans(heap_span_fn *fn, void *arg)
{
    uint32_t id = 0;
    for (const struct region *r = mheap.regions; r; r = r->next) {
        for (size_t i = 0; i < REGION_ARENAS; i++) {
            const struct arena *a = r->arenas[i];
            if (!a) continue;
            for (size_t page = 0; page < a->mapped_pages;) {
                struct mspan *s = r->spans[i * ARENA_PAGES + page];
                uintptr_t at = a->base + (page << HPAGE_SHIFT);
                if (!s) {
                    page++;
                    continue;
                }
                size_t rest = s->npages - ((at - s->base) >> HPAGE_SHIFT);
                page += rest;
                if (s->base != at) continue; /* goes on from the arena before */
                struct heap_span_info info = {.span = s,
                                              .base = s->base,
                                              .npages = s->npages,
                                              .elem_size = s->elem_size,
                                              .nelems = s->nelems,
                                              .noscan = span_noscan(s),
                                              .large = s->state == SPAN_LARGE,
                                              .dense_id = id++};
                int rc = fn(arg, &info);
                if (rc) return rc;
            }
        }
    }
    return 0;
}

static void set_bit(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= 1ull << (i % 64);
}

/* So that the child need not read the marks of what is full, which is most of a large heap. */
static bool is_full(const struct mspan *s)
{
    static bool noted;
    if (!agent_in_child) return false;
    if (!noted) bins_note();
    noted = true;
    return !s->free && s->bump == s->limit && REMOTE_COUNT(s->remote) == 0 && !s->binned;
}

void heap_free_slots(struct mspan *s, uint64_t *bits)
{
    for (uint32_t w = 0; w < (s->nelems + 63) / 64; w++) bits[w] = 0;
    if (s->state == SPAN_LARGE) {
        if (s->used == 0) set_bit(bits, 0);
        return;
    }
    if (is_full(s)) return;
    for (uint32_t i = 0; i < s->nelems; i++)
        if (*mark_of(s->base + i * s->elem_size) == MARK_FREE) set_bit(bits, i);
}

static enum heap_page_state page_state(const struct region *r, const struct arena *a, size_t index, size_t page)
{
    if (r->spans[index * ARENA_PAGES + page]) return HEAP_PAGE_INUSE;
    const struct chunk *c = &a->chunks[page / CHUNK_PAGES];
    return c->scav[page % CHUNK_PAGES / 64] >> (page % 64) & 1 ? HEAP_PAGE_RELEASED : HEAP_PAGE_IDLE;
}

int heap_walk_pages(heap_pages_fn *fn, void *arg)
{
    uintptr_t lo = 0, hi = 0;
    enum heap_page_state run = HEAP_PAGE_IDLE;
    for (const struct region *r = mheap.regions; r; r = r->next) {
        for (size_t i = 0; i < REGION_ARENAS; i++) {
            const struct arena *a = r->arenas[i];
            for (size_t page = 0; a && page < a->mapped_pages; page++) {
                uintptr_t at = a->base + (page << HPAGE_SHIFT);
                enum heap_page_state state = page_state(r, a, i, page);
                if (at == hi && state == run) {
                    hi += HPAGE_BYTES;
                    continue;
                }
                int rc = lo < hi ? fn(arg, lo, hi, run) : 0;
                if (rc) return rc;
                lo = at;
                hi = at + HPAGE_BYTES;
                run = state;
            }
        }
    }
    return lo < hi ? fn(arg, lo, hi, run) : 0;
}

struct heap_sample **heap_span_samples(struct mspan *s)
{
    return span_lists(s) ? NULL : &s->samples;
}

struct sample_node **heap_span_listed(struct mspan *s)
{
    return span_lists(s) ? &s->listed : NULL;
}

struct heap_sample *heap_sample_of(struct mspan *s, uint32_t index)
{
    if (!span_lists(s)) return s->samples && s->samples[index].bucket ? &s->samples[index] : NULL;
    for (struct sample_node *n = s->listed; n; n = n->next)
        if (n->index == index) return n->record.bucket ? &n->record : NULL;
    return NULL;
}

struct heap_sample *heap_sample_next(struct heap_sample_walk *w)
{
    const struct mspan *s = w->span;
    if (!span_lists(s)) {
        for (; s->samples && w->next < s->nelems; w->next++) {
            if (!s->samples[w->next].bucket) continue;
            w->index = w->next++;
            return &s->samples[w->index];
        }
        return NULL;
    }
    struct sample_node *n = w->next++ == 0 ? s->listed : w->node;
    while (n && !n->record.bucket) n = n->next;
    if (!n) return NULL;
    w->node = n->next;
    w->index = n->index;
    return &n->record;
}

uint32_t heap_span_carved(const struct mspan *s)
{
    return span_index(s, s->bump);
}

uint32_t heap_span_nelems(const struct mspan *s)
{
    return s->nelems;
}

uintptr_t heap_slot_address(const struct mspan *s, uint32_t index)
{
    return s->base + index * s->elem_size;
}

size_t heap_span_elem_size(const struct mspan *s)
{
    return s->elem_size;
}
