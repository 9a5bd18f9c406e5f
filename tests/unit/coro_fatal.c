/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends: stack overflow with each kind of guard, deadlock and what is none, misuse of sync, fork from a coroutine. Each row is a forked
 * child with its standard error in a pipe. */
#pragma GCC optimize("no-optimize-sibling-calls") /* frames are looked for by name */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/refuse.h"

static int dig(int n)
{
    volatile char hole[256];
    memset((void *)hole, n, sizeof hole);
    return n > 100000000 ? 0 : dig(n + 1) + hole[7];
}
static void digger(void *arg)
{
    (void)arg;
    _exit(dig(0) & 1);
}
static void overflow(void)
{
    struct co_attr attr = {.stack_limit_bytes = 64 << 10, .name = "digger"};
    co_go_attr(&attr, digger, NULL);
    co_sleep_ns(5000000000u);
}
static void overflow_mprotect(void)
{
    setenv("CORO_GUARD", "mprotect", 1);
    overflow();
}
static void overflow_without_guards(void)
{
    REFUSE({SYS_madvise, EINVAL, 3, 102, false}, {SYS_process_madvise, EPERM, 0, 0, false});
    overflow();
}
/* One frame over the end of a stack, seen at the next switch. */
static void __attribute__((noinline)) stain(size_t n)
{
    volatile char *p = __builtin_alloca(n);
    for (size_t i = 0; i < n; i += 8) p[i] = 1;
}
static void stainer(void *arg)
{
    (void)arg;
    stain((60 << 10) + 2048); /* into the place of the guard that is not there */
    co_yield_now();
    _exit(0);
}
static void overflow_canary(void)
{
    setenv("CORO_GUARD", "canary", 1);
    struct co_attr attr = {.stack_limit_bytes = 64 << 10, .name = "stainer"};
    co_go_attr(&attr, stainer, NULL);
    co_sleep_ns(5000000000u);
}
static void overflow_without_any(void)
{
    REFUSE({SYS_madvise, EINVAL, 3, 102, false}, {SYS_process_madvise, EPERM, 0, 0, false},
           {SYS_mprotect, ENOMEM, 3, 0, false});
    struct co_attr attr = {.stack_limit_bytes = 64 << 10, .name = "stainer"};
    co_go_attr(&attr, stainer, NULL);
    co_sleep_ns(5000000000u);
}
static void own_handler(int sig)
{
    (void)sig;
    _exit(33);
}
static void overflow_with_handler(void)
{
    struct sigaction sa = {.sa_handler = own_handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &sa, NULL);
    overflow();
}
static void plain_fault(void)
{
    co_yield_now();
    static int *volatile nowhere = (int *)64;
    *nowhere = 1;
}

static void waits_for_ever(void *ch)
{
    co_recv(ch, NULL);
}
static void deadlock(void)
{
    co_chan *c = co_make(int, 0);
    for (int i = 0; i < 30; i++) co_go(waits_for_ever, c);
    co_recv(c, NULL);
}
static void locks_itself(void)
{
    static co_mutex m;
    co_mutex_lock(&m);
    co_mutex_lock(&m);
}
static void waits_for_nobody(void)
{
    static co_waitgroup wg;
    co_wg_add(&wg, 1);
    co_wg_wait(&wg);
}
static void main_ends(void)
{
    co_chan *c = co_make(int, 0);
    co_go(waits_for_ever, c);
    co_exit();
}
static void *waker(void *ch)
{
    int v = 1;
    usleep(50000);
    while (!co_try_send(ch, &v)) usleep(1000);
    return NULL;
}
static void foreign_waker(void)
{
    pthread_t t;
    co_chan *c = co_make(int, 0);
    pthread_create(&t, NULL, waker, c);
    co_recv(c, NULL);
    _exit(44);
}
static void sleeper_wakes(void)
{
    co_sleep_ns(50000000);
    _exit(45);
}
static void negative_wg(void)
{
    static co_waitgroup wg;
    co_wg_done(&wg);
}
static void unlock_unlocked(void)
{
    static co_mutex m;
    co_mutex_unlock(&m);
}
static void parks_in_blocking(void *arg)
{
    (void)arg;
    co_sleep_ns(1);
}
static void park_in_blocking(void)
{
    co_blocking(parks_in_blocking, NULL);
}
static void *parks_in_thread(void *arg)
{
    co_recv(arg, NULL);
    return NULL;
}
static void park_in_thread(void)
{
    pthread_t t;
    co_chan *c = co_make(int, 0);
    pthread_create(&t, NULL, parks_in_thread, c);
    co_sleep_ns(5000000000u);
}

/* In the child of a fork only the caller is left; new coroutines and channels work. */
static void child_work(void *ch)
{
    int v = 40;
    co_sleep_ns(1000000);
    co_send(ch, &v);
}
static void forker(void *arg)
{
    (void)arg;
    pid_t pid = fork();
    if (pid == 0) {
        int v = 0;
        co_chan *c = co_make(int, 0);
        if (co_count() != 1) _exit(1);
        for (int i = 0; i < 10; i++) co_go(child_work, c);
        for (int i = 0; i < 10; i++) co_recv(c, &v);
        _exit(v + 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) + 5 : 1);
}
static void fork_in_coroutine(void)
{
    co_chan *c = co_make(int, 0);
    for (int i = 0; i < 100; i++) co_go(waits_for_ever, c);
    co_sleep_ns(1000000);
    co_go(forker, NULL);
    co_recv(c, NULL);
}

static void quit_with_waiters(void)
{
    co_chan *c = co_make(int, 0);
    for (int i = 0; i < 5; i++) co_go(waits_for_ever, c);
    co_sleep_ns(20000000);
    raise(SIGQUIT);
    co_sleep_ns(5000000000u);
}
static volatile int spin = 1;
static void spinner(void *arg)
{
    (void)arg;
    while (spin) {}
}
static void sleeps_in_a_call(void *arg)
{
    usleep(5000000);
    (void)arg;
}
static void caller(void *arg)
{
    co_blocking(sleeps_in_a_call, arg);
}
static void quit_while_some_run(void)
{
    setenv("CORO_MAXPROCS", "3", 1);
    co_go(spinner, NULL);
    co_go(spinner, NULL);
    co_go(caller, NULL);
    co_sleep_ns(20000000);
    raise(SIGQUIT);
    co_sleep_ns(5000000000u);
}
static void quit_before_any(void)
{
    co_count();
    raise(SIGQUIT);
}
static void quit_of_the_program(void)
{
    signal(SIGQUIT, own_handler);
    co_yield_now();
    raise(SIGQUIT);
}

static void leaver(void *arg)
{
    co_yield_now();
    pthread_exit(arg);
}
static void pthread_exit_in_coroutine(void)
{
    co_go_attr(&(struct co_attr){.name = "leaver"}, leaver, NULL);
    co_sleep_ns(5000000000u);
}
static void pthread_exit_in_main(void)
{
    co_yield_now();
    pthread_exit(NULL);
}
static void *waits_a_moment(void *arg)
{
    usleep(1000);
    return arg;
}
static void pthread_exit_elsewhere(void)
{
    pthread_t t;
    co_yield_now();
    pthread_create(&t, NULL, waits_a_moment, NULL);
    pthread_join(t, NULL);
    _exit(47);
}

static void locked_deadlock(void)
{
    co_lock_thread();
    co_recv(co_make(int, 0), NULL);
}

static const struct row {
    void (*does)(void);
    int signal, code; /* how it must end */
    const char *says[3];
} rows[] = {
    {overflow, SIGSEGV, 0, {"stack overflow", "\"digger\"", "64 KiB"}},
    {overflow, SIGSEGV, 0, {"dig+", "created by", "overflow+"}},
    {overflow_mprotect, SIGSEGV, 0, {"stack overflow", "\"digger\"", NULL}},
    {overflow_without_guards, SIGSEGV, 0, {"using mprotect", "stack overflow", "\"digger\""}},
    {overflow_without_any, 0, 2, {"no more guard pages", "stack overflow in coroutine", "64 KiB"}},
    {pthread_exit_in_coroutine, 0, 2, {"ended its thread", "\"leaver\" [running]", "pthread_exit_in_coroutine+"}},
    {pthread_exit_in_main, 0, 2, {"ended its thread", "\"main\" [running]", NULL}},
    {pthread_exit_elsewhere, 0, 47, {NULL, NULL, NULL}},
    {overflow_canary, 0, 2, {"stack overflow in coroutine", "64 KiB", NULL}},
    {overflow_with_handler, 0, 33, {"stack overflow", NULL, NULL}},
    {plain_fault, SIGSEGV, 0, {NULL, NULL, NULL}},
    {deadlock, 0, 2, {"deadlock", "[chan receive]", "30 coroutines like this"}},
    {locked_deadlock, 0, 2, {"deadlock", "[chan receive]", NULL}},
    {locks_itself, 0, 2, {"deadlock", "[mutex lock]", "locks_itself+"}},
    {waits_for_nobody, 0, 2, {"deadlock", "[waitgroup wait]", NULL}},
    {main_ends, 0, 2, {"deadlock", "[chan receive]", NULL}},
    {foreign_waker, 0, 44, {NULL, NULL, NULL}},
    {sleeper_wakes, 0, 45, {NULL, NULL, NULL}},
    {negative_wg, 0, 2, {"negative waitgroup counter", NULL, NULL}},
    {unlock_unlocked, 0, 2, {"unlock of unlocked mutex", NULL, NULL}},
    {park_in_blocking, 0, 2, {"inside co_blocking", NULL, NULL}},
    {park_in_thread, 0, 2, {"runs no coroutines", NULL, NULL}},
    {quit_with_waiters, SIGQUIT, 0, {"SIGQUIT", "5 coroutines like this", "waits_for_ever+"}},
    {quit_while_some_run, SIGQUIT, 0, {"[running]:\n    spinner+", "[system call]", "sleeps_in_a_call+"}},
    {quit_before_any, SIGQUIT, 0, {"SIGQUIT", "\"main\" [running]", "quit_before_any+"}},
    {quit_of_the_program, 0, 33, {NULL, NULL, NULL}},
    {fork_in_coroutine, 0, 46, {NULL, NULL, NULL}},
};

static void run(const struct row *r, size_t index)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int s = 1; s < 32; s++) signal(s, SIG_DFL); /* not the test framework's */
        dup2(fd[1], 2);
        close(fd[0]);
        close(fd[1]);
        alarm(10);
        r->does();
        _exit(0);
    }
    close(fd[1]);
    char text[16384];
    size_t n = 0;
    ssize_t got;
    while ((got = read(fd[0], text + n, sizeof text - 1 - n)) > 0) n += (size_t)got;
    text[n] = '\0';
    close(fd[0]);
    int status;
    waitpid(pid, &status, 0);
    bool ended = r->signal ? WIFSIGNALED(status) && WTERMSIG(status) == r->signal
                           : WIFEXITED(status) && WEXITSTATUS(status) == r->code;
    for (int i = 0; i < 3 && r->says[i]; i++) ended = ended && strstr(text, r->says[i]);
    if (!ended) fail_msg("row %zu: status 0x%x, said: %s", index, (unsigned)status, text);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) run(&rows[i], i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
