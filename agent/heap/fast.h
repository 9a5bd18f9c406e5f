/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast paths of malloc and free, inlined into the exported functions.
 *
 * Outside of critical sections: a stop signal may come between any two instructions, and the heap is consistent up
 * to the one block whose address is in a register (util/critical.h). Hence the order of stores: a slot leaves the list
 * before its link is cleared, and gets its link before it enters the list; ORDER keeps the compiler to it.
 *
 * free does not read the block: it is often cold, and a load waits where a store does not. A second free is looked for
 * among the slots freed last: two of the thread's bin, else two of the span. What is freed twice with more frees between
 * is seen when it would be handed out twice, and with SEEP_CHECK=1 at once. */
#ifndef SEEP_HEAP_FAST_H
#define SEEP_HEAP_FAST_H

#include "agent/heap/types.h"
#include "agent/util/critical.h"

#define ORDER()       __asm__ volatile("" ::: "memory")
#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* A slot of s, or NULL when there is none left. *fresh: it was never handed out since the span was made.
 * A link that decodes to no address was overwritten by the program, or belongs to a slot that was freed twice and handed
 * out once already: the second hand-out is refused. */
static ALWAYS_INLINE struct slot *span_pop(struct mspan *s, bool *fresh)
{
    struct slot *p = s->free;
    *fresh = false;
    if (LIKELY(p != NULL)) {
        struct slot *next = slot_decode(p->link);
        if (UNLIKELY(!slot_plausible(next))) heap_bad_link(s, p);
        s->free = next;
        __builtin_prefetch(next, 1); /* the next pop will want its link, and the program the block */
        ORDER();
        p->link = 0;
    } else {
        uintptr_t b = s->bump;
        if (UNLIKELY(b >= s->limit)) return NULL;
        p = (struct slot *)b;
        s->bump = b + s->elem_size;
        *fresh = true;
    }
    s->used++;
    return p;
}

/* Is it one of the two slots freed last? */
static ALWAYS_INLINE bool span_has_last(const struct mspan *s, const struct slot *p)
{
    return s->free == p || (s->free && s->free->link == slot_encode(p));
}

static ALWAYS_INLINE void span_push(struct mspan *s, struct slot *p)
{
    p->link = slot_encode(s->free);
    ORDER();
    s->free = p;
}

/* Addresses as bins have them; 0 is none. */
static ALWAYS_INLINE uint32_t bin_encode(uintptr_t p)
{
    return (uint32_t)((p - heap_first) >> 3) + 1;
}

static ALWAYS_INLINE uintptr_t bin_decode(uint32_t at)
{
    return heap_first - 8 + ((uintptr_t)at << 3);
}

/* From a bin that is not empty. */
static ALWAYS_INLINE struct slot *bin_pop(struct bin *b)
{
    size_t top = b->n - 1;
    uintptr_t p = bin_decode(b->slot[top]);
    b->n = (uint32_t)top;
    return (struct slot *)p;
}

/* Is it one of the BIN_LOOK that came last? */
static ALWAYS_INLINE bool bin_has(const struct bin *b, size_t n, uint32_t at)
{
    const uint32_t *top = b->none + n; /* BIN_LOOK below the next free place */
    return top[1] == at || top[0] == at;
}
_Static_assert(BIN_LOOK == 2 && offsetof(struct bin, slot) == offsetof(struct bin, none) + sizeof(uint32_t[BIN_LOOK]),
               "bin_has");

enum bin_answer { BIN_TAKEN, BIN_FULL, BIN_TWICE };

static ALWAYS_INLINE enum bin_answer bin_push(struct bin *b, uintptr_t p)
{
    uint32_t at = bin_encode(p);
    size_t n = b->n;
    if (n >= b->max) return BIN_FULL;
    if (UNLIKELY(bin_has(b, n, at))) return BIN_TWICE;
    b->slot[n] = at;
    ORDER();
    b->n = (uint32_t)(n + 1);
    return BIN_TAKEN;
}

/* A slot of class c, or what `slow` gives when the caller's cache has none or the sample counter is used up. */
static ALWAYS_INLINE void *class_take(struct mcache *mc, unsigned c, size_t size, void *(*slow)(size_t, unsigned))
{
    struct bin *b = &mc->bin[c];
    struct slot *p;
    __asm__("" : "+r"(b)); /* one address for all of the bin's fields */
    int64_t left = mc->sample - (int64_t)b->cost;
    if (UNLIKELY(left < 0)) return slow(size, 0);
    if (LIKELY(b->n != 0)) {
        p = bin_pop(b);
    } else {
        bool fresh;
        p = span_pop(mc->fine[c], &fresh);
        if (UNLIKELY(p == NULL)) return slow(size, 0);
    }
    mc->sample = left;
    return p;
}

static ALWAYS_INLINE void *fast_malloc(size_t size)
{
    struct mcache *mc = agent_tls.mcache;
    if (UNLIKELY(size > FINE_MAX_BYTES || mc == NULL)) return malloc_medium(size);
    return class_take(mc, abi_to_class8[(size + 7) >> 3], size, malloc_slow);
}

/* The slot at p of span s; false: for free_slow, as every sampled object. `far`: p is not in the first region, and has no
 * place in a bin. */
static ALWAYS_INLINE bool free_plain(struct mcache *mc, struct mspan *s, uintptr_t p, bool far)
{
    struct slot *slot = (struct slot *)p;
    if (UNLIKELY(!span_slot_start(s, p) || p >= s->bump)) return false;
    if (!far) {
        enum bin_answer a = bin_push(bin_of(mc, s), p);
        if (LIKELY(a == BIN_TAKEN)) return true;
        if (UNLIKELY(a == BIN_TWICE)) return false;
    }
    if (UNLIKELY(s->fast != mc || span_has_last(s, slot))) return false;
    span_push(s, slot);
    if (UNLIKELY(--s->used == 0)) free_emptied(s);
    return true;
}

static ALWAYS_INLINE void fast_free(void *ptr)
{
    uintptr_t p = (uintptr_t)ptr, page = (p - heap_first) >> HPAGE_SHIFT;
    struct mcache *mc = agent_tls.mcache;
    struct mspan *s;
    if (UNLIKELY(page >= REGION_PAGES))
        free_far(ptr);
    else if (UNLIKELY((s = heap_first_spans[page]) == NULL || mc == NULL || !free_plain(mc, s, p, false)))
        free_slow(ptr);
}

#endif
