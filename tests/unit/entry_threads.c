/* SPDX-License-Identifier: Apache-2.0
 *
 * entry/threads.c, entry/pthread.c: the registry knows stacks, creators, arguments not yet read, and ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <threads.h>
#include <unistd.h>

#include "agent/entry/entry.h"
#include "agent/entry/internal.h"
#include "agent/os/os.h"
#include "agent/util/critical.h"

static void *bounds(void *arg)
{
    int here;
    struct thread *t = thread_self();
    assert_non_null(t);
    assert_int_equal(t->tid, os_gettid());
    assert_true((uintptr_t)&here > t->stack_lo && (uintptr_t)&here < t->stack_hi);
    assert_true(t->tls > t->stack_lo && t->tls < t->stack_hi); /* glibc puts it at the top */
    assert_true(t->create_stack != 0);
    assert_ptr_equal(t->state, &agent_tls);
    assert_null(t->arg);
    *(struct thread **)arg = t;
    return NULL;
}

static void thread_enters_and_leaves(void **state)
{
    pthread_t id;
    struct thread *t = NULL;
    (void)state;
    assert_int_equal(pthread_create(&id, NULL, bounds, &t), 0);
    pthread_join(id, NULL);
    assert_non_null(t);
    assert_int_equal(t->tid, 0);
    assert_true(t->ended);
    assert_true(t->stack_lo < t->stack_hi);
}

static void main_is_known(void **state)
{
    int here;
    struct thread *t = thread_self();
    (void)state;
    assert_true(t->is_main);
    assert_true((uintptr_t)&here > t->stack_lo && (uintptr_t)&here < t->stack_hi);
}

static void own_stack_is_forgotten(void **state)
{
    pthread_t id;
    pthread_attr_t attr;
    struct thread *t = NULL;
    size_t size = 1 << 20;
    void *stack = aligned_alloc(4096, size);
    (void)state;
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, stack, size);
    assert_int_equal(pthread_create(&id, &attr, bounds, &t), 0);
    pthread_join(id, NULL);
    assert_true(t->own_stack);
    assert_int_equal(t->stack_lo, 0);
    assert_int_equal(t->stack_hi, 0);
    pthread_attr_destroy(&attr);
    free(stack);
}

static int c11(void *arg)
{
    *(struct thread **)arg = thread_self();
    return -42;
}

static void c11_thread(void **state)
{
    thrd_t id;
    struct thread *t = NULL;
    int rc = 0;
    (void)state;
    assert_int_equal(thrd_create(&id, c11, &t), thrd_success);
    assert_int_equal(thrd_join(id, &rc), thrd_success);
    assert_int_equal(rc, -42);
    assert_non_null(t);
    assert_true(t->ended);
}

/* The program's destructors run before the agent's last one, whatever the order of the keys. */
static pthread_key_t key;
static int rounds_seen;
static struct thread *during;

static void destructor(void *p)
{
    rounds_seen++;
    during = agent_tls.thread;
    free(p);
    if (rounds_seen < 3) pthread_setspecific(key, malloc(10));
}

static void *with_key(void *arg)
{
    pthread_setspecific(key, malloc(10));
    return arg;
}

static void destructors_come_first(void **state)
{
    pthread_t id;
    (void)state;
    pthread_key_create(&key, destructor);
    pthread_create(&id, NULL, with_key, NULL);
    pthread_join(id, NULL);
    assert_int_equal(rounds_seen, 3);
    assert_non_null(during); /* still registered in the third round */
    assert_true(during->ended);
}

static void many_threads_reuse_slots(void **state)
{
    (void)state;
    unsigned before = 0, after = 0;
    for (int i = 0; i < 1500; i++) {
        pthread_t id;
        if (i == 700)
            for (struct thread *t = threads_first(); t; t = t->next) before++;
        assert_int_equal(pthread_create(&id, NULL, with_key, NULL), 0);
        pthread_join(id, NULL);
    }
    for (struct thread *t = threads_first(); t; t = t->next) after++;
    assert_true(after <= before + 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(main_is_known),          cmocka_unit_test(thread_enters_and_leaves),
        cmocka_unit_test(own_stack_is_forgotten), cmocka_unit_test(c11_thread),
        cmocka_unit_test(destructors_come_first), cmocka_unit_test(many_threads_reuse_slots),
    };
    life_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
