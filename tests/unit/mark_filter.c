/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of words: each kind finds what the plain loop finds, for every number of words and at the edges of the ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/snapshot/mark_x86_64.h"

static FILTER_AVX2_CODE unsigned by_avx2(const uintptr_t *w, unsigned n, const struct filter_ranges *r, bool stacks)
{
    return filter_avx2(w, n, r, stacks);
}
static FILTER_AVX512_CODE unsigned by_avx512(const uintptr_t *w, unsigned n, const struct filter_ranges *r, bool stacks)
{
    return filter_avx512(w, n, r, stacks);
}
static FILTER_AVX2_CODE unsigned own_by_avx2(const uintptr_t *w, unsigned n, const struct filter_ranges *r,
                                             uintptr_t lo, size_t size)
{
    return own_avx2(w, n, r, lo, size);
}
static FILTER_AVX512_CODE unsigned own_by_avx512(const uintptr_t *w, unsigned n, const struct filter_ranges *r,
                                                 uintptr_t lo, size_t size)
{
    return own_avx512(w, n, r, lo, size);
}
static FILTER_AVX2_CODE unsigned add_by_avx2(const uintptr_t **to, const uintptr_t *w, unsigned bits)
{
    return add_avx2(to, w, bits);
}
static FILTER_AVX512_CODE unsigned add_by_avx512(const uintptr_t **to, const uintptr_t *w, unsigned bits)
{
    return add_avx512(to, w, bits);
}

static uint64_t seed = 88172645463325252u;
static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* At an edge of one of the ranges, or one off, or anything. */
static uintptr_t some_word(const struct filter_ranges *r)
{
    uintptr_t edges[] = {r->lo,     r->lo + r->len,         r->slo[0], r->slo[0] + r->slen[0],
                         r->slo[1], r->slo[1] + r->slen[1], 0,         UINTPTR_MAX};
    uint64_t k = next();
    if (k % 3 == 0) return next();
    uintptr_t p = edges[k / 3 % 8] + k / 64 % 3 - 1;
    return k & 1024 ? p : p | 0xab00000000000000u; /* with a tag */
}

static void finds_what_the_loop_finds(void **state)
{
    (void)state;
    enum filter_kind best = filter_best();
    if (best == FILTER_WORDS) skip();
    unsigned hits = 0;
    for (int round = 0; round < 20000; round++) {
        struct filter_ranges r = {.keep = round % 2 ? UINTPTR_MAX : UINTPTR_MAX >> 8,
                                  .lo = 0x700000000000u + next() % 4096 * 64,
                                  .len = next() % 1000000,
                                  .slo = {0x100000, 0x7fff00000000u},
                                  .slen = {round % 5 ? 4096 : 0, round % 7 ? 8192 : 0}};
        uintptr_t *w = malloc(FILTER_STEP * sizeof *w); /* beyond n nothing may be looked at, nor found */
        unsigned n = 1 + (unsigned)(next() % FILTER_STEP);
        for (unsigned i = 0; i < FILTER_STEP; i++) w[i] = some_word(&r);
        bool stacks = round % 3 == 0;
        unsigned want = filter_words(w, n, &r, stacks);
        assert_int_equal(by_avx2(w, n, &r, stacks), want);
        if (best == FILTER_AVX512) assert_int_equal(by_avx512(w, n, &r, stacks), want);
        uintptr_t lo = r.slo[round % 2] & r.keep;
        size_t size = 4096 << round % 2;
        unsigned own = own_words(w, n, &r, lo, size);
        assert_int_equal(own_by_avx2(w, n, &r, lo, size), own);
        const uintptr_t *a[FILTER_STEP], *b[FILTER_STEP];
        unsigned added = add_words(a, w, own | want);
        assert_int_equal(added, __builtin_popcount(own | want));
        assert_int_equal(add_by_avx2(b, w, own | want), added);
        if (added) assert_memory_equal(a, b, added * sizeof *a);
        if (best == FILTER_AVX512) {
            assert_int_equal(own_by_avx512(w, n, &r, lo, size), own);
            assert_int_equal(add_by_avx512(b, w, own | want), added);
            if (added) assert_memory_equal(a, b, added * sizeof *a);
        }
        hits += (unsigned)__builtin_popcount(want);
        free(w);
    }
    assert_true(hits > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_what_the_loop_finds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
