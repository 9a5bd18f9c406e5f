/* SPDX-License-Identifier: Apache-2.0
 *
 * Random sizes with a live set: 200,000 slots; each step frees the block of a random slot and puts another there. Argument:
 * the number of steps. */
#include "bench/alloc/load.h"

enum { SLOTS = 200000, STEPS = 5000000 };

int main(int argc, char **argv)
{
    static void *slot[SLOTS];
    struct rng r = {0x9e3779b97f4a7c15u};
    for (long n = argc > 1 ? atol(argv[1]) : STEPS; n > 0; n--) {
        uint32_t i = rng_below(&r, SLOTS);
        free(slot[i]);
        /* Small sizes are likelier: the product of two uniform numbers. */
        slot[i] = block_new(8 + (size_t)rng_below(&r, 32) * rng_below(&r, 32));
    }
    for (uint32_t i = 0; i < SLOTS; i++) free(slot[i]);
    return 0;
}
