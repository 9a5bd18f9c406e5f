/* SPDX-License-Identifier: Apache-2.0
 *
 * seep merge: many recordings into a new one. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"

struct merge {
    char **files;
    int n;
    bool force, json;
};

static const struct argp_option options[] = {
    {"force", 'f', NULL, 0, "replace OUT when it exists", 1},
    {"json", KEY_JSON, NULL, 0, "print JSON for programs", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct merge *m = state->input;
    (void)arg;
    switch (key) {
    case 'f': m->force = true; return 0;
    case KEY_JSON: m->json = true; return 0;
    case ARGP_KEY_ARGS:
        m->files = state->argv + state->next;
        m->n = state->argc - state->next;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (m->n < 2) args_fail(state, "it takes a new recording and those to merge");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int cmd_merge(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "OUT FILE…",
        .doc = "Copies the processes and snapshots of the recordings FILE… into the new recording OUT. A snapshot that "
               "is in several of them is "
               "taken once.\v"
               "Examples:\n  seep merge week.seep monday.seep tuesday.seep\n  seep merge -f all.seep worker.*.seep",
    };
    struct merge m = {0};
    struct err e = {0};
    int code = args_parse(&argp, argc, argv, 0, &m);
    if (code) return code;
    for (int i = 1; i < m.n && !e.code; i++) {
        struct store *s = store_open(m.files[i], &e); /* before anything is made */
        store_close(s);
    }
    char *tmp = NULL;
    if (asprintf(&tmp, "%s.%d.merge", m.files[0], (int)getpid()) < 0) return fail(EXIT_CANNOT, "out of memory");
    if (!e.code && store_check_new(m.files[0], m.force, &e) == 0 && store_create(tmp, false, &e) == 0) {
        for (int i = 1; i < m.n && !e.code; i++) {
            progress_step("merging", (size_t)i - 1, (size_t)m.n - 1);
            store_merge(tmp, m.files[i], &e);
        }
        if (!e.code && rename(tmp, m.files[0]) != 0) err_set(&e, EXIT_CANNOT, "%s: cannot be written", m.files[0]);
        if (e.code) unlink(tmp);
    }
    free(tmp);
    if (e.code) return fail_err(&e);
    struct recording *r = recording_open(m.files[0], &e);
    if (!r) return fail_err(&e);
    struct emit out;
    emit_init(&out, stdout, m.json);
    emit_object(&out, NULL);
    emit_str(&out, "command", "merge");
    emit_str(&out, "file", m.files[0]);
    emit_int(&out, "process_count", (int64_t)r->nprocesses);
    emit_int(&out, "snapshot_count", (int64_t)r->nsnapshots);
    emit_end(&out);
    emit_line(&out, STYLE_PLAIN, "%s: %s, %s", m.files[0], unit_plural((int64_t)r->nprocesses, "process"),
              unit_plural((int64_t)r->nsnapshots, "snapshot"));
    emit_line(&out, STYLE_PLAIN, "next: seep leaks %s", m.files[0]);
    code = emit_finish(&out);
    recording_close(r);
    return code;
}
