/* SPDX-License-Identifier: Apache-2.0
 *
 * What poll.c shares with io.c: the entry of a descriptor. */
#ifndef CORO_POLL_H
#define CORO_POLL_H

#include "coro/types.h"

/* The descriptor is new (fresh) or about to go: the next wait registers it. */
void poll_forget(int fd, bool fresh);

struct pollfd_entry {
    struct colock lock;
    bool plain;                   /* a hint: was no socket when last used */
    bool registered;              /* with epoll, as far as we know; guarded by lock, as the following */
    bool ready_read, ready_write; /* an event came and nobody waited */
    bool fresh;                   /* made by accept or connect of ours */
    bool drained;                 /* the last read took all there was: what comes later gives an event; the reader's */
    bool hangup;                  /* the end may have been reported already: no more events */
    uint8_t checked;              /* ticks of sysmon that this wait has seen */
    struct g_list readers, writers;
    uint64_t read_deadline_ns, write_deadline_ns; /* CLOCK_MONOTONIC; 0: none */
};

/* deadline.c. With e->lock held: arms g's timer for the wait that begins. False: the deadline has passed. */
bool deadline_begin(struct g *g, struct pollfd_entry *e, bool write);
bool deadline_end(struct g *g); /* after the wait. True: it was the deadline that ended it */

struct pollfd_entry *poll_entry(int fd); /* NULL: no such descriptor, or no memory */

#endif
