/* SPDX-License-Identifier: Apache-2.0
 *
 * seep run: records a command. Its own exit code is the command's; what it has to say goes to standard error, after the
 * command is done. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/trend.h"
#include "analyzer/report/report.h"

struct run {
    struct launch launch;
    bool quiet, json;
};

static const struct argp_option options[] = {
    {"quiet", 'q', NULL, 0, "no summary at the end", 12},
    {"json", KEY_JSON, NULL, 0, "the summary as JSON, on standard error", 12},
    {0},
};
static const struct argp_child children[] = {{&launch_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run *x = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &x->launch; return 0;
    case 'q': x->quiet = true; return 0;
    case KEY_JSON: x->json = true; return 0;
    case ARGP_KEY_ARGS:
        x->launch.command = state->argv + state->next;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS: args_fail(state, "no command is named");
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Verdict, the first findings, the next command: on standard error, so that the command's output stays its own. */
static void summary(const struct launch *l, const struct outcome *o, bool json)
{
    struct err e = {0};
    struct selector all = {0};
    struct snapshot **snaps = NULL;
    struct finding *f = NULL;
    size_t n = 0;
    struct recording *r = recording_open(l->out, &e);
    if (r && r->nprocesses == 0 && o->signal)
        err_set(&e, EXIT_INPUT,
                "%s: no snapshot was recorded: the command was killed by signal %d first; see --interval", l->out,
                o->signal);
    if (r) select_snapshots(r, &all, &snaps, &n, &e);
    size_t nf = e.code ? 0 : findings_all(r, snaps, n, &f);
    if (r && !e.code) e = *recording_error(r);
    if (e.code) {
        fail_err(&e);
        recording_close(r);
        return;
    }
    struct finding_counts counts;
    struct emit out;
    report_count(f, nf, 0, &counts);
    emit_init(&out, stderr, json);
    emit_blank(&out);
    struct verdict v = report_verdict(r, &counts, snaps, n);
    emit_object(&out, NULL);
    emit_str(&out, "command", "run");
    emit_str(&out, "file", l->out);
    emit_str(&out, "verdict", v.name);
    emit_int(&out, "command_exit", o->code);
    emit_head(&out, v.good ? STYLE_GOOD : STYLE_BAD, v.name, "  %s", v.words);
    report_snapshots(&out, r, snaps, n);
    if (o->signal)
        emit_line(&out, STYLE_PLAIN, "  the command was killed by signal %d (SIG%s)", o->signal,
                  sigabbrev_np(o->signal));
    if (json) report_findings(&out, r, f, nf, 0, true);
    for (size_t i = 0; i < nf && i < 3 && !json; i++) {
        struct site site = f[i].stack ? stack_site(r, f[i].stack) : (struct site){0};
        emit_line(&out, STYLE_PLAIN, "  [%s] %-7s %s  %s", f[i].id, confidence_name(f[i].confidence), f[i].rule,
                  report_amount(r, &f[i]));
        if (f[i].stack)
            emit_line(&out, STYLE_PLAIN, "             %s  %s", site.file ? site_place(&r->arena, &site) : "",
                      site_function(&r->arena, &site));
    }
    if (nf > 3) emit_line(&out, STYLE_DIM, "  … and %zu more", nf - 3);
    emit_line(&out, STYLE_PLAIN, nf ? "next: seep leaks %s" : "next: seep top %s", l->out);
    if (json) report_symbols(&out, r);
    emit_end(&out);
    emit_finish(&out);
    free(f);
    recording_close(r);
}

int cmd_run(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[--] COMMAND [ARG…]",
        .doc = "Runs COMMAND with the agent preloaded and records snapshots of it and of its children.\v"
               "The exit code is the command's own, 128 plus the signal's number where one killed it, and 4 where it "
               "could not be run.\n\n"
               "Examples:\n  seep run -- ./server --port 8080\n  seep run -o load.seep --interval 30s -- ./server\n"
               "  seep run --rate 1 -- ./small_test",
        .children = children};
    struct run x = {0};
    struct outcome o;
    int code = args_parse(&argp, argc, argv, ARGP_IN_ORDER, &x);
    if (code == 0) code = launch_run(&x.launch, &o);
    if (code == 0) {
        if (!x.quiet) summary(&x.launch, &o, x.json);
        code = o.code;
    }
    free(x.launch.out);
    return code;
}
