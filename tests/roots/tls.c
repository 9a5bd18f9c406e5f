/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread-local variable of the executable.
 * expect: 1 reached */
#include "root.h"

static __thread void *kept;

int main(void)
{
    kept = plant();
    return check();
}
