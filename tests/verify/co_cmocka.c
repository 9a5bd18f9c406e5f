/* SPDX-License-Identifier: Apache-2.0
 *
 * How a program's own tests look for leaks: seep_verify_none() in the teardown of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "seep.h"
#include "tests/control/plant.h"

void forget(void);
__attribute__((noinline)) void forget(void)
{
    void *volatile p = malloc(100);
    p = NULL;
    (void)p;
}

static void works(void **state)
{
    (void)state;
    void *p = malloc(100);
    assert_non_null(p);
    free(p);
}

static void leaks(void **state)
{
    (void)state;
    forget();
    scrub();
}

static int clean(void **state)
{
    (void)state;
    return seep_verify_none("clean");
}

static int finds_one(void **state)
{
    (void)state;
    return seep_verify_none("meant to be found") == 1 ? 0 : 1;
}

static int but_forget(void **state)
{
    static const char *const known[] = {"forget", NULL}, *const other[] = {"forgive", NULL};
    struct seep_verify_options o = {sizeof o, other, 2};
    (void)state;
    if (seep_verify_none_but("another function is ignored", &o) != 1) return 1;
    o.ignore = known;
    return seep_verify_none_but("known", &o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(works, clean),

        cmocka_unit_test_teardown(leaks, finds_one),
        cmocka_unit_test_teardown(works, but_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
