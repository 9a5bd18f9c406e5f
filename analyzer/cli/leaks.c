/* SPDX-License-Identifier: Apache-2.0
 *
 * seep leaks: the findings of the chosen snapshots. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/trend.h"
#include "analyzer/report/report.h"

enum { KEY_EXIT_CODE = KEY_PRIVATE, KEY_PATH };

struct leaks {
    struct view view;
    const char *path; /* id of the one finding that is asked for, or its beginning; or a function */
    bool exit_code;
};

static const struct argp_option options[] = {
    {"path", KEY_PATH, "ID|NAME", 0,
     "show only the finding with this id, and all of the path that holds it; or what holds blocks of functions named "
     "so",
     2},
    {"exit-code", KEY_EXIT_CODE, NULL, 0, "exit 1 when something is proven to leak, 3 when nothing was seen", 2},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {&filter_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct leaks *l = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = state->child_inputs[1] = &l->view; return 0;
    case KEY_EXIT_CODE: l->exit_code = true; return 0;
    case KEY_PATH: l->path = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static size_t only_with_id(struct finding *f, size_t n, const char *id)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (strncmp(f[i].id, id, strlen(id)) == 0) f[kept++] = f[i];
    return kept;
}

/* No finding: the paths of what was allocated, or is waited for, in a function. */
static int show_held(const struct leaks *l, struct recording *r, struct snapshot *const *snaps, size_t n)
{
    struct finding *f = NULL;
    size_t nf = recording_paths(r, snaps, n, l->path, &f);
    int code = 0;
    if (!view_failed(r, &code) && nf == 0)
        code = fail(EXIT_USAGE,
                    "leaks: %s has no finding %s (`seep leaks` shows them with their ids), and no path to a block of a "
                    "function of that name (`seep snapshot --path` asks the running program)",
                    l->view.file, l->path);
    if (!code) {
        struct emit e;
        emit_init(&e, stdout, l->view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "leaks");
        emit_str(&e, "file", l->view.file);
        report_held(&e, r, f, nf);
        report_symbols(&e, r);
        emit_end(&e);
        code = emit_finish(&e);
    }
    free(f);
    return code;
}

int cmd_leaks(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Shows what leaked up to the last snapshot of each process, with the proof and what to do about it.\v"
               "The id in brackets stays the same from run to run and from machine to machine.\n\n"
               "Examples:\n  seep leaks server.seep\n  seep leaks --full --limit 3 server.seep\n  seep leaks --json "
               "server.seep",
        .children = children};
    struct leaks l = {.view.limit = 20};
    int code = 0;
    if ((code = args_parse(&argp, argc, argv, 0, &l))) return code;
    struct snapshot **snaps = NULL;
    size_t n = 0;
    struct recording *r = view_open(&l.view, &snaps, &n, &code);
    if (!r) return code;
    struct finding *f = NULL;
    size_t nf = findings_all(r, snaps, n, &f);
    nf = findings_filter(r, l.view.filter, f, nf);
    if (l.path && (nf = only_with_id(f, nf, l.path)) == 0) {
        code = show_held(&l, r, snaps, n);
        free(f);
        recording_close(r);
        return code;
    }
    if (l.path) l.view.full = true;
    struct finding_counts counts;
    report_count(f, nf, 1u << SEEP_PROVEN, &counts);
    if (!code && !view_failed(r, &code)) {
        struct verdict v = report_verdict(r, &counts, snaps, n);
        bool proven = counts.by_confidence[SEEP_PROVEN] > 0;
        struct emit e;
        emit_init(&e, stdout, l.view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "leaks");
        emit_str(&e, "file", l.view.file);
        for (int i = 0; i <= SEEP_INFO; i++) emit_int(&e, confidence_name(i), counts.by_confidence[i]);
        emit_str(&e, "verdict", v.name);
        emit_head(&e, v.good ? STYLE_GOOD : STYLE_BAD, v.name, "  %s", v.words);
        report_snapshots(&e, r, snaps, n);
        report_findings(&e, r, f, nf, l.view.limit, l.view.full);
        for (size_t i = 0; l.path && !l.view.json && i < nf; i++) report_held_by(&e, r, &f[i]);
        report_symbols(&e, r);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN,
                  v.leak ? "next: seep gate -- COMMAND, to fail a build on these" : "next: seep top %s", l.view.file);
        code = emit_finish(&e);
        if (code == 0 && l.exit_code) code = proven ? EXIT_LEAKS : v.seen ? EXIT_CLEAN : EXIT_INPUT;
    }
    free(f);
    recording_close(r);
    return code;
}
