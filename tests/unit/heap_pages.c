/* SPDX-License-Identifier: Apache-2.0
 *
 * The page allocator against a plain array: lowest run first, nothing handed out twice, summaries true. And the
 * thread's page cache. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

#include "agent/heap/types.h"

enum { PAGES = 3 * ARENA_PAGES + 700, OPS = 4000 };

static bool taken[PAGES];
static uintptr_t base;

static uint64_t seed = 12345;
static uint64_t next(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed >> 33;
}

static long model_find(size_t n)
{
    size_t run = 0;
    for (size_t i = 0; i < PAGES; i++) {
        run = taken[i] ? 0 : run + 1;
        if (run == n) return (long)(i + 1 - n);
    }
    return -1;
}

static void against_model(void **state)
{
    (void)state;
    lock_acquire(&mheap.lock);
    /* One run over several arenas; the model owns the pages that are free from its start on. */
    assert_true(arena_grow(PAGES + 2 * CHUNK_PAGES));
    base = pages_find(PAGES);
    size_t scavenged;
    /* All else that is free is set aside, so that the lowest run is the model's. */
    pages_take(base, PAGES, &scavenged);
    static uintptr_t aside[100000];
    size_t naside = 0;
    for (uintptr_t p; naside < 100000 && (p = pages_find(1)) != 0;) {
        pages_take(p, 1, &scavenged);
        aside[naside++] = p;
    }
    pages_free(base, PAGES, false);
    for (int i = 0; i < OPS; i++) {
        size_t n = next() % 8 ? 1 + next() % 30 : 1 + next() % 3000;
        if (next() % 5 < 3) {
            uintptr_t p = pages_find(n);
            long want = model_find(n);
            assert_int_equal(p, want < 0 ? 0 : base + ((uintptr_t)want << HPAGE_SHIFT));
            if (!p) continue;
            pages_take(p, n, &scavenged);
            for (size_t k = 0; k < n; k++) taken[(size_t)want + k] = true;
        } else { /* a run of taken pages, somewhere */
            size_t at = next() % PAGES, k = 0;
            while (at + k < PAGES && k < n && taken[at + k]) taken[at + k++] = false;
            if (k) pages_free(base + (at << HPAGE_SHIFT), k, next() & 1);
        }
        if (i % 100 == 0) assert_true(pages_check());
    }
    for (size_t i = 0; i < PAGES; i++) {
        if (taken[i]) pages_free(base + (i << HPAGE_SHIFT), 1, false);
    }
    while (naside > 0) pages_free(aside[--naside], 1, false);
    assert_true(pages_check());
    lock_release(&mheap.lock);
}

static void cache_of_pages(void **state)
{
    (void)state;
    struct pcache c = {0};
    size_t scavenged;
    lock_acquire(&mheap.lock);
    uint64_t released = mheap.released_pages;
    assert_true(pcache_fill(&c));
    unsigned n = (unsigned)__builtin_popcountll(c.free);
    assert_true(n > 0);
    uintptr_t p = pcache_take(&c, 1, &scavenged);
    assert_int_equal(
        p, c.base + ((uintptr_t)__builtin_ctzll(c.free | 1ull << ((p - c.base) >> HPAGE_SHIFT)) << HPAGE_SHIFT));
    assert_false(pages_are_free(p, 1));
    assert_true(pcache_give(&c, p, 1));
    assert_false(pcache_give(&c, c.base + ((uintptr_t)64 << HPAGE_SHIFT), 1));
    assert_false(pcache_give(&c, c.base - HPAGE_BYTES, 1));
    c = (struct pcache){.base = c.base, .free = c.free, .scav = c.scav};
    pcache_flush(&c);
    assert_int_equal(c.base, 0);
    assert_true(mheap.released_pages <= released);
    assert_true(pages_check());
    lock_release(&mheap.lock);

    c = (struct pcache){.base = (uintptr_t)1 << 30, .free = 0xf0ull | 3ull << 62};
    assert_int_equal(pcache_take(&c, 5, &scavenged), 0);
    assert_int_equal(pcache_take(&c, 4, &scavenged), ((uintptr_t)1 << 30) + 4 * HPAGE_BYTES);
    assert_int_equal(pcache_take(&c, 2, &scavenged), ((uintptr_t)1 << 30) + 62 * HPAGE_BYTES);
    assert_int_equal(c.free, 0);
}

int main(void)
{
    free(malloc(1));
    const struct CMUnitTest tests[] = {cmocka_unit_test(cache_of_pages), cmocka_unit_test(against_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
