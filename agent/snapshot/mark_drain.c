/* SPDX-License-Identifier: Apache-2.0
 *
 * The marker: conservative, non-moving, over the child's frozen heap, chunk by chunk.
 *
 * The path of one pointer:
 *   1. A word of a root or of a marked object that lies in [in.lo, in.lo + in.len] is an offset in one of the heap's
 *      chunks (2 MiB, larger ones in large heaps), and joins the blocks of that chunk.
 *   2. Chunks that have pointers take turns, first come, first served. By then many have come together, and they share
 *      what a look at the chunk costs: its page tables, page entries and mark words. A turn tests and sets the mark bit of
 *      each pointer's slot, asks for the object's memory, and scans it once AHEAD others have been asked for.
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
 * Trees of 64-byte objects on 4 KiB pages, 1 GiB: in random order 0.47 s, in the order of addresses 0.24 s (a loop that does no
 * more than to read a word of each: 0.16 s, 0.04 s). Tried: steps by block, each over all its 126 pointers, 0.82 and 0.32 s (memory and
 * arithmetic wait for each other in turn); a step more, between slots and mark bits, no faster; in random order, a queue of spans with
 * bits for the objects to be scanned (Go 1.26) 1.0 s, two queues of prefetched pointers 1.6 s, one before a stack (Cher, Hosking,
 * Vitek, "Software prefetching for mark-sweep garbage collection", ASPLOS 2004) 2.8 s.
 * One list in random order waits for memory at every step, and no order of work helps: a bare loop over it takes as long. */
#include "agent/snapshot/child.h"
#include "agent/snapshot/mark_x86_64.h"

#include <errno.h>
#include <string.h>

#include "agent/os/os.h"

enum { PIECE = 2048, ROOT_PIECE = 65536, LEAST_BLOCKS = 512, LINE = 64, FETCH_LINES = 4, AHEAD = 16 };
enum { MIN_CHUNK_SHIFT = 21, MAX_CHUNK_SHIFT = ARENA_SHIFT, MAX_CHUNKS_SHIFT = 14 };

void mark_chunks_init(struct marker *m, size_t heap_bytes)
{
    m->filter = filter_best();
    m->chunk_shift = MIN_CHUNK_SHIFT;
    while (m->chunk_shift < MAX_CHUNK_SHIFT && m->in.len >> m->chunk_shift >> MAX_CHUNKS_SHIFT) m->chunk_shift++;
    m->nchunks = (uint32_t)(m->in.len >> m->chunk_shift) + 1; /* the end of the last block is a pointer, too */
    m->chunks = scratch_alloc(m->nchunks * sizeof *m->chunks);
    m->turns = scratch_alloc(m->nchunks * sizeof *m->turns);
    m->chunk_mask = (1u << m->chunk_shift) - 1;
    m->max_blocks = heap_bytes / 32 / sizeof(struct mark_block);
    if (m->max_blocks < LEAST_BLOCKS) m->max_blocks = LEAST_BLOCKS;
}

void mark_chunks_cover(struct marker *m, uintptr_t lo, uintptr_t hi)
{
    for (uintptr_t i = (lo - m->in.lo) >> m->chunk_shift; i <= (hi - m->in.lo) >> m->chunk_shift; i++)
        m->chunks[i].covered = true;
}

/* ---- blocks of pointers */

/* Makes room in a chunk; false when all blocks are in use. */
static __attribute__((noinline)) bool add_block(struct marker *m, struct mark_chunk *c)
{
    enum { MOST = (2 << 20) / sizeof(struct mark_block) };
    struct mark_block *b = m->free_blocks;
    if (!b) {
        if (m->used_blocks >= m->max_blocks) return false;
        size_t n = m->used_blocks < 64 ? 64 : m->used_blocks < MOST ? m->used_blocks : (size_t)MOST;
        b = scratch_alloc((n + 1) * sizeof *b);
        b = (struct mark_block *)(((uintptr_t)b + sizeof *b - 1) & ~(uintptr_t)(sizeof *b - 1));
        for (size_t i = 1; i < n; i++) b[i].next = i + 1 < n ? &b[i + 1] : NULL;
        b->next = &b[1];
    }
    m->free_blocks = b->next;
    m->used_blocks++;
    b->next = NULL;
    if (c->first) {
        c->last->next = b;
    } else {
        uint32_t at = m->first_turn + m->nturns++;
        m->turns[at < m->nchunks ? at : at - m->nchunks] = (uint32_t)(c - m->chunks);
        c->first = b;
    }
    c->last = b;
    c->to = b->at + MARK_BLOCK;
    return true;
}

static inline __attribute__((always_inline)) bool append(struct marker *m, struct mark_chunk *c, uintptr_t off)
{
    if ((uintptr_t)c->to % sizeof(struct mark_block) == 0 && !add_block(m, c)) return false;
    *--c->to = (uint32_t)off & m->chunk_mask;
    return true;
}

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

struct candidate {
    uintptr_t base;
    struct mark_word *w;
    uint16_t kind;
    uint8_t bit;
    bool interior;
};

/* Marked, and on their way from memory while AHEAD others are looked at: a ring. base 0: nothing. */
struct coming {
    uintptr_t base[AHEAD];
    size_t size[AHEAD];
    unsigned at;
};

/* off, of which e is the page entry, is in which slot? False when there is nothing more to do. */
static inline __attribute__((always_inline)) bool locate(struct marker *m, uintptr_t off, uint64_t e,
                                                         struct candidate *c, bool watch)
{
    uint32_t kind = (uint32_t)(e >> 48);
    if (__builtin_expect(kind <= SPAN_KIND_LARGE, 0)) {
        struct object_ref o;
        uintptr_t p = m->in.lo + off;
        if (kind && mark_resolve(m, p, &o))
            mark_object(m, o, p != object_base(m, o), watch);
        else if ((p & ((1u << PAGE_SHIFT_SEEP) - 1)) == 0)
            mark_before(m, p, watch);
        return false;
    }
    const struct span_kind *k = &m->kinds[kind];
    uint32_t in, i = mark_slot_of(k, e, off, &in), start = i * k->elem;
    if (__builtin_expect(i >= k->nelems, 0)) {
        if (in == start) mark_before(m, m->in.lo + off, watch);
        return false;
    }
    /* A branch and no subtraction: a processor that guesses right fetches the object before the entry is here. */
    c->base = m->in.lo + off;
    if (__builtin_expect(in != start, 0)) {
        c->base -= in - start;
        __asm__("" : "+r"(c->base));
    }
    c->w = &m->words[(uint32_t)e + (i >> 6)];
    c->kind = (uint16_t)kind;
    c->bit = (uint8_t)(i & 63);
    c->interior = in != start;
    return true;
}

/* True when it is new and to be scanned. */
static inline __attribute__((always_inline)) bool test_and_set(struct marker *m, const struct candidate *c, bool watch)
{
    struct mark_word *w = c->w;
    uint64_t bit = 1ull << c->bit;
    if (w->mark & bit) {
        if (c->interior) return false;
        if (__builtin_expect((w->free & bit) != 0, 0))
            mark_before(m, c->base, watch);
        else if (__builtin_expect((w->inner & bit) != 0, 0))
            w->inner &= ~bit;
        return false;
    }
    w->mark |= bit;
    if (__builtin_expect(c->interior, 0)) w->inner |= bit;
    if (watch) tell(m, c->base, w->extra & bit);
    return !m->kinds[c->kind].noscan;
}

static inline __attribute__((always_inline)) void mark_now(struct marker *m, uintptr_t off, bool watch)
{
    struct candidate c;
    if (!locate(m, off, mark_page_entry(m, off), &c, watch) || !test_and_set(m, &c, watch)) return;
    __builtin_prefetch((const void *)c.base);
    push_range(m, c.base, c.base + m->kinds[c.kind].elem);
}

/* ---- scanning */

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
    void (*scan)(struct marker *m, const uintptr_t *w, const uintptr_t *stop, const uintptr_t *end, uintptr_t self_lo,
                 uintptr_t self_size);
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
        by_filter[m->filter].scan(m, a, stop, b, self_lo, self_hi - self_lo);
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
