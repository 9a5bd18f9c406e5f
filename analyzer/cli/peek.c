/* SPDX-License-Identifier: Apache-2.0
 *
 * seep peek: functions that match, each with who called it and whom it called, by bytes. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/report.h"

struct graph {
    struct graph_node *nodes;
    struct graph_edge *edges;
    size_t nnodes, nedges;
    struct map at; /* key → node */
    int figure;
    int64_t total;
};

/* One side of a function: edges whose other end it is. */
static void side(struct emit *e, struct recording *r, const struct graph *g, const struct graph_node *x, bool callers)
{
    int64_t cum = x->cum[g->figure].bytes;
    emit_array(e, callers ? "callers" : "callees");
    for (size_t i = 0; i < g->nedges; i++) {
        const struct graph_edge *d = &g->edges[i];
        if ((callers ? d->callee : d->caller) != x->key) continue;
        const struct graph_node *other = map_get(&g->at, callers ? d->caller : d->callee);
        if (!other) continue;
        double share = cum ? (double)d->weight / (double)cum : 0;
        emit_object(e, NULL);
        emit_int(e, "bytes", d->weight);
        emit_real(e, "share", share);
        emit_object(e, "site");
        report_site_json(e, &other->site);
        emit_end(e);
        emit_end(e);
        emit_line(e, STYLE_PLAIN, "  %12s %6.1f%%   %s %s", unit_bytes(d->weight), share * 100,
                  callers ? "from" : "  to", site_function(&r->arena, &other->site));
    }
    emit_end(e);
}

static void function(struct emit *e, struct recording *r, const struct graph *g, const struct graph_node *x)
{
    int64_t flat = x->flat[g->figure].bytes, cum = x->cum[g->figure].bytes;
    emit_object(e, NULL);
    emit_int(e, "flat_bytes", flat);
    emit_int(e, "cum_bytes", cum);
    emit_real(e, "cum_share", g->total ? (double)cum / (double)g->total : 0);
    emit_object(e, "site");
    report_site_json(e, &x->site);
    emit_end(e);
    emit_blank(e);
    if (!e->json) side(e, r, g, x, true);
    emit_line(e, STYLE_BOLD, "%s   flat %s, cum %s (%.1f%%)", site_function(&r->arena, &x->site), unit_bytes(flat),
              unit_bytes(cum), g->total ? 100 * (double)cum / (double)g->total : 0);
    if (e->json) side(e, r, g, x, true);
    side(e, r, g, x, false);
    emit_end(e);
}

static int figure;
static int by_cum(const void *a, const void *b)
{
    const struct graph_node *x = a, *y = b;
    int64_t cx = x->cum[figure].bytes, cy = y->cum[figure].bytes;
    if (cx != cy) return cx > cy ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key;
}

int cmd_peek(int argc, char **argv)
{
    static const struct argp argp = {
        .options = function_options,
        .parser = function_parse,
        .args_doc = "FILE REGEX",
        .doc = "Shows the functions of the last snapshot that match REGEX, each with its callers above and its callees "
               "below it, by bytes.\v"
               "Examples:\n  seep peek server.seep conn_\n  seep peek --sort alloc server.seep '^parse'",
        .children = function_children};
    struct weighed_view p = {.view = {.limit = 10, .max_operands = 1}, .figure = FIG_INUSE};
    regex_t re;
    int code = args_parse(&argp, argc, argv, 0, &p);
    if (code) return code;
    if (regcomp(&re, p.view.operands[0], REG_EXTENDED | REG_NOSUB))
        return fail(EXIT_USAGE, "seep peek: \"%s\" is not a regular expression; see `seep help peek`",
                    p.view.operands[0]);
    struct snapshot **snaps = NULL;
    size_t n = 0, matched = 0, shown = 0;
    struct recording *r = view_open(&p.view, &snaps, &n, &code);
    struct heap h = {0};
    struct graph g = {.figure = p.figure};
    if (!r) goto end;
    heap_load(r, snaps, n, &h);
    heap_filter(r, &h, p.view.filter);
    g.total = h.total[p.figure].bytes;
    g.nnodes = graph_nodes(r, &h, p.view.filter, GRAPH_FUNCTIONS, &g.nodes);
    g.nedges = graph_edges(r, &h, p.view.filter, p.figure, &g.edges);
    figure = p.figure;
    if (g.nnodes) qsort(g.nodes, g.nnodes, sizeof *g.nodes, by_cum);
    for (size_t i = 0; i < g.nnodes; i++) {
        map_put(&g.at, g.nodes[i].key, &g.nodes[i]);
        matched += function_matches(&re, site_function(&r->arena, &g.nodes[i].site));
    }
    if (!view_failed(r, &code)) {
        struct emit e;
        emit_init(&e, stdout, p.view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "peek");
        emit_str(&e, "file", p.view.file);
        emit_int(&e, "total_bytes", g.total);
        emit_bool(&e, "estimated", h.sampled);
        emit_line(&e, STYLE_PLAIN, "matching \"%s\": %s", p.view.operands[0],
                  unit_plural((int64_t)matched, "function"));
        emit_array(&e, "functions");
        for (size_t i = 0; i < g.nnodes; i++) {
            if (!function_matches(&re, site_function(&r->arena, &g.nodes[i].site))) continue;
            if (!p.view.limit || (int64_t)shown++ < p.view.limit) function(&e, r, &g, &g.nodes[i]);
        }
        emit_end(&e);
        if (p.view.limit && (int64_t)matched > p.view.limit)
            emit_line(&e, STYLE_DIM, "… %zu more, see --limit 0", matched - (size_t)p.view.limit);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN, "next: seep tree %s", p.view.file);
        code = emit_finish(&e);
    }
end:
    regfree(&re);
    map_free(&g.at);
    free(g.nodes);
    free(g.edges);
    heap_free(&h);
    recording_close(r);
    return code;
}
