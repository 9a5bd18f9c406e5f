/* SPDX-License-Identifier: Apache-2.0
 *
 * Findings as people read them: id, confidence, rule, amount; where, created, proof, keeps, do, hide; then the stack.
 * Estimated figures say so and carry their standard error. */
#include <jansson.h>
#include <string.h>

#include "analyzer/report/report.h"

enum { STACK_LINES = 6 };

/* Why a finding of that rule is a proof, in a sentence. */
static const char *proof_of(const char *rule)
{
    static const char *const proofs[][2] = {
        {"unreachable-memory", "no global, thread, stack, register or reachable block holds a pointer to it"},
        {"unreachable-interior", "no pointer to its start is left, only pointers into its middle"},
        {"stuck-nil-chan", "nothing ever wakes a wait on a nil channel"},
        {"stuck-send", "the channel is reachable only from the stacks of tasks that are stuck themselves"},
        {"stuck-cond", "whoever could signal it can't reach it, or is stuck as well"},
        {"deadlock-cycle", "each waits for a lock that the next one holds, and the last for the first"},
        {"leaked-ticker", "only the runtime's timer heap still knows it"},
        {"leaked-timer", "only the runtime's timer heap still knows it"},
        {"finalizer-cycle", "each can be reached from itself, so none of their finalizers may ever run"},
        {"stuck-recv", "the channel is reachable only from the stacks of tasks that are stuck themselves"},
    };
    for (size_t i = 0; i < sizeof proofs / sizeof *proofs; i++)
        if (strcmp(proofs[i][0], rule) == 0) return proofs[i][1];
    return rule_is_about_tasks(rule) ? "what it waits for is reachable only from tasks that are stuck themselves"
                                     : NULL;
}

struct site finding_site(struct recording *r, const struct finding *f)
{
    struct stack *s = f->stack ? f->stack : f->create_stack;
    return s ? stack_site(r, s) : (struct site){0};
}

const char *report_amount(struct recording *r, const struct finding *f)
{
    bool tasks = f->tasks;
    const char *s = unit_plural(f->objects, f->noun);
    s = arena_printf(&r->arena, "%s · %s%s", s, unit_bytes(f->bytes), tasks ? " stacks" : "");
    if (f->sampled && f->bytes_error > 0)
        s = arena_printf(&r->arena, "%s (estimated ± %s from %s)", s, unit_bytes(f->bytes_error),
                         unit_plural(f->seen_objects, "sample"));
    else if (f->sampled && f->seen_objects != f->objects)
        s = arena_printf(&r->arena, "%s (estimated)", s);
    if (f->oldest_ns) s = arena_printf(&r->arena, "%s · oldest %s", s, unit_ns(f->oldest_ns));
    return s;
}

void report_count(const struct finding *f, size_t n, unsigned fail_mask, struct finding_counts *out)
{
    *out = (struct finding_counts){0};
    for (size_t i = 0; i < n; i++) {
        if (f[i].known) {
            *(f[i].suppressed ? &out->suppressed : &out->known) += 1;
            continue;
        }
        out->by_confidence[f[i].confidence]++;
        if (!(fail_mask & 1u << f[i].confidence)) continue;
        if (f[i].tasks)
            add_capped(&out->tasks, f[i].objects);
        else
            add_capped(&out->memory_bytes, f[i].bytes);
    }
}

bool report_is_leak(const struct finding_counts *c)
{
    return c->by_confidence[SEEP_PROVEN] + c->by_confidence[SEEP_LIKELY] + c->by_confidence[SEEP_GROWING] > 0;
}

static size_t blind(struct recording *r, struct snapshot *const *snaps, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += snapshot_is_blind(r, snaps[i]);
    return count;
}

const char *report_counts_text(struct recording *r, const struct finding_counts *c)
{
    const char *s = report_is_leak(c) ? "" : c->known + c->suppressed ? "no new leak" : "no leak was found";
    for (int i = 0; i <= SEEP_INFO; i++)
        if (c->by_confidence[i])
            s = arena_printf(&r->arena, "%s%s%s %s", s, *s ? ", " : "", unit_count(c->by_confidence[i]),
                             confidence_name(i));
    return s;
}

struct verdict report_verdict(struct recording *r, const struct finding_counts *c, struct snapshot *const *snaps,
                              size_t n)
{
    struct verdict v = {.leak = report_is_leak(c)};
    v.seen = v.leak || n == 0 || blind(r, snaps, n) < n;
    v.good = v.seen && !v.leak;
    v.name = v.leak ? "LEAK" : v.seen ? "CLEAN" : "NO DATA";
    v.words = v.seen ? report_counts_text(r, c) : "not one allocation was seen";
    return v;
}

static void place_line(struct emit *e, struct recording *r, const char *head, struct stack *s, const char *after)
{
    if (!s || s->n == 0) {
        emit_line(e, STYLE_PLAIN,
                  "    %-8s not sampled, so its stack is not known; `seep run --rate 1` records every stack", head);
        return;
    }
    struct site site = stack_site(r, s);
    bool named = site.function || site.file;
    emit_line(e, STYLE_PLAIN, "    %-8s %-24s %s%s%s", head,
              named ? site_place(&r->arena, &site) : site_function(&r->arena, &site),
              named ? site_function(&r->arena, &site) : "", *after ? "   " : "", after);
}

static int64_t evidence_int(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v) : 0;
}

static void growth_lines(struct emit *e, const struct finding *f, const json_t *j)
{
    double slope = json_number_value(json_object_get(j, "slope_per_s")),
           limit = json_number_value(json_object_get(j, "limit_in_s"));
    double lo = json_number_value(json_object_get(j, "slope_lo_per_s")),
           hi = json_number_value(json_object_get(j, "slope_hi_per_s"));
    double seconds = json_number_value(json_object_get(j, "seconds")), p = json_number_value(json_object_get(j, "p"));
    emit_line(e, STYLE_PLAIN, "    grows    %s (95 %%: %s to %s), p = %.2g, over %s of %s",
              unit_rate(slope, seconds, f->tasks), unit_rate(lo, seconds, f->tasks), unit_rate(hi, seconds, f->tasks),
              p, unit_plural(evidence_int(j, "snapshots"), "snapshot"), unit_seconds(seconds));
    if (json_object_get(j, "limit_in_s") && !(limit > 0))
        emit_line(e, STYLE_PLAIN, "    limit    %s is exceeded already", unit_bytes(evidence_int(j, "limit_bytes")));
    else if (json_object_get(j, "limit_in_s"))
        emit_line(e, STYLE_PLAIN, "    limit    %s is reached in about %s at this rate",
                  unit_bytes(evidence_int(j, "limit_bytes")), unit_seconds(limit));
}

/* What three snapshots say of tasks (model/stuck.c). */
static void because_lines(struct emit *e, struct recording *r, const json_t *j)
{
    const json_t *n = json_object_get(j, "counts");
    double seconds = json_number_value(json_object_get(j, "seconds")),
           cpu = json_number_value(json_object_get(j, "cpu_s"));
    const char *why = json_string_value(json_object_get(j, "because"));
    if (!why || json_array_size(n) != 3) return;
    emit_line(e, STYLE_PLAIN, "    why      %s; %s, %s, %s in snapshots over %s%s", why,
              unit_count(json_integer_value(json_array_get(n, 0))),
              unit_count(json_integer_value(json_array_get(n, 1))),
              unit_count(json_integer_value(json_array_get(n, 2))), unit_seconds(seconds),
              cpu > 0.001 ? arena_printf(&r->arena, ", %s of CPU time", unit_seconds(cpu)) : "");
}

/* The evidence that people ask for first; all of it is in the JSON. */
static void evidence_lines(struct emit *e, struct recording *r, const struct finding *f, bool full)
{
    if (e->json) return;
    json_t *j = json_loads(f->evidence, 0, NULL);
    const char *no_proof = json_string_value(json_object_get(j, "no_proof"));
    int64_t kept = evidence_int(j, "kept_bytes");
    if (json_object_get(j, "hole_bytes"))
        emit_line(e, STYLE_PLAIN, "    parts    idle %s, lazily freed %s, holes between blocks %s; of %s resident",
                  unit_bytes(evidence_int(j, "idle_bytes")), unit_bytes(evidence_int(j, "lazy_free_bytes")),
                  unit_bytes(evidence_int(j, "hole_bytes")), unit_bytes(evidence_int(j, "rss_bytes")));
    if (json_object_get(j, "slope_per_s")) growth_lines(e, f, j);
    if (json_object_get(j, "because")) because_lines(e, r, j);
    if (json_object_get(j, "retained_bytes"))
        emit_line(e, STYLE_PLAIN, "    uses     %s of the %s are covered by what refers to them",
                  unit_bytes(evidence_int(j, "used_bytes")), unit_bytes(evidence_int(j, "retained_bytes")));
    if (json_object_get(j, "proven_since_ns"))
        emit_line(e, STYLE_PLAIN, "    since    first proven %s earlier", unit_ns(evidence_int(j, "proven_since_ns")));
    if (no_proof) emit_line(e, STYLE_PLAIN, "    doubt    no proof: %s", no_proof);
    if (kept)
        emit_line(e, STYLE_PLAIN, "    keeps    %s in %s alive", unit_bytes(kept),
                  unit_plural(evidence_int(j, "kept_objects"), "block"));
    if (f->indirect && !f->direct)
        emit_line(e, STYLE_PLAIN, "    chain    lost with other lost blocks that point to it: see to those first");
    else if (f->indirect)
        emit_line(e, STYLE_PLAIN, "    chain    of the %s seen, %s hang from other lost blocks",
                  unit_count(f->seen_objects), unit_count(f->indirect));
    report_path_text(e, r, f, full);
    json_decref(j);
}

void report_held(struct emit *e, struct recording *r, const struct finding *f, size_t n)
{
    emit_array(e, "paths");
    for (size_t i = 0; i < n; i++) {
        struct site site = stack_site(r, f[i].stack);
        emit_object(e, NULL);
        emit_str(e, "kind", f[i].noun);
        emit_int(e, "snapshot", f[i].snapshot->seq);
        if (e->json) {
            emit_object(e, "site");
            report_site_json(e, &site);
            emit_end(e);
        }
        emit_raw(e, "evidence", f[i].evidence);
        if (i) emit_blank(e);
        place_line(e, r, f[i].tasks ? "waits" : "alloc", f[i].stack, "");
        report_path_text(e, r, &f[i], true);
        emit_end(e);
    }
    emit_end(e);
}

void report_finding(struct emit *e, struct recording *r, const struct finding *f, bool full)
{
    static const char *const loud[] = {"PROVEN", "LIKELY", "GROWING", "INFO"};
    if (e->json) return;
    bool tasks = f->tasks;
    const char *proof = f->confidence == SEEP_PROVEN ? proof_of(f->rule) : NULL, *todo = rule_todo(f->rule);
    emit_blank(e);
    emit_head(e, f->confidence == SEEP_PROVEN ? STYLE_BAD : STYLE_BOLD,
              arena_printf(&r->arena, "[%s] %s", f->id, loud[f->confidence]), "  %s   %s", f->rule,
              report_amount(r, f));
    bool placed = strcmp(f->rule, "unreturned-memory") != 0;
    if (placed && (f->stack || !f->create_stack)) place_line(e, r, tasks ? "waits" : "alloc", f->stack, f->wait_reason);
    if (f->create_stack) place_line(e, r, "created", f->create_stack, "");
    if (proof)
        emit_line(e, STYLE_PLAIN, "    proof    %s", proof);
    else if (rule_finds(f->rule))
        emit_line(e, STYLE_PLAIN, "    what     %s", rule_finds(f->rule));
    evidence_lines(e, r, f, full);
    if (todo) emit_line(e, STYLE_PLAIN, "    do       %s", todo);
    emit_line(e, STYLE_PLAIN, "    hide     seep suppress %s --why \"…\"", f->id);
    if (f->stack && f->stack->n > 1) report_stack_text(e, r, "stack", f->stack, STACK_LINES, full);
    if (full && f->create_stack) report_stack_text(e, r, "created", f->create_stack, 0, true);
}

static void finding_json(struct emit *e, struct recording *r, const struct finding *f)
{
    if (!e->json) return;
    struct site site = finding_site(r, f);
    emit_object(e, NULL);
    emit_str(e, "id", f->id);
    emit_str(e, "rule", f->rule);
    emit_str(e, "confidence", confidence_name(f->confidence));
    emit_bool(e, "known", f->known);
    emit_str(e, "suppressed", f->suppressed);
    emit_int(e, "pid", f->snapshot->process->pid);
    emit_int(e, "snapshot", f->snapshot->seq);
    emit_str(e, "object", f->noun);
    emit_int(e, "objects", f->objects);
    emit_int(e, "bytes", f->bytes);
    emit_bool(e, "estimated", f->sampled && f->seen_objects != f->objects);
    emit_int(e, "bytes_error", f->bytes_error);
    emit_int(e, "sampled_objects", f->seen_objects);
    emit_int(e, "sampled_bytes", f->seen_bytes);
    emit_int(e, "oldest_ns", f->oldest_ns);
    emit_str(e, "wait_reason", f->wait_reason);
    emit_str(e, "proof", f->confidence == SEEP_PROVEN ? proof_of(f->rule) : NULL);
    emit_str(e, "finds", rule_finds(f->rule));
    emit_str(e, "do", rule_todo(f->rule));
    emit_object(e, "site");
    report_site_json(e, &site);
    emit_end(e);
    report_stack_json(e, r, "stack", f->stack);
    report_stack_json(e, r, "create_stack", f->create_stack);
    emit_raw(e, "evidence", f->evidence);
    emit_end(e);
}

void report_findings(struct emit *e, struct recording *r, const struct finding *f, size_t n, int64_t limit, bool full)
{
    const struct process *only = n ? f[0].snapshot->process : NULL;
    bool several = false;
    size_t left = 0, shown = 0;
    for (size_t i = 0; i < n; i++) several = several || f[i].snapshot->process != only;
    emit_array(e, "findings");
    for (size_t p = 0; p < r->nprocesses; p++) {
        bool headed = false;
        for (size_t i = 0; i < n; i++) {
            if (f[i].snapshot->process != &r->processes[p]) continue;
            finding_json(e, r, &f[i]);
            if (e->json || f[i].known) continue;
            if (limit && (int64_t)shown >= limit) {
                left++;
                continue;
            }
            if (several && !headed) {
                emit_blank(e);
                emit_line(e, STYLE_BOLD, "In %s:", report_process(r, &r->processes[p]));
                headed = true;
            }
            report_finding(e, r, &f[i], full);
            shown++;
        }
    }
    emit_end(e);
    if (left) {
        emit_blank(e);
        emit_line(e, STYLE_DIM, "… and %s, see --limit 0", unit_plural((int64_t)left, "more finding"));
    }
}
