/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of sync share: the wait node of an operation on one object, and waking a list. */
#ifndef CORO_SYNC_H
#define CORO_SYNC_H

#include "coro/chan.h"

/* The two pointers of a public structure as the queue that they are. */
#define WAITQ(object, first) ((struct waitq *)(void *)&(object)->first)

static inline struct sudog *wait_node(struct g *g, void *object, enum seep_object_kind kind)
{
    g->wait = (struct sudog){.g = g, .object = object, .kind = (uint16_t)kind};
    g->waits = &g->wait;
    return &g->wait;
}

/* Nodes that were popped, linked by next: they run on after the object's lock is released. */
static inline void wake_list(struct sudog *woken)
{
    while (woken) {
        struct sudog *next = woken->next;
        woken->next = NULL;
        sudog_wake(woken, true);
        woken = next;
    }
}

/* Takes all of q; *n is how many. */
static inline struct sudog *take_all(struct waitq *q, uint32_t *n)
{
    struct sudog *woken = NULL, **end = &woken;
    *n = 0;
    for (struct sudog *s; (s = waitq_pop(q)) != NULL; end = &s->next, ++*n) *end = s;
    return woken;
}

/* The id by which a lock remembers its holder: 0 outside of coroutines. */
static inline uint64_t holder_id(void)
{
    const struct g *g = context_self();
    return g ? g->id : 0;
}

#endif
