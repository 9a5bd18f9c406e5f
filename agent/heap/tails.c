/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages inside spans that are partly used: when a program rests or trims, what is free at the end of a span becomes never
 * carved again, and its pages go back, as do whole pages inside larger free slots. The span stays as large as it is; the books
 * count it as in use.
 *
 *   mcache_release_idle → span_tail, for each span of the cache
 *
 * Invariants
 *   1. Only slots of the span's own list are free here; those in bins or freed remotely count as used.
 *   2. The first word of a slot in the list, its link, is kept.
 *   3. No huge page is broken for this.
 * By the span's owner, in a critical section. No locks, allocates nothing. Units: bytes. */
#include "agent/heap/types.h"

enum { MAX_SLOTS = 1024, KERNEL_PAGE = 4096 };

static bool is_set(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

/* Whole pages of [lo, hi). */
static size_t give(uintptr_t lo, uintptr_t hi)
{
    lo = (lo + KERNEL_PAGE - 1) & ~(uintptr_t)(KERNEL_PAGE - 1);
    hi &= ~(uintptr_t)(KERNEL_PAGE - 1);
    return lo < hi && os_unused((void *)lo, hi - lo, false) == 0 ? hi - lo : 0;
}

/* Bits of the slots in the list; false: it is not what it should be, hands off. */
static bool list_bits(const struct mspan *s, uint32_t carved, uint64_t *bits)
{
    uint32_t left = carved;
    for (const struct slot *f = s->free; f; f = slot_decode(f->link)) {
        uintptr_t p = (uintptr_t)f;
        if (left-- == 0 || p - s->base >= s->bump - s->base || !span_slot_start(s, p)) return false;
        bits[span_index(s, p) / 64] |= 1ull << (span_index(s, p) % 64);
    }
    return true;
}

size_t span_tail(struct mspan *s)
{
    uint64_t bits[MAX_SLOTS / 64] = {0};
    uint32_t carved = (uint32_t)((s->bump - s->base) / s->elem_size), top = carved;
    if (!s->free || s->nelems > MAX_SLOTS || (arena_of(s->base)->huge & huge_bit(s->base))) return 0;
    if (!list_bits(s, carved, bits)) return 0;
    while (top > 0 && is_set(bits, top - 1)) top--;
    uintptr_t end = s->base + top * s->elem_size, limit = s->bump;
    size_t bytes = 0;
    if (end + 2 * KERNEL_PAGE <= limit) { /* a page of it at least */
        struct slot *first = NULL, *last = NULL;
        for (struct slot *f = s->free, *next; f; f = next) {
            next = slot_decode(f->link);
            if ((uintptr_t)f >= end) continue;
            if (last)
                last->link = slot_encode(f);
            else
                first = f;
            last = f;
        }
        if (last) last->link = slot_encode(NULL);
        s->free = first;
        s->needzero = true;
        s->bump = end;
        bytes = give(end, limit);
    }
    for (struct slot *f = s->elem_size >= 2 * KERNEL_PAGE ? s->free : NULL; f; f = slot_decode(f->link))
        bytes += give((uintptr_t)(f + 1), (uintptr_t)f + s->elem_size);
    return bytes;
}
