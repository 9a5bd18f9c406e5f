/* SPDX-License-Identifier: Apache-2.0
 *
 * A global variable.
 * expect: 1 reached */
#include "root.h"

void *global;

int main(void)
{
    global = plant();
    return check();
}
