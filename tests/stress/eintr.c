/* SPDX-License-Identifier: Apache-2.0
 *
 * Each thread sits in one of the calls that the kernel never restarts after a signal handler, while the program is
 * stopped and resumed all the time. No call may fail with EINTR, end before its time, or write half of what it was given.
 * Argument: seconds to run. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 70 };
static const struct timespec wait_ts = {0, WAIT_MS * 1000000};

static double now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static struct timespec after(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    ts.tv_nsec += wait_ts.tv_nsec;
    if (ts.tv_nsec >= 1000000000) ts.tv_nsec -= 1000000000, ts.tv_sec++;
    return ts;
}

static int ep, sock[2], sysv_sem, sysv_msg;
static sigset_t usr;

/* Each returns 0 when it timed out as it should. */
static int t_poll(void)
{
    return poll(NULL, 0, WAIT_MS);
}
static int t_ppoll(void)
{
    return ppoll(NULL, 0, &wait_ts, &usr);
}
static int t_select(void)
{
    struct timeval tv = {0, WAIT_MS * 1000};
    int rc = select(0, NULL, NULL, NULL, &tv);
    return rc != 0 ? rc : tv.tv_sec != 0 || tv.tv_usec != 0;
}
static int t_pselect(void)
{
    return pselect(0, NULL, NULL, NULL, &wait_ts, &usr);
}
static int t_epoll_wait(void)
{
    struct epoll_event e;
    return epoll_wait(ep, &e, 1, WAIT_MS);
}
static int t_epoll_pwait(void)
{
    struct epoll_event e;
    return epoll_pwait(ep, &e, 1, WAIT_MS, &usr);
}
static int t_epoll_pwait2(void)
{
    struct epoll_event e;
    return epoll_pwait2(ep, &e, 1, &wait_ts, NULL);
}
static int t_nanosleep(void)
{
    return nanosleep(&wait_ts, NULL);
}
static int t_clock_nanosleep(void)
{
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &wait_ts, NULL);
}
static int t_clock_nanosleep_abs(void)
{
    struct timespec until = after(CLOCK_MONOTONIC);
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}
static int t_usleep(void)
{
    return usleep(WAIT_MS * 1000);
}
static int t_sleep(void)
{
    return (int)sleep(1);
}
static int t_thrd_sleep(void)
{
    return thrd_sleep(&wait_ts, NULL);
}
static int expect(int rc, int error)
{
    return rc == -1 && errno == error ? 0 : -1;
}
static int t_sigtimedwait(void)
{
    return expect(sigtimedwait(&usr, NULL, &wait_ts), EAGAIN);
}
static int t_sem_timedwait(void)
{
    sem_t s;
    struct timespec until = after(CLOCK_REALTIME);
    sem_init(&s, 0, 0);
    return expect(sem_timedwait(&s, &until), ETIMEDOUT);
}
static int t_sem_clockwait(void)
{
    sem_t s;
    struct timespec until = after(CLOCK_MONOTONIC);
    sem_init(&s, 0, 0);
    return expect(sem_clockwait(&s, CLOCK_MONOTONIC, &until), ETIMEDOUT);
}
static int t_cond(void)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    struct timespec until = after(CLOCK_REALTIME);
    pthread_mutex_lock(&m);
    int rc;
    while ((rc = pthread_cond_timedwait(&c, &m, &until)) == 0) {}
    pthread_mutex_unlock(&m);
    return rc == ETIMEDOUT ? 0 : -1;
}
static int t_semtimedop(void)
{
    struct sembuf op = {0, -1, 0};
    return expect(semtimedop(sysv_sem, &op, 1, &wait_ts), EAGAIN);
}
static int t_recv(void)
{
    char c;
    return expect((int)recv(sock[0], &c, 1, 0), EAGAIN);
}
static int t_read(void)
{
    char c;
    return expect((int)read(sock[0], &c, 1), EAGAIN);
}
static int t_accept(void)
{
    static __thread int s = -1;
    if (s < 0) {
        struct timeval tv = {0, WAIT_MS * 1000};
        s = socket(AF_UNIX, SOCK_STREAM, 0);
        struct sockaddr a = {.sa_family = AF_UNIX};
        if (bind(s, &a, sizeof a.sa_family) || listen(s, 1)) return -2;
        setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    }
    return expect(accept(s, NULL, NULL), EAGAIN);
}

/* Rendezvous without a time limit: a partner wakes the call after WAIT_MS. */
struct partner {
    void (*wake)(void *);
    void *arg;
};
static void *partner_main(void *p)
{
    struct partner *w = p;
    double end = now_ms() + WAIT_MS + 1;
    while (now_ms() < end) sched_yield(), usleep(500);
    w->wake(w->arg);
    return NULL;
}
static int with_partner(void (*wake)(void *), void *arg, int (*call)(void *))
{
    struct partner w = {wake, arg};
    pthread_t t;
    if (pthread_create(&t, NULL, partner_main, &w) != 0) return -3;
    int rc = call(arg), e = errno;
    pthread_join(t, NULL);
    errno = e;
    return rc;
}
static void wake_thread(void *t)
{
    pthread_kill(*(pthread_t *)t, SIGUSR1);
}
static int call_pause(void *t)
{
    (void)t;
    return expect(pause(), EINTR);
}
static int call_sigsuspend(void *t)
{
    (void)t;
    sigset_t none;
    sigfillset(&none);
    sigdelset(&none, SIGUSR1);
    return expect(sigsuspend(&none), EINTR);
}
static int t_pause(void)
{
    pthread_t self = pthread_self();
    sigset_t old;
    pthread_sigmask(SIG_UNBLOCK, &usr, &old);
    int rc = with_partner(wake_thread, &self, call_pause);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}
static int t_sigsuspend(void)
{
    pthread_t self = pthread_self();
    return with_partner(wake_thread, &self, call_sigsuspend);
}
static int call_sigwaitinfo(void *t)
{
    (void)t;
    return sigwaitinfo(&usr, NULL) == SIGUSR1 ? 0 : -1;
}
static int t_sigwaitinfo(void)
{
    pthread_t self = pthread_self();
    return with_partner(wake_thread, &self, call_sigwaitinfo);
}
static void wake_semop(void *p)
{
    struct sembuf op = {1, 1, 0};
    (void)p;
    semop(sysv_sem, &op, 1);
}
static int call_semop(void *p)
{
    struct sembuf op = {1, -1, 0};
    (void)p;
    return semop(sysv_sem, &op, 1);
}
static int t_semop(void)
{
    return with_partner(wake_semop, NULL, call_semop);
}
struct message {
    long type;
    char text[8];
};
static void wake_msg(void *p)
{
    struct message m = {1, "x"};
    (void)p;
    msgsnd(sysv_msg, &m, sizeof m.text, 0);
}
static int call_msgrcv(void *p)
{
    struct message m;
    (void)p;
    return msgrcv(sysv_msg, &m, sizeof m.text, 1, 0) == sizeof m.text ? 0 : -1;
}
static int t_msgrcv(void)
{
    return with_partner(wake_msg, NULL, call_msgrcv);
}
static void wake_poll(void *p)
{
    (void)!write(*(int *)p, "x", 1);
}
static int call_poll(void *p)
{
    struct pollfd f = {.fd = ((int *)p)[1], .events = POLLIN};
    return poll(&f, 1, -1) == 1 ? 0 : -1;
}
static int t_poll_for_ever(void)
{
    int p[2];
    if (pipe(p) != 0) return -2;
    int fds[2] = {p[1], p[0]};
    int rc = with_partner(wake_poll, fds, call_poll), e = errno;
    close(p[0]);
    close(p[1]);
    errno = e;
    return rc;
}

/* A blocking write of more than the pipe holds, read slowly, must be whole. */
enum { BIG = 1 << 20 };
static void *slow_reader(void *p)
{
    static __thread char buf[16384];
    size_t all = 0;
    ssize_t n;
    while (all < BIG && (n = read(*(int *)p, buf, sizeof buf)) > 0) {
        all += (size_t)n;
        if (all % (4 * sizeof buf) == 0) usleep(2000);
    }
    return NULL;
}
static int whole(int r, int w, ssize_t (*out)(int, const void *, size_t))
{
    static const char data[BIG];
    pthread_t t;
    pthread_create(&t, NULL, slow_reader, &r);
    ssize_t n = out(w, data, BIG);
    int e = errno;
    close(w);
    pthread_join(t, NULL);
    close(r);
    errno = e;
    return n == BIG ? 0 : -1;
}
static ssize_t out_send(int fd, const void *p, size_t n)
{
    return send(fd, p, n, 0);
}
static ssize_t out_writev(int fd, const void *p, size_t n)
{
    struct iovec iov[3] = {{(void *)p, n / 3}, {(void *)p, n / 3}, {(void *)p, n - 2 * (n / 3)}};
    return writev(fd, iov, 3);
}
static ssize_t out_sendmsg(int fd, const void *p, size_t n)
{
    struct iovec iov[2] = {{(void *)p, n / 5}, {(void *)p, n - n / 5}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    return sendmsg(fd, &m, 0);
}
static int on_pipe(ssize_t (*out)(int, const void *, size_t))
{
    int p[2];
    return pipe(p) != 0 ? -2 : whole(p[0], p[1], out);
}
static int on_socket(ssize_t (*out)(int, const void *, size_t))
{
    int p[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, p) != 0 ? -2 : whole(p[0], p[1], out);
}
static int t_write(void)
{
    return on_pipe(write);
}
static int t_writev(void)
{
    return on_pipe(out_writev);
}
static int t_send(void)
{
    return on_socket(out_send);
}
static int t_sendmsg(void)
{
    return on_socket(out_sendmsg);
}

static const struct test {
    const char *name;
    int (*call)(void);
    double at_least_ms, at_most_ms;
} tests[] = {
#define T(f)                             \
    {                                    \
#f, t_##f, WAIT_MS, 20 * WAIT_MS \
    }
    T(poll),
    T(ppoll),
    T(select),
    T(pselect),
    T(epoll_wait),
    T(epoll_pwait),
    T(epoll_pwait2),
    T(nanosleep),
    T(clock_nanosleep),
    T(clock_nanosleep_abs),
    T(usleep),
    T(thrd_sleep),
    T(sigtimedwait),
    T(sem_timedwait),
    T(sem_clockwait),
    T(cond),
    T(semtimedop),
    T(recv),
    T(read),
    T(accept),
    T(pause),
    T(sigsuspend),
    T(sigwaitinfo),
    T(semop),
    T(msgrcv),
    T(poll_for_ever),
    {"sleep", t_sleep, 1000, 4000},
    {"write", t_write, 0, 10000},
    {"writev", t_writev, 0, 10000},
    {"send", t_send, 0, 10000},
    {"sendmsg", t_sendmsg, 0, 10000},
};
enum { TESTS = sizeof tests / sizeof *tests };

static double end_ms;
static int failures;

static void *run(void *arg)
{
    const struct test *t = arg;
    int n = 0;
    do {
        errno = 0;
        double begin = now_ms();
        int rc = t->call(), e = errno;
        double took = now_ms() - begin;
        n++;
        /* The kernel's clock of jiffies may be a little ahead where the call counts in them (SO_RCVTIMEO). */
        if (rc == 0 && took >= t->at_least_ms - 8 && took <= t->at_most_ms) continue;
        printf("%s: round %d returned %d (%s) after %.1f ms\n", t->name, n, rc, strerror(e), took);
        __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
    } while (now_ms() < end_ms);
    return NULL;
}

static void nothing(int sig)
{
    (void)sig;
}

int main(int argc, char **argv)
{
    pthread_t ids[TESTS];
    struct timeval tv = {0, WAIT_MS * 1000};
    end_ms = now_ms() + (argc > 1 ? atof(argv[1]) : 1) * 1000;
    signal(SIGUSR1, nothing);
    sigemptyset(&usr);
    sigaddset(&usr, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr, NULL);
    ep = epoll_create1(0);
    sysv_sem = semget(IPC_PRIVATE, 2, 0600);
    sysv_msg = msgget(IPC_PRIVATE, 0600);
    if (ep < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sock) != 0 || sysv_sem < 0 || sysv_msg < 0) return 77;
    setsockopt(sock[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    for (int i = 0; i < TESTS; i++) pthread_create(&ids[i], NULL, run, (void *)&tests[i]);
    for (int i = 0; i < TESTS; i++) pthread_join(ids[i], NULL);
    semctl(sysv_sem, 0, IPC_RMID);
    msgctl(sysv_msg, IPC_RMID, NULL);
    if (failures == 0) puts("ok");
    return failures != 0;
}
