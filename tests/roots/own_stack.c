/* SPDX-License-Identifier: Apache-2.0
 * expect: 1 reached */
#include <ucontext.h>

#include "tests/roots/root.h"

/* The stack pointer is on a stack of the program's own (swapcontext); what main's frame keeps counts all the same. */
static ucontext_t back, there;
static int result;

static void elsewhere(void)
{
    result = check();
}

int main(void)
{
    static char stack[262144];
    void *volatile kept = plant();
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &back;
    makecontext(&there, elsewhere, 0);
    swapcontext(&back, &there);
    return kept ? result : 7;
}
