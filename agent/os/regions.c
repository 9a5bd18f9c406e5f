/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent has mapped: a table of [lo, hi) with its kind, so that the marker leaves the agent's memory out
 * of the roots and the account of RSS can name it.
 *
 * Invariants
 *   1. Regions do not overlap. Neighbours of one kind are one region where the order of mapping allows it.
 *   2. A slot is empty when lo == 0. Slots are changed under the lock only; a reader without it may see a region
 *      twice or miss one that is being changed; in a stopped world it sees exactly what is.
 *   3. The table grows by a copy of twice the size; old copies are never unmapped, readers may be in them.
 * Locks: RANK_OS. Allocates from the kernel only. Units: bytes. */
#include "agent/os/internal.h"

#include "agent/util/lock.h"

enum { FIRST_SLOTS = 512 };

struct table {
    size_t capacity;
    size_t used; /* slots ever used: readers stop here */
    struct os_region slot[];
};

static struct {
    size_t capacity, used;
    struct os_region slot[FIRST_SLOTS];
} first = {.capacity = FIRST_SLOTS};

static struct table *table = (struct table *)(void *)&first;
static struct lock lock = LOCK_INIT(RANK_OS);
static int64_t kind_bytes[OS_KIND_COUNT];

static bool grow(void)
{
    struct table *t = table;
    size_t capacity = t->capacity * 2;
    struct table *n = raw_map(sizeof *n + capacity * sizeof n->slot[0]);
    if (!n) return false;
    n->capacity = capacity;
    n->used = t->used;
    for (size_t i = 0; i < t->used; i++) n->slot[i] = t->slot[i];
    __atomic_store_n(&table, n, __ATOMIC_RELEASE);
    return true;
}

static bool insert(uintptr_t lo, uintptr_t hi, enum os_kind kind)
{
    struct os_region *empty = NULL;
    for (size_t i = 0; i < table->used; i++) {
        struct os_region *r = &table->slot[i];
        if (r->lo == 0) {
            empty = r;
        } else if (r->kind == kind && r->hi == lo) {
            __atomic_store_n(&r->hi, hi, __ATOMIC_RELEASE);
            return true;
        } else if (r->kind == kind && r->lo == hi) {
            __atomic_store_n(&r->lo, lo, __ATOMIC_RELEASE);
            return true;
        }
    }
    if (!empty) {
        if (table->used == table->capacity && !grow()) return false;
        empty = &table->slot[table->used];
        __atomic_store_n(&table->used, table->used + 1, __ATOMIC_RELEASE);
    }
    empty->hi = hi;
    empty->kind = kind;
    __atomic_store_n(&empty->lo, lo, __ATOMIC_RELEASE);
    return true;
}

bool region_add(uintptr_t lo, uintptr_t hi, enum os_kind kind)
{
    lock_acquire(&lock);
    bool ok = insert(lo, hi, kind);
    lock_release(&lock);
    return ok;
}

void region_remove(uintptr_t lo, uintptr_t hi)
{
    lock_acquire(&lock);
    for (size_t i = 0; i < table->used; i++) {
        struct os_region *r = &table->slot[i], old = *r;
        if (old.lo == 0 || hi <= old.lo || old.hi <= lo) continue;
        /* What is left of it: a piece below, a piece above. The piece above becomes a region of its own. */
        if (old.lo < lo)
            __atomic_store_n(&r->hi, lo, __ATOMIC_RELEASE);
        else if (hi < old.hi)
            __atomic_store_n(&r->lo, hi, __ATOMIC_RELEASE);
        else
            __atomic_store_n(&r->lo, 0, __ATOMIC_RELEASE);
        if (old.lo < lo && hi < old.hi) insert(hi, old.hi, old.kind);
    }
    lock_release(&lock);
}

void region_count(enum os_kind kind, int64_t bytes)
{
    __atomic_fetch_add(&kind_bytes[kind], bytes, __ATOMIC_RELAXED);
}

void os_regions(void (*fn)(void *arg, const struct os_region *r), void *arg)
{
    struct table *t = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
    size_t used = __atomic_load_n(&t->used, __ATOMIC_ACQUIRE);
    for (size_t i = 0; i < used; i++) {
        struct os_region r = {.lo = __atomic_load_n(&t->slot[i].lo, __ATOMIC_ACQUIRE)};
        if (r.lo == 0) continue;
        r.hi = __atomic_load_n(&t->slot[i].hi, __ATOMIC_ACQUIRE);
        r.kind = t->slot[i].kind;
        if (r.lo < r.hi) fn(arg, &r);
    }
}

enum os_kind region_kind(uintptr_t p)
{
    struct table *t = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
    size_t used = __atomic_load_n(&t->used, __ATOMIC_ACQUIRE);
    for (size_t i = 0; i < used; i++) {
        const struct os_region *r = &t->slot[i];
        if (r->lo != 0 && r->lo <= p && p < r->hi) return r->kind;
    }
    return OS_KIND_COUNT;
}

size_t os_kind_bytes(enum os_kind kind)
{
    return (size_t)__atomic_load_n(&kind_bytes[kind], __ATOMIC_RELAXED);
}

void os_fork_lock(void)
{
    lock_acquire(&lock);
}

void os_fork_unlock(void)
{
    lock_release(&lock);
}
