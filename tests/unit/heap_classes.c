/* SPDX-License-Identifier: Apache-2.0
 *
 * The generated size classes: known rows of Go's table, and the rule for all of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/heap/types.h"

static void known_rows(void **state)
{
    (void)state;
    static const struct {
        unsigned class, size, bytes, objects, tail;
    } rows[] = {{1, 8, 8192, 1024, 0},    {3, 24, 8192, 341, 8},     {5, 48, 8192, 170, 32},
                {33, 1152, 8192, 7, 128}, {42, 3200, 16384, 5, 384}, {47, 6144, 24576, 4, 0},
                {60, 18432, 73728, 4, 0}, {66, 28672, 57344, 2, 0},  {67, 32768, 32768, 1, 0}};
    assert_int_equal(SIZE_CLASSES, 68);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned c = rows[i].class, bytes = class_to_pages[c] * (unsigned)HPAGE_BYTES;
        assert_int_equal(class_to_size[c], rows[i].size);
        assert_int_equal(bytes, rows[i].bytes);
        assert_int_equal(bytes / rows[i].size, rows[i].objects);
        assert_int_equal(bytes % rows[i].size, rows[i].tail);
    }
}

static void rule(void **state)
{
    (void)state;
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        size_t size = class_to_size[c], bytes = (size_t)class_to_pages[c] << HPAGE_SHIFT;
        assert_true(size > (c > 1 ? class_to_size[c - 1] : 0u));
        assert_true(bytes % size <= bytes / 8);
        assert_true(bytes / size <= 1024);
        assert_int_equal(class_to_span_pages[c] % class_to_pages[c], 0);
        assert_true(((size_t)class_to_span_pages[c] << HPAGE_SHIFT) / size <= 1024);
        struct mspan s = {.base = 0x1000000, .inverse = class_to_inverse[c]};
        for (size_t off = 0; off < (size_t)class_to_span_pages[c] << HPAGE_SHIFT; off++) {
            assert_int_equal(span_index(&s, s.base + off), off / size);
            assert_int_equal(span_slot_start(&s, s.base + off), off % size == 0);
        }
    }
}

static void look_up(void **state)
{
    (void)state;
    for (size_t size = 0; size <= SMALL_MAX_BYTES; size++) {
        unsigned g = gc_class(size), a = abi_class(size);
        assert_true(class_to_size[g] >= size);
        assert_true(g == 1 || class_to_size[g - 1] < size);
        assert_true(a >= g);
        assert_int_equal(class_to_size[a] % 16, 0);
        assert_true(a == g || class_to_size[g] % 16 != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_rows), cmocka_unit_test(rule), cmocka_unit_test(look_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
