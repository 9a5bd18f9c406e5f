/* SPDX-License-Identifier: Apache-2.0
 *
 * In-process checks, the child's side: verdicts into shared memory instead of a recording. Allocates nothing. */
#include "agent/snapshot/check.h"

#include "agent/snapshot/child.h"

static uint8_t copy_stack(uint32_t id, uintptr_t *to)
{
    const uintptr_t *pcs;
    uint32_t generation;
    unsigned n = id ? stack_get(id, &pcs, &generation) : 0;
    if (n > CHECK_FRAMES) n = CHECK_FRAMES;
    for (unsigned i = 0; i < n; i++) to[i] = pcs[i];
    return (uint8_t)n;
}

/* The caller runs on a thread, and perhaps on the stack of a task. */
static bool is_caller(const struct snapshot_job *job, const struct task_rec *t)
{
    for (unsigned i = 0; i < job->nthreads; i++) {
        const struct stopped_thread *s = &job->threads[i];
        if (s->tid != job->request.tid) continue;
        return t->is_thread ? t->id == (uint64_t)s->tid : s->regs.sp >= t->stack_lo && s->regs.sp < t->stack_hi;
    }
    return false;
}

void check_fill(const struct snapshot_job *job, const struct judgement *j)
{
    struct check_data *d = job->request.check;
    d->n = d->total = d->unsettled = 0;
    for (size_t i = 0; i < j->ntasks; i++) {
        const struct task_rec *t = &j->tasks[i];
        if ((t->state == SEEP_TASK_RUNNABLE || t->state == SEEP_TASK_RUNNING) && !is_caller(job, t)) d->unsettled++;
    }
    d->leaked_tasks = j->leaked_tasks;
    d->unreachable_objects = j->unreachable_objects;
    d->unreachable_bytes = j->unreachable_bytes;
    d->proofs = j->proofs;
    const struct finding *f = (const struct finding *)j->findings.items;
    for (size_t i = 0; i < j->findings.n; i++, f++) {
        if (f->confidence > SEEP_LIKELY) continue;
        d->total++;
        if (d->n == CHECK_FINDINGS) continue;
        __typeof__(d->findings[0]) *to = &d->findings[d->n++];
        to->rule = (uint8_t)f->rule;
        to->confidence = (uint8_t)f->confidence;
        to->reason = (uint8_t)f->reason;
        to->objects = f->objects;
        to->bytes = f->bytes;
        to->nframes = copy_stack(f->stack, to->frames);
        to->ncreated = copy_stack(f->create_stack, to->created);
    }
    __atomic_store_n(&d->done, 1, __ATOMIC_RELEASE);
}
