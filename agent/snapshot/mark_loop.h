/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of mark_drain.c, which includes this once for each kind of filter, with
 *     FILTER   the function of mark_x86_64.h
 *     CODE     the attributes that code with it needs
 *     NAME(f)  the name of f in this kind
 * since a compiler inlines no function into code for another machine. No guard, on purpose. */
#define INLINE static inline __attribute__((always_inline)) CODE

/* The words of [w, stop); end: of the words that stand around them. Those that point into [self_lo, self_lo + self_size) are not
 * followed. */
INLINE void NAME(scan)(struct marker *m, const uintptr_t *w, const uintptr_t *stop, const uintptr_t *end,
                       uintptr_t self_lo, uintptr_t self_size, bool watch)
{
    const struct filter_ranges *r = &m->in;
    while (w < stop) {
        unsigned n = stop - w < FILTER_STEP ? (unsigned)(stop - w) : (unsigned)FILTER_STEP;
        unsigned hits = FILTER(w, n, r, watch);
        for (; hits; hits &= hits - 1) {
            const uintptr_t *at = w + __builtin_ctz(hits);
            uintptr_t p = *at & r->keep, off = p - r->lo;
            if (p - self_lo < self_size) continue;
            if (watch) {
                if (p - r->slo[0] < r->slen[0] || p - r->slo[1] < r->slen[1]) m->stack_word(m->hit_arg, p);
                if (off > r->len) continue;
            }
            struct mark_chunk *c = &m->chunks[off >> m->chunk_shift];
            if (__builtin_expect(c->covered, 0) && m->cover) note_cover(m, at, end);
            if (c->turn || !append(m, c, off)) mark_now(m, off, watch);
        }
        w += n;
    }
}

INLINE void NAME(scan_object)(struct marker *m, uintptr_t lo, uintptr_t hi, bool watch)
{
    const uintptr_t *end = (const uintptr_t *)hi;
    NAME(scan)(m, (const uintptr_t *)lo, end, end, lo, hi - lo, watch);
}

INLINE void NAME(scan_small)(struct marker *m, bool watch)
{
    while (m->small.n) {
        struct mark_range r = m->small.at[--m->small.n];
        NAME(scan_object)(m, r.lo, r.hi, watch);
    }
}

INLINE void NAME(scan_piece)(struct marker *m, bool watch)
{
    struct mark_range *r = &m->large.at[m->large.n - 1];
    uintptr_t lo = r->lo, hi = r->hi;
    struct object_ref o;
    r->lo += PIECE;
    if (r->lo >= hi) m->large.n--;
    if (!mark_resolve(m, lo, &o)) return;
    const uintptr_t *w = (const uintptr_t *)lo, *end = (const uintptr_t *)hi;
    const uintptr_t *stop = hi - lo > PIECE ? w + PIECE / sizeof *w : end;
    NAME(scan)(m, w, stop, end, object_base(m, o), span_elem(&m->spans[o.span]), watch);
}

/* ---- turns */

/* Puts an object into the ring and scans the one that stood in its place. */
INLINE void NAME(pass_on)(struct marker *m, struct coming *l, uintptr_t base, size_t size, bool watch)
{
    unsigned at = l->at++ % AHEAD;
    uintptr_t old = l->base[at], end = old + l->size[at];
    l->base[at] = base;
    l->size[at] = size;
    if (!old) return;
    NAME(scan_object)(m, old, end, watch);
    NAME(scan_small)(m, watch);
}

INLINE void NAME(take_turn)(struct marker *m, bool watch)
{
    struct coming l = {.at = 0};
    uint32_t turn = m->turns[m->first_turn];
    if (++m->first_turn == m->nchunks) m->first_turn = 0;
    m->nturns--;
    struct mark_chunk *c = &m->chunks[turn];
    struct mark_block *b = c->first, *next;
    uintptr_t base = (uintptr_t)turn << m->chunk_shift;
    const uint64_t *entries = &m->pages[base >> ARENA_SHIFT][(base >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)];
    const uint32_t *rest = c->to;
    c->turn = true;
    c->first = c->last = NULL;
    c->to = NULL;
    for (; b; b = next) {
        next = b->next;
        const uint32_t *end = next ? b->at : rest;
        for (const uint32_t *at = b->at + MARK_BLOCK; at-- > end;) {
            struct candidate k;
            if (!locate(m, base + *at, entries[*at >> PAGE_SHIFT_SEEP], &k, watch) || !test_and_set(m, &k, watch))
                continue;
            size_t size = m->kinds[k.kind].elem;
            const char *p = (const char *)k.base;
            __builtin_prefetch(p);
            if (size > LINE) {
                for (size_t d = LINE; d < size && d < FETCH_LINES * LINE; d += LINE) __builtin_prefetch(p + d);
                if (size > PIECE) {
                    push_range(m, k.base, k.base + size);
                    continue;
                }
            }
            NAME(pass_on)(m, &l, k.base, size, watch);
        }
        b->next = m->free_blocks;
        m->free_blocks = b;
        m->used_blocks--;
    }
    for (int i = 0; i < AHEAD; i++) NAME(pass_on)(m, &l, 0, 0, watch);
    NAME(scan_small)(m, watch);
    c->turn = false;
}

INLINE void NAME(drain)(struct marker *m, bool watch)
{
    for (;;) {
        NAME(scan_small)(m, watch);
        if (m->large.n && (m->nturns == 0 || m->used_blocks < m->max_blocks / 2))
            NAME(scan_piece)(m, watch);
        else if (m->nturns)
            NAME(take_turn)(m, watch);
        else
            return;
    }
}

static CODE void NAME(drain_any)(struct marker *m)
{
    if (m->watch)
        NAME(drain)(m, true);
    else
        NAME(drain)(m, false);
}

static CODE void NAME(scan_any)(struct marker *m, const uintptr_t *w, const uintptr_t *stop, const uintptr_t *end,
                                uintptr_t self_lo, uintptr_t self_size)
{
    if (m->watch)
        NAME(scan)(m, w, stop, end, self_lo, self_size, true);
    else
        NAME(scan)(m, w, stop, end, self_lo, self_size, false);
}

#undef INLINE
#undef FILTER
#undef CODE
#undef NAME
