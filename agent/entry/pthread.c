/* SPDX-License-Identifier: Apache-2.0
 *
 * pthread_create and thrd_create: the new thread registers itself before it runs the program's routine.
 *
 *     creator: slot, creation stack, routine and argument → libc → thread_main(slot) → program's routine
 *
 * The argument may be the only pointer to a block until the new thread has read it, so it stays in the slot, where
 * the stop finds it, until the new thread's own frame holds it. */
#include "agent/entry/entry.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <threads.h>

#include "agent/entry/internal.h"
#include "agent/profile/profile.h"

typedef void *routine_fn(void *);

NEXT(pthread_create, int, (pthread_t *, const pthread_attr_t *, routine_fn *, void *));
NEXT(pthread_attr_setsigmask_np, int, (pthread_attr_t *, const sigset_t *));

void pthread_resolve(void)
{
    RESOLVE(pthread_create);
    RESOLVE(pthread_attr_setsigmask_np);
}

static void *thread_main(void *slot)
{
    struct thread *t = slot;
    routine_fn *routine = t->routine;
    void *arg = t->arg;
    t->frames_hi = (uintptr_t)__builtin_frame_address(0);
    thread_begin(t);
    t->routine = NULL;
    t->arg = NULL;
    return routine(arg);
}

static bool has_own_stack(const pthread_attr_t *attr)
{
    void *lo = NULL;
    size_t size = 0;
    return attr && pthread_attr_getstack(attr, &lo, &size) == 0 && lo && (uintptr_t)lo + size != 0;
}

SEEP_EXPORT int pthread_create(pthread_t *id, const pthread_attr_t *attr, routine_fn *routine, void *arg)
{
    life_init();
    FIND(pthread_create);
    agent_thread_poll(true);
    struct thread *self = thread_self(), *t = thread_new();
    if (!t) return next_pthread_create(id, attr, routine, arg);
    t->routine = routine;
    t->arg = arg;
    t->own_stack = has_own_stack(attr);
    t->stop_blocked = self && self->stop_blocked;
    t->create_stack = prof_stack_here(1);
    int rc = next_pthread_create(id, attr, thread_main, t);
    if (rc != 0) thread_free(t);
    return rc;
}

/* C11's threads end with an int where pthreads end with a pointer; thrd_join() reads it from there. */
struct c11_start {
    thrd_start_t routine;
    void *arg;
};

static void *c11_main(void *p)
{
    struct c11_start s = *(struct c11_start *)p;
    heap_free(p);
    return (void *)(intptr_t)s.routine(s.arg);
}

SEEP_EXPORT int thrd_create(thrd_t *id, thrd_start_t routine, void *arg)
{
    struct c11_start *s = heap_alloc(sizeof *s, 0, 0);
    if (!s) return thrd_nomem;
    *s = (struct c11_start){routine, arg};
    int rc = pthread_create(id, NULL, c11_main, s);
    if (rc != 0) heap_free(s);
    return rc == 0 ? thrd_success : rc == ENOMEM ? thrd_nomem : thrd_error;
}

SEEP_EXPORT int pthread_attr_setsigmask_np(pthread_attr_t *attr, const sigset_t *set)
{
    sigset_t copy;
    FIND(pthread_attr_setsigmask_np);
    return next_pthread_attr_setsigmask_np(attr, set ? signals_filter(set, &copy) : NULL);
}

/* For the agent's own thread: no slot is made by the creator. */
int pthread_create_plain(pthread_t *id, const pthread_attr_t *attr, routine_fn *routine, void *arg)
{
    FIND(pthread_create);
    return next_pthread_create(id, attr, routine, arg);
}
