/* SPDX-License-Identifier: Apache-2.0
 *
 * A local variable on a stack that the program switched to by itself.
 * expect: 1 reached */
#include "root.h"

#include <sys/mman.h>
#include <ucontext.h>

static ucontext_t back, there;
static int rc;

static void run(void)
{
    void *volatile kept = plant();
    rc = check();
    if (!kept) rc = 1;
}

int main(void)
{
    getcontext(&there);
    there.uc_stack.ss_size = 1 << 18;
    there.uc_stack.ss_sp = mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    there.uc_link = &back;
    makecontext(&there, run, 0);
    swapcontext(&back, &there);
    return rc;
}
