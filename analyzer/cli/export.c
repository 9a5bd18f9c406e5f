/* SPDX-License-Identifier: Apache-2.0
 *
 * seep export: the heap or the tasks of a recording, for other tools. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "analyzer/export/pprof.h"
#include "analyzer/export/samples.h"

enum format { PPROF, FOLDED, SPEEDSCOPE, CSV, JSON };
struct export
{
    struct view view;
    const char *out, *base, *type;
    bool force, tasks, chosen;
    enum format format;
};

enum { KEY_BASE = KEY_PRIVATE, KEY_TASKS, KEY_TYPE, KEY_FORMAT };
static const struct argp_option options[] = {
    {"pprof", KEY_FORMAT + PPROF, NULL, 0, "a gzipped pprof profile (the default)", 1},
    {"folded", KEY_FORMAT + FOLDED, NULL, 0, "a line a stack: \"outer;inner;leaf VALUE\"", 1},
    {"speedscope", KEY_FORMAT + SPEEDSCOPE, NULL, 0, "a file for speedscope", 1},
    {"csv", KEY_FORMAT + CSV, NULL, 0, "a table with one line a stack", 1},
    {"json", KEY_JSON, NULL, 0, "JSON with whole stacks", 1},
    {"tasks", KEY_TASKS, NULL, 0, "tasks by where they wait, not the heap", 1},
    {"type", KEY_TYPE, "TYPE", 0, "the one value of --folded; default: inuse_space, or tasks", 1},
    {"output", 'o', "FILE", 0, "write to FILE; - is standard output", 1},
    {"force", 'f', NULL, 0, "replace FILE", 1},
    {"base", KEY_BASE, "WHICH", 0, "subtract this snapshot", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct export *x = state->input;
    enum format format = key == KEY_JSON ? JSON : (enum format)(key - KEY_FORMAT);
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &x->view; return 0;
    case KEY_FORMAT + PPROF:
    case KEY_FORMAT + FOLDED:
    case KEY_FORMAT + SPEEDSCOPE:
    case KEY_FORMAT + CSV:
    case KEY_JSON:
        if (x->chosen && x->format != format) args_fail(state, "two formats are named");
        x->format = format;
        x->chosen = true;
        return 0;
    case KEY_TASKS: x->tasks = true; return 0;
    case KEY_TYPE: x->type = arg; return 0;
    case KEY_BASE: x->base = arg; return 0;
    case 'o': x->out = arg; return 0;
    case 'f': x->force = true; return 0;
    case ARGP_KEY_END:
        if (!x->out) args_fail(state, "no output file is named by -o");
        if (x->tasks && x->base)
            args_fail(state, "--base is of the heap; compare two task profiles by go tool pprof -diff_base");
        if (x->type && x->format != FOLDED)
            args_fail(state, "--type is for --folded; the other formats hold all types");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* The value that --folded writes: *type, or an error. */
static int choose_type(const struct export *x, const struct samples *s, unsigned *type, struct err *e)
{
    *type = s->preferred;
    if (!x->type) return 0;
    int found = samples_type(s, x->type);
    if (found >= 0) {
        *type = (unsigned)found;
        return 0;
    }
    struct buf all = {0};
    for (unsigned t = 0; t < s->ntypes; t++) buf_printf(&all, t ? ", %s" : "%s", s->types[t].name);
    err_set(e, EXIT_USAGE, "\"%s\" is no type of value; there are %s", x->type, all.data);
    buf_free(&all);
    return e->code;
}

static void encode(const struct export *x, const struct samples *s, const char *comment, struct buf *out, struct err *e)
{
    struct buf raw = {0};
    unsigned type;
    switch (x->format) {
    case PPROF:
        pprof_encode(s, comment, &raw);
        if (gzip_compress(&raw, out) != 0) err_set(e, EXIT_CANNOT, "%s: cannot be compressed", x->out);
        break;
    case FOLDED:
        if (choose_type(x, s, &type, e) == 0) folded_encode(s, type, out);
        break;
    case SPEEDSCOPE: speedscope_encode(s, comment, out); break;
    case CSV: csv_encode(s, out); break;
    case JSON:
        if (json_encode(s, comment, out) != 0) err_set(e, EXIT_CANNOT, "out of memory");
        break;
    }
    buf_free(&raw);
}

int cmd_export(int argc, char **argv)
{
    static const char *const next[] = {[PPROF] = "go tool pprof -top",
                                       [FOLDED] = "flamegraph.pl",
                                       [SPEEDSCOPE] = "npx speedscope",
                                       [CSV] = NULL,
                                       [JSON] = NULL};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc =
            "Writes the heap of the last snapshot of each process with the sample types alloc, inuse and unreachable, "
            "each by objects and by space, or its tasks with their states as labels. Values are scaled estimates, and "
            "their totals are those of `seep top` and `seep tasks`.\v"
            "Examples:\n  seep export --pprof -o heap.pb.gz server.seep\n  go tool pprof -top "
            "-sample_index=inuse_space heap.pb.gz\n"
            "  seep export --pprof --snapshot last --base first -o growth.pb.gz server.seep\n"
            "  seep export --pprof --tasks -o tasks.pb.gz server.seep\n"
            "  seep export --folded --type unreachable_space -o lost.txt server.seep",
        .children = children};
    struct export x = {0};
    int code = args_parse(&argp, argc, argv, 0, &x);
    if (code) return code;
    struct snapshot **snaps = NULL, **base = NULL;
    size_t n = 0, nbase = 0;
    struct recording *r = view_open(&x.view, &snaps, &n, &code);
    if (!r) return code;
    struct heap h = {0}, hb = {0};
    struct samples s = {0};
    struct err e = {0};
    if (x.tasks) {
        samples_of_tasks(r, snaps, n, &s);
    } else {
        heap_load(r, snaps, n, &h);
        struct selector sel = {.snapshot = x.base, .pid = x.view.select.pid};
        if (x.base && select_snapshots(r, &sel, &base, &nbase, &e) == 0) {
            heap_load(r, base, nbase, &hb);
            heap_sub(&h, &hb);
        }
        samples_of_heap(r, &h, snaps, n, &s);
    }
    struct buf out = {0};
    const char *comment = arena_printf(&r->arena, "seep " SEEP_VERSION " %s snapshot %s%s%s", path_base(x.view.file),
                                       x.view.select.snapshot ? x.view.select.snapshot : "last",
                                       x.base ? " minus " : "", x.base ? x.base : "");
    if (!e.code) encode(&x, &s, comment, &out, &e);
    if (e.code)
        code = fail_err(&e);
    else if (!view_failed(r, &code))
        code = file_save(x.out, x.force, &out, x.format == PPROF ? "a profile is binary; name a file by -o" : NULL);
    if (code == 0 && isatty(2) && strcmp(x.out, "-") != 0) {
        if (next[x.format])
            say("wrote %s; next: %s %s", x.out, next[x.format], x.out);
        else
            say("wrote %s", x.out);
    }
    buf_free(&out);
    samples_free(&s);
    heap_free(&h);
    heap_free(&hb);
    recording_close(r);
    return code;
}
