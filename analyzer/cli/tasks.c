/* SPDX-License-Identifier: Apache-2.0
 *
 * seep tasks: what coroutines and threads do, those alike in one row. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/report.h"

static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {&filter_argp, 0, NULL, 0}, {0}};
static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key == ARGP_KEY_INIT) state->child_inputs[0] = state->child_inputs[1] = state->input;
    return key == ARGP_KEY_INIT ? 0 : ARGP_ERR_UNKNOWN;
}

static void site_cell(struct emit *e, struct recording *r, struct stack *s)
{
    struct site site = s ? stack_site(r, s) : (struct site){0};
    if (!s || s->n == 0)
        emit_cell_str(e, NULL);
    else if (site.file)
        emit_cell_str(e,
                      arena_printf(&r->arena, "%s %s", site_function(&r->arena, &site), site_place(&r->arena, &site)));
    else
        emit_cell_str(e, site_function(&r->arena, &site));
}

static void row(struct emit *e, struct recording *r, const struct task_group *g, bool full)
{
    emit_cell_int(e, g->tasks);
    emit_cell_str(e, g->provider);
    emit_cell_str(e, g->name);
    emit_cell_str(e, g->state);
    emit_cell_str(e, *g->wait_reason || e->json ? g->wait_reason : "-");
    emit_cell_str(e, g->verdict);
    emit_cell_int(e, g->oldest_ns);
    emit_cell_int(e, g->stack_bytes);
    emit_cell_int(e, g->live_bytes);
    emit_cell_int(e, g->schedules);
    emit_cell_int(e, g->cpu_ns);
    emit_cell_int(e, g->wakeable);
    site_cell(e, r, g->stack);
    site_cell(e, r, g->create_stack);
    report_stack_json(e, r, "stack", g->stack);
    report_stack_json(e, r, "create_stack", g->create_stack);
    for (unsigned i = 0; full && !e->json && g->stack && i < g->stack->n; i++) {
        const struct frame *f = frame_resolve(r, g->stack->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++) {
            struct site s = frame_site(f, j);
            emit_table_note(e, "       %-40s %s", site_function(&r->arena, &s),
                            s.function ? site_place(&r->arena, &s) : "");
        }
    }
    emit_row(e);
}

int cmd_tasks(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Shows coroutines and threads of the last snapshot, grouped by state, wait reason and stacks. A leaked "
               "task is one that "
               "nothing can ever wake.\v"
               "Examples:\n  seep tasks server.seep\n  seep tasks --full --process 1234 server.seep",
        .children = children};
    static const struct emit_col cols[] = {{"tasks", "TASKS", COL_COUNT},
                                           {"provider", "KIND", COL_TEXT},
                                           {"name", NULL, COL_TEXT},
                                           {"state", "STATE", COL_TEXT},
                                           {"wait_reason", "WAIT REASON", COL_TEXT},
                                           {"verdict", "VERDICT", COL_TEXT},
                                           {"oldest_ns", "OLDEST", COL_NS},
                                           {"stack_bytes", "STACKS", COL_BYTES + 1 * COL_MINOR},
                                           {"live_bytes", NULL, COL_BYTES},
                                           {"schedules", NULL, COL_COUNT},
                                           {"cpu_ns", NULL, COL_COUNT},
                                           {"wakeable", NULL, COL_COUNT},
                                           {NULL, "AT", COL_TEXT},
                                           {NULL, "CREATED", COL_TEXT}};
    struct view v = {.limit = 30};
    int code = 0;
    if ((code = args_parse(&argp, argc, argv, 0, &v))) return code;
    struct snapshot **snaps = NULL;
    size_t n = 0;
    struct recording *r = view_open(&v, &snaps, &n, &code);
    if (!r) return code;
    struct task_group *groups = NULL;
    size_t ngroups = tasks_load(r, snaps, n, &groups);
    int64_t total = 0, leaked = 0;
    size_t kept = 0;
    for (size_t i = 0; i < ngroups && v.filter; i++)
        if (filter_keeps(r, v.filter, groups[i].stack) || filter_keeps(r, v.filter, groups[i].create_stack))
            groups[kept++] = groups[i];
    if (v.filter) ngroups = kept;
    for (size_t i = 0; i < ngroups; i++) {
        total += groups[i].tasks;
        if (strcmp(groups[i].verdict, "leaked") == 0) leaked += groups[i].tasks;
        if (groups[i].stack) stack_site(r, groups[i].stack);
    }
    if (!view_failed(r, &code)) {
        struct emit e;
        emit_init(&e, stdout, v.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "tasks");
        emit_str(&e, "file", v.file);
        emit_int(&e, "tasks", total);
        emit_int(&e, "leaked", leaked);
        emit_head(&e, leaked ? STYLE_BAD : STYLE_BOLD, leaked ? "LEAK" : "TASKS", "  %s, %s leaked",
                  unit_plural(total, "task"), leaked ? unit_count(leaked) : "none");
        report_snapshots(&e, r, snaps, n);
        emit_blank(&e);
        emit_table(&e, "groups", cols, sizeof cols / sizeof *cols);
        size_t limit = v.limit ? (size_t)v.limit : ngroups;
        for (size_t i = 0; i < ngroups && i < limit; i++) row(&e, r, &groups[i], v.full);
        if (limit < ngroups) emit_table_note(&e, "… %zu more groups, see --limit 0", ngroups - limit);
        emit_table_end(&e);
        report_symbols(&e, r);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN, leaked ? "next: seep leaks %s" : "next: seep top %s", v.file);
        code = emit_finish(&e);
    }
    free(groups);
    recording_close(r);
    return code;
}
