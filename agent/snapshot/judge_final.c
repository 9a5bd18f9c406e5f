/* SPDX-License-Identifier: Apache-2.0
 *
 * Finalizers: whose turn has come, and which ones never come.
 *
 * The rule is Go's (runtime/mfinal.go, SetFinalizer; runtime/mgcmark.go, markrootSpans): from a block with a finalizer all is
 * marked that it points to, but not the block itself. Then
 *   ready           nothing reached it, no other finalizer's block either: its finalizer may run, and what it points to is
 *                   still whole when it does. What depends on it has its turn in a later cycle.
 *   finalizer-cycle proven: it reached itself, over others; or only such blocks reach it. No order is right, so none runs,
 *                   for ever.
 * A block's pointers into itself do not count.
 *
 *   finalizer-backlog likely: the thread that makes the calls has been in one for over a second with others behind it, or
 *                   over a thousand wait.
 *
 * How a cycle is told from a chain, in one pass: the blocks are taken in turn, the marker notes of each block whose turn marked
 * it first. A block that was unmarked as its turn came was marked by itself (a cycle), by a later one, or by none; so
 * following "marked by" from any block ends at one of a cycle or at a ready one. Linear in the blocks and what they reach.
 *
 * Runs after the leaked tasks' stacks are marked: what those hold is theirs. Invariant: errs towards silence. */
#include "agent/snapshot/child.h"

#include "agent/gc/finalizer.h"
#include "agent/os/os.h"
#include "agent/util/log.h"

enum { BACKLOG = 1000 };
static const uint64_t STUCK_NS = 1000000000;

struct candidate {
    struct object_ref o;
    uint32_t slot; /* of the table */
    uint32_t by;   /* the candidate in whose turn it was marked, + 1 */
    uint64_t kept; /* bytes marked in its turn */
};

struct cycle_site {
    uint32_t stack;
    struct object_ref example, ring; /* one that never runs, and the block that keeps itself and it */
    uint64_t objects, bytes, kept;
};

struct queue { /* of calls that are due and not begun */
    uint64_t n, oldest_ns;
    uintptr_t oldest; /* its block */
};

static struct {
    struct marker *m;
    struct child_vec candidates;
    struct child_map by_object; /* → candidate + 1 */
    uint32_t turn;              /* + 1 */
} Z;

static struct candidate *candidate(uint32_t i)
{
    return (struct candidate *)Z.candidates.items + i;
}

static void on_hit(void *arg, struct object_ref o)
{
    (void)arg;
    uint32_t i = child_map_get(&Z.by_object, object_key(o));
    if (i) candidate(i - 1)->by = Z.turn;
}

static void mark_whole(uintptr_t p)
{
    mark_value(Z.m, p);
    mark_drain(Z.m);
}

/* What the calls need: their arguments, and the blocks whose calls are due or being made. */
static void mark_needed(struct queue *q)
{
    const struct finalizer_call *now = finalizer_current();
    mark_whole((uintptr_t)now->object);
    mark_whole((uintptr_t)now->arg);
    for (uint32_t i = 0, n = finalizers_slots(); i < n; i++) {
        const struct finalizer *f = finalizer_at(i);
        if (f->state == FINALIZER_FREE) continue;
        mark_whole((uintptr_t)f->arg);
        if (f->state != FINALIZER_READY || !f->object) continue;
        mark_whole(f->object);
        if (q->n++ > 0 && f->since_ns >= q->oldest_ns) continue;
        q->oldest_ns = f->since_ns;
        q->oldest = f->object;
    }
}

static void collect(void)
{
    for (uint32_t i = 0, n = finalizers_slots(); i < n; i++) {
        const struct finalizer *f = finalizer_at(i);
        struct object_ref o;
        if (f->state != FINALIZER_SET || !mark_resolve(Z.m, f->object, &o) || mark_is_marked(Z.m, o)) continue;
        if (object_base(Z.m, o) != f->object) continue;
        *(struct candidate *)child_vec_add(&Z.candidates, sizeof(struct candidate)) =
            (struct candidate){.o = o, .slot = i};
        *child_map_slot(&Z.by_object, object_key(o)) = (uint32_t)Z.candidates.n;
        mark_word_of(Z.m, o)->extra |= 1ull << (o.index & 63);
    }
}

static void take_turns(void)
{
    for (uint32_t i = 0; i < Z.candidates.n; i++) {
        struct candidate *c = candidate(i);
        const struct span_rec *s = &Z.m->spans[c->o.span];
        if (s->noscan || mark_is_marked(Z.m, c->o)) continue;
        uintptr_t lo = object_base(Z.m, c->o), hi = lo + span_elem(s);
        uint64_t before = Z.m->marked_bytes;
        Z.turn = i + 1;
        mark_words_but(Z.m, (const void *)lo, (const void *)hi, lo, hi);
        mark_drain(Z.m);
        c->kept = Z.m->marked_bytes - before;
    }
}

/* The candidate at the end of the chain of "marked by" is marked: it is in a cycle. Its index + 1; 0: it is not. */
static uint32_t cycle_of(uint32_t i)
{
    uint32_t at = i;
    while (candidate(at)->by && candidate(at)->by != at + 1) at = candidate(at)->by - 1;
    bool cycle = candidate(at)->by != 0;
    uint32_t end = cycle ? at + 1 : 0;
    while (candidate(i)->by && candidate(i)->by != i + 1 && cycle) { /* the next walk is short */
        uint32_t next = candidate(i)->by - 1;
        candidate(i)->by = end;
        i = next;
    }
    return end;
}

static struct finding *new_finding(struct judgement *j, enum seep_rule rule, enum seep_confidence c, uint32_t stack)
{
    struct finding *f = child_vec_add(&j->findings, sizeof *f);
    *f = (struct finding){.rule = rule, .confidence = c, .stack = stack};
    return f;
}

static void tell_cycles(struct judgement *j)
{
    struct child_vec sites = {0};
    struct child_map index = {0};
    for (uint32_t i = 0; i < Z.candidates.n; i++) {
        const struct candidate *c = candidate(i);
        uint32_t ring = mark_is_marked(Z.m, c->o) ? cycle_of(i) : 0;
        if (!ring) continue;
        uint32_t stack = finalizer_at(c->slot)->stack;
        struct cycle_site *s = child_group(&index, &sites, stack, sizeof *s);
        s->stack = stack;
        if (s->objects == 0 || ring == i + 1) {
            s->example = c->o;
            s->ring = candidate(ring - 1)->o;
        }
        s->objects++;
        s->bytes += span_elem(&Z.m->spans[c->o.span]);
        s->kept += c->kept;
    }
    for (size_t i = 0; i < sites.n; i++) {
        const struct cycle_site *s = (const struct cycle_site *)sites.items + i;
        struct finding *f = new_finding(j, SEEP_RULE_FINALIZER_CYCLE, j->proofs ? SEEP_PROVEN : SEEP_LIKELY, s->stack);
        f->objects = s->objects;
        f->est_objects = (double)s->objects;
        f->bytes = s->kept > s->bytes ? s->kept : s->bytes;
        f->est_bytes = (double)f->bytes;
        f->path = PATH_RING;
        f->example = s->example;
        f->ring = s->ring;
        finding_add(f, "{\"finalizers\":%lu,\"own_bytes\":%lu", (unsigned long)s->objects, (unsigned long)s->bytes);
        finding_add_doubt(f, j);
        finding_add(f, "}");
    }
}

static void tell_backlog(const struct snapshot_job *job, struct judgement *j, const struct queue *q)
{
    const struct finalizer_call *now = finalizer_current();
    uint64_t at = job->mono_ns, in_call = now->tid && at > now->since_ns ? at - now->since_ns : 0;
    if (q->n == 0 || (in_call < STUCK_NS && q->n < BACKLOG)) return;
    uint32_t stack = 0;
    for (size_t i = 0; now->tid && i < j->ntasks; i++)
        if (j->tasks[i].is_thread && j->tasks[i].id == (uint64_t)now->tid) stack = j->tasks[i].stack;
    struct finding *f = new_finding(j, SEEP_RULE_FINALIZER_BACKLOG, SEEP_LIKELY, stack);
    f->create_stack = now->stack;
    f->objects = q->n;
    f->est_objects = (double)q->n;
    f->oldest_ns = at > q->oldest_ns ? at - q->oldest_ns : 0;
    finding_add(f, "{\"queued\":%lu,\"in_call_ns\":%lu", (unsigned long)q->n, (unsigned long)in_call);
    struct object_ref o;
    char path[1200];
    if (mark_resolve(Z.m, q->oldest, &o)) {
        path_under(Z.m, "finalizers", o, path, sizeof path);
        finding_add(f, ",\"path\":%s", path);
    }
    finding_add(f, "}");
}

void finalizers_judge(struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    struct queue queue = {0};
    if (!finalizers_any() && !finalizer_current()->tid) return;
    Z.m = m;
    Z.turn = 0;
    Z.candidates = (struct child_vec){0};
    Z.by_object = (struct child_map){0};
    mark_needed(&queue);
    collect();
    m->watch = true;
    m->hit = on_hit;
    take_turns();
    m->watch = false;
    tell_cycles(j);
    tell_backlog(job, j, &queue);
    for (uint32_t i = 0; i < Z.candidates.n; i++) {
        struct candidate *c = candidate(i);
        mark_word_of(m, c->o)->extra &= ~(1ull << (c->o.index & 63));
        if (mark_is_marked(m, c->o)) continue;
        if (j->proofs) finalizer_verdict(c->slot);
        mark_value(m, object_base(m, c->o)); /* its turn has come: that is no leak */
    }
    mark_drain(m);
}
