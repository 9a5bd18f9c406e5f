/* SPDX-License-Identifier: Apache-2.0
 *
 * Series over the snapshots of one process: bytes of each allocation site, tasks of each creation site.
 *
 * Memory is (sites that changed) x (points); the snapshots read are bounded by `points`, so the cost does not grow with the
 * recording. Only stacks whose bytes differ between snapshots are symbolized: the others are no trend of any kind. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/model/trend.h"

/* A stack, or the creation stack of tasks, before it has a site. */
struct line {
    struct stack *stack;
    double *y, *lost;
    double var; /* of the last point */
    int64_t bytes, objects, seen_bytes, seen_objects;
};
struct lines {
    struct line *items;
    size_t n, cap;
    struct map at; /* stack id → index + 1 */
};

static struct line *line_of(struct recording *r, struct lines *l, int64_t stack, size_t points)
{
    size_t at = (size_t)(uintptr_t)map_get(&l->at, (uint64_t)stack);
    if (at) return &l->items[at - 1];
    if (l->n == l->cap) l->items = xrealloc(l->items, l->cap = l->cap * 2 + 64, sizeof *l->items);
    struct line *x = &l->items[l->n++];
    *x = (struct line){.stack = recording_stack(r, stack), .y = xcalloc(points * 2, sizeof *x->y)};
    x->lost = x->y + points;
    map_put(&l->at, (uint64_t)stack, (void *)(uintptr_t)l->n);
    return x;
}

static int64_t minus(int64_t a, int64_t b)
{
    return a > b ? a - b : 0;
}

static void read_heap(struct recording *r, const struct trends *t, struct lines *l)
{
    static const char sql[] = "SELECT stack, size_bytes, allocs, alloc_bytes, frees, free_bytes, unreachable, "
                              "unreachable_bytes FROM heap WHERE snapshot = ?";
    for (size_t i = 0; i < t->n; i++) {
        int64_t rate = t->snaps[i]->rate_bytes;
        progress_step("reading snapshots", i, t->n);
        for (struct query *q = store_query(r->store, sql, 1, t->snaps[i]->id); query_next(q);) {
            int64_t v[8];
            for (int c = 0; c < 8; c++) v[c] = query_count(q, c, "a figure of heap");
            if (v[2] <= v[4]) continue;
            struct line *x = line_of(r, l, v[0], t->n);
            struct figure in = scale_row(minus(v[2], v[4]), minus(v[3], v[5]), v[1], rate);
            struct figure lost = scale_row(v[6], v[7], v[1], rate);
            x->y[i] += (double)minus(in.bytes, lost.bytes);
            x->lost[i] += (double)lost.bytes;
            if (i + 1 < t->n) continue;
            x->var += in.bytes_var;
            add_capped(&x->bytes, in.bytes);
            add_capped(&x->objects, in.objects);
            add_capped(&x->seen_bytes, minus(v[3], v[5]));
            add_capped(&x->seen_objects, v[2] - v[4]);
        }
    }
}

/* How many tasks each creation site has; leaked ones are other rules', as lost memory is. False: a snapshot has more than `most`. */
static bool read_tasks(struct recording *r, const struct trends *t, int64_t most, struct lines *l)
{
    static const char sql[] =
        "SELECT create_stack, count(*), sum(stack_bytes) FROM (SELECT create_stack, stack_bytes, verdict FROM task "
        "WHERE snapshot = ? LIMIT ?) WHERE create_stack > 0 AND verdict <> 'leaked' GROUP BY create_stack";
    static const char count[] = "SELECT count(*) FROM (SELECT 1 FROM task WHERE snapshot = ? LIMIT ?)";
    for (size_t i = t->n; i-- > 0 && most;) { /* the last one is likely to have most */
        struct query *q = store_query(r->store, count, 2, t->snaps[i]->id, most + 1);
        bool many = query_next(q) && query_count(q, 0, "task") > most;
        query_end(q);
        if (many) return false;
    }
    for (size_t i = 0; i < t->n; i++)
        for (struct query *q = store_query(r->store, sql, 2, t->snaps[i]->id, most ? most : INT64_MAX);
             query_next(q);) {
            struct line *x = line_of(r, l, query_count(q, 0, "task.create_stack"), t->n);
            int64_t n = query_count(q, 1, "task"), bytes = query_count(q, 2, "task.stack_bytes");
            x->y[i] = (double)n;
            if (i + 1 < t->n) continue;
            x->objects = x->seen_objects = n;
            x->bytes = x->seen_bytes = bytes;
        }
    return true;
}

static bool changed(const struct line *x, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (fabs(x->y[i] - x->y[0]) > 0 || fabs(x->lost[i] - x->lost[0]) > 0) return true;
    return false;
}

static void to_sites(struct recording *r, struct trends *t, struct lines *l, bool tasks)
{
    struct map sites = {0};
    for (size_t i = 0; i < l->n; i++) {
        struct line *x = &l->items[i];
        if (changed(x, t->n)) {
            struct site site = stack_site(r, x->stack);
            uint64_t key = site_key(&site);
            size_t at = (size_t)(uintptr_t)map_get(&sites, key);
            if (!at) {
                t->series = xrealloc(t->series, t->count + 1, sizeof *t->series);
                t->series[t->count++] = (struct series){.site = site,
                                                        .key = key,
                                                        .stack = x->stack,
                                                        .tasks = tasks,
                                                        .y = xcalloc(t->n * 2, sizeof(double))};
                at = t->count;
                map_put(&sites, key, (void *)(uintptr_t)at);
            }
            struct series *s = &t->series[at - 1];
            s->lost = s->y + t->n;
            for (size_t k = 0; k < t->n; k++) {
                s->y[k] += x->y[k];
                s->lost[k] += x->lost[k];
            }
            s->noise = sqrt(s->noise * s->noise + x->var);
            add_capped(&s->bytes, x->bytes);
            add_capped(&s->objects, x->objects);
            add_capped(&s->seen_bytes, x->seen_bytes);
            add_capped(&s->seen_objects, x->seen_objects);
        }
        free(x->y);
    }
    free(l->items);
    map_free(&l->at);
    map_free(&sites);
}

static int by_growth(const void *a, const void *b)
{
    const struct series *x = a, *y = b;
    bool gx = x->trend.verdict == TREND_GROWING, gy = y->trend.verdict == TREND_GROWING;
    if (gx != gy) return gx ? -1 : 1;
    if (x->tasks != y->tasks) return x->tasks ? -1 : 1;
    if (x->trend.rise > y->trend.rise || x->trend.rise < y->trend.rise) return x->trend.rise > y->trend.rise ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key;
}

/* What the agent noted of limits on memory, the lowest. */
static int64_t recorded_limit(struct recording *r, const struct snapshot *s)
{
    int64_t v = stat_of(r, s,
                        "SELECT value FROM stat WHERE snapshot = ? AND name IN ('memlimit', 'cgroup_limit') AND "
                        "value > 0 ORDER BY value LIMIT 1");
    return v > 0 ? v : 0;
}

/* What counts towards a limit now: all that is resident, the heap where that is not known. */
static double used_now(struct recording *r, const struct trends *t)
{
    int64_t rss = stat_of(r, t->snaps[t->n - 1], "SELECT value FROM stat WHERE snapshot = ? AND name = 'rss'");
    return fmax((double)rss, t->live[t->n - 1]);
}

void trends_load(struct recording *r, struct process *p, const struct snapshot *last, size_t points, int64_t max_tasks,
                 struct trends *t)
{
    size_t n = 0, first = 0;
    *t = (struct trends){.process = p};
    for (size_t i = 0; i < r->nsnapshots; i++) {
        if (r->snapshots[i].process != p) continue;
        if (n++ == 0) first = i;
        if (&r->snapshots[i] == last) break;
    }
    if (!points || points > n) points = n;
    t->snaps = xcalloc(points, sizeof *t->snaps);
    t->t = xcalloc(points, sizeof *t->t);
    t->live = xcalloc(points, sizeof *t->live);
    for (size_t i = 0; i < points; i++) {
        struct snapshot *s = &r->snapshots[first + (points > 1 ? i * (n - 1) / (points - 1) : 0)];
        double at = ((double)s->mono_ns - (double)r->snapshots[first].mono_ns) / 1e9;
        if (s->rate_bytes == 0 || (t->n && at <= t->t[t->n - 1])) continue;
        t->snaps[t->n] = s;
        t->t[t->n] = at;
        t->live[t->n++] = (double)minus(s->live_bytes, s->unreachable_bytes);
    }
    if (t->n == 0) return;
    struct lines heap = {0}, tasks = {0};
    read_heap(r, t, &heap);
    t->tasks_skipped = !read_tasks(r, t, max_tasks, &tasks);
    to_sites(r, t, &heap, false);
    to_sites(r, t, &tasks, true);
    for (size_t i = 0; i < t->count; i++) {
        struct series *s = &t->series[i];
        trend_of(t->t, s->y, t->n, s->noise, s->tasks ? 2 : 4096, &s->trend);
    }
    trend_of(t->t, t->live, t->n, 0, 4096, &t->live_trend);
    t->limit_bytes = recorded_limit(r, t->snaps[t->n - 1]);
    t->used = used_now(r, t);
    if (t->count) qsort(t->series, t->count, sizeof *t->series, by_growth);
}

void trends_free(struct trends *t)
{
    for (size_t i = 0; i < t->count; i++) free(t->series[i].y);
    free(t->series);
    free(t->snaps);
    free(t->t);
    free(t->live);
    *t = (struct trends){0};
}
