/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast paths of malloc and free, inlined into the exported functions.
 *
 * Outside of critical sections: a stop signal may come between any two instructions, and the heap is consistent up
 * to the one block whose address is in a register (util/critical.h). Hence the order of stores: a slot leaves the list
 * before its link is cleared, and gets its link before it enters the list; ORDER keeps the compiler to it.
 *
 * free does not read the block: it is often cold, and a load would wait for it where a store does not (a check of the
 * block's own word for a link, as in other allocators' hardened modes, doubled the time of frees at random). What is freed
 * twice in a row is seen at once, any other double free when the slot would be handed out twice, and with
 * SEEP_CHECK=1 every one at once. */
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

static ALWAYS_INLINE void span_push(struct mspan *s, struct slot *p)
{
    p->link = slot_encode(s->free);
    ORDER();
    s->free = p;
}

static ALWAYS_INLINE void *fast_malloc(size_t size)
{
    struct mcache *mc = agent_tls.mcache;
    if (LIKELY(size <= FINE_MAX_BYTES && mc != NULL)) {
        struct mspan *s = mc->fine[(size + 7) >> 3];
        bool fresh;
        struct slot *p = span_pop(s, &fresh);
        if (LIKELY(p != NULL)) {
            mc->sample -= (int64_t)s->cost;
            if (UNLIKELY(mc->sample < 0)) return alloc_sampled(mc, s, p, size);
            return p;
        }
    }
    return malloc_slow(size, 0);
}

static ALWAYS_INLINE void fast_free(void *ptr)
{
    uintptr_t p = (uintptr_t)ptr;
    struct mspan *s = span_of(p);
    if (LIKELY(s != NULL && s->fast == agent_tls.mcache)) {
        struct slot *slot = ptr;
        if (LIKELY(span_slot_start(s, p) && p < s->bump && slot != s->free)) {
            span_push(s, slot);
            if (UNLIKELY(--s->used == 0)) free_emptied(s);
            return;
        }
    }
    free_slow(ptr);
}

#endif
