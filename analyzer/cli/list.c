/* SPDX-License-Identifier: Apache-2.0
 *
 * seep list: the source of functions that match, each line with what it allocated (flat) and what it and its callees did (cum).
 *
 * The names of source files come from debug information, which nobody vouches for: only regular files of a size are read, and what
 * is printed is escaped as everything else. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/report.h"

enum { AROUND = 3, MAX_SOURCE = 16 << 20 };

/* Nodes of one function stand together, by line. */
static int by_place(const void *a, const void *b)
{
    const struct graph_node *x = a, *y = b;
    uint64_t fx = graph_key(&x->site, GRAPH_FUNCTIONS), fy = graph_key(&y->site, GRAPH_FUNCTIONS);
    if (fx != fy) return fx < fy ? -1 : 1;
    int c = strcmp(x->site.file ? x->site.file : "", y->site.file ? y->site.file : "");
    if (c) return c;
    return x->site.line < y->site.line ? -1 : x->site.line > y->site.line;
}

/* Line `line` of the text, without its end; NULL past the last one. */
static const char *source_line(struct recording *r, const struct buf *b, unsigned line)
{
    const char *p = b->data ? b->data : "", *end = p + b->len;
    for (unsigned i = 1; i < line && p < end; i++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        p = nl ? nl + 1 : end;
    }
    if (p >= end) return NULL;
    const char *nl = memchr(p, '\n', (size_t)(end - p));
    char *s = arena_strndup(&r->arena, p, (size_t)((nl ? nl : end) - p));
    for (char *c = s; *c; c++)
        if (*c == '\t') *c = ' ';
    return s;
}

static void source(struct emit *e, struct recording *r, const struct graph_node *nodes, size_t n, int figure)
{
    struct buf text = {0};
    struct err none = {0};
    const struct site *s = &nodes[0].site;
    const char *path = s->file;
    if (path && *path != '/' && s->comp_dir) path = arena_printf(&r->arena, "%s/%s", s->comp_dir, path);
    bool have = path && file_read(path, MAX_SOURCE, &text, &none) == 0;
    if (!have) emit_line(e, STYLE_DIM, "  no source: %s", path ? none.text : "the line is not known");
    emit_array(e, "lines");
    for (size_t i = 0; i < n; i++) {
        int64_t flat = nodes[i].flat[figure].bytes, cum = nodes[i].cum[figure].bytes;
        unsigned line = nodes[i].site.line, from = line > AROUND ? line - AROUND : 1;
        unsigned after = i ? nodes[i - 1].site.line : 0, next = i + 1 < n ? nodes[i + 1].site.line : UINT32_MAX;
        const char *code = have && line ? source_line(r, &text, line) : NULL;
        if (after && from <= after + AROUND) from = after + AROUND + 1;
        if (i && have && from > after + AROUND + 1) emit_line(e, STYLE_DIM, "  %12s %12s", "…", "…");
        for (unsigned k = from; have && k < line; k++)
            if (source_line(r, &text, k))
                emit_line(e, STYLE_DIM, "  %12s %12s %6u  %s", ".", ".", k, source_line(r, &text, k));
        emit_line(e, STYLE_PLAIN, "  %12s %12s %6u  %s", flat ? unit_bytes(flat) : ".", unit_bytes(cum), line,
                  code ? code : site_place(&r->arena, &nodes[i].site));
        for (unsigned k = line + 1; have && k <= line + AROUND && k < next; k++)
            if (source_line(r, &text, k))
                emit_line(e, STYLE_DIM, "  %12s %12s %6u  %s", ".", ".", k, source_line(r, &text, k));
        emit_object(e, NULL);
        emit_int(e, "line", line);
        emit_int(e, "flat_bytes", flat);
        emit_int(e, "cum_bytes", cum);
        emit_str(e, "code", code);
        emit_end(e);
    }
    emit_end(e);
    buf_free(&text);
}

int cmd_list(int argc, char **argv)
{
    static const struct argp argp = {
        .options = function_options,
        .parser = function_parse,
        .args_doc = "FILE REGEX",
        .doc = "Shows the source lines of the functions that match REGEX with what each of them allocated (flat), and "
               "with its callees (cum), "
               "where the source is at hand.\v"
               "Examples:\n  seep list server.seep '^parse_request$'\n  seep list --sort unreachable server.seep conn_",
        .children = function_children};
    struct weighed_view l = {.view = {.limit = 10, .max_operands = 1}, .figure = FIG_INUSE};
    regex_t re;
    int code = args_parse(&argp, argc, argv, 0, &l);
    if (code) return code;
    if (regcomp(&re, l.view.operands[0], REG_EXTENDED | REG_NOSUB))
        return fail(EXIT_USAGE, "seep list: \"%s\" is not a regular expression; see `seep help list`",
                    l.view.operands[0]);
    struct snapshot **snaps = NULL;
    size_t n = 0, shown = 0, matched = 0, nnodes = 0;
    struct recording *r = view_open(&l.view, &snaps, &n, &code);
    struct heap h = {0};
    struct graph_node *nodes = NULL;
    if (!r) goto end;
    heap_load(r, snaps, n, &h);
    heap_filter(r, &h, l.view.filter);
    nnodes = graph_nodes(r, &h, l.view.filter, GRAPH_LINES, &nodes);
    if (nnodes) qsort(nodes, nnodes, sizeof *nodes, by_place);
    if (!view_failed(r, &code)) {
        struct emit e;
        emit_init(&e, stdout, l.view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "list");
        emit_str(&e, "file", l.view.file);
        emit_int(&e, "total_bytes", h.total[l.figure].bytes);
        emit_bool(&e, "estimated", h.sampled);
        emit_array(&e, "functions");
        for (size_t i = 0, j; i < nnodes; i = j) {
            uint64_t key = graph_key(&nodes[i].site, GRAPH_FUNCTIONS);
            for (j = i + 1; j < nnodes && graph_key(&nodes[j].site, GRAPH_FUNCTIONS) == key; j++) {}
            const char *name = site_function(&r->arena, &nodes[i].site);
            if (!function_matches(&re, name)) continue;
            matched++;
            if (l.view.limit && (int64_t)shown++ >= l.view.limit) continue;
            if (matched > 1) emit_blank(&e);
            emit_line(&e, STYLE_BOLD, "%s  %s", name, nodes[i].site.file ? nodes[i].site.file : "");
            emit_line(&e, STYLE_BOLD, "  %12s %12s %6s", "FLAT", "CUM", "LINE");
            emit_object(&e, NULL);
            emit_object(&e, "site");
            report_site_json(&e, &nodes[i].site);
            emit_end(&e);
            source(&e, r, nodes + i, j - i, l.figure);
            emit_end(&e);
        }
        emit_end(&e);
        if (matched == 0)
            emit_line(&e, STYLE_PLAIN, "no function matches \"%s\"; `seep top` lists them", l.view.operands[0]);
        report_symbols(&e, r);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN, "next: seep peek %s '%s'", l.view.file, l.view.operands[0]);
        code = emit_finish(&e);
    }
end:
    regfree(&re);
    free(nodes);
    heap_free(&h);
    recording_close(r);
    return code;
}
