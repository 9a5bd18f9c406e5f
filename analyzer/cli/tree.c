/* SPDX-License-Identifier: Apache-2.0
 *
 * seep tree: the tree of calls from the outermost function on, by bytes. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/report.h"

struct tree {
    struct view view;
    int figure;
    int64_t percent, depth;
};

enum { KEY_MIN = KEY_PRIVATE + 1, KEY_DEEPEST };
static const struct argp_option options[] = {
    {"sort", KEY_SORT, "BY", 0, "bytes to weigh by: inuse (the default), alloc, unreachable", 1},
    {"min-percent", KEY_MIN, "N", 0, "leave out calls below N % of the whole; default 1", 1},
    {"levels", KEY_DEEPEST, "N", 0, "at most N levels; default 0: all", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {&filter_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct tree *t = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = state->child_inputs[1] = &t->view; return 0;
    case KEY_SORT: t->figure = args_figure(state, arg); return 0;
    case KEY_MIN: t->percent = args_number(state, "--min-percent", arg, 0, 100); return 0;
    case KEY_DEEPEST: t->depth = args_number(state, "--levels", arg, 0, 100000); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void rows(struct emit *e, struct recording *r, const struct tree *t, const struct tree_node *nodes, size_t n)
{
    static const struct emit_col cols[] = {
        {"id", NULL, COL_COUNT},         {"parent", NULL, COL_COUNT},        {"depth", NULL, COL_COUNT},
        {"cum_bytes", "CUM", COL_BYTES}, {"cum_share", "CUM%", COL_PERCENT}, {"flat_bytes", "FLAT", COL_BYTES},
        {NULL, "CALL", COL_TEXT}};
    size_t left = 0, shown = 0;
    emit_table(e, "calls", cols, sizeof cols / sizeof *cols);
    for (size_t i = 1; i < n; i++) {
        const struct tree_node *x = &nodes[i];
        double share = nodes[0].cum ? (double)x->cum / (double)nodes[0].cum : 0;
        bool small = share * 100 < (double)t->percent || (t->depth && (int64_t)x->depth > t->depth);
        if (small || (t->view.limit && (int64_t)shown >= t->view.limit)) {
            left++;
            continue;
        }
        shown++;
        size_t indent = x->depth - 1 < 60 ? x->depth - 1 : 60;
        emit_cell_int(e, (int64_t)i);
        emit_cell_int(e, (int64_t)x->parent);
        emit_cell_int(e, (int64_t)x->depth);
        emit_cell_int(e, x->cum);
        emit_cell_real(e, share);
        emit_cell_int(e, x->flat);
        emit_cell_str(e, arena_printf(&r->arena, "%*s%s", (int)indent * 2, "", site_function(&r->arena, &x->site)));
        if (e->json) {
            emit_object(e, "site");
            report_site_json(e, &x->site);
            emit_end(e);
        }
        emit_row(e);
    }
    if (left) emit_table_note(e, "… %zu smaller or deeper calls, see --min-percent 0", left);
    emit_table_end(e);
}

int cmd_tree(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Shows the tree of calls of the last snapshot, from the outermost function down to the line that "
               "allocated, by bytes.\v"
               "Examples:\n  seep tree server.seep\n  seep tree --sort unreachable --min-percent 5 server.seep\n"
               "  seep tree --focus conn_ --hide '^std::' server.seep",
        .children = children};
    struct tree t = {.view = {.limit = 200}, .figure = FIG_INUSE, .percent = 1};
    int code = 0;
    if ((code = args_parse(&argp, argc, argv, 0, &t))) return code;
    struct snapshot **snaps = NULL;
    size_t n = 0;
    struct recording *r = view_open(&t.view, &snaps, &n, &code);
    if (!r) return code;
    struct heap h;
    struct tree_node *nodes = NULL;
    heap_load(r, snaps, n, &h);
    heap_filter(r, &h, t.view.filter);
    size_t nnodes = graph_tree(r, &h, t.view.filter, t.figure, &nodes);
    if (!view_failed(r, &code)) {
        struct emit e;
        emit_init(&e, stdout, t.view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "tree");
        emit_str(&e, "file", t.view.file);
        emit_int(&e, "total_bytes", nodes[0].cum);
        emit_bool(&e, "estimated", h.sampled);
        emit_line(&e, STYLE_PLAIN, "%s%s", unit_bytes(nodes[0].cum), h.sampled ? " (estimated)" : "");
        emit_blank(&e);
        rows(&e, r, &t, nodes, nnodes);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN, "next: seep peek %s FUNCTION", t.view.file);
        code = emit_finish(&e);
    }
    free(nodes);
    heap_free(&h);
    recording_close(r);
    return code;
}
