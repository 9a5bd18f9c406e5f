/* SPDX-License-Identifier: Apache-2.0
 *
 * pieces.h. Allocates nothing, takes no lock but in the tick. */
#include "agent/entry/pieces.h"

#include <limits.h>
#include <pthread.h>

#include "agent/snapshot/raw.h"
#include "agent/util/options.h"

static int (*next_ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
static int (*next_epoll_pwait)(int, struct epoll_event *, int, int, const sigset_t *);
static int (*next_pselect)(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *);

/* The frame of a handler begins with the address of libc's restorer, to which the handler returns. So a stack on which that word
 * is nowhere has no handler. One on the alternate stack is not on the thread's. */
bool pieces_in_handler(void)
{
    enum { DEEPEST = 64 << 10 };
    static uintptr_t restorer;
    const uintptr_t *sp = __builtin_frame_address(0), *hi = (const uintptr_t *)agent_tls.stack_hi;
    uintptr_t want = __atomic_load_n(&restorer, __ATOMIC_RELAXED);
    if (want == 0) {
        uintptr_t act[4] = {0}; /* the kernel's struct sigaction: handler, flags, restorer, mask */
        sys4(SYS_rt_sigaction, (long)agent_options.stop_signal, 0, (long)act, 8);
        want = act[2];
        __atomic_store_n(&restorer, want, __ATOMIC_RELAXED);
    }
    if (want == 0 || (uintptr_t)sp < agent_tls.stack_lo || sp >= hi || (uintptr_t)hi - (uintptr_t)sp > DEEPEST)
        return true;
    while (sp < hi && *sp != want) sp++;
    return sp < hi;
}

/* ---- One wait */
struct wait {
    uint64_t end_ns;
    struct timespec ts;
    const struct timespec *piece; /* NULL: for ever */
    int ms;
    bool last;
    sigset_t own, used;
};

static void wait_begin(struct wait *w, uint64_t end_ns, const sigset_t *mask)
{
    /* Those that libc needs for itself, and ours, are never blocked. */
    uint64_t most = ALL_SIGNALS & ~(1ull << (agent_options.stop_signal - 1));
    w->end_ns = end_ns;
    w->last = false;
    sigemptyset(&w->own);
    raw_sigmask(SIG_BLOCK, &most, (uint64_t *)&w->own);
    w->used = mask ? *mask : w->own;
}

static void wait_end(void *arg)
{
    struct wait *w = arg;
    raw_sigmask(SIG_SETMASK, (const uint64_t *)&w->own, NULL);
}

static void wait_next(struct wait *w)
{
    uint64_t left = eintr_left_ns(w->end_ns), piece = heap_wait_piece_ns();
    w->last = __atomic_load_n(&heap_waits_work, __ATOMIC_RELAXED) == 0 || left <= piece;
    if (w->last) piece = left;
    w->ts = ns_timespec(piece);
    w->piece = piece == UINT64_MAX ? NULL : &w->ts;
    piece = (piece + 999999) / 1000000;
    w->ms = !w->piece ? -1 : piece < INT_MAX ? (int)piece : INT_MAX;
}

/* After a piece: is there another one? */
static bool wait_more(struct wait *w, int *rc)
{
    if (*rc == -1 && eintr_ours(errno)) {
        *rc = 0;
        return true;
    }
    if (*rc != 0 || w->last) return false;
    heap_wait_tick(!pieces_in_handler());
    return true;
}

#define WAIT(rc, end_ns, mask, before, call) \
    do {                                     \
        struct wait w;                       \
        wait_begin(&w, end_ns, mask);        \
        pthread_cleanup_push(wait_end, &w);  \
        do {                                 \
            wait_next(&w);                   \
            before;                          \
            rc = (call);                     \
        } while (wait_more(&w, &rc));        \
        pthread_cleanup_pop(1);              \
    } while (0)

int pieces_poll(struct pollfd *fds, nfds_t n, uint64_t end_ns, const sigset_t *mask)
{
    int rc;
    FIND(ppoll);
    WAIT(rc, end_ns, mask, , next_ppoll(fds, n, w.piece, &w.used));
    return rc;
}

int pieces_epoll(int fd, struct epoll_event *events, int n, uint64_t end_ns, const sigset_t *mask)
{
    int rc;
    FIND(epoll_pwait);
    WAIT(rc, end_ns, mask, , next_epoll_pwait(fd, events, n, w.ms, &w.used));
    return rc;
}

/* select clears the sets when its time is over: those of a piece are copies. */
static fd_set *copy_set(fd_set *to, const fd_set *from)
{
    if (!from) return NULL;
    *to = *from;
    return to;
}

int pieces_select(int n, fd_set *r, fd_set *w_set, fd_set *e, uint64_t end_ns, const sigset_t *mask)
{
    fd_set *set[3] = {r, w_set, e}, copy[3], *use[3];
    int rc;
    FIND(pselect);
    WAIT(rc, end_ns, mask, for (int i = 0; i < 3; i++) use[i] = copy_set(&copy[i], set[i]),
         next_pselect(n, use[0], use[1], use[2], w.piece, &w.used));
    for (int i = 0; i < 3 && rc >= 0; i++)
        if (set[i]) *set[i] = copy[i];
    return rc;
}
