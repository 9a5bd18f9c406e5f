/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program told about its memory (hints.c). */
#ifndef SEEP_SNAPSHOT_HINTS_H
#define SEEP_SNAPSHOT_HINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Any thread; not async-signal-safe. False: no memory for it. size 0: the block that p points into, and what hangs from it, is
 * no leak; otherwise [p, p + size) is a root. */
bool hints_add(uintptr_t p, size_t size);
bool hints_remove(uintptr_t p, size_t size); /* one of equal ones; false: there is none */
/* In the child. */
void hints_each(void (*fn)(void *arg, uintptr_t p, size_t size), void *arg);

#endif
