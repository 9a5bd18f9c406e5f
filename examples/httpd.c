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

/* A piece of a request, or of an answer. */
struct text {
    const char *at;
    size_t n;
};
#define TEXT(s) ((struct text){s, sizeof(s) - 1})

static inline bool equal(struct text a, struct text b)
{
    return a.n == b.n && memcmp(a.at, b.at, b.n) == 0;
}

static inline char *put(char *to, struct text t)
{
    return mempcpy(to, t.at, t.n);
}

static void add(struct answer *a, struct text status, struct text body, bool head, bool keep)
{
    char digits[20], *first = digits + sizeof digits;
    size_t n = body.n;
    do *--first = (char)('0' + n % 10);
    while (n /= 10);
    char *p = put(a->text + a->n, TEXT("HTTP/1.1 "));
    p = put(p, status);
    p = put(p, TEXT("\r\nServer: seep\r\nContent-Type: text/plain\r\nContent-Length: "));
    while (first < digits + sizeof digits) *p++ = *first++;
    p = keep ? put(p, TEXT("\r\n\r\n")) : put(p, TEXT("\r\nConnection: close\r\n\r\n"));
    if (!head) p = put(p, body);
    a->n = (size_t)(p - a->text);
}

struct request {
    struct text method, path; /* empty: there was none */
    bool close;
};

/* What stands before the next space of line, without it. Nothing: no word, or no space behind it. */
static struct text word(struct text *line)
{
    struct text w = {line->at, 0};
    while (w.n < line->n && w.at[w.n] != ' ') w.n++;
    if (w.n == line->n) return (struct text){NULL, 0};
    line->at += w.n + 1;
    line->n -= w.n + 1;
    return w;
}

/* The header line is `Connection: close`, in any case of letters. */
static bool says_close(struct text line)
{
    struct text name = TEXT("connection:"), value = TEXT("close");
    if (line.n < name.n + value.n || (*line.at | 32) != *name.at || strncasecmp(line.at, name.at, name.n) != 0)
        return false;
    const char *v = line.at + name.n, *end = line.at + line.n;
    while (v < end && *v == ' ') v++;
    return (size_t)(end - v) >= value.n && strncasecmp(v, value.at, value.n) == 0;
}

/* Reads the head of a request, line by line; what comes behind its empty line, or NULL: that is not there yet. */
static const char *parse(struct request *r, const char *at, const char *end)
{
    *r = (struct request){0};
    for (bool first = true;; first = false) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        if (!eol) return NULL;
        struct text line = {at, (size_t)(eol - at)};
        at = eol + 1;
        if (line.n && line.at[line.n - 1] == '\r') line.n--;
        if (line.n == 0) return at;
        if (first) {
            r->method = word(&line);
            r->path = word(&line);
        } else if (says_close(line)) {
            r->close = true;
        }
    }
}

static void add_stats(struct answer *a, bool head, bool keep)
{
    char body[128];
    int n = snprintf(body, sizeof body, "connections %llu\nrequests %llu\ncoroutines %llu\n",
                     (unsigned long long)__atomic_load_n(&connections, __ATOMIC_RELAXED),
                     (unsigned long long)__atomic_load_n(&requests, __ATOMIC_RELAXED), (unsigned long long)co_count());
    add(a, TEXT("200 OK"), (struct text){body, (size_t)n}, head, keep);
}

/* False: the connection ends after the answer. */
static bool serve(struct answer *a, const struct request *r)
{
    bool head = equal(r->method, TEXT("HEAD")), keep = !r->close;
    if (r->path.n == 0) {
        add(a, TEXT("400 Bad Request"), TEXT("bad request\n"), false, false);
        return false;
    }
    __atomic_fetch_add(&requests, 1, __ATOMIC_RELAXED);
    if (!head && !equal(r->method, TEXT("GET"))) {
        add(a, TEXT("405 Method Not Allowed"), TEXT("GET or HEAD\n"), false, false);
        return false;
    }
    if (equal(r->path, TEXT("/")))
        add(a, TEXT("200 OK"), TEXT("Hello from a coroutine\n"), head, keep);
    else if (equal(r->path, TEXT("/stats")))
        add_stats(a, head, keep);
    else
        add(a, TEXT("404 Not Found"), TEXT("not found\n"), head, keep);
    return keep;
}

static void connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char in[BUFFER];
    struct answer out;
    struct request request;
    size_t have = 0;
    bool open = true;
    __atomic_fetch_add(&connections, 1, __ATOMIC_RELAXED);
    while (open) {
        ssize_t n = co_read(fd, in + have, sizeof in - have);
        if (n <= 0) break;
        have += (size_t)n;
        const char *at = in, *next;
        out.n = 0;
        while (open && (next = parse(&request, at, in + have)) != NULL) {
            open = serve(&out, &request);
            at = next;
            if (out.n > sizeof out.text - 512) { /* many at once */
                if (co_write(fd, out.text, out.n) < 0) open = false;
                out.n = 0;
            }
        }
        have -= (size_t)(at - in);
        if (have) memmove(in, at, have);
        if (have == sizeof in) {
            add(&out, TEXT("431 Request Header Fields Too Large"), TEXT("too large\n"), false, false);
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
