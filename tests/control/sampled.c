/* SPDX-License-Identifier: Apache-2.0
 *
 * 256 MiB lost in 8,192 blocks of 32 KiB, beside as much that is held: what the default sampling rate must find and
 * estimate. */
#include "tests/control/plant.h"

enum { BLOCKS = 8192, SIZE = 32000 };

static char *held[BLOCKS], *lost;

static __attribute__((noinline)) char *make_page(void)
{
    char *p = malloc(SIZE); /* PLANTED */
    return p;
}

int main(int argc, char **argv)
{
    bool leak = leaking(argc, argv);
    for (int i = 0; i < BLOCKS; i++) {
        held[i] = malloc(SIZE);
        if (!leak) free(lost);
        lost = make_page();
        if (!held[i] || !lost) return 4;
        lost[0] = held[i][0] = 1;
    }
    free(lost);
    lost = NULL;
    scrub();
    return 0;
}
