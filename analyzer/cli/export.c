/* SPDX-License-Identifier: Apache-2.0
 *
 * seep export: profiles for other tools. */
#include <errno.h>
#include <fcntl.h>
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

static int write_all(int fd, const struct buf *b)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(fd, b->data + done, b->len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

static int save(const struct export *x, const struct buf *b)
{
    struct err e = {0};
    if (strcmp(x->out, "-") == 0) {
        if (isatty(1))
            return fail(EXIT_USAGE, "seep export: a profile is binary, not for a terminal; name a file by -o");
        return write_all(1, b) == 0 ? 0 : fail(EXIT_CANNOT, "standard output: cannot be written: %s", strerror(errno));
    }
    if (store_check_new(x->out, x->force, &e)) return fail_err(&e);
    char *tmp = NULL;
    if (asprintf(&tmp, "%s.%d.new", x->out, (int)getpid()) < 0) return fail(EXIT_CANNOT, "out of memory");
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), code = 0;
    bool ok = fd >= 0 && write_all(fd, b) == 0;
    if (fd >= 0) ok = close(fd) == 0 && ok;
    if (!ok || rename(tmp, x->out) != 0) {
        code = fail(EXIT_CANNOT, "%s: cannot be written: %s", x->out, strerror(errno));
        if (fd >= 0) unlink(tmp);
    }
    free(tmp);
    return code;
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
        code = save(&x, &packed);
    if (code == 0 && isatty(2) && strcmp(x.out, "-") != 0)
        say("wrote %s; next: go tool pprof -top -sample_index=inuse_space %s", x.out, x.out);
    buf_free(&raw);
    buf_free(&packed);
    heap_free(&h);
    heap_free(&hb);
    recording_close(r);
    return code;
}
