/* SPDX-License-Identifier: Apache-2.0
 *
 * Findings: what the agent's child proved or found, joined by fingerprint, named and ordered.
 *
 * A finding's id comes from its rule and the user's own frames by module and function, so it is the same in every run, on
 * every machine and after unrelated edits. Rows of one snapshot with the same id (other sizes, other library frames, other
 * lines of the same function) are one finding.
 *
 * Invariants: 1. order: confidence, causes before what they took along, bytes, id: the same recording gives the same report;
 * 2. evidence is valid JSON. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/contract/names.h"
#include "agent/contract/stack_key.h"
#include "analyzer/model/model.h"

static const char *const confidences[] = SEEP_CONFIDENCE_NAMES;

int rule_index(const char *name)
{
    for (int i = 0; i < SEEP_RULE_COUNT; i++)
        if (strcmp(seep_rule_text((enum seep_rule)i)->name, name) == 0) return i;
    return -1;
}

const char *rule_finds(const char *rule)
{
    int i = rule_index(rule);
    return i < 0 ? NULL : seep_rule_text((enum seep_rule)i)->finds;
}

const char *rule_todo(const char *rule)
{
    int i = rule_index(rule);
    return i < 0 ? NULL : seep_rule_text((enum seep_rule)i)->todo;
}

bool rule_is_about_tasks(const char *rule)
{
    return strncmp(rule, "stuck-", 6) == 0 || strcmp(rule, "deadlock-cycle") == 0 || strcmp(rule, "spinning-task") == 0;
}

int confidence_from_name(const char *name)
{
    for (int i = 0; i <= SEEP_INFO; i++)
        if (strcmp(confidences[i], name) == 0) return i;
    return -1;
}

const char *confidence_name(int c)
{
    return confidences[c];
}

/* ---- fingerprint */
/* Adds the frames of s to the key; user's own only, or all. Returns how many. A function that recurses counts once. */
static unsigned add_frames(struct recording *r, uint64_t *key, struct stack *s, bool all)
{
    unsigned n = 0;
    uint64_t last = 0;
    for (unsigned i = 0; s && i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++) {
            struct site site = frame_site(f, j);
            if (!all && !site_is_user(&site)) continue;
            uint64_t k = seep_key_string(SEEP_KEY_INIT, site.image ? site.image->name : "");
            if (site.function) {
                k = seep_key_string(k, function_stem(&r->arena, site.function));
            } else {
                k = seep_key_string(k, site.image ? site.image->build_id : "");
                k = seep_key_u64(k, site.offset);
            }
            if (n && k == last) continue;
            *key = seep_key_u64(*key, k);
            last = k;
            n++;
        }
    }
    return n;
}

void fingerprint(struct recording *r, const char *rule, const char *wait_reason, struct stack *stack,
                 struct stack *create, char id[9])
{
    uint64_t key = seep_key_string(seep_key_string(SEEP_KEY_INIT, rule), wait_reason);
    if (add_frames(r, &key, stack, false) == 0) add_frames(r, &key, stack, true);
    key = seep_key_u64(key, 1); /* what follows belongs to the other stack */
    if (create && add_frames(r, &key, create, false) == 0) add_frames(r, &key, create, true);
    snprintf(id, 9, "%08x", (unsigned)(key ^ key >> 32));
}

/* ---- loading */
static int64_t count_of(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v) : 0;
}

static const char *check_evidence(struct recording *r, struct finding *f, const char *text)
{
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(j)) store_damaged(r->store, "finding.evidence is not a JSON object");
    char *tidy = json_is_object(j) ? json_dumps(j, JSON_COMPACT) : NULL;
    const char *kept = arena_strdup(&r->arena, tidy ? tidy : "{}");
    f->direct = count_of(j, "direct");
    f->indirect = count_of(j, "indirect");
    free(tidy);
    json_decref(j);
    return kept;
}

static int by_order(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    if (x->confidence != y->confidence) return x->confidence - y->confidence;
    /* What hangs from other lost blocks comes after what lost it. */
    bool hx = x->indirect && !x->direct, hy = y->indirect && !y->direct;
    if (hx != hy) return hx ? 1 : -1;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    if (x->objects != y->objects) return x->objects > y->objects ? -1 : 1;
    int c = strcmp(x->id, y->id);
    return c ? c : (x->snapshot->id > y->snapshot->id) - (x->snapshot->id < y->snapshot->id);
}

static void merge(struct finding *into, const struct finding *f)
{
    into->rows += f->rows;
    add_capped(&into->seen_objects, f->seen_objects);
    add_capped(&into->seen_bytes, f->seen_bytes);
    add_capped(&into->direct, f->direct);
    add_capped(&into->indirect, f->indirect);
    add_capped(&into->objects, f->objects);
    add_capped(&into->bytes, f->bytes);
    into->sampled |= f->sampled;
    if (f->confidence < into->confidence) into->confidence = f->confidence;
    if (f->oldest_ns > into->oldest_ns) into->oldest_ns = f->oldest_ns;
}

/* Standard error of an estimate: by the variance that n sampled objects standing for n·k leave. */
static int64_t estimate_error(const struct finding *f, double est_objects)
{
    if (!f->sampled || f->seen_objects == 0) return 0;
    double k = est_objects / (double)f->seen_objects, mean = (double)f->seen_bytes / (double)f->seen_objects;
    return k > 1 ? figure_error((double)f->seen_objects * k * (k - 1) * mean * mean) : 0;
}

/* Leaked tasks are called coroutines where no other provider has any. Two ranges of the primary key, so that coroutines
 * are not read for it. */
static const char *task_noun(struct recording *r, int64_t snapshot)
{
    static const char sql[] =
        "SELECT EXISTS (SELECT 1 FROM task WHERE snapshot = ?1 AND provider > 'coro' AND verdict = 'leaked') "
        "OR EXISTS (SELECT 1 FROM task WHERE snapshot = ?1 AND provider < 'coro' AND verdict = 'leaked')";
    struct query *q = store_query(r->store, sql, 1, snapshot);
    bool others = query_next(q) && query_int(q, 0, "task") != 0;
    query_end(q);
    return others ? "task" : "coroutine";
}

size_t findings_load(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, struct finding **out)
{
    static const char sql[] =
        "SELECT rule, confidence, ifnull(stack, 0), ifnull(create_stack, 0), wait_reason, objects, bytes, "
        "est_objects, est_bytes, sampled, oldest_ns, evidence FROM finding WHERE snapshot = ? ORDER BY id";
    size_t n = 0, cap = 0;
    *out = NULL;
    for (size_t i = 0; i < nsnaps; i++) {
        struct map seen = {0};
        const char *noun = task_noun(r, snaps[i]->id);
        for (struct query *q = store_query(r->store, sql, 1, snaps[i]->id); query_next(q);) {
            int64_t stack = query_count(q, 2, "finding.stack"), create = query_count(q, 3, "finding.create_stack");
            struct finding f = {
                .rule = arena_strdup(&r->arena, query_text(q, 0, "finding.rule")),
                .confidence = confidence_from_name(query_text(q, 1, "finding.confidence")),
                .snapshot = snaps[i],
                .stack = stack ? recording_stack(r, stack) : NULL,
                .create_stack = create ? recording_stack(r, create) : NULL,
                .wait_reason = arena_strdup(&r->arena, query_text(q, 4, "finding.wait_reason")),
                .rows = 1,
                .seen_objects = query_count(q, 5, "finding.objects"),
                .seen_bytes = query_count(q, 6, "finding.bytes"),
                .sampled = query_count(q, 9, "finding.sampled") != 0,
                .oldest_ns = query_count(q, 10, "finding.oldest_ns"),
            };
            f.tasks = rule_is_about_tasks(f.rule);
            f.noun = rule_is_about_tasks(f.rule) ? noun : "block";
            f.evidence = check_evidence(r, &f, query_text(q, 11, "finding.evidence"));
            double est_objects = query_real(q, 7, "finding.est_objects"),
                   est_bytes = query_real(q, 8, "finding.est_bytes");
            f.objects = (int64_t)llround(est_objects);
            f.bytes = (int64_t)llround(est_bytes);
            f.bytes_error = estimate_error(&f, est_objects);
            if (f.confidence < 0) {
                store_damaged(r->store, "finding.confidence is no known word");
                f.confidence = SEEP_INFO;
            }
            fingerprint(r, f.rule, f.wait_reason, f.stack, f.create_stack, f.id);
            uint64_t key = strtoull(f.id, NULL, 16) + 1;
            size_t at = (size_t)(uintptr_t)map_get(&seen, key);
            if (at) {
                struct finding *into = &(*out)[at - 1];
                into->bytes_error = figure_error((double)into->bytes_error * (double)into->bytes_error +
                                                 (double)f.bytes_error * (double)f.bytes_error);
                merge(into, &f);
                continue;
            }
            if (n == cap) *out = xrealloc(*out, cap = cap * 2 + 32, sizeof **out);
            (*out)[n++] = f;
            map_put(&seen, key, (void *)(uintptr_t)n);
        }
        map_free(&seen);
    }
    findings_sort(*out, n);
    return n;
}

struct finding *findings_push(struct finding **f, size_t *n)
{
    *f = xrealloc(*f, *n + 1, sizeof **f);
    return memset(&(*f)[(*n)++], 0, sizeof **f);
}

void findings_sort(struct finding *f, size_t n)
{
    if (n) qsort(f, n, sizeof *f, by_order);
}
