/* SPDX-License-Identifier: Apache-2.0
 *
 * seep watch: asks a running process for a snapshot again and again, and prints what became more since the one before. */
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/diff.h"
#include "analyzer/report/report.h"

struct watch {
    struct view view;
    int64_t pid, seconds, count;
    const char *out;
};

enum { KEY_COUNT = KEY_PRIVATE + 1 };
static const struct argp_option options[] = {
    {"every", KEY_PRIVATE, "SECONDS", 0, "time between snapshots; default 10", 1},
    {"count", KEY_COUNT, "N", 0, "end after N snapshots; default 0: never", 1},
    {"output", 'o', "FILE", 0, "record to FILE, where the process does not record yet", 1},
    {"limit", 'n', "N", 0, "at most N sites each time; default 5", 2},
    {"json", KEY_JSON, NULL, 0, "print JSON for programs, an object for each snapshot", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct watch *w = state->input;
    switch (key) {
    case KEY_PRIVATE: w->seconds = args_number(state, "--every", arg, 1, 86400); return 0;
    case KEY_COUNT: w->count = args_number(state, "--count", arg, 0, INT32_MAX); return 0;
    case 'o': w->out = arg; return 0;
    case KEY_JSON: w->view.json = true; return 0;
    case 'n': w->view.limit = args_number(state, "--limit", arg, 0, INT32_MAX); return 0;
    case ARGP_KEY_ARG:
        if (w->pid) args_fail(state, "\"%s\" is one operand too many", arg);
        w->pid = args_number(state, "the process", arg, 1, INT_MAX);
        return 0;
    case ARGP_KEY_END:
        if (!w->pid) args_fail(state, "no process is named");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* The newest snapshot of the process against the one before it. */
static void show(struct emit *e, struct recording *r, const struct watch *w)
{
    struct snapshot *b = NULL, *a = NULL;
    for (size_t i = 0; i < r->nsnapshots; i++) {
        struct snapshot *s = &r->snapshots[i];
        if (s->process->pid != w->pid) continue;
        a = b && b->process == s->process ? b : NULL;
        b = s;
    }
    if (!b) return;
    if (e->json) report_snapshots(e, r, &b, 1);
    emit_line(e, STYLE_BOLD, "%s  snapshot %lld  live %s%s%s  unreachable %s%s%s", unit_time(b->unix_ns),
              (long long)b->seq, unit_bytes(b->live_bytes), a ? " " : "",
              a ? unit_delta_bytes(b->live_bytes - a->live_bytes) : "", unit_bytes(b->unreachable_bytes), a ? " " : "",
              a ? unit_delta_bytes(b->unreachable_bytes - a->unreachable_bytes) : "");
    if (!a) return;
    struct heap ha, hb;
    struct diff_row *rows = NULL;
    heap_load(r, &a, 1, &ha);
    heap_load(r, &b, 1, &hb);
    size_t n = diff_heaps(r, &ha, r, &hb, false, &rows);
    emit_array(e, "grown");
    for (size_t i = 0, shown = 0; i < n && (!w->view.limit || (int64_t)shown < w->view.limit); i++) {
        int64_t grown = rows[i].b[FIG_INUSE].bytes - rows[i].a[FIG_INUSE].bytes;
        if (grown <= 0) break;
        shown++;
        emit_object(e, NULL);
        emit_int(e, "inuse_bytes_delta", grown);
        emit_object(e, "site");
        report_site_json(e, &rows[i].site);
        emit_end(e);
        emit_end(e);
        emit_line(e, STYLE_PLAIN, "  %12s  %-30s %s", unit_delta_bytes(grown), site_function(&r->arena, &rows[i].site),
                  site_place(&r->arena, &rows[i].site));
    }
    emit_end(e);
    free(rows);
    heap_free(&ha);
    heap_free(&hb);
}

int cmd_watch(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "PID",
        .doc = "Asks the process PID, which runs under the agent, for a snapshot every few seconds, and prints what "
               "grew since the one before.\v"
               "Examples:\n  seep watch 1234\n  seep watch --every 60 --count 30 -o night.seep 1234",
    };
    struct watch w = {.view.limit = 5, .seconds = 10};
    int code = args_parse(&argp, argc, argv, 0, &w);
    for (int64_t i = 0; code == 0 && (!w.count || i < w.count); i++) {
        struct snapshot_reply reply;
        struct err err = {0};
        if (i) sleep((unsigned)w.seconds);
        code = snapshot_ask((int)w.pid, "watch", i ? NULL : w.out, &reply);
        if (code) break;
        if (!reply.path)
            return fail(EXIT_CANNOT, "process %lld: does not record to a file; name one by -o", (long long)w.pid);
        struct recording *r = recording_open(reply.path, &err);
        if (!r) return fail_err(&err);
        struct emit e;
        emit_init(&e, stdout, w.view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "watch");
        emit_str(&e, "file", reply.path);
        show(&e, r, &w);
        emit_end(&e);
        if (w.count && i + 1 == w.count) emit_line(&e, STYLE_PLAIN, "next: seep trend %s", reply.path);
        if (!view_failed(r, &code)) code = emit_finish(&e);
        recording_close(r);
    }
    return code;
}
