/* SPDX-License-Identifier: Apache-2.0
 *
 * Only a pointer one past the end, where no block begins.
 * expect: 1 interior */
#include "root.h"

#include <malloc.h>

static char *end;

int main(void)
{
    char *p = plant(), *next = plant();
    free(next); /* whatever follows is free */
    end = p + malloc_usable_size(p);
    if (end == next) next = NULL;
    p = NULL;
    return check();
}
