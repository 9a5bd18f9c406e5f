/* SPDX-License-Identifier: Apache-2.0
 *
 * A local variable of a function that has not returned.
 * expect: 1 reached */
#include "root.h"

int main(void)
{
    void *volatile kept = plant();
    int rc = check();
    return kept ? rc : 1;
}
