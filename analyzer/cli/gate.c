/* SPDX-License-Identifier: Apache-2.0
 *
 * seep gate: one decision for a pipeline. Runs a command, or takes a recording, and compares its findings with a policy.
 *
 *   1  findings beyond the policy        3  no data: the command left no snapshot
 *   4  the command itself failed, or could not run       0  none of these
 * in this order of precedence: no data, leaks, the command's failure. A gate that saw nothing must not pass, and leaks are worth
 * reporting from a failing run too. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/trend.h"
#include "analyzer/report/baseline.h"
#include "analyzer/report/ci.h"
#include "analyzer/report/suppress.h"

enum { MAX_IGNORED = 256, MAX_FILES = 16 };

struct gate {
    struct launch launch;
    struct view view;
    const char *baseline, *junit, *sarif, *suppress[MAX_FILES];
    unsigned nsuppress;
    bool self_test, all_seen;
    const char *ignored[MAX_IGNORED];
    unsigned nignored;
    unsigned fail_mask; /* bits of enum seep_confidence */
    int64_t max_bytes, max_tasks;
    char **operands;
    int noperands;
    bool dashes; /* "--" stood before the command */
};

enum {
    KEY_FAIL_ON = 0x200,
    KEY_MAX_BYTES,
    KEY_MAX_TASKS,
    KEY_BASELINE,
    KEY_IGNORE,
    KEY_SUPPRESS,
    KEY_JUNIT,
    KEY_SARIF,
    KEY_SELF_TEST,
    KEY_ALL_SEEN,
    KEY_GATE_JSON,
    KEY_GATE_FULL
};
static const struct argp_option options[] = {
    {"fail-on", KEY_FAIL_ON, "LIST", 0, "confidences that fail: proven (the default), likely, growing, info", 1},
    {"max-bytes", KEY_MAX_BYTES, "N", 0, "tolerate leaked memory up to N bytes (K, M, G)", 1},
    {"max-tasks", KEY_MAX_TASKS, "N", 0, "tolerate up to N leaked tasks", 1},
    {"baseline", KEY_BASELINE, "FILE", 0, "findings that are known; see seep help baseline", 1},
    {"ignore", KEY_IGNORE, "ID", 0, "a finding that is known; may be repeated", 1},
    {"suppress", KEY_SUPPRESS, "FILE", 0,
     "what not to tell: seep's own, LeakSanitizer's or valgrind's suppressions; may be repeated", 1},
    {"self-test", KEY_SELF_TEST, NULL, 0,
     "first plant a leak, which must be found, and run clean, which must be silent", 1},
    {"all-seen", KEY_ALL_SEEN, NULL, 0, "no data (exit 3) when any of the processes was not seen; default: when all",
     1},
    {"junit", KEY_JUNIT, "FILE", 0, "write the result as JUnit XML too; FILE is replaced", 2},
    {"sarif", KEY_SARIF, "FILE", 0, "write the result as SARIF 2.1.0 too; FILE is replaced", 2},
    {"json", KEY_GATE_JSON, NULL, 0, "print JSON for programs", 2},
    {"full", KEY_GATE_FULL, NULL, 0, "print whole stacks", 2},
    {"limit", 'n', "N", 0, "print at most N findings; 0: all", 2},
    {0},
};
static const struct argp_child children[] = {{&launch_argp, 0, "Of the command's run:", 10}, {0}};

static void parse_fail_on(struct gate *g, char *arg, const struct argp_state *state)
{
    g->fail_mask = 0;
    for (char *save = NULL, *word = strtok_r(arg, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        int c = confidence_from_name(word);
        if (c < 0) args_fail(state, "--fail-on \"%s\" is none of proven, likely, growing, info", word);
        g->fail_mask |= 1u << c;
    }
    if (!g->fail_mask) args_fail(state, "--fail-on is empty");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct gate *g = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &g->launch; return 0;
    case KEY_FAIL_ON: parse_fail_on(g, arg, state); return 0;
    case KEY_MAX_BYTES: g->max_bytes = args_number(state, "--max-bytes", arg, 0, INT64_MAX); return 0;
    case KEY_MAX_TASKS: g->max_tasks = args_number(state, "--max-tasks", arg, 0, INT64_MAX); return 0;
    case KEY_BASELINE: g->baseline = arg; return 0;
    case KEY_IGNORE:
        if (!baseline_is_id(arg)) args_fail(state, "--ignore \"%s\" is not an id of 8 hex digits", arg);
        if (g->nignored == MAX_IGNORED) args_fail(state, "more than %d --ignore; write a baseline", MAX_IGNORED);
        g->ignored[g->nignored++] = arg;
        return 0;
    case KEY_SUPPRESS:
        if (g->nsuppress == MAX_FILES) args_fail(state, "more than %d --suppress", MAX_FILES);
        g->suppress[g->nsuppress++] = arg;
        return 0;
    case KEY_JUNIT: g->junit = arg; return 0;
    case KEY_SARIF: g->sarif = arg; return 0;
    case KEY_SELF_TEST: g->self_test = true; return 0;
    case KEY_ALL_SEEN: g->all_seen = true; return 0;
    case KEY_GATE_JSON: g->view.json = true; return 0;
    case KEY_GATE_FULL: g->view.full = true; return 0;
    case 'n': g->view.limit = args_number(state, "--limit", arg, 0, INT32_MAX); return 0;
    case ARGP_KEY_ARGS:
        g->operands = state->argv + state->next;
        g->noperands = state->argc - state->next;
        g->dashes = strcmp(state->argv[state->next - 1], "--") == 0;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (!g->self_test) args_fail(state, "no command and no recording is named");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Fails by policy? Memory counts by its sum, tasks by their number. */
static bool exceeds(const struct gate *g, const struct finding *f, size_t n, const struct finding_counts *c)
{
    bool memory = false, tasks = false;
    for (size_t i = 0; i < n; i++) {
        if (f[i].known || !(g->fail_mask & 1u << f[i].confidence)) continue;
        if (f[i].tasks)
            tasks = true;
        else
            memory = true;
    }
    return (memory && (g->max_bytes == 0 || c->memory_bytes > g->max_bytes)) || (tasks && c->tasks > g->max_tasks);
}

/* Which suppressions hid nothing, and which are past their day: both want to be looked at. */
static void suppressions(struct emit *e, const struct suppressions *s, int64_t hidden)
{
    size_t unused = 0, expired = 0;
    for (size_t i = 0; i < s->n; i++) {
        unused += s->items[i].used == 0;
        expired += s->items[i].expired;
    }
    if (s->n)
        emit_line(e, STYLE_PLAIN, "  suppressions: %zu, hiding %s; %zu unused, %zu expired", s->n,
                  unit_plural(hidden, "finding"), unused, expired);
    emit_array(e, "suppressions");
    for (size_t i = 0; i < s->n; i++) {
        const struct suppression *x = &s->items[i];
        emit_object(e, NULL);
        emit_str(e, "name", x->name);
        emit_str(e, "file", x->path);
        emit_int(e, "line", x->line);
        emit_str(e, "why", x->why);
        emit_str(e, "until", *x->until ? x->until : NULL);
        emit_bool(e, "expired", x->expired);
        emit_int(e, "used", (int64_t)x->used);
        emit_end(e);
        if (x->expired || !x->used)
            emit_line(e, x->expired ? STYLE_BAD : STYLE_DIM, "    %s %s%s (%s:%u)%s%s",
                      x->expired ? "expired" : "unused ", x->kind == SUPPRESS_LSAN ? "leak:" : "", x->name, x->path,
                      x->line, x->expired ? " on " : "", x->until);
    }
    emit_end(e);
}

/* Processes of which nothing can be said: their allocations went past the agent, or they left no snapshot. */
static size_t unseen(struct recording *r, struct snapshot *const *snaps, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < r->nprocesses; i++) count += r->processes[i].nsnapshots == 0;
    for (size_t i = 0; i < n; i++) count += snapshot_is_blind(r, snaps[i]);
    return count;
}

static void print(struct emit *e, const struct gate *g, struct recording *r, const struct baseline *b,
                  const struct suppressions *s, struct finding *f, size_t nf, struct snapshot *const *snaps, size_t n,
                  int verdict, const struct outcome *o)
{
    struct finding_counts c;
    size_t fixed = 0;
    report_count(f, nf, g->fail_mask, &c);
    for (size_t i = 0; i < b->n; i++) fixed += !b->entries[i].seen;
    const char *counts = report_counts_text(r, &c), *base = "";
    if (g->baseline || c.known)
        base = arena_printf(&r->arena, "   (baseline: %s known, %zu fixed)", unit_count(c.known), fixed);
    if (o && o->code)
        counts = arena_printf(&r->arena, "%s; the command failed: %s %d", counts, o->signal ? "signal" : "exit code",
                              o->signal ? o->signal : o->code);
    emit_object(e, NULL);
    emit_str(e, "command", "gate");
    emit_str(e, "file", g->view.file);
    emit_str(e, "verdict", verdict ? "fail" : "pass");
    emit_int(e, "exit", verdict);
    if (o) emit_int(e, "command_exit", o->code);
    for (int i = 0; i <= SEEP_INFO; i++) emit_int(e, confidence_name(i), c.by_confidence[i]);
    emit_int(e, "known", c.known);
    emit_int(e, "suppressed", c.suppressed);
    emit_int(e, "fixed", (int64_t)fixed);
    emit_int(e, "counted_bytes", c.memory_bytes);
    emit_int(e, "counted_tasks", c.tasks);
    emit_head(e, verdict ? STYLE_BAD : STYLE_GOOD, verdict ? "FAIL" : "PASS", "  %s%s   exit %d", counts, base,
              verdict);
    report_snapshots(e, r, snaps, n);
    size_t missed = unseen(r, snaps, n);
    emit_int(e, "processes", (int64_t)r->nprocesses);
    emit_int(e, "processes_unseen", (int64_t)missed);
    if (missed)
        emit_line(e, STYLE_BAD, "  not seen: %zu of %s; --all-seen makes that a failure", missed,
                  unit_plural((int64_t)r->nprocesses, "process"));
    if (g->max_bytes || g->max_tasks)
        emit_line(e, STYLE_PLAIN, "  policy: %s of memory and %s tolerated; %s and %s counted",
                  unit_bytes(g->max_bytes), unit_plural(g->max_tasks, "task"), unit_bytes(c.memory_bytes),
                  unit_plural(c.tasks, "task"));
    suppressions(e, s, c.suppressed);
    report_findings(e, r, f, nf, g->view.limit, g->view.full);
    report_symbols(e, r);
    emit_end(e);
    emit_blank(e);
}

/* For other tools. A run that could not be judged is told to them as well. 0, or EXIT_CANNOT with the message printed. */
static int write_files(const struct gate *g, struct gate_result *result)
{
    int code = 0;
    for (int i = 0; i < 2; i++) {
        const char *path = i == 0 ? g->junit : g->sarif;
        struct buf b = {0};
        struct err e = {0};
        if (!path) continue;
        (i == 0 ? junit_write : sarif_write)(result, &b);
        if (file_replace(path, &b, &e)) code = fail_err(&e);
        buf_free(&b);
    }
    return code;
}

static int judge(struct gate *g, const struct outcome *o, bool keep)
{
    struct err e = {0};
    struct baseline b = {0};
    struct suppressions sup = {0};
    struct selector all = {0};
    struct snapshot **snaps = NULL;
    struct finding *f = NULL;
    size_t n = 0, nf = 0;
    int code = 0;
    struct recording *r = NULL;
    struct gate_result result = {.fail_mask = g->fail_mask, .baseline = g->baseline != NULL};
    result.command = o ? g->launch.command[0] : g->view.file;
    for (unsigned i = 0; i < g->nsuppress && !e.code; i++) suppress_read(g->suppress[i], &sup, &e);
    if (!e.code && (!g->baseline || baseline_read(g->baseline, &b, &e) == 0)) r = recording_open(g->view.file, &e);
    if (r && select_snapshots(r, &all, &snaps, &n, &e) && o) {
        e.code = 0;
        err_set(&e, EXIT_INPUT,
                "FAIL: no data: %s left no snapshot in %s (%s %d); a gate that saw nothing does not pass",
                g->launch.command[0], g->view.file, o->signal ? "killed by signal" : "it ended with exit code",
                o->signal ? o->signal : o->code);
    }
    size_t missed = e.code ? 0 : unseen(r, snaps, n);
    if (!e.code && missed == r->nprocesses)
        err_set(
            &e, EXIT_INPUT,
            "FAIL: no data: not one allocation was seen, %s has a malloc of its own; a gate that saw nothing does not "
            "pass",
            result.command);
    if (!e.code && missed && g->all_seen)
        err_set(&e, EXIT_INPUT, "FAIL: no data of %zu of %s (--all-seen); `seep info %s` lists them", missed,
                unit_plural((int64_t)r->nprocesses, "process"), g->view.file);
    if (!e.code) {
        nf = findings_all(r, snaps, n, &f);
        e = *recording_error(r);
    }
    if (e.code) {
        code = fail_err(&e);
        result.problem = e.text;
    } else {
        struct finding_counts c;
        baseline_apply(&b, f, nf);
        suppress_apply(r, &sup, f, nf, NULL);
        for (size_t i = 0; i < nf; i++)
            for (unsigned j = 0; j < g->nignored; j++) f[i].known = f[i].known || strcmp(f[i].id, g->ignored[j]) == 0;
        report_count(f, nf, g->fail_mask, &c);
        result.failed = exceeds(g, f, nf, &c);
        code = result.failed ? EXIT_LEAKS : o && o->code ? EXIT_CANNOT : EXIT_CLEAN;
        if (o && o->code)
            result.problem = arena_printf(&r->arena, "the command failed: %s %d", o->signal ? "signal" : "exit code",
                                          o->signal ? o->signal : o->code);
        struct emit out;
        emit_init(&out, stdout, g->view.json);
        print(&out, g, r, &b, &sup, f, nf, snaps, n, code, o);
        if (code == EXIT_CLEAN && !keep)
            emit_line(&out, STYLE_PLAIN, "next: nothing to do; -o FILE keeps the recording of a clean run");
        else
            emit_line(&out, STYLE_PLAIN, code ? "next: seep leaks --full %s" : "next: seep top %s", g->view.file);
        int failed = emit_finish(&out);
        if (failed) code = failed;
        result.r = r;
        result.findings = f;
        result.n = nf;
        result.snaps = snaps;
        result.nsnaps = n;
    }
    result.exit = code;
    int unwritten = write_files(g, &result);
    if (unwritten && code != EXIT_INPUT) code = unwritten;
    free(f);
    suppress_free(&sup);
    baseline_free(&b);
    recording_close(r);
    return code;
}

/* A recording rather than a command: one operand without "--" that is called like one, or is a file that cannot be run. */
static bool is_recording(const struct gate *g)
{
    if (g->dashes || g->noperands != 1) return false;
    const char *name = g->operands[0];
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".seep") == 0) return true;
    return access(name, F_OK) == 0 && access(name, X_OK) != 0;
}

int cmd_gate(int argc, char **argv)
{
    static const struct argp argp = {.options = options,
                                     .parser = parse,
                                     .args_doc = "[--] COMMAND [ARG…]\nFILE",
                                     .doc =
                                         "Runs COMMAND under the agent, or takes the recording FILE, and fails when it "
                                         "leaks: exit code 1 for findings beyond the "
                                         "policy, 3 for no data, 4 when the command itself failed and did not leak.\v"
                                         "Every allocation is recorded unless --rate says otherwise. The recording is "
                                         "kept when the gate fails or -o names it.\n\n"
                                         "Examples:\n  seep gate -- ./test_suite\n  seep gate --baseline leaks.json "
                                         "--fail-on proven,likely -- ./test_suite\n"
                                         "  seep gate --max-bytes 4K nightly.seep",
                                     .children = children};
    struct gate g = {.fail_mask = 1u << SEEP_PROVEN, .view.limit = 20};
    struct outcome o = {0};
    int code = args_parse(&argp, argc, argv, ARGP_IN_ORDER, &g);
    if (code) return code;
    if (g.self_test && (code = gate_self_test(g.launch.agent))) return code;
    if (g.noperands == 0) return code;
    if (is_recording(&g)) {
        g.view.file = g.operands[0];
        code = judge(&g, NULL, true);
    } else {
        bool keep = g.launch.out != NULL;
        g.launch.command = g.operands;
        launch_default(&g.launch, "SEEP_RATE", "1");
        code = launch_run(&g.launch, &o);
        if (code == 0) {
            g.view.file = g.launch.out;
            code = judge(&g, &o, keep);
            if (code == EXIT_CLEAN && !keep) unlink(g.launch.out);
        }
    }
    free(g.launch.out);
    return code;
}
