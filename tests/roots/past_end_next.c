/* SPDX-License-Identifier: Apache-2.0
 *
 * A pointer one past the end where the next block begins is that block's.
 * expect: 1 unreachable */
#include "root.h"

#include <malloc.h>

enum { N = 64 };
static void *kept; /* a block whose predecessor is lost */

__attribute__((noinline)) static void lose_one(void)
{
    char *p[N];
    for (int i = 0; i < N; i++) p[i] = plant();
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N && !kept; k++)
            if (p[i] + malloc_usable_size(p[i]) == p[k]) {
                kept = p[k];
                p[i] = p[k] = NULL; /* p[i] is lost */
            }
    for (int i = 0; i < N; i++) free(p[i]);
}

int main(void)
{
    lose_one();
    return kept ? check() : 5;
}
