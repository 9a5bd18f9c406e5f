/* SPDX-License-Identifier: Apache-2.0
 * expect: 1 reached */
#include <signal.h>

#include "tests/roots/root.h"

/* A handler on an alternate stack of the program's, with a block that only its frame knows. */
static int result;

static void handler(int sig)
{
    void *volatile kept = plant();
    result = kept && sig ? check() : 7;
}

int main(void)
{
    stack_t s = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction a = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaltstack(&s, NULL);
    sigaction(SIGUSR1, &a, NULL);
    raise(SIGUSR1);
    return result;
}
