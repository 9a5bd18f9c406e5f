/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits in pieces: while the heap has memory to give back, a wait of the program for time or descriptors is made in pieces, with a
 * tick of the scavenger after each that ended by time (heap/scavenge.c). The first piece is the program's own call with less time;
 * the rest is here, with every signal blocked but inside the call, so that one that comes during a tick
 * ends the wait as it would have. What runs between the first piece and the rest is as what ran just before the call
 * (eintr.h).
 *
 * Each function waits until end_ns (of eintr_now_ns(); UINT64_MAX: for ever), with the thread's mask or the one given, and returns
 * as the system call. Async-signal-safe; cancellation points. */
#ifndef SEEP_ENTRY_PIECES_H
#define SEEP_ENTRY_PIECES_H

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "agent/entry/eintr.h"
#include "agent/heap/heap.h"

/* The length of the first piece of a wait until end_ns; 0: all of it. */
static inline uint64_t pieces_first(uint64_t end_ns)
{
    uint64_t piece = heap_wait_piece_ns();
    return likely(piece == 0) || eintr_left_ns(end_ns) <= piece ? 0 : piece;
}

/* What the first piece returned: is the rest to be waited for? */
static inline bool pieces_go_on(int rc)
{
    return rc == 0 || (rc == -1 && eintr_ours(errno));
}

int pieces_poll(struct pollfd *fds, nfds_t n, uint64_t end_ns, const sigset_t *mask);
int pieces_epoll(int fd, struct epoll_event *events, int n, uint64_t end_ns, const sigset_t *mask);
/* All of a wait, the first piece included. n is at most FD_SETSIZE. */
int pieces_select(int n, fd_set *r, fd_set *w, fd_set *e, uint64_t end_ns, const sigset_t *mask);

/* May the caller be in a signal handler? Where its frames can't be told: yes. */
bool pieces_in_handler(void);

#endif
