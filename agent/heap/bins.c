/* SPDX-License-Identifier: Apache-2.0
 *
 * Bins: for each size class the slots that a thread freed last, from spans of any owner, which it allocates next. They keep
 * the block warm, the span's structure unwritten, and a block that another thread allocated free of atomics.
 *
 *   free → bin, while it has room, else → the slot's span        malloc → bin, while it has any, else → the current span
 *
 * Nothing is moved between bins and spans in bulk but when a thread ends or releases its memory: a bin that is full or
 * empty costs a comparison.
 *
 * Invariants
 *   1. A slot in a bin counts as used in its span, so the span stays. Nothing of the slot itself is read or written.
 *   2. Only the cache's thread changes its bins; [0, n) is valid at every instruction of it.
 *   3. Only slots of the first region (16 GiB) go into bins.
 * No locks but those of slot_give(). Allocates nothing. */
#include "agent/heap/fast.h"

#include "agent/util/options.h"

void bin_setup(struct mcache *mc, const struct mspan *s)
{
    struct bin *b = bin_of(mc, s);
    if (b->max != 0 || s->bin_at == NO_BIN) return;
    b->cost = class_to_cost[s->span_class >> 1];
    if (heap_traced || agent_options.check >= 1) return;
    b->max = class_to_bin[s->span_class >> 1];
}

bool bin_take(struct mcache *mc, const struct mspan *s, uintptr_t p)
{
    if ((p - heap_first) >> REGION_SHIFT != 0) return false;
    bin_setup(mc, s);
    enum bin_answer a = bin_push(bin_of(mc, s), p);
    if (a == BIN_TWICE) heap_bad_free((void *)p, "already free");
    return a == BIN_TAKEN;
}

void bins_flush(struct mcache *mc)
{
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        while (mc->bin[c].n > 0) slot_give(mc, bin_pop(&mc->bin[c]));
    }
}

bool bins_hold(const struct mspan *s, uintptr_t p)
{
    if (s->bin_at == NO_BIN) return false;
    for (struct mcache *mc = __atomic_load_n(&mheap.caches, __ATOMIC_ACQUIRE); mc; mc = mc->next_all) {
        const struct bin *b = bin_of(mc, s);
        unsigned n = __atomic_load_n(&b->n, __ATOMIC_ACQUIRE);
        for (unsigned i = 0; i < n; i++) {
            if (bin_decode(__atomic_load_n(&b->slot[i], __ATOMIC_RELAXED)) == p) return true;
        }
    }
    return false;
}

uint64_t bins_count(const struct mcache *mc, uint64_t *bytes)
{
    uint64_t n = 0;
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        unsigned k = __atomic_load_n(&mc->bin[c].n, __ATOMIC_RELAXED);
        n += k;
        *bytes += (uint64_t)k * class_to_size[c];
    }
    return n;
}

/* ---- A snapshot's child asks for every span: there they are sorted into a list a span first. */
struct binned {
    struct binned *next;
    uint32_t index;
};

static void sort_bins(void)
{
    for (struct mcache *mc = mheap.caches; mc; mc = mc->next_all) {
        for (unsigned c = 1; c < SIZE_CLASSES; c++) {
            for (unsigned i = 0; i < mc->bin[c].n; i++) {
                uintptr_t p = bin_decode(mc->bin[c].slot[i]);
                struct mspan *s = span_of(p);
                struct binned *b = s ? child_alloc(sizeof *b, 0) : NULL;
                if (!b) continue; /* it counts as allocated: a leak of it is missed, nothing is made up */
                *b = (struct binned){.next = s->binned, .index = span_index(s, p)};
                s->binned = b;
            }
        }
    }
}

static void set_bit(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= 1ull << (i % 64);
}

void bins_free_slots(struct mspan *s, uint64_t *bits)
{
    if (agent_in_child) {
        static bool sorted;
        if (!sorted) sort_bins();
        sorted = true;
        for (const struct binned *b = s->binned; b; b = b->next) set_bit(bits, b->index);
        return;
    }
    if (s->bin_at == NO_BIN) return;
    for (struct mcache *mc = mheap.caches; mc; mc = mc->next_all) {
        const struct bin *b = bin_of(mc, s);
        for (unsigned i = 0; i < b->n; i++) {
            uintptr_t p = bin_decode(b->slot[i]);
            if (p - s->base < s->limit - s->base) set_bit(bits, span_index(s, p));
        }
    }
}
