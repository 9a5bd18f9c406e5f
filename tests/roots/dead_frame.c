/* SPDX-License-Identifier: Apache-2.0
 *
 * Only a word below the stack pointer, left by a function that has returned.
 * expect: 1 unreachable */
#include "root.h"

__attribute__((noinline)) static void leave(void)
{
    void *volatile words[4096]; /* deep: below what the calls for the snapshot overwrite */
    words[0] = plant();
    if (!words[0]) exit(5);
}

int main(void)
{
    leave();
    return seep_snapshot ? seep_snapshot("check") : 4;
}
