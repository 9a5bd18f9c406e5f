/* SPDX-License-Identifier: Apache-2.0
 *
 * The marker on objects of every shape, from given roots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/snapshot/child.h"
#include "seep.h"
#include "tests/unit/in_child.h"

static struct marker m;

static struct object_ref ref_of(const void *p)
{
    struct object_ref o = {UINT32_MAX, 0};
    mark_resolve(&m, (uintptr_t)p, &o);
    return o;
}

static bool marked(const void *p)
{
    struct object_ref o = ref_of(p);
    return o.span != UINT32_MAX && mark_is_marked(&m, o);
}

static bool by_start(const void *p)
{
    struct object_ref o = ref_of(p);
    return (mark_word_of(&m, o)->start >> (o.index & 63)) & 1;
}

static void mark_from(const void *p)
{
    mark_collect(&m);
    mark_value(&m, (uintptr_t)p);
    mark_drain(&m);
}

enum { LONG = 20000 };
static void **chain[LONG];

static int check_chain(void *arg)
{
    (void)arg;
    mark_from(chain[10]);
    for (int i = 0; i < LONG; i++) EXPECT(marked(chain[i]) == (i >= 10));
    EXPECT(by_start(chain[10]) && by_start(chain[LONG - 1]));
    return 0;
}

static void follows_a_long_chain(void **state)
{
    (void)state;
    for (int i = LONG; i-- > 0;) {
        chain[i] = calloc(1, 16 + (size_t)(i % 50) * 16);
        chain[i][i % 2] = i + 1 < LONG ? chain[i + 1] : NULL;
    }
    assert_int_equal(in_child(check_chain, NULL), 0);
    for (int i = 0; i < LONG; i++) free(chain[i]);
}

static void **wide;

static int check_wide(void *arg)
{
    (void)arg;
    mark_from((char *)wide + 4000); /* into the middle of a large object, found whole */
    EXPECT(marked(wide) && !by_start(wide));
    for (int i = 0; i < LONG; i++) EXPECT(marked(wide[i]) && by_start(wide[i]));
    EXPECT(m.stack_room == 1u << 16); /* the stack has not grown to the number of children */
    return 0;
}

static void scans_a_large_object_in_pieces(void **state)
{
    (void)state;
    wide = malloc(LONG * sizeof *wide);
    for (int i = 0; i < LONG; i++) wide[i] = calloc(1, 48);
    assert_int_equal(in_child(check_wide, NULL), 0);
    for (int i = 0; i < LONG; i++) free(wide[i]);
    free(wide);
}

struct pair {
    void **a, **b;
};

static int check_noscan(void *arg)
{
    struct pair *p = arg;
    mark_from(p->a);
    EXPECT(marked(p->a) && !marked(p->b));
    return 0;
}

static void does_not_look_into_noscan(void **state)
{
    (void)state;
    struct pair p = {seep_new(64, SEEP_NOSCAN), malloc(64)};
    p.a[0] = p.b;
    assert_int_equal(in_child(check_noscan, &p), 0);
    seep_free(p.a);
    free(p.b);
}

static int check_freed(void *arg)
{
    struct pair *p = arg;
    mark_from(p->a);
    struct object_ref o = ref_of(p->a);
    EXPECT(mark_word_of(&m, o)->free >> (o.index & 63) & 1);
    EXPECT(!marked(p->b));
    return 0;
}

static void finds_nothing_through_freed_memory(void **state)
{
    (void)state;
    struct pair p = {malloc(3000), malloc(2000)};
    p.a[100] = p.b;
    uintptr_t a = (uintptr_t)p.a;
    free(p.a);
    p.a = (void **)a;
    assert_int_equal(in_child(check_freed, &p), 0);
    free(p.b);
}

static int check_self(void *arg)
{
    struct pair *p = arg;
    mark_from((char *)p->a + 16); /* interior: its own pointer to its start does not change that */
    EXPECT(marked(p->a) && !by_start(p->a));
    EXPECT(marked(p->b) && by_start(p->b));
    return 0;
}

static void ignores_pointers_to_itself(void **state)
{
    (void)state;
    struct pair p = {calloc(1, 100), calloc(1, 100)};
    p.a[0] = p.a;
    p.a[1] = p.b;
    assert_int_equal(in_child(check_self, &p), 0);
    free(p.a);
    free(p.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_a_long_chain),       cmocka_unit_test(scans_a_large_object_in_pieces),
        cmocka_unit_test(does_not_look_into_noscan),  cmocka_unit_test(finds_nothing_through_freed_memory),
        cmocka_unit_test(ignores_pointers_to_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
