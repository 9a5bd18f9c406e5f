/* SPDX-License-Identifier: Apache-2.0
 *
 * What the task provider says of coroutines in each state, and the creation stack's cache: same place by different ways gives
 * different stacks. CORO_MAXPROCS=1, so that nothing moves while it is looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/profile/profile.h"
#include "agent/snapshot/snapshot.h"
#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

struct seen {
    struct seep_task task;
    struct seep_wait waits[8];
    unsigned frames;
    uintptr_t pcs[32];
};
static struct seen seen[64];
static unsigned nseen;

static int note(void *arg, const struct seep_task *t)
{
    (void)arg;
    struct seen *s = &seen[nseen++];
    s->task = *t;
    for (unsigned i = 0; i < t->nwaits && i < 8; i++) s->waits[i] = t->waits[i];
    if (t->pc) {
        struct unwind_regs r = {.pc = t->pc, .sp = t->sp, .fp = t->fp};
        s->frames = unwind_stopped(&r, t->stack_lo, t->stack_hi, t->stack_image, s->pcs, 32);
    }
    return 0;
}
static void look(void)
{
    nseen = 0;
    for (unsigned i = 0; i < provider_count(); i++)
        if (strcmp(provider_get(i)->name, "coro") == 0) provider_get(i)->iterate(provider_get(i)->ctx, note, NULL);
}
static const struct seen *named(const char *name)
{
    for (unsigned i = 0; i < nseen; i++)
        if (seen[i].task.name && strcmp(seen[i].task.name, name) == 0) return &seen[i];
    fprintf(stderr, "no coroutine %s\n", name);
    _exit(1);
}

static co_chan *a, *b;
static void receiver(void *arg)
{
    co_recv(arg, NULL);
    __asm__ volatile(""); /* no tail call: the frame is looked for */
}
static void sender(void *arg)
{
    void *value = (void *)0x1234567890;
    co_send(arg, &value);
}
static void nil_receiver(void *arg)
{
    (void)arg;
    co_recv(NULL, NULL);
}
static void selector(void *arg)
{
    (void)arg;
    struct co_case cases[] = {{.ch = a, .kind = CO_RECV}, {.ch = NULL, .kind = CO_RECV}, {.ch = b, .kind = CO_RECV}};
    co_select(cases, 3);
}
static void sleeper(void *arg)
{
    (void)arg;
    co_sleep_ns(3600000000000u);
}
static void never_started(void *arg)
{
    (void)arg;
}

static void start(const char *name, co_fn *fn, void *arg)
{
    assert_int_equal(co_go_attr(&(struct co_attr){.name = name}, fn, arg), 0);
}

static bool has_reg(const struct seep_task *t, uintptr_t v)
{
    for (unsigned i = 0; i < t->nregs; i++)
        if (t->regs[i] == v) return true;
    return false;
}

static void test_states(void)
{
    a = co_make(void *, 0);
    b = co_make(void *, 0);
    co_chan *c = co_make(void *, 0);
    start("receiver", receiver, a);
    start("sender", sender, c);
    start("nil", nil_receiver, NULL);
    start("selector", selector, NULL);
    start("sleeper", sleeper, NULL);
    for (int i = 0; i < 10; i++) co_yield_now();
    start("new", never_started, (void *)0x77);
    look();

    const struct seen *s = named("receiver");
    assert_int_equal(s->task.state, SEEP_TASK_WAITING);
    assert_int_equal(s->task.wait_reason, SEEP_WAIT_CHAN_RECV);
    assert_int_equal(s->task.nwaits, 1);
    assert_true(s->waits[0].object == (uintptr_t)a && s->waits[0].kind == SEEP_OBJ_CHAN);
    assert_false(s->task.wakeable);
    assert_true(s->task.stack_lo < s->task.sp && s->task.sp < s->task.stack_hi);
    assert_true(s->task.blocked_since_ns != 0 && s->task.schedules >= 1);
    bool found = false;
    for (unsigned i = 0; i < s->frames; i++)
        found = found || (s->pcs[i] > (uintptr_t)receiver && s->pcs[i] < (uintptr_t)receiver + 64);
    assert_true(found && s->frames >= 3 && s->frames < 8); /* it ends at the entry frame */

    s = named("sender");
    assert_int_equal(s->task.wait_reason, SEEP_WAIT_CHAN_SEND);
    assert_true(has_reg(&s->task, 0x1234567890)); /* the value in flight is a root of its sender */

    s = named("nil");
    assert_int_equal(s->task.wait_reason, SEEP_WAIT_CHAN_RECV_NIL);
    assert_true(s->task.nwaits == 1 && s->waits[0].object == 0);

    s = named("selector");
    assert_int_equal(s->task.wait_reason, SEEP_WAIT_SELECT);
    assert_int_equal(s->task.nwaits, 2);
    assert_true(s->waits[0].object + s->waits[1].object == (uintptr_t)a + (uintptr_t)b);

    s = named("sleeper");
    assert_true(s->task.wakeable && s->task.wait_reason == SEEP_WAIT_SLEEP && s->task.nwaits == 0);

    s = named("new");
    assert_int_equal(s->task.state, SEEP_TASK_RUNNABLE);
    assert_true(has_reg(&s->task, 0x77));

    s = named("main");
    assert_int_equal(s->task.state, SEEP_TASK_RUNNING);
    assert_true((uintptr_t)&s >= s->task.stack_lo && (uintptr_t)&s < s->task.stack_hi);
}

static __attribute__((noinline)) void start_at(const char *name, int depth)
{
    if (depth) {
        start_at(name, depth - 1);
        __asm__ volatile("");
        return;
    }
    start(name, receiver, a);
    __asm__ volatile("");
}
static __attribute__((noinline)) void one_way(const char *name)
{
    start_at(name, 1);
    __asm__ volatile("");
}
static __attribute__((noinline)) void other_way(const char *name)
{
    start_at(name, 1);
    __asm__ volatile("");
}

static void test_creation_stacks(void)
{
    a = co_make(void *, 0);
    for (int i = 0; i < 3; i++) { /* captured, then from the cache */
        one_way("one");
        other_way("other");
        start_at("deeper", 5);
    }
    look();
    uint32_t one = named("one")->task.create_stack, other = named("other")->task.create_stack;
    uint32_t deeper = named("deeper")->task.create_stack;
    assert_true(one && other && deeper && one != other && one != deeper && other != deeper);
    for (unsigned i = 0; i < nseen; i++) {
        const struct seep_task *t = &seen[i].task;
        if (t->name && !strcmp(t->name, "one")) assert_int_equal(t->create_stack, one);
        if (t->name && !strcmp(t->name, "other")) assert_int_equal(t->create_stack, other);
    }
    const uintptr_t *pcs;
    unsigned n = stack_get(one, &pcs, NULL);
    bool found = false;
    for (unsigned i = 0; i < n; i++) found = found || (pcs[i] > (uintptr_t)one_way && pcs[i] < (uintptr_t)one_way + 64);
    assert_true(found);
    assert_true(pcs[0] > (uintptr_t)start && pcs[0] < (uintptr_t)start + 256); /* the runtime's frames are left out */
}

/* ---- what locks, timers and deferred calls tell */

static co_mutex mutex;
static co_rwmutex rw;
static void nothing(void *arg)
{
    (void)arg;
}
static void holder(void *arg)
{
    co_defer(nothing, arg);
    co_defer(nothing, arg);
    co_mutex_lock(&mutex);
    co_rwmutex_rlock(&rw);
    co_recv(arg, NULL);
}
static void locker(void *arg)
{
    co_mutex_lock(arg);
}
static void writer(void *arg)
{
    co_rwmutex_lock(arg);
}
static void late_reader(void *arg)
{
    co_rwmutex_rlock(arg);
}
static void condition(void *arg)
{
    static co_mutex m;
    co_mutex_lock(&m);
    co_cond_wait(arg, &m);
}
static void acquirer(void *arg)
{
    co_sem_acquire(arg, 1);
}
static void waiter(void *arg)
{
    co_wg_wait(arg);
}
static uintptr_t roots_seen[16];
static unsigned nroots;
static int note_root(void *arg, uintptr_t lo, uintptr_t hi)
{
    (void)arg;
    for (; lo < hi && nroots < 16; lo += sizeof(void *)) roots_seen[nroots++] = *(uintptr_t *)lo;
    return 0;
}
static bool is_root(const void *p)
{
    for (unsigned i = 0; i < nroots; i++)
        if (roots_seen[i] == (uintptr_t)p) return true;
    return false;
}
static struct seep_timer facts[16];
static unsigned nfacts;
static int note_timer(void *arg, const struct seep_timer *t)
{
    (void)arg;
    if (nfacts < 16) facts[nfacts++] = *t;
    return 0;
}
static bool is_timer(const void *p, bool ticker)
{
    for (unsigned i = 0; i < nfacts; i++)
        if (facts[i].object == (uintptr_t)p) return facts[i].ticker == ticker && (facts[i].period_ns != 0) == ticker;
    return false;
}
static void look_at_roots(void)
{
    nroots = nfacts = 0;
    for (unsigned i = 0; i < provider_count(); i++)
        if (strcmp(provider_get(i)->name, "coro") == 0) {
            provider_get(i)->roots(provider_get(i)->ctx, note_root, NULL);
            provider_get(i)->timers(provider_get(i)->ctx, note_timer, NULL);
        }
}

static void test_locks(void)
{
    static co_cond cond;
    static co_sem sem;
    static co_waitgroup wg;
    static const struct {
        const char *name;
        enum seep_wait_reason reason;
        enum seep_object_kind kind;
        void *object;
        bool owned;
    } rows[] = {
        {"locker", SEEP_WAIT_MUTEX, SEEP_OBJ_MUTEX, &mutex, true},
        {"writer", SEEP_WAIT_RWMUTEX_W, SEEP_OBJ_RWMUTEX, &rw, true},
        {"reader", SEEP_WAIT_RWMUTEX_R, SEEP_OBJ_RWMUTEX, &rw, true},
        {"condition", SEEP_WAIT_COND, SEEP_OBJ_COND, &cond, false},
        {"acquirer", SEEP_WAIT_SEMAPHORE, SEEP_OBJ_SEMAPHORE, &sem, false},
        {"waiter", SEEP_WAIT_WAITGROUP, SEEP_OBJ_WAITGROUP, &wg, false},
    };
    a = co_make(int, 0);
    co_wg_add(&wg, 1);
    start("holder", holder, a);
    for (int i = 0; i < 10; i++) co_yield_now();
    co_fn *fns[] = {locker, writer, late_reader, condition, acquirer, waiter};
    for (unsigned i = 0; i < 6; i++) {
        start(rows[i].name, fns[i], rows[i].object);
        for (int k = 0; k < 10; k++) co_yield_now();
    }
    look();
    const struct seen *h = named("holder");
    assert_int_equal(h->task.defer_depth, 2);
    for (unsigned i = 0; i < 6; i++) {
        const struct seen *s = named(rows[i].name);
        assert_int_equal(s->task.wait_reason, rows[i].reason);
        assert_true(s->task.nwaits == 1 && s->waits[0].kind == rows[i].kind);
        assert_true(s->waits[0].object == (uintptr_t)rows[i].object);
        assert_int_equal(s->waits[0].owner_task, rows[i].owned ? h->task.id : 0);
        assert_false(s->task.wakeable);
    }
}

static void test_timers(void)
{
    co_chan *after = co_after(3600000000000u);
    co_timer *func = co_after_func(3600000000000u, nothing, NULL);
    co_ticker *ticker = co_ticker_new(3600000000000u);
    co_ctx *ctx = co_with_timeout(co_background(), 3600000000000u);
    look_at_roots();
    assert_true(nroots == 2 && is_root(func) && is_root(ctx));                    /* they run code */
    assert_true(nfacts == 2 && is_timer(after, false) && is_timer(ticker, true)); /* they send */
    co_timer_stop(func);
    co_ticker_stop(ticker);
    co_ctx_cancel(ctx);
    look_at_roots();
    assert_true(nroots == 0 && nfacts == 1 && is_timer(after, false));
}

int main(void)
{
    setenv("CORO_MAXPROCS", "1", 1);
    const struct CMUnitTest tests[] = {RUN(test_states), RUN(test_creation_stacks), RUN(test_locks), RUN(test_timers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
