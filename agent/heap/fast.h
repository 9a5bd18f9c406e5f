/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast paths of malloc and free, inlined into the exported functions.
 *
 * Outside of critical sections: a stop signal may come between any two instructions, and the heap is consistent up
 * to the one block whose address is in a register (util/critical.h). Hence the order of stores: a slot leaves the list
 * before its link is cleared, and gets its link before it enters the list; ORDER keeps the compiler to it.
 *
 * free does not read the block: it is often cold, and a load waits where a store does not. What it knows of the slot is in a
 * byte of the span's marks. */
#ifndef SEEP_HEAP_FAST_H
#define SEEP_HEAP_FAST_H

#include "agent/heap/types.h"
#include "agent/util/critical.h"

#define ORDER()     __asm__ volatile("" ::: "memory")
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
enum { BIN_BELOW = 2 };
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* A slot of s, or NULL when there is none left. *fresh: it was never handed out since the span was made.
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
    *span_mark(s, (uintptr_t)p) = MARK_USED;
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
static ALWAYS_INLINE struct slot *bin_pop(struct bin *b)
{
    struct bin_slot *top = b->top - 1;
    uintptr_t p = top->p;
    uint8_t *mark = top->mark;
    __asm__ volatile("" : "+r"(p)::"memory");
    __builtin_prefetch((const void *)top[-BIN_BELOW].p, 1);
    b->top = top;
    *mark = MARK_USED;
    return (struct slot *)p;
}

/* false: it is full. */
static ALWAYS_INLINE bool bin_push(struct bin *b, uintptr_t p, uint8_t *mark)
{
    struct bin_slot *top = b->top;
    if (UNLIKELY(top == b->end)) return false;
    top->p = p;
    top->mark = mark;
    *mark = MARK_FREE;
    ORDER();
    b->top = top + 1;
    return true;
}

/* A slot from the bin, if there is one; else malloc_carve() looks. When the sample counter is used up, malloc_sampled() records
 * the slot, or takes another of a span of sampled objects. Both are the last thing done, so that this part needs no frame. */
static ALWAYS_INLINE void *bin_take(struct mcache *mc, unsigned at, size_t size)
{
    struct bin *b = (struct bin *)(void *)((char *)mc->bin + at);
    __asm__("" : "+r"(b)); /* one address for all of the bin's fields */
    if (UNLIKELY(b->top == b->base)) return malloc_carve(size, mc, b);
    struct slot *p = bin_pop(b);
    mc->sample -= (int64_t)b->cost;
    if (LIKELY(mc->sample >= 0)) return p;
    __asm__("" : "+r"(p)); /* a copy, so that p itself is from its load on where it is returned */
    return malloc_sampled(size, p, mc, b->cost);
}

static ALWAYS_INLINE void *fast_malloc(size_t size)
{
    struct mcache *mc = agent_tls.mcache;
    if (UNLIKELY(size >= agent_tls.fine_end)) return malloc_medium(size); /* or there is no cache */
    return bin_take(mc, abi_to_bin[size], size);
}

/* The slot at p of span s; false: for free_slow, as every sampled object. */
static ALWAYS_INLINE bool free_plain(struct mcache *mc, struct mspan *s, uintptr_t p)
{
    uint128 at = (uint128)(p - s->base) * s->inverse; /* span_slot_start and span_index at once */
    if (UNLIKELY((uint64_t)at >= s->inverse)) return false;
    uint8_t *mark = s->marks + (uint64_t)(at >> 64);
    if (UNLIKELY(*mark != MARK_USED)) return false;
    struct bin *b = bin_of(mc, s);
    if (LIKELY(bin_push(b, p, mark))) return true;
    if (UNLIKELY(s->fast != mc)) return false;
    b->missed++;
    *mark = MARK_FREE;
    span_push(s, (struct slot *)p);
    if (UNLIKELY(--s->used == 0)) free_emptied(s);
    return true;
}

static ALWAYS_INLINE void fast_free(void *ptr)
{
    uintptr_t p = (uintptr_t)ptr, page = (p - heap_first) >> HPAGE_SHIFT;
    struct mcache *mc = agent_tls.mcache;
    struct mspan *s;
    if (UNLIKELY(page >= agent_tls.near_pages)) /* outside of the first region, or there is no cache */
        free_far(ptr);
    else if (UNLIKELY((s = heap_first_spans[page]) == NULL || !free_plain(mc, s, p)))
        free_slow(ptr);
}

#endif
