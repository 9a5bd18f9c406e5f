/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers and tickers that programs hold. Model: Go's package time, with the semantics of Go 1.23 for the channel (it looks unbuffered,
 * and nothing stale can be received after Stop or Reset) and of 1.22 for lifetime (a running ticker stays in the timer heap
 * until it is stopped; with CORO_TIMER_GC=1 until a snapshot finds that nothing reaches it, as in Go 1.23: pack_scan.c).
 *
 * An object is a channel with room for one uint64_t, followed by its timer: one block of the heap, and co_timer, co_ticker and
 * the channel are the same address. While a timer is pending its object is a root (timer_roots()).
 *
 * Invariants, with the channel's lock held
 *   1. armed: the timer is in a heap, or a fire of it is on its way (taken from the heap, not yet here).
 *   2. A fire that finds the timer in a heap again, or not armed, was overtaken by Stop or Reset and does nothing.
 *   3. Memory is given back when t.firing is 0: the last thing that a fire does is to count itself out.
 * Locks: the channel's, then the timer heap's. Fires run on g0. */
#include "coro/chan.h"

enum kind { KIND_CHAN, KIND_FUNC, KIND_TICKER };

struct object {
    struct timer t;
    uint64_t when_ns, period_ns, dropped;
    co_fn *fn;
    void *arg;
    uint32_t create_stack;
    uint8_t kind;
    bool armed;
};

static struct object *object_of(struct co_chan *c)
{
    return (struct object *)(void *)(c->buffer + sizeof(uint64_t));
}
static struct co_chan *chan_of(struct timer *t)
{
    return (struct co_chan *)(void *)((char *)t - offsetof(struct object, t) - sizeof(uint64_t) -
                                      offsetof(struct co_chan, buffer));
}

static void fire(struct timer *t);

void *timer_object(struct timer *t)
{
    return t->fire == fire ? chan_of(t) : NULL;
}

bool timer_fact(struct timer *t, struct seep_timer *out)
{
    if (t->fire != fire) return false;
    const struct object *o = (const struct object *)(const void *)t;
    if (o->kind == KIND_FUNC) return false;
    *out = (struct seep_timer){.object = (uintptr_t)chan_of(t),
                               .ticker = o->kind == KIND_TICKER,
                               .when_ns = o->when_ns,
                               .period_ns = o->kind == KIND_TICKER ? o->period_ns : 0,
                               .dropped = o->dropped,
                               .create_stack = o->create_stack};
    return true;
}

static uint64_t after_ns(uint64_t ns)
{
    uint64_t now = os_mono_ns();
    return now + ns < now ? UINT64_MAX - 1 : now + ns;
}

/* With the lock held. */
static void arm(struct object *o, uint64_t when_ns)
{
    struct g *self = runtime_self();
    struct p *p = self && self->m->p ? self->m->p : &sched.ps[0];
    o->armed = true;
    o->when_ns = when_ns;
    timer_add(p, &o->t, when_ns, fire);
}

/* With the lock held. True: it was to fire, or its value had not been received. */
static bool disarm(struct co_chan *c, struct object *o)
{
    bool pending = o->armed;
    if (pending) {
        bool there = timer_remove(&o->t);
        if (!there && o->kind == KIND_FUNC) pending = false; /* it has begun */
    }
    o->armed = false;
    if (c->count) { /* what nobody received yet, nobody will */
        __builtin_memset(c->buffer, 0, sizeof(uint64_t));
        c->count = 0;
        c->send_at = c->recv_at = 0;
        pending = true;
    }
    return pending;
}

static void fire(struct timer *t)
{
    struct co_chan *c = chan_of(t);
    struct object *o = object_of(c);
    colock_acquire(&c->lock);
    if (!o->armed || __atomic_load_n(&t->when_ns, __ATOMIC_RELAXED) != 0) {
        colock_release(&c->lock);
        goto out;
    }
    uint64_t now = os_mono_ns();
    if (o->kind == KIND_TICKER) /* in step with its beginning, however late this one is */
        arm(o, o->when_ns + o->period_ns * (1 + (now - o->when_ns) / o->period_ns));
    else
        o->armed = false;
    if (o->kind == KIND_FUNC) {
        co_fn *fn = o->fn;
        void *arg = o->arg;
        uint32_t stack = o->create_stack;
        colock_release(&c->lock);
        if (spawn_from(stack, fn, arg) != 0) report_fatal("no memory for the coroutine of a timer");
    } else if (!chan_send_locked(c, &now)) {
        o->dropped++;
        colock_release(&c->lock);
    }
out:
    __atomic_fetch_sub(&t->firing, 1, __ATOMIC_RELEASE);
}

void timer_object_end(struct co_chan *c)
{
    struct object *o = object_of(c);
    colock_acquire(&c->lock);
    disarm(c, o);
    colock_release(&c->lock);
    while (__atomic_load_n(&o->t.firing, __ATOMIC_ACQUIRE)) os_yield();
}

/* By the snapshot's word: nothing reaches it, so nobody stops it, frees it or takes what it sends. */
void timer_let_go(uintptr_t object)
{
    struct co_chan *c = (struct co_chan *)object;
    if (c->magic != CHAN_MAGIC || !c->is_timer) return;
    colock_acquire(&c->lock);
    bool waited_for = c->receivers.first || c->senders.first;
    colock_release(&c->lock);
    if (!waited_for) co_chan_free(c);
}

static struct co_chan *object_new(enum kind kind, uint64_t ns, co_fn *fn, void *arg, uint32_t create_stack)
{
    struct co_chan *c = chan_new(sizeof(uint64_t), 1, 0, sizeof(struct object));
    if (!c) return NULL;
    c->is_timer = true;
    struct object *o = object_of(c);
    o->kind = (uint8_t)kind;
    o->fn = fn;
    o->arg = arg;
    o->create_stack = create_stack;
    if (kind == KIND_TICKER) o->period_ns = ns;
    runtime_self();
    sysmon_start();
    colock_acquire(&c->lock);
    arm(o, after_ns(ns));
    colock_release(&c->lock);
    return c;
}

static struct co_chan *checked(const void *t, const char *caller, bool ticker)
{
    struct co_chan *c = (struct co_chan *)(uintptr_t)t;
    if (!c) report_fatal("%s: NULL", caller);
    chan_check(c, caller);
    if (!c->is_timer || (object_of(c)->kind == KIND_TICKER) != ticker)
        report_fatal("%s: %p is no %s", caller, (void *)c, ticker ? "ticker" : "timer");
    return c;
}

/* The stack of the function that this stands in. */
#define CREATED_HERE()                                                                         \
    created_at(runtime_self(), (uintptr_t)__builtin_return_address(0), /* of a noinline one */ \
               (uintptr_t)__builtin_frame_address(0) + 16)

static uint32_t created_at(struct g *self, uintptr_t ra, uintptr_t cfa)
{
    return site_here(self ? self->m : NULL, ra, cfa);
}

/* ---- timers */

CO_EXPORT __attribute__((noinline)) co_chan *co_after(uint64_t ns)
{
    return object_new(KIND_CHAN, ns, NULL, NULL, CREATED_HERE());
}

CO_EXPORT __attribute__((noinline)) co_timer *co_timer_new(uint64_t ns)
{
    return (co_timer *)object_new(KIND_CHAN, ns, NULL, NULL, CREATED_HERE());
}

CO_EXPORT __attribute__((noinline)) co_timer *co_after_func(uint64_t ns, co_fn *fn, void *arg)
{
    return (co_timer *)object_new(KIND_FUNC, ns, fn, arg, CREATED_HERE());
}

CO_EXPORT co_chan *co_timer_chan(co_timer *t)
{
    struct co_chan *c = checked(t, "co_timer_chan", false);
    return object_of(c)->kind == KIND_FUNC ? NULL : c;
}

CO_EXPORT bool co_timer_stop(co_timer *t)
{
    struct co_chan *c = checked(t, "co_timer_stop", false);
    colock_acquire(&c->lock);
    bool pending = disarm(c, object_of(c));
    colock_release(&c->lock);
    return pending;
}

CO_EXPORT bool co_timer_reset(co_timer *t, uint64_t ns)
{
    struct co_chan *c = checked(t, "co_timer_reset", false);
    colock_acquire(&c->lock);
    bool pending = disarm(c, object_of(c));
    arm(object_of(c), after_ns(ns));
    colock_release(&c->lock);
    return pending;
}

CO_EXPORT void co_timer_free(co_timer *t)
{
    if (t) co_chan_free(checked(t, "co_timer_free", false));
}

/* ---- tickers */

CO_EXPORT __attribute__((noinline)) co_ticker *co_ticker_new(uint64_t period_ns)
{
    if (period_ns == 0) report_fatal("co_ticker_new: a period of 0");
    return (co_ticker *)object_new(KIND_TICKER, period_ns, NULL, NULL, CREATED_HERE());
}

CO_EXPORT co_chan *co_ticker_chan(co_ticker *t)
{
    return checked(t, "co_ticker_chan", true);
}

CO_EXPORT void co_ticker_stop(co_ticker *t)
{
    struct co_chan *c = checked(t, "co_ticker_stop", true);
    colock_acquire(&c->lock);
    disarm(c, object_of(c));
    colock_release(&c->lock);
}

CO_EXPORT void co_ticker_reset(co_ticker *t, uint64_t period_ns)
{
    struct co_chan *c = checked(t, "co_ticker_reset", true);
    if (period_ns == 0) report_fatal("co_ticker_reset: a period of 0");
    colock_acquire(&c->lock);
    disarm(c, object_of(c));
    object_of(c)->period_ns = period_ns;
    arm(object_of(c), after_ns(period_ns));
    colock_release(&c->lock);
}

CO_EXPORT uint64_t co_ticker_dropped(co_ticker *t)
{
    struct co_chan *c = checked(t, "co_ticker_dropped", true);
    return __atomic_load_n(&object_of(c)->dropped, __ATOMIC_RELAXED);
}

CO_EXPORT void co_ticker_free(co_ticker *t)
{
    if (t) co_chan_free(checked(t, "co_ticker_free", true));
}
