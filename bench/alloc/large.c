/* SPDX-License-Identifier: Apache-2.0
 *
 * Large and huge blocks with reuse: 40 slots of 64 KiB to 1 MiB and 4 of 5 to 25 MiB, replaced at random, each new
 * block written once a page. */
#include "bench/alloc/load.h"

enum { SMALLER = 40, HUGE_ONES = 4, STEPS = 4000, PAGE = 4096 };

static void touch(unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i += PAGE) p[i] = (unsigned char)i;
}

int main(int argc, char **argv)
{
    static void *smaller[SMALLER], *huge[HUGE_ONES];
    struct rng r = {0xc4ceb9fe1a85ec53u};
    for (long n = load_scale(argc, argv) * STEPS; n > 0; n--) {
        int is_huge = rng_below(&r, 20) == 0;
        void **slot = is_huge ? &huge[rng_below(&r, HUGE_ONES)] : &smaller[rng_below(&r, SMALLER)];
        size_t size = is_huge ? (5u << 20) + rng_below(&r, 20u << 20) : (64u << 10) + rng_below(&r, 960u << 10);
        free(*slot);
        *slot = block_new(size);
        touch(*slot, size);
    }
    return 0;
}
