/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of mark_drain.c, which includes this once for each kind of filter, with
 *     FILTER, TAKE, COMMON the functions of mark_x86_64.h
 *     CODE                 the attributes that code with it needs
 *     NAME(f)              the name of f in this kind
 * since a compiler inlines no function into code for another machine. No guard, on purpose. */
#define INLINE static inline __attribute__((always_inline)) CODE

/* The words of [w, stop); they belong to what is around them. */
INLINE void NAME(scan)(struct marker *m, const uintptr_t *w, const uintptr_t *stop, struct around around, bool watch)
{
    const struct filter_ranges *r = &m->in;
    while (w < stop) {
        unsigned n = filter_step(stop - w);
        unsigned hits = FILTER(w, n, r, watch);
        for (; hits; hits &= hits - 1) {
            const uintptr_t *at = w + __builtin_ctz(hits);
            uintptr_t p = *at & r->keep, off = p - r->lo;
            if (p - around.lo < around.size) continue;
            if (watch) {
                if (p - r->slo[0] < r->slen[0] || p - r->slo[1] < r->slen[1]) m->stack_word(m->hit_arg, p);
                if (off > r->len) continue;
            }
            size_t chunk = off >> m->chunk_shift;
            uint32_t flags = m->chunks[chunk].flags;
            if (flags) {
                if ((flags & CHUNK_COVERED) && m->cover) note_cover(m, at, around.stop);
                if (flags & CHUNK_TURN) {
                    mark_now(m, off, FROM_ELSEWHERE, watch);
                    continue;
                }
            }
            if (!mark_append(m, chunk, off)) mark_now(m, off, FROM_ELSEWHERE, watch);
        }
        w += n;
    }
}

INLINE void NAME(scan_object)(struct marker *m, uintptr_t lo, size_t size, bool watch)
{
    const uintptr_t *stop = (const uintptr_t *)(lo + size);
    NAME(scan)(m, (const uintptr_t *)lo, stop, (struct around){lo, size, stop}, watch);
}

/* The object at lo points to nothing but the one behind it. */
INLINE bool NAME(is_link)(const struct filter_ranges *r, uintptr_t lo, size_t size)
{
    const uintptr_t *w = (const uintptr_t *)lo, *stop = (const uintptr_t *)(lo + size), *only = NULL;
    for (unsigned n; w < stop; w += n) {
        n = filter_step(stop - w);
        unsigned hits = FILTER(w, n, r, false);
        if (!hits) continue;
        if (only || (hits & (hits - 1))) return false;
        only = w + __builtin_ctz(hits);
    }
    return only && (*only & r->keep) == lo + size;
}

/* Objects of one page, from the marked one at lo on, each of which is all that the one before it points to: a list, in the order in which it
 * was allocated. Marks them; the last one is left to be scanned: returns it. */
INLINE uintptr_t NAME(skip_links)(struct marker *m, uintptr_t lo, size_t size)
{
    struct filter_ranges r = m->in;
    uintptr_t next = lo + size, off = next - r.lo;
    if (off >> PAGE_SHIFT_SEEP != m->now.page || (lo - r.lo) >> PAGE_SHIFT_SEEP != m->now.page || m->now.elem != size)
        return lo;
    uintptr_t end = r.lo + ((m->now.page + 1) << PAGE_SHIFT_SEEP);
    uint32_t i = (uint32_t)((uint64_t)page_in(&m->now, off) * m->now.magic >> 32);
    uint64_t *word = &m->marks[m->now.word + (i >> 6)], marks = *word;
    while (next < end && NAME(is_link)(&r, lo, size)) {
        if (&m->marks[m->now.word + (i >> 6)] != word) {
            *word++ = marks;
            marks = *word;
        }
        uint64_t bit = 1ull << (i++ & 63);
        if (marks & bit) break;
        marks |= bit;
        lo = next;
        next += size;
        __builtin_prefetch((const void *)(lo + NEXT_BYTES));
    }
    *word = marks;
    return lo;
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
        if (lo == next) {
            __builtin_prefetch((const void *)(lo + NEXT_BYTES));
            if (size == same && !watch) lo = NAME(skip_links)(m, lo, size);
        }
        NAME(scan_object)(m, lo, size, watch);
        same = size;
        next = lo + size;
    }
}

INLINE void NAME(scan_piece)(struct marker *m, bool watch)
{
    struct mark_range *r = &m->large.at[m->large.n - 1];
    uintptr_t lo = r->lo, hi = r->hi;
    struct object_ref o;
    r->lo += MARK_PIECE;
    if (r->lo >= hi) m->large.n--;
    if (!mark_resolve(m, lo, &o)) return;
    size_t elem = span_elem(&m->spans[o.span]);
    uintptr_t base = object_base(m, o);
    struct around around = {base, elem, (const uintptr_t *)(base + elem)};
    uintptr_t stop = hi - lo > MARK_PIECE ? lo + MARK_PIECE : hi;
    NAME(scan)(m, (const uintptr_t *)lo, (const uintptr_t *)stop, around, watch);
}

/* ---- turns in order */

/* The pointers of a run, as far as there is room for them; *from becomes the next word. */
INLINE size_t NAME(take_run)(const struct filter_ranges *ranges, const uintptr_t **from, const uintptr_t *stop,
                             uintptr_t *hit, bool watch)
{
    struct filter_ranges r = *ranges;
    const uintptr_t *w = *from;
    size_t n = 0;
    for (unsigned step; w < stop && n <= HITS; w += step) {
        step = filter_step(stop - w);
        n += TAKE(hit + n, w, step, &r, watch);
    }
    *from = w;
    return n;
}

/* The first `coming` of them are on their way from memory. Scans all but the last `leave`, which come next. */
INLINE void NAME(scan_list)(struct marker *m, const struct mark_run *list, unsigned n, unsigned coming, unsigned leave,
                            bool watch)
{
    uintptr_t hit[HITS + FILTER_STEP];
    for (; coming < AHEAD && coming < n; coming++) fetch(list[coming].lo, list[coming].size);
    for (unsigned i = 0; i + leave < n; i++) {
        if (leave || i + AHEAD < n) fetch(list[i + AHEAD].lo, list[i + AHEAD].size);
        const uintptr_t *w = (const uintptr_t *)list[i].lo, *stop = (const uintptr_t *)(list[i].lo + list[i].size);
        while (w < stop) {
            struct taken t = {.w = w, .stop = stop};
            follow(m, t, hit, NAME(take_run)(&m->in, &w, stop, hit, watch), watch);
            NAME(scan_small)(m, watch);
        }
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
        if (elem > MARK_PIECE) {
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
            list[n++] = (struct mark_run){base + at * elem, (to - at) * elem};
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
    const uint64_t *entries = chunk_entries(m, base);
    uint32_t word = c->words ? c->words - 1 : 0; /* none: only pointers to where no span is */
    struct gather g = {.at = {.page = UINTPTR_MAX},
                       .word = word,
                       .found = m->found - word,
                       .pages = m->found_pages - (base >> PAGE_SHIFT_SEEP)};
    for (struct mark_block *next; b; b = next) {
        next = b->next;
        const uint32_t *end = next ? b->at : rest;
        fetch_block(next);
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

/* ---- turns in no order */

/* Marks what the pointers below `from`, down to `to`, point to, in the chunk that begins at base. What is to be scanned goes to `fresh`;
 * returns its end. Asks for the memory of those before `far`. */
static CODE __attribute__((noinline)) struct mark_new *NAME(mark_block)(struct marker *m, uintptr_t base,
                                                                        const uint32_t *from, const uint32_t *to,
                                                                        struct mark_common *common,
                                                                        struct mark_new *fresh,
                                                                        const struct mark_new *far)
{
    const uint64_t *entries = chunk_entries(m, base);
    uint64_t *marks = m->marks;
    uintptr_t lo = m->in.lo + base;
    bool watch = m->watch;
    _Alignas(64) uint64_t bits[MARK_BLOCK + FILTER_STEP], slots[MARK_BLOCK + FILTER_STEP];
    while (from > to) {
        size_t k = 0;
        if (!watch && common->kind != UINT32_MAX)
            for (unsigned n; from > to; from -= n, k += n) {
                n = filter_step(from - to);
                if (!COMMON(bits + k, slots + k, common, entries, from - n, n)) break;
            }
        for (size_t j = 0; j < k; j++) {
            uint64_t *mark = &marks[bits[j] >> 6], old = *mark, bit = 1ull << (bits[j] & 63);
            if (old & bit) {
                mark_start_again(m, bits[j], lo + (uint32_t)slots[j]);
                continue;
            }
            *mark = old | bit;
            memcpy(fresh, &slots[j], sizeof *fresh);
            if (fresh++ < far) fetch(lo + (uint32_t)slots[j], common->elem);
        }
        unsigned n = filter_step(from - to);
        struct mark_slots s;
        from -= n;
        slots_words(&s, common, entries, m->kinds, from, n);
        for (unsigned j = 0; j < n; j++) {
            if (!(s.small >> j & 1)) {
                mark_rare(m, base + from[j], entries[from[j] >> PAGE_SHIFT_SEEP], watch);
                continue;
            }
            struct mark_new *next = mark_slot(m, &s, j, lo, fresh);
            if (next != fresh && fresh < far) fetch(lo + fresh->at, fresh->size);
            fresh = next;
        }
    }
    return fresh;
}

/* The pointers of as many objects as there is room for; *fresh becomes the next one. Asks for the memory of those MARK_FAR behind. An object's
 * pointers into itself are among them. */
INLINE size_t NAME(take_objects)(const struct filter_ranges *ranges, uintptr_t lo, const struct mark_new **fresh,
                                 const struct mark_new *end, uintptr_t *hit, bool watch)
{
    struct filter_ranges r = *ranges;
    const struct mark_new *now = *fresh;
    size_t n = 0;
    for (; now < end && n <= HITS - MARK_PIECE / sizeof *hit; now++) {
        fetch(lo + now[MARK_FAR].at, now[MARK_FAR].size);
        uintptr_t at = lo + now->at;
        const uintptr_t *w = (const uintptr_t *)at, *stop = (const uintptr_t *)(at + now->size);
        for (; stop - w >= FILTER_STEP; w += FILTER_STEP) n += TAKE(hit + n, w, FILTER_STEP, &r, watch);
        if (w < stop) n += TAKE(hit + n, w, (unsigned)(stop - w), &r, watch);
    }
    *fresh = now;
    return n;
}

static CODE __attribute__((noinline)) size_t NAME(take_each)(const struct filter_ranges *r, uintptr_t lo,
                                                             const struct mark_new **fresh, const struct mark_new *end,
                                                             uintptr_t *hit)
{
    return NAME(take_objects)(r, lo, fresh, end, hit, false);
}

INLINE void NAME(turn_by_block)(struct marker *m, uintptr_t base, struct mark_block *b, const uint32_t *rest,
                                bool watch)
{
    uintptr_t hit[HITS + FILTER_STEP];
    struct mark_common common = {UINT32_MAX, 0, 0};
    const struct mark_new *now = m->fresh;
    struct mark_new *end = m->fresh;
    uintptr_t lo = m->in.lo + base;
    while (b || now < end) {
        size_t left = (size_t)(end - now);
        memmove(m->fresh, now, left * sizeof *now);
        now = m->fresh;
        end = m->fresh + left;
        for (struct mark_block *next; b && end - now < FRESH; b = next) {
            next = b->next;
            fetch_block(next);
            end = NAME(mark_block)(m, base, b->at + MARK_BLOCK, next ? b->at : rest, &common, end, m->fresh + MARK_FAR);
            mark_free_block(m, b);
        }
        memset(end, 0, MARK_FAR * sizeof *end); /* take_objects() asks for those, too */
        const struct mark_new *stop = b ? end - MARK_FAR : end;
        while (now < stop) {
            const struct mark_new *part = stop - now > PART ? now + PART : stop;
            struct taken t = {.now = now, .lo = lo};
            if (watch)
                follow(m, t, hit, NAME(take_objects)(&m->in, lo, &now, part, hit, true), true);
            else
                follow_all(m, t, hit, NAME(take_each)(&m->in, lo, &now, part, hit));
            NAME(scan_small)(m, watch);
        }
    }
}

INLINE void NAME(take_turn)(struct marker *m, bool watch)
{
    uint32_t turn = mark_next_turn(m);
    struct mark_chunk *c = &m->chunks[turn];
    struct mark_block *b = c->first;
    if (!b) return;
    uintptr_t base = (uintptr_t)turn << m->chunk_shift;
    const uint32_t *rest = c->flags ? c->to : m->to[turn];
    c->flags |= CHUNK_TURN;
    c->first = c->last = NULL;
    c->to = m->to[turn] = NULL;
    c->blocks = 0;
    if (m->nturns) fetch_turn(m, m->nripe ? m->ripe[m->nripe - 1] : m->turns[m->first_turn]);
    if (in_order(b->at + MARK_BLOCK, b->next ? b->at : rest))
        NAME(turn_in_order)(m, c, base, b, rest, watch);
    else
        NAME(turn_by_block)(m, base, b, rest, watch);
    c->flags &= (uint16_t)~CHUNK_TURN;
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
#undef TAKE
#undef COMMON
#undef CODE
#undef NAME
