/* SPDX-License-Identifier: Apache-2.0
 *
 * Mutex, rwmutex, waitgroup, cond, semaphore, once: one row for each rule, with its source in Go's documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

static void wait_for(int *n, int want)
{
    while (__atomic_load_n(n, __ATOMIC_ACQUIRE) != want) co_yield_now();
}
static void inc(int *n)
{
    __atomic_fetch_add(n, 1, __ATOMIC_ACQ_REL);
}

/* ---- mutex */
struct count {
    co_mutex m;
    co_rwmutex rw;
    co_waitgroup wg;
    long n, inside;
    bool broken;
};
static void add_many(void *arg)
{
    struct count *c = arg;
    for (int i = 0; i < 500; i++) {
        co_mutex_lock(&c->m);
        long v = c->n;
        if (i % 50 == 0) co_yield_now();
        c->n = v + 1;
        co_mutex_unlock(&c->m);
    }
    co_wg_done(&c->wg);
}
static bool mutex_excludes(void)
{
    static struct count c;
    co_wg_add(&c.wg, 8);
    for (int i = 0; i < 8; i++) co_go(add_many, &c);
    co_wg_wait(&c.wg);
    return c.n == 4000 && c.m.owner == 0;
}
static void unlock_it(void *m)
{
    co_mutex_unlock(m);
}
static bool unlock_by_another(void)
{
    static co_mutex m;
    co_mutex_lock(&m);
    co_go(unlock_it, &m);
    co_mutex_lock(&m);
    co_mutex_unlock(&m);
    return co_mutex_try_lock(&m) && !co_mutex_try_lock(&m);
}
static void hog(void *arg)
{
    struct count *c = arg;
    while (!__atomic_load_n(&c->broken, __ATOMIC_RELAXED)) {
        co_mutex_lock(&c->m);
        co_sleep_ns(200000);
        co_mutex_unlock(&c->m);
    }
    co_wg_done(&c->wg);
}
static bool no_starvation(void)
{
    static struct count c;
    co_wg_add(&c.wg, 2);
    co_go(hog, &c);
    co_go(hog, &c);
    for (int i = 0; i < 10; i++) { /* would never come through if the hogs always won */
        co_mutex_lock(&c.m);
        co_mutex_unlock(&c.m);
    }
    c.broken = true;
    co_wg_wait(&c.wg);
    return true;
}

/* ---- rwmutex */
static void reader(void *arg)
{
    struct count *c = arg;
    for (int i = 0; i < 200; i++) {
        co_rwmutex_rlock(&c->rw);
        long in = __atomic_add_fetch(&c->inside, 1, __ATOMIC_ACQ_REL);
        if (in >= 1000) c->broken = true;
        if (i % 8 == 0) co_yield_now();
        __atomic_sub_fetch(&c->inside, 1, __ATOMIC_ACQ_REL);
        co_rwmutex_runlock(&c->rw);
    }
    co_wg_done(&c->wg);
}
static void writer(void *arg)
{
    struct count *c = arg;
    for (int i = 0; i < 100; i++) {
        co_rwmutex_lock(&c->rw);
        if (__atomic_add_fetch(&c->inside, 1000, __ATOMIC_ACQ_REL) != 1000) c->broken = true;
        if (i % 8 == 0) co_yield_now();
        __atomic_sub_fetch(&c->inside, 1000, __ATOMIC_ACQ_REL);
        co_rwmutex_unlock(&c->rw);
    }
    co_wg_done(&c->wg);
}
static bool readers_or_one_writer(void)
{
    static struct count c;
    co_wg_add(&c.wg, 9);
    for (int i = 0; i < 9; i++) co_go(i % 3 ? reader : writer, &c);
    co_wg_wait(&c.wg);
    return !c.broken && c.rw.owner == 0 && c.rw.readers == 0;
}
struct order {
    co_rwmutex rw;
    int started, n;
    char log[8];
};
static void note(struct order *o, char what)
{
    o->log[__atomic_fetch_add(&o->n, 1, __ATOMIC_ACQ_REL)] = what;
}
static void w_waits(void *arg)
{
    struct order *o = arg;
    inc(&o->started);
    co_rwmutex_lock(&o->rw);
    note(o, 'w');
    co_rwmutex_unlock(&o->rw);
}
static void r_waits(void *arg)
{
    struct order *o = arg;
    inc(&o->started);
    co_rwmutex_rlock(&o->rw);
    note(o, 'r');
    co_rwmutex_runlock(&o->rw);
}
static bool waiting_writer_excludes_readers(void)
{
    static struct order o;
    co_rwmutex_rlock(&o.rw);
    co_go(w_waits, &o);
    wait_for(&o.started, 1);
    yield_times(300);
    bool out = !co_rwmutex_try_rlock(&o.rw) && o.n == 0;
    co_go(r_waits, &o);
    wait_for(&o.started, 2);
    yield_times(300);
    out = out && o.n == 0;
    co_rwmutex_runlock(&o.rw);
    wait_for(&o.n, 2);
    return out && o.log[0] == 'w' && o.log[1] == 'r';
}
static bool readers_before_next_writer(void)
{
    static struct order o;
    co_rwmutex_lock(&o.rw);
    co_go(w_waits, &o);
    wait_for(&o.started, 1);
    yield_times(300);
    for (int i = 0; i < 3; i++) co_go(r_waits, &o);
    wait_for(&o.started, 4);
    yield_times(300);
    co_rwmutex_unlock(&o.rw);
    wait_for(&o.n, 4);
    return o.log[3] == 'w';
}
static bool rw_try(void)
{
    co_rwmutex rw = {0};
    bool ok = co_rwmutex_try_rlock(&rw) && co_rwmutex_try_rlock(&rw) && !co_rwmutex_try_lock(&rw);
    co_rwmutex_runlock(&rw);
    co_rwmutex_runlock(&rw);
    return ok && co_rwmutex_try_lock(&rw) && !co_rwmutex_try_rlock(&rw);
}
static void runlock_it(void *rw)
{
    co_rwmutex_runlock(rw);
}
static bool rw_unlock_by_another(void)
{
    static co_rwmutex rw;
    co_rwmutex_rlock(&rw);
    co_go(runlock_it, &rw);
    co_rwmutex_lock(&rw);
    return true;
}

/* ---- waitgroup */
struct wg_wait {
    co_waitgroup *wg;
    int *n;
};
static void wg_waits(void *arg)
{
    struct wg_wait *w = arg;
    co_wg_wait(w->wg);
    inc(w->n);
}
static bool wg_wakes_all(void)
{
    static co_waitgroup wg;
    static int n;
    static struct wg_wait w = {&wg, &n};
    co_wg_wait(&wg); /* 0: at once */
    co_wg_add(&wg, 2);
    for (int i = 0; i < 3; i++) co_go(wg_waits, &w);
    yield_times(300);
    co_wg_done(&wg);
    yield_times(300);
    bool early = __atomic_load_n(&n, __ATOMIC_ACQUIRE) != 0;
    co_wg_done(&wg);
    wait_for(&n, 3);
    co_wg_add(&wg, 1); /* used again */
    co_wg_done(&wg);
    co_wg_wait(&wg);
    return !early;
}

/* ---- cond */
struct queue {
    co_mutex m;
    co_cond c;
    int waiting, order[8], n, ready;
};
static void cond_waits(void *arg)
{
    struct queue *q = arg;
    co_mutex_lock(&q->m);
    int me = q->waiting++;
    co_cond_wait(&q->c, &q->m);
    q->order[q->n++] = me; /* the mutex is held again */
    co_mutex_unlock(&q->m);
}
static void start_waiters(struct queue *q, int n)
{
    for (int i = 1; i <= n; i++) {
        co_go(cond_waits, q);
        for (bool in = false; !in; co_yield_now()) {
            co_mutex_lock(&q->m);
            in = q->waiting == i;
            co_mutex_unlock(&q->m);
        }
    }
}
static int woken(struct queue *q)
{
    co_mutex_lock(&q->m);
    int n = q->n;
    co_mutex_unlock(&q->m);
    return n;
}
static bool signal_wakes_one_in_order(void)
{
    static struct queue q;
    co_cond_signal(&q.c); /* nobody: no effect */
    start_waiters(&q, 4);
    bool ok = woken(&q) == 0;
    for (int i = 0; i < 4; i++) {
        co_cond_signal(&q.c);
        while (woken(&q) != i + 1) co_yield_now();
        yield_times(100);
        ok = ok && woken(&q) == i + 1 && q.order[i] == i;
    }
    return ok;
}
static bool broadcast_wakes_all(void)
{
    static struct queue q;
    start_waiters(&q, 5);
    co_cond_broadcast(&q.c);
    while (woken(&q) != 5) co_yield_now();
    return true;
}
static void cond_consumer(void *arg)
{
    struct queue *q = arg;
    for (int i = 0; i < 1000; i++) {
        co_mutex_lock(&q->m);
        while (!q->ready) co_cond_wait(&q->c, &q->m);
        q->ready--;
        co_mutex_unlock(&q->m);
    }
    inc(&q->n);
}
static bool no_signal_is_lost(void)
{
    static struct queue q;
    co_go(cond_consumer, &q);
    co_go(cond_consumer, &q);
    for (int i = 0; i < 2000; i++) {
        co_mutex_lock(&q.m);
        q.ready++;
        co_cond_signal(&q.c);
        co_mutex_unlock(&q.m);
        if (i % 7 == 0) co_yield_now();
    }
    wait_for(&q.n, 2);
    return q.ready == 0;
}

/* ---- semaphore */
struct sem_wait {
    co_sem *s;
    uint64_t want;
    int *got, order;
    int waiting;
};
static void sem_waits(void *arg)
{
    struct sem_wait *w = arg;
    inc(&w->waiting);
    co_sem_acquire(w->s, w->want);
    w->order = __atomic_add_fetch(w->got, 1, __ATOMIC_ACQ_REL);
}
static bool sem_counts(void)
{
    co_sem s = CO_SEM(3);
    co_sem_acquire(&s, 2);
    bool ok = !co_sem_try_acquire(&s, 2) && co_sem_try_acquire(&s, 1) && !co_sem_try_acquire(&s, 1);
    co_sem_release(&s, 3);
    return ok && co_sem_try_acquire(&s, 3);
}
static bool sem_fifo_with_weights(void)
{
    static co_sem s = {.count = 1};
    static int got;
    static struct sem_wait big = {&s, 3, &got, 0, 0}, small = {&s, 1, &got, 0, 0};
    co_go(sem_waits, &big);
    wait_for(&big.waiting, 1);
    yield_times(300);
    co_go(sem_waits, &small); /* one is free, but the large one came first */
    wait_for(&small.waiting, 1);
    yield_times(300);
    bool ok = got == 0 && !co_sem_try_acquire(&s, 1);
    co_sem_release(&s, 3);
    wait_for(&got, 2);
    return ok && s.count == 0;
}

/* ---- once */
struct once {
    co_once o;
    int runs, seen;
    bool over;
};
static void once_fn(void *arg)
{
    struct once *o = arg;
    co_sleep_ns(1000000);
    o->runs++;
    o->over = true;
}
static void once_caller(void *arg)
{
    struct once *o = arg;
    co_once_do(&o->o, once_fn, o);
    if (o->over) inc(&o->seen);
}
static bool once_runs_once(void)
{
    static struct once o;
    for (int i = 0; i < 10; i++) co_go(once_caller, &o);
    wait_for(&o.seen, 10);
    return o.runs == 1;
}
static void once_panics(void *arg)
{
    *(int *)arg += 1;
    co_panic(NULL, "in once");
}
static void recovers(void *arg)
{
    (void)arg;
    co_recover(NULL);
}
static co_once broken_once;
static void once_in_call(void *runs)
{
    co_defer(recovers, NULL);
    co_once_do(&broken_once, once_panics, runs);
}
static bool once_panic_is_done(void)
{
    int runs = 0;
    bool first = co_call(once_in_call, &runs), second = co_call(once_in_call, &runs);
    return !first && second && runs == 1;
}

static const struct rule rows[] = {
    {"mutual exclusion", "sync.Mutex", mutex_excludes},
    {"a Mutex is not associated with a goroutine: another may unlock", "sync.Mutex.Unlock", unlock_by_another},
    {"a waiter of more than 1 ms is handed the mutex", "sync/mutex.go, starvation mode", no_starvation},
    {"any number of readers or a single writer", "sync.RWMutex", readers_or_one_writer},
    {"a blocked Lock excludes new readers", "sync.RWMutex.Lock", waiting_writer_excludes_readers},
    {"readers that waited go before the next writer", "sync/rwmutex.go, Unlock", readers_before_next_writer},
    {"TryLock and TryRLock", "sync.RWMutex.TryLock", rw_try},
    {"one goroutine may RLock and another RUnlock", "sync.RWMutex.Unlock", rw_unlock_by_another},
    {"Wait blocks until the counter is zero; all waiters are released", "sync.WaitGroup.Add", wg_wakes_all},
    {"Signal wakes one, first come first; none waiting: no effect", "sync.Cond.Signal", signal_wakes_one_in_order},
    {"Broadcast wakes all", "sync.Cond.Broadcast", broadcast_wakes_all},
    {"Wait unlocks and suspends atomically", "sync.Cond.Wait", no_signal_is_lost},
    {"permits are counted", "x/sync/semaphore", sem_counts},
    {"first come, first served, whatever the weight", "x/sync/semaphore, Acquire", sem_fifo_with_weights},
    {"fn runs once and every call returns after it", "sync.Once.Do", once_runs_once},
    {"a panic in fn counts as done", "sync.Once.Do", once_panic_is_done},
};
static void test_rules(void)
{
    CHECK_RULES(rows);
}

static void rw_unlock_unlocked(void)
{
    co_rwmutex m = {0};
    co_rwmutex_rlock(&m);
    co_rwmutex_unlock(&m);
}
static void rw_runlock_unlocked(void)
{
    co_rwmutex m = {0};
    co_rwmutex_runlock(&m);
}
static void wg_overflow(void)
{
    co_waitgroup wg = {0};
    co_wg_add(&wg, INT64_MAX);
    co_wg_add(&wg, 1);
}
static void wg_again(void *arg)
{
    co_waitgroup *wg = arg;
    co_sleep_ns(2000000);
    co_wg_done(wg);
    co_wg_add(wg, 1); /* before the waiter ran: one processor */
}
static void wg_reused(void)
{
    setenv("CORO_MAXPROCS", "1", 1);
    static co_waitgroup wg;
    co_wg_add(&wg, 1);
    co_go(wg_again, &wg);
    co_wg_wait(&wg);
}
static void cond_unlocked(void)
{
    co_cond c = {0};
    co_mutex m = {0};
    co_cond_wait(&c, &m);
}
static co_once self_once;
static void once_again(void *arg)
{
    co_once_do(&self_once, once_again, arg);
}
static void once_within_itself(void)
{
    co_once_do(&self_once, once_again, NULL);
}
static void read_twice_around_writer(void)
{
    static struct order o;
    co_rwmutex_rlock(&o.rw);
    co_go(w_waits, &o);
    wait_for(&o.started, 1);
    yield_times(300);
    co_rwmutex_rlock(&o.rw);
}
static void cond_alone(void)
{
    co_cond c = {0};
    co_mutex m = {0};
    co_mutex_lock(&m);
    co_cond_wait(&c, &m);
}
static void sem_alone(void)
{
    co_sem s = CO_SEM(2);
    co_sem_acquire(&s, 3);
}
static void lock_unlock_not_recoverable(void *arg)
{
    (void)arg;
    co_mutex m = {0};
    co_defer(recovers, NULL);
    co_mutex_unlock(&m);
}
static void unlock_in_call(void)
{
    co_call(lock_unlock_not_recoverable, NULL);
}
static const struct ending ends[] = {
    {rw_unlock_unlocked, 2, "sync.RWMutex.Unlock", {"unlock of unlocked rwmutex", "rw_unlock_unlocked+"}},
    {rw_runlock_unlocked, 2, "sync.RWMutex.RUnlock", {"read unlock of unlocked rwmutex"}},
    {wg_overflow, 2, "own", {"counter overflow"}},
    {wg_reused, 2, "sync.WaitGroup.Add", {"reused before a previous co_wg_wait has returned"}},
    {cond_unlocked, 2, "sync.Cond.Wait: c.L must be held", {"unlock of unlocked mutex"}},
    {once_within_itself, 2, "sync.Once.Do: it will deadlock", {"co_once_do", "within its own function"}},
    {read_twice_around_writer,
     2,
     "sync.RWMutex: prohibits recursive read-locking",
     {"deadlock", "[rwmutex read lock]", "[rwmutex write lock]"}},
    {cond_alone, 2, "runtime/proc.go, checkdead", {"deadlock", "[cond wait]"}},
    {sem_alone, 2, "runtime/proc.go, checkdead", {"deadlock", "[semaphore]"}},
    {unlock_in_call, 2, "sync/mutex.go: fatal, not a panic", {"unlock of unlocked mutex"}},
};
static void test_ends(void **state)
{
    (void)state;
    CHECK_ENDINGS(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends), RUN(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
