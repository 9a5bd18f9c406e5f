/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing: the live bytes [sp, stack_hi) of a coroutine that stays parked go to a block of their size, and its pages back to the kernel.
 * A packed coroutine costs its descriptor and those bytes. Nothing but its own stack is moved, and it is back at the same addresses
 * before anybody reads it:
 *
 *   resume         the scheduler finds G_PACKED among the flags that it tests anyway, goes through g0, and g0 unpacks
 *   stray access   the pages trap: the SIGSEGV handler unpacks, on its alternate stack, and the access is made again
 *   system call    would fail with EFAULT. So only stacks are packed that no word outside of them points into (pack_scan.c)
 *
 * g.flags: G_PACKED: g.sp points to the bytes in the store, whose number stands in the flags; the stack's sp is stack_hi minus that.
 * G_MOVING: one thread is packing or unpacking it.
 *
 * Invariants
 *   1. Who packs sets G_MOVING, makes every thread pass a fence, and then looks whether the coroutine still waits. Who resumes sets the status
 *      and then looks at the flags. So one of both sees the other, and the resumer pays no fence.
 *   2. The bytes are valid where pack_view() says at every moment; snapshots see both fields change at once (a critical section).
 *   3. A coroutine's pages go back only after its bytes are published, and are in place before those are given up.
 *   4. Not packed: the running, what is in a system call, locked to a thread, main(), what waits with a channel's element on its stack, and
 *      what has more than STACK_REST_MAX live bytes. Of the latter the dead part is given back.
 * Locks: none over a move. Unpacking is async-signal-safe and allocates nothing.
 *
 * Tried and dropped: pages guarded one coroutine at a time (1.1 us each; whole blocks are 0.4 us, with their page tables); unpacking lazily,
 * page by page, in the fault handler (a signal costs 3 us more than the scheduler's look). */
#include "coro/pack.h"

#include <errno.h>
#include <string.h>

#include "agent/os/ranges.h"
#include "agent/util/critical.h"

enum { SIZE_SHIFT = 8, SIZE_UNIT = 16 };

_Atomic uint64_t pack_count, pack_bytes;
static bool refused;

static uint32_t flags_of(const struct g *g)
{
    return __atomic_load_n(&g->flags, __ATOMIC_ACQUIRE);
}

static size_t packed_size(uint32_t flags)
{
    return (size_t)(flags >> SIZE_SHIFT) * SIZE_UNIT;
}

bool pack_view(const struct g *g, struct pack_view *v)
{
    uint32_t flags = flags_of(g);
    const void *bytes = __atomic_load_n(&g->sp, __ATOMIC_ACQUIRE);
    v->packed = flags & G_PACKED;
    v->bytes = bytes;
    v->size = v->packed ? packed_size(flags) : g->stack_hi - (uintptr_t)bytes;
    v->sp = g->stack_hi - v->size;
    return flags_of(g) == flags && (v->packed || !(flags & G_MOVING) || g->sp == bytes);
}

/* ---- unpacking */

/* With G_MOVING ours. */
static void unpack(struct g *g, uint32_t flags)
{
    size_t n = packed_size(flags);
    void *bytes = g->sp, *sp = (void *)(g->stack_hi - n);
    agent_enter();
    if (!stack_wake(g)) report_fatal("no memory for the stack of coroutine %llu", (unsigned long long)g->id);
    memcpy(sp, bytes, n);
    __atomic_store_n(&g->sp, sp, __ATOMIC_RELEASE);
    __atomic_fetch_and(&g->flags, (1u << SIZE_SHIFT) - 1 - G_PACKED - G_MOVING, __ATOMIC_RELEASE);
    pack_store_free(bytes);
    atomic_fetch_sub_explicit(&pack_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&pack_bytes, n, memory_order_relaxed);
    agent_leave();
}

void g_unpack(struct g *g)
{
    for (;;) {
        uint32_t flags = flags_of(g);
        if (!(flags & (G_PACKED | G_MOVING))) return;
        if (flags & G_MOVING)
            os_yield();
        else if (__atomic_compare_exchange_n(&g->flags, &flags, flags | G_MOVING, false, __ATOMIC_ACQUIRE,
                                             __ATOMIC_RELAXED)) {
            unpack(g, flags);
            return;
        }
    }
}

bool pack_fault(uintptr_t addr)
{
    enum { IN_VAIN = 1000 };
    static _Atomic uintptr_t last;
    static _Atomic uint32_t times;
    uint32_t index;
    if (!stack_rests_at(addr) || !stack_owner(addr, &index)) return false;
    struct g *g = g_at(index);
    bool was = flags_of(g) & (G_PACKED | G_MOVING);
    g_unpack(g);
    if (was) return true;
    /* Somebody was faster, or it faults for another reason: then it will again and again. */
    if (atomic_exchange(&last, addr) != addr) atomic_store(&times, 0);
    return atomic_fetch_add(&times, 1) < IN_VAIN;
}

/* ---- packing */

static void let_go(struct g *g)
{
    __atomic_fetch_and(&g->flags, ~(uint32_t)G_MOVING, __ATOMIC_RELEASE);
}

static bool claim(struct g *g)
{
    uint32_t old = __atomic_fetch_or(&g->flags, G_MOVING, __ATOMIC_SEQ_CST);
    if (!(old & (G_MOVING | G_PACKED | G_LOCKED))) return true;
    if (!(old & G_MOVING)) let_go(g);
    return false;
}

/* After the fence: it has waited all the time, and whoever wakes it now finds G_MOVING. */
static bool still_waits(const struct pack_candidate *c)
{
    bool waits = atomic_load_explicit(&c->g->status, memory_order_acquire) == G_WAITING;
    return waits && pack_stamp(c->g) == c->stamp && c->g->cls < STACK_CLASSES;
}

static void give_dead_part_back(const struct g *g)
{
    const uintptr_t page = os_page_size();
    uintptr_t end = ((uintptr_t)g->sp - 128) & ~(page - 1);
    struct os_range dead = {g->stack_lo, end - g->stack_lo};
    if (end > g->stack_lo && !stack_canaries) os_release(&dead, 1);
}

/* Copies and publishes. False: there is nothing to gain, or no memory. */
static bool store(struct g *g)
{
    size_t n = g->stack_hi - (uintptr_t)g->sp;
    if ((uintptr_t)g->sp <= g->stack_lo || n % SIZE_UNIT) return false;
    if (n > STACK_REST_MAX - STACK_COLOURS * STACK_COLOUR) {
        give_dead_part_back(g);
        return false;
    }
    void *bytes = pack_store_alloc(n);
    if (!bytes) return false;
    memcpy(bytes, g->sp, n);
    agent_enter();
    __atomic_store_n(&g->sp, bytes, __ATOMIC_RELEASE);
    __atomic_fetch_or(&g->flags, G_PACKED | (uint32_t)(n / SIZE_UNIT) << SIZE_SHIFT, __ATOMIC_RELEASE);
    agent_leave();
    atomic_fetch_add_explicit(&pack_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pack_bytes, n, memory_order_relaxed);
    return true;
}

/* Does another coroutine write to this one's stack, or read it, before it wakes it? Channel elements that are larger than a wait node do
 * that. The list stays as it is while the coroutine waits. */
static bool lends_stack(const struct g *g)
{
    for (const struct sudog *s = g->waits; s; s = s->more)
        if ((uintptr_t)s->elem >= g->stack_lo && (uintptr_t)s->elem < g->stack_hi) return true;
    return false;
}

static int refuse(const char *why)
{
    refused = true;
    log_line("coro: parked coroutines are not packed: %s", why);
    return -1;
}

static int pack_batch(const struct pack_candidate *c, unsigned n)
{
    struct g *taken[PACK_BATCH];
    const struct pack_candidate *from[PACK_BATCH];
    unsigned k = 0, m = 0;
    for (unsigned i = 0; i < n; i++)
        if (claim(c[i].g)) from[k++] = &c[i];
    int err = k ? os_barrier() : 0;
    for (unsigned i = 0; i < k; i++)
        if (!err && still_waits(from[i]) && !lends_stack(from[i]->g) && store(from[i]->g))
            taken[m++] = from[i]->g;
        else
            let_go(from[i]->g);
    if (err) return refuse("the kernel has no membarrier()");
    err = m ? stack_rest(taken, m) : 0;
    for (unsigned i = 0; i < m; i++) let_go(taken[i]);
    if (!err) return (int)m;
    for (unsigned i = 0; i < m; i++) g_unpack(taken[i]);
    return refuse("their pages can't be given back (is memory locked?)");
}

int pack_some(const struct pack_candidate *c, unsigned n)
{
    int packed = 0;
    if (n && !refused && stack_probe(c[0].g) != 0) return refuse("memory is locked");
    for (unsigned i = 0; i < n && !refused; i += PACK_BATCH) {
        int r = pack_batch(c + i, n - i < PACK_BATCH ? n - i : PACK_BATCH);
        if (r < 0) return packed ? packed : r;
        packed += r;
    }
    return refused ? -1 : packed;
}

static int forget_move(void *arg, struct g *g)
{
    (void)arg;
    g->flags &= ~(uint32_t)G_MOVING;
    return 0;
}

/* The threads that were moving something are not here. */
void pack_fork_child(void)
{
    pack_store_fork_done();
    g_each(forget_move, NULL);
}
