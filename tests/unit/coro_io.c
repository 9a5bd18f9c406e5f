/* SPDX-License-Identifier: Apache-2.0
 *
 * I/O that parks the coroutine: echo over many Unix sockets, pipes, connect refused, end of file, a closed peer, a listener that is shut
 * down, and a program that closes every descriptor of the runtime. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <time.h>
#include <netdb.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

enum { PAIRS = 50, ROUNDS = 40, SIZE = 3000 };

static void echo(void *fd)
{
    char buf[512];
    ssize_t n;
    int s = (int)(intptr_t)fd;
    while ((n = co_read(s, buf, sizeof buf)) > 0) co_write(s, buf, (size_t)n);
    close(s);
}
struct talk {
    int fd;
    co_waitgroup *wg;
};
static void talk(void *arg)
{
    struct talk *t = arg;
    char out[SIZE], in[SIZE];
    for (int r = 0; r < ROUNDS; r++) {
        memset(out, 'a' + r % 26, sizeof out);
        CHECK(co_write(t->fd, out, sizeof out) == SIZE);
        for (size_t n = 0; n < SIZE;) {
            ssize_t got = co_read(t->fd, in + n, SIZE - n);
            CHECK(got > 0);
            n += (size_t)got;
        }
        CHECK(memcmp(in, out, SIZE) == 0);
    }
    close(t->fd);
    co_wg_done(t->wg);
}
static void test_socketpairs(void)
{
    static struct talk t[PAIRS];
    co_waitgroup wg = {0};
    co_wg_add(&wg, PAIRS);
    for (int i = 0; i < PAIRS; i++) {
        int s[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
        t[i] = (struct talk){s[0], &wg};
        co_go(echo, (void *)(intptr_t)s[1]);
        co_go(talk, &t[i]);
    }
    co_wg_wait(&wg);
    while (co_count() > 1) co_yield_now();
}

static void pipe_writer(void *fd)
{
    static char big[300000];
    memset(big, 'z', sizeof big);
    CHECK(co_write((int)(intptr_t)fd, big, sizeof big) == sizeof big);
    close((int)(intptr_t)fd);
}
static void test_pipe(void)
{
    int p[2];
    char buf[4096];
    size_t total = 0;
    assert_int_equal(pipe(p), 0);
    co_go(pipe_writer, (void *)(intptr_t)p[1]);
    ssize_t n;
    while ((n = co_read(p[0], buf, sizeof buf)) > 0) total += (size_t)n;
    assert_int_equal(n, 0);
    assert_int_equal(total, 300000);
}

static int tcp_listener(struct sockaddr_in *addr)
{
    socklen_t len = sizeof *addr;
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)addr, sizeof *addr) == 0 && listen(fd, 16) == 0);
    getsockname(fd, (struct sockaddr *)addr, &len);
    return fd;
}
static void accept_one(void *fd)
{
    int s = co_accept((int)(intptr_t)fd, NULL, NULL);
    CHECK(s >= 0);
    echo((void *)(intptr_t)s);
}
static void test_connect_and_refused(void)
{
    struct sockaddr_in addr;
    int l = tcp_listener(&addr), c = socket(AF_INET, SOCK_STREAM, 0);
    char b = 'x';
    co_go(accept_one, (void *)(intptr_t)l);
    assert_int_equal(co_connect(c, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(co_write(c, &b, 1), 1);
    assert_int_equal(co_read(c, &b, 1), 1);
    close(c);
    close(l);
    c = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(co_connect(c, (struct sockaddr *)&addr, sizeof addr), -1);
    assert_int_equal(errno, ECONNREFUSED);
    assert_int_equal(co_read(-1, &b, 1), -1);
    assert_int_equal(errno, EBADF);
}

static void shut(void *fd)
{
    co_sleep_ns(2000000);
    shutdown((int)(intptr_t)fd, SHUT_RDWR);
}
static void test_shutdown_wakes_accept(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX}; /* autobind */
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(l, (struct sockaddr *)&un, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(l, 4), 0);
    co_go(shut, (void *)(intptr_t)l);
    assert_int_equal(co_accept(l, NULL, NULL), -1);
    assert_int_equal(errno, EINVAL);
    struct sockaddr_in addr;
    l = tcp_listener(&addr);
    co_go(shut, (void *)(intptr_t)l);
    assert_int_equal(co_accept(l, NULL, NULL), -1);
    assert_int_equal(errno, EINVAL);
}

static void test_closed_peer(void)
{
    int s[2];
    char b = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    close(s[1]);
    assert_int_equal(co_write(s[0], &b, 1), -1); /* and no SIGPIPE */
    assert_int_equal(errno, EPIPE);
    assert_int_equal(co_read(s[0], &b, 1), 0);
}

/* A descriptor number that was used, closed without notice, and used again. */
static void late_writer(void *fd)
{
    co_sleep_ns(1000000);
    CHECK(co_write((int)(intptr_t)fd, "y", 1) == 1);
}
static void test_reused_number(void)
{
    int first = -1;
    for (int i = 0; i < 20; i++) {
        int s[2];
        char b = 0;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
        if (i == 0) first = s[0];
        assert_int_equal(s[0], first);
        co_go(late_writer, (void *)(intptr_t)s[1]);
        assert_int_equal(co_read(s[0], &b, 1), 1);
        while (co_count() > 1) co_yield_now();
        close(s[0]);
        close(s[1]);
    }
}

/* Files and names: on a thread that may block, with errno brought back. */
static void test_off_thread(void)
{
    char name[] = "/tmp/coro_ioXXXXXX", text[8] = {0};
    int made = mkstemp(name);
    CHECK(made >= 0);
    close(made);
    int fd = co_open(name, O_RDWR, 0);
    CHECK(fd >= 0 && co_pwrite(fd, "hello", 5, 3) == 5 && co_fsync(fd) == 0);
    CHECK(co_pread(fd, text, sizeof text, 3) == 5 && strcmp(text, "hello") == 0);
    close(fd);
    unlink(name);
    errno = 0;
    CHECK(co_open(name, O_RDONLY, 0) == -1 && errno == ENOENT);
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_family = AF_INET}, *list = NULL;
    CHECK(co_getaddrinfo("127.0.0.1", "80", &hints, &list) == 0);
    CHECK(((struct sockaddr_in *)(void *)list->ai_addr)->sin_port == htons(80));
    freeaddrinfo(list);
    CHECK(co_getaddrinfo("no such host", NULL, &hints, &list) == EAI_NONAME);
}

/* Deadlines: package net, Conn.SetDeadline. */
static uint64_t in_ms(uint64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec + ms * 1000000u;
}
static void slow_writer(void *fd)
{
    co_sleep_ns(3000000);
    co_write((int)(intptr_t)fd, "x", 1);
}
static void deadline_setter(void *fd)
{
    co_sleep_ns(3000000);
    co_set_deadline((int)(intptr_t)fd, 1, 0);
}
static void racing_reader(void *arg)
{
    struct talk *t = arg;
    char c;
    for (int i = 0; i < 300; i++) {
        co_set_deadline(t->fd, in_ms(0) + (uint64_t)(i * 7919 % 60000), 0);
        ssize_t n = co_read(t->fd, &c, 1);
        CHECK(n == 1 || (n == -1 && errno == ETIMEDOUT));
        co_sleep_ns(1000); /* its timer's place is used anew */
    }
    co_set_deadline(t->fd, 0, 0);
    shutdown(t->fd, SHUT_RDWR);
    co_wg_done(t->wg);
}
static void racing_writer(void *arg)
{
    struct talk *t = arg;
    while (co_write(t->fd, "y", 1) == 1) co_sleep_ns(20000);
    co_wg_done(t->wg);
}
static void test_deadlines(void)
{
    int s[2];
    char buf[8];
    static char much[1 << 20];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    assert_int_equal(co_set_deadline(s[0], in_ms(2), 0), 0);
    assert_true(co_read(s[0], buf, 1) == -1 && errno == ETIMEDOUT);
    assert_true(co_write(s[1], "ab", 2) == 2);
    assert_true(co_read(s[0], buf, 1) == -1 && errno == ETIMEDOUT); /* passed: fails although there is something */
    co_set_deadline(s[0], in_ms(60000), 0);
    assert_int_equal(co_read(s[0], buf, sizeof buf), 2);
    co_go(slow_writer, (void *)(intptr_t)s[1]);
    assert_int_equal(co_read(s[0], buf, sizeof buf), 1); /* in time */
    co_go(deadline_setter, (void *)(intptr_t)s[0]);
    assert_true(co_read(s[0], buf, 1) == -1 && errno == ETIMEDOUT); /* set while it waited */
    co_set_deadline(s[0], 0, in_ms(3));
    assert_true(co_write(s[0], much, sizeof much) == -1 && errno == ETIMEDOUT);
    assert_true(co_set_deadline(-1, 0, 0) == -1 && errno == EBADF);
    close(s[0]);
    close(s[1]);

    co_waitgroup wg = {0};
    static struct talk r[8], w[8];
    co_wg_add(&wg, 16);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
        co_set_deadline(s[0], 0, 0);
        co_set_deadline(s[1], 0, 0);
        r[i] = (struct talk){s[0], &wg};
        w[i] = (struct talk){s[1], &wg};
        co_go(racing_reader, &r[i]);
        co_go(racing_writer, &w[i]);
    }
    co_wg_wait(&wg);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "3", 1);
    const struct CMUnitTest tests[] = {RUN(test_off_thread),          RUN(test_deadlines),
                                       RUN(test_socketpairs),         RUN(test_pipe),
                                       RUN(test_connect_and_refused), RUN(test_shutdown_wakes_accept),
                                       RUN(test_closed_peer),         RUN(test_reused_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
