/* SPDX-License-Identifier: Apache-2.0
 *
 * seep export: profiles for other tools. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "analyzer/export/pprof.h"

struct export
{
    struct view view;
    const char *out, *base;
    bool pprof, force;
};

enum { KEY_BASE = KEY_PRIVATE + 1 };
static const struct argp_option options[] = {
    {"pprof", KEY_PRIVATE, NULL, 0, "a gzipped pprof profile (the default)", 1},
    {"output", 'o', "FILE", 0, "write to FILE; - is standard output when it is no terminal", 1},
    {"force", 'f', NULL, 0, "replace FILE", 1},
    {"base", KEY_BASE, "WHICH", 0, "subtract this snapshot", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct export *x = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &x->view; return 0;
    case KEY_PRIVATE: x->pprof = true; return 0;
    case KEY_BASE: x->base = arg; return 0;
    case 'o': x->out = arg; return 0;
    case 'f': x->force = true; return 0;
    case ARGP_KEY_END:
        if (!x->out) args_fail(state, "no output file is named by -o");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int cmd_export(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Writes the heap of the last snapshot of each process as a pprof profile with the sample types alloc, "
               "inuse and unreachable, "
               "each by objects and by space. Values are scaled estimates, and their totals are those of `seep top`.\v"
               "Examples:\n  seep export --pprof -o heap.pb.gz server.seep\n  go tool pprof -top "
               "-sample_index=inuse_space heap.pb.gz\n"
               "  seep export --pprof --snapshot last --base first -o growth.pb.gz server.seep",
        .children = children};
    struct export x = {0};
    int code = args_parse(&argp, argc, argv, 0, &x);
    if (code) return code;
    struct snapshot **snaps = NULL, **base = NULL;
    size_t n = 0, nbase = 0;
    struct recording *r = view_open(&x.view, &snaps, &n, &code);
    if (!r) return code;
    struct heap h, hb = {0};
    struct err e = {0};
    heap_load(r, snaps, n, &h);
    if (x.base) {
        struct selector sel = {.snapshot = x.base, .pid = x.view.select.pid};
        if (select_snapshots(r, &sel, &base, &nbase, &e) == 0) {
            heap_load(r, base, nbase, &hb);
            heap_sub(&h, &hb);
        }
    }
    struct buf raw = {0}, packed = {0};
    if (!e.code) {
        const char *comment = arena_printf(
            &r->arena, "seep " SEEP_VERSION " %s snapshot %s%s%s", path_base(x.view.file),
            x.view.select.snapshot ? x.view.select.snapshot : "last", x.base ? " minus " : "", x.base ? x.base : "");
        struct pprof_input in = {r, &h, snaps, n, comment};
        pprof_encode(&in, &raw);
        if (gzip_compress(&raw, &packed) != 0) err_set(&e, EXIT_CANNOT, "%s: cannot be compressed", x.out);
    }
    if (e.code)
        code = fail_err(&e);
    else if (!view_failed(r, &code))
        code = file_save(x.out, x.force, &packed, "a profile is binary; name a file by -o");
    if (code == 0 && isatty(2) && strcmp(x.out, "-") != 0)
        say("wrote %s; next: go tool pprof -top -sample_index=inuse_space %s", x.out, x.out);
    buf_free(&raw);
    buf_free(&packed);
    heap_free(&h);
    heap_free(&hb);
    recording_close(r);
    return code;
}
