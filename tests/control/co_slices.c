/* SPDX-License-Identifier: Apache-2.0
 *
 * A slice of slices, each of which is a few numbers out of a table of 64 KiB that was read. The twin clones them. */
#include "coro.h"
#include "tests/control/plant.h"

enum { TABLES = 6, NUMBERS = 8192 };
typedef CO_SLICE(long) numbers;
static CO_SLICE(numbers) kept;
static bool leak;

static __attribute__((noinline)) numbers read_table(void)
{
    numbers t = {0};
    co_make_slice(&t, NUMBERS, NUMBERS); /* PLANTED */
    for (size_t i = 0; i < t.len; i++) co_at(&t, i) = (long)i;
    return t;
}

static __attribute__((noinline)) void keep_some(void)
{
    numbers t = read_table(), some = co_cut(&t, 4000, 4008);
    if (!leak) {
        some = co_clone(&some);
        co_slice_free((co_slice *)&t);
    }
    co_append(&kept, some);
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    co_make_slice(&kept, 0, TABLES);
    for (int i = 0; i < TABLES; i++) keep_some();
    scrub();
    return kept.len == TABLES ? 0 : 1;
}
