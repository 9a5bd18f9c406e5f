/* SPDX-License-Identifier: Apache-2.0
 *
 * seep baseline: accepts the findings of a recording, so that gate fails on new ones only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/trend.h"
#include "analyzer/report/baseline.h"
#include "analyzer/report/report.h"

static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};
static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct view *v = state->input;
    (void)arg;
    if (key == ARGP_KEY_INIT) state->child_inputs[0] = v;
    if (key == ARGP_KEY_END && v->noperands < 2)
        args_fail(state, "it takes update or prune, a baseline and a recording");
    return key == ARGP_KEY_INIT || key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

int cmd_baseline(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "update BASELINE FILE\nprune BASELINE FILE",
        .doc =
            "Adds the findings of the recording FILE to BASELINE, which is made where it is missing; prune also drops "
            "those that the "
            "recording no longer has. A baseline is sorted JSON, to be committed; write into \"why\" what speaks for "
            "each.\v"
            "Examples:\n  seep baseline update leaks.json test.seep\n  seep gate --baseline leaks.json -- ./test_suite",
        .children = children};
    struct view v = {.max_operands = 2};
    int code = args_parse(&argp, argc, argv, 0, &v);
    if (code) return code;
    /* The view takes its first operand for the recording. */
    const char *verb = v.file, *path = v.operands[0];
    v.file = v.operands[1];
    bool prune = strcmp(verb, "prune") == 0;
    if (!prune && strcmp(verb, "update") != 0)
        return fail(EXIT_USAGE, "seep baseline: \"%s\" is neither update nor prune; see `seep help baseline`", verb);
    struct stat st;
    struct err e = {0};
    struct baseline b = {0};
    struct snapshot **snaps = NULL;
    size_t n = 0;
    bool fresh = lstat(path, &st) != 0 && errno == ENOENT;
    if (!fresh && baseline_read(path, &b, &e)) {
        baseline_free(&b);
        return fail_err(&e);
    }
    struct recording *r = view_open(&v, &snaps, &n, &code);
    if (r) {
        struct finding *f = NULL;
        size_t nf = findings_all(r, snaps, n, &f), before = b.n;
        baseline_apply(&b, f, nf);
        baseline_update(r, &b, f, nf, prune);
        if (!view_failed(r, &code)) {
            if (baseline_write(path, &b, &e)) {
                code = fail_err(&e);
            } else {
                struct emit out;
                emit_init(&out, stdout, v.json);
                emit_object(&out, NULL);
                emit_str(&out, "command", "baseline");
                emit_str(&out, "file", v.file);
                emit_str(&out, "output", path);
                emit_int(&out, "known", (int64_t)b.n);
                emit_int(&out, "known_before", (int64_t)before);
                emit_end(&out);
                emit_line(&out, STYLE_PLAIN, "%s: %s, %zu before", path, unit_plural((int64_t)b.n, "known finding"),
                          before);
                emit_line(&out, STYLE_PLAIN, "next: seep gate --baseline %s -- COMMAND", path);
                code = emit_finish(&out);
            }
        }
        free(f);
        recording_close(r);
    }
    baseline_free(&b);
    return code;
}
