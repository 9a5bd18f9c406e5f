/* SPDX-License-Identifier: Apache-2.0
 *
 * The formatter, and the lock under contention. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "agent/util/critical.h"
#include "agent/util/lock.h"
#include "agent/util/log.h"

static void formats(void **state)
{
    (void)state;
    char b[128];
    assert_int_equal(fmt_string(b, sizeof b, "%s %d %u %x %c %%", "a", -5, 7u, 0xbeefu, 'z'), 15);
    assert_string_equal(b, "a -5 7 beef z %");
    fmt_string(b, sizeof b, "%ld %lu %lx %zu %zx %llu", LONG_MIN, ULONG_MAX, 1ul << 40, (size_t)9, (size_t)255, 3ull);
    assert_string_equal(b, "-9223372036854775808 18446744073709551615 10000000000 9 ff 3");
    fmt_string(b, sizeof b, "%p %s", (void *)0x1000, (const char *)NULL);
    assert_string_equal(b, "0x1000 (null)");
    assert_int_equal(fmt_string(b, 4, "%s", "abcdef"), 3);
    assert_string_equal(b, "abc");
    b[0] = 'q';
    assert_int_equal(fmt_string(b, 1, "%d", 123), 0);
    assert_string_equal(b, "");
}

static struct lock lock = LOCK_INIT(RANK_LOG);
static long counter;

static void *count(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100000; i++) {
        lock_acquire(&lock);
        counter++;
        lock_release(&lock);
    }
    return NULL;
}

static void excludes(void **state)
{
    (void)state;
    pthread_t t[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, count, NULL), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    assert_int_equal(counter, 400000);
    assert_true(lock_try(&lock));
    assert_int_equal(agent_tls.critical, 1);
    assert_false(lock_try(&lock));
    assert_int_equal(agent_tls.critical, 1);
    lock_release(&lock);
    assert_int_equal(agent_tls.critical, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats), cmocka_unit_test(excludes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
