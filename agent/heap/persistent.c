/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata: a bump allocator a kind, off the program's heap, that never frees (after persistentalloc in
 * runtime/malloc.go).
 *
 * Invariants
 *   1. What it returns is zero and is only ever handed out once.
 *   2. The first block of a kind is small, later ones grow to 1 MiB: a small process pays for what it uses.
 * Locks: RANK_PERSISTENT. Units: bytes. */
#include "agent/heap/types.h"

#include "agent/os/os.h"

enum { FIRST_BLOCK = 64 << 10, LAST_BLOCK = 1 << 20 };

static struct {
    uintptr_t at, end;
    size_t next_block;
} bump[OS_KIND_COUNT];
static struct lock persistent_lock = LOCK_INIT(RANK_PERSISTENT);

static void *take(size_t size, size_t align, enum os_kind kind)
{
    uintptr_t at = (bump[kind].at + align - 1) & ~(align - 1);
    if (bump[kind].at == 0 || at > bump[kind].end || size > bump[kind].end - at) return NULL;
    bump[kind].at = at + size;
    return (void *)at;
}

void *persistent_alloc(size_t size, size_t align, enum os_kind kind)
{
    if (align < 8) align = 8;
    if (align > os_page_size()) return NULL;
    if (size > LAST_BLOCK / 4) return os_alloc(size, kind);
    lock_acquire(&persistent_lock);
    void *p = take(size, align, kind);
    if (!p) {
        size_t block = bump[kind].next_block ? bump[kind].next_block : FIRST_BLOCK;
        while (block < size + align) block *= 2;
        uintptr_t fresh = (uintptr_t)os_alloc(block, kind);
        if (fresh) {
            if (fresh != bump[kind].end) bump[kind].at = fresh; /* else the blocks are one */
            bump[kind].end = fresh + block;
            bump[kind].next_block = block < LAST_BLOCK ? block * 2 : LAST_BLOCK;
            p = take(size, align, kind);
        }
    }
    lock_release(&persistent_lock);
    return p;
}

void persistent_fork(bool prepare)
{
    if (prepare)
        lock_acquire(&persistent_lock);
    else
        lock_release(&persistent_lock);
}
