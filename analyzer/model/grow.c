/* SPDX-License-Identifier: Apache-2.0
 *
 * Findings that no single snapshot can make: sites that grow (growing-site), and tasks that stay blocked while their kind
 * accumulates (stuck-task).
 *
 * A site's id comes from the rule and the site's module and function alone: which of its stacks is the largest changes from run to run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"
#include "analyzer/model/rss.h"
#include "analyzer/model/trend.h"

enum { MAX_TASKS = 20000, STUCK_SNAPSHOTS = 3 };
static const int64_t STUCK_NS = 60000000000;

static void site_fingerprint(struct recording *r, const char *rule, const struct site *s, bool tasks, char id[9])
{
    uint64_t key = seep_key_string(seep_key_string(SEEP_KEY_INIT, rule), tasks ? "tasks" : "memory");
    key = seep_key_string(key, s->image ? s->image->name : "");
    if (s->function)
        key = seep_key_string(key, function_stem(&r->arena, s->function));
    else
        key = seep_key_u64(seep_key_string(key, s->image ? s->image->build_id : ""), s->offset);
    snprintf(id, 9, "%08x", (unsigned)(key ^ key >> 32));
}

static struct finding *push(struct finding **f, size_t *n)
{
    *f = xrealloc(*f, *n + 1, sizeof **f);
    return memset(&(*f)[(*n)++], 0, sizeof **f);
}

static void add_growing(struct recording *r, const struct trends *t, struct finding **f, size_t *n)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct series *s = &t->series[i];
        const struct trend *tr = &s->trend;
        struct buf ev = {0};
        if (tr->verdict != TREND_GROWING) continue;
        buf_printf(&ev,
                   "{\"snapshots\":%zu,\"seconds\":%.6g,\"slope_per_s\":%.6g,\"slope_lo_per_s\":%.6g,\"slope_hi_per_"
                   "s\":%.6g,\"p\":%.3g,\"rise\":%.6g",
                   tr->n, t->t[t->n - 1], tr->slope, tr->lo, tr->hi, tr->p, tr->rise);
        double until = t->limit_bytes && !s->tasks ? trend_until(t->used, tr->slope, (double)t->limit_bytes) : -1;
        if (until >= 0) buf_printf(&ev, ",\"limit_bytes\":%lld,\"limit_in_s\":%.6g", (long long)t->limit_bytes, until);
        buf_puts(&ev, "}");
        struct finding *x = push(f, n);
        x->rule = "growing-site";
        x->confidence = SEEP_GROWING;
        x->noun = s->tasks ? "task" : "block";
        x->tasks = s->tasks;
        x->snapshot = t->snaps[t->n - 1];
        if (s->tasks)
            x->create_stack = s->stack;
        else
            x->stack = s->stack;
        x->wait_reason = "";
        x->rows = 1;
        x->objects = s->objects;
        x->bytes = s->bytes;
        x->seen_objects = s->seen_objects;
        x->seen_bytes = s->seen_bytes;
        x->bytes_error = figure_error(s->noise * s->noise);
        x->sampled = s->noise > 0;
        x->evidence = arena_strdup(&r->arena, ev.data);
        site_fingerprint(r, x->rule, &s->site, s->tasks, x->id);
        buf_free(&ev);
    }
}

static int64_t created_at(struct recording *r, const struct snapshot *s, int64_t create)
{
    static const char sql[] = "SELECT count(*) FROM task WHERE snapshot = ? AND create_stack = ?";
    struct query *q = store_query(r->store, sql, 2, s->id, create);
    int64_t n = query_next(q) ? query_count(q, 0, "task") : 0;
    query_end(q);
    return n;
}

/* Blocked for longer than the last three snapshots lie apart means blocked at the same operation in all of them. */
static void add_stuck(struct recording *r, struct snapshot *const *three, struct finding **f, size_t *n)
{
    static const char sql[] = "SELECT stack, create_stack, wait_reason, count(*), sum(stack_bytes), max(blocked_ns), "
                              "min(blocked_ns) FROM task "
                              "WHERE snapshot = ? AND blocked_ns >= ? AND verdict <> 'leaked' AND state = 'waiting' "
                              "AND wait_reason <> 'sleep' "
                              "AND stack > 0 AND create_stack > 0 GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 1000";
    const struct snapshot *last = three[STUCK_SNAPSHOTS - 1];
    int64_t least = last->mono_ns - three[0]->mono_ns;
    if (least < STUCK_NS) least = STUCK_NS;
    for (struct query *q = store_query(r->store, sql, 2, last->id, least); query_next(q);) {
        int64_t stack = query_count(q, 0, "task.stack"), create = query_count(q, 1, "task.create_stack"),
                had[STUCK_SNAPSHOTS];
        for (int i = 0; i < STUCK_SNAPSHOTS; i++) had[i] = created_at(r, three[i], create);
        if (had[0] > had[1] || had[1] > had[2] || had[2] < had[0] + 2) continue;
        struct finding *x = push(f, n);
        x->rule = "stuck-task";
        x->confidence = SEEP_LIKELY;
        x->noun = "task";
        x->tasks = true;
        x->snapshot = three[STUCK_SNAPSHOTS - 1];
        x->stack = recording_stack(r, stack);
        x->create_stack = recording_stack(r, create);
        x->wait_reason = arena_strdup(&r->arena, query_text(q, 2, "task.wait_reason"));
        x->rows = 1;
        x->objects = x->seen_objects = query_count(q, 3, "task");
        x->bytes = x->seen_bytes = query_count(q, 4, "task.stack_bytes");
        x->oldest_ns = query_count(q, 5, "task.blocked_ns");
        x->evidence = arena_printf(
            &r->arena, "{\"snapshots\":%d,\"blocked_at_least_s\":%.6g,\"created_before\":%lld,\"created_now\":%lld}",
            STUCK_SNAPSHOTS, (double)query_count(q, 6, "task.blocked_ns") / 1e9, (long long)had[0], (long long)had[2]);
        fingerprint(r, x->rule, x->wait_reason, x->stack, x->create_stack, x->id);
    }
}

void findings_add_trends(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, struct finding **f,
                         size_t *n)
{
    for (size_t i = 0; i < nsnaps; i++) {
        size_t at = (size_t)(snaps[i] - r->snapshots), before = 0;
        while (before < at && r->snapshots[at - before - 1].process == snaps[i]->process) before++;
        if (before + 1 >= STUCK_SNAPSHOTS) {
            struct snapshot *three[STUCK_SNAPSHOTS];
            for (size_t k = 0; k < STUCK_SNAPSHOTS; k++) three[k] = &r->snapshots[at - STUCK_SNAPSHOTS + 1 + k];
            add_stuck(r, three, f, n);
        }
        struct finding unreturned;
        if (rss_finding(r, snaps[i], &unreturned)) *push(f, n) = unreturned;
        if (before + 1 < TREND_MIN) continue;
        struct trends t;
        trends_load(r, snaps[i]->process, snaps[i], TREND_POINTS, MAX_TASKS, &t);
        add_growing(r, &t, f, n);
        trends_free(&t);
    }
    findings_sort(*f, *n);
}
