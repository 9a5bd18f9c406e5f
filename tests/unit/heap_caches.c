/* SPDX-License-Identifier: Apache-2.0
 *
 * What threads keep: bins grow with bursts and stay within their bounds, for a thread and for all; freed large spans are had
 * again, are free to everyone who looks, and are cleared for calloc; a thread that ends leaves nothing behind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/heap/types.h"
#include "agent/include/seep.h"
#include "agent/util/critical.h"
#include "agent/util/options.h"

#pragma GCC diagnostic ignored "-Wuse-after-free"

enum { BURST_BYTES = 512 << 10, ROUNDS = 4, THREADS = 24 };
/* bins.c */
enum { FIRST_BYTES = 16 << 10, CACHE_BYTES = 2 << 20, ALL_BYTES = 32 << 20, IDLE_BYTES = IDLE_MAX_PAGES * HPAGE_BYTES };

static uint64_t heap_inuse(void)
{
    struct seep_memstats m = {.size = sizeof m};
    assert_int_equal(seep_read_memstats(&m), 0);
    return m.heap_inuse;
}

static uint64_t bytes_in_bins(const struct mcache *mc)
{
    uint64_t bytes = 0;
    bins_count(mc, &bytes);
    return bytes;
}

static unsigned every;

/* Half a MiB of each class, or of every few, allocated and freed, over and over. */
static void bursts(unsigned step)
{
    void **p = malloc(BURST_BYTES / 8 * sizeof *p);
    for (int round = 0; round < ROUNDS; round++) {
        for (unsigned c = 1; c < SIZE_CLASSES; c += step) {
            int n = BURST_BYTES / class_to_size[c];
            for (int i = 0; i < n; i++) p[i] = malloc(class_to_size[c]);
            for (int i = n; i-- > 0;) free(p[i]);
        }
    }
    free(p);
}

static sem_t done, end;
static struct mcache *cache_of[THREADS];

static void *work_and_wait(void *at)
{
    bursts(every);
    *(struct mcache **)at = agent_tls.mcache;
    sem_post(&done);
    sem_wait(&end);
    return NULL;
}

static void an_idle_thread_keeps_little(void **state)
{
    (void)state;
    uint64_t before = heap_inuse();
    pthread_t t;
    every = 1;
    assert_int_equal(pthread_create(&t, NULL, work_and_wait, &cache_of[0]), 0);
    sem_wait(&done);
    uint64_t bins = bytes_in_bins(cache_of[0]), all = heap_inuse() - before;
    if (agent_options.check == 0) assert_true(bins > CACHE_BYTES / 2); /* they did grow */
    assert_true(bins <= CACHE_BYTES + (SIZE_CLASSES - 1) * FIRST_BYTES);
    assert_true(cache_of[0]->idle_pages <= IDLE_MAX_PAGES);
    /* Spans that are held by slots in bins at their edges, and the current ones: three of a class. */
    uint64_t spans = 0;
    for (unsigned c = 1; c < SIZE_CLASSES; c++) spans += 3ull * class_to_span_pages[c] * HPAGE_BYTES;
    print_message("bins %lu KiB, of %lu KiB in use by the idle thread\n", bins >> 10, all >> 10);
    assert_true(all <= bins + IDLE_BYTES + spans);
    sem_post(&end);
    pthread_join(t, NULL);
    assert_true(heap_inuse() <= before + (64 << 10));
}

static void all_threads_keep_little(void **state)
{
    (void)state;
    uint64_t before = heap_inuse(), bins = 0;
    every = 5;
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, work_and_wait, &cache_of[i]), 0);
        sem_wait(&done);
    }
    for (int i = 0; i < THREADS; i++) bins += bytes_in_bins(cache_of[i]);
    print_message("bins of %d idle threads: %lu KiB\n", THREADS, bins >> 10);
    assert_true(bins <= ALL_BYTES + THREADS * (SIZE_CLASSES - 1) * (uint64_t)FIRST_BYTES);
    for (int i = 0; i < THREADS; i++) sem_post(&end);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    assert_true(heap_inuse() <= before + (64 << 10));
    assert_true(heap_check());
}

static bool is_free(const void *p)
{
    struct heap_object o;
    uint64_t bits[16] = {0};
    assert_true(heap_find((uintptr_t)p, &o));
    heap_free_slots(o.span, bits);
    return bits[0] & 1;
}

static void large_spans_are_had_again(void **state)
{
    (void)state;
    unsigned char *p = malloc(100000), *q;
    memset(p, 0xee, 100000);
    assert_false(is_free(p));
    free(p);
    assert_true(is_free(p));
    q = malloc(99000);
    assert_ptr_equal(q, p);
    assert_false(is_free(q));
    free(q);
    q = calloc(1, 100000);
    assert_ptr_equal(q, p);
    for (int i = 0; i < 100000; i++) assert_int_equal(q[i], 0);
    free(q);
    assert_true(heap_check());
    uint64_t before = heap_inuse();
    void *many[100];
    for (int i = 0; i < 100; i++) many[i] = malloc(70000);
    for (int i = 0; i < 100; i++) free(many[i]);
    assert_true(heap_inuse() <= before + IDLE_BYTES);
    assert_true(heap_check());
    malloc_trim(0);
    assert_int_equal(agent_tls.mcache->idle_pages, 0);
    assert_true(heap_check());
}

int main(int argc, char **argv)
{
    (void)argc;
    if (!getenv("SEEP_RATE")) { /* spans of sampled objects belong to no thread */
        setenv("SEEP_RATE", "0", 1);
        execv("/proc/self/exe", argv);
    }
    sem_init(&done, 0, 0);
    sem_init(&end, 0, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_idle_thread_keeps_little),
                                       cmocka_unit_test(all_threads_keep_little),
                                       cmocka_unit_test(large_spans_are_had_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
