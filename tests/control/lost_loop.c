/* SPDX-License-Identifier: Apache-2.0
 *
 * 100 blocks whose only pointer is overwritten by the next one's. */
#include "tests/control/plant.h"

struct record {
    int id;
    char text[60];
};

static struct record *current;

static __attribute__((noinline)) struct record *make_record(int id)
{
    struct record *r = malloc(sizeof *r); /* PLANTED */
    if (!r) exit(4);
    r->id = id;
    return r;
}

int main(int argc, char **argv)
{
    bool leak = leaking(argc, argv);
    for (int i = 0; i <= 100; i++) {
        if (!leak) free(current);
        current = make_record(i);
    }
    scrub();
    return 0;
}
