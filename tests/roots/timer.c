/* SPDX-License-Identifier: Apache-2.0
 *
 * A block that only a POSIX timer knows.
 * expect: 1 reached */
#include "root.h"

#include <signal.h>
#include <time.h>

int main(void)
{
    timer_t id;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_ptr = plant()};
    if (timer_create(CLOCK_MONOTONIC, &e, &id) != 0) return 5;
    e.sigev_value.sival_ptr = NULL;
    return check();
}
