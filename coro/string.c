/* SPDX-License-Identifier: Apache-2.0
 *
 * Strings: two consecutive words {pointer, len}; the bytes are shared by all sub-strings and hold no pointers (noscan). */
#include "coro/defer.h"

#include <string.h>

#include "coro/include/coro.h"

static char *bytes(size_t n)
{
    return heap_alloc(n, 0, HEAP_NOSCAN);
}

CO_EXPORT co_str co_str_of(const char *text)
{
    return (co_str){text, text ? strlen(text) : 0};
}

CO_EXPORT co_str co_str_sub(co_str s, size_t lo, size_t hi)
{
    if (unlikely(lo > hi || hi > s.len))
        runtime_panic("string bounds [%zu:%zu] out of range with length %zu", lo, hi, s.len);
    return (co_str){hi > lo ? s.data + lo : s.data, hi - lo};
}

CO_EXPORT bool co_str_eq(co_str a, co_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

CO_EXPORT int co_str_cmp(co_str a, co_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

CO_EXPORT size_t co_str_find(co_str s, co_str part)
{
    if (part.len == 0) return 0;
    if (s.len == 0) return SIZE_MAX;
    const char *at = memmem(s.data, s.len, part.data, part.len);
    return at ? (size_t)(at - s.data) : SIZE_MAX;
}

CO_EXPORT bool co_str_split(co_str s, co_str sep, co_str *before, co_str *after)
{
    size_t at = co_str_find(s, sep);
    bool found = at != SIZE_MAX;
    *before = found ? co_str_sub(s, 0, at) : s;
    *after = found ? co_str_sub(s, at + sep.len, s.len) : (co_str){s.data, 0};
    return found;
}

CO_EXPORT co_str co_str_cat(co_str a, co_str b)
{
    size_t n;
    char *p = __builtin_add_overflow(a.len, b.len, &n) ? NULL : bytes(n ? n : 1);
    if (!p) return (co_str){0};
    if (a.len) memcpy(p, a.data, a.len);
    if (b.len) memcpy(p + a.len, b.data, b.len);
    return (co_str){p, n};
}

CO_EXPORT co_str co_str_clone(co_str s)
{
    return co_str_cat(s, (co_str){0});
}

CO_EXPORT char *co_str_c(co_str s)
{
    char *p = bytes(s.len + 1);
    if (!p) return NULL;
    if (s.len) memcpy(p, s.data, s.len);
    p[s.len] = '\0';
    return p;
}
