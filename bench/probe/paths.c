/* SPDX-License-Identifier: Apache-2.0
 *
 * For callgrind: 200,000 small mallocs and frees that the fast paths serve; callgrind.sh divides by that number. */
#include <stdlib.h>

int main(void)
{
    static void *block[1000];
    for (unsigned n = 0; n < 200; n++) {
        for (unsigned i = 0; i < 1000; i++) block[i] = malloc(16 + i * 37 % 240);
        for (unsigned i = 1000; i-- > 0;) free(block[i]);
    }
    return 0;
}
