/* SPDX-License-Identifier: Apache-2.0
 *
 * From pointers to slots, and to what is to be scanned: of one pointer, of a turn in order, of one in no order. A part of mark_drain.c, which
 * says how they come together. */
#ifndef SEEP_SNAPSHOT_MARK_SLOTS_H
#define SEEP_SNAPSHOT_MARK_SLOTS_H

#include <errno.h>
#include <string.h>

#include "agent/os/os.h"
#include "agent/snapshot/child.h"
#include "agent/snapshot/mark_x86_64.h"

enum { LINE = 64, FETCH_LINES = 4, NEAR = 4096 };
enum { LEVEL_2 = 2 }; /* of __builtin_prefetch: prefetcht1 */

static inline void push(struct mark_ranges *s, uintptr_t lo, uintptr_t hi)
{
    if (__builtin_expect(s->n == s->room, 0)) {
        size_t room = s->room ? s->room * 2 : 4096, size = s->room * sizeof *s->at;
        void *p = s->room ? os_remap(s->at, size, size * 2) : os_alloc(room * sizeof *s->at, OS_GC);
        if (!p) child_fail(-ENOMEM, "no memory for the mark stack");
        s->at = p;
        s->room = room;
    }
    s->at[s->n++] = (struct mark_range){lo, hi};
}

static inline void push_range(struct marker *m, uintptr_t lo, uintptr_t hi)
{
    push(__builtin_expect(hi - lo > MARK_PIECE, 0) ? &m->large : &m->small, lo, hi);
}

/* The page entries of the chunk that begins at base. */
static inline const uint64_t *chunk_entries(const struct marker *m, uintptr_t base)
{
    return &m->pages[base >> ARENA_SHIFT][(base >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)];
}

/* Asks for a block; NULL: none. */
static inline void fetch_block(const struct mark_block *b)
{
    for (unsigned i = 0; b && i < sizeof *b / LINE; i++) __builtin_prefetch((const char *)b + i * LINE);
}

/* ---- one object */

static void tell(struct marker *m, uintptr_t base, bool watched)
{
    struct object_ref o;
    if (!mark_resolve(m, base, &o)) return;
    m->marked_objects++;
    m->marked_bytes += span_elem(&m->spans[o.span]);
    if (watched) m->hit(m->hit_arg, o);
}

/* Large objects and ends of blocks: not in a hurry. */
static void mark_object(struct marker *m, struct object_ref o, bool interior, bool watch)
{
    const struct span_rec *s = &m->spans[o.span];
    struct mark_word *w = mark_word_of(m, o);
    uint64_t bit = 1ull << (o.index & 63), *mark = &m->marks[mark_index(m, o)];
    bool old = *mark & bit;
    *mark |= bit;
    if (old) {
        if (!interior) w->inner &= ~bit;
        return;
    }
    if (interior) w->inner |= bit;
    uintptr_t base = object_base(m, o);
    if (watch) tell(m, base, w->extra & bit);
    if (!s->noscan) push_range(m, base, base + span_elem(s));
}

/* p is where no allocated block begins: the block that ends there, if any. */
static void mark_before(struct marker *m, uintptr_t p, bool watch)
{
    struct object_ref o;
    if (mark_ends_at(m, p, &o)) mark_object(m, o, true, watch);
}

/* off, of which e is the page entry, in no span or in a large one. */
static __attribute__((noinline)) void mark_rare(struct marker *m, uintptr_t off, uint64_t e, bool watch)
{
    struct object_ref o;
    uintptr_t p = m->in.lo + off;
    if (e && mark_resolve(m, p, &o))
        mark_object(m, o, p != object_base(m, o), watch);
    else if ((p & ((1u << PAGE_SHIFT_SEEP) - 1)) == 0)
        mark_before(m, p, watch);
}

/* A pointer to base, the start of a slot that is marked or free: bit of w. */
static __attribute__((noinline)) void mark_again(struct marker *m, struct mark_word *w, uint64_t bit, uintptr_t base,
                                                 bool watch)
{
    if (w->free & bit)
        mark_before(m, base, watch);
    else
        w->inner &= ~bit;
}

/* Now the page of off, of which e is the entry. False when that is a rare one: then off is done with. */
static inline __attribute__((always_inline)) bool look_at(struct marker *m, struct mark_page *now, uintptr_t off,
                                                          uint64_t e, bool watch)
{
    uint32_t kind = mark_entry_kind(e);
    if (__builtin_expect(kind <= SPAN_KIND_LARGE, 0)) {
        mark_rare(m, off, e, watch);
        return false;
    }
    const struct span_kind *k = &m->kinds[kind];
    *now = (struct mark_page){.page = off >> PAGE_SHIFT_SEEP,
                              .word = (uint32_t)e,
                              .in = mark_entry_in(e, 0),
                              .magic = k->magic,
                              .elem = k->elem,
                              .noscan = k->noscan};
    return true;
}

/* How far off, of that page, is in its span. */
static inline uint32_t page_in(const struct mark_page *now, uintptr_t off)
{
    return (uint32_t)(off & ((1u << PAGE_SHIFT_SEEP) - 1)) + now->in;
}

/* What mark_now() may be told of the address of a pointer. */
enum { FROM_ELSEWHERE = 0, /* it is in no object that it may point into */ FROM_UNKNOWN = 1 };

/* Marks what off points to, and has it scanned next. from: the address of the pointer, if that is in an object that it may point into. False:
 * that counts here, and is not known; nothing was done. */
static inline __attribute__((always_inline)) bool mark_now(struct marker *m, uintptr_t off, uintptr_t from, bool watch)
{
    if (off >> PAGE_SHIFT_SEEP != m->now.page && !look_at(m, &m->now, off, mark_page_entry(m, off), watch)) return true;
    uint32_t in = page_in(&m->now, off), elem = m->now.elem;
    uint64_t product = (uint64_t)in * m->now.magic, i = product >> 32;
    size_t word = m->now.word + (i >> 6);
    struct mark_word *w = &m->words[word];
    uint64_t bit = 1ull << (i & 63);
    bool interior = !mark_divides(product, m->now.magic), noscan = m->now.noscan;
    /* A branch and no subtraction: a processor that guesses right fetches the object before the entry is here. */
    uintptr_t base = m->in.lo + off;
    if (__builtin_expect(interior, 0)) {
        base -= in - i * elem;
        __asm__("" : "+r"(base));
    }
    if (m->marks[word] & bit) {
        if (!interior && __builtin_expect(((w->free | w->inner) & bit) != 0, 0)) {
            if (from == FROM_UNKNOWN) return false;
            if (from - base >= elem) mark_again(m, w, bit, base, watch);
        }
        return true;
    }
    m->marks[word] |= bit;
    if (__builtin_expect(interior, 0)) w->inner |= bit;
    if (watch) tell(m, base, w->extra & bit); /* m->now may be another page after that */
    if (noscan) return true;
    __builtin_prefetch((const void *)base);
    push_range(m, base, base + elem);
    return true;
}

/* ---- turns in order: pointers to slots, slots to objects */

/* The pointers of a turn come together by mark word: those to one, one after the other, in registers. */
struct gather {
    struct mark_page at;      /* of the last one */
    uint32_t word;            /* its mark word */
    struct mark_found now;    /* what is to be added to found[word] */
    struct mark_found *found; /* by mark word */
    uint8_t *pages;           /* by page */
    uint64_t groups;          /* a bit for a 64th of the chunk */
};

static inline __attribute__((always_inline)) void gather_flush(struct gather *g)
{
    g->found[g->word].start |= g->now.start;
    g->found[g->word].inner |= g->now.inner;
    g->now = (struct mark_found){0, 0};
}

static inline __attribute__((always_inline)) void gather(struct marker *m, struct gather *g, uintptr_t off,
                                                         const uint64_t *entry, bool watch)
{
    if (off >> PAGE_SHIFT_SEEP != g->at.page) {
        if (!look_at(m, &g->at, off, *entry, watch)) return;
        g->pages[g->at.page] = 1;
        g->groups |= 1ull << ((off & m->chunk_mask) >> (m->chunk_shift - 6));
    }
    uint64_t product = (uint64_t)page_in(&g->at, off) * g->at.magic, i = product >> 32;
    uint32_t word = g->at.word + (uint32_t)(i >> 6);
    if (word != g->word) {
        gather_flush(g);
        g->word = word;
    }
    uint64_t bit = 1ull << (i & 63);
    if (__builtin_expect(mark_divides(product, g->at.magic), 1))
        g->now.start |= bit;
    else
        g->now.inner |= bit;
}

/* Slots of a mark word that are new. base: of its first one. */
static inline __attribute__((always_inline)) uint64_t mark_found(struct marker *m, size_t word, struct mark_found *f,
                                                                 uintptr_t base, uint32_t elem, bool watch)
{
    struct mark_word *w = &m->words[word];
    uint64_t mark = m->marks[word], start = f->start, inner = f->inner, old = start & mark;
    uint64_t fresh = (start | inner) & ~mark;
    f->start = f->inner = 0;
    m->marks[word] = mark | fresh;
    w->inner |= fresh & ~start;
    if (__builtin_expect((old & (w->inner | w->free)) != 0, 0)) {
        w->inner &= ~old;
        for (uint64_t left = old & w->free; left; left &= left - 1)
            mark_before(m, base + (uint64_t)__builtin_ctzll(left) * elem, watch);
    }
    if (watch)
        for (uint64_t left = fresh; left; left &= left - 1)
            tell(m, base + (uint64_t)__builtin_ctzll(left) * elem, w->extra & left & -left);
    return fresh;
}

/* Asks for the first lines of what lies at lo. */
static inline __attribute__((always_inline)) void fetch(uintptr_t lo, size_t size)
{
    const char *p = (const char *)lo;
    __builtin_prefetch(p, 0, LEVEL_2);
    for (size_t d = LINE; d < FETCH_LINES * LINE && d < size; d += LINE) __builtin_prefetch(p + d, 0, LEVEL_2);
}

/* Marked objects that lie one after the other. */
struct mark_run {
    uintptr_t lo;
    size_t size;
};

/* ---- turns in no order */

/* Most of a block's pointers point to near where the one before does. */
static bool in_order(const uint32_t *from, const uint32_t *end)
{
    ptrdiff_t n = from - end, near = 0;
    if (n <= MARK_BLOCK / 2) return false;
    for (const uint32_t *at = end; at + 1 < from; at++) near += at[1] - at[0] + NEAR < 2 * NEAR;
    return near > n / 2;
}

/* A pointer to the start of a slot whose mark bit is set: base. */
static inline void mark_start_again(struct marker *m, uint64_t at, uintptr_t base)
{
    struct mark_word *w = &m->words[at >> 6];
    uint64_t bit = 1ull << (at & 63);
    if (__builtin_expect(((w->free | w->inner) & bit) != 0, 0)) mark_again(m, w, bit, base, m->watch);
}

/* Marks slot j of s, in a chunk that begins at lo. Returns where the next fresh one is put. */
static __attribute__((noinline)) struct mark_new *mark_slot(struct marker *m, const struct mark_slots *s, unsigned j,
                                                            uintptr_t lo, struct mark_new *to)
{
    struct mark_new slot;
    memcpy(&slot, &s->slot[j], sizeof slot);
    size_t word = s->bit[j] >> 6;
    struct mark_word *w = &m->words[word];
    uint64_t bit = 1ull << (s->bit[j] & 63);
    uintptr_t base = lo + (uintptr_t)(intptr_t)(int32_t)slot.at; /* it may begin before its chunk */
    bool interior = s->inner >> j & 1;
    if (m->marks[word] & bit) {
        if (!interior) mark_start_again(m, s->bit[j], base);
        return to;
    }
    m->marks[word] |= bit;
    if (interior) w->inner |= bit;
    if (m->watch) tell(m, base, w->extra & bit);
    if (s->noscan >> j & 1) return to;
    if (s->large >> j & 1 ||
        base < lo) /* the latter may point to its own start in another chunk, which scan() knows of */
        push_range(m, base, base + slot.size);
    else
        *to++ = slot;
    return to;
}

/* What stands in a chunk's turn besides its pointers, for the one that comes next: if that is a long one. */
static void fetch_turn(const struct marker *m, uint32_t turn)
{
    enum { MOST_ENTRIES = 256, MOST_WORDS = 640, IN_LINE = LINE / sizeof(uint64_t) };
    const struct mark_chunk *c = &m->chunks[turn];
    if (!c->first || !c->first->next || !c->words) return;
    uintptr_t base = (uintptr_t)turn << m->chunk_shift;
    const uint64_t *entries = chunk_entries(m, base);
    for (unsigned i = 0; i < sizeof *c->first / LINE; i++)
        __builtin_prefetch((const char *)c->first + i * LINE, 0, LEVEL_2);
    for (unsigned i = 0; i < MOST_ENTRIES; i += IN_LINE) __builtin_prefetch(entries + i, 0, LEVEL_2);
    for (unsigned i = 0; i < MOST_WORDS; i += IN_LINE) __builtin_prefetch(m->marks + c->words - 1 + i, 0, LEVEL_2);
}

#endif
