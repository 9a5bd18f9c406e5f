/* SPDX-License-Identifier: Apache-2.0
 *
 * A pointer that is not aligned does not count.
 * expect: 1 unreachable */
#include "root.h"

static char words[32];

int main(void)
{
    void *p = plant();
    memcpy(words + 3, &p, sizeof p);
    p = NULL;
    return check();
}
