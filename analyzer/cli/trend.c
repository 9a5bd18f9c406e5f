/* SPDX-License-Identifier: Apache-2.0
 *
 * seep trend: each site over the snapshots of its process: growing, filled and stayed, falling back, or steady. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/model/trend.h"
#include "analyzer/report/report.h"

struct trend_args {
    struct view view;
    int64_t limit_bytes, points;
    bool all;
};

enum { KEY_LIMIT_BYTES = KEY_PRIVATE + 1, KEY_POINTS };
static const struct argp_option options[] = {
    {"all", KEY_PRIVATE, NULL, 0, "every site that changed, not only those that rose", 1},
    {"limit-bytes", KEY_LIMIT_BYTES, "N", 0, "memory limit to project to (K, M, G); default: as recorded", 1},
    {"points", KEY_POINTS, "N", 0, "snapshots to look at, evenly chosen; default 60, 0: all", 1},
    {0},
};
static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct trend_args *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->view; return 0;
    case KEY_PRIVATE: a->all = true; return 0;
    case KEY_LIMIT_BYTES: a->limit_bytes = args_number(state, "--limit-bytes", arg, 1, INT64_MAX); return 0;
    case KEY_POINTS: a->points = args_number(state, "--points", arg, 0, 2000); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void trend_json(struct emit *e, const struct trend *t)
{
    emit_str(e, "verdict", trend_word(t->verdict));
    emit_real(e, "slope_per_s", t->slope);
    emit_real(e, "slope_lo_per_s", t->lo);
    emit_real(e, "slope_hi_per_s", t->hi);
    emit_real(e, "p", t->p);
    emit_real(e, "rise", t->rise);
}

static void points_json(struct emit *e, const char *key, const double *v, size_t n)
{
    emit_array(e, key);
    for (size_t i = 0; i < n; i++) emit_int(e, NULL, (int64_t)v[i]);
    emit_end(e);
}

/* The heap as a whole, and when it meets the limit. */
static void whole(struct emit *e, const struct trends *t)
{
    double span = t->n ? t->t[t->n - 1] : 0, now = t->n ? t->live[t->n - 1] : 0;
    const struct trend *tr = &t->live_trend;
    emit_object(e, "heap");
    trend_json(e, tr);
    points_json(e, "reachable_bytes", t->live, t->n);
    if (t->limit_bytes) emit_int(e, "limit_bytes", t->limit_bytes);
    if (t->limit_bytes) emit_int(e, "used_bytes", (int64_t)t->used);
    if (tr->verdict == TREND_TOO_FEW) {
        emit_line(e, STYLE_PLAIN,
                  "    a trend needs %d snapshots with samples, and there are %zu: record with --interval", TREND_MIN,
                  t->n);
    } else if (tr->verdict == TREND_GROWING) {
        emit_line(e, STYLE_PLAIN, "    reachable heap: growing, %s (95 %%: %s to %s)",
                  unit_rate(tr->slope, span, false), unit_rate(tr->lo, span, false), unit_rate(tr->hi, span, false));
        double by = trend_until(t->used, tr->slope, (double)t->limit_bytes),
               soon = trend_until(t->used, tr->hi, (double)t->limit_bytes),
               late = trend_until(t->used, tr->lo, (double)t->limit_bytes);
        if (t->limit_bytes) {
            emit_real(e, "limit_in_s", by);
            emit_real(e, "limit_in_s_soonest", soon);
            emit_real(e, "limit_in_s_latest", late);
            if (!(by > 0))
                emit_line(e, STYLE_PLAIN, "    limit:          %s, exceeded already: %s are used",
                          unit_bytes(t->limit_bytes), unit_bytes((int64_t)t->used));
            else
                emit_line(e, STYLE_PLAIN,
                          "    limit:          %s, of which %s are used, is reached in about %s (95 %%: %s to %s) at "
                          "this rate",
                          unit_bytes(t->limit_bytes), unit_bytes((int64_t)t->used), unit_seconds(by),
                          unit_seconds(soon), unit_seconds(late));
        }
    } else {
        emit_line(e, STYLE_PLAIN, "    reachable heap: %s, %s now", trend_word(tr->verdict), unit_bytes((int64_t)now));
    }
    if (t->tasks_skipped) emit_line(e, STYLE_DIM, "    tasks are too many to be followed here");
    emit_end(e);
}

static void rows(struct emit *e, struct recording *r, const struct trends *t, const struct trend_args *a)
{
    static const struct emit_col cols[] = {{"verdict", "VERDICT", COL_TEXT},
                                           {"kind", "OF", COL_TEXT},
                                           {NULL, "RATE", COL_TEXT},
                                           {NULL, "95 %", COL_TEXT + 2 * COL_MINOR},
                                           {"p", "P", COL_COUNT + 1 * COL_MINOR},
                                           {NULL, "FROM", COL_TEXT},
                                           {NULL, "NOW", COL_TEXT},
                                           {"lost_bytes", NULL, COL_BYTES},
                                           {NULL, "FUNCTION", COL_TEXT},
                                           {NULL, "PLACE", COL_TEXT}};
    double span = t->n ? t->t[t->n - 1] : 0;
    size_t shown = 0, left = 0, flat = 0;
    emit_blank(e);
    emit_table(e, "sites", cols, sizeof cols / sizeof *cols);
    for (size_t i = 0; i < t->count; i++) {
        const struct series *s = &t->series[i];
        bool rose = s->trend.verdict > TREND_STEADY;
        if (!rose && !a->all) {
            flat++;
            continue;
        }
        if (a->view.limit && (int64_t)shown >= a->view.limit) {
            left++;
            continue;
        }
        shown++;
        double first = s->y[0], last = s->y[t->n - 1];
        emit_cell_str(e, trend_word(s->trend.verdict));
        emit_cell_str(e, s->tasks ? "tasks" : "memory");
        emit_cell_str(e, rose ? unit_rate(s->trend.slope, span, s->tasks) : NULL);
        emit_cell_str(e, rose ? arena_printf(&r->arena, "%s … %s", unit_rate(s->trend.lo, span, s->tasks),
                                             unit_rate(s->trend.hi, span, s->tasks))
                              : NULL);
        emit_cell_real(e, s->trend.p);
        emit_cell_str(e, s->tasks ? unit_count((int64_t)first) : unit_bytes((int64_t)first));
        emit_cell_str(e, s->tasks ? unit_count((int64_t)last) : unit_bytes((int64_t)last));
        emit_cell_int(e, (int64_t)s->lost[t->n - 1]);
        emit_cell_str(e, site_function(&r->arena, &s->site));
        emit_cell_str(e, site_place(&r->arena, &s->site));
        if (e->json) {
            emit_real(e, "slope_per_s", s->trend.slope);
            emit_real(e, "slope_lo_per_s", s->trend.lo);
            emit_real(e, "slope_hi_per_s", s->trend.hi);
            emit_real(e, "rise", s->trend.rise);
            points_json(e, "points", s->y, t->n);
            emit_object(e, "site");
            report_site_json(e, &s->site);
            emit_end(e);
            if (a->view.full) report_stack_json(e, r, "stack", s->stack);
        }
        emit_row(e);
    }
    if (left) emit_table_note(e, "… %zu more, see --limit 0", left);
    if (flat) emit_table_note(e, "and %zu that changed without a rise, see --all", flat);
    emit_table_end(e);
}

static void process(struct emit *e, struct recording *r, struct trends *t, const struct trend_args *a)
{
    emit_object(e, NULL);
    emit_int(e, "pid", t->process->pid);
    emit_int(e, "snapshots", (int64_t)t->n);
    emit_array(e, "seconds");
    for (size_t i = 0; i < t->n; i++) emit_real(e, NULL, t->t[i]);
    emit_end(e);
    emit_bool(e, "tasks_skipped", t->tasks_skipped);
    emit_line(e, STYLE_PLAIN, "  %s  %s over %s", report_process(r, t->process), unit_plural((int64_t)t->n, "snapshot"),
              unit_seconds(t->n ? t->t[t->n - 1] : 0));
    whole(e, t);
    rows(e, r, t, a);
    emit_end(e);
}

int cmd_trend(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc =
            "Shows how allocation sites (bytes in use and reachable) and creation sites (tasks) went over the "
            "snapshots of each process, "
            "and which grow: a rise that is no chance (Mann-Kendall), by how much (Theil-Sen), that did not level off "
            "or fall back.\v"
            "A cache that filled is a plateau, not a leak. Eight snapshots are needed; see `seep run --interval`.\n\n"
            "Examples:\n  seep trend server.seep\n  seep trend --limit-bytes 512M server.seep\n  seep trend --all "
            "--json server.seep",
        .children = children};
    struct trend_args a = {.view.limit = 20, .points = TREND_POINTS};
    int code = 0;
    if ((code = args_parse(&argp, argc, argv, 0, &a))) return code;
    struct snapshot **snaps = NULL;
    size_t n = 0, growing = 0, total = 0;
    struct recording *r = view_open(&a.view, &snaps, &n, &code);
    if (!r) return code;
    struct trends *t = xcalloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        trends_load(r, snaps[i]->process, snaps[i], (size_t)a.points, 0, &t[i]);
        if (a.limit_bytes) t[i].limit_bytes = a.limit_bytes;
        for (size_t k = 0; k < t[i].count; k++) growing += t[i].series[k].trend.verdict == TREND_GROWING;
        total += t[i].count;
    }
    if (!view_failed(r, &code)) {
        struct emit e;
        emit_init(&e, stdout, a.view.json);
        emit_object(&e, NULL);
        emit_str(&e, "command", "trend");
        emit_str(&e, "file", a.view.file);
        emit_int(&e, "growing", (int64_t)growing);
        emit_head(&e, growing ? STYLE_BAD : STYLE_GOOD, growing ? "GROWING" : "STEADY", "  %zu of the %s that changed",
                  growing, unit_plural((int64_t)total, "site"));
        emit_array(&e, "processes");
        for (size_t i = 0; i < n; i++) process(&e, r, &t[i], &a);
        emit_end(&e);
        report_symbols(&e, r);
        emit_end(&e);
        emit_blank(&e);
        emit_line(&e, STYLE_PLAIN, growing ? "next: seep diff --stacks %s" : "next: seep leaks %s", a.view.file);
        code = emit_finish(&e);
    }
    for (size_t i = 0; i < n; i++) trends_free(&t[i]);
    free(t);
    recording_close(r);
    return code;
}
