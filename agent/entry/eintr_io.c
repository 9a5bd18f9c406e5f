/* SPDX-License-Identifier: Apache-2.0
 *
 * Wrappers of the input and output calls, for the two ways in which a snapshot's signal would show there:
 *
 *   EINTR      from a socket with SO_RCVTIMEO or SO_SNDTIMEO, which the kernel does not restart. The call goes on with the time
 *              that is left; since its start is not known (no clock is read on the fast path), the time is counted from
 *              the first interruption, so it may last up to twice as long.
 *   a part     a blocking write of much data that was under way when the signal came returns what was written. The
 *              rest is written, as it would have been; likewise a recv with MSG_WAITALL.
 *
 * In a forked child that waits for its agent's thread, input calls are where the thread starts when they would block.
 * Fast path: a flag saved and restored. Each calls the next definition, so cancellation points stay. */
#include "agent/entry/eintr.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALLS(X)                                                                                \
    X(read, ssize_t, (int, void *, size_t))                                                     \
    X(__read_chk, ssize_t, (int, void *, size_t, size_t))                                       \
    X(readv, ssize_t, (int, const struct iovec *, int))                                         \
    X(recv, ssize_t, (int, void *, size_t, int))                                                \
    X(__recv_chk, ssize_t, (int, void *, size_t, size_t, int))                                  \
    X(recvfrom, ssize_t, (int, void *, size_t, int, __SOCKADDR_ARG, socklen_t *))               \
    X(__recvfrom_chk, ssize_t, (int, void *, size_t, size_t, int, __SOCKADDR_ARG, socklen_t *)) \
    X(recvmsg, ssize_t, (int, struct msghdr *, int))                                            \
    X(recvmmsg, int, (int, struct mmsghdr *, unsigned, int, struct timespec *))                 \
    X(accept, int, (int, __SOCKADDR_ARG, socklen_t *))                                          \
    X(accept4, int, (int, __SOCKADDR_ARG, socklen_t *, int))                                    \
    X(connect, int, (int, __CONST_SOCKADDR_ARG, socklen_t))                                     \
    X(write, ssize_t, (int, const void *, size_t))                                              \
    X(writev, ssize_t, (int, const struct iovec *, int))                                        \
    X(send, ssize_t, (int, const void *, size_t, int))                                          \
    X(sendto, ssize_t, (int, const void *, size_t, int, __CONST_SOCKADDR_ARG, socklen_t))       \
    X(sendmsg, ssize_t, (int, const struct msghdr *, int))                                      \
    X(sendmmsg, int, (int, struct mmsghdr *, unsigned, int))

#define DECLARE(name, ret, args) NEXT(name, ret, args);
CALLS(DECLARE)

void eintr_io_resolve(void)
{
#define RESOLVE_ROW(name, ret, args) RESOLVE(name);
    CALLS(RESOLVE_ROW)
}

/* ---- EINTR */

struct retry {
    uint64_t end_ns; /* 0: no time limit */
    bool begun;
};

/* After a failed call on fd: is it to be made again? Waits until it will not block, at most for what is left of the
 * socket's time. option: SO_RCVTIMEO or SO_SNDTIMEO. late: errno when the time is over. */
static __attribute__((noinline)) bool retry_slow(struct retry *r, int fd, int option, int late)
{
    if (!r->begun) {
        struct timeval tv = {0, 0};
        socklen_t len = sizeof tv;
        r->begun = true;
        if (getsockopt(fd, SOL_SOCKET, option, &tv, &len) == 0 && (tv.tv_sec || tv.tv_usec))
            r->end_ns = eintr_now_ns() + (uint64_t)tv.tv_sec * 1000000000 + (uint64_t)tv.tv_usec * 1000;
    }
    if (r->end_ns == 0) return true;
    struct pollfd p = {.fd = fd, .events = option == SO_RCVTIMEO ? POLLIN : POLLOUT};
    int rc = poll(&p, 1, (int)((eintr_left_ns(r->end_ns) + 999999) / 1000000)); /* the wrapper: not ended by us */
    if (rc == 0) errno = late;
    return rc > 0;
}

static inline bool retry(struct retry *r, int fd, int option, int late)
{
    return unlikely(eintr_ours(errno)) && retry_slow(r, fd, option, late);
}

/* A child that waits for its agent: blocked for a moment here means that it will not exec soon. */
static __attribute__((noinline)) void deferred_input(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint32_t wanted = __atomic_exchange_n(&agent_thread_wanted, 0, __ATOMIC_ACQ_REL);
    if (!wanted) return;
    int saved = errno, rc = poll(&p, 1, 20);
    errno = saved;
    __atomic_store_n(&agent_thread_wanted, 1, __ATOMIC_RELEASE);
    agent_thread_start_deferred(rc == 0);
}

static inline void input_begin(int fd)
{
    if (unlikely(__atomic_load_n(&agent_thread_wanted, __ATOMIC_RELAXED) != 0)) deferred_input(fd);
}

#define TIMED(rc, call, fd, option, late)                     \
    do {                                                      \
        struct retry again_ = {0, false};                     \
        uint32_t outer_ = eintr_begin(false);                 \
        do rc = (call);                                       \
        while (rc == -1 && retry(&again_, fd, option, late)); \
        eintr_end(outer_);                                    \
    } while (0)
#define INPUT(rc, call, fd)  TIMED(rc, call, fd, SO_RCVTIMEO, EAGAIN)
#define OUTPUT(rc, call, fd) TIMED(rc, call, fd, SO_SNDTIMEO, EAGAIN)

/* ---- Input */

SEEP_EXPORT ssize_t read(int fd, void *p, size_t n)
{
    ssize_t rc;
    FIND(read);
    input_begin(fd);
    INPUT(rc, next_read(fd, p, n), fd);
    return rc;
}

SEEP_EXPORT ssize_t __read_chk(int fd, void *p, size_t n, size_t room);
SEEP_EXPORT ssize_t __read_chk(int fd, void *p, size_t n, size_t room)
{
    ssize_t rc;
    FIND(__read_chk);
    input_begin(fd);
    INPUT(rc, next___read_chk(fd, p, n, room), fd);
    return rc;
}

SEEP_EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
    ssize_t rc;
    FIND(readv);
    input_begin(fd);
    INPUT(rc, next_readv(fd, iov, n), fd);
    return rc;
}

/* MSG_WAITALL: goes on where we interrupted it. */
static ssize_t wait_all(int fd, char *p, size_t n, int flags, ssize_t got)
{
    while (got > 0 && (size_t)got < n && agent_tls.eintr_ours == EINTR_PARTIAL) {
        agent_tls.eintr_ours = 0;
        ssize_t more;
        INPUT(more, next_recv(fd, p + got, n - (size_t)got, flags), fd);
        if (more <= 0) break;
        got += more;
    }
    return got;
}

static __attribute__((noinline)) ssize_t recv_whole(int fd, void *p, size_t n, int flags, ssize_t rc)
{
    if (flags & (MSG_PEEK | MSG_TRUNC)) return rc;
    FIND(recv);
    return wait_all(fd, p, n, flags, rc);
}

/* The flag must outlive the call itself here. */
#define INPUT_WHOLE(rc, call, fd, p, n, flags)                                   \
    do {                                                                         \
        struct retry again_ = {0, false};                                        \
        uint32_t outer_ = eintr_begin(false);                                    \
        do rc = (call);                                                          \
        while (rc == -1 && retry(&again_, fd, SO_RCVTIMEO, EAGAIN));             \
        if (unlikely((flags)&MSG_WAITALL)) rc = recv_whole(fd, p, n, flags, rc); \
        eintr_end(outer_);                                                       \
    } while (0)

SEEP_EXPORT ssize_t recv(int fd, void *p, size_t n, int flags)
{
    ssize_t rc;
    FIND(recv);
    input_begin(fd);
    INPUT_WHOLE(rc, next_recv(fd, p, n, flags), fd, p, n, flags);
    return rc;
}

SEEP_EXPORT ssize_t __recv_chk(int fd, void *p, size_t n, size_t room, int flags);
SEEP_EXPORT ssize_t __recv_chk(int fd, void *p, size_t n, size_t room, int flags)
{
    ssize_t rc;
    FIND(__recv_chk);
    input_begin(fd);
    INPUT_WHOLE(rc, next___recv_chk(fd, p, n, room, flags), fd, p, n, flags);
    return rc;
}

SEEP_EXPORT ssize_t recvfrom(int fd, void *p, size_t n, int flags, __SOCKADDR_ARG from, socklen_t *len)
{
    ssize_t rc;
    FIND(recvfrom);
    input_begin(fd);
    INPUT_WHOLE(rc, next_recvfrom(fd, p, n, flags, from, len), fd, p, n, flags);
    return rc;
}

SEEP_EXPORT ssize_t __recvfrom_chk(int fd, void *p, size_t n, size_t room, int flags, __SOCKADDR_ARG from,
                                   socklen_t *len);
SEEP_EXPORT ssize_t __recvfrom_chk(int fd, void *p, size_t n, size_t room, int flags, __SOCKADDR_ARG from,
                                   socklen_t *len)
{
    ssize_t rc;
    FIND(__recvfrom_chk);
    input_begin(fd);
    INPUT_WHOLE(rc, next___recvfrom_chk(fd, p, n, room, flags, from, len), fd, p, n, flags);
    return rc;
}

SEEP_EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    ssize_t rc;
    FIND(recvmsg);
    input_begin(fd);
    INPUT(rc, next_recvmsg(fd, m, flags), fd);
    return rc;
}

SEEP_EXPORT int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
    int rc;
    FIND(recvmmsg);
    input_begin(fd);
    INPUT(rc, next_recvmmsg(fd, m, n, flags, timeout), fd);
    return rc;
}

SEEP_EXPORT int accept(int fd, __SOCKADDR_ARG a, socklen_t *len)
{
    int rc;
    FIND(accept);
    input_begin(fd);
    INPUT(rc, next_accept(fd, a, len), fd);
    return rc;
}

SEEP_EXPORT int accept4(int fd, __SOCKADDR_ARG a, socklen_t *len, int flags)
{
    int rc;
    FIND(accept4);
    input_begin(fd);
    INPUT(rc, next_accept4(fd, a, len, flags), fd);
    return rc;
}

/* Made again, Linux waits on for the connection that the first call began, and returns 0 when it stands. */
SEEP_EXPORT int connect(int fd, __CONST_SOCKADDR_ARG a, socklen_t len)
{
    int rc;
    FIND(connect);
    struct retry again = {0, false};
    uint32_t outer = eintr_begin(false);
    bool interrupted = false;
    while ((rc = next_connect(fd, a, len)) == -1 && retry(&again, fd, SO_SNDTIMEO, EINPROGRESS)) interrupted = true;
    if (rc == -1 && interrupted && errno == EISCONN) rc = 0;
    eintr_end(outer);
    return rc;
}

/* ---- Output. A part that was written because of us is completed; an error on the way ends with the part. */

static inline bool cut_short(ssize_t rc)
{
    if (likely(agent_tls.eintr_ours != EINTR_PARTIAL) || rc <= 0) return false;
    agent_tls.eintr_ours = 0;
    return true;
}

SEEP_EXPORT ssize_t write(int fd, const void *p, size_t n)
{
    struct retry again = {0, false};
    ssize_t rc, done = 0;
    FIND(write);
    uint32_t outer = eintr_begin(false);
    for (;;) {
        do rc = next_write(fd, (const char *)p + done, n - (size_t)done);
        while (rc == -1 && retry(&again, fd, SO_SNDTIMEO, EAGAIN));
        if (rc > 0) done += rc;
        if (rc <= 0 || (size_t)done >= n || !cut_short(rc)) break;
    }
    eintr_end(outer);
    return done > 0 ? done : rc;
}

SEEP_EXPORT ssize_t sendto(int fd, const void *p, size_t n, int flags, __CONST_SOCKADDR_ARG to, socklen_t len)
{
    struct retry again = {0, false};
    ssize_t rc, done = 0;
    FIND(sendto);
    uint32_t outer = eintr_begin(false);
    for (;;) {
        do rc = next_sendto(fd, (const char *)p + done, n - (size_t)done, flags, to, len);
        while (rc == -1 && retry(&again, fd, SO_SNDTIMEO, EAGAIN));
        if (rc > 0) done += rc;
        if (rc <= 0 || (size_t)done >= n || !cut_short(rc)) break;
    }
    eintr_end(outer);
    return done > 0 ? done : rc;
}

SEEP_EXPORT ssize_t send(int fd, const void *p, size_t n, int flags)
{
    return sendto(fd, p, n, flags, (struct sockaddr *)NULL, 0);
}

/* What is left of the vectors after done bytes: the rest of the cut one by write, then whole ones. */
struct rest {
    const struct iovec *iov;
    size_t n, skip;
};

static void advance(struct rest *r, size_t bytes)
{
    bytes += r->skip;
    while (r->n > 0 && bytes >= r->iov->iov_len) {
        bytes -= r->iov->iov_len;
        r->iov++;
        r->n--;
    }
    r->skip = r->n > 0 ? bytes : 0;
}

SEEP_EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
    struct retry again = {0, false};
    struct rest r = {iov, n > 0 ? (size_t)n : 0, 0};
    ssize_t rc, done = 0;
    FIND(writev);
    FIND(write);
    uint32_t outer = eintr_begin(false);
    for (;;) {
        do
            rc = r.skip ? next_write(fd, (char *)r.iov->iov_base + r.skip, r.iov->iov_len - r.skip)
                        : next_writev(fd, r.iov, done ? (int)r.n : n);
        while (rc == -1 && retry(&again, fd, SO_SNDTIMEO, EAGAIN));
        if (rc <= 0) break;
        done += rc;
        bool cut = cut_short(rc);
        if (likely(!cut && !r.skip)) break;
        advance(&r, (size_t)rc);
        if (r.n == 0) break;
    }
    eintr_end(outer);
    return done > 0 ? done : rc;
}

SEEP_EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct retry again = {0, false};
    struct msghdr rest_of = *m;
    struct rest r = {m->msg_iov, m->msg_iovlen, 0};
    ssize_t rc, done = 0;
    FIND(sendmsg);
    FIND(send);
    uint32_t outer = eintr_begin(false);
    for (;;) {
        do
            rc = r.skip ? next_send(fd, (char *)r.iov->iov_base + r.skip, r.iov->iov_len - r.skip, flags)
                        : next_sendmsg(fd, done ? &rest_of : m, flags);
        while (rc == -1 && retry(&again, fd, SO_SNDTIMEO, EAGAIN));
        if (rc <= 0) break;
        done += rc;
        bool cut = cut_short(rc);
        if (likely(!cut && !r.skip)) break;
        advance(&r, (size_t)rc);
        if (r.n == 0) break;
        rest_of.msg_iov = (struct iovec *)r.iov;
        rest_of.msg_iovlen = r.n;
        rest_of.msg_control = NULL; /* has been sent with the first part */
        rest_of.msg_controllen = 0;
    }
    eintr_end(outer);
    return done > 0 ? done : rc;
}

SEEP_EXPORT int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
    int rc;
    FIND(sendmmsg);
    OUTPUT(rc, next_sendmmsg(fd, m, n, flags), fd);
    return rc;
}
