/* SPDX-License-Identifier: Apache-2.0
 *
 * The task provider "thread": every thread that a snapshot stopped, but the agent's own. One that waits for a lock of
 * pthreads is waiting (thread_waits.c); any other is wakeable: a signal, a descriptor or another process may wake it.
 *
 * Runs in the child. Names and CPU times are read there from /proc of the parent, so that the pause does not pay for
 * them: they may be a little younger than the snapshot. Allocates nothing. */
#include "agent/snapshot/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/thread_waits.h"
#include "agent/util/log.h"

static const struct snapshot_job *job;
static long program_pid;

static bool read_file(int tid, const char *what, char *buf, size_t size)
{
    char path[64];
    fmt_string(path, sizeof path, "/proc/%ld/task/%d/%s", program_pid, tid, what);
    int fd = raw_open(path, O_RDONLY, 0);
    if (fd < 0) return false;
    long n = raw_read(fd, buf, size - 1);
    raw_close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n > 0;
}

void threads_provider_job(const struct snapshot_job *j)
{
    job = j;
    program_pid = process_start()->pid;
    for (unsigned i = 0; i < j->nthreads; i++) {
        struct stopped_thread *t = (struct stopped_thread *)&j->threads[i]; /* the child's own copy */
        char name[32];
        if (!read_file(t->tid, "comm", name, sizeof name)) continue;
        name[strcspn(name, "\n")] = 0;
        memcpy(t->name, name, sizeof t->name - 1);
        t->name[sizeof t->name - 1] = 0;
    }
}

/* schedstat: nanoseconds on a CPU, nanoseconds waited for one, times scheduled. Of those only the times count that the thread gave its
 * CPU up by itself: as a coroutine does. */
static void cpu_time(struct seep_task *task, int tid)
{
    static const char voluntary[] = "\nvoluntary_ctxt_switches:";
    static char status[4096];
    char buf[96];
    if (read_file(tid, "schedstat", buf, sizeof buf)) task->cpu_ns = strtoull(buf, NULL, 10);
    if (!read_file(tid, "status", status, sizeof status)) return;
    const char *at = strstr(status, voluntary);
    if (at) task->schedules = strtoull(at + sizeof voluntary - 1, NULL, 10);
}

static int iterate(void *ctx, seep_task_fn *fn, void *arg)
{
    (void)ctx;
    for (unsigned i = 0; job && i < job->nthreads; i++) {
        const struct stopped_thread *t = &job->threads[i];
        if (t->is_agent) continue;
        struct seep_task task = {
            .id = (uint64_t)t->tid,
            .name = t->name[0] ? t->name : NULL,
            .state = t->in_syscall ? SEEP_TASK_SYSCALL : SEEP_TASK_RUNNING,
            .wait_reason = t->in_syscall ? SEEP_WAIT_SYSCALL : SEEP_WAIT_NONE,
            .wakeable = true,
            .stack_lo = t->stack_lo,
            .stack_hi = t->stack_hi,
            .sp = t->regs.sp,
            .pc = t->regs.pc,
            .fp = t->regs.fp,
            .regs = {t->regs.rbx, t->regs.r12, t->regs.r13, t->regs.r14, t->regs.r15},
            .nregs = t->captured ? 5 : 0,
            .create_stack = (uint32_t)t->create_stack_id,
        };
        if (task.sp >= task.stack_lo && task.sp < task.stack_hi) task.committed_bytes = task.stack_hi - task.sp;
        struct seep_wait wait;
        enum seep_wait_reason reason;
        if (task.committed_bytes && thread_waits(job, t, &wait, &reason)) {
            task.state = SEEP_TASK_WAITING;
            task.wait_reason = reason;
            task.wakeable = false;
            task.waits = &wait;
            task.nwaits = 1;
        }
        cpu_time(&task, t->tid);
        int rc = fn(arg, &task);
        if (rc != 0) return rc;
    }
    return 0;
}

/* Start arguments that no frame holds yet, and a handler of the program that runs on the agent's alternate stack. */
static int roots(void *ctx, seep_range_fn *fn, void *arg)
{
    (void)ctx;
    for (const struct thread *t = threads_first(); t; t = t->next) {
        int rc = 0;
        if (t->tid != 0 && !t->is_agent) rc = fn(arg, (uintptr_t)&t->routine, (uintptr_t)(&t->arg + 1));
        uintptr_t lo = (uintptr_t)t->altstack;
        for (unsigned i = 0; rc == 0 && lo && job && i < job->nthreads; i++) {
            uintptr_t sp = job->threads[i].regs.sp;
            if (sp >= lo && sp < lo + THREAD_ALTSTACK_BYTES) rc = fn(arg, sp, lo + THREAD_ALTSTACK_BYTES);
        }
        if (rc != 0) return rc;
    }
    return 0;
}

void threads_provider_init(void)
{
    static const struct seep_task_provider provider = {
        .version = SEEP_TASK_PROVIDER_VERSION,
        .name = "thread",
        .iterate = iterate,
        .roots = roots,
    };
    (void)provider_register(&provider);
    thread_waits_init();
}
