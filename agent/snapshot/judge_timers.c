/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers and tickers of task providers, and lists of deferred calls.
 *
 * A pending timer that sends on its object's channel is no root: it is live for who waits on the channel (timers_wake(), for the
 * fixpoint), but when in the end nothing live points to the object, nobody can receive its ticks or stop it any more. A timer
 * that runs code is a root; the provider shows those itself.
 *
 *   leaked-ticker    proven: it ticks for ever
 *   leaked-timer     proven when it stays for a minute and more, or there are many of one site; a note otherwise: it will end
 *   undrained-ticker likely: known, but over a hundred of its ticks found the last one not received
 *   defer-pileup     growing: more in each of three snapshots; likely: a task with over a thousand deferred calls */
#include "agent/snapshot/child.h"

#include "agent/os/os.h"
#include "agent/util/log.h"

enum { MANY = 100, DROPPED = 100, DEFERRED = 1000, LEAST_DEFERRED = 16, LEAST_RISE = 8, RISES = 2 };
static const uint64_t LONG_NS = 60000000000;

struct timer_rec {
    struct object_ref o;
    struct seep_timer t;
    const struct seep_task_provider *of;
};

static struct {
    struct marker *m;
    struct child_vec timers;
    struct child_map by_object; /* → timer + 1 */
} T;

static int add_timer(void *arg, const struct seep_timer *t)
{
    struct object_ref o;
    if (!t->object || !mark_resolve(T.m, t->object, &o)) return 0;
    *(struct timer_rec *)child_vec_add(&T.timers, sizeof(struct timer_rec)) = (struct timer_rec){o, *t, arg};
    *child_map_slot(&T.by_object, object_key(o)) = (uint32_t)T.timers.n;
    return 0;
}

void timers_collect(struct marker *m)
{
    T.m = m;
    T.timers = (struct child_vec){0};
    T.by_object = (struct child_map){0};
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        if (p->timers) p->timers(p->ctx, add_timer, (void *)(uintptr_t)p);
    }
}

bool timers_wake(struct object_ref o)
{
    return child_map_get(&T.by_object, object_key(o)) != 0;
}

struct group {
    uint32_t stack;
    enum seep_rule rule;
    uint64_t n, bytes, dropped, longest_ns, period_ns;
    struct object_ref example;
};

static void add_to_group(struct child_map *index, struct child_vec *groups, const struct timer_rec *r,
                         enum seep_rule rule, uint64_t now_ns)
{
    uint32_t stack = r->t.create_stack ? r->t.create_stack : object_site(T.m, r->o);
    struct group *g = child_group(index, groups, (uint64_t)stack << 8 | (uint64_t)rule, sizeof *g);
    g->stack = stack;
    g->rule = rule;
    g->example = r->o;
    g->n++;
    g->bytes += span_elem(&T.m->spans[r->o.span]);
    g->dropped += r->t.dropped;
    if (r->t.period_ns > g->period_ns) g->period_ns = r->t.period_ns;
    if (r->t.when_ns > now_ns && r->t.when_ns - now_ns > g->longest_ns) g->longest_ns = r->t.when_ns - now_ns;
}

static void emit(struct judgement *j, const struct group *g)
{
    enum seep_confidence c = SEEP_LIKELY;
    if (g->rule == SEEP_RULE_LEAKED_TICKER && j->proofs) c = SEEP_PROVEN;
    if (g->rule == SEEP_RULE_LEAKED_TIMER)
        c = g->longest_ns < LONG_NS && g->n < MANY ? SEEP_INFO : j->proofs ? SEEP_PROVEN : SEEP_LIKELY;
    struct finding *f = child_vec_add(&j->findings, sizeof *f);
    *f = (struct finding){.rule = g->rule,
                          .confidence = c,
                          .stack = g->stack,
                          .objects = g->n,
                          .bytes = g->bytes,
                          .est_objects = (double)g->n,
                          .est_bytes = (double)g->bytes,
                          .path = g->rule == SEEP_RULE_UNDRAINED_TICKER ? PATH_BLOCK : PATH_NONE,
                          .example = g->example};
    finding_add(f, "{\"period_ns\":%lu,\"dropped\":%lu,\"due_ns\":%lu", (unsigned long)g->period_ns,
                (unsigned long)g->dropped, (unsigned long)g->longest_ns);
    finding_add_doubt(f, j);
    finding_add(f, "}");
}

/* After the fixpoint. What only timers knew is marked then: it is no unreachable memory. */
void timers_judge(const struct snapshot_job *job, struct judgement *j)
{
    struct child_vec groups = {0};
    struct child_map index = {0};
    const struct timer_rec *r = (const struct timer_rec *)T.timers.items;
    for (size_t i = 0; i < T.timers.n; i++)
        if (!mark_is_marked(T.m, r[i].o)) {
            add_to_group(&index, &groups, &r[i], r[i].t.ticker ? SEEP_RULE_LEAKED_TICKER : SEEP_RULE_LEAKED_TIMER,
                         job->mono_ns);
            if (j->proofs && r[i].of->timer_lost) r[i].of->timer_lost(r[i].of->ctx, r[i].t.object);
        } else if (r[i].t.ticker && r[i].t.dropped > DROPPED)
            add_to_group(&index, &groups, &r[i], SEEP_RULE_UNDRAINED_TICKER, job->mono_ns);
    for (size_t i = 0; i < groups.n; i++) emit(j, (const struct group *)groups.items + i);
    for (size_t i = 0; i < T.timers.n; i++) mark_value(T.m, r[i].t.object);
    mark_drain(T.m);
}

/* How often in a row the list was longer than in the snapshot before. */
static unsigned rises_of(const struct task_rec *t)
{
    uint64_t *seen = judge_note((t->id * 16 + t->provider) * 0x9e3779b97f4a7c15ull ^ 0xdefe5);
    if (!seen) return 0;
    uint32_t before = (uint32_t)*seen;
    uint64_t rises = *seen >> 32;
    rises = t->defer_depth < before ? 0 : rises + (before && t->defer_depth >= before + LEAST_RISE);
    *seen = rises << 32 | t->defer_depth;
    return (unsigned)rises;
}

void defers_judge(const struct snapshot_job *job, struct judgement *j)
{
    for (size_t i = 0; i < j->ntasks; i++) {
        const struct task_rec *t = &j->tasks[i];
        if (t->defer_depth < LEAST_DEFERRED) continue;
        unsigned rises = snapshot_is_recorded(&job->request) ? rises_of(t) : 0;
        if (rises < RISES && t->defer_depth < DEFERRED) continue;
        struct finding *f = child_vec_add(&j->findings, sizeof *f);
        *f = (struct finding){.rule = SEEP_RULE_DEFER_PILEUP,
                              .confidence = rises >= RISES ? SEEP_GROWING : SEEP_LIKELY,
                              .stack = t->stack,
                              .create_stack = t->create_stack,
                              .reason = t->reason,
                              .objects = t->defer_depth,
                              .est_objects = (double)t->defer_depth};
        finding_add(f, "{\"deferred\":%u,\"task\":%lu,\"rises\":%u}", t->defer_depth, (unsigned long)t->id, rises);
    }
}
