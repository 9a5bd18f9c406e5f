/* SPDX-License-Identifier: Apache-2.0
 *
 * seep snapshot: asks the agent of a running process for a snapshot, over its control socket (contract.h). The peer's
 * credentials are checked before anything is believed: an abstract name can be taken by anybody. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"

enum { REPLY_SECONDS = 120 };

struct ask {
    int pid;
    const char *label, *out, *path;
    bool json;
};

enum { KEY_PATH = KEY_PRIVATE };

static const struct argp_option options[] = {
    {"label", 'l', "TEXT", 0, "name the snapshot", 1},
    {"output", 'o', "FILE", 0, "record to FILE, where the process does not record yet", 1},
    {"path", KEY_PATH, "ADDRESS|NAME", 0,
     "look for what holds the block at ADDRESS (0x…), or blocks and waiting tasks of functions named so, and show it",
     1},
    {"json", KEY_JSON, NULL, 0, "print JSON for programs", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct ask *a = state->input;
    switch (key) {
    case 'l':
        if (strlen(arg) > 255 || strpbrk(arg, "\n")) args_fail(state, "--label takes one line of at most 255 bytes");
        a->label = arg;
        return 0;
    case KEY_JSON: a->json = true; return 0;
    case KEY_PATH:
        if (!*arg || strpbrk(arg, "\n")) args_fail(state, "--path takes an address or a function's name");
        a->path = arg;
        return 0;
    case 'o':
        if (strpbrk(arg, "\n")) args_fail(state, "-o takes a name without line ends");
        a->out = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (a->pid) args_fail(state, "\"%s\" is one operand too many", arg);
        a->pid = (int)args_number(state, "the process", arg, 1, INT_MAX);
        return 0;
    case ARGP_KEY_END:
        if (!a->pid) args_fail(state, "no process is named");
        if (a->path && a->label) args_fail(state, "--path and --label are not for one snapshot");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Is the agent in the process, though it does not listen? */
static bool has_agent(int pid)
{
    char path[64], *line = NULL;
    size_t size = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *f = fopen(path, "re");
    while (f && !found && getline(&line, &size, f) > 0) found = strstr(line, "/libseep.so") != NULL;
    free(line);
    if (f) fclose(f);
    return found;
}

static int dial(const struct ask *a, int *out)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int n = snprintf(addr.sun_path + 1, sizeof addr.sun_path - 1, "%s%d", SEEP_CONTROL_PREFIX, a->pid);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    struct timeval limit = {REPLY_SECONDS, 0};
    if (kill(a->pid, 0) != 0) {
        if (errno == ESRCH) return fail(EXIT_CANNOT, "process %d: there is none of that number", a->pid);
        return fail(EXIT_CANNOT, "process %d: belongs to another user; ask as that user, or as root", a->pid);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(EXIT_CANNOT, "process %d: cannot be asked: %s", a->pid, strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&addr, len) != 0) {
        int why = errno;
        close(fd);
        if (why == ECONNREFUSED && has_agent(a->pid))
            return fail(
                EXIT_CANNOT,
                "process %d: has the agent, which does not listen; start it by `seep run`, or with SEEP_CONTROL=1",
                a->pid);
        if (why == ECONNREFUSED)
            return fail(
                EXIT_CANNOT,
                "process %d: does not run under the agent (or in another network namespace); start it by `seep run`",
                a->pid);
        return fail(EXIT_CANNOT, "process %d: cannot be asked: %s", a->pid, strerror(why));
    }
    struct ucred peer;
    len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.pid != a->pid ||
        (peer.uid != geteuid() && geteuid() != 0 && peer.uid != 0)) {
        close(fd);
        return fail(EXIT_CANNOT, "process %d: another process (%d of user %u) answers in its name; not asked", a->pid,
                    peer.pid, peer.uid);
    }
    *out = fd;
    return 0;
}

/* One line there, one line back. */
static int exchange(const struct ask *a, int fd, const char *request, char *reply, size_t size)
{
    size_t have = 0;
    for (size_t done = 0, n = strlen(request); done < n;) {
        ssize_t w = send(fd, request + done, n - done, MSG_NOSIGNAL);
        if (w <= 0) return fail(EXIT_CANNOT, "process %d: cannot be asked: %s", a->pid, strerror(errno));
        done += (size_t)w;
    }
    while (have < size - 1) {
        ssize_t r = recv(fd, reply + have, 1, 0);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return fail(EXIT_CANNOT, "process %d: no answer within %d s; it may be stopped", a->pid, REPLY_SECONDS);
        if (r <= 0) return fail(EXIT_CANNOT, "process %d: ended before it answered", a->pid);
        if (reply[have] == '\n') break;
        have++;
    }
    reply[have] = 0;
    if (strncmp(reply, "ok", 2) == 0 && (reply[2] == 0 || reply[2] == ' ')) return 0;
    return fail(EXIT_CANNOT, "process %d: %s", a->pid, strncmp(reply, "error ", 6) == 0 ? reply + 6 : reply);
}

static int converse(const struct ask *a, const char *question, char *reply, size_t size)
{
    char request[PATH_MAX + 300], *dir = NULL;
    int fd = -1, code = 0;
    if (a->out) { /* one connection is one question */
        dir = a->out[0] == '/' ? xstrdup("") : getcwd(NULL, 0);
        snprintf(request, sizeof request, "out %s%s%s\n", dir ? dir : "", dir && *dir ? "/" : "", a->out);
        free(dir);
        code = dial(a, &fd);
        if (code == 0) code = exchange(a, fd, request, reply, size);
        if (fd >= 0) close(fd);
        if (code) return code;
    }
    code = dial(a, &fd);
    snprintf(request, sizeof request, "%s\n", question);
    if (code == 0) code = exchange(a, fd, request, reply, size);
    if (fd >= 0) close(fd);
    return code;
}

int snapshot_request(int pid, const char *out, const char *request, struct snapshot_reply *reply)
{
    struct ask a = {.pid = pid, .out = out};
    int code = converse(&a, request, reply->text, sizeof reply->text);
    if (code) return code;
    char *seq = reply->text + strlen("ok"), *path;
    reply->seq = strtoll(seq, &path, 10);
    path += strspn(path, " ");
    reply->path = *path ? path : NULL;
    return 0;
}

int snapshot_ask(int pid, const char *label, const char *out, struct snapshot_reply *reply)
{
    char request[300];
    snprintf(request, sizeof request, "snapshot %s", label ? label : "");
    return snapshot_request(pid, out, request, reply);
}

int cmd_snapshot(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "PID",
        .doc = "Asks the process PID, which runs under the agent, for a snapshot, and waits until it is stored.\v"
               "Examples:\n  seep snapshot 1234\n  seep snapshot --label before-deploy 1234\n"
               "  seep snapshot --path 0x7f3a12c04600 1234\n  seep snapshot --path session_new 1234",
    };
    struct ask a = {0};
    struct snapshot_reply reply;
    int code = args_parse(&argp, argc, argv, 0, &a);
    if (code == 0 && a.path) return snapshot_path(a.pid, a.out, a.path, a.json);
    if (code == 0) code = snapshot_ask(a.pid, a.label, a.out, &reply);
    if (code) return code;
    struct emit e;
    emit_init(&e, stdout, a.json);
    emit_object(&e, NULL);
    emit_str(&e, "command", "snapshot");
    emit_str(&e, "file", reply.path);
    emit_int(&e, "pid", a.pid);
    emit_int(&e, "seq", reply.seq);
    emit_end(&e);
    emit_line(&e, STYLE_PLAIN, "snapshot %lld of process %d is in %s", reply.seq, a.pid,
              reply.path ? reply.path : "its recording");
    emit_line(&e, STYLE_PLAIN, "next: seep leaks %s", reply.path ? reply.path : "FILE");
    return emit_finish(&e);
}
