/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for the contents of packed stacks: blocks of up to STACK_REST_MAX bytes, off the program's heap (they would be leaks to the
 * marker and samples to the profiler). Slabs of 64 KiB, one size each, from one reservation that grows at its end.
 *
 * Invariants
 *   1. A slab is on the list of its size when some of its blocks are free, on the empty list when all are, else on none.
 *   2. Free blocks are linked through their first word, a slab's never used ones stand behind `fresh`.
 *   3. Memory stays mapped for ever: a reader that comes late reads something else, but reads. An empty slab gives its pages back.
 * Sizes: multiples of 16 up to 1 KiB, so that nothing is lost where there are many; above, eight to a doubling.
 * Locks: one, innermost. Async-signal-safe. Offsets and sizes in bytes. */
#include "coro/pack.h"

#include <sys/resource.h>

enum { SLAB = 64 << 10, GROW = 1 << 20, EXACT = 1024, STEPS = 8, SIZES = EXACT / 16 + 4 * STEPS };
static const size_t MOST = (size_t)64 << 30, LEAST = (size_t)16 << 20, AS_SHARE = 16;

struct slab {
    uint32_t next, prev; /* number + 1 in the list; 0: none */
    uint16_t used, size; /* blocks; index of the size */
    uint16_t free;       /* first free block: offset / 16 + 1 */
    uint16_t fresh;      /* offset / 16 of what was never used; SLAB / 16 and more: nothing */
};

static struct {
    struct colock lock;
    uintptr_t lo, mapped, end; /* the reservation, and how far it is usable */
    struct slab *slabs;
    uint32_t nslabs;      /* ever used */
    uint32_t empty;       /* list of those without blocks */
    uint32_t part[SIZES]; /* lists of those with free blocks */
    bool refused;
} S;

static unsigned index_of(size_t n)
{
    if (n <= EXACT) return (unsigned)((n + 15) / 16 - 1);
    unsigned top = 63 - (unsigned)__builtin_clzl(n - 1); /* 2^top < n <= 2^(top + 1) */
    size_t step = ((size_t)1 << top) / STEPS;
    return EXACT / 16 + (top - 10) * STEPS + (unsigned)((n - ((size_t)1 << top) + step - 1) / step) - 1;
}

static size_t size_of(unsigned index)
{
    if (index < EXACT / 16) return ((size_t)index + 1) * 16;
    unsigned top = 10 + (index - EXACT / 16) / STEPS, i = (index - EXACT / 16) % STEPS;
    return ((size_t)1 << top) + (i + 1) * (((size_t)1 << top) / STEPS);
}

static char *base_of(const struct slab *s)
{
    return (char *)S.lo + (size_t)(s - S.slabs) * SLAB;
}

static void push(uint32_t *list, struct slab *s)
{
    uint32_t self = (uint32_t)(s - S.slabs) + 1;
    s->prev = 0;
    s->next = *list;
    if (*list) S.slabs[*list - 1].prev = self;
    *list = self;
}

static void unlink_slab(uint32_t *list, struct slab *s)
{
    if (s->next) S.slabs[s->next - 1].prev = s->prev;
    if (s->prev)
        S.slabs[s->prev - 1].next = s->next;
    else
        *list = s->next;
}

static bool reserve(void)
{
    struct rlimit l;
    size_t most = MOST;
    if (getrlimit(RLIMIT_AS, &l) == 0 && l.rlim_cur != RLIM_INFINITY && (size_t)l.rlim_cur / AS_SHARE < most)
        most = (size_t)l.rlim_cur / AS_SHARE;
    for (size_t size = MOST; size >= LEAST; size /= 2) {
        if (size > most) continue;
        char *p = os_reserve(NULL, size, SLAB, OS_STACK);
        if (!p) continue;
        struct slab *slabs = os_alloc(size / SLAB * sizeof *slabs, OS_META);
        if (slabs) {
            S.slabs = slabs;
            S.lo = S.mapped = (uintptr_t)p;
            S.end = S.lo + size;
            return true;
        }
        os_free(p, size);
    }
    return false;
}

/* A slab without blocks, for blocks of that size. */
static struct slab *take_slab(unsigned size)
{
    struct slab *s = S.empty ? &S.slabs[S.empty - 1] : NULL;
    if (s) {
        S.empty = s->next;
    } else {
        if (!S.lo && (S.refused || !reserve())) {
            S.refused = true;
            return NULL;
        }
        uintptr_t at = S.lo + (uintptr_t)S.nslabs * SLAB;
        if (at == S.mapped) {
            if (at == S.end || os_map((void *)at, GROW) != 0) return NULL;
            os_huge((void *)at, GROW, false);
            S.mapped += GROW;
        }
        s = &S.slabs[S.nslabs++];
    }
    *s = (struct slab){.size = (uint16_t)size};
    push(&S.part[size], s);
    return s;
}

void *pack_store_alloc(size_t n)
{
    unsigned size = index_of(n);
    size_t bytes = size_of(size);
    char *p = NULL;
    colock_acquire(&S.lock);
    struct slab *s = S.part[size] ? &S.slabs[S.part[size] - 1] : take_slab(size);
    if (s) {
        if (s->free) {
            p = base_of(s) + (size_t)(s->free - 1) * 16;
            s->free = *(uint16_t *)(void *)p;
        } else {
            p = base_of(s) + (size_t)s->fresh * 16;
            s->fresh = (uint16_t)(s->fresh + bytes / 16);
        }
        s->used++;
        if (!s->free && (size_t)s->fresh * 16 + bytes > SLAB) unlink_slab(&S.part[size], s);
    }
    colock_release(&S.lock);
    return p;
}

void pack_store_free(void *p)
{
    struct slab *s = &S.slabs[((uintptr_t)p - S.lo) / SLAB];
    size_t bytes = size_of(s->size);
    colock_acquire(&S.lock);
    bool full = !s->free && (size_t)s->fresh * 16 + bytes > SLAB;
    *(uint16_t *)p = s->free;
    s->free = (uint16_t)(((uintptr_t)p - (uintptr_t)base_of(s)) / 16 + 1);
    s->used--;
    if (full) push(&S.part[s->size], s);
    bool empty = s->used == 0;
    if (empty) unlink_slab(&S.part[s->size], s);
    colock_release(&S.lock);
    if (!empty) return;
    os_unused(base_of(s), SLAB, false);
    colock_acquire(&S.lock);
    push(&S.empty, s);
    colock_release(&S.lock);
}

size_t pack_store_bytes(void)
{
    return (size_t)S.nslabs * SLAB;
}

void pack_store_fork_prepare(void)
{
    colock_acquire(&S.lock);
}
void pack_store_fork_done(void)
{
    colock_release(&S.lock);
}
