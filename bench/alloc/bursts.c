/* SPDX-License-Identifier: Apache-2.0
 *
 * Bursts of 10,000 blocks, freed in turn from the last one (a stack) and from the first one (a queue). */
#include "bench/alloc/load.h"

enum { BURST = 10000, ROUNDS = 2500 };

int main(int argc, char **argv)
{
    static void *block[BURST];
    struct rng r = {0x2545f4914f6cdd1du};
    for (long n = load_scale(argc, argv) * ROUNDS; n > 0; n--) {
        for (int i = 0; i < BURST; i++) block[i] = block_new(16 + rng_below(&r, 240));
        if (n & 1)
            for (int i = BURST - 1; i >= 0; i--) free(block[i]);
        else
            for (int i = 0; i < BURST; i++) free(block[i]);
    }
    return 0;
}
