/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics as text, JSON and XML: they parse as far as sscanf goes, the rows of classes add up to the sums, and
 * waits for locks are counted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/heap/types.h"
#include "agent/include/seep.h"

static char text[65536];

static void read_back(int fd)
{
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
}

static uint64_t value(const char *key)
{
    const char *at = strstr(text, key);
    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 10);
}

static uint64_t sum(const char *key)
{
    uint64_t total = 0;
    for (const char *at = text; (at = strstr(at, key)) != NULL; at += strlen(key))
        total += strtoull(at + strlen(key), NULL, 10);
    return total;
}

static void adds_up(void **state)
{
    (void)state;
    void *keep[500];
    for (int i = 0; i < 500; i++) keep[i] = malloc((size_t)i * 100);
    for (int i = 0; i < 500; i += 3) free(keep[i]);
    FILE *f = tmpfile();
    assert_int_equal(seep_write_memstats(fileno(f), 1), 0);
    read_back(fileno(f));
    assert_int_equal(value("{\"version\":"), 1);
    assert_int_equal(sum("\"objects\":"), value("\"heap_objects\":"));
    assert_int_equal(sum("\"object_bytes\":"), value("\"heap_alloc\":"));
    assert_int_equal(sum("\"span_bytes\":"), value("\"heap_inuse\":"));
    assert_int_equal(value("\"heap_sys\":"), value("\"heap_inuse\":") + value("\"heap_idle\":"));
    assert_true(sum("\"cached\":") > 0);
    assert_string_equal(text + strlen(text) - 3, "]}\n");
    fclose(f);

    f = tmpfile();
    assert_int_equal(seep_write_memstats(fileno(f), 0), 0);
    read_back(fileno(f));
    assert_true(value("heap_alloc ") >= 300 * 1000);
    fclose(f);

    f = tmpfile();
    assert_int_equal(malloc_info(0, f), 0);
    assert_int_equal(malloc_info(1, f), EINVAL);
    fflush(f);
    read_back(fileno(f));
    assert_int_equal(strncmp(text, "<malloc version=\"1\">\n<heap nr=\"0\">", 34), 0);
    assert_string_equal(text + strlen(text) - 10, "</malloc>\n");
    fclose(f);
    assert_int_equal(seep_write_memstats(-1, 0), -EBADF);
    for (int i = 0; i < 500; i++) {
        if (i % 3 != 0) free(keep[i]);
    }
}

static unsigned go;

static void *large(void *arg)
{
    while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE)) sched_yield();
    void *volatile p = malloc(10 << 20);
    free(p);
    return arg;
}

static uint64_t waits_for_pages(void)
{
    FILE *f = tmpfile();
    assert_int_equal(seep_write_memstats(fileno(f), 1), 0);
    read_back(fileno(f));
    fclose(f);
    assert_non_null(strstr(text, ",\"samples\":"));
    assert_non_null(strstr(text, ",\"profile\":"));
    return value("\"lock_waits\":{\"pages\":");
}

/* A wait for a lock is counted: a thread is made to wait for the pages. */
static void lock_waits(void **state)
{
    (void)state;
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, large, NULL), 0);
    uint64_t before = waits_for_pages();
    lock_acquire(&mheap.lock);
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&mheap.lock.word, __ATOMIC_RELAXED) != 2) sched_yield(); /* 2: it waits */
    lock_release(&mheap.lock);
    pthread_join(t, NULL);
    assert_true(waits_for_pages() > before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(adds_up), cmocka_unit_test(lock_waits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
