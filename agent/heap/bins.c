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
 *      MARK_FREE, and near.
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

void bins_init(struct mcache *mc)
{
    for (unsigned c = 0; c < MARKS; c++) mc->bin[c] = (struct bin){.fine = &empty_span, .grow_at = UINT32_MAX};
}

/* An empty bin gets room for so many slots. */
static bool set_room(struct mcache *mc, unsigned c, uint32_t slots)
{
    struct bin *b = &mc->bin[c];
    size_t bytes = (slots + BIN_BELOW) * sizeof *mc->base[c];
    uintptr_t *base = persistent_alloc(bytes, 64, OS_META);
    if (!base) return false;
    usage_add(&mheap.mcache_bytes, (int64_t)bytes);
    base += BIN_BELOW;
    __atomic_store_n(&b->changing, b->changing + 1, __ATOMIC_SEQ_CST);
    mc->base[c] = mc->top[c] = base;
    mc->end[c] = base + slots;
    __atomic_store_n(&b->changing, b->changing + 1, __ATOMIC_SEQ_CST);
    return true;
}

void bin_setup(struct mcache *mc, const struct mspan *s)
{
    unsigned c = s->mark;
    struct bin *b = &mc->bin[c];
    if (b->size != 0 || c == MARK_NO_BIN) return;
    mc->cost[c] = class_to_cost[c];
    b->size = class_to_size[c];
    if (heap_traced || agent_options.check >= 1) return;
    uint32_t slots = FIRST_SLOTS < FIRST_BYTES / b->size ? FIRST_SLOTS : FIRST_BYTES / b->size;
    if (slots == 0 || set_room(mc, c, slots)) b->grow_at = FIRST_SLOTS;
}

static uint32_t least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

/* It was full, and is empty: with room for what it missed it would have served. */
void bin_grow(struct mcache *mc, unsigned c)
{
    struct bin *b = &mc->bin[c];
    if (c == MARK_NO_BIN) return;
    uint32_t old = (uint32_t)(mc->end[c] - mc->base[c]), most = least(MOST_SLOTS, MOST_BYTES / b->size);
    uint32_t more = least(b->missed, (GROWTH - 1) * (old + 1));
    more = most > old ? least(more, most - old) : 0;
    more = least(more, (CACHE_BYTES - mc->bin_bytes) / b->size);
    uint64_t bytes = (uint64_t)more * b->size;
    if (more > 0 && __atomic_add_fetch(&mheap.bin_bytes, bytes, __ATOMIC_RELAXED) <= ALL_BYTES &&
        set_room(mc, c, old + more))
        mc->bin_bytes += bytes;
    else
        usage_add(&mheap.bin_bytes, -(int64_t)bytes);
    uint32_t now = (uint32_t)(mc->end[c] - mc->base[c]);
    b->grow_at = now > old && now < most ? now : UINT32_MAX;
    b->missed = 0;
}

void bins_flush(struct mcache *mc)
{
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        while (mc->top[c] > mc->base[c]) {
            mc->top[c]--;
            slot_give(mc, (struct slot *)*mc->top[c]);
        }
    }
}

uint64_t bin_count(const struct mcache *mc, unsigned c)
{
    const uint32_t *changing = &mc->bin[c].changing;
    for (;;) {
        uint32_t before = __atomic_load_n(changing, __ATOMIC_SEQ_CST);
        const uintptr_t *base = __atomic_load_n(&mc->base[c], __ATOMIC_SEQ_CST);
        const uintptr_t *top = __atomic_load_n(&mc->top[c], __ATOMIC_SEQ_CST);
        if (!(before & 1) && before == __atomic_load_n(changing, __ATOMIC_SEQ_CST)) return (uint64_t)(top - base);
    }
}

uint64_t bins_count(const struct mcache *mc, uint64_t *bytes)
{
    uint64_t n = 0;
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        uint64_t k = bin_count(mc, c);
        n += k;
        *bytes += k * class_to_size[c];
    }
    return n;
}

void bins_note(void)
{
    for (struct mcache *mc = mheap.caches; mc; mc = mc->next_all) {
        for (unsigned c = 1; c < SIZE_CLASSES; c++) {
            for (const uintptr_t *at = mc->base[c]; at < mc->top[c]; at++) {
                struct mspan *s = span_of(*at);
                if (s) s->binned = true;
            }
        }
    }
}
