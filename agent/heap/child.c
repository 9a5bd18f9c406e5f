/* SPDX-License-Identifier: Apache-2.0
 *
 * malloc inside a snapshot's child: a bump arena of its own, so that libc and SQLite may allocate there while the marker
 * reads the program's heap as it was. Nothing is freed: the child ends soon.
 *
 * Single-threaded; no locks. Each block is preceded by its size. */
#include "agent/heap/types.h"

#include "agent/util/critical.h"

enum { BLOCK = 1 << 20, HEADER = 16 };

static uintptr_t at, end;

void heap_enter_child(void)
{
    mcache_bind(NULL);
    agent_in_child = true;
}

void *child_alloc(size_t size, size_t align)
{
    if (align < HEADER) align = HEADER;
    if (size == 0) size = 1;
    size_t need;
    if (__builtin_add_overflow(size, align + HEADER + os_page_size(), &need)) return NULL;
    if (end - at < need) {
        size_t block = need < BLOCK ? BLOCK : (need + os_page_size() - 1) & ~(os_page_size() - 1);
        at = (uintptr_t)os_alloc(block, OS_OTHER);
        end = at ? at + block : 0;
        if (!at) return NULL;
    }
    uintptr_t p = (at + HEADER + align - 1) & ~(align - 1);
    at = p + size;
    ((size_t *)p)[-1] = size;
    return (void *)p;
}

size_t child_usable_size(const void *p)
{
    return ((const size_t *)p)[-1];
}
