/* SPDX-License-Identifier: Apache-2.0
 *
 * A key-value server that speaks redis' protocol (RESP2, and inline commands): PING ECHO SET GET DEL EXISTS INCR DBSIZE FLUSHALL
 * COMMAND CONFIG QUIT. One coroutine for each connection; the table has 64 parts, each with a lock that is held for one command and
 * never while waiting.
 *
 *     kvd [-p PORT] [-a ADDRESS]            default 127.0.0.1:6380; port 0: any, it is printed
 *     redis-benchmark -p 6380 -t ping,set,get,incr -c 200 -P 16
 *     redis-cli -p 6380 set a 1
 *
 * Limits: a command of at most 64 arguments and 1 MiB. SIGTERM or SIGINT ends it. */
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

enum { PARTS = 64, MAX_ARGS = 64, MAX_COMMAND = 1 << 20, FIRST_BUFFER = 16 << 10, FLUSH_AT = 32 << 10 };

/* ---- The table: chained, doubled when full. */

struct entry {
    struct entry *next;
    uint64_t hash;
    size_t key_len, value_len;
    char *value;
    char key[];
};

static struct part {
    co_mutex lock;
    struct entry **slots;
    size_t nslots, n;
} parts[PARTS];

static uint64_t hash_of(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static void *must(void *p)
{
    if (p) return p;
    fprintf(stderr, "kvd: no memory\n");
    exit(1);
}

static void grow(struct part *t)
{
    size_t n = t->nslots ? t->nslots * 2 : 64;
    struct entry **slots = must(calloc(n, sizeof *slots)), *next;
    for (size_t i = 0; i < t->nslots; i++)
        for (struct entry *e = t->slots[i]; e; e = next) {
            next = e->next;
            e->next = slots[e->hash / PARTS % n];
            slots[e->hash / PARTS % n] = e;
        }
    free(t->slots);
    t->slots = slots;
    t->nslots = n;
}

/* With the part's lock held: where the pointer to the entry stands, or would. */
static struct entry **find(struct part *t, uint64_t h, const char *key, size_t n)
{
    if (t->n >= t->nslots) grow(t);
    struct entry **p = &t->slots[h / PARTS % t->nslots];
    while (*p && ((*p)->hash != h || (*p)->key_len != n || memcmp((*p)->key, key, n) != 0)) p = &(*p)->next;
    return p;
}

static void put(struct part *t, struct entry **at, uint64_t h, const char *key, size_t n, const char *value, size_t len)
{
    struct entry *e = *at;
    if (!e) {
        e = must(calloc(1, sizeof *e + n));
        e->hash = h;
        e->key_len = n;
        memcpy(e->key, key, n);
        *at = e;
        t->n++;
    }
    if (!e->value || e->value_len != len) {
        free(e->value);
        e->value = must(malloc(len ? len : 1));
        e->value_len = len;
    }
    memcpy(e->value, value, len);
}

static void drop(struct part *t, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    t->n--;
    free(e->value);
    free(e);
}

/* ---- A connection: buffers and answers. */

struct conn {
    int fd;
    bool open;
    char *in, *out;
    size_t have, in_size, n, out_size;
};

struct arg {
    const char *s;
    size_t n;
};

static void flush(struct conn *c)
{
    if (c->n && co_write(c->fd, c->out, c->n) < 0) c->open = false;
    c->n = 0;
}

static char *room(struct conn *c, size_t n)
{
    if (c->n + n > FLUSH_AT && c->n) flush(c);
    if (c->n + n > c->out_size) c->out = must(realloc(c->out, c->out_size = c->n + n));
    return c->out + c->n;
}

static void say(struct conn *c, const char *line)
{
    size_t n = strlen(line);
    memcpy(room(c, n + 2), line, n);
    memcpy(c->out + c->n + n, "\r\n", 2);
    c->n += n + 2;
}

static void say_number(struct conn *c, char kind, long long v)
{
    char s[32];
    snprintf(s, sizeof s, "%c%lld", kind, v);
    say(c, s);
}

static void say_bulk(struct conn *c, const char *s, size_t n)
{
    say_number(c, '$', (long long)n);
    memcpy(room(c, n + 2), s, n);
    memcpy(c->out + c->n + n, "\r\n", 2);
    c->n += n + 2;
}

/* ---- Commands. Answers are formed under the lock and sent after it: a value of more than FLUSH_AT is copied first. */

static void do_get(struct conn *c, struct part *t, uint64_t h, struct arg key)
{
    char *copy = NULL;
    size_t n = 0;
    co_mutex_lock(&t->lock);
    struct entry *e = *find(t, h, key.s, key.n);
    if (e) {
        n = e->value_len;
        copy = memcpy(must(malloc(n ? n : 1)), e->value, n);
    }
    co_mutex_unlock(&t->lock);
    if (copy)
        say_bulk(c, copy, n);
    else
        say(c, "$-1");
    free(copy);
}

static void do_incr(struct conn *c, struct part *t, uint64_t h, struct arg key)
{
    char s[32], *end = s;
    long long v = 0;
    co_mutex_lock(&t->lock);
    struct entry **at = find(t, h, key.s, key.n);
    bool number = !*at || (*at)->value_len < sizeof s;
    if (*at && number) {
        memcpy(s, (*at)->value, (*at)->value_len);
        s[(*at)->value_len] = 0;
        v = strtoll(s, &end, 10);
        number = end != s && !*end;
    }
    number = number && !__builtin_add_overflow(v, 1, &v);
    if (number) put(t, at, h, key.s, key.n, s, (size_t)snprintf(s, sizeof s, "%lld", v));
    co_mutex_unlock(&t->lock);
    if (number)
        say_number(c, ':', v);
    else
        say(c, "-ERR value is not an integer or out of range");
}

static long long each_part(bool clear)
{
    long long n = 0;
    for (int i = 0; i < PARTS; i++) {
        struct part *t = &parts[i];
        co_mutex_lock(&t->lock);
        n += (long long)t->n;
        for (size_t k = 0; clear && k < t->nslots; k++)
            while (t->slots[k]) drop(t, &t->slots[k]);
        co_mutex_unlock(&t->lock);
    }
    return n;
}

static bool is(struct arg a, const char *name)
{
    return a.n == strlen(name) && strncasecmp(a.s, name, a.n) == 0;
}

static void do_set(struct conn *c, struct part *t, uint64_t h, struct arg key, struct arg value)
{
    co_mutex_lock(&t->lock);
    put(t, find(t, h, key.s, key.n), h, key.s, key.n, value.s, value.n);
    co_mutex_unlock(&t->lock);
    say(c, "+OK");
}

static void count_keys(struct conn *c, const struct arg *a, int n, bool del)
{
    long long count = 0;
    for (int i = 1; i < n; i++) {
        uint64_t h = hash_of(a[i].s, a[i].n);
        struct part *t = &parts[h % PARTS];
        co_mutex_lock(&t->lock);
        struct entry **at = find(t, h, a[i].s, a[i].n);
        if (*at) {
            count++;
            if (del) drop(t, at);
        }
        co_mutex_unlock(&t->lock);
    }
    say_number(c, ':', count);
}

static void key_command(struct conn *c, const struct arg *a, int n)
{
    uint64_t h = hash_of(a[1].s, a[1].n);
    struct part *t = &parts[h % PARTS];
    if (is(a[0], "GET"))
        do_get(c, t, h, a[1]);
    else if (is(a[0], "INCR"))
        do_incr(c, t, h, a[1]);
    else if (is(a[0], "SET") && n == 3)
        do_set(c, t, h, a[1], a[2]);
    else if (is(a[0], "DEL") || is(a[0], "EXISTS"))
        count_keys(c, a, n, is(a[0], "DEL"));
    else
        say(c, "-ERR unknown command, or wrong number of arguments");
}

static void command(struct conn *c, const struct arg *a, int n)
{
    if (is(a[0], "PING") && n == 1) {
        say(c, "+PONG");
    } else if ((is(a[0], "PING") || is(a[0], "ECHO")) && n > 1) {
        say_bulk(c, a[1].s, a[1].n);
    } else if (is(a[0], "DBSIZE")) {
        say_number(c, ':', each_part(false));
    } else if (is(a[0], "FLUSHALL")) {
        each_part(true);
        say(c, "+OK");
    } else if (is(a[0], "COMMAND") || is(a[0], "CONFIG")) {
        say(c, "*0");
    } else if (is(a[0], "QUIT")) {
        say(c, "+OK");
        c->open = false;
    } else if (n > 1) {
        key_command(c, a, n);
    } else {
        say(c, "-ERR unknown command, or wrong number of arguments");
    }
}

/* ---- The protocol. */

/* The number in the line at p, and where the next one begins; NULL: not whole yet. */
static const char *number(const char *p, const char *end, long *v)
{
    const char *eol = memchr(p, '\n', (size_t)(end - p));
    if (!eol) return NULL;
    *v = 0;
    if (p == eol || *p < '0' || *p > '9') *v = -1;
    for (; *v >= 0 && p < eol && *p >= '0' && *p <= '9'; p++)
        if ((*v = *v * 10 + *p - '0') > MAX_COMMAND) *v = -1;
    return eol + 1;
}

/* One command from [p, end) into a: the bytes it took; 0: not whole yet, -1: no command. */
static long parse(const char *p, const char *end, struct arg *a, int *n)
{
    const char *begin = p;
    long count, len;
    *n = 0;
    if (*p != '*') { /* inline: words in a line */
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        if (!eol) return 0;
        while (p < eol) {
            const char *word = p;
            while (p < eol && *p != ' ' && *p != '\r') p++;
            if (p > word && *n < MAX_ARGS) a[(*n)++] = (struct arg){word, (size_t)(p - word)};
            p++;
        }
        return eol + 1 - begin;
    }
    if (!(p = number(p + 1, end, &count))) return 0;
    if (count < 0 || count > MAX_ARGS) return -1;
    while (*n < count) {
        if (p == end) return 0;
        if (*p != '$') return -1;
        if (!(p = number(p + 1, end, &len))) return 0;
        if (len < 0) return -1;
        if (end - p < len + 2) return 0;
        a[(*n)++] = (struct arg){p, (size_t)len};
        p += len + 2;
    }
    return p - begin;
}

static void connection(void *fd)
{
    struct conn c = {.fd = (int)(intptr_t)fd, .open = true, .in_size = FIRST_BUFFER};
    struct arg args[MAX_ARGS];
    c.in = must(malloc(c.in_size));
    while (c.open) {
        ssize_t r = co_read(c.fd, c.in + c.have, c.in_size - c.have);
        if (r <= 0) break;
        c.have += (size_t)r;
        size_t at = 0;
        long took = 0;
        while (c.open && at < c.have) {
            int n;
            took = parse(c.in + at, c.in + c.have, args, &n);
            if (took <= 0) break;
            if (n) command(&c, args, n);
            at += (size_t)took;
        }
        memmove(c.in, c.in + at, c.have - at);
        c.have -= at;
        if (took < 0 || c.have >= MAX_COMMAND) {
            say(&c, "-ERR Protocol error");
            c.open = false;
        } else if (c.have == c.in_size) {
            c.in = must(realloc(c.in, c.in_size *= 2));
        }
        flush(&c);
    }
    free(c.in);
    free(c.out);
    close(c.fd);
}

static int listen_on(const char *address, int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof a;
    if (inet_pton(AF_INET, address, &a.sin_addr) != 1) {
        fprintf(stderr, "kvd: %s is no IPv4 address\n", address);
        exit(2);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
        perror("kvd: cannot listen");
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
    int port = 6380, c;
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
            perror("kvd: accept");
            co_sleep_ns(10000000);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (co_go_attr(&attr, connection, (void *)(intptr_t)fd) != 0) close(fd);
    }
}
