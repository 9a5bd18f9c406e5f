/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of agent/os. */
#ifndef SEEP_OS_INTERNAL_H
#define SEEP_OS_INTERNAL_H

#include "agent/os/os.h"

/* regions.c: the table of what the agent has mapped. Both are for any state but None. */
bool region_add(uintptr_t lo, uintptr_t hi, enum os_kind kind);
void region_remove(uintptr_t lo, uintptr_t hi);
/* Books of Prepared + Ready bytes. */
void region_count(enum os_kind kind, int64_t bytes);
/* The kind noted for address p; OS_KIND_COUNT: not ours. */
enum os_kind region_kind(uintptr_t p);
/* Memory for the table itself, straight from the kernel. */
void *raw_map(size_t size);

#endif
