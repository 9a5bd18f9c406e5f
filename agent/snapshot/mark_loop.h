/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of mark_drain.c, which includes this once for each kind of filter, with
 *     FILTER, OWN, ADD   the functions of mark_x86_64.h
 *     CODE               the attributes that code with it needs
 *     NAME(f)            the name of f in this kind
 * since a compiler inlines no function into code for another machine. No guard, on purpose. */
#define INLINE static inline __attribute__((always_inline)) CODE

/* The words of [w, stop); they belong to what is around them. */
INLINE void NAME(scan)(struct marker *m, const uintptr_t *w, const uintptr_t *stop, struct around around, bool watch)
{
    const struct filter_ranges *r = &m->in;
    while (w < stop) {
        unsigned n = stop - w < FILTER_STEP ? (unsigned)(stop - w) : (unsigned)FILTER_STEP;
        unsigned hits = FILTER(w, n, r, watch);
        for (; hits; hits &= hits - 1) {
            const uintptr_t *at = w + __builtin_ctz(hits);
            uintptr_t p = *at & r->keep, off = p - r->lo;
            if (p - around.lo < around.size && is_own(&around, at, p)) continue;
            if (watch) {
                if (p - r->slo[0] < r->slen[0] || p - r->slo[1] < r->slen[1]) m->stack_word(m->hit_arg, p);
                if (off > r->len) continue;
            }
            struct mark_chunk *c = &m->chunks[off >> m->chunk_shift];
            if (c->flags) {
                if ((c->flags & CHUNK_COVERED) && m->cover) note_cover(m, at, end_of(&around, at));
                if (c->flags & CHUNK_TURN) {
                    mark_now(m, off, watch);
                    continue;
                }
            }
            if (!mark_append(m, c, off)) mark_now(m, off, watch);
        }
        w += n;
    }
}

/* Objects of elem bytes each, one after the other. */
INLINE void NAME(scan_objects)(struct marker *m, uintptr_t lo, size_t size, size_t elem, bool watch)
{
    struct around around = {lo, size, elem, NULL};
    NAME(scan)(m, (const uintptr_t *)lo, (const uintptr_t *)(lo + size), around, watch);
}

/* Mostly the next object lies behind the last one and is as large. Where that is so, a processor that guesses right scans it before
 * it has followed the pointer: no value that is read leads from one to the next. */
INLINE void NAME(scan_small)(struct marker *m, bool watch)
{
    uintptr_t next = 0;
    size_t same = 0;
    while (m->small.n) {
        const struct mark_range *r = &m->small.at[--m->small.n];
        size_t size = guessed(r->hi - r->lo, same);
        uintptr_t lo = guessed(r->lo, next);
        if (lo == next) __builtin_prefetch((const void *)(lo + NEXT_BYTES));
        NAME(scan_objects)(m, lo, size, size, watch);
        same = size;
        next = lo + size;
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
    size_t elem = span_elem(&m->spans[o.span]);
    struct around around = {object_base(m, o), elem, elem, NULL};
    NAME(scan)(m, (const uintptr_t *)lo, (const uintptr_t *)(hi - lo > PIECE ? lo + PIECE : hi), around, watch);
}

/* ---- turns */

/* The words that are pointers, of as many runs as there is room for; *run becomes the next one. */
INLINE size_t NAME(find)(const struct filter_ranges *ranges, const struct mark_run **run, const struct mark_run *end,
                         const uintptr_t **hit, bool watch)
{
    struct filter_ranges r = *ranges;
    const struct mark_run *now = *run;
    size_t n = 0;
    for (; now < end && n <= HITS - PIECE / sizeof **hit; now++) {
        const uintptr_t *w = (const uintptr_t *)now->lo, *stop = (const uintptr_t *)(now->lo + now->size);
        for (; stop - w >= FILTER_STEP; w += FILTER_STEP) {
            unsigned hits = FILTER(w, FILTER_STEP, &r, watch);
            unsigned own = OWN(w, FILTER_STEP, &r, now->lo, now->size);
            if (__builtin_expect(own, 0)) hits &= ~own_of(now, w, own, r.keep);
            n += ADD(hit + n, w, hits);
        }
        if (w == stop) continue;
        unsigned hits = FILTER(w, (unsigned)(stop - w), &r, watch);
        unsigned own = OWN(w, (unsigned)(stop - w), &r, now->lo, now->size);
        if (__builtin_expect(own, 0)) hits &= ~own_of(now, w, own, r.keep);
        n += ADD(hit + n, w, hits);
    }
    *run = now;
    return n;
}

static CODE __attribute__((noinline)) size_t NAME(find_all)(const struct filter_ranges *r, const struct mark_run **run,
                                                            const struct mark_run *end, const uintptr_t **hit)
{
    return NAME(find)(r, run, end, hit, false);
}

/* Scans the runs, and asks for the memory of those that come next, a part at a time: more would wait for each other. */
INLINE void NAME(scan_runs)(struct marker *m, const struct mark_run *run, unsigned n, const struct mark_run *next,
                            unsigned nnext, bool watch)
{
    const uintptr_t *hit[HITS + FILTER_STEP];
    const struct mark_run *end = run + n;
    unsigned half = nnext / 2;
    for (unsigned i = 0; i < half; i++) fetch(&next[i]);
    for (bool first = true; run < end || first; first = false) {
        size_t hits = watch ? NAME(find)(&m->in, &run, end, hit, true) : NAME(find_all)(&m->in, &run, end, hit);
        for (unsigned i = half; first && i < nnext; i++) fetch(&next[i]);
        follow(m, hit, hits);
        NAME(scan_small)(m, watch);
    }
}

/* The first `coming` of them are on their way from memory. Scans all but the last `leave`, which come next. */
INLINE void NAME(scan_list)(struct marker *m, const struct mark_run *list, unsigned n, unsigned coming, unsigned leave,
                            bool watch)
{
    for (; coming < AHEAD && coming < n; coming++) fetch(&list[coming]);
    for (unsigned i = 0; i + leave < n; i++) {
        if (leave || i + AHEAD < n) fetch(&list[i + AHEAD]);
        NAME(scan_objects)(m, list[i].lo, list[i].size, list[i].elem, watch);
        NAME(scan_small)(m, watch);
    }
}

INLINE unsigned NAME(list_page)(struct marker *m, uint64_t e, uintptr_t page, struct mark_found *found,
                                struct mark_run *list, unsigned n, unsigned *coming, bool watch)
{
    const struct span_kind *k = &m->kinds[mark_entry_kind(e)];
    uintptr_t base = page - mark_entry_in(e, 0);
    size_t elem = k->elem;
    __builtin_prefetch((const void *)page); /* for its translation */
    __builtin_prefetch((const void *)(page + 4096));
    for (uint32_t i = 0; i <= k->nelems >> 6; i++, base += 64 * elem) {
        struct mark_found *f = &found[(uint32_t)e + i];
        if (!(f->start | f->inner)) continue;
        uint64_t fresh = mark_found(m, (uint32_t)e + i, f, base, k->elem, watch);
        if (k->noscan) continue;
        if (elem > PIECE) {
            for (; fresh; fresh &= fresh - 1) {
                uintptr_t lo = base + (uint64_t)__builtin_ctzll(fresh) * elem;
                push_range(m, lo, lo + elem);
            }
            continue;
        }
        while (fresh) {
            unsigned at = (unsigned)__builtin_ctzll(fresh);
            uint64_t above = fresh + (1ull << at); /* carried over the run's bits; 0 where it is the last one */
            unsigned to = above ? (unsigned)__builtin_ctzll(above) : 64;
            list[n++] = (struct mark_run){base + at * elem, (uint32_t)((to - at) * elem), (uint32_t)elem};
            fresh &= above;
        }
        if (n >= LIST) {
            NAME(scan_list)(m, list, n, *coming, AHEAD, watch);
            *coming = AHEAD;
            memcpy(list, list + n - AHEAD, AHEAD * sizeof *list);
            n = AHEAD;
        }
    }
    return n;
}

INLINE void NAME(turn_in_order)(struct marker *m, struct mark_chunk *c, uintptr_t base, struct mark_block *b,
                                const uint32_t *rest, bool watch)
{
    struct mark_run list[LIST + 64];
    unsigned n = 0, coming = 0;
    const uint64_t *entries = &m->pages[base >> ARENA_SHIFT][(base >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)];
    uint32_t word = c->words ? c->words - 1 : 0; /* none: only pointers to where no span is */
    struct gather g = {.at = {.page = UINTPTR_MAX},
                       .word = word,
                       .found = m->found - word,
                       .pages = m->found_pages - (base >> PAGE_SHIFT_SEEP)};
    for (struct mark_block *next; b; b = next) {
        next = b->next;
        const uint32_t *end = next ? b->at : rest;
        for (unsigned i = 0; next && i < sizeof *next / LINE; i++) __builtin_prefetch((const char *)next + i * LINE);
        for (const uint32_t *at = b->at + MARK_BLOCK; at-- > end;)
            gather(m, &g, base + *at, &entries[*at >> PAGE_SHIFT_SEEP], watch);
        mark_free_block(m, b);
    }
    gather_flush(&g);
    size_t group = ((size_t)m->chunk_mask + 1) / 64 >> PAGE_SHIFT_SEEP;
    for (; g.groups; g.groups &= g.groups - 1) {
        size_t page = (size_t)__builtin_ctzll(g.groups) * group;
        for (size_t end = page + group; page < end; page++) {
            if (!m->found_pages[page]) continue;
            m->found_pages[page] = 0;
            n = NAME(list_page)(m, entries[page], m->in.lo + base + (page << PAGE_SHIFT_SEEP), g.found, list, n,
                                &coming, watch);
        }
    }
    NAME(scan_list)(m, list, n, coming, 0, watch);
}

INLINE void NAME(turn_by_block)(struct marker *m, uintptr_t base, struct mark_block *b, const uint32_t *rest,
                                bool watch)
{
    struct mark_run runs[2][MARK_BLOCK];
    unsigned n = 0, side = 0;
    for (struct mark_block *next; b; b = next, side ^= 1) {
        next = b->next;
        for (unsigned i = 0; next && i < sizeof *next / LINE; i++) __builtin_prefetch((const char *)next + i * LINE);
        unsigned before = n;
        n = mark_block(m, base, b->at + MARK_BLOCK, next ? b->at : rest, runs[side]);
        mark_free_block(m, b);
        NAME(scan_runs)(m, runs[side ^ 1], before, runs[side], n, watch);
    }
    NAME(scan_runs)(m, runs[side ^ 1], n, NULL, 0, watch);
}

INLINE void NAME(take_turn)(struct marker *m, bool watch)
{
    uint32_t turn = m->turns[m->first_turn];
    if (++m->first_turn == m->nchunks) m->first_turn = 0;
    m->nturns--;
    struct mark_chunk *c = &m->chunks[turn];
    struct mark_block *b = c->first;
    uintptr_t base = (uintptr_t)turn << m->chunk_shift;
    const uint32_t *rest = c->to;
    c->flags |= CHUNK_TURN;
    c->first = c->last = NULL;
    c->to = NULL;
    if (in_order(b->at + MARK_BLOCK, b->next ? b->at : rest))
        NAME(turn_in_order)(m, c, base, b, rest, watch);
    else
        NAME(turn_by_block)(m, base, b, rest, watch);
    c->flags &= ~(uint32_t)CHUNK_TURN;
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

static CODE void NAME(scan_any)(struct marker *m, const uintptr_t *w, const uintptr_t *stop, struct around around)
{
    if (m->watch)
        NAME(scan)(m, w, stop, around, true);
    else
        NAME(scan)(m, w, stop, around, false);
}

#undef INLINE
#undef FILTER
#undef OWN
#undef ADD
#undef CODE
#undef NAME
