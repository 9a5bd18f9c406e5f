/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics: the parts add up in every reading while 8 threads allocate, what is counted is what was done, and
 * trimming gives idle memory back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/heap/heap.h"
#include "agent/include/seep.h"

enum { THREADS = 8, OPS = 30000, LIVE = 300 };

static unsigned running;

static void *work(void *arg)
{
    uint64_t s = (uintptr_t)arg + 99;
    void *live[LIVE] = {0};
    for (int i = 0; i < OPS; i++) {
        s = s * 6364136223846793005ull + 1442695040888963407ull;
        size_t k = (s >> 33) % LIVE, size = (s >> 20) % 64 == 0 ? 60000 : (s >> 40) % 1000;
        free(live[k]);
        live[k] = malloc(size);
    }
    for (int i = 0; i < LIVE; i++) free(live[i]);
    __atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

static struct seep_memstats get(void)
{
    struct seep_memstats m = {.size = sizeof m};
    assert_int_equal(seep_read_memstats(&m), 0);
    return m;
}

static void check_sums(const struct seep_memstats *m)
{
    assert_int_equal(m->heap_sys, m->heap_inuse + m->heap_idle);
    assert_true(m->heap_idle >= m->heap_released);
    assert_int_equal(m->sys, m->heap_sys + m->mspan_sys + m->mcache_sys + m->buckhash_sys + m->gc_sys + m->stack_sys +
                                 m->other_sys);
    assert_int_equal(m->mallocs, m->frees + m->heap_objects);
    assert_true(m->total_alloc >= m->heap_alloc);
    assert_true(m->heap_alloc >= m->large_alloc);
}

static void sums_hold_under_threads(void **state)
{
    (void)state;
    pthread_t t[THREADS];
    running = THREADS;
    struct seep_memstats before = get(), last = before;
    for (uintptr_t i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&t[i], NULL, work, (void *)i), 0);
    while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) > 0) {
        struct seep_memstats m = get();
        check_sums(&m);
        assert_true(m.mallocs >= last.frees && m.frees >= last.frees && m.total_alloc >= last.total_alloc);
        last = m;
    }
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    struct seep_memstats after = get();
    check_sums(&after);
    uint64_t made = after.mallocs - before.mallocs;
    assert_true(made >= THREADS * OPS && made < THREADS * OPS + 2000);
    assert_true(after.heap_objects < before.heap_objects + 500);
}

static void counts_are_exact(void **state)
{
    (void)state;
    static void *p[1000];
    struct seep_memstats a = get();
    for (int i = 0; i < 1000; i++) p[i] = malloc(100); /* slots of 112 */
    struct seep_memstats b = get();
    assert_int_equal(b.mallocs - a.mallocs, 1000);
    assert_int_equal(b.heap_objects - a.heap_objects, 1000);
    assert_int_equal(b.heap_alloc - a.heap_alloc, 112000);
    assert_int_equal(b.total_alloc - a.total_alloc, 112000);
    for (int i = 0; i < 1000; i++) free(p[i]);
    void *volatile large = malloc(100000); /* 13 pages */
    struct seep_memstats c = get();
    assert_int_equal(c.frees - b.frees, 1000);
    assert_int_equal(c.heap_alloc, a.heap_alloc + 13 * 8192);
    assert_int_equal(c.large_alloc, a.large_alloc + 13 * 8192);
    free(large);
    assert_int_equal(get().heap_alloc, a.heap_alloc);
    struct mallinfo2 m = mallinfo2();
    assert_int_equal(m.uordblks, get().heap_alloc);
}

static void trim_gives_back(void **state)
{
    (void)state;
    enum { N = 20000 };
    static void *p[N];
    for (int i = 0; i < N; i++) memset(p[i] = malloc(4000), 1, 4000);
    struct seep_memstats full = get();
    for (int i = 0; i < N; i++) free(p[i]);
    malloc_trim(0);
    struct seep_memstats m = get();
    check_sums(&m);
    assert_true(full.heap_inuse > N * 4000ull);
    assert_true(m.heap_inuse < full.heap_inuse - N * 3900ull);
    assert_int_equal(m.heap_idle, m.heap_released);
    assert_true(m.scavenged >= N * 3900ull);
}

static void small_structs(void **state)
{
    (void)state;
    struct seep_memstats m = {.size = 4};
    assert_true(seep_read_memstats(&m) < 0);
    assert_true(seep_read_memstats(NULL) < 0);
    struct {
        size_t size;
        uint64_t sys, canary;
    } old = {.size = 16, .canary = 42};
    assert_int_equal(seep_read_memstats((void *)&old), 0);
    assert_true(old.sys > 0);
    assert_int_equal(old.canary, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_are_exact), cmocka_unit_test(sums_hold_under_threads),
                                       cmocka_unit_test(trim_gives_back), cmocka_unit_test(small_structs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
