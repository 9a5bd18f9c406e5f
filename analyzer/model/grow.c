/* SPDX-License-Identifier: Apache-2.0
 *
 * Findings that no single snapshot can make: sites that grow (growing-site) here, and what three snapshots say of tasks in stuck.c.
 *
 * A site's id comes from the rule and the site's module and function alone: which of its stacks is the largest changes from run to run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"
#include "analyzer/model/rss.h"
#include "analyzer/model/trend.h"

enum { MAX_TASKS = 20000 };

void trend_fingerprint(struct recording *r, const char *rule, const struct site *s, bool tasks, char id[9])
{
    uint64_t key = seep_key_string(seep_key_string(SEEP_KEY_INIT, rule), tasks ? "tasks" : "memory");
    key = seep_key_string(key, s->image ? s->image->name : "");
    if (s->function)
        key = seep_key_string(key, function_stem(&r->arena, s->function));
    else
        key = seep_key_u64(seep_key_string(key, s->image ? s->image->build_id : ""), s->offset);
    snprintf(id, 9, "%08x", (unsigned)(key ^ key >> 32));
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
        struct finding *x = findings_push(f, n);
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
        trend_fingerprint(r, x->rule, &s->site, s->tasks, x->id);
        buf_free(&ev);
    }
}

size_t findings_all(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, struct finding **f)
{
    size_t n = findings_load(r, snaps, nsnaps, f);
    for (size_t i = 0; i < nsnaps; i++) {
        size_t at = (size_t)(snaps[i] - r->snapshots), before = 0;
        while (before < at && r->snapshots[at - before - 1].process == snaps[i]->process) before++;
        struct finding unreturned;
        if (rss_finding(r, snaps[i], &unreturned)) *findings_push(f, &n) = unreturned;
        if (before + 1 >= TREND_MIN) {
            struct trends t;
            trends_load(r, snaps[i]->process, snaps[i], TREND_POINTS, MAX_TASKS, &t);
            add_growing(r, &t, f, &n);
            trends_free(&t);
        }
        findings_add_stuck(r, snaps[i], before, f, &n);
    }
    findings_add_paths(r, *f, n);
    findings_sort(*f, n);
    return n;
}
