/* SPDX-License-Identifier: Apache-2.0
 *
 * Three blocks in a ring.
 * expect: 3 unreachable */
#include "root.h"

__attribute__((noinline)) static void lose(void)
{
    void **a = plant(), **b = plant(), **c = plant();
    a[0] = b;
    b[1] = c;
    c[2] = a;
}

int main(void)
{
    lose();
    return check();
}
