/* SPDX-License-Identifier: Apache-2.0
 *
 * Heads among lost blocks: of lists, trees, rings, rings behind rings, whatever the order of addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/snapshot/child.h"
#include "tests/unit/in_child.h"

enum { N = 3000, WORDS = 6 };
static void **block[N]; /* in the order of addresses */
static struct marker m;
static struct judgement j;
static struct snapshot_job job;

static int by_address(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return x < y ? -1 : x > y;
}

static void link_blocks(unsigned from, unsigned to)
{
    for (unsigned k = 0; k < WORDS; k++)
        if (!block[from][k]) {
            block[from][k] = block[to];
            return;
        }
}

static void link_all(unsigned first, unsigned last)
{
    for (unsigned i = first; i < last; i++) link_blocks(i, i + 1);
}

struct wanted {
    uint64_t direct;
    unsigned lost, heads[8], nheads;
};

static int check(void *arg)
{
    const struct wanted *want = arg;
    mark_collect(&m);
    for (size_t i = 0; i < m.nwords; i++) m.marks[i] = UINT64_MAX;
    for (unsigned i = 0; i < want->lost; i++) {
        struct object_ref o;
        EXPECT(mark_resolve(&m, (uintptr_t)block[i], &o));
        m.marks[mark_index(&m, o)] &= ~(1ull << (o.index & 63));
    }
    judge_heap(&m, &job, &j);
    EXPECT(j.unreachable_objects == want->lost);
    EXPECT(j.direct_objects == want->direct);
    EXPECT(j.direct_bytes == want->direct * 48);
    for (unsigned i = 0; i < want->lost; i++) {
        struct object_ref o;
        EXPECT(mark_resolve(&m, (uintptr_t)block[i], &o) && !mark_is_marked(&m, o)); /* as it was */
        bool head = !(mark_word_of(&m, o)->extra >> (o.index & 63) & 1), is = false;
        for (unsigned k = 0; k < want->nheads; k++) is |= want->heads[k] == i;
        EXPECT(want->nheads == 0 || head == is);
    }
    return 0;
}

static void begin(void)
{
    for (unsigned i = 0; i < N; i++) memset(block[i], 0, WORDS * sizeof(void *));
}

static void a_list_has_one_head(void **state)
{
    (void)state;
    begin();
    link_all(0, N - 1);
    assert_int_equal(in_child(check, &(struct wanted){1, N, {0}, 1}), 0);
    begin(); /* against the order of addresses, and from the middle */
    for (unsigned i = 1; i < N; i++) block[i][3] = (char *)block[i - 1] + 40;
    assert_int_equal(in_child(check, &(struct wanted){1, N, {N - 1}, 1}), 0);
}

static void loose_blocks_are_heads_each(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < N; i += 2) link_blocks(i, i); /* a pointer to itself is none */
    assert_int_equal(in_child(check, &(struct wanted){.direct = N, .lost = N}), 0);
}

static void a_ring_has_its_lowest_for_a_head(void **state)
{
    (void)state;
    begin();
    link_all(0, N - 1);
    link_blocks(N - 1, 0);
    assert_int_equal(in_child(check, &(struct wanted){1, N, {0}, 1}), 0);
    begin(); /* pairs */
    for (unsigned i = 0; i < N; i += 2) link_blocks(i, i + 1), link_blocks(i + 1, i);
    assert_int_equal(in_child(check, &(struct wanted){.direct = N / 2, .lost = N}), 0);
}

/* A ring at lower addresses that another keeps is no head, wherever the pointer into it stands. */
static void a_ring_behind_a_ring_has_no_head(void **state)
{
    (void)state;
    begin();
    link_all(0, 9);
    link_blocks(9, 0);
    link_all(10, 19);
    link_blocks(19, 10);
    link_all(20, 29);
    link_blocks(29, 20);
    link_blocks(25, 15); /* 20… → 10… → 0… */
    link_blocks(12, 7);
    assert_int_equal(in_child(check, &(struct wanted){1, 30, {20}, 1}), 0);
    link_blocks(3, 24); /* now they are one ring */
    assert_int_equal(in_child(check, &(struct wanted){1, 30, {0}, 1}), 0);
    begin(); /* behind a list: 10 → 11 → the ring */
    link_all(0, 9);
    link_blocks(9, 0);
    link_blocks(11, 5);
    link_blocks(10, 11);
    assert_int_equal(in_child(check, &(struct wanted){1, 12, {10}, 1}), 0);
}

static int make_blocks(void **state)
{
    (void)state;
    for (unsigned i = 0; i < N; i++) block[i] = malloc(WORDS * sizeof(void *));
    qsort(block, N, sizeof *block, by_address);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_one_head),
        cmocka_unit_test(loose_blocks_are_heads_each),
        cmocka_unit_test(a_ring_has_its_lowest_for_a_head),
        cmocka_unit_test(a_ring_behind_a_ring_has_no_head),
    };
    return cmocka_run_group_tests(tests, make_blocks, NULL);
}
