/* SPDX-License-Identifier: Apache-2.0
 *
 * 30 buffers that grew by realloc and were then forgotten: the site is where each of them grew last. */
#include "tests/control/plant.h"

static char *buffer;

static __attribute__((noinline)) void grow(void)
{
    size_t size = 2;
    for (int step = 0; step < 6; step++) {
        char *p = realloc(buffer, size *= 3); /* PLANTED */
        if (!p) exit(4);
        p[size - 1] = 1;
        buffer = p;
    }
}

int main(int argc, char **argv)
{
    bool leak = leaking(argc, argv);
    for (int i = 0; i <= 30; i++) {
        grow();
        if (!leak || i == 30) free(buffer);
        buffer = NULL;
    }
    scrub();
    return 0;
}
