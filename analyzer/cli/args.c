/* SPDX-License-Identifier: Apache-2.0
 *
 * Arguments that commands share. argp parses; its two-line messages are replaced by one line of ours. */
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"

/* Stands above the command's own parser to learn where parsing stopped: argp_parse() does not tell after an error. */
struct root {
    void *input;
    int next;
};

static error_t root_parse(int key, char *arg, struct argp_state *state)
{
    struct root *r = state->input;
    (void)arg;
    if (key == ARGP_KEY_INIT) state->child_inputs[0] = r->input;
    if (key == ARGP_KEY_ERROR) r->next = state->next;
    return key == ARGP_KEY_INIT || key == ARGP_KEY_ERROR ? 0 : ARGP_ERR_UNKNOWN;
}

/* Without argp's note on mandatory arguments, which says nothing here. */
static char *help_filter(int key, const char *text, void *input)
{
    (void)input;
    return key == ARGP_KEY_HELP_DUP_ARGS_NOTE ? NULL : (char *)(uintptr_t)text;
}

void (*args_visitor)(const struct argp *argp);

/* How many single characters two words differ by, up to a few. */
static unsigned distance(const char *a, const char *b)
{
    enum { LONGEST = 32 };
    size_t n = strlen(a), m = strlen(b);
    unsigned row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (unsigned j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned least = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < least) least = row[j] + 1;
            if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
            row[j] = least;
        }
    }
    return row[m];
}

struct named {
    const char *name; /* as typed, without dashes and value */
    size_t len;
    int key;                                 /* of a short option, else 0 */
    const struct argp_option *exact, *start; /* with that name; the only one that begins so */
    unsigned starts, near;
    const char *nearest;
};

static void look_up(const struct argp *argp, struct named *n)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->key || o->doc); o++) {
        if (n->key && o->key == n->key) n->exact = o;
        if (n->key || !o->name) continue;
        char typed[64];
        snprintf(typed, sizeof typed, "%.*s", (int)n->len, n->name);
        if (strcmp(o->name, typed) == 0) n->exact = o;
        if (strncmp(o->name, typed, n->len) == 0) n->start = o, n->starts++;
        unsigned d = distance(o->name, typed);
        if (d < n->near) n->near = d, n->nearest = o->name;
    }
    for (const struct argp_child *c = argp->children; c && c->argp; c++) look_up(c->argp, n);
}

/* The argument at which parsing stopped, in words. The result is overwritten by the next call. */
static const char *what_is_wrong(const struct argp *argp, const char *at)
{
    static char text[256];
    bool is_long = strncmp(at, "--", 2) == 0, has_value = is_long && strchr(at, '=');
    struct named n = {.name = at + 2, .key = is_long ? 0 : at[0] == '-' ? at[1] : 0, .near = 4};
    n.len = is_long ? strcspn(n.name, "=") : 0;
    if (is_long || n.key) look_up(argp, &n);
    const struct argp_option *o = n.exact ? n.exact : n.starts == 1 ? n.start : NULL;
    if (o && o->arg && !has_value)
        snprintf(text, sizeof text, "%.64s lacks its %s", at, o->arg);
    else if (o && !o->arg && has_value)
        snprintf(text, sizeof text, "--%s takes no value", o->name);
    else if (!o && n.starts > 1)
        snprintf(text, sizeof text, "\"%.64s\" may be one of several options", at);
    else if (!o && n.nearest)
        snprintf(text, sizeof text, "\"%.64s\" is no option of it (is --%s meant?)", at, n.nearest);
    else
        snprintf(text, sizeof text, "\"%.64s\" is no option of it", at);
    return text;
}

int args_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input)
{
    if (args_visitor) {
        args_visitor(argp);
        return EXIT_USAGE;
    }
    const struct argp_child child[] = {{argp, 0, NULL, 0}, {0}};
    const struct argp all = {.parser = root_parse, .children = child};
    struct root r = {.input = input};
    argp_err_exit_status = EXIT_USAGE;
    error_t rc = argp_parse(&all, argc, argv, flags | ARGP_NO_ERRS | ARGP_NO_HELP, NULL, &r);
    if (rc == 0) return 0;
    if (rc == ENOMEM) return fail(EXIT_CANNOT, "out of memory");
    const char *at = r.next > 0 && r.next <= argc ? argv[r.next - 1] : "";
    if (strcmp(at, "--help") == 0 || strcmp(at, "-?") == 0) {
        struct argp shown = *argp;
        shown.help_filter = help_filter;
        argp_help(&shown, stdout, ARGP_HELP_LONG | ARGP_HELP_USAGE | ARGP_HELP_DOC, argv[0]);
        exit(fflush(stdout) == 0 ? EXIT_CLEAN : EXIT_CANNOT);
    }
    return fail(EXIT_USAGE, "%s: %s; see `seep help%s`", argv[0], what_is_wrong(argp, at),
                argv[0] + strcspn(argv[0], " "));
}

void args_fail(const struct argp_state *state, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    say("%s: %s; see `seep help%s`", state->argv[0], b.data, state->argv[0] + strcspn(state->argv[0], " "));
    buf_free(&b);
    exit(EXIT_USAGE);
}

int64_t args_number(const struct argp_state *state, const char *name, const char *text, int64_t lo, int64_t hi)
{
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (shift) end++;
    if (end == text || *end || errno || v < lo || v > (hi >> shift))
        args_fail(state, "%s \"%s\" is not a number from %lld to %lld", name, text, (long long)lo, (long long)hi);
    return v << shift;
}

static const struct argp_option view_options[] = {
    {"snapshot", KEY_SNAPSHOT, "WHICH", 0, "first, last (the default), a number, or a label", 1},
    {"process", KEY_PROCESS, "PID", 0, "only this process; default: every process of the recording", 1},
    {"json", KEY_JSON, NULL, 0, "print JSON for programs", 2},
    {"limit", 'n', "N", 0, "at most N rows or findings; 0: all", 2},
    {"unit", KEY_UNIT, "UNIT", 0, "print sizes in B, KiB, MiB or GiB; default: auto", 2},
    {"full", KEY_FULL, NULL, 0, "print whole stacks", 2},
    {"debug-dir", KEY_DEBUG_DIR, "DIR", 0, "look there for programs and their debug files first", 3},
    {"debuginfod", KEY_DEBUGINFOD, NULL, 0, "ask the servers in DEBUGINFOD_URLS for debug files", 3},
    {"jit-maps", KEY_JIT_MAPS, NULL, 0, "name generated code by /tmp/perf-PID.map", 3},
    {0},
};

static error_t view_parse(int key, char *arg, struct argp_state *state)
{
    struct view *v = state->input;
    switch (key) {
    case KEY_SNAPSHOT: v->select.snapshot = arg; return 0;
    case KEY_PROCESS: v->select.pid = args_number(state, "--process", arg, 1, INT32_MAX); return 0;
    case KEY_JSON: v->json = true; return 0;
    case KEY_UNIT:
        if (!unit_set(arg)) args_fail(state, "--unit \"%s\" is none of auto, B, KiB, MiB, GiB", arg);
        return 0;
    case KEY_FULL: v->full = true; return 0;
    case KEY_DEBUG_DIR: v->symbols.debug_dir = arg; return 0;
    case KEY_DEBUGINFOD: v->symbols.debuginfod = true; return 0;
    case KEY_JIT_MAPS: v->symbols.jit_maps = true; return 0;
    case 'n': v->limit = args_number(state, "--limit", arg, 0, INT32_MAX); return 0;
    case ARGP_KEY_ARG:
        if (!v->file)
            v->file = arg;
        else if (v->noperands < v->max_operands)
            v->operands[v->noperands++] = arg;
        else
            args_fail(state, "\"%s\" is one operand too many", arg);
        return 0;
    case ARGP_KEY_END:
        if (!v->file) args_fail(state, "no recording is named");
        symbol_allow(&v->symbols);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp view_argp = {.options = view_options, .parser = view_parse};

static const struct argp_option filter_options[] = {
    {"focus", KEY_FOCUS, "REGEX", 0, "only stacks with a frame whose function, file or module matches", 3},
    {"ignore", KEY_IGNORE_STACKS, "REGEX", 0, "no stacks with a frame that matches", 3},
    {"hide", KEY_HIDE, "REGEX", 0, "leave frames that match out of the stacks", 3},
    {"show", KEY_SHOW, "REGEX", 0, "only frames that match", 3},
    {0},
};

static error_t filter_parse(int key, char *arg, struct argp_state *state)
{
    struct view *v = state->input;
    struct err e = {0};
    if (key < KEY_FOCUS || key > KEY_SHOW) return ARGP_ERR_UNKNOWN;
    if (filter_set(&v->filter, (enum filter_kind)(key - KEY_FOCUS), arg, &e)) args_fail(state, "%s", e.text);
    return 0;
}

const struct argp filter_argp = {.options = filter_options, .parser = filter_parse};

int args_figure(const struct argp_state *state, const char *word)
{
    static const char *const words[] = {"inuse", "alloc", "unreachable"};
    static const int figs[] = {FIG_INUSE, FIG_ALLOC, FIG_UNREACHABLE};
    for (int i = 0; i < 3; i++)
        if (strcmp(word, words[i]) == 0) return figs[i];
    args_fail(state, "--sort \"%s\" is none of inuse, alloc, unreachable", word);
}

struct recording *view_open(struct view *v, struct snapshot ***snaps, size_t *n, int *code)
{
    struct err e = {0};
    struct recording *r = recording_open(v->file, &e);
    if (r && snaps) select_snapshots(r, &v->select, snaps, n, &e);
    if (!e.code) return r;
    *code = fail_err(&e);
    recording_close(r);
    return NULL;
}

bool view_failed(struct recording *r, int *code)
{
    const struct err *e = recording_error(r);
    if (e->code) *code = fail_err(e);
    return e->code != 0;
}

bool function_matches(const regex_t *regex, const char *name)
{
    size_t n = strlen(name);
    if (regexec(regex, name, 0, NULL, 0) == 0) return true;
    if (n < 2 || strcmp(name + n - 2, "()") != 0) return false;
    char *bare = strndup(name, n - 2);
    bool yes = bare && regexec(regex, bare, 0, NULL, 0) == 0;
    free(bare);
    return yes;
}

const struct argp_option function_options[] = {
    {"sort", KEY_SORT, "BY", 0, "bytes to weigh by: inuse (the default), alloc, unreachable", 1},
    {0},
};
const struct argp_child function_children[] = {{&view_argp, 0, NULL, 0}, {&filter_argp, 0, NULL, 0}, {0}};

error_t function_parse(int key, char *arg, struct argp_state *state)
{
    struct weighed_view *w = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = state->child_inputs[1] = &w->view; return 0;
    case KEY_SORT: w->figure = args_figure(state, arg); return 0;
    case ARGP_KEY_END:
        if (!w->view.noperands) args_fail(state, "no function is named: it takes a recording and a regular expression");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}
