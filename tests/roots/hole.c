/* SPDX-License-Identifier: Apache-2.0
 * expect: 2 reached */
#include <sys/mman.h>

#include "tests/roots/root.h"

/* A page in the middle of .bss that may not be read, between two that hold pointers; and one that was protected after it was
 * written. */
static char area[3 * 4096] __attribute__((aligned(4096)));

static __attribute__((noinline)) void keep(void)
{
    *(void **)(area + 4096 + 64) = plant();
    *(void **)(area + 8192) = plant();
}

int main(void)
{
    keep();
    if (mprotect(area + 4096, 4096, PROT_NONE) != 0) return 5;
    return check();
}
