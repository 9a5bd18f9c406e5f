/* SPDX-License-Identifier: Apache-2.0
 *
 * Slots at rest: what happens to the pages of a stack while its contents stand elsewhere (pack.c).
 *
 *   alone        its pages go back and the top TOP bytes trap (MADV_GUARD_INSTALL): what is below them was dead
 *   whole block  once every slot under one page table rests, all of it becomes reserved address space: one system call for many such
 *                blocks in a row, nothing to guard, and the page table (512 bytes a slot of 256 KiB) goes back as well
 *
 * The first slot of a block that wakes makes the block usable again: mapped, its guards, and the tops of those that still rest.
 *
 * Invariants
 *   1. block.rests counts slots from the moment their contents are safe to the moment before their pages are needed.
 *   2. BUSY: one thread is changing the block's mappings; everybody else waits for OPEN or REST. Set and left under the lock.
 *   3. In REST every slot of the block rests.
 *   4. A stretch of resting blocks between others costs two mappings. Over MAX_STRETCHES a block opens with its group of GROUP, and none
 *      is closed: the kernel's limit of mappings is never met.
 * A block that wakes right after its neighbour takes those behind it along (AHEAD): many wake in order.
 * Locks: one, innermost; never held over a system call. Async-signal-safe. Allocates address space, for the tables.
 *
 * Tried and dropped: guards alone (page tables stay: 512 bytes each); MADV_DONTNEED of whole blocks (it gives the page table back only
 * where no guard is in it, and without one a stray access reads zeros). */
#include "coro/stack.h"

#include <errno.h>

#include "agent/os/ranges.h"

enum { BLOCK = 2 << 20, TOP = STACK_REST_MAX, GROUP = 64, MAX_STRETCHES = 8192, AHEAD = 8, AT_ONCE = 256 };
enum block_state { OPEN, BUSY, REST };

struct stack_block {
    uint8_t state; /* enum block_state */
    uint8_t rests; /* slots */
};

static struct colock lock;
static uint32_t stretches;           /* of neighbouring blocks in REST */
static uint32_t nbusy;               /* blocks */
static const struct region *woke_in; /* where a block was opened last: [woke_first, woke_end) */
static uint32_t woke_first, woke_end;

struct place {
    const struct stack_class *class;
    struct region *region;
    uintptr_t base;            /* of the slot */
    struct stack_block *block; /* NULL: the slot is no smaller than a page table's reach */
    uint32_t number;           /* of the block */
};

static struct place place_of(const struct g *g)
{
    int cls = 0;
    struct place p = {.region = stack_region(g->stack_lo, &cls)};
    p.class = &stack_classes[cls];
    p.base = g->stack_lo - p.class->guard;
    p.number = (uint32_t)((p.base - p.region->lo) / BLOCK);
    if (p.class->slot < BLOCK && p.region->blocks) p.block = &p.region->blocks[p.number];
    return p;
}

static struct os_range top_of(const struct place *p)
{
    return (struct os_range){p->base + p->class->slot - TOP, TOP};
}

static uint32_t blocks_in(const struct place *p)
{
    return (uint32_t)((size_t)p->region->nslots * p->class->slot / BLOCK);
}

/* With the lock held. */
static void set_state(struct region *r, uint32_t n, uint32_t i, enum block_state s)
{
    struct stack_block *b = r->blocks;
    if ((s == REST) != (b[i].state == REST)) {
        bool below = i > 0 && b[i - 1].state == REST, above = i + 1 < n && b[i + 1].state == REST;
        uint32_t beside = (uint32_t)below + (uint32_t)above;
        stretches += s == REST ? 1 - beside : beside - 1;
    }
    nbusy += (uint32_t)(s == BUSY) - (uint32_t)(b[i].state == BUSY);
    b[i].state = (uint8_t)s;
}

static void need_blocks(struct region *r, const struct stack_class *c)
{
    if (r->blocks || c->slot >= BLOCK) return;
    r->blocks = os_alloc((size_t)r->nslots * c->slot / BLOCK * sizeof *r->blocks, OS_META); /* NULL: without */
}

/* Counts the slot as resting. True: its whole block does, and is the caller's to change. */
static bool count_in(const struct place *p)
{
    if (!p->block) return false;
    colock_acquire(&lock);
    bool whole = ++p->block->rests == BLOCK / p->class->slot && stretches < MAX_STRETCHES;
    if (whole) set_state(p->region, blocks_in(p), p->number, BUSY);
    colock_release(&lock);
    return whole;
}

/* [first, end) of a region's blocks, all of them the caller's and BUSY. False: they stay as they are, and are open. */
static bool close_blocks(const struct place *p, uint32_t first, uint32_t end)
{
    char *lo = (char *)p->region->lo + (size_t)first * BLOCK;
    bool ok = os_return(lo, (size_t)(end - first) * BLOCK) == 0;
    colock_acquire(&lock);
    for (uint32_t i = first; i < end; i++) set_state(p->region, blocks_in(p), i, ok ? REST : OPEN);
    colock_release(&lock);
    return ok;
}

/* Closes the whole blocks of a batch, neighbours by one system call; gone[i]: that was the pages' end. */
static void close_whole(const struct place *at, const bool *whole, bool *gone, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!whole[i]) continue;
        unsigned last = i;
        for (unsigned k = i + 1; k < n; k++) {
            if (!whole[k]) continue;
            if (at[k].region != at[i].region || at[k].number != at[last].number + 1) break;
            last = k;
        }
        if (close_blocks(&at[i], at[i].number, at[last].number + 1))
            for (unsigned k = 0; k < n; k++)
                gone[k] |= at[k].block && at[k].region == at[i].region && at[k].number >= at[i].number &&
                           at[k].number <= at[last].number;
        i = last;
    }
}

int stack_rest(struct g *const *gs, unsigned n)
{
    struct os_range pages[STACK_REST_BATCH], tops[STACK_REST_BATCH];
    struct place at[STACK_REST_BATCH];
    bool whole[STACK_REST_BATCH], gone[STACK_REST_BATCH] = {false};
    for (unsigned i = 0; i < n; i++) {
        at[i] = place_of(gs[i]);
        need_blocks(at[i].region, at[i].class);
        at[i] = place_of(gs[i]);
    }
    for (unsigned i = 0; i < n; i++) whole[i] = count_in(&at[i]); /* the last one of a block finds it whole */
    close_whole(at, whole, gone, n);
    unsigned k = 0;
    for (unsigned i = 0; i < n; i++) {
        if (gone[i]) continue;
        pages[k] = (struct os_range){gs[i]->stack_lo, at[i].base + at[i].class->slot - gs[i]->stack_lo};
        tops[k++] = top_of(&at[i]);
    }
    int err = k ? os_release(pages, k) : 0;
    return err || !k ? err : os_guard(tops, k);
}

int stack_probe(const struct g *g)
{
    struct place p = place_of(g);
    struct os_range guard = {p.base, p.class->guard};
    return os_release(&guard, 1);
}

/* ---- awake again */

struct guards {
    struct os_range r[AT_ONCE];
    unsigned n;
};

static void add_guard(struct guards *all, uintptr_t lo, size_t size)
{
    if (all->n && all->r[all->n - 1].lo + all->r[all->n - 1].size == lo) {
        all->r[all->n - 1].size += size;
        return;
    }
    if (all->n == AT_ONCE) {
        os_guard(all->r, all->n);
        all->n = 0;
    }
    all->r[all->n++] = (struct os_range){lo, size};
}

/* Blocks [first, end), BUSY by the caller's word, are usable again, but for the tops of the slots that rest on. */
static bool map_blocks(const struct place *p, uint32_t first, uint32_t end)
{
    uintptr_t lo = p->region->lo + (uintptr_t)first * BLOCK, hi = p->region->lo + (uintptr_t)end * BLOCK;
    struct guards all = {.n = 0};
    if (os_map((void *)lo, hi - lo) != 0) return false;
    for (uintptr_t slot = lo; slot < hi; slot += p->class->slot) {
        add_guard(&all, slot, p->class->guard);
        if (slot != p->base) add_guard(&all, slot + p->class->slot - TOP, TOP);
    }
    if (all.n) os_guard(all.r, all.n);
    return true;
}

/* With the lock held, which is released meanwhile. The place's block is in REST. */
static bool open_block(const struct place *p)
{
    struct region *r = p->region;
    uint32_t n = blocks_in(p), first = p->number, end = p->number + 1;
    if (stretches >= MAX_STRETCHES) {
        uint32_t group = p->number - p->number % GROUP;
        while (first > group && r->blocks[first - 1].state == REST) first--;
        while (end < n && end < group + GROUP && r->blocks[end].state == REST) end++;
    } else if (woke_in == r && first == woke_end) {
        while (end < n && end - first < AHEAD && r->blocks[end].state == REST) end++;
    } else if (woke_in == r && end == woke_first) {
        while (first > 0 && end - first < AHEAD && r->blocks[first - 1].state == REST) first--;
    }
    woke_in = r;
    woke_first = first;
    woke_end = end;
    for (uint32_t i = first; i < end; i++) set_state(r, n, i, BUSY);
    colock_release(&lock);
    bool ok = map_blocks(p, first, end);
    colock_acquire(&lock);
    for (uint32_t i = first; i < end; i++) set_state(r, n, i, ok ? OPEN : REST);
    return ok;
}

bool stack_wake(const struct g *g)
{
    struct place p = place_of(g);
    bool opened = false;
    if (p.block) {
        colock_acquire(&lock);
        while (p.block->state == BUSY) {
            colock_release(&lock);
            os_yield();
            colock_acquire(&lock);
        }
        bool ok = p.block->state == OPEN || (opened = open_block(&p));
        if (ok) p.block->rests--;
        colock_release(&lock);
        if (!ok) return false;
    }
    struct os_range top = top_of(&p);
    return opened || os_unguard(&top, 1) == 0;
}

bool stack_rests_at(uintptr_t addr)
{
    int cls;
    const struct region *r = stack_region(addr, &cls);
    if (!r) return false;
    uintptr_t into = (addr - r->lo) % stack_classes[cls].slot;
    if (into >= stack_classes[cls].slot - TOP) return true;
    return r->blocks && r->blocks[(addr - r->lo) / BLOCK].state != OPEN;
}

static int forget_busy(void *arg, struct region *r, const struct stack_class *c)
{
    (void)arg;
    for (size_t i = 0; r->blocks && i < (size_t)r->nslots * c->slot / BLOCK; i++)
        if (r->blocks[i].state == BUSY) r->blocks[i].state = OPEN;
    return 0;
}

/* What other threads were about to change stays as it is. */
void stack_rest_fork_child(void)
{
    lock = (struct colock){0};
    if (nbusy) stack_each_region(forget_busy, NULL);
    nbusy = 0;
}
