/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages inside partly used spans go back on malloc_trim: the kernel says so, what is live stays, and the spans go on
 * being good, under the invariant checker. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/heap/types.h"

enum { N = 2000 };

static uint64_t seed = 4711;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % below;
}

static size_t resident_kib(void)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    unsigned long a, b, kib, sum = 0;
    bool ours = false;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &a, &b) == 2) ours = a >= 0xc000000000 && a < 0xc400000000;
        if (ours && sscanf(line, "Rss: %lu kB", &kib) == 1) sum += kib;
    }
    if (f) fclose(f);
    return sum;
}

static unsigned char *block[N];

static void look(int i, size_t size)
{
    for (size_t k = 0; block[i] && k < size; k++) assert_int_equal(block[i][k], (unsigned char)(i * 7 + 1));
}

static void rounds(size_t size, int n)
{
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < n; i++) {
            if (block[i]) continue;
            block[i] = round % 2 ? calloc(1, size) : malloc(size);
            for (size_t k = 0; round % 2 && k < size; k++) assert_int_equal(block[i][k], 0);
            memset(block[i], i * 7 + 1, size);
        }
        /* Ends of spans, beginnings of spans, single slots. */
        for (int i = 0; i < n; i++) {
            bool drop = rnd(3) == 0 || (round < 4 && (i / 13 + round) % 3 != 0);
            if (!drop) continue;
            free(block[i]);
            block[i] = NULL;
        }
        malloc_trim(0);
        assert_true(heap_check());
        for (int i = 0; i < n; i++) look(i, size);
    }
    for (int i = 0; i < n; i++) {
        free(block[i]);
        block[i] = NULL;
    }
    assert_true(heap_check());
}

static void spans_stay_good(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 48, 500, 1024, 3000, 4096, 8192, 9000, 20000, 32768};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) rounds(sizes[i], sizes[i] < 5000 ? N : N / 10);
}

/* Each span keeps its first slots, or every second one of many pages: what is between goes. */
static void pages_go_back(void **state)
{
    (void)state;
    for (int large = 0; large < 2; large++) {
        size_t size = large ? 32768 : 1024;
        int n = large ? 200 : N, a_span = large ? 2 : 64;
        malloc_trim(0);
        size_t before = resident_kib();
        for (int i = 0; i < n; i++) memset(block[i] = malloc(size), i * 7 + 1, size);
        size_t full = resident_kib() - before;
        for (int i = 0; i < n; i++) {
            const struct mspan *s = span_of((uintptr_t)block[i]);
            if ((int)span_index(s, (uintptr_t)block[i]) % a_span < (large ? 1 : 4)) continue;
            free(block[i]);
            block[i] = NULL;
        }
        malloc_trim(0);
        size_t left = resident_kib() - before;
        assert_true(full >= (size_t)n * size / 1024);
        assert_true(left < (large ? full * 2 / 3 : full / 4));
        for (int i = 0; i < n; i++) {
            look(i, size);
            free(block[i]);
            block[i] = NULL;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(spans_stay_good), cmocka_unit_test(pages_go_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
