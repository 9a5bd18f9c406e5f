/* SPDX-License-Identifier: Apache-2.0
 *
 * A block that points to itself.
 * expect: 1 unreachable */
#include "root.h"

__attribute__((noinline)) static void lose(void)
{
    void **p = plant();
    p[0] = p;
    p[9] = p + 9;
}

int main(void)
{
    lose();
    return check();
}
