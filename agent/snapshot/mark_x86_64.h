/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of eight words point into given ranges, by vectors where the processor has them. Most words that are scanned are
 * no pointers, in no order that a branch predictor could learn.
 *
 * A new machine needs the functions for words, FILTERS, filter_best() and the attributes; the first of each will do. */
#ifndef SEEP_SNAPSHOT_MARK_X86_64_H
#define SEEP_SNAPSHOT_MARK_X86_64_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/snapshot/child.h"

enum filter_kind { FILTER_WORDS, FILTER_AVX2, FILTER_AVX512, FILTERS };
enum { FILTER_STEP = 8 };

#define FILTER_AVX2_CODE   __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define FILTER_AVX512_CODE __attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512vl")))

/* Each returns a bit for each of the n words (at most FILTER_STEP) at w; stacks: r's are looked at as well. */
static inline __attribute__((always_inline)) unsigned filter_words(const uintptr_t *w, unsigned n,
                                                                   const struct filter_ranges *r, bool stacks)
{
    unsigned hits = 0;
    for (unsigned i = 0; i < n; i++) {
        uintptr_t p = w[i] & r->keep;
        bool hit = p - r->lo <= r->len;
        if (stacks) hit = hit || p - r->slo[0] < r->slen[0] || p - r->slo[1] < r->slen[1];
        hits |= (unsigned)hit << i;
    }
    return hits;
}

/* Unsigned a > b: the comparison of the instruction is signed. */
static inline __attribute__((always_inline)) FILTER_AVX2_CODE __m256i above_avx2(__m256i a, uintptr_t b)
{
    const __m256i sign = _mm256_set1_epi64x(INT64_MIN);
    return _mm256_cmpgt_epi64(_mm256_xor_si256(a, sign), _mm256_xor_si256(_mm256_set1_epi64x((long long)b), sign));
}

static inline __attribute__((always_inline)) FILTER_AVX2_CODE unsigned four_avx2(const uintptr_t *w, __m256i which,
                                                                                 const struct filter_ranges *r,
                                                                                 bool stacks)
{
    __m256i v =
        _mm256_and_si256(_mm256_maskload_epi64((const long long *)w, which), _mm256_set1_epi64x((long long)r->keep));
    __m256i out = above_avx2(_mm256_sub_epi64(v, _mm256_set1_epi64x((long long)r->lo)), r->len);
    if (stacks)
        for (int i = 0; i < 2; i++) {
            if (!r->slen[i]) continue;
            __m256i d = _mm256_sub_epi64(v, _mm256_set1_epi64x((long long)r->slo[i]));
            out = _mm256_and_si256(out, above_avx2(d, r->slen[i] - 1));
        }
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_andnot_si256(out, which)));
}

static inline __attribute__((always_inline)) FILTER_AVX2_CODE unsigned filter_avx2(const uintptr_t *w, unsigned n,
                                                                                   const struct filter_ranges *r,
                                                                                   bool stacks)
{
    static const int64_t first[16] = {-1, -1, -1, -1, -1, -1, -1, -1}; /* from 8 - n on: n are set */
    const int64_t *which = first + FILTER_STEP - n;
    unsigned low = four_avx2(w, _mm256_loadu_si256((const __m256i *)which), r, stacks);
    return low | four_avx2(w + 4, _mm256_loadu_si256((const __m256i *)(which + 4)), r, stacks) << 4;
}

static inline __attribute__((always_inline)) FILTER_AVX512_CODE unsigned filter_avx512(const uintptr_t *w, unsigned n,
                                                                                       const struct filter_ranges *r,
                                                                                       bool stacks)
{
    __mmask8 which = (__mmask8)(0xffu >> (FILTER_STEP - n));
    __m512i v = n == FILTER_STEP ? _mm512_loadu_si512(w) : _mm512_maskz_loadu_epi64(which, w);
    v = _mm512_and_si512(v, _mm512_set1_epi64((long long)r->keep));
    unsigned hits = _mm512_cmple_epu64_mask(_mm512_sub_epi64(v, _mm512_set1_epi64((long long)r->lo)),
                                            _mm512_set1_epi64((long long)r->len));
    if (stacks)
        for (int i = 0; i < 2; i++)
            hits |= _mm512_cmplt_epu64_mask(_mm512_sub_epi64(v, _mm512_set1_epi64((long long)r->slo[i])),
                                            _mm512_set1_epi64((long long)r->slen[i]));
    return n == FILTER_STEP ? hits : hits & which;
}

/* Each returns a bit for each of the n words (at most FILTER_STEP) at w that points into [lo, lo + size). */
static inline __attribute__((always_inline)) unsigned own_words(const uintptr_t *w, unsigned n,
                                                                const struct filter_ranges *r, uintptr_t lo,
                                                                size_t size)
{
    unsigned own = 0;
    for (unsigned i = 0; i < n; i++) own |= (unsigned)((w[i] & r->keep) - lo < size) << i;
    return own;
}

static inline __attribute__((always_inline)) FILTER_AVX2_CODE unsigned own_avx2(const uintptr_t *w, unsigned n,
                                                                                const struct filter_ranges *r,
                                                                                uintptr_t lo, size_t size)
{
    const struct filter_ranges own = {.keep = r->keep, .lo = lo, .len = size - 1};
    return filter_avx2(w, n, &own, false);
}

static inline __attribute__((always_inline)) FILTER_AVX512_CODE unsigned own_avx512(const uintptr_t *w, unsigned n,
                                                                                    const struct filter_ranges *r,
                                                                                    uintptr_t lo, size_t size)
{
    const struct filter_ranges own = {.keep = r->keep, .lo = lo, .len = size - 1};
    return filter_avx512(w, n, &own, false);
}

/* The addresses of those of the words at w that have a bit; there is room for FILTER_STEP. Returns how many they are. */
static inline __attribute__((always_inline)) unsigned add_words(const uintptr_t **to, const uintptr_t *w, unsigned bits)
{
    unsigned n = 0;
    for (; bits; bits &= bits - 1) to[n++] = w + __builtin_ctz(bits);
    return n;
}

/* Most objects have at most two pointers: how many is not guessed. */
static inline __attribute__((always_inline)) FILTER_AVX2_CODE unsigned add_avx2(const uintptr_t **to,
                                                                                const uintptr_t *w, unsigned bits)
{
    unsigned n = (unsigned)__builtin_popcount(bits), none = 1u << FILTER_STEP;
    to[0] = w + __builtin_ctz(bits | none);
    bits &= bits - 1;
    to[1] = w + __builtin_ctz(bits | none);
    for (unsigned i = 2; i < n; i++) {
        bits &= bits - 1;
        to[i] = w + __builtin_ctz(bits);
    }
    return n;
}

static inline __attribute__((always_inline)) FILTER_AVX512_CODE unsigned add_avx512(const uintptr_t **to,
                                                                                    const uintptr_t *w, unsigned bits)
{
    __m512i at =
        _mm512_add_epi64(_mm512_set1_epi64((long long)(uintptr_t)w), _mm512_setr_epi64(0, 8, 16, 24, 32, 40, 48, 56));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi64((__mmask8)bits, at));
    return (unsigned)__builtin_popcount(bits);
}

static inline enum filter_kind filter_best(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2"))
        return FILTER_AVX512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? FILTER_AVX2 : FILTER_WORDS;
}

#endif
