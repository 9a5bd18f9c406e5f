/* SPDX-License-Identifier: Apache-2.0
 *
 * A leak that is small beside what the program works with: a list that gains 160 KiB between two snapshots, and twenty tables of 4 MiB, each
 * allocated at a line of its own. Run under the agent. */
#include "seep.h"
#include "tests/control/plant.h"

#pragma weak seep_snapshot

enum { TABLE = 4 << 20 };
static void *tables[20];
static struct entry {
    struct entry *next;
    char data[4080];
} * list;

static __attribute__((noinline)) void add(void)
{
    struct entry *e = malloc(sizeof *e); /* PLANTED */
    memset(e, 0, sizeof *e);
    e->next = list;
    list = e;
}

#define SET(i) tables[i] = malloc(TABLE)
static __attribute__((noinline)) void set_up(void)
{
    SET(0), SET(1), SET(2), SET(3), SET(4), SET(5), SET(6), SET(7), SET(8), SET(9);
    SET(10), SET(11), SET(12), SET(13), SET(14), SET(15), SET(16), SET(17), SET(18), SET(19);
}

int main(void)
{
    set_up();
    for (int step = 0; step < 8; step++) {
        for (int i = 0; i < 40; i++) add();
        nap(10);
        if (seep_snapshot("")) return 3;
    }
    return 0;
}
