/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of words: each kind finds what the plain loop finds, for every number of words and at the edges of the ranges. Slots of pointers:
 * the same, in chunks of one kind of spans and of many. */
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
static FILTER_AVX2_CODE unsigned taken_by_avx2(uintptr_t *to, const uintptr_t *w, unsigned n,
                                               const struct filter_ranges *r, bool stacks)
{
    return take_avx2(to, w, n, r, stacks);
}
static FILTER_AVX512_CODE unsigned taken_by_avx512(uintptr_t *to, const uintptr_t *w, unsigned n,
                                                   const struct filter_ranges *r, bool stacks)
{
    return take_avx512(to, w, n, r, stacks);
}

static FILTER_AVX512_CODE bool common_by_avx512(uint64_t *bit, uint64_t *slot, const struct mark_common *common,
                                                const uint64_t *entries, const uint32_t *off, unsigned n)
{
    return common_avx512(bit, slot, common, entries, off, n);
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
        uintptr_t a[FILTER_STEP], b[FILTER_STEP];
        unsigned taken = take_words(a, w, n, &r, stacks);
        assert_int_equal(taken, __builtin_popcount(want));
        for (unsigned i = 0; i < taken; i++, want &= want - 1)
            assert_int_equal(a[i], (w[__builtin_ctz(want)] & r.keep) - r.lo);
        assert_int_equal(taken_by_avx2(b, w, n, &r, stacks), taken);
        if (taken) assert_memory_equal(a, b, taken * sizeof *a);
        if (best == FILTER_AVX512) {
            assert_int_equal(taken_by_avx512(b, w, n, &r, stacks), taken);
            if (taken) assert_memory_equal(a, b, taken * sizeof *a);
        }
        hits += taken;
        free(w);
    }
    assert_true(hits > 5000);
}

/* A chunk of 2 MiB: spans of 1 to 8 pages, of kinds that `one` says or any, the words of each where the one before ends. */
enum { KINDS = 8, PAGES = 256 };
static void fill_chunk(uint64_t entries[PAGES], const struct span_kind *kinds, uint32_t one)
{
    uint32_t word = (uint32_t)(next() % 100000);
    for (unsigned page = 0, before = (unsigned)(next() % 4); page < PAGES;
         before = 0) { /* the first span begins before the chunk */
        uint32_t kind = one && next() % 64 ? one : (uint32_t)(next() % KINDS);
        unsigned npages = 1 + (unsigned)(next() % 8);
        for (unsigned i = 0; i < npages && page < PAGES; i++, page++)
            entries[page] = kind <= SPAN_KIND_LARGE ? (uint64_t)kind << 54 | (kind ? word : 0)
                                                    : (uint64_t)kind << 54 | (uint64_t)(i + before) << 45 | word;
        word += (npages << PAGE_SHIFT_SEEP) / (kinds[kind].elem ? kinds[kind].elem : 8) / 64 + 1;
    }
}

static void finds_the_slots_that_the_loop_finds(void **state)
{
    (void)state;
    static const uint32_t elems[KINDS] = {0, 0, 16, 48, 64, 1152, 2048, 3072};
    struct span_kind kinds[KINDS] = {{0}};
    for (unsigned k = SPAN_KIND_LARGE + 1; k < KINDS; k++)
        kinds[k] = (struct span_kind){.elem = elems[k], .magic = UINT32_MAX / elems[k] + 1, .noscan = k == 3};
    unsigned all = 0, others = 0, inner = 0;
    for (int round = 0; round < 2000; round++) {
        uint64_t entries[PAGES];
        uint32_t one = round % 4 ? (uint32_t)(2 + round % 6) : 0;
        fill_chunk(entries, kinds, one);
        struct mark_common common = {UINT32_MAX, 0, 0};
        for (int k = 0; k < 50; k++) {
            uint32_t off[FILTER_STEP];
            unsigned n = k % 5 ? FILTER_STEP : 1 + (unsigned)(next() % FILTER_STEP);
            for (unsigned i = 0; i < n; i++) {
                off[i] = (uint32_t)(next() % (PAGES << PAGE_SHIFT_SEEP));
                uint64_t e = entries[off[i] >> PAGE_SHIFT_SEEP];
                uint32_t elem = kinds[mark_entry_kind(e)].elem, in = mark_entry_in(e, off[i]);
                if (elem && next() % 32 && in % elem <= off[i]) off[i] -= in % elem; /* mostly starts */
            }
            struct mark_common before = common;
            struct mark_slots a;
            slots_words(&a, &common, entries, kinds, off, n);
            uint64_t bits[FILTER_STEP], slots[FILTER_STEP];
            bool known = before.kind != UINT32_MAX, same = known;
            for (unsigned i = 0; i < n; i++)
                same =
                    same && mark_entry_kind(entries[off[i] >> PAGE_SHIFT_SEEP]) == before.kind && !(a.inner >> i & 1);
            for (int vectors = 0; known && vectors <= (filter_best() == FILTER_AVX512); vectors++) {
                bool found = vectors ? common_by_avx512(bits, slots, &before, entries, off, n)
                                     : common_words(bits, slots, &before, entries, off, n);
                assert_int_equal(found, same);
                if (!found) continue;
                assert_int_equal(a.small, (1u << n) - 1);
                assert_int_equal(a.inner | a.noscan | a.large, 0);
                assert_memory_equal(a.bit, bits, n * sizeof *bits);
                assert_memory_equal(a.slot, slots, n * sizeof *slots);
            }
            for (unsigned i = 0; i < n; i++) {
                if (!(a.small >> i & 1)) continue;
                struct mark_new slot;
                memcpy(&slot, &a.slot[i], sizeof slot);
                assert_true((int32_t)slot.at <= (int32_t)off[i] && off[i] - slot.at < slot.size);
                assert_true((slot.at == off[i]) == !(a.inner >> i & 1));
            }
            all += same;
            others += !same;
            inner += a.inner != 0;
        }
    }
    assert_true(all > 10000 && others > 10000 && inner > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_what_the_loop_finds),
                                       cmocka_unit_test(finds_the_slots_that_the_loop_finds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
