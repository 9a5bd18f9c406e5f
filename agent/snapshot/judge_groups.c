/* SPDX-License-Identifier: Apache-2.0
 *
 * Leaked tasks into findings, one for each (rule, where it waits, where it was created), and what they keep: their stacks
 * are marked from, group after group, larger ones first, so that a block is counted for the first group that reaches it.
 *
 * Also where every task stands: the stacks of all of them are unwound here. */
#include "agent/snapshot/child.h"

#include "agent/os/os.h"
#include "agent/util/log.h"

/* Stacks of a million tasks are in no cache: the one AHEAD tasks further on is fetched meanwhile. */
static void fetch_ahead(const struct judgement *j, size_t i)
{
    enum { AHEAD = 8, LINES = 4, LINE = 64 };
    if (i + AHEAD >= j->ntasks) return;
    const struct task_rec *t = &j->tasks[i + AHEAD];
    const char *p = t->image ? t->image : (const char *)t->sp;
    for (int k = 0; k < LINES; k++) __builtin_prefetch(p + k * LINE);
}

bool judge_task_regs(const struct snapshot_job *job, const struct task_rec *t, struct unwind_regs *regs,
                     const void **image, bool *interrupted)
{
    *regs = (struct unwind_regs){.pc = t->pc, .sp = t->sp, .fp = t->fp};
    *image = t->image;
    *interrupted = false;
    if (t->state == SEEP_TASK_RUNNING || t->state == SEEP_TASK_SYSCALL || t->is_thread) {
        for (unsigned k = 0; k < job->nthreads; k++) {
            const struct stopped_thread *s = &job->threads[k];
            bool same =
                t->is_thread ? (uint64_t)s->tid == t->id : s->regs.sp >= t->stack_lo && s->regs.sp < t->stack_hi;
            if (!same || !s->captured) continue;
            *regs = s->regs;
            *image = NULL;
            *interrupted = !s->in_syscall;
        }
    }
    return regs->pc != 0 && regs->sp >= t->stack_lo && regs->sp < t->stack_hi;
}

void judge_unwind(const struct snapshot_job *job, struct judgement *j)
{
    static uintptr_t pcs[PROF_MAX_DEPTH];
    for (size_t i = 0; i < j->ntasks; i++) {
        struct task_rec *t = &j->tasks[i];
        fetch_ahead(j, i);
        struct unwind_regs regs;
        const void *image;
        bool interrupted;
        if (!judge_task_regs(job, t, &regs, &image, &interrupted)) continue;
        unsigned n = unwind_stopped(&regs, t->stack_lo, t->stack_hi, image, pcs, PROF_MAX_DEPTH);
        if (n && interrupted) pcs[0]++; /* pcs are return addresses: the instruction stands before */
        if (n) t->stack = stack_intern(pcs, n);
    }
}

struct group {
    enum seep_rule rule;
    enum seep_wait_reason reason;
    uint32_t stack, create_stack, first; /* first: task index + 1 */
    uint64_t tasks, stack_bytes, oldest_ns, seen_ns;
    bool threads, behind;
};

static bool rule_of(const struct task_rec *t, enum seep_rule *rule)
{
    switch ((enum seep_wait_reason)t->reason) {
    case SEEP_WAIT_CHAN_SEND: *rule = SEEP_RULE_STUCK_SEND; return true;
    case SEEP_WAIT_CHAN_RECV: *rule = SEEP_RULE_STUCK_RECV; return true;
    case SEEP_WAIT_CHAN_SEND_NIL:
    case SEEP_WAIT_CHAN_RECV_NIL: *rule = SEEP_RULE_STUCK_NIL_CHAN; return true;
    case SEEP_WAIT_SELECT:
    case SEEP_WAIT_SELECT_EMPTY: *rule = SEEP_RULE_STUCK_SELECT; return true;
    case SEEP_WAIT_MUTEX:
    case SEEP_WAIT_RWMUTEX_R:
    case SEEP_WAIT_RWMUTEX_W: *rule = SEEP_RULE_STUCK_LOCK; return true;
    case SEEP_WAIT_WAITGROUP:
    case SEEP_WAIT_SEMAPHORE:
    case SEEP_WAIT_JOIN: *rule = SEEP_RULE_STUCK_WAIT; return true;
    case SEEP_WAIT_COND: *rule = SEEP_RULE_STUCK_COND; return true;
    case SEEP_WAIT_NONE:
    case SEEP_WAIT_SLEEP:
    case SEEP_WAIT_IO:
    case SEEP_WAIT_SYSCALL:
    default: return false; /* these are never judged */
    }
}

static int bigger_first(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->tasks != y->tasks) return x->tasks < y->tasks ? 1 : -1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static uint64_t age_of(const struct task_rec *t, const struct snapshot_job *job)
{
    uint64_t since = t->blocked_since_ns ? t->blocked_since_ns : t->first_seen_ns;
    return since && since < job->mono_ns ? job->mono_ns - since : 0;
}

static void tell(const struct group *g, const struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    struct finding *f = child_vec_add(&j->findings, sizeof *f);
    *f = (struct finding){.rule = g->rule,
                          .confidence = j->proofs ? SEEP_PROVEN : SEEP_LIKELY,
                          .stack = g->stack,
                          .create_stack = g->create_stack,
                          .reason = g->reason,
                          .objects = g->tasks,
                          .bytes = g->stack_bytes,
                          .est_objects = (double)g->tasks,
                          .est_bytes = (double)g->stack_bytes,
                          .oldest_ns = g->oldest_ns};
    finding_add(f, "{\"kept_objects\":%lu,\"kept_bytes\":%lu", (unsigned long)m->marked_objects,
                (unsigned long)m->marked_bytes);
    if (g->seen_ns && g->seen_ns < job->mono_ns)
        finding_add(f, ",\"proven_since_ns\":%lu", (unsigned long)(job->mono_ns - g->seen_ns));
    if (g->threads) finding_add(f, ",\"threads\":1");
    if (g->behind) finding_add(f, ",\"behind_cycle\":1");
    finding_add_doubt(f, j);
    finding_add(f, "}");
}

void judge_groups(struct marker *m, const struct snapshot_job *job, struct judgement *j,
                  void (*scan)(const struct task_rec *t, const struct snapshot_job *job))
{
    struct child_vec groups = {0};
    struct child_map index = {0};
    judge_remember(j, job);
    judge_tell_cycles(j, job);
    uint32_t *next = scratch_alloc((j->ntasks + 1) * sizeof *next); /* task → next of its group + 1 */
    for (size_t i = j->ntasks; i-- > 0;) {
        struct task_rec *t = &j->tasks[i];
        enum seep_rule rule;
        if (t->live) continue;
        j->leaked_tasks++;
        if (t->doom == DOOM_RING || !rule_of(t, &rule)) continue;
        uint64_t key = (((uint64_t)t->stack << 32 | t->create_stack) * 0x9e3779b97f4a7c15ull + t->reason) * 4 +
                       (t->doom == DOOM_BEHIND) * 2u + t->is_thread;
        struct group *g = child_group(&index, &groups, key, sizeof *g);
        if (g->tasks == 0)
            *g = (struct group){.rule = rule,
                                .reason = t->reason,
                                .stack = t->stack,
                                .create_stack = t->create_stack,
                                .threads = t->is_thread,
                                .behind = t->doom == DOOM_BEHIND};
        next[i] = g->first;
        g->first = (uint32_t)i + 1;
        g->tasks++;
        g->stack_bytes += t->committed_bytes;
        if (age_of(t, job) > g->oldest_ns) g->oldest_ns = age_of(t, job);
        if (t->first_seen_ns && (!g->seen_ns || t->first_seen_ns < g->seen_ns)) g->seen_ns = t->first_seen_ns;
    }
    struct group *g = (struct group *)groups.items;
    child_sort(g, groups.n, sizeof *g, bigger_first);
    for (size_t k = 0; k < groups.n; k++, g++) {
        m->marked_objects = m->marked_bytes = 0;
        for (uint32_t i = g->first; i; i = next[i - 1]) {
            fetch_ahead(j, i - 1);
            scan(&j->tasks[i - 1], job);
        }
        mark_drain(m);
        tell(g, m, job, j);
    }
    for (size_t i = 0; i < j->ntasks; i++) /* rings: what they keep is no unreachable memory either */
        if (!j->tasks[i].live && j->tasks[i].doom == DOOM_RING) scan(&j->tasks[i], job);
    mark_drain(m);
}
