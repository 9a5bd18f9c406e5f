/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast paths of malloc and free, inlined into the exported functions.
 *
 * Outside of critical sections: a stop signal may come between any two instructions, and the heap is consistent up
 * to the one block whose address is in a register (util/critical.h). Hence the order of stores: a slot leaves the list
 * before its link is cleared, and gets its link before it enters the list; ORDER keeps the compiler to it.
 *
 * free reads neither the block nor the span: they are often cold, and a load waits where a store does not. What it knows is the
 * class of the page, which is the number of the bin, and the slot's mark, which must be the same. The mark may be cold too, but nothing
 * waits for it then: it is only compared. */
#ifndef SEEP_HEAP_FAST_H
#define SEEP_HEAP_FAST_H

#include "agent/heap/types.h"
#include "agent/util/critical.h"

#define ORDER()     __asm__ volatile("" ::: "memory")
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* The compiler is to address arrays by index each time, and not to spend an instruction on an address for all of it. */
#define APART(c) __asm__("" : "+r"(c))
enum { BIN_BELOW = 2 };
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* A slot of s, or NULL when there is none left; its mark is not yet set. *fresh: it was never handed out since the span was made.
 * A link that decodes to no address was overwritten by the program. */
static ALWAYS_INLINE struct slot *span_pop(struct mspan *s, size_t size, bool *fresh)
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
        s->bump = b + size;
        *fresh = true;
    }
    s->used++;
    return p;
}

static ALWAYS_INLINE void span_push(struct mspan *s, struct slot *p)
{
    p->link = slot_encode(s->free);
    ORDER();
    s->free = p;
}

/* From a bin that is not empty. The program will write the block, and those that are next: fetching the one after the next
 * now hides most of that. Below the lowest place there are BIN_BELOW more, whatever they hold. The address is in a register
 * before the slot leaves the bin. */
static ALWAYS_INLINE struct slot *bin_pop(struct mcache *mc, size_t c, const uintptr_t *top)
{
    uintptr_t p = top[-1];
    __asm__ volatile("" : "+r"(p)::"memory");
    __builtin_prefetch((const void *)top[-1 - BIN_BELOW], 1);
    mc->top[c]--;
    *near_mark(p) = (uint8_t)c;
    return (struct slot *)p;
}

/* A slot from the bin, if there is one; else malloc_carve() looks. When the sample counter is used up, malloc_sampled() records
 * the slot, or takes another of a span of sampled objects. Both are the last thing done, so that this part needs no frame. */
static ALWAYS_INLINE void *bin_take(struct mcache *mc, size_t c, size_t size)
{
    const uintptr_t *top = mc->top[c];
    __asm__("" : "+r"(top), "+d"(c)); /* one load of top; c where malloc_carve wants it, not in p's register */
    if (UNLIKELY(top == mc->base[c])) return malloc_carve(size, mc, c);
    APART(c);
    struct slot *p = bin_pop(mc, c, top);
    APART(c);
    mc->sample -= (int64_t)mc->cost[c];
    if (LIKELY(mc->sample >= 0)) return p;
    __asm__("" : "+r"(p)); /* a copy, so that p itself is from its load on where it is returned */
    return malloc_sampled(size, p, mc, mc->cost[c]);
}

static ALWAYS_INLINE void *fast_malloc(size_t size)
{
    if (UNLIKELY(size > FINE_MAX_BYTES)) return malloc_medium(size);
    return bin_take(agent_tls.fast, abi_to_class[size], size);
}

static ALWAYS_INLINE void fast_free(void *p)
{
    size_t at = near_slot((uintptr_t)p);
    if (UNLIKELY(at >= heap_near.slots)) {
        free_far(p);
        return;
    }
    uint8_t *map = heap_near.map;
    size_t c = *near_class(map, at);
    struct mcache *mc = agent_tls.fast;
    if (UNLIKELY(map[at] != c)) {
        free_full(p, mc);
        return;
    }
    uintptr_t *top = mc->top[c];
    APART(c);
    if (UNLIKELY(top == mc->end[c])) {
        free_full(p, mc);
        return;
    }
    *top = (uintptr_t)p;
    APART(map);
    map[at] = MARK_FREE;
    __asm__ volatile("" : "+r"(c)::"memory");
    mc->top[c]++;
}

#endif
