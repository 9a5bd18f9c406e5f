/* SPDX-License-Identifier: Apache-2.0
 *
 * The wait-for graph of owners: a task that waits for one lock whose holder is known has one edge, to the holder. A ring of
 * such edges never moves again, whatever else can reach the locks; neither does who waits for one of the ring.
 *
 * Each task has one edge at most, so the graph is walked once, with colours. Linear.
 *
 * The rule's assumption: a lock is given back by its holder. pthreads demands that; a coroutine's mutex may be unlocked by
 * another coroutine, and where a program does that, the holder is not the owner. */
#include "agent/snapshot/child.h"

#include "agent/os/os.h"
#include "agent/util/log.h"

enum { NEW, ON_PATH, DONE };

static uint64_t key_of(const struct judgement *j, uint32_t task, uint64_t id)
{
    return id * 16 + j->tasks[task].provider;
}

/* The task that this one waits for, + 1; 0: nobody, or several could wake it. */
static uint32_t edge_of(const struct judgement *j, const struct child_map *by_id, uint32_t i)
{
    const struct task_rec *t = &j->tasks[i];
    if (!t->blocked || t->nwaits != 1 || !j->waits[t->waits].owner) return 0;
    return child_map_get(by_id, key_of(j, i, j->waits[t->waits].owner));
}

/* The ring that i is in: 1 + the task with the lowest index says so once. */
static void note_ring(struct judgement *j, const uint32_t *edge, uint32_t i)
{
    uint32_t at = i;
    do {
        j->tasks[at].doom = DOOM_RING;
        j->tasks[at].ring = edge[at];
        at = edge[at] - 1;
    } while (at != i);
}

void judge_cycles(struct judgement *j)
{
    struct child_map by_id = {0};
    bool any = false;
    for (size_t i = 0; i < j->nwaits; i++) any = any || j->waits[i].owner;
    if (!any) return;
    uint32_t *edge = scratch_alloc(j->ntasks * sizeof *edge);
    uint8_t *colour = scratch_alloc(j->ntasks);
    for (uint32_t i = 0; i < j->ntasks; i++) *child_map_slot(&by_id, key_of(j, i, j->tasks[i].id)) = i + 1;
    for (uint32_t i = 0; i < j->ntasks; i++) edge[i] = edge_of(j, &by_id, i);
    for (uint32_t i = 0; i < j->ntasks; i++) {
        uint32_t at = i;
        while (colour[at] == NEW && edge[at]) {
            colour[at] = ON_PATH;
            at = edge[at] - 1;
        }
        if (colour[at] == ON_PATH) note_ring(j, edge, at);
        bool doomed = j->tasks[at].doom != DOOM_NONE;
        for (at = i; colour[at] == ON_PATH; at = edge[at] - 1) {
            colour[at] = DONE;
            if (doomed && j->tasks[at].doom == DOOM_NONE) j->tasks[at].doom = DOOM_BEHIND;
        }
        colour[at] = DONE;
    }
}

struct site {        /* rings that look alike */
    uint32_t lowest; /* task of the first of them */
    uint64_t rings, tasks, bytes, oldest_ns;
};

/* Where all of a ring stand, in any order: rings of one place in the code are one finding. */
static uint64_t place_of(const struct judgement *j, uint32_t lowest, uint32_t *n, uint64_t *bytes, uint64_t *oldest,
                         const struct snapshot_job *job)
{
    uint64_t sum = 0;
    uint32_t at = lowest;
    *n = 0;
    *bytes = *oldest = 0;
    do {
        const struct task_rec *r = &j->tasks[at];
        uint64_t since = r->blocked_since_ns ? r->blocked_since_ns : r->first_seen_ns;
        if (since && since < job->mono_ns && job->mono_ns - since > *oldest) *oldest = job->mono_ns - since;
        uint64_t h = (((uint64_t)r->stack << 32 | r->create_stack) + r->reason + 1) * 0x9e3779b97f4a7c15ull;
        sum += h ^ h >> 31;
        *bytes += r->committed_bytes;
        ++*n;
        at = r->ring - 1;
    } while (at != lowest);
    return sum * 64 + *n;
}

static void tell(struct judgement *j, const struct site *s)
{
    const struct task_rec *t = &j->tasks[s->lowest];
    struct finding *f = child_vec_add(&j->findings, sizeof *f);
    *f = (struct finding){.rule = SEEP_RULE_DEADLOCK_CYCLE,
                          .confidence = j->proofs ? SEEP_PROVEN : SEEP_LIKELY,
                          .stack = t->stack,
                          .create_stack = t->create_stack,
                          .reason = t->reason,
                          .objects = s->tasks,
                          .bytes = s->bytes,
                          .est_objects = (double)s->tasks,
                          .est_bytes = (double)s->bytes,
                          .oldest_ns = s->oldest_ns};
    size_t len = finding_add(f, "{\"cycle\":[");
    uint32_t at = s->lowest;
    do {
        len = finding_add(f, "%s%lu", at == s->lowest ? "" : ",", (unsigned long)j->tasks[at].id);
        at = j->tasks[at].ring - 1;
    } while (at != s->lowest && len + 100 < sizeof f->evidence);
    finding_add(f, "],\"cycles\":%lu", (unsigned long)s->rings);
    if (t->is_thread) finding_add(f, ",\"threads\":1");
    if (s->tasks == s->rings) finding_add(f, ",\"self\":1");
    finding_add_doubt(f, j);
    finding_add(f, "}");
}

void judge_tell_cycles(struct judgement *j, const struct snapshot_job *job)
{
    struct child_map index = {0};
    struct child_vec sites = {0};
    uint8_t *told = NULL;
    for (uint32_t i = 0; i < j->ntasks; i++) {
        if (j->tasks[i].doom != DOOM_RING) continue;
        if (!told) told = scratch_alloc(j->ntasks);
        if (told[i]) continue;
        uint32_t n, at = i;
        uint64_t bytes, oldest, place = place_of(j, i, &n, &bytes, &oldest, job);
        do {
            told[at] = 1;
            at = j->tasks[at].ring - 1;
        } while (at != i);
        struct site *s = child_group(&index, &sites, place, sizeof *s);
        if (s->rings++ == 0) s->lowest = i;
        s->tasks += n;
        s->bytes += bytes;
        if (oldest > s->oldest_ns) s->oldest_ns = oldest;
    }
    for (size_t i = 0; i < sites.n; i++) tell(j, (const struct site *)sites.items + i);
}
