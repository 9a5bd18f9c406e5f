/* SPDX-License-Identifier: Apache-2.0
 *
 * The same without the option: such words are no pointers.
 * expect: 2 unreachable */
#include "tests/roots/root.h"

static uintptr_t tagged[2];

__attribute__((noinline)) static void keep(void)
{
    tagged[0] = (uintptr_t)plant() | 0xa5ul << 56;
    tagged[1] = (uintptr_t)plant() | 0x01ul << 56;
}

int main(void)
{
    keep();
    return check();
}
