/* SPDX-License-Identifier: Apache-2.0
 *
 * Large blocks with reuse, each new one written once a page:
 *     large          40 slots of 32 KiB to 1 MiB, replaced at random
 *     large huge     4 slots of 5 to 25 MiB */
#include "bench/alloc/load.h"

enum { SLOTS = 40, STEPS = 110000, HUGE_SLOTS = 4, HUGE_STEPS = 800, PAGE = 4096 };

static void touch(unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i += PAGE) p[i] = (unsigned char)i;
}

int main(int argc, char **argv)
{
    static void *slot[SLOTS];
    struct rng r = {0xc4ceb9fe1a85ec53u};
    int huge = argc > 1 && strcmp(argv[1], "huge") == 0;
    long n = load_scale(argc - huge, argv + huge) * (huge ? HUGE_STEPS : STEPS);
    for (; n > 0; n--) {
        uint32_t at = rng_below(&r, huge ? HUGE_SLOTS : SLOTS);
        size_t size = huge ? (5u << 20) + rng_below(&r, 20u << 20) : (32u << 10) + rng_below(&r, 992u << 10);
        free(slot[at]);
        slot[at] = block_new(size);
        touch(slot[at], size);
    }
    return 0;
}
