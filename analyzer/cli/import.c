/* SPDX-License-Identifier: Apache-2.0
 *
 * seep import: profiles of Go programs become a recording. */
#include <stdlib.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "analyzer/import/profile.h"

struct import {
    const char *out;
    bool force, json;
    char **files;
    size_t n;
};

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "the recording to make", 1},
    {"force", 'f', NULL, 0, "replace FILE", 1},
    {"json", KEY_JSON, NULL, 0, "print JSON for programs", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct import *x = state->input;
    switch (key) {
    case 'o': x->out = arg; return 0;
    case 'f': x->force = true; return 0;
    case KEY_JSON: x->json = true; return 0;
    case ARGP_KEY_ARGS:
        x->files = state->argv + state->next;
        x->n = (size_t)(state->argc - state->next);
        return 0;
    case ARGP_KEY_END:
        if (!x->out) args_fail(state, "no recording is named by -o");
        if (x->n == 0) args_fail(state, "no profile is named");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int cmd_import(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "PROFILE…",
        .doc = "Makes a recording of heap and goroutine profiles of a Go program: pprof's files, or the text of "
               "goroutine?debug=2. Each profile is a snapshot; a heap and a goroutine profile less than 10 s apart are "
               "one. "
               "Then top, tasks, diff, trend, gate and report work as on a recording of `seep run`, but nothing is "
               "proven: "
               "a profile does not say what can still be reached.\v"
               "Examples:\n  curl -o heap1.pb.gz http://HOST/debug/pprof/heap\n"
               "  curl -o tasks1.txt 'http://HOST/debug/pprof/goroutine?debug=2'\n"
               "  seep import -o service.seep heap*.pb.gz tasks*.txt\n  seep diff service.seep first last"};
    struct import x = {0};
    int code = args_parse(&argp, argc, argv, 0, &x);
    if (code) return code;
    struct err e = {0};
    if (store_check_new(x.out, x.force, &e)) return fail_err(&e);
    struct profile *list = xcalloc(x.n, sizeof *list);
    size_t n = 0;
    while (n < x.n && !e.code) {
        profile_read(x.files[n], &list[n], &e);
        n++;
    }
    if (!e.code && profiles_record(list, n, x.out, x.force, &e) != 0) unlink(x.out);
    for (size_t i = 0; i < n; i++) profile_free(&list[i]);
    free(list);
    if (e.code) return fail_err(&e);
    if (!x.json && isatty(2)) say("wrote %s; next: seep tasks %s", x.out, x.out);
    if (!x.json) return 0;
    struct emit out;
    emit_init(&out, stdout, true);
    emit_object(&out, NULL);
    emit_str(&out, "command", "import");
    emit_str(&out, "file", x.out);
    emit_int(&out, "profiles", (int64_t)x.n);
    emit_end(&out);
    return emit_finish(&out);
}
