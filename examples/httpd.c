/* SPDX-License-Identifier: Apache-2.0
 *
 * A small HTTP/1.1 server: one coroutine for each connection, written as if every call could block. GET and HEAD of / give a line of
 * text, /stats the counters, anything else 404. Keep-alive and pipelined requests, no bodies.
 *
 *     httpd [-p PORT] [-a ADDRESS]          default 127.0.0.1:8080; port 0: any, it is printed
 *     wrk -t 2 -c 1000 -d 10 http://127.0.0.1:8080/
 *     seep run -- httpd                     record it; a coroutine that never ends is shown with where it was started
 *
 * SIGTERM or SIGINT ends it. bench/coro/httpd/httpd.go is the same server in Go. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coro.h"

/* Answers wait in so little that what a request touches of the stack, the start of either buffer included, is one page. */
enum { BUFFER = 4096, ANSWERS = 1024 };

static uint64_t connections, requests; /* by atomic additions */

struct answer {
    char text[ANSWERS];
    size_t n;
};

static void add(struct answer *a, const char *status, const char *body, bool head, bool keep)
{
    char digits[24], *length = digits + sizeof digits;
    *--length = 0;
    *--length = '\n';
    *--length = '\r';
    size_t n = strlen(body);
    do *--length = (char)('0' + n % 10);
    while (n /= 10);
    const char *parts[] = {"HTTP/1.1 ",
                           status,
                           "\r\nServer: seep\r\nContent-Type: text/plain\r\nContent-Length: ",
                           length,
                           keep ? "\r\n" : "Connection: close\r\n\r\n",
                           head ? "" : body};
    char *p = a->text + a->n;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) p = stpcpy(p, parts[i]);
    a->n = (size_t)(p - a->text);
}

/* Is there a header NAME whose value begins with VALUE? */
static bool has_header(const char *headers, const char *end, const char *name, const char *value)
{
    size_t n = strlen(name);
    for (const char *line = headers; line < end;) {
        const char *eol = memchr(line, '\n', (size_t)(end - line));
        if (!eol) return false;
        if ((size_t)(eol - line) > n && line[n] == ':' && (*line | 32) == (*name | 32) &&
            strncasecmp(line, name, n) == 0) {
            const char *v = line + n + 1;
            while (*v == ' ') v++;
            return strncasecmp(v, value, strlen(value)) == 0;
        }
        line = eol + 1;
    }
    return false;
}

/* The word at the beginning of [text, end); what comes after its space, or NULL: none, or longer than size - 1. */
static const char *word(const char *text, const char *end, char *out, size_t size)
{
    const char *space = memchr(text, ' ', (size_t)(end - text));
    if (!space || space == text || (size_t)(space - text) >= size) return NULL;
    *(char *)mempcpy(out, text, (size_t)(space - text)) = 0;
    return space + 1;
}

/* One request, [text, end) with its empty line. False: the connection ends after the answer. */
static bool serve(struct answer *a, const char *text, const char *end)
{
    char method[8], path[256], body[128];
    const char *eol = memchr(text, '\n', (size_t)(end - text));
    const char *rest = eol ? word(text, eol, method, sizeof method) : NULL;
    if (!rest || !word(rest, eol, path, sizeof path)) {
        add(a, "400 Bad Request", "bad request\n", false, false);
        return false;
    }
    bool head = strcmp(method, "HEAD") == 0, keep = !has_header(eol + 1, end, "Connection", "close");
    __atomic_fetch_add(&requests, 1, __ATOMIC_RELAXED);
    if (!head && strcmp(method, "GET") != 0) {
        add(a, "405 Method Not Allowed", "GET or HEAD\n", false, false);
        return false;
    }
    if (strcmp(path, "/") == 0) {
        add(a, "200 OK", "Hello from a coroutine\n", head, keep);
    } else if (strcmp(path, "/stats") == 0) {
        snprintf(body, sizeof body, "connections %llu\nrequests %llu\ncoroutines %llu\n",
                 (unsigned long long)__atomic_load_n(&connections, __ATOMIC_RELAXED),
                 (unsigned long long)__atomic_load_n(&requests, __ATOMIC_RELAXED), (unsigned long long)co_count());
        add(a, "200 OK", body, head, keep);
    } else {
        add(a, "404 Not Found", "not found\n", head, keep);
    }
    return keep;
}

/* Behind the empty line that ends a request's head; NULL: it is not there yet. */
static char *head_end(char *at, const char *end)
{
    for (char *p = at; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        if (p - at >= 3 && memcmp(p - 3, "\r\n\r\n", 4) == 0) return p + 1;
    return NULL;
}

static void connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char in[BUFFER];
    struct answer out;
    size_t have = 0;
    bool open = true;
    __atomic_fetch_add(&connections, 1, __ATOMIC_RELAXED);
    while (open) {
        ssize_t n = co_read(fd, in + have, sizeof in - have);
        if (n <= 0) break;
        have += (size_t)n;
        char *at = in, *end;
        out.n = 0;
        while (open && (end = head_end(at, in + have)) != NULL) {
            open = serve(&out, at, end);
            at = end;
            if (out.n > sizeof out.text - 512) { /* many at once */
                if (co_write(fd, out.text, out.n) < 0) open = false;
                out.n = 0;
            }
        }
        have -= (size_t)(at - in);
        memmove(in, at, have);
        if (have == sizeof in) {
            add(&out, "431 Request Header Fields Too Large", "too large\n", false, false);
            open = false;
        }
        if (out.n && co_write(fd, out.text, out.n) < 0) break;
    }
    close(fd);
}

static int listen_on(const char *address, int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof a;
    if (inet_pton(AF_INET, address, &a.sin_addr) != 1) {
        fprintf(stderr, "httpd: %s is no IPv4 address\n", address);
        exit(2);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
        perror("httpd: cannot listen");
        exit(1);
    }
    printf("listening on %s:%d\n", address, ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static void on_signal(int sig)
{
    (void)sig;
    _exit(0);
}

int main(int argc, char **argv)
{
    const char *address = "127.0.0.1";
    int port = 8080, c;
    while ((c = getopt(argc, argv, "p:a:")) != -1) {
        if (c == 'p') port = atoi(optarg);
        if (c == 'a') address = optarg;
        if (c == '?') return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int listener = listen_on(address, port);
    struct co_attr attr = {.name = "connection"};
    for (;;) {
        int fd = co_accept(listener, NULL, NULL), one = 1;
        if (fd < 0) {
            perror("httpd: accept");
            co_sleep_ns(10000000); /* out of descriptors: some will be closed */
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (co_go_attr(&attr, connection, (void *)(intptr_t)fd) != 0) close(fd);
    }
}
