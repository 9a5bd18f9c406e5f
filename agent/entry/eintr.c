/* SPDX-License-Identifier: Apache-2.0
 *
 * Wrappers of the waiting calls that the kernel never restarts after a signal handler: the program must not see the EINTR of
 * a snapshot. They go on with the time that is left, and give back the remaining time as the call itself would.
 *
 * Each calls the next definition, so cancellation points stay what they are. A program's own signal still gives EINTR.
 * Those that wait for time or descriptors are made in pieces while the heap has memory to give back (pieces.h).
 * Fast path: a flag saved and restored; where there is a finite timeout, one reading of the clock (vdso).
 * Not covered: direct system calls; libaio and io_uring. Async-signal-safe where the call is. */
#include <limits.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <threads.h>
#include <unistd.h>

#include "agent/entry/pieces.h"

#define CALLS(X)                                                                                      \
    X(poll, int, (struct pollfd *, nfds_t, int))                                                      \
    X(ppoll, int, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))               \
    X(__poll_chk, int, (struct pollfd *, nfds_t, int, size_t))                                        \
    X(__ppoll_chk, int, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t)) \
    X(select, int, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                             \
    X(pselect, int, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))   \
    X(epoll_wait, int, (int, struct epoll_event *, int, int))                                         \
    X(epoll_pwait, int, (int, struct epoll_event *, int, int, const sigset_t *))                      \
    X(epoll_pwait2, int, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *)) \
    X(nanosleep, int, (const struct timespec *, struct timespec *))                                   \
    X(clock_nanosleep, int, (clockid_t, int, const struct timespec *, struct timespec *))             \
    X(pause, int, (void))                                                                             \
    X(sigsuspend, int, (const sigset_t *))                                                            \
    X(sigwaitinfo, int, (const sigset_t *, siginfo_t *))                                              \
    X(sigtimedwait, int, (const sigset_t *, siginfo_t *, const struct timespec *))                    \
    X(sem_timedwait, int, (sem_t *, const struct timespec *))                                         \
    X(sem_clockwait, int, (sem_t *, clockid_t, const struct timespec *))                              \
    X(semop, int, (int, struct sembuf *, size_t))                                                     \
    X(semtimedop, int, (int, struct sembuf *, size_t, const struct timespec *))                       \
    X(msgsnd, int, (int, const void *, size_t, int))                                                  \
    X(msgrcv, ssize_t, (int, void *, size_t, long, int))

#define DECLARE(name, ret, args) NEXT(name, ret, args);
CALLS(DECLARE)

void eintr_resolve(void)
{
#define RESOLVE_ROW(name, ret, args) RESOLVE(name);
    CALLS(RESOLVE_ROW)
}

/* The call until it was not us who interrupted it. again: what to do before it is made again. */
#define UNTIL(rc, call, again)                         \
    while ((rc = (call)) == -1 && eintr_ours(errno)) { \
        again;                                         \
    }

/* The same, or in pieces. */
#define OR_IN_PIECES(rc, end_ns, pieces, call, again) \
    do {                                              \
        if (unlikely(pieces_wanted(end_ns))) {        \
            rc = (pieces);                            \
        } else {                                      \
            UNTIL(rc, call, again)                    \
        }                                             \
    } while (0)

/* ---- poll and select */

static int left_ms(uint64_t end_ns)
{
    return end_ns == UINT64_MAX ? -1 : (int)((eintr_left_ns(end_ns) + 999999) / 1000000);
}

static uint64_t end_of_ms(int timeout)
{
    return timeout < 0 ? UINT64_MAX : timeout > 0 ? eintr_now_ns() + (uint64_t)timeout * 1000000 : 0;
}

SEEP_EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    FIND(poll);
    uint32_t outer = eintr_begin(timeout != 0);
    uint64_t end = end_of_ms(timeout);
    int rc;
    OR_IN_PIECES(rc, end, pieces_poll(fds, n, end, NULL), next_poll(fds, n, timeout), timeout = left_ms(end));
    eintr_end(outer);
    return rc;
}

/* Checked forms (_FORTIFY_SOURCE): the first call checks the array, the next ones need not. */
SEEP_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
SEEP_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
    FIND(__poll_chk);
    uint32_t outer = eintr_begin(timeout != 0);
    uint64_t end = end_of_ms(timeout);
    int rc;
    OR_IN_PIECES(rc, end, pieces_poll(fds, n, end, NULL), next___poll_chk(fds, n, timeout, room),
                 timeout = left_ms(end));
    eintr_end(outer);
    return rc;
}

/* A relative timeout that the call does not change. */
struct span {
    const struct timespec *use;
    struct timespec left;
    uint64_t end_ns; /* UINT64_MAX: no limit; 0: a bad one, which the kernel is to see */
};

static inline struct span span_begin(const struct timespec *ts)
{
    return (struct span){.use = ts,
                         .end_ns = !ts                 ? UINT64_MAX
                                   : timespec_good(ts) ? eintr_now_ns() + timespec_ns(ts)
                                                       : 0};
}

static void span_again(struct span *s)
{
    if (!s->use) return;
    s->left = ns_timespec(eintr_left_ns(s->end_ns));
    s->use = &s->left;
}

SEEP_EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    FIND(ppoll);
    uint32_t outer = eintr_begin(true);
    sigset_t copy;
    mask = signals_filter(mask, &copy);
    struct span s = span_begin(timeout);
    int rc;
    OR_IN_PIECES(rc, s.end_ns, pieces_poll(fds, n, s.end_ns, mask), next_ppoll(fds, n, s.use, mask), span_again(&s));
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
                            size_t room);
SEEP_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
                            size_t room)
{
    FIND(__ppoll_chk);
    uint32_t outer = eintr_begin(true);
    sigset_t copy;
    mask = signals_filter(mask, &copy);
    struct span s = span_begin(timeout);
    int rc;
    OR_IN_PIECES(rc, s.end_ns, pieces_poll(fds, n, s.end_ns, mask), next___ppoll_chk(fds, n, s.use, mask, room),
                 span_again(&s));
    eintr_end(outer);
    return rc;
}

static __attribute__((noinline)) int select_pieces(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
    uint64_t end = UINT64_MAX;
    if (timeout) {
        struct timespec ts = {timeout->tv_sec, 0};
        end = eintr_now_ns() + timespec_ns(&ts) + (uint64_t)timeout->tv_usec * 1000;
    }
    int rc = pieces_select(n, r, w, e, end, NULL);
    if (timeout) {
        struct timespec left = ns_timespec(eintr_left_ns(end));
        *timeout = (struct timeval){left.tv_sec, left.tv_nsec / 1000};
    }
    return rc;
}

/* Linux takes the time that has passed off *timeout, and leaves the sets alone when it fails: go on with both. */
SEEP_EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
    FIND(select);
    uint32_t outer = eintr_begin(!timeout || timeout->tv_sec || timeout->tv_usec);
    int rc;
    if (unlikely(__atomic_load_n(&heap_waits_work, __ATOMIC_RELAXED)) && n <= FD_SETSIZE &&
        (!timeout || (timeout->tv_sec >= 0 && timeout->tv_usec >= 0 && timeout->tv_sec + timeout->tv_usec > 0))) {
        rc = select_pieces(n, r, w, e, timeout);
    } else {
        UNTIL(rc, next_select(n, r, w, e, timeout), );
    }
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout, const sigset_t *mask)
{
    FIND(pselect);
    uint32_t outer = eintr_begin(true);
    sigset_t copy;
    mask = signals_filter(mask, &copy);
    struct span s = span_begin(timeout);
    int rc;
    OR_IN_PIECES(rc, n <= FD_SETSIZE ? s.end_ns : 0, pieces_select(n, r, w, e, s.end_ns, mask),
                 next_pselect(n, r, w, e, s.use, mask), span_again(&s));
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
    FIND(epoll_wait);
    uint32_t outer = eintr_begin(timeout != 0);
    uint64_t end = end_of_ms(timeout);
    int rc;
    OR_IN_PIECES(rc, end, pieces_epoll(fd, events, n, end, NULL), next_epoll_wait(fd, events, n, timeout),
                 timeout = left_ms(end));
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int epoll_pwait(int fd, struct epoll_event *events, int n, int timeout, const sigset_t *mask)
{
    FIND(epoll_pwait);
    uint32_t outer = eintr_begin(timeout != 0);
    sigset_t copy;
    mask = signals_filter(mask, &copy);
    uint64_t end = end_of_ms(timeout);
    int rc;
    OR_IN_PIECES(rc, end, pieces_epoll(fd, events, n, end, mask), next_epoll_pwait(fd, events, n, timeout, mask),
                 timeout = left_ms(end));
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *timeout,
                             const sigset_t *mask)
{
    FIND(epoll_pwait2);
    if (!next_epoll_pwait2) { /* libc is older than 2.35 */
        errno = ENOSYS;
        return -1;
    }
    uint32_t outer = eintr_begin(true);
    sigset_t copy;
    mask = signals_filter(mask, &copy);
    struct span s = span_begin(timeout);
    int rc;
    OR_IN_PIECES(rc, s.end_ns, pieces_epoll(fd, events, n, s.end_ns, mask),
                 next_epoll_pwait2(fd, events, n, s.use, mask), span_again(&s));
    eintr_end(outer);
    return rc;
}

/* ---- Sleep */

/* A sleep that is made in pieces: an error number, -1 when it is not to be. */
static __attribute__((noinline)) int sleep_pieces(clockid_t clock, int flags, const struct timespec *req,
                                                  struct timespec *rem)
{
    if (clock > CLOCK_MONOTONIC || (flags & TIMER_ABSTIME) || !timespec_good(req)) return -1;
    uint64_t end = eintr_now_ns() + timespec_ns(req);
    if (!pieces_wanted(end)) return -1;
    int saved = errno, rc = pieces_poll(NULL, 0, end, NULL) == 0 ? 0 : errno;
    errno = saved;
    if (rc == EINTR && rem) *rem = ns_timespec(eintr_left_ns(end));
    return rc;
}

/* Returns an error number, not -1. The kernel says what is left of a relative sleep. */
static int sleep_on(clockid_t clock, int flags, const struct timespec *req, struct timespec *rem)
{
    FIND(clock_nanosleep);
    uint32_t outer = eintr_begin(true);
    struct timespec left, next;
    int rc =
        unlikely(__atomic_load_n(&heap_waits_work, __ATOMIC_RELAXED) != 0) ? sleep_pieces(clock, flags, req, rem) : -1;
    if (rc >= 0) {
        eintr_end(outer);
        return rc;
    }
    while ((rc = next_clock_nanosleep(clock, flags, req, flags & TIMER_ABSTIME ? NULL : &left)) == EINTR &&
           eintr_ours(rc)) {
        if (flags & TIMER_ABSTIME) continue;
        next = left;
        req = &next;
    }
    if (rc == EINTR && rem && !(flags & TIMER_ABSTIME)) *rem = left;
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *req, struct timespec *rem)
{
    return sleep_on(clock, flags, req, rem);
}

static int sleep_errno(const struct timespec *req, struct timespec *rem)
{
    int rc = sleep_on(CLOCK_REALTIME, 0, req, rem); /* libc's nanosleep does the same */
    if (rc == 0) return 0;
    errno = rc;
    return -1;
}

SEEP_EXPORT int nanosleep(const struct timespec *req, struct timespec *rem)
{
    return sleep_errno(req, rem);
}

SEEP_EXPORT int usleep(useconds_t us)
{
    struct timespec ts = {us / 1000000, (long)(us % 1000000) * 1000};
    return sleep_errno(&ts, NULL);
}

SEEP_EXPORT unsigned sleep(unsigned seconds)
{
    int saved = errno;
    struct timespec ts = {(time_t)seconds, 0};
    if (sleep_errno(&ts, &ts) != 0) return (unsigned)ts.tv_sec;
    errno = saved;
    return 0;
}

SEEP_EXPORT int thrd_sleep(const struct timespec *req, struct timespec *rem)
{
    int rc = sleep_on(CLOCK_REALTIME, 0, req, rem);
    return rc == 0 ? 0 : rc == EINTR ? -1 : -2;
}

/* ---- Signals */

SEEP_EXPORT int pause(void)
{
    FIND(pause);
    uint32_t outer = eintr_begin(true);
    int rc;
    UNTIL(rc, next_pause(), );
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int sigsuspend(const sigset_t *mask)
{
    FIND(sigsuspend);
    uint32_t outer = eintr_begin(true);
    sigset_t copy;
    mask = signals_filter(mask, &copy);
    int rc;
    UNTIL(rc, next_sigsuspend(mask), );
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    FIND(sigwaitinfo);
    uint32_t outer = eintr_begin(true);
    sigset_t copy;
    set = signals_filter(set, &copy);
    int rc;
    UNTIL(rc, next_sigwaitinfo(set, info), );
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    FIND(sigtimedwait);
    uint32_t outer = eintr_begin(true);
    sigset_t copy;
    set = signals_filter(set, &copy);
    struct span s = span_begin(timeout);
    int rc;
    UNTIL(rc, next_sigtimedwait(set, info, s.use), span_again(&s));
    eintr_end(outer);
    return rc;
}

/* ---- Semaphores and messages */

SEEP_EXPORT int sem_timedwait(sem_t *sem, const struct timespec *until)
{
    FIND(sem_timedwait);
    uint32_t outer = eintr_begin(true);
    int rc;
    UNTIL(rc, next_sem_timedwait(sem, until), );
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until)
{
    FIND(sem_clockwait);
    uint32_t outer = eintr_begin(true);
    int rc;
    UNTIL(rc, next_sem_clockwait(sem, clock, until), );
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int semop(int id, struct sembuf *ops, size_t n)
{
    FIND(semop);
    uint32_t outer = eintr_begin(true);
    int rc;
    UNTIL(rc, next_semop(id, ops, n), );
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int semtimedop(int id, struct sembuf *ops, size_t n, const struct timespec *timeout)
{
    FIND(semtimedop);
    uint32_t outer = eintr_begin(true);
    struct span s = span_begin(timeout);
    int rc;
    UNTIL(rc, next_semtimedop(id, ops, n, s.use), span_again(&s));
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT int msgsnd(int id, const void *msg, size_t size, int flags)
{
    FIND(msgsnd);
    uint32_t outer = eintr_begin(true);
    int rc;
    UNTIL(rc, next_msgsnd(id, msg, size, flags), );
    eintr_end(outer);
    return rc;
}

SEEP_EXPORT ssize_t msgrcv(int id, void *msg, size_t size, long type, int flags)
{
    FIND(msgrcv);
    uint32_t outer = eintr_begin(true);
    ssize_t rc;
    UNTIL(rc, next_msgrcv(id, msg, size, type, flags), );
    eintr_end(outer);
    return rc;
}
