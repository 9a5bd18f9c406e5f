/* SPDX-License-Identifier: Apache-2.0
 *
 * Bursts of 10,000 blocks, freed from the last one (bursts lifo) or from the first one (bursts fifo). */
#include "bench/alloc/load.h"

enum { BURST = 10000, ROUNDS = 2500 };

int main(int argc, char **argv)
{
    static void *block[BURST];
    struct rng r = {0x2545f4914f6cdd1du};
    if (argc < 2) return 2;
    int lifo = strcmp(argv[1], "lifo") == 0;
    for (long n = load_scale(argc - 1, argv + 1) * ROUNDS; n > 0; n--) {
        for (int i = 0; i < BURST; i++) block[i] = block_new(16 + rng_below(&r, 240));
        if (lifo)
            for (int i = BURST - 1; i >= 0; i--) free(block[i]);
        else
            for (int i = 0; i < BURST; i++) free(block[i]);
    }
    return 0;
}
