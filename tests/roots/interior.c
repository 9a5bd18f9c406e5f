/* SPDX-License-Identifier: Apache-2.0
 *
 * Only a pointer into the middle.
 * expect: 1 interior */
#include "root.h"

static char *kept;

int main(void)
{
    kept = (char *)plant() + 1000;
    return check();
}
