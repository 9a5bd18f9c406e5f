/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that the kernel or libc can't make without blocking: regular files and name resolution. Each goes through co_blocking(): it
 * runs on this thread while the processor serves others. errno is carried over. */
#include "coro/runtime.h"

#include <fcntl.h>
#include <netdb.h>
#include <unistd.h>

#include "coro/include/coro.h"

struct call {
    int fd, flags;
    mode_t mode;
    const char *path;
    void *in;
    const void *out;
    size_t n;
    off_t offset;
    ssize_t result;
    int err;
};

static void done(struct call *c, ssize_t result)
{
    c->result = result;
    c->err = result < 0 ? *__errno_location() : 0;
}
static ssize_t finish(const struct call *c)
{
    if (c->result < 0) errno = c->err;
    return c->result;
}

static void do_open(void *arg)
{
    struct call *c = arg;
    done(c, open(c->path, c->flags, c->mode));
}
CO_EXPORT int co_open(const char *path, int flags, mode_t mode)
{
    struct call c = {.path = path, .flags = flags, .mode = mode};
    co_blocking(do_open, &c);
    return (int)finish(&c);
}

static void do_pread(void *arg)
{
    struct call *c = arg;
    done(c, pread(c->fd, c->in, c->n, c->offset));
}
CO_EXPORT ssize_t co_pread(int fd, void *buf, size_t n, off_t offset)
{
    struct call c = {.fd = fd, .in = buf, .n = n, .offset = offset};
    co_blocking(do_pread, &c);
    return finish(&c);
}

static void do_pwrite(void *arg)
{
    struct call *c = arg;
    done(c, pwrite(c->fd, c->out, c->n, c->offset));
}
CO_EXPORT ssize_t co_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    struct call c = {.fd = fd, .out = buf, .n = n, .offset = offset};
    co_blocking(do_pwrite, &c);
    return finish(&c);
}

static void do_fsync(void *arg)
{
    struct call *c = arg;
    done(c, fsync(c->fd));
}
CO_EXPORT int co_fsync(int fd)
{
    struct call c = {.fd = fd};
    co_blocking(do_fsync, &c);
    return (int)finish(&c);
}

struct lookup {
    const char *node, *service;
    const struct addrinfo *hints;
    struct addrinfo **result;
    int code, err;
};
static void do_lookup(void *arg)
{
    struct lookup *l = arg;
    l->code = getaddrinfo(l->node, l->service, l->hints, l->result);
    l->err = *__errno_location();
}
CO_EXPORT int co_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                             struct addrinfo **result)
{
    struct lookup l = {.node = node, .service = service, .hints = hints, .result = result};
    co_blocking(do_lookup, &l);
    if (l.code == EAI_SYSTEM) errno = l.err;
    return l.code;
}
