/* SPDX-License-Identifier: Apache-2.0
 *
 * A small but realistic server: a job queue over a Unix socket, all of it in coroutines.
 *
 *     jobd [--leak] SOCKET        serve until SIGTERM, SIGINT or the command STOP
 *     jobd --client SOCKET N      run N jobs over 8 connections, and say what came back
 *
 *     accept loop ─▶ one coroutine a connection ──queue──▶ workers ─▶ deliver() ──reply──▶ connection
 *                              └───────── deadline of 40 ms ──reply──▶┘
 *
 * Protocol, a line each: "JOB id" → "DONE id checksum" or "LATE id"; "STOP". Every tenth job is slow and misses its deadline.
 *
 * With --leak it has two of the mistakes that such servers have:
 *   - the reply channel has no room, so when a connection has stopped waiting for a late job, the coroutine that delivers the
 *     result waits for ever, and keeps the job and its 16 KiB of data alive (stuck-send);
 *   - the answer that was prepared for the job is forgotten on the way that a late job takes (unreachable-memory). */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "coro.h"

enum { WORKERS = 16, QUEUE = 64, DATA = 16384, CLIENTS = 8 };
enum { DEADLINE_MS = 40, SLOW_MS = 100, SLOW_EVERY = 10 };

static void *need(void *p)
{
    if (p) return p;
    fprintf(stderr, "jobd: out of memory\n");
    exit(4);
}

static int open_socket(const char *path, struct sockaddr_un *addr)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr->sun_path) {
        fprintf(stderr, "jobd: %s: the path of a socket is at most %zu bytes long\n", path, sizeof addr->sun_path - 1);
        exit(2);
    }
    strcpy(addr->sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        perror("jobd: socket");
        exit(4);
    }
    return fd;
}

/* ---- lines over a descriptor */

struct lines {
    int fd;
    size_t n;
    char buffer[512];
};

/* The next line without its end, in out. False: the connection is at its end, or the line is too long. */
static bool read_line(struct lines *l, char *out, size_t size)
{
    for (;;) {
        char *end = memchr(l->buffer, '\n', l->n);
        if (end) {
            size_t len = (size_t)(end - l->buffer);
            if (len >= size) return false;
            memcpy(out, l->buffer, len);
            out[len] = '\0';
            l->n -= len + 1;
            memmove(l->buffer, end + 1, l->n);
            return true;
        }
        if (l->n == sizeof l->buffer) return false;
        ssize_t r = co_read(l->fd, l->buffer + l->n, sizeof l->buffer - l->n);
        if (r <= 0) return false;
        l->n += (size_t)r;
    }
}

/* ---- jobs */

enum outcome { DONE, LATE };
struct reply {
    enum outcome outcome;
    unsigned checksum;
};

struct job {
    atomic_int holders; /* connection, worker, deadline: the last one frees it */
    unsigned id, checksum;
    co_chan *replies; /* of struct reply */
    unsigned char *data;
};

static co_chan *queue; /* of struct job * */
static bool leak;
static atomic_uint jobs_done, jobs_late;

static struct job *job_new(unsigned id)
{
    struct job *j = need(calloc(1, sizeof *j));
    j->holders = 3;
    j->id = id;
    j->data = need(malloc(DATA));
    memset(j->data, (int)id, DATA);
    j->replies = need(co_make(struct reply, leak ? 0 : 2)); /* room for both answers, or for none */
    return j;
}

static void job_release(struct job *j)
{
    if (atomic_fetch_sub(&j->holders, 1) > 1) return;
    co_chan_free(j->replies);
    free(j->data);
    free(j);
}

static void deliver(void *arg)
{
    struct job *j = arg;
    struct reply r = {DONE, j->checksum};
    co_send(j->replies, &r);
    job_release(j);
}

static void worker(void *arg)
{
    co_waitgroup *working = arg;
    struct job *j;
    while (co_recv(queue, &j)) {
        if (j->id % SLOW_EVERY == 0) co_sleep_ns(SLOW_MS * 1000000ull); /* the disk is slow today */
        for (int i = 0; i < DATA; i++) j->checksum = j->checksum * 31 + j->data[i];
        co_go(deliver, j); /* the worker does not wait for the connection */
    }
    co_wg_done(working);
}

static void deadline(void *arg)
{
    struct job *j = arg;
    struct reply r = {LATE, 0};
    co_sleep_ns(DEADLINE_MS * 1000000ull);
    co_try_send(j->replies, &r);
    job_release(j);
}

static void answer_job(int fd, unsigned id)
{
    char *answer = need(malloc(128));
    struct job *j = job_new(id);
    struct reply r;
    co_go(deadline, j);
    co_send(queue, &j);
    co_recv(j->replies, &r);
    job_release(j);
    if (r.outcome == LATE) {
        atomic_fetch_add(&jobs_late, 1);
        char late[32];
        int n = snprintf(late, sizeof late, "LATE %u\n", id);
        co_write(fd, late, (size_t)n);
        if (leak) return;
    } else {
        atomic_fetch_add(&jobs_done, 1);
        int n = snprintf(answer, 128, "DONE %u %08x\n", id, r.checksum);
        co_write(fd, answer, (size_t)n);
    }
    free(answer);
}

/* ---- the server */

static int listener = -1, stop_pipe[2];
static co_waitgroup connections;

static void connection(void *arg)
{
    struct lines *l = arg;
    char line[128];
    unsigned id;
    while (read_line(l, line, sizeof line)) {
        if (sscanf(line, "JOB %u", &id) == 1) {
            answer_job(l->fd, id);
        } else if (strcmp(line, "STOP") == 0) {
            co_write(stop_pipe[1], "", 1);
        } else {
            co_write(l->fd, "WHAT?\n", 6);
        }
    }
    close(l->fd);
    free(l);
    co_wg_done(&connections);
}

static void accept_loop(void *arg)
{
    (void)arg;
    int fd;
    while ((fd = co_accept(listener, NULL, NULL)) >= 0) {
        struct lines *l = need(calloc(1, sizeof *l));
        l->fd = fd;
        co_wg_add(&connections, 1);
        co_go_attr(&(struct co_attr){.name = "connection"}, connection, l);
    }
    co_wg_done(&connections);
}

static void on_signal(int sig)
{
    (void)sig;
    if (write(stop_pipe[1], "", 1) < 0) _exit(4);
}

static int serve(const char *path)
{
    struct sockaddr_un addr;
    listener = open_socket(path, &addr);
    if (connect(listener, (struct sockaddr *)&addr, sizeof addr) < 0 && errno == ECONNREFUSED)
        unlink(path); /* of a server that was killed */
    if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(listener, 128) < 0) {
        perror(path);
        return 4;
    }
    if (pipe(stop_pipe) < 0) {
        perror("jobd: pipe");
        return 4;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);

    co_waitgroup working = {0};
    queue = need(co_make(struct job *, QUEUE));
    co_wg_add(&working, WORKERS);
    for (int i = 0; i < WORKERS; i++) co_go_attr(&(struct co_attr){.name = "worker"}, worker, &working);
    co_wg_add(&connections, 1);
    co_go_attr(&(struct co_attr){.name = "accept"}, accept_loop, NULL);
    printf("jobd: serving on %s%s\n", path, leak ? ", leaking" : "");
    fflush(stdout);

    char c;
    co_read(stop_pipe[0], &c, 1);
    shutdown(listener, SHUT_RDWR); /* wakes the accept loop; connections end when their clients do */
    co_wg_wait(&connections);
    co_close(queue);
    co_wg_wait(&working);
    co_sleep_ns(2 * DEADLINE_MS * 1000000ull);
    co_chan_free(queue);
    close(listener);
    unlink(path);
    printf("jobd: %u done, %u late, %llu coroutines left\n", atomic_load(&jobs_done), atomic_load(&jobs_late),
           (unsigned long long)co_count() - 1);
    return 0;
}

/* ---- the client */

struct client {
    const char *path;
    unsigned from, to, done, late, bad;
    co_waitgroup *running;
};

static void run_client(void *arg)
{
    struct client *c = arg;
    struct sockaddr_un addr;
    struct lines l = {.fd = open_socket(c->path, &addr)};
    if (co_connect(l.fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        perror(c->path);
        exit(4);
    }
    for (unsigned id = c->from; id < c->to; id++) {
        char line[128];
        unsigned got = 0;
        int n = snprintf(line, sizeof line, "JOB %u\n", id);
        if (co_write(l.fd, line, (size_t)n) < 0 || !read_line(&l, line, sizeof line)) {
            c->bad += c->to - id;
            break;
        }
        if (sscanf(line, "DONE %u", &got) == 1 && got == id)
            c->done++;
        else if (sscanf(line, "LATE %u", &got) == 1 && got == id)
            c->late++;
        else
            c->bad++;
    }
    close(l.fd);
    co_wg_done(c->running);
}

static int client(const char *path, unsigned n)
{
    co_waitgroup running = {0};
    struct client c[CLIENTS];
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    co_wg_add(&running, CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        c[i] = (struct client){.path = path, .from = n / CLIENTS * i, .to = n / CLIENTS * (i + 1), .running = &running};
        if (i == CLIENTS - 1) c[i].to = n;
        co_go(run_client, &c[i]);
    }
    co_wg_wait(&running);
    clock_gettime(CLOCK_MONOTONIC, &to);
    unsigned done = 0, late = 0, bad = 0;
    for (unsigned i = 0; i < CLIENTS; i++) done += c[i].done, late += c[i].late, bad += c[i].bad;
    printf("%u jobs: %u done, %u late, %u failed, in %.2f s\n", n, done, late, bad,
           (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--client") == 0) {
        char *end;
        unsigned long n = strtoul(argv[3], &end, 10);
        if (*end == '\0' && n >= 1 && n <= 1000000) return client(argv[2], (unsigned)n);
    } else if (argc == 2 && argv[1][0] != '-') {
        return serve(argv[1]);
    } else if (argc == 3 && strcmp(argv[1], "--leak") == 0) {
        leak = true;
        return serve(argv[2]);
    }
    fprintf(stderr, "usage: jobd [--leak] SOCKET | jobd --client SOCKET N (1 to 1000000)\n");
    return 2;
}
