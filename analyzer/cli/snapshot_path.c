/* SPDX-License-Identifier: Apache-2.0
 *
 * seep snapshot --path: a running process is asked what holds one block, or the blocks and waiting tasks of some functions, which
 * a snapshot otherwise looks for where there are most of them only.
 *
 *     NAME ─▶ the stacks in use that it is in, of the newest snapshot (one is taken where none has it) ─▶ their keys ─▶ the agent
 *     0xADDRESS ─▶ the agent ─▶ a snapshot with the paths ─▶ its recording */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/trend.h"
#include "analyzer/report/report.h"

/* A snapshot of process pid, the newest of all that have the number; seq 0: the last one. NULL: none. */
static struct snapshot *snapshot_of(struct recording *r, int pid, long long seq)
{
    struct snapshot *best = NULL;
    for (size_t i = 0; i < r->nsnapshots; i++) {
        struct snapshot *s = &r->snapshots[i];
        if (s->process->pid != pid || (seq && s->seq != seq)) continue;
        if (!best || s->unix_ns >= best->unix_ns) best = s;
    }
    return best;
}

/* "0x" and 1 to 16 hexadecimal digits: in small letters. */
static bool read_address(const char *what, char out[32])
{
    size_t n = strlen(what), digits = strspn(what + (n > 2 ? 2 : n), "0123456789abcdefABCDEF");
    if (n < 3 || what[0] != '0' || tolower(what[1]) != 'x' || digits != n - 2 || digits > 16) return false;
    for (size_t i = 0; i <= n; i++) out[i] = (char)tolower(what[i]);
    return true;
}

static int no_recording(int pid)
{
    return fail(EXIT_CANNOT, "process %d: does not record; give a recording by -o FILE", pid);
}

/* Into request, after what it has, the keys of stacks that the function is in. *n: how many. */
static int add_keys(int pid, const char *file, const char *function, char *request, size_t size, size_t *n)
{
    uint64_t keys[2 * SEEP_WANTED];
    struct err e = {0};
    int code = 0;
    struct recording *r = recording_open(file, &e);
    if (!r) return fail(e.code, "%s", e.text);
    const struct snapshot *s = snapshot_of(r, pid, 0);
    *n = s ? stacks_named(r, s, function, keys, SEEP_WANTED / 2) : 0;
    for (size_t i = 0, at = strlen(request); i < *n; i++)
        at += (size_t)snprintf(request + at, size - at, "%s%016llx", i ? "," : "", (unsigned long long)keys[i]);
    view_failed(r, &code);
    recording_close(r);
    return code;
}

/* The request for a function's stacks. */
static int ask_for(int pid, const char *out, const char *function, char *request, size_t size)
{
    struct snapshot_reply reply;
    size_t n = 0, begin = strlen(request);
    int code = snapshot_request(pid, out, "ping", &reply);
    if (code) return code;
    if (!reply.path) return no_recording(pid);
    for (int round = 0; round < 2 && n == 0; round++) {
        if (round > 0 || reply.seq == 0) code = snapshot_ask(pid, NULL, NULL, &reply);
        if (code) return code;
        request[begin] = 0;
        if ((code = add_keys(pid, reply.path, function, request, size, &n))) return code;
    }
    if (n > 0) return 0;
    return fail(EXIT_CANNOT,
                "process %d: no sampled block in use was allocated in a function named %s, and no task waits in one",
                pid, function);
}

static int show(int pid, const struct snapshot_reply *reply, const char *what, bool address, bool json)
{
    struct err err = {0};
    struct recording *r = recording_open(reply->path, &err);
    if (!r) return fail(err.code, "%s", err.text);
    struct snapshot *s = snapshot_of(r, pid, reply->seq);
    struct finding *f = NULL;
    size_t n = !s ? 0 : address ? recording_asked(r, s, &f) : recording_paths(r, &s, 1, what, &f);
    int code = 0;
    if (!view_failed(r, &code) && n == 0)
        code = fail(EXIT_CANNOT,
                    address ? "process %d: no block is allocated at %s" : "process %d: no path to %s was found in time",
                    pid, what);
    if (!code) {
        struct emit e;
        emit_init(&e, stdout, json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "snapshot");
        emit_str(&e, "file", reply->path);
        emit_int(&e, "pid", pid);
        emit_int(&e, "seq", reply->seq);
        report_held(&e, r, f, n);
        report_symbols(&e, r);
        emit_end(&e);
        code = emit_finish(&e);
    }
    free(f);
    recording_close(r);
    return code;
}

int snapshot_path(int pid, const char *out, const char *what, bool json)
{
    char request[32 + 2 * SEEP_WANTED * 17] = "path ";
    struct snapshot_reply reply;
    bool address = read_address(what, request + strlen(request));
    int code = address ? 0 : ask_for(pid, out, what, request, sizeof request);
    if (code) return code;
    code = snapshot_request(pid, address ? out : NULL, request, &reply);
    if (code == 0 && !reply.path) code = no_recording(pid);
    return code ? code : show(pid, &reply, what, address, json);
}
