/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a function on a frozen copy of the process, as a snapshot's child does. */
#ifndef TESTS_IN_CHILD_H
#define TESTS_IN_CHILD_H

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/heap/heap.h"

/* The line that fn returned for what was wrong, 0 for nothing; -1 when it died. */
static int in_child(int (*fn)(void *arg), void *arg)
{
    int status = 0;
    long pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0) {
        heap_enter_child();
        _exit(fn(arg));
    }
    if (pid < 0 || waitpid((pid_t)pid, &status, __WALL) != pid || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

/* Leaves fn with the line it stands in: exit codes are 8 bits, tests are short. */
#define EXPECT(condition) \
    if (!(condition)) return __LINE__ % 255 + 1

#endif
