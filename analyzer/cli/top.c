/* SPDX-License-Identifier: Apache-2.0
 *
 * seep top: memory by the place in the user's code that allocated it. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/report.h"

static const char *const sorts[] = {"inuse", "alloc", "unreachable", "objects", "cum"};
static int sort_by;

struct top {
    struct view view;
    bool stacks;
};

/* One row: a line of code, or a stack. */
struct row {
    struct heap_group g;
    int64_t cum;
};

static int64_t weight(const struct row *r)
{
    static const int figs[] = {FIG_INUSE, FIG_ALLOC, FIG_UNREACHABLE};
    return sort_by == 4 ? r->cum : sort_by == 3 ? r->g.fig[FIG_INUSE].objects : r->g.fig[figs[sort_by]].bytes;
}

static int by_weight(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int64_t wx = weight(x), wy = weight(y);
    if (wx != wy) return wx > wy ? -1 : 1;
    if (x->g.fig[FIG_ALLOC].bytes != y->g.fig[FIG_ALLOC].bytes)
        return x->g.fig[FIG_ALLOC].bytes > y->g.fig[FIG_ALLOC].bytes ? -1 : 1;
    return x->g.key < y->g.key ? -1 : x->g.key > y->g.key;
}

static const struct argp_option options[] = {
    {"sort", KEY_SORT, "BY", 0, "inuse (the default), alloc, unreachable, objects, or cum, which shows callers too", 1},
    {"stacks", KEY_PRIVATE, NULL, 0, "a row for each stack, with the stack below it", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {&filter_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct top *t = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = state->child_inputs[1] = &t->view; return 0;
    case KEY_PRIVATE: t->stacks = true; return 0;
    case KEY_SORT:
        for (sort_by = 0; sort_by < 5; sort_by++)
            if (strcmp(arg, sorts[sort_by]) == 0) return 0;
        args_fail(state, "--sort \"%s\" is none of inuse, alloc, unreachable, objects, cum", arg);
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Lines of code that allocated, and with --sort cum those that called them. */
static size_t rows_of(struct recording *r, const struct heap *h, struct top *t, struct row **out)
{
    struct heap_group *groups = NULL;
    struct graph_node *nodes = NULL;
    size_t n = 0, kept = 0;
    if (t->stacks) {
        n = heap_group(r, h, true, &groups);
        *out = xcalloc(n, sizeof **out);
        for (; kept < n; kept++) (*out)[kept] = (struct row){groups[kept], groups[kept].fig[FIG_INUSE].bytes};
    } else {
        struct map stacks = {0};
        n = heap_group(r, h, false, &groups);
        for (size_t i = 0; i < n; i++) map_put(&stacks, groups[i].key, &groups[i]);
        n = graph_nodes(r, h, t->view.filter, GRAPH_LINES, &nodes);
        *out = xcalloc(n, sizeof **out);
        for (size_t i = 0; i < n; i++) {
            const struct graph_node *x = &nodes[i];
            const struct heap_group *g = map_get(&stacks, x->key);
            bool own = x->flat[FIG_ALLOC].objects || x->flat[FIG_INUSE].objects;
            if (!own && sort_by != 4) continue;
            struct row *row = &(*out)[kept++];
            *row = (struct row){.g = {.key = x->key, .site = x->site}, .cum = x->cum[FIG_INUSE].bytes};
            memcpy(row->g.fig, x->flat, sizeof row->g.fig);
            if (g) row->g.stack = g->stack, row->g.nstacks = g->nstacks;
        }
        map_free(&stacks);
    }
    free(groups);
    free(nodes);
    if (kept) qsort(*out, kept, sizeof **out, by_weight);
    return kept;
}

static void totals(struct emit *e, struct recording *r, const struct heap *h)
{
    static const char *const keys[FIG_COUNT] = {"inuse", "alloc", "unreachable", "interior"};
    emit_object(e, "total");
    for (int k = 0; k < FIG_COUNT; k++) {
        emit_int(e, arena_printf(&r->arena, "%s_objects", keys[k]), h->total[k].objects);
        emit_int(e, arena_printf(&r->arena, "%s_bytes", keys[k]), h->total[k].bytes);
        emit_int(e, arena_printf(&r->arena, "%s_bytes_error", keys[k]), figure_error(h->total[k].bytes_var));
    }
    emit_end(e);
    emit_bool(e, "estimated", h->sampled);
    const struct figure *f = &h->total[FIG_INUSE];
    emit_line(e, STYLE_PLAIN,
              h->sampled ? "in use %s in %s (estimated ± %s); allocated %s" : "in use %s in %s%.0s; allocated %s",
              unit_bytes(f->bytes), unit_plural(f->objects, "block"), unit_bytes(figure_error(f->bytes_var)),
              unit_bytes(h->total[FIG_ALLOC].bytes));
}

static void print_row(struct emit *e, struct recording *r, const struct heap *h, const struct row *x, int64_t *sum,
                      bool stacks, bool full)
{
    const struct heap_group *g = &x->g;
    int64_t all = h->total[FIG_INUSE].bytes;
    add_capped(sum, g->fig[FIG_INUSE].bytes);
    emit_cell_int(e, g->fig[FIG_INUSE].bytes);
    emit_cell_real(e, all ? (double)g->fig[FIG_INUSE].bytes / (double)all : 0);
    emit_cell_real(e, all ? (double)*sum / (double)all : 0);
    emit_cell_int(e, x->cum);
    emit_cell_real(e, all ? (double)x->cum / (double)all : 0);
    emit_cell_int(e, figure_error(g->fig[FIG_INUSE].bytes_var));
    emit_cell_int(e, g->fig[FIG_INUSE].objects);
    emit_cell_int(e, g->fig[FIG_ALLOC].bytes);
    emit_cell_int(e, g->fig[FIG_ALLOC].objects);
    emit_cell_int(e, g->fig[FIG_UNREACHABLE].bytes);
    emit_cell_int(e, g->fig[FIG_UNREACHABLE].objects);
    emit_cell_int(e, g->fig[FIG_INTERIOR].bytes);
    emit_cell_int(e, g->fig[FIG_INTERIOR].objects);
    emit_cell_int(e, (int64_t)g->nstacks);
    emit_cell_str(e, site_function(&r->arena, &g->site));
    emit_cell_str(e, site_place(&r->arena, &g->site));
    if (e->json) {
        emit_object(e, "site");
        report_site_json(e, &g->site);
        emit_end(e);
        if ((stacks || full) && g->stack) report_stack_json(e, r, "stack", g->stack);
    } else if (stacks && g->stack) {
        unsigned shown = 0;
        for (unsigned i = 0; i < g->stack->n; i++) {
            const struct frame *f = frame_resolve(r, g->stack->frames[i]);
            for (unsigned j = 0; (j == 0 || j < f->nlines) && (full || shown < 12); j++, shown++) {
                struct site s = frame_site(f, j);
                emit_table_note(e, "             %-40s %s", site_function(&r->arena, &s),
                                s.function ? site_place(&r->arena, &s) : "");
            }
        }
    }
    emit_row(e);
}

int cmd_top(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc =
            "Shows where the memory of the last snapshot was allocated, by the first line of the program's own code. "
            "flat is "
            "what is in use of what that line allocated, itself or through libraries; cum adds what its callees did; "
            "sum% adds up flat%.\v"
            "Figures are sums over the processes shown. Where allocations were sampled they are estimates, and the ± "
            "column is "
            "their standard error.\n\n"
            "Examples:\n  seep top server.seep\n  seep top --sort alloc --stacks -n 5 server.seep",
        .children = children};
    static const struct emit_col cols[] = {{"inuse_bytes", "FLAT", COL_BYTES},
                                           {"inuse_share", "FLAT%", COL_PERCENT},
                                           {"sum_share", "SUM%", COL_PERCENT + 6 * COL_MINOR},
                                           {"cum_bytes", "CUM", COL_BYTES},
                                           {"cum_share", "CUM%", COL_PERCENT + 4 * COL_MINOR},
                                           {"inuse_bytes_error", "±", COL_BYTES + 5 * COL_MINOR},
                                           {"inuse_objects", "BLOCKS", COL_COUNT + 3 * COL_MINOR},
                                           {"alloc_bytes", "ALLOCATED", COL_BYTES + 2 * COL_MINOR},
                                           {"alloc_objects", NULL, COL_COUNT},
                                           {"unreachable_bytes", "UNREACHABLE", COL_BYTES + 1 * COL_MINOR},
                                           {"unreachable_objects", NULL, COL_COUNT},
                                           {"interior_bytes", NULL, COL_BYTES},
                                           {"interior_objects", NULL, COL_COUNT},
                                           {"stacks", NULL, COL_COUNT},
                                           {NULL, "FUNCTION", COL_TEXT},
                                           {NULL, "PLACE", COL_TEXT}};
    struct emit_col shown[16];
    memcpy(shown, cols, sizeof cols);
    struct top t = {.view.limit = 20};
    int code = 0;
    sort_by = 0;
    if ((code = args_parse(&argp, argc, argv, 0, &t))) return code;
    struct snapshot **snaps = NULL;
    size_t n = 0;
    struct recording *r = view_open(&t.view, &snaps, &n, &code);
    if (!r) return code;
    struct heap h;
    struct row *rows = NULL;
    int64_t sum = 0;
    heap_load(r, snaps, n, &h);
    heap_filter(r, &h, t.view.filter);
    size_t nrows = rows_of(r, &h, &t, &rows);
    if (!h.sampled) shown[5].title = NULL;
    if (!view_failed(r, &code)) {
        struct emit e;
        emit_init(&e, stdout, t.view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "top");
        emit_str(&e, "file", t.view.file);
        report_snapshots(&e, r, snaps, n);
        totals(&e, r, &h);
        emit_blank(&e);
        emit_table(&e, "sites", shown, 16);
        size_t limit = t.view.limit ? (size_t)t.view.limit : nrows;
        for (size_t i = 0; i < nrows && i < limit; i++) print_row(&e, r, &h, &rows[i], &sum, t.stacks, t.view.full);
        if (limit < nrows) emit_table_note(&e, "… %zu more, see --limit 0", nrows - limit);
        emit_table_end(&e);
        report_symbols(&e, r);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN, "next: seep leaks %s, or seep export --pprof %s -o heap.pb.gz", t.view.file,
                  t.view.file);
        code = emit_finish(&e);
    }
    free(rows);
    heap_free(&h);
    recording_close(r);
    return code;
}
