/* SPDX-License-Identifier: Apache-2.0
 *
 * A list of 50 nodes whose head is lost: one block is lost, the other 49 hang on it. */
#include "tests/control/plant.h"

struct node {
    struct node *next;
    char payload[88];
};

static struct node *list;

static __attribute__((noinline)) void push(void)
{
    struct node *n = malloc(sizeof *n); /* PLANTED */
    if (!n) exit(4);
    n->next = list;
    list = n;
}

int main(int argc, char **argv)
{
    bool leak = leaking(argc, argv);
    for (int i = 0; i < 50; i++) push();
    if (leak) list = NULL;
    scrub();
    return 0;
}
