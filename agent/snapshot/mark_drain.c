/* SPDX-License-Identifier: Apache-2.0
 *
 * The marker: conservative, non-moving, over the child's frozen heap, chunk by chunk.
 *
 * The path of one pointer:
 *   1. A word of a root or of a marked object that lies in [in.lo, in.lo + in.len] is an offset in one of the heap's
 *      chunks (2 MiB, larger ones in large heaps), and joins the blocks of that chunk.
 *   2. Chunks that have pointers take turns, first come, first served, but those with many are next. By then many have come together, and the few lines that a
 *      turn looks at, this chunk's page entries and bits, are near. Where they came in the order of addresses, the turn first sets a
 *      bit for the slot of each, then goes through the bits: tests and sets the mark bits of 64 slots at a time, makes runs of
 *      neighbours, asks for their memory, and scans them once AHEAD others have been asked for. Else in small loops: of some thousand
 *      pointers the mark bits, a block's slots first; then the pointers in PART of the objects that are new, with a request for the memory of the
 *      object MARK_FAR behind with each; then each of those pointers joins its chunk.
 *   3. A pointer that a turn finds into its own chunk is marked at once and scanned next, depth first: what was allocated
 *      one after the other is mostly linked so.
 * Objects over MARK_PIECE bytes are scanned in pieces, between turns.
 *
 * Invariants
 *   1. An object is scanned once: who sets its mark bit has it scanned.
 *   2. Pointers that wait take at most max_blocks, 1/32 of the heap. Beyond that they are marked at once.
 *   3. An object's pointers into itself are not followed. Only whole, aligned words count.
 *   4. A pointer one past the end of a block belongs to that block, as an interior pointer, only where no allocated block
 *      begins.
 *
 * 1 GiB of 64-byte objects on 4 KiB pages, and on huge ones: a tree in the order of addresses 0.12 s, 0.10 s; a list so 0.13 s, 0.06 s; a
 * tree in random order 0.21 s, 0.16 s (by the turns in order: 0.45 s, 0.41 s; a loop that reads a word of each, in random order: 0.20 s,
 * 0.16 s), where huge pages are no more than that to the guest: the host's pages under them are small, and so is what the processor keeps of them.
 * What counts in random order: memory is asked for into the second-level cache, where more than twice as many requests can be under
 * way as into the first (a bare loop over lines at random within 2 MiB: 0.06 s against 0.14 s); mark bits stand alone, so that those of a
 * chunk take 4 KiB and not 16; that memory is asked for as early as 256 objects ahead, as the walk to its page is most of the way (64: 0.02 s
 * more); small loops of few instructions, as how many rounds of a loop a processor has under way decides how well it
 * hides the second level; the block that a chunk is given next is asked for with the one before, as the list of free ones is in them.
 * Tried: pointers tested one by one and scanned at once, in the order of arrival, 0.24 s (random order: 0.45 s); turns by block for
 * pointers in order, 0.24 s; a request for the next block's object with the scan of each, 0.37 s in random order; chunks of 4 MiB,
 * requests shared out over all loops, other sizes of batches, a loop for objects of one size, slots without page entries, requests for the lines that
 * pointers are appended to, the same; a line per chunk that is copied to its block when it is full, 0.02 s more (a branch that nobody
 * can guess for each copy); in random order, a queue of spans with bits for the objects to be scanned (Go 1.26) 1.0 s, two
 * queues of prefetched pointers 1.6 s, one before a stack (Cher, Hosking, Vitek, "Software prefetching for mark-sweep garbage
 * collection", ASPLOS 2004) 2.8 s, in a program of its own, with one bit an object and requests into the second level, 0.24 to 1.1 s on 4 KiB
 * pages and 0.17 to 0.3 s on huge ones, by what else the machine did.
 * One list in random order waits for memory at every step, and no order of work helps: a bare loop over it takes as long. */
#include "agent/snapshot/child.h"
#include "agent/snapshot/mark_chunks.h"
#include "agent/snapshot/mark_slots.h"
#include "agent/snapshot/mark_x86_64.h"

#include <string.h>

enum { ROOT_PIECE = 65536, LIST = 256, AHEAD = 32, HITS = 1024, PART = 256, NEXT_BYTES = 1024 };

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

/* What words are in: an object, or a root and another place; pointers to the size bytes from lo on do not count. */
struct around {
    uintptr_t lo;
    size_t size;
    const uintptr_t *stop; /* where the object or root ends */
};

static __attribute__((noinline)) void note_cover(struct marker *m, const uintptr_t *w, const uintptr_t *end)
{
    uintptr_t p = *w & m->in.keep;
    struct object_ref o;
    if (p - m->in.lo >= m->in.len || !mark_resolve(m, p, &o)) return;
    if ((uintptr_t)w - object_base(m, o) >= span_elem(&m->spans[o.span])) cover_note(m, o, w, end);
}

/* ---- turns in no order */

/* Of the object of the heap that at is in. */
static __attribute__((noinline)) const uintptr_t *own_end(const struct marker *m, const uintptr_t *at)
{
    struct object_ref o;
    if (!mark_resolve(m, (uintptr_t)at, &o)) return at + 1;
    return (const uintptr_t *)(object_base(m, o) + span_elem(&m->spans[o.span]));
}

/* What pointers were taken from, word by word, once an address is needed: the objects from `now` on, in the chunk that begins at lo, and the words
 * [w, stop) before them. i: the pointers that w is behind. */
struct taken {
    const uintptr_t *w, *stop;
    const struct mark_new *now;
    uintptr_t lo;
    size_t i;
};

/* Where pointer i, one that is not behind t, stands. */
static const uintptr_t *taken_from(const struct filter_ranges *r, struct taken *t, size_t i, bool watch)
{
    for (;; t->w++) {
        while (t->w == t->stop) {
            t->w = (const uintptr_t *)(t->lo + t->now->at);
            t->stop = t->w + t->now++->size / sizeof *t->w;
        }
        if (filter_words(t->w, 1, r, watch) && t->i++ == i) return t->w++;
    }
}

/* off is in an object that cover.c may want references to. */
static bool is_covered(const struct marker *m, uintptr_t off)
{
    uint32_t kind = off < m->in.len ? mark_entry_kind(mark_page_entry(m, off)) : 0;
    return kind == SPAN_KIND_LARGE || m->kinds[kind].covered;
}

/* Pointer i of t is off, in a chunk that has flags or no room. */
static __attribute__((noinline)) void follow_rare(struct marker *m, struct taken *t, size_t i, uintptr_t off)
{
    size_t chunk = off >> m->chunk_shift;
    uint32_t flags = m->chunks[chunk].flags;
    const uintptr_t *at = NULL;
    if ((flags & CHUNK_COVERED) && m->cover && is_covered(m, off)) {
        at = taken_from(&m->in, t, i, m->watch);
        note_cover(m, at, own_end(m, at));
    }
    if (!(flags & CHUNK_TURN) && mark_append_rare(m, chunk, off)) return;
    if (mark_now(m, off, at ? (uintptr_t)at : FROM_UNKNOWN, m->watch)) return;
    mark_now(m, off, (uintptr_t)taken_from(&m->in, t, i, m->watch), m->watch);
}

/* The pointers of t. */
static inline __attribute__((always_inline)) void follow(struct marker *m, struct taken t, const uintptr_t *hit,
                                                         size_t n, bool watch)
{
    uint32_t **tails = m->to;
    uint32_t shift = m->chunk_shift, mask = m->chunk_mask;
    for (size_t i = 0; i < n; i++) {
        uintptr_t off = hit[i];
        if (watch) {
            uintptr_t p = off + m->in.lo;
            if (p - m->in.slo[0] < m->in.slen[0] || p - m->in.slo[1] < m->in.slen[1]) m->stack_word(m->hit_arg, p);
            if (off > m->in.len) continue;
        }
        uint32_t **last = &tails[off >> shift], *to = *last;
        if (__builtin_expect(mark_full(to), 0)) {
            follow_rare(m, &t, i, off);
            continue;
        }
        *--to = (uint32_t)off & mask;
        *last = to;
    }
}

static __attribute__((noinline)) void follow_all(struct marker *m, struct taken t, const uintptr_t *hit, size_t n)
{
    follow(m, t, hit, n, false);
}

#define FILTER filter_words
#define TAKE   take_words
#define COMMON common_words
#define CODE
#define NAME(f) f##_words
#include "agent/snapshot/mark_loop.h"
#define FILTER  filter_avx2
#define TAKE    take_avx2
#define COMMON  common_words
#define CODE    FILTER_AVX2_CODE
#define NAME(f) f##_avx2
#include "agent/snapshot/mark_loop.h"
#define FILTER  filter_avx512
#define TAKE    take_avx512
#define COMMON  common_avx512
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
        by_filter[m->filter].scan(m, a, stop, (struct around){self_lo, self_hi - self_lo, b});
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
