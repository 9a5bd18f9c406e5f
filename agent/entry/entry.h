/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of agent/entry share: life cycle, threads, the agent's own thread. Only this folder
 * (and coro's public functions) exports symbols. */
#ifndef SEEP_ENTRY_H
#define SEEP_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEEP_EXPORT __attribute__((visibility("default")))

/* A thread of the program. Entries are never freed; a slot is reused after its thread has ended. */
struct thread {
    struct thread *next;
    int tid; /* 0: free slot */
    bool is_agent;
    bool ended; /* its stack [stack_lo, stack_hi) holds nothing live */
    uintptr_t stack_lo, stack_hi;
    uintptr_t tls;
    uint32_t create_stack; /* stack id */
    void *(*routine)(void *);
    void *arg;
    void *altstack; /* of the stop signal */
};

void threads_init(void);
struct thread *threads_first(void); /* iterate by next; entries appear atomically */
struct thread *thread_self(void);   /* registers the caller when needed; NULL when there is no room */
void threads_fork_child(void);

/* The next definition of a libc function that we wrap. Resolved once, early. */
void *next_symbol(const char *name);

/* The agent's thread. Started by the constructor, or later in a forked child. */
void agent_thread_start(void);
bool agent_thread_running(void);
bool agent_thread_is_self(void);
void agent_thread_fork_child(void);
void agent_thread_wake(void); /* async-signal-safe */

#endif
