/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer of examples/httpd.c with as little as possible: an epoll loop for each processor, each with a listener of its own
 * (SO_REUSEPORT), one recv and one send a request, and no parsing beyond the empty line. What the kernel leaves to any server. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 128, BUFFER = 4096 };
static const char answer[] = "HTTP/1.1 200 OK\r\nServer: seep\r\nContent-Type: text/plain\r\nContent-Length: 23\r\n\r\n"
                             "Hello from a coroutine\n";

static int listen_on(struct sockaddr_in *a)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    socklen_t len = sizeof *a;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)a, sizeof *a) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)a, &len) != 0) {
        perror("epoll: cannot listen");
        exit(1);
    }
    return fd;
}

static void watch(int ep, int fd)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void take_connections(int ep, int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(ep, fd);
    }
}

static void *serve(void *arg)
{
    int listener = (int)(intptr_t)arg, ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS];
    char in[BUFFER];
    watch(ep, listener);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                take_connections(ep, listener);
                continue;
            }
            ssize_t got = recv(fd, in, sizeof in, MSG_DONTWAIT);
            if (got > 0 && memmem(in, (size_t)got, "\r\n\r\n", 4) &&
                send(fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
                continue;
            close(fd);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *procs = getenv("CORO_MAXPROCS");
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    pthread_t t;
    if (argc != 3) return 2;
    a.sin_port = htons((uint16_t)atoi(argv[2]));
    for (int n = procs ? atoi(procs) : 1; n > 1; n--) pthread_create(&t, NULL, serve, (void *)(intptr_t)listen_on(&a));
    int last = listen_on(&a);
    printf("listening on 127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    serve((void *)(intptr_t)last);
    return 0;
}
