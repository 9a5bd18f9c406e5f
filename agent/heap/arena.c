/* SPDX-License-Identifier: Apache-2.0
 *
 * Address space of the heap: regions, arenas, growth.
 *
 *   pages_find fails → arena_grow → os_reserve (64 MiB, once) → os_map (4 MiB, each time) → pages_free
 *
 * The map from an address to its arena and span is sparse: a root of one pointer for 16 GiB, and a region with one span
 * pointer a page, of which only the parts for existing arenas are writable and the rest reads as zeros. So any
 * word can be looked up, and an empty map costs no memory and little address space (RLIMIT_AS counts that).
 *
 * Marks of what grows upwards from the first arena without a gap stand in one piece, so that free finds them by a subtraction
 * (heap_near). The piece begins where nobody else asks for memory, has the classes of pages first, and grows by 4 MiB of address space for 64
 * MiB of the heap. What has no place in it, as it lies elsewhere or the piece could not grow, has its marks where its chunk says, and
 * takes the slow paths.
 *
 * Invariants
 *   1. An arena starts at a multiple of 64 MiB and its pages [0, mapped_pages) are Prepared; it grows upwards only.
 *   2. regions is in address order. Regions and arenas are never given back.
 *   3. [grow_lo, grow_hi) is Reserved; grow_lo is a multiple of 4 MiB.
 *   4. Every chunk has its marks before its pages can be had; heap_near grows over mapped memory only, so whatever is below its
 *      bound can be read.
 * Locks: under mheap.lock. Allocates metadata. Units: bytes where not said otherwise.
 * Dropped: a flat table of 4 Mi arenas (32 MiB of address space, resident under mlockall) and 585 MiB of reserved
 * summaries, as Go has them: programs with RLIMIT_AS fail to start. */
#include "agent/heap/types.h"

#include "agent/os/os.h"
#include "agent/util/options.h"

enum {
    HUGE_MAX_ALLOC = 16,   /* 128 KiB */
    HUGE_MIN_PAGES = 8192, /* 64 MiB */
};
#define NEAR_MARKS ((size_t)1 << (REGION_SHIFT - MARK_SHIFT))

struct region *heap_regions[ROOT_ENTRIES];
struct mspan **heap_root[ROOT_ENTRIES];
uintptr_t heap_first = (uintptr_t)1 << 63; /* no address lies in the region there */
struct mspan **heap_first_spans;
struct heap_near heap_near __attribute__((aligned(64)));

__attribute__((noinline)) struct mspan *span_of_far(uintptr_t p)
{
    return span_of_any(p);
}

struct region *region_of(uintptr_t p)
{
    return heap_regions[(p >> REGION_SHIFT) & (ROOT_ENTRIES - 1)];
}

struct arena *arena_of(uintptr_t p)
{
    const struct region *r = region_of(p);
    return r ? r->arenas[(p >> ARENA_SHIFT) & (REGION_ARENAS - 1)] : NULL;
}

/* Huge pages, once the heap is large, where it grows for small objects: large blocks may be touched here and there
 * only, and each touch would then cost 2 MiB. In recorded programs, where a snapshot's pause is the copy of the page tables. */
static bool wants_huge(size_t npages)
{
    return npages < HUGE_MAX_ALLOC && mheap.mapped_pages >= HUGE_MIN_PAGES &&
           options_debug("thp", agent_options.out[0] != 0) != 0;
}

/* ---- Marks */
static uint8_t *near_end;                       /* of the piece: Reserved up to here */
static uint8_t *near_usable, *near_classes_end; /* what of the marks and of the classes is Ready, up to here */

uint8_t *mark_far(uintptr_t p)
{
    if (p >> 48 || p % (1 << MARK_SHIFT)) return NULL;
    const struct arena *a = arena_of(p);
    uint8_t *marks = a ? a->chunks[(p / CHUNK_BYTES) % ARENA_CHUNKS].marks : NULL;
    return marks ? marks + (p % CHUNK_BYTES >> MARK_SHIFT) : NULL;
}

/* So that size more bytes can be made usable, or some of them. */
static void near_reserve(uintptr_t lo, size_t size)
{
    static bool tried;
    if (!tried) {
        tried = true;
        uint8_t *classes = os_reserve((void *)MARKS_HINT, NEAR_CLASSES + NEAR_STEP, 0, OS_GC);
        if (!classes) return;
        near_classes_end = classes;
        heap_near.lo = lo;
        heap_near.map = classes + NEAR_CLASSES;
        heap_near.moved = (uintptr_t)heap_near.map - (lo >> MARK_SHIFT);
        near_end = heap_near.map + NEAR_STEP;
        near_usable = heap_near.map;
    }
    size_t have = (size_t)(near_end - heap_near.map), want = heap_near.slots + size;
    if (want > NEAR_MARKS) want = NEAR_MARKS;
    if (!heap_near.map || want <= have) return;
    want = (want - have + NEAR_STEP - 1) & ~(NEAR_STEP - 1);
    void *p = os_reserve(near_end, want, 0, OS_GC);
    if (p == near_end)
        near_end += want;
    else if (p)
        os_unreserve(p, want);
}

static bool make_usable(uint8_t **end, uint8_t *to)
{
    size_t size = to > *end ? (size_t)(to - *end) : 0;
    if (size > 0 && (os_map(*end, size) != 0 || os_used(*end, size) != 0)) return false;
    *end += size;
    return true;
}

/* Marks of huge pages are in huge pages too, of 32 MiB each. */
static bool near_grow(size_t size, bool huge)
{
    uint8_t *from = near_usable, *to = heap_near.map + heap_near.slots + size;
    uint8_t *unit = (uint8_t *)(((uintptr_t)to + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
    if (huge && unit <= near_end) to = unit;
    size_t classes = os_whole_pages((heap_near.slots + size) >> (HPAGE_SHIFT - MARK_SHIFT));
    if (!make_usable(&near_classes_end, heap_near.map - NEAR_CLASSES + classes)) return false;
    if (!make_usable(&near_usable, to)) return false;
    if (huge && from < to) os_huge(from, (size_t)(to - from), true);
    __atomic_store_n(&heap_near.slots, heap_near.slots + size, __ATOMIC_RELEASE);
    return true;
}

/* For so many bytes of the heap from lo on, or for fewer of them, at least a chunk's. NULL: no memory. */
static uint8_t *marks_new(uintptr_t lo, size_t *bytes, bool huge)
{
    size_t size = *bytes >> MARK_SHIFT;
    if (heap_near.slots == 0 || lo == heap_near.lo + (heap_near.slots << MARK_SHIFT)) near_reserve(lo, size);
    uint8_t *at = heap_near.map + heap_near.slots;
    if (lo != heap_near.lo + (heap_near.slots << MARK_SHIFT) || at == near_end) return os_alloc(size, OS_GC);
    if (size > (size_t)(near_end - at)) size = (size_t)(near_end - at);
    *bytes = size << MARK_SHIFT;
    return near_grow(size, huge) ? at : NULL;
}

/* For the chunks of [lo, hi). */
static bool marks_make(uintptr_t lo, uintptr_t hi, bool huge)
{
    while (lo < hi) {
        size_t bytes = 0;
        while (lo < hi && chunk_of(lo)->marks) lo += CHUNK_BYTES;
        while (lo + bytes < hi && !chunk_of(lo + bytes)->marks) bytes += CHUNK_BYTES;
        uint8_t *marks = bytes ? marks_new(lo, &bytes, huge) : NULL;
        if (bytes && !marks) return false;
        for (uintptr_t end = lo + bytes; lo < end; lo += CHUNK_BYTES, marks += CHUNK_MARKS)
            __atomic_store_n(&chunk_of(lo)->marks, marks, __ATOMIC_RELEASE);
    }
    return true;
}

void marks_unused(uintptr_t lo, uintptr_t hi)
{
    uintptr_t unit = os_page_size() << MARK_SHIFT;
    lo = (lo + unit - 1) & ~(unit - 1);
    hi &= ~(unit - 1);
    if (lo >= hi) return;
    uint8_t *from = mark_of(lo), *to = from + ((hi - lo) >> MARK_SHIFT);
    uintptr_t units = (uintptr_t)from & ~(HUGE_BYTES - 1);
    /* Else the kernel would fill huge pages up again behind our back. */
    if (near_slot(lo) < heap_near.slots && wants_huge(1)) os_huge((void *)units, (uintptr_t)to - units, false);
    os_unused(from, (size_t)(to - from), false);
}

/* ---- Regions and arenas */
static struct region *region_make(uintptr_t base)
{
    struct region *r = persistent_alloc(sizeof *r, 64, OS_GC);
    if (!r) return NULL;
    r->spans = os_reserve_zero((size_t)REGION_PAGES * sizeof(struct mspan *), OS_GC);
    if (!r->spans) return NULL; /* the region's memory is lost; the kernel is out of memory anyway */
    r->base = base;
    struct region **at = &mheap.regions;
    while (*at && (*at)->base < base) at = &(*at)->next;
    r->next = *at;
    *at = r;
    heap_regions[base >> REGION_SHIFT] = r;
    struct mspan **moved = (struct mspan **)((uintptr_t)r->spans - (base >> HPAGE_SHIFT) * sizeof *moved);
    __atomic_store_n(&heap_root[base >> REGION_SHIFT], moved, __ATOMIC_RELEASE);
    if (!heap_first_spans) {
        __atomic_store_n(&heap_first_spans, r->spans, __ATOMIC_RELEASE);
        __atomic_store_n(&heap_first, base, __ATOMIC_RELEASE);
    }
    return r;
}

static struct arena *arena_make(uintptr_t base)
{
    struct region *r = region_of(base);
    if (!r) r = region_make(base & ~(((uintptr_t)1 << REGION_SHIFT) - 1));
    if (!r) return NULL;
    size_t index = (base >> ARENA_SHIFT) & (REGION_ARENAS - 1);
    if (r->arenas[index]) return r->arenas[index];
    struct arena *a = persistent_alloc(sizeof *a, 64, OS_GC);
    if (!a) return NULL;
    struct mspan **part = &r->spans[index * ARENA_PAGES];
    if (os_map(part, ARENA_PAGES * sizeof *part) != 0 || os_used(part, ARENA_PAGES * sizeof *part) != 0) return NULL;
    a->base = base;
    for (int c = 0; c < ARENA_CHUNKS; c++) {
        for (int w = 0; w < CHUNK_WORDS; w++) a->chunks[c].alloc[w] = ~0ull;
    }
    r->arenas[index] = a;
    __atomic_fetch_add(&mheap.arenas, 1, __ATOMIC_RELAXED);
    return a;
}

static bool arenas_make(uintptr_t lo, uintptr_t hi)
{
    for (uintptr_t a = lo & ~(ARENA_BYTES - 1); a < hi; a += ARENA_BYTES)
        if (!arena_make(a)) return false;
    return true;
}

/* More Reserved space behind grow_hi, or elsewhere: at least `need` bytes from grow_lo on. */
static bool reserve_more(size_t need)
{
    size_t have = mheap.grow_hi - mheap.grow_lo;
    uintptr_t hint = mheap.grow_hi ? mheap.grow_hi : HEAP_HINT;
    if ((hint & (ARENA_BYTES - 1)) != 0) { /* a short arena (below) can be completed */
        size_t rest = ARENA_BYTES - (hint & (ARENA_BYTES - 1));
        size_t more = need - have > rest ? rest + ((need - have - rest + ARENA_BYTES - 1) & ~(ARENA_BYTES - 1)) : rest;
        uintptr_t p = (uintptr_t)os_reserve((void *)hint, more, ARENA_BYTES, OS_HEAP);
        if (p == hint) {
            mheap.grow_hi += more;
            return true;
        }
        if (p) os_unreserve((void *)p, more);
        hint = (hint + ARENA_BYTES - 1) & ~(ARENA_BYTES - 1);
        have = 0;
    }
    size_t more = (need - have + ARENA_BYTES - 1) & ~(ARENA_BYTES - 1);
    uintptr_t p = (uintptr_t)os_reserve((void *)hint, more, ARENA_BYTES, OS_HEAP);
    if (p == hint && have > 0) {
        mheap.grow_hi += more;
        return true;
    }
    if (p && have > 0 && more < need) { /* elsewhere: then all of it must be there */
        os_unreserve((void *)p, more);
        p = 0;
    }
    if (!p) {
        more = (need + ARENA_BYTES - 1) & ~(ARENA_BYTES - 1);
        p = (uintptr_t)os_reserve(NULL, more, ARENA_BYTES, OS_HEAP);
    }
    if (!p) { /* under a tight RLIMIT_AS: a short arena, no more than is needed */
        more = need;
        p = (uintptr_t)os_reserve((void *)((hint + ARENA_BYTES - 1) & ~(ARENA_BYTES - 1)), more, ARENA_BYTES, OS_HEAP);
    }
    if (!p) return false;
    mheap.grow_lo = p;
    mheap.grow_hi = p + more;
    return true;
}

static void advise_huge(uintptr_t lo, uintptr_t hi)
{
    if (os_huge((void *)lo, hi - lo, true) != 0) return;
    for (uintptr_t at = lo; at < hi; at += HUGE_BYTES) arena_of(at)->huge |= huge_bit(at);
}

/* What the pages of [lo, hi) need before they can be had. */
static bool prepare(uintptr_t lo, uintptr_t hi, bool huge)
{
    return arenas_make(lo, hi) && marks_make(lo, hi, huge);
}

bool arena_grow(size_t npages)
{
    size_t need = ((npages << HPAGE_SHIFT) + CHUNK_BYTES - 1) & ~(CHUNK_BYTES - 1);
    if (mheap.grow_hi - mheap.grow_lo < need) {
        /* What is left of the old space is used first if the new one is elsewhere, as it would be lost. */
        uintptr_t old_lo = mheap.grow_lo, old_hi = mheap.grow_hi;
        if (!reserve_more(need)) return false;
        if (mheap.grow_lo != old_lo && old_lo != old_hi && os_map((void *)old_lo, old_hi - old_lo) == 0) {
            struct arena *a = arena_make(old_lo & ~(ARENA_BYTES - 1));
            if (a && marks_make(old_lo, old_hi, false)) {
                a->mapped_pages += (old_hi - old_lo) >> HPAGE_SHIFT;
                usage_add(&mheap.mapped_pages, (int64_t)((old_hi - old_lo) >> HPAGE_SHIFT));
                pages_free(old_lo, (old_hi - old_lo) >> HPAGE_SHIFT, true);
            }
        }
    }
    uintptr_t lo = mheap.grow_lo, hi = lo + need;
    bool huge = wants_huge(npages);
    if (!prepare(lo, hi, huge)) { /* under a tight RLIMIT_AS the rest of the reserved space is in the way */
        if (mheap.grow_hi == hi) return false;
        os_unreserve((void *)hi, mheap.grow_hi - hi);
        mheap.grow_hi = hi;
        if (!prepare(lo, hi, huge)) return false;
    }
    if (os_map((void *)lo, need) != 0 || os_used((void *)lo, need) != 0) return false;
    mheap.grow_lo = hi;
    if (huge) advise_huge(lo, hi);
    usage_add(&mheap.mapped_pages, (int64_t)(need >> HPAGE_SHIFT));
    for (uintptr_t at = lo; at < hi;) {
        struct arena *a = arena_of(at);
        uintptr_t end = a->base + ARENA_BYTES < hi ? a->base + ARENA_BYTES : hi;
        a->mapped_pages += (end - at) >> HPAGE_SHIFT;
        at = end;
    }
    pages_free(lo, need >> HPAGE_SHIFT, true);
    return true;
}
