/* SPDX-License-Identifier: Apache-2.0
 *
 * What roots.c and roots_kernel.c share. */
#ifndef SEEP_SNAPSHOT_ROOTS_H
#define SEEP_SNAPSHOT_ROOTS_H

#include "agent/snapshot/child.h"

struct root_mapping {
    uintptr_t lo, hi;
    bool readable, writable, shared;
    const char *path; /* "" when it has none */
};
/* Parses one line of /proc/PID/maps and cuts it; the next line, NULL at the end. */
char *root_mapping_parse(char *line, struct root_mapping *m);

/* roots_kernel.c: user data that epoll sets and POSIX timers hold. */
void roots_kernel_prepare(void); /* in the parent */
void roots_kernel_mark(struct marker *m);

#endif
