/* SPDX-License-Identifier: Apache-2.0
 *
 * seep diff: what changed between two snapshots of a recording, or between the ends of two recordings. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/diff.h"
#include "analyzer/report/report.h"

struct diff {
    struct view view;
    bool stacks;
    double span_ms; /* from a to b of one recording, the shortest; 0: of two */
};

/* One side: snapshots of a recording, their heap and findings. */
struct side {
    struct recording *r;
    struct snapshot **snaps;
    size_t n;
    struct heap heap;
    struct finding *findings;
    size_t nfindings;
    int64_t live_bytes, unreachable_bytes;
};

static const struct argp_option options[] = {
    {"stacks", KEY_PRIVATE, NULL, 0, "compare whole stacks instead of lines of code", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {&filter_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct diff *d = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = state->child_inputs[1] = &d->view; return 0;
    case KEY_PRIVATE: d->stacks = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void load(struct side *s, struct filter *f)
{
    heap_load(s->r, s->snaps, s->n, &s->heap);
    heap_filter(s->r, &s->heap, f);
    s->nfindings = findings_load(s->r, s->snaps, s->n, &s->findings);
    for (size_t i = 0; i < s->n; i++) {
        const struct snapshot *x = s->snaps[i];
        add_capped(&s->live_bytes, x->live_bytes);
        add_capped(&s->unreachable_bytes, x->unreachable_bytes);
    }
}

/* In one recording a process is compared with itself: those that have no two such snapshots are left out. */
static void pair_up(struct side *a, struct side *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < b->n; j++)
            if (a->snaps[i]->process == b->snaps[j]->process && a->snaps[i] != b->snaps[j]) {
                struct snapshot *sa = a->snaps[i], *sb = b->snaps[j];
                a->snaps[n] = sa;
                b->snaps[n++] = sb;
                break;
            }
    a->n = b->n = n;
}

static int open_sides(struct diff *d, struct side *a, struct side *b)
{
    struct view *v = &d->view;
    struct stat st;
    struct err e = {0};
    bool two = v->noperands > 0 && stat(v->operands[0], &st) == 0 && S_ISREG(st.st_mode);
    struct selector sa = v->select, sb = v->select;
    if (v->select.snapshot && !two)
        return fail(EXIT_USAGE, "seep diff: name the two snapshots after FILE instead of --snapshot");
    if (two && v->noperands > 1)
        return fail(EXIT_USAGE, "seep diff: two recordings are compared at their ends; see --snapshot");
    a->r = recording_open(v->file, &e);
    b->r = two ? recording_open(v->operands[0], &e) : a->r;
    if (!two) {
        sa.snapshot = v->noperands > 0 ? v->operands[0] : "first";
        sb.snapshot = v->noperands > 1 ? v->operands[1] : "last";
    }
    if (!e.code) select_snapshots(a->r, &sa, &a->snaps, &a->n, &e);
    if (!e.code) select_snapshots(b->r, &sb, &b->snaps, &b->n, &e);
    if (!e.code && !two) {
        pair_up(a, b);
        if (a->n == 0)
            err_set(&e, EXIT_INPUT,
                    "%s: no process has two different snapshots \"%s\" and \"%s\"; `seep info` lists them", v->file,
                    sa.snapshot, sb.snapshot);
    }
    return e.code ? fail_err(&e) : 0;
}

static bool has(const struct side *s, const struct finding *f)
{
    for (size_t i = 0; i < s->nfindings; i++)
        if (strcmp(s->findings[i].id, f->id) == 0) return true;
    return false;
}

/* Findings of `in` that `other` lacks. */
static size_t missing(const struct side *in, const struct side *other, struct finding **out)
{
    size_t n = 0;
    *out = xcalloc(in->nfindings, sizeof **out);
    for (size_t i = 0; i < in->nfindings; i++)
        if (!has(other, &in->findings[i])) (*out)[n++] = in->findings[i];
    return n;
}

static void finding_lines(struct emit *e, struct recording *r, const char *key, const char *head,
                          const struct finding *f, size_t n)
{
    emit_array(e, key);
    for (size_t i = 0; i < n; i++) {
        struct site site = f[i].stack ? stack_site(r, f[i].stack) : (struct site){0};
        emit_object(e, NULL);
        emit_str(e, "id", f[i].id);
        emit_str(e, "rule", f[i].rule);
        emit_str(e, "confidence", confidence_name(f[i].confidence));
        emit_int(e, "objects", f[i].objects);
        emit_int(e, "bytes", f[i].bytes);
        emit_object(e, "site");
        report_site_json(e, &site);
        emit_end(e);
        emit_end(e);
        emit_line(e, STYLE_PLAIN, "  %-5s [%s] %s  %s  %s  %s", head, f[i].id, f[i].rule, report_amount(r, &f[i]),
                  site_function(&r->arena, &site), site.function ? site_place(&r->arena, &site) : "");
    }
    emit_end(e);
}

/* Sampled bytes in use after, by age. */
static void ages(struct emit *e, const struct diff_row *row)
{
    emit_array(e, "ages");
    for (int i = 0; i < AGE_BUCKETS; i++) {
        if (!row->ages[i]) continue;
        emit_object(e, NULL);
        emit_real(e, "from_ms", i ? (double)((uint64_t)1 << i) : 0);
        emit_int(e, "sampled_bytes", row->ages[i]);
        emit_end(e);
    }
    emit_end(e);
}

static void print(struct emit *e, struct diff *d, struct side *a, struct side *b, const struct diff_row *rows, size_t n)
{
    static const struct emit_col cols[] = {{"inuse_bytes_delta", "IN USE", COL_DELTA_BYTES},
                                           {"inuse_bytes_error", "±", COL_BYTES + 7 * COL_MINOR},
                                           {"inuse_objects_delta", "BLOCKS", COL_DELTA_COUNT},
                                           {"inuse_bytes_a", "BEFORE", COL_BYTES},
                                           {"inuse_bytes_b", "AFTER", COL_BYTES},
                                           {"share_of_base", "% OF BASE", COL_PERCENT + 5 * COL_MINOR},
                                           {"share_of_total", "% OF NOW", COL_PERCENT + 6 * COL_MINOR},
                                           {"survived_bytes", "SURVIVED", COL_BYTES + 4 * COL_MINOR},
                                           {"alloc_bytes_delta", "ALLOCATED", COL_DELTA_BYTES + 2 * COL_MINOR},
                                           {"freed_bytes_delta", "FREED", COL_DELTA_BYTES + 3 * COL_MINOR},
                                           {"unreachable_bytes_delta", "UNREACHABLE", COL_DELTA_BYTES + 1 * COL_MINOR},
                                           {NULL, "FUNCTION", COL_TEXT},
                                           {NULL, "PLACE", COL_TEXT}};
    struct emit_col shown[13];
    memcpy(shown, cols, sizeof cols);
    if (!a->heap.sampled && !b->heap.sampled) shown[1].title = NULL;
    if (d->span_ms <= 0) shown[7].title = NULL;
    struct finding *fresh = NULL, *gone = NULL;
    size_t nfresh = missing(b, a, &fresh), ngone = missing(a, b, &gone);
    int64_t base = a->heap.total[FIG_INUSE].bytes, now = b->heap.total[FIG_INUSE].bytes, sampled = now - base;
    int64_t change = b->live_bytes - a->live_bytes; /* exact, so it decides */
    emit_object(e, NULL);
    emit_str(e, "command", "diff");
    emit_str(e, "file_a", d->view.file);
    emit_str(e, "file_b", a->r == b->r ? d->view.file : d->view.operands[0]);
    emit_int(e, "inuse_bytes_delta", sampled);
    emit_int(e, "live_bytes_delta", change);
    emit_int(e, "unreachable_bytes_delta", b->unreachable_bytes - a->unreachable_bytes);
    emit_bool(e, "estimated", a->heap.sampled || b->heap.sampled);
    emit_head(e, change > 0 ? STYLE_BAD : STYLE_GOOD,
              change > 0   ? "GREW"
              : change < 0 ? "SHRANK"
                           : "SAME",
              strcmp(b->snaps[0]->trigger, "import") == 0 ? "  live %s, unreachable %s; %s, %zu gone"
                                                          : "  live %s, unreachable %s (exact); %s, %zu gone",
              unit_delta_bytes(change), unit_delta_bytes(b->unreachable_bytes - a->unreachable_bytes),
              unit_plural((int64_t)nfresh, "new finding"), ngone);
    emit_line(e, STYLE_BOLD, "before");
    emit_object(e, "a");
    report_snapshots(e, a->r, a->snaps, a->n);
    emit_end(e);
    emit_line(e, STYLE_BOLD, "after");
    emit_object(e, "b");
    report_snapshots(e, b->r, b->snaps, b->n);
    emit_end(e);
    if (nfresh + ngone) emit_blank(e);
    finding_lines(e, b->r, "findings_new", "new", fresh, nfresh);
    finding_lines(e, a->r, "findings_gone", "gone", gone, ngone);
    emit_blank(e);
    emit_table(e, "sites", shown, 13);
    size_t limit = d->view.limit ? (size_t)d->view.limit : n;
    for (size_t i = 0; i < n && i < limit; i++) {
        const struct diff_row *row = &rows[i];
        struct recording *r = row->in_b ? b->r : a->r;
        int64_t delta = row->b[FIG_INUSE].bytes - row->a[FIG_INUSE].bytes;
        int64_t alloc = row->b[FIG_ALLOC].bytes - row->a[FIG_ALLOC].bytes;
        emit_cell_int(e, delta);
        emit_cell_int(e, figure_error(row->a[FIG_INUSE].bytes_var + row->b[FIG_INUSE].bytes_var));
        emit_cell_int(e, row->b[FIG_INUSE].objects - row->a[FIG_INUSE].objects);
        emit_cell_int(e, row->a[FIG_INUSE].bytes);
        emit_cell_int(e, row->b[FIG_INUSE].bytes);
        emit_cell_real(e, base ? (double)delta / (double)base : 0);
        emit_cell_real(e, now ? (double)delta / (double)now : 0);
        emit_cell_int(
            e, (int64_t)((d->span_ms > 0 ? diff_survived(row, d->span_ms) : 0) * (double)row->b[FIG_INUSE].bytes));
        emit_cell_int(e, alloc);
        emit_cell_int(e, alloc - delta);
        emit_cell_int(e, row->b[FIG_UNREACHABLE].bytes - row->a[FIG_UNREACHABLE].bytes);
        emit_cell_str(e, site_function(&r->arena, &row->site));
        emit_cell_str(e, site_place(&r->arena, &row->site));
        if (e->json) {
            emit_object(e, "site");
            report_site_json(e, &row->site);
            emit_end(e);
            emit_int(e, "alloc_objects_delta", row->b[FIG_ALLOC].objects - row->a[FIG_ALLOC].objects);
            emit_int(e, "freed_objects_delta",
                     row->b[FIG_ALLOC].objects - row->a[FIG_ALLOC].objects - row->b[FIG_INUSE].objects +
                         row->a[FIG_INUSE].objects);
            emit_int(e, "unreachable_objects_delta", row->b[FIG_UNREACHABLE].objects - row->a[FIG_UNREACHABLE].objects);
            ages(e, row);
            if (d->stacks) report_stack_json(e, r, "stack", row->stack);
        }
        emit_row(e);
    }
    if (limit < n) emit_table_note(e, "… %zu more, see --limit 0", n - limit);
    emit_table_end(e);
    report_symbols(e, b->r);
    emit_end(e);
    emit_blank(e);
    emit_line(e, STYLE_PLAIN, "next: seep leaks %s", a->r == b->r ? d->view.file : d->view.operands[0]);
    free(fresh);
    free(gone);
}

int cmd_diff(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE [A [B]]\nFILE OTHER",
        .doc = "Shows what changed from snapshot A to B of each process (first and last where they are not named), or "
               "from the end of one "
               "recording to the end of another. A and B are numbers, labels, first or last.\v"
               "Examples:\n  seep diff server.seep\n  seep diff server.seep warm last\n  seep diff monday.seep "
               "friday.seep",
        .children = children};
    struct diff d = {.view = {.limit = 20, .max_operands = 2}};
    struct side a = {0}, b = {0};
    struct diff_row *rows = NULL;
    size_t n = 0;
    int code = args_parse(&argp, argc, argv, 0, &d);
    if (code == 0) code = open_sides(&d, &a, &b);
    if (code == 0) {
        load(&a, d.view.filter);
        load(&b, d.view.filter);
        n = diff_heaps(a.r, &a.heap, b.r, &b.heap, d.stacks, &rows);
        diff_ages(b.r, b.snaps, b.n, d.stacks, rows, n);
        for (size_t i = 0; a.r == b.r && i < b.n; i++) {
            double ms = ((double)b.snaps[i]->mono_ns - (double)a.snaps[i]->mono_ns) / 1e6;
            if (ms > 0 && (d.span_ms <= 0 || ms < d.span_ms)) d.span_ms = ms;
        }
        if (!view_failed(a.r, &code) && !view_failed(b.r, &code)) {
            struct emit e;
            emit_init(&e, stdout, d.view.json);
            print(&e, &d, &a, &b, rows, n);
            code = emit_finish(&e);
        }
    }
    free(rows);
    heap_free(&a.heap);
    heap_free(&b.heap);
    free(a.findings);
    free(b.findings);
    if (b.r != a.r) recording_close(b.r);
    recording_close(a.r);
    return code;
}
