/* SPDX-License-Identifier: Apache-2.0
 *
 * read, write, accept and connect that park the coroutine. Each tries at once and waits in the poller on EAGAIN.
 * Sockets are asked not to block by MSG_DONTWAIT, everything else is made non-blocking. errno is written after the last
 * wait, on the thread that the coroutine is on by then. What never blocks needs neither libc's cancellation points nor the agent's
 * protection from EINTR, so recv and send on sockets are bare system calls. */
#include "coro/runtime.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "agent/os/syscall_x86_64.h"

#include "coro/include/coro.h"
#include "coro/poll.h"

static int fail(int err)
{
    errno = err;
    return -1;
}

/* Makes fd non-blocking; a negative errno. */
static int no_block(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -errno;
    if (flags & O_NONBLOCK) return 0;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static ssize_t try_read(struct pollfd_entry *e, int fd, void *buf, size_t n)
{
    if (!e->plain) {
        __builtin_prefetch(buf, 1); /* for the kernel, which writes there a thousand instructions later */
        ssize_t r = sys6(SYS_recvfrom, fd, (long)buf, (long)n, MSG_DONTWAIT, 0, 0);
        if (likely(r != -ENOTSOCK)) return r;
        e->plain = true;
    }
    int err = no_block(fd);
    if (err) return err;
    ssize_t r = read(fd, buf, n);
    return r < 0 ? -errno : r;
}

static ssize_t try_write(struct pollfd_entry *e, int fd, const void *buf, size_t n)
{
    if (!e->plain) {
        ssize_t r = sys6(SYS_sendto, fd, (long)buf, (long)n, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
        if (likely(r != -ENOTSOCK)) return r;
        e->plain = true;
    }
    int err = no_block(fd);
    if (err) return err;
    ssize_t r = write(fd, buf, n);
    return r < 0 ? -errno : r;
}

CO_EXPORT ssize_t co_read(int fd, void *buf, size_t n)
{
    struct pollfd_entry *e = poll_entry(fd);
    if (!e) return fail(EBADF);
    if (unlikely(e->read_deadline_ns) && e->read_deadline_ns <= os_mono_ns()) return fail(ETIMEDOUT);
    for (;;) {
        /* A short read has emptied the socket, so trying once more before waiting would be a system call for nothing. */
        ssize_t r = e->drained && e->registered ? -EAGAIN : try_read(e, fd, buf, n);
        e->drained = r > 0 && (size_t)r < n && e->fresh && !e->plain && !e->hangup;
        if (unlikely(r == 0))
            poll_forget(fd, false); /* its end: what comes next under this number is likely to be new */
        if (r >= 0) return r;
        int err = r == -EAGAIN ? poll_wait(fd, false, "co_read") : (int)r;
        if (err && err != -EINTR) return fail(-err);
    }
}

CO_EXPORT ssize_t co_write(int fd, const void *buf, size_t n)
{
    struct pollfd_entry *e = poll_entry(fd);
    if (!e) return fail(EBADF);
    if (unlikely(e->write_deadline_ns) && e->write_deadline_ns <= os_mono_ns()) return fail(ETIMEDOUT);
    size_t done = 0;
    do {
        ssize_t r = try_write(e, fd, (const char *)buf + done, n - done);
        if (r >= 0) {
            done += (size_t)r;
            continue;
        }
        int err = r == -EAGAIN ? poll_wait(fd, true, "co_write") : (int)r;
        if (err && err != -EINTR) return fail(-err);
    } while (done < n);
    return (ssize_t)done;
}

/* A listening Unix socket that was shut down says EAGAIN for ever, and that it is ready. */
static bool hung_up(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR | POLLNVAL);
}

CO_EXPORT int co_accept(int fd, struct sockaddr *addr, socklen_t *addrlen)
{
    for (;;) {
        int err = no_block(fd);
        if (err) return fail(-err);
        int s = accept4(fd, addr, addrlen, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (s >= 0) {
            poll_forget(s, true);
            return s;
        }
        if (errno == EAGAIN && hung_up(fd)) return fail(EINVAL);
        err = errno == EAGAIN ? poll_wait(fd, false, "co_accept") : -errno;
        if (err && err != -EINTR && err != -ECONNABORTED) return fail(-err);
    }
}

CO_EXPORT int co_connect(int fd, const struct sockaddr *addr, socklen_t addrlen)
{
    int err = no_block(fd);
    if (err) return fail(-err);
    for (;;) { /* EAGAIN: a Unix socket whose listener has a full queue, which the kernel gives no event for */
        if (connect(fd, addr, addrlen) == 0) return 0;
        if (errno != EAGAIN) break;
        co_sleep_ns(1000000);
    }
    if (errno != EINPROGRESS && errno != EINTR) return -1;
    for (poll_forget(fd, true);
         ;) { /* what poll_wait tells is a hint: there is a peer, or an error, or it is too early */
        err = poll_wait(fd, true, "co_connect");
        if (err) return fail(-err);
        struct sockaddr_storage peer;
        socklen_t len = sizeof err, peer_len = sizeof peer;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) return -1;
        if (err) return fail(err);
        if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0) return 0;
        if (errno != ENOTCONN) return -1;
    }
}
