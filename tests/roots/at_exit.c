/* SPDX-License-Identifier: Apache-2.0
 *
 * The argument of a function registered with on_exit.
 * expect: 1 reached */
#include "root.h"

static void last(int code, void *arg)
{
    (void)code;
    free(arg);
}

int main(void)
{
    on_exit(last, plant());
    return check();
}
