/* SPDX-License-Identifier: Apache-2.0
 *
 * seep report: one HTML page about a recording. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/html.h"

struct report {
    struct view view;
    const char *out, *base;
    bool force;
};

enum { KEY_BASE = KEY_PRIVATE };
static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "write to FILE; default: report.html; - is standard output", 1},
    {"force", 'f', NULL, 0, "replace FILE", 1},
    {"base", KEY_BASE, "WHICH", 0, "open with the difference to this snapshot", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct report *x = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &x->view; return 0;
    case KEY_BASE: x->base = arg; return 0;
    case 'o': x->out = arg; return 0;
    case 'f': x->force = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Of one snapshot a process, the one with most memory. */
static struct snapshot *heaviest(struct snapshot *const *snaps, size_t n)
{
    struct snapshot *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (!best || snaps[i]->live_bytes > best->live_bytes) best = snaps[i];
    return best;
}

/* The page opens with the chosen snapshot, and with base where it is of the same process. */
static int choose_shown(struct report *x, struct html_input *in, struct err *e)
{
    in->shown = heaviest(in->snaps, in->nsnaps);
    if (!x->base) return 0;
    struct selector sel = {.snapshot = x->base, .pid = in->shown->process->pid};
    struct snapshot **base = NULL;
    size_t n = 0;
    if (select_snapshots(in->r, &sel, &base, &n, e) != 0) return e->code;
    for (size_t i = 0; i < n; i++)
        if (base[i]->process == in->shown->process) in->base = base[i];
    return 0;
}

int cmd_report(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Writes one HTML page that needs no network: verdict and findings, memory and tasks over time, "
               "flame graphs of every snapshot and of the difference of any two.\v"
               "Examples:\n  seep report -o server.html server.seep\n  seep report --base first -o growth.html "
               "server.seep\n"
               "  seep report --process 4711 -o - server.seep > worker.html",
        .children = children};
    struct report x = {.out = "report.html", .view.limit = 200};
    int code = args_parse(&argp, argc, argv, 0, &x);
    if (code) return code;
    struct err e = {0};
    struct html_input in = {.file = x.view.file, .pid = x.view.select.pid, .limit = x.view.limit};
    if (x.view.json && strcmp(x.out, "-") == 0)
        return fail(EXIT_USAGE,
                    "seep report: --json and the page cannot both go to standard output; name a file by -o");
    if (strcmp(x.out, "-") != 0 && store_check_new(x.out, x.force, &e)) return fail_err(&e);
    in.r = view_open(&x.view, &in.snaps, &in.nsnaps, &code);
    if (!in.r) return code;
    struct buf page = {0};
    if (choose_shown(&x, &in, &e) == 0) html_page(&in, &page);
    if (e.code)
        code = fail_err(&e);
    else if (!view_failed(in.r, &code))
        code = file_save(x.out, x.force, &page, "a page is long; name a file by -o");
    if (code == 0 && x.view.json) {
        struct emit out;
        emit_init(&out, stdout, true);
        emit_object(&out, NULL);
        emit_str(&out, "command", "report");
        emit_str(&out, "file", x.view.file);
        emit_str(&out, "output", x.out);
        emit_int(&out, "output_bytes", (int64_t)page.len);
        emit_end(&out);
        code = emit_finish(&out);
    } else if (code == 0 && strcmp(x.out, "-") != 0 && isatty(2))
        say("wrote %s; next: open it in a browser", x.out);
    buf_free(&page);
    recording_close(in.r);
    return code;
}
