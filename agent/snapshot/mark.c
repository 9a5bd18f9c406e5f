/* SPDX-License-Identifier: Apache-2.0
 *
 * The marker: conservative, non-moving, over the child's frozen heap.
 *
 * The path of one pointer:
 *   1. A word of a root or of a marked object that lies in [heap_lo, heap_lo + heap_len) is resolved to
 *      (span, slot); the lines of its mark word and of the object are prefetched and it joins a queue of 64.
 *   2. As it leaves the queue its mark bit is tested and set. New and not noscan: its range goes on the stack.
 *   3. A range popped from the stack is scanned: step 1 for each word.
 * Marking on leaving the queue, not on joining it, is what makes the prefetch pay (Cher, Hosking, Vitek,
 * "Software prefetching for mark-sweep garbage collection", ASPLOS 2004).
 *
 * Invariants
 *   1. Each object is on the stack at most once, so the stack is bounded by the number of objects; an object
 *      over 2 KiB is scanned in pieces, the rest of it waiting below its children.
 *   2. Free slots are born marked: nothing is ever found through freed memory.
 *   3. An object's pointers into itself are not followed. Only whole, aligned words count.
 *   4. A pointer one past the end of a block belongs to that block, as an interior pointer, only where no
 *      allocated block begins.
 *
 * Tried and dropped: prefetching the line 512 bytes ahead as well (lists in order of address; costs 12 % on trees); pushing children before the test of the mark bit (stack bounded by pointers, not objects). */
#include "agent/snapshot/child.h"

#include <errno.h>
#include <string.h>

#include "agent/os/os.h"
#include "agent/util/options.h"

#define PAGE_SHIFT_SEEP 13
#define ARENA_SHIFT     26
#define ARENA_PAGES     (1u << (ARENA_SHIFT - PAGE_SHIFT_SEEP))
#define PIECE_BYTES     2048

/* ---- spans */

struct collect {
    struct marker *m;
    uintptr_t lo, hi;
    uint32_t n;
    size_t words;
};

static int count_span(void *arg, const struct heap_span_info *s)
{
    struct collect *c = arg;
    if (c->n == 0 || s->base < c->lo) c->lo = s->base;
    if (s->base + (s->npages << PAGE_SHIFT_SEEP) > c->hi) c->hi = s->base + (s->npages << PAGE_SHIFT_SEEP);
    c->n++;
    c->words += (s->nelems + 63) / 64;
    return 0;
}

static void free_bits(struct marker *m, uint32_t span)
{
    static uint64_t bits[8192 / 8 * 4 / 64 + 2]; /* more slots than any span has, see add_span() */
    const struct span_rec *s = &m->spans[span];
    unsigned n = (s->nelems + 63) / 64;
    if (s->nelems == 1 && s->elem == 0)
        bits[0] = 0;
    else
        heap_free_slots(m->mspans[span], bits);
    if (s->nelems % 64) bits[n - 1] |= ~0ull << (s->nelems % 64); /* what is no slot is free */
    for (unsigned i = 0; i < n; i++) {
        struct mark_word *w = &m->words[s->words + i];
        w->mark = w->start = w->free = bits[i];
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
    c->words += (r->nelems + 63) / 64;
    uint64_t kind = kind_of(m, r);
    for (size_t i = 0; i < s->npages; i++) {
        size_t page = ((s->base - m->heap_lo) >> PAGE_SHIFT_SEEP) + i, arena = page / ARENA_PAGES;
        if (!m->pages[arena]) {
            m->pages[arena] = scratch_alloc(ARENA_PAGES * sizeof **m->pages);
            m->span_ids[arena] = scratch_alloc(ARENA_PAGES * sizeof **m->span_ids);
        }
        m->pages[arena][page % ARENA_PAGES] = kind << 48 | (uint64_t)(i & 0xffff) << 32 | r->words;
        m->span_ids[arena][page % ARENA_PAGES] = id;
    }
    free_bits(m, id);
    return 0;
}

void mark_collect(struct marker *m)
{
    memset(m, 0, sizeof *m);
    m->keep = UINTPTR_MAX >> agent_options.tag_bits;
    struct collect c = {.m = m};
    heap_walk_spans(count_span, &c);
    m->stack_room = 1u << 16;
    m->stack = os_alloc(m->stack_room * sizeof *m->stack, OS_GC);
    if (!m->stack) child_fail(-ENOMEM, "no memory for the mark stack");
    if (c.n > 0) { /* a program with a malloc of its own has no span */
        m->heap_lo = c.lo >> ARENA_SHIFT << ARENA_SHIFT;
        m->heap_len = c.hi - m->heap_lo;
    }
    m->nspans = c.n;
    m->nwords = c.words;
    m->nkinds = SPAN_KIND_LARGE + 1;
    m->pages = scratch_alloc(((m->heap_len >> ARENA_SHIFT) + 1) * sizeof *m->pages);
    m->span_ids = scratch_alloc(((m->heap_len >> ARENA_SHIFT) + 1) * sizeof *m->span_ids);
    m->spans = scratch_alloc(c.n * sizeof *m->spans);
    m->mspans = scratch_alloc(c.n * sizeof *m->mspans);
    m->words = scratch_alloc(c.words * sizeof *m->words);
    c = (struct collect){.m = m};
    heap_walk_spans(add_span, &c);
    m->nspans = c.n;
}

/* ---- pointers */

static inline uint64_t page_entry(const struct marker *m, uintptr_t off)
{
    const uint64_t *arena = m->pages[off >> ARENA_SHIFT];
    return arena ? arena[(off >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)] : 0;
}

bool mark_resolve(const struct marker *m, uintptr_t p, struct object_ref *o)
{
    uintptr_t off = p - m->heap_lo;
    if (off >= m->heap_len || !page_entry(m, off)) return false;
    uint32_t id = m->span_ids[off >> ARENA_SHIFT][(off >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)];
    const struct span_rec *s = &m->spans[id];
    uint32_t i = (uint32_t)((uint64_t)(uint32_t)(p - s->base) * s->magic >> 32);
    if (i >= s->nelems) return false;
    *o = (struct object_ref){id, i};
    return true;
}

static void push_range(struct marker *m, uintptr_t lo, uintptr_t hi)
{
    if (m->sp == m->stack_room) {
        size_t size = m->stack_room * sizeof *m->stack;
        void *p = os_remap(m->stack, size, size * 2);
        if (!p) child_fail(-ENOMEM, "no memory for the mark stack");
        m->stack = p;
        m->stack_room *= 2;
    }
    m->stack[m->sp++] = (struct mark_range){lo, hi};
}

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
    if (!interior) w->start |= bit;
    if (old) return;
    uintptr_t base = object_base(m, o);
    if (watch) tell(m, base, w->extra & bit);
    if (!s->noscan) push_range(m, base, base + span_elem(s));
}

/* p is where no allocated block begins: the block that ends there, if any. */
static void mark_before(struct marker *m, uintptr_t p, bool watch)
{
    struct object_ref o;
    if (mark_resolve(m, p - 1, &o) && object_base(m, o) + span_elem(&m->spans[o.span]) == p)
        mark_object(m, o, true, watch);
}

static inline __attribute__((always_inline)) void leave_queue(struct marker *m, bool watch)
{
    uintptr_t base = m->queue[m->head].base;
    struct mark_word *w = &m->words[m->queue[m->head].word];
    const struct span_kind *k = &m->kinds[m->queue[m->head].kind];
    uint64_t bit = 1ull << m->queue[m->head].bit;
    bool interior = m->queue[m->head].interior;
    m->head = (m->head + 1) % MARK_QUEUE;
    m->count--;
    if (w->mark & bit) {
        if (interior) return;
        if (w->free & bit)
            mark_before(m, base, watch);
        else
            w->start |= bit;
        return;
    }
    w->mark |= bit;
    if (!interior) w->start |= bit;
    if (watch) tell(m, base, w->extra & bit);
    if (!k->noscan) push_range(m, base, base + k->elem);
}

/* end: of the words that stand around w. */
static inline __attribute__((always_inline)) void found(struct marker *m, const uintptr_t *w, const uintptr_t *end,
                                                        uintptr_t p, bool watch)
{
    uintptr_t off = p - m->heap_lo;
    uint64_t e = page_entry(m, off);
    __builtin_prefetch((const void *)p);

    uint32_t kind = (uint32_t)(e >> 48);
    if (__builtin_expect(kind <= SPAN_KIND_LARGE, 0)) {
        struct object_ref o;
        if (kind && mark_resolve(m, p, &o)) {
            if (m->cover) cover_note(m, o, w, end);
            mark_object(m, o, p != object_base(m, o), watch);
        } else if ((p & ((1u << PAGE_SHIFT_SEEP) - 1)) == 0)
            mark_before(m, p, watch);
        return;
    }
    const struct span_kind *k = &m->kinds[kind];
    uint32_t in = (uint32_t)(off & ((1u << PAGE_SHIFT_SEEP) - 1)) + (((uint32_t)(e >> 32) & 0xffff) << PAGE_SHIFT_SEEP);
    uint32_t i = (uint32_t)((uint64_t)in * k->magic >> 32), start = i * k->elem;
    if (__builtin_expect(i >= k->nelems, 0)) {
        if (in == start) mark_before(m, p, watch);
        return;
    }
    if (__builtin_expect(k->covered, 0) && m->cover) {
        struct object_ref o;
        if (mark_resolve(m, p, &o)) cover_note(m, o, w, end);
    }
    uint32_t word = (uint32_t)e + (i >> 6);
    __builtin_prefetch(&m->words[word], 1);
    if (in != start) __builtin_prefetch((const void *)(p - (in - start)));
    if (m->count == MARK_QUEUE) leave_queue(m, watch);
    unsigned tail = (m->head + m->count) % MARK_QUEUE;
    m->queue[tail].base = p - (in - start);
    m->queue[tail].word = word;
    m->queue[tail].kind = (uint16_t)kind;
    m->queue[tail].bit = (uint8_t)(i & 63);
    m->queue[tail].interior = in != start;
    m->count++;
}

/* self: words that point into [self_lo, self_hi) are not followed. */
static inline __attribute__((always_inline)) void scan(struct marker *m, const uintptr_t *w, const uintptr_t *end,
                                                       uintptr_t self_lo, uintptr_t self_size, bool watch)
{
    uintptr_t lo = m->heap_lo, keep = m->keep;
    size_t len = m->heap_len;
    for (; w < end; w++) {
        uintptr_t p = *w & keep;
        /* <=: one past the last block of the heap */
        if (__builtin_expect(p - lo <= len, 0) && p - self_lo >= self_size) found(m, w, end, p, watch);
        if (watch && (p - m->stacks[0].lo < m->stacks[0].len || p - m->stacks[1].lo < m->stacks[1].len) &&
            p - self_lo >= self_size)
            m->stack_word(m->hit_arg, p);
    }
}

static inline __attribute__((always_inline)) void drain(struct marker *m, bool watch)
{
    for (;;) {
        if (m->sp == 0) {
            if (m->count == 0) return;
            leave_queue(m, watch);
            continue;
        }
        struct mark_range r = m->stack[--m->sp];
        uintptr_t self_lo = r.lo, self_size = r.hi - r.lo, end = r.hi;
        if (__builtin_expect(self_size > PIECE_BYTES, 0)) {
            struct object_ref o;
            if (mark_resolve(m, r.lo, &o)) {
                self_lo = object_base(m, o);
                self_size = span_elem(&m->spans[o.span]);
            }
            end = r.lo + PIECE_BYTES;
            m->stack[m->sp++] = (struct mark_range){end, r.hi};
        }
        scan(m, (const uintptr_t *)r.lo, (const uintptr_t *)end, self_lo, self_size, watch);
    }
}

void mark_words_but(struct marker *m, const void *lo, const void *hi, uintptr_t self_lo, uintptr_t self_hi)
{
    const uintptr_t *a = (const uintptr_t *)(((uintptr_t)lo + 7) & ~(uintptr_t)7);
    const uintptr_t *b = (const uintptr_t *)((uintptr_t)hi & ~(uintptr_t)7);
    if (m->visit)
        m->visit(m->visit_arg, a, b, &m->origin);
    else if (m->watch)
        scan(m, a, b, self_lo, self_hi - self_lo, true);
    else
        scan(m, a, b, self_lo, self_hi - self_lo, false);
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
    if (m->watch)
        drain(m, true);
    else
        drain(m, false);
}
