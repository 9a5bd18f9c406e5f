/* SPDX-License-Identifier: Apache-2.0
 *
 * The malloc family: what the program calls. Semantics are glibc's: errno, alignment, usable sizes, realloc(p, 0) frees.
 *
 *   malloc → fast_malloc (heap/fast.h) → slow paths in heap/alloc.c
 *
 * Async-signal-safe: no, as everywhere. errno is preserved where the call succeeds. */
#include "agent/heap/fast.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "agent/entry/alloctrace.h"
#include "agent/entry/entry.h"
#include "agent/heap/heap.h"
#include "agent/include/seep.h"
#include "agent/util/log.h"

SEEP_EXPORT void *malloc(size_t size)
{
    return fast_malloc(size);
}

SEEP_EXPORT void free(void *p)
{
    fast_free(p);
}

SEEP_EXPORT void cfree(void *p);
void cfree(void *p)
{
    fast_free(p);
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

SEEP_EXPORT void *calloc(size_t n, size_t size)
{
    size_t total;
    if (UNLIKELY(__builtin_mul_overflow(n, size, &total))) return no_memory();
    if (total <= calloc_clear_bytes) { /* clearing all of a small slot is cheaper than knowing whether it is clear */
        void *p = fast_malloc(total);
        return p ? memset(p, 0, total) : NULL;
    }
    return malloc_slow(total, HEAP_ZERO);
}

SEEP_EXPORT void *realloc(void *p, size_t size)
{
    if (p && size == 0) {
        fast_free(p);
        return NULL;
    }
    return UNLIKELY(heap_traced) ? trace_realloc(p, size) : heap_realloc(p, size);
}

SEEP_EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
    size_t total;
    if (UNLIKELY(__builtin_mul_overflow(n, size, &total))) return no_memory();
    return realloc(p, total);
}

/* ---- Aligned forms */
static bool power_of_two(size_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

SEEP_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
    if (!power_of_two(align) || align % sizeof(void *) != 0) return EINVAL;
    int saved = errno; /* the result says it all */
    void *p = heap_alloc(size, align, 0);
    errno = saved;
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}

static void *align_alloc(size_t align, size_t size)
{
    if (align > PTRDIFF_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    return heap_alloc(size, align, 0);
}

/* glibc takes any alignment here and rounds it up to a power of two. */
SEEP_EXPORT void *memalign(size_t align, size_t size)
{
    size_t up = 16;
    while (up < align && up <= PTRDIFF_MAX / 2) up *= 2;
    return align_alloc(up < align ? SIZE_MAX : up, size);
}

SEEP_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    if (!power_of_two(align)) {
        errno = EINVAL;
        return NULL;
    }
    return align_alloc(align, size);
}

SEEP_EXPORT void *valloc(size_t size)
{
    return heap_alloc(size, os_page_size(), 0);
}

SEEP_EXPORT void *pvalloc(size_t size)
{
    size_t page = os_page_size(), up;
    if (__builtin_add_overflow(size, page - 1, &up)) return no_memory();
    return heap_alloc(up & ~(page - 1), page, 0);
}

SEEP_EXPORT void *__libc_memalign(size_t align, size_t size);
void *__libc_memalign(size_t align, size_t size)
{
    return memalign(align, size);
}

SEEP_EXPORT size_t malloc_usable_size(void *p)
{
    return heap_usable_size(p);
}

/* ---- Tuning and statistics */
SEEP_EXPORT int malloc_trim(size_t pad)
{
    return heap_release(pad) != 0;
}

/* glibc's parameters mean nothing here: accepted, as unknown ones are there. */
SEEP_EXPORT int mallopt(int param, int value)
{
    (void)param;
    (void)value;
    return 1;
}

SEEP_EXPORT struct mallinfo2 mallinfo2(void)
{
    struct seep_memstats m = {.size = sizeof m};
    heap_stats(&m);
    return (struct mallinfo2){.arena = m.heap_sys - m.large_alloc,
                              .ordblks = 1,
                              .hblkhd = m.large_alloc,
                              .uordblks = m.heap_alloc,
                              .fordblks = m.heap_sys - (m.heap_alloc < m.heap_sys ? m.heap_alloc : m.heap_sys),
                              .keepcost = m.heap_idle - m.heap_released};
}

SEEP_EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 m = mallinfo2();
    return (struct mallinfo){.arena = (int)m.arena,
                             .ordblks = (int)m.ordblks,
                             .hblkhd = (int)m.hblkhd,
                             .uordblks = (int)m.uordblks,
                             .fordblks = (int)m.fordblks,
                             .keepcost = (int)m.keepcost};
}
