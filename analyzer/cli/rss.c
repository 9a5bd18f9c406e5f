/* SPDX-License-Identifier: Apache-2.0
 *
 * seep rss: why the process is as large as the kernel says, and what of it is no leak. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/rss.h"
#include "analyzer/report/report.h"

static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};
static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key == ARGP_KEY_INIT) state->child_inputs[0] = state->input;
    return key == ARGP_KEY_INIT ? 0 : ARGP_ERR_UNKNOWN;
}

/* The mappings of one kind: the largest by name, the small ones together. */
static void names(struct emit *e, const struct rss *x, enum rss_kind kind, bool full)
{
    int64_t small = 0, nsmall = 0;
    unsigned shown = 0;
    for (size_t i = 0; i < x->n; i++) {
        const struct rss_part *p = &x->parts[i];
        if (p->kind != kind || (!*p->name && kind != RSS_FOREIGN)) continue;
        if (!full && (shown == 6 || p->rss_bytes < 256 << 10)) {
            add_capped(&small, p->rss_bytes);
            nsmall++;
            continue;
        }
        shown++;
        emit_table_note(e, "%22s  %s", unit_bytes(p->rss_bytes), *p->name ? p->name : "(no name)");
    }
    if (nsmall && shown) emit_table_note(e, "%22s  in %s", unit_bytes(small), unit_plural(nsmall, "smaller mapping"));
}

static void table(struct emit *e, const struct rss *x, bool full)
{
    enum { WIDE = 150 };
    bool narrow = e->width && e->width < WIDE; /* reasons and advice below their row then */
    const struct emit_col cols[] = {{"kind", NULL, COL_TEXT},
                                    {"rss_bytes", "RESIDENT", COL_BYTES},
                                    {"share", "%", COL_PERCENT},
                                    {"name", "WHAT", COL_TEXT},
                                    {"verdict", "VERDICT", COL_TEXT},
                                    {"why", narrow ? NULL : "WHY", COL_TEXT},
                                    {"do", narrow ? NULL : "DO", COL_TEXT}};
    bool done[RSS_KINDS] = {0};
    emit_blank(e);
    emit_table(e, "kinds", cols, sizeof cols / sizeof *cols);
    for (int round = 0; round < RSS_KINDS; round++) { /* by size */
        int at = -1;
        for (int k = 0; k < RSS_KINDS; k++)
            if (!done[k] && x->kinds[k] != 0 && (at < 0 || x->kinds[k] > x->kinds[at])) at = k;
        if (at < 0) break;
        done[at] = true;
        const struct rss_words *w = &rss_words[at];
        emit_cell_str(e, w->key);
        emit_cell_int(e, x->kinds[at]);
        emit_cell_real(e, x->total ? (double)x->kinds[at] / (double)x->total : 0);
        emit_cell_str(e, w->name);
        emit_cell_str(e, w->verdict);
        emit_cell_str(e, w->why);
        emit_cell_str(e, w->todo);
        emit_row(e);
        if (narrow) emit_table_note(e, "            %s", w->why);
        if (narrow) emit_table_note(e, "            do: %s", w->todo);
        names(e, x, (enum rss_kind)at, full);
    }
    emit_table_note(e, "%s resident in all, the kernel's figure", unit_bytes(x->total));
    emit_table_end(e);
    if (!e->json) return;
    emit_array(e, "parts");
    for (size_t i = 0; i < x->n; i++) {
        const struct rss_part *p = &x->parts[i];
        emit_object(e, NULL);
        emit_str(e, "kind", rss_words[p->kind].key);
        emit_str(e, "part", p->part);
        emit_str(e, "name", p->name);
        emit_int(e, "rss_bytes", p->rss_bytes);
        emit_int(e, "lazy_free_bytes", p->lazy_bytes);
        emit_int(e, "size_bytes", p->size_bytes);
        emit_end(e);
    }
    emit_end(e);
}

static void process(struct emit *e, struct recording *r, const struct snapshot *s, const struct rss *x, bool full)
{
    int64_t unreturned = rss_unreturned(x);
    emit_object(e, NULL);
    emit_int(e, "pid", s->process->pid);
    emit_int(e, "snapshot", s->seq);
    emit_int(e, "rss_bytes", x->total);
    emit_int(e, "unreturned_bytes", unreturned);
    emit_int(e, "unreachable_bytes", s->unreachable_bytes);
    emit_blank(e);
    emit_line(e, STYLE_BOLD, "%s  snapshot %lld (%s)", report_process(r, s->process), (long long)s->seq, s->trigger);
    if (x->n) {
        emit_line(e, STYLE_PLAIN, "  %s of %s is not a leak: no block uses it; %s of blocks is lost (unreachable)",
                  unit_bytes(unreturned), unit_bytes(x->total), unit_bytes(s->unreachable_bytes));
        table(e, x, full);
    } else {
        emit_line(e, STYLE_PLAIN, "  nothing is recorded of this snapshot's resident memory");
    }
    emit_end(e);
}

int cmd_rss(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Shows every byte of the resident memory under one heading: blocks, holes, idle and lazily freed heap, "
               "stacks, files, and so on, "
               "whether it is a leak, why, and what to do. The sum is the kernel's figure.\v"
               "Examples:\n  seep rss server.seep\n  seep rss --full --process 1234 server.seep",
        .children = children};
    struct view v = {.limit = 3};
    int code = 0;
    if ((code = args_parse(&argp, argc, argv, 0, &v))) return code;
    struct snapshot **snaps = NULL;
    size_t n = 0;
    int64_t total = 0, unreturned = 0;
    struct recording *r = view_open(&v, &snaps, &n, &code);
    if (!r) return code;
    struct rss *x = xcalloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        rss_load(r, snaps[i], &x[i]);
        add_capped(&total, x[i].total);
        add_capped(&unreturned, rss_unreturned(&x[i]));
    }
    if (!view_failed(r, &code)) {
        struct emit e;
        emit_init(&e, stdout, v.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "rss");
        emit_str(&e, "file", v.file);
        emit_head(&e, STYLE_BOLD, "RSS", "  %s resident in %s, %s of it unreturned (not a leak)", unit_bytes(total),
                  unit_plural((int64_t)n, "process"), unit_bytes(unreturned));
        emit_array(&e, "processes");
        for (size_t i = 0; i < n && (v.json || !v.limit || (int64_t)i < v.limit); i++)
            process(&e, r, snaps[i], &x[i], v.full);
        emit_end(&e);
        if (v.limit && (int64_t)n > v.limit)
            emit_line(&e, STYLE_DIM, "… and %zu more processes, see --limit 0", n - (size_t)v.limit);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN, "next: seep top %s", v.file);
        code = emit_finish(&e);
    }
    for (size_t i = 0; i < n; i++) rss_free(&x[i]);
    free(x);
    recording_close(r);
    return code;
}
