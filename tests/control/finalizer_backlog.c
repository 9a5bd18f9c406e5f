/* SPDX-License-Identifier: Apache-2.0
 *
 * A finalizer that waits for an answer on a pipe that never comes, and the twenty after it. In the twin it does not wait. Run
 * under the agent. */
#include <unistd.h>

#include "seep.h"
#include "tests/control/plant.h"

#pragma weak seep_set_finalizer
#pragma weak seep_gc
#pragma weak seep_free

static bool leak;
static int fds[2];

static __attribute__((noinline)) void say_goodbye(void)
{
    char answer;
    if (leak && read(fds[0], &answer, 1) < 0) abort(); /* PLANTED */
}

static void retire(void *p, void *arg)
{
    (void)arg;
    say_goodbye();
    seep_free(p);
}

static __attribute__((noinline)) void use_some(void)
{
    for (int i = 0; i < 21; i++) seep_set_finalizer(calloc(1, 100), retire, NULL); /* CREATED */
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    if (pipe(fds) != 0) return 1;
    use_some();
    scrub();
    if (seep_gc() < 20) return 1;
    nap(1100);
    return 0;
}
