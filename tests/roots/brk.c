/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of sbrk.
 * expect: 1 reached */
#include "root.h"

#include <unistd.h>

int main(void)
{
    void **p = sbrk(4096);
    p[3] = plant();
    return check();
}
