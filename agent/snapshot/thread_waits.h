/* SPDX-License-Identifier: Apache-2.0
 *
 * What a stopped thread waits for (thread_waits.c). */
#ifndef SEEP_SNAPSHOT_THREAD_WAITS_H
#define SEEP_SNAPSHOT_THREAD_WAITS_H

#include "agent/snapshot/snapshot.h"

void thread_waits_init(void); /* in the program, from the constructor: finds libc's functions */
/* In the child. True when only another thread of the process can wake t: *w and *reason say what it waits for. */
bool thread_waits(const struct snapshot_job *job, const struct stopped_thread *t, struct seep_wait *w,
                  enum seep_wait_reason *reason);

#endif
