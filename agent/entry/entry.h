/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of agent/entry share: life cycle, threads, the agent's own thread. Only this folder
 * (and coro's public functions) exports symbols. */
#ifndef SEEP_ENTRY_H
#define SEEP_ENTRY_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEEP_EXPORT __attribute__((visibility("default")))

struct agent_tls;

/* ---- Life cycle (life.c). */
/* Idempotent: runs in the constructor, or earlier when a wrapper is called before it. Not from malloc. */
void life_init(void);
/* When this image, or this forked child of it, began. */
struct process_start {
    int pid, ppid;
    uint64_t start_unix_ns, start_mono_ns;
};
const struct process_start *process_start(void);
/* False in a vfork child and in one made by a clone that we did not see: its memory may be the parent's, so nothing of ours
 * runs there. */
bool process_is_known(void);
bool process_is_forked(void); /* a child of fork() that has not replaced its image */
bool life_recording(void);    /* SEEP_OUT is set, or seep_record() was called */
/* Begins recording to path, which becomes absolute. 0, -EBUSY, or a negative errno. Starts the agent's thread. */
int life_record(const char *path);

/* ---- Threads of the program (threads.c). Entries are never freed; a slot is reused after its thread has ended. */
struct thread {
    struct thread *next;
    int tid; /* 0: free slot */
    bool is_agent;
    bool is_main;
    bool found;        /* not created by pthread_create's wrapper: a helper of libc's, or another runtime's */
    bool ended;        /* its stack [stack_lo, stack_hi) holds nothing live while its descriptor still stands at tls */
    bool own_stack;    /* the program's memory: its bounds are forgotten at the end */
    bool stop_blocked; /* the program believes that it blocks the stop signal */
    uint32_t exit_rounds;
    uintptr_t stack_lo, stack_hi;
    uintptr_t tls;
    uintptr_t frames_hi; /* the program's (or the agent's) frames are below, libc's and static TLS above; 0: unknown */
    const struct agent_tls *state; /* of the thread; valid while it has not ended */
    uint32_t create_stack;         /* stack id */
    void *(*routine)(void *);      /* until the thread has read them */
    void *arg;
    void *altstack; /* of the stop signal */
};

void threads_init(void);
struct thread *threads_first(void); /* iterate by next; entries appear atomically */
struct thread *thread_self(void);   /* registers the caller when needed; NULL when there is no room. Not from malloc */
/* From malloc's slow path, after its critical section, when agent_tls.thread is NULL: registers a thread that libc made
 * for itself, so that its cache comes back when it ends. Does nothing before threads_init(). */
void thread_note(void);
void threads_fork_prepare(void);
void threads_fork_parent(void);
void threads_fork_child(void);
extern uint32_t threads_main_exited; /* main has called pthread_exit */
enum { THREAD_ALTSTACK_BYTES = 64 << 10 };

/* The next definition of a libc function that we wrap (next.c). NULL when there is none. */
void *next_symbol(const char *name);

/* ---- The agent's own thread (agent_thread.c). Started by the constructor, by seep_record(), or later in a forked child. */
int agent_thread_start(void); /* 0 or a negative errno; idempotent; not from a signal handler */
bool agent_thread_running(void);
bool agent_thread_is_self(void);
void agent_thread_fork_child(void);
void agent_thread_wake(void); /* async-signal-safe */
/* Ends the thread until agent_thread_back(): true when it has gone from the process. Several threads may do so at once. */
bool agent_thread_away(void);
void agent_thread_back(void); /* keeps errno */
bool agent_thread_lost(void); /* it could not come back */
/* In a forked child that is to be recorded the thread starts at a call of the program that may block, so that fork + exec
 * pays nothing. Wrappers ask by agent_thread_poll(); will_block: this call may wait for long. */
extern uint32_t agent_thread_wanted;
void agent_thread_start_deferred(bool will_block);
static inline void agent_thread_poll(bool will_block)
{
    if (__builtin_expect(__atomic_load_n(&agent_thread_wanted, __ATOMIC_RELAXED) != 0, 0))
        agent_thread_start_deferred(will_block);
}

/* ---- Signals (signals.c). */
void signals_init(void);
void signals_forward_stop(int sig, siginfo_t *info,
                          void *uctx); /* a stop signal that is not ours: the program's handler */
/* Removes the stop signal from a copy of the program's set; returns the set to use. */
const sigset_t *signals_filter(const sigset_t *set, sigset_t *copy);
/* SEEP_SIGNAL: installs its handler while the program has none. */
void signals_trigger_init(void);

/* ---- Control socket (control.c), on the agent's thread. */
int control_open(void); /* listening descriptor, non-blocking, or a negative errno */
/* Serves at most one event per client; call when poll() says so. */
enum { CONTROL_CLIENTS = 8 };
struct pollfd;
unsigned control_poll_fds(struct pollfd *fds); /* at most 1 + CONTROL_CLIENTS */
void control_serve(const struct pollfd *fds, unsigned n);
void control_close(void);
void control_end(void);

/* ---- Exit (exit.c) and fork (fork.c). */
void exit_snapshot(void); /* once per process; returns at once when none is due */
bool exit_snapshot_begun(void);
void exit_init(void);
void exit_fork_child(void);
void fork_init(void); /* registers the handlers, before any of the program's */

#endif
