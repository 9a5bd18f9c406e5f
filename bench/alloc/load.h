/* SPDX-License-Identifier: Apache-2.0
 *
 * What the allocation loads share: a fixed pseudo-random sequence, so that every allocator sees the same calls, and a
 * write to each block, since memory that nobody touches costs nothing. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rng {
    uint64_t s;
};

static inline uint32_t rng_next(struct rng *r)
{
    r->s ^= r->s << 13;
    r->s ^= r->s >> 7;
    r->s ^= r->s << 17;
    return (uint32_t)(r->s >> 32);
}

/* Below n, which is small against 2^32. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)(((uint64_t)rng_next(r) * n) >> 32);
}

/* A block whose first and last bytes are written. */
static inline void *block_new(size_t size)
{
    unsigned char *p = malloc(size);
    if (!p) {
        fputs("out of memory\n", stderr);
        exit(4);
    }
    p[0] = (unsigned char)size;
    p[size - 1] = (unsigned char)size;
    return p;
}

/* Sizes as servers ask for them: 90 % of 16 to 256 bytes, most of the rest up to 4 KiB, a few up to 64 KiB. */
static inline size_t server_size(struct rng *r)
{
    uint32_t kind = rng_below(r, 1000);
    if (kind < 900) return 16 + rng_below(r, 241);
    if (kind < 995) return 256 + rng_below(r, 3841);
    return 4096 + rng_below(r, 61441);
}

/* The first argument scales the work; 1 without one. */
static inline long load_scale(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 1;
    return n > 0 ? n : 1;
}

#endif
