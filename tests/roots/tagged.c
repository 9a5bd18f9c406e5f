/* SPDX-License-Identifier: Apache-2.0
 *
 * Pointers with a tag in the upper bits, as allocators of handles and lock-free lists make them, where the option says how many.
 * env: SEEP_TAG_BITS=8
 * expect: 2 reached */
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
