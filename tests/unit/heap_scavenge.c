/* SPDX-License-Identifier: Apache-2.0
 *
 * Without the agent's thread, memory goes back while the program waits, whatever it waits in; and a wait made in pieces
 * behaves as one. Each wait in a child of its own, all at the same time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/entry/pieces.h"
#include "agent/heap/heap.h"
#include "agent/include/seep.h"
#include "agent/util/options.h"

enum { MIB = 1 << 20, BLOCK = 64 << 10, PEAK_MIB = 64, WAIT_MS = 3000 };

#define MUST(cond)                                         \
    do {                                                   \
        if (cond) break;                                   \
        fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
        _exit(1);                                          \
    } while (0)

static void *block[PEAK_MIB * MIB / BLOCK];

/* A tenth stays, in pieces of a megabyte. */
static void peak(void)
{
    const size_t n = sizeof block / sizeof block[0];
    for (size_t i = 0; i < n; i++) memset(block[i] = malloc(BLOCK), 1, BLOCK);
    for (size_t i = 0; i < n; i++)
        if (i / 16 % 10 != 0) free(block[i]);
}

static struct seep_memstats stats(void)
{
    struct seep_memstats m = {.size = sizeof m};
    heap_stats(&m);
    return m;
}

/* Of what is live. */
static double resident(void)
{
    struct seep_memstats m = stats();
    return (double)(m.heap_sys - m.heap_released) / (double)m.heap_alloc;
}

static uint64_t now_ms(void)
{
    return eintr_now_ns() / 1000000;
}

/* ---- Each kind of wait, for WAIT_MS */
static void by_poll(void)
{
    MUST(poll(NULL, 0, WAIT_MS) == 0);
}
static void by_ppoll(void)
{
    MUST(ppoll(NULL, 0, &(struct timespec){WAIT_MS / 1000, 0}, NULL) == 0);
}
static int pipe_fd[2];
static void by_select(void)
{
    fd_set r, w;
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_SET(pipe_fd[0], &r);
    struct timeval tv = {WAIT_MS / 1000, 0};
    MUST(select(pipe_fd[0] + 1, &r, &w, NULL, &tv) == 0);
    MUST(!FD_ISSET(pipe_fd[0], &r) && tv.tv_sec == 0 && tv.tv_usec == 0);
}
static void by_pselect(void)
{
    fd_set r;
    FD_ZERO(&r);
    FD_SET(pipe_fd[0], &r);
    MUST(pselect(pipe_fd[0] + 1, &r, NULL, NULL, &(struct timespec){WAIT_MS / 1000, 0}, NULL) == 0);
    MUST(!FD_ISSET(pipe_fd[0], &r));
}
static void by_epoll(void)
{
    struct epoll_event e;
    int fd = epoll_create1(0);
    MUST(epoll_wait(fd, &e, 1, WAIT_MS) == 0);
}
static void by_sleep(void)
{
    MUST(sleep(WAIT_MS / 1000) == 0);
}
static void by_short_sleeps(void)
{
    for (int i = 0; i < WAIT_MS / 10; i++) usleep(10000);
}
/* One thread makes the peak and then waits where nothing can be done; another waits for a moment and once more. */
static void *elsewhere(void *arg)
{
    (void)arg;
    pause();
    return NULL;
}
static void *makes_peak(void *arg)
{
    poll(NULL, 0, 100);
    peak();
    return elsewhere(arg);
}
static void by_another_thread(void)
{
    pthread_t t;
    MUST(pthread_create(&t, NULL, makes_peak, NULL) == 0);
    struct seep_memstats m = {0};
    do {
        poll(NULL, 0, 20);
        m = stats();
    } while (m.heap_sys - m.heap_released < PEAK_MIB / 2 * MIB || m.heap_alloc > PEAK_MIB / 4 * MIB);
    MUST(poll(NULL, 0, WAIT_MS) == 0);
}

static pid_t begin(void (*wait)(void), bool on)
{
    pid_t pid = fork();
    if (pid != 0) return pid;
    if (!on) snprintf(agent_options.debug, sizeof agent_options.debug, "scavenge=0");
    if (wait != by_another_thread) {
        peak();
        MUST(resident() > 5);
    }
    uint64_t t = now_ms();
    wait();
    t = now_ms() - t;
    MUST(t >= WAIT_MS);
    if (on)
        MUST(resident() < 3);
    else
        MUST(resident() > 5);
    _exit(0);
}

static void every_wait_works(void **state)
{
    (void)state;
    static void (*const waits[])(void) = {by_poll,  by_ppoll, by_select,       by_pselect,
                                          by_epoll, by_sleep, by_short_sleeps, by_another_thread};
    enum { N = sizeof waits / sizeof waits[0] };
    pid_t pid[N + 1];
    assert_int_equal(pipe(pipe_fd), 0);
    for (int i = 0; i < N; i++) pid[i] = begin(waits[i], true);
    pid[N] = begin(by_poll, false);
    for (int i = 0; i <= N; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        if (status != 0) fprintf(stderr, "wait %d\n", i);
        assert_int_equal(status, 0);
    }
}

/* ---- Pieces are not to be seen */
static volatile sig_atomic_t in_handler = -1;

static void on_alarm(int sig)
{
    (void)sig;
    in_handler = pieces_in_handler();
}

/* And again: on a busy machine the first one may come before the wait has begun. */
static void alarm_in(long ms)
{
    struct itimerval it = {.it_value = {ms / 1000, ms % 1000 * 1000}, .it_interval = {ms / 1000, ms % 1000 * 1000}};
    setitimer(ITIMER_REAL, &it, NULL);
}

static void *writes(void *arg)
{
    struct timespec ts = {0, 300000000};
    nanosleep(&ts, NULL);
    (void)!write(*(int *)arg, "x", 1);
    return NULL;
}

static void one_wait(void)
{
    struct sigaction act = {.sa_handler = on_alarm};
    struct timespec left = {0, 0};
    pthread_t t;
    sigaction(SIGALRM, &act, NULL);
    peak();

    alarm_in(250);
    uint64_t from = now_ms();
    MUST(heap_waits_work && nanosleep(&(struct timespec){60, 0}, &left) == -1 && errno == EINTR);
    uint64_t took = now_ms() - from, rest = (uint64_t)left.tv_sec * 1000 + (uint64_t)left.tv_nsec / 1000000;
    MUST(took >= 250 && rest <= 59750 && took + rest >= 59900 && took + rest <= 60100 + took);

    for (int i = 0; i < 12; i++) { /* also between the pieces, which are of 40 ms */
        alarm_in(37 + i);
        MUST(heap_waits_work && nanosleep(&(struct timespec){60, 0}, &left) == -1 && errno == EINTR);
    }
    alarm_in(250);
    MUST(heap_waits_work && poll(NULL, 0, -1) == -1 && errno == EINTR);
    sigset_t none;
    sigemptyset(&none);
    alarm_in(250);
    MUST(heap_waits_work && ppoll(NULL, 0, NULL, &none) == -1 && errno == EINTR);

    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);

    /* What becomes ready in some piece is seen at once. */
    MUST(pthread_create(&t, NULL, writes, &pipe_fd[1]) == 0);
    struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
    MUST(heap_waits_work && poll(&p, 1, 60000) == 1 && p.revents == POLLIN);
    char c;
    MUST(read(pipe_fd[0], &c, 1) == 1);
    pthread_join(t, NULL);

    MUST(pthread_create(&t, NULL, writes, &pipe_fd[1]) == 0);
    fd_set r;
    FD_ZERO(&r);
    FD_SET(pipe_fd[0], &r);
    struct timeval tv = {60, 0};
    MUST(heap_waits_work && select(pipe_fd[0] + 1, &r, NULL, NULL, &tv) == 1 && FD_ISSET(pipe_fd[0], &r));
    MUST(tv.tv_sec < 60 && tv.tv_sec > 30);
    pthread_join(t, NULL);

    /* Bad arguments stay bad. */
    MUST(nanosleep(&(struct timespec){0, 1000000000}, NULL) == -1 && errno == EINVAL);
    MUST(ppoll(NULL, 0, &(struct timespec){-1, 0}, NULL) == -1 && errno == EINVAL);
    tv = (struct timeval){-1, 0};
    MUST(select(0, NULL, NULL, NULL, &tv) == -1 && errno == EINVAL);
    MUST(heap_waits_work);
}

static void pieces_make_one_wait(void **state)
{
    (void)state;
    int status;
    assert_int_equal(pipe(pipe_fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        one_wait();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- A thread's cache is only given back outside of handlers */
static void handlers_are_seen(void **state)
{
    (void)state;
    static char alternate[64 << 10];
    stack_t s = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction act = {.sa_handler = on_alarm};
    assert_false(pieces_in_handler());
    sigaction(SIGALRM, &act, NULL);
    in_handler = -1;
    raise(SIGALRM);
    assert_int_equal(in_handler, 1);
    sigaltstack(&s, NULL);
    act.sa_flags = SA_ONSTACK;
    sigaction(SIGALRM, &act, NULL);
    in_handler = -1;
    raise(SIGALRM);
    assert_int_equal(in_handler, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(handlers_are_seen), cmocka_unit_test(pieces_make_one_wait),
                                       cmocka_unit_test(every_wait_works)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
