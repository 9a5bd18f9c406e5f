/* SPDX-License-Identifier: Apache-2.0
 *
 * Contexts: cancellation, deadlines and values along a tree. Model: Go's package context.
 *
 * A context is a block of the heap. Its creator holds one reference, each child one, a pending timer one; co_ctx_free() cancels and drops the
 * creator's. A child that can be cancelled stands in the list of its nearest ancestor that can be; nothing stands in a list of
 * one that cannot (the background), so finished children leave no trace anywhere.
 *
 * Cancelling marks a whole subtree under the tree lock, then closes the channels without it.
 *
 * Invariants, with the tree lock held
 *   1. err is set once, and for all descendants of a cancelled context.
 *   2. In a list: not cancelled, and the parent neither.
 * Locks: `tree` (an object lock; the channel's and the timer heap's come after it). Deadlines fire on g0. */
#include "coro/chan.h"

#include <errno.h>

struct co_ctx {
    co_ctx *parent;   /* NULL: a background */
    co_ctx *canceler; /* the nearest one that can be cancelled, itself perhaps; NULL: none */
    co_ctx *first_child, *next, *prev;
    co_ctx *closing; /* link while a subtree is being cancelled */
    co_chan *done;
    const char *cause;
    const void *key;
    void *value;
    uint64_t deadline_ns; /* 0: none */
    struct timer timer;
    uint32_t refs; /* atomic */
    int err;
    bool has_timer;
};

static struct colock tree;
static co_ctx background;

static co_ctx *ref(co_ctx *c)
{
    if (c->parent) __atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

static void unref(co_ctx *c)
{
    while (c && c->parent && __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        co_ctx *parent = c->parent;
        if (c->canceler == c) co_chan_free(c->done);
        heap_free(c);
        c = parent;
    }
}

static void check(const co_ctx *c, const char *caller)
{
    if (unlikely(!c)) report_fatal("%s: the context is NULL", caller);
}

/* ---- cancelling */

/* With the tree locked: c leaves its parent's list, and it and all below are marked and linked by `closing`, each with a reference. */
static co_ctx *mark_subtree(co_ctx *c, int err, const char *cause)
{
    co_ctx *up = c->parent->canceler;
    if (c->prev)
        c->prev->next = c->next;
    else if (up && up->first_child == c)
        up->first_child = c->next;
    if (c->next) c->next->prev = c->prev;
    c->next = c->prev = NULL;

    co_ctx *first = ref(c), *last = c;
    c->closing = NULL;
    c->cause = cause;
    __atomic_store_n(&c->err, err, __ATOMIC_RELEASE);
    for (co_ctx *at = first; at; at = at->closing) {
        for (co_ctx *k = at->first_child, *next; k; k = next) {
            next = k->next;
            k->next = k->prev = k->closing = NULL;
            k->cause = cause;
            __atomic_store_n(&k->err, err, __ATOMIC_RELEASE);
            last->closing = ref(k);
            last = k;
        }
        at->first_child = NULL;
    }
    return first;
}

static void cancel(co_ctx *c, int err, const char *cause)
{
    colock_acquire(&tree);
    co_ctx *list = c->err ? NULL : mark_subtree(c, err, cause);
    colock_release(&tree);
    for (co_ctx *next; list; list = next) {
        next = list->closing;
        list->closing = NULL;
        co_close(list->done);
        if (list->has_timer && timer_remove(&list->timer)) unref(list);
        unref(list);
    }
}

static co_ctx *ctx_of(struct timer *t)
{
    return (co_ctx *)((char *)t - offsetof(struct co_ctx, timer));
}

static void expire(struct timer *t)
{
    co_ctx *c = ctx_of(t);
    cancel(c, -ETIMEDOUT, NULL);
    unref(c); /* the timer's */
}

void *ctx_timer_object(struct timer *t)
{
    return t->fire == expire ? ctx_of(t) : NULL;
}

/* Contexts that others were changing at that moment are like their channels: not to be used in the child. */
void ctx_fork_child(void)
{
    tree = (struct colock){0};
}

/* ---- making */

static co_ctx *make(co_ctx *parent, const char *caller)
{
    check(parent, caller);
    co_ctx *c = heap_alloc(sizeof *c, 0, HEAP_ZERO);
    if (!c) return NULL;
    c->parent = ref(parent);
    c->canceler = parent->canceler;
    c->deadline_ns = parent->deadline_ns;
    c->done = parent->done;
    c->refs = 1;
    return c;
}

/* Cancellable; in its ancestor's list, or cancelled as that is. */
static co_ctx *make_canceler(co_ctx *parent, const char *caller)
{
    co_chan *done = co_chan_make(0, 0);
    co_ctx *c = done ? make(parent, caller) : NULL;
    if (!c) {
        co_chan_free(done);
        return NULL;
    }
    c->done = done;
    c->canceler = c;
    co_ctx *up = parent->canceler;
    if (!up) return c;
    colock_acquire(&tree);
    int err = up->err;
    c->cause = up->cause;
    c->err = err;
    if (!err) {
        c->next = up->first_child;
        if (c->next) c->next->prev = c;
        up->first_child = c;
    }
    colock_release(&tree);
    if (err) co_close(done);
    return c;
}

CO_EXPORT co_ctx *co_background(void)
{
    return &background;
}

CO_EXPORT co_ctx *co_with_cancel(co_ctx *parent)
{
    return make_canceler(parent, "co_with_cancel");
}

CO_EXPORT co_ctx *co_with_deadline(co_ctx *parent, uint64_t mono_ns)
{
    co_ctx *c = make_canceler(parent, "co_with_deadline");
    if (!c || (c->deadline_ns && c->deadline_ns <= mono_ns)) return c; /* the parent's comes first */
    c->deadline_ns = mono_ns;
    if (mono_ns <= os_mono_ns()) {
        cancel(c, -ETIMEDOUT, NULL);
        return c;
    }
    struct g *self = runtime_self();
    sysmon_start();
    colock_acquire(&tree); /* against a cancel of the parent meanwhile */
    if (!c->err) {
        c->has_timer = true;
        ref(c);
        timer_add(self && self->m->p ? self->m->p : &sched.ps[0], &c->timer, mono_ns, expire);
    }
    colock_release(&tree);
    return c;
}

CO_EXPORT co_ctx *co_with_timeout(co_ctx *parent, uint64_t ns)
{
    uint64_t now = os_mono_ns();
    return co_with_deadline(parent, now + ns < now ? UINT64_MAX - 1 : now + ns);
}

CO_EXPORT co_ctx *co_with_value(co_ctx *parent, const void *key, void *value)
{
    if (!key) report_fatal("co_with_value: the key is NULL");
    co_ctx *c = make(parent, "co_with_value");
    if (!c) return NULL;
    c->key = key;
    c->value = value;
    return c;
}

CO_EXPORT co_ctx *co_without_cancel(co_ctx *parent)
{
    co_ctx *c = make(parent, "co_without_cancel");
    if (!c) return NULL;
    c->canceler = NULL;
    c->done = NULL;
    c->deadline_ns = 0;
    return c;
}

CO_EXPORT void co_ctx_cancel_cause(co_ctx *c, const char *cause)
{
    check(c, "co_ctx_cancel");
    if (c->canceler == c && c->parent) cancel(c, -ECANCELED, cause);
}

CO_EXPORT void co_ctx_cancel(co_ctx *c)
{
    co_ctx_cancel_cause(c, NULL);
}

CO_EXPORT void co_ctx_free(co_ctx *c)
{
    if (!c || !c->parent) return;
    co_ctx_cancel_cause(c, NULL);
    unref(c);
}

/* ---- asking */

CO_EXPORT co_chan *co_ctx_done(const co_ctx *c)
{
    check(c, "co_ctx_done");
    return c->done;
}

CO_EXPORT int co_ctx_err(const co_ctx *c)
{
    check(c, "co_ctx_err");
    return c->canceler ? __atomic_load_n(&c->canceler->err, __ATOMIC_ACQUIRE) : 0;
}

CO_EXPORT const char *co_ctx_cause(const co_ctx *c)
{
    int err = co_ctx_err(c);
    if (!err) return NULL;
    if (c->canceler->cause) return c->canceler->cause;
    return err == -ETIMEDOUT ? "context deadline exceeded" : "context canceled";
}

CO_EXPORT bool co_ctx_deadline(const co_ctx *c, uint64_t *mono_ns)
{
    check(c, "co_ctx_deadline");
    if (c->deadline_ns && mono_ns) *mono_ns = c->deadline_ns;
    return c->deadline_ns != 0;
}

CO_EXPORT void *co_ctx_value(const co_ctx *c, const void *key)
{
    check(c, "co_ctx_value");
    for (; c; c = c->parent)
        if (c->key && c->key == key) return c->value;
    return NULL;
}
