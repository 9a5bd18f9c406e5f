/* SPDX-License-Identifier: Apache-2.0
 *
 * The control socket: abstract Unix stream socket "\0seep/<pid>", one line in, one line out (contract.h has the grammar).
 *
 * Runs on the agent's thread, never blocks: every descriptor is non-blocking, at most CONTROL_CLIENTS clients at a time,
 * each has a line's worth of buffer and CLIENT_NS of life, PATIENCE_NS where the table is full. A client of another user is closed unread (SO_PEERCRED; root
 * may). Who sends nothing, too much or nonsense hurts only itself.
 * Allocates nothing. */
#include "agent/entry/entry.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/contract/contract.h"
#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/snapshot.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

enum { LINE_BYTES = 4096 + 16 };
static const uint64_t CLIENT_NS = 5ull * 1000000000;
static const uint64_t PATIENCE_NS = 200ull * 1000000; /* with a silent client while others wait for its place */

static struct client {
    int fd; /* -1: free; set by control_open() */
    size_t have;
    uint64_t since_ns;
    char line[LINE_BYTES];
} clients[CONTROL_CLIENTS];
static int listener = -1;

int control_open(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = fmt_string(a.sun_path + 1, sizeof a.sun_path - 1, "%s%d", SEEP_CONTROL_PREFIX, os_getpid());
    long len = (long)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
    long fd = sys3(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return (int)fd;
    for (int i = 0; i < CONTROL_CLIENTS; i++) clients[i].fd = -1;
    long rc = sys3(SYS_bind, fd, (long)&a, len);
    if (rc == 0) rc = sys3(SYS_listen, fd, CONTROL_CLIENTS, 0);
    if (rc != 0) {
        raw_close((int)fd);
        return (int)rc;
    }
    return listener = (int)fd;
}

/* In a forked child: the descriptors belong to the parent's agent. */
void control_close(void)
{
    listener = -1;
    for (int i = 0; i < CONTROL_CLIENTS; i++) clients[i].fd = -1;
}

/* Before the agent's thread ends. */
void control_end(void)
{
    if (listener < 0) return;
    for (int i = 0; i < CONTROL_CLIENTS; i++)
        if (clients[i].fd >= 0) raw_close(clients[i].fd);
    raw_close(listener);
    control_close();
}

/* A place for a newcomer, NULL when all are taken by clients that have not been here for long. */
static struct client *place(void)
{
    struct client *oldest = &clients[0];
    for (int i = 0; i < CONTROL_CLIENTS; i++) {
        if (clients[i].fd < 0) return &clients[i];
        if (clients[i].since_ns < oldest->since_ns) oldest = &clients[i];
    }
    return os_mono_ns() - oldest->since_ns > PATIENCE_NS ? oldest : NULL;
}

unsigned control_poll_fds(struct pollfd *fds)
{
    unsigned n = 0;
    if (listener < 0) return 0;
    /* A full table leaves newcomers in the backlog; slot 0 stays the listener's. */
    fds[n++] = (struct pollfd){.fd = place() ? listener : -1, .events = POLLIN};
    for (int i = 0; i < CONTROL_CLIENTS; i++)
        if (clients[i].fd >= 0) fds[n++] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
    return n;
}

static bool allowed(int fd)
{
    struct ucred peer;
    unsigned len = sizeof peer;
    if (sys6(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&len, 0) != 0) return false;
    return peer.uid == 0 || peer.uid == (uid_t)sys3(SYS_geteuid, 0, 0, 0);
}

static void drop(struct client *c)
{
    raw_close(c->fd);
    c->fd = -1;
}

static void reply(struct client *c, const char *text, size_t n)
{
    /* One short line into an empty socket buffer: it fits, or the client is not worth waiting for. */
    sys6(SYS_sendto, c->fd, (long)text, (long)n, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
    drop(c);
}

static void reply_error(struct client *c, const char *text)
{
    char out[256];
    reply(c, out, fmt_string(out, sizeof out, "error %s\n", text));
}

static void reply_ok(struct client *c, uint32_t seq)
{
    char out[LINE_BYTES + 32];
    reply(c, out, fmt_string(out, sizeof out, "ok %u %s\n", seq, life_recording() ? agent_options.out : ""));
}

static const char *after(const char *line, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(line, word, n) != 0 || (line[n] != 0 && line[n] != ' ')) return NULL;
    return line[n] ? line + n + 1 : line + n;
}

static bool is_clean(const char *s) /* no control characters in what goes into a recording and on terminals */
{
    for (; *s; s++)
        if ((unsigned char)*s < 32 || *s == 127) return false;
    return true;
}

static void take(struct client *c, const struct snapshot_request *req)
{
    struct snapshot_result res;
    if (snapshot_take(req, &res) == 0)
        reply_ok(c, res.seq);
    else
        reply_error(c, res.message);
}

static void snapshot_command(struct client *c, const char *label)
{
    struct snapshot_request req = {.trigger = TRIGGER_CONTROL};
    if (strlen(label) >= sizeof req.label || !is_clean(label)) {
        reply_error(c, "the label is longer than 255 bytes or has control characters");
        return;
    }
    strcpy(req.label, label);
    take(c, &req);
}

/* Hexadecimal digits, 1 to 16 of them; where they end. NULL: there are none. */
static const char *read_hex(const char *s, uint64_t *out)
{
    const char *p = s;
    *out = 0;
    for (; p < s + 16; p++) {
        int digit = *p >= '0' && *p <= '9' ? *p - '0' : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 : -1;
        if (digit < 0) break;
        *out = *out << 4 | (unsigned)digit;
    }
    return p > s ? p : NULL;
}

static void path_command(struct client *c, const char *what)
{
    struct snapshot_request req = {.trigger = TRIGGER_CONTROL};
    req.wanted_address = strncmp(what, "0x", 2) == 0;
    const char *p = req.wanted_address ? what + 2 : what;
    for (bool more = true; more; p++) {
        p = req.nwanted < SEEP_WANTED ? read_hex(p, &req.wanted[req.nwanted++]) : NULL;
        more = p && *p == ',' && !req.wanted_address;
        if (!p || (*p && !more)) {
            reply_error(c, "what to look for is an address or up to 16 keys of stacks");
            return;
        }
    }
    take(c, &req);
}

static void out_command(struct client *c, const char *path)
{
    if (path[0] != '/' || !is_clean(path)) {
        reply_error(c, "the path must be absolute");
        return;
    }
    int rc = life_record(path);
    if (rc == 0)
        reply_ok(c, snapshot_seq());
    else
        reply_error(c, rc == -EBUSY     ? "already recording"
                       : rc == -EEXIST  ? "the file exists and is not a recording"
                       : rc == -ELOOP   ? "the path is a symbolic link"
                       : rc == -EACCES  ? "the process may not open that file"
                       : rc == -ENOTDIR ? "not a directory on the way to the file"
                                        : "the path can't be recorded to");
}

static void command(struct client *c)
{
    const char *arg;
    if ((arg = after(c->line, "snapshot")))
        snapshot_command(c, arg);
    else if ((arg = after(c->line, "path")))
        path_command(c, arg);
    else if ((arg = after(c->line, "out")))
        out_command(c, arg);
    else if ((arg = after(c->line, "ping")) && *arg == 0)
        reply_ok(c, snapshot_seq());
    else
        reply_error(c, "unknown command");
}

static void client_event(struct client *c)
{
    long n = sys6(SYS_recvfrom, c->fd, (long)(c->line + c->have), (long)(LINE_BYTES - c->have), MSG_DONTWAIT, 0, 0);
    if (n == -EAGAIN || n == -EINTR) return;
    if (n <= 0) {
        drop(c);
        return;
    }
    char *end = memchr(c->line + c->have, '\n', (size_t)n);
    c->have += (size_t)n;
    if (end) {
        *end = 0;
        if (memchr(c->line, 0, (size_t)(end - c->line)))
            reply_error(c, "unknown command");
        else
            command(c);
    } else if (c->have == LINE_BYTES) {
        reply_error(c, "the line is too long");
    }
}

static void welcome(void)
{
    for (int i = 0; i < CONTROL_CLIENTS; i++) {
        struct client *c = place();
        if (!c) return;
        long fd = sys6(SYS_accept4, listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC, 0, 0);
        if (fd < 0) return;
        if (!allowed((int)fd)) {
            raw_close((int)fd);
            continue;
        }
        if (c->fd >= 0) drop(c);
        c->fd = (int)fd;
        c->have = 0;
        c->since_ns = os_mono_ns();
    }
}

void control_serve(const struct pollfd *fds, unsigned n)
{
    for (unsigned e = 1; e < n; e++)
        for (int i = 0; i < CONTROL_CLIENTS; i++)
            if (fds[e].revents && clients[i].fd == fds[e].fd) client_event(&clients[i]);
    if (n > 0 && (fds[0].revents & POLLIN)) welcome();
    uint64_t now = os_mono_ns();
    for (int i = 0; i < CONTROL_CLIENTS; i++)
        if (clients[i].fd >= 0 && now - clients[i].since_ns > CLIENT_NS) drop(&clients[i]);
}
