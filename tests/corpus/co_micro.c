/* SPDX-License-Identifier: Apache-2.0
 *
 * One coroutine, one operation: each way to wait for ever. */
#include "tests/corpus/corpus.h"

enum { MANY = 1000 };

static void nil_send_op(struct k *k)
{
    int v = 0;
    if (!k->fixed) co_send(NULL, &v);
}
static void nil_recv_op(struct k *k)
{
    if (!k->fixed) co_recv(NULL, NULL);
}
static void empty_select_op(struct k *k)
{
    if (!k->fixed) co_select(NULL, 0);
}
static void send_op(struct k *k)
{
    int v = 0;
    co_send(k->a, &v);
}
static void recv_op(struct k *k)
{
    co_recv(k->a, NULL);
}
static void select_op(struct k *k)
{
    struct co_case c[] = {{.ch = k->a, .kind = CO_RECV}, {.ch = k->b, .kind = CO_RECV}, {.ch = NULL, .kind = CO_RECV}};
    co_select(c, 3);
}
static void waitgroup_op(struct k *k)
{
    co_wg_wait(&k->wg);
}
static void cond_op(struct k *k)
{
    co_mutex_lock(&k->m);
    while (!k->step) co_cond_wait(&k->cond, &k->m);
    co_mutex_unlock(&k->m);
}
static void rlock_op(struct k *k)
{
    co_rwmutex_rlock(&k->rw);
    co_rwmutex_runlock(&k->rw);
}
static void wlock_op(struct k *k)
{
    co_rwmutex_lock(&k->rw);
    co_rwmutex_unlock(&k->rw);
}
static void lock_op(struct k *k)
{
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
}
static void sem_op(struct k *k)
{
    co_sem *s = note(calloc(1, sizeof *s), free);
    if (k->fixed) co_sem_release(s, 1);
    co_sem_acquire(s, 1);
}

/* A thousand of each: a lock that its holder wants once more, on its own stack and in the heap. */
static void lock_on_stack(struct k *k)
{
    co_mutex m = {0};
    co_mutex_lock(&m);
    if (!k->fixed) co_mutex_lock(&m);
    co_mutex_unlock(&m);
}
static void lock_in_heap(struct k *k)
{
    co_mutex *m = note(calloc(1, sizeof *m), free);
    co_mutex_lock(m);
    if (!k->fixed) co_mutex_lock(m);
    co_mutex_unlock(m);
}
/* One object in the heap and one on the stack, in one select. */
static void mixed_op(struct k *k)
{
    co_chan *own = chan(0);
    struct co_case c[] = {{.ch = own, .kind = CO_RECV}, {.ch = k->a, .kind = CO_RECV}};
    if (k->fixed) co_close(own);
    co_select(c, 2);
}

static void run_locks_on_stack(struct k *k)
{
    for (int i = 0; i < MANY; i++) GO(lock_on_stack);
}
static void run_locks_in_heap(struct k *k)
{
    for (int i = 0; i < (k->fixed ? MANY / 2 : MANY); i++) GO(lock_in_heap);
}
static void run_mixed(struct k *k)
{
    k->a = chan(0);
    for (int i = 0; i < 10; i++) GO(mixed_op);
}

static void run_nil_send(struct k *k)
{
    GO(nil_send_op);
}
static void run_nil_recv(struct k *k)
{
    GO(nil_recv_op);
}
static void run_empty_select(struct k *k)
{
    GO(empty_select_op);
}
static void run_send(struct k *k)
{
    k->a = chan(0);
    GO(send_op);
    if (k->fixed) get(k->a);
}
static void run_recv(struct k *k)
{
    k->a = chan(0);
    GO(recv_op);
    if (k->fixed) co_close(k->a);
}
static void run_select(struct k *k)
{
    k->a = chan(0);
    k->b = chan(0);
    GO(select_op);
    if (k->fixed) co_close(k->b);
}
static void run_waitgroup(struct k *k)
{
    co_wg_add(&k->wg, 1);
    GO(waitgroup_op);
    if (k->fixed) co_wg_done(&k->wg);
}
static void run_cond(struct k *k)
{
    GO(cond_op);
    settle();
    if (!k->fixed) return;
    co_mutex_lock(&k->m);
    k->step = 1;
    co_cond_signal(&k->cond);
    co_mutex_unlock(&k->m);
}
static void run_rlock(struct k *k)
{
    co_rwmutex_lock(&k->rw);
    GO(rlock_op);
    if (k->fixed) co_rwmutex_unlock(&k->rw);
}
static void run_wlock(struct k *k)
{
    co_rwmutex_rlock(&k->rw);
    GO(wlock_op);
    if (k->fixed) co_rwmutex_runlock(&k->rw);
}
static void run_lock(struct k *k)
{
    co_mutex_lock(&k->m);
    GO(lock_op);
    if (k->fixed) co_mutex_unlock(&k->m);
}
static void run_sem(struct k *k)
{
    GO(sem_op);
}

#define LOCKED "stuck-lock|deadlock-cycle"
static const struct corpus_case cases[] = {
    {"nil-send", run_nil_send, {{"nil_send_op", "chan send (nil chan)", "stuck-nil-chan", 1}}},
    {"nil-recv", run_nil_recv, {{"nil_recv_op", "chan receive (nil chan)", "stuck-nil-chan", 1}}},
    {"empty-select", run_empty_select, {{"empty_select_op", "select (no cases)", "stuck-select|stuck-nil-chan", 1}}},
    {"send", run_send, {{"send_op", "chan send", "stuck-send", 1}}},
    {"recv", run_recv, {{"recv_op", "chan receive", "stuck-recv", 1}}},
    {"select", run_select, {{"select_op", "select", "stuck-select", 1}}},
    {"waitgroup", run_waitgroup, {{"waitgroup_op", "waitgroup wait", "stuck-wait", 1}}},
    {"cond", run_cond, {{"cond_op", "cond wait", "stuck-cond", 1}}},
    {"rwmutex-read", run_rlock, {{"rlock_op", "rwmutex read lock", LOCKED, 1}}},
    {"rwmutex-write", run_wlock, {{"wlock_op", "rwmutex write lock", LOCKED, 1}}},
    {"mutex", run_lock, {{"lock_op", "mutex lock", LOCKED, 1}}},
    {"mutexes-on-stack", run_locks_on_stack, {{"lock_on_stack", "mutex lock", "deadlock-cycle", MANY}}},
    {"mutexes-in-heap", run_locks_in_heap, {{"lock_in_heap", "mutex lock", "deadlock-cycle", MANY}}},
    {"mixed", run_mixed, {{"mixed_op", "select", "stuck-select", 10}}},
    {"semaphore", run_sem, {{"sem_op", "semaphore", "stuck-wait|stuck-lock", 1}}},
};
CORPUS_MAIN(cases)
