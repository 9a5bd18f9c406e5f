/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of eight words point into given ranges, and which slots eight pointers point to, by vectors where the processor has them. Most
 * words that are scanned are no pointers, in no order that a branch predictor could learn.
 *
 * A new machine needs the functions with _words, FILTERS, filter_best() and the attributes; the first of each will do. */
#ifndef SEEP_SNAPSHOT_MARK_X86_64_H
#define SEEP_SNAPSHOT_MARK_X86_64_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/snapshot/child.h"

enum filter_kind { FILTER_WORDS, FILTER_AVX2, FILTER_AVX512, FILTERS };
enum { FILTER_STEP = 8, MARK_PIECE = 2048 }; /* larger objects are scanned in pieces of that many bytes */

#define FILTER_AVX2_CODE   __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define FILTER_AVX512_CODE __attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512vl")))

/* How many of those that are left are looked at next. */
static inline unsigned filter_step(ptrdiff_t left)
{
    return left < FILTER_STEP ? (unsigned)left : (unsigned)FILTER_STEP;
}

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

/* The offsets of the words from r->lo. */
static inline __attribute__((always_inline)) FILTER_AVX512_CODE __m512i compare_avx512(unsigned *hits,
                                                                                       const uintptr_t *w, unsigned n,
                                                                                       const struct filter_ranges *r,
                                                                                       bool stacks)
{
    __mmask8 which = (__mmask8)(0xffu >> (FILTER_STEP - n));
    __m512i v = n == FILTER_STEP ? _mm512_loadu_si512(w) : _mm512_maskz_loadu_epi64(which, w);
    v = _mm512_and_si512(v, _mm512_set1_epi64((long long)r->keep));
    __m512i off = _mm512_sub_epi64(v, _mm512_set1_epi64((long long)r->lo));
    *hits = _mm512_cmple_epu64_mask(off, _mm512_set1_epi64((long long)r->len));
    if (stacks)
        for (int i = 0; i < 2; i++)
            *hits |= _mm512_cmplt_epu64_mask(_mm512_sub_epi64(v, _mm512_set1_epi64((long long)r->slo[i])),
                                             _mm512_set1_epi64((long long)r->slen[i]));
    if (n != FILTER_STEP) *hits &= which;
    return off;
}

static inline __attribute__((always_inline)) FILTER_AVX512_CODE unsigned filter_avx512(const uintptr_t *w, unsigned n,
                                                                                       const struct filter_ranges *r,
                                                                                       bool stacks)
{
    unsigned hits;
    (void)compare_avx512(&hits, w, n, r, stacks);
    return hits;
}

/* What at most FILTER_STEP pointers point to. A bit for each in the rest: it is in a span of small slots (else nothing of the others holds),
 * not at the start of its slot, in one that is not scanned, in one of more than MARK_PIECE bytes. */
struct mark_slots {
    uint64_t bit[FILTER_STEP];  /* of marker.marks */
    uint64_t slot[FILTER_STEP]; /* a struct mark_new each */
    unsigned small, inner, noscan, large;
};
/* The kind of most spans around, one that is scanned and of which no slot is large; UINT32_MAX: not known. */
struct mark_common {
    uint32_t kind, magic, elem;
};

/* Of the n offsets at off, in a chunk that has these page entries. *common becomes a kind that was among them. */
static inline __attribute__((always_inline)) void slots_words(struct mark_slots *s, struct mark_common *common,
                                                              const uint64_t *entries, const struct span_kind *kinds,
                                                              const uint32_t *off, unsigned n)
{
    s->small = s->inner = s->noscan = s->large = 0;
    for (unsigned j = 0; j < n; j++) {
        uint64_t e = entries[off[j] >> PAGE_SHIFT_SEEP];
        uint32_t kind = mark_entry_kind(e), in = mark_entry_in(e, off[j]), at = off[j];
        if (kind <= SPAN_KIND_LARGE) continue;
        const struct span_kind *k = &kinds[kind];
        uint64_t product = (uint64_t)in * k->magic, i = product >> 32;
        if (__builtin_expect(!mark_divides(product, k->magic), 0)) {
            at -= in - (uint32_t)i * k->elem;
            s->inner |= 1u << j;
        }
        s->bit[j] = ((e & UINT32_MAX) << 6) + i;
        s->slot[j] = at | (uint64_t)k->elem << 32;
        s->small |= 1u << j;
        s->noscan |= (unsigned)(k->noscan != 0) << j;
        s->large |= (unsigned)(k->elem > MARK_PIECE) << j;
        if (!k->noscan && k->elem <= MARK_PIECE) *common = (struct mark_common){kind, k->magic, k->elem};
    }
}

/* True: all n are starts of slots of the common kind; only then does what is written count. There is room for FILTER_STEP. */
static inline __attribute__((always_inline)) bool common_words(uint64_t *bit, uint64_t *slot,
                                                               const struct mark_common *common,
                                                               const uint64_t *entries, const uint32_t *off, unsigned n)
{
    for (unsigned j = 0; j < n; j++) {
        uint64_t e = entries[off[j] >> PAGE_SHIFT_SEEP], product = (uint64_t)mark_entry_in(e, off[j]) * common->magic;
        if (mark_entry_kind(e) != common->kind || !mark_divides(product, common->magic)) return false;
        bit[j] = ((e & UINT32_MAX) << 6) + (product >> 32);
        slot[j] = off[j] | (uint64_t)common->elem << 32;
    }
    return true;
}

static inline __attribute__((always_inline)) FILTER_AVX512_CODE bool common_avx512(uint64_t *bit, uint64_t *slot,
                                                                                   const struct mark_common *common,
                                                                                   const uint64_t *entries,
                                                                                   const uint32_t *off, unsigned n)
{
    const __m512i low = _mm512_set1_epi64(UINT32_MAX), magic = _mm512_set1_epi64(common->magic);
    __mmask8 which = (__mmask8)(0xffu >> (FILTER_STEP - n));
    __m256i o = _mm256_maskz_loadu_epi32(which, off);
    __m512i o64 = _mm512_cvtepu32_epi64(o);
    __m512i e = _mm512_i32gather_epi64(_mm256_srli_epi32(o, PAGE_SHIFT_SEEP), entries, 8);
    __m512i in = _mm512_add_epi64(_mm512_and_si512(_mm512_srli_epi64(e, 32), _mm512_set1_epi64(ENTRY_IN_MASK)),
                                  _mm512_and_si512(o64, _mm512_set1_epi64((1 << PAGE_SHIFT_SEEP) - 1)));
    __m512i product = _mm512_mul_epu32(in, magic);
    __mmask8 others = _mm512_cmpneq_epi64_mask(_mm512_srli_epi64(e, 54), _mm512_set1_epi64(common->kind)) |
                      _mm512_cmpge_epu64_mask(_mm512_and_si512(product, low), magic);
    _mm512_storeu_si512(
        bit, _mm512_add_epi64(_mm512_slli_epi64(_mm512_and_si512(e, low), 6), _mm512_srli_epi64(product, 32)));
    _mm512_storeu_si512(slot, _mm512_or_si512(o64, _mm512_set1_epi64((long long)((uint64_t)common->elem << 32))));
    return !(others & which);
}

/* Puts the offsets from r->lo of those of the n words at w that are pointers to `to`, which has room for FILTER_STEP; returns how many. */
static inline __attribute__((always_inline)) unsigned take_words(uintptr_t *to, const uintptr_t *w, unsigned n,
                                                                 const struct filter_ranges *r, bool stacks)
{
    unsigned taken = 0;
    for (unsigned bits = filter_words(w, n, r, stacks); bits; bits &= bits - 1)
        to[taken++] = (w[__builtin_ctz(bits)] & r->keep) - r->lo;
    return taken;
}

/* Most objects have at most two pointers: how many is not guessed. */
static inline __attribute__((always_inline)) FILTER_AVX2_CODE unsigned take_avx2(uintptr_t *to, const uintptr_t *w,
                                                                                 unsigned n,
                                                                                 const struct filter_ranges *r,
                                                                                 bool stacks)
{
    unsigned bits = filter_avx2(w, n, r, stacks), taken = (unsigned)__builtin_popcount(bits), one = 1;
    to[0] = (w[__builtin_ctz(bits | one << (n - 1))] & r->keep) - r->lo;
    bits &= bits - 1;
    to[1] = (w[__builtin_ctz(bits | one << (n - 1))] & r->keep) - r->lo;
    for (unsigned i = 2; i < taken; i++) {
        bits &= bits - 1;
        to[i] = (w[__builtin_ctz(bits)] & r->keep) - r->lo;
    }
    return taken;
}

static inline __attribute__((always_inline)) FILTER_AVX512_CODE unsigned take_avx512(uintptr_t *to, const uintptr_t *w,
                                                                                     unsigned n,
                                                                                     const struct filter_ranges *r,
                                                                                     bool stacks)
{
    unsigned hits;
    __m512i v = compare_avx512(&hits, w, n, r, stacks);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi64((__mmask8)hits, v));
    return (unsigned)__builtin_popcount(hits);
}

static inline enum filter_kind filter_best(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2"))
        return FILTER_AVX512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? FILTER_AVX2 : FILTER_WORDS;
}

#endif
