/* SPDX-License-Identifier: Apache-2.0
 *
 * The marker: conservative, non-moving, over the child's frozen heap, chunk by chunk.
 *
 * The path of one pointer:
 *   1. A word of a root or of a marked object that lies in [in.lo, in.lo + in.len] is an offset in one of the heap's
 *      chunks (2 MiB, larger ones in large heaps), and joins the blocks of that chunk.
 *   2. Chunks that have pointers take turns, first come, first served. By then many have come together, and the few lines that a
 *      turn looks at, this chunk's page entries and bits, are near. Where they came in the order of addresses, the turn first sets a
 *      bit for the slot of each, then goes through the bits: tests and sets the mark bits of 64 slots at a time, makes runs of
 *      neighbours, asks for their memory, and scans them once AHEAD others have been asked for. Else it goes block by block, in four
 *      small loops: the mark bits of a block's pointers; a request for the memory of what is new; then, for the block before, whose
 *      memory is here by now, the addresses of the words that are pointers; what each of those points to joins its chunk.
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
 * 1 GiB of 64-byte objects on 4 KiB pages, and on huge ones: a tree in the order of addresses 0.15 s, 0.14 s; a list so 0.17 s, 0.13 s; a
 * tree in random order 0.28 s, 0.23 s (by the turns in order: 0.45 s, 0.41 s; a loop that reads a word of each, in random order: 0.20 s,
 * 0.16 s; the loops alone, in a program of their own with one size of objects and no roots, free slots or inner pointers: 0.16 to 0.21 s).
 * What counts in random order: memory is asked for into the second-level cache, where more than twice as many requests can be under
 * way as into the first (a bare loop over lines at random within 2 MiB: 0.06 s against 0.14 s); mark bits stand alone, so that those of a
 * chunk take 4 KiB and not 16; small loops, as one long one waits for each page's translation with few requests behind it.
 * Tried: pointers tested one by one and scanned at once, in the order of arrival, 0.24 s (random order: 0.45 s); turns by block for
 * pointers in order, 0.24 s; a request for the next block's object with the scan of each, 0.37 s in random order; offsets of 4 bytes for
 * the words found, chunks of 4 MiB, the same; in random order, a queue of spans with bits for the objects to be scanned (Go 1.26) 1.0 s, two
 * queues of prefetched pointers 1.6 s, one before a stack (Cher, Hosking, Vitek, "Software prefetching for mark-sweep garbage
 * collection", ASPLOS 2004) 2.8 s, in a program of its own, with one bit an object and requests into the second level, 0.24 to 1.1 s on 4 KiB
 * pages and 0.17 to 0.3 s on huge ones, by what else the machine did.
 * One list in random order waits for memory at every step, and no order of work helps: a bare loop over it takes as long. */
#include "agent/snapshot/child.h"
#include "agent/snapshot/mark_chunks.h"
#include "agent/snapshot/mark_x86_64.h"

#include <errno.h>
#include <string.h>

#include "agent/os/os.h"

enum {
    PIECE = 2048,
    ROOT_PIECE = 65536,
    LINE = 64,
    FETCH_LINES = 4,
    LEVEL_2 = 2 /* of __builtin_prefetch: prefetcht1 */
};
enum { LIST = 256, AHEAD = 32, HITS = 512, NEXT_BYTES = 1024, NEAR = 4096 };

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

/* Marks what off points to, and has it scanned next. */
static inline __attribute__((always_inline)) void mark_now(struct marker *m, uintptr_t off, bool watch)
{
    if (off >> PAGE_SHIFT_SEEP != m->now.page && !look_at(m, &m->now, off, mark_page_entry(m, off), watch)) return;
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
        if (!interior && __builtin_expect(((w->free | w->inner) & bit) != 0, 0)) mark_again(m, w, bit, base, watch);
        return;
    }
    m->marks[word] |= bit;
    if (__builtin_expect(interior, 0)) w->inner |= bit;
    if (watch) tell(m, base, w->extra & bit); /* m->now may be another page after that */
    if (noscan) return;
    __builtin_prefetch((const void *)base);
    push_range(m, base, base + elem);
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

/* Marked objects that lie one after the other. */
struct mark_run {
    uintptr_t lo;
    uint32_t size, elem;
};

static inline __attribute__((always_inline)) void fetch(const struct mark_run *r)
{
    const char *p = (const char *)r->lo;
    size_t size = r->size;
    __builtin_prefetch(p, 0, LEVEL_2);
    for (size_t d = LINE; d < FETCH_LINES * LINE && d < size; d += LINE) __builtin_prefetch(p + d, 0, LEVEL_2);
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

/* ---- turns by block */

/* Those of the words at w with a bit in `own`, which point into the run, that point into their own object. */
static __attribute__((noinline)) unsigned own_of(const struct mark_run *run, const uintptr_t *w, unsigned own,
                                                 uintptr_t keep)
{
    struct around around = {run->lo, run->size, run->elem, NULL};
    for (unsigned left = own; left; left &= left - 1) {
        const uintptr_t *at = w + __builtin_ctz(left);
        if (!is_own(&around, at, *at & keep)) own &= ~(left & -left);
    }
    return own;
}

/* Of the object of the heap that at is in. */
static __attribute__((noinline)) const uintptr_t *own_end(const struct marker *m, const uintptr_t *at)
{
    struct object_ref o;
    if (!mark_resolve(m, (uintptr_t)at, &o)) return at + 1;
    return (const uintptr_t *)(object_base(m, o) + span_elem(&m->spans[o.span]));
}

/* Most of a block's pointers point to near where the one before does. */
static bool in_order(const uint32_t *from, const uint32_t *end)
{
    ptrdiff_t n = from - end, near = 0;
    if (n <= MARK_BLOCK / 2) return false;
    for (const uint32_t *at = end; at + 1 < from; at++) near += at[1] - at[0] + NEAR < 2 * NEAR;
    return near > n / 2;
}

/* Marks what a block's pointers point to, offsets from base on, in the order in which they came. What is to be scanned becomes runs. */
static __attribute__((noinline)) unsigned mark_block(struct marker *m, uintptr_t base, const uint32_t *from,
                                                     const uint32_t *end, struct mark_run *run)
{
    const uint64_t *entries = &m->pages[base >> ARENA_SHIFT][(base >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)];
    struct mark_word *words = m->words;
    uint64_t *marks = m->marks;
    const struct span_kind *kinds = m->kinds;
    uintptr_t lo = m->in.lo + base;
    bool watch = m->watch;
    struct mark_run *to = run, last = {0, 0, 0};
    while (from-- > end) {
        uint32_t off = *from;
        uint64_t e = entries[off >> PAGE_SHIFT_SEEP];
        uint32_t kind = mark_entry_kind(e);
        if (__builtin_expect(kind <= SPAN_KIND_LARGE, 0)) {
            mark_rare(m, base + off, e, watch);
            continue;
        }
        const struct span_kind *k = &kinds[kind];
        uint32_t in = mark_entry_in(e, off), elem = k->elem;
        uint64_t product = (uint64_t)in * k->magic, i = product >> 32, bit = 1ull << (i & 63);
        size_t word = (uint32_t)e + (i >> 6);
        bool interior = !mark_divides(product, k->magic);
        uintptr_t at = lo + off;
        if (__builtin_expect(interior, 0)) at -= in - (uint32_t)i * elem;
        uint64_t mark = marks[word];
        if (mark & bit) {
            struct mark_word *w = &words[word];
            if (!interior && __builtin_expect(((w->free | w->inner) & bit) != 0, 0)) mark_again(m, w, bit, at, watch);
            continue;
        }
        marks[word] = mark | bit;
        if (__builtin_expect(interior, 0)) words[word].inner |= bit;
        if (__builtin_expect(watch, 0)) tell(m, at, words[word].extra & bit);
        if (k->noscan) continue;
        if (__builtin_expect(elem > PIECE, 0)) {
            push_range(m, at, at + elem);
            continue;
        }
        if (__builtin_expect(at % LINE != 0, 0) && at == last.lo + last.size && elem == last.elem) {
            last.size += elem;
            to[-1].size = last.size;
            continue;
        }
        last = (struct mark_run){at, elem, elem};
        *to++ = last;
    }
    return (unsigned)(to - run);
}

/* What the words at hit, pointers all, point to. */
static __attribute__((noinline)) void follow(struct marker *m, const uintptr_t *const *hit, size_t n)
{
    uintptr_t keep = m->in.keep, lo = m->in.lo;
    struct mark_chunk *chunks = m->chunks;
    uint32_t shift = m->chunk_shift, mask = m->chunk_mask;
    bool watch = m->watch;
    for (size_t i = 0; i < n; i++) {
        const uintptr_t *at = hit[i];
        uintptr_t p = *at & keep, off = p - lo;
        if (__builtin_expect(watch, 0)) {
            if (p - m->in.slo[0] < m->in.slen[0] || p - m->in.slo[1] < m->in.slen[1]) m->stack_word(m->hit_arg, p);
            if (off > m->in.len) continue;
        }
        struct mark_chunk *c = &chunks[off >> shift];
        uint32_t flags = c->flags;
        if (__builtin_expect(flags, 0)) {
            if ((flags & CHUNK_COVERED) && m->cover) note_cover(m, at, own_end(m, at));
            if (flags & CHUNK_TURN) {
                mark_now(m, off, watch);
                continue;
            }
        }
        uint32_t *to = c->to;
        if (__builtin_expect((uintptr_t)to % sizeof(struct mark_block) == 0, 0)) {
            if (!mark_add_block(m, c)) {
                mark_now(m, off, watch);
                continue;
            }
            to = c->to;
        }
        c->to = --to;
        *to = (uint32_t)off & mask;
    }
}

#define FILTER filter_words
#define OWN    own_words
#define ADD    add_words
#define CODE
#define NAME(f) f##_words
#include "agent/snapshot/mark_loop.h"
#define FILTER  filter_avx2
#define OWN     own_avx2
#define ADD     add_words
#define CODE    FILTER_AVX2_CODE
#define NAME(f) f##_avx2
#include "agent/snapshot/mark_loop.h"
#define FILTER  filter_avx512
#define OWN     own_avx512
#define ADD     add_avx512
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
