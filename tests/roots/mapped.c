/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of mmap: written to; then protected against writing; then against reading.
 * expect: 3 reached */
#include "root.h"

#include <sys/mman.h>

static void **map(int prot)
{
    void **p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[777] = plant();
    mprotect(p, 1 << 20, prot);
    return p;
}

int main(void)
{
    map(PROT_READ | PROT_WRITE);
    map(PROT_READ);
    map(PROT_NONE);
    return check();
}
