/* SPDX-License-Identifier: Apache-2.0
 *
 * What the page draws over time, in columns with one entry a snapshot: times, exact totals, resident memory by part, tasks by state.
 * Cost: the rows of rss, stat and task of the snapshots that are shown; small next to the heap's, but for tasks, which are
 * counted inside the database. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/report/html.h"

/* A named series; values has one entry for each snapshot of the page. */
struct series {
    const char *name;
    int64_t *values;
};
struct table {
    struct series *rows;
    size_t n, cap, width;
};

/* A hostile recording must not make a line of each of a million words. */
enum { MAX_SERIES = 64 };

static int64_t *series_of(struct table *t, struct arena *a, const char *name)
{
    if (t->n >= MAX_SERIES) name = t->rows[MAX_SERIES - 1].name;
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->rows[i].name, name) == 0) return t->rows[i].values;
    if (t->n == t->cap) t->rows = xrealloc(t->rows, t->cap = t->cap * 2 + 16, sizeof *t->rows);
    t->rows[t->n++] =
        (struct series){arena_strdup(a, name), arena_alloc(a, (t->width + 1) * sizeof *t->rows[0].values)};
    return t->rows[t->n - 1].values;
}

static void table_json(struct table *t, struct buf *out, const char *key)
{
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < t->n; i++) {
        buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        buf_json(out, t->rows[i].name);
        buf_puts(out, ",\"values\":[");
        for (size_t j = 0; j < t->width; j++) buf_printf(out, j ? ",%" PRId64 : "%" PRId64, t->rows[i].values[j]);
        buf_puts(out, "]}");
    }
    buf_puts(out, "]");
    free(t->rows);
}

static int64_t between_ms(int64_t from, int64_t to)
{
    int64_t ns;
    return __builtin_sub_overflow(to, from, &ns) ? 0 : ns / 1000000;
}

static void processes(const struct html_input *in, struct buf *out)
{
    struct recording *r = in->r;
    const char *sep = "";
    buf_puts(out, ",\"processes\":[");
    for (size_t i = 0; i < r->nprocesses; i++) {
        const struct process *p = &r->processes[i];
        if ((in->pid && p->pid != in->pid) || p->nsnapshots == 0) continue;
        buf_printf(out, "%s{\"id\":%" PRId64 ",\"pid\":%" PRId64 ",\"start_ms\":%" PRId64 ",\"command\":", sep, p->id,
                   p->pid, p->start_unix_ns / 1000000);
        buf_json(out, process_command(r, p));
        buf_puts(out, ",\"host\":");
        buf_json(out, p->host);
        buf_puts(out, "}");
        sep = ",";
    }
    buf_puts(out, "]");
}

static void snapshots(const struct html_input *in, struct buf *out)
{
    const char *sep = "";
    size_t at = 0, shown = 0;
    int64_t base = -1;
    buf_puts(out, ",\"snapshots\":[");
    for (size_t i = 0; i < in->r->nsnapshots; i++) {
        const struct snapshot *s = &in->r->snapshots[i];
        if (!html_has(in, s)) continue;
        if (s == in->shown) shown = at;
        if (s == in->base) base = (int64_t)at;
        at++;
        buf_printf(out,
                   "%s{\"process\":%" PRId64 ",\"seq\":%" PRId64 ",\"unix_ms\":%" PRId64 ",\"at_ms\":%" PRId64
                   ",\"pause_ns\":%" PRId64 ",\"live\":[%" PRId64 ",%" PRId64 "],\"lost\":[%" PRId64 ",%" PRId64
                   "],\"rate\":%" PRId64 ",\"trigger\":",
                   sep, s->process->id, s->seq, s->unix_ns / 1000000, between_ms(s->process->start_mono_ns, s->mono_ns),
                   s->pause_ns, s->live_bytes, s->live_objects, s->unreachable_bytes, s->unreachable_objects,
                   s->rate_bytes);
        buf_json(out, s->trigger);
        buf_puts(out, ",\"label\":");
        buf_json(out, s->label);
        buf_puts(out, "}");
        sep = ",";
    }
    buf_printf(out, "],\"shown\":%zu,\"base\":%" PRId64, shown, base);
}

/* "coroutine leaked", "thread system call": what a task does, in the words of `seep tasks`. */
static const char *task_kind(struct arena *a, const char *provider, const char *state, const char *reason,
                             const char *verdict)
{
    bool leaked = strcmp(verdict, "leaked") == 0;
    const char *what = leaked ? "leaked" : *reason ? reason : state;
    return arena_printf(a, "%s %s", strcmp(provider, "coro") == 0 ? "coroutine" : provider, what);
}

void html_series(const struct html_input *in, struct buf *out)
{
    static const char rss_sql[] =
        "SELECT part, sum(rss_bytes), sum(lazy_free_bytes) FROM rss WHERE snapshot = ? GROUP BY part";
    static const char task_sql[] =
        "SELECT provider, state, wait_reason, verdict, count(*) FROM task WHERE snapshot = ? "
        "GROUP BY provider, state, wait_reason, verdict";
    struct recording *r = in->r;
    struct table parts = {0}, rss = {0}, tasks = {0};
    size_t at = 0;
    for (size_t i = 0; i < r->nsnapshots; i++) parts.width += html_has(in, &r->snapshots[i]);
    rss.width = tasks.width = parts.width;
    for (size_t i = 0; i < r->nsnapshots; i++) {
        const struct snapshot *s = &r->snapshots[i];
        if (!html_has(in, s)) continue;
        for (struct query *q = store_query(r->store, rss_sql, 1, s->id); query_next(q);)
            add_capped(&series_of(&parts, &r->arena, query_text(q, 0, "rss.part"))[at],
                       query_count(q, 1, "rss.rss_bytes"));
        int64_t resident = stat_of(r, s, "SELECT value FROM stat WHERE snapshot = ? AND name = 'rss'");
        if (resident >= 0) series_of(&rss, &r->arena, "rss")[at] = resident;
        for (struct query *q = store_query(r->store, task_sql, 1, s->id); query_next(q);) {
            const char *provider = arena_strdup(&r->arena, query_text(q, 0, "task.provider"));
            const char *state = arena_strdup(&r->arena, query_text(q, 1, "task.state"));
            const char *reason = arena_strdup(&r->arena, query_text(q, 2, "task.wait_reason"));
            const char *verdict = arena_strdup(&r->arena, query_text(q, 3, "task.verdict"));
            add_capped(&series_of(&tasks, &r->arena, task_kind(&r->arena, provider, state, reason, verdict))[at],
                       query_count(q, 4, "a count"));
        }
        at++;
    }
    processes(in, out);
    snapshots(in, out);
    table_json(&parts, out, "parts");
    table_json(&rss, out, "rss");
    table_json(&tasks, out, "tasks");
}
