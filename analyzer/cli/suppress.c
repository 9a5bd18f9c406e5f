/* SPDX-License-Identifier: Apache-2.0
 *
 * seep suppress: adds one entry to a file of suppressions, with its reason. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/trend.h"
#include "analyzer/report/baseline.h"
#include "analyzer/report/report.h"
#include "analyzer/report/suppress.h"

struct suppress {
    const char *id, *file, *why, *until, *out;
    bool json;
};

enum { KEY_WHY = 0x200, KEY_UNTIL };
static const struct argp_option options[] = {
    {"why", KEY_WHY, "TEXT", 0, "the reason; there must be one", 1},
    {"until", KEY_UNTIL, "DATE", 0, "the last day it holds, as 2027-01-31; default: for ever", 1},
    {"output", 'o', "FILE", 0, "file to add it to; default seep.supp", 1},
    {"json", KEY_JSON, NULL, 0, "print JSON for programs", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct suppress *s = state->input;
    switch (key) {
    case KEY_WHY: s->why = arg; return 0;
    case KEY_UNTIL:
        if (!suppress_is_date(arg)) args_fail(state, "--until \"%s\" is not a date YYYY-MM-DD", arg);
        s->until = arg;
        return 0;
    case 'o': s->out = arg; return 0;
    case KEY_JSON: s->json = true; return 0;
    case ARGP_KEY_ARG:
        if (s->id && s->file) args_fail(state, "\"%s\" is one operand too many", arg);
        if (!s->id && !baseline_is_id(arg)) args_fail(state, "\"%s\" is not an id of 8 hex digits", arg);
        *(s->id ? &s->file : &s->id) = arg;
        return 0;
    case ARGP_KEY_END:
        if (!s->id) args_fail(state, "no finding is named");
        if (!s->why || !*s->why) args_fail(state, "no reason is given; say --why TEXT");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Rule and place from the recording, for who reads the entry later. */
static int describe(const struct suppress *s, char **rule, char **site, struct err *e)
{
    struct selector all = {0};
    struct snapshot **snaps = NULL;
    struct finding *f = NULL;
    size_t n = 0;
    struct recording *r = recording_open(s->file, e);
    if (r) select_snapshots(r, &all, &snaps, &n, e);
    size_t nf = e->code ? 0 : findings_all(r, snaps, n, &f);
    if (!e->code) *e = *recording_error(r);
    for (size_t i = 0; i < nf && !*rule; i++) {
        if (strcmp(f[i].id, s->id) != 0) continue;
        struct site place = finding_site(r, &f[i]);
        *rule = xstrdup(f[i].rule);
        *site =
            xstrdup(arena_printf(&r->arena, "%s %s", site_function(&r->arena, &place), site_place(&r->arena, &place)));
    }
    if (!e->code && !*rule) err_set(e, EXIT_INPUT, "%s: holds no finding %s; `seep leaks` lists them", s->file, s->id);
    free(f);
    recording_close(r);
    return e->code;
}

int cmd_suppress(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "ID [FILE]",
        .doc = "Adds the finding ID to a file of suppressions, with a reason and perhaps a last day. With the "
               "recording FILE that has "
               "it, its rule and place are noted for readers.\v"
               "`seep gate --suppress` reads the file, and valgrind's and LeakSanitizer's as they are; it tells which "
               "entries hide "
               "nothing any more.\n\n"
               "Examples:\n  seep suppress a41f09c2 --why \"bug 123 of libfoo\" --until 2027-01-31\n"
               "  seep suppress a41f09c2 --why \"kept for the process's life\" -o ci/leaks.supp test.seep",
    };
    struct suppress s = {.out = "seep.supp"};
    struct err e = {0};
    struct suppressions old = {0};
    struct buf b = {0};
    struct stat st;
    char *rule = NULL, *site = NULL;
    int code = args_parse(&argp, argc, argv, 0, &s);
    if (code) return code;
    if (lstat(s.out, &st) == 0 && file_read(s.out, 16 << 20, &b, &e) == 0)
        suppress_parse(s.out, b.data ? b.data : "", b.len, &old, &e);
    for (size_t i = 0; i < old.n && !e.code; i++)
        if (strcmp(old.items[i].id, s.id) == 0)
            err_set(&e, EXIT_CANNOT, "%s:%u: has %s already; change it there", s.out, old.items[i].line, s.id);
    if (!e.code && s.file) describe(&s, &rule, &site, &e);
    if (!e.code) {
        if (b.len && b.data[b.len - 1] != '\n') buf_puts(&b, "\n");
        suppress_write(&b, s.id, NULL, rule ? site : NULL, s.why, s.until);
        file_replace(s.out, &b, &e);
    }
    if (e.code) {
        code = fail_err(&e);
    } else {
        struct emit out;
        emit_init(&out, stdout, s.json);
        emit_object(&out, NULL);
        emit_str(&out, "command", "suppress");
        emit_str(&out, "file", s.file);
        emit_str(&out, "output", s.out);
        emit_str(&out, "id", s.id);
        emit_str(&out, "until", s.until);
        emit_end(&out);
        emit_line(&out, STYLE_PLAIN, "%s: %s is suppressed%s%s", s.out, s.id, s.until ? " until " : "",
                  s.until ? s.until : "");
        emit_line(&out, STYLE_PLAIN, "next: seep gate --suppress %s -- COMMAND", s.out);
        code = emit_finish(&out);
    }
    free(rule);
    free(site);
    buf_free(&b);
    suppress_free(&old);
    return code;
}
