/* SPDX-License-Identifier: Apache-2.0
 *
 * What mutex.c needs of the runtime's start. */
#ifndef CORO_MUTEX_H
#define CORO_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

extern uint32_t mutex_settle_max __attribute__((visibility("hidden"))); /* a second; tests raise it */
bool mutex_here(void);                                                  /* locks of this thread are HERE */
void mutex_init(void);                                                  /* with the runtime */
void mutex_probe(void);       /* may sleep for some milliseconds where the process has other threads */
void mutex_thread_init(void); /* of each m, on its thread */

#endif
