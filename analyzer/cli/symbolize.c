/* SPDX-License-Identifier: Apache-2.0
 *
 * seep symbolize: looks up every name of a recording here, where the program's files are, and notes them in FILE.symbols beside it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/side.h"

struct symbolize {
    struct view view;
    bool force;
};

static const struct argp_option options[] = {
    {"force", 'f', NULL, 0, "replace FILE.symbols", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct symbolize *s = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &s->view; return 0;
    case 'f': s->force = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int cmd_symbolize(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Looks up the names of all code in the recording FILE and notes them in FILE.symbols, which every "
               "command reads beside it. The recording "
               "is not changed. Files of another build than the recorded one are never used.\v"
               "Examples:\n  seep symbolize server.seep\n  seep symbolize --debug-dir /srv/symbols/v1.4 server.seep",
        .children = children};
    struct symbolize s = {0};
    struct err e = {0};
    struct stat st;
    struct buf b = {0};
    size_t frames = 0, named = 0;
    int code = args_parse(&argp, argc, argv, 0, &s);
    if (code) return code;
    char *side = NULL;
    if (asprintf(&side, "%s.symbols", s.view.file) < 0) return fail(EXIT_CANNOT, "out of memory");
    struct recording *r = recording_open(s.view.file, &e);
    if (r && !e.code && !s.force && lstat(side, &st) == 0)
        err_set(&e, EXIT_CANNOT, "%s: exists; use -f to replace it", side);
    if (r && !e.code) {
        side_write(r, &b, &frames, &named);
        e = *recording_error(r);
        if (!e.code) file_replace(side, &b, &e);
    }
    if (e.code) {
        code = fail_err(&e);
    } else {
        struct emit out;
        emit_init(&out, stdout, s.view.json);
        emit_object(&out, NULL);
        emit_str(&out, "command", "symbolize");
        emit_str(&out, "file", s.view.file);
        emit_str(&out, "output", side);
        emit_int(&out, "addresses", (int64_t)frames);
        emit_int(&out, "named", (int64_t)named);
        emit_end(&out);
        emit_line(&out, STYLE_PLAIN, "%s: %s of %s have names", side, unit_count((int64_t)named),
                  unit_plural((int64_t)frames, "code address"));
        emit_line(&out, STYLE_PLAIN, "next: seep leaks %s, wherever both files are", s.view.file);
        code = emit_finish(&out);
    }
    free(side);
    buf_free(&b);
    recording_close(r);
    return code;
}
