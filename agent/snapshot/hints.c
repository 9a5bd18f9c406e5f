/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks that the program wants to be ignored, and memory that it declares to be a root. In chunks that are linked once and never
 * freed; an entry is free while its address is 0. Entries are few: adding looks for a free one in the newest chunk only.
 *
 * A block that was ignored and freed leaves its entry behind: the block that comes to stand there is ignored as well. That errs
 * towards silence.
 * Lock-free; allocates from persistent memory. Readers run in the snapshot's child. */
#include "agent/snapshot/hints.h"

#include "agent/heap/heap.h"
#include "agent/os/os.h"
#include "agent/util/critical.h"

enum { ENTRIES = 255 };

struct chunk {
    struct chunk *next;
    uint32_t used;
    struct {
        uintptr_t p;
        size_t size;
    } entries[ENTRIES];
};
static struct chunk *chunks; /* newest first */

static struct chunk *add_chunk(struct chunk *first)
{
    struct chunk *c = persistent_alloc(sizeof *c, 16, OS_META);
    if (!c) return NULL;
    c->next = first;
    if (__atomic_compare_exchange_n(&chunks, &first, c, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return c;
    return first; /* another thread was quicker: this one is lost, once */
}

bool hints_add(uintptr_t p, size_t size)
{
    bool done = false;
    agent_enter();
    for (int i = 0; !done && i < 1000; i++) {
        struct chunk *c = __atomic_load_n(&chunks, __ATOMIC_ACQUIRE);
        uint32_t at = c ? __atomic_fetch_add(&c->used, 1, __ATOMIC_RELAXED) : ENTRIES;
        if (at >= ENTRIES) {
            if (!add_chunk(c)) break;
            continue;
        }
        c->entries[at].size = size;
        __atomic_store_n(&c->entries[at].p, p, __ATOMIC_RELEASE);
        done = true;
    }
    agent_leave();
    return done;
}

bool hints_remove(uintptr_t p, size_t size)
{
    for (struct chunk *c = __atomic_load_n(&chunks, __ATOMIC_ACQUIRE); c; c = c->next)
        for (uint32_t i = 0; i < ENTRIES; i++) {
            uintptr_t want = p;
            if (c->entries[i].size != size) continue;
            if (__atomic_compare_exchange_n(&c->entries[i].p, &want, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                return true;
        }
    return false;
}

void hints_each(void (*fn)(void *arg, uintptr_t p, size_t size), void *arg)
{
    for (struct chunk *c = chunks; c; c = c->next)
        for (uint32_t i = 0; i < ENTRIES; i++)
            if (c->entries[i].p) fn(arg, c->entries[i].p, c->entries[i].size);
}
