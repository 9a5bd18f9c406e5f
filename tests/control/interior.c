/* SPDX-License-Identifier: Apache-2.0
 *
 * 20 blocks of which only a pointer to the middle is kept: told apart from lost ones, and no leak by itself. */
#include "tests/control/plant.h"

static char *middle[20];

static __attribute__((noinline)) char *make_buffer(void)
{
    char *p = malloc(1000); /* PLANTED */
    if (!p) exit(4);
    return p;
}

int main(int argc, char **argv)
{
    size_t offset = leaking(argc, argv) ? 500 : 0;
    for (int i = 0; i < 20; i++) middle[i] = make_buffer() + offset;
    scrub();
    return 0;
}
