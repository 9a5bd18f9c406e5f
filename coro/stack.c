/* SPDX-License-Identifier: Apache-2.0
 *
 * The stack arena. A stack is a slot of address space as large as its limit; the kernel commits its pages as it grows, so it
 * grows without moving. Slots of one class stand side by side in regions of reserved address space.
 *
 *     slot  [ guard | grows down … | top page: first frames ][ colour ]
 *
 * Invariants
 *   1. A slot belongs to one descriptor for ever (g.c reuses the pair); slots are handed out in address order.
 *   2. Below every usable stack is a guard, or, where the kernel gives none, a word that is checked at each switch.
 *   3. A stack's top is offset by up to 15 cache lines, so that a thousand stacks do not share one set of the cache; from the
 *      FEW-th of a region on by up to 31, as then they would share few sets of the last level, too.
 *   4. Regions begin at a multiple of what one page table covers: whole ones can be given back (stack_rest.c).
 * Guards are kept over reuse and over a release of the pages. Locks: one, the innermost of the runtime. Allocates
 * address space only. Sizes in bytes.
 *
 * Tried and dropped: a mapping for each stack (32,700 of them and the kernel refuses); 2 KiB segments that are copied or
 * chained (C pointers can't be moved; one lazily bound call needs 3.2 KB). */
#include "coro/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/os/ranges.h"

/* FEW: a switch among 100,000 takes 0.96 of the time with 32 colours (1.16 with 4, 0.94 with 48, which leave too little of the page), but a
 * server of 1,000 connections 1.02. */
enum { FEW = 8192, PROTECT_MAX = 30000, PAGE_TABLE = 2 << 20, AS_SHARE = 8 };
static const uint64_t CANARY = 0x5eed0fc0a57acc5dull;

const struct stack_class stack_classes[STACK_CLASSES] = {
    {64u << 10, 4u << 10, 1u << 20, 64}, {256u << 10, 16u << 10, 1u << 21, 64}, {1u << 20, 16u << 10, 1u << 16, 16},
    {8u << 20, 64u << 10, 1u << 13, 4},  {64u << 20, 64u << 10, 1u << 10, 1},   {1u << 30, 64u << 10, 1u << 7, 1},
};

static struct colock lock;
static struct region regions[STACK_CLASSES][STACK_REGIONS];
static _Atomic uint32_t nregions[STACK_CLASSES];
static _Atomic size_t sys_bytes;
static uint32_t protected_guards;
static enum { GUARD_ADVISE, GUARD_PROTECT, GUARD_CANARY, GUARD_UNKNOWN } guard_mode = GUARD_UNKNOWN;
bool stack_canaries;

int stack_class(size_t limit)
{
    if (limit == 0) return STACK_DEFAULT;
    for (int c = 0; c < STACK_CLASSES; c++)
        if (limit <= stack_classes[c].slot) return c;
    return -1;
}

static void guard_mode_init(void)
{
    const char *want = getenv("CORO_GUARD");
    guard_mode = GUARD_ADVISE;
    if (want && !strcmp(want, "mprotect")) guard_mode = GUARD_PROTECT;
    if (want && !strcmp(want, "canary")) guard_mode = GUARD_CANARY;
    if (guard_mode == GUARD_CANARY) stack_canaries = true;
}

/* Of address space, where that is limited, a region takes a part only. */
static size_t region_max(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_AS, &l) != 0 || l.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
    return (size_t)l.rlim_cur / AS_SHARE;
}

static bool add_region(int cls)
{
    const struct stack_class *c = &stack_classes[cls];
    uint32_t n = nregions[cls], least = c->batch;
    if (n == STACK_REGIONS) return false;
    size_t max = region_max(), align = c->slot > PAGE_TABLE ? c->slot : PAGE_TABLE;
    uint32_t *owner = os_alloc(c->region_slots * sizeof *owner, OS_META);
    for (uint32_t slots = c->region_slots; owner && slots >= least; slots /= 2) {
        if ((size_t)slots * c->slot > max && slots > least) continue;
        void *p = os_reserve(NULL, (size_t)slots * c->slot, align, OS_STACK);
        if (!p) continue;
        regions[cls][n] = (struct region){.lo = (uintptr_t)p, .nslots = slots, .owner = owner};
        nregions[cls] = n + 1;
        return true;
    }
    if (owner) os_free(owner, c->region_slots * sizeof *owner);
    return false;
}

static void guard_one(const struct os_range *r)
{
    if (guard_mode == GUARD_PROTECT) {
        if (protected_guards < PROTECT_MAX && os_guard_protect(r) == 0) {
            protected_guards++;
            return;
        }
        guard_mode = GUARD_CANARY;
        log_line("coro: no more guard pages after %u coroutines; a word at the end of each further stack is checked "
                 "at every switch instead",
                 protected_guards);
    }
    /* A checked word costs the page that it stands on. */
    *(uint64_t *)(r->lo + r->size) = CANARY;
    stack_canaries = true;
}

/* Makes the next batch of a region usable. */
static bool ready_batch(int cls, struct region *r)
{
    const struct stack_class *c = &stack_classes[cls];
    uint32_t n = c->batch < r->nslots - r->ready ? c->batch : r->nslots - r->ready;
    char *lo = (char *)(r->lo + (uintptr_t)r->ready * c->slot);
    size_t size = (size_t)n * c->slot;
    if (os_map(lo, size) != 0 || os_used(lo, size) != 0) return false;
    os_huge(lo, size, false); /* a huge page would commit 2 MiB for one frame */
    struct os_range guards[64];
    for (uint32_t i = 0; i < n; i++) guards[i] = (struct os_range){(uintptr_t)lo + i * c->slot, c->guard};
    if (guard_mode == GUARD_UNKNOWN) guard_mode_init();
    if (guard_mode == GUARD_ADVISE && os_guard(guards, n) != 0) {
        guard_mode = GUARD_PROTECT;
        log_line(
            "coro: this kernel can't guard stacks without a mapping each (Linux 6.13 can, unless memory is locked); "
            "using mprotect for the first %d coroutines",
            PROTECT_MAX);
    }
    if (guard_mode != GUARD_ADVISE)
        for (uint32_t i = 0; i < n; i++) guard_one(&guards[i]);
    r->ready += n;
    atomic_fetch_add(&sys_bytes, size);
    return true;
}

bool stack_alloc(int cls, uint32_t owner, uintptr_t *lo, uintptr_t *hi)
{
    const struct stack_class *c = &stack_classes[cls];
    colock_acquire(&lock);
    uint32_t n = nregions[cls];
    struct region *r = n ? &regions[cls][n - 1] : NULL;
    if (!r || r->next == r->nslots) r = add_region(cls) ? &regions[cls][nregions[cls] - 1] : NULL;
    bool ok = r && (r->next < r->ready || ready_batch(cls, r));
    if (ok) {
        uint32_t slot = r->next++;
        r->owner[slot] = owner;
        uintptr_t base = r->lo + (uintptr_t)slot * c->slot;
        *lo = base + c->guard;
        *hi = base + c->slot - slot % (slot < FEW ? STACK_COLOURS / 2 : STACK_COLOURS) * STACK_COLOUR;
    }
    colock_release(&lock);
    return ok;
}

struct region *stack_region(uintptr_t addr, int *cls)
{
    for (int k = 0; k < STACK_CLASSES; k++)
        for (uint32_t i = 0; i < nregions[k]; i++) {
            struct region *r = &regions[k][i];
            if (addr >= r->lo && addr < r->lo + r->ready * stack_classes[k].slot) return *cls = k, r;
        }
    return NULL;
}

bool stack_owner(uintptr_t addr, uint32_t *index)
{
    int cls;
    const struct region *r = stack_region(addr, &cls);
    uintptr_t slot = r ? (addr - r->lo) / stack_classes[cls].slot : 0;
    if (!r || slot >= r->next) return false;
    *index = r->owner[slot];
    return true;
}

bool stack_guard_at(uintptr_t addr, uintptr_t *slot_lo)
{
    int cls;
    const struct region *r = stack_region(addr, &cls);
    if (!r) return false;
    uintptr_t base = addr - (addr - r->lo) % stack_classes[cls].slot;
    *slot_lo = base + stack_classes[cls].guard;
    return addr < *slot_lo;
}

void stack_release_pages(struct g *const *gs, unsigned n)
{
    struct os_range r[64];
    for (unsigned i = 0; i < n;) {
        unsigned k = 0;
        for (; k < 64 && i < n; k++, i++) {
            uintptr_t page = os_page_size() - 1;
            uintptr_t hi = (gs[i]->stack_hi + page) & ~page;
            r[k] = (struct os_range){gs[i]->stack_lo, hi - gs[i]->stack_lo};
        }
        os_release(r, k);
        if (stack_canaries)
            for (unsigned j = 0; j < k; j++) *(uint64_t *)r[j].lo = CANARY;
    }
}

/* After the world is in a state that a report can be made from: a word was overwritten, so memory below may be, too. */
void stack_check(struct g *g)
{
    int cls;
    if (!stack_region(g->stack_lo, &cls)) return; /* main's */
    uint64_t word = *(uint64_t *)g->stack_lo;
    if (likely(word == CANARY || word == 0)) return; /* 0: guarded by the kernel, never written */
    g_set_status(g, G_RUNNING);
    report_fatal("stack overflow in coroutine %llu (limit %zu KiB): the word at the end of its stack was overwritten",
                 (unsigned long long)g->id, (size_t)(stack_classes[cls].slot >> 10));
}

int stack_each_region(int (*fn)(void *arg, struct region *r, const struct stack_class *c), void *arg)
{
    for (int k = 0; k < STACK_CLASSES; k++)
        for (uint32_t i = 0; i < nregions[k]; i++) {
            int stop = fn(arg, &regions[k][i], &stack_classes[k]);
            if (stop) return stop;
        }
    return 0;
}

struct range_call {
    seep_range_fn *fn;
    void *arg;
};
static int one_range(void *arg, struct region *r, const struct stack_class *c)
{
    const struct range_call *call = arg;
    return r->ready ? call->fn(call->arg, r->lo, r->lo + r->ready * c->slot) : 0;
}
int stack_ranges(seep_range_fn *fn, void *arg)
{
    struct range_call call = {fn, arg};
    return stack_each_region(one_range, &call);
}

size_t stack_sys_bytes(void)
{
    return sys_bytes;
}
bool stack_guards_are_free(void)
{
    return guard_mode == GUARD_ADVISE;
}
void stack_fork_child(void)
{
    lock = (struct colock){0};
    stack_rest_fork_child();
}
