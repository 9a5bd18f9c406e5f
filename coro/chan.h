/* SPDX-License-Identifier: Apache-2.0
 *
 * What chan.c shares with select.c and sync.c: the channel, wait queues, and the operations under the lock. */
#ifndef CORO_CHAN_H
#define CORO_CHAN_H

#include "coro/include/coro.h"
#include "coro/runtime.h"

struct waitq {
    struct sudog *first, *last;
};

struct co_chan {
    struct colock lock; /* first: sched.c unlocks what is waited for by its address */
    uint32_t magic;
    uint32_t elem_size;
    bool closed;
    bool is_timer; /* ticker.c: a timer follows the buffer */
    size_t cap, count;
    size_t send_at, recv_at; /* indices into the buffer */
    struct waitq receivers, senders;
    _Alignas(16) char buffer[]; /* cap elements, a ring */
};

struct co_chan *chan_new(size_t elem_size, size_t cap, unsigned flags, size_t extra_bytes);
enum { CHAN_MAGIC = 0x6e616863 };
void chan_bad(const struct co_chan *c, const char *caller);
static inline void chan_check(const struct co_chan *c, const char *caller)
{
    if (unlikely(c->magic != CHAN_MAGIC)) chan_bad(c, caller);
}
bool chan_send_locked(struct co_chan *c, const void *elem);     /* true: done and unlocked */
bool chan_recv_locked(struct co_chan *c, void *elem, bool *ok); /* true: done and unlocked */
void *ctx_timer_object(struct timer *t);                        /* ctx.c: as timer_object(), of a deadline */
void timer_object_end(struct co_chan *c); /* ticker.c: its timer is stopped, and nobody is firing it */
_Noreturn void chan_park_nil(struct g *g, enum seep_wait_reason reason);

void waitq_remove(struct waitq *q, struct sudog *s);
struct sudog *waitq_pop_slow(struct waitq *q);

static inline void waitq_push(struct waitq *q, struct sudog *s)
{
    struct sudog *last = q->last;
    s->next = NULL;
    s->prev = last;
    q->last = s;
    if (last)
        last->next = s;
    else
        q->first = s;
}

/* The first waiter that can still be woken. */
static inline struct sudog *waitq_pop(struct waitq *q)
{
    struct sudog *s = q->first;
    if (!s) return NULL;
    if (s->next || s->in_select || g_status(s->g) == G_ORPHAN) return waitq_pop_slow(q);
    q->first = q->last = NULL; /* it was alone */
    s->prev = NULL;
    return s;
}

void sudog_wake(struct sudog *s, bool ok);

#endif
