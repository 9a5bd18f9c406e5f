/* SPDX-License-Identifier: Apache-2.0
 *
 * The verdict on tasks: which of the blocked ones can never run again.
 *
 * A fixpoint over one frozen heap (the idea is that of Go's goroutine leak profile, golang/go#74609, and of Saioc
 * et al., ASPLOS 2025; the worklist makes it linear where a restarted collection is quadratic):
 *   1. Mark from the roots (roots.c) and from the stacks and registers of tasks that run, can run, are in a system
 *      call, or that something outside can wake.
 *   2. A blocked task one of whose waited-for objects is marked, or is not in the heap, is live: its stack is a root
 *      as well. Objects still waited for are watched, so that marking one puts its waiters on the worklist.
 *   3. When the worklist is empty, what is left is leaked: only leaked tasks' stacks can reach what they wait for.
 *   4. Then the leaked tasks' stacks are marked from, group after group: what that adds is memory that only
 *      leaked tasks keep, counted for the first group that reaches it.
 *
 * Invariants
 *   1. Errs towards silence: an object on a stack or in static memory counts as reached, a task without a
 *      known object as live. A nil channel is never reached.
 *   2. Threads are never judged here: their stacks are roots.
 * Linear in tasks + waits + heap. */
#include "agent/snapshot/child.h"

#include <string.h>

#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/util/log.h"

static const bool proof_reason[SEEP_WAIT_COUNT] = {
#define WAIT_REASON(id, text, proof) [SEEP_WAIT_##id] = (proof),
#include "agent/contract/wait_reasons.def"
#undef WAIT_REASON
};

static struct {
    struct judgement *j;
    struct marker *m;
    struct child_vec tasks, waits, regs;
    uint8_t provider;
    struct child_map waiters; /* object → head of its waits + 1 */
    uint32_t *work;           /* tasks that have become live and whose stacks are to be scanned */
    size_t nwork;
} J;

static struct task_rec *tasks(void)
{
    return (struct task_rec *)J.tasks.items;
}
static struct wait_rec *waits(void)
{
    return (struct wait_rec *)J.waits.items;
}

/* ---- collecting */

static int collect_task(void *arg, const struct seep_task *t)
{
    (void)arg;
    if (t->state == SEEP_TASK_DEAD) return 0;
    uint32_t index = (uint32_t)J.tasks.n;
    struct task_rec *r = child_vec_add(&J.tasks, sizeof *r);
    *r = (struct task_rec){.id = t->id,
                           .name = t->name ? t->name : "",
                           .provider = J.provider,
                           .state = (uint8_t)t->state,
                           .reason = t->wait_reason < SEEP_WAIT_COUNT ? (uint8_t)t->wait_reason : 0,
                           .wakeable = t->wakeable,
                           .create_stack = t->create_stack,
                           .blocked_since_ns = t->blocked_since_ns,
                           .stack_lo = t->stack_lo,
                           .stack_hi = t->stack_hi,
                           .sp = t->sp,
                           .pc = t->pc,
                           .fp = t->fp,
                           .image = t->stack_image,
                           .committed_bytes = t->committed_bytes,
                           .schedules = t->schedules,
                           .cpu_ns = t->cpu_ns,
                           .regs = (uint32_t)J.regs.n,
                           .waits = (uint32_t)J.waits.n};
    for (unsigned i = 0; i < t->nregs && i < SEEP_TASK_REGS; i++, r->nregs++)
        *(uintptr_t *)child_vec_add(&J.regs, sizeof(uintptr_t)) = t->regs[i];
    for (unsigned i = 0; i < t->nwaits; i++, r->nwaits++) {
        struct wait_rec *w = child_vec_add(&J.waits, sizeof *w);
        *w = (struct wait_rec){.object = t->waits[i].object, .kind = (uint8_t)t->waits[i].kind, .task = index};
    }
    bool never = r->reason == SEEP_WAIT_CHAN_SEND_NIL || r->reason == SEEP_WAIT_CHAN_RECV_NIL ||
                 r->reason == SEEP_WAIT_SELECT_EMPTY;
    r->blocked = r->state == SEEP_TASK_WAITING && !r->wakeable && proof_reason[r->reason] && (r->nwaits || never);
    return 0;
}

void judge_collect(struct judgement *j)
{
    J.j = j;
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        J.provider = (uint8_t)i;
        size_t first = J.tasks.n;
        p->iterate(p->ctx, collect_task, NULL);
        if (strcmp(p->name, "thread") == 0)
            for (size_t t = first; t < J.tasks.n; t++) tasks()[t].blocked = false, tasks()[t].is_thread = true;
    }
    j->tasks = tasks();
    j->ntasks = J.tasks.n;
    j->waits = waits();
    j->nwaits = J.waits.n;
}

bool judge_owns_stack(uintptr_t lo, uintptr_t hi)
{
    const struct task_rec *t = tasks();
    for (size_t i = 0; i < J.tasks.n; i++)
        if (!t[i].is_thread && t[i].stack_lo < hi && t[i].stack_hi > lo) return true;
    return false;
}

/* ---- marking from tasks */

static void scan_task(const struct task_rec *t, const struct snapshot_job *job)
{
    const uintptr_t *regs = (const uintptr_t *)J.regs.items + t->regs;
    for (unsigned i = 0; i < t->nregs; i++) mark_value(J.m, regs[i]);
    mark_value(J.m, t->fp);
    uintptr_t sp = t->sp;
    bool known = sp >= t->stack_lo && sp < t->stack_hi;
    if (t->state == SEEP_TASK_RUNNING || t->state == SEEP_TASK_SYSCALL) {
        for (unsigned i = 0; i < job->nthreads; i++) {
            uintptr_t at = job->threads[i].regs.sp;
            if (at < t->stack_lo || at >= t->stack_hi) continue;
            sp = at - 128 > t->stack_lo ? at - 128 : t->stack_lo; /* the red zone */
            known = true;
            break;
        }
    }
    if (t->stack_lo >= t->stack_hi) return;
    if (t->image && known) {
        const char *image = t->image; /* the byte at sp stands first */
        uintptr_t skip = (8 - t->sp % 8) % 8;
        size_t n = t->stack_hi - t->sp;
        if (n > skip) mark_words(J.m, image + skip, image + n);
    } else if (known && t->state != SEEP_TASK_RUNNING && t->state != SEEP_TASK_SYSCALL) {
        mark_words(J.m, (const void *)sp, (const void *)t->stack_hi);
    } else {
        roots_mark_range(known ? sp : t->stack_lo, t->stack_hi);
    }
}

static void make_live(uint32_t index)
{
    struct task_rec *t = &tasks()[index];
    if (t->live) return;
    t->live = true;
    J.work[J.nwork++] = index;
}

static uint64_t key_of(struct object_ref o)
{
    return (uint64_t)o.span << 32 | o.index;
}

/* The marker has reached a watched object. */
static void on_hit(void *arg, struct object_ref o)
{
    (void)arg;
    mark_word_of(J.m, o)->extra &= ~(1ull << (o.index & 63));
    for (uint32_t i = child_map_get(&J.waiters, key_of(o)); i; i = waits()[i - 1].next) {
        waits()[i - 1].reached = true;
        make_live(waits()[i - 1].task);
    }
}

/* Leaked tasks reach what they wait for themselves: that wakes nobody. */
static void no_hit(void *arg, struct object_ref o)
{
    (void)arg;
    (void)o;
}

static void run_worklist(const struct snapshot_job *job)
{
    while (J.nwork) {
        scan_task(&tasks()[J.work[--J.nwork]], job);
        mark_drain(J.m);
    }
}

static void watch_or_release(uint32_t index)
{
    struct wait_rec *w = &waits()[index];
    struct object_ref o;
    if (w->object == 0) return;
    if (!mark_resolve(J.m, w->object, &o) || mark_is_marked(J.m, o)) {
        w->reached = true;
        make_live(w->task);
        return;
    }
    mark_word_of(J.m, o)->extra |= 1ull << (o.index & 63);
    uint32_t *head = child_map_slot(&J.waiters, key_of(o));
    w->next = *head;
    *head = index + 1;
}

/* ---- groups of leaked tasks */

struct group {
    enum seep_rule rule;
    enum seep_wait_reason reason;
    uint32_t stack, create_stack, first; /* first: task index + 1 */
    uint64_t tasks, stack_bytes, oldest_ns, kept_objects, kept_bytes;
};

static bool rule_of(const struct task_rec *t, enum seep_rule *rule)
{
    switch ((enum seep_wait_reason)t->reason) {
    case SEEP_WAIT_CHAN_SEND: *rule = SEEP_RULE_STUCK_SEND; return true;
    case SEEP_WAIT_CHAN_RECV: *rule = SEEP_RULE_STUCK_RECV; return true;
    case SEEP_WAIT_CHAN_SEND_NIL:
    case SEEP_WAIT_CHAN_RECV_NIL: *rule = SEEP_RULE_STUCK_NIL_CHAN; return true;
    default: return false; /* its rule is not in the catalogue yet; the verdict is in its row */
    }
}

static void unwind_tasks(const struct snapshot_job *job)
{
    static uintptr_t pcs[PROF_MAX_DEPTH];
    for (size_t i = 0; i < J.tasks.n; i++) {
        struct task_rec *t = &tasks()[i];
        struct unwind_regs regs = {.pc = t->pc, .sp = t->sp, .fp = t->fp};
        const void *image = t->image;
        if (t->state == SEEP_TASK_RUNNING || t->state == SEEP_TASK_SYSCALL || t->is_thread) {
            for (unsigned k = 0; k < job->nthreads; k++) {
                const struct stopped_thread *s = &job->threads[k];
                bool same =
                    t->is_thread ? (uint64_t)s->tid == t->id : s->regs.sp >= t->stack_lo && s->regs.sp < t->stack_hi;
                if (!same || !s->captured) continue;
                regs = s->regs;
                image = NULL;
            }
        }
        if (regs.pc == 0 || regs.sp < t->stack_lo || regs.sp >= t->stack_hi) continue;
        unsigned n = unwind_stopped(&regs, t->stack_lo, t->stack_hi, image, pcs, PROF_MAX_DEPTH);
        if (n) t->stack = stack_intern(pcs, n);
    }
}

static int bigger_first(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->tasks != y->tasks) return x->tasks < y->tasks ? 1 : -1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static void judge_leaked(const struct snapshot_job *job)
{
    struct child_vec groups = {0};
    struct child_map index = {0};
    uint32_t *next = scratch_alloc(J.tasks.n * sizeof *next); /* task → next of its group + 1 */
    for (size_t i = J.tasks.n; i-- > 0;) {
        struct task_rec *t = &tasks()[i];
        enum seep_rule rule;
        if (t->live) continue;
        J.j->leaked_tasks++;
        if (!rule_of(t, &rule)) continue;
        uint64_t key = ((uint64_t)t->stack << 32 | t->create_stack) * 0x9e3779b97f4a7c15ull + t->reason;
        uint32_t *slot = child_map_slot(&index, key);
        if (!*slot) {
            struct group *g = child_vec_add(&groups, sizeof *g);
            *g = (struct group){rule, t->reason, t->stack, t->create_stack, 0, 0, 0, 0, 0, 0};
            *slot = (uint32_t)groups.n;
        }
        struct group *g = (struct group *)groups.items + *slot - 1;
        next[i] = g->first;
        g->first = (uint32_t)i + 1;
        g->tasks++;
        g->stack_bytes += t->committed_bytes;
        uint64_t age =
            t->blocked_since_ns && t->blocked_since_ns < job->mono_ns ? job->mono_ns - t->blocked_since_ns : 0;
        if (age > g->oldest_ns) g->oldest_ns = age;
    }
    struct group *g = (struct group *)groups.items;
    child_sort(g, groups.n, sizeof *g, bigger_first);
    for (size_t k = 0; k < groups.n; k++, g++) {
        J.m->marked_objects = J.m->marked_bytes = 0;
        for (uint32_t i = g->first; i; i = next[i - 1]) scan_task(&tasks()[i - 1], job);
        mark_drain(J.m);
        struct finding *f = child_vec_add(&J.j->findings, sizeof *f);
        *f = (struct finding){.rule = g->rule,
                              .confidence = J.j->proofs ? SEEP_PROVEN : SEEP_LIKELY,
                              .stack = g->stack,
                              .create_stack = g->create_stack,
                              .reason = g->reason,
                              .objects = g->tasks,
                              .bytes = g->stack_bytes,
                              .est_objects = (double)g->tasks,
                              .est_bytes = (double)g->stack_bytes,
                              .oldest_ns = g->oldest_ns};
        fmt_string(f->evidence, sizeof f->evidence, "{\"kept_objects\":%lu,\"kept_bytes\":%lu%s%s%s}",
                   (unsigned long)J.m->marked_objects, (unsigned long)J.m->marked_bytes,
                   J.j->proofs ? "" : ",\"no_proof\":\"", J.j->proofs ? "" : J.j->no_proofs_why,
                   J.j->proofs ? "" : "\"");
    }
    /* The rest of them, whose rules are to come: what they keep is no unreachable memory either. */
    for (size_t i = 0; i < J.tasks.n; i++)
        if (!tasks()[i].live) scan_task(&tasks()[i], job);
    mark_drain(J.m);
}

void judge_tasks(struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    J.m = m;
    J.j = j;
    J.work = scratch_alloc((J.tasks.n + 1) * sizeof *J.work);
    for (size_t i = 0; i < J.tasks.n; i++) {
        struct task_rec *t = &tasks()[i];
        if (t->blocked) continue;
        t->live = true;
        if (!t->is_thread) scan_task(t, job);
    }
    mark_drain(m);
    m->watch = true;
    m->hit = on_hit;
    for (uint32_t i = 0; i < J.waits.n; i++)
        if (tasks()[waits()[i].task].blocked) watch_or_release(i);
    run_worklist(job);
    m->hit = no_hit;
    unwind_tasks(job);
    judge_leaked(job);
    m->watch = false;
    for (size_t i = 0; i < m->nwords; i++) m->words[i].extra = 0;
}
