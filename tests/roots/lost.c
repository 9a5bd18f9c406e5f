/* SPDX-License-Identifier: Apache-2.0
 *
 * Nothing at all.
 * expect: 1 unreachable */
#include "root.h"

__attribute__((noinline)) static void lose(void)
{
    plant();
}

int main(void)
{
    lose();
    return check();
}
