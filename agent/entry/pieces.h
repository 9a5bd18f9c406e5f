/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits in pieces: while the heap has memory to give back, a wait of the program for time or descriptors is made in pieces of 40
 * ms, with a tick of the scavenger after each that ended by time (heap/scavenge.c). All signals are blocked but inside
 * the calls, which are those that take a mask: one that comes during a tick, or when a piece has just ended, ends the wait as it
 * would have.
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

/* Is a wait until end_ns to be made in pieces? */
static inline bool pieces_wanted(uint64_t end_ns)
{
    if (likely(__atomic_load_n(&heap_waits_work, __ATOMIC_RELAXED) == 0)) return false;
    return eintr_left_ns(end_ns) > heap_wait_piece_ns();
}

int pieces_poll(struct pollfd *fds, nfds_t n, uint64_t end_ns, const sigset_t *mask);
int pieces_epoll(int fd, struct epoll_event *events, int n, uint64_t end_ns, const sigset_t *mask);
/* n is at most FD_SETSIZE. */
int pieces_select(int n, fd_set *r, fd_set *w, fd_set *e, uint64_t end_ns, const sigset_t *mask);

/* May the caller be in a signal handler? Where its frames can't be told: yes. */
bool pieces_in_handler(void);

#endif
