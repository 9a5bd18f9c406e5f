/* SPDX-License-Identifier: Apache-2.0
 *
 * The marker: conservative, non-moving, over the child's frozen heap, chunk by chunk.
 *
 * The path of one pointer:
 *   1. A word of a root or of a marked object that lies in [in.lo, in.lo + in.len] is an offset in one of the heap's
 *      chunks (2 MiB, larger ones in large heaps), and joins the blocks of that chunk.
 *   2. Chunks that have pointers take turns, first come, first served. By then many have come together. A turn first sets a
 *      bit for the slot of each (the lines it looks at are the few of this chunk's page entries and bits), then goes through
 *      the bits in the order of addresses: tests and sets the mark bits of 64 slots at a time, makes runs of neighbours, asks for
 *      their memory, and scans them once AHEAD others have been asked for.
 *   3. A pointer that a turn finds into its own chunk is marked at once and scanned next, depth first: what was allocated
 *      one after the other is mostly linked so.
 * Objects over PIECE bytes are scanned in pieces, between turns.
 *
 * Invariants
 *   1. An object is scanned once: who sets its mark bit has it scanned.
 *   2. Pointers that wait take at most max_blocks, 1/32 of the heap. Beyond that they are marked at once.
 *   3. An object's pointers into itself are not followed. Only whole, aligned words count.
 *   4. A pointer one past the end of a block belongs to that block, as an interior pointer, only where no allocated block
 *      begins.
 *
 * 1 GiB of 64-byte objects on 4 KiB pages, and on huge ones: a tree in the order of addresses 0.15 s, 0.12 s; a list so 0.17 s, 0.13 s; a
 * tree in random order 0.45 s, 0.43 s (a loop that does no more than to read a word of each: 0.04 s, in random order 0.16 s). Tried:
 * pointers tested one by one, in the order of arrival, 0.24 s (random order: the same); turns by block of 126 pointers, 0.32 s (random
 * 0.82 s: memory and arithmetic wait for each other in turn); hits of many objects collected without a branch before they are followed,
 * no faster in any order; chunks of 4 MiB, the same; in random order, a queue of spans with bits for the objects to be scanned
 * (Go 1.26) 1.0 s, two queues of prefetched pointers 1.6 s, one before a stack (Cher, Hosking, Vitek, "Software prefetching for
 * mark-sweep garbage collection", ASPLOS 2004) 2.8 s.
 * One list in random order waits for memory at every step, and no order of work helps: a bare loop over it takes as long. */
#include "agent/snapshot/child.h"
#include "agent/snapshot/mark_chunks.h"
#include "agent/snapshot/mark_x86_64.h"

#include <errno.h>
#include <string.h>

#include "agent/os/os.h"

enum { PIECE = 2048, ROOT_PIECE = 65536, LINE = 64, FETCH_LINES = 4, AHEAD = 32 };
enum { LIST = 256, NEXT_BYTES = 1024 };

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
    push(__builtin_expect(hi - lo > PIECE, 0) ? &m->large : &m->small, lo, hi);
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
    uint64_t bit = 1ull << (o.index & 63);
    bool old = w->mark & bit;
    w->mark |= bit;
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

/* Marks what off points to, and has it scanned next. */
static inline __attribute__((always_inline)) void mark_now(struct marker *m, uintptr_t off, bool watch)
{
    if (off >> PAGE_SHIFT_SEEP != m->now.page && !look_at(m, &m->now, off, mark_page_entry(m, off), watch)) return;
    uint32_t in = page_in(&m->now, off), elem = m->now.elem;
    uint64_t product = (uint64_t)in * m->now.magic, i = product >> 32;
    struct mark_word *w = &m->words[m->now.word + (i >> 6)];
    uint64_t bit = 1ull << (i & 63);
    bool interior = !mark_divides(product, m->now.magic), noscan = m->now.noscan;
    /* A branch and no subtraction: a processor that guesses right fetches the object before the entry is here. */
    uintptr_t base = m->in.lo + off;
    if (__builtin_expect(interior, 0)) {
        base -= in - i * elem;
        __asm__("" : "+r"(base));
    }
    if (w->mark & bit) {
        if (interior) return;
        if (__builtin_expect((w->free & bit) != 0, 0))
            mark_before(m, base, watch);
        else if (__builtin_expect((w->inner & bit) != 0, 0))
            w->inner &= ~bit;
        return;
    }
    w->mark |= bit;
    if (__builtin_expect(interior, 0)) w->inner |= bit;
    if (watch) tell(m, base, w->extra & bit); /* m->now may be another page after that */
    if (noscan) return;
    __builtin_prefetch((const void *)base);
    push_range(m, base, base + elem);
}

/* ---- turns: pointers to slots, slots to objects */

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
static inline __attribute__((always_inline)) uint64_t mark_found(struct marker *m, struct mark_word *w,
                                                                 struct mark_found *f, uintptr_t base, uint32_t elem,
                                                                 bool watch)
{
    uint64_t start = f->start, inner = f->inner, old = start & w->mark;
    uint64_t fresh = (start | inner) & ~w->mark;
    f->start = f->inner = 0;
    w->mark |= fresh;
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

/* Marked objects that lie one after the other. */
struct mark_run {
    uintptr_t lo;
    uint32_t size, elem;
};

static inline __attribute__((always_inline)) void fetch(const struct mark_run *r)
{
    const char *p = (const char *)r->lo;
    __builtin_prefetch(p);
    for (size_t d = LINE; d < FETCH_LINES * LINE && d < r->size; d += LINE) __builtin_prefetch(p + d);
}

/* ---- scanning */

/* x, by way of a branch from `guess` where they are the same. */
static inline __attribute__((always_inline)) uintptr_t guessed(uintptr_t x, uintptr_t guess)
{
    uintptr_t differ = x ^ guess;
    __asm__("" : "+r"(differ)); /* or the compiler would know that they are the same */
    if (__builtin_expect(differ == 0, 1)) {
        x = guess;
        __asm__ volatile("" : "+r"(x)); /* or it would select without a branch */
    }
    return x;
}

/* What words are in: objects of elem bytes each, from lo on. elem 0: no objects, and size bytes from lo on, somewhere, to which pointers
 * do not count. */
struct around {
    uintptr_t lo;
    size_t size, elem;
    const uintptr_t *stop; /* elem 0: there they end */
};

/* p, somewhere within, is in the same object as at? */
static inline __attribute__((always_inline)) bool is_own(const struct around *a, const uintptr_t *at, uintptr_t p)
{
    return a->size == a->elem || a->elem == 0 ||
           (uint32_t)(p - a->lo) / (uint32_t)a->elem == (uint32_t)((uintptr_t)at - a->lo) / (uint32_t)a->elem;
}

/* Where the object that at is in ends. */
static inline const uintptr_t *end_of(const struct around *a, const uintptr_t *at)
{
    uintptr_t in = (uintptr_t)at - a->lo;
    return a->elem ? (const uintptr_t *)(a->lo + (in / a->elem + 1) * a->elem) : a->stop;
}

static __attribute__((noinline)) void note_cover(struct marker *m, const uintptr_t *w, const uintptr_t *end)
{
    uintptr_t p = *w & m->in.keep;
    struct object_ref o;
    if (p - m->in.lo < m->in.len && mark_resolve(m, p, &o)) cover_note(m, o, w, end);
}

#define FILTER filter_words
#define CODE
#define NAME(f) f##_words
#include "agent/snapshot/mark_loop.h"
#define FILTER  filter_avx2
#define CODE    FILTER_AVX2_CODE
#define NAME(f) f##_avx2
#include "agent/snapshot/mark_loop.h"
#define FILTER  filter_avx512
#define CODE    FILTER_AVX512_CODE
#define NAME(f) f##_avx512
#include "agent/snapshot/mark_loop.h"

static const struct {
    void (*drain)(struct marker *m);
    void (*scan)(struct marker *m, const uintptr_t *w, const uintptr_t *stop, struct around around);
} by_filter[FILTERS] = {[FILTER_WORDS] = {drain_any_words, scan_any_words},
                        [FILTER_AVX2] = {drain_any_avx2, scan_any_avx2},
                        [FILTER_AVX512] = {drain_any_avx512, scan_any_avx512}};

void mark_words_but(struct marker *m, const void *lo, const void *hi, uintptr_t self_lo, uintptr_t self_hi)
{
    const uintptr_t *a = (const uintptr_t *)(((uintptr_t)lo + 7) & ~(uintptr_t)7);
    const uintptr_t *b = (const uintptr_t *)((uintptr_t)hi & ~(uintptr_t)7);
    if (m->visit) {
        m->visit(m->visit_arg, a, b, &m->origin);
        return;
    }
    while (a < b) {
        const uintptr_t *stop = b - a > ROOT_PIECE ? a + ROOT_PIECE : b;
        by_filter[m->filter].scan(m, a, stop, (struct around){self_lo, self_hi - self_lo, 0, b});
        if (m->used_blocks > m->max_blocks / 2) mark_drain(m);
        a = stop;
    }
}

void mark_words(struct marker *m, const void *lo, const void *hi)
{
    mark_words_but(m, lo, hi, 0, 0);
}

void mark_value(struct marker *m, uintptr_t v)
{
    mark_words(m, &v, &v + 1);
}

void mark_drain(struct marker *m)
{
    by_filter[m->filter].drain(m);
}
