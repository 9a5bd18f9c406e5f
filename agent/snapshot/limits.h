/* SPDX-License-Identifier: Apache-2.0
 *
 * The limit on the process's memory that its control groups set, of version 1 or 2: the lowest on the way up. For the child of a
 * snapshot (files are read by child_read_file). Bytes; 0: none, or it can't be known. */
#ifndef SEEP_SNAPSHOT_LIMITS_H
#define SEEP_SNAPSHOT_LIMITS_H

#include <stdint.h>

uint64_t cgroup_limit(void);
/* The same from the texts of /proc/self/cgroup and /proc/self/mountinfo, which are changed. */
uint64_t cgroup_limit_of(char *groups, char *mounts);

#endif
