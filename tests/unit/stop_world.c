/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot/stop.c: threads stand still, their registers are known, critical sections are waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/entry/entry.h"
#include "agent/os/os.h"
#include "agent/snapshot/snapshot.h"
#include "agent/util/critical.h"
#include "agent/util/options.h"

enum { THREADS = 8 };
static volatile uint64_t counters[THREADS];
static volatile int stop_all, ready;
static const struct stopped_thread *threads;
static unsigned n, missed;

static const struct stopped_thread *find(int tid)
{
    for (unsigned i = 0; i < n; i++)
        if (threads[i].tid == tid) return &threads[i];
    return NULL;
}

static void *spin(void *arg)
{
    volatile uint64_t *c = arg;
    while (!stop_all) ++*c;
    return NULL;
}

static void stands_still(void **state)
{
    pthread_t t[THREADS];
    uint64_t before[THREADS];
    (void)state;
    stop_all = 0;
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&t[i], NULL, spin, (void *)&counters[i]), 0);
    for (int i = 0; i < THREADS; i++)
        while (!counters[i]) usleep(100);
    for (int round = 0; round < 20; round++) {
        assert_int_equal(stop_world(&threads, &n, &missed), 0);
        memcpy(before, (void *)counters, sizeof before);
        unsigned got = n, captured = 0, own = 0;
        for (unsigned i = 0; i < n; i++) {
            captured += threads[i].captured;
            own += threads[i].regs.sp > threads[i].stack_lo && threads[i].regs.sp < threads[i].stack_hi;
        }
        struct timespec ts = {0, 3000000};
        syscall(SYS_nanosleep, &ts, NULL);
        int same = memcmp(before, (void *)counters, sizeof before) == 0;
        resume_world();
        assert_true(same);
        assert_int_equal(got, THREADS + 1); /* and the caller */
        assert_int_equal(captured, got);
        assert_int_equal(own, got);
        assert_int_equal(missed, 0);
    }
    uint64_t was = counters[0];
    while (counters[0] == was) usleep(100);
    stop_all = 1;
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
}

static volatile int tid;
static void *hidden_pointer;

/* A heap pointer that is in a vector register and nowhere else of this thread's. */
static void *in_vector(void *arg)
{
    (void)arg;
    tid = os_gettid();
    __asm__ volatile("movq %0, %%xmm7\n\t"
                     "mov %1, %%r13\n\t"
                     "movl $1, %2\n"
                     "1:\tcmpl $0, %3\n\t"
                     "je 1b\n\t"
                     :
                     : "r"(hidden_pointer), "i"(0x5eed5eed), "m"(ready), "m"(stop_all)
                     : "xmm7", "r13", "memory");
    return NULL;
}

static void registers_are_roots(void **state)
{
    pthread_t t;
    (void)state;
    stop_all = ready = 0;
    hidden_pointer = malloc(100);
    pthread_create(&t, NULL, in_vector, NULL);
    while (!ready) usleep(100);
    assert_int_equal(stop_world(&threads, &n, &missed), 0);
    const struct stopped_thread *s = find(tid);
    int vector = 0, general = 0;
    for (unsigned i = 0; s && i < s->nregs; i++) {
        vector |= s->all_regs[i] == (uintptr_t)hidden_pointer && i >= 16;
        general |= s->all_regs[i] == 0x5eed5eed && i < 16;
    }
    uintptr_t r13 = s ? s->regs.r13 : 0;
    resume_world();
    stop_all = 1;
    pthread_join(t, NULL);
    free(hidden_pointer);
    assert_non_null(s);
    assert_true(general);
    assert_true(vector);
    assert_int_equal(r13, 0x5eed5eed);
}

static volatile int inside;

static void *in_section(void *ms)
{
    tid = os_gettid();
    agent_enter();
    inside = ready = 1;
    struct timespec ts = {0, (long)(intptr_t)ms * 1000000};
    while (syscall(SYS_nanosleep, &ts, &ts) != 0) {}
    inside = 0;
    agent_leave();
    while (!stop_all) usleep(100);
    return NULL;
}

static void sections_are_waited_for(void **state)
{
    pthread_t t;
    (void)state;
    stop_all = ready = 0;
    pthread_create(&t, NULL, in_section, (void *)30);
    while (!ready) usleep(100);
    assert_int_equal(stop_world(&threads, &n, &missed), 0);
    int was_inside = inside;
    const struct stopped_thread *s = find(tid);
    int captured = s && s->captured;
    resume_world();
    assert_false(was_inside);
    assert_true(captured);
    stop_all = 1;
    pthread_join(t, NULL);
}

static void a_long_section_fails_the_stop(void **state)
{
    pthread_t t;
    uint64_t limit = agent_options.stop_timeout;
    (void)state;
    stop_all = ready = 0;
    agent_options.stop_timeout = 20;
    pthread_create(&t, NULL, in_section, (void *)400);
    while (!ready) usleep(100);
    assert_int_equal(stop_world(&threads, &n, &missed), -EAGAIN);
    agent_options.stop_timeout = limit;
    stop_all = 1;
    pthread_join(t, NULL); /* it leaves its section with a signal of the past pending, and goes on */
    assert_int_equal(stop_world(&threads, &n, &missed), 0);
    resume_world();
}

/* The signal is blocked behind our back. */
static void *deaf(void *arg)
{
    uint64_t all = ~0ull;
    (void)arg;
    tid = os_gettid();
    syscall(SYS_rt_sigprocmask, 0, &all, NULL, sizeof all);
    ready = 1;
    while (!stop_all) {
        struct timespec ts = {10, 0};
        syscall(SYS_nanosleep, &ts, NULL);
        break;
    }
    return NULL;
}

static void deaf_thread_is_missed(void **state)
{
    pthread_t t;
    uint64_t limit = agent_options.stop_timeout;
    (void)state;
    stop_all = ready = 0;
    agent_options.stop_timeout = 20;
    pthread_create(&t, NULL, deaf, NULL);
    while (!ready) usleep(100);
    usleep(5000);
    int rc = stop_world(&threads, &n, &missed);
    const struct stopped_thread *s = rc == 0 ? find(tid) : NULL;
    struct stopped_thread copy = s ? *s : (struct stopped_thread){0};
    if (rc == 0) resume_world();
    agent_options.stop_timeout = limit;
    uint64_t none = 0;
    (void)none;
    pthread_cancel(t); /* not delivered: it ends with the process */
    pthread_detach(t);
    assert_int_equal(rc, 0);
    assert_int_equal(missed, 1);
    assert_non_null(s);
    assert_false(copy.captured);
    assert_true(copy.in_syscall);
    assert_true(copy.regs.sp > copy.stack_lo && copy.regs.sp < copy.stack_hi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_still),
        cmocka_unit_test(registers_are_roots),
        cmocka_unit_test(sections_are_waited_for),
        cmocka_unit_test(a_long_section_fails_the_stop),
        cmocka_unit_test(deaf_thread_is_missed), /* last: it leaves a thread behind */
    };
    life_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
