/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast paths of malloc and free, inlined into the exported functions.
 *
 * Outside of critical sections: a stop signal may come between any two instructions, and the heap is consistent up
 * to the one block whose address is in a register (util/critical.h). Hence the order of stores: a slot leaves the list
 * before its link is cleared, and gets its link before it enters the list; ORDER keeps the compiler to it. */
#ifndef SEEP_HEAP_FAST_H
#define SEEP_HEAP_FAST_H

#include "agent/heap/types.h"
#include "agent/util/critical.h"

#define ORDER()       __asm__ volatile("" ::: "memory")
#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* A slot of s, or NULL when there is none left. *fresh: it was never handed out since the span was made. */
static ALWAYS_INLINE struct slot *span_pop(struct mspan *s, bool *fresh)
{
    struct slot *p = s->free;
    *fresh = false;
    if (LIKELY(p != NULL)) {
        s->free = slot_decode(p->link);
    } else {
        uintptr_t b = s->bump;
        if (UNLIKELY(b >= s->limit)) return NULL;
        p = (struct slot *)b;
        s->bump = b + s->elem_size;
        *fresh = true;
    }
    ORDER();
    p->link = 0; /* a stale link would look like a double free */
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
        if (LIKELY(span_slot_start(s, p) && !slot_looks_free(slot->link))) {
            span_push(s, slot);
            if (UNLIKELY(--s->used == 0)) free_emptied(s);
            return;
        }
    }
    free_slow(ptr);
}

#endif
