/* SPDX-License-Identifier: Apache-2.0
 *
 * A block that another block points to, five deep.
 * expect: 1 reached */
#include "root.h"

static void **head;

int main(void)
{
    void **last = head = malloc(64);
    for (int i = 0; i < 4; i++) last = *last = calloc(1, 64);
    *last = plant();
    last = NULL;
    return check();
}
