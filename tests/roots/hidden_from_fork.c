/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that fork does not copy: what it points to is not called proven.
 * expect: 1 likely */
#include "root.h"

#include <sys/mman.h>

int main(void)
{
    void **p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(p, 1 << 20, MADV_DONTFORK);
    p[5] = plant();
    return check();
}
