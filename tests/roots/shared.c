/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared memory.
 * expect: 1 reached */
#include "root.h"

#include <sys/mman.h>

int main(void)
{
    void **p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    p[77] = plant();
    return check();
}
