/* SPDX-License-Identifier: Apache-2.0
 *
 * Fragmentation: grow to 400,000 blocks, free a random half, allocate blocks of other sizes, and again, six times over; the
 * whole of it three times. */
#include "bench/alloc/load.h"

enum { BLOCKS = 400000, PHASES = 6, TIMES = 3 };

int main(int argc, char **argv)
{
    static void *block[BLOCKS];
    struct rng r = {0xbb67ae8584caa73bu};
    for (long n = load_scale(argc, argv) * TIMES; n > 0; n--) {
        for (uint32_t phase = 0; phase < PHASES; phase++) {
            for (uint32_t i = 0; i < BLOCKS; i++)
                if (!block[i]) block[i] = block_new(24 + 40 * phase + rng_below(&r, 64));
            for (uint32_t i = 0; i < BLOCKS; i++) {
                if (rng_next(&r) & 1) continue;
                free(block[i]);
                block[i] = NULL;
            }
        }
    }
    return 0;
}
