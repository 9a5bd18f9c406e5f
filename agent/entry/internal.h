/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of agent/entry only. */
#ifndef SEEP_ENTRY_INTERNAL_H
#define SEEP_ENTRY_INTERNAL_H

#include <pthread.h>

#include "agent/entry/entry.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A pointer to the next definition: NEXT(read, ssize_t, (int, void *, size_t)) declares next_read, and
 * next_resolve_NAME() fills it. FIND(read) is to be used before the first call, where the constructor may not have run. */
#define NEXT(name, ret, args) static ret(*next_##name) args
#define RESOLVE(name)         (next_##name = __extension__(__typeof__(next_##name)) next_symbol(#name))
#define FIND(name)                                 \
    do {                                           \
        if (unlikely(!next_##name)) RESOLVE(name); \
    } while (0)

void life_fork_child(void);
void finalizer_thread_fork_child(void);
void pthread_resolve(void);
/* pthread_create of libc, for the agent's own thread. */
int pthread_create_plain(pthread_t *id, const pthread_attr_t *attr, void *(*routine)(void *), void *arg);
struct thread *thread_new(void);     /* a slot with tid -1, NULL when there is no memory */
void thread_free(struct thread *t);  /* of a thread that never ran */
void thread_begin(struct thread *t); /* the calling thread takes its slot */
void thread_end(struct thread *t);   /* the calling thread leaves it: near its end */
void signals_resolve(void);
void credentials_resolve(void);
void eintr_resolve(void);
void eintr_io_resolve(void);

#endif
