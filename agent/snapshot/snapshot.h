/* SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots: request → stop → fork → resume in the parent; mark → judge → store in the child.
 *
 * Snapshots are taken by the agent's own thread only (entry/agent_thread.c). It has a private descriptor table, so
 * its control socket survives programs that close everything, and the child it forks holds none of the
 * program's files, pipes and sockets. */
#ifndef SEEP_SNAPSHOT_H
#define SEEP_SNAPSHOT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/contract/contract.h"
#include "agent/contract/task.h"
#include "agent/profile/profile.h"

enum snapshot_trigger {
    TRIGGER_INTERVAL,
    TRIGGER_SIGNAL,
    TRIGGER_CONTROL,
    TRIGGER_API,
    TRIGGER_EXIT,
    TRIGGER_PROVIDERS /* for rests(), timer_lost() and finalizers only. Not recorded, and works without a recording */
};
#define SNAPSHOT_TRIGGER_NAMES                                      \
    {                                                               \
        "interval", "signal", "control", "api", "exit", "providers" \
    }

struct snapshot_request {
    enum snapshot_trigger trigger;
    char label[256];
    struct check_data *check; /* shared memory for the verdicts, which are not recorded then; NULL: record */
    int tid;                  /* of a check: who asked */
    /* What holds these is asked: the block at an address (one), or stacks by their keys. */
    unsigned nwanted;
    bool wanted_address;
    uint64_t wanted[SEEP_WANTED];
};

static inline bool snapshot_is_recorded(const struct snapshot_request *req)
{
    return !req->check && req->trigger != TRIGGER_PROVIDERS;
}

struct snapshot_result {
    int error;    /* 0, or a negative errno */
    uint32_t seq; /* of the snapshot within the process */
    uint64_t pause_ns, duration_ns;
    uint64_t unreachable_objects, unreachable_bytes, leaked_tasks;
    char message[160]; /* one line when error != 0 */
};

/* A thread as the stop found it. */
struct stopped_thread {
    int tid;
    bool captured; /* registers are known; false: it did not answer in time, sp is from the kernel or 0 */
    bool is_agent; /* the agent's own thread: no root, not a task */
    struct unwind_regs regs;
    bool in_syscall; /* it waits in a system call */
    uintptr_t
        all_regs[64]; /* every general register, then what vector registers hold of pointers into the heap: roots */
    unsigned nregs;
    uintptr_t stack_lo, stack_hi;       /* 0, 0 when unknown */
    uintptr_t tls;                      /* thread pointer */
    uint64_t create_stack_id;           /* stack id of pthread_create's caller; 0: unknown */
    uintptr_t start_routine, start_arg; /* of a thread not yet running its routine, and roots */
    char name[16];
};

/* Everything the child needs that the parent knows. Lives in the agent's metadata. */
struct snapshot_job {
    struct snapshot_request request;
    uint32_t seq;
    uint64_t unix_ns, mono_ns, pause_ns; /* pause_ns is filled by the parent in shared memory after the fork */
    const struct stopped_thread *threads;
    unsigned nthreads, nmissed;
    const char *out;                /* path of the recording */
    struct snapshot_result *result; /* in memory shared with the parent */
};

/* ---- Requesting (snapshot/trigger.c). Any thread of the program; waits until the snapshot is written or failed, at most
 * timeout_ns (< 0: for ever). Not async-signal-safe. */
int snapshot_request(const struct snapshot_request *req, struct snapshot_result *out, int64_t timeout_ns);
void snapshot_post(enum snapshot_trigger trigger); /* async-signal-safe: asks and does not wait */
int snapshot_take(const struct snapshot_request *req, struct snapshot_result *out); /* on the agent's thread */

/* ---- Requests around fork, for entry/fork.c. */
void requests_fork_prepare(void);
void requests_fork_parent(void);
void requests_fork_child(void);
/* Runs what was asked for; on the agent's thread. */
void snapshot_run_requests(void);
bool snapshot_requested(void);
uint32_t snapshot_seq(void); /* of the last snapshot begun */

/* ---- Stopping (snapshot/stop.c). The caller is the agent's thread, or a thread of the program that takes a snapshot
 * itself (exit of a forked child that has no agent thread): that one is among the threads returned. */
int stop_world(const struct stopped_thread **threads, unsigned *n, unsigned *missed);
/* The same, but a thread in uninterruptible sleep (a disk, vfork) is not waited for while the program stands still: it is let run and
 * stopped again, a few times. begin_ns: when the last try began. */
int stop_world_patiently(const struct stopped_thread **threads, unsigned *n, unsigned *missed, uint64_t *begin_ns);
void resume_world(void);
void stop_fork_child(void);
void stop_handler(int sig, siginfo_t *info, void *uctx);
/* From a handler of the agent: the system call that it interrupted, if one, is to be continued by its wrapper. */
void stop_note_interrupted(const void *uctx);

/* ---- Forking (snapshot/fork.c). The gate is held from the stop to the clone, and by fork(). Waited for outside of critical
 * sections. */
void snapshot_gate_enter(void);
void snapshot_gate_leave(void);
void snapshot_fork_child(void); /* in a child of the program's fork() */
/* In the snapshot's child: how long the program stood still. Waits for the parent to tell. */
uint64_t snapshot_job_pause(const struct snapshot_job *job);

/* ---- Providers (snapshot/providers.c). */
int provider_register(const struct seep_task_provider *p);
unsigned provider_count(void);
const struct seep_task_provider *provider_get(unsigned i);
/* Threads as tasks (snapshot/threads.c); uses the job's stopped threads. */
void threads_provider_init(void);
void threads_provider_job(const struct snapshot_job *job);

/* ---- Child (snapshot/child.c): mark, judge, account, write. Returns 0 or a negative errno and fills job->result. */
void snapshot_child_prepare(void); /* in the parent before the stop: reserves what the child will need */
int snapshot_child(const struct snapshot_job *job);

#endif
