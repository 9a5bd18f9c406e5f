/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices. Model: Go's spec ("Slice types", "Appending to and copying slices") and runtime/slice.go for the growth: twofold up to
 * 256 elements, then gradually less, to 1.25, and up to the whole size class.
 *
 * Layout, for whoever looks for memory that a small part keeps alive: three consecutive words {pointer, len, cap} with len ≤ cap;
 * [pointer, pointer + cap · element size) lies within one block, and ends at the block's end unless capacity was cut. */
#include "coro/defer.h"

#include "coro/include/coro.h"

enum { DOUBLING = 256 };

CO_EXPORT void co_slice_check(size_t index, size_t len)
{
    if (unlikely(index >= len)) runtime_panic("index %zu out of range with length %zu", index, len);
}

/* SIZE_MAX is never had. */
static size_t bytes_of(size_t n, size_t elem_bytes)
{
    size_t bytes;
    return __builtin_mul_overflow(n, elem_bytes, &bytes) ? SIZE_MAX : bytes;
}

CO_EXPORT bool co_slice_make(co_slice *s, size_t elem_bytes, size_t len, size_t cap, unsigned flags)
{
    if (cap < len) cap = len;
    *s = (co_slice){0};
    if (cap == 0) return true;
    size_t bytes = bytes_of(cap, elem_bytes);
    if (bytes > (size_t)1 << 47) {
        *co_errno_location() = ENOMEM;
        return false;
    }
    s->data = heap_alloc(bytes, 0, HEAP_ZERO | (flags & CO_NOSCAN || elem_bytes < sizeof(void *) ? HEAP_NOSCAN : 0));
    if (!s->data) return false;
    s->len = len;
    s->cap = cap;
    return true;
}

CO_EXPORT bool co_slice_grow(co_slice *s, size_t elem_bytes, size_t n)
{
    size_t need;
    if (__builtin_add_overflow(s->len, n, &need)) need = SIZE_MAX;
    if (need <= s->cap) return true;
    size_t cap = s->cap;
    while (cap < need) {
        size_t more = cap < DOUBLING ? cap + !cap : (cap + 3 * DOUBLING) / 4;
        if (__builtin_add_overflow(cap, more, &cap)) cap = need;
    }
    struct heap_object o;
    bool noscan = s->data && heap_find((uintptr_t)s->data, &o) && o.noscan;
    co_slice to;
    if (!co_slice_make(&to, elem_bytes, s->len, cap, noscan ? CO_NOSCAN : 0)) return false;
    if (elem_bytes) to.cap = heap_usable_size(to.data) / elem_bytes;
    if (s->len) __builtin_memcpy(to.data, s->data, s->len * elem_bytes);
    *s = to;
    return true;
}

CO_EXPORT bool co_slice_append(co_slice *s, size_t elem_bytes, const void *elems, size_t n)
{
    if (!co_slice_grow(s, elem_bytes, n)) return false;
    if (n) __builtin_memmove((char *)s->data + s->len * elem_bytes, elems, n * elem_bytes);
    s->len += n;
    return true;
}

CO_EXPORT void co_slice_sub(co_slice *to, const co_slice *s, size_t elem_bytes, size_t lo, size_t hi, size_t max)
{
    if (max == SIZE_MAX) max = s->cap;
    if (unlikely(lo > hi || hi > max || max > s->cap))
        runtime_panic("slice bounds [%zu:%zu:%zu] out of range with capacity %zu", lo, hi, max, s->cap);
    /* An empty one at the end does not point past the block, into a neighbour. */
    *to = (co_slice){max > lo ? (char *)s->data + lo * elem_bytes : s->data, hi - lo, max - lo};
}

CO_EXPORT bool co_slice_clone(co_slice *to, const co_slice *s, size_t elem_bytes)
{
    if (!co_slice_make(to, elem_bytes, s->len, s->len, 0)) return false;
    if (s->len) __builtin_memcpy(to->data, s->data, s->len * elem_bytes);
    return true;
}

CO_EXPORT void co_slice_free(co_slice *s)
{
    heap_free(s->data);
    *s = (co_slice){0};
}
