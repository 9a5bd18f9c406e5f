/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices and strings, one row for each rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/heap/heap.h"
#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

typedef CO_SLICE(int) ints;

static ints numbers(int n)
{
    ints s = {0};
    for (int i = 0; i < n; i++) CHECK(co_append(&s, i));
    return s;
}
static bool nil_slice(void)
{
    ints s = {0};
    ints t = co_sub(&s, 0, 0), c = co_clone(&s);
    return s.len == 0 && t.data == NULL && c.data == NULL && co_append_n(&s, s.data, 0) && s.data == NULL;
}
static bool append_keeps_what_was(void)
{
    ints s = numbers(5000);
    bool ok = s.len == 5000 && s.cap >= 5000;
    for (size_t i = 0; i < s.len; i++) ok = ok && co_at(&s, i) == (int)i;
    size_t room = heap_usable_size(s.data);
    ok = ok && s.cap * sizeof(int) <= room;
    co_slice_free((co_slice *)&s);
    return ok && s.data == NULL;
}
static bool sub_shares(void)
{
    ints s = numbers(10), t = co_sub(&s, 2, 5);
    bool ok = t.len == 3 && t.cap == s.cap - 2 && t.data == s.data + 2;
    co_at(&t, 0) = 77;
    ok = ok && co_at(&s, 2) == 77;
    co_append(&t, 88); /* there is room: seen by both */
    ok = ok && t.data == s.data + 2 && co_at(&s, 5) == 88;
    ints beyond = co_sub(&t, 0, t.cap);
    return ok && beyond.len == t.cap;
}
static bool cut_moves_away(void)
{
    ints s = numbers(10), t = co_cut(&s, 2, 5);
    bool ok = t.cap == 3;
    co_append(&t, 99);
    return ok && t.data != s.data + 2 && co_at(&s, 5) == 5 && co_at(&t, 3) == 99 && co_at(&t, 0) == 2;
}
static bool append_to_itself(void)
{
    ints s = numbers(6);
    co_append_n(&s, s.data + 1, 3);
    co_append_n(&s, s.data, s.len);
    return s.len == 18 && co_at(&s, 6) == 1 && co_at(&s, 9) == 0 && co_at(&s, 15) == 1;
}
static bool clone_is_apart(void)
{
    ints s = numbers(100), part = co_sub(&s, 10, 12), c = co_clone(&part);
    co_at(&s, 10) = -1;
    return c.len == 2 && c.cap == 2 && co_at(&c, 0) == 10 && co_at(&c, 1) == 11;
}
static bool empty_end_stays_inside(void)
{
    ints s = {0};
    co_make_slice(&s, 4, 4);
    ints t = co_sub(&s, 4, 4);
    return t.len == 0 && t.data == s.data; /* not one past the end: that would be another block */
}
static bool absurd_sizes(void)
{
    ints s = {0};
    errno = 0;
    bool ok = !co_make_slice(&s, (size_t)1 << 60, 0) && errno == ENOMEM && s.data == NULL;
    s = numbers(1);
    return ok && !co_slice_grow((co_slice *)&s, sizeof(int), SIZE_MAX) && s.len == 1;
}
static bool pointers_are_scanned(void)
{
    CO_SLICE(void *) p = {0};
    ints s = numbers(3);
    struct heap_object o, n;
    co_append(&p, (void *)&s);
    return heap_find((uintptr_t)p.data, &o) && !o.noscan && heap_find((uintptr_t)s.data, &n) && n.noscan;
}

static bool strings(void)
{
    co_str s = co_str_of("key=value=x"), a, b;
    bool ok = co_str_split(s, co_str_of("="), &a, &b) && co_str_eq(a, co_str_of("key")) &&
              co_str_eq(b, co_str_of("value=x")) && b.data == s.data + 4;
    ok = ok && !co_str_split(a, co_str_of("="), &a, &b) && a.len == 3 && b.len == 0;
    ok = ok && co_str_find(s, co_str_of("lue")) == 6 && co_str_find(s, co_str_of("zz")) == SIZE_MAX &&
         co_str_find(s, co_str_of("")) == 0;
    ok = ok && co_str_cmp(co_str_of("ab"), co_str_of("abc")) < 0 && co_str_cmp(co_str_of("b"), co_str_of("abc")) > 0;
    co_str cat = co_str_cat(co_str_of("ab"), co_str_of("cd")), clone = co_str_clone(cat);
    char *c = co_str_c(clone);
    ok = ok && strcmp(c, "abcd") == 0 && clone.data != cat.data;
    free(c);
    return ok;
}

static const struct rule rows[] = {
    {"a nil slice has length and capacity 0; appending nothing leaves it nil", "spec, Slice types", nil_slice},
    {"append keeps what was there", "spec, Appending to and copying slices", append_keeps_what_was},
    {"a sub-slice shares its array; append writes into the room there is", "spec, Slice expressions", sub_shares},
    {"a full slice expression limits the capacity", "spec, Full slice expressions", cut_moves_away},
    {"append of a slice to itself", "spec, Appending to and copying slices", append_to_itself},
    {"a clone shares nothing", "slices.Clone", clone_is_apart},
    {"an empty slice at the end does not point past the array", "runtime/slice.go", empty_end_stays_inside},
    {"sizes out of range", "own", absurd_sizes},
    {"arrays of pointers are scanned, others not", "own", pointers_are_scanned},
    {"strings", "package strings", strings},
};
static void test_rules(void)
{
    CHECK_RULES(rows);
}

static void index_out(void)
{
    ints s = numbers(3);
    co_at(&s, 3) = 1;
}
static void bounds_out(void)
{
    ints s = numbers(3);
    ints t = co_sub(&s, 2, 1);
    (void)t;
}
static void string_out(void)
{
    co_str_sub(co_str_of("abc"), 1, 4);
}
static const struct ending ends[] = {
    {index_out, 2, "spec, Index expressions", {"index 3 out of range with length 3"}},
    {bounds_out, 2, "spec, Slice expressions", {"slice bounds [2:1:"}},
    {string_out, 2, "spec, Slice expressions", {"string bounds [1:4] out of range with length 3"}},
};
static void test_ends(void **state)
{
    (void)state;
    CHECK_ENDINGS(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends), RUN(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
