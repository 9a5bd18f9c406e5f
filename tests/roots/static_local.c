/* SPDX-License-Identifier: Apache-2.0
 *
 * A static variable of a function.
 * expect: 1 reached */
#include "root.h"

int main(void)
{
    static void *kept;
    kept = plant();
    int rc = check();
    return kept ? rc : 1;
}
