/* SPDX-License-Identifier: Apache-2.0
 *
 * A forked child of a process that has an agent's thread gets one of its own, on the stack of the other.
 * expect: 0 unreachable */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/roots/root.h"

int main(void)
{
    int status = 0;
    if (check() != 0) return 4;
    pid_t pid = fork();
    if (pid == 0) _exit(check());
    return pid < 0 || waitpid(pid, &status, 0) < 0 || status ? 5 : 0;
}
