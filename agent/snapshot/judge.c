/* SPDX-License-Identifier: Apache-2.0
 *
 * The verdict on tasks: which of the blocked ones can never run again.
 *
 * A fixpoint over one frozen heap (the idea is that of Go's goroutine leak profile, golang/go#74609, and of Saioc
 * et al., ASPLOS 2025; the worklist makes it linear where a restarted collection is quadratic):
 *   1. Mark from the roots (roots.c) and from the stacks and registers of tasks that run, can run, are in a system
 *      call, or that something outside can wake.
 *   2. A blocked task is live when one of the objects it waits for is marked, or stands in static memory, or on the stack of
 *      a live task; or when a live word points into the frames of its own stack (what stands there may be handed on). Its
 *      stack is a root as well. Objects still waited for are watched, so that marking one puts its waiters on the worklist.
 *   3. When the worklist is empty, what is left is leaked: only leaked tasks can reach what they wait for.
 *   4. Then the leaked tasks' stacks are marked from (judge_groups.c).
 * Tasks in a ring of lock owners, and those behind them (judge_cycle.c), and those that were proven leaked by an earlier
 * snapshot and have not run since (judge_sticky.c), are leaked whatever can be reached.
 *
 * Threads are judged like coroutines where thread_waits.c knows what they wait for; all others are live.
 *
 * Invariants
 *   1. Errs towards silence: an object in memory nobody knows counts as reached, a task without a known object as live. A
 *      nil channel is never reached.
 * Linear in tasks + waits + heap, but for the order of stacks (n log n). */
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
    bool copies;              /* not of threads */
    struct child_map waiters; /* object → first of its waits + 1 */
    uint32_t *work;           /* tasks that have become live and whose stacks are to be scanned */
    size_t nwork;
    uint32_t *by_stack; /* blocked tasks, and those with a ref, in the order of their stacks */
    size_t nby_stack;
    size_t threads, threads_end; /* of tasks: those of the provider "thread" */
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

/* The stacks of a million tasks are a page each, in no cache and under page tables of their own: to look at them three times (here, to
 * unwind, to mark) takes three times as long as to copy the few bytes that most of them have. */
static void copy_stack(struct task_rec *t)
{
    enum { MOST = 1024 };
    if (t->sp < t->stack_lo || t->sp >= t->stack_hi || t->stack_hi - t->sp > MOST) return;
    void *p = scratch_alloc(t->stack_hi - t->sp);
    memcpy(p, (const void *)t->sp, t->stack_hi - t->sp);
    t->image = p;
    t->copied = true;
}

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
                           .defer_depth = t->defer_depth,
                           .ref = t->state == SEEP_TASK_WAITING ? t->ref : 0,
                           .regs = (uint32_t)J.regs.n,
                           .waits = (uint32_t)J.waits.n};
    if (!r->image && t->state == SEEP_TASK_WAITING && J.copies) copy_stack(r);
    for (unsigned i = 0; i < t->nregs && i < SEEP_TASK_REGS; i++, r->nregs++)
        *(uintptr_t *)child_vec_add(&J.regs, sizeof(uintptr_t)) = t->regs[i];
    for (unsigned i = 0; i < t->nwaits; i++, r->nwaits++) {
        struct wait_rec *w = child_vec_add(&J.waits, sizeof *w);
        *w = (struct wait_rec){.object = t->waits[i].object,
                               .owner = t->waits[i].owner_task,
                               .kind = (uint8_t)t->waits[i].kind,
                               .task = index};
    }
    bool never = r->reason == SEEP_WAIT_CHAN_SEND_NIL || r->reason == SEEP_WAIT_CHAN_RECV_NIL ||
                 r->reason == SEEP_WAIT_SELECT_EMPTY;
    r->blocked = r->state == SEEP_TASK_WAITING && !r->wakeable && proof_reason[r->reason] && (r->nwaits || never);
    return 0;
}

/* A thread that runs a coroutine is not its own master. */
static void free_carriers(void)
{
    for (size_t i = J.threads; i < J.threads_end; i++) {
        struct task_rec *t = &tasks()[i];
        if (t->blocked && (t->sp < t->stack_lo || t->sp >= t->stack_top || judge_owns_stack(t->sp, t->sp + 1)))
            t->blocked = false;
    }
}

static const struct stopped_thread *thread_of(const struct snapshot_job *job, const struct task_rec *t)
{
    for (unsigned i = 0; t->is_thread && i < job->nthreads; i++)
        if ((uint64_t)job->threads[i].tid == t->id) return &job->threads[i];
    return NULL;
}

static int by_stack_order(const void *a, const void *b)
{
    const struct task_rec *x = &tasks()[*(const uint32_t *)a], *y = &tasks()[*(const uint32_t *)b];
    return x->stack_lo < y->stack_lo ? -1 : x->stack_lo > y->stack_lo;
}

/* The task of by_stack on whose stack p stands; frames: in the frames of the program. */
static struct task_rec *stack_at(uintptr_t p, bool frames)
{
    size_t lo = 0, hi = J.nby_stack;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (tasks()[J.by_stack[mid]].stack_lo <= p)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0) return NULL;
    struct task_rec *t = &tasks()[J.by_stack[lo - 1]];
    if (p >= t->stack_hi || (frames && (p < t->sp || p >= t->stack_top))) return NULL;
    return t;
}

static void make_live(uint32_t index);

/* A live word points into the stack of a blocked task. */
static void on_stack_word(void *arg, uintptr_t p)
{
    (void)arg;
    struct task_rec *t = stack_at(p, true);
    if (!t) return;
    t->pointed_into = true;
    if (t->blocked) make_live((uint32_t)(t - tasks()));
}

/* The marker is to tell of words into [lo, hi) of all of them: two ranges, split where the space between is greatest, since
 * main's stack is far from the others. */
static void watch_stacks(struct marker *m)
{
    size_t n = 0, split = 0;
    uintptr_t gap = 0;
    J.by_stack = scratch_alloc((J.tasks.n + 1) * sizeof *J.by_stack);
    for (uint32_t i = 0; i < J.tasks.n; i++)
        if ((tasks()[i].blocked || tasks()[i].ref) && tasks()[i].stack_lo < tasks()[i].stack_hi) J.by_stack[n++] = i;
    J.nby_stack = n;
    if (n == 0) return;
    child_sort(J.by_stack, n, sizeof *J.by_stack, by_stack_order);
    for (size_t i = 1; i < n; i++) {
        uintptr_t d = tasks()[J.by_stack[i]].stack_lo - tasks()[J.by_stack[i - 1]].stack_lo;
        if (d > gap) gap = d, split = i;
    }
    if (split == 0) split = n;
    m->in.slo[0] = tasks()[J.by_stack[0]].stack_lo;
    m->in.slen[0] = tasks()[J.by_stack[split - 1]].stack_hi - m->in.slo[0];
    if (split < n) {
        m->in.slo[1] = tasks()[J.by_stack[split]].stack_lo;
        m->in.slen[1] = tasks()[J.by_stack[n - 1]].stack_hi - m->in.slo[1];
    }
    m->stack_word = on_stack_word;
    m->watch = true;
}

void judge_collect(struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    J.j = j;
    J.m = m;
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        J.provider = (uint8_t)i;
        size_t first = J.tasks.n;
        J.copies = strcmp(p->name, "thread") != 0;
        p->iterate(p->ctx, collect_task, NULL);
        if (J.copies) continue;
        J.threads = first;
        J.threads_end = J.tasks.n;
        for (size_t k = first; k < J.tasks.n; k++) tasks()[k].is_thread = true;
    }
    for (size_t i = 0; i < J.tasks.n; i++) {
        struct task_rec *t = &tasks()[i];
        const struct stopped_thread *on = thread_of(job, t);
        t->stack_top = roots_stack_top(t->stack_lo, t->stack_hi, on ? on->tls : 0);
    }
    free_carriers();
    j->tasks = tasks();
    j->ntasks = J.tasks.n;
    j->waits = waits();
    j->nwaits = J.waits.n;
    J.work = scratch_alloc((J.tasks.n + 1) * sizeof *J.work);
    judge_cycles(j);
    judge_recall(j);
    watch_stacks(m);
}

bool judge_is_waiting_thread(int tid)
{
    const struct task_rec *t = tasks();
    for (size_t i = J.threads; i < J.threads_end; i++)
        if (t[i].id == (uint64_t)tid) return t[i].blocked;
    return false;
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
    const struct stopped_thread *thread = t->blocked ? thread_of(job, t) : NULL;
    if (thread) {
        roots_mark_thread(thread);
        return;
    }
    const uintptr_t *regs = (const uintptr_t *)J.regs.items + t->regs;
    for (unsigned i = 0; i < t->nregs; i++) mark_words_but(J.m, &regs[i], &regs[i] + 1, t->stack_lo, t->stack_hi);
    mark_words_but(J.m, &t->fp, &t->fp + 1, t->stack_lo, t->stack_hi);
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
        if (n > skip) mark_words_but(J.m, image + skip, image + n, t->stack_lo, t->stack_hi);
    } else if (known && t->state != SEEP_TASK_RUNNING && t->state != SEEP_TASK_SYSCALL) {
        mark_words_but(J.m, (const void *)sp, (const void *)t->stack_hi, t->stack_lo, t->stack_hi);
    } else {
        roots_mark_range_but(known ? sp : t->stack_lo, t->stack_hi, t->stack_lo, t->stack_hi);
    }
}

void judge_visit_tasks(const struct snapshot_job *job)
{
    for (size_t i = 0; i < J.tasks.n; i++) {
        const struct task_rec *t = &tasks()[i];
        if (t->is_thread && !t->blocked) continue; /* roots.c has it */
        J.m->origin = (struct origin){.kind = FROM_TASK, .id = i, .delta = t->image ? (uintptr_t)t->image - t->sp : 0};
        scan_task(t, job);
    }
    J.m->origin = (struct origin){0};
}

static void wake_waiters(uint32_t first)
{
    for (uint32_t i = first; i; i = waits()[i - 1].next) {
        waits()[i - 1].reached = true;
        make_live(waits()[i - 1].task);
    }
}

/* Onto the worklist. What waits on its stack is woken as it is taken from there. */
static void make_live(uint32_t index)
{
    struct task_rec *t = &tasks()[index];
    if (t->live || t->doom) return;
    t->live = true;
    J.work[J.nwork++] = index;
}

/* The marker has reached a watched object. */
static void on_hit(void *arg, struct object_ref o)
{
    (void)arg;
    mark_word_of(J.m, o)->extra &= ~(1ull << (o.index & 63));
    wake_waiters(child_map_get(&J.waiters, object_key(o)));
}

/* Leaked tasks reach what they wait for themselves: that wakes nobody. */
static void no_hit(void *arg, struct object_ref o)
{
    (void)arg;
    (void)o;
}

/* All that are live by now share one drain. Each task is on the list once. */
static void run_worklist(const struct snapshot_job *job)
{
    for (size_t done = 0, to; done < J.nwork; done = to) {
        to = J.nwork;
        for (size_t i = done; i < to; i++) scan_task(&tasks()[J.work[i]], job);
        mark_drain(J.m);
        for (size_t i = done; i < to; i++) wake_waiters(tasks()[J.work[i]].awaited);
    }
}

/* What is waited for may stand on a stack, and the waker has no other pointer to it than the wait. */
static void note_waits_on_stacks(const struct marker *m)
{
    for (size_t i = 0; i < J.waits.n; i++) {
        uintptr_t p = waits()[i].object;
        if (p - m->in.slo[0] >= m->in.slen[0] && p - m->in.slo[1] >= m->in.slen[1]) continue;
        struct task_rec *t = stack_at(p, false);
        if (t && t != &tasks()[waits()[i].task]) t->pointed_into = true;
    }
}

static void tell_providers(void)
{
    for (size_t i = 0; i < J.tasks.n; i++) {
        const struct task_rec *t = &tasks()[i];
        const struct seep_task_provider *p = provider_get(t->provider);
        bool known = t->sp >= t->stack_lo && t->sp < t->stack_hi;
        if (t->ref && known && !t->pointed_into && p->rests) p->rests(p->ctx, t->ref);
    }
}

static void watch(uint32_t index, uint32_t *head)
{
    waits()[index].next = *head;
    *head = index + 1;
}

static void watch_or_release(uint32_t index)
{
    struct wait_rec *w = &waits()[index];
    struct object_ref o;
    if (w->object == 0) return;
    if (mark_resolve(J.m, w->object, &o)) {
        if (timers_wake(o)) tasks()[w->task].wakeable = true;
        if (!timers_wake(o) && !mark_is_marked(J.m, o)) {
            mark_word_of(J.m, o)->extra |= 1ull << (o.index & 63);
            watch(index, child_map_slot(&J.waiters, object_key(o)));
            return;
        }
    } else {
        struct task_rec *t = stack_at(w->object, false);
        if (t && !t->live) {
            watch(index, &t->awaited);
            return;
        }
    }
    w->reached = true;
    make_live(w->task);
}

void judge_tasks(struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    bool any = J.nby_stack > 0;
    for (size_t i = 0; i < J.tasks.n; i++) {
        struct task_rec *t = &tasks()[i];
        if (t->blocked) {
            any = true;
            continue;
        }
        t->live = true;
        if (!t->is_thread) scan_task(t, job);
    }
    m->hit = no_hit;
    mark_drain(m);
    timers_collect(m);
    if (any) {
        m->watch = true;
        m->hit = on_hit;
        child_map_room(&J.waiters, J.waits.n);
        for (uint32_t i = 0; i < J.waits.n; i++)
            if (tasks()[waits()[i].task].blocked) watch_or_release(i);
        run_worklist(job);
    }
    note_waits_on_stacks(m);
    if (j->proofs) tell_providers();
    m->hit = no_hit;
    m->in.slen[0] = m->in.slen[1] = 0;
    judge_unwind(job, j);
    timers_judge(job, j);
    defers_judge(job, j);
    judge_groups(m, job, j, scan_task);
    m->watch = false;
    for (size_t i = 0; any && i < m->nwords; i++) m->words[i].extra = 0;
}
