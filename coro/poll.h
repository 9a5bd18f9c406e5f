/* SPDX-License-Identifier: Apache-2.0
 *
 * What poll.c shares with io.c: the entry of a descriptor. */
#ifndef CORO_POLL_H
#define CORO_POLL_H

#include "coro/types.h"

/* The descriptor is new or about to go: the next wait registers it. */
void poll_forget(int fd);

struct pollfd_entry {
    struct colock lock;
    bool plain;                   /* a hint: was no socket when last used */
    bool registered;              /* with epoll, as far as we know; guarded by lock, as the following */
    bool ready_read, ready_write; /* an event came and nobody waited */
    uint8_t checked;              /* ticks of sysmon that this wait has seen */
    struct g_list readers, writers;
};

struct pollfd_entry *poll_entry(int fd); /* NULL: no such descriptor, or no memory */

#endif
