/* SPDX-License-Identifier: Apache-2.0
 *
 * A global list that nobody trims: what is in it can be reached, so nothing is proven; it grows. The twin is a cache with a bound, which is
 * filled at the second snapshot. */
#include "seep.h"
#include "tests/control/plant.h"

static struct entry {
    struct entry *next;
    char data[4080];
} * list;
static unsigned length;
static bool leak;

static __attribute__((noinline)) void add(void)
{
    struct entry *e = malloc(sizeof *e); /* PLANTED */
    memset(e, 0, sizeof *e);
    e->next = list;
    list = e;
    length++;
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    for (int step = 0; step < 12; step++) {
        for (int i = 0; i < 10; i++) add();
        while (!leak && length > 20) {
            struct entry *e = list;
            list = e->next;
            free(e);
            length--;
        }
        nap(10);
        if (seep_snapshot("")) return 3;
    }
    return 0;
}
