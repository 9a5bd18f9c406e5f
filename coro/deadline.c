/* SPDX-License-Identifier: Apache-2.0
 *
 * Deadlines of descriptors. Model: SetDeadline of Go's package net. A wait with a deadline has a timer in the coroutine's descriptor, in the
 * place where other waits have their node. The poller and the timer both take the waiter out of the entry's list under the
 * entry's lock: who finds it there, wakes it.
 *
 * Invariant: when deadline_end() returns, the timer is in no heap and no fire of it is under way, so the place is free for the next
 * wait. Locks: the entry's, then the timer heap's. */
#include "coro/runtime.h"

#include <errno.h>

#include "coro/include/coro.h"
#include "coro/poll.h"

static bool take_out(struct g_list *l, struct g *g)
{
    struct g *before = NULL;
    for (struct g *at = l->head; at; before = at, at = at->link) {
        if (at != g) continue;
        if (before)
            before->link = g->link;
        else
            l->head = g->link;
        if (l->tail == g) l->tail = before;
        l->n--;
        g->link = NULL;
        atomic_fetch_sub(&poll_waiters.n, 1);
        return true;
    }
    return false;
}

/* On g0. */
static void expire(struct timer *t)
{
    struct g *g = (struct g *)((char *)t - offsetof(struct g, io.timer));
    struct pollfd_entry *e = g->io.entry;
    colock_acquire(&e->lock);
    bool found = take_out(g->io.write ? &e->writers : &e->readers, g);
    if (found) g->io.expired = true;
    colock_release(&e->lock);
    __atomic_fetch_sub(&t->firing, 1, __ATOMIC_RELEASE); /* from here on, t is g's own unless g was found */
    if (found) sched_ready(g);
}

bool deadline_begin(struct g *g, struct pollfd_entry *e, bool write)
{
    uint64_t when = write ? e->write_deadline_ns : e->read_deadline_ns;
    if (when <= os_mono_ns()) return false;
    g->io = (struct io_wait){.entry = e, .write = write};
    timer_add(g->m->p, &g->io.timer, when, expire);
    return true;
}

bool deadline_end(struct g *g)
{
    if (!g->io.expired) timer_remove(&g->io.timer);
    while (__atomic_load_n(&g->io.timer.firing, __ATOMIC_ACQUIRE)) os_yield();
    return g->io.expired;
}

CO_EXPORT int co_set_deadline(int fd, uint64_t read_mono_ns, uint64_t write_mono_ns)
{
    struct g_list out = {0};
    struct pollfd_entry *e = poll_entry(fd);
    if (!e) {
        errno = EBADF;
        return -1;
    }
    colock_acquire(&e->lock);
    bool read_changed = e->read_deadline_ns != read_mono_ns, write_changed = e->write_deadline_ns != write_mono_ns;
    e->read_deadline_ns = read_mono_ns;
    e->write_deadline_ns = write_mono_ns;
    /* Those that wait try again, and begin their wait with the new deadline. */
    for (struct g *g; read_changed && (g = list_pop(&e->readers)) != NULL;) list_push(&out, g);
    for (struct g *g; write_changed && (g = list_pop(&e->writers)) != NULL;) list_push(&out, g);
    atomic_fetch_sub(&poll_waiters.n, out.n);
    colock_release(&e->lock);
    for (struct g *g; (g = list_pop(&out)) != NULL;) sched_ready(g);
    return 0;
}
