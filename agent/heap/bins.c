/* SPDX-License-Identifier: Apache-2.0
 *
 * Bins: for each size class the slots that a thread freed last, from spans of any owner, which it allocates next. They keep
 * the block warm, the span's structure unwritten, and a block that another thread allocated free of atomics.
 *
 *   free → bin, while it has room, else → the slot's span        malloc → bin, while it has any, else → the current span
 *
 * Nothing is moved between bins and spans in bulk but when a thread ends or releases its memory: a bin that is full or
 * empty costs a comparison. Where a class is freed and allocated in bursts, that comparison goes either way at random, and costs
 * more than all the rest; so a bin that was full and is then found empty grows, by what it missed.
 *
 * Invariants
 *   1. A slot in a bin counts as used in its span, so the span stays. Nothing of the slot itself is read or written; its mark is
 *      MARK_FREE.
 *   2. Only the cache's thread changes its bins; [base, top) is valid at every instruction of it, but in set_room.
 *   3. A bin holds FIRST_SLOTS and FIRST_BYTES at most, until it grows; growth is bounded for a bin, a thread, and all.
 * No locks but those of slot_give() and persistent_alloc(). */
#include "agent/heap/fast.h"

#include "agent/util/options.h"

/* Room of one bin at first, and at most; bytes that the bins of one cache, and of all, may hold beyond the first. */
enum {
    FIRST_SLOTS = 16,
    FIRST_BYTES = 16 << 10,
    MOST_SLOTS = 1024,
    MOST_BYTES = 256 << 10,
    CACHE_BYTES = 2 << 20,
    ALL_BYTES = 32 << 20,
    GROWTH = 8
};

void bin_init(struct bin *b)
{
    *b = (struct bin){.fine = &empty_span, .grow_at = UINT32_MAX};
}

/* An empty bin gets room for so many slots. */
static bool set_room(struct bin *b, uint32_t slots)
{
    size_t bytes = (slots + BIN_BELOW) * sizeof *b->base;
    struct bin_slot *base = persistent_alloc(bytes, 64, OS_META);
    if (!base) return false;
    usage_add(&mheap.mcache_bytes, (int64_t)bytes);
    base += BIN_BELOW;
    __atomic_store_n(&b->changing, b->changing + 1, __ATOMIC_SEQ_CST);
    b->base = b->top = base;
    b->end = base + slots;
    __atomic_store_n(&b->changing, b->changing + 1, __ATOMIC_SEQ_CST);
    return true;
}

void bin_setup(struct mcache *mc, const struct mspan *s)
{
    struct bin *b = bin_of(mc, s);
    if (b->size != 0 || s->bin_at == NO_BIN) return;
    unsigned c = s->span_class >> 1;
    b->cost = class_to_cost[c];
    b->size = class_to_size[c];
    if (heap_traced || agent_options.check >= 1) return;
    uint32_t slots = FIRST_SLOTS < FIRST_BYTES / b->size ? FIRST_SLOTS : FIRST_BYTES / b->size;
    if (slots == 0 || set_room(b, slots)) b->grow_at = FIRST_SLOTS;
}

static uint32_t least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

/* It was full, and is empty: with room for what it missed it would have served. */
void bin_grow(struct mcache *mc, struct bin *b)
{
    uint32_t old = (uint32_t)(b->end - b->base), most = least(MOST_SLOTS, MOST_BYTES / b->size);
    uint32_t more = least(b->missed, (GROWTH - 1) * (old + 1));
    more = most > old ? least(more, most - old) : 0;
    more = least(more, (CACHE_BYTES - mc->bin_bytes) / b->size);
    uint64_t bytes = (uint64_t)more * b->size;
    if (more > 0 && __atomic_add_fetch(&mheap.bin_bytes, bytes, __ATOMIC_RELAXED) <= ALL_BYTES &&
        set_room(b, old + more))
        mc->bin_bytes += bytes;
    else
        usage_add(&mheap.bin_bytes, -(int64_t)bytes);
    uint32_t now = (uint32_t)(b->end - b->base);
    b->grow_at = now > old && now < most ? now : UINT32_MAX;
    b->missed = 0;
}

void bins_flush(struct mcache *mc)
{
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        struct bin *b = &mc->bin[c];
        while (b->top > b->base) {
            b->top--;
            slot_give(mc, (struct slot *)b->top->p);
        }
    }
}

uint64_t bin_count(const struct bin *b)
{
    for (;;) {
        uint32_t before = __atomic_load_n(&b->changing, __ATOMIC_SEQ_CST);
        const struct bin_slot *base = __atomic_load_n(&b->base, __ATOMIC_SEQ_CST);
        const struct bin_slot *top = __atomic_load_n(&b->top, __ATOMIC_SEQ_CST);
        if (!(before & 1) && before == __atomic_load_n(&b->changing, __ATOMIC_SEQ_CST)) return (uint64_t)(top - base);
    }
}

uint64_t bins_count(const struct mcache *mc, uint64_t *bytes)
{
    uint64_t n = 0;
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        uint64_t k = bin_count(&mc->bin[c]);
        n += k;
        *bytes += k * class_to_size[c];
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
            for (const struct bin_slot *b = mc->bin[c].base; b < mc->bin[c].top; b++) {
                uintptr_t p = b->p;
                struct mspan *s = span_of(p);
                struct binned *n = s ? child_alloc(sizeof *b, 0) : NULL;
                if (!n) continue; /* it counts as allocated: a leak of it is missed, nothing is made up */
                *n = (struct binned){.next = s->binned, .index = span_index(s, p)};
                s->binned = n;
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
        for (const struct bin_slot *at = b->base; at < b->top; at++) {
            if (at->p - s->base < s->limit - s->base) set_bit(bits, span_index(s, at->p));
        }
    }
}
