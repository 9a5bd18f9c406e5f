/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels. Model: Go's runtime/chan.go; the rules are those of the Go specification ("Channel types", "Send statements",
 * "Receive operator", "Close"), and tests/unit/coro_chan.c has one row for each.
 *
 * Invariants, with the channel's lock held
 *   1. Senders and receivers never wait at once (but one select with both cases on an unbuffered channel).
 *   2. Buffered: senders wait only when the buffer is full, receivers only when it is empty.
 *   3. Closed: nobody waits.
 *   4. Waiters are served in the order in which they came. Who is served gets the value by direct hand-off, never has to
 *      try again.
 * A value of up to 16 bytes in flight stands in the wait node, a larger one on the stack of the one that waits. The channel is one
 * block of the heap with its buffer: what is in the buffer is seen by the marker; wait nodes are not. Nothing allocates under the
 * lock. */
#include "coro/chan.h"

#include <errno.h>
#include <string.h>

#include "coro/defer.h"
#include "coro/switch.h"

static inline void copy(void *to, const void *from, size_t n)
{
    if (n == 8)
        memcpy(to, from, 8);
    else if (n == 4)
        memcpy(to, from, 4);
    else if (n)
        memcpy(to, from, n);
}

static inline void clear(void *to, size_t n)
{
    if (n == 8)
        memset(to, 0, 8);
    else if (n)
        memset(to, 0, n);
}

/* Where element i of the buffer stands. */
static inline char *at(struct co_chan *c, size_t i)
{
    return c->buffer + i * c->elem_size;
}

static inline size_t after(const struct co_chan *c, size_t i)
{
    return i + 1 == c->cap ? 0 : i + 1;
}

COLD void chan_bad(const struct co_chan *c, const char *caller)
{
    report_fatal("%s: %p is not a channel, or was freed", caller, (const void *)c);
}

void waitq_remove(struct waitq *q, struct sudog *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else if (q->first == s)
        q->first = s->next;
    else
        return; /* was taken out by its waker */
    if (s->next)
        s->next->prev = s->prev;
    else
        q->last = s->prev;
    s->next = s->prev = NULL;
}

/* The first waiter that can still be woken, where waitq_pop() is not done with the first. */
struct sudog *waitq_pop_slow(struct waitq *q)
{
    for (;;) {
        struct sudog *s = q->first;
        if (!s) return NULL;
        q->first = s->next;
        if (s->next)
            s->next->prev = NULL;
        else
            q->last = NULL;
        s->next = s->prev = NULL;
        if (unlikely(g_status(s->g) == G_ORPHAN)) continue;
        if (s->in_select) {
            uint32_t open = 0;
            if (!atomic_compare_exchange_strong(&s->g->select_done, &open, 1)) continue; /* another case won */
        }
        return s;
    }
}

/* s was popped: its g runs on with this outcome. */
void sudog_wake(struct sudog *s, bool ok)
{
    s->ok = ok;
    s->g->wake = s;
    sched_ready(s->g);
}

/* g's own wait node. Its slots are zero between waits. */
static inline struct sudog *prepare(struct g *g, struct co_chan *c)
{
    struct sudog *s = &g->wait;
    s->g = g;
    s->more = NULL;
    s->object = c;
    s->ok = s->in_select = false;
    s->kind = SEEP_OBJ_CHAN;
    s->index = 0;
    s->slot[0] = s->slot[1] = 0;
    return s;
}

/* ---- the operations with the lock held: true when done; the lock is released then. self: the running coroutine, if that is known */

INLINE void wake(struct g *self, struct sudog *s)
{
    s->ok = true;
    s->g->wake = s;
    if (self)
        ready_next(s->g);
    else
        sched_ready(s->g);
}

INLINE bool send_locked(struct g *self, struct co_chan *c, const void *elem)
{
    if (c->receivers.first) {
        struct sudog *r = waitq_pop(&c->receivers);
        if (likely(r != NULL)) {
            if (r->elem) copy(r->elem, elem, c->elem_size);
            colock_release(&c->lock);
            wake(self, r);
            return true;
        }
    }
    if (c->count == c->cap) return false;
    copy(at(c, c->send_at), elem, c->elem_size);
    c->send_at = after(c, c->send_at);
    c->count++;
    colock_release(&c->lock);
    return true;
}

INLINE bool recv_locked(struct g *self, struct co_chan *c, void *elem, bool *ok)
{
    if (c->count) {
        char *slot = at(c, c->recv_at);
        if (elem) copy(elem, slot, c->elem_size);
        c->recv_at = after(c, c->recv_at);
        struct sudog *s = c->senders.first ? waitq_pop(&c->senders) : NULL;
        if (s) { /* full: the head of the queue goes out, the first sender's value to the tail, the same slot */
            copy(slot, s->elem, c->elem_size);
            c->send_at = c->recv_at;
            colock_release(&c->lock);
            wake(self, s);
        } else {
            clear(slot, c->elem_size); /* the buffer does not keep alive what was taken out */
            c->count--;
            colock_release(&c->lock);
        }
        *ok = true;
        return true;
    }
    if (unlikely(c->closed)) {
        colock_release(&c->lock);
        if (elem) memset(elem, 0, c->elem_size);
        *ok = false;
        return true;
    }
    struct sudog *s = c->senders.first ? waitq_pop(&c->senders) : NULL;
    if (!s) return false;
    if (elem) copy(elem, s->elem, c->elem_size);
    colock_release(&c->lock);
    wake(self, s);
    *ok = true;
    return true;
}

bool chan_send_locked(struct co_chan *c, const void *elem)
{
    return send_locked(NULL, c, elem);
}

bool chan_recv_locked(struct co_chan *c, void *elem, bool *ok)
{
    return recv_locked(NULL, c, elem, ok);
}

_Noreturn void chan_park_nil(struct g *g, enum seep_wait_reason reason)
{
    g->wait = (struct sudog){.g = g, .kind = SEEP_OBJ_CHAN};
    g->waits = &g->wait;
    sched_park(g, POST_NONE, reason);
    __builtin_unreachable();
}

/* ---- public */

/* extra_bytes stand after the buffer, aligned to 8. */
struct co_chan *chan_new(size_t elem_size, size_t cap, unsigned flags, size_t extra_bytes)
{
    size_t bytes;
    if (elem_size > UINT32_MAX || __builtin_mul_overflow(elem_size, cap, &bytes) || bytes > (size_t)1 << 46 ||
        cap > (size_t)1 << 46) {
        *co_errno_location() = EINVAL;
        return NULL;
    }
    bool noscan = (flags & CO_NOSCAN || bytes < sizeof(void *)) && !extra_bytes;
    if (extra_bytes) bytes = ((bytes + 7) & ~(size_t)7) + extra_bytes;
    struct co_chan *c = heap_alloc(sizeof *c + bytes, 0, HEAP_ZERO | (noscan ? HEAP_NOSCAN : 0));
    if (!c) return NULL;
    c->magic = CHAN_MAGIC;
    c->elem_size = (uint32_t)elem_size;
    c->cap = cap;
    return c;
}

CO_EXPORT co_chan *co_chan_make_flags(size_t elem_size, size_t cap, unsigned flags)
{
    return chan_new(elem_size, cap, flags, 0);
}

CO_EXPORT co_chan *co_chan_make(size_t elem_size, size_t cap)
{
    return chan_new(elem_size, cap, 0, 0);
}

CO_EXPORT void co_chan_free(co_chan *c)
{
    if (!c) return;
    chan_check(c, "co_chan_free");
    if (c->is_timer) timer_object_end(c);
    colock_acquire(&c->lock);
    if (c->receivers.first || c->senders.first)
        report_fatal("co_chan_free: a coroutine waits on channel %p", (void *)c);
    c->magic = 0;
    colock_release(&c->lock);
    heap_free(c);
}

CO_EXPORT void co_send(co_chan *c, const void *elem)
{
    struct g *g = runtime_parker("co_send");
    if (unlikely(!c)) chan_park_nil(g, SEEP_WAIT_CHAN_SEND_NIL);
    chan_check(c, "co_send");
    colock_acquire(&c->lock);
    if (unlikely(c->closed)) {
        colock_release(&c->lock);
        runtime_panic("send on closed channel %p", (void *)c);
    }
    if (send_locked(g, c, elem)) return;
    struct sudog *s = prepare(g, c);
    if (likely(c->elem_size <= sizeof s->slot)) {
        s->elem = s->slot;
        copy(s->slot, elem, c->elem_size);
    } else {
        s->elem = (void *)(uintptr_t)elem;
    }
    waitq_push(&c->senders, s);
    g->waits = s;
    switch_park(g, (uintptr_t)&c->lock, SEEP_WAIT_CHAN_SEND);
    g->waits = NULL;
    s->slot[0] = s->slot[1] = 0;
    if (unlikely(!s->ok))
        runtime_panic("send on closed channel %p (closed while this coroutine waited to send)", (void *)c);
}

CO_EXPORT bool co_recv(co_chan *c, void *elem)
{
    struct g *g = runtime_parker("co_recv");
    if (unlikely(!c)) chan_park_nil(g, SEEP_WAIT_CHAN_RECV_NIL);
    chan_check(c, "co_recv");
    bool ok;
    colock_acquire(&c->lock);
    if (recv_locked(g, c, elem, &ok)) return ok;
    struct sudog *s = prepare(g, c);
    size_t size = c->elem_size;
    bool small = size <= sizeof s->slot;
    s->elem = small ? s->slot : elem;
    if (elem)
        clear(elem, size); /* the value of the round before would keep what it points to, for as long as this waits */
    waitq_push(&c->receivers, s);
    g->waits = s;
    switch_park(g, (uintptr_t)&c->lock, SEEP_WAIT_CHAN_RECV);
    g->waits = NULL;
    if (elem) {
        if (unlikely(!s->ok))
            memset(elem, 0, size);
        else if (small)
            copy(elem, s->slot, size);
    }
    s->slot[0] = s->slot[1] = 0;
    return s->ok;
}

CO_EXPORT bool co_try_send(co_chan *c, const void *elem)
{
    if (!c) return false;
    chan_check(c, "co_try_send");
    colock_acquire(&c->lock);
    if (unlikely(c->closed)) {
        colock_release(&c->lock);
        runtime_panic("send on closed channel %p", (void *)c);
    }
    if (chan_send_locked(c, elem)) return true;
    colock_release(&c->lock);
    return false;
}

CO_EXPORT bool co_try_recv(co_chan *c, void *elem, bool *ok)
{
    bool dummy;
    if (!c) return false;
    chan_check(c, "co_try_recv");
    colock_acquire(&c->lock);
    if (chan_recv_locked(c, elem, ok ? ok : &dummy)) return true;
    colock_release(&c->lock);
    return false;
}

CO_EXPORT void co_close(co_chan *c)
{
    if (!c) runtime_panic("close of nil channel");
    chan_check(c, "co_close");
    if (c->is_timer) runtime_panic("close of a timer's channel %p", (void *)c);
    colock_acquire(&c->lock);
    if (c->closed) {
        colock_release(&c->lock);
        runtime_panic("close of closed channel %p", (void *)c);
    }
    c->closed = true;
    struct sudog *woken = NULL, **end = &woken;
    for (int i = 0; i < 2; i++)
        for (struct sudog *s; (s = waitq_pop(i ? &c->senders : &c->receivers)) != NULL; end = &s->next) *end = s;
    colock_release(&c->lock);
    while (woken) {
        struct sudog *next = woken->next; /* its owner's again once it is awake */
        woken->next = NULL;
        sudog_wake(woken, false);
        woken = next;
    }
}

CO_EXPORT size_t co_len(const co_chan *c)
{
    if (!c) return 0;
    chan_check(c, "co_len");
    if (c->is_timer) return 0; /* looks unbuffered, as since Go 1.23 */
    return __atomic_load_n(&c->count, __ATOMIC_RELAXED);
}

CO_EXPORT size_t co_cap(const co_chan *c)
{
    if (!c) return 0;
    chan_check(c, "co_cap");
    return c->is_timer ? 0 : c->cap;
}
